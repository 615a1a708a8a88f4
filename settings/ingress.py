"""The ingress layer: one ingress-nginx controller per ingress class.

Owns the IngressClass, the controller's release and the scope of its admission webhook. Leaves certificates, DNS and the
tunnel to their layers: they meet this one only through the class name and the controller's Service, so another
controller can take its place (docs/ingress-controller.md).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Annotated, Any, Self

import pulumi
from pulumi_kubernetes.admissionregistration.v1 import (
    MatchConditionPatchArgs,
    ValidatingWebhookConfigurationPatch,
    ValidatingWebhookPatchArgs,
)
from pulumi_kubernetes.helm.v3 import Release
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs, ObjectMetaPatchArgs
from pulumi_kubernetes.networking.v1 import IngressClass, IngressClassSpecArgs
from pydantic import Field, StringConstraints

from components.charts import Chart, one_a_node, release_args
from components.cluster import Cluster
from components.fields import DnsLabel, Form, Model, NginxSize, Problem, ResourceAmounts, Resources, Seconds, over
from components.monitoring import Monitoring

if TYPE_CHECKING:
    from components.rules.layers import Layers

ImageReference = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][-a-z0-9._:/]*/[-a-z0-9._/]+:[-\w.]+(@sha256:[0-9a-f]{64})?$"),
    Form("must be registry/repository:tag, with @sha256: and a digest where wanted"),
]
"""A container image with registry, tag and, better, digest."""

HeaderName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$"), Form("must be a header's name: letters, digits and hyphens")
]
"""The name of an HTTP header."""

HeaderValue = Annotated[str, StringConstraints(pattern=r"^[^{}\r\n]+$"), Form("must be one line without braces")]
"""The value of an HTTP header; no braces, which the chart would run through its template engine."""

UserAgent = Annotated[
    str, StringConstraints(pattern=r"^[^,{}\r\n]+$"), Form("must be one line without commas and braces")
]
"""A User-Agent, or `~` and a regular expression; no comma, which separates entries, and no braces."""

DEFAULT_ADD_HEADERS = {
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}


class ServiceType(StrEnum):
    """How the controller is reached: from inside the cluster only, or at a LoadBalancer address as well."""

    CLUSTER_IP = "ClusterIP"
    LOAD_BALANCER = "LoadBalancer"


class ClientAddress(StrEnum):
    """Where the controller learns the client's address: from the connection, or from Cloudflare's header."""

    CONNECTION = "connection"
    CLOUDFLARE = "cloudflare"


class CertificateIssuer(StrEnum):
    """Who signs certificates: Let's Encrypt for public names, or the cluster's own certificate authority."""

    LETSENCRYPT = "letsencrypt"
    INTERNAL_CA = "internal-ca"


class TlsProtocol(StrEnum):
    """TLS versions that may be offered; older ones are refused."""

    V1_2 = "TLSv1.2"
    V1_3 = "TLSv1.3"


class Hsts(Model):
    """Strict-Transport-Security (RFC 6797)."""

    enabled: bool = Field(default=True, description="send the header")
    max_age_seconds: Seconds = Field(default=31536000, description="how long browsers insist on HTTPS")
    include_subdomains: bool = Field(default=True, description="for all subdomains as well")
    preload: bool = Field(default=False, description="ask to be built into browsers; hard to take back")


class Tls(Model):
    """TLS towards clients."""

    protocols: tuple[TlsProtocol, ...] = Field(
        default=(TlsProtocol.V1_2, TlsProtocol.V1_3),
        min_length=1,
        description="versions offered",
        examples=[["TLSv1.2", "TLSv1.3"]],
    )
    ciphers: tuple[
        Annotated[str, StringConstraints(pattern=r"^[-A-Z0-9]+$"), Form("must be a cipher by its OpenSSL name")], ...
    ] = Field(
        default=(
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
        ),
        min_length=1,
        description="cipher suites for TLS 1.2, in OpenSSL's names",
        examples=[["ECDHE-ECDSA-AES128-GCM-SHA256"]],
    )
    session_cache_size: NginxSize = Field(default="10m", description="shared session cache")
    session_timeout_minutes: int = Field(default=10, gt=0, description="lifetime of a session", examples=[10])
    hsts: Hsts = Field(default=Hsts(), description="Strict-Transport-Security")


class Limits(Model):
    """Limits per client address and controller replica, unless an Ingress sets its own by annotation."""

    requests_per_minute: int = Field(default=100, gt=0, description="steady rate of requests", examples=[100])
    burst_multiplier: int = Field(default=5, gt=0, description="burst as a multiple of the rate", examples=[5])
    connections: int = Field(
        default=20, gt=0, description="concurrent connections; over HTTP/2, concurrent requests", examples=[20]
    )


class Tuning(Model):
    """NGINX settings; each becomes one key of the controller's ConfigMap (`config_map`)."""

    worker_processes: Annotated[str, Form("must be auto or a number")] = Field(
        default="auto", pattern=r"^(auto|[1-9][0-9]*)$", description="NGINX workers", examples=["auto"]
    )
    worker_connections: int = Field(default=1024, gt=0, description="connections per worker", examples=[1024])
    worker_open_files: int = Field(default=65535, gt=0, description="open files per worker", examples=[65535])
    keepalive_timeout_seconds: Seconds = Field(default=65, description="idle client connection")
    keepalive_requests: int = Field(default=100, gt=0, description="requests per client connection", examples=[100])
    client_body_buffer_size: NginxSize = Field(default="128k", description="request body kept in memory")
    client_max_body_size: NginxSize = Field(default="50m", description="largest request body; 0 is no limit")
    proxy_buffer_size: NginxSize = Field(default="4k", description="response headers")
    proxy_buffers: int = Field(default=8, ge=2, description="buffers per response", examples=[8])
    proxy_connect_timeout_seconds: Seconds = Field(default=5, description="connecting to a backend")
    proxy_read_timeout_seconds: Seconds = Field(default=60, description="between two reads from a backend")
    proxy_send_timeout_seconds: Seconds = Field(default=60, description="between two writes to a backend")
    gzip: bool = Field(default=True, description="compress responses")
    gzip_level: int = Field(default=6, ge=1, le=9, description="effort of compression", examples=[6])
    gzip_types: tuple[
        Annotated[str, StringConstraints(pattern=r"^[\w.+-]+/[\w.+*-]+$"), Form("must be a media type: type/subtype")],
        ...,
    ] = Field(
        default=("text/plain", "application/json", "application/javascript", "text/css"),
        min_length=1,
        description="media types to compress",
        examples=[["text/plain"]],
    )


