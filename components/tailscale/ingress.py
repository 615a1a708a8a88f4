"""The VPN's ingress: the Tailscale operator, its ingress class, and the way from the tailnet to the LAN's addresses.

Owns the namespace, the operator's credentials, its release with the CRDs, and the custom resources that shape its
proxies. The tailnet's own side (policy, DNS, keys) is in `tailnet`, composed here because of its order: policy before
proxies, proxies before DNS. Leaves the Ingress objects to `applications`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import Namespace, Secret
from pulumi_kubernetes.helm.v3 import Release
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.charts import release_args
from components.tailscale.policy import policy_document
from components.tailscale.tailnet import TailnetAccess, TailnetAccessArgs, TailnetDns, TailnetDnsArgs
from settings.applications import PROXY_GROUP, TAILSCALE_CLASS
from settings.charts.model import Chart
from settings.cluster import Cluster
from settings.discovery import GATEWAY
from settings.load_balancer import LoadBalancer
from settings.monitoring import Monitoring
from settings.stack import Settings
from settings.tailscale.operator import CONNECTOR, ApiServerProxy, Connector, ProxyGroup, Tailscale, advertised_routes
from settings.tailscale.tailnet import Tailnet

API_VERSION = "tailscale.com/v1alpha1"

OAUTH_SECRET = "operator-oauth"  # noqa: S105 - the name that the chart mounts when it makes none itself

DEFAULT_PROXY_CLASS = "default"


@dataclass(frozen=True, kw_only=True)
class TailscaleIngressArgs:
    """Settings arrive valid; the OAuth client's id and secret are secret outputs.

    `protect` refuses to delete what holds the devices' identities and the CRDs.
    """

    tailscale: Tailscale
    cluster: Cluster
    load_balancer: LoadBalancer
    monitoring: Monitoring
    chart: Chart
    oauth_client_id: pulumi.Output[str]
    oauth_client_secret: pulumi.Output[str]
    protect: bool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What this component takes of a stack's settings."""
        return cls(
            tailscale=settings.tailscale,
            cluster=settings.cluster,
            load_balancer=settings.load_balancer,
            monitoring=settings.monitoring,
            chart=settings.charts["tailscale-operator"],
            oauth_client_id=settings.secrets["tailscaleOperatorClientId"],
            oauth_client_secret=settings.secrets["tailscaleOperatorClientSecret"],
            protect=settings.kubernetes.protect,
        )


