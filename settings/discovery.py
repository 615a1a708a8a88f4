"""Service discovery: names on the LAN, names for pods, and the Service objects that only give out names.

Owns k8s-gateway (DNS of `cluster.domain` for the LAN) and the headless and ExternalName Services that applications ask
for. Leaves CoreDNS to whoever installed it, unless `discovery.coredns.manage` says otherwise; leaves public records to
the Cloudflare edge, the tailnet's DNS to the tailnet, and the router to its owner, who gets its lines ready to use.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import ConfigMapPatch, Service, ServicePortArgs, ServiceSpecArgs
from pulumi_kubernetes.helm.v3 import Release
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs, ObjectMetaPatchArgs
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget, PodDisruptionBudgetSpecArgs
from pydantic import BeforeValidator, Field

from components.applications import LabelKey, Port
from components.charts import Chart, one_a_node, release_args
from components.cluster import Cluster
from components.coredns import METRICS_PORT, CoreDns, cluster_dns_address, corefile, server_blocks
from components.fields import (
    Address,
    DnsLabel,
    DomainName,
    LabelValue,
    Model,
    Problem,
    Protocol,
    ResourceAmounts,
    Resources,
    over,
)
from components.load_balancer import LoadBalancer
from components.monitoring import Monitoring
from components.nginx import Ingress, ServiceType

if TYPE_CHECKING:
    from components.rules.layers import Layers

GATEWAY = "k8s-gateway"
"""Name of the release, its objects, and its entry in `loadBalancer.addresses`."""

GATEWAY_LABELS = {"app.kubernetes.io/name": GATEWAY, "app.kubernetes.io/instance": GATEWAY}
"""What the chart selects its pods by."""

DO_NOT_WAIT = {"pulumi.com/skipAwait": "true"}
"""Pulumi would wait until pods stand behind the Service; whose pods those are is not this layer's business."""


class Kind(StrEnum):
    """Services that only give out names."""

    HEADLESS = "headless"
    EXTERNAL_NAME = "external-name"


NOT_OFFERED = {
    "nodeport": "opens a port on every node's own address, past the ingress controllers and their limits; publish "
    "through `applications`",
    "loadbalancer": "addresses on the LAN come from Cilium's LB-IPAM (not MetalLB) and go to the ingress controllers "
    "and k8s-gateway; publish through `applications`",
    "clusterip": "is every application's own Service, which needs no entry here",
}
"""Service types of Kubernetes that are no choice here, with the reason."""


def _offered(value: Any) -> Any:
    reason = NOT_OFFERED.get(re.sub(r"[^a-z]", "", value.lower())) if isinstance(value, str) else None
    if reason:
        raise ValueError(reason)
    return value


def _external_host(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        (IPv6Address if ":" in value else IPv4Address)(value)
    except AddressValueError:
        pass
    else:
        raise ValueError("is an address; ExternalName answers with a CNAME, which can only name a host")
    if value.endswith((".svc", ".cluster.local")):
        raise ValueError("is a Service of the cluster; clients name it themselves, within its namespace's policies")
    return value


class NamedPort(Model):
    """A port under the name that SRV records carry."""

    port: Port = Field(description="port of the pods")
    protocol: Protocol = Field(default=Protocol.TCP, description="`TCP` or `UDP`", examples=["TCP"])


class NameService(Model):
    """A Service that only gives out names: of single pods, or of a host outside."""

    namespace: DnsLabel = Field(description="namespace of the Service; must exist", examples=["production"])
    type: Annotated[Kind, BeforeValidator(_offered)] = Field(
        description="`headless`: the addresses of the selected pods; `external-name`: a CNAME to `host`",
        examples=["headless"],
    )
    host: Annotated[DomainName, BeforeValidator(_external_host)] | None = Field(
        default=None, description="external-name: the host outside the cluster", examples=["db.example.net"]
    )
    selector: dict[LabelKey, LabelValue] | None = Field(
        default=None, min_length=1, description="headless: labels of the pods", examples=[{"app": "database"}]
    )
    ports: dict[DnsLabel, NamedPort] = Field(
        default={}, description="headless: ports by name, for SRV records", examples=[{"postgres": {"port": 5432}}]
    )

    def problems(self) -> Iterator[Problem]:
        headless = self.type is Kind.HEADLESS
        needed, example = ("selector", {"app": "database"}) if headless else ("host", "db.example.net")
        if getattr(self, needed) is None:
            yield Problem(needed, None, f"is required by type {self.type.value}", example, because=("type",))
        idle: dict[str, Any] = {"host": self.host} if headless else {"selector": self.selector, "ports": self.ports}
        for key, value in idle.items():
            if value:
                shown = value if isinstance(value, str) else sorted(value)
                reason = f"has no meaning for type {self.type.value}"
                yield Problem(key, shown, reason, "without this key", because=("type",))


GATEWAY_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="10m", memory="64Mi"), limits=ResourceAmounts(memory="128Mi")
)

