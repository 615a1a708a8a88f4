"""Gives LoadBalancer Services of the local control plane their addresses, as Cilium's operator would.

`python -m rehearsal.control_plane.load_balancer --kubeconfig=FOLDER/kubeconfig` runs until it is ended. What it decides
is in address_pools.py; here it watches Services and pools, and writes what changed into the status of both.
"""

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from rehearsal.control_plane.address_pools import SATISFIED, Allocation, Pool, Service, allocate, conflicting, is_served
from rehearsal.control_plane.servers import ApiError, ControlPlane

SERVICES = "/api/v1/services"
POOLS = "/apis/cilium.io/v2/ciliumloadbalancerippools"

CONDITION = "cilium.io/IPAMRequestSatisfied"
RETRY_SECONDS = 1.0
CALM_SECONDS = 0.05
"""Changes that come within this time are answered together."""


def run(plane: ControlPlane) -> None:
    """Answer changes until this process is ended."""
    changed = threading.Event()
    for path in (SERVICES, POOLS):
        threading.Thread(target=_watch, args=(plane, path, changed), daemon=True).start()
    while True:
        changed.wait()
        time.sleep(CALM_SECONDS)
        changed.clear()
        try:
            reconcile(plane)
        except (ApiError, httpx.TransportError) as error:
            print(f"tried again: {error}", flush=True)  # noqa: T201 - goes to the log of this program
            time.sleep(RETRY_SECONDS)
            changed.set()


def reconcile(plane: ControlPlane) -> None:
    """Compare the state of all Services with what they should have, and write the differences."""
    manifests = [entry for entry in _list(plane, SERVICES) if is_served(entry)]
    pools = [Pool.of(entry) for entry in _list(plane, POOLS)]
    if not pools:  # dormant: only what a pool that is gone gave is taken back
        manifests = [entry for entry in manifests if _ingress(entry)]
    services = [Service.of(entry) for entry in manifests]
    allocations = allocate(pools, services)
    for service, manifest in zip(services, manifests, strict=True):
        if status := changed_status(manifest, allocations[service.key]):
            metadata = {"resourceVersion": manifest["metadata"]["resourceVersion"]}
            path = f"/api/v1/namespaces/{service.namespace}/services/{service.name}/status"
            plane.request("PATCH", path, {"metadata": metadata, "status": status})
    _report_use(plane, pools, allocations)


def changed_status(manifest: Mapping[str, Any], allocation: Allocation) -> dict[str, Any] | None:
    """The parts of a Service's status that the allocation sets, or None when they are so already."""
    wanted = [str(address) for address in allocation.addresses]
    condition = {
        "type": CONDITION,
        "status": str(allocation.reason == SATISFIED),
        "reason": allocation.reason,
        "message": allocation.message,
        "observedGeneration": manifest["metadata"].get("generation", 0),
    }
    conditions = manifest.get("status", {}).get("conditions") or []
    present: Mapping[str, Any] = next((entry for entry in conditions if entry["type"] == CONDITION), {})
    if (
        _ingress(manifest) == wanted
        and condition.items() <= {"observedGeneration": 0, "message": "", **present}.items()
    ):
        return None
    others = [entry for entry in conditions if entry["type"] != CONDITION]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "loadBalancer": {"ingress": [{"ip": address} for address in wanted]},
        "conditions": [*others, condition | {"lastTransitionTime": now}],
    }


def _report_use(plane: ControlPlane, pools: Sequence[Pool], allocations: Mapping[str, Allocation]) -> None:
    """Write size and use of each pool into its conditions, which `kubectl get ippools` shows."""
    at_odds = conflicting(pools)
    taken = {address for allocation in allocations.values() for address in allocation.addresses}
    for entry, pool in zip(_list(plane, POOLS), pools, strict=False):
        total = sum(part.size for part in pool.ranges)
        used = sum(address in part for address in taken for part in pool.ranges)
        conflict = pool.name in at_odds
        values = {
            "cilium.io/PoolConflict": (str(conflict), "cidr_overlap" if conflict else "resolved", ""),
            "cilium.io/IPsTotal": ("Unknown", "noreason", str(total)),
            "cilium.io/IPsAvailable": ("Unknown", "noreason", str(total - used)),
            "cilium.io/IPsUsed": ("Unknown", "noreason", str(used)),
        }
        present = {
            condition["type"]: (condition["status"], condition["reason"], condition.get("message", ""))
            for condition in entry.get("status", {}).get("conditions") or []
        }
        if present != values:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            conditions = [
                {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": now}
                for type_, (status, reason, message) in values.items()
            ]
            plane.request("PATCH", f"{POOLS}/{pool.name}/status", {"status": {"conditions": conditions}})


def _list(plane: ControlPlane, path: str) -> list[dict[str, Any]]:
    """The objects in the order of creation; none where the kind is not defined yet."""
    try:
        items: list[dict[str, Any]] = plane.get(path)["items"]
    except ApiError as error:
        if error.status == httpx.codes.NOT_FOUND:
            return []
        raise
    return sorted(items, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))


def _ingress(manifest: Mapping[str, Any]) -> list[str]:
    entries = manifest.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    return [entry.get("ip", "") for entry in entries]


def _watch(plane: ControlPlane, path: str, changed: threading.Event) -> None:
    """Set `changed` whenever an object at a path changes, for ever."""
    while True:
        try:
            for _ in plane.watch(path):
                changed.set()
        except (ApiError, httpx.TransportError):
            time.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    run(ControlPlane(Path(sys.argv[1].removeprefix("--kubeconfig=")).parent))
