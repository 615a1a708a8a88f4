"""`make rehearse` and `make preview` of a user with the official plugins of the clouds, and no network but loopback."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rehearsal.stack import Outcome
from tests.support.checkout import Checkout, loopback_only
from tests.support.control_plane import require_control_plane
from tests.support.engine import require_engine

pytestmark = pytest.mark.cluster

OFFICIAL = """#!/bin/sh
echo "$0 $*" >> "{mark}"
echo "the official plugin was started" >&2
exit 1
"""

CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "physical": ({"nodes": {"k8s-1": {"rack": "shelf-2"}}}, "shelf-2"),
    "cilium": ({"operator": {"resources": {"limits": {"memory": "257Mi"}}}}, "257Mi"),
    "loadBalancer": ({"pools": {"lan": {"stop": "192.168.1.109"}}}, "192.168.1.109"),
    "certificates": ({"internalCa": {"renewBeforeDays": 21}}, "504h"),
    "ingress": ({"classes": {"internal": {"tuning": {"clientMaxBodySize": "61m"}}}}, "61m"),
    "tailscale": ({"connector": {"hostname": "other-lan"}}, "other-lan"),
    "cloudflare": ({"tunnel": {"name": "other-tunnel"}}, "other-tunnel"),
    "applications": ({"wiki": {"port": 8081}}, "8081"),
    "networkPolicies": ({"namespaces": {"production": {"flows": {"frontend-to-backend": {"port": 8082}}}}}, "8082"),
    "discovery": ({"lanDns": {"upstreams": ["9.9.9.9", "1.0.0.1"]}}, "9.9.9.9"),
    "monitoring": ({"alerts": {"nginx": {"p95Seconds": 1.25}}}, "1.25"),
    "charts": ({"versions": {"cilium": "1.19.5"}}, "1.19.5"),
}
"""A change of each group, `cluster` and `kubernetes` aside, and what must be in a plan for it to be there."""


@dataclass(frozen=True)
class Rehearsed:
    """A checkout in which `make rehearse` has run, what it printed, and what an official plugin writes when started."""

    checkout: Checkout
    said: str
    mark: Path


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsed]:
    require_control_plane()
    require_engine()
    folder = tmp_path_factory.mktemp("user")
    checkout = Checkout.make(folder)
    mark = folder / "started"
    on_path = folder / "bin"
    on_path.mkdir()
    for name, version in cloud_plugins(checkout).items():
        home = folder / f"home/.pulumi/plugins/resource-{name}-v{version}"
        home.mkdir(parents=True)
        for place in (home, on_path):
            plugin = place / f"pulumi-resource-{name}"
            plugin.write_text(OFFICIAL.format(mark=mark))
            plugin.chmod(0o755)
    checkout.environment["PATH"] = f"{on_path}{os.pathsep}{checkout.environment['PATH']}"
    try:
        yield Rehearsed(checkout, checkout.rehearse(loopback=True), mark)
    finally:
        checkout.end()


def cloud_plugins(checkout: Checkout) -> dict[str, str]:
    """The clouds' plugins by name, in the versions of the SDKs."""
    lines = (checkout.root / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line.startswith(("pulumi-cloudflare==", "pulumi-tailscale==")))
    return {name.removeprefix("pulumi-"): version for name, version in pins.items()}


def test_rehearsal_takes_the_stand_ins_and_leaves_the_official_plugins_alone(rehearsed: Rehearsed) -> None:
    assert not rehearsed.mark.exists(), rehearsed.mark.read_text()
    assert "CloudflareEdge" in rehearsed.said


def test_rehearsal_needs_no_network_but_loopback() -> None:
    """What the fixture does: where this machine can't take the network away, that part was not proved."""
    if not loopback_only():
        pytest.skip("this machine allows no network namespaces (unshare --net): the rehearsal ran with its network")


def test_change_of_the_stack_file_is_in_preview_and_diff_and_is_what_the_rehearsal_does(rehearsed: Rehearsed) -> None:
    """Nothing that a rehearsal leaves on the machine may hide what the file says by now."""
    checkout = rehearsed.checkout
    checkout.end()  # it runs where only that command could reach it
    checkout.rehearse("start")
    for group, (change, _) in CHANGES.items():
        checkout.change("rehearsal", {group: change})
    steps = json.loads(checkout.preview("rehearsal", "--json"))["steps"]
    changed = [step for step in steps if step["op"] not in {"same", "read"}]
    planned = json.dumps([(step.get("newState") or {}).get("inputs") for step in changed])
    assert [group for group, (_, mark) in CHANGES.items() if mark not in planned] == []
    shown = checkout.anton("-s", "rehearsal", "diff", "--json", status=1)
    assert [group for group, (_, mark) in CHANGES.items() if mark not in shown] == []
    done = Outcome.of(checkout.rehearse("up", "--verbose").splitlines())
    assert done.changes == len(changed)


def test_preview_of_another_stack_takes_the_official_plugins(rehearsed: Rehearsed) -> None:
    checkout = rehearsed.checkout
    checkout.environment["CHARTS_DIR"] = str(checkout.root / ".cache/rehearsal/charts")
    checkout.preview("prod", status=1)
    started = rehearsed.mark.read_text()
    home = rehearsed.checkout.layout.pulumi_home
    assert str(home) in started, "it was that of the plugin folder, not one that lies on PATH"