PUBLIC_RESOLVERS = (IPv4Address("1.1.1.1"), IPv4Address("1.0.0.1"))


class LanDns(Model):
    """DNS of `cluster.domain` for the LAN, from the addresses of Ingress and Service objects."""

    replicas: int = Field(default=2, ge=1, description="pods, one a node", examples=[2])
    ttl_seconds: int = Field(default=1, ge=0, le=3600, description="how long clients keep an answer", examples=[1])
    fallthrough_zones: tuple[DomainName, ...] | None = Field(
        default=None,
        description="zones in which `upstreams` are asked for names that no object here has; `cluster.domain` when "
        "unset, so that hosts behind the tunnel resolve on the LAN too; an empty list for none",
        examples=[["example.com"]],
    )
    upstreams: tuple[Address, ...] = Field(
        default=PUBLIC_RESOLVERS,
        min_length=1,
        description="public resolvers for all other names; never one that forwards `cluster.domain` back to here",
        examples=[["1.1.1.1", "1.0.0.1"]],
    )
    resources: Annotated[Resources, over(GATEWAY_RESOURCES)] = Field(
        default=GATEWAY_RESOURCES, description="requests and limits"
    )

    def problems(self) -> Iterator[Problem]:
        yield from (problem.under("resources") for problem in self.resources.problems())


class Discovery(Model):
    """Names inside the cluster and on the LAN."""

    retired: ClassVar[Mapping[str, str]] = {
        "metallb": "is not installed; LoadBalancer addresses are Cilium's (loadBalancer.pools)",
        "nodePorts": NOT_OFFERED["nodeport"],
    }

    enabled: bool = Field(default=False, description="deploy this layer")
    lan_dns: LanDns | None = Field(default=LanDns(), description="DNS for the LAN; null for none")
    coredns: CoreDns = Field(default=CoreDns(), description="DNS for pods")
    services: dict[DnsLabel, NameService] = Field(
        default={},
        description="headless and ExternalName Services by name",
        examples=[{"database": {"namespace": "production", "type": "external-name", "host": "db.example.net"}}],
    )

    def problems(self) -> Iterator[Problem]:
        if self.lan_dns:
            yield from (problem.under("lanDns") for problem in self.lan_dns.problems())
        for name, service in self.services.items():
            yield from (problem.under(f"services.{name}") for problem in service.problems())


@dataclass(frozen=True, kw_only=True)
class ServiceDiscoveryArgs:
    """Settings arrive valid; `namespace` must exist."""

    discovery: Discovery
    cluster: Cluster
    ingress: Ingress
    load_balancer: LoadBalancer
    monitoring: Monitoring
    chart: Chart
    namespace: pulumi.Input[str]

    @classmethod
    def of(cls, layers: "Layers", *, namespace: pulumi.Input[str]) -> Self:
        """What this component takes of a stack's settings."""
        return cls(
            discovery=layers.discovery,
            cluster=layers.cluster,
            ingress=layers.ingress,
            load_balancer=layers.load_balancer,
            monitoring=layers.monitoring,
            chart=layers.charts["k8s-gateway"],
            namespace=namespace,
        )

    @property
    def gateway_address(self) -> IPv4Address | None:
        """Where k8s-gateway answers, None where there is none."""
        return self.load_balancer.addresses[GATEWAY] if self.discovery.lan_dns else None


