"""Rules on traffic out of the cluster: what it names is outside, else Cilium drops it.

Cilium judges a connection after it has translated a Service's address into that of a pod, and no address or learned
name ever stands for a pod or a node. What leads to one is a flow.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from settings.applications import TAILSCALE_CLASS
from settings.discovery import CLUSTER_DOMAIN, GATEWAY, Kind
from settings.fields import Problem, known, readable
from settings.ingress import ServiceType
from settings.policies import flows, infrastructure
from settings.policies.model import ANYWHERE, Egress
from settings.policies.traffic import Allow, Pods, PolicyPort
from settings.stack import Settings

EXAMPLE = ["192.168.1.20/32"]


@dataclass(frozen=True)
class _Entry:
    """One entry of egress, of a namespace, with the key of its destinations."""

    key: str
    namespace: str
    egress: Egress

    @property
    def source(self) -> Pods:
        """The pods that connect."""
        return Pods(self.namespace, self.egress.source.labels)


@dataclass(frozen=True)
class _Own:
    """A destination inside the cluster: what it is, in words, and the pods that a connection ends at."""

    words: str
    pods: Pods
    ports: tuple[PolicyPort, ...]

    @property
    def flow(self) -> str:
        """The flow that lets through what egress can't."""
        labels = ", ".join(f"{key}: {value}" for key, value in self.pods.labels.items())
        destination = f"{{namespace: {self.pods.namespace}, labels: {{{labels}}}}}"
        return f"destination: {destination} and port: {self.ports[0].number}"


def _entries(settings: Settings) -> Iterator[_Entry]:
    """Those that can be read."""
    namespaces = settings.network_policies.namespaces
    for name, entries in known(namespaces, lambda name: namespaces[name].egress):
        for egress_name, egress in known(entries, entries.__getitem__):
            yield _Entry(f"networkPolicies.namespaces.{name}.egress.{egress_name}.to", name, egress)


def _flow_instead(entry: _Entry, own: _Own) -> str:
    return f"a flow under {_flows(entry)} with source: {{labels: {_labels(entry)}}}, {own.flow}"


def _flows(entry: _Entry) -> str:
    return f"networkPolicies.namespaces.{entry.source.namespace}.flows"


def _api_server(entry: _Entry) -> str:
    """What lets pods call the Kubernetes API."""
    return f"networkPolicies.namespaces.{entry.source.namespace}.apiServer: {{api: {_labels(entry)}}}"


def _labels(entry: _Entry) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in entry.source.labels.items()) + "}"


def networks(settings: Settings) -> Iterator[Problem]:
    """Networks are outside of the cluster, and `anywhere` stands alone."""
    inside = {"cluster.podCidr": settings.cluster.pod_cidr, "cluster.serviceCidr": settings.cluster.service_cidr}
    machines = settings.physical.nodes
    nodes = {address: name for name, address in known(machines, lambda name: machines[name].address)}
    held = _addresses(settings)

    def judge(entry: _Entry) -> Iterator[Problem]:
        if entry.egress.anywhere and len(entry.egress.to) > 1:
            reason = f"lets everything through by {ANYWHERE}, so the rest of the list has no effect"
            yield Problem(entry.key, list(entry.egress.to), reason, [ANYWHERE])
        for network in entry.egress.networks:
            value = str(network)
            if owner := next((owner for owner, cidr in inside.items() if network.overlaps(cidr)), None):
                reason = f"overlaps {owner}; in Cilium an address never matches a pod, a flow does"
                yield Problem(entry.key, value, reason, EXAMPLE, because=(owner,))
            elif network.prefixlen == 32 and network[0] in nodes:
                reason = f"is node {nodes[network[0]]}; in Cilium an address never matches a node"
                yield Problem(entry.key, value, reason, EXAMPLE)
            elif network.prefixlen == 32 and network[0] == settings.physical.api_vip:
                reason = "is physical.apiVip, which a node holds; in Cilium an address never matches a node"
                yield Problem(entry.key, value, reason, _api_server(entry), because=("physical.apiVip",))
            elif network.prefixlen == 32 and (own := held.get(network[0])):
                reason = f"is {own.words}; Cilium sees the pods behind it, which no address matches"
                yield Problem(entry.key, value, reason, _flow_instead(entry, own), because=("loadBalancer.addresses",))
            elif pool := _pool_around(settings, network):
                reason = f"lies in loadBalancer.pools.{pool}; Cilium sees the pods behind it, which no address matches"
                example = f"a flow under {_flows(entry)} to those pods"
                yield Problem(entry.key, value, reason, example, because=(f"loadBalancer.pools.{pool}",))

    yield from readable(*map(judge, _entries(settings)))


