"""Rules between Tailscale and the networks and names that it leads to."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network

from settings.applications import PROXY_GROUP, TAILSCALE_CLASS, Published
from settings.discovery import GATEWAY
from settings.fields import WITHOUT, Problem, readable
from settings.stack import Settings
from settings.tailscale.operator import advertised_routes

TAILSCALE_ADDRESSES = IPv4Network("100.64.0.0/10")
"""Addresses of the tailnet's own devices."""


def connector_addresses(settings: Settings) -> Iterator[Problem]:
    """The addresses to advertise by name exist."""
    connector = settings.tailscale.connector
    if not settings.tailscale.enabled or connector is None:
        return
    for name in connector.addresses:
        if name not in settings.load_balancer.addresses:
            known = sorted(settings.load_balancer.addresses) or "a name of loadBalancer.addresses"
            key, reason = "tailscale.connector.addresses", "has no entry in loadBalancer.addresses"
            yield Problem(key, name, reason, known, because=("loadBalancer.addresses",))


def connector_routes(settings: Settings) -> Iterator[Problem]:
    """Routes lead to services, never to the machines behind them or into the tailnet itself."""
    connector = settings.tailscale.connector
    if not settings.tailscale.enabled or connector is None:
        return
    for route in connector.routes:
        key, example = "tailscale.connector.routes", ["192.168.1.103/32"]
        if route.overlaps(TAILSCALE_ADDRESSES):
            reason = f"overlaps {TAILSCALE_ADDRESSES}, the addresses of the tailnet's own devices"
            yield Problem(key, str(route), reason, example)
        exposed = [
            f"{address} ({owner})" for address, owner in sorted(settings.physical.taken().items()) if address in route
        ]
        if exposed and not connector.expose_nodes:
            whole = "the whole node subnet with " if route.supernet_of(settings.physical.subnet) else ""
            reason = f"holds {whole}addresses that are no service's: {', '.join(exposed)}; exposeNodes: true allows it"
            yield Problem(key, str(route), reason, example, because=("tailscale.connector.exposeNodes",))


def split_dns(settings: Settings) -> Iterator[Problem]:
    """Who resolves names at k8s-gateway reaches it, and it answers.

    Else every device of the tailnet would lose the domain, public names included.
    """
    tailscale = settings.tailscale
    if not tailscale.enabled or tailscale.tailnet is None or tailscale.tailnet.split_dns is None:
        return
    key, value = "tailscale.tailnet.splitDns", tailscale.tailnet.split_dns.model_dump(by_alias=True)
    address = settings.load_balancer.addresses.get(GATEWAY)
    if address is None:
        reason = f"needs loadBalancer.addresses.{GATEWAY}, which is not set"
        yield Problem(key, value, reason, WITHOUT, because=("loadBalancer.addresses",))
        return
    if not settings.discovery.enabled:
        reason = f"asks {address}, where nothing answers: discovery.enabled is false"
        yield Problem(key, value, reason, WITHOUT, ("discovery.enabled",))
    connector = tailscale.connector
    routes = advertised_routes(connector, settings.load_balancer, settings.cluster) if connector else []
    if not tailscale.tailnet.split_dns.reachable and not any(address in route for route in routes):
        reason = f"asks {address}, which no route of tailscale.connector leads to"
        because = ("tailscale.connector", "loadBalancer.addresses", "cluster.serviceCidr")
        yield Problem(key, value, reason, {**value, "reachable": True}, because)
    policy = tailscale.tailnet.policy
    if policy and not any(grant.opens(address, "udp", 53) for grant in policy.grants.values()):
        grant = {"src": ["autogroup:member"], "dst": [str(address)], "ip": ["53"]}
        reason = f"has nobody reach {address} on UDP 53, where splitDns sends every device of the tailnet"
        yield Problem("tailscale.tailnet.policy.grants", sorted(policy.grants), reason, {"dns": grant})


def device_names(settings: Settings) -> Iterator[Problem]:
    """No two devices want one name: the second to come would get it with `-1` behind it."""
    tailscale = settings.tailscale
    if not tailscale.enabled:
        return
    owners = {name: f"the node {name}" for name in settings.physical.nodes}
    group = tailscale.proxy_group
    proxies = [f"{PROXY_GROUP}-{replica}" for replica in range(group.replicas)] if group else []
    if taken := _taken(proxies, owners):
        reason = f"has a device of the name of {taken}, which may be in the tailnet itself"
        shown = group.model_dump() if group else None
        yield Problem("tailscale.proxyGroup", shown, reason, WITHOUT)
    owners |= dict.fromkeys(proxies, "a proxy (tailscale.proxyGroup)")
    router = tailscale.connector
    routers = [f"{router.hostname}-{replica}" for replica in range(router.replicas)] if router else []
    if router and (taken := _taken(routers, owners)):
        reason = f"makes the devices {', '.join(routers)}, and one is the name of {taken}"
        yield Problem("tailscale.connector.hostname", router.hostname, reason, "anton-lan")
    owners |= dict.fromkeys(routers, "the subnet router (tailscale.connector.hostname)")
    if taken := _taken([tailscale.hostname], owners):
        reason = f"is the name of {taken}, which may be in the tailnet itself"
        because = ("tailscale.connector.hostname",)
        yield Problem("tailscale.hostname", tailscale.hostname, reason, "tailscale-operator", because)
    owners[tailscale.hostname] = "the operator (tailscale.hostname)"
    yield from readable(*(_device_name(each, owners) for each in settings.published))


def _device_name(application: Published, owners: Mapping[str, str]) -> Iterator[Problem]:
    if application.ingress_class == TAILSCALE_CLASS and application.host in owners:
        reason = f"is the name of {owners[application.host]}; one of them would be called {application.host}-1"
        rests_on, example = ("tailscale.hostname", "tailscale.connector.hostname"), f"{application.host}-web"
        yield Problem(f"applications.{application.name}", application.host, reason, example, rests_on)


def _taken(names: Iterable[str], owners: Mapping[str, str]) -> str | None:
    """The owner of the first of `names` that has one."""
    return next((owners[name] for name in names if name in owners), None)


def socket_load_balancing(settings: Settings) -> Iterator[Problem]:
    """Cilium leaves the proxies' connections to Services alone (Tailscale's advice for the kube-proxy replacement)."""
    cilium = settings.cilium
    if settings.tailscale.enabled and cilium.kube_proxy_replacement and not cilium.socket_lb_host_namespace_only:
        reason = (
            "with tailscale.enabled Cilium would rewrite connections inside the proxies' pods, past their forwarding"
        )
        because = ("tailscale.enabled", "cilium.kubeProxyReplacement")
        yield Problem("cilium.socketLbHostNamespaceOnly", False, reason, True, because)


RULES = (connector_addresses, connector_routes, split_dns, device_names, socket_load_balancing)
