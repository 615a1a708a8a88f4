"""Settings under generated configurations: what is good passes, what is bad never reaches a component."""

from copy import deepcopy
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settings.errors import ConfigError
from settings.load import parse
from settings.stack import Settings
from tests.support.configs import STAND_IN_SECRETS, charts_without_files

pytestmark = pytest.mark.unit

MACS = st.integers(1, 2**40 - 1).map(lambda number: "58:" + number.to_bytes(5, "big").hex(":"))


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """Any configuration that obeys the rules: address plans of every size, one to seven nodes, any pools."""
    subnet = IPv4Network((0xC0A80000 + draw(st.integers(0, 255)) * 256, 24))
    nodes = draw(st.sampled_from([1, 3, 5, 7]))
    hosts = draw(st.lists(st.integers(1, 254).map(subnet.__getitem__), min_size=9, max_size=9, unique=True))
    macs = draw(st.lists(MACS, min_size=nodes, max_size=nodes, unique=True))
    taken = hosts[: nodes + 2]
    replicas = min(2, nodes)
    start, stop = _free_run(draw, subnet, set(taken))
    classes = draw(st.lists(st.from_regex(r"[a-m][a-z]{2,8}", fullmatch=True), min_size=1, max_size=3, unique=True))
    fixed = [IPv4Address(number) for number in range(int(start), int(stop) + 1)]
    lan_classes = classes[: len(fixed)]
    return {
        "physical": {
            "subnet": str(subnet),
            "gateway": str(taken[0]),
            "apiVip": str(taken[1]),
            "nodes": {
                f"n{index}": {"address": str(address), "mac": mac}
                for index, (address, mac) in enumerate(zip(taken[2:], macs, strict=True))
            },
        },
        "cluster": {
            "domain": draw(st.sampled_from(["example.com", "home.arpa", "a.b.c.example.org"])),
            "podCidr": draw(st.sampled_from(["10.244.0.0/16", "10.42.0.0/16", "172.16.0.0/14"])),
            "serviceCidr": draw(st.sampled_from(["10.96.0.0/12", "10.43.0.0/16", "10.128.0.0/20"])),
        },
        "kubernetes": {"context": "admin@test"},
        "loadBalancer": {
            "pools": {"lan": {"start": str(start), "stop": str(stop)}},
            "addresses": {name: str(address) for name, address in zip(lan_classes, fixed, strict=False)},
        },
        "cilium": {"operator": {"replicas": replicas}},
        "ingress": {
            "classes": {
                name: {"replicas": replicas, "serviceType": "LoadBalancer" if name in lan_classes else "ClusterIP"}
                for name in classes
            }
        },
    }


def _free_run(draw: st.DrawFn, subnet: IPv4Network, taken: set[IPv4Address]) -> tuple[IPv4Address, IPv4Address]:
    """The ends of a run of free addresses."""
    start = draw(st.sampled_from([host for host in subnet.hosts() if host not in taken]))
    stop = start
    for _ in range(draw(st.integers(0, 12))):
        if stop + 1 in taken or stop + 1 == subnet.broadcast_address:
            break
        stop += 1
    return start, stop


def assert_sound(config: Settings) -> None:
    """What components rely on; written here again, from the specification, and not with the rules' own code."""
    physical, balancer = config.physical, config.load_balancer
    owned = [node.address for node in physical.nodes.values()] + [physical.gateway, physical.api_vip]
    assert len(set(owned)) == len(owned), "two owners of one address"
    assert all(physical.subnet[0] < address < physical.subnet[-1] for address in owned)
    assert len({node.mac for node in physical.nodes.values()}) == len(physical.nodes)
    given_out = [IPv4Address(n) for pool in balancer.pools.values() for n in range(int(pool.start), int(pool.stop) + 1)]
    assert len(set(given_out)) == len(given_out), "one address in two pools"
    assert not set(given_out) & {*owned, physical.subnet[0], physical.subnet[-1]}, "a Service could get a taken address"
    assert set(balancer.addresses.values()) <= set(given_out)
    assert len(set(balancer.addresses.values())) == len(balancer.addresses)
    networks = [physical.subnet, config.cluster.pod_cidr, config.cluster.service_cidr]
    assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[:i])
    names = list(config.ingress.classes)
    assert len({config.ingress.controller_value(name) for name in names}) == len(names)
    assert len({config.ingress.election_id(name) for name in names}) == len(names)
    assert not any("tailscale0".startswith(device.rstrip("+")) for device in config.cilium.devices if device[-1] == "+")


