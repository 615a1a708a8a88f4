"""Rules between service discovery and the addresses it answers with."""

from collections.abc import Iterator
from ipaddress import IPv4Address

from settings.discovery import GATEWAY, cluster_dns_address
from settings.fields import Problem
from settings.rules.network import too_few_nodes
from settings.stack import Settings


def gateway_address(settings: Settings) -> Iterator[Problem]:
    """k8s-gateway has a fixed address: the router names it."""
    discovery, balancer = settings.discovery, settings.load_balancer
    if discovery.enabled and discovery.lan_dns and GATEWAY not in balancer.addresses:
        reason = "is required by discovery.lanDns, because the LAN's resolver names it"
        key = f"loadBalancer.addresses.{GATEWAY}"
        yield Problem(key, None, reason, balancer.free_address(), because=("discovery.lanDns",))


def cluster_dns(settings: Settings) -> Iterator[Problem]:
    """The service network holds the cluster DNS address, its tenth."""
    network = settings.cluster.service_cidr
    if settings.discovery.enabled and network.num_addresses <= 10:
        reason = "has no tenth address, where the cluster's DNS Service stands"
        yield Problem("cluster.serviceCidr", str(network), reason, "10.96.0.0/12")


def forwarding_loops(settings: Settings) -> Iterator[Problem]:
    """No resolver is asked for names that it would ask this one for in turn."""
    discovery, network = settings.discovery, settings.cluster.service_cidr
    if not discovery.enabled or network.num_addresses <= 10:
        return
    own = {cluster_dns_address(network): "is the cluster's own DNS address, so queries would go round"}
    declared: dict[str, tuple[IPv4Address, ...]] = {
        f"discovery.coredns.zones.{zone}": resolvers for zone, resolvers in discovery.coredns.zones.items()
    }
    declared["discovery.coredns.upstreams"] = discovery.coredns.upstreams
    for key, resolvers in declared.items():
        for resolver in resolvers:
            if resolver in own:
                because = ("cluster.serviceCidr",)
                yield Problem(key, str(resolver), own[resolver], ["1.1.1.1", "1.0.0.1"], because)
    if discovery.lan_dns is None:
        return
    back = "forwards cluster.domain to k8s-gateway, so names that fall through would go round"
    behind = own | {settings.physical.gateway: f"is the router, which {back}"}
    if address := settings.load_balancer.addresses.get(GATEWAY):
        behind[address] = "is k8s-gateway's own address, so queries would go round"
    for resolver in discovery.lan_dns.upstreams:
        if resolver in behind:
            key, because = "discovery.lanDns.upstreams", ("cluster.serviceCidr",)
            yield Problem(key, str(resolver), behind[resolver], ["1.1.1.1", "1.0.0.1"], because)


def zones(settings: Settings) -> Iterator[Problem]:
    """Every zone has one server block, and k8s-gateway falls through only where it answers."""
    discovery, domain = settings.discovery, settings.cluster.domain
    if not discovery.enabled:
        return
    coredns, gateway = discovery.coredns, discovery.lan_dns
    reserved = {coredns.cluster_domain: "is the cluster's own domain, which CoreDNS answers from the API"}
    if gateway and coredns.forward_lan_domain:
        reserved[domain] = "is cluster.domain, which discovery.coredns.forwardLanDomain gives to k8s-gateway"
    for zone in coredns.zones:
        if zone in reserved:
            key, example = f"discovery.coredns.zones.{zone}", "another zone, such as home.arpa"
            because = ("discovery.coredns.clusterDomain", "discovery.coredns.forwardLanDomain", "discovery.lanDns")
            yield Problem(key, zone, reserved[zone], example, because)
    for zone in (gateway.fallthrough_zones if gateway else None) or ():
        if zone != domain and not zone.endswith(f".{domain}"):
            reason = f"lies outside cluster.domain {domain}; names there are forwarded anyway"
            yield Problem("discovery.lanDns.fallthroughZones", zone, reason, [domain])


def replicas(settings: Settings) -> Iterator[Problem]:
    """Pods that are spread one a node have enough nodes."""
    gateway = settings.discovery.lan_dns
    if settings.discovery.enabled and gateway:
        yield from too_few_nodes(settings, "discovery.lanDns.replicas", gateway.replicas)


def services(settings: Settings) -> Iterator[Problem]:
    """Services stand in namespaces of applications, not in the cluster's own."""
    if settings.discovery.enabled:
        for name, service in settings.discovery.services.items():
            if service.namespace == "kube-system":
                key = f"discovery.services.{name}.namespace"
                yield Problem(key, service.namespace, "belongs to the cluster", "production")


RULES = (gateway_address, cluster_dns, forwarding_loops, zones, replicas, services)
