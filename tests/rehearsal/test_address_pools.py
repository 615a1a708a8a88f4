"""Which Service gets which address: the rules of LB-IPAM by which the rehearsal gives them."""

from ipaddress import ip_address
from typing import Any

import pytest

from rehearsal.control_plane.address_pools import SATISFIED, Allocation, Pool, Service, allocate, is_served
from rehearsal.control_plane.load_balancer import CONDITION, changed_status

pytestmark = pytest.mark.unit

LAN = {"start": "192.168.1.102", "stop": "192.168.1.104"}


def pool(name: str = "lan", *blocks: dict[str, str], **spec: Any) -> Pool:
    return Pool.of({"metadata": {"name": name}, "spec": {"blocks": list(blocks or (LAN,)), **spec}})


def manifest(name: str, *, held: str = "", asks: str = "", **more: Any) -> dict[str, Any]:
    annotations = {f"lbipam.cilium.io/{key}": value for key, value in more.pop("lbipam", {}).items()}
    metadata = {
        "namespace": more.pop("namespace", "network"),
        "name": name,
        "generation": 1,
        "labels": more.pop("labels", {}),
        "annotations": annotations | ({"lbipam.cilium.io/ips": asks} if asks else {}),
    }
    spec = {"type": "LoadBalancer", "ports": [{"port": more.pop("port", 443)}], **more}
    status = {"loadBalancer": {"ingress": [{"ip": held}]}} if held else {}
    return {"metadata": metadata, "spec": spec, "status": status}


def given(pools: list[Pool], *manifests: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Address, or nothing, and reason by the Service's name."""
    found = allocate(pools, [Service.of(entry) for entry in manifests])
    return {
        key.rpartition("/")[2]: (", ".join(map(str, allocation.addresses)), allocation.reason)
        for key, allocation in found.items()
    }


def test_services_get_the_lowest_free_address_in_the_order_of_creation() -> None:
    assert given([pool()], manifest("first"), manifest("second")) == {
        "first": ("192.168.1.102", SATISFIED),
        "second": ("192.168.1.103", SATISFIED),
    }


def test_exhausted_pool_leaves_the_last_one_pending() -> None:
    found = given([pool()], *(manifest(name) for name in "abcd"))
    assert found["d"] == ("", "out_of_ips")


@pytest.mark.parametrize(
    ("asks", "expected"),
    [
        ("192.168.1.104", ("192.168.1.104", SATISFIED)),
        ("192.168.1.104,192.168.1.103", ("192.168.1.104, 192.168.1.103", SATISFIED)),
        ("192.168.1.111", ("", "no_pool")),
        ("192.168.1.102", ("", "already_allocated")),
    ],
)
def test_request_is_met_or_stays_pending_and_never_gets_another_address(asks: str, expected: tuple[str, str]) -> None:
    assert (
        given([pool()], manifest("holder", held="192.168.1.102"), manifest("asking", asks=asks))["asking"] == expected
    )


def test_held_address_is_kept_against_an_older_service_that_asks_for_it() -> None:
    found = given([pool()], manifest("old", asks="192.168.1.103"), manifest("young", held="192.168.1.103"))
    assert found == {"old": ("", "already_allocated"), "young": ("192.168.1.103", SATISFIED)}


def test_address_goes_when_its_pool_shrinks_or_goes() -> None:
    service = manifest("web", held="192.168.1.104", asks="192.168.1.104")
    assert given([pool("lan", {"start": "192.168.1.102", "stop": "192.168.1.103"})], service)["web"] == ("", "no_pool")
    assert given([], service)["web"] == ("", "no_pool")
    anywhere = manifest("web", held="192.168.1.104")
    assert given([pool("lan", {"cidr": "10.0.0.0/30"})], anywhere)["web"] == ("10.0.0.0", SATISFIED)


def test_disabled_pool_gives_nothing_and_takes_nothing() -> None:
    found = given([pool(disabled=True)], manifest("old", held="192.168.1.102"), manifest("new"))
    assert found == {"old": ("192.168.1.102", SATISFIED), "new": ("", "no_pool")}


def test_younger_of_two_overlapping_pools_is_not_used() -> None:
    pools = [pool("old"), pool("young", {"start": "192.168.1.104", "stop": "192.168.1.109"})]
    assert given(pools, manifest("web", asks="192.168.1.109"))["web"] == ("", "no_pool")


def test_pool_serves_only_what_its_selector_matches() -> None:
    chosen = pool(serviceSelector={"matchLabels": {"io.kubernetes.service.namespace": "network"}})
    keyed = pool(
        "keyed", {"cidr": "10.0.0.1/32"}, serviceSelector={"matchExpressions": [{"key": "a", "operator": "Exists"}]}
    )
    found = given([chosen, keyed], manifest("own"), manifest("labelled", namespace="x", labels={"a": "b"}))
    assert found == {"own": ("192.168.1.102", SATISFIED), "labelled": ("10.0.0.1", SATISFIED)}
    asking = manifest("asking", namespace="other", asks="192.168.1.103")
    assert given([chosen], asking)["asking"] == ("", "pool_selector_mismatch")


def test_first_and_last_address_of_a_cidr_are_spared_on_request() -> None:
    spared = pool("lan", {"cidr": "10.0.0.0/30"}, allowFirstLastIPs="No")
    assert given([spared], manifest("a"), manifest("b"), manifest("c")) == {
        "a": ("10.0.0.1", SATISFIED),
        "b": ("10.0.0.2", SATISFIED),
        "c": ("", "out_of_ips"),
    }


@pytest.mark.parametrize(
    ("change", "shares"),
    [
        ({}, True),
        ({"port": 80}, False),
        ({"lbipam": {"sharing-key": "other"}}, False),
        ({"namespace": "elsewhere"}, False),
        ({"externalTrafficPolicy": "Local", "selector": {"app": "b"}}, False),
    ],
)
def test_address_is_shared_by_key_with_different_ports_in_one_namespace(change: dict[str, Any], shares: bool) -> None:
    first = manifest("first", port=80, lbipam={"sharing-key": "k"})
    second = manifest("second", **{"lbipam": {"sharing-key": "k"}, **change})
    found = given([pool()], first, second)
    assert (found["first"][0] == found["second"][0]) is shares


@pytest.mark.parametrize(
    ("spec", "served"),
    [
        ({"type": "LoadBalancer"}, True),
        ({"type": "LoadBalancer", "loadBalancerClass": "io.cilium/l2-announcer"}, True),
        ({"type": "LoadBalancer", "loadBalancerClass": "tailscale"}, False),
        ({"type": "ClusterIP"}, False),
    ],
)
def test_services_of_another_class_are_left_alone(spec: dict[str, str], served: bool) -> None:
    assert is_served({"spec": spec}) is served


def test_status_is_written_once_and_leaves_conditions_of_others() -> None:
    service = manifest("web")
    service["status"]["conditions"] = [{"type": "other", "status": "True"}]
    allocation = Allocation((ip_address("192.168.1.102"),))
    status = changed_status(service, allocation)
    assert status
    assert [condition["type"] for condition in status["conditions"]] == ["other", CONDITION]
    assert status["loadBalancer"] == {"ingress": [{"ip": "192.168.1.102"}]}
    assert changed_status(service | {"status": status}, allocation) is None
    assert changed_status(service | {"status": status}, Allocation((), "no_pool", "gone")), "taken back"
