"""The rehearsal's control plane as a user starts, stops and breaks it, and the whole command against a cluster."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from typer.testing import CliRunner

from rehearsal.__main__ import RehearsalError, Target, app
from rehearsal.control_plane.processes import Processes
from rehearsal.control_plane.servers import PROGRAMS, ControlPlane, ControlPlaneError
from rehearsal.stack import Outcome, Stack, merged
from tests.support.configs import PROJECT, stack_config
from tests.support.control_plane import require_control_plane
from tests.support.engine import differences, require_engine

pytestmark = pytest.mark.cluster

START_SECONDS = 180
"""It takes 3 s on an idle machine; others may be at work on this one."""

SMALL = {
    "charts": {"versions": {"cilium": "1.19.5"}},
    "applications": dict.fromkeys(("web", "shop", "wiki", "admin")),
    "ingress": {"classes": dict.fromkeys(("external", "internal"))},
    "loadBalancer": {"addresses": None},
    **{
        name: {"enabled": False}
        for name in ("certificates", "tailscale", "cloudflare", "networkPolicies", "discovery", "monitoring")
    },
}
"""Nodes, Cilium and pools alone: what is tested is the command, not the network."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    require_control_plane()
    folder = tmp_path_factory.mktemp("rehearsal") / "made"
    yield folder
    ControlPlane(folder).stop()


@pytest.fixture
def plane(folder: Path) -> ControlPlane:
    """Running, whatever the test before has left."""
    plane = ControlPlane(folder)
    plane.start()
    return plane


