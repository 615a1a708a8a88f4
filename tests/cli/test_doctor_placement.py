"""What doctor says of pods that no node takes."""

import pytest

from cli.doctor.findings import Status
from tests.support.doctor import DEPLOYMENTS, NODE_LIST, NODES, PODS, causes, context, deployment, node, pod, said

pytestmark = pytest.mark.unit

TAINT = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def tainted(*names: str) -> list[dict[str, object]]:
    """The stack's nodes, of which some take no pods."""
    return [
        {**node(name, address), "spec": {"taints": [TAINT] if name in names else []}} for name, address in NODES.items()
    ]


def test_control_planes_that_take_no_pods_explain_all_that_is_pending() -> None:
    """One cause, with the setting, and every Deployment without a place below it."""
    names = ("network/internal-ingress-nginx-controller", "network/external-ingress-nginx-controller")
    waiting = [pod(f"{name}-1", {"app": name.partition("/")[2]}, on="", ready=False, phase="Pending") for name in names]
    controllers = [deployment(name, 2, 0) for name in names]
    seen = context({NODE_LIST: tainted(*NODES), DEPLOYMENTS: controllers, PODS: waiting})
    first = causes(seen, "nodes", "ingress-controllers")[0]
    assert (first.finding.subject, first.finding.status) == ("nodes that take pods", Status.CRITICAL)
    assert first.finding.config == "cluster.allowSchedulingOnControlPlanes"
    assert "k8s-1, k8s-2, k8s-3 take no pods" in first.finding.seen
    assert {f"Deployment {name}" for name in names} <= {issue.finding.subject for issue in first}


def test_a_single_node_that_takes_no_pods_is_a_warning() -> None:
    found = causes(context({NODE_LIST: tainted("k8s-2")}), "nodes")
    assert [(issue.finding.status, issue.finding.seen.partition(":")[0]) for issue in found] == [
        (Status.WARNING, "k8s-2 take no pods")
    ]


def test_nodes_without_the_taint_are_right() -> None:
    assert said(context({NODE_LIST: tainted()}), "nodes") == {}
