"""`anton import`: ids of what exists, what agrees, and the adoption of a whole network without its state."""

import base64
import gzip
import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import __main__ as anton
from cli.adopt.ids import KINDS, TUNNEL_CONFIG, cloud_id
from cli.adopt.state import carries, release_agrees, settled
from cli.edge_accounts import LocalCloudflare
from cli.program import SECRET, UNKNOWN, Plan, Program, Resource
from rehearsal.accounts.store import Accounts, Record
from tests.support.control_plane import ControlPlane
from tests.support.engine import Stack
from toolchain.layout import local_backend

ZONE = {"zoneId": "z"}


def resource(type_: str, inputs: Mapping[str, Any], name: str = "it", parent: str = "") -> Resource:
    return Resource(f"urn:pulumi:test::anton-network::{type_}::{name}", type_, inputs, parent=parent)


def local_accounts(folder: Path) -> Any:
    return SimpleNamespace(cloudflare=LocalCloudflare(Accounts(folder / "accounts"), "acc", "z"))


@pytest.mark.unit
@pytest.mark.parametrize(
    ("live", "wanted", "agrees"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"b": 1}, False),
        ({"a": [{"x": 1, "default": 2}]}, {"a": [{"x": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": "anything"}, {"a": SECRET}, True),
        ({"a": "anything"}, {"a": UNKNOWN}, True),
        ({}, {"a": {}}, True),
        ({}, {"a": False}, False),
        ({"metadata": {"annotations": {}}}, {"metadata": {"annotations": {"pulumi.com/skipAwait": "true"}}}, True),
    ],
)
def test_object_agrees_when_it_has_all_that_is_declared(live: Any, wanted: Any, agrees: bool) -> None:
    assert carries(live, wanted) is agrees


@pytest.mark.unit
def test_release_agrees_with_the_same_chart_version_and_values_only() -> None:
    record = {"chart": {"metadata": {"name": "cilium", "version": "1.19.6"}}, "config": {"a": 1}}
    data = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(record).encode()))).decode()
    secret = {"data": {"release": data}}

    def agrees(chart: str, values: dict[str, Any]) -> bool:
        return release_agrees(resource("kubernetes:helm.sh/v3:Release", {"chart": chart, "values": values}), secret)

    assert agrees(".cache/charts/cilium-1.19.6.tgz", {"a": 1})
    assert not agrees(".cache/charts/cilium-1.19.5.tgz", {"a": 1})
    assert not agrees(".cache/charts/cilium-1.19.6.tgz", {"a": 2})


@pytest.mark.unit
def test_ids_are_those_that_the_clouds_gave(tmp_path: Path) -> None:
    record = "cloudflare:index/dnsRecord:DnsRecord"
    with Accounts(tmp_path / "accounts").transaction() as account:
        account.put(Record(record, "z", "1", {**ZONE, "type": "A", "name": "a.example.com"}))
        account.put(Record(record, "z", "2", {**ZONE, "type": "CNAME", "name": "a.example.com"}))
    local = local_accounts(tmp_path)
    assert cloud_id(resource(record, {**ZONE, "type": "CNAME", "name": "a.example.com"}), local, {}) == "z/2"
    assert cloud_id(resource(record, {**ZONE, "type": "TXT", "name": "a.example.com"}), local, {}) is None
    setting = "cloudflare:index/zoneSetting:ZoneSetting"
    assert cloud_id(resource(setting, {**ZONE, "settingId": "ssl"}), local, {}) == "z/ssl", "a zone has all settings"
    assert cloud_id(resource("tailscale:index/tailnetKey:TailnetKey", {}), local, {}) is None, "shown only once"


@pytest.mark.unit
def test_plan_that_creates_nothing_leaves_nothing_to_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulumi's import file has no `resources` then."""

    def preview(_: Program, option: str, file: str) -> Plan:
        assert option == "--import-file"
        Path(file).write_text("{}")
        return Plan(())

    monkeypatch.setattr(Program, "preview", preview)
    monkeypatch.setattr("cli.adopt.command.Existing", lambda *_: SimpleNamespace(unknown={}))
    done = CliRunner().invoke(anton.app, ["-s", "prod", "import"])
    assert done.exit_code == 0, done.exception
    assert "Nothing that this stack would create exists already" in done.stdout


