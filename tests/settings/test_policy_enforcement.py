"""`cilium.policyEnforcement: always`: refused until policies let through what the cluster itself needs."""

from typing import Any

import pytest

from cli.verdicts import Judge
from components.policies.network import NetworkPolicies, NetworkPoliciesArgs
from settings.errors import ConfigError
from settings.stack import Settings
from tests.support.configs import merged, settings_with, stack_config
from tests.support.reachability import manifests
from tests.support.recorder import record

pytestmark = pytest.mark.unit

ALWAYS = {"cilium": {"policyEnforcement": "always"}}
COVERED = {"networkPolicies": {"infrastructure": {"allowSystem": True, "defaultDeny": True}}}
ENDPOINTS: dict[str, dict[str, Any]] = {
    "frontend": {"namespace": "production", "labels": {"app": "frontend"}},
    "cloudflared": {"namespace": "network", "labels": {"app.kubernetes.io/name": "cloudflared"}},
    "controller": {
        "namespace": "network",
        "labels": {
            "app.kubernetes.io/name": "ingress-nginx",
            "app.kubernetes.io/instance": "external-ingress-nginx",
            "app.kubernetes.io/component": "controller",
        },
    },
    "prometheus": {"namespace": "monitoring", "labels": {"app.kubernetes.io/name": "prometheus"}},
}


def judge(settings: Settings) -> Judge:
    """Cilium's engine over the policies that the program registers, in the mode of the settings."""
    found = record(lambda: NetworkPolicies("policies", NetworkPoliciesArgs(settings=settings)))
    namespaces: dict[str, dict[str, str]] = {
        name: {} for name in ("kube-system", "network", "production", "monitoring")
    }
    return Judge(manifests(found), ENDPOINTS, settings.cilium.policy_enforcement.value, namespaces)


def faults(*changes: dict[str, Any]) -> list[tuple[str, object]]:
    base = stack_config()
    for change in changes:
        base = merged(base, change)
    try:
        settings_with(base=base)
    except ConfigError as error:
        return [(problem.key, problem.reason) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("change", "cut"),
    [
        ({}, "cluster DNS"),
        ({"networkPolicies": {"enabled": False}}, "cluster DNS, the tunnel and all applications"),
        ({"networkPolicies": {"infrastructure": {"allowSystem": True}}}, "the tunnel"),
        ({"networkPolicies": {"infrastructure": {"defaultDeny": True}}}, "cluster DNS"),
        (
            merged(
                COVERED,
                {"applications": {"wiki": {"ingressClass": "internal", "namespace": "home", "port": 80}}},
            ),
            "namespace home",
        ),
        (
            merged(COVERED, {"networkPolicies": {"namespaces": {"production": {"defaultDeny": False, "flows": None}}}}),
            "namespace production",
        ),
        (
            merged(
                COVERED,
                {"cloudflare": {"tunnel": {"rules": [{"host": "s.example.com", "service": "http://s.status.svc:80"}]}}},
            ),
            "namespace status",
        ),
    ],
)
def test_always_is_refused_where_it_cuts_something_off(change: dict[str, Any], cut: str) -> None:
    ((key, reason),) = faults(ALWAYS, change)
    assert key == "cilium.policyEnforcement"
    assert cut in str(reason)
    assert faults(change) == [], "without it the same is accepted"


def test_always_is_accepted_where_policies_cover_the_cluster() -> None:
    assert faults(ALWAYS, COVERED) == []


def test_with_always_the_cluster_still_resolves_names_and_the_tunnel_works() -> None:
    verdicts = judge(settings_with(merged(ALWAYS, COVERED), stack_config()))
    assert verdicts.allows("frontend", "cluster DNS", 53, "UDP")
    assert verdicts.allows("cluster DNS", "internet", 53, "UDP")
    assert verdicts.allows("cluster DNS", "API server", 6443)
    assert verdicts.allows("cloudflared", "cluster DNS", 53, "UDP")
    assert verdicts.allows("cloudflared", "controller", 443)
    assert verdicts.allows("cloudflared", "internet", 7844, "UDP")
    assert verdicts.allows("prometheus", "controller", 10254)
    assert not verdicts.allows("frontend", "internet", 443)


def test_exemption_opens_nothing_where_policies_are_not_always_enforced() -> None:
    before, after = (judge(settings_with(change, stack_config())) for change in ({}, COVERED))
    for verdicts in (before, after):
        assert verdicts.allows("prometheus", "cluster DNS", 9153)
        assert verdicts.allows("cluster DNS", "internet", 53, "UDP")
    assert not after.allows("prometheus", "frontend", 8080), "the exemption is for these pods, not of others for them"