class TailscaleIngress(pulumi.ComponentResource):
    """The Tailscale operator and ingress class `tailscale` (`anton:network:TailscaleIngress`).

    Registers the namespace, the Secret `operator-oauth`, the release `tailscale-operator`, ProxyClass objects, and
    where asked for a ProxyGroup, a Connector and the two components of the tailnet. `ready` is what Ingress objects of
    the class come after. `auth_keys` is secret.
    """

    ingress_class: pulumi.Output[str]
    namespace: pulumi.Output[str]
    auth_keys: pulumi.Output[dict[str, str]]
    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: TailscaleIngressArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:TailscaleIngress", name, {}, opts)
        settings = args.tailscale
        # Connectors and proxies of Services set up a network device and forwarding: the operator starts them
        # privileged. Gone with the namespace are the devices' keys, and every proxy would come back as a new device.
        namespace = Namespace(
            f"{name}-namespace",
            metadata=ObjectMetaArgs(
                name=settings.namespace, labels={"pod-security.kubernetes.io/enforce": "privileged"}
            ),
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        self.namespace = namespace.metadata.apply(lambda metadata: metadata.name or settings.namespace)
        access = self._access(name, args)
        # Made here and not by the chart: as values the credentials would stand in the release and in Helm's own record.
        oauth = Secret(
            f"{name}-oauth",
            metadata=ObjectMetaArgs(name=OAUTH_SECRET, namespace=self.namespace),
            string_data={"client_id": args.oauth_client_id, "client_secret": args.oauth_client_secret},
            opts=pulumi.ResourceOptions(parent=self),
        )
        release = Release(
            f"{name}-release",
            release_args(
                args.chart, name="tailscale-operator", namespace=self.namespace, values=tailscale_values(args)
            ),
            opts=pulumi.ResourceOptions(
                parent=self, protect=args.protect, depends_on=[oauth, *([access] if access else [])]
            ),
        )
        default = Manifest("ProxyClass", DEFAULT_PROXY_CLASS, proxy_class_spec(args))
        self.ready = [release, self._custom_resource(name, default, [release])]
        if settings.proxy_group:
            self.ready += self._spread(name, args, proxy_group(args, settings.proxy_group), release)
        router = connector(args, settings.connector) if settings.connector else None
        routes = self._spread(name, args, router, release) if router else []
        if settings.tailnet:
            self.ready.append(self._dns(name, args, settings.tailnet, routes))
        self.ingress_class = release.name.apply(lambda _: TAILSCALE_CLASS)
        self.auth_keys = access.auth_keys if access else pulumi.Output.from_input({})
        self.register_outputs(
            {"ingress_class": self.ingress_class, "namespace": self.namespace, "auth_keys": self.auth_keys}
        )

    def _access(self, name: str, args: TailscaleIngressArgs) -> TailnetAccess | None:
        tailnet = args.tailscale.tailnet
        if tailnet is None:
            return None
        return TailnetAccess(
            f"{name}-tailnet",
            TailnetAccessArgs(tailnet=tailnet, policy=tailnet_policy(args) if tailnet.policy else None),
            pulumi.ResourceOptions(parent=self),
        )

    def _dns(
        self, name: str, args: TailscaleIngressArgs, tailnet: Tailnet, routes: list[pulumi.Resource]
    ) -> TailnetDns:
        nameserver = args.load_balancer.addresses[GATEWAY] if tailnet.split_dns else None
        if tailnet.awaits_approval:
            pulumi.warn(
                f"tailscale.tailnet.splitDns sends every device of the tailnet to {nameserver} for "
                f"{args.cluster.domain}, public names included; until somebody approves the connector's routes (admin "
                "console, Machines) nothing answers there. Approve them before this update, then set "
                "splitDns.routesApproved (docs/tailscale.md)",
                self,
            )
        return TailnetDns(
            f"{name}-dns",
            TailnetDnsArgs(tailnet=tailnet, domain=args.cluster.domain, nameserver=nameserver, routes=routes),
            pulumi.ResourceOptions(parent=self),
        )

    def _spread(
        self, name: str, args: TailscaleIngressArgs, manifest: "Manifest", release: Release
    ) -> list[pulumi.Resource]:
        """An object with several pods, and the ProxyClass that spreads them over the nodes."""
        kind = manifest.kind.lower()
        pods = {"tailscale.com/parent-resource-type": kind, "tailscale.com/parent-resource": manifest.name}
        own_class = Manifest("ProxyClass", f"{kind}-{manifest.name}", proxy_class_spec(args, pods))
        classed = replace(manifest, spec=manifest.spec | {"proxyClass": own_class.name})
        registered = self._custom_resource(name, own_class, [release])
        return [registered, self._custom_resource(name, classed, [release, registered])]

    def _custom_resource(self, name: str, manifest: "Manifest", depends_on: list[pulumi.Resource]) -> pulumi.Resource:
        # They come after the release that brings their definitions, and go before the operator that has to clean up
        # behind them: it takes their devices out of the tailnet.
        return CustomResource(
            f"{name}-{manifest.kind.lower()}-{manifest.name}",
            api_version=API_VERSION,
            kind=manifest.kind,
            metadata=ObjectMetaArgs(name=manifest.name),
            spec=manifest.spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=depends_on),
        )


