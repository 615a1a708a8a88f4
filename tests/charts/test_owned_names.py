"""Names that the charts make or ask for: namespaces that nobody else may have, and the cluster's own domain."""

import pytest

from settings.rules.namespaces import SYSTEM_NAMESPACES
from tests.support.configs import settings_with
from tests.support.rendering import render_cilium

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
