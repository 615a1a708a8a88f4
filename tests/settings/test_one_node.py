"""Clusters of fewer nodes than the defaults have in mind: pods that are spread one a node follow their number."""

from typing import Any

import pytest

from settings.load import parse
from settings.stack import Settings
from tests.support.configs import STAND_IN_SECRETS, charts_without_files, merged, stack_config
from tests.support.faults import problems
from tests.support.single_faults import faulty

pytestmark = pytest.mark.unit


def cluster_of(nodes: int, change: dict[str, Any] | None = None) -> dict[str, Any]:
    raw = merged(stack_config(), change or {})
    places = range(nodes)
    machines = {
        f"k8s-{each}": {"address": f"192.168.1.{200 + each}", "mac": f"58:47:ca:79:7c:0{each}"} for each in places
    }
    raw["physical"]["nodes"] = machines
    return raw


def numbers(settings: Settings) -> dict[str, int]:
    assert settings.discovery.lan_dns
    return {
        "operator": settings.cilium.operator.replicas,
        "certificates": settings.certificates.replicas,
        "connectors": settings.cloudflare.tunnel.replicas,
        "lan-dns": settings.discovery.lan_dns.replicas,
        **{name: controller.replicas for name, controller in settings.ingress.classes.items()},
    }


@pytest.mark.parametrize(("nodes", "pods"), [(1, 1), (2, 2), (3, 2), (5, 2)])
def test_the_shipped_stack_is_valid_for_any_number_of_nodes(nodes: int, pods: int) -> None:
    settings = parse(cluster_of(nodes), charts_without_files, STAND_IN_SECRETS)
    assert set(numbers(settings).values()) == {pods}


def test_what_the_config_says_is_not_changed() -> None:
    asked = {"cilium": {"operator": {"replicas": 2}}, "ingress": {"classes": {"internal": {"replicas": 3}}}}
    assert [problem.key for problem in problems(cluster_of(1, asked))] == [
        "cilium.operator.replicas",
        "ingress.classes.internal.replicas",
    ]


def test_a_default_is_not_lowered_for_other_stacks() -> None:
    """Models hold their defaults in common."""
    parse(cluster_of(1), charts_without_files, STAND_IN_SECRETS)
    assert set(numbers(parse(stack_config(), charts_without_files, STAND_IN_SECRETS)).values()) == {2}


def test_autoscaling_goes_as_far_as_there_are_nodes() -> None:
    scaling: dict[str, Any] = {"ingress": {"classes": {"internal": {"autoscaling": {}}}}}
    controller = parse(cluster_of(2, scaling), charts_without_files, STAND_IN_SECRETS).ingress.classes["internal"]
    assert controller.autoscaling
    assert controller.autoscaling.max_replicas == 2
    (problem,) = problems(cluster_of(1, scaling))
    assert (problem.key, problem.example) == ("ingress.classes.internal.autoscaling", "without this key")


def test_a_node_at_fault_still_counts() -> None:
    raw = faulty()
    raw["physical"]["nodes"]["k8s-3"] = {"mac": "58:47:ca:7a:54:aa"}
    raw["cilium"]["operator"]["replicas"] = 3
    assert [problem.key for problem in problems(raw)] == ["physical.nodes.k8s-3.address"]
