"""Who reaches whom under the program's policies: the specification's matrix, judged by Cilium's own policy engine."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given, strategies
from hypothesis import settings as hypothesis_settings

from cli.verdicts import Judge, Manifest, Verdict
from tests.support.reachability import policies
from tests.support.tools import tool

pytestmark = pytest.mark.render


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    tool("policy-verdict")


def nginx(ingress_class: str, component: str) -> dict[str, Any]:
    labels = {"name": "ingress-nginx", "instance": f"{ingress_class}-ingress-nginx", "component": component}
    return {
        "namespace": "network",
        "labels": {f"app.kubernetes.io/{key}": value for key, value in labels.items()},
    }


def cert_manager(component: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/instance": "cert-manager", "app.kubernetes.io/component": component}
    return {"namespace": "cert-manager", "labels": labels}


def pod(namespace: str, **labels: str) -> dict[str, Any]:
    return {"namespace": namespace, "labels": labels}


def named(namespace: str, name: str) -> dict[str, Any]:
    return {"namespace": namespace, "labels": {"app.kubernetes.io/name": name}}


ENDPOINTS: dict[str, dict[str, Any]] = {
    "LAN client": {"address": "192.168.1.50"},
    "client of another network": {"address": "172.16.9.9"},
    "NAS": {"address": "192.168.1.20"},
    "api.example.net": {"domain": "api.example.net"},
    "cdn.example.org": {"domain": "cdn.example.org"},
    "example.com": {"domain": "example.com"},
    "frontend": pod("production", app="frontend"),
    "backend": pod("production", app="backend"),
    "api": pod("production", app="api"),
    "wiki": pod("production", app="wiki"),
    "notes": pod("production", app="notes"),
    "other": pod("production", app="other"),
    "batch": pod("staging", app="batch"),
    "stranger": pod("staging", app="frontend"),
    "pod without policies": pod("elsewhere", app="frontend"),
    "prometheus": named("monitoring", "prometheus"),
    "grafana": named("monitoring", "grafana"),
    "external controller": nginx("external", "controller"),
    "internal controller": nginx("internal", "controller"),
    "admission hook": nginx("internal", "admission-webhook"),
    "external admission hook": nginx("external", "admission-webhook"),
    "default backend": nginx("internal", "default-backend"),
    "cloudflared": named("network", "cloudflared"),
    "external-dns": named("network", "external-dns"),
    "k8s-gateway": named("network", "k8s-gateway"),
    "cert-manager": cert_manager("controller"),
    "cert-manager webhook": cert_manager("webhook"),
    "tailscale operator": pod("tailscale", app="operator"),
    "tailscale proxy": {"namespace": "tailscale", "labels": {"tailscale.com/managed": "true", "app": "1234"}},
}

NAMESPACES = ("cert-manager", "network", "production", "staging", "tailscale")
"""Namespaces under default deny when the infrastructure's are."""

Row = tuple[str, str, int, str, bool]

