"""What the tunnel's connectors need: the edge, their controller, and wherever rules of the tunnel's own lead."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from settings.cloudflare.tunnel import Origin, origin_of
from settings.discovery import CLUSTER_DOMAIN
from settings.fields import Protocol
from settings.policies import infrastructure
from settings.policies.traffic import Allow, Networks, Peer, Pods, Policy, PolicyPort
from settings.stack import Settings

EDGE_PORTS = (PolicyPort(7844), PolicyPort(7844, Protocol.UDP), PolicyPort(443))
"""HTTP/2 and QUIC to Cloudflare's edge, and its API."""


@dataclass(frozen=True)
class NamedService:
    """A Service as a host name means it."""

    namespace: str
    name: str


def policies(settings: Settings) -> Iterator[Policy]:
    """The allows of the connectors."""
    if not settings.cloudflare.enabled:
        return
    tunnel = settings.cloudflare.tunnel
    egress = [
        Allow(peers=(infrastructure.INTERNET,), ports=EDGE_PORTS),
        Allow(peers=(infrastructure.controller(settings, tunnel.ingress_class),), ports=(PolicyPort(443),)),
    ]
    found = [allow for rule in tunnel.rules if (origin := origin_of(rule.service)) for allow in _to(settings, origin)]
    # Once each, in an order that does not follow that of the rules.
    egress += sorted((allow for index, allow in enumerate(found) if allow not in found[:index]), key=str)
    scraped = Allow(peers=(infrastructure.prometheus(settings),), ports=(PolicyPort(8080),))
    connectors = infrastructure.cloudflared(settings)
    yield from Policy(name="allow-cloudflared", pods=connectors, ingress=(scraped,), egress=tuple(egress)).by_kind()


def _to(settings: Settings, origin: Origin) -> Iterator[Allow]:
    """From the connectors to an origin. What stands behind a Service, and on which ports, is not known here."""
    service = service_of(settings, origin.host)
    if service:
        yield Allow(peers=(Pods(service.namespace),))
        return
    address, ports = address_of(origin.host), (PolicyPort(origin.port),)
    if address:
        yield Allow(peers=_peers(settings, address), ports=ports)
        return
    # A name outside. By name it would take all DNS of this namespace through Cilium's proxy, for a port that is known.
    yield Allow(peers=(infrastructure.INTERNET,), ports=ports)
    labels = origin.host.split(".")
    if len(labels) == 2:  # the Service of a namespace that no setting names comes before a domain
        yield Allow(peers=(Pods(labels[1]),))


def _peers(settings: Settings, address: IPv4Address) -> tuple[Peer, ...]:
    """Nodes count as themselves, never as an address; the VIP as the node that holds it, where Cilium knows."""
    physical, alone = settings.physical, Networks((IPv4Network(address),))
    if any(node.address == address for node in physical.nodes.values()):
        return (infrastructure.NODES,)
    return (infrastructure.NODES, alone) if address == physical.api_vip else (alone,)


def address_of(host: str) -> IPv4Address | None:
    """The address that a host is written as, None for a name."""
    try:
        return IPv4Address(host)
    except AddressValueError:
        return None


def service_of(settings: Settings, host: str) -> NamedService | None:
    """The Service that a host name means to the connectors, whole or as their search path completes it."""
    if address_of(host):
        return None
    bare = host
    for suffix in (f".svc.{settings.discovery.coredns.cluster_domain}", f".svc.{CLUSTER_DOMAIN}", ".svc"):
        bare = bare.removesuffix(suffix)
    labels = bare.split(".")
    if len(labels) == 1:
        return NamedService(settings.ingress.namespace, labels[0])
    short = len(labels) == 2 and labels[1] in known_namespaces(settings)
    return NamedService(labels[-1], labels[-2]) if short or bare != host else None


def known_namespaces(settings: Settings) -> set[str]:
    """Every namespace that some setting names."""
    return {
        "default",
        "kube-system",
        settings.monitoring.namespace,
        *infrastructure.namespaces(settings),
        *settings.network_policies.namespaces,
        *(each.namespace for each in settings.published),
        *(service.namespace for service in settings.discovery.services.values()),
    }
