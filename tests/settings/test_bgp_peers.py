"""BGP peers: routers, each at an address of its own."""

from typing import Any

import pytest

from settings.errors import ConfigError
from settings.fields import Problem
from tests.support.configs import merged, settings_with, stack_config

pytestmark = pytest.mark.unit


def peers(**addresses: str) -> dict[str, Any]:
    routers = {name: {"address": address, "asn": 64512} for name, address in addresses.items()}
    return {"loadBalancer": {"bgp": {"localAsn": 64513, "peers": routers}}}


def problems(change: dict[str, Any]) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        settings_with(change, stack_config())
    return caught.value.problems


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.168.1.99", "node k8s-2"),
        ("192.168.1.101", "the API VIP"),
        ("192.168.1.104", "pool lan"),
        ("192.168.1.110", "pool lan"),
        ("192.168.1.0", "network address"),
        ("192.168.1.255", "broadcast address"),
        ("10.244.3.7", "cluster.podCidr"),
        ("10.96.0.1", "cluster.serviceCidr"),
        ("127.0.0.1", "loopback"),
        ("224.0.0.5", "multicast"),
        ("0.0.0.0", "reserved"),  # noqa: S104 - no address to bind to
    ],
)
def test_peer_that_is_no_router_is_refused(address: str, reason: str) -> None:
    (problem,) = problems(peers(router=address))
    assert (problem.key, problem.value) == ("loadBalancer.bgp.peers.router.address", address)
    assert reason in problem.reason
    settings_with(peers(router=str(problem.example)), stack_config())


@pytest.mark.parametrize("address", ["192.168.1.1", "192.168.1.200", "10.0.0.1", "100.64.0.1"])
def test_peer_elsewhere_is_accepted(address: str) -> None:
    settings_with(peers(router=address), stack_config())


def test_two_peers_never_have_one_address() -> None:
    (problem,) = problems(peers(one="192.168.1.1", two="192.168.1.1", three="192.168.1.2"))
    assert problem.key == "loadBalancer.bgp.peers.two.address"
    assert "loadBalancer.bgp.peers.one" in problem.reason


def test_peer_is_judged_beside_another_fault_and_not_by_it() -> None:
    both = problems(merged(peers(router="192.168.1.99"), {"physical": {"mtu": 10}}))
    assert {problem.key for problem in both} == {"physical.mtu", "loadBalancer.bgp.peers.router.address"}
    (vip,) = problems(merged(peers(router="192.168.1.101"), {"physical": {"apiVip": "192.168.1.101x"}}))
    assert vip.key == "physical.apiVip"