class Autoscaling(Model):
    """HorizontalPodAutoscaler of a controller."""

    min_replicas: int = Field(
        default=2, ge=2, description="never fewer; one would be no high availability", examples=[2]
    )
    max_replicas: int = Field(default=3, ge=2, description="never more; one fits on a node", examples=[3])
    cpu_percent: int = Field(default=50, gt=0, le=100, description="target use of the CPU request", examples=[50])
    memory_percent: int = Field(default=70, gt=0, le=100, description="target use of the memory request", examples=[70])
    scale_down_window_seconds: int = Field(
        default=300, ge=0, le=3600, description="how long a lower need must last", examples=[300]
    )


CONTROLLER_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="100m", memory="256Mi"), limits=ResourceAmounts(cpu="1", memory="500Mi")
)


class Controller(Model):
    """One ingress class and its controller."""

    controller_value: (
        Annotated[
            str,
            StringConstraints(pattern=r"^[-a-z0-9.]+/[-a-zA-Z0-9._/]+$"),
            Form("must be a domain, a slash and a name"),
        ]
        | None
    ) = Field(
        default=None,
        description="controller of the IngressClass; `k8s.io/<class>` when unset",
        examples=["k8s.io/internal"],
    )
    election_id: DnsLabel | None = Field(
        default=None,
        description="leader election; `<class>-ingress-nginx-leader` when unset",
        examples=["internal-leader"],
    )
    default: bool = Field(default=False, description="take Ingress objects that name no class")
    service_type: ServiceType = Field(
        default=ServiceType.CLUSTER_IP,
        description="`ClusterIP` (behind the tunnel only) or `LoadBalancer` (at `loadBalancer.addresses.<class>`)",
        examples=["ClusterIP"],
    )
    client_address: ClientAddress = Field(
        default=ClientAddress.CONNECTION,
        description="`connection`, or `cloudflare`: the CF-Connecting-IP header, believed only from pods",
        examples=["connection"],
    )
    replicas: int = Field(default=2, ge=1, description="controller pods without autoscaling", examples=[2])
    autoscaling: Autoscaling | None = Field(default=None, description="scale by load", examples=[{"maxReplicas": 3}])
    min_available: int = Field(default=1, ge=1, description="pods that a node drain must leave", examples=[1])
    resources: Annotated[Resources, over(CONTROLLER_RESOURCES)] = Field(
        default=CONTROLLER_RESOURCES, description="requests and limits"
    )
    default_certificate: (
        Annotated[str, StringConstraints(pattern=r"^[-a-z0-9]+/[-a-z0-9.]+$"), Form("must be namespace/secret")] | None
    ) = Field(
        default=None,
        description="`namespace/secret` of the certificate for hosts without their own; `<namespace>/<class>-tls` when "
        "unset and `certificateIssuer` is set",
        examples=["network/example-com-tls"],
    )
    certificate_issuer: CertificateIssuer | None = Field(
        default=None,
        description="`letsencrypt` or `internal-ca`: who signs the default certificate, a wildcard for "
        "`cluster.domain`; unset: the Secret is somebody else's",
        examples=["letsencrypt"],
    )
    default_backend: bool = Field(default=False, description="a 404 page of its own for unknown hosts")
    ssl_passthrough: bool = Field(default=False, description="hand TLS through to backends that ask for it")
    limits: Limits | None = Field(default=Limits(), description="limits per client; null for none")
    tls: Tls = Field(default=Tls(), description="TLS towards clients")
    tuning: Tuning = Field(default=Tuning(), description="NGINX itself")
    add_headers: dict[HeaderName, HeaderValue] = Field(
        default=DEFAULT_ADD_HEADERS, description="response headers to add", examples=[DEFAULT_ADD_HEADERS]
    )
    hide_headers: tuple[HeaderName, ...] = Field(
        default=("Server", "X-Powered-By"), description="backend headers to drop", examples=[["Server"]]
    )
    block_user_agents: tuple[UserAgent, ...] = Field(
        default=(), description="User-Agent values to refuse", examples=[["~*GPTBot"]]
    )

    def problems(self) -> Iterator[Problem]:
        scaling = self.autoscaling
        if scaling and scaling.max_replicas < scaling.min_replicas:
            reason = f"is less than minReplicas {scaling.min_replicas}"
            key, least = "autoscaling.maxReplicas", scaling.min_replicas
            yield Problem(key, scaling.max_replicas, reason, least, because=("autoscaling.minReplicas",))
        fewest = scaling.min_replicas if scaling else self.replicas
        if fewest > 1 and self.min_available >= fewest:
            reason = f"with {fewest} pods no node could be drained"
            yield Problem("minAvailable", self.min_available, reason, fewest - 1, because=("replicas", "autoscaling"))
        yield from (problem.under("resources") for problem in self.resources.problems())
        if self.client_address is ClientAddress.CLOUDFLARE and self.ssl_passthrough:
            reason = "traffic handed through is never decrypted, so Cloudflare's header is not seen"
            yield Problem("sslPassthrough", True, reason, False, because=("clientAddress",))


