"""Network policies as data: who may do what with whom."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network

from settings.fields import Protocol


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
    """What Cilium knows by name: `host` (a pod's own node), `remote-node`, `kube-apiserver`, `world`, `all`."""

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
