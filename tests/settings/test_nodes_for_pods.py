"""Which nodes take the network's pods, and that there are enough of them."""

from typing import Any

import pytest

from tests.support.configs import merged, settings_with, stack_config
from tests.support.faults import faults_of

pytestmark = pytest.mark.unit

KEPT_FREE = {"cluster": {"allowSchedulingOnControlPlanes": False}}
"""Control planes take no pods."""


def workers(count: int) -> dict[str, Any]:
    nodes = {
        f"w-{number}": {"address": f"192.168.1.{20 + number}", "mac": f"58:47:ca:00:01:{number:02x}", "role": "worker"}
        for number in range(count)
    }
    return {"physical": {"nodes": nodes}}


def test_all_nodes_take_pods_unless_control_planes_are_kept_free() -> None:
    assert settings_with(workers(2)).nodes_for_pods == ["k8s-1", "k8s-2", "k8s-3", "w-0", "w-1"]
    assert settings_with(merged(workers(2), KEPT_FREE)).nodes_for_pods == ["w-0", "w-1"]


def test_control_planes_kept_free_without_a_worker_are_one_fault() -> None:
    """The pods that would have no place follow from it."""
    faults = faults_of(KEPT_FREE, stack_config())
    assert list(faults) == ["cluster.allowSchedulingOnControlPlanes"]
    assert "every pod of the network would stay pending" in faults["cluster.allowSchedulingOnControlPlanes"]


def test_pods_spread_one_a_node_count_only_nodes_that_take_them() -> None:
    """Cilium's operator runs on control planes whatever they take."""
    one_worker = merged(workers(1), KEPT_FREE)
    assert settings_with(one_worker, stack_config()).certificates.replicas == 1, "the default follows the nodes"
    two = {"replicas": 2}
    asked = {
        "ingress": {"classes": {"external": two, "internal": two}},
        "certificates": two,
        "discovery": {"lanDns": two},
        "cloudflare": {"tunnel": two},
    }
    faults = faults_of(merged(one_worker, asked), stack_config())
    assert set(faults) == {
        "ingress.classes.external.replicas",
        "ingress.classes.internal.replicas",
        "certificates.replicas",
        "discovery.lanDns.replicas",
        "cloudflare.tunnel.replicas",
    }
    for reason in faults.values():
        assert "there is 1 node beside control planes, which take no pods" in reason
    assert (
        settings_with(merged(workers(2), KEPT_FREE), stack_config()).cluster.allow_scheduling_on_control_planes is False
    )
