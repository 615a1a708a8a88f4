"""`anton reach` to what no Ingress serves: rules of the tunnel, and addresses that nobody holds."""

from typing import Any

import pytest

from cli.network import _TUNNEL, Network, Pods, Port, Route, Service, TunnelRule, _tunnel
from cli.program import Resource
from cli.reach.command import Pair, reachable
from cli.reach.paths import Path, Reach, UnknownEndError, find
from components.policies.network import NetworkPolicies, NetworkPoliciesArgs
from settings.stack import Settings
from tests.support.configs import settings_with, stack_config
from tests.support.reachability import manifests
from tests.support.recorder import record
from tests.support.tools import tool

pytestmark = pytest.mark.render

RULES: list[dict[str, Any]] = [
    {"host": "nas.example.com", "service": "https://192.168.1.20:8006", "noTlsVerify": True},
    {"host": "hass.example.com", "service": "http://hass.production:8123"},
    {"host": "web.example.com", "path": "^/git", "service": "http://192.168.1.21:3000"},
    {"host": "gone.example.com", "service": "http://gone.production:80"},
    {"host": "off.example.com", "service": "http_status:503"},
]

CONTROLLER = Pods(
    "network",
    "external-ingress-nginx-controller",
    {
        "app.kubernetes.io/name": "ingress-nginx",
        "app.kubernetes.io/instance": "external-ingress-nginx",
        "app.kubernetes.io/component": "controller",
    },
    (Port(443),),
)

CONNECTORS = {"namespace": "network", "labels": {"app.kubernetes.io/name": "cloudflared"}}

HASS = {"source": CONNECTORS, "destination": {"labels": {"app": "hass"}}, "port": 8123}


def settings() -> Settings:
    change = {
        "cloudflare": {"tunnel": {"rules": RULES}},
        "applications": {"web": {"ingressClass": "external", "namespace": "production", "port": 80}},
        "networkPolicies": {
            "infrastructure": {"defaultDeny": True},
            "namespaces": {"production": {"flows": {"tunnel-to-hass": HASS}}},
        },
    }
    return settings_with(change, stack_config())


@pytest.fixture(scope="module")
def network() -> Network:
    tool("policy-verdict")
    said = settings()
    policies = manifests(record(lambda: NetworkPolicies("policies", NetworkPoliciesArgs(settings=said))))
    service = "https://external-ingress-nginx-controller.network.svc.cluster.local:443"
    return Network(
        settings=said,
        enforcement="default",
        pods=(
            CONTROLLER,
            Pods("production", "web", {"app": "web"}, (Port(80),)),
            Pods("production", "app=hass", {"app": "hass"}, (Port(8123),)),
        ),
        services=(
            Service("network", CONTROLLER.name, "ClusterIP", CONTROLLER.labels, {443: 443}),
            Service("production", "web", "ClusterIP", {"app": "web"}, {80: 80}),
        ),
        routes=(
            Route("production/web", "external", "web.example.com", "/", "production/web", 80),
            Route(
                "production/web", "external", "web.example.com", "/~al", "production/web", 80, "ImplementationSpecific"
            ),
        ),
        tunnel=(
            *(TunnelRule(rule["host"], rule["service"], rule.get("path", "")) for rule in RULES),
            TunnelRule("example.com", service),
            TunnelRule("*.example.com", service),
            TunnelRule("", "http_status:404"),
        ),
        public_names=frozenset({rule["host"] for rule in RULES}),
        guarded=frozenset(),
        advertised=frozenset(),
        policies=tuple(policies),
        namespaces={},
    )


def paths(network: Network, source: str, destination: str) -> list[Path]:
    return Reach(network).paths(find(network, source), find(network, destination), None)


@pytest.mark.parametrize(
    ("source", "destination", "wanted", "said"),
    [
        ("internet", "https://nas.example.com/", True, "leads to https://192.168.1.20:8006"),
        ("internet", "https://nas.example.com/any/path?of=it", True, "leads to https://192.168.1.20:8006"),
        ("internet", "nas.example.com/any/path", True, "leads to https://192.168.1.20:8006"),
        ("lan", "nas.example.com", True, "leads to https://192.168.1.20:8006"),
        ("internet", "hass.example.com", True, "leads to http://hass.production:8123"),
        ("internet", "https://web.example.com/git/x", True, "leads to http://192.168.1.21:3000"),
        ("internet", "https://web.example.com/shop", True, "external-ingress-nginx-controller"),
        ("internet", "gone.example.com", False, "no Service production/gone is known here"),
        ("internet", "off.example.com", False, "answers by itself"),
        ("lan", "192.168.1.106", False, "no Service known here holds it"),
        ("production/web", "192.168.1.106", False, "no Service known here holds it"),
        ("internet", "192.168.1.20", False, "no route from the internet"),
        ("internet", "node", False, "no route from the internet"),
        ("lan", "192.168.1.20", True, "allowed"),
    ],
)
def test_way_ends_where_the_rule_leads(
    network: Network, source: str, destination: str, wanted: bool, said: str
) -> None:
    found = paths(network, source, destination)
    assert any(path.allowed for path in found) is wanted, found
    assert any(said in hop.text for path in found for hop in path.hops), found


def test_rule_takes_its_path_from_the_application_on_the_same_host(network: Network) -> None:
    (path,) = paths(network, "internet", "https://web.example.com/git/x")
    assert not any("Ingress" in hop.place for hop in path.hops)


def test_policy_that_does_not_follow_the_rule_closes_the_way(network: Network) -> None:
    strict = [policy for policy in network.policies if policy["metadata"]["name"] != "allow-cloudflared"]
    without = Network(**{**vars(network), "policies": tuple(strict)})
    (path,) = paths(without, "internet", "nas.example.com")
    assert not path.allowed and path.hops[-1].place == "cloudflared to 192.168.1.20 8006/TCP"


def test_changes_count_the_hosts_of_rules(network: Network) -> None:
    found = reachable(network, network.pods)
    assert Pair("nas.example.com", "internet") in found
    assert Pair("gone.example.com", "internet") not in found


@pytest.mark.parametrize("address", ["10.244.1.5", "10.96.0.10"])
def test_address_of_a_pod_or_service_is_no_end(network: Network, address: str) -> None:
    with pytest.raises(UnknownEndError, match="name the pods or the Service"):
        find(network, address)


def test_rule_of_a_state_or_plan_without_host_or_path_takes_every_request() -> None:
    ingresses = [{"hostname": None, "path": None, "service": "http_status:404"}, {"service": "http_status:404"}]
    config = Resource("urn", _TUNNEL, {"config": {"ingresses": ingresses}})
    assert all(rule.matches("any.example.com", "/any") for rule in _tunnel([config]))


def test_vip_is_the_api_server(network: Network) -> None:
    assert find(network, "192.168.1.101").kind == "api-server"


@pytest.mark.parametrize(("path", "wanted"), [("/~al", True), ("/~alice", True), ("/~a", False), ("/x/~al", False)])
def test_path_of_special_characters_is_compared_as_nginx_does(network: Network, path: str, wanted: bool) -> None:
    assert network.routes[1].takes(path) is wanted
    assert Route("a", "b", "c", "/al", "d", 80).takes("/alice") is False
