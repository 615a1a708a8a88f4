"""By which ways traffic gets from one end of the network to another, and what stops it: the logic of `anton reach`."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from urllib.parse import urlsplit

from cli.network import Network, Pods, Port, Route, Service, TunnelRule
from cli.verdicts import Judge
from settings.applications import TAILSCALE_CLASS
from settings.cloudflare.tunnel import origin_of
from settings.policies.tunnel import service_of

HTTPS = 443


class UnknownEndError(Exception):
    """No such source or destination; the text lists what there is."""


@dataclass(frozen=True)
class End:
    """One end of the traffic; `endpoint` is what the policy engine takes, empty for a published host."""

    name: str
    kind: str
    endpoint: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)
    pods: Pods | None = field(default=None, hash=False, compare=False)
    host: str = ""
    path: str = "/"


@dataclass(frozen=True)
class Hop:
    """One step on the way: where, what happens there, whether it lets through, and the policies that said so."""

    place: str
    text: str
    allowed: bool = True
    policies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Path:
    """One way from source to destination; it is open when every hop is."""

    title: str
    hops: tuple[Hop, ...]

    @property
    def allowed(self) -> bool:
        """Whether traffic passes all hops."""
        return all(hop.allowed for hop in self.hops)


INTERNET = End("internet", "internet", {"entities": ["world"]})
TAILNET = End("tailnet", "tailnet")
NODE = End("node", "node", {"entities": ["remote-node"]})
API_SERVER = End("api-server", "api-server", {"entities": ["kube-apiserver", "remote-node"]})
NAMED = {end.name: end for end in (INTERNET, TAILNET, NODE, API_SERVER)}


def lan(network: Network) -> End:
    """A client on the LAN: the first free address of the node subnet that the cluster does not use itself."""
    physical = network.settings.physical
    taken = {node.address for node in physical.nodes.values()} | {physical.gateway, physical.api_vip}
    pools = [(pool.start, pool.stop) for pool in network.settings.load_balancer.pools.values()]
    free = (
        address
        for address in reversed(list(physical.subnet.hosts()))
        if address not in taken and not any(start <= address <= stop for start, stop in pools)
    )
    return End("lan", "lan", {"address": str(next(free))})


def find(network: Network, text: str) -> End:
    """The end that a user means. Raises UnknownEndError with what there is."""
    if text == "lan":
        return lan(network)
    if text in NAMED:
        return NAMED[text]
    for match in (_address, _host, _labels, _pods):
        if end := match(network, text):
            return end
    names = [str(pods) for pods in network.pods] + [route.host for route in network.routes]
    near = difflib.get_close_matches(text, [*names, *NAMED, "lan"], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(names)[:12])} and others"
    raise UnknownEndError(
        f"{text}: {hint} Ends are internet, lan, tailnet, node, api-server, an address, a host name, "
        "namespace/workload or namespace/label=value"
    )


def _address(network: Network, text: str) -> End | None:
    if not re.fullmatch(r"[0-9.]+", text):
        return None
    try:
        address = IPv4Address(text)
    except ValueError:
        return None
    settings = network.settings
    own = {node.address: NODE for node in settings.physical.nodes.values()} | {settings.physical.api_vip: API_SERVER}
    if address in own:
        return End(text, own[address].kind, own[address].endpoint)
    service = next((entry for entry in network.services if entry.address == text), None)
    if service:
        return End(str(service), "service", host=text)
    if pool := settings.load_balancer.pool_of(address):
        return End(text, "free", host=pool)
    inside = {"cluster.podCidr": settings.cluster.pod_cidr, "cluster.serviceCidr": settings.cluster.service_cidr}
    if owner := next((owner for owner, cidr in inside.items() if address in cidr), None):
        raise UnknownEndError(f"{text} is an address of {owner}: name the pods or the Service")
    kind = "lan" if address in network.settings.physical.subnet else "internet"
    return End(text, kind if not address.is_private or kind == "lan" else "address", {"address": text})


def _host(network: Network, text: str) -> End | None:
    url = urlsplit(text if "://" in text else f"//{text}")
    host = url.hostname or ""
    known = any(route.host == host for route in network.routes)
    if known or any(rule.host and rule.names(host) for rule in network.tunnel):
        return End(text, "host", host=host, path=url.path or "/")
    if "." in host and ("://" in text or not url.path.strip("/")):
        return End(text, "domain", {"domain": host}, host=host)
    return None


def _labels(network: Network, text: str) -> End | None:
    namespace, _, labels = text.partition("/")
    if "=" not in labels:
        return None
    wanted = dict(pair.split("=", 1) for pair in labels.split(",") if "=" in pair)
    known = next((pods for pods in network.pods if pods.selected_by(namespace, wanted)), None)
    return _end(known or Pods(namespace, labels, wanted), text)


def _pods(network: Network, text: str) -> End | None:
    found = [pods for pods in network.pods if text in {str(pods), pods.name}]
    services = [service for service in network.services if text in {str(service), service.name}]
    if len({str(pods) for pods in found}) > 1:
        raise UnknownEndError(f"{text}: which of {', '.join(sorted(map(str, found)))}?")
    if found:
        return _end(found[0], str(found[0]))
    if len(services) == 1:
        behind = network.behind(services[0])
        return _end(behind[0], str(services[0])) if behind else End(str(services[0]), "service")
    return None


def _end(pods: Pods, name: str) -> End:
    return End(name, "pods", pods.endpoint(), pods)


def find_pods(network: Network, namespace: str, name: str) -> Pods | None:
    """The pods that go by a name: their workload's, or their label `app`."""
    return next(
        (pods for pods in network.pods if pods.namespace == namespace and name in {pods.name, pods.labels.get("app")}),
        None,
    )


