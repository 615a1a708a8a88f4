"""Clients outside of the cluster reach pods through a LoadBalancer Service of their own, and nobody else does."""

from typing import Any

import pytest

from cli.network import Network, Pods, Service
from cli.reach.paths import Path, Reach, find
from cli.verdicts import Judge
from components.policies.network import NetworkPolicies, NetworkPoliciesArgs
from settings.errors import ConfigError
from settings.stack import Settings
from tests.support.configs import merged, settings_with, stack_config
from tests.support.reachability import manifests
from tests.support.recorder import record
from tests.support.tools import tool

BROKER = {"labels": {"app": "broker"}, "ports": [1883]}

ENDS: dict[str, dict[str, Any]] = {
    "broker": {"namespace": "production", "labels": {"app": "broker"}},
    "other": {"namespace": "production", "labels": {"app": "other"}},
    "LAN": {"address": "192.168.1.50"},
    "guests": {"address": "192.168.20.50"},
    "internet": {"entities": ["world"]},
    "node": {"entities": ["remote-node"]},
}


def settings(change: dict[str, Any] | None = None, **broker: Any) -> Settings:
    namespaces = {"production": {"clients": {"broker": BROKER | broker}}}
    return settings_with(merged({"networkPolicies": {"namespaces": namespaces}}, change or {}), stack_config())


def policies(settings: Settings) -> list[dict[str, Any]]:
    tool("policy-verdict")
    found = record(lambda: NetworkPolicies("policies", NetworkPoliciesArgs(settings=settings)))
    return [dict(policy) for policy in manifests(found)]


def reaching(settings: Settings, destination: str = "broker", port: int = 1883, protocol: str = "TCP") -> set[str]:
    judge = Judge(policies(settings), ENDS, "default")
    return {end for end in ENDS if end != destination and judge.verdict(end, destination, port, protocol).allowed}


@pytest.mark.render
@pytest.mark.parametrize(
    ("change", "broker", "wanted"),
    [
        ({}, {}, {"LAN"}),
        ({}, {"networks": ["192.168.20.0/24"]}, {"guests"}),
        ({"networkPolicies": {"infrastructure": {"clients": ["192.168.0.0/16"]}}}, {}, {"LAN", "guests"}),
        ({"cilium": {"loadBalancing": {"mode": "snat"}}}, {}, {"LAN", "node"}),
        ({"cilium": {"loadBalancing": {"mode": "hybrid"}}}, {}, {"LAN"}),
    ],
)
def test_networks_reach_the_port_of_the_pods(change: dict[str, Any], broker: dict[str, Any], wanted: set[str]) -> None:
    said = settings(change, **broker)
    assert reaching(said) == wanted
    assert reaching(said, port=1884) == set(), "another port"
    assert reaching(said, destination="other") == set(), "other pods"
    assert reaching(said, protocol="UDP") == set(), "another protocol"


@pytest.mark.render
def test_over_udp_hybrid_load_balancing_replaces_the_client_by_a_node() -> None:
    said = settings({"cilium": {"loadBalancing": {"mode": "hybrid"}}}, protocol="UDP")
    assert reaching(said, protocol="UDP") == {"LAN", "node"}


def ways(said: Settings, source: str, destination: str, port: int, services: tuple[Service, ...]) -> list[Path]:
    network = Network(
        settings=said,
        pods=(Pods("production", "app=broker", {"app": "broker"}),),
        services=services,
        routes=(),
        tunnel=(),
        public_names=frozenset(),
        guarded=frozenset(),
        advertised=frozenset(),
        policies=tuple(policies(said)),
        namespaces={},
        enforcement="default",
    )
    return Reach(network).paths(find(network, source), find(network, destination), port)


@pytest.mark.render
def test_reach_follows_the_service_and_says_what_policies_do_where_it_knows_none() -> None:
    service = Service("production", "mqtt", "LoadBalancer", {"app": "broker"}, {1883: 1883}, "192.168.1.107")
    (path,) = ways(settings(), "lan", "192.168.1.107", 1883, (service,))
    assert path.allowed and "NetworkPolicy production/accept-clients-broker" in path.hops[-1].policies
    (path,) = ways(settings(networks=["192.168.20.0/24"]), "lan", "production/app=broker", 1883, (service,))
    assert not path.allowed
    (path,) = ways(settings(), "lan", "production/app=broker", 1883, ())
    assert [hop.allowed for hop in path.hops] == [False, True], "no Service is known, and policies would let it in"


def reason(change: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        settings_with(change, stack_config())
    (problem,) = caught.value.problems
    return problem.key, problem.reason


def below_production(**values: Any) -> dict[str, Any]:
    return {"networkPolicies": {"namespaces": {"production": values}}}


@pytest.mark.unit
@pytest.mark.parametrize(
    ("change", "key", "why"),
    [
        (below_production(clients={"broker": BROKER | {"networks": ["10.244.0.0/16"]}}), "networks", "never matches"),
        (
            below_production(clients={"broker": BROKER | {"labels": {"pod-template-hash": "x"}}}),
            "labels.pod-template-hash",
            "never match",
        ),
        (
            below_production(
                flows={"lan": {"source": {"labels": {"a": "b"}, "networks": ["192.168.1.0/24"]}}},
            ),
            "source.networks",
            "`clients`",
        ),
        (below_production(ingress={"lan": {}}), "ingress", "`clients`"),
        (
            {"discovery": {"services": {"mqtt": {"namespace": "production", "type": "LoadBalancer"}}}},
            "type",
            "clients",
        ),
    ],
)
def test_wrong_place_or_value_is_refused_with_the_right_one(change: dict[str, Any], key: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_with(change, stack_config())
    assert any(each.key.endswith(key) and why in each.reason for each in caught.value.problems), caught.value.problems


@pytest.mark.unit
def test_clients_without_a_default_deny_have_nothing_to_be_let_through() -> None:
    change = {"home": {"defaultDeny": False, "clients": {"broker": BROKER}}}
    key, why = reason({"networkPolicies": {"namespaces": change}})
    assert key == "networkPolicies.namespaces.home.clients" and "nothing to let through" in why
