"""An update that fails or is killed half-way: what the operator reads, and how the stack becomes whole again.

Every way out is the one of docs/recovery.md. The tests share one small stack, which each finds as it was at first.
"""

import json
import math
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rehearsal.accounts.store import Accounts
from tests.support.configs import PROJECT, merged, stack_config
from tests.support.control_plane import ControlPlane
from tests.support.engine import HANGS_SECONDS, Stack
from tests.support.live import small
from tests.support.network import Network, paused
from tests.support.rendering import helm

pytestmark = pytest.mark.cluster

DNS = "cloudflare:index/dnsRecord:DnsRecord"
TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"
SETTING = "cloudflare:index/zoneSetting:ZoneSetting"

UP = ("up", "--yes", "--skip-preview")

CONTROLLER = {"serviceType": "ClusterIP"}

BEHIND_THE_TUNNEL = {"clientAddress": "cloudflare", "defaultCertificate": "network/example-com-tls"}


class Operator:
    """Somebody at a terminal, with the stack's configuration as it is by now."""

    def __init__(self, stack: Stack, cluster: ControlPlane) -> None:
        self.stack = stack
        self.cluster = cluster
        self.groups = small()

    def edit(self, change: Mapping[str, Any]) -> None:
        self.groups = merged(self.groups, change)
        self.stack.configure(self.groups)

    @contextmanager
    def updating(self, release: str, namespace: str) -> Iterator[subprocess.Popen[bytes]]:
        """`pulumi up`, left to itself, at the moment when Helm has begun with a release.

        It stays in that moment for as long as the block lasts: no pod starts and none stops, so Helm waits.
        """
        command = ["pulumi", *UP, *self.stack.own_file(), "--non-interactive"]
        with paused(self.cluster, "kwok"):
            with (self.stack.folder / "up.log").open("wb") as log:
                process = subprocess.Popen(
                    command, cwd=PROJECT, env=self.stack.environment, stdout=log, stderr=log, start_new_session=True
                )
            self._wait_for_pending(release, namespace, process)
            yield process

    def log(self) -> str:
        """What the command that was started last printed."""
        return (self.stack.folder / "up.log").read_text()

    def up(self) -> None:
        """`pulumi up`, which must succeed and leave nothing to do."""
        self.stack.command(*UP)
        self.stack.command(*UP, "--expect-no-changes")

    def fails(self, *arguments: str) -> str:
        """What `pulumi up` prints when it fails."""
        done = self.stack.command(*UP, *arguments, check=False)
        said = done.stdout + done.stderr
        assert done.returncode != 0, said
        return said

    def cancel(self) -> None:
        self.stack.run("cancel", "--yes", "--stack", "test")

    def helm(self, *arguments: str) -> str:
        command = [str(helm()), *arguments]
        done = subprocess.run(
            command, env=self.stack.environment, capture_output=True, text=True, check=False, timeout=HANGS_SECONDS
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def status(self, release: str, namespace: str) -> str | None:
        """What Helm says of a release's last revision; None when it knows none."""
        listed = json.loads(self.helm("list", "--all", "--namespace", namespace, "--output", "json"))
        return next((entry["status"] for entry in listed if entry["name"] == release), None)

    def _wait_for_pending(self, release: str, namespace: str, command: subprocess.Popen[bytes]) -> None:
        path = f"/api/v1/namespaces/{namespace}/secrets?labelSelector=owner%3Dhelm,name%3D{release}"

        def has_begun() -> bool:
            assert command.poll() is None, self.log()
            found = self.cluster.get(path)["items"]
            return any(entry["metadata"]["labels"]["status"].startswith("pending") for entry in found)

        self.cluster.wait_for(has_begun, f"{release} pending", HANGS_SECONDS)

    def urn(self, name: str) -> str:
        """The URN of a resource in the state."""
        exported = json.loads(self.stack.run("stack", "export", "--stack", "test").stdout)
        urns = [resource["urn"] for resource in exported["deployment"]["resources"]]
        return str(next(urn for urn in urns if urn.endswith(f"::{name}")))


@pytest.fixture
def operator(small_network: Network) -> Iterator[Operator]:
    operator = Operator(small_network.stack, small_network.plane)
    try:
        yield operator
    finally:
        small_network.damaged = True  # quotas, pending releases, a killed API server
        operator.stack.kill()


def test_machine_that_dies_during_a_first_installation_leaves_a_release_to_remove(operator: Operator) -> None:
    operator.edit({"discovery": {"enabled": True}})
    with operator.updating("k8s-gateway", "network") as command:
        operator.stack.kill()
        command.wait()
    assert operator.status("k8s-gateway", "network") == "pending-install"
    assert "the stack is currently locked" in operator.fails()
    operator.cancel()
    said = operator.fails()
    assert "discovery-k8s-gateway, interrupted while creating" in said
    assert "cannot re-use a name that is still in use" in said
    operator.helm("uninstall", "k8s-gateway", "--namespace", "network", "--wait")
    operator.up()
    assert operator.status("k8s-gateway", "network") == "deployed"
    # The note of the killed creation stays in the state, and with it a warning in every update.
    operator.stack.command("refresh", "--clear-pending-creates", "--yes", "--skip-preview")
    assert "pending operations" not in operator.stack.command("preview", "--expect-no-changes").stdout


def test_command_killed_while_its_plugin_goes_on_leaves_a_release_to_import(operator: Operator) -> None:
    operator.edit({"ingress": {"classes": {"lan": CONTROLLER}}})
    with operator.updating("lan-ingress-nginx", "network") as command:
        os.killpg(command.pid, signal.SIGKILL)
        command.wait()
    deployed = lambda: operator.status("lan-ingress-nginx", "network") == "deployed"  # noqa: E731
    operator.cluster.wait_for(deployed, "the plugin finished the release", HANGS_SECONDS)
    operator.stack.kill()
    operator.cancel()
    assert "cannot re-use a name that is still in use" in operator.fails()
    operator.stack.command(
        *("import", "kubernetes:helm.sh/v3:Release", "lan-release", "network/lan-ingress-nginx"),
        *("--parent", f"lan={operator.urn('lan')}", "--provider", f"kubernetes={operator.urn('kubernetes')}"),
        *("--protect=false", "--generate-code=false", "--yes", "--skip-preview"),
    )
    assert operator.stack.preview().operations()["lan-release"] == "update"
    operator.up()
    revisions = json.loads(operator.helm("history", "lan-ingress-nginx", "--namespace", "network", "--output", "json"))
    assert len(revisions) == 2, "it was taken over, not installed again"


def test_api_server_that_dies_during_an_upgrade_leaves_a_release_to_roll_back(operator: Operator) -> None:
    operator.edit({"cilium": {"bandwidthManager": {"bbr": True}}})
    with operator.updating("cilium", "kube-system") as command:
        operator.cluster.kill("kube-apiserver")
        failed = command.wait(HANGS_SECONDS)
        operator.cluster.start_again("kube-apiserver")
    assert failed, operator.log()
    assert "cilium-release **updating failed**" in operator.log()
    assert operator.cluster.url.removeprefix("https://") in operator.log(), "the error must name who did not answer"
    assert operator.status("cilium", "kube-system") == "pending-upgrade"
    assert "another operation (install/upgrade/rollback) is in progress" in operator.fails()
    operator.helm("rollback", "cilium", "--namespace", "kube-system", "--wait")
    operator.up()
    assert operator.status("cilium", "kube-system") == "deployed"


def test_hook_that_never_finishes_fails_in_time_and_is_rolled_back(operator: Operator) -> None:
    """Its pod is not let in, as when a quota is used up or no image comes."""
    quotas = "/api/v1/namespaces/network/resourcequotas"
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}}
    operator.cluster.request("POST", quotas, quota)
    operator.edit({"ingress": {"classes": {"wan": CONTROLLER}}})
    said = operator.fails()
    assert "release wan-ingress-nginx failed, and has been uninstalled due to atomic being set" in said
    assert "failed pre-install" in said and "timed out waiting for the condition" in said
    assert operator.status("wan-ingress-nginx", "network") is None
    events = operator.cluster.get("/api/v1/namespaces/network/events")["items"]
    assert any("exceeded quota: full" in event["message"] for event in events), "where docs/recovery.md says to look"
    operator.cluster.request("DELETE", f"{quotas}/full")
    operator.up()
    assert operator.status("wan-ingress-nginx", "network") == "deployed"


