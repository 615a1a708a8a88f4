"""The Kubernetes cluster as the network sees it: its networks, its platform and how the program reaches it."""

from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from settings.fields import DomainName, Form, Model, Network

KUBE_PRISM_PORT = 7445
"""Where Talos' own load balancer for the API server listens on every node."""


class Platform(StrEnum):
    """The operating system of the nodes, where Cilium has to know it."""

    TALOS = "talos"
    GENERIC = "generic"


class Cluster(Model):
    """Networks, domain and platform of the cluster."""

    domain: DomainName = Field(
        description="DNS domain of the published services, and the Cloudflare zone where there is one"
    )
    pod_cidr: Network = Field(
        default=IPv4Network("10.244.0.0/16"), description="pod network, CIDR", examples=["10.244.0.0/16"]
    )
    node_pod_prefix_length: int = Field(
        default=24,
        ge=16,
        le=28,
        description="prefix length of each node's share of the pod network (controller manager's node-cidr-mask-size)",
        examples=[24],
    )
    service_cidr: Network = Field(
        default=IPv4Network("10.96.0.0/12"), description="service network, CIDR", examples=["10.96.0.0/12"]
    )
    platform: Platform = Field(
        default=Platform.TALOS,
        description="`talos`: KubePrism as API endpoint, cgroup v2 mounted, no SYS_MODULE; `generic`: none of it",
        examples=["talos"],
    )
    talos_version: Annotated[
        str,
        StringConstraints(pattern=r"^1\.(1[0-9]|[2-9][0-9])$"),
        Form("must be a minor version of Talos from 1.10 on, in quotes"),
    ] = Field(
        default="1.10",
        description="minor version that the machine configurations were generated for, with its form of the patches",
        examples=["1.10"],
    )
    allow_scheduling_on_control_planes: bool = Field(
        default=True, description="control planes take pods as workers do; false needs a worker"
    )

    @property
    def pods_per_node(self) -> int:
        """How many pods get an address on a node: its share without both ends, Cilium's router and its health check."""
        return int(2 ** (32 - self.node_pod_prefix_length)) - 4


class Kubernetes(Model):
    """Which cluster the Kubernetes provider talks to."""

    context: str = Field(
        min_length=1,
        description="kubeconfig context; always explicit, so that no other cluster is changed by accident",
        examples=["admin@anton"],
    )
    kubeconfig: Annotated[str, AfterValidator(lambda path: str(Path(path).expanduser()))] | None = Field(
        default=None,
        min_length=1,
        description="path of the kubeconfig; else KUBECONFIG or ~/.kube/config",
        examples=["~/.kube/anton"],
    )
    protect: bool = Field(
        default=True, description="refuse to delete what would cut the operator off (Cilium, the namespace)"
    )
