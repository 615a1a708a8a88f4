"""What works, but not as most people would expect: said in every preview, and refused nowhere.

A fault is a `Problem` (`rules`); this is for combinations that somebody may want with open eyes.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from settings.applications import TAILSCALE_CLASS, Published
from settings.ingress import ServiceType, release_name
from settings.stack import Settings
from settings.tailscale.operator import advertised_routes


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


def unreached_applications(settings: Settings) -> Iterator[Caution]:
    """A class without an address and without the tunnel before it serves pods of the cluster alone."""
    if _services_are_advertised(settings):
        return
    unreached: dict[str, list[str]] = defaultdict(list)
    for application in settings.published:
        if not _is_reached(settings, application):
            unreached[application.ingress_class].append(application.name)
    edge = settings.cloudflare
    tunnel = f"the tunnel leads to class {edge.tunnel.ingress_class}" if edge.enabled else "cloudflare.enabled is false"
    for name, applications in unreached.items():
        yield Caution(
            f"ingress.classes.{name}.serviceType",
            f"ClusterIP publishes {', '.join(applications)} to nobody outside of the cluster, for {tunnel}; take "
            f"LoadBalancer with loadBalancer.addresses.{name}, or another class",
        )


def _is_reached(settings: Settings, application: Published) -> bool:
    edge, name = settings.cloudflare, application.ingress_class
    if name == TAILSCALE_CLASS or settings.ingress.classes[name].service_type is ServiceType.LOAD_BALANCER:
        return True
    controller = f"//{release_name(name)}-controller.{settings.ingress.namespace}."
    led = (rule.host == application.host or controller in rule.service for rule in edge.tunnel.rules)
    return edge.enabled and (name == edge.tunnel.ingress_class or any(led))


def _services_are_advertised(settings: Settings) -> bool:
    """Whether the tailnet has a route to the addresses of Services themselves."""
    connector = settings.tailscale.connector if settings.tailscale.enabled else None
    routes = advertised_routes(connector, settings.load_balancer, settings.cluster) if connector else []
    return any(route.overlaps(settings.cluster.service_cidr) for route in routes)


CHECKS = (unreached_applications,)
