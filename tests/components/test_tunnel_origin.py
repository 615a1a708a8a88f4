"""How connectors speak to the ingress controller: no request is lost because NGINX ends a connection."""

from typing import Any

import pytest

from components.cloudflare.tunnel import idle_timeout
from components.nginx import NginxIngressArgs, nginx_values
from settings.errors import ConfigError
from tests.support.configs import merged, settings_with, stack_config
from tests.support.edge import EDGE, built, edge_settings

pytestmark = pytest.mark.unit

KEEPALIVE = "ingress.classes.external.tuning.keepaliveRequests"


def origins(change: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    rules = built(change)["cloudflare-tunnel-config"].inputs["config"]["ingresses"]
    return [rule["originRequest"] for rule in rules[:-1]]


def nginx(ingress_class: str, change: dict[str, Any] | None = None) -> dict[str, str]:
    args = NginxIngressArgs.of(edge_settings(change), ingress_class, namespace="network")
    return dict(nginx_values(args)["controller"]["config"])


def tuned(ingress_class: str, **tuning: Any) -> dict[str, Any]:
    return {"ingress": {"classes": {ingress_class: {"tuning": tuning}}}}


def test_origin_is_asked_over_http_1_1_unless_http_2_is_asked_for() -> None:
    assert all("http2Origin" not in origin for origin in origins())
    assert all(origin["http2Origin"] is True for origin in origins({"cloudflare": {"tunnel": {"http2Origin": True}}}))


def test_class_behind_the_tunnel_keeps_connections_for_10000_requests() -> None:
    assert nginx("external")["keep-alive-requests"] == "10000"
    assert nginx("internal")["keep-alive-requests"] == "1000"
    assert nginx("external", tuned("external", keepaliveRequests=50))["keep-alive-requests"] == "50"


def test_class_without_a_tunnel_is_like_any_other() -> None:
    args = NginxIngressArgs.of(settings_with(), "external", namespace="network")
    assert nginx_values(args)["controller"]["config"]["keep-alive-requests"] == "1000"


@pytest.mark.parametrize(("nginx_seconds", "connector_seconds"), [(65, 60), (300, 90), (3, 1)])
def test_connectors_give_up_an_idle_connection_before_nginx_does(nginx_seconds: int, connector_seconds: int) -> None:
    change = tuned("external", keepaliveTimeoutSeconds=nginx_seconds)
    assert nginx("external", change)["keep-alive"] == str(nginx_seconds)
    assert {origin["keepAliveTimeout"] for origin in origins(change)} == {connector_seconds}
    assert idle_timeout(nginx_seconds) < nginx_seconds


def test_http_2_with_short_lived_connections_is_refused() -> None:
    short = merged({"cloudflare": {"tunnel": {"http2Origin": True}}}, tuned("external", keepaliveRequests=9999))
    with pytest.raises(ConfigError) as refused:
        edge_settings(short)
    assert [(problem.key, problem.example) for problem in refused.value.problems] == [(KEEPALIVE, 10000)]


@pytest.mark.parametrize(
    "change",
    [
        merged({"cloudflare": {"tunnel": {"http2Origin": True}}}, tuned("external", keepaliveRequests=10000)),
        merged({"cloudflare": {"tunnel": {"http2Origin": True}}}, tuned("internal", keepaliveRequests=100)),
        tuned("external", keepaliveRequests=100),
        merged(EDGE, {"cloudflare": {"enabled": False, "tunnel": {"http2Origin": True}}}),
    ],
)
def test_what_loses_nothing_is_accepted(change: dict[str, Any]) -> None:
    settings_with(change, merged(stack_config(), {"applications": None}))