class Reach:
    """The ways through one network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._answers: dict[str, tuple[bool, str, tuple[str, ...]]] = {}

    def paths(self, source: End, destination: End, port: int | None, protocol: str = "TCP") -> list[Path]:
        """Every way from source to destination, at least one: where there is none, a path that says why."""
        if destination.kind == "host":
            found = [*self._published(source, destination.host, destination.path)]
        elif destination.kind == "service":
            found = [*self._by_address(source, destination, port, protocol)]
        elif destination.kind == "free":
            text = f"is in loadBalancer.pools.{destination.host}, and no Service known here holds it"
            found = [Path("no way", (Hop(destination.name, text, allowed=False),))]
        elif destination.pods:
            found = [*self._to_pods(source, destination.pods, port, protocol)]
        else:
            found = [self._direct(source, destination, port or HTTPS, protocol)]
        return found or [Path("no way", (Hop("nowhere", f"nothing leads from {source.name} to it", allowed=False),))]

    # ---- to pods

    def _to_pods(self, source: End, pods: Pods, port: int | None, protocol: str) -> Iterator[Path]:
        if source.kind in {"internet", "lan", "tailnet", "address"}:
            yield from self._from_outside(source, pods, port, protocol)
            return
        ports = [Port(port, protocol)] if port else [*pods.ports] or [Port(HTTPS)]
        for entry in ports:
            yield Path(f"pod to pod, {entry}", (self._leg(source, pods, entry.number, entry.protocol),))

    def _from_outside(self, source: End, pods: Pods, port: int | None, protocol: str) -> Iterator[Path]:
        """Pod addresses have no route from outside: only what Services and Ingresses publish leads there."""
        found = [*self._by_services(source, pods, port, protocol)]
        if not found and port and source.endpoint and source.kind != "internet":
            # The Service may be its application's own; what policies say is known all the same.
            text = "none with an address is known here for these pods (--live asks the cluster)"
            found = [
                Path(
                    "through a Service", (Hop("Service", text, allowed=False), self._leg(source, pods, port, protocol))
                )
            ]
        yield from found

    def _by_services(self, source: End, pods: Pods, port: int | None, protocol: str) -> Iterator[Path]:
        for route in self.network.routes:
            service = self.network.service(route.service)
            if service and pods.selected_by(service.namespace, service.selector):
                yield from self._by_route(source, route, route.path)
        for service in self.network.services:
            if service.address and pods.selected_by(service.namespace, service.selector):
                yield from self._by_address(source, End(str(service), "service", host=service.address), port, protocol)

    # ---- to an address of a LoadBalancer Service

    def _by_address(self, source: End, destination: End, port: int | None, protocol: str) -> Iterator[Path]:
        service = self.network.service(destination.name)
        if service is None:
            return
        for own, target in service.ports.items():
            for pods in self.network.behind(service):
                numbers = [entry for entry in pods.ports if target in {entry.name, entry.number}]
                number = numbers[0].number if numbers else target
                if isinstance(number, str) or port not in {None, own, number}:
                    continue
                entrance = self._entrance(source, service)
                kind = numbers[0].protocol if numbers else protocol
                title = f"{service.address or service} port {own}"
                if not entrance.allowed:
                    yield Path(title, (entrance,))
                    continue
                yield Path(title, (entrance, self._leg(self._arrives_as(source), pods, number, kind)))

    def _entrance(self, source: End, service: Service) -> Hop:
        """Whether a client can send to a Service's address at all."""
        place = f"Service {service}"
        if source.kind in {"pods", "node", "api-server"}:
            return Hop(place, f"{service.type} inside the cluster")
        if not service.address:
            return Hop(place, f"is {service.type}: no address outside of the cluster", allowed=False)
        private = IPv4Address(service.address).is_private
        if source.kind == "internet" and private:
            return Hop(place, f"{service.address} is a private address: no route from the internet", allowed=False)
        if source.kind == "tailnet" and not self._advertised(service.address):
            return Hop(place, f"no subnet router advertises {service.address} to the tailnet", allowed=False)
        by = "through the tailnet's subnet router" if source.kind == "tailnet" else "announced on the LAN"
        return Hop(place, f"{service.address}, {by}")

    def _advertised(self, address: str) -> bool:
        return any(IPv4Address(address) in IPv4Network(network) for network in self.network.advertised)

    def _arrives_as(self, source: End) -> End:
        """What policies see: a device of the tailnet comes as the subnet router's pod."""
        return _end(self.network.tailscale_proxies(), source.name) if source.kind == "tailnet" else source

    # ---- to a published host

    def _published(self, source: End, host: str, path: str) -> Iterator[Path]:
        rule = self._rule(host, path)
        past_controller = rule is not None and bool(rule.host) and self._leads_elsewhere(rule)
        if past_controller:
            yield Path("through the tunnel", tuple(self._tunnel_hops(source, host, path)))
        routes = [route for route in self.network.routes if route.host in {host, ""} and route.takes(path)]
        for route in sorted(routes, key=lambda route: len(route.path), reverse=True)[:1]:
            yield from self._by_route(source, route, path, past_controller=past_controller)
        if not routes and rule is not None and not past_controller:
            text = f"no Ingress has {host}{path}: the controller answers 404"
            hops = self._tunnel_hops(source, host, path)
            yield Path("through the tunnel", (*hops, Hop("Ingress", text, allowed=False)))

    def _rule(self, host: str, path: str) -> TunnelRule | None:
        return next((rule for rule in self.network.tunnel if rule.matches(host, path)), None)

    def _leads_elsewhere(self, rule: TunnelRule) -> bool:
        """Whether a rule leads past the controller of the tunnel's class."""
        origin = origin_of(rule.service)
        service = origin and self._service_at(origin.host)
        controller = self.network.controller(self.network.settings.cloudflare.tunnel.ingress_class)
        return not (service and controller.selected_by(service.namespace, service.selector))

    def _by_route(self, source: End, route: Route, path: str, *, past_controller: bool = False) -> Iterator[Path]:
        if route.ingress_class == TAILSCALE_CLASS:
            yield self._by_tailscale(source, route)
            return
        tunnel = self.network.settings.cloudflare
        if tunnel.enabled and route.ingress_class == tunnel.tunnel.ingress_class and not past_controller:
            hops = self._tunnel_hops(source, route.host, path)
            yield Path("through Cloudflare", (*hops, *self._behind(route)))
        controller = self.network.controller(route.ingress_class)
        for service in self.network.services:
            if service.type == "LoadBalancer" and controller.selected_by(service.namespace, service.selector):
                entrance = self._entrance(source, service)
                leg = [self._leg(self._arrives_as(source), controller, HTTPS)] if entrance.allowed else []
                rest = self._behind(route) if entrance.allowed else []
                yield Path(f"by {service.address or service}", (entrance, *leg, *rest))

    def _by_tailscale(self, source: End, route: Route) -> Path:
        if source.kind != "tailnet":
            return Path(
                "through the tailnet", (Hop("tailnet", "only devices of the tailnet get there", allowed=False),)
            )
        entrance = Hop("tailnet", f"device {route.host}, as far as the tailnet's policy grants it")
        return Path("through the tailnet", (entrance, *self._behind(route)))

    def _tunnel_hops(self, source: End, host: str, path: str) -> Iterator[Hop]:
        network = self.network
        if source.kind in {"pods", "node", "api-server"}:
            yield self._leg(source, INTERNET, HTTPS)
        named = host in network.public_names or f"*.{host.partition('.')[2]}" in network.public_names
        text = f"{host} is {'' if named else 'not '}in the public zone"
        yield Hop("Cloudflare DNS", text, allowed=named)
        if host in network.guarded:
            yield Hop("Cloudflare Access", "asks who it is; lets in whom the application's policies name")
        rule = self._rule(host, path)
        if rule is None or not rule.host:
            yield Hop("tunnel", f"no rule for {host}{path}: the catch-all answers 404", allowed=False)
            return
        yield Hop("tunnel", f"rule {rule.host}{rule.path} leads to {rule.service}")
        yield from self._to_origin(rule)

    def _to_origin(self, rule: TunnelRule) -> Iterator[Hop]:
        """From the connectors to where a rule leads: a Service, an address or a name outside."""
        origin = origin_of(rule.service)
        if origin is None:
            yield Hop("tunnel", "answers by itself, nothing is behind it", allowed=False)
            return
        connectors = _end(self.network.cloudflared(), "cloudflared")
        service = self._service_at(origin.host)
        if service:
            for pods in self.network.behind(service)[:1]:
                yield self._leg(connectors, pods, _target(service, origin.port, pods))
            return
        if name := service_of(self.network.settings, origin.host):
            # The stack knows no other Services than those of its charts and applications, but the pods that flows name.
            behind = find_pods(self.network, name.namespace, name.name)
            if behind is None:
                yield Hop("tunnel", f"no Service {name.namespace}/{name.name} is known here", allowed=False)
            else:
                yield self._leg(connectors, behind, origin.port)
            return
        end = _address(self.network, origin.host) or End(origin.host, "domain", {"domain": origin.host})
        if end.kind == "free":
            yield Hop("tunnel", f"no Service known here holds {end.name}", allowed=False)
        else:
            yield self._leg(connectors, end, origin.port)

    def _service_at(self, host: str) -> Service | None:
        """The Service that a host of an origin means: by its name or its address."""
        if name := service_of(self.network.settings, host):
            return self.network.service(f"{name.namespace}/{name.name}")
        return next((service for service in self.network.services if service.address == host), None)

    def _behind(self, route: Route) -> list[Hop]:
        """From the pods that serve a class to those behind the Service."""
        service = self.network.service(route.service)
        if service is None:
            return [Hop(f"Ingress {route.ingress}", f"Service {route.service} does not exist", allowed=False)]
        hop = Hop(f"Ingress {route.ingress}", f"{route.host}{route.path} to Service {route.service} port {route.port}")
        targets = self.network.behind(service)
        if not targets:
            return [hop, Hop(f"Service {service}", "no pods behind it", allowed=False)]
        server = self.network.controller(route.ingress_class)
        port = next(iter(service.ports)) if isinstance(route.port, str) else route.port
        return [hop, self._leg(_end(server, str(server)), targets[0], _target(service, port, targets[0]))]

    # ---- what policies say

    def _direct(self, source: End, destination: End, port: int, protocol: str) -> Path:
        if destination.kind == "tailnet" or not source.endpoint or not destination.endpoint:
            reason = "the tailnet's own policy decides on its devices, not the cluster"
            return Path("direct", (Hop("tailnet", reason, allowed=False),))
        if source.kind == "internet" and _is_private(destination):
            reason = f"{destination.name} is a private address: no route from the internet"
            return Path("direct", (Hop("internet", reason, allowed=False),))
        return Path(f"direct, {port}/{protocol}", (self._leg(source, destination, port, protocol),))

    def _leg(self, source: End, destination: End | Pods, port: int, protocol: str = "TCP") -> Hop:
        end = _end(destination, str(destination)) if isinstance(destination, Pods) else destination
        place = f"{source.name} to {end.name} {port}/{protocol}"
        question = json.dumps([source.endpoint, end.endpoint, port, protocol], sort_keys=True)
        if question not in self._answers:  # an answer takes a process
            self._answers[question] = self._ask(source, end, port, protocol)
        allowed, text, policies = self._answers[question]
        return Hop(place, text, allowed, policies)

    def _ask(self, source: End, destination: End, port: int, protocol: str) -> tuple[bool, str, tuple[str, ...]]:
        ends = {"from": source.endpoint, "to": destination.endpoint}
        judge = Judge(self.network.policies, ends, self.network.enforcement, self.network.namespaces)
        verdict = judge.verdict("from", "to", port, protocol)
        for side, words in ((verdict.egress, "on the way out"), (verdict.ingress, "on the way in")):
            if not side["allowed"]:
                return False, f"denied {words}: restricted, and nothing allows it", tuple(side["policies"])
        policies = (*verdict.egress["policies"], *verdict.ingress["policies"])
        proxied = [rule for side in (verdict.egress, verdict.ingress) for rule in side.get("http") or ()]
        text = "allowed" if policies else "allowed: no policy restricts either end"
        return True, f"{text}, only these requests: {proxied}" if proxied else text, policies


def _is_private(end: End) -> bool:
    """Whether an end has no address that the internet could route to; nodes are taken to be behind the router."""
    address = end.endpoint.get("address")
    return IPv4Address(address).is_private if address else end.kind in {"lan", "node", "api-server"}


def _target(service: Service, port: int, pods: Pods) -> int:
    target = service.ports.get(port, port)
    if isinstance(target, int):
        return target
    return next((entry.number for entry in pods.ports if entry.name == target), port)


def outside(network: Network) -> Iterable[End]:
    """The ends outside of the cluster from which clients come."""
    return (INTERNET, lan(network), TAILNET)
