"""What works, but not as most people would expect: said in every preview, and refused nowhere.

A fault is a `Problem` (`rules`); this is for combinations that somebody may want with open eyes.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from settings.applications import TAILSCALE_CLASS, Published
from settings.cilium import LoadBalancingMode
from settings.ingress import HTTP2_STREAMS, ClientAddress, ServiceType, release_name
from settings.monitoring import Monitoring
from settings.policies import flows, infrastructure
from settings.rules.namespaces import SYSTEM_NAMESPACES
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


def misspelt_namespaces(settings: Settings) -> Iterator[Caution]:
    """A namespace that only one place names, and nearly as another one is called."""
    declared, prometheus = _declared_namespaces(settings), "monitoring.namespace"
    named = _named_namespaces(settings) | {prometheus: settings.monitoring.namespace}
    often = Counter(named.values())
    for key, name in named.items():
        known = declared if key == prometheus else {*declared, settings.monitoring.namespace}
        if name not in known and often[name] == 1 and (near := _nearest(name, known, 0.85)):
            yield Caution(key, f"{name} is no namespace that these settings know; {_way_out(name, near)}")


def unknown_flow_ends(settings: Settings) -> Iterator[Caution]:
    """A flow from or to a namespace that nothing else names: no pod may be there."""
    policies = settings.network_policies
    known = _declared_namespaces(settings) | {*_named_namespaces(settings).values(), settings.monitoring.namespace}
    said: set[str] = set()
    for namespace, entry in policies.namespaces.items() if policies.enabled else ():
        for flow_name, flow in entry.flows.items():
            for end, pods in zip(("source", "destination"), flows.ends(namespace, flow), strict=True):
                if pods.namespace in known | said:
                    continue
                said.add(pods.namespace)
                yield Caution(
                    f"networkPolicies.namespaces.{namespace}.flows.{flow_name}.{end}.namespace",
                    f"nothing else names the namespace {pods.namespace}, and without pods there the flow lets nothing "
                    f"through; {_way_out(pods.namespace, _nearest(pods.namespace, known, 0.7))}",
                )


def _declared_namespaces(settings: Settings) -> set[str]:
    """Namespaces that the settings create or describe, and those that every cluster has."""
    usual = Monitoring.model_fields["namespace"].default
    return {*settings.network_policies.namespaces, *infrastructure.namespaces(settings), usual, *SYSTEM_NAMESPACES}


def _named_namespaces(settings: Settings) -> dict[str, str]:
    """Namespaces that must exist because something stands there, by the key that names them."""
    named = {f"applications.{each.name}.namespace": each.namespace for each in settings.published}
    if settings.discovery.enabled:
        for name, service in settings.discovery.services.items():
            named[f"discovery.services.{name}.namespace"] = service.namespace
    for index, rule in enumerate(settings.cloudflare.tunnel.rules if settings.cloudflare.enabled else ()):
        if match := re.match(r"\w+://[^.]+\.([^.:]+)(?:\.svc\b.*|:\d+)?$", rule.service):
            named[f"cloudflare.tunnel.rules[{index}].service"] = match[1]
    for name, controller in settings.ingress.classes.items():
        if controller.default_certificate:
            key = f"ingress.classes.{name}.defaultCertificate"
            named[key] = controller.default_certificate.partition("/")[0]
    if settings.monitoring.enabled and settings.monitoring.dashboard_namespace:
        named["monitoring.dashboardNamespace"] = settings.monitoring.dashboard_namespace
    return named


def _nearest(name: str, known: Iterable[str], cutoff: float) -> str | None:
    return next(iter(get_close_matches(name, sorted(known), n=1, cutoff=cutoff)), None)


def _way_out(name: str, near: str | None) -> str:
    declare = f"networkPolicies.namespaces.{name}: {{defaultDeny: false}} declares one that is there"
    return f"did you mean {near}? {declare}" if near else declare


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
    if settings.cilium.load_balancing.mode is not LoadBalancingMode.SNAT or len(settings.physical.nodes) < 2:
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


CHECKS = (
    unreached_applications,
    misspelt_namespaces,
    unknown_flow_ends,
    http2_origin,
    shared_client_address,
    requests_at_once,
)