class ServiceDiscovery(pulumi.ComponentResource):
    """Names on the LAN and in the cluster (`anton:network:ServiceDiscovery`).

    Registers the release `k8s-gateway` with its disruption budget, metrics Service and ServiceMonitor; the Services of
    `discovery.services`; and a patch of CoreDNS's Corefile only where `discovery.coredns.manage` is true. `outputs` are
    the lines that owners of router and CoreDNS need, by name of the stack output.
    """

    cluster_dns: pulumi.Output[str]
    gateway_address: pulumi.Output[str] | None
    outputs: dict[str, str]

    def __init__(self, name: str, args: ServiceDiscoveryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:ServiceDiscovery", name, {}, opts)
        discovery, address = args.discovery, args.gateway_address
        if discovery.lan_dns and address:
            self._gateway(name, args, discovery.lan_dns, address)
        if discovery.coredns.manage:
            self._corefile(name, corefile(discovery.coredns, args.cluster.domain, address))
        for service, settings in discovery.services.items():
            Service(
                f"{name}-{settings.namespace}-{service}",
                metadata=ObjectMetaArgs(name=service, namespace=settings.namespace, annotations=DO_NOT_WAIT),
                spec=_service_spec(settings),
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.cluster_dns = pulumi.Output.from_input(str(cluster_dns_address(args.cluster.service_cidr)))
        self.gateway_address = pulumi.Output.from_input(str(address)) if address else None
        self.outputs = exports(args)
        self.register_outputs({"cluster_dns": self.cluster_dns, **self.outputs})

    def _gateway(self, name: str, args: ServiceDiscoveryArgs, gateway: LanDns, address: IPv4Address) -> None:
        values = gateway_values(gateway, args.cluster.domain, lan_classes(args.ingress), address)
        release = Release(
            f"{name}-{GATEWAY}",
            release_args(args.chart, name=GATEWAY, namespace=args.namespace, values=values),
            opts=pulumi.ResourceOptions(parent=self),
        )
        after = pulumi.ResourceOptions(parent=self, depends_on=[release])
        if gateway.replicas > 1:
            PodDisruptionBudget(
                f"{name}-{GATEWAY}-budget",
                metadata=ObjectMetaArgs(name=GATEWAY, namespace=args.namespace),
                spec=PodDisruptionBudgetSpecArgs(
                    min_available=1, selector=LabelSelectorArgs(match_labels=GATEWAY_LABELS)
                ),
                opts=after,
            )
        # The chart's Service has no port for metrics: one of its own, out of reach from the LAN.
        labels = GATEWAY_LABELS | {"app.kubernetes.io/component": "metrics"}
        Service(
            f"{name}-{GATEWAY}-metrics",
            metadata=ObjectMetaArgs(
                name=f"{GATEWAY}-metrics", namespace=args.namespace, labels=labels, annotations=DO_NOT_WAIT
            ),
            spec=ServiceSpecArgs(
                cluster_ip="None",
                selector=GATEWAY_LABELS,
                ports=[ServicePortArgs(name="metrics", port=METRICS_PORT, target_port="metrics")],
            ),
            opts=after,
        )
        if args.monitoring.enabled:
            CustomResource(
                f"{name}-{GATEWAY}-monitor",
                api_version="monitoring.coreos.com/v1",
                kind="ServiceMonitor",
                metadata=ObjectMetaArgs(name=GATEWAY, namespace=args.namespace, labels=dict(args.monitoring.labels)),
                spec={
                    "jobLabel": "app.kubernetes.io/name",
                    "selector": {"matchLabels": labels},
                    "endpoints": [{"port": "metrics"}],
                },
                opts=after,
            )

    def _corefile(self, name: str, text: str) -> None:
        ConfigMapPatch(
            f"{name}-coredns",
            metadata=ObjectMetaPatchArgs(
                name="coredns",
                namespace="kube-system",
                # The key has an owner already, so server-side apply reports a conflict; taking it over is what
                # `manage` asks for. No other object of this program is forced.
                annotations={"pulumi.com/patchFieldManager": "anton-network", "pulumi.com/patchForce": "true"},
            ),
            data={"Corefile": text},
            # Giving the field up would take the key out of the object, and CoreDNS would start with nothing to serve.
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )


def _service_spec(service: NameService) -> ServiceSpecArgs:
    if service.type is Kind.EXTERNAL_NAME:
        return ServiceSpecArgs(type="ExternalName", external_name=service.host)
    return ServiceSpecArgs(
        cluster_ip="None",
        selector=dict(service.selector or {}),
        ports=[
            ServicePortArgs(name=name, port=entry.port, protocol=entry.protocol.value)
            for name, entry in service.ports.items()
        ],
    )


def lan_classes(ingress: Ingress) -> list[str]:
    """The ingress classes that have an address on the LAN."""
    return [name for name, entry in ingress.classes.items() if entry.service_type is ServiceType.LOAD_BALANCER]


def gateway_values(gateway: LanDns, domain: str, ingress_classes: list[str], address: IPv4Address) -> dict[str, Any]:
    """The values of the k8s-gateway chart (3.7). Every key is proved by rendering in tests/charts/test_k8s_gateway.py.

    `ingress_classes` are those whose hosts are answered; without any, only Services are.
    """
    zones = [domain] if gateway.fallthrough_zones is None else list(gateway.fallthrough_zones)
    return {
        "domain": domain,
        "ttl": gateway.ttl_seconds,
        # An empty filter would mean every class, the tailnet's included.
        "watchedResources": ["Ingress", "Service"] if ingress_classes else ["Service"],
        "filters": {"ingressClasses": ingress_classes},
        "fallthrough": {"enabled": bool(zones), "zones": zones},
        "extraZonePlugins": _gateway_plugins(gateway),
        "service": {
            "type": "LoadBalancer",
            "annotations": {"lbipam.cilium.io/ips": str(address)},
            # Answers beyond 512 bytes, or cut short, are asked for again over TCP.
            "useTcp": True,
            # Local would black-hole queries whenever the node that announces the address runs no pod.
            "externalTrafficPolicy": "Cluster",
        },
        "replicaCount": gateway.replicas,
        "priorityClassName": "system-cluster-critical",
        "topologySpreadConstraints": one_a_node(GATEWAY_LABELS),
        "resources": gateway.resources.values(),
        "podSecurityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _gateway_plugins(gateway: LanDns) -> list[dict[str, str]]:
    """The chart's own list, without its query log, and with other upstreams.

    The chart forwards to the pod's resolver, which is CoreDNS. Where that forwards `cluster.domain` to k8s-gateway, a
    name that falls through would go round between the two.
    """
    return [
        {"name": "errors"},
        {"name": "health", "configBlock": "lameduck 5s"},
        {"name": "ready"},
        {"name": "prometheus", "parameters": f"0.0.0.0:{METRICS_PORT}"},
        {"name": "forward", "parameters": " ".join([".", *map(str, gateway.upstreams)])},
        {"name": "loop"},
        {"name": "reload"},
        {"name": "loadbalance"},
    ]


def exports(args: ServiceDiscoveryArgs) -> dict[str, str]:
    """The stack outputs of this layer, by name: text for those who own the router and CoreDNS."""
    coredns, address, domain = args.discovery.coredns, args.gateway_address, args.cluster.domain
    texts = {
        "cluster_dns_address": str(cluster_dns_address(args.cluster.service_cidr)),
        "coredns_server_blocks": server_blocks(coredns, domain, address),
    }
    if address:
        texts["lan_dns_dnsmasq"] = f"server=/{domain}/{address}\nrebind-domain-ok=/{domain}/\n"
        texts["lan_dns_unbound"] = (
            # Private answers are let through, and not judged by the public zone's DNSSEC keys.
            f'server:\n  private-domain: "{domain}"\n  domain-insecure: "{domain}"\n'
            f'forward-zone:\n  name: "{domain}"\n  forward-addr: {address}\n'
        )
    return texts
