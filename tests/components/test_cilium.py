"""CiliumNetwork: what it registers, in which order, and what it protects. Its values are proved by rendering."""

from typing import Any

import pytest

from components.cilium.network import CiliumNetwork, CiliumNetworkArgs
from settings.cilium import matches_device
from tests.support.configs import merged, settings_with
from tests.support.recorder import Registration, record

pytestmark = pytest.mark.unit


def built(change: dict[str, Any] | None = None, *, protect: bool = True) -> dict[str, Registration]:
    change = merged(change or {}, {"kubernetes": {"protect": protect}})
    args = CiliumNetworkArgs.of(settings_with(change))
    return {entry.name: entry for entry in record(lambda: CiliumNetwork("cilium", args))}


def test_release_has_a_fixed_name_version_and_place() -> None:
    release = built()["cilium-release"].inputs
    assert (release["name"], release["namespace"], release["version"]) == ("cilium", "kube-system", "1.19.6")
    assert release["chart"] == ".cache/charts/cilium-1.19.6.tgz", "a path of this machine would differ on the next one"


def test_failed_release_rolls_back_and_leaves_nothing_pending() -> None:
    release = built()["cilium-release"].inputs
    assert release["atomic"] is True
    assert release["cleanupOnFail"] is True
    assert release["timeout"] == 600


@pytest.mark.parametrize("protect", [True, False])
def test_release_is_protected_as_the_stack_says(protect: bool) -> None:
    assert built(protect=protect)["cilium-release"].opts.protect is protect


def test_pools_and_announcements_wait_for_the_release_that_brings_their_definitions() -> None:
    resources = built()
    customs = [entry for entry in resources.values() if entry.type.startswith("kubernetes:cilium.io/")]
    assert len(customs) == 5
    for entry in customs:
        dependencies = entry.opts.depends_on
        assert isinstance(dependencies, list)
        assert type(dependencies[0]).__name__ == "Release", entry.name
        assert not entry.opts.protect, "a pool must be removable without unprotecting anything"


def test_every_resource_is_a_child_of_the_component() -> None:
    parents = {entry.name: entry.opts.parent for entry in built().values() if entry.name != "cilium"}
    assert {type(parent).__name__ for parent in parents.values()} == {"CiliumNetwork"}


def test_charts_own_config_map_is_never_written_by_the_program() -> None:
    assert not [entry for entry in built().values() if "ConfigMap" in entry.type]


def test_pod_network_reaches_the_native_routing_network() -> None:
    values = built({"cluster": {"podCidr": "10.42.0.0/16"}})["cilium-release"].inputs["values"]
    assert values["ipv4NativeRoutingCIDR"] == "10.42.0.0/16"


@pytest.mark.parametrize(
    ("pattern", "interface", "matches"),
    [
        ("enp+", "enp87s0", True),
        ("enp+", "tailscale0", False),
        ("+", "tailscale0", True),
        ("tail+", "tailscale0", True),
        ("enp87s0", "enp87s0", True),
        ("enp87s0", "enp87s0np1", False),
    ],
)
def test_device_pattern_matches_as_ciliums_does(pattern: str, interface: str, matches: bool) -> None:
    assert matches_device(pattern, interface) is matches
