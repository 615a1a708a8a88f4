"""The real engine with the stand-in: preview, up, refresh, replace, import, refusals, faults, and no secret shown."""

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from rehearsal.accounts.store import Account, Accounts, Record
from tests.support.configs import PROJECT, STAND_IN_SECRETS
from tests.support.engine import HANGS_SECONDS
from tests.support.tools import find
from toolchain.layout import local_backend

pytestmark = pytest.mark.engine

DNS = "cloudflare:index/dnsRecord:DnsRecord"
TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"
ACL = "tailscale:index/acl:Acl"
ZONE = "b" * 32

# What every program here begins with: both providers, their credentials and, in `edge`, what most tests need.
HEADER = f"""
import json, sys
sys.path.insert(0, {str(PROJECT)!r})
import pulumi
import pulumi_tailscale as tailscale
from components.sdk import cloudflare

ACCOUNT, ZONE = "a" * 32, {ZONE!r}
config = pulumi.Config()
on_cloudflare = pulumi.ResourceOptions(
    provider=cloudflare.Provider("cloudflare", api_token=config.require_secret("cloudflareApiToken"))
)
on_tailscale = pulumi.ResourceOptions(
    provider=tailscale.Provider(
        "tailscale",
        oauth_client_id=config.require_secret("tailscaleApiClientId"),
        oauth_client_secret=config.require_secret("tailscaleApiClientSecret"),
    )
)

def record(resource, name, type="CNAME", content="external.example.com", **more):
    opts = pulumi.ResourceOptions.merge(on_cloudflare, more.pop("opts", None))
    more = {{"zone_id": ZONE, "ttl": 1, "proxied": True}} | more
    return cloudflare.DnsRecord(resource, name=name, type=type, content=content, **more, opts=opts)

def tunnel(name="anton", config_src="cloudflare", opts=None):
    return cloudflare.ZeroTrustTunnelCloudflared(
        "tunnel", account_id=ACCOUNT, name=name, config_src=config_src,
        tunnel_secret=config.require_secret("cloudflareTunnelSecret"),
        opts=pulumi.ResourceOptions.merge(on_cloudflare, opts),
    )

def edge(**arguments):
    made = tunnel(**arguments)
    record("anchor", "external.example.com", content=made.id.apply("{{}}.cfargotunnel.com".format))
    token = cloudflare.get_zero_trust_tunnel_cloudflared_token_output(
        account_id=ACCOUNT, tunnel_id=made.id, opts=pulumi.InvokeOutputOptions(provider=on_cloudflare.provider)
    ).token
    pulumi.export("token", pulumi.Output.secret(token))
    pulumi.export("tunnel", made.id)

def policy(document, **more):
    return tailscale.Acl("policy", acl=json.dumps(document), **more, opts=on_tailscale)
"""

POLICY = """
grant = {"src": ["autogroup:member"], "dst": ["tag:k8s"], "ip": ["443"]}
acl = policy({"tagOwners": {"tag:k8s": []}, "grants": [grant]})
tailscale.TailnetKey(
    "key", tags=["tag:k8s"], opts=pulumi.ResourceOptions.merge(on_tailscale, pulumi.ResourceOptions(depends_on=acl))
)
"""