def _addresses(settings: Settings) -> dict[IPv4Address, _Own]:
    """What stands behind each address that is declared for a Service of the program."""
    found = {}
    for owner, address in settings.load_balancer.addresses.items():
        if owner in settings.ingress.classes:
            found[address] = _controller(settings, owner, f"loadBalancer.addresses.{owner}")
        elif owner == GATEWAY:
            pods = infrastructure.k8s_gateway(settings)
            found[address] = _Own(f"loadBalancer.addresses.{owner}", pods, infrastructure.GATEWAY_DNS_PORTS)
    return found


def _controller(settings: Settings, ingress_class: str, words: str) -> _Own:
    return _Own(words, infrastructure.controller(settings, ingress_class), (PolicyPort(443), PolicyPort(80)))


def _pool_around(settings: Settings, network: IPv4Network) -> str | None:
    pools = settings.load_balancer.pools.items()
    return next((name for name, pool in pools if network[0] in pool and network[-1] in pool), None)


def domains(settings: Settings) -> Iterator[Problem]:
    """Domains are outside of the cluster: neither a Service's name nor a host that an own controller serves."""
    outside = _external_names(settings)
    hosts = _own_hosts(settings)

    def judge(entry: _Entry) -> Iterator[Problem]:
        for domain in entry.egress.domains:
            if domain in outside:
                continue
            if namespace := _service_namespace(settings, domain):
                reason = f"is a Service in namespace {namespace}; Cilium sees its pods, which no name matches"
                api = domain.startswith("kubernetes.default")
                example = _api_server(entry) if api else f"a flow under {_flows(entry)} to its pods"
                yield Problem(entry.key, domain, reason, example, because=("discovery.coredns.clusterDomain",))
                continue
            for host, own in hosts.items():
                if domain == host or (_covers(domain, host) and not _is_let_through(settings, entry, own)):
                    covered = "is" if domain == host else f"covers {host},"
                    reason = f"{covered} {own.words}; pods get its address, and Cilium sees the controller behind it"
                    because = (*_classes(settings), own.words.partition(",")[0])
                    yield Problem(entry.key, domain, reason, _flow_instead(entry, own), because)
                    break

    yield from readable(*map(judge, _entries(settings)))


def _external_names(settings: Settings) -> set[str]:
    """Names of Services that only stand for a host outside."""
    cluster_domain = settings.discovery.coredns.cluster_domain
    return {
        f"{name}.{service.namespace}.svc.{cluster_domain}"
        for name, service in (settings.discovery.services.items() if settings.discovery.enabled else ())
        if service.type is Kind.EXTERNAL_NAME
    }


def _service_namespace(settings: Settings, domain: str) -> str | None:
    """The namespace of a Service's name, whole or short; of a pattern, what stands in its place."""
    for suffix in (settings.discovery.coredns.cluster_domain, CLUSTER_DOMAIN):
        name = domain.removesuffix(f".{suffix}")
        if name != domain and (name.endswith(("*", ".svc")) or name == "svc"):
            return name.removesuffix("svc").removesuffix(".").split(".")[-1] or "*"
    labels = domain.split(".")
    if labels[-1] == "svc":
        return labels[-2]
    known = {*settings.network_policies.namespaces, *infrastructure.namespaces(settings), "kube-system"}
    return labels[1] if len(labels) == 2 and labels[1] in known else None


