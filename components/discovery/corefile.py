"""CoreDNS, the cluster's own DNS: what its configuration says, composed as text.

Models and pure functions; `discovery.ServiceDiscovery` writes the text where it is asked to, and publishes it for
CoreDNS's owner otherwise.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, StringConstraints

from components.fields import Address, DomainName, Form, Model

METRICS_PORT = 9153
"""Where CoreDNS, and k8s-gateway as a build of it, serve metrics."""

CLUSTER_DOMAIN = "cluster.local"


def _zone(value: Any) -> Any:
    if value == ".":
        raise ValueError("is every name that no zone has: discovery.coredns.upstreams are asked for those")
    if isinstance(value, str) and f".{value}".endswith(f".{CLUSTER_DOMAIN}"):
        raise ValueError(f"is the cluster's own domain, or in it: CoreDNS answers for {CLUSTER_DOMAIN} itself")
    return value


Zone = Annotated[DomainName, BeforeValidator(_zone), Field(examples=["home.arpa"])]
"""A zone that other resolvers answer."""

Resolvers = Annotated[tuple[Address, ...], Field(min_length=1, examples=[["192.168.1.1"]])]
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
    upstreams: tuple[Address, ...] = Field(
        default=(), description="resolvers for all other names; those of the node when empty", examples=[["1.1.1.1"]]
    )


def cluster_dns_address(service_cidr: IPv4Network) -> IPv4Address:
    """The address of the cluster's DNS Service: the tenth of the service network, as Talos and kubeadm choose it.

    Raises IndexError for a network of fewer than eleven addresses.
    """
    return service_cidr[10]


def corefile(coredns: CoreDns, domain: str, gateway_address: IPv4Address | None) -> str:
    """The whole configuration of CoreDNS, as the cluster's installer writes it and with the custom zones."""
    upstreams = " ".join(map(str, coredns.upstreams)) or "/etc/resolv.conf"
    main = _block(
        ".",
        "errors",
        "health {\n    lameduck 5s\n}",
        "ready",
        f"kubernetes {coredns.cluster_domain} in-addr.arpa ip6.arpa {{\n"
        "    pods insecure\n    fallthrough in-addr.arpa ip6.arpa\n    ttl 30\n}",
        f"prometheus :{METRICS_PORT}",
        f"forward . {upstreams}",
        "cache 30",
        "loop",
        "reload",
        "loadbalance",
    )
    return main + server_blocks(coredns, domain, gateway_address)


def server_blocks(coredns: CoreDns, domain: str, gateway_address: IPv4Address | None) -> str:
    """One server block for each zone that another resolver answers; empty text where there is none."""
    zones = forwarded_zones(coredns, domain, gateway_address)
    return "".join(
        _block(zone, "errors", "cache 30", f"forward . {' '.join(map(str, resolvers))}")
        for zone, resolvers in zones.items()
    )


def forwarded_zones(
    coredns: CoreDns, domain: str, gateway_address: IPv4Address | None
) -> dict[str, tuple[IPv4Address, ...]]:
    """The zones of the cluster's DNS that other resolvers answer, with those resolvers."""
    lan = {domain: (gateway_address,)} if coredns.forward_lan_domain and gateway_address else {}
    return lan | coredns.zones


def _block(zone: str, *directives: str) -> str:
    lines = [f"    {line}" for directive in directives for line in directive.splitlines()]
    return "\n".join([f"{zone}:53 {{", *lines, "}", ""])
