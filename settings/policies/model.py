"""Network policies: which namespaces are under default deny, and which flows are let through.

Which flows the network's own parts need is in `infrastructure`, which policies all of them become in `flows`;
docs/network-policies.md explains both.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from ipaddress import IPv4Network
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from settings.applications import LabelKey, Port
from settings.fields import WITHOUT, DnsLabel, Form, LabelValue, Model, Network, Problem, Protocol, below

Labels = Annotated[dict[LabelKey, LabelValue], Field(min_length=1, examples=[{"app": "frontend"}])]
"""Labels that pods must have, all of them."""

ANYWHERE = "anywhere"
"""The destination that is every address outside of the cluster."""


def _destination(value: str) -> str:
    if value == ANYWHERE:
        return value
    if re.fullmatch(r"[0-9./]+", value):
        try:
            network = IPv4Network(value, strict=False)
        except ValueError:
            raise ValueError("is not an IPv4 network in CIDR notation") from None
        if network.prefixlen == 0:
            raise ValueError(f"is written {ANYWHERE}")
        if str(network) != value:
            raise ValueError(
                f"is written {network}" + ("" if network.prefixlen == 32 else ", or with /32 for one address")
            )
        return value
    if not re.fullmatch(r"(\*\*\.)?([-a-z0-9_*]{1,63}\.)+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", value):
        raise ValueError(f"is no domain in lower case, network in CIDR notation or `{ANYWHERE}`")
    if "**" in value.removeprefix("**."):
        raise ValueError("has ** where it stands for no more than *: only **. in front stands for several labels")
    return value


def _not_empty(value: tuple[str, ...]) -> tuple[str, ...]:
    # As a `min_length` it would be reported beside the fault of a single entry.
    if not value:
        raise ValueError("must not be empty")
    return value


Destination = Annotated[str, AfterValidator(_destination), Field(examples=["api.example.com"])]
"""Something outside of the cluster: a domain, a network, or anywhere.

In a domain `*` stands for any part of one label, and `**.` in front for one label or more (Cilium, matchPattern).
"""

UNSEEN_LABELS = re.compile(
    r"io\.kubernetes|kubernetes\.io|k8s\.io|topology\.kubernetes\.io|statefulset\.kubernetes\.io/pod-name|.*beta\.kubernetes\.io"
    r"|apps\.kubernetes\.io/pod-index|batch\.kubernetes\.io/(job-completion-index|controller-uid)"
    r"|pod-template-(generation|hash)|controller-(revision-hash|uid)|annotation|etcd_node"
)
"""Starts of label keys that Cilium leaves out of a pod's identity, so that no policy ever matches them (1.19)."""


class PodSecurity(StrEnum):
    """Levels of the Pod Security Standards."""

    PRIVILEGED = "privileged"
    BASELINE = "baseline"
    RESTRICTED = "restricted"


def _are_labels(value: Mapping[str, Any]) -> bool:
    return value.keys().isdisjoint({"labels", "namespace"}) and all(isinstance(each, str) for each in value.values())


class OwnPods(Model):
    """Pods of the namespace that an entry stands under, by their labels."""

    labels: Labels = Field(description="labels that the pods have, all of them", examples=[{"app": "frontend"}])

    @model_validator(mode="before")
    @classmethod
    def _labels_have_a_key(cls, value: Any) -> Any:
        if isinstance(value, dict) and value and _are_labels(value):
            raise ValueError("has its labels in the wrong place: they stand one level deeper, below the key labels")
        return value


_OUTSIDE = "is no part of a flow, whose ends are pods: clients outside of the cluster come under `clients`"


class PodGroup(OwnPods):
    """One end of a flow: pods by their labels."""

    retired: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("networks", "network", "cidr", "ipBlock", "address"), _OUTSIDE
    )

    namespace: DnsLabel | None = Field(
        default=None,
        description="their namespace; the one that the flow stands under when unset",
        examples=["production"],
    )


class HttpRule(Model):
    """Requests that may pass; method, path and headers must all match."""

    method: (
        Annotated[
            str,
            StringConstraints(pattern=r"^[A-Z|()]+$"),
            Form("must be an HTTP method in capitals, or several with | between them"),
        ]
        | None
    ) = Field(default=None, description="HTTP method, or several with `|`; any when unset", examples=["GET"])
    path: Annotated[str, StringConstraints(pattern=r"^/"), Form("must start with a slash")] | None = Field(
        default=None,
        description="regular expression (RE2) for the whole path with its query; any when unset",
        examples=["/api/v1/.*"],
    )
    headers: dict[
        Annotated[
            str,
            StringConstraints(pattern=r"^[A-Za-z0-9-]+$"),
            Form("must be a header's name: letters, digits and hyphens"),
        ],
        str,
    ] = Field(
        default={},
        description="headers that must be there, with this very value; an empty text takes any value",
        examples=[{"Content-Type": "application/json"}],
    )

    def problems(self) -> Iterator[Problem]:
        # Python knows more than RE2: look-around and back references would be refused by Cilium later.
        for key, value in (("method", self.method), ("path", self.path)):
            try:
                re.compile(value or "")
            except re.error as fault:
                yield Problem(key, value, f"is not a regular expression: {fault}", "/api/v1/.*")
                continue
            if re.search(r"\(\?[=!<P>]|\\[1-9]", value or ""):
                reason = "uses look-around, a named group or a back reference, which Cilium's expressions (RE2) lack"
                yield Problem(key, value, reason, "/api/v1/.*")
        for name, value in self.headers.items():
            if not value.isprintable() or value != value.strip():
                printable = "".join(filter(str.isprintable, value)).strip()
                yield Problem(f"headers.{name}", value, "has control characters or outer white space", printable)


