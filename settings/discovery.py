"""Service discovery: names on the LAN, CoreDNS, and the Services that only give out names."""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, StringConstraints

from settings.applications import LabelKey, Port
from settings.fields import (
    WITHOUT,
    DnsLabel,
    DomainName,
    Form,
    LabelValue,
    Model,
    OneANode,
    Problem,
    Protocol,
    ResourceAmounts,
    Resources,
    ServerAddress,
    ServiceName,
    ZoneName,
    below,
    over,
)

CLUSTER_DOMAIN = "cluster.local"


def _zone(value: Any) -> Any:
    if value == ".":
        raise ValueError("is every name that no zone has: discovery.coredns.upstreams are asked for those")
    if isinstance(value, str) and f".{value}".endswith(f".{CLUSTER_DOMAIN}"):
        raise ValueError(f"is the cluster's own domain, or in it: CoreDNS answers for {CLUSTER_DOMAIN} itself")
    return value


Zone = Annotated[ZoneName, BeforeValidator(_zone)]
"""A zone that other resolvers answer."""

Resolvers = Annotated[tuple[ServerAddress, ...], Field(min_length=1, examples=[["192.168.1.1"]])]
"""Resolvers of one zone."""


class CoreDns(Model):
    """The cluster's own DNS, installed and owned by others."""

    retired: ClassVar[Mapping[str, str]] = {
        "corefile": "is composed from the other keys, so that no part of it is forgotten",
    }

    manage: bool = Field(
        default=False,
        description="take over the Corefile of ConfigMap kube-system/coredns; otherwise it is left alone and the "
        "server blocks are a stack output for its owner",
    )
    cluster_domain: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[-a-z0-9]+)*$"),
        Form("must be a DNS name in lower case"),
    ] = Field(default=CLUSTER_DOMAIN, description="domain of the cluster's Services", examples=["cluster.local"])
    forward_lan_domain: bool = Field(
        default=True, description="let k8s-gateway answer pods for `cluster.domain`, as it answers the LAN"
    )
    zones: dict[Zone, Resolvers] = Field(
        default={}, description="zones that other resolvers answer", examples=[{"home.arpa": ["192.168.1.1"]}]
    )
    upstreams: tuple[ServerAddress, ...] = Field(
        default=(), description="resolvers for all other names; those of the node when empty", examples=[["1.1.1.1"]]
    )


def cluster_dns_address(service_cidr: IPv4Network) -> IPv4Address:
    """The address of the cluster's DNS Service: the tenth of the service network, as Talos and kubeadm choose it.

    Raises IndexError for a network of fewer than eleven addresses.
    """
    return service_cidr[10]


GATEWAY = "k8s-gateway"
"""Name of the release, its objects, and its entry in `loadBalancer.addresses`."""


class Kind(StrEnum):
    """Services that only give out names."""

    HEADLESS = "headless"
    EXTERNAL_NAME = "external-name"


NOT_OFFERED = {
    "nodeport": "opens a port on every node's own address, past the ingress controllers and their limits; publish "
    "through `applications`",
    "loadbalancer": "addresses on the LAN come from Cilium's LB-IPAM (not MetalLB); publish HTTP through "
    "`applications`, and for other protocols the application's own Service asks for one, whose clients are let in by "
    "networkPolicies.namespaces.<name>.clients",
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
                yield Problem(key, shown, reason, WITHOUT, because=("type",))


GATEWAY_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="10m", memory="64Mi"), limits=ResourceAmounts(memory="128Mi")
)

PUBLIC_RESOLVERS = (IPv4Address("1.1.1.1"), IPv4Address("1.0.0.1"))


class LanDns(Model):
    """DNS of `cluster.domain` for the LAN, from the addresses of Ingress and Service objects."""

    replicas: Annotated[int, OneANode()] = Field(
        default=2, ge=1, description="pods, one a node; by default no more than there are nodes", examples=[2]
    )
    ttl_seconds: int = Field(default=1, ge=0, le=3600, description="how long clients keep an answer", examples=[1])
    fallthrough_zones: tuple[DomainName, ...] | None = Field(
        default=None,
        description="zones in which `upstreams` are asked for names that no object here has; `cluster.domain` when "
        "unset, so that hosts behind the tunnel resolve on the LAN too; an empty list for none",
        examples=[["example.com"]],
    )
    upstreams: tuple[ServerAddress, ...] = Field(
        default=PUBLIC_RESOLVERS,
        min_length=1,
        description="public resolvers for all other names; never one that forwards `cluster.domain` back to here",
        examples=[["1.1.1.1", "1.0.0.1"]],
    )
    resources: Annotated[Resources, over(GATEWAY_RESOURCES)] = Field(
        default=GATEWAY_RESOURCES, description="requests and limits"
    )

    def problems(self) -> Iterator[Problem]:
        yield from below("resources", self.resources.problems())


class Discovery(Model):
    """Names inside the cluster and on the LAN."""

    retired: ClassVar[Mapping[str, str]] = {
        "metallb": "is not installed; LoadBalancer addresses are Cilium's (loadBalancer.pools)",
        "nodePorts": NOT_OFFERED["nodeport"],
    }

    enabled: bool = Field(default=False, description="deploy this layer")
    lan_dns: LanDns | None = Field(default=LanDns(), description="DNS for the LAN; null for none")
    coredns: CoreDns = Field(default=CoreDns(), description="DNS for pods")
    services: dict[ServiceName, NameService] = Field(
        default={},
        description="headless and ExternalName Services by name",
        examples=[{"database": {"namespace": "production", "type": "external-name", "host": "db.example.net"}}],
    )

    def problems(self) -> Iterator[Problem]:
        if self.lan_dns:
            yield from below("lanDns", self.lan_dns.problems())
        for name, service in self.services.items():
            yield from below(f"services.{name}", service.problems())
