"""`anton reach` on generated policies: it says what Kubernetes' documentation says, for whatever set of policies."""

from typing import Any

import pytest
from hypothesis import given, settings, strategies

from cli.network import Network, Pods, Port
from cli.reach.command import Pair, reachable
from cli.reach.paths import End, Reach
from cli.verdicts import Manifest
from tests.support import policy_oracle
from tests.support.configs import settings_with
from tests.support.tools import tool

pytestmark = pytest.mark.render

NAMESPACES: dict[str, dict[str, str]] = {"one": {"team": "a"}, "two": {"team": "b"}, "three": {}}
LABELS = [{"app": "web"}, {"app": "db", "tier": "back"}, {"tier": "back"}]
PORTS = (Port(80, name="http"), Port(5432, name="sql"))
PODS = tuple(
    Pods(namespace, f"{number}", labels, PORTS if number else (Port(8080, name="http"),))
    for namespace in NAMESPACES
    for number, labels in enumerate(LABELS[: 1 if namespace == "three" else 3])
)
ADDRESSES = ("192.168.1.50", "192.168.1.200", "10.20.0.1")


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    tool("policy-verdict")


def selectors(labels: dict[str, list[str]]) -> strategies.SearchStrategy[dict[str, Any]]:
    """Label selectors, empty ones among them."""
    pair = strategies.sampled_from([(key, value) for key, values in labels.items() for value in values])
    expression = pair.flatmap(
        lambda chosen: strategies.sampled_from(
            [
                {"key": chosen[0], "operator": "In", "values": [chosen[1]]},
                {"key": chosen[0], "operator": "NotIn", "values": [chosen[1]]},
                {"key": chosen[0], "operator": "Exists"},
                {"key": chosen[0], "operator": "DoesNotExist"},
            ]
        )
    )
    return strategies.one_of(
        strategies.just({}),
        pair.map(lambda chosen: {"matchLabels": dict([chosen])}),
        expression.map(lambda one: {"matchExpressions": [one]}),
    )


POD_SELECTORS = selectors({"app": ["web", "db", "none"], "tier": ["back"]})
NAMESPACE_SELECTORS = selectors({"team": ["a", "b"], "kubernetes.io/metadata.name": ["one", "three"]})
BLOCKS = strategies.sampled_from(
    [
        {"cidr": "192.168.1.0/24"},
        {"cidr": "192.168.0.0/16", "except": ["192.168.1.128/25"]},
        {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "192.168.1.50/32"]},
        {"cidr": "0.0.0.0/0"},
    ]
)
PEERS = strategies.one_of(
    POD_SELECTORS.map(lambda pods: {"podSelector": pods}),
    NAMESPACE_SELECTORS.map(lambda spaces: {"namespaceSelector": spaces}),
    strategies.builds(
        lambda pods, spaces: {"podSelector": pods, "namespaceSelector": spaces}, POD_SELECTORS, NAMESPACE_SELECTORS
    ),
    BLOCKS.map(lambda block: {"ipBlock": block}),
)
RULE_PORTS = strategies.sampled_from(
    [
        {"port": 80},
        {"port": "http", "protocol": "TCP"},
        {"port": "sql"},
        {"port": 5000, "endPort": 6000},
        {"port": 80, "protocol": "UDP"},
        {"protocol": "TCP"},
    ]
)


def rules(ends: str) -> strategies.SearchStrategy[dict[str, Any]]:
    return strategies.fixed_dictionaries(
        {},
        optional={ends: strategies.lists(PEERS, max_size=2), "ports": strategies.lists(RULE_PORTS, max_size=2)},
    )


def types_of(spec: dict[str, Any]) -> set[str]:
    return set(spec.get("policyTypes", ["Ingress", "Egress"]))


SPECS = strategies.fixed_dictionaries(
    {"podSelector": POD_SELECTORS},
    optional={
        "ingress": strategies.lists(rules("from"), max_size=2),
        "egress": strategies.lists(rules("to"), max_size=2),
        "policyTypes": strategies.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]]),
    },
).filter(lambda spec: {key.title() for key in spec if key in {"ingress", "egress"} and spec[key]} <= types_of(spec))
"""Without rules of a direction that is no type: Cilium takes them all the same (test_policy_semantics.py)."""


@strategies.composite
def policy_sets(draw: strategies.DrawFn) -> list[Manifest]:
    drawn = draw(strategies.lists(strategies.tuples(strategies.sampled_from([*NAMESPACES]), SPECS), max_size=4))
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": f"policy-{number}", "namespace": namespace},
            "spec": spec,
        }
        for number, (namespace, spec) in enumerate(drawn)
    ]


SETTINGS = settings_with()


def network(policies: list[Manifest]) -> Network:
    return Network(
        settings=SETTINGS,
        pods=PODS,
        services=(),
        routes=(),
        tunnel=(),
        public_names=frozenset(),
        guarded=frozenset(),
        advertised=frozenset(),
        policies=tuple(policies),
        namespaces=NAMESPACES,
        enforcement="default",
    )


@settings(max_examples=200)
@given(policies=policy_sets())
def test_pods_reach_each_other_exactly_as_kubernetes_documents(policies: list[Manifest]) -> None:
    """What `anton reach --changes` compares, for 200 sets of policies and every pair of pods and ports."""
    found = reachable(network(policies), PODS)
    for destination in PODS:
        for source in PODS:
            for port in destination.ports:
                if source != destination:
                    wanted = policy_oracle.allows(
                        policies, NAMESPACES, source.endpoint(), destination.endpoint(), port.number
                    )
                    pair = Pair(f"{destination} {port}", str(source))
                    assert (pair in found) is wanted, f"{pair}: documentation says {wanted}"


@settings(max_examples=40)
@given(policies=policy_sets(), address=strategies.sampled_from(ADDRESSES), number=strategies.integers(0, len(PODS) - 1))
def test_single_answers_agree_too_with_blocks_and_their_exceptions(
    policies: list[Manifest], address: str, number: int
) -> None:
    pods = PODS[number]
    ways = Reach(network(policies))
    outside = {"address": address}
    for port in (*pods.ports, Port(22)):
        (path,) = ways.paths(End(str(pods), "pods", pods.endpoint(), pods), End(address, "lan", outside), port.number)
        wanted = policy_oracle.allows(policies, NAMESPACES, pods.endpoint(), outside, port.number)
        assert path.allowed is wanted, path