class Flow(Model):
    """Traffic between two groups of pods; both sides are allowed."""

    source: PodGroup = Field(description="pods that connect", examples=[{"labels": {"app": "frontend"}}])
    destination: PodGroup = Field(description="pods that listen", examples=[{"labels": {"app": "backend"}}])
    port: Port = Field(description="port of the listening pods, not of their Service", examples=[8080])
    protocol: Protocol = Field(default=Protocol.TCP, description="`TCP` or `UDP`", examples=["TCP"])
    http: tuple[HttpRule, ...] = Field(
        default=(),
        description="only these requests, any of them; needs `cilium.l7Proxy`",
        examples=[[{"method": "GET", "path": "/api/v1/.*"}]],
    )

    def problems(self) -> Iterator[Problem]:
        for index, rule in enumerate(self.http):
            yield from below(f"http[{index}]", rule.problems())
        if self.http and self.protocol is not Protocol.TCP:
            yield Problem("protocol", self.protocol.value, "HTTP rules need TCP", "TCP")


class Egress(Model):
    """Traffic out of the cluster."""

    source: OwnPods = Field(description="pods that connect", examples=[{"labels": {"app": "frontend"}}])
    to: Annotated[tuple[Destination, ...], AfterValidator(_not_empty)] = Field(
        description="domains (`*` is any part of one label, `**.` in front any number of them; they need "
        "`cilium.l7Proxy`), networks outside of the cluster, or `anywhere`",
        examples=[["api.example.com", "*.example.org", "192.168.1.20/32"]],
    )
    ports: tuple[Port, ...] = Field(default=(443,), min_length=1, description="ports there", examples=[[443]])
    protocol: Protocol = Field(default=Protocol.TCP, description="`TCP` or `UDP`", examples=["TCP"])

    @property
    def networks(self) -> tuple[IPv4Network, ...]:
        """The networks among the destinations."""
        return tuple(IPv4Network(destination) for destination in self.to if "/" in destination)

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains among the destinations."""
        return tuple(destination for destination in self.to if "/" not in destination and destination != ANYWHERE)

    @property
    def anywhere(self) -> bool:
        """Whether every address is among the destinations."""
        return ANYWHERE in self.to


class Clients(Model):
    """Traffic from outside of the cluster to pods, through a LoadBalancer Service of theirs."""

    labels: Labels = Field(description="labels of the pods that listen", examples=[{"app": "broker"}])
    ports: tuple[Port, ...] = Field(
        min_length=1, description="ports of the pods, not of their Service", examples=[[1883]]
    )
    protocol: Protocol = Field(default=Protocol.TCP, description="`TCP` or `UDP`", examples=["TCP"])
    networks: tuple[Network, ...] = Field(
        default=(),
        description="networks of the clients; `networkPolicies.infrastructure.clients` when empty, and "
        "`physical.subnet` when that is empty too",
        examples=[["192.168.1.0/24"]],
    )


class MetricsTarget(Model):
    """Pods that Prometheus scrapes."""

    labels: Labels = Field(description="labels of the pods", examples=[{"app": "backend"}])
    port: Port = Field(description="port of their metrics", examples=[9090])


class Namespace(Model):
    """One namespace of applications."""

    retired: ClassVar[Mapping[str, str]] = {
        "ingress": "is said by `flows` for pods of the cluster, and by `clients` for networks outside of it",
    }

    create: bool = Field(default=False, description="create it; else it must exist")
    pod_security: PodSecurity = Field(
        default=PodSecurity.BASELINE,
        description="Pod Security level that a created namespace enforces: `privileged`, `baseline` or `restricted`; "
        "violations of `restricted` are always reported",
        examples=["baseline"],
    )
    default_deny: bool = Field(
        default=True, description="deny everything but DNS, the node's own probes and what is listed below"
    )
    allow_same_namespace: bool = Field(default=False, description="let its pods talk to each other freely")
    flows: dict[DnsLabel, Flow] = Field(
        default={},
        description="traffic between pods, by name",
        examples=[
            {
                "frontend-to-backend": {
                    "source": {"labels": {"app": "frontend"}},
                    "destination": {"labels": {"app": "backend"}},
                    "port": 8080,
                }
            }
        ],
    )
    egress: dict[DnsLabel, Egress] = Field(
        default={},
        description="traffic out of the cluster, by name",
        examples=[{"payments": {"source": {"labels": {"app": "backend"}}, "to": ["api.example.com"]}}],
    )
    clients: dict[DnsLabel, Clients] = Field(
        default={},
        description="traffic from outside of the cluster to pods with a LoadBalancer Service of their own, by name",
        examples=[{"broker": {"labels": {"app": "broker"}, "ports": [1883]}}],
    )
    metrics: dict[DnsLabel, MetricsTarget] = Field(
        default={},
        description="pods that Prometheus scrapes, by name",
        examples=[{"backend": {"labels": {"app": "backend"}, "port": 9090}}],
    )
    api_server: dict[DnsLabel, Labels] = Field(
        default={},
        description="pods that call the Kubernetes API, by name",
        examples=[{"operator": {"app": "operator"}}],
    )
    probe_ports: tuple[Port, ...] = Field(
        default=(),
        description="ports that other nodes may reach too, for health checks; a pod's own node always may",
        examples=[[8080]],
    )

    def problems(self) -> Iterator[Problem]:
        if "pod_security" in self.model_fields_set and not self.create:
            reason = "is set on namespaces that are created here, and create is false"
            yield Problem("podSecurity", self.pod_security.value, reason, WITHOUT, because=("create",))
        if not self.default_deny:
            listed = ("allow_same_namespace", "flows", "egress", "clients", "metrics", "api_server", "probe_ports")
            for key in filter(lambda name: getattr(self, name), listed):
                value = getattr(self, key)
                camel = re.sub(r"_(.)", lambda match: match[1].upper(), key)
                reason = "has nothing to let through: defaultDeny is false, and everything is"
                yield Problem(camel, value if value is True else list(value), reason, WITHOUT)
        for name, flow in self.flows.items():
            yield from below(f"flows.{name}", flow.problems())
        yield from self._unseen_labels()

    @property
    def learns_names(self) -> bool:
        """Whether its DNS goes through Cilium's proxy."""
        return any(egress.domains for egress in self.egress.values())

    def _unseen_labels(self) -> Iterator[Problem]:
        labels = {f"flows.{name}.source.labels": flow.source.labels for name, flow in self.flows.items()}
        labels |= {f"flows.{name}.destination.labels": flow.destination.labels for name, flow in self.flows.items()}
        labels |= {f"egress.{name}.source.labels": egress.source.labels for name, egress in self.egress.items()}
        labels |= {f"clients.{name}.labels": clients.labels for name, clients in self.clients.items()}
        labels |= {f"metrics.{name}.labels": target.labels for name, target in self.metrics.items()}
        labels |= {f"apiServer.{name}": pods for name, pods in self.api_server.items()}
        for key, selector in labels.items():
            yield from (problem.under(key) for problem in unseen_labels(selector))


