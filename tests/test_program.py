"""The whole program under mocks: every resource, the tree they form, their order and the stack's outputs."""

import json
import runpy
from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from components import settings
from tests.configs import PROJECT, charts_without_files, merged, running_cluster_config, set_config, stack_config
from tests.recorder import Recorder, Registration, record, run

pytestmark = pytest.mark.unit

ADDRESSES = {"k8s-1": "192.168.1.98", "k8s-2": "192.168.1.99", "k8s-3": "192.168.1.100"}


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Callable[[], None]]:
    monkeypatch.setattr(settings, "find_charts", charts_without_files)

    def configured(raw: dict[str, Any]) -> Callable[[], None]:
        def build() -> None:
            set_config(raw)
            runpy.run_path(str(PROJECT / "__main__.py"), run_name="__main__")

        return build

    return configured


Program = Callable[[dict[str, Any]], Callable[[], None]]


@pytest.fixture
def prod(program: Program) -> list[Registration]:
    return record(program(stack_config()), ADDRESSES)


def test_shipped_stack_has_every_resource_of_its_layers(prod: list[Registration]) -> None:
    assert sorted(f"{entry.type} {entry.name}" for entry in prod) == [
        "anton:network:CiliumNetwork cilium",
        "anton:network:NginxIngress external",
        "anton:network:NginxIngress internal",
        "anton:network:PhysicalNodes nodes",
        "kubernetes:admissionregistration.k8s.io/v1:ValidatingWebhookConfigurationPatch external-admission-scope",
        "kubernetes:admissionregistration.k8s.io/v1:ValidatingWebhookConfigurationPatch internal-admission-scope",
        "kubernetes:cilium.io/v2:CiliumLoadBalancerIPPool cilium-loadbalancerippool-lan",
        "kubernetes:cilium.io/v2alpha1:CiliumL2AnnouncementPolicy cilium-l2announcementpolicy-load-balancer",
        "kubernetes:core/v1:Namespace network",
        "kubernetes:core/v1:NodePatch nodes-k8s-1",
        "kubernetes:core/v1:NodePatch nodes-k8s-2",
        "kubernetes:core/v1:NodePatch nodes-k8s-3",
        "kubernetes:helm.sh/v3:Release cilium-release",
        "kubernetes:helm.sh/v3:Release external-release",
        "kubernetes:helm.sh/v3:Release internal-release",
        "kubernetes:networking.k8s.io/v1:IngressClass external-class",
        "kubernetes:networking.k8s.io/v1:IngressClass internal-class",
        "pulumi:providers:kubernetes kubernetes",
    ]


def test_no_two_resources_share_a_name_within_a_type(prod: list[Registration]) -> None:
    names = [(entry.type, entry.name) for entry in prod]
    assert len(set(names)) == len(names)


def test_every_resource_but_the_layers_belongs_to_a_layer(prod: list[Registration]) -> None:
    top = {entry.name for entry in prod if type(entry.opts.parent).__name__ in {"NoneType", "Stack"}}
    assert top == {"nodes", "cilium", "external", "internal", "network", "kubernetes"}


def test_layers_come_in_the_order_in_which_they_work(prod: list[Registration]) -> None:
    order = [entry.name for entry in prod]
    steps = ["nodes-k8s-3", "cilium-release", "cilium-loadbalancerippool-lan", "internal-class", "internal-release"]
    assert sorted(steps, key=order.index) == steps


def test_what_would_cut_the_operator_off_is_protected(prod: list[Registration]) -> None:
    assert {entry.name for entry in prod if entry.opts.protect} == {"cilium-release", "network"}


def test_protection_can_be_lifted_for_a_cluster_to_throw_away(program: Program) -> None:
    resources = record(program(merged(stack_config(), {"kubernetes": {"protect": False}})), ADDRESSES)
    assert not [entry.name for entry in resources if entry.opts.protect]


def test_nothing_of_the_network_is_registered_on_machines_that_are_not_the_declared_ones(program: Program) -> None:
    recorder = Recorder(ADDRESSES | {"k8s-3": "10.0.0.3"})
    with pytest.raises(pulumi.RunError, match="k8s-3"):
        run(program(stack_config()), recorder)
    registered = {entry.type for entry in recorder.registrations}
    assert registered <= {"anton:network:PhysicalNodes", "kubernetes:core/v1:NodePatch", "pulumi:providers:kubernetes"}


def test_bad_configuration_registers_nothing(program: Program) -> None:
    recorder = Recorder(ADDRESSES)
    with pytest.raises(settings.ConfigError):
        run(program(merged(stack_config(), {"physical": {"gateway": "10.0.0.1"}})), recorder)
    assert recorder.registrations == []


def test_provider_takes_the_configured_context_and_no_other(prod: list[Registration]) -> None:
    provider = next(entry for entry in prod if entry.type == "pulumi:providers:kubernetes")
    assert provider.inputs["context"] == "admin@anton"


def test_default_providers_are_off_so_that_no_ambient_cluster_is_touched() -> None:
    text = (PROJECT / "Pulumi.prod.yaml").read_text()
    assert "pulumi:disable-default-providers:\n    - kubernetes\n" in text


def test_third_class_is_one_entry_of_the_configuration(program: Program) -> None:
    change = {"ingress": {"classes": {"guests": {"serviceType": "ClusterIP"}}}}
    names = [entry.name for entry in record(program(merged(stack_config(), change)), ADDRESSES)]
    assert {"guests-class", "guests-release", "guests-admission-scope"} <= set(names)


@pytest.mark.parametrize("base", [stack_config(), running_cluster_config()], ids=["specification", "running cluster"])
def test_no_resource_holds_an_address_of_the_other_plan(program: Program, base: dict[str, Any]) -> None:
    """What is hard-coded would show up under the plan to which it does not belong."""
    resources = record(program(base), ADDRESSES)
    text = json.dumps([entry.inputs for entry in resources], default=str)
    own, other = ("10.244.", "10.42.") if base == stack_config() else ("10.42.", "10.244.")
    assert own in text
    assert other not in text


def test_outputs_are_ready_for_routers_talos_and_operators(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    exported: dict[str, Any] = {}
    monkeypatch.setattr(pulumi, "export", exported.__setitem__)
    record(program(stack_config()), ADDRESSES)
    assert exported.keys() == {
        "node_addresses",
        "load_balancer_pools",
        "ingress_classes",
        "dhcp_dnsmasq",
        "dhcp_kea",
        "dhcp_isc",
        "hosts",
        "talos_patches",
        "next_commands",
    }
    assert any("kubectl" in command for command in exported["next_commands"])


def test_program_reads_aloud_within_a_screen_and_a_half() -> None:
    assert len((PROJECT / "__main__.py").read_text().splitlines()) < 80
