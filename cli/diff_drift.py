"""What somebody or something changed since the last update: deployed objects against the cluster as it is."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from cli.cluster import Cluster, ClusterError
from cli.diff_fields import Field, clean, differences, masked, projected
from cli.diff_objects import Before, laid_over, touched
from cli.diff_show import field_lines
from cli.manifests import RELEASE, Key, Object, is_object, released
from cli.program import SECRET, Plan, Program

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


def drift(program: Program) -> Drift:
    """Compare what is deployed with the cluster and, by a refreshed preview, with the clouds.

    Raises ClusterError or ProgramError.
    """
    cluster = Cluster.of(program)
    declared = [each for each in deployed(program.plan, Before.of(cluster)) if not each.hook]
    with ThreadPoolExecutor(_READERS + 1) as pool:
        refreshed = pool.submit(program.refreshed_plan)
        found = [*pool.map(lambda each: _drifted(cluster, each), declared)]
        edge = [*_edge(program.plan, refreshed.result())]
    objects = [each for each in found if each] + edge
    return Drift(tuple(sorted(objects, key=lambda each: each.key)), len(declared))


def deployed(plan: Plan, before: Before) -> list[Object]:
    """Every object of the last update, patches laid over: releases by Helm's own record of them.

    Raises ClusterError when the cluster did not answer.
    """
    if before.cluster is None:
        raise ClusterError(before.reason)
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
        elif resource.type.endswith("Patch") and "kind" in resource.inputs:
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


def _edge(plan: Plan, refreshed: Plan) -> Iterator[Drifted]:
    """Resources outside the cluster that a refreshed preview would set right, and the plain one would leave alone."""
    pending = {each.resource.urn: (each.engine, each.changed) for each in touched(plan.changes)}
    for each in touched(refreshed.changes):
        package, _, rest = each.resource.type.partition(":")
        if package in {"kubernetes", "pulumi"} or pending.get(each.resource.urn) == (each.engine, each.changed):
            continue
        key = Key(package, rest.rpartition(":")[2], "", each.resource.name)
        if each.engine == "create":
            yield Drifted(key, "missing")
            continue
        wanted: Mapping[str, Any] = each.new.inputs if each.new else {}
        held = each.old.outputs if each.old else {}
        names = sorted({path.partition(".")[0].partition("[")[0] for path in each.changed})
        fields = [field for name in names for field in differences(wanted.get(name), held.get(name), (name,))]
        yield Drifted(key, "changed", tuple(fields))


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
