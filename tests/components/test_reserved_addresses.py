"""Fixed addresses are their Services' own: pools that nobody else can draw from, by the rules of Cilium's LB-IPAM."""

from ipaddress import ip_address
from typing import Any

import pytest

from cli.addresses import Move, moves
from components.cilium.load_balancer import pools
from components.cilium.network import CiliumNetwork, CiliumNetworkArgs
from rehearsal.control_plane.address_pools import Pool, Service, allocate
from settings.errors import ConfigError
from settings.reservations import reservations
from settings.stack import Settings
from tests.support.configs import settings_with, stack_config
from tests.support.recorder import record

pytestmark = pytest.mark.unit


def manifests(settings: Settings) -> list[dict[str, Any]]:
    found = pools(settings.load_balancer, reservations(settings))
    return [{"kind": entry["kind"], "metadata": {"name": entry["name"]}, "spec": entry["spec"]} for entry in found]


def service(name: str, *, asks: str = "", holds: str = "") -> dict[str, Any]:
    namespace, _, own = name.partition("/")
    annotations = {"lbipam.cilium.io/ips": asks} if asks else {}
    held = [{"ip": holds}] if holds else []
    return {
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": own, "annotations": annotations},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        "status": {"loadBalancer": {"ingress": held}},
    }


def given(settings: Settings, *services: dict[str, Any]) -> dict[str, list[str]]:
    found = allocate([Pool.of(entry) for entry in manifests(settings)], [Service.of(entry) for entry in services])
    return {key: [str(address) for address in each.addresses] for key, each in found.items()}


def changed(**balancer: Any) -> Settings:
    return settings_with({"loadBalancer": balancer}, stack_config())


EXTERNAL = service("network/external-ingress-nginx-controller", asks="192.168.1.104")


def test_plain_service_never_takes_an_address_that_is_declared_for_somebody_else() -> None:
    """With the shipped stack's addresses, six are left for seven Services."""
    shipped = settings_with(base=stack_config())
    plain = [service(f"default/web-{number}") for number in range(7)]
    found = given(shipped, *plain, EXTERNAL)
    taken = sorted(address for each in plain for address in found[f"default/{each['metadata']['name']}"])
    assert taken == [f"192.168.1.{number}" for number in range(105, 111)]
    assert found["network/external-ingress-nginx-controller"] == ["192.168.1.104"]


def test_declared_address_is_not_given_to_another_service_that_asks_for_it() -> None:
    assert given(settings_with(base=stack_config()), service("default/web", asks="192.168.1.104")) == {
        "default/web": []
    }


@pytest.mark.parametrize(
    ("balancer", "name", "got"),
    [
        ({"addresses": {"broker": "192.168.1.107"}}, "home/broker", ["192.168.1.107"]),
        ({"addresses": {"broker": "192.168.1.107"}}, "home/mosquitto", []),
        (
            {"addresses": {"broker": "192.168.1.107"}, "services": {"broker": "home/mosquitto"}},
            "home/mosquitto",
            ["192.168.1.107"],
        ),
        ({"addresses": {"broker": "192.168.1.107"}, "services": {"broker": "home/mosquitto"}}, "lab/mosquitto", []),
    ],
)
def test_address_of_a_service_that_is_not_the_stacks(balancer: dict[str, Any], name: str, got: list[str]) -> None:
    assert given(changed(**balancer), service(name, asks="192.168.1.107")) == {name: got}


def test_pools_share_no_address_and_leave_none_out() -> None:
    found = manifests(changed(addresses={"broker": "192.168.1.107"}))
    ranges = [part for entry in found for part in Pool.of(entry).ranges]
    assert sorted(address for part in ranges for address in part) == [
        ip_address(f"192.168.1.{number}") for number in range(102, 111)
    ]
    shown = {entry["metadata"]["name"]: entry["spec"]["blocks"] for entry in found}
    assert shown["lan"] == [
        {"start": "192.168.1.105", "stop": "192.168.1.106"},
        {"start": "192.168.1.108", "stop": "192.168.1.110"},
    ]


def test_pool_of_fixed_addresses_alone_leaves_nothing_to_draw_from() -> None:
    found = manifests(changed(pools={"lan": {"start": "192.168.1.102", "stop": "192.168.1.104"}}))
    assert [entry["metadata"]["name"] for entry in found] == [
        "reserved-k8s-gateway",
        "reserved-internal",
        "reserved-external",
    ]


def test_pools_shrink_only_when_those_of_fixed_addresses_are_there() -> None:
    """Else a Service would be without its address until the next resource."""
    args = CiliumNetworkArgs.of(settings_with(base=stack_config()))
    found = {entry.name: entry for entry in record(lambda: CiliumNetwork("cilium", args))}
    before = found["cilium-loadbalancerippool-lan"].opts.depends_on
    assert isinstance(before, list)
    assert len(before) == 1 + len(args.reserved), "the release, and each pool of a fixed address"
    assert "cilium-loadbalancerippool-reserved-external" in found


@pytest.mark.parametrize(
    ("balancer", "key"),
    [
        ({"pools": {"reserved-lan": {"start": "192.168.1.112", "stop": "192.168.1.113"}}}, "pools.reserved-lan"),
        ({"services": {"broker": "home/mosquitto"}}, "services.broker"),
        ({"services": {"internal": "home/mosquitto"}}, "services.internal"),
        ({"addresses": {"broker": "192.168.1.107"}, "services": {"broker": "mosquitto"}}, "services.broker"),
    ],
)
def test_what_would_keep_nothing_is_refused(balancer: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        changed(**balancer)
    assert [problem.key for problem in refused.value.problems] == [f"loadBalancer.{key}"]


# ---- pools that change under Services


def test_pool_that_shrinks_moves_or_drops_what_services_hold() -> None:
    held = [service("default/web", holds="192.168.1.105"), service("default/api", holds="192.168.1.110")]
    shrunk = changed(pools={"lan": {"start": "192.168.1.102", "stop": "192.168.1.108"}})
    assert moves(manifests(shrunk), held) == [Move("192.168.1.110", "default/api", "192.168.1.106")]
    only = changed(pools={"lan": {"start": "192.168.1.102", "stop": "192.168.1.105"}})
    assert moves(manifests(only), held) == [Move("192.168.1.110", "default/api")]
    assert moves(manifests(settings_with(base=stack_config())), held) == []


def test_address_that_becomes_fixed_leaves_its_holder() -> None:
    held = [service("default/web", holds="192.168.1.107")]
    assert moves(manifests(changed(addresses={"broker": "192.168.1.107"})), held) == [
        Move("192.168.1.107", "default/web", "192.168.1.105")
    ]


def test_fixed_service_keeps_its_address_when_pools_of_the_old_kind_are_split() -> None:
    """The upgrade: it held the address from the one pool of all."""
    held = service("network/external-ingress-nginx-controller", asks="192.168.1.104", holds="192.168.1.104")
    assert moves(manifests(settings_with(base=stack_config())), [held]) == []
