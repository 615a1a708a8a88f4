"""`anton reach` against a real API server: the cluster's own policies, pods and Services."""

import pytest
from typer.testing import CliRunner

from cli import __main__ as anton
from cli.program import Program
from tests.support.control_plane import ControlPlane
from tests.support.engine import Stack

pytestmark = pytest.mark.cluster


def test_live_answers_from_the_clusters_own_policies(
    stack: Stack, cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that somebody made by hand is no part of the declared network, and the reason on the live one."""
    program = Program("test", stack.environment, stack.file)
    monkeypatch.setattr(Program, "open", lambda *_, **__: program)
    path = "/apis/networking.k8s.io/v1/namespaces/network/networkpolicies"
    by_hand = {"podSelector": {}, "policyTypes": ["Ingress"]}
    metadata = {"name": "by-hand", "namespace": "network"}
    manifest = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": by_hand}
    runner = CliRunner()
    asked = ["reach", "lan", "network/internal-ingress-nginx-controller"]
    assert runner.invoke(anton.app, [*asked, "--live"]).exit_code == 0
    cluster.request("POST", path, manifest)
    try:
        done = runner.invoke(anton.app, [*asked, "--live"])
        assert done.exit_code == 1
        assert "NetworkPolicy network/by-hand" in done.stdout
        assert runner.invoke(anton.app, asked).exit_code == 0, "the declared network has no such policy"
    finally:
        cluster.request("DELETE", f"{path}/by-hand")
    assert runner.invoke(anton.app, ["reach", "--changes"]).exit_code == 0
