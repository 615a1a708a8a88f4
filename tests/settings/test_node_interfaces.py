"""The interface that carries a node's address: what Talos could not make is refused."""

from typing import Any

import pytest

from tests.support.configs import merged, settings_with
from tests.support.faults import faults_of

pytestmark = pytest.mark.unit

CARD = "58:47:ca:79:7c:a3"


def on(interface: str, **more: Any) -> dict[str, Any]:
    """The first node on an interface that Cilium watches."""
    watched = {"cilium": {"devices": [f"{interface[:2]}+", "enp+"]}}
    return {"physical": {"nodes": {"k8s-1": {"interface": interface, **more}}}, **watched}


@pytest.mark.parametrize(
    ("interface", "more", "key", "reason"),
    [
        ("bond0", {}, "bond", "must know the other cards"),
        ("bond0.20", {}, "bond", "must know the other cards"),
        ("br0", {}, "interface", "neither a network card nor a bond"),
        ("dummy0", {}, "interface", "neither a network card nor a bond"),
        ("vlan20", {}, "interface", "<card>.<id>"),
        ("enp2s0f0np0.20", {}, "interface", "another name"),
        ("enp87s0.4095", {}, "interface", "from 1 to 4094"),
        ("enp87s0.0", {}, "interface", "from 1 to 4094"),
        ("enp87s0", {"bond": {"macs": [CARD]}}, "interface", "names a network card"),
        ("bond0", {"bond": {"macs": ["58:47:ca:79:7c:a2"]}}, "bond.macs", "already the MAC address"),
        ("bond0", {"bond": {"macs": ["58:47:ca:79:78:ba"]}}, "mac", "already the MAC address"),
        ("bond0", {"bond": {"macs": []}}, "bond.macs", "must not be empty"),
    ],
)
def test_interface_that_talos_could_not_make_is_one_fault(
    interface: str, more: dict[str, Any], key: str, reason: str
) -> None:
    faults = faults_of(on(interface, **more))
    node = "k8s-2" if key == "mac" else "k8s-1"
    assert list(faults) == [f"physical.nodes.{node}.{key}"]
    assert reason in faults[f"physical.nodes.{node}.{key}"]


@pytest.mark.parametrize(
    ("interface", "more"), [("enp87s0.1", {}), ("enp2s0f0np0", {}), ("bond0.4094", {"bond": {"macs": [CARD]}})]
)
def test_interface_that_talos_makes_is_accepted(interface: str, more: dict[str, Any]) -> None:
    node = settings_with(on(interface, **more)).physical.nodes["k8s-1"]
    assert node.interface == interface


def test_other_platforms_make_their_interfaces_themselves() -> None:
    generic = {"cluster": {"platform": "generic"}}
    assert settings_with(merged(on("br0"), generic)).physical.nodes["k8s-1"].interface == "br0"
