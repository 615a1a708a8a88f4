"""A rehearsal whose update is killed, again and again and each time at another kind of moment, becomes whole."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rehearsal.accounts.store import Accounts
from rehearsal.recovery import leftovers
from tests.support.checkout import Checkout, kill
from tests.support.configs import merged
from tests.support.control_plane import require_control_plane
from tests.support.engine import NEWER_PLUGIN, require_engine

pytestmark = pytest.mark.cluster

TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"

SMALL: dict[str, Any] = {
    "applications": dict.fromkeys(("web", "shop", "wiki", "admin")),
    "ingress": {
        "classes": {
            "external": None,
            "internal": None,
            "public": {
                "serviceType": "ClusterIP",
                "clientAddress": "cloudflare",
                "defaultCertificate": "network/example-com-tls",
            },
        }
    },
    "loadBalancer": {"addresses": None},
    "cloudflare": {
        "tunnel": {"ingressClass": "public"},
        "dns": {"externalDns": None},
        "access": None,
    },
    **{
        name: {"enabled": False} for name in ("certificates", "tailscale", "networkPolicies", "discovery", "monitoring")
    },
}
"""Nodes, Cilium, one class and the tunnel to it."""

PATIENCE_SECONDS = 300


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    require_control_plane()
    require_engine()
    checkout = Checkout.make(tmp_path)
    yield checkout
    checkout.end()


class Rehearsal:
    """`make rehearse` in a checkout."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.accounts = Accounts(checkout.root / ".cache/rehearsal/accounts.db")
        self.state = checkout.layout.state / ".pulumi/stacks/anton-network/rehearsal.json"

    def killed_when(self, condition: Callable[[], object]) -> None:
        """Run it and kill it with all that it has started as soon as a condition holds, before its end."""
        command = [str(self.checkout.layout.venv / "bin/python"), "-m", "rehearsal", "up"]
        with (self.checkout.root / "up.log").open("w+") as log:
            process = subprocess.Popen(
                command, cwd=self.checkout.root, env=self.checkout.environment, stdout=log, stderr=log
            )
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not condition():
                log.seek(0)
                assert process.poll() is None and time.monotonic() < deadline, log.read()
                time.sleep(0.02)
            kill(process)

    def has(self, path: str) -> Callable[[], bool]:
        """Whether the cluster has any object at an API path."""
        return lambda: bool(self.checkout.plane.get(path)["items"])

    def tunnels(self) -> list[Any]:
        with self.accounts.transaction() as account:
            return account.all(TUNNEL)


def test_update_killed_at_any_kind_of_moment_becomes_whole(checkout: Checkout) -> None:
    """The state file, a release, something in an account, an object; then once more without a kill."""
    checkout.change("rehearsal", SMALL)
    rehearsal = Rehearsal(checkout)
    checkout.rehearse("start")

    rehearsal.killed_when(lambda: rehearsal.state.exists() and b"NodePatch" in rehearsal.state.read_bytes())
    releases = "/api/v1/namespaces/{}/secrets?labelSelector=owner%3Dhelm,status%3Dpending-install"
    rehearsal.killed_when(rehearsal.has(releases.format("kube-system")))

    with rehearsal.accounts.transaction() as account:
        account.ask_for_fault(TUNNEL, "create", "no-answer-after-create", 1)
    rehearsal.killed_when(rehearsal.tunnels)
    (orphan,) = rehearsal.tunnels()

    deployments = "/apis/apps/v1/namespaces/network/deployments"
    rehearsal.killed_when(rehearsal.has(f"{deployments}?fieldSelector=metadata.name=cloudflared"))
    assert "Deployment" in rehearsal.state.read_text(), "it was killed while the Deployment was being made"

    said = checkout.rehearse()
    assert "ended before its time" in said
    planned = re.findall(r"^preview +[\d.]+ s +(.*?) *$", said, re.MULTILINE)
    own_setting = "1 update, " if NEWER_PLUGIN else ""  # that things may be taken over, set back
    assert re.fullmatch(rf"{own_setting}\d+ unchanged", planned[-1]), planned
    (tunnel,) = rehearsal.tunnels()
    assert tunnel.id != orphan.id, "the tunnel that nobody answered for is gone"
    secrets = checkout.plane.get("/api/v1/namespaces/network/secrets")["items"]
    tokens = [item for item in secrets if item["metadata"]["name"].startswith("cloudflare-connector-token")]
    assert len(tokens) == 1, "no Secret with a name that Pulumi made up is left behind"
    assert "pending_operations" not in rehearsal.state.read_text(), "the next run would recover once more"


CREATING: dict[str, Any] = {
    "type": "creating",
    "resource": {
        "urn": "urn:pulumi:rehearsal::anton-network::kubernetes:apps/v1:Deployment::cloudflared",
        "type": "kubernetes:apps/v1:Deployment",
        "inputs": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "cloudflared", "namespace": "network"},
        },
    },
}


SECRET = {"type": "kubernetes:core/v1:Secret"}
MADE_UP = {"inputs": {"metadata": {"annotations": {"pulumi.com/autonamed": "true"}}}}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ()),
        ({"resource": SECRET}, ()),
        ({"resource": merged(SECRET, MADE_UP)}, ("is_secret_without_name",)),
        ({"type": "updating", "resource": merged(SECRET, MADE_UP)}, ()),
        ({"resource": {"type": "kubernetes:helm.sh/v3:Release"}}, ("is_release",)),
        ({"type": "updating", "resource": {"type": "kubernetes:helm.sh/v3:Release"}}, ("is_release",)),
        ({"resource": {"type": TUNNEL}}, ("is_record",)),
        ({"type": "updating", "resource": {"type": TUNNEL}}, ()),
        ({"resource": {"type": "pulumi:providers:kubernetes"}}, ()),
    ],
)
def test_what_is_taken_away_of_a_killed_update_depends_on_what_it_was(
    change: dict[str, Any], expected: tuple[str, ...]
) -> None:
    """Objects with a name of their own are not among it: the next update takes them over."""
    (leftover,) = leftovers({"pending_operations": [merged(CREATING, change)]})
    kinds = ("is_release", "is_secret_without_name", "is_record")
    assert tuple(kind for kind in kinds if getattr(leftover, kind)) == expected
    assert (leftover.namespace, leftover.name) == ("network", "cloudflared")


def test_what_was_made_after_all_is_nothing_to_recover() -> None:
    """A later update has made it, and the note stays until one succeeds as a whole."""
    state = {"resources": [CREATING["resource"]], "pending_operations": [CREATING]}
    assert leftovers(state) == []
    assert leftovers({"resources": [], "pending_operations": None}) == []