ALWAYS: list[Row] = [
    # from, to, port, protocol, allowed; with and without default deny in the infrastructure's namespaces
    # external client: through the tunnel and the external controller to the application, never past them
    ("cloudflared", "internet", 7844, "TCP", True),
    ("cloudflared", "internet", 7844, "UDP", True),
    ("cloudflared", "internet", 443, "TCP", True),
    ("cloudflared", "external controller", 443, "TCP", True),
    ("external controller", "frontend", 3000, "TCP", True),
    ("external controller", "frontend", 3001, "TCP", False),
    ("external controller", "wiki", 8000, "TCP", False),
    ("external controller", "backend", 8080, "TCP", False),
    ("cloudflared", "frontend", 3000, "TCP", False),
    ("internet", "frontend", 3000, "TCP", False),
    # internal client
    ("LAN client", "internal controller", 80, "TCP", True),
    ("LAN client", "internal controller", 443, "TCP", True),
    ("another node", "internal controller", 443, "TCP", True),
    ("LAN client", "k8s-gateway", 1053, "UDP", True),
    ("LAN client", "k8s-gateway", 1053, "TCP", True),
    ("internal controller", "wiki", 8000, "TCP", True),
    ("internal controller", "frontend", 3000, "TCP", False),
    ("internal controller", "default backend", 8080, "TCP", True),
    ("LAN client", "wiki", 8000, "TCP", False),
    # tailscale client
    ("tailscale proxy", "notes", 8000, "TCP", True),
    ("tailscale proxy", "wiki", 8000, "TCP", False),
    ("tailscale proxy", "internet", 41641, "UDP", True),
    ("tailscale proxy", "API server", 6443, "TCP", True),
    ("tailscale proxy", "internal controller", 443, "TCP", True),
    ("tailscale proxy", "k8s-gateway", 1053, "UDP", True),
    ("tailscale operator", "internet", 443, "TCP", True),
    ("tailscale operator", "API server", 6443, "TCP", True),
    ("tailscale operator", "notes", 8000, "TCP", False),
    # frontend to backend, and nothing else inside the namespace
    ("frontend", "backend", 8080, "TCP", True),
    ("frontend", "backend", 8081, "TCP", False),
    ("frontend", "backend", 8080, "UDP", False),
    ("backend", "frontend", 8080, "TCP", False),
    ("backend", "frontend", 3000, "TCP", False),
    ("other", "backend", 8080, "TCP", False),
    ("frontend", "other", 8080, "TCP", False),
    ("other", "other", 8080, "TCP", False),
    ("frontend", "api", 80, "TCP", True),
    ("other", "api", 80, "TCP", False),
    # across namespaces: only what is named
    ("batch", "backend", 8080, "TCP", True),
    ("batch", "backend", 8081, "TCP", False),
    ("stranger", "backend", 8080, "TCP", False),
    ("stranger", "batch", 8080, "TCP", True),
    ("frontend", "batch", 8080, "TCP", False),
    ("pod without policies", "backend", 8080, "TCP", False),
    ("frontend", "pod without policies", 8080, "TCP", False),
    ("pod without policies", "pod without policies", 8080, "TCP", True),
    # DNS
    *(
        (name, "cluster DNS", 53, protocol, True)
        for name in ("frontend", "backend", "other", "batch", "external controller", "cloudflared", "cert-manager")
        for protocol in ("UDP", "TCP")
    ),
    ("tailscale proxy", "cluster DNS", 53, "UDP", True),
    ("frontend", "cluster DNS", 9153, "TCP", False),
    ("frontend", "internet", 53, "UDP", False),
    # out of the cluster
    ("backend", "api.example.net", 443, "TCP", True),
    ("backend", "cdn.example.org", 443, "TCP", True),
    ("backend", "example.com", 443, "TCP", False),
    ("backend", "api.example.net", 80, "TCP", False),
    ("frontend", "api.example.net", 443, "TCP", False),
    ("backend", "NAS", 2049, "TCP", True),
    ("backend", "LAN client", 2049, "TCP", False),
    ("batch", "internet", 443, "TCP", True),
    ("batch", "another node", 443, "TCP", False),
    ("frontend", "internet", 443, "TCP", False),
    # monitoring, on metrics ports only
    ("prometheus", "backend", 9090, "TCP", True),
    ("prometheus", "backend", 8080, "TCP", False),
    ("prometheus", "frontend", 9090, "TCP", False),
    ("grafana", "backend", 9090, "TCP", False),
    ("prometheus", "external controller", 10254, "TCP", True),
    ("prometheus", "internal controller", 10254, "TCP", True),
    ("prometheus", "cloudflared", 8080, "TCP", True),
    ("prometheus", "external-dns", 7979, "TCP", True),
    ("prometheus", "k8s-gateway", 9153, "TCP", True),
    ("prometheus", "cert-manager", 9402, "TCP", True),
    ("prometheus", "cert-manager webhook", 9402, "TCP", True),
    ("prometheus", "tailscale proxy", 9002, "TCP", True),
    # probes: of a pod's own node always, of others where it is said
    ("own node", "backend", 8080, "TCP", True),
    ("own node", "frontend", 12345, "TCP", True),
    ("another node", "backend", 8081, "TCP", True),
    ("another node", "backend", 8080, "TCP", False),
    *(
        ("another node", name, port, "TCP", True)
        for name, port in (
            ("external controller", 10254),
            ("cloudflared", 8080),
            ("external-dns", 7979),
            ("k8s-gateway", 8181),
            ("cert-manager", 9403),
            ("cert-manager webhook", 6080),
            ("tailscale proxy", 9002),
        )
    ),
    # the Kubernetes API, and its webhooks
    ("backend", "API server", 6443, "TCP", True),
    ("frontend", "API server", 6443, "TCP", False),
    *(
        (name, "API server", 6443, "TCP", True)
        for name in (
            "external controller",
            "internal controller",
            "admission hook",
            "external admission hook",
            "external-dns",
            "k8s-gateway",
            "cert-manager",
            "cert-manager webhook",
        )
    ),
    ("API server", "external controller", 8443, "TCP", True),
    ("API server", "internal controller", 8443, "TCP", True),
    ("API server", "cert-manager webhook", 10250, "TCP", True),
    ("external-dns", "internet", 443, "TCP", True),
    ("cert-manager", "internet", 443, "TCP", True),
    ("k8s-gateway", "internet", 53, "UDP", True),
]

