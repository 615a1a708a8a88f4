"""A namespace that nobody declared and that is nearly called like another: said in every preview."""

from typing import Any

import pytest

from settings.cautions import cautions
from tests.support.configs import merged, settings_with, stack_config

pytestmark = pytest.mark.unit

LABELS = {"labels": {"app": "web"}}


def said(*changes: dict[str, Any]) -> dict[str, str]:
    config = stack_config()
    for change in changes:
        config = merged(config, change)
    return {each.key: each.text for each in cautions(settings_with({}, config))}


def flow(**ends: Any) -> dict[str, Any]:
    source, destination = (LABELS | ends.get(end, {}) for end in ("source", "destination"))
    entry = {"source": source, "destination": destination, "port": 80}
    return {"networkPolicies": {"namespaces": {"production": {"flows": {"web": entry}}}}}


def application(namespace: str, name: str = "web") -> dict[str, Any]:
    return {"applications": {name: {"ingressClass": "internal", "namespace": namespace, "port": 80}}}


FLOW = "networkPolicies.namespaces.production.flows.web"


@pytest.mark.parametrize("end", ["source", "destination"])
def test_flow_with_a_misspelt_namespace_is_said_with_the_nearest(end: str) -> None:
    found = said(flow(**{end: {"namespace": "prodution"}}))
    assert found.keys() == {f"{FLOW}.{end}.namespace"}
    assert "did you mean production?" in found[f"{FLOW}.{end}.namespace"]


def test_flow_from_a_namespace_that_nothing_is_like_is_said_with_the_way_out() -> None:
    found = said(flow(source={"namespace": "vault"}))
    assert "did you mean" not in found[f"{FLOW}.source.namespace"]
    assert "networkPolicies.namespaces.vault: {defaultDeny: false}" in found[f"{FLOW}.source.namespace"]
    declared = {"networkPolicies": {"namespaces": {"vault": {"defaultDeny": False}}}}
    assert said(flow(source={"namespace": "vault"}), declared) == {}


@pytest.mark.parametrize("namespace", ["production", "network", "tailscale", "monitoring", "kube-system", "default"])
def test_flow_from_a_namespace_that_is_known_needs_no_warning(namespace: str) -> None:
    assert said(flow(source={"namespace": namespace})) == {}


def test_flow_from_a_namespace_where_an_application_stands_needs_no_warning() -> None:
    assert said(flow(source={"namespace": "media"}), application("media")) == {}


def test_one_namespace_is_said_once_however_many_flows_name_it() -> None:
    twice = {"web": {"source": LABELS | {"namespace": "vault"}, "destination": LABELS, "port": 80}}
    twice["other"] = twice["web"] | {"port": 81}
    assert len(said({"networkPolicies": {"namespaces": {"production": {"flows": twice}}}})) == 1


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (application("prodution"), "applications.web.namespace"),
        (
            {"discovery": {"services": {"db": {"namespace": "prodution", "type": "headless", "selector": {"a": "b"}}}}},
            "discovery.services.db.namespace",
        ),
        (
            {
                "cloudflare": {
                    "tunnel": {
                        "rules": [{"host": "a.example.com", "service": "http://a.prodution.svc.cluster.local:80"}]
                    }
                }
            },
            "cloudflare.tunnel.rules[0].service",
        ),
        ({"monitoring": {"dashboardNamespace": "monitring"}}, "monitoring.dashboardNamespace"),
        ({"monitoring": {"namespace": "monitring"}}, "monitoring.namespace"),
        (
            {"ingress": {"classes": {"third": {"defaultCertificate": "netwrk/third-tls"}}}},
            "ingress.classes.third.defaultCertificate",
        ),
    ],
)
def test_misspelt_namespace_is_said_wherever_one_is_named(change: dict[str, Any], key: str) -> None:
    found = said(change)
    assert found.keys() == {key}
    assert "did you mean" in found[key]


def test_namespace_that_is_named_twice_is_meant() -> None:
    assert said(application("production-2"), application("production-2", "shop")) == {}
    assert said(application("media")) == {}
