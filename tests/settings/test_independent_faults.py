"""Two independent faults are always two messages: exactly what rests on a value at fault is dropped."""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.configs import merged, stack_config
from tests.support.faults import EVERY_LAYER, problems
from tests.support.single_faults import SINGLE, Fault, faulty

pytestmark = pytest.mark.unit

PAIRS = [(one, other) for one, other in combinations(SINGLE, 2) if one.independent_of(other)]


def keys(raw: dict[str, Any]) -> list[str]:
    return sorted(problem.key for problem in problems(raw))


@pytest.mark.parametrize("single", SINGLE, ids=lambda fault: fault.reported)
def test_one_fault_is_one_message_at_its_key(single: Fault) -> None:
    assert keys(faulty(single)) == [single.reported]


def test_faults_of_every_layer_are_tried() -> None:
    assert {single.reported.split(".")[0] for single in SINGLE} == EVERY_LAYER.keys()
    assert len(PAIRS) > 5000


@given(st.sampled_from(PAIRS))
@settings(max_examples=300)
def test_two_independent_faults_are_two_messages(pair: tuple[Fault, Fault]) -> None:
    assert keys(faulty(*pair)) == sorted(each.reported for each in pair)


@given(st.lists(st.integers(0, len(SINGLE) - 1), min_size=3, max_size=8, unique=True))
@settings(max_examples=150)
def test_many_independent_faults_are_as_many_messages(chosen: list[int]) -> None:
    together: list[Fault] = []
    for each in map(SINGLE.__getitem__, chosen):
        if all(each.independent_of(other) for other in together):
            together.append(each)
    assert keys(faulty(*together)) == sorted(each.reported for each in together)


@pytest.mark.parametrize(
    ("one", "other", "reported"),
    [
        (
            {"cluster": {"domain": "Example.com"}},
            {"applications": {"wiki": {"ingressClass": "internl", "namespace": "production", "port": 80}}},
            ["applications.wiki.ingressClass", "cluster.domain"],
        ),
        (
            {"ingress": {"classes": {"internal": {"replicas": "two"}}}},
            {"applications": {"wiki": {"ingressClass": "internl", "namespace": "production", "port": 80}}},
            ["applications.wiki.ingressClass", "ingress.classes.internal.replicas"],
        ),
        (
            {"physical": {"nodes": {"k8s-1": {"rack": "shelf 1"}}}},
            {"cilium": {"operator": {"replicas": 5}}},
            ["cilium.operator.replicas", "physical.nodes.k8s-1.rack"],
        ),
        (
            {"cloudflare": {"tunnel": {"logLevel": "verbose"}}},
            {
                "applications": {
                    "external": {"ingressClass": "external", "namespace": "production", "port": 80},
                }
            },
            ["applications.external.host", "cloudflare.tunnel.logLevel"],
        ),
    ],
)
def test_no_fault_hides_another_in_the_shipped_stack(
    one: dict[str, Any], other: dict[str, Any], reported: list[str]
) -> None:
    assert keys(merged(merged(stack_config(), one), other)) == reported
