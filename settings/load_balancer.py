"""LoadBalancer addresses: pools, the fixed addresses in them, and how they are announced (L2 or BGP)."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from settings.fields import WITHOUT, Address, DnsLabel, Form, Model, Problem, Seconds, below, known, readable
from settings.nodes import AddressRange

ServiceReference = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"),
    Form("must be a Service as namespace/name"),
    Field(examples=["home/mosquitto"]),
]
"""A Service by its namespace and name."""


class L2Announcements(Model):
    """ARP announcement of LoadBalancer addresses by one node at a time."""

    enabled: bool = Field(default=True, description="announce LoadBalancer addresses by ARP")
    interfaces: tuple[str, ...] | None = Field(
        default=None,
        description="regular expressions of the interfaces that announce; derived from `physical.nodes` when unset",
        examples=[["^enp87s0$"]],
    )
    lease_duration_seconds: Seconds = Field(default=15, description="an announcing node silent for longer is replaced")
    lease_renew_deadline_seconds: Seconds = Field(default=5, description="how often the announcing node renews")
    lease_retry_period_seconds: Seconds = Field(default=2, description="pause between attempts to renew")

    def problems(self) -> Iterator[Problem]:
        if not self.lease_retry_period_seconds < self.lease_renew_deadline_seconds < self.lease_duration_seconds:
            retry, renew = self.lease_retry_period_seconds, self.lease_renew_deadline_seconds
            reason = (
                f"the lease needs retry period ({retry}) < renew deadline ({renew}) < duration, such as 2, 5 and 15, "
                "else it is lost while being renewed"
            )
            because = ("leaseRenewDeadlineSeconds", "leaseRetryPeriodSeconds")
            yield Problem("leaseDurationSeconds", self.lease_duration_seconds, reason, max(renew + 10, 15), because)


class BgpPeer(Model):
    """A router that learns the LoadBalancer addresses."""

    address: Address = Field(description="address of the router", examples=["192.168.1.1"])
    asn: int = Field(ge=1, le=4294967295, description="its autonomous system number", examples=[64512])


class Bgp(Model):
    """Cilium's BGP control plane, announcing LoadBalancer addresses to routers."""

    local_asn: int = Field(ge=1, le=4294967295, description="autonomous system number of the nodes", examples=[64513])
    peers: dict[DnsLabel, BgpPeer] = Field(
        min_length=1, description="routers by name", examples=[{"router": {"address": "192.168.1.1", "asn": 64512}}]
    )

    def problems(self) -> Iterator[Problem]:
        owners: dict[IPv4Address, str] = {}
        for name, peer in self.peers.items():
            first = owners.setdefault(peer.address, name)
            if first != name:
                reason = (
                    f"is already the address of loadBalancer.bgp.peers.{first}; Cilium keeps one session an address"
                )
                yield Problem(f"peers.{name}.address", str(peer.address), reason, str(peer.address + 1))


RESERVED = "reserved-"
"""How the names of pools begin that hold one fixed address each."""


@dataclass(frozen=True)
class Reservation:
    """A fixed address that one Service can draw, and nobody else; without a namespace a Service of any."""

    owner: str
    address: IPv4Address
    service: str
    namespace: str | None = None

    @property
    def pool(self) -> str:
        """The name of its pool."""
        return f"{RESERVED}{self.owner}"

    @property
    def labels(self) -> dict[str, str]:
        """What Cilium's pools select the Service by; it gives every Service these labels."""
        place = {"io.kubernetes.service.namespace": self.namespace} if self.namespace else {}
        return {**place, "io.kubernetes.service.name": self.service}


