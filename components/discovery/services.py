"""Service discovery: names on the LAN, names for pods, and the Service objects that only give out names.

Owns k8s-gateway (DNS of `cluster.domain` for the LAN) and the headless and ExternalName Services that applications ask
for. Leaves CoreDNS to whoever installed it, unless `discovery.coredns.manage` says otherwise; leaves public records to
the Cloudflare edge, the tailnet's DNS to the tailnet, and the router to its owner, who gets its lines ready to use.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Self

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import ConfigMapPatch, Service, ServicePortArgs, ServiceSpecArgs
from pulumi_kubernetes.helm.v3 import Release
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs, ObjectMetaPatchArgs
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget, PodDisruptionBudgetSpecArgs

from components.charts import release_args
from components.discovery.corefile import METRICS_PORT, corefile, server_blocks
from components.discovery.gateway import GATEWAY_LABELS, gateway_values, lan_classes
from settings.charts.model import Chart
from settings.cluster import Cluster
from settings.discovery import GATEWAY, Discovery, Kind, LanDns, NameService, cluster_dns_address
from settings.ingress import Ingress
from settings.load_balancer import LoadBalancer
from settings.monitoring import Monitoring
from settings.stack import Settings

DO_NOT_WAIT = {"pulumi.com/skipAwait": "true"}
"""Pulumi would wait until pods stand behind the Service; whose pods those are is not this layer's business."""


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
    def of(cls, settings: Settings, *, namespace: pulumi.Input[str]) -> Self:
        """What this component takes of a stack's settings."""
        return cls(
            discovery=settings.discovery,
            cluster=settings.cluster,
            ingress=settings.ingress,
            load_balancer=settings.load_balancer,
            monitoring=settings.monitoring,
            chart=settings.charts["k8s-gateway"],
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
