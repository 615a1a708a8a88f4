"""The ingress layer: one ingress-nginx controller per ingress class.

Owns the IngressClass, the controller's release and the scope of its admission webhook. Leaves certificates, DNS and the
tunnel to their layers: they meet this one only through the class name and the controller's Service, so another
controller can take its place (docs/ingress-controller.md).
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Self

import pulumi
from pulumi_kubernetes.admissionregistration.v1 import (
    MatchConditionPatchArgs,
    ValidatingWebhookConfigurationPatch,
    ValidatingWebhookPatchArgs,
)
from pulumi_kubernetes.helm.v3 import Release
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs, ObjectMetaPatchArgs
from pulumi_kubernetes.networking.v1 import IngressClass, IngressClassSpecArgs

from components.charts import one_a_node, release_args
from settings.charts.model import Chart
from settings.cluster import Cluster
from settings.ingress import (
    KEEPALIVE_REQUESTS,
    TUNNEL_KEEPALIVE_REQUESTS,
    ClientAddress,
    Controller,
    Ingress,
    Limits,
    ServiceType,
    release_name,
)
from settings.monitoring import Monitoring
from settings.stack import Settings


@dataclass(frozen=True, kw_only=True)
class NginxIngressArgs:
    """One entry of `ingress.classes`; all arrive valid.

    `address` is the fixed LoadBalancer address, None for ClusterIP. `behind_tunnel` says that the Cloudflare tunnel
    leads here. `namespace` must exist.
    """

    ingress_class: str
    ingress: Ingress
    cluster: Cluster
    monitoring: Monitoring
    chart: Chart
    namespace: pulumi.Input[str]
    address: IPv4Address | None
    behind_tunnel: bool

    @classmethod
    def of(cls, settings: Settings, ingress_class: str, *, namespace: pulumi.Input[str]) -> Self:
        """What the component of a class takes of a stack's settings."""
        exposed = settings.ingress.classes[ingress_class].service_type is ServiceType.LOAD_BALANCER
        return cls(
            ingress_class=ingress_class,
            ingress=settings.ingress,
            cluster=settings.cluster,
            monitoring=settings.monitoring,
            chart=settings.charts["ingress-nginx"],
            namespace=namespace,
            address=settings.load_balancer.addresses[ingress_class] if exposed else None,
            behind_tunnel=settings.cloudflare.serves(ingress_class),
        )

    @property
    def controller(self) -> Controller:
        """The entry of this class."""
        return self.ingress.classes[self.ingress_class]


class NginxIngress(pulumi.ComponentResource):
    """One ingress-nginx controller and the IngressClass it serves (`anton:network:NginxIngress`).

    Registers the IngressClass, the release `<class>-ingress-nginx`, and a patch that lets the release's admission
    webhook see only Ingress objects of its own class, so that a dead controller never blocks the other class.
    """

    ingress_class: pulumi.Output[str]
    service: pulumi.Output[str]

    def __init__(self, name: str, args: NginxIngressArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:NginxIngress", name, {}, opts)
        ingress_class = IngressClass(
            f"{name}-class",
            metadata=ObjectMetaArgs(
                name=args.ingress_class,
                annotations={"ingressclass.kubernetes.io/is-default-class": "true"} if args.controller.default else {},
            ),
            spec=IngressClassSpecArgs(controller=args.ingress.controller_value(args.ingress_class)),
            # The API server refuses another controller value; the preview must say that it means a replacement.
            opts=pulumi.ResourceOptions(
                parent=self, replace_on_changes=["spec.controller"], delete_before_replace=True
            ),
        )
        release = Release(
            f"{name}-release",
            release_args(
                args.chart, name=release_name(args.ingress_class), namespace=args.namespace, values=nginx_values(args)
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[ingress_class]),
        )
        ValidatingWebhookConfigurationPatch(
            f"{name}-admission-scope",
            metadata=ObjectMetaPatchArgs(
                name=f"{release_name(args.ingress_class)}-admission",
                annotations={"pulumi.com/patchFieldManager": "anton-network"},
            ),
            webhooks=[_own_class_only(args.ingress_class)],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[release]),
        )
        self.ingress_class = ingress_class.metadata.apply(lambda metadata: metadata.name or args.ingress_class)
        self.service = pulumi.Output.format("{0}-controller.{1}.svc", release_name(args.ingress_class), args.namespace)
        self.register_outputs({"ingress_class": self.ingress_class, "service": self.service})


