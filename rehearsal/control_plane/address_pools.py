"""Which LoadBalancer Service gets which address: the rules of Cilium's LB-IPAM, as a pure function.

Source: operator/pkg/lbipam of Cilium 1.19 and https://docs.cilium.io/en/stable/network/lb-ipam/. Addresses that are
held come first, then requests in the order of creation. A request is never answered with another address.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Self

Address = IPv4Address | IPv6Address

SATISFIED = "satisfied"
CLASSES = ("io.cilium/l2-announcer", "io.cilium/bgp-control-plane")
"""Load balancer classes that LB-IPAM serves; a Service without a class is served too, one of another is left alone."""

_ANNOTATION = "lbipam.cilium.io/"
_ALIAS = "io.cilium/lb-ipam-"


@dataclass(frozen=True)
class Range:
    """Addresses from `start` to `stop`, both included, without those `reserved`."""

    start: Address
    stop: Address
    reserved: frozenset[Address] = frozenset()

    def __contains__(self, address: Address) -> bool:
        return address.version == self.start.version and self.start <= address <= self.stop  # type: ignore[operator]

    def __iter__(self) -> Iterator[Address]:
        """The addresses that may be given out, lowest first."""
        for number in range(int(self.start), int(self.stop) + 1):
            if (address := type(self.start)(number)) not in self.reserved:
                yield address

    @property
    def size(self) -> int:
        """How many addresses may be given out."""
        return int(self.stop) - int(self.start) + 1 - len(self.reserved)

    def overlaps(self, other: Self) -> bool:
        """Whether an address lies in both."""
        return other.start in self or self.start in other

    @classmethod
    def of(cls, block: Mapping[str, str], *, first_and_last: bool) -> Self:
        """From a block of a pool: a `cidr`, or `start` with an optional `stop`."""
        if not block.get("cidr"):
            return cls(ip_address(block["start"]), ip_address(block.get("stop") or block["start"]))
        network = ip_network(block["cidr"], strict=False)
        ends = (network[0], network[-1])
        spared = first_and_last or network.num_addresses <= 2
        return cls(*ends, frozenset() if spared else frozenset(ends))


@dataclass(frozen=True)
class Pool:
    """A CiliumLoadBalancerIPPool."""

    name: str
    ranges: tuple[Range, ...]
    selector: Mapping[str, Any] | None = None
    disabled: bool = False

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Self:
        """From the object."""
        spec = manifest["spec"]
        first_and_last = spec.get("allowFirstLastIPs", "Yes") != "No"
        ranges = tuple(Range.of(block, first_and_last=first_and_last) for block in spec.get("blocks") or ())
        return cls(manifest["metadata"]["name"], ranges, spec.get("serviceSelector"), spec.get("disabled", False))


@dataclass(frozen=True)
class Service:
    """What LB-IPAM looks at in a Service of type LoadBalancer; `held` are the addresses of its status."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    requested: tuple[Address, ...] = ()
    versions: frozenset[int] = frozenset({4})
    held: tuple[Address, ...] = ()
    sharing_key: str = ""
    shares_with: tuple[str, ...] = ()
    ports: frozenset[tuple[str, int]] = frozenset()
    external_traffic_policy: str = "Cluster"
    selector: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Self:
        """From the object."""
        metadata, spec = manifest["metadata"], manifest["spec"]
        namespace, name = metadata["namespace"], metadata["name"]
        own = {"io.kubernetes.service.namespace": namespace, "io.kubernetes.service.name": name}
        requested = [spec.get("loadBalancerIP", ""), *_annotation(metadata, "ips").split(",")]
        status = manifest.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
        return cls(
            namespace=namespace,
            name=name,
            labels={**metadata.get("labels", {}), **own},
            requested=tuple(dict.fromkeys(_addresses(requested))),
            versions=frozenset(4 if family == "IPv4" else 6 for family in spec.get("ipFamilies") or ["IPv4"]),
            held=tuple(_addresses(entry.get("ip", "") for entry in status)),
            sharing_key=_annotation(metadata, "sharing-key"),
            shares_with=tuple(filter(None, _annotation(metadata, "sharing-cross-namespace").split(","))),
            ports=frozenset((port.get("protocol", "TCP"), port["port"]) for port in spec.get("ports") or ()),
            external_traffic_policy=spec.get("externalTrafficPolicy", "Cluster"),
            selector=tuple(sorted((spec.get("selector") or {}).items())),
        )

    def can_share_with(self, other: Self) -> bool:
        """Whether both may have one address: same key, no port in common, traffic led alike."""
        if not self.sharing_key or self.sharing_key != other.sharing_key or self.ports & other.ports:
            return False
        if self.namespace != other.namespace and not (
            {"*", other.namespace} & {*self.shares_with} and {"*", self.namespace} & {*other.shares_with}
        ):
            return False
        policies = {self.external_traffic_policy, other.external_traffic_policy}
        return policies == {"Cluster"} or (len(policies) == 1 and self.selector == other.selector)


@dataclass(frozen=True)
class Allocation:
    """The addresses that a Service has, and `reason` and `message` of its condition."""

    addresses: tuple[Address, ...]
    reason: str = SATISFIED
    message: str = ""


