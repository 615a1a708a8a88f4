"""What works, but not as most people would expect: said in every preview, and refused nowhere.

A fault is a `Problem` (`rules`); this is for combinations that somebody may want with open eyes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from settings.applications import TAILSCALE_CLASS
from settings.cilium import LoadBalancingMode
from settings.ingress import HTTP2_STREAMS, ClientAddress, ServiceType
from settings.stack import Settings


@dataclass(frozen=True)
class Caution:
    """`key` is the setting to think about, `text` what comes of it, and the way out."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


def cautions(settings: Settings) -> list[Caution]:
    """All of them for valid settings."""
    return [caution for check in CHECKS for caution in check(settings)]


def http2_origin(settings: Settings) -> Iterator[Caution]:
    """NGINX ends every connection some time, and Go's client can't send a body again."""
    tunnel = settings.cloudflare.tunnel
    if settings.cloudflare.serves(tunnel.ingress_class) and tunnel.http2_origin:
        yield Caution(
            "cloudflare.tunnel.http2Origin",
            "uploads under way are lost when NGINX ends a connection (after keepaliveRequests, an hour, or a change of "
            "an Ingress); leave it off unless an application speaks gRPC",
        )


def shared_client_address(settings: Settings) -> Iterator[Caution]:
    """With SNAT, a client that arrives at another node than the controller's has that node's address."""
    if settings.cilium.load_balancing.mode is not LoadBalancingMode.SNAT:
        return
    for name, controller in settings.ingress.classes.items():
        by_connection = controller.client_address is ClientAddress.CONNECTION
        own = [each for each in settings.published if each.ingress_class == name and each.limits.by_client]
        if controller.service_type is ServiceType.LOAD_BALANCER and by_connection and (controller.limits or own):
            yield Caution(
                "cilium.loadBalancing.mode",
                f"snat gives most clients of class {name} the address of a node, so they share its limits and the log "
                f"names no client; take dsr or hybrid, or ingress.classes.{name}.limits: null and no limits of "
                "applications",
            )


def requests_at_once(settings: Settings) -> Iterator[Caution]:
    """A browser sends what a page holds at once, each request a connection to NGINX's count."""
    wanted = {
        f"ingress.classes.{name}.limits.connections": controller.limits.connections
        for name, controller in settings.ingress.classes.items()
        if controller.limits
    }
    wanted |= {
        f"applications.{each.name}.limits.connections": each.limits.connections
        for each in settings.published
        if each.ingress_class != TAILSCALE_CLASS and each.limits.connections
    }
    for key, connections in wanted.items():
        if connections < HTTP2_STREAMS:
            yield Caution(
                key,
                f"{connections} is less than the {HTTP2_STREAMS} requests that one browser may have under way over "
                f"HTTP/2, and the rest of a page is answered with 429; take {HTTP2_STREAMS} or more",
            )


CHECKS = (http2_origin, shared_client_address, requests_at_once)
