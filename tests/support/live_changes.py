"""What somebody does to a live network, put back in the end: to its objects, its Deployments and its accounts."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from cli.program import Program
from rehearsal.accounts.store import Accounts
from tests.support.control_plane import ApiError, ControlPlane

Change = Callable[[dict[str, Any]], None]


@contextmanager
def changed(cluster: ControlPlane, path: str, change: Change, status: str = "") -> Iterator[None]:
    """An object, or with `/status` the status of one, that somebody changed; put back in the end."""
    before = deepcopy(cluster.get(path))
    part = "status" if status else "spec" if "spec" in before else "data"
    if "webhooks" in before:
        part = "webhooks"
    _put(cluster, path, status, change)
    try:
        yield
    finally:
        _put(cluster, path, status, lambda now: now.update({part: before.get(part, {})}))


def _put(cluster: ControlPlane, path: str, status: str, change: Change) -> None:
    """Controllers write as well: whoever comes second tries again."""
    for attempt in range(10):
        now = cluster.get(path)
        change(now)
        try:
            cluster.request("PUT", path + status, now)
        except ApiError as refused:
            if refused.status != 409 or attempt == 9:
                raise
        else:
            return


@contextmanager
def added(cluster: ControlPlane, path: str, manifest: Mapping[str, Any]) -> Iterator[None]:
    """An object that somebody made; gone in the end."""
    cluster.request("POST", path, manifest)
    try:
        yield
    finally:
        cluster.request("DELETE", f"{path}/{manifest['metadata']['name']}")


@contextmanager
def scaled(cluster: ControlPlane, name: str, replicas: int) -> Iterator[None]:
    """A Deployment of namespace network with another number of pods."""
    path = f"/apis/apps/v1/namespaces/network/deployments/{name}"

    def settled(wanted: int) -> bool:
        status = cluster.get(path)["status"]
        slices = cluster.get("/apis/discovery.k8s.io/v1/namespaces/network/endpointslices")["items"]
        serving = {
            endpoint["targetRef"]["name"]
            for entry in slices
            for endpoint in entry.get("endpoints") or ()
            if endpoint["targetRef"]["name"].startswith(f"{name}-")
        }
        return bool(status.get("readyReplicas", 0) == status.get("replicas", 0) == len(serving) == wanted)

    before = cluster.get(path)["spec"]["replicas"]
    with changed(cluster, path, lambda now: now["spec"].update(replicas=replicas)):
        cluster.wait_for(lambda: settled(replicas), f"{name} at {replicas}")
        yield
    cluster.wait_for(lambda: settled(before), f"{name} at {before}")


@contextmanager
def account(program: Program) -> Iterator[Accounts]:
    """The local accounts; what a test changes in them is put back."""
    accounts = Accounts(Path(program.environment["ANTON_ACCOUNTS"]))
    with accounts.transaction() as now:
        before = now.all()
    try:
        yield accounts
    finally:
        with accounts.transaction() as now:
            for record in now.all():
                now.remove(record)
            for record in before:
                now.put(record)
