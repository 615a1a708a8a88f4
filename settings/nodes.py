"""Layer 1, the physical network: the inventory of nodes, their subnet and the addresses that DHCP gives out."""

import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from itertools import islice

from pydantic import Field

from settings.fields import (
    WITHOUT,
    Address,
    DnsLabel,
    InterfaceName,
    LabelValue,
    MacAddress,
    Model,
    Network,
    Problem,
    ServerAddress,
    below,
    known,
    readable,
)

HIGHEST_VLAN = 4094


class Role(StrEnum):
    """What a node does in the cluster."""

    CONTROL_PLANE = "control-plane"
    WORKER = "worker"


class BondMode(StrEnum):
    """How the cards of a bond share the traffic."""

    ACTIVE_BACKUP = "active-backup"
    LACP = "802.3ad"


class Bond(Model):
    """Cards that the node's interface binds together."""

    mode: BondMode = Field(
        default=BondMode.ACTIVE_BACKUP,
        description="`active-backup` (asks nothing of the switch) or `802.3ad` (LACP, set up on the switch as well)",
    )
    macs: tuple[MacAddress, ...] = Field(
        min_length=1,
        description="MAC addresses of the other cards; the first card's is the node's `mac`",
        examples=[["00:00:5e:00:53:02"]],
    )


class Node(Model):
    """One machine."""

    address: Address = Field(description="InternalIP of the node, inside `physical.subnet`")
    mac: MacAddress = Field(description="MAC address of the network card that carries `address`")
    role: Role = Field(
        default=Role.CONTROL_PLANE, description="`control-plane` or `worker`", examples=["control-plane"]
    )
    interface: InterfaceName = Field(
        default="enp87s0",
        description="name of that network card in Linux; of the bond, with `bond`; a VLAN on it is `<name>.<id>`",
    )
    bond: Bond | None = Field(
        default=None,
        description="cards that `interface` binds together",
        examples=[{"mode": "802.3ad", "macs": ["00:00:5e:00:53:02"]}],
    )
    link_speed_mbps: int = Field(default=1000, gt=0, description="negotiated link speed, Mb/s", examples=[1000])
    rack: LabelValue | None = Field(default=None, description="where the machine stands", examples=["shelf-1"])
    switch_port: LabelValue | None = Field(
        default=None, description="switch and port of the link", examples=["sw1-port3"]
    )

    @property
    def link(self) -> str:
        """The name of the card or bond, without the VLAN."""
        return self.interface.rpartition(".")[0] if self.vlan is not None else self.interface

    @property
    def vlan(self) -> int | None:
        """The id of the VLAN that carries `address`; None for untagged frames."""
        _, dot, number = self.interface.rpartition(".")
        return int(number) if dot and number.isdecimal() else None

    @property
    def macs(self) -> tuple[str, ...]:
        """The MAC addresses of all its cards."""
        return (self.mac, *(self.bond.macs if self.bond else ()))

    def problems(self) -> Iterator[Problem]:
        if self.vlan is not None and not 1 <= self.vlan <= HIGHEST_VLAN:
            reason = f"names VLAN {self.vlan}; VLANs have numbers from 1 to {HIGHEST_VLAN}"
            yield Problem("interface", self.interface, reason, f"{self.link}.20")
        if self.bond and re.match(r"(en|eth|wl)", self.link):
            reason = "names a network card, and a bond has a name of its own"
            yield Problem("interface", self.interface, reason, "bond0", because=("bond",))


class AddressRange(Model):
    """A run of addresses, both ends included."""

    start: Address = Field(description="first address", examples=["192.168.1.150"])
    stop: Address = Field(description="last address", examples=["192.168.1.199"])

    def __contains__(self, address: IPv4Address) -> bool:
        return self.start <= address <= self.stop

    @property
    def size(self) -> int:
        """The number of addresses."""
        return int(self.stop) - int(self.start) + 1

    def __str__(self) -> str:
        return f"{self.start}-{self.stop}"

    def reversed(self) -> dict[str, str]:
        """The config object with both ends exchanged, for those who wrote the range backwards."""
        return {"start": str(self.stop), "stop": str(self.start)}

    def overlaps(self, other: "AddressRange") -> bool:
        """Whether the two runs share an address."""
        return self.start <= other.stop and other.start <= self.stop