class Rehearsal:
    """A program of its own with accounts of its own, run by the real engine."""

    def __init__(self, folder: Path, pulumi: str, stack: str = "test") -> None:
        self.folder = folder
        self.accounts = Accounts(folder / "accounts.db")
        self.said = ""
        self._pulumi = pulumi
        self._environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(Path(pulumi).parent), os.environ["PATH"]]),
            "HOME": str(folder),
            "PULUMI_HOME": str(folder / "pulumi-home"),
            "PULUMI_BACKEND_URL": local_backend(folder / "state"),
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_STACK": stack,
            "ANTON_ACCOUNTS": str(self.accounts.path),
        }

    def make(self) -> None:
        """Make the stack, with secrets as a user would set them."""
        (self.folder / "state").mkdir(parents=True)
        for name in ("cloudflare", "tailscale"):
            install_plugin(self.folder / "pulumi-home", name)
        (self.folder / "Pulumi.yaml").write_text("name: stand-in\nruntime: python\n")
        self.program("")
        self.run("stack", "init", self._environment["PULUMI_STACK"])
        self.run("config", "set-all", *(f"--secret={key}={value}" for key, value in STAND_IN_SECRETS.items()))

    def program(self, body: str) -> None:
        """What the next run is about."""
        (self.folder / "__main__.py").write_text(HEADER + body)

    def run(self, *arguments: str, fails: bool = False, **environment: str) -> str:
        """Run pulumi and return what it printed. Fails the test unless it ends as expected."""
        done = subprocess.run(
            [self._pulumi, *arguments, "--non-interactive"],
            cwd=self.folder,
            env=self._environment | environment,
            capture_output=True,
            text=True,
            timeout=HANGS_SECONDS,
            check=False,
        )
        said = done.stdout + done.stderr
        self.said += said
        assert bool(done.returncode) == fails, said
        return said

    def up(self, body: str, *, fails: bool = False) -> str:
        self.program(body)
        return self.run("up", "--yes", "--skip-preview", fails=fails)

    def plan(self, body: str | None = None, *, accounts: bool = True) -> dict[str, str]:
        """Name to operation of all that a preview would change, without the warnings that there must not be."""
        if body is not None:
            self.program(body)
        environment: dict[str, Any] = {} if accounts else {"ANTON_ACCOUNTS": ""}
        document = json.loads(self.run("preview", "--json", **environment))
        assert [entry for entry in document.get("diagnostics", []) if entry["severity"] in {"warning", "error"}] == []
        return {step["urn"].rsplit("::", 1)[1]: step["op"] for step in document["steps"] if step["op"] != "same"}

    def resources(self) -> dict[str, Any]:
        """The state's resources by name."""
        state = json.loads(self.run("stack", "export"))["deployment"]["resources"]
        return {resource["urn"].rsplit("::", 1)[1]: resource for resource in state}

    def by_hand(self, type_: str, **values: Any) -> None:
        """Change the one record of a type behind the program's back; without values it is deleted."""
        with self.accounts.transaction() as account:
            (record,) = account.all(type_)
            account.remove(record)
            if values:
                account.put(Record(record.type, record.scope, record.id, record.inputs | values, record.computed))

    def ids(self, type_: str) -> list[str]:
        with self.accounts.transaction() as account:
            return [record.id for record in account.all(type_)]


def install_plugin(home: Path, name: str) -> None:
    """Put the stand-in where the engine looks for the plugin of the installed SDK."""
    spec = importlib.util.find_spec(f"pulumi_{name}")
    assert spec and spec.origin
    version = json.loads((Path(spec.origin).parent / "pulumi-plugin.json").read_bytes())["version"]
    plugin = home / f"plugins/resource-{name}-v{version}/pulumi-resource-{name}"
    plugin.parent.mkdir(parents=True)
    command = shlex.join([sys.executable, str(PROJECT / "rehearsal/accounts/stand_in.py"), "serve", name])
    plugin.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    plugin.chmod(0o755)


@pytest.fixture(scope="module")
def pulumi() -> str:
    found = find("pulumi")
    if found is None:
        pytest.skip("pulumi is not here; `make test` sets it up")
    return found


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, pulumi: str) -> Path:
    """The folder of a stack without resources, to be copied."""
    folder = tmp_path_factory.mktemp("stand-in") / "fresh"
    Rehearsal(folder, pulumi).make()
    return folder


@pytest.fixture
def rehearsal(tmp_path: Path, pulumi: str, fresh: Path) -> Rehearsal:
    shutil.copytree(fresh, tmp_path / "rehearsal")
    return Rehearsal(tmp_path / "rehearsal", pulumi)


def test_preview_then_up_then_an_empty_preview_and_no_secret_in_the_clear_anywhere(rehearsal: Rehearsal) -> None:
    body = "edge()\n" + POLICY
    assert rehearsal.plan(body, accounts=False) == dict.fromkeys(
        ["stand-in-test", "cloudflare", "tailscale", "tunnel", "anchor", "policy", "key"], "create"
    )
    rehearsal.up(body)
    assert rehearsal.plan() == {}
    assert rehearsal.run("refresh", "--yes", "--skip-preview").count(" updated ") == 0
    assert rehearsal.plan() == {}
    state = rehearsal.resources()
    assert state["anchor"]["inputs"]["content"] == f"{state['tunnel']['id']}.cfargotunnel.com"
    with rehearsal.accounts.transaction() as account:
        (key,) = account.all("tailscale:index/tailnetKey:TailnetKey")
    token = json.loads(rehearsal.run("stack", "output", "--json", "--show-secrets"))["token"]
    rehearsal.said = rehearsal.said.replace(token, "")  # just asked for in the clear
    stored = [path.read_text(errors="replace") for path in (rehearsal.folder / "state").rglob("*") if path.is_file()]
    for secret in (*STAND_IN_SECRETS.values(), key.computed["key"], token):
        assert not any(secret in text for text in [*stored, rehearsal.said])