class LoadBalancer(Model):
    """LoadBalancer address pools and the addresses given out by name."""

    pools: dict[DnsLabel, AddressRange] = Field(
        default={},
        description="LB-IPAM pools by name, both ends included",
        examples=[{"lan": {"start": "192.168.1.102", "stop": "192.168.1.110"}}],
    )
    addresses: dict[DnsLabel, Address] = Field(
        default={},
        description="fixed addresses by the name of their Service's owner (an ingress class, `k8s-gateway`)",
        examples=[{"internal": "192.168.1.103"}],
    )
    services: dict[DnsLabel, ServiceReference] = Field(
        default={},
        description="Services, as `namespace/name`, of fixed addresses that are neither an ingress class's nor "
        "k8s-gateway's; unset, the one that is named like the entry, in any namespace",
        examples=[{"broker": "home/mosquitto"}],
    )
    l2: L2Announcements = Field(default=L2Announcements(), description="ARP announcements")
    bgp: Bgp | None = Field(
        default=None,
        description="BGP announcements",
        examples=[{"localAsn": 64513, "peers": {"router": {"address": "192.168.1.1", "asn": 64512}}}],
    )

    def pool_of(self, address: IPv4Address) -> str | None:
        """The name of the pool that contains an address."""
        return next((name for name, pool in self.pools.items() if address in pool), None)

    def problems(self) -> Iterator[Problem]:
        yield from readable(
            *(self._pool_problems(name) for name in self.pools),
            self._shared_addresses(),
            self._pool_names(),
            self._unkept_services(),
            below("l2", self.l2.problems()),
            below("bgp", self.bgp.problems() if self.bgp else ()),
        )

    def _pool_problems(self, name: str) -> Iterator[Problem]:
        pool, shown = self.pools[name], str(self.pools[name])
        if pool.start > pool.stop:
            yield Problem(f"pools.{name}", shown, "ends before it starts", pool.reversed())
        earlier = list(self.pools)[: list(self.pools).index(name)]
        for other, overlaps in known(earlier, lambda other: pool.overlaps(self.pools[other])):
            if overlaps:
                reason = f"overlaps pool {other} ({self.pools[other]}); Cilium would disable the younger one"
                yield Problem(f"pools.{name}", shown, reason, WITHOUT, because=(f"pools.{other}",))

    def _shared_addresses(self) -> Iterator[Problem]:
        owners: dict[IPv4Address, str] = {}
        for name, address in self.addresses.items():
            first = owners.setdefault(address, name)
            if first != name:
                reason = f"is already the address of loadBalancer.addresses.{first}"
                yield Problem(f"addresses.{name}", str(address), reason, self.free_address())

    def _pool_names(self) -> Iterator[Problem]:
        for name in self.pools:
            if name.startswith(RESERVED):
                reason = f"begins with {RESERVED}, as the pools of loadBalancer.addresses do"
                yield Problem(f"pools.{name}", name, reason, name.removeprefix(RESERVED) or "lan")

    def _unkept_services(self) -> Iterator[Problem]:
        for name, service in known(self.services, self.services.__getitem__):
            if name not in self.addresses:
                reason = "is no entry of loadBalancer.addresses, so there is nothing to keep for this Service"
                yield Problem(f"services.{name}", service, reason, WITHOUT, because=("addresses",))

    def open_ranges(self, name: str) -> list[AddressRange]:
        """The addresses of a pool that any Service may get: all but the fixed ones."""
        pool, found = self.pools[name], []
        start = int(pool.start)
        for taken in sorted(int(address) for address in self.addresses.values() if address in pool):
            if start < taken:
                found.append(AddressRange(start=IPv4Address(start), stop=IPv4Address(taken - 1)))
            start = taken + 1
        if start <= int(pool.stop):
            found.append(AddressRange(start=IPv4Address(start), stop=pool.stop))
        return found

    def free_address(self) -> str:
        """The first address of the pools without a fixed owner, or advice where there is none."""
        for _, (start, stop) in known(self.pools.values(), lambda pool: (int(pool.start), int(pool.stop))):
            for number in range(start, stop + 1):
                if IPv4Address(number) not in self.addresses.values():
                    return str(IPv4Address(number))
        return WITHOUT

    def usage(self) -> dict[str, Any]:
        """Per pool: its range, its size, the fixed addresses by owner and how many addresses are left."""
        return {
            name: {
                "range": str(pool),
                "size": pool.size,
                "fixed": {owner: str(address) for owner, address in self.addresses.items() if address in pool},
                "free": pool.size - sum(address in pool for address in self.addresses.values()),
            }
            for name, pool in self.pools.items()
        }
