"""CoreDNS, the cluster's own DNS: what its configuration says, composed as text.

Pure functions; `services.ServiceDiscovery` writes the text where it is asked to, and publishes it for CoreDNS's owner
otherwise.
"""

from ipaddress import IPv4Address

from settings.discovery import CoreDns

METRICS_PORT = 9153
"""Where CoreDNS, and k8s-gateway as a build of it, serve metrics."""


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
