"""What the rules read: every layer's settings."""

from collections.abc import Mapping
from typing import Protocol

from components.applications import ApplicationSet, Published
from components.certificates import CertManager
from components.charts import Chart
from components.cilium import Cilium
from components.cloudflare import Cloudflare
from components.cluster import Cluster, Kubernetes
from components.discovery import Discovery
from components.load_balancer import LoadBalancer
from components.monitoring import Monitoring
from components.nginx import Ingress
from components.nodes import Physical
from components.policies import Policies
from components.tailscale import Tailscale


class Layers(Protocol):
    """The settings of a stack (`settings.Settings`), valid layer by layer."""

    @property
    def physical(self) -> Physical: ...
    @property
    def cluster(self) -> Cluster: ...
    @property
    def kubernetes(self) -> Kubernetes: ...
    @property
    def cilium(self) -> Cilium: ...
    @property
    def load_balancer(self) -> LoadBalancer: ...
    @property
    def certificates(self) -> CertManager: ...
    @property
    def ingress(self) -> Ingress: ...
    @property
    def tailscale(self) -> Tailscale: ...
    @property
    def cloudflare(self) -> Cloudflare: ...
    @property
    def applications(self) -> ApplicationSet: ...
    @property
    def network_policies(self) -> Policies: ...
    @property
    def discovery(self) -> Discovery: ...
    @property
    def monitoring(self) -> Monitoring: ...
    @property
    def charts(self) -> Mapping[str, Chart]: ...
    @property
    def published(self) -> list[Published]: ...