@dataclass(frozen=True)
class Manifest:
    """A custom resource of the operator; all are cluster-scoped."""

    kind: str
    name: str
    spec: dict[str, Any]


def tailnet_policy(args: TailscaleIngressArgs) -> str:
    """The policy file as JSON. Raises AssertionError without `tailnet.policy`."""
    settings = args.tailscale
    assert settings.tailnet
    assert settings.tailnet.policy
    approvers: dict[str, Mapping[str, tuple[str, ...]]] = {}
    if settings.connector:
        routes = advertised_routes(settings.connector, args.load_balancer, args.cluster)
        approvers["routes"] = {str(route): settings.connector_tags for route in routes}
    if settings.proxy_group:
        # A group's proxies advertise a Tailscale service for each Ingress, which carries their own tags.
        approvers["services"] = dict.fromkeys(settings.proxy_tags, settings.proxy_tags)
    return policy_document(settings.tailnet.policy, settings.tag_owners(), approvers)


def tailscale_values(args: TailscaleIngressArgs) -> dict[str, Any]:
    """The values of the tailscale-operator chart (1.102), proved by tests/charts/test_tailscale_operator.py.

    No `oauth`: left empty, the chart mounts the Secret `operator-oauth` that it does not make.
    """
    settings = args.tailscale
    modes = {ApiServerProxy.OFF: "false", ApiServerProxy.AUTH: "true", ApiServerProxy.NO_AUTH: "noauth"}
    return {
        "installCRDs": True,
        "ingressClass": {"enabled": True, "name": TAILSCALE_CLASS},
        "operatorConfig": {
            "hostname": settings.hostname,
            "defaultTags": list(settings.operator_tags),
            "priorityClassName": settings.priority_class,
            "resources": settings.resources.values(),
            # The operator itself speaks to the tailnet from user space and needs no privilege.
            "podSecurityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        },
        "proxyConfig": {"defaultTags": ",".join(settings.proxy_tags), "defaultProxyClass": DEFAULT_PROXY_CLASS},
        "apiServerProxyConfig": {"mode": modes[settings.api_server_proxy]},
    }


def proxy_class_spec(args: TailscaleIngressArgs, spread: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A ProxyClass: metrics, resources, priority; the pods with labels `spread` keep to different nodes if they can.

    Hardening ends at the pod: a container's security context would replace the operator's, and Connectors and the
    proxies of Services could no longer set up their network device.
    """
    pod: dict[str, Any] = {
        "priorityClassName": args.tailscale.priority_class,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "tailscaleContainer": {"resources": args.tailscale.proxy_resources.values()},
    }
    if spread:
        pod["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(spread)},
            }
        ]
    metrics: dict[str, Any] = {"enable": True}
    if args.monitoring.enabled:
        metrics["serviceMonitor"] = {"enable": True, "labels": dict(args.monitoring.labels)}
    return {"metrics": metrics, "statefulSet": {"pod": pod}}


def proxy_group(args: TailscaleIngressArgs, group: ProxyGroup) -> Manifest:
    """The proxies that Ingress objects share."""
    spec = {"type": "ingress", "replicas": group.replicas, "tags": list(args.tailscale.proxy_tags)}
    return Manifest("ProxyGroup", PROXY_GROUP, spec)


def connector(args: TailscaleIngressArgs, router: Connector) -> Manifest:
    """The subnet router. Always with a prefix: a `hostname` would have to go for a second replica.

    The operator puts a hyphen and a number behind it, whatever its definition says (sts.go, 1.102).
    """
    routes = advertised_routes(router, args.load_balancer, args.cluster)
    spec = {
        "hostnamePrefix": router.hostname,
        "replicas": router.replicas,
        "tags": list(args.tailscale.connector_tags),
        "subnetRouter": {"advertiseRoutes": [str(route) for route in routes]},
        "exitNode": False,
    }
    return Manifest("Connector", CONNECTOR, spec)
