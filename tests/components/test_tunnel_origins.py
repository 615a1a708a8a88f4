"""Rules of the tunnel that lead past the controller: the connectors get there, and trust what they find."""

from typing import Any

import pytest

from cli.verdicts import Judge
from components.policies.network import NetworkPolicies, NetworkPoliciesArgs
from settings.errors import ConfigError
from settings.fields import Problem
from settings.stack import Settings
from tests.support.configs import merged, settings_with, stack_config
from tests.support.edge import built
from tests.support.reachability import manifests
from tests.support.recorder import record
from tests.support.tools import tool

CONNECTORS = {"namespace": "network", "labels": {"app.kubernetes.io/name": "cloudflared"}}

ENDS: dict[str, dict[str, Any]] = {
    "connector": CONNECTORS,
    "hass": {"namespace": "production", "labels": {"app": "hass"}},
    "elsewhere": {"namespace": "home", "labels": {"app": "hass"}},
    "internal": {
        "namespace": "network",
        "labels": {
            "app.kubernetes.io/name": "ingress-nginx",
            "app.kubernetes.io/instance": "internal-ingress-nginx",
            "app.kubernetes.io/component": "controller",
        },
    },
    "nas": {"address": "192.168.1.20"},
    "printer": {"address": "192.168.1.21"},
    "node": {"entities": ["remote-node"]},
    "internet": {"entities": ["world"]},
}

PORTS = (80, 8006, 8123, 9100)

LET_IN = {"source": CONNECTORS, "destination": {"labels": {"app": "hass"}}, "port": 8123}


HASS_AT_HOME = {("elsewhere", port) for port in PORTS} | {(end, 8123) for end in ("internet", "nas", "printer")}
"""A Service of a namespace that no setting names, whose ports nobody knows here, or a domain."""


def rule(service: str, **values: Any) -> dict[str, Any]:
    return {"cloudflare": {"tunnel": {"rules": [{"host": "nas.example.com", "service": service, **values}]}}}


