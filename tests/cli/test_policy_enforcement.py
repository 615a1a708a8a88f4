"""Cilium's enforcement mode in what tools say: each side of a change by its own, the cluster by what it runs."""

from typing import Any

import pytest

from cli.diff.fields import differences
from cli.diff.rules import Context, dangers
from cli.manifests import RELEASE
from cli.network import Network
from cli.program import Resource
from cli.reach.command import compare
from cli.reach.paths import Reach, find
from settings.stack import Settings
from tests.support.configs import settings_with, stack_config
from tests.support.doctor import Objects

pytestmark = pytest.mark.unit


def shipped() -> Settings:
    return settings_with(base=stack_config())


def cilium(mode: str) -> Resource:
    """The release of Cilium with a mode."""
    inputs = {"name": "cilium", "namespace": "kube-system", "values": {"policyEnforcementMode": mode}}
    return Resource("urn:pulumi:test::anton-network::release::cilium-release", RELEASE, inputs)


def dns_from_frontend(network: Network) -> bool:
    source, target = (find(network, name) for name in ("production/app=frontend", "kube-system/coredns"))
    return any(path.allowed for path in Reach(network).paths(source, target, 53, "UDP"))


def test_each_side_of_a_change_is_judged_by_its_own_mode() -> None:
    """Whatever the settings say now."""
    before, after = (Network.outline(shipped(), [cilium(mode)]) for mode in ("default", "always"))
    opened, closed = compare(before, after)
    assert not opened
    assert "kube-system/coredns 53/UDP" in {pair.destination for pair in closed}
    assert compare(after, before) == (closed, opened)


@pytest.mark.parametrize("mode", ["default", "always"])
def test_live_is_judged_by_what_the_agents_are_told(mode: str) -> None:
    path = "/api/v1/namespaces/kube-system/configmaps/cilium-config"
    cluster: Any = Objects({path: {"data": {"enable-policy": mode}}})
    network = Network.live(shipped(), cluster, [cilium("default" if mode == "always" else "always")])
    assert dns_from_frontend(network) == (mode == "default")


def test_live_without_the_agents_configuration_is_judged_by_the_deployed_release() -> None:
    cluster: Any = Objects({})
    assert not dns_from_frontend(Network.live(shipped(), cluster, [cilium("always")]))
    assert dns_from_frontend(Network.live(shipped(), cluster, []))


@pytest.mark.parametrize(("old", "new", "marked"), [("default", "always", True), ("always", "default", False)])
def test_diff_marks_that_everything_is_denied(old: str, new: str, *, marked: bool) -> None:
    metadata = {"name": "cilium-config", "namespace": "kube-system"}
    before, after = (
        {"kind": "ConfigMap", "metadata": metadata, "data": {"enable-policy": mode}} for mode in (old, new)
    )
    fields = tuple(differences(before, after))
    found = dangers(Context("ConfigMap", "changed", before, after, fields, helm=True))
    assert [(danger.rule, danger.grave) for danger in found] == ([("policy-enforcement", True)] if marked else [])
