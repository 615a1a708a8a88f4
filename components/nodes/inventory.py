"""The node inventory in the forms that a router and a resolver read; `talos` has what Talos reads.

Pure functions from the inventory to text; `physical.PhysicalNodes` publishes what they return as stack outputs.
Each form is proved by its real consumer in tests/components/test_inventory.py.
"""

import json
from typing import Any

from components.nodes import talos
from settings.nodes import Physical
from settings.stack import Settings


def exports(settings: Settings) -> dict[str, Any]:
    """The stack outputs of the inventory, by name."""
    physical = settings.physical
    return {
        "dhcp_dnsmasq": dnsmasq(physical),
        "dhcp_kea": kea(physical),
        "dhcp_isc": isc_dhcpd(physical),
        "hosts": hosts_file(physical),
        "talos_patches": talos.patches(settings),
    }


def dnsmasq(physical: Physical) -> str:
    """A dnsmasq configuration (`dhcp-range`, options, one `dhcp-host` a node), ends with a newline."""
    span = physical.dhcp_range
    lines = [
        f"dhcp-range={span.start},{span.stop},{physical.subnet.netmask}"
        if span
        else f"dhcp-range={physical.subnet.network_address},static,{physical.subnet.netmask}",
        f"dhcp-option=option:router,{physical.gateway}",
        f"dhcp-option=option:dns-server,{_joined(physical.dns_servers)}",
        f"dhcp-option=option:ntp-server,{_joined(physical.ntp_servers)}",
    ]
    lines += [f"dhcp-host={node.mac},{node.address},{name},infinite" for name, node in physical.nodes.items()]
    return _text(lines)


def kea(physical: Physical) -> str:
    """A Kea DHCPv4 server configuration as JSON with one reservation a node."""
    options = {
        "routers": str(physical.gateway),
        "domain-name-servers": _joined(physical.dns_servers),
        "ntp-servers": _joined(physical.ntp_servers),
    }
    span = physical.dhcp_range
    subnet = {
        "id": 1,
        "subnet": str(physical.subnet),
        "pools": [{"pool": f"{span.start} - {span.stop}"}] if span else [],
        "option-data": [{"name": name, "data": data} for name, data in options.items()],
        "reservations": [
            {"hw-address": node.mac, "ip-address": str(node.address), "hostname": name}
            for name, node in physical.nodes.items()
        ],
    }
    server = {
        "interfaces-config": {"interfaces": ["*"]},
        "lease-database": {"type": "memfile"},
        "subnet4": [subnet],
    }
    return json.dumps({"Dhcp4": server}, indent=2) + "\n"


def isc_dhcpd(physical: Physical) -> str:
    """An ISC dhcpd configuration: the subnet and one `host` a node, ends with a newline."""
    span = physical.dhcp_range
    lines = [
        f"subnet {physical.subnet.network_address} netmask {physical.subnet.netmask} {{",
        f"  option routers {physical.gateway};",
        f"  option domain-name-servers {_joined(physical.dns_servers, ', ')};",
        f"  option ntp-servers {_joined(physical.ntp_servers, ', ')};",
        *([f"  range {span.start} {span.stop};"] if span else []),
        "}",
    ]
    lines += [
        f'host {name} {{ hardware ethernet {node.mac}; fixed-address {node.address}; option host-name "{name}"; }}'
        for name, node in physical.nodes.items()
    ]
    return _text(lines)


def hosts_file(physical: Physical) -> str:
    """Lines for a hosts file: every node by its name, and the virtual API address as API_NAME."""
    entries = {name: node.address for name, node in physical.nodes.items()} | {talos.API_NAME: physical.api_vip}
    return _text([f"{address}\t{name}" for name, address in entries.items()])


def _joined(addresses: tuple[object, ...], separator: str = ",") -> str:
    return separator.join(str(address) for address in addresses)


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