def denying(service: str, flows: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    policies = {"infrastructure": {"defaultDeny": True}, "namespaces": {"production": {"flows": flows or {}}}}
    return merged(rule(service, **values), {"networkPolicies": policies})


def the_problem(change: dict[str, Any]) -> Problem:
    with pytest.raises(ConfigError) as caught:
        settings_with(change, stack_config())
    (problem,) = caught.value.problems
    return problem


def judged(settings: Settings) -> Judge:
    tool("policy-verdict")
    found = record(lambda: NetworkPolicies("policies", NetworkPoliciesArgs(settings=settings)))
    return Judge(manifests(found), ENDS, "default")


# The policy follows the rule


@pytest.mark.render
@pytest.mark.parametrize(
    ("service", "options", "flows", "reached"),
    [
        ("https://192.168.1.20:8006", {"noTlsVerify": True}, {}, {("nas", 8006)}),
        ("http://192.168.1.20", {}, {}, {("nas", 80)}),
        ("http://192.168.1.98:9100", {}, {}, {("node", 9100)}),
        ("http://hass.production:8123", {}, {"tunnel-to-hass": LET_IN}, {("hass", 8123)}),
        ("http://hass.production.svc:8123", {}, {"tunnel-to-hass": LET_IN}, {("hass", 8123)}),
        ("http://hass.production.svc.cluster.local:8123", {}, {"tunnel-to-hass": LET_IN}, {("hass", 8123)}),
        ("http://hass.home:8123", {}, {}, HASS_AT_HOME),
        ("http_status:404", {}, {}, set()),
    ],
)
def test_connectors_reach_what_the_rule_names_and_nothing_beside_it(
    service: str, options: dict[str, Any], flows: dict[str, Any], reached: set[tuple[str, int]]
) -> None:
    judge = judged(settings_with(denying(service, flows, **options), stack_config()))
    asked = [(end, port) for end in ENDS if end != "connector" for port in PORTS]
    assert {(end, port) for end, port in asked if judge.allows("connector", end, port)} == reached


@pytest.mark.unit
@pytest.mark.parametrize("service", ["http://hass.production:8123", "http://hass.production.svc.cluster.local:8123"])
def test_service_that_lets_no_connector_in_is_refused_however_it_is_written(service: str) -> None:
    problem = the_problem(denying(service))
    assert problem.key == "cloudflare.tunnel.rules[0].service"
    assert "no flow lets the tunnel's connectors in" in problem.reason


@pytest.mark.unit
@pytest.mark.parametrize(
    ("service", "why"),
    [
        ("http://192.168.1.103:80", "loadBalancer.pools.lan"),
        ("http://192.168.1.107:1883", "loadBalancer.pools.lan"),
        ("http://10.96.3.4:80", "cluster.serviceCidr"),
        ("http://10.244.3.4:80", "cluster.podCidr"),
        ("http://status:80", "the network's own parts"),
        ("http://k8s-gateway.network.svc:80", "the network's own parts"),
    ],
)
def test_origin_that_the_policy_can_not_follow_is_refused_under_default_deny_alone(service: str, why: str) -> None:
    assert why in the_problem(denying(service)).reason
    settings_with(rule(service), stack_config())


@pytest.mark.unit
def test_controller_behind_the_tunnel_may_be_named_by_a_rule() -> None:
    service = "https://external-ingress-nginx-controller.network.svc.cluster.local"
    settings_with(denying(service, originServerName="external.example.com"), stack_config())


# Trust


@pytest.mark.unit
@pytest.mark.parametrize(
    "service",
    ["https://192.168.1.20:8006", "https://grafana.monitoring:3000", "https://hass.ci.svc", "https://nas.lan"],
)
def test_origin_that_no_public_authority_signs_for_needs_a_word_on_trust(service: str) -> None:
    problem = the_problem(rule(service))
    assert problem.key == "cloudflare.tunnel.rules[0].service" and "no public authority" in problem.reason
    for said in ({"originCaSecret": "nas-ca"}, {"noTlsVerify": True}, {"originServerName": "nas.example.com"}):
        settings_with(rule(service, **said), stack_config())


@pytest.mark.unit
@pytest.mark.parametrize("service", ["https://status.elsewhere.net", "https://8.8.8.8"])
def test_public_origin_needs_none(service: str) -> None:
    settings_with(rule(service), stack_config())


@pytest.mark.unit
def test_authority_of_a_rule_is_named_and_mounted_and_nothing_else_of_its_secret() -> None:
    change = {
        "cloudflare": {
            "tunnel": {
                "originCaSecret": "origin-ca",
                "rules": [
                    {"host": "nas.example.com", "service": "https://192.168.1.20:8006", "originCaSecret": "nas-ca"},
                    {"host": "pve.example.com", "service": "https://192.168.1.21:8006", "originCaSecret": "nas-ca"},
                ],
            }
        }
    }
    found = built(change)
    nas, pve, controller, *_ = found["cloudflare-tunnel-config"].inputs["config"]["ingresses"]
    assert nas["originRequest"] == pve["originRequest"] == {"caPool": "/etc/cloudflared/rules/nas-ca/ca.crt"}
    assert controller["originRequest"]["caPool"] == "/etc/cloudflared/origin/ca.crt"
    pod = found["cloudflare-connector-deployment"].inputs["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    files = {
        f"{mounts[volume['name']]}/{item['path']}": (volume["secret"]["secretName"], item["key"])
        for volume in pod["volumes"]
        for item in volume["secret"]["items"]
    }
    assert files == {
        "/etc/cloudflared/origin/ca.crt": ("origin-ca", "ca.crt"),
        "/etc/cloudflared/rules/nas-ca/ca.crt": ("nas-ca", "ca.crt"),
    }


@pytest.mark.unit
def test_certificate_goes_unverified_only_where_that_is_asked_for() -> None:
    found = built(rule("https://192.168.1.20:8006", noTlsVerify=True))
    own, *others = found["cloudflare-tunnel-config"].inputs["config"]["ingresses"]
    assert own["originRequest"] == {"noTlsVerify": True}
    assert all("noTlsVerify" not in each.get("originRequest", {}) for each in others)


@pytest.mark.unit
@pytest.mark.parametrize(("key", "value"), [("originCaSecret", "nas-ca"), ("originServerName", "nas.lan.net")])
def test_name_or_authority_beside_no_verification_is_refused(key: str, value: str) -> None:
    problem = the_problem(rule("https://192.168.1.20", noTlsVerify=True, **{key: value}))
    assert problem.key == f"cloudflare.tunnel.rules[0].{key}" and "takes any certificate" in problem.reason