UNDER_DEFAULT_DENY: list[Row] = [
    # what default deny in the infrastructure's namespaces adds
    ("internet", "external controller", 443, "TCP", False),
    ("LAN client", "external controller", 443, "TCP", False),
    ("client of another network", "internal controller", 443, "TCP", False),
    ("LAN client", "internal controller", 10254, "TCP", False),
    ("LAN client", "k8s-gateway", 9153, "TCP", False),
    ("LAN client", "cloudflared", 8080, "TCP", False),
    ("cloudflared", "internal controller", 443, "TCP", False),
    ("cloudflared", "LAN client", 22, "TCP", False),
    ("cloudflared", "API server", 6443, "TCP", False),
    ("external controller", "internet", 443, "TCP", False),
    ("external controller", "pod without policies", 8080, "TCP", False),
    ("external-dns", "internet", 80, "TCP", False),
    ("cert-manager webhook", "internet", 443, "TCP", False),
    ("pod without policies", "external controller", 443, "TCP", False),
    ("pod without policies", "cert-manager webhook", 10250, "TCP", False),
    ("prometheus", "cloudflared", 443, "TCP", False),
    ("internet", "tailscale proxy", 443, "TCP", False),
    ("tailscale proxy", "external controller", 443, "TCP", False),
]


def verdicts(rows: Sequence[Row], of: Sequence[Manifest]) -> dict[Row, Verdict]:
    queries = [{"from": row[0], "to": row[1], "port": row[2], "protocol": row[3]} for row in rows]
    return dict(zip(rows, Judge(of, ENDPOINTS).verdicts(queries), strict=True))


@cache
def judged(*, infrastructure: bool) -> Mapping[Row, Verdict]:
    return verdicts([*ALWAYS, *(UNDER_DEFAULT_DENY if infrastructure else [])], policies(infrastructure=infrastructure))


def said(row: Row) -> str:
    return f"{row[0]} to {row[1]} {row[2]}/{row[3]} {'allowed' if row[4] else 'denied'}"


@pytest.mark.parametrize("infrastructure", [False, True], ids=["infrastructure-open", "infrastructure-denied"])
@pytest.mark.parametrize("row", ALWAYS, ids=said)
def test_spec_matrix_of_who_reaches_whom(row: Row, infrastructure: bool) -> None:
    verdict = judged(infrastructure=infrastructure)[row]
    assert verdict.allowed is row[4], str(verdict)


@pytest.mark.parametrize("row", UNDER_DEFAULT_DENY, ids=said)
def test_default_deny_of_the_infrastructure_closes_the_rest(row: Row) -> None:
    verdict = judged(infrastructure=True)[row]
    assert verdict.allowed is row[4], str(verdict)


def names(*rows: Row) -> set[str]:
    return {said(row) for row in rows}


def flipped_without(name: str, namespace: str) -> set[str]:
    """The rows whose verdict changes when one policy is left out."""
    complete = judged(infrastructure=True)
    rest = [
        policy
        for policy in policies(infrastructure=True)
        if (policy["metadata"]["namespace"], policy["metadata"]["name"]) != (namespace, name)
    ]
    assert len(rest) == len(policies(infrastructure=True)) - 1
    changed = verdicts(list(complete), rest)
    return names(*(row for row in complete if changed[row].allowed != complete[row].allowed))


