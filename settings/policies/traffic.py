"""Network policies as data, and the Kubernetes objects made of them.

A policy becomes a NetworkPolicy where that suffices. Cilium's own kind is taken for what the native one can't say:
entities such as the nodes or the API server, HTTP rules, and domains.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from typing import Any

from components.fields import Protocol


@dataclass(frozen=True)
class Pods:
    """Pods of one namespace that have all these labels; without labels, all of them."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def may_overlap(self, other: "Pods") -> bool:
        """Whether one pod could be both."""
        same = all(other.labels.get(key, value) == value for key, value in self.labels.items())
        return self.namespace == other.namespace and same


@dataclass(frozen=True)
class Entities:
    """What Cilium knows by name: `host` (a pod's own node), `remote-node`, `kube-apiserver`, `world`."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Networks:
    """Addresses outside of the cluster. Under Cilium they never stand for pods or nodes, whatever their address."""

    networks: tuple[IPv4Network, ...]


@dataclass(frozen=True)
class Domains:
    """Addresses that pods learned from DNS answers for these names; `*` stands for one label or a part of it."""

    names: tuple[str, ...]


Peer = Pods | Entities | Networks | Domains


@dataclass(frozen=True)
class PolicyPort:
    """A port of the pods, as policies see it: after the Service's translation."""

    number: int
    protocol: Protocol = Protocol.TCP


@dataclass(frozen=True, kw_only=True)
class HttpMatch:
    """Requests that pass. `method` and `path` are expressions that cover the whole value, None is any.

    A header with an empty value has only to be there.
    """

    method: str | None = None
    path: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def manifest(self) -> dict[str, Any]:
        """The rule as `toPorts.rules.http` takes it."""
        headers = [f"{name}: {value}" if value else name for name, value in self.headers.items()]
        rule = {"method": self.method, "path": self.path, "headers": headers}
        return {key: value for key, value in rule.items() if value}


@dataclass(frozen=True, kw_only=True)
class Allow:
    """Traffic with one of the peers on one of the ports, any port when there is none.

    `http` narrows it to requests; `learn_names` sends DNS through Cilium's proxy, which `Domains` need.
    """

    peers: tuple[Peer, ...]
    ports: tuple[PolicyPort, ...] = ()
    http: tuple[HttpMatch, ...] = ()
    learn_names: bool = False

    @property
    def is_native(self) -> bool:
        """Whether a NetworkPolicy can say it."""
        return not self.http and not self.learn_names and all(isinstance(peer, Pods | Networks) for peer in self.peers)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What selected pods may do. A direction that is None is left alone, an empty one denies."""

    name: str
    pods: Pods
    ingress: tuple[Allow, ...] | None = None
    egress: tuple[Allow, ...] | None = None

    @property
    def namespace(self) -> str:
        """The namespace in which it lives and of whose pods it speaks."""
        return self.pods.namespace

    @property
    def denies_only(self) -> bool:
        """Whether it only puts pods under default deny."""
        return not self.ingress and not self.egress

    @property
    def is_native(self) -> bool:
        """Whether it can be a NetworkPolicy."""
        return all(allow.is_native for allow in (*(self.ingress or ()), *(self.egress or ())))

    def by_kind(self) -> Iterator["Policy"]:
        """The same as one NetworkPolicy and one CiliumNetworkPolicy, `<name>-cilium`, where it needs both."""
        for native, suffix in ((True, ""), (False, "-cilium")):
            ingress, egress = (
                tuple(allow for allow in allows or () if allow.is_native is native) or None
                for allows in (self.ingress, self.egress)
            )
            if ingress or egress:
                yield replace(self, name=f"{self.name}{suffix}", ingress=ingress, egress=egress)


def native_spec(policy: Policy) -> dict[str, Any]:
    """The spec of a NetworkPolicy; the policy must be native."""
    spec: dict[str, Any] = {"podSelector": _selector(policy.pods), "policyTypes": []}
    for direction, side, allows in _directions(policy):
        spec["policyTypes"].append(direction.capitalize())
        if allows:
            spec[direction] = [
                {side: _native_peers(allow, policy.namespace), **_native_ports(allow)} for allow in allows
            ]
    return spec


def _directions(policy: Policy) -> Iterator[tuple[str, str, tuple[Allow, ...]]]:
    """The directions of which a policy speaks, with the word for their peers and what is allowed."""
    for direction, side, allows in (("ingress", "from", policy.ingress), ("egress", "to", policy.egress)):
        if allows is not None:
            yield direction, side, allows


def _selector(pods: Pods) -> dict[str, Any]:
    return {"matchLabels": dict(pods.labels)} if pods.labels else {}


def _native_peers(allow: Allow, own_namespace: str) -> list[dict[str, Any]]:
    peers: list[dict[str, Any]] = []
    for peer in allow.peers:
        if isinstance(peer, Networks):
            peers += [{"ipBlock": {"cidr": str(network)}} for network in peer.networks]
            continue
        assert isinstance(peer, Pods), f"{peer} is nothing for a NetworkPolicy"
        # Both selectors in one peer: as two peers they would let in the whole namespace, and namesakes everywhere.
        namespace = {"matchLabels": {"kubernetes.io/metadata.name": peer.namespace}}
        other = {"namespaceSelector": namespace} if peer.namespace != own_namespace else {}
        peers.append({**other, "podSelector": _selector(peer)})
    return peers


def _native_ports(allow: Allow) -> dict[str, Any]:
    ports = [{"port": port.number, "protocol": port.protocol.value} for port in allow.ports]
    return {"ports": ports} if ports else {}


def cilium_spec(policy: Policy) -> dict[str, Any]:
    """The spec of a CiliumNetworkPolicy."""
    spec: dict[str, Any] = {"endpointSelector": _selector(policy.pods)}
    for direction, side, allows in _directions(policy):
        # Cilium takes one sort of peer a rule.
        spec[direction] = [
            {**_cilium_peer(peer, side), **_cilium_ports(allow)} for allow in allows for peer in allow.peers
        ]
    return spec


def _cilium_peer(peer: Peer, side: str) -> dict[str, Any]:
    match peer:
        case Pods():
            labels = {"k8s:io.kubernetes.pod.namespace": peer.namespace, **peer.labels}
            return {f"{side}Endpoints": [{"matchLabels": labels}]}
        case Entities():
            return {f"{side}Entities": list(peer.names)}
        case Networks():
            return {f"{side}CIDR": [str(network) for network in peer.networks]}
        case Domains():
            return {f"{side}FQDNs": [{_name_or_pattern(name): name} for name in peer.names]}


def _name_or_pattern(domain: str) -> str:
    return "matchPattern" if "*" in domain else "matchName"


def _cilium_ports(allow: Allow) -> dict[str, Any]:
    if not allow.ports:
        return {}
    rules: dict[str, Any] = {}
    if allow.http:
        rules = {"rules": {"http": [match.manifest() for match in allow.http]}}
    if allow.learn_names:
        rules = {"rules": {"dns": [{"matchPattern": "*"}]}}
    ports = [{"port": str(port.number), "protocol": port.protocol.value} for port in allow.ports]
    return {"toPorts": [{"ports": ports, **rules}]}