def test_full_disk_under_the_state_stops_the_update_before_anything_is_touched(operator: Operator) -> None:
    require_private_mounts()
    revisions = operator.helm("history", "cilium", "--namespace", "kube-system")
    operator.edit({"cilium": {"bandwidthManager": {"bbr": True}}})
    done = up_on_full_disk(operator.stack)
    assert done.returncode != 0
    assert "no space left on device" in done.stdout + done.stderr
    assert operator.helm("history", "cilium", "--namespace", "kube-system") == revisions
    if "currently locked" in operator.stack.command("preview", check=False).stderr:
        operator.cancel()
    operator.up()


def require_private_mounts() -> None:
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    if shutil.which("unshare") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no private mounts (unshare --user --mount): no small disk for the state")


def up_on_full_disk(stack: Stack) -> subprocess.CompletedProcess[str]:
    """`pulumi up` with the state on a disk with hardly a free page; what is left on that disk becomes the state."""
    state, before, after = (stack.folder / name for name in ("state", "state-before", "state-after"))
    shutil.copytree(state, before)
    size = (pages(state) + 2) * os.sysconf("SC_PAGE_SIZE")
    script = 'mount -t tmpfs -o size=$0 tmpfs "$1" && cp -a "$2/." "$1" && (shift 3; exec "$@"); code=$?\n'
    script += 'cp -a "$1/." "$3" && exit $code'
    after.mkdir()
    private = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(
        [*private, str(size), state, before, after, "pulumi", *UP, *stack.own_file(), "--non-interactive"],
        cwd=PROJECT,
        env=stack.environment,
        capture_output=True,
        text=True,
        timeout=HANGS_SECONDS,
        check=False,
    )
    shutil.rmtree(state)
    after.rename(state)
    shutil.rmtree(before)
    return done


