"""PhysicalNodes: what it writes on Node objects, and that it stops everything when the machines are others."""

from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from components.nodes.physical import NodeAddressMismatchError, PhysicalNodes, PhysicalNodesArgs, internal_ip
from settings.errors import ConfigError
from settings.stack import Settings
from tests.support.configs import settings_with
from tests.support.recorder import Recorder, Registration, record, run

pytestmark = pytest.mark.unit


def declared(config: Settings) -> dict[str, str]:
    return {name: str(node.address) for name, node in config.physical.nodes.items()}


def build(config: Settings, then: Callable[[PhysicalNodes], object] = lambda nodes: None) -> Callable[[], object]:
    return lambda: then(PhysicalNodes("nodes", PhysicalNodesArgs(physical=config.physical)))


def patches(registrations: list[Registration]) -> dict[str, Any]:
    return {
        entry.inputs["metadata"]["name"]: entry.inputs["metadata"]
        for entry in registrations
        if entry.type == "kubernetes:core/v1:NodePatch"
    }


def test_every_node_gets_its_role_and_hardware_as_labels_and_annotations() -> None:
    config = settings_with({"physical": {"nodes": {"k8s-2": {"rack": "shelf-1", "switchPort": "sw1-3"}}}})
    found = patches(record(build(config), declared(config)))
    assert found.keys() == {"k8s-1", "k8s-2", "k8s-3"}
    assert found["k8s-2"]["labels"] == {
        "network.anton/role": "control-plane",
        "network.anton/rack": "shelf-1",
        "network.anton/switch-port": "sw1-3",
    }
    assert found["k8s-1"]["labels"] == {"network.anton/role": "control-plane"}, "labels without a value must be absent"
    annotations = found["k8s-3"]["annotations"]
    assert annotations["network.anton/mac-address"] == "58:47:ca:7a:54:aa"
    assert annotations["network.anton/address"] == "192.168.1.100"
    assert annotations["network.anton/link-speed-mbps"] == "1000"


def test_misplaced_nodes_are_each_offered_a_free_address_of_their_own() -> None:
    nodes = {f"k8s-{number}": {"address": f"10.0.0.{number}"} for number in (1, 2, 3)}
    with pytest.raises(ConfigError) as refused:
        settings_with({"physical": {"nodes": nodes}})
    offered = {problem.key: problem.example for problem in refused.value.problems}
    assert len({*offered.values()}) == len(offered) == 3
    settings_with(
        {"physical": {"nodes": {name: {"address": offered[f"physical.nodes.{name}.address"]} for name in nodes}}}
    )


def test_field_manager_is_fixed_so_that_plans_repeat() -> None:
    config = settings_with()
    managers = {
        entry["annotations"]["pulumi.com/patchFieldManager"]
        for entry in patches(record(build(config), declared(config))).values()
    }
    assert managers == {"anton-network"}


def test_node_objects_are_patched_and_never_created() -> None:
    config = settings_with()
    types = {entry.type for entry in record(build(config), declared(config))}
    assert types == {"anton:network:PhysicalNodes", "kubernetes:core/v1:NodePatch"}


@pytest.mark.parametrize(("role", "warnings"), [("worker", 1), ("control-plane", 0)])
def test_even_number_of_control_plane_nodes_is_warned_about(
    role: str, warnings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi, "warn", lambda text, resource: said.append(text))
    config = settings_with({"physical": {"nodes": {"k8s-3": {"role": role}}}})
    record(build(config), declared(config))
    assert len(said) == warnings, said


@pytest.mark.parametrize("reported", ["192.168.1.199", None], ids=["another address", "no address"])
def test_mismatch_fails_with_node_and_both_addresses(reported: str | None) -> None:
    config = settings_with()
    addresses = declared(config) | {"k8s-2": reported or ""}
    with pytest.raises(NodeAddressMismatchError) as caught:
        record(build(config), addresses)
    message = str(caught.value)
    assert f"node k8s-2: Kubernetes reports InternalIP {reported or 'none'}" in message
    assert "anton-network:physical.nodes.k8s-2.address declares 192.168.1.99" in message
    assert "k8s-1" not in message, "nodes that match must not be named"


def test_nothing_that_depends_on_the_nodes_is_registered_after_a_mismatch() -> None:
    config = settings_with()
    recorder = Recorder({"k8s-1": "10.0.0.1"})

    def dependent(nodes: PhysicalNodes) -> None:
        pulumi.ComponentResource("test:Dependent", "dependent", opts=pulumi.ResourceOptions(depends_on=nodes.verified))

    assert "dependent" in [entry.name for entry in record(build(config, dependent), declared(config))]
    with pytest.raises(NodeAddressMismatchError):
        run(build(config, dependent), recorder)
    assert "dependent" not in [entry.name for entry in recorder.registrations]


@pytest.mark.parametrize(
    ("status", "address"),
    [
        (None, None),
        ({}, None),
        ({"addresses": None}, None),
        ({"addresses": [{"type": "ExternalIP", "address": "203.0.113.1"}]}, None),
        (
            {"addresses": [{"type": "Hostname", "address": "k8s-1"}, {"type": "InternalIP", "address": "10.0.0.1"}]},
            "10.0.0.1",
        ),
    ],
)
def test_internal_ip_is_read_from_any_form_of_node_status(status: Any, address: str | None) -> None:
    assert internal_ip(status) == address
