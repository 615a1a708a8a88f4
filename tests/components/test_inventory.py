"""The inventory's published forms, each read by its real consumer: dnsmasq, Kea, ISC dhcpd, a resolver, Talos."""

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import pytest
import yaml

from components.nodes import inventory, talos
from settings.nodes import Physical
from tests.support.configs import running_cluster_config, settings_with
from tests.support.tools import serving, stop, tool

RANGE = {"physical": {"dhcpRange": {"start": "192.168.1.150", "stop": "192.168.1.199"}}}


def physical(change: dict[str, Any] | None = None) -> Physical:
    return settings_with(change).physical


CONSUMERS: dict[str, tuple[Callable[[Physical], str], Callable[[Path], list[str]]]] = {
    "dnsmasq": (inventory.dnsmasq, lambda path: [tool("dnsmasq"), "--test", "-C", str(path)]),
    "kea": (inventory.kea, lambda path: [tool("kea-dhcp4"), "-t", str(path)]),
    "isc": (inventory.isc_dhcpd, lambda path: [tool("dhcpd"), "-t", "-cf", str(path)]),
}


def accepted(form: str, text: str, folder: Path) -> bool:
    """Whether the consumer of a form takes a text as its configuration."""
    path = folder / form
    path.write_text(text)
    return subprocess.run(CONSUMERS[form][1](path), capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("change", [{}, RANGE], ids=["static only", "with a DHCP range"])
@pytest.mark.parametrize("form", CONSUMERS)
def test_dhcp_server_accepts_its_reservations(form: str, change: dict[str, Any], tmp_path: Path) -> None:
    text = CONSUMERS[form][0](physical(change))
    assert accepted(form, text, tmp_path), text


@pytest.mark.parametrize("form", CONSUMERS)
def test_dhcp_server_refuses_a_broken_reservation(form: str, tmp_path: Path) -> None:
    """So that its acceptance above means something."""
    text = CONSUMERS[form][0](physical())
    assert not accepted(form, text.replace("58:47:ca:79:78:ba", "58:47:ca:79:78:zz"), tmp_path)


@pytest.mark.unit
def test_every_form_reserves_the_declared_address_for_each_card() -> None:
    plan = physical()
    dnsmasq, isc = inventory.dnsmasq(plan), inventory.isc_dhcpd(plan)
    reservations = json.loads(inventory.kea(plan))["Dhcp4"]["subnet4"][0]["reservations"]
    kea = {entry["hw-address"]: (entry["ip-address"], entry["hostname"]) for entry in reservations}
    assert len(kea) == len(plan.nodes) == 3
    for name, node in plan.nodes.items():
        assert f"dhcp-host={node.mac},{node.address},{name},infinite" in dnsmasq
        assert kea[node.mac] == (str(node.address), name)
        assert f"host {name} {{ hardware ethernet {node.mac}; fixed-address {node.address};" in isc


@pytest.mark.unit
def test_every_form_names_the_gateway_of_the_plan_in_force() -> None:
    plan = settings_with(base=running_cluster_config()).physical
    for write in (inventory.dnsmasq, inventory.kea, inventory.isc_dhcpd):
        text = write(plan)
        assert "192.168.1.254" in text
        assert "192.168.1.1;" not in text


@pytest.fixture
def resolver(tmp_path: Path) -> Iterator[Callable[[str], list[str]]]:
    """A look-up in the published hosts file, answered by a real dnsmasq on loopback."""
    hosts = tmp_path / "hosts"
    hosts.write_text(inventory.hosts_file(physical()))
    command = [tool("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
    command += ["--listen-address=127.0.0.1", "--bind-interfaces", f"--addn-hosts={hosts}"]
    command += ["--user=root", f"--pid-file={tmp_path / 'pid'}"]

    def start(port: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, f"--port={port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def look_up(name: str, port: int, patience: float = 60) -> list[str]:
        answer = dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", port=port, timeout=patience)
        return [str(item) for record in answer.answer for item in record]

    def answers(port: int) -> bool:
        with suppress(dns.exception.Timeout):
            return bool(look_up("k8s-1", port, 1))
        return False

    server, port = serving(start, answers, socket.SOCK_DGRAM)
    yield partial(look_up, port=port)
    stop(server)


def test_resolver_finds_every_node_and_the_api_in_the_hosts_file(resolver: Callable[[str], list[str]]) -> None:
    assert resolver("k8s-1") == ["192.168.1.98"]
    assert resolver("k8s-3") == ["192.168.1.100"]
    assert resolver("kubernetes-api") == ["192.168.1.101"]
    assert resolver("k8s-4") == []


@pytest.mark.parametrize("name", ["k8s-1", "k8s-2", "k8s-3"])
def test_talos_accepts_the_patch_of_every_node(name: str, tmp_path: Path) -> None:
    patch = tmp_path / "patch.yaml"
    patch.write_text(talos.patches(settings_with())[name])
    check = subprocess.run([tool("talos-patch-check"), str(patch)], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout + check.stderr


def test_talos_refuses_a_misspelt_key_in_a_patch(tmp_path: Path) -> None:
    patch = tmp_path / "patch.yaml"
    text = talos.patches(settings_with())["k8s-1"]
    patch.write_text(text.replace("hardwareAddr", "hardwareAdr"))
    assert subprocess.run([tool("talos-patch-check"), str(patch)], capture_output=True, check=False).returncode == 1


@pytest.mark.unit
def test_talos_patch_gives_the_node_its_address_route_vip_and_leaves_the_network_to_cilium() -> None:
    patch = yaml.safe_load(
        talos.patches(settings_with({"cluster": {"podCidr": "10.42.0.0/16", "serviceCidr": "10.43.0.0/16"}}))["k8s-2"]
    )
    (interface,) = patch["machine"]["network"]["interfaces"]
    assert interface["deviceSelector"] == {"hardwareAddr": "58:47:ca:79:78:ba"}
    assert interface["addresses"] == ["192.168.1.99/24"]
    assert interface["routes"] == [{"network": "0.0.0.0/0", "gateway": "192.168.1.1"}]
    assert interface["vip"] == {"ip": "192.168.1.101"}
    network = patch["cluster"]["network"]
    assert network["cni"] == {"name": "none"}
    assert (network["podSubnets"], network["serviceSubnets"]) == (["10.42.0.0/16"], ["10.43.0.0/16"])
    assert patch["cluster"]["proxy"] == {"disabled": True}


@pytest.mark.unit
def test_worker_does_not_hold_the_api_vip() -> None:
    worker = {"k8s-4": {"address": "192.168.1.97", "mac": "58:47:ca:00:00:01", "role": "worker"}}
    patch = yaml.safe_load(talos.patches(settings_with({"physical": {"nodes": worker}}))["k8s-4"])
    assert "vip" not in patch["machine"]["network"]["interfaces"][0]
