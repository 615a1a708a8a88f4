"""What the charts make of the shipped stack on a single node: one pod each, and nothing that keeps it from a drain."""

import pytest

from settings.load import parse
from settings.stack import Settings
from tests.support.configs import STAND_IN_SECRETS, charts_without_files, stack_config
from tests.support.rendering import render_cilium, render_nginx

pytestmark = pytest.mark.render


def single_node() -> Settings:
    raw = stack_config()
    raw["physical"]["nodes"] = {"k8s-1": raw["physical"]["nodes"]["k8s-1"]}
    return parse(raw, charts_without_files, STAND_IN_SECRETS)


def test_one_operator() -> None:
    chart = render_cilium(single_node())
    assert chart.get("Deployment", "cilium-operator")["spec"]["replicas"] == 1


@pytest.mark.parametrize("name", ["internal", "external"])
def test_one_controller_without_a_budget(name: str) -> None:
    chart = render_nginx(single_node(), name)
    assert chart.get("Deployment", f"{name}-ingress-nginx-controller")["spec"]["replicas"] == 1
    assert not chart.of("PodDisruptionBudget"), "it would let nobody drain the node"