class Ingress(Model):
    """The ingress-nginx controllers."""

    namespace: DnsLabel = Field(default="network", description="namespace of the controllers", examples=["network"])
    image: ImageReference | None = Field(
        default=None,
        description="controller image; the chart's own when unset. Swap it for a maintained build here",
        examples=["registry.example.com/ingress-nginx/controller:v1.15.1"],
    )
    classes: dict[DnsLabel, Controller] = Field(
        default={}, description="controllers by ingress class", examples=[{"internal": {"serviceType": "LoadBalancer"}}]
    )

    def problems(self) -> Iterator[Problem]:
        for name, controller in self.classes.items():
            yield from (problem.under(f"classes.{name}") for problem in controller.problems())
        yield from self._shared("controllerValue", {name: self.controller_value(name) for name in self.classes})
        yield from self._shared("electionId", {name: self.election_id(name) for name in self.classes})
        defaults = [name for name, controller in self.classes.items() if controller.default]
        for name in defaults[1:]:
            reason = f"class {defaults[0]} is the default already; with two, an Ingress without a class is rejected"
            yield Problem(f"classes.{name}.default", True, reason, False)

    def _shared(self, key: str, effective: dict[str, str]) -> Iterator[Problem]:
        owners: dict[str, str] = {}
        for name, value in effective.items():
            first = owners.setdefault(value, name)
            if first != name:
                example = f"k8s.io/{name}" if key == "controllerValue" else f"{name}-ingress-nginx-leader"
                reason = f"is that of class {first} too; both controllers would serve the same Ingress objects"
                if key == "electionId":
                    reason = f"is that of class {first} too; one controller would never write status"
                yield Problem(f"classes.{name}.{key}", value, reason, example)

    def controller_value(self, name: str) -> str:
        """The controller value in force for a class (spec, Ingress Classes)."""
        return self.classes[name].controller_value or f"k8s.io/{name}"

    def default_certificate(self, name: str) -> str | None:
        """`namespace/secret` of a class's default certificate, None where it has none."""
        controller = self.classes[name]
        derived = f"{self.namespace}/{name}-tls" if controller.certificate_issuer else None
        return controller.default_certificate or derived

    def election_id(self, name: str) -> str:
        """The leader election id in force for a class."""
        return self.classes[name].election_id or f"{release_name(name)}-leader"


