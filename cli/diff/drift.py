"""What somebody or something changed since the last update: deployed objects against the cluster as it is."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from cli.cluster import Cluster, ClusterError
from cli.diff.fields import Field, clean, differences, masked, projected
from cli.diff.objects import laid_over
from cli.diff.show import field_lines
from cli.diff.sides import Before
from cli.manifests import RELEASE, Key, Object, is_object, is_patch, released
from cli.program import SECRET, Change, Plan, Resource

_READERS = 8


@dataclass(frozen=True)
class Drifted:
    """One object that is not as deployed; `problem` is missing or changed. Fields: deployed, then as it is now."""

    key: Key
    problem: str
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True)
class Drift:
    """All that drifted among `looked_at` objects."""

    objects: tuple[Drifted, ...]
    looked_at: int


def drift(plan: Plan, before: Before, refreshed: Plan) -> Drift:
    """Compare what is deployed with the cluster and, by a refreshed preview, with the clouds.

    Raises ClusterError when the cluster does not answer.
    """
    cluster = before.cluster
    if cluster is None:
        raise ClusterError(before.reason)
    declared = [each for each in deployed(plan, before) if not each.hook]
    with ThreadPoolExecutor(_READERS) as pool:
        found = [each for each in pool.map(lambda each: _drifted(cluster, each), declared) if each]
    clouds = [change for change in refreshed.changes if change.operation == "refresh" and _of_cloud(change)]
    objects = sorted([*found, *edge(refreshed)], key=lambda each: each.key)
    return Drift(tuple(objects), len(declared) + len(clouds))


def deployed(plan: Plan, before: Before) -> list[Object]:
    """Every object of the last update, patches laid over: releases by Helm's own record of them."""
    found: dict[Key, Object] = {}
    patches = []
    for resource in plan.deployed:
        if resource.type == RELEASE:
            record = before.records.get(f"{resource.inputs['namespace']}/{resource.inputs['name']}")
            objects = released(record, resource.urn) if record else []
            release = Object({"apiVersion": "helm.sh/v3", "kind": "Release", "metadata": resource.inputs}, resource.urn)
            found |= {each.key: each for each in objects or [release]}
        elif is_object(resource):
            found[Object(resource.inputs, resource.urn).key] = Object(resource.inputs, resource.urn)
        elif is_patch(resource) and "kind" in resource.inputs:
            patches.append(Object(clean(resource.inputs), resource.urn))
    for patch in patches:
        target = found.get(patch.key)
        manifest = laid_over(target.manifest, patch.manifest) if target else patch.manifest
        found[patch.key] = Object(manifest, patch.origin)
    return list(found.values())


def _drifted(cluster: Cluster, declared: Object) -> Drifted | None:
    manifest = _as_stored(clean(declared.manifest))
    key = declared.key
    if key.group == "helm.sh":
        return Drifted(key, "missing")  # Helm has no record of it
    live = cluster.object(manifest["apiVersion"], key.kind, key.namespace, key.name)
    if live is None:
        return Drifted(key, "missing")
    found = [*differences(manifest, projected(live, manifest))]
    fields = [masked(each) if key.kind == "Secret" else each for each in found if not _hidden(each)]
    return Drifted(key, "changed", tuple(fields)) if fields else None


def _hidden(field: Field) -> bool:
    """A value that Pulumi keeps secret can't be compared here."""
    return bool(field.before == SECRET)


def _as_stored(manifest: dict[str, Any]) -> dict[str, Any]:
    """With texts of a Secret out: the API server stores them encoded."""
    return {key: value for key, value in manifest.items() if key != "stringData"}


def _of_cloud(change: Change) -> bool:
    return change.resource.type.partition(":")[0] not in {"anton", "kubernetes", "pulumi"}


def edge(refreshed: Plan) -> Iterator[Drifted]:
    """What a refresh finds otherwise at the clouds, in the properties that the stack sets.

    The refreshing steps have the last state; what is there now is what the steps after them start from.
    """
    now = {change.old.urn: change.old for change in refreshed.changes if change.old and change.operation != "refresh"}
    for change in refreshed.changes:
        if change.operation != "refresh" or not _of_cloud(change) or change.old is None:
            continue
        key = Key(*_kind(change.old), "", change.old.name)
        held = now.get(change.old.urn)
        if held is None:
            yield Drifted(key, "missing")
            continue
        sides = (projected(side.outputs, change.old.inputs) for side in (change.old, held))
        if fields := tuple(differences(*sides)):
            yield Drifted(key, "changed", fields)


def _kind(resource: Resource) -> tuple[str, str]:
    package, _, kind = resource.type.partition(":")
    return package, kind.rpartition(":")[2]


def lines(found: Drift) -> Iterator[Text]:
    """The drift for people."""
    if not found.objects:
        yield Text(f"drift: none in {found.looked_at} objects", style="bold")
        return
    yield Text(f"drift: {len(found.objects)} of {found.looked_at} objects are not as deployed", style="bold")
    for each in found.objects:
        yield Text.assemble(("! ", "bold red"), f"{each.key}  ", (each.problem, "dim"))
        for field in each.fields:
            yield Text.assemble("    ", (field.path, "cyan"))
            for text in field_lines(field):
                yield Text(f"      {text}", style={"-": "red", "+": "green"}.get(text[:1], "dim"))
