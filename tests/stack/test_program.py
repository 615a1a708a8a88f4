"""The whole program under mocks: every resource, the tree they form, their order and the stack's outputs."""

import json
import runpy
from collections.abc import Callable, Iterator
from typing import Any

import pulumi
import pytest

from settings import errors
from tests.support.configs import (
    PROJECT,
    STAND_IN_SECRETS,
    charts_without_files,
    merged,
    running_cluster_config,
    set_config,
    stack_config,
)
from tests.support.recorder import Recorder, Registration, record, run
from tests.support.sdk_types import assert_arguments_fit, without_secrets

pytestmark = pytest.mark.unit

ADDRESSES = {"k8s-1": "192.168.1.98", "k8s-2": "192.168.1.99", "k8s-3": "192.168.1.100"}


Program = Callable[[dict[str, Any]], Callable[[], None]]


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    def configured(raw: dict[str, Any]) -> Callable[[], None]:
        def build() -> None:
            set_config(raw)
            runpy.run_path(str(PROJECT / "__main__.py"), run_name="__main__")

        return build

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("settings.load.find_charts", charts_without_files)
        yield configured


@pytest.fixture(scope="module")
def prod(program: Program) -> list[Registration]:
    """What the shipped stack registers; for all tests, which only look at it."""
    return record(program(stack_config()), ADDRESSES)


LAYERS = {
    "PhysicalNodes nodes": "kubernetes:core/v1:NodePatch nodes-k8s-3",
    "CiliumNetwork cilium": "kubernetes:helm.sh/v3:Release cilium-release",
    "Certificates certificates": "kubernetes:cert-manager.io/v1:ClusterIssuer certificates-letsencrypt-prod",
    "NginxIngress external": "kubernetes:networking.k8s.io/v1:IngressClass external-class",
    "NginxIngress internal": "kubernetes:networking.k8s.io/v1:IngressClass internal-class",
    "ServiceDiscovery discovery": "kubernetes:helm.sh/v3:Release discovery-k8s-gateway",
    "TailscaleIngress tailscale": "kubernetes:helm.sh/v3:Release tailscale-release",
    "CloudflareEdge cloudflare": "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared "
    "cloudflare-tunnel-tunnel",
    "ApplicationNamespaces namespaces": "kubernetes:core/v1:Namespace namespaces-production",
    "NetworkPolicies policies": "kubernetes:networking.k8s.io/v1:NetworkPolicy policies-production-default-deny-all",
    "NetworkMonitoring monitoring": "kubernetes:monitoring.coreos.com/v1:PrometheusRule monitoring-network-alerts",
}
"""Every layer of the specification, with the resource that makes it what it is."""


def test_shipped_stack_has_every_layer_of_the_specification(prod: list[Registration]) -> None:
    registered = {f"{entry.type} {entry.name}" for entry in prod}
    for layer, essential in LAYERS.items():
        assert f"anton:network:{layer}" in registered
        assert essential in registered, f"{layer} does nothing"


def test_program_owns_nothing_in_namespaces_that_belong_to_others(prod: list[Registration]) -> None:
    """Only Cilium's release goes to kube-system; nothing goes to `default`."""
    foreign = {
        entry.name
        for entry in prod
        if entry.inputs.get("metadata", {}).get("namespace") in {"kube-system", "default"}
        or entry.inputs.get("namespace") in {"kube-system", "default"}
    }
    assert foreign == {"cilium-release"}


@pytest.mark.parametrize("layer", ["certificates", "tailscale", "cloudflare", "networkPolicies", "discovery"])
def test_layer_that_is_off_leaves_nothing_of_it(program: Program, layer: str) -> None:
    """Each can be left out by itself, with what only it can serve."""
    needed_by: dict[str, dict[str, Any]] = {
        "certificates": {
            "ingress": {"classes": {name: {"certificateIssuer": None} for name in ("external", "internal")}}
        },
        "discovery": {"tailscale": {"connector": None, "tailnet": {"splitDns": None}}},
    }
    change = merged({layer: {"enabled": False}}, needed_by.get(layer, {}))
    resources = record(program(merged(stack_config(), change)), ADDRESSES)
    own = {"networkPolicies": "policies"}.get(layer, layer)
    assert resources
    assert not [entry.name for entry in resources if entry.name == own or entry.name.startswith(f"{own}-")]
    assert not [
        entry for entry in resources if layer in {"tailscale", "cloudflare"} and entry.type.startswith(f"{layer}:")
    ]


