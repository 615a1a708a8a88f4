"""The real engine and the real Kubernetes provider plan the shipped stack, without a cluster."""

import re
from pathlib import Path
from typing import Any

import pytest

from settings.charts.lock import LOCK, read_lock
from tests.support.chart_repository import repacked
from tests.support.configs import PROJECT, chart_settings, merged, running_cluster_config, stack_config
from tests.support.engine import Plan, Stack, differences, require_engine
from toolchain.lock_chart import pin_folder

pytestmark = pytest.mark.engine

LAYERS = {
    "PhysicalNodes",
    "CiliumNetwork",
    "Certificates",
    "NginxIngress",
    "TailscaleIngress",
    "CloudflareEdge",
    "NetworkPolicies",
    "ServiceDiscovery",
    "NetworkMonitoring",
    "Applications",
}


@pytest.fixture(scope="module", autouse=True)
def engine_and_charts() -> None:
    require_engine()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return Stack(tmp_path_factory.mktemp("stack"), shipped())


def shipped(change: dict[str, Any] | None = None, base: dict[str, Any] | None = None) -> dict[str, Any]:
    charts = {"charts": chart_settings()}
    return merged(merged(base or stack_config(), charts), change or {})


def planned(stack: Stack, change: dict[str, Any] | None = None, base: dict[str, Any] | None = None) -> Plan:
    stack.configure(shipped(change, base))
    return stack.preview()


APPROVED: dict[str, Any] = {"tailscale": {"tailnet": {"splitDns": {"routesApproved": True}}}}
"""What the operator says after the one step of the shipped stack that is done by hand."""


def test_shipped_stack_warns_of_the_one_step_that_is_done_by_hand(stack: Stack) -> None:
    (warning,) = planned(stack).warnings
    assert "splitDns.routesApproved" in warning


def test_shipped_stack_is_planned_whole_without_another_warning(stack: Stack) -> None:
    plan = planned(stack, APPROVED)
    assert plan.warnings == ()
    assert {step.operation for step in plan.steps.values()} == {"create"}
    providers = {step.type.split(":")[0] for step in plan.steps.values()}
    assert providers >= {"kubernetes", "cloudflare", "tailscale"}, "a provider plans nothing"
    layers = {step.type.rpartition(":")[2] for step in plan.steps.values() if step.type.startswith("anton:network:")}
    assert layers >= LAYERS


def test_output_on_the_terminal_has_no_warning_either(stack: Stack) -> None:
    stack.configure(shipped(APPROVED))
    done = stack.command("preview")
    assert "warning" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr


def test_same_configuration_gives_the_same_plan(stack: Stack) -> None:
    first, second = planned(stack), planned(stack)
    assert first.inputs() == second.inputs(), "a timestamp or a random value changes the plan from run to run"


def test_plan_does_not_depend_on_where_the_charts_lie(stack: Stack, tmp_path: Path) -> None:
    elsewhere = tmp_path / "air-gapped"
    elsewhere.symlink_to(chart_settings()["folder"])
    here, there = planned(stack), planned(stack, {"charts": {"folder": str(elsewhere)}})
    assert here.inputs() == there.inputs()


def test_plan_is_that_of_the_publishers_archives_where_others_hold_the_same_files(stack: Stack, tmp_path: Path) -> None:
    for archive in Path(chart_settings()["folder"]).glob("*.tgz"):
        (tmp_path / archive.name).write_bytes(repacked(archive.read_bytes()))
    pin_folder(tmp_path, [])
    here, there = planned(stack), planned(stack, {"charts": {"folder": str(tmp_path), "lock": None}})
    assert here.inputs() == there.inputs()
    assert len(list(PROJECT.glob(f".cache/charts/*/{read_lock(tmp_path / LOCK)[0].sha256}"))) == 1


def test_folders_own_lock_is_said_in_one_line(stack: Stack, tmp_path: Path) -> None:
    for archive in Path(chart_settings()["folder"]).glob("*.tgz"):
        (tmp_path / archive.name).symlink_to(archive)
    pin_folder(tmp_path, [])
    stack.configure(shipped({"charts": {"folder": str(tmp_path), "lock": None}}))
    diagnostics = stack.command("preview").stdout.partition("Diagnostics:")[2]
    assert diagnostics.count(f"Charts come from {tmp_path}, as its own charts.lock says") == 1


