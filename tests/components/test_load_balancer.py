"""Pools and announcements as custom resources, and what the stack says about their use."""

from typing import Any

import pytest

from components.cilium.load_balancer import manifests
from settings.reservations import reservations
from tests.support.configs import settings_with

pytestmark = pytest.mark.unit


def built(change: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    config = settings_with(change)
    interfaces = tuple(node.interface for node in config.physical.nodes.values())
    found = manifests(config.load_balancer, interfaces, reservations(config))
    return {entry["kind"]: entry for entry in found}


def test_pool_is_the_declared_run_of_addresses_and_no_more() -> None:
    pool = built()["CiliumLoadBalancerIPPool"]
    assert pool["api_version"] == "cilium.io/v2", "v2alpha1 pools are deprecated"
    assert pool["spec"]["blocks"] == [{"start": "192.168.1.105", "stop": "192.168.1.110"}], "without the fixed ones"


def test_announcements_leave_only_by_the_declared_interface() -> None:
    policy = built()["CiliumL2AnnouncementPolicy"]
    assert policy["api_version"] == "cilium.io/v2alpha1", "there is no other version of this kind"
    assert policy["spec"]["interfaces"] == ["^enp87s0$"], "enp+ would announce on the storage links too"
    assert policy["spec"]["loadBalancerIPs"] is True


def test_interface_name_is_matched_literally() -> None:
    change = {"physical": {"nodes": {"k8s-1": {"interface": "enp87s0.10"}}}}
    assert built(change)["CiliumL2AnnouncementPolicy"]["spec"]["interfaces"] == ["^enp87s0$", "^enp87s0[.]10$"]


def test_configured_interfaces_replace_the_derived_ones() -> None:
    change = {"loadBalancer": {"l2": {"interfaces": ["^enp8"]}}}
    assert built(change)["CiliumL2AnnouncementPolicy"]["spec"]["interfaces"] == ["^enp8"]


def test_bgp_is_absent_by_default_and_announces_to_each_peer_when_set() -> None:
    assert "CiliumBGPClusterConfig" not in built()
    bgp = {"localAsn": 64513, "peers": {"router": {"address": "192.168.1.1", "asn": 64512}}}
    resources = built({"loadBalancer": {"bgp": bgp}})
    instance = resources["CiliumBGPClusterConfig"]["spec"]["bgpInstances"][0]
    assert instance["localASN"] == 64513
    assert instance["peers"][0]["peerAddress"] == "192.168.1.1"
    assert instance["peers"][0]["peerASN"] == 64512
    families = resources["CiliumBGPPeerConfig"]["spec"]["families"][0]
    assert families["advertisements"]["matchLabels"] == resources["CiliumBGPAdvertisement"]["labels"], (
        "the peer config finds its advertisement by these labels"
    )


def test_pool_outside_the_node_subnet_is_possible_with_bgp_alone() -> None:
    bgp = {"localAsn": 64513, "peers": {"router": {"address": "192.168.1.1", "asn": 64512}}}
    pools = {"routed": {"start": "192.168.50.1", "stop": "192.168.50.9"}}
    config = settings_with({"loadBalancer": {"bgp": bgp, "pools": pools}})
    assert "routed" in config.load_balancer.pools


def test_usage_counts_fixed_and_free_addresses_of_each_pool() -> None:
    assert settings_with().load_balancer.usage() == {
        "lan": {
            "range": "192.168.1.102-192.168.1.110",
            "size": 9,
            "fixed": {"k8s-gateway": "192.168.1.102", "internal": "192.168.1.103", "external": "192.168.1.104"},
            "free": 6,
        }
    }
