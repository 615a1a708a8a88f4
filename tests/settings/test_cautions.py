"""What settings allow and warn of: each combination, and the nearest one that needs no warning."""

from typing import Any

import pulumi
import pytest

from settings.cautions import cautions
from settings.load import load
from tests.support.configs import charts_without_files, merged, set_config, settings_with, stack_config

pytestmark = pytest.mark.unit

SNAT = {"cilium": {"loadBalancing": {"mode": "snat"}}}
WIKI = {"ingressClass": "internal", "namespace": "production", "port": 80}


def said(change: dict[str, Any], base: dict[str, Any] | None = None) -> dict[str, str]:
    return {each.key: each.text for each in cautions(settings_with(change, base or stack_config()))}


@pytest.mark.parametrize("stack", ["prod", "rehearsal"])
def test_shipped_stacks_need_no_warning(stack: str) -> None:
    config = merged(stack_config(stack), {"kubernetes": {"kubeconfig": None}})
    assert said({}, config) == {}


def test_http2_to_the_origin_is_warned_of() -> None:
    found = said({"cloudflare": {"tunnel": {"http2Origin": True}}})
    assert found.keys() == {"cloudflare.tunnel.http2Origin"}
    assert "gRPC" in found["cloudflare.tunnel.http2Origin"]


def test_http2_to_the_origin_of_a_tunnel_that_is_off_is_nobodys_business() -> None:
    assert said({"cloudflare": {"enabled": False, "tunnel": {"http2Origin": True}}}) == {}


def test_source_nat_with_limits_by_client_address_is_warned_of_with_the_way_out() -> None:
    text = said(SNAT)["cilium.loadBalancing.mode"]
    assert "class internal" in text
    assert "dsr" in text
    assert "ingress.classes.internal.limits: null" in text


@pytest.mark.parametrize(
    "change",
    [
        {"cilium": {"loadBalancing": {"mode": "dsr"}}},
        {"cilium": {"loadBalancing": {"mode": "hybrid"}}},
        merged(SNAT, {"ingress": {"classes": {"internal": {"serviceType": "ClusterIP"}}}}),
    ],
)
def test_clients_with_an_address_of_their_own_need_no_warning(change: dict[str, Any]) -> None:
    assert said(change) == {}


def test_limits_of_an_application_count_under_source_nat_too() -> None:
    base = merged(stack_config(), SNAT)
    base["ingress"]["classes"]["internal"]["limits"] = None
    assert said({}, base) == {}
    assert said({"applications": {"wiki": {**WIKI, "limits": {"bodySize": "1g"}}}}, base) == {}
    limited = {"applications": {"wiki": {**WIKI, "limits": {"requestsPerMinute": 600}}}}
    assert said(limited, base).keys() == {"cilium.loadBalancing.mode"}


@pytest.mark.parametrize(("connections", "warned"), [(20, True), (127, True), (128, False)])
def test_fewer_connections_than_a_browser_has_requests_are_warned_of(connections: int, *, warned: bool) -> None:
    limits = {"limits": {"connections": connections}}
    found = said({"ingress": {"classes": {"internal": limits}}, "applications": {"wiki": {**WIKI, **limits}}})
    keys = {"ingress.classes.internal.limits.connections", "applications.wiki.limits.connections"}
    assert found.keys() == (keys if warned else set())


def test_warnings_are_said_when_a_stack_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(pulumi, "warn", heard.append)
    monkeypatch.setattr("settings.load.find_charts", charts_without_files)
    set_config(merged(stack_config(), SNAT))
    load()
    assert [text.partition(":")[0] for text in heard] == ["cilium.loadBalancing.mode"]