def _own_class_only(ingress_class: str) -> ValidatingWebhookPatchArgs:
    """A CEL condition (Kubernetes 1.30) beside the chart's rules, which have none.

    It takes the class as the controller does: from the field, else from the old annotation.
    """
    annotation = "object.metadata.?annotations[?'kubernetes.io/ingress.class'].orValue('')"
    expression = f"object.spec.?ingressClassName.orValue({annotation}) == '{ingress_class}'"
    return ValidatingWebhookPatchArgs(
        name="validate.nginx.ingress.kubernetes.io",
        match_conditions=[MatchConditionPatchArgs(name="own-ingress-class", expression=expression)],
    )


def nginx_values(args: NginxIngressArgs) -> dict[str, Any]:
    """The values of the ingress-nginx chart (4.15), each proved by rendering (tests/charts/ingress_nginx)."""
    controller = args.controller
    return {
        "fullnameOverride": release_name(args.ingress_class),
        "controller": {
            "ingressClass": args.ingress_class,
            # The component owns the IngressClass: the chart could not replace it when the controller value changes.
            "ingressClassResource": {
                "enabled": False,
                "controllerValue": args.ingress.controller_value(args.ingress_class),
            },
            "electionID": args.ingress.election_id(args.ingress_class),
            "allowSnippetAnnotations": False,
            "config": config_map(controller, str(args.cluster.pod_cidr), behind_tunnel=args.behind_tunnel),
            "addHeaders": dict(controller.add_headers),
            **_extra_args(controller, args.ingress.default_certificate(args.ingress_class)),
            **_image(args.ingress.image),
            **_availability(args),
            "service": _service(args),
            "admissionWebhooks": {"failurePolicy": "Fail"},
            "metrics": {"enabled": True, "serviceMonitor": args.monitoring.service_monitor("additionalLabels")},
        },
        "defaultBackend": {"enabled": controller.default_backend},
    }


def config_map(controller: Controller, pod_cidr: str, *, behind_tunnel: bool = False) -> dict[str, str]:
    """The controller's ConfigMap: key to text. `pod_cidr` is the pod network in CIDR form.

    The keys are those that the controller's source knows; the specification's other names are ignored by it without
    a word (facts section 3.2).
    """
    tuning, tls, hsts = controller.tuning, controller.tls, controller.tls.hsts
    config = {
        "worker-processes": tuning.worker_processes,
        "max-worker-connections": tuning.worker_connections,
        "max-worker-open-files": tuning.worker_open_files,
        "keep-alive": tuning.keepalive_timeout_seconds,
        "keep-alive-requests": tuning.keepalive_requests
        or (TUNNEL_KEEPALIVE_REQUESTS if behind_tunnel else KEEPALIVE_REQUESTS),
        "client-body-buffer-size": tuning.client_body_buffer_size,
        "proxy-body-size": tuning.client_max_body_size,
        "proxy-buffer-size": tuning.proxy_buffer_size,
        "proxy-buffers-number": tuning.proxy_buffers,
        "proxy-connect-timeout": tuning.proxy_connect_timeout_seconds,
        "proxy-read-timeout": tuning.proxy_read_timeout_seconds,
        "proxy-send-timeout": tuning.proxy_send_timeout_seconds,
        "use-gzip": tuning.gzip,
        "gzip-level": tuning.gzip_level,
        "gzip-types": " ".join(tuning.gzip_types),
        "ssl-protocols": " ".join(tls.protocols),
        "ssl-ciphers": ":".join(tls.ciphers),
        "ssl-session-cache": True,
        "ssl-session-cache-size": tls.session_cache_size,
        "ssl-session-timeout": f"{tls.session_timeout_minutes}m",
        "ssl-redirect": True,
        "force-ssl-redirect": True,
        "hsts": hsts.enabled,
        "hsts-max-age": hsts.max_age_seconds,
        "hsts-include-subdomains": hsts.include_subdomains,
        "hsts-preload": hsts.preload,
        "hide-headers": ",".join(controller.hide_headers),
        "log-format-escape-json": True,
        "log-format-upstream": ACCESS_LOG,
        "limit-req-status-code": 429,
        "limit-conn-status-code": 429,
        **_client_address(controller.client_address, pod_cidr),
    }
    if controller.block_user_agents:
        config["block-user-agents"] = ",".join(controller.block_user_agents)
    if controller.limits:
        config["http-snippet"] = default_limits(controller.limits)
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in config.items()}


