"""The tunnel: one way in, verified to its origin, a catch-all at its end, and a credential that stays secret."""

import base64
from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.cloudflare.tunnel import CloudflareTunnel, TunnelArgs, ingress_rules
from components.sdk import cloudflare
from settings.cloudflare.tunnel import Tunnel, TunnelRule
from tests.support.configs import STAND_IN_SECRETS
from tests.support.edge import ACCOUNT_ID, TOKEN, TUNNEL_ID, WEB, built, edge_settings, reasons, recorded
from tests.support.sdk_types import assert_arguments_fit, secret_paths, without_secrets

pytestmark = pytest.mark.unit

CONTROLLER = "https://external-ingress-nginx-controller.network.svc.cluster.local:443"


def tunnel(**values: Any) -> dict[str, Any]:
    return {"cloudflare": {"tunnel": values}}


def tunnel_arguments(settings: Tunnel) -> TunnelArgs:
    return TunnelArgs(
        tunnel=settings,
        account_id=ACCOUNT_ID,
        domain="example.com",
        hostname="external.example.com",
        origin_service="controller.network.svc",
        private_ca=False,
        idle_seconds=65,
        tunnel_secret=pulumi.Output.secret("s"),
        alert_emails=(),
        protect=True,
    )


def ingresses(change: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = built(change)["cloudflare-tunnel-config"].inputs["config"]["ingresses"]
    return found


# The tunnel


def test_spec_zero_trust_tunnel_is_one_and_managed_at_cloudflare() -> None:
    tunnels = [each for each in built().values() if each.type.endswith(":ZeroTrustTunnelCloudflared")]
    assert [each.inputs["configSrc"] for each in tunnels] == ["cloudflare"], (
        "a local config file would be a second owner"
    )
    assert tunnels[0].inputs["accountId"] == ACCOUNT_ID
    assert tunnels[0].inputs["name"] == "anton"


def test_arguments_are_those_that_the_sdk_knows() -> None:
    everything = {
        "cloudflare": {
            "notifications": {"emails": ["ops@example.com"]},
            "tunnel": {
                "rules": [{"host": "s.example.com", "service": "https://s:443", "originServerName": "s.lan.net"}]
            },
        }
    }
    for registration in built(everything).values():
        assert_arguments_fit(registration)


def test_tunnel_is_protected_unless_the_stack_says_otherwise() -> None:
    assert built()["cloudflare-tunnel-tunnel"].opts.protect is True
    assert built({"kubernetes": {"protect": False}})["cloudflare-tunnel-tunnel"].opts.protect is False


def test_tunnel_secret_never_differs_by_itself_and_shows_a_rotation() -> None:
    """Its one source is the stack's secret: no random value, and no change that is ignored."""
    first, second = (built()["cloudflare-tunnel-tunnel"] for _ in range(2))
    assert first.inputs == second.inputs, "every preview would rotate the secret"
    assert first.inputs["tunnelSecret"]["value"] == STAND_IN_SECRETS["cloudflareTunnelSecret"]
    assert not first.opts.ignore_changes, "a rotation would be dropped without a word"


def test_spec_no_secret_of_the_tunnel_is_readable_anywhere() -> None:
    found = built()
    assert secret_paths(found["cloudflare-tunnel-tunnel"].inputs) == {"tunnelSecret"}
    assert secret_paths(found["cloudflare-connector-token"].inputs) == {"stringData"}
    shown = str([without_secrets(each.inputs) for each in found.values()])
    secrets = [TOKEN, base64.b64encode(TOKEN.encode()).decode(), *STAND_IN_SECRETS.values()]
    assert not [secret for secret in secrets if secret in shown]


def test_token_is_marked_as_secret_which_the_sdk_does_not_do() -> None:
    marks: list[bool] = []
    args = tunnel_arguments(Tunnel())

    async def mark(output: pulumi.Output[str]) -> str:
        marks.append(await output.is_secret())
        return str(await output.future())

    def build() -> object:
        token = CloudflareTunnel("tunnel", args).token
        return token.apply(lambda plain: mark(token) if plain == TOKEN else plain)

    _, recorder = recorded(build)
    assert marks == [True]
    (call,) = recorder.calls
    assert call.args == {"accountId": ACCOUNT_ID, "tunnelId": TUNNEL_ID}


def test_token_is_asked_for_with_the_account_of_the_stack_and_no_ambient_one() -> None:
    args = tunnel_arguments(Tunnel())

    def build() -> object:
        provider = cloudflare.Provider("account", api_token=pulumi.Output.secret("t"))
        return CloudflareTunnel("tunnel", args, pulumi.ResourceOptions(providers=[provider]))

    _, recorder = recorded(build)
    assert "account" in recorder.calls[0].provider, "default providers are off: the call would fail"


def test_health_alert_goes_to_the_named_addresses_and_is_off_by_default() -> None:
    assert "cloudflare-tunnel-health" not in built()
    alert = built({"cloudflare": {"notifications": {"emails": ["ops@example.com"]}}})["cloudflare-tunnel-health"].inputs
    assert alert["alertType"] == "tunnel_health_event"
    assert alert["mechanisms"] == {"emails": [{"id": "ops@example.com"}]}
    assert alert["filters"]["tunnelIds"] == [TUNNEL_ID], "other tunnels of the account would raise it too"


# Its ingress rules


def test_spec_tunnel_leads_to_the_external_controller_over_https() -> None:
    hosts = {rule["hostname"]: rule for rule in ingresses()[:-1]}
    assert hosts.keys() == {"example.com", "*.example.com"}
    assert {rule["service"] for rule in hosts.values()} == {CONTROLLER}


def test_origin_is_verified_by_the_name_in_the_controllers_certificate() -> None:
    for rule in ingresses()[:-1]:
        origin = rule["originRequest"]
        assert origin["originServerName"] == "external.example.com"
        assert "noTlsVerify" not in origin, "anyone in between could read and change everything"
        assert origin["connectTimeout"] == 10


def test_last_rule_is_the_catch_all() -> None:
    assert ingresses()[-1] == {"service": "http_status:404"}


def test_fields_that_the_api_drops_are_left_out() -> None:
    inputs = built()["cloudflare-tunnel-config"].inputs
    assert inputs["config"].keys() == {"ingresses"}, "warp routing and an empty origin request differ in every preview"


def test_own_rules_come_first_and_in_order() -> None:
    rules = [
        {"host": "hooks.example.com", "path": "^/git", "service": "http://hooks.ci.svc.cluster.local:80"},
        {
            "host": "status.example.com",
            "service": "https://status.mon.svc:443",
            "originServerName": "status.example.com",
        },
    ]
    first, second, *rest = ingresses(tunnel(rules=rules))
    assert first == {"hostname": "hooks.example.com", "path": "^/git", "service": rules[0]["service"]}
    assert second["originRequest"] == {"originServerName": "status.example.com"}
    assert rest == ingresses()


hosts = st.sampled_from(["example.com", "a.example.com", "b.example.com"])
services = st.sampled_from(["http://a.b.svc:80", "tcp://db.b.svc:5432", "http_status:404", "http_status:503"])
own_rules = st.builds(TunnelRule, host=hosts, path=st.none() | st.just("^/x"), service=services)


@given(st.lists(own_rules, max_size=6))
def test_catch_all_is_last_and_alone_whatever_rules_come_before(rules: list[TunnelRule]) -> None:
    args = tunnel_arguments(Tunnel(rules=tuple(rules)))
    *others, last = ingress_rules(args)
    assert (last.hostname, last.path, last.service) == (None, None, "http_status:404")
    assert all(rule.hostname for rule in others), "cloudflared refuses a catch-all before the last rule"


@pytest.mark.parametrize(
    ("rule", "key", "reason"),
    [
        ({"service": "http://status:80/path"}, "service", "without a path, or http_status:CODE"),
        ({"service": "ftp://status"}, "service", "without a path, or http_status:CODE"),
        ({"service": "http_status:700"}, "service", "without a path, or http_status:CODE"),
        ({"path": "("}, "path", "is not a regular expression"),
        ({"path": "(?=x)"}, "path", "look-around"),
        ({"host": "status.elsewhere.org"}, "host", "lies outside cluster.domain"),
        ({"host": "*.example.com"}, "host", "no wildcard"),
        ({"host": "a.status.example.com"}, "host", "deeper than one label under example.com"),
        ({"originServerName": "a.example.com"}, "originServerName", "is not HTTPS"),
        ({"noTlsVerify": True}, "noTlsVerify", "is not HTTPS"),
        ({"host": "web.example.com"}, "host", "applications.web"),
    ],
)
def test_rule_that_can_not_work_is_refused_with_its_reason(rule: dict[str, Any], key: str, reason: str) -> None:
    rules = [{"host": "status.example.com", "service": "http://status.mon.svc:80"} | rule]
    assert reason in reasons({"applications": {"web": WEB}} | tunnel(rules=rules))[f"cloudflare.tunnel.rules[0].{key}"]


def test_rule_that_is_never_reached_is_refused() -> None:
    rules = [
        {"host": "status.example.com", "service": "http://a.mon.svc:80"},
        {"host": "status.example.com", "path": "^/x", "service": "http://b.mon.svc:80"},
    ]
    assert "rules[0]" in reasons(tunnel(rules=rules))["cloudflare.tunnel.rules[1].host"]
    edge_settings(tunnel(rules=rules[::-1]))