def test_drift_is_found_by_refresh_and_put_right_by_up(rehearsal: Rehearsal) -> None:
    body = 'record("app", "app.example.com")\n'
    rehearsal.up(body)
    rehearsal.by_hand(DNS, content="elsewhere.example.com", comment="by hand")
    assert rehearsal.plan() == {}, "without a refresh nobody looks"
    rehearsal.run("refresh", "--yes", "--skip-preview")
    assert rehearsal.plan() == {"app": "update"}
    rehearsal.up(body)
    with rehearsal.accounts.transaction() as account:
        (record,) = account.all(DNS)
    assert record.inputs["content"] == "external.example.com" and "comment" not in record.inputs
    rehearsal.by_hand(DNS)
    rehearsal.run("refresh", "--yes", "--skip-preview")
    assert rehearsal.plan() == {"app": "create"}, "what was deleted by hand is made again"


def test_a_change_that_replaces_the_tunnel_says_so_and_takes_its_name_along(rehearsal: Rehearsal) -> None:
    rehearsal.up("edge()\n")
    before = rehearsal.ids(TUNNEL)
    plan = rehearsal.plan('edge(config_src="local", opts=pulumi.ResourceOptions(delete_before_replace=True))\n')
    assert plan["tunnel"] in {"replace", "delete-replaced", "create-replacement"}
    refusal = rehearsal.up('edge(config_src="local")\n', fails=True)
    assert "already have a tunnel with this name" in refusal
    rehearsal.up('edge(config_src="local", opts=pulumi.ResourceOptions(delete_before_replace=True))\n')
    (after,) = rehearsal.ids(TUNNEL)
    assert [after] != before
    assert rehearsal.resources()["anchor"]["inputs"]["content"].startswith(after)
    rehearsal.up('edge(config_src="local", name="renamed")\n')
    assert rehearsal.ids(TUNNEL) == [after], "a new name is no new tunnel"


def test_existing_things_are_imported_and_then_managed(rehearsal: Rehearsal) -> None:
    document = {"acls": [], "hosts": {"gateway": "192.168.1.102"}}
    inputs = {"zoneId": ZONE, "name": "app.example.com", "type": "CNAME", "ttl": 1, "proxied": True, "content": "old"}
    tunnel = {"accountId": "a" * 32, "name": "anton", "configSrc": "cloudflare", "tunnelSecret": "theirs"}
    with rehearsal.accounts.transaction() as account:
        account.put(Record(DNS, ZONE, "c" * 32, inputs))
        account.put(Record(ACL, "", "acl", {"acl": json.dumps(document)}))
        account.put(Record(TUNNEL, "a" * 32, "0b1c", tunnel))
    refusal = rehearsal.up('policy({"acls": []})\n', fails=True)
    assert "Overwrite Protected" in refusal
    imported = f"""
record("app", "app.example.com", content="old", opts=pulumi.ResourceOptions(import_="{ZONE}/{"c" * 32}"))
tunnel(opts=pulumi.ResourceOptions(import_="{"a" * 32}/0b1c"))
tailscale.Acl("policy", acl={json.dumps(document)!r}, overwrite_existing_content=False,
              opts=pulumi.ResourceOptions.merge(on_tailscale, pulumi.ResourceOptions(import_="acl")))
"""
    assert rehearsal.plan(imported) == {"app": "import", "tunnel": "update", "policy": "import"} | dict.fromkeys(
        ["stand-in-test"] if "stand-in-test" not in rehearsal.resources() else [], "create"
    )
    rehearsal.up(imported)
    assert rehearsal.plan() == {}
    rehearsal.up(imported.replace('content="old"', 'content="new"'))
    with rehearsal.accounts.transaction() as account:
        (record,) = account.all(DNS)
        (tunnel_record,) = account.all(TUNNEL)
    assert (record.id, record.inputs["content"]) == ("c" * 32, "new")
    assert tunnel_record.inputs["tunnelSecret"] == STAND_IN_SECRETS["cloudflareTunnelSecret"], "the stack's own"


def test_faulty_arguments_are_all_reported_in_preview(rehearsal: Rehearsal) -> None:
    rehearsal.program('record("app", "app.example.com", type="ALIAS", ttl=20)\n')
    said = rehearsal.run("preview", fails=True)
    assert "must be one of" in said and "is ALIAS" in said and "between 60 and 86400" in said


def test_a_second_owner_of_a_name_and_a_policy_against_its_own_tests_are_refused(rehearsal: Rehearsal) -> None:
    records = """
first = record("one", "app.example.com")
record("two", "app.example.com", type="A", content="192.0.2.1", opts=pulumi.ResourceOptions(depends_on=first))
"""
    assert "81054" in rehearsal.up(records, fails=True)
    rules = [{"action": "accept", "src": ["*"], "dst": ["*:443"]}]
    document = {"acls": rules, "tests": [{"src": "a@b.c", "deny": ["9.9.9.9:443"]}]}
    said = rehearsal.up(f"policy({document})\n", fails=True)
    assert 'from "a@b.c" to "9.9.9.9:443" (tcp): expected deny, got accept' in said