def begun(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rehearsal", "--folder", str(folder), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=PROJECT, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def done(folder: Path, *arguments: str, status: int = 0) -> str:
    process = begun(folder, *arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, out + err
    return out + err


def of_folder(folder: Path) -> list[str]:
    """Command lines of all processes that mention the folder, those of this test aside."""
    found = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in found if f"={folder}/" in line]


def test_two_starts_at_once_make_one_control_plane(folder: Path) -> None:
    started = time.monotonic()
    both = [begun(folder, "start") for _ in range(2)]
    said = [process.communicate(timeout=START_SECONDS) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert time.monotonic() - started < START_SECONDS
    assert len(of_folder(folder)) == len(PROGRAMS)
    report = json.loads(done(folder, "status", "--json"))
    assert all(report["programs"].values())
    assert report["server"].startswith("https://127.0.0.1:")


def test_secrets_are_the_owners_alone_and_the_server_is_pinned(plane: ControlPlane) -> None:
    modes = {name: stat.S_IMODE((plane.folder / name).stat().st_mode) for name in ("", "kubeconfig", "tokens.csv")}
    assert modes == {"": 0o700, "kubeconfig": 0o600, "tokens.csv": 0o600}
    key = stat.S_IMODE((plane.folder / "service-accounts.key").stat().st_mode)
    assert key == 0o600
    (cluster,) = yaml.safe_load(plane.kubeconfig.read_text())["clusters"]
    assert cluster["cluster"].keys() == {"server", "certificate-authority-data"}
    token = (plane.folder / "tokens.csv").read_text().partition(",")[0]
    assert not [line for line in of_folder(plane.folder) if token in line], "command lines are for all to read"


def test_killed_programs_come_back_on_their_ports_with_their_data(plane: ControlPlane) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    plane.create(path, {"metadata": {"name": "kept"}, "data": {"a": "b"}})
    before, url = plane.running(), plane.url
    for pid in before.values():
        assert pid
        os.kill(pid, signal.SIGKILL)
    done(plane.folder, "status", status=1)
    done(plane.folder, "start")
    after = plane.running()
    assert all(after[name] not in {None, before[name]} for name in PROGRAMS)
    assert plane.url == url
    assert plane.get(f"{path}/kept")["data"] == {"a": "b"}
    assert {node["metadata"]["name"] for node in plane.get("/api/v1/nodes")["items"]} == {"k8s-1", "k8s-2", "k8s-3"}


def test_single_program_dies_and_comes_back(plane: ControlPlane) -> None:
    before = plane.running()
    plane.kill("kube-apiserver")
    assert plane.running() == before | {"kube-apiserver": None}
    plane.start_again("kube-apiserver")
    assert plane.get("/api/v1/namespaces/default")


def test_programs_are_found_without_their_pid_files(plane: ControlPlane) -> None:
    before = plane.running()
    for file in plane.folder.glob("*.pid"):
        file.unlink()
    assert plane.start() == []
    assert plane.running() == before


def test_fake_nodes_are_not_given_up_on_a_machine_that_stands_still(plane: ControlPlane) -> None:
    """kwok makes a pod ready once: what the node controller makes unready, after 50 s without kwok, would stay so."""
    command = " ".join(psutil.Process(plane.running()["kube-controller-manager"]).cmdline())
    hours = re.search(r"--node-monitor-grace-period=(\d+)h", command)
    assert hours and int(hours[1]) > 24


def test_own_child_is_known_before_the_system_has_its_command_line(tmp_path: Path) -> None:
    """`sleep` stands for a program of which only an empty command line can be read yet."""
    processes = Processes(tmp_path)
    processes.start("etcd", ["sleep", "60"])
    found = processes.find("etcd")
    assert found and processes.find("etcd") == found and found.is_running()
    assert Processes(tmp_path).find("etcd") is None
    processes.stop("etcd")
    assert processes.find("etcd") is None and not found.is_running()


def test_recycled_pid_is_left_alone(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "etcd.pid").write_text(f"{bystander.pid}\n")
        processes = Processes(tmp_path)
        assert processes.find("etcd") is None
        processes.stop("etcd")
        processes.kill("etcd")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_taken_port_is_given_up_and_the_data_kept(plane: ControlPlane) -> None:
    plane.create("/api/v1/namespaces", {"metadata": {"name": "moved"}})
    url = plane.url
    plane.kill("kube-apiserver")
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", int(url.rsplit(":", 1)[1])))
        squatter.listen()
        plane.start()
        assert plane.url != url
        assert plane.url in plane.kubeconfig.read_text()
        assert plane.get("/api/v1/namespaces/moved")


def test_failing_program_is_named_with_its_last_words(tmp_path: Path) -> None:
    require_control_plane()
    plane = ControlPlane(tmp_path, service_cidr="no network")
    try:
        with pytest.raises(ControlPlaneError, match=r"kube-apiserver ended at once:\n.*service-cluster-ip-range"):
            plane.start()
    finally:
        plane.stop()


def test_another_cluster_behind_the_kubeconfig_is_refused(plane: ControlPlane) -> None:
    plane.record_identity()
    plane.check_identity()
    text = plane.kubeconfig.read_text()
    try:
        plane.kubeconfig.write_text(text.replace(plane.url, "https://192.168.1.101:6443"))
        with pytest.raises(ControlPlaneError, match="leads to another cluster"):
            plane.check_identity()
    finally:
        plane.kubeconfig.write_text(text)


def test_stack_that_leads_to_another_kubeconfig_is_refused(tmp_path: Path) -> None:
    stack = Stack(tmp_path, tmp_path / "kubeconfig")
    stack.file.parent.mkdir(parents=True)
    stack.file.write_text('config: {"anton-network:kubernetes": {"kubeconfig": "~/.kube/config", "context": "prod"}}')
    with pytest.raises(RehearsalError, match="and no other cluster"):
        Target(stack, tmp_path / "kubeconfig", "rehearsal", {}).check()


def test_rehearsal_differs_from_prod_in_what_it_must() -> None:
    assert set(differences(stack_config("prod"), stack_config("rehearsal"))) == {
        "kubernetes.context",
        "kubernetes.kubeconfig",
        "kubernetes.protect",
        "monitoring",
        "cloudflare.access",
        *(f"applications.{name}" for name in stack_config("rehearsal")["applications"]),
    }


def test_up_on_another_cluster_survives_a_kill(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster is a control plane that the command takes for somebody else's."""
    require_engine()
    done(plane.folder, "start")  # brings the nodes as well
    own = tmp_path / "users-kubeconfig"
    own.write_text("not: read")
    monkeypatch.setenv("KUBECONFIG", str(own))
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(SMALL))
    up = ["up", "--kubeconfig", str(plane.kubeconfig), "--context", plane.context, "--config", str(config)]
    folder = tmp_path / "other"
    first = begun(folder, *up)
    log = folder / "elsewhere" / plane.context / "up.log"
    deadline = time.monotonic() + 120
    while "cilium-release creating" not in (log.read_text() if log.exists() else ""):
        assert time.monotonic() < deadline and first.poll() is None, first.communicate()
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    said = done(folder, *up)
    assert "ended before its time" in said
    assert "CiliumNetwork cilium" in said
    assert own.read_text() == "not: read"
    daemons = plane.get("/apis/apps/v1/namespaces/kube-system/daemonsets")["items"]
    assert "cilium" in {item["metadata"]["name"] for item in daemons}


@pytest.mark.parametrize(
    ("said", "expected", "changes"),
    [
        ("Resources:\n    + 101 to create\n    2 unchanged", {"create": 101, "unchanged": 2}, 101),
        (
            "Resources:\n    ~ 1 to update\n    +-2 to replace\n    3 changes. 98 unchanged",
            {"update": 1, "replace": 2},
            3,
        ),
        ("Resources:\n    103 unchanged\n", {"unchanged": 103}, 0),
    ],
)
def test_outcome_is_read_from_the_closing_lines(said: str, expected: dict[str, int], changes: int) -> None:
    outcome = Outcome.of(said.splitlines())
    assert outcome.counts.items() >= expected.items()
    assert outcome.changes == changes


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--kubeconfig", "/nowhere"], "--kubeconfig needs --context"),
        (["--kubeconfig", "/nowhere", "--context", "a"], "/nowhere is not a file"),
        (["--context", "a"], "belong to --kubeconfig"),
    ],
)
def test_wrong_target_is_explained_in_one_line(tmp_path: Path, arguments: list[str], reason: str) -> None:
    said = done(tmp_path / "r", "up", *arguments, status=1)
    assert reason in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("base", "change", "expected"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({"a": 1}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
    ],
)
def test_overlay_is_laid_over_and_null_removes(base: Any, change: Any, expected: Any) -> None:
    assert merged(base, change) == expected


def test_stop_leaves_no_process_and_reset_no_file(folder: Path, plane: ControlPlane) -> None:
    done(folder, "stop")
    assert of_folder(folder) == []
    assert (folder / "etcd").is_dir()
    done(folder, "reset")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "can't be read"),
        ("config: [\n", "can't be read"),
        ("", "must hold `config:`"),
        ("hello\n", "must hold `config:`"),
        (
            "config:\n  anton-network:physical:\n    gateway: 5\n  anton-network:tailscale: []\n",
            "anton-network:tailscale",
        ),
    ],
)
def test_stack_file_that_is_wrong_is_explained_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, reason: str
) -> None:
    monkeypatch.setattr("rehearsal.stack.PROJECT", tmp_path)
    if text is not None:
        (tmp_path / "Pulumi.rehearsal.yaml").write_text(text)
    done = CliRunner().invoke(app, ["--folder", str(tmp_path / "made"), "start"])
    assert (done.exit_code, done.exception.__class__) == (1, SystemExit)
    assert reason in done.stderr
    assert not (tmp_path / "made").exists()
