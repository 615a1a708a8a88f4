"""Namespaces: each layer has its own, and none is the cluster's, another layer's or an application's."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.errors import ConfigError
from settings.fields import Problem
from settings.load import parse
from tests.support.configs import STAND_IN_SECRETS, charts_without_files, merged, settings_with, stack_config

pytestmark = pytest.mark.unit

SYSTEM = ("default", "kube-system", "kube-public", "kube-node-lease", "cilium-secrets", "cilium-spire")

LAYERS = {"ingress": "network", "certificates": "cert-manager", "tailscale": "tailscale"}
"""The layers that create a namespace, with its name by default."""


def the_only_problem(change: dict[str, Any]) -> Problem:
    with pytest.raises(ConfigError) as caught:
        settings_with(change, stack_config())
    assert len(caught.value.problems) == 1, [(problem.key, problem.reason) for problem in caught.value.problems]
    return caught.value.problems[0]


def namespace(layer: str, name: str) -> dict[str, Any]:
    return {layer: {"namespace": name}}


@pytest.mark.parametrize("name", SYSTEM)
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_never_take_a_namespace_of_the_cluster(layer: str, name: str) -> None:
    """The layer would label it for its own pods: Cilium's need more than `baseline` lets them."""
    default_certificate = {"ingress": {"classes": {"external": {"defaultCertificate": None}}}}
    problem = the_only_problem(merged(default_certificate, namespace(layer, name)))
    assert (problem.key, problem.value, problem.example) == (f"{layer}.namespace", name, LAYERS[layer])
    assert "creates its own" in problem.reason


@pytest.mark.parametrize(
    ("layer", "name", "owner"),
    [
        ("tailscale", "network", "ingress.namespace"),
        ("tailscale", "cert-manager", "certificates.namespace"),
        ("certificates", "network", "ingress.namespace"),
        ("certificates", "tailscale", "tailscale.namespace"),
        ("ingress", "cert-manager", "certificates.namespace"),
        ("ingress", "tailscale", "tailscale.namespace"),
        ("ingress", "monitoring", "monitoring.namespace"),
        ("certificates", "monitoring", "monitoring.namespace"),
        ("tailscale", "monitoring", "monitoring.namespace"),
        ("ingress", "production", "networkPolicies.namespaces.production"),
        ("certificates", "production", "networkPolicies.namespaces.production"),
        ("tailscale", "production", "networkPolicies.namespaces.production"),
    ],
)
def test_layer_that_left_its_own_namespace_for_another_owners_is_told_whose_it_is(
    layer: str, name: str, owner: str
) -> None:
    default_certificate = {"ingress": {"classes": {"external": {"defaultCertificate": None}}}}
    problem = the_only_problem(merged(default_certificate, namespace(layer, name)))
    assert (problem.key, problem.value, problem.example) == (f"{layer}.namespace", name, LAYERS[layer])
    assert f"is {owner}" in problem.reason


@pytest.mark.parametrize("layer", LAYERS)
def test_namespace_of_applications_that_is_a_layers_own_by_default_is_named_itself(layer: str) -> None:
    problem = the_only_problem({"networkPolicies": {"namespaces": {LAYERS[layer]: {}}}})
    assert problem.key == f"networkPolicies.namespaces.{LAYERS[layer]}"
    assert "the network's own parts" in problem.reason


@pytest.mark.parametrize("name", SYSTEM)
def test_namespaces_of_the_cluster_are_none_of_applications(name: str) -> None:
    assert the_only_problem({"networkPolicies": {"namespaces": {name: {"create": True}}}}).key == (
        f"networkPolicies.namespaces.{name}"
    )


@pytest.mark.parametrize("name", [name for name in SYSTEM if name != "default"])
def test_single_objects_stay_out_of_the_clusters_namespaces(name: str) -> None:
    service = {"namespace": name, "type": "external-name", "host": "db.example.net"}
    assert the_only_problem({"discovery": {"services": {"db": service}}}).key == "discovery.services.db.namespace"
    assert the_only_problem({"monitoring": {"dashboardNamespace": name}}).key == "monitoring.dashboardNamespace"


def test_default_deny_of_the_network_does_not_stop_prometheus() -> None:
    beside = {"monitoring": {"namespace": "network"}}
    settings_with(beside, stack_config())
    problem = the_only_problem(merged(beside, {"networkPolicies": {"infrastructure": {"defaultDeny": True}}}))
    assert problem.key == "networkPolicies.infrastructure.defaultDeny"
    assert "Prometheus" in problem.reason


def test_namespaces_of_layers_that_are_off_are_nobodys() -> None:
    settings_with({"tailscale": {"enabled": False, "namespace": "network"}}, stack_config())


NAMES = st.sampled_from([*SYSTEM, *LAYERS.values(), "monitoring", "production", "edge", "pki"])


@given(st.fixed_dictionaries(dict.fromkeys(LAYERS, NAMES)), NAMES, st.sets(NAMES, max_size=3))
def test_accepted_namespaces_are_created_once_and_never_the_clusters(
    chosen: dict[str, str], prometheus: str, applications: set[str]
) -> None:
    change: dict[str, Any] = {layer: {"namespace": name} for layer, name in chosen.items()}
    change["ingress"]["classes"] = {"external": {"defaultCertificate": None}}
    change |= {"monitoring": {"namespace": prometheus}}
    change |= {"networkPolicies": {"namespaces": {"production": None} | {name: {} for name in applications}}}
    created = [*chosen.values(), *applications]
    try:
        parse(merged(stack_config(), change), charts_without_files, STAND_IN_SECRETS)
    except ConfigError as error:
        keys = [problem.key for problem in error.problems]
        assert len(set(keys)) == len(keys), "one message a key"
    else:
        assert len(set(created)) == len(created)
        assert not set(created) & set(SYSTEM)