def test_faults_are_reported_and_a_create_that_timed_out_meets_its_own_record(rehearsal: Rehearsal) -> None:
    def ask(account: Account) -> None:
        account.ask_for_fault(TUNNEL, "create", "rate-limit", 1)
        account.ask_for_fault(DNS, "create", "timeout-after-create", 1)

    with rehearsal.accounts.transaction() as account:
        ask(account)
    assert "429 Too Many Requests" in rehearsal.up("edge()\n", fails=True)
    assert "deadline exceeded" in rehearsal.up("edge()\n", fails=True)
    assert "81053" in rehearsal.up("edge()\n", fails=True)
    with rehearsal.accounts.transaction() as account:
        (record,) = account.all(DNS)
    (tunnel_id,) = rehearsal.ids(TUNNEL)
    assert record.inputs["content"] == f"{tunnel_id}.cfargotunnel.com"
    provider = "urn:pulumi:test::stand-in::pulumi:providers:cloudflare::cloudflare"
    options = ("--yes", "--protect=false", "--generate-code=false", f"--provider=cloudflare={provider}")
    rehearsal.run("import", DNS, "anchor", f"{ZONE}/{record.id}", *options)
    rehearsal.up("edge()\n")
    assert rehearsal.plan() == {}


def test_destroy_leaves_nothing_but_what_the_clouds_keep(rehearsal: Rehearsal) -> None:
    rehearsal.up("edge()\n" + POLICY)
    rehearsal.run("destroy", "--yes", "--skip-preview")
    with rehearsal.accounts.transaction() as account:
        assert [record.type for record in account.all()] == [ACL]


def test_a_stack_that_is_not_local_can_be_previewed_and_not_updated(tmp_path: Path, pulumi: str) -> None:
    rehearsal = Rehearsal(tmp_path / "prod", pulumi, "prod")
    rehearsal.make()
    assert rehearsal.plan("edge()\n")["tunnel"] == "create"
    assert "never for prod" in rehearsal.up("edge()\n", fails=True)
    assert rehearsal.ids(TUNNEL) == []


def test_a_real_token_stops_the_preview_and_is_not_shown(rehearsal: Rehearsal) -> None:
    rehearsal.program("edge()\n")
    real = "v1.0-a-real-token-of-somebody"
    rehearsal.run("config", "set", "--secret", "cloudflareApiToken", real)
    said = rehearsal.run("preview", fails=True)
    assert "not a credential of the local accounts" in said and "stand-in" in said
    assert real not in said


# The process


@pytest.fixture
def serving() -> list[str]:
    return [sys.executable, str(PROJECT / "rehearsal/accounts/stand_in.py"), "serve", "cloudflare"]


def test_starting_imports_neither_an_sdk_nor_pulumi_itself_and_is_quick(serving: list[str]) -> None:
    command = [serving[0], "-X", "importtime", *serving[1:]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert int(process.stdout.readline()) > 0
    process.terminate()
    _, imported = process.communicate(timeout=60)
    modules = {line.rsplit("|", 1)[-1].strip() for line in imported.splitlines()}
    assert not modules & {
        "pulumi.output",
        "pulumi.resource",
        "pulumi_cloudflare",
        "grpc.aio._server",
        "pydantic",
        "yaml",
    }
    seconds = []
    for _ in range(3):  # processor time: what else runs on the machine must not count
        process = subprocess.Popen(serving, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        process.stdout.readline()
        process.terminate()
        usage = os.wait4(process.pid, 0)[2]
        process.returncode = 0
        process.stdout.close()
        seconds.append(usage.ru_utime + usage.ru_stime)
    assert min(seconds) < 0.5, f"each preview pays this twice: {min(seconds):.2f} s of processor time"


def test_it_ends_when_the_engine_has_gone_without_a_word(serving: list[str]) -> None:
    starter = subprocess.Popen(
        ["/bin/sh", "-c", f"{shlex.join(serving)} & echo $!; wait"], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout
    orphan = psutil.Process(int(starter.stdout.readline()))
    assert int(starter.stdout.readline()) > 0, "it serves"
    starter.kill()
    starter.wait(60)
    deadline = time.monotonic() + 60
    with suppress(psutil.NoSuchProcess):
        while orphan.status() != psutil.STATUS_ZOMBIE:  # one that nobody takes note of has ended as well
            assert time.monotonic() < deadline, f"{orphan} still serves nobody"
            time.sleep(0.1)
    starter.stdout.close()