ACCESS_LOG = (
    '{"time": "$time_iso8601", "client": "$remote_addr", "host": "$host", "method": "$request_method", '
    '"path": "$uri", "status": $status, "bytes": $body_bytes_sent, "duration": $request_time, '
    '"upstream": "$proxy_upstream_name", "user_agent": "$http_user_agent", "id": "$req_id"}'
)


def _client_address(source: ClientAddress, pod_cidr: str) -> dict[str, str | bool]:
    """Forwarded headers are believed from the pod network alone: cloudflared connects from there, the LAN does not."""
    if source is ClientAddress.CONNECTION:
        return {"use-forwarded-headers": False, "enable-real-ip": False}
    return {
        "use-forwarded-headers": True,
        "enable-real-ip": True,
        "forwarded-for-header": "CF-Connecting-IP",
        "proxy-real-ip-cidr": pod_cidr,
    }


def default_limits(limits: Limits) -> str:
    """NGINX directives for the http block that limit every client by default.

    The controller has no ConfigMap key for default limits. At this level NGINX applies them wherever a location has
    none of its own, and the annotations `limit-rpm`, `limit-rps` and `limit-connections` put theirs into the location.
    The controller's own calls from loopback (health, dynamic backends) are exempt: an empty key is not counted.
    """
    rate = limits.requests_per_minute
    return "\n".join(
        [
            "geo $realip_remote_addr $default_limit_exempt { default 0; 127.0.0.0/8 1; ::1/128 1; }",
            'map $default_limit_exempt $default_limit_key { 0 $binary_remote_addr; 1 ""; }',
            f"limit_req_zone $default_limit_key zone=default_requests:10m rate={rate}r/m;",
            f"limit_req zone=default_requests burst={rate * limits.burst_multiplier} nodelay;",
            "limit_conn_zone $default_limit_key zone=default_connections:10m;",
            f"limit_conn default_connections {limits.connections};",
        ]
    )


def _extra_args(controller: Controller, default_certificate: str | None) -> dict[str, Any]:
    arguments: dict[str, str] = {}
    if default_certificate:
        arguments["default-ssl-certificate"] = default_certificate
    if controller.ssl_passthrough:
        arguments["enable-ssl-passthrough"] = ""
    return {"extraArgs": arguments} if arguments else {}


def _image(reference: str | None) -> dict[str, Any]:
    if reference is None:
        return {}
    match = re.fullmatch(r"(?P<repository>.+):(?P<tag>[^:@]+)(@(?P<digest>sha256:.+))?", reference)
    assert match, f"{reference} did not pass ImageReference"
    return {"image": {**match.groupdict(default="")}}


def _availability(args: NginxIngressArgs) -> dict[str, Any]:
    controller, scaling = args.controller, args.controller.autoscaling
    own_pods = {
        "app.kubernetes.io/instance": release_name(args.ingress_class),
        "app.kubernetes.io/component": "controller",
    }
    values: dict[str, Any] = {
        "minAvailable": controller.min_available,
        "resources": controller.resources.values(),
        "priorityClassName": "system-cluster-critical",
        "topologySpreadConstraints": one_a_node(own_pods),
    }
    if scaling is None:
        return values | {"replicaCount": controller.replicas}
    return values | {
        "autoscaling": {
            "enabled": True,
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            "targetCPUUtilizationPercentage": scaling.cpu_percent,
            "targetMemoryUtilizationPercentage": scaling.memory_percent,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": scaling.scale_down_window_seconds}},
        }
    }


def _service(args: NginxIngressArgs) -> dict[str, Any]:
    if args.address is None:
        return {"type": ServiceType.CLUSTER_IP.value}
    return {
        "type": ServiceType.LOAD_BALANCER.value,
        "annotations": {"lbipam.cilium.io/ips": str(args.address)},
        # Cilium serves the address itself; node ports would open the controller on every node's own address too.
        "allocateLoadBalancerNodePorts": False,
        # Local would black-hole traffic whenever the node that announces the address runs no controller.
        "externalTrafficPolicy": "Cluster",
    }
