"""Rules between service discovery and the addresses it answers with."""

from collections.abc import Iterator
from ipaddress import IPv4Address

from settings.discovery import CLUSTER_DOMAIN, GATEWAY, cluster_dns_address
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
    for zone in coredns.zones:
        key, example = f"discovery.coredns.zones.{zone}", "home.arpa"
        if _under(zone, coredns.cluster_domain):
            reason = f"is in the cluster's own domain {coredns.cluster_domain}, which CoreDNS answers from the API"
            yield Problem(key, zone, reason, example, because=("discovery.coredns.clusterDomain",))
        elif zone == domain and gateway and coredns.forward_lan_domain:
            reason = "is cluster.domain, which discovery.coredns.forwardLanDomain gives to k8s-gateway"
            because = ("cluster.domain", "discovery.coredns.forwardLanDomain", "discovery.lanDns")
            yield Problem(key, zone, reason, example, because)
    for zone in (gateway.fallthrough_zones if gateway else None) or ():
        if zone != domain and not zone.endswith(f".{domain}"):
            reason = f"lies outside cluster.domain {domain}; names there are forwarded anyway"
            yield Problem("discovery.lanDns.fallthroughZones", zone, reason, [domain])


def cluster_domain(settings: Settings) -> Iterator[Problem]:
    """The cluster's own domain holds nothing but Services, and its names are asked for at CoreDNS alone."""
    discovery, domain = settings.discovery, settings.cluster.domain
    own, coredns = discovery.coredns.cluster_domain, discovery.coredns
    if not discovery.enabled:
        return
    key = "discovery.coredns.clusterDomain"
    others = {"cluster.domain": domain} | (_names_outside(settings) if own != CLUSTER_DOMAIN else {})
    taken = next((other for other, name in others.items() if _under(name, own)), None)
    elsewhere = {f"discovery.coredns.zones.{zone}": zone for zone in coredns.zones if zone != own}
    if discovery.lan_dns and coredns.forward_lan_domain:
        elsewhere["discovery.coredns.forwardLanDomain"] = domain
    asked = next((other for other, zone in elsewhere.items() if _under(own, zone)), None)
    if taken:
        reason = (
            f"holds {others[taken]} ({taken}): CoreDNS would answer there from the cluster's Services alone, and no "
            "pod would find it"
        )
        yield Problem(key, own, reason, CLUSTER_DOMAIN, because=(taken,))
    elif asked:
        reason = f"lies in {elsewhere[asked]}, for which other resolvers are asked ({asked}): no Service would be found"
        yield Problem(key, own, reason, CLUSTER_DOMAIN, because=(asked,))
    for name, service in discovery.services.items():
        if service.host and _under(service.host, f"svc.{own}"):
            reason = "is a Service of the cluster; clients name it themselves, within its namespace's policies"
            yield Problem(f"discovery.services.{name}.host", service.host, reason, "db.example.net", because=(key,))


def _names_outside(settings: Settings) -> dict[str, str]:
    """Names outside of the cluster that pods are to find, by their keys."""
    services = settings.discovery.services.items()
    svc = f"svc.{settings.discovery.coredns.cluster_domain}"
    found = {
        f"discovery.services.{name}.host": service.host
        for name, service in services
        if service.host and not _under(service.host, svc)
    }
    namespaces = settings.network_policies.namespaces if settings.network_policies.enabled else {}
    for namespace, entry in namespaces.items():
        for name, egress in entry.egress.items():
            for domain in egress.domains:
                if not _under(domain, svc):
                    found.setdefault(f"networkPolicies.namespaces.{namespace}.egress.{name}.to", domain)
    return found


def _under(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


def service_names(settings: Settings) -> Iterator[Problem]:
    """No two Services are called the same within the program, which joins namespace and name by a hyphen."""
    discovery = settings.discovery
    owners = {f"{GATEWAY}-metrics": f"the metrics of {GATEWAY}"} if discovery.enabled and discovery.lan_dns else {}
    for name, service in discovery.services.items() if discovery.enabled else ():
        key, joined = f"discovery.services.{name}", f"{service.namespace}-{name}"
        first = owners.setdefault(joined, key)
        if first != key:
            reason = f"in namespace {service.namespace} would be {joined} in Pulumi's state, as {first} is"
            yield Problem(key, name, reason, f"{name}-2", because=(first,))


def replicas(settings: Settings) -> Iterator[Problem]:
    """Pods that are spread one a node have enough nodes."""
    gateway = settings.discovery.lan_dns
    if settings.discovery.enabled and gateway:
        yield from too_few_nodes(settings, "discovery.lanDns.replicas", gateway.replicas)


RULES = (gateway_address, forwarding_loops, zones, cluster_domain, service_names, replicas)
