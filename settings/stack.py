"""All settings of a stack, by layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi

from settings.applications import ApplicationSet, Published
from settings.certificates import CertManager
from settings.charts.model import Chart, Charts
from settings.cilium import Cilium
from settings.cloudflare.edge import Cloudflare
from settings.cluster import Cluster, Kubernetes
from settings.discovery import Discovery
from settings.fields import Model, UnreadError
from settings.ingress import Ingress
from settings.load_balancer import LoadBalancer
from settings.monitoring import Monitoring
from settings.nodes import Physical, Role
from settings.policies.model import Policies
from settings.tailscale.operator import Tailscale

NAMESPACE = "anton-network"
"""The project's name in Pulumi.yaml, under which Pulumi keeps its config."""

GROUPS: dict[str, type[Model]] = {
    "physical": Physical,
    "cluster": Cluster,
    "kubernetes": Kubernetes,
    "cilium": Cilium,
    "loadBalancer": LoadBalancer,
    "certificates": CertManager,
    "ingress": Ingress,
    "tailscale": Tailscale,
    "cloudflare": Cloudflare,
    "applications": ApplicationSet,
    "networkPolicies": Policies,
    "discovery": Discovery,
    "monitoring": Monitoring,
    "charts": Charts,
}
"""Config keys of the project, one object a layer, with the model that each is read into."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything the components are built from, valid as a whole."""

    physical: Physical
    cluster: Cluster
    kubernetes: Kubernetes
    cilium: Cilium
    load_balancer: LoadBalancer
    certificates: CertManager
    ingress: Ingress
    tailscale: Tailscale
    cloudflare: Cloudflare
    applications: ApplicationSet
    network_policies: Policies
    discovery: Discovery
    monitoring: Monitoring
    charts: Mapping[str, Chart]
    secrets: Mapping[str, pulumi.Output[str]] = field(default_factory=dict)

    @property
    def nodes_for_pods(self) -> list[str]:
        """The names of the nodes that take the network's pods; Cilium's own pods run on all."""
        return nodes_for_pods(self.physical, self.cluster)

    @property
    def published(self) -> list[Published]:
        """The applications with nothing left open."""
        try:
            domain: str | None = self.cluster.domain
        except UnreadError:
            domain = None
        return self.applications.published(domain)


def nodes_for_pods(physical: Physical, cluster: Cluster) -> list[str]:
    """The names of the nodes that take pods: workers, and control planes where they may."""
    if cluster.allow_scheduling_on_control_planes:
        return list(physical.nodes)
    return [name for name, node in physical.nodes.items() if node.role is Role.WORKER]