def is_served(manifest: Mapping[str, Any]) -> bool:
    """Whether a Service object is LB-IPAM's business."""
    spec = manifest["spec"]
    load_balancer_class = spec.get("loadBalancerClass")
    return spec.get("type") == "LoadBalancer" and (load_balancer_class is None or load_balancer_class in CLASSES)


def conflicting(pools: Sequence[Pool]) -> set[str]:
    """Names of the pools that overlap an older one; `pools` come in the order of creation."""
    found: set[str] = set()
    for position, pool in enumerate(pools):
        older = [each for other in pools[:position] if other.name not in found for each in other.ranges]
        if any(mine.overlaps(each) for mine in pool.ranges for each in older):
            found.add(pool.name)
    return found


def allocate(pools: Sequence[Pool], services: Sequence[Service]) -> dict[str, Allocation]:
    """The allocation of each Service by its key; pools and services come in the order of creation."""
    at_odds = conflicting(pools)
    run = _Run([pool for pool in pools if pool.name not in at_odds])
    kept = {service.key: run.keep(service) for service in services}
    return {service.key: run.satisfy(service, kept[service.key]) for service in services}


class _Run:
    """One pass over all Services; `owners` are those of each address so far."""

    def __init__(self, pools: list[Pool]) -> None:
        self._pools = pools
        self._owners: dict[Address, list[Service]] = {}

    def keep(self, service: Service) -> tuple[Address, ...]:
        """The held addresses that are still rightful. A pool that is disabled gives nothing new, but takes nothing."""
        kept = [address for address in service.held if self._may_keep(service, address)]
        for address in kept:
            self._owners.setdefault(address, []).append(service)
        return tuple(kept)

    def satisfy(self, service: Service, kept: tuple[Address, ...]) -> Allocation:
        if service.requested:
            return self._requested(service, kept)
        return self._any(service, kept)

    def _may_keep(self, service: Service, address: Address) -> bool:
        wanted = address in service.requested if service.requested else address.version in service.versions
        home = any(address in part for pool in self._pools if _selects(pool, service) for part in pool.ranges)
        return wanted and home and self._is_free_for(service, address)

    def _is_free_for(self, service: Service, address: Address) -> bool:
        return all(service.can_share_with(owner) for owner in self._owners.get(address, ()))

    def _requested(self, service: Service, kept: tuple[Address, ...]) -> Allocation:
        got, reason, message = list(kept), SATISFIED, ""
        for address in service.requested:
            if address in kept:
                continue
            around = [
                pool for pool in self._pools if not pool.disabled and any(address in part for part in pool.ranges)
            ]
            if not around:
                reason, message = "no_pool", f"No pool exists with a CIDR containing '{address}'"
            elif not any(_selects(pool, service) for pool in around):
                reason = "pool_selector_mismatch"
                message = f"The pool with the CIDR containing '{address}', doesn't select this service"
            elif not self._is_free_for(service, address):
                kind = ("an incompatible", "_incompatible_service") if service.sharing_key else ("another", "")
                reason = f"already_allocated{kind[1]}"
                message = f"The IP '{address}' is already allocated to {kind[0]} service"
            else:
                self._owners.setdefault(address, []).append(service)
                got.append(address)
        return Allocation(tuple(got), reason, message)

    def _any(self, service: Service, kept: tuple[Address, ...]) -> Allocation:
        got, reason, message = list(kept), SATISFIED, ""
        for version in sorted(service.versions - {address.version for address in kept}):
            pools = [pool for pool in self._pools if not pool.disabled and _selects(pool, service)]
            parts = [part for pool in pools for part in pool.ranges if part.start.version == version]
            address = self._shared(service, version) or next(
                (address for part in parts for address in part if address not in self._owners), None
            )
            if address:
                self._owners.setdefault(address, []).append(service)
                got.append(address)
            elif parts:
                reason = "out_of_ips"
                message = "All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs"
            else:
                reason = "no_pool"
                message = "There are no enabled CiliumLoadBalancerIPPools that match this service"
        return Allocation(tuple(got), reason, message)

    def _shared(self, service: Service, version: int) -> Address | None:
        taken = (address for address in self._owners if service.sharing_key and address.version == version)
        return next((address for address in taken if self._is_free_for(service, address)), None)


def _selects(pool: Pool, service: Service) -> bool:
    """Whether the pool's label selector, if it has one, matches."""
    selector = pool.selector
    if selector is None:
        return True
    if any(service.labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_meets(service.labels, expression) for expression in selector.get("matchExpressions") or ())


def _meets(labels: Mapping[str, str], expression: Mapping[str, Any]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def _annotation(metadata: Mapping[str, Any], name: str) -> str:
    annotations = metadata.get("annotations") or {}
    return str(annotations.get(f"{_ANNOTATION}{name}") or annotations.get(f"{_ALIAS}{name}") or "")


def _addresses(texts: Any) -> Iterator[Address]:
    for text in texts:
        try:
            yield ip_address(text.strip())
        except ValueError:
            continue
