"""Which LoadBalancer addresses of running Services a change of the pools moves or takes, by the rules of LB-IPAM."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.cluster import Cluster
from cli.manifests import is_object
from cli.program import Plan
from rehearsal.control_plane.address_pools import Pool, Service, allocate, is_served

Manifest = Mapping[str, Any]

POOL = "CiliumLoadBalancerIPPool"
_POOLS = "/apis/cilium.io/v2/ciliumloadbalancerippools"


@dataclass(frozen=True, order=True)
class Move:
    """A Service that holds an address which it will not keep; `after` is what it gets instead, empty for none."""

    address: str
    service: str
    after: str = ""

    def __str__(self) -> str:
        rest = f"gets {self.after}" if self.after else "has no address then"
        return f"Service {self.service} loses {self.address} and {rest}"


def moves(pools: Iterable[Manifest], services: Iterable[Manifest]) -> list[Move]:
    """The addresses that Services don't keep under these pools; both come in the order of creation."""
    served = [Service.of(entry) for entry in services if is_served(entry)]
    given = allocate([Pool.of(entry) for entry in pools], served)
    found = []
    for service in served:
        kept = given[service.key].addresses
        new = ", ".join(str(address) for address in kept if address not in service.held)
        found += [Move(str(address), service.key, new) for address in service.held if address not in kept]
    return sorted(found)


def changes_pools(plan: Plan) -> bool:
    """Whether a plan touches a pool."""
    return any(
        change.resource.inputs.get("kind") == POOL and change.operation not in {"same", "refresh"}
        for change in plan.changes
    )


def planned_moves(plan: Plan, cluster: Cluster) -> list[Move]:
    """What a plan does to the addresses that the cluster's Services hold. Raises ClusterError.

    Pools that are not the stack's stay as they are.
    """
    if not changes_pools(plan):
        return []
    planned, deployed = (
        {
            each.inputs["metadata"]["name"]: each.inputs
            for each in side
            if is_object(each) and each.inputs["kind"] == POOL
        }
        for side in (plan.planned, plan.deployed)
    )
    foreign = [pool for pool in cluster.items(_POOLS) if pool["metadata"]["name"] not in {*planned, *deployed}]
    return moves([*_by_age(foreign), *planned.values()], _by_age(cluster.items("/api/v1/services")))


def _by_age(manifests: Sequence[Manifest]) -> list[Manifest]:
    return sorted(manifests, key=lambda each: str(each["metadata"].get("creationTimestamp", "")))


def holders(services: Iterable[Manifest]) -> dict[str, str]:
    """Each LoadBalancer address that is in use, with the Service that holds it."""
    return {
        str(address): service.key
        for entry in services
        if is_served(entry)
        for service in [Service.of(entry)]
        for address in service.held
    }