@given(configurations())
@settings(max_examples=100)
def test_every_configuration_within_the_rules_is_accepted(raw: dict[str, Any]) -> None:
    assert_sound(parse(raw, charts_without_files, STAND_IN_SECRETS))


def _paths(raw: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every value in a configuration, inner ones included."""
    below = [path for key, value in raw.items() for path in _paths(value, (*at, key))] if isinstance(raw, dict) else []
    return ([at] if at else []) + below


ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**33), 2**33),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=4, network="192.168.0.0/16").map(lambda address: f"{address}/24"),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    MACS,
)


@given(configurations(), st.data())
@settings(max_examples=250)
def test_no_change_of_any_values_gets_an_unsound_configuration_through(
    raw: dict[str, Any], data: st.DataObject
) -> None:
    """Up to three values anywhere are replaced by anything: the result is refused with readable faults, or sound."""
    original = deepcopy(raw)
    for path in data.draw(st.lists(st.sampled_from(_paths(original)), min_size=1, max_size=3)):
        others = [_value_at(original, other) for other in _paths(original) if other[-1] == path[-1]]
        at: Any = raw
        for step in path[:-1]:
            at = at.get(step, {}) if isinstance(at, dict) else {}
        if isinstance(at, dict):
            at[path[-1]] = data.draw(st.one_of(ODD_VALUES, st.sampled_from(others)))
    try:
        config = parse(raw, charts_without_files, STAND_IN_SECRETS)
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.key and problem.reason, problem
            assert problem.key.split(".")[0] in {
                "physical",
                "cluster",
                "kubernetes",
                "loadBalancer",
                "cilium",
                "ingress",
            }
        assert "Traceback" not in str(error)
    else:
        assert_sound(config)


def _value_at(raw: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        raw = raw.get(step) if isinstance(raw, dict) else None
    return raw


FAULTS: dict[str, Any] = {
    # key of the fault -> the change that causes it; no two touch the same value
    "physical.gateway": ("physical", "gateway", "10.9.9.9"),
    "cluster.domain": ("cluster", "domain", "anton.local"),
    "cluster.podCidr": ("cluster", "podCidr", "100.64.0.0/16"),
    "cluster.platform": ("cluster", "platform", "windows"),
    "cilium.devices": ("cilium", "devices", ["tailscale0", "enp+"]),
    "cilium.routingMode": ("cilium", "routingMode", "direct"),
    "cilium.operator": ("cilium", "operator", "two"),
    "loadBalancer.l2": ("loadBalancer", "l2", {"leaseDurationSeconds": 1}),
    "ingress.image": ("ingress", "image", "controller"),
    "monitoring.enabled": ("monitoring", "enabled", "perhaps"),
}


@given(configurations(), st.lists(st.sampled_from(sorted(FAULTS)), min_size=1, unique=True))
@settings(max_examples=100)
def test_faults_are_reported_together_whatever_their_number(raw: dict[str, Any], chosen: list[str]) -> None:
    for fault in chosen:
        group, key, value = FAULTS[fault]
        raw.setdefault(group, {})[key] = value
    with pytest.raises(ConfigError) as caught:
        parse(raw, charts_without_files, STAND_IN_SECRETS)
    keys = {problem.key for problem in caught.value.problems}
    assert all(any(key.startswith(fault) for key in keys) for fault in chosen), keys
