"""Egress names what is outside of the cluster: what Cilium would drop is refused, with the flow that works."""

import re
from typing import Any

import pytest
import yaml

from cli.verdicts import Judge
from components.policies.network import NetworkPolicies, NetworkPoliciesArgs
from settings.errors import ConfigError
from settings.fields import Problem
from tests.support.configs import merged, settings_with, stack_config
from tests.support.reachability import manifests
from tests.support.recorder import record
from tests.support.tools import tool

WEB = {"app": "web"}
AUTH = {"ingressClass": "internal", "namespace": "production", "port": 80}
KEY = "networkPolicies.namespaces.production.egress.out.to"


def change(*to: str, flows: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    namespace = {"flows": flows or {}, "egress": {"out": {"source": {"labels": WEB}, "to": list(to)}}}
    policies = {"networkPolicies": {"enabled": True, "layer7Tried": True, "namespaces": {"production": namespace}}}
    return merged(merged(policies, {"applications": {"auth": AUTH}}), others)


def the_problem(*to: str, **others: Any) -> Problem:
    with pytest.raises(ConfigError) as caught:
        settings_with(change(*to, **others), stack_config())
    (problem,) = caught.value.problems
    assert problem.key == KEY
    return problem


TO_CONTROLLER = "app.kubernetes.io/instance: internal-ingress-nginx"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("to", "why", "flow"),
    [
        ("auth.example.com", "applications.auth, on class internal", TO_CONTROLLER),
        ("*.example.com", "covers auth.example.com", TO_CONTROLLER),
        ("**.example.com", "covers auth.example.com", TO_CONTROLLER),
        ("192.168.1.103/32", "loadBalancer.addresses.internal", TO_CONTROLLER),
        ("192.168.1.102/32", "loadBalancer.addresses.k8s-gateway", "app.kubernetes.io/name: k8s-gateway"),
        ("192.168.1.106/32", "loadBalancer.pools.lan", "a flow under"),
        ("192.168.1.104/30", "loadBalancer.pools.lan", "a flow under"),
        ("192.168.1.101/32", "physical.apiVip", "apiServer"),
        ("db.production.svc.cluster.local", "a Service in namespace production", "a flow under"),
        ("*.staging.svc.cluster.local", "a Service in namespace staging", "a flow under"),
        ("db-0.db.production.svc.cluster.local", "a Service in namespace production", "a flow under"),
        ("db.staging.svc", "a Service in namespace staging", "a flow under"),
        ("kubernetes.default.svc.cluster.local", "a Service in namespace default", "apiServer: {api: {app: web}}"),
        ("db.production", "a Service in namespace production", "a flow under"),
    ],
)
def test_what_is_inside_is_refused_with_what_works(to: str, why: str, flow: str) -> None:
    problem = the_problem(to)
    assert problem.value == to
    assert why in problem.reason and flow in str(problem.example)


@pytest.mark.unit
@pytest.mark.parametrize(
    "to",
    [
        "api.example.net",
        "shop.example.com",  # the zone's, but no application's
        "*.auth.example.com",
        "192.168.1.20/32",
        "192.168.1.0/24",  # machines on the LAN beside the pool
        "db.staging",  # staging is no namespace here, but could be a domain of the LAN
    ],
)
def test_what_is_outside_is_let_through(to: str) -> None:
    settings_with(change(to), stack_config())


@pytest.mark.unit
def test_application_behind_the_tunnel_alone_is_outside() -> None:
    settings_with(change("auth.example.com", applications={"auth": {"ingressClass": "external"}}), stack_config())


@pytest.mark.unit
def test_host_on_both_classes_is_inside_while_pods_ask_the_gateway() -> None:
    both = {"public": AUTH | {"ingressClass": "external", "host": "auth.example.com"}}
    the_problem("auth.example.com", applications=both)
    elsewhere = {"coredns": {"forwardLanDomain": False}}
    settings_with(change("auth.example.com", applications=both, discovery=elsewhere), stack_config())


@pytest.mark.unit
def test_own_domain_of_the_cluster_counts() -> None:
    own = {"coredns": {"clusterDomain": "k8s.home.arpa"}}
    assert "namespace production" in the_problem("db.production.svc.k8s.home.arpa", discovery=own).reason


@pytest.mark.unit
def test_name_service_that_stands_for_a_host_outside_is_let_through() -> None:
    service = {"database": {"namespace": "production", "type": "external-name", "host": "db.example.net"}}
    settings_with(
        change("database.production.svc.cluster.local", discovery={"services": service}),
        stack_config(),
    )


@pytest.mark.unit
def test_clients_inside_the_cluster_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        settings_with(
            {"networkPolicies": {"enabled": True, "infrastructure": {"clients": ["10.244.3.0/24"]}}}, stack_config()
        )
    (problem,) = caught.value.problems
    assert problem.key == "networkPolicies.infrastructure.clients" and "cluster.podCidr" in problem.reason


@pytest.mark.unit
@pytest.mark.parametrize(
    ("resolver", "place"), [("192.168.1.107", "loadBalancer.pools.lan"), ("192.168.1.98", "inside")]
)
def test_resolver_inside_the_cluster_is_refused_where_the_gateway_may_not_ask_it(resolver: str, place: str) -> None:
    change = {"discovery": {"lanDns": {"upstreams": [resolver]}}}
    denying = {"networkPolicies": {"infrastructure": {"defaultDeny": True}}}
    with pytest.raises(ConfigError) as caught:
        settings_with(merged(change, denying), stack_config())
    (problem,) = caught.value.problems
    assert problem.key == "discovery.lanDns.upstreams" and place in problem.reason
    settings_with(change, stack_config())
    settings_with(merged(denying, {"discovery": {"lanDns": {"upstreams": ["192.168.1.53"]}}}), stack_config())


@pytest.mark.render
def test_flow_of_the_example_is_what_cilium_lets_through_to_the_controller() -> None:
    tool("policy-verdict")
    example = str(the_problem("auth.example.com").example)
    ends = re.search(r"source: (\{.+?\}\}), destination: (\{.+\}) and port: (\d+)", example)
    assert ends, example
    flow = {"source": yaml.safe_load(ends[1]), "destination": yaml.safe_load(ends[2]), "port": int(ends[3])}
    endpoints = {
        "web": {"namespace": "production", "labels": WEB},
        "controller": {"namespace": "network", "labels": flow["destination"]["labels"]},
    }

    def reaches(to: str, flows: dict[str, Any]) -> bool:
        settings = settings_with(change(to, flows=flows), stack_config())
        found = manifests(record(lambda: NetworkPolicies("policies", NetworkPoliciesArgs(settings=settings))))
        return Judge(found, endpoints, "default").allows("web", "controller", 443)

    assert not reaches("192.168.1.0/24", {}), "the address of a Service is not what Cilium judges"
    assert reaches("*.example.com", {"to-internal": flow}), "and with the flow the pattern is accepted too"
