"""What an update that was killed has left behind, and how the rehearsal's stack goes on from there.

Pulumi notes in the state which resources it was about to make. Such a note stays until the next update that succeeds
(`Stack.forget_pending`), so that a recovery that is itself cut off is taken up again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from rehearsal.accounts.store import Accounts, Record
from rehearsal.accounts.wire import SIGNATURE_KEY
from rehearsal.stack import Stack

ADOPT = {"PULUMI_K8S_UPSERT_EXISTING_OBJECTS": "true"}
"""Lets an update take over objects that exist. The Kubernetes plugin refuses them since 4.29, and before always did."""


@dataclass(frozen=True)
class Leftover:
    """A resource that an update was about to make or change when it was killed: `inputs` as its state has them."""

    type: str
    inputs: Mapping[str, Any]
    created: bool

    @property
    def is_release(self) -> bool:
        """Whether Helm may have it half installed, or call it so."""
        return self.type == "kubernetes:helm.sh/v3:Release"

    @property
    def is_secret_without_name(self) -> bool:
        """Whether it is a new Secret with a name that Pulumi made up: the next update makes it under another."""
        autonamed = "pulumi.com/autonamed" in self._metadata.get("annotations", {})
        return self.created and self.type == "kubernetes:core/v1:Secret" and autonamed

    @property
    def is_record(self) -> bool:
        """Whether it is something new in one of the clouds' accounts."""
        return self.created and not self.type.startswith(("kubernetes:", "pulumi:", "anton:"))

    @property
    def _metadata(self) -> Mapping[str, Any]:
        return self.inputs.get("metadata") or {}

    @property
    def name(self) -> str:
        """The object's or release's name in the cluster."""
        return str(self._metadata.get("name") or self.inputs.get("name"))

    @property
    def namespace(self) -> str:
        """The object's or release's namespace in the cluster; empty for an object of the whole cluster."""
        return str(self._metadata.get("namespace") or self.inputs.get("namespace") or "")


def leftovers(state: Mapping[str, Any]) -> list[Leftover]:
    """What a deployment (as `pulumi stack export` has it) notes as begun, without what was made after all."""
    there = {resource["urn"] for resource in state.get("resources") or ()}
    return [
        Leftover(resource["type"], resource.get("inputs") or {}, created)
        for operation in state.get("pending_operations") or ()
        for resource, created in [(operation["resource"], operation["type"] == "creating")]
        if not (created and resource["urn"] in there)
    ]


def recover(stack: Stack, api: client.ApiClient, *, own_cluster: bool) -> None:
    """Unlock a stack whose update was killed, and take away what the next update could neither take over nor remove.

    Objects with names of their own stay: that update adopts them (`ADOPT`). On a cluster of somebody else
    (`own_cluster` false) Helm's record of a release goes only where Helm itself calls it pending.
    """
    for process in stack.processes():  # plugins that outlived their engine would go on working
        process.kill()
    stack.unlock()
    state = stack.state()
    for leftover in leftovers(state):
        if leftover.is_release:
            _forget_release(api, leftover, own_cluster=own_cluster)
        elif leftover.is_secret_without_name:
            _delete_secret(api, leftover)
        elif leftover.is_record:
            _remove_records(Accounts(stack.accounts), leftover, state)


def _forget_release(api: client.ApiClient, leftover: Leftover, *, own_cluster: bool) -> None:
    """Delete Helm's record of a release that may be half installed: the objects stay and are taken over."""
    pending = ",status in (pending-install,pending-upgrade,pending-rollback)"
    selector = f"owner=helm,name={leftover.name}{'' if leftover.created and own_cluster else pending}"
    client.CoreV1Api(api).delete_collection_namespaced_secret(leftover.namespace, label_selector=selector)


def _delete_secret(api: client.ApiClient, leftover: Leftover) -> None:
    """Delete a Secret that nothing refers to yet."""
    try:
        client.CoreV1Api(api).delete_namespaced_secret(leftover.name, leftover.namespace)
    except ApiException as refused:
        if refused.status != HTTPStatus.NOT_FOUND:  # it was killed before it came to that
            raise


def _remove_records(accounts: Accounts, leftover: Leftover, state: Mapping[str, Any]) -> None:
    """Remove from the local accounts what was made and never answered: no id of it is in the state."""
    known = {resource.get("id") for resource in state.get("resources") or () if resource["type"] == leftover.type}
    with accounts.transaction() as account:
        for record in account.all(leftover.type):
            if record.id not in known and _is_made_from(record, leftover.inputs):
                account.remove(record)


def _is_made_from(record: Record, inputs: Mapping[str, Any]) -> bool:
    return all(record.inputs.get(name) == value for name, value in _plain(inputs))


def _plain(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The inputs without Pulumi's own, and without those that hold something encrypted."""
    for name, value in inputs.items():
        if not name.startswith("__") and SIGNATURE_KEY not in repr(value):
            yield name, value