def test_without_the_backends_allow_exactly_frontend_to_backend_is_denied() -> None:
    assert flipped_without("accept-frontend-to-backend", "production") == {"frontend to backend 8080/TCP allowed"}


def test_without_the_frontends_allow_exactly_frontend_to_backend_is_denied() -> None:
    assert flipped_without("allow-frontend-to-backend", "production") == {"frontend to backend 8080/TCP allowed"}


def test_every_policy_decides_something_in_the_matrix() -> None:
    """What the matrix does not miss could be left out, or be wrong, without a test that notices.

    allow-dns and allow-probes speak of all pods of a namespace, which puts them under default deny already; and in
    staging allow-probes has only the pods' own node, which Cilium lets in anyway.
    """
    spare = {f"{name}/default-deny-all" for name in NAMESPACES} | {"staging/allow-probes"}
    idle = {
        f"{policy['metadata']['namespace']}/{policy['metadata']['name']}"
        for policy in policies(infrastructure=True)
        if not flipped_without(policy["metadata"]["name"], policy["metadata"]["namespace"])
    }
    assert idle == spare


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_pods_that_nobody_thought_of_are_denied(namespace: str) -> None:
    cluster = Judge(policies(infrastructure=True), ENDPOINTS | {"unforeseen": pod(namespace, app="unforeseen")})
    assert not cluster.allows("unforeseen", "pod without policies", 80)
    assert not cluster.allows("pod without policies", "unforeseen", 80)
    assert not cluster.allows("unforeseen", "internet", 443)
    assert cluster.allows("unforeseen", "cluster DNS", 53, "UDP")


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_default_deny_all_suffices_on_its_own(namespace: str) -> None:
    """It is what holds while the other policies are changed or gone."""
    (deny,) = (
        policy
        for policy in policies(infrastructure=True)
        if (policy["metadata"]["namespace"], policy["metadata"]["name"]) == (namespace, "default-deny-all")
    )
    cluster = Judge([deny], {"peer": pod("elsewhere", app="peer"), "pod": pod(namespace, app="pod")})
    assert not cluster.allows("peer", "pod", 80)
    assert not cluster.allows("pod", "peer", 80)
    assert not cluster.allows("pod", "cluster DNS", 53, "UDP")
    assert cluster.allows("own node", "pod", 80)


REQUESTS = [
    ({"method": "GET", "path": "/api/v1/items"}, True),
    ({"method": "GET", "path": "/api/v1/"}, True),
    ({"method": "GET", "path": "/public/api/v1/items"}, False),
    ({"method": "GET", "path": "/api/v2/items"}, False),
    ({"method": "DELETE", "path": "/api/v1/items"}, False),
    ({"method": "POST", "path": "/api/v1/submit", "headers": {"content-type": "application/json"}}, True),
    ({"method": "POST", "path": "/api/v1/submit", "headers": {"content-type": "text/plain"}}, False),
    ({"method": "POST", "path": "/api/v1/submit"}, False),
]


@pytest.mark.parametrize(("request_", "allowed"), REQUESTS)
def test_http_rules_let_through_what_they_name(request_: dict[str, Any], allowed: bool) -> None:
    cluster = Judge(policies(infrastructure=False), ENDPOINTS)
    verdict = cluster.verdict("frontend", "api", 80, http=request_)
    assert verdict.allowed is allowed, str(verdict)
    assert verdict.ingress["http"], "the connection must go through the proxy"


def test_dns_of_a_namespace_with_domains_goes_through_the_proxy_and_that_of_others_does_not() -> None:
    cluster = Judge(policies(infrastructure=False), ENDPOINTS)
    assert cluster.verdict("backend", "cluster DNS", 53, "UDP", dns="api.example.net").egress["dns"]
    assert "dns" not in cluster.verdict("batch", "cluster DNS", 53, "UDP").egress


@hypothesis_settings(max_examples=8)
@given(data=strategies.data())
def test_order_of_policies_has_no_say(data: strategies.DataObject) -> None:
    complete = judged(infrastructure=True)
    shuffled = data.draw(strategies.permutations(policies(infrastructure=True)))
    again = verdicts(list(complete), shuffled)
    assert {row: verdict.allowed for row, verdict in again.items()} == {
        row: verdict.allowed for row, verdict in complete.items()
    }