def release_name(ingress_class: str) -> str:
    """Name of a class's release; its objects are `<release>-controller`, `-controller-metrics` and so on."""
    return f"{ingress_class}-ingress-nginx"


@dataclass(frozen=True, kw_only=True)
class NginxIngressArgs:
    """One entry of `ingress.classes`; all arrive valid.

    `address` is the fixed LoadBalancer address, None for ClusterIP. `namespace` must exist.
    """

    ingress_class: str
    ingress: Ingress
    cluster: Cluster
    monitoring: Monitoring
    chart: Chart
    namespace: pulumi.Input[str]
    address: IPv4Address | None

    @classmethod
    def of(cls, layers: "Layers", ingress_class: str, *, namespace: pulumi.Input[str]) -> Self:
        """What the component of a class takes of a stack's settings."""
        exposed = layers.ingress.classes[ingress_class].service_type is ServiceType.LOAD_BALANCER
        return cls(
            ingress_class=ingress_class,
            ingress=layers.ingress,
            cluster=layers.cluster,
            monitoring=layers.monitoring,
            chart=layers.charts["ingress-nginx"],
            namespace=namespace,
            address=layers.load_balancer.addresses[ingress_class] if exposed else None,
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
    """The values of the ingress-nginx chart (4.15). Each key is proved by rendering (tests/charts/test_ingress_nginx.py)."""
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
            "config": config_map(controller, pod_cidr=str(args.cluster.pod_cidr)),
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


def config_map(controller: Controller, pod_cidr: str) -> dict[str, str]:
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
        "keep-alive-requests": tuning.keepalive_requests,
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
