"""What checks look at: settings, objects of the cluster, accounts and the network, each asked once for all of them."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import IPv4Address
from threading import Lock
from typing import Any, TypeVar

from cli import edge_accounts
from cli.cluster import Cluster
from cli.doctor.probes import ProbeError, Prober
from cli.edge_accounts import CloudflareAccount, Tailnet
from cli.network import Network
from cli.program import Program, Resource
from settings.stack import Settings

T = TypeVar("T")
Given = TypeVar("Given")

NODE_PORTS = (6443, 10250)
"""Ports of the API server and the kubelet: one of them answers on every node."""

SIMULATED = "the nodes are simulated: pods run nothing, and no controller does its work"


class UnseenError(Exception):
    """Something can't be seen from here; the text is the reason."""


@dataclass(frozen=True)
class Thresholds:
    """When a certificate's rest of life (days) and a request's time (milliseconds) become a finding."""

    certificate_warning_days: int = 30
    certificate_critical_days: int = 7
    response_milliseconds: int = 1000


class Once:
    """Answers that are asked for once, whichever thread comes first; the others wait for it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._answers: dict[object, Future[Any]] = {}

    def get(self, key: object, make: Callable[[], T]) -> T:
        """The answer, or the exception, that `make` gave the first time."""
        with self._lock:
            known = self._answers.get(key)
            answer: Future[Any] = known or Future()
            self._answers[key] = answer
        if known is None:
            try:
                answer.set_result(make())
            except Exception as error:
                answer.set_exception(error)
        found: T = answer.result()
        return found


def side_by_side(function: Callable[[Given], T], items: Iterable[Given]) -> list[T]:
    """The results in the order of the items, all asked for at once."""
    known = list(items)
    if not known:
        return []
    with ThreadPoolExecutor(len(known)) as pool:
        return list(pool.map(function, known))


@dataclass(frozen=True)
class Context:
    """Everything a check may ask. Methods raise ClusterError, AccountError, ProgramError or UnseenError."""

    program: Program
    thresholds: Thresholds = Thresholds()
    prober: Prober = field(default_factory=Prober)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    _once: Once = field(default_factory=Once, repr=False, compare=False)

    @property
    def settings(self) -> Settings:
        """The stack's settings."""
        return self._once.get("settings", lambda: self.program.settings)

    @property
    def state(self) -> list[Resource]:
        """The resources of the stack's last state."""
        return self._once.get("state", lambda: self.program.state)

    def items(self, path: str) -> list[dict[str, Any]]:
        """All objects at an API path of a list; none when the kind does not exist."""
        return self._once.get(path, lambda: self._cluster.items(path))

    def object(self, path: str) -> dict[str, Any] | None:
        """The object at an API path, or None."""
        return self._once.get(path, lambda: self._cluster.find(path))

    def network(self) -> Network:
        """The cluster's pods, Services, routes and policies as a model."""
        return self._once.get("network", lambda: Network.live(self.settings, self._cluster, self.state))

    def kubectl(self, command: str) -> str:
        """A command for the stack's cluster."""
        return f"kubectl --context {self.settings.kubernetes.context} {command}"

    @property
    def up(self) -> str:
        """The command that puts back what the program declares."""
        return f"pulumi preview -s {self.program.stack} --refresh"

    @property
    def _cluster(self) -> Cluster:
        """Reached once: where that fails, every check hears of it at once instead of waiting for itself."""
        return self._once.get("cluster", self._reached)

    def _reached(self) -> Cluster:
        cluster = Cluster.of(self.program)
        cluster.get("/version")
        return cluster

    @property
    def cloudflare(self) -> CloudflareAccount:
        """The account at Cloudflare."""
        return self._once.get("cloudflare", lambda: edge_accounts.cloudflare(self.program))

    @property
    def tailnet(self) -> Tailnet:
        """The tailnet."""
        return self._once.get("tailnet", lambda: edge_accounts.tailnet(self.program))

    # ---- what can be seen from here

    @property
    def simulated(self) -> bool:
        """Whether no kubelet runs the pods, as in a rehearsal: then nothing listens and no controller acts."""
        return any(_is_simulated(node) for node in self.items("/api/v1/nodes"))

    def need_running_pods(self) -> None:
        """Raise UnseenError where pods run nothing."""
        if self.simulated:
            raise UnseenError(SIMULATED)

    def need_lan(self) -> None:
        """Raise UnseenError where the node subnet is out of reach, so that silence would prove nothing."""
        self.need_running_pods()
        if not self._once.get("lan", self._lan_answers):
            raise UnseenError(f"no node answers from here: {self.settings.physical.subnet} is out of reach")

    def _lan_answers(self) -> bool:
        ports = [(node.address, port) for node in self.settings.physical.nodes.values() for port in NODE_PORTS]
        return any(side_by_side(self._answers, ports))

    def _answers(self, end: tuple[IPv4Address, int]) -> bool:
        try:
            self.prober.connect(str(end[0]), end[1])
        except ProbeError as error:
            return error.refused
        return True

    @cached_property
    def not_ready_nodes(self) -> frozenset[str]:
        """Names of nodes that are not ready."""
        return frozenset(n["metadata"]["name"] for n in self.items("/api/v1/nodes") if not is_ready(n))


def is_ready(thing: Mapping[str, Any]) -> bool:
    """Whether the condition Ready of a node, pod or custom resource is true."""
    return condition(thing, "Ready").get("status") == "True"


def condition(thing: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
    """A condition of an object's status, empty when it has none of that type."""
    found = ((thing.get("status") or {}).get("conditions")) or ()
    return next((entry for entry in found if entry.get("type") == type_), {})


def name_of(thing: Mapping[str, Any]) -> str:
    """`namespace/name`, or the name of what has no namespace."""
    metadata = thing["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else str(metadata["name"])


def _is_simulated(node: Mapping[str, Any]) -> bool:
    """A kubelet always tells its version; kwok tells none, or that it is fake."""
    version = ((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion") or ""
    return not version or "fake" in version or "kwok" in version