def _own_hosts(settings: Settings) -> dict[str, _Own]:
    """Hosts that pods find at an address of the cluster's own: those of classes with a LoadBalancer."""
    gateway = settings.discovery.enabled and settings.discovery.lan_dns is not None
    pods_ask = gateway and settings.discovery.coredns.forward_lan_domain
    public = (
        {each.host for each in settings.cloudflare.behind_tunnel(settings.published)}
        if settings.cloudflare.enabled
        else set()
    )
    return {
        each.host: _controller(settings, each.ingress_class, f"applications.{each.name}, on class {each.ingress_class}")
        for each in settings.published
        if each.ingress_class != TAILSCALE_CLASS
        and (controller := settings.ingress.classes.get(each.ingress_class))
        and controller.service_type is ServiceType.LOAD_BALANCER
        and (pods_ask or each.host not in public)
    }


def _classes(settings: Settings) -> tuple[str, ...]:
    return tuple(f"ingress.classes.{name}" for name in settings.ingress.classes)


def _covers(pattern: str, host: str) -> bool:
    """Whether Cilium's matchPattern takes a name: `*` any part of a label, `**.` in front one label or more."""
    expression = re.escape(pattern.removeprefix("**.")).replace(r"\*", "[-a-z0-9_]*")
    front = r"([-a-z0-9_]+\.)+" if pattern.startswith("**.") else ""
    return re.fullmatch(front + expression, host) is not None


def _is_let_through(settings: Settings, entry: _Entry, own: _Own) -> bool:
    """Whether a flow leads from the pods of an entry to those behind a destination."""
    return any(
        _speaks_of(policy.pods, entry.source) and any(_reaches(allow, own) for allow in policy.egress or ())
        for policy in flows.policies(settings)
    )


def _speaks_of(selected: Pods, pods: Pods) -> bool:
    return selected.namespace == pods.namespace and selected.labels.items() <= pods.labels.items()


def _reaches(allow: Allow, own: _Own) -> bool:
    ports = not allow.ports or own.ports[0] in allow.ports
    return ports and any(isinstance(peer, Pods) and peer.may_overlap(own.pods) for peer in allow.peers)


def clients(settings: Settings) -> Iterator[Problem]:
    """Networks of clients are outside of the cluster as well."""
    policies = settings.network_policies
    given = {"networkPolicies.infrastructure.clients": policies.infrastructure.clients} | {
        f"networkPolicies.namespaces.{name}.clients.{entry}.networks": clients.networks
        for name, namespace in policies.namespaces.items()
        for entry, clients in namespace.clients.items()
    }
    for key, networks in given.items():
        for network in networks:
            yield from (replace(problem, key=key) for problem in _inside_the_cluster(settings, network))


def _inside_the_cluster(settings: Settings, network: IPv4Network) -> Iterator[Problem]:
    """What is wrong with a network that is to stand for clients outside of the cluster."""
    inside = {"cluster.podCidr": settings.cluster.pod_cidr, "cluster.serviceCidr": settings.cluster.service_cidr}
    for owner, cidr in inside.items():
        if network.subnet_of(cidr):
            reason = f"lies in {owner}; in Cilium an address never matches a pod, a flow lets pods in"
            yield Problem("", str(network), reason, [str(settings.physical.subnet)], because=(owner,))


def resolvers(settings: Settings) -> Iterator[Problem]:
    """The resolvers that k8s-gateway asks are outside, where its default deny lets it go."""
    gateway = settings.discovery.lan_dns if settings.discovery.enabled else None
    if gateway is None or not settings.network_policies.infrastructure.default_deny:
        return
    nodes = {node.address for node in settings.physical.nodes.values()}
    for address in gateway.upstreams:
        pool = settings.load_balancer.pool_of(address)
        if pool or address in nodes or address in settings.cluster.pod_cidr:
            place = f"of loadBalancer.pools.{pool}" if pool else "inside the cluster"
            reason = f"is an address {place}, which k8s-gateway's policy under default deny does not let it ask"
            because = ("networkPolicies.infrastructure", "loadBalancer.pools")
            yield Problem("discovery.lanDns.upstreams", str(address), reason, ["1.1.1.1", "1.0.0.1"], because)


RULES = (networks, domains, clients, resolvers)