def test_changed_body_size_changes_one_value_of_one_release_and_nothing_else(stack: Stack) -> None:
    change = {"ingress": {"classes": {"internal": {"tuning": {"clientMaxBodySize": "60m"}}}}}
    before, after = planned(stack), planned(stack, change)
    assert before.steps.keys() == after.steps.keys()
    (urn,) = [urn for urn, step in before.steps.items() if step.name == "internal-release"]
    assert differences(before.inputs(), after.inputs()) == [f"{urn}.values.controller.config.proxy-body-size"]


def test_other_address_plan_is_planned_as_well(stack: Stack) -> None:
    plan = planned(stack, base=running_cluster_config())
    release = next(step for step in plan.steps.values() if step.name == "cilium-release")
    assert release.inputs["values"]["ipv4NativeRoutingCIDR"] == "10.42.0.0/16"


def test_bad_configuration_is_explained_at_once_and_plans_nothing(stack: Stack) -> None:
    stack.configure(shipped({"physical": {"gateway": "10.0.0.1"}, "cilium": {"routingMode": "tunnel"}}))
    done = stack.command("preview", check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "The configuration has 2 problems; nothing was changed." in said
    assert "anton-network:physical.gateway" in said
    assert "anton-network:cilium.loadBalancing.mode" in said
    assert "Traceback" not in said
    assert "kubernetes:" not in said, "no provider may be asked before the configuration is sound"


def test_chart_that_is_not_there_gives_one_error_with_both_remedies(stack: Stack, tmp_path: Path) -> None:
    lock = tmp_path / "own.lock"
    lock.write_text(re.sub('sha256 = ".*"', f'sha256 = "{"0" * 64}"', (PROJECT / "charts.lock").read_text()))
    stack.configure(shipped({"charts": {"folder": str(tmp_path), "lock": str(lock)}}))
    said = stack.command("preview", check=False).stdout
    assert said.count("anton-network:charts.versions.cilium") >= 1
    assert "let this machine reach https://helm.cilium.io" in said
    assert "CHARTS_DIR=FOLDER" in said


def test_node_declared_twice_is_refused(stack: Stack) -> None:
    """Names are keys of a mapping; the engine's YAML reader refuses a key that stands twice."""
    stack.configure(shipped())
    stack.file.write_text(stack.file.read_text().replace("      k8s-2:", "      k8s-1:"))
    done = stack.command("preview", check=False)
    assert 'mapping key "k8s-1" already defined' in done.stdout + done.stderr


def test_missing_layers_are_reported_by_the_program_and_not_one_by_one(stack: Stack) -> None:
    stack.configure({})
    said = stack.command("preview", check=False).stdout
    for key in ("physical.subnet", "physical.nodes", "cluster.domain", "kubernetes.context"):
        assert f"anton-network:{key}" in said


def test_users_own_pulumi_folder_is_left_alone(stack: Stack) -> None:
    planned(stack)
    assert not (stack.folder / "home/.pulumi").exists()


def test_kill_leaves_no_half_written_state_and_the_documented_way_out_works(tmp_path: Path) -> None:
    """The empty file is what a kill leaves between the creation of a file's attributes and their writing."""
    folder = tmp_path / "stack"
    folder.mkdir()
    stack = Stack(folder, shipped())
    export = ("stack", "export", "--stack", "test")
    assert not list((folder / "state").rglob("*.attrs"))
    (checkpoint,) = (folder / "state").rglob("test.json")
    attributes = checkpoint.with_name(f"{checkpoint.name}.attrs")
    attributes.touch()
    failed = stack.run(*export, check=False)
    message = "failed to load checkpoint: EOF"
    assert failed.returncode and message in failed.stderr
    (row,) = [line for line in (PROJECT / "docs/recovery.md").read_text().splitlines() if message in line]
    assert f".pulumi/stacks/anton-network/STACK.json{attributes.suffix}" in row
    attributes.unlink()
    stack.run(*export)