def test_every_argument_fits_the_sdk_of_its_provider(program: Program) -> None:
    web = {"ingressClass": "external", "namespace": "production", "port": 80, "access": ["staff"]}
    change = {
        "applications": {"web": web},
        "cloudflare": {"access": {"policies": {"staff": {"emailDomains": ["example.org"]}}}},
    }
    resources = record(program(merged(stack_config(), change)), ADDRESSES)
    assert len([entry for entry in resources if entry.type.startswith(("cloudflare:", "tailscale:"))]) > 15
    kinds = {entry.type for entry in resources}
    assert {"kubernetes:networking.k8s.io/v1:Ingress", "kubernetes:networking.k8s.io/v1:NetworkPolicy"} <= kinds
    assert {"cloudflare:index/ruleset:Ruleset", "tailscale:index/tailnetSettings:TailnetSettings"} <= kinds
    for entry in resources:
        assert_arguments_fit(entry)


def test_every_secret_is_marked_as_such_wherever_it_ends(prod: list[Registration]) -> None:
    values = {*STAND_IN_SECRETS.values(), "token-of-the-mocked-tunnel"}
    everything = json.dumps([entry.inputs for entry in prod], default=str)
    assert not [value for value in values if value not in everything], "a secret that nobody gets proves nothing"
    for entry in prod:
        shown = json.dumps(without_secrets(entry.inputs), default=str)
        assert not [value for value in values if value in shown], f"{entry.name} holds a secret in plain text"


def test_no_two_resources_share_a_name_within_a_type(prod: list[Registration]) -> None:
    names = [(entry.type, entry.name) for entry in prod]
    assert len(set(names)) == len(names)


def test_every_resource_but_the_layers_belongs_to_a_layer(prod: list[Registration]) -> None:
    top = {entry.name for entry in prod if type(entry.opts.parent).__name__ in {"NoneType", "Stack"}}
    layers = {layer.split()[1] for layer in LAYERS}
    assert top == layers | {"applications", "network", "kubernetes"}


def test_layers_come_in_the_order_in_which_they_work(prod: list[Registration]) -> None:
    order = [entry.name for entry in prod]
    steps = [
        "nodes-k8s-3",
        "cilium-release",
        "cilium-loadbalancerippool-lan",
        "certificates-release",
        "certificates-letsencrypt-prod",
        "certificates-default-network-example-com-tls",
        "external-class",
        "external-release",
        "cloudflare-tunnel-tunnel",
        "cloudflare-connector-deployment",
        "cloudflare-dns-tunnel",
        "policies-production-allow-dns",
        "policies-production-default-deny-all",
    ]
    assert sorted(steps, key=order.index) == steps


def test_what_would_cut_the_operator_off_is_protected(prod: list[Registration]) -> None:
    assert {entry.name for entry in prod if entry.opts.protect} == {
        "cilium-release",
        "network",
        "certificates-namespace",
        "certificates-release",
        "tailscale-namespace",
        "tailscale-release",
        "cloudflare-tunnel-tunnel",
        "namespaces-production",
    }


def test_protection_can_be_lifted_for_a_cluster_to_throw_away(program: Program) -> None:
    resources = record(program(merged(stack_config(), {"kubernetes": {"protect": False}})), ADDRESSES)
    assert not [entry.name for entry in resources if entry.opts.protect]


def test_nothing_of_the_network_is_registered_on_machines_that_are_not_the_declared_ones(program: Program) -> None:
    recorder = Recorder(ADDRESSES | {"k8s-3": "10.0.0.3"})
    with pytest.raises(pulumi.RunError, match="k8s-3"):
        run(program(stack_config()), recorder)
    registered = {entry.type for entry in recorder.registrations}
    providers = {f"pulumi:providers:{name}" for name in ("kubernetes", "cloudflare", "tailscale")}
    assert registered <= providers | {"anton:network:PhysicalNodes", "kubernetes:core/v1:NodePatch"}


def test_bad_configuration_registers_nothing(program: Program) -> None:
    recorder = Recorder(ADDRESSES)
    with pytest.raises(errors.ConfigError):
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
    assert exported.keys() >= {
        "node_addresses",
        "load_balancer_pools",
        "ingress_classes",
        "applications",
        "dhcp_dnsmasq",
        "dhcp_kea",
        "dhcp_isc",
        "hosts",
        "talos_patches",
        "ca_certificate_command",
        "lan_dns_dnsmasq",
        "lan_dns_unbound",
        "tunnel_hostname",
        "dns_names",
        "public_hosts",
        "next_commands",
    }
    assert any("kubectl" in command for command in exported["next_commands"])


def test_program_reads_aloud_within_a_screen_and_a_half() -> None:
    assert len((PROJECT / "__main__.py").read_text().splitlines()) < 80