@pytest.mark.unit
def test_configuration_of_a_tunnel_is_found_by_the_tunnel_beside_it(tmp_path: Path) -> None:
    kind = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"
    with Accounts(tmp_path / "accounts").transaction() as account:
        account.put(Record(kind, "acc", "t1", {"accountId": "acc", "name": "other"}))
        account.put(Record(kind, "acc", "t2", {"accountId": "acc", "name": "anton"}))
    tunnel = resource(kind, {"accountId": "acc", "name": "anton"}, "tunnel", "urn:parent")
    config = resource(f"cloudflare:index/x:{TUNNEL_CONFIG}", {"tunnelId": UNKNOWN}, "config", "urn:parent")
    assert cloud_id(config, local_accounts(tmp_path), {tunnel.urn: tunnel}) == "acc/t2"


@pytest.mark.unit
def test_what_differs_stays_as_imported_and_what_agrees_takes_the_programs_inputs() -> None:
    kind = "kubernetes:core/v1:ConfigMap"
    inputs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "it"}, "data": {"a": "1"}}
    planned = {name: resource(kind, inputs, name) for name in ("same", "other")}
    imported = {**inputs, "metadata": {"name": "it", "labels": {"filled-in": "by the server"}}}
    entries = [
        {"urn": entry.urn, "type": kind, "inputs": imported, "outputs": {"__inputs": imported}}
        for entry in planned.values()
    ]
    deployment = {"resources": entries}
    live = {"same": {**imported}, "other": {**imported, "metadata": {"name": "changed"}}}
    by_urn = {entry.urn: entry for entry in planned.values()}
    assert settled(deployment, by_urn, lambda entry: live[entry.name]) == (1, ["other"])
    same, other = deployment["resources"]
    assert same["inputs"] == inputs and same["outputs"] == {"__inputs": inputs}
    assert other["inputs"] == imported


@pytest.mark.unit
def test_every_kind_that_is_looked_up_is_known_by_something() -> None:
    assert [name for name, kind in KINDS.items() if kind.path and not kind.keys] == []


@pytest.mark.cluster
def test_network_without_its_state_is_adopted_without_a_change(
    stack: Stack, cluster: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is thrown away; what the printed commands make of the rest needs no update but of what is only set."""
    state = tmp_path / "state"
    state.mkdir()
    file = tmp_path / "Pulumi.test.yaml"
    program = Program("test", {**stack.environment, "PULUMI_BACKEND_URL": local_backend(state)}, file)
    shutil.copy(stack.folder / "Pulumi.yaml", tmp_path)
    program.run("stack", "init", "--cwd", str(tmp_path))
    shutil.copy(stack.file, file)
    monkeypatch.setattr(Program, "open", lambda *_, **__: program)
    wanted = tmp_path / "import.json"

    done = CliRunner().invoke(anton.app, ["import", "--file", str(wanted)])
    assert done.exit_code == 1, done.output
    missing = [line for line in done.stdout.splitlines() if line.startswith("missing")]
    (header,) = [line for line in missing if "security_header" in line]
    assert "the plugin can't import it" in header
    assert all("Patch" in line or line == header for line in missing), missing
    (alone,) = [line for line in done.stdout.splitlines() if "pulumi up --target" in line]

    program.run("import", "--file", str(wanted), "--yes", "--protect=false", "--generate-code=false")
    done = CliRunner().invoke(
        anton.app, ["import", "--settle", "--file", str(wanted)], input=program.run("stack", "export")
    )
    assert done.exit_code == 0, done.stderr
    (tmp_path / "settled.json").write_text(done.stdout)
    program.run("stack", "import", "--file", str(tmp_path / "settled.json"))

    command = shlex.split(alone)
    program.run(*command[1 : command.index("--stack")], "--yes", "--skip-preview")
    changes = program.preview().changes
    assert len(changes) > 90
    assert {change.resource.name: change.operation for change in changes if change.operation != "same"} == {
        "cloudflare-zone-security_header": "create"
    }
