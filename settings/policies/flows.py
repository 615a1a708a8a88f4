"""Which policies a configuration asks for: the base of every namespace under default deny, and the applications' flows.

A policy exists on both ends of a flow, and only where something is denied: on pods without a default deny, an allowing
NetworkPolicy would itself cut off all the rest.
"""

from collections.abc import Iterator

from settings.applications import Published
from settings.cilium import LoadBalancingMode
from settings.fields import Protocol
from settings.policies import infrastructure, tunnel
from settings.policies.model import Clients, Egress, Flow, Namespace, PodGroup
from settings.policies.traffic import Allow, Domains, Entities, HttpMatch, Networks, Peer, Pods, Policy, PolicyPort
from settings.stack import Settings

KUBE_DNS = Pods("kube-system", {"k8s-app": "kube-dns"})
DNS_PORTS = (PolicyPort(53, Protocol.UDP), PolicyPort(53, Protocol.TCP))


def restricted(settings: Settings) -> frozenset[str]:
    """Namespaces under default deny."""
    policies = settings.network_policies
    applications = {name for name, namespace in policies.namespaces.items() if namespace.default_deny}
    return frozenset(
        applications | (infrastructure.namespaces(settings) if policies.infrastructure.default_deny else set())
    )


def policies(settings: Settings) -> list[Policy]:
    """All policies of a configuration."""
    denied = restricted(settings)
    configured = settings.network_policies
    found: list[Policy] = []
    for name in sorted(denied):
        namespace = configured.namespaces.get(name)
        found += _base(name, learns_names=namespace is not None and namespace.learns_names)
        if namespace:
            found += _namespace(settings, name, namespace)
    for name, namespace in configured.namespaces.items():
        for flow_name, flow in namespace.flows.items():
            found += _flow(name, flow_name, flow)
    for application in settings.published:
        found += _publication(settings, application)
    if configured.infrastructure.default_deny:
        found += [*infrastructure.policies(settings), *tunnel.policies(settings)]
    found = [policy for policy in found if policy.namespace in denied]
    return [*found, *(infrastructure.exemptions(settings) if configured.infrastructure.allow_system else ())]


def _base(namespace: str, *, learns_names: bool) -> Iterator[Policy]:
    everyone = Pods(namespace)
    dns = Allow(peers=(KUBE_DNS,), ports=DNS_PORTS, learn_names=learns_names)
    yield Policy(name="default-deny-all", pods=everyone, ingress=(), egress=())
    yield Policy(name="allow-dns", pods=everyone, egress=(dns,))


def _namespace(settings: Settings, name: str, namespace: Namespace) -> Iterator[Policy]:
    everyone = Pods(name)
    prometheus = infrastructure.prometheus(settings)
    other_nodes = Allow(
        peers=(Entities(("remote-node",)),), ports=tuple(PolicyPort(port) for port in namespace.probe_ports)
    )
    own_node = Allow(peers=(Entities(("host",)),))
    yield Policy(
        name="allow-probes",
        pods=everyone,
        ingress=(own_node, other_nodes) if namespace.probe_ports else (own_node,),
    )
    if namespace.allow_same_namespace:
        each_other = (Allow(peers=(everyone,)),)
        yield Policy(name="allow-same-namespace", pods=everyone, ingress=each_other, egress=each_other)
    for target_name, target in namespace.metrics.items():
        scrape = Allow(peers=(prometheus,), ports=(PolicyPort(target.port),))
        yield Policy(name=f"accept-metrics-{target_name}", pods=Pods(name, target.labels), ingress=(scrape,))
    for clients_name, clients in namespace.clients.items():
        yield from _clients(settings, f"accept-clients-{clients_name}", Pods(name, clients.labels), clients).by_kind()
    for caller_name, labels in namespace.api_server.items():
        yield Policy(
            name=f"allow-api-server-{caller_name}", pods=Pods(name, labels), egress=(infrastructure.TO_API_SERVER,)
        )
    for egress_name, egress in namespace.egress.items():
        ports = tuple(PolicyPort(port, egress.protocol) for port in egress.ports)
        outside = Policy(
            name=f"allow-egress-{egress_name}",
            pods=Pods(name, egress.source.labels),
            egress=tuple(Allow(peers=(peer,), ports=ports) for peer in _outside(egress)),
        )
        yield from outside.by_kind()


def _clients(settings: Settings, name: str, pods: Pods, clients: Clients) -> Policy:
    """From networks outside. A client whose address another node replaced counts as that node, never as an address."""
    networks = clients.networks or infrastructure.client_networks(settings)
    cilium = settings.cilium
    keeping = {LoadBalancingMode.DSR: (Protocol.TCP, Protocol.UDP), LoadBalancingMode.HYBRID: (Protocol.TCP,)}
    replaced = not cilium.kube_proxy_replacement or clients.protocol not in keeping.get(cilium.load_balancing.mode, ())
    peers = (Networks(networks), infrastructure.NODES) if replaced else (Networks(networks),)
    ports = tuple(PolicyPort(port, clients.protocol) for port in clients.ports)
    return Policy(name=name, pods=pods, ingress=tuple(Allow(peers=(peer,), ports=ports) for peer in peers))


def _outside(egress: Egress) -> Iterator[Peer]:
    if egress.domains:
        yield Domains(egress.domains)
    if egress.networks:
        yield Networks(egress.networks)
    if egress.anywhere:
        yield Entities(("world",))


def ends(namespace: str, flow: Flow) -> tuple[Pods, Pods]:
    """Source and destination of a flow that stands under a namespace."""

    def pods(group: PodGroup) -> Pods:
        return Pods(group.namespace or namespace, group.labels)

    return pods(flow.source), pods(flow.destination)


def _flow(namespace: str, name: str, flow: Flow) -> Iterator[Policy]:
    source, destination = ends(namespace, flow)
    ports = (PolicyPort(flow.port, flow.protocol),)
    http = tuple(HttpMatch(method=rule.method, path=rule.path, headers=rule.headers) for rule in flow.http)
    yield Policy(name=f"allow-{name}", pods=source, egress=(Allow(peers=(destination,), ports=ports),))
    yield Policy(name=f"accept-{name}", pods=destination, ingress=(Allow(peers=(source,), ports=ports, http=http),))


def _publication(settings: Settings, application: Published) -> Iterator[Policy]:
    """From the pods that serve an application's class to its own."""
    pods = Pods(application.namespace, application.pod_labels)
    server = infrastructure.server_of(settings, application.ingress_class)
    ports = (PolicyPort(application.pod_port),)
    yield Policy(name=f"accept-ingress-{application.name}", pods=pods, ingress=(Allow(peers=(server,), ports=ports),))
    yield Policy(name=f"allow-publication-{application.name}", pods=server, egress=(Allow(peers=(pods,), ports=ports),))
