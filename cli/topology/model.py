"""What a picture of the network shows: boxes in layers and the ways between them, made from the network's model."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from textwrap import wrap

from cli.network import Network, Route, Service
from settings.applications import TAILSCALE_CLASS
from settings.policies.model import OwnPods, PodGroup

CLIENTS, ENTRANCES, INTO_CLUSTER, CONTROLLERS, APPLICATIONS = range(5)
"""Columns from left to right, as traffic flows."""

LANES = ("tunnel", "lan", "tailnet")
"""Rows from top to bottom: what comes from the internet, the LAN and the tailnet."""

LAYERS = ("clients", "ways in", "into the cluster", "ingress", "applications")

TUNNEL, LAN, TAILNET = LANES
PLAIN = "plain"
WIDEST = 52
"""Characters of the longest line that is shown whole."""


@dataclass(frozen=True)
class Box:
    """Something with a name and lines of text; `column` is None below the flow, whose lane is PLAIN."""

    id: str
    title: str
    rows: tuple[str, ...]
    column: int | None = None
    lane: str = PLAIN


@dataclass(frozen=True)
class Link:
    """A way that traffic takes between two boxes, by id."""

    source: str
    target: str
    label: str
    lane: str = PLAIN


@dataclass(frozen=True)
class Topology:
    """A picture without its layout: the flow in columns, the policies and the machines below it."""

    title: str
    flow: tuple[Box, ...]
    links: tuple[Link, ...]
    policies: tuple[Box, ...]
    machines: tuple[Box, ...]

    @classmethod
    def of(cls, network: Network, title: str) -> "Topology":
        """The picture of a network."""
        flow = tuple(_flow(network))
        ids = {box.id for box in flow}
        links = tuple(link for link in _links(network) if {link.source, link.target} <= ids)
        return cls(title, flow, links, tuple(_policies(network)), tuple(_machines(network)))


def _flow(network: Network) -> Iterator[Box]:
    settings = network.settings
    yield Box("internet", "Internet", (), CLIENTS, TUNNEL)
    yield Box("lan", "LAN", (str(settings.physical.subnet),), CLIENTS, LAN)
    if settings.tailscale.enabled:
        yield Box("tailnet", "Tailnet", (), CLIENTS, TAILNET)
    if settings.cloudflare.enabled:
        yield Box("cloudflare", "Cloudflare", tuple(_cloudflare(network)), ENTRANCES, TUNNEL)
        yield Box("cloudflared", "cloudflared", tuple(_tunnel(network)), INTO_CLUSTER, TUNNEL)
    addresses = _table((service.address, service.name) for service in _announced(network))
    if addresses:
        yield Box("addresses", "LAN addresses", addresses, ENTRANCES, LAN)
    if network.advertised:
        yield Box("router", "subnet router", tuple(sorted(network.advertised)), INTO_CLUSTER, TAILNET)
    if settings.discovery.enabled and settings.discovery.lan_dns:
        yield Box("dns", "LAN DNS (k8s-gateway)", (f"*.{settings.cluster.domain}",), CONTROLLERS, LAN)
    for name, routes in _by_class(network).items():
        rows = _table((f"{route.host}{route.path.rstrip('/')}", f"{route.service}:{route.port}") for route in routes)
        title = "Tailscale proxies" if name == TAILSCALE_CLASS else f"{name} controller"
        yield Box(f"controller {name}", title, _class_rows(network, name), CONTROLLERS, _lane(network, name))
        if rows:
            yield Box(f"class {name}", f"class {name}", rows, APPLICATIONS, _lane(network, name))


def _table(lines: Iterable[tuple[object, object]]) -> tuple[str, ...]:
    """Two columns as lines of text."""
    known = [(str(left), str(right)) for left, right in lines]
    width = max((len(left) for left, _ in known), default=0)
    return tuple(f"{left:<{width}}  {right}" for left, right in known)


def _cloudflare(network: Network) -> Iterator[str]:
    for name in sorted(network.public_names):
        yield f"{name}{'  (Access)' if name in network.guarded else ''}"


def _tunnel(network: Network) -> Iterator[str]:
    for rule in network.tunnel:
        target = rule.service.removeprefix("https://").removeprefix("http://").split(".")[0]
        yield f"{rule.host or 'anything else'} -> {target.replace('http_status:', '')}"


def _announced(network: Network) -> list[Service]:
    found = [service for service in network.services if service.type == "LoadBalancer" and service.address]
    return sorted(found, key=lambda service: tuple(map(int, service.address.split("."))))


def _by_class(network: Network) -> Mapping[str, list[Route]]:
    found: dict[str, list[Route]] = defaultdict(list)
    for name in network.settings.ingress.classes:
        found[name] = []
    if network.settings.tailscale.enabled:
        found[TAILSCALE_CLASS] = []
    for route in sorted(network.routes, key=lambda route: (route.host, route.path)):
        found[route.ingress_class].append(route)
    return found


def _class_rows(network: Network, name: str) -> tuple[str, ...]:
    if name == TAILSCALE_CLASS:
        return (f"class {name}",)
    settings = network.settings.ingress.classes.get(name)
    return (f"class {name}", f"Service {settings.service_type.value}") if settings else (f"class {name}",)


def _lane(network: Network, ingress_class: str) -> str:
    if ingress_class == TAILSCALE_CLASS:
        return TAILNET
    return TUNNEL if _has_tunnel(network, ingress_class) else LAN


def _has_tunnel(network: Network, ingress_class: str) -> bool:
    edge = network.settings.cloudflare
    return edge.enabled and edge.tunnel.ingress_class == ingress_class


def _links(network: Network) -> Iterator[Link]:
    yield Link("internet", "cloudflare", "HTTPS", TUNNEL)
    yield Link("cloudflare", "cloudflared", "tunnel", TUNNEL)
    yield Link("lan", "addresses", "", LAN)
    yield Link("tailnet", "router", "WireGuard", TAILNET)
    yield Link("tailnet", f"controller {TAILSCALE_CLASS}", "HTTPS", TAILNET)
    yield Link("addresses", "dns", "53", LAN)
    balanced = [network.controller(name) for name in network.settings.ingress.classes]
    for name, controller in zip(network.settings.ingress.classes, balanced, strict=True):
        own = [entry for entry in _announced(network) if controller.selected_by(entry.namespace, entry.selector)]
        if _has_tunnel(network, name):
            yield Link("cloudflared", f"controller {name}", "443", TUNNEL)
        if own:
            yield Link("addresses", f"controller {name}", "80, 443", LAN)
        if any(entry.address in "".join(network.advertised) for entry in own):
            yield Link("router", f"controller {name}", "", TAILNET)
        yield Link(f"controller {name}", f"class {name}", "", _lane(network, name))
    yield Link(f"controller {TAILSCALE_CLASS}", f"class {TAILSCALE_CLASS}", "", TAILNET)


def _policies(network: Network) -> Iterator[Box]:
    for name, namespace in network.settings.network_policies.namespaces.items():
        ways = [
            (_pods(flow.source, name), f"{_pods(flow.destination, name)} {flow.port}/{flow.protocol.value}")
            for flow in namespace.flows.values()
        ]
        for egress in namespace.egress.values():
            ports = ", ".join(map(str, egress.ports))
            ways.append((_pods(egress.source, name), f"{', '.join(egress.to)} {ports}/{egress.protocol.value}"))
        published: dict[str, list[str]] = defaultdict(list)
        for entry in network.settings.published:
            if entry.namespace == name:
                published[entry.ingress_class].append(f"{entry.name} {entry.pod_port}/TCP")
        ways += [(f"class {ingress_class}", ", ".join(names)) for ingress_class, names in published.items()]
        rows = [
            line for source, target in ways for line in wrap(f"{source} -> {target}", WIDEST, subsequent_indent="  ")
        ]
        kind = "default deny" if namespace.default_deny else "open"
        yield Box(f"policies {name}", f"namespace {name}: {kind}", tuple(rows) or ("DNS only",))


def _pods(group: PodGroup | OwnPods, namespace: str) -> str:
    labels = ", ".join(group.labels.values())
    elsewhere = getattr(group, "namespace", None)
    return f"{elsewhere}/{labels}" if elsewhere not in {None, namespace} else labels


def _machines(network: Network) -> Iterator[Box]:
    physical, cluster, cilium = network.settings.physical, network.settings.cluster, network.settings.cilium
    nodes = [(name, f"{node.address!s:<15}  {node.role.value}") for name, node in physical.nodes.items()]
    yield Box("nodes", "Nodes", _table([*nodes, ("API", physical.api_vip), ("gateway", physical.gateway)]))
    lines = (
        ("pods", cluster.pod_cidr),
        ("services", cluster.service_cidr),
        ("routing", cilium.routing_mode.value),
        ("balancing", cilium.load_balancing.mode.value),
    )
    yield Box("cilium", "Cilium", _table(lines))
    balancer = network.settings.load_balancer
    pools = [(name, f"{pool.start} to {pool.stop}") for name, pool in balancer.pools.items()]
    taken = [(address, name) for name, address in balancer.addresses.items()]
    yield Box("pools", "LoadBalancer pools", (*_table(pools), *_table(taken)))
