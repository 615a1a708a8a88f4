"""The tailnet's policy file: who owns, approves and reaches what, and the tests that Tailscale runs."""

import json
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.tailscale.ingress import tailnet_policy
from components.tailscale.policy import policy_document
from settings.tailscale.policy import Grant, Policy, generated_tests
from tests.support.configs import merged, settings_with
from tests.support.tailscale import EVERYTHING, enabled, policy_with, tailscale_arguments

pytestmark = pytest.mark.unit


def document(change: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(tailnet_policy(tailscale_arguments(settings_with(change))))
    return result


def test_operator_owns_what_its_proxies_carry() -> None:
    assert document(policy_with())["tagOwners"] == {"tag:k8s-operator": [], "tag:k8s": ["tag:k8s-operator"]}


def test_routes_of_the_connector_are_approved_for_its_own_tags_alone() -> None:
    change = merged(policy_with(), enabled(connector={"tags": ["tag:k8s-router"], "routes": ["192.168.50.0/24"]}))
    found = document(change)
    assert found["autoApprovers"] == {
        "routes": {route: ["tag:k8s-router"] for route in ("192.168.1.102/32", "192.168.1.103/32", "192.168.50.0/24")}
    }
    assert found["tagOwners"]["tag:k8s-router"] == ["tag:k8s-operator"], "the operator could not start the router"


def test_services_of_the_proxy_group_are_approved_for_its_tags() -> None:
    change = merged(policy_with(), enabled(proxyGroup={}))
    assert document(change)["autoApprovers"] == {"services": {"tag:k8s": ["tag:k8s"]}}


def test_nothing_is_approved_that_nobody_advertises() -> None:
    assert "autoApprovers" not in document(policy_with())


def test_shell_access_funnel_and_the_old_rules_are_not_in_the_file() -> None:
    found = document(EVERYTHING)
    assert found.keys() == {"tagOwners", "grants", "autoApprovers", "tests"}
    assert "nodeAttrs" not in found, "a device could publish itself to the internet"


def test_grants_become_tests_that_tailscale_runs() -> None:
    change = policy_with(
        groups={"group:admins": ["root@example.com"]},
        tagOwners={"tag:db": ["group:admins"]},
        grants={
            "database": {"src": ["group:admins", "tag:k8s"], "dst": ["tag:db", "10.0.0.0/24"], "ip": ["5432-5433"]},
            "names": {"src": ["autogroup:member"], "dst": ["192.168.1.102/32"], "ip": ["udp:53", "icmp:*"]},
            "all": {"src": ["root@example.com"], "dst": ["*", "tag:db"], "ip": ["*"]},
        },
        tests={"no-shell": {"src": "someone@example.com", "proto": "tcp", "deny": ["tag:k8s:23", "tag:k8s:22"]}},
    )
    assert document(change)["tests"] == [
        {"src": "group:admins", "accept": ["10.0.0.1:5432", "tag:db:5432"]},
        {"src": "root@example.com", "accept": ["tag:db:443"]},
        {"src": "someone@example.com", "proto": "tcp", "accept": ["tag:k8s:443"]},
        {"src": "someone@example.com", "proto": "udp", "accept": ["192.168.1.102:53"]},
        {"src": "tag:k8s", "accept": ["10.0.0.1:5432", "tag:db:5432"]},
        {"src": "someone@example.com", "proto": "tcp", "deny": ["tag:k8s:22", "tag:k8s:23"]},
    ]


def test_tests_name_no_autogroup_because_tailscale_refuses_it_there() -> None:
    grants = {"admins": {"src": ["autogroup:admin", "tag:ci"], "dst": ["autogroup:internet", "tag:k8s"], "ip": ["80"]}}
    change = policy_with(grants=grants, tagOwners={"tag:ci": ["autogroup:admin"]})
    assert "autogroup:" not in json.dumps(document(change)["tests"])


def test_capability_of_an_application_reaches_the_file() -> None:
    capability = {"tailscale.com/cap/kubernetes": [{"impersonate": {"groups": ["system:masters"]}}]}
    change = policy_with(
        grants={"kubectl": {"src": ["autogroup:admin"], "dst": ["tag:k8s-operator"], "app": capability}}
    )
    (grant,) = [each for each in document(change)["grants"] if "app" in each]
    assert grant == {"src": ["autogroup:admin"], "dst": ["tag:k8s-operator"], "app": capability}


SOURCES = st.lists(
    st.sampled_from(["autogroup:member", "autogroup:admin", "group:admins", "tag:ci", "someone@example.com"]),
    min_size=1,
    max_size=4,
)
DESTINATIONS = st.lists(
    st.sampled_from(["tag:k8s", "tag:db", "192.168.1.102", "10.0.0.0/8", "*", "svc:web", "autogroup:internet"]),
    min_size=1,
    max_size=4,
)
PORTS = st.lists(st.sampled_from(["443", "tcp:443", "udp:53", "8000-8010", "*", "icmp:*"]), min_size=1, max_size=3)
GRANTS = st.dictionaries(
    st.from_regex(r"[a-z]{1,6}", fullmatch=True),
    st.builds(lambda src, dst, ip: {"src": src, "dst": dst, "ip": ip}, SOURCES, DESTINATIONS, PORTS),
    min_size=1,
    max_size=4,
)


def read(grants: dict[str, Any]) -> Policy:
    return Policy.model_validate({"grants": grants, "testMember": "member@example.com"})


@given(GRANTS, st.randoms(use_true_random=False))
def test_order_of_the_settings_does_not_change_the_file(grants: dict[str, Any], random: Any) -> None:
    names = list(grants)
    random.shuffle(names)
    shuffled = {name: {side: random.sample(each, len(each)) for side, each in grants[name].items()} for name in names}
    owners = {"tag:k8s": ("tag:k8s-operator",), "tag:db": ()}
    again = dict(reversed(owners.items()))
    assert policy_document(read(grants), owners, {}) == policy_document(read(shuffled), again, {}), (
        "every preview would show a change"
    )


@given(GRANTS)
def test_no_test_asks_for_more_than_a_grant_gives(grants: dict[str, Any]) -> None:
    policy = read(grants)
    for test in generated_tests(policy):
        source = "autogroup:member" if test["src"] == "member@example.com" else test["src"]
        for place in test["accept"]:
            host, _, port = place.rpartition(":")
            assert any(
                source in grant.src and gives(grant, host, test.get("proto", ""), port)
                for grant in policy.grants.values()
            ), f"Tailscale would refuse the policy: {test}"


def gives(grant: Grant, host: str, protocol: str, port: str) -> bool:
    """Whether one of a grant's destinations is `host`, or the network that begins with it, on that port."""
    heads = {"10.0.0.0/8": "10.0.0.1"}
    entries = {entry.rpartition(":")[2] for entry in grant.ip if entry.rpartition(":")[0] == protocol}
    return host in {heads.get(each, each) for each in grant.dst} and port in {
        "443" if ports == "*" else ports.partition("-")[0] for ports in entries
    }


@pytest.mark.parametrize(
    ("dst", "ip", "opens"),
    [
        ("192.168.1.102", "53", True),
        ("192.168.1.102/32", "udp:53", True),
        ("192.168.1.0/24", "50-60", True),
        ("*", "*", True),
        ("192.168.1.102", "tcp:53", False),
        ("192.168.1.103", "53", False),
        ("192.168.1.102", "54-60", False),
        ("tag:k8s", "*", False),
    ],
)
def test_grant_opens_an_address_only_by_that_address(dst: str, ip: str, opens: bool) -> None:
    grant = Grant.model_validate({"src": ["autogroup:member"], "dst": [dst], "ip": [ip]})
    assert grant.opens(IPv4Address("192.168.1.102"), "udp", 53) is opens