def unseen_labels(selector: Mapping[str, str]) -> Iterator[Problem]:
    """Labels of a selector that Cilium does not see; the key is the label."""
    for label, value in selector.items():
        if UNSEEN_LABELS.match(label):
            reason = "is no part of a pod's identity in Cilium, so the policy would never match"
            yield Problem(label, value, reason, {"app.kubernetes.io/name": value})


class Infrastructure(Model):
    """The namespaces of the network's own parts: ingress controllers, tunnel, cert-manager, Tailscale."""

    default_deny: bool = Field(
        default=False, description="deny there too what the network does not need; try it where you can reach a node"
    )
    allow_system: bool = Field(
        default=False,
        description="write down that kube-system, and where Prometheus runs, may do everything; "
        "`cilium.policyEnforcement: always` needs it, one update before",
    )
    clients: tuple[Network, ...] = Field(
        default=(),
        description="networks whose clients reach LoadBalancer controllers and DNS; `physical.subnet` when empty",
        examples=[["192.168.1.0/24", "192.168.20.0/24"]],
    )


class Policies(Model):
    """Network policies by namespace."""

    enabled: bool = Field(default=False, description="deploy this layer")
    namespaces: dict[DnsLabel, Namespace] = Field(
        default={}, description="namespaces of applications", examples=[{"production": {"create": True}}]
    )
    infrastructure: Infrastructure = Field(
        default=Infrastructure(), description="namespaces of the network's own parts"
    )
    layer7_tried: bool = Field(
        default=False,
        description="silence the warning that HTTP and domain rules can lose traffic on nodes that run Tailscale: "
        "they were tried on one node",
    )

    def problems(self) -> Iterator[Problem]:
        for name, namespace in self.namespaces.items():
            yield from below(f"namespaces.{name}", namespace.problems())

    @property
    def uses_proxy(self) -> bool:
        """Whether a rule sends traffic through Cilium's proxy."""
        return any(
            namespace.learns_names or any(flow.http for flow in namespace.flows.values())
            for namespace in self.namespaces.values()
        )
