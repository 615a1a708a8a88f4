"""Names that the charts make or ask for: of namespaces and Services, and the cluster's own domain."""

import re

import pytest

from settings.rules.namespaces import SYSTEM_NAMESPACES
from tests.support.configs import settings_with
from tests.support.rendering import render_cilium, render_nginx

pytestmark = pytest.mark.render


def test_namespaces_that_ciliums_chart_makes_are_known_as_its_own() -> None:
    mesh = {"envoyConfig": True, "gatewayApi": True, "mutualAuthentication": True}
    made = render_cilium(settings_with({"cilium": {"serviceMesh": mesh}})).names("Namespace")
    assert made == {name for name in SYSTEM_NAMESPACES if name.startswith("cilium-")}


def test_relay_asks_for_the_agents_in_the_clusters_own_domain() -> None:
    domains = {"k8s.internal": {"discovery": {"coredns": {"clusterDomain": "k8s.internal"}}}, "cluster.local": {}}
    for domain, change in domains.items():
        config = render_cilium(settings_with(change)).data("hubble-relay-config")["config.yaml"]
        assert f"hubble-peer.kube-system.svc.{domain}.:443" in config


def test_longest_name_of_a_class_fills_what_the_api_gives_the_name_of_a_service() -> None:
    """A letter more, and the webhook's Service is refused in the middle of an update."""
    longest = "c" * 28
    settings = settings_with({"ingress": {"classes": {longest: {"defaultBackend": True}}}})
    services = render_nginx(settings, longest).names("Service")
    assert max(map(len, services)) == 63
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", service) for service in services)