def pages(folder: Path) -> int:
    """The pages of memory that the files of a folder take."""
    size = os.sysconf("SC_PAGE_SIZE")
    return sum(math.ceil(path.stat().st_size / size) for path in folder.rglob("*") if path.is_file())


def test_faults_of_the_account_are_told_and_leave_nothing_double(operator: Operator) -> None:
    """A call that is refused, one that breaks, and one that is carried out but never answered."""
    accounts = Accounts(Path(operator.stack.environment["ANTON_ACCOUNTS"]))
    edge = merged(stack_config()["cloudflare"], {"tunnel": {"ingressClass": "public"}, "dns": {"externalDns": None}})
    operator.edit({"ingress": {"classes": {"public": CONTROLLER | BEHIND_THE_TUNNEL}}, "cloudflare": edge})
    with accounts.transaction() as account:
        account.ask_for_fault(TUNNEL, "create", "timeout-after-create", 1)
        account.ask_for_fault(SETTING, "create", "server-error", 1)
        account.ask_for_fault(DNS, "create", "rate-limit", 1)
    said = operator.fails("--continue-on-error")
    assert "context deadline exceeded" in said and "500 Internal Server Error" in said
    said = operator.fails()
    assert "cloudflare-tunnel-tunnel **creating failed**" in said
    assert "already" in said, "the tunnel is there, unknown to Pulumi"
    with accounts.transaction() as account:
        (orphan,) = account.all(TUNNEL)
        account.remove(orphan)
    assert "429 Too Many Requests" in operator.fails()
    operator.up()
    with accounts.transaction() as account:
        assert len(account.all(TUNNEL)) == 1
        names = [record.inputs["name"] for record in account.all(DNS)]
    assert len(names) == len(set(names))
