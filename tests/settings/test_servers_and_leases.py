"""Resolvers and time servers that answer, and addresses that DHCP may lease."""

from typing import Any

import pytest

from tests.support.configs import settings_with, stack_config
from tests.support.faults import faults_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "the machine that asks"),
        ("0.0.0.7", "the machine that asks"),
        ("224.0.0.1", "no single server"),
        ("255.255.255.255", "no single server"),
        ("192.168.1.102", "is the address of k8s-gateway"),
        ("192.168.1.110", "is in pool lan"),
        ("192.168.1.98", "is node k8s-1"),
        ("192.168.1.101", "is the API VIP"),
        ("10.96.0.10", "is in cluster.serviceCidr"),
        ("10.244.1.7", "is in cluster.podCidr"),
    ],
)
@pytest.mark.parametrize("key", ["dnsServers", "ntpServers"])
def test_server_that_no_starting_node_could_ask_is_one_fault(key: str, address: str, reason: str) -> None:
    faults = faults_of({"physical": {key: ["1.1.1.1", address]}}, stack_config())
    assert [name.partition("[")[0] for name in faults] == [f"physical.{key}"]
    assert reason in "".join(faults.values())


def test_router_may_be_the_resolver_and_the_clock() -> None:
    servers = {"dnsServers": ["192.168.1.1"], "ntpServers": ["192.168.1.1", "192.168.1.5"]}
    assert str(settings_with({"physical": servers}).physical.dns_servers[0]) == "192.168.1.1"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"lanDns": {"upstreams": ["127.0.0.1"]}}, "discovery.lanDns.upstreams[0]"),
        ({"coredns": {"upstreams": ["127.0.0.53"]}}, "discovery.coredns.upstreams[0]"),
        ({"coredns": {"zones": {"home.arpa": ["0.0.0.7"]}}}, "discovery.coredns.zones.home.arpa[0]"),
    ],
)
def test_pods_are_sent_to_no_resolver_that_is_the_pod_itself(change: dict[str, Any], key: str) -> None:
    assert list(faults_of({"discovery": change}, stack_config())) == [key]


@pytest.mark.parametrize(
    ("start", "stop", "taken"),
    [
        ("192.168.1.1", "192.168.1.20", ["192.168.1.1 (the gateway)"]),
        ("192.168.1.90", "192.168.1.99", ["192.168.1.98 (node k8s-1)", "192.168.1.99 (node k8s-2)"]),
        ("192.168.1.200", "192.168.1.255", ["192.168.1.255 (the broadcast address)"]),
        ("192.168.1.0", "192.168.1.0", ["192.168.1.0 (the network address)"]),
        ("192.168.1.101", "192.168.1.101", ["192.168.1.101 (the API VIP)"]),
    ],
)
def test_dhcp_leases_no_address_that_is_taken(start: str, stop: str, taken: list[str]) -> None:
    """All of them in one message."""
    faults = faults_of({"physical": {"dhcpRange": {"start": start, "stop": stop}}}, stack_config())
    assert list(faults) == ["physical.dhcpRange"]
    assert faults["physical.dhcpRange"].endswith(f"DHCP could lease: {', '.join(taken)}")


def test_dhcp_leases_what_lies_between() -> None:
    beside = {"start": "192.168.1.111", "stop": "192.168.1.254"}
    assert settings_with({"physical": {"dhcpRange": beside}}).physical.dhcp_range is not None