class Physical(Model):
    """The node network and the machines on it."""

    subnet: Network = Field(description="node subnet, CIDR")
    gateway: Address = Field(description="default route of the nodes", examples=["192.168.1.1"])
    api_vip: Address = Field(
        description="virtual address of the Kubernetes API, held by Talos", examples=["192.168.1.101"]
    )
    dns_servers: tuple[ServerAddress, ...] = Field(
        default=(IPv4Address("1.1.1.1"), IPv4Address("1.0.0.1")),
        min_length=1,
        description="resolvers of the nodes",
        examples=[["1.1.1.1", "1.0.0.1"]],
    )
    ntp_servers: tuple[ServerAddress, ...] = Field(
        default=(IPv4Address("162.159.200.1"), IPv4Address("162.159.200.123")),
        min_length=1,
        description="time servers of the nodes",
        examples=[["162.159.200.1"]],
    )
    mtu: int = Field(default=1500, ge=1280, le=9216, description="MTU of the node interfaces, bytes", examples=[1500])
    dhcp_range: AddressRange | None = Field(
        default=None,
        description="addresses that the router hands out by itself; no pool may touch them",
        examples=[{"start": "192.168.1.150", "stop": "192.168.1.199"}],
    )
    nodes: dict[DnsLabel, Node] = Field(
        min_length=1,
        description="the machines by node name",
        examples=[{"k8s-1": {"address": "192.168.1.98", "mac": "00:00:5e:00:53:01"}}],
    )

    def taken(self) -> dict[IPv4Address, str]:
        """Every address of the subnet that has an owner, with the owner's name; without owners that can't be read."""
        nodes = known(self.nodes.items(), lambda entry: entry[1].address)
        others: dict[str, Callable[[], IPv4Address]] = {
            "the API VIP": lambda: self.api_vip,
            "the gateway": lambda: self.gateway,
            "the network address": lambda: self.subnet.network_address,
            "the broadcast address": lambda: self.subnet.broadcast_address,
        }
        return {address: f"node {name}" for (name, _), address in nodes} | {
            address: owner for owner, address in known(others, lambda owner: others[owner]())
        }

    def free_addresses(self) -> Iterator[IPv4Address]:
        """The addresses of the subnet that nothing declared here uses, in their order."""
        taken = self.taken()
        return (host for host in self.subnet.hosts() if host not in taken)

    def free_run(self, *others: AddressRange | None) -> dict[str, str] | None:
        """The longest run of free addresses beside some others, as one writes it; None where all are taken."""
        apart = [run for run, _ in known(filter(None, others), str)]
        runs: list[list[IPv4Address]] = [[]]
        # A large subnet is not searched to its end.
        for address in islice(self.free_addresses(), 4096):
            if any(address in run for run in apart):
                continue
            if runs[-1] and int(address) != int(runs[-1][-1]) + 1:
                runs.append([])
            runs[-1].append(address)
        longest = max(runs, key=len)
        return {"start": str(longest[0]), "stop": str(longest[-1])} if longest else None

    def problems(self) -> Iterator[Problem]:
        own = (below(f"nodes.{name}", node.problems()) for name, node in known(self.nodes, self.nodes.__getitem__))
        yield from readable(self._misplaced_addresses(), self._shared_macs(), *own)
        if self.dhcp_range:
            yield from readable(self._dhcp_problems(self.dhcp_range))

    def _dhcp_problems(self, span: AddressRange) -> Iterator[Problem]:
        shown = str(span)
        if span.start > span.stop:
            yield Problem("dhcpRange", shown, "ends before it starts", span.reversed())
        elif (span.start not in self.subnet or span.stop not in self.subnet) and self.gateway in self.subnet:
            yield Problem("dhcpRange", shown, f"leaves the node subnet {self.subnet}", self.free_run(), ("subnet",))
        elif taken := [f"{address} ({owner})" for address, owner in sorted(self.taken().items()) if address in span]:
            reason = f"contains addresses that are taken, which DHCP could lease: {', '.join(taken)}"
            yield Problem("dhcpRange", shown, reason, self.free_run())

    def _misplaced_addresses(self) -> Iterator[Problem]:
        """Addresses outside the subnet, on its two reserved ones, or declared twice."""
        reserved = {
            self.subnet.network_address: "is the network address of the node subnet",
            self.subnet.broadcast_address: "is the broadcast address of the node subnet",
        }
        owners: dict[IPv4Address, str] = {}
        declared: dict[str, Callable[[], IPv4Address]] = {
            "gateway": lambda: self.gateway,
            "apiVip": lambda: self.api_vip,
            **{f"nodes.{name}.address": partial(getattr, node, "address") for name, node in self.nodes.items()},
        }
        free = self.free_addresses()
        found = dict(known(declared, lambda key: declared[key]()))
        if len(found) > 1 and not any(address in self.subnet for address in found.values()):
            reason = f"holds none of the addresses declared in it: {', '.join(map(str, found.values()))}"
            example = str(IPv4Network(f"{next(iter(found.values()))}/{self.subnet.prefixlen}", strict=False))
            yield Problem("subnet", str(self.subnet), reason, example)
            return
        for key, address in found.items():
            if address not in self.subnet:
                reason = f"lies outside the node subnet {self.subnet}"
            elif address in reserved:
                reason = reserved[address]
            elif address in owners:
                reason = f"is already the address of physical.{owners[address]}"
            else:
                owners[address] = key
                continue
            yield Problem(key, str(address), reason, str(next(free, WITHOUT)))

    def _shared_macs(self) -> Iterator[Problem]:
        owners: dict[str, str] = {}
        for name, macs in known(self.nodes, lambda name: self.nodes[name].macs):
            for position, mac in enumerate(macs):
                key = f"nodes.{name}.mac" if position == 0 else f"nodes.{name}.bond.macs"
                if mac in owners:
                    reason = f"is already the MAC address of physical.{owners[mac]}"
                    yield Problem(key, mac, reason, "00:00:5e:00:53:01")
                owners.setdefault(mac, f"nodes.{name}")
