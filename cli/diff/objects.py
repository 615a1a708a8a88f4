"""Every object that a pending change touches, before and after: what `anton diff` shows."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from cli.addresses import Move, changes_pools, holders, planned_moves
from cli.cluster import ClusterError
from cli.diff.fields import ABSENT, Field, clean, differences, keyed, masked
from cli.diff.rules import KEEP, POLICIES, Context, Danger, addresses, dangers, noise
from cli.diff.sides import Before, Sides, Touched, both_sides, touched
from cli.manifests import RELEASE, Key, Object, is_patch
from cli.program import SECRET, UNKNOWN, Plan, Resource

KNOWN_AFTER = "[known after up]"


@dataclass(frozen=True)
class Difference:
    """One object that changes. `operation` is added, removed, changed, replaced, kept or not updated.

    `layer` is the component of the stack that brings it, `engine` what Pulumi does with the resource behind it; hooks
    exist only while Helm works. `noises` are the reasons of fields that tell nothing, by the field's path.
    """

    key: Key
    operation: str
    layer: str
    origin: str
    engine: str
    fields: tuple[Field, ...] = ()
    noises: Mapping[str, str] = field(default_factory=dict)
    dangers: tuple[Danger, ...] = ()
    hook: bool = False

    @property
    def telling(self) -> tuple[Field, ...]:
        """The fields that are not noise."""
        return tuple(entry for entry in self.fields if entry.path not in self.noises)

    @property
    def folded(self) -> bool:
        """Whether only noise changes, or a hook, which is gone when Helm is done."""
        return self.hook or (self.operation == "changed" and not self.telling and not self.dangers)


@dataclass(frozen=True)
class Comparison:
    """All that changes, and where before and after come from, in words."""

    stack: str
    differences: tuple[Difference, ...]
    sources: tuple[str, ...]
    deployed: bool


def compare(stack: str, plan: Plan, before: Before, nodes: int) -> Comparison:
    """All differences of a plan. Raises RenderError when a chart is not there or refuses its values."""
    resources = touched(plan.changes)
    layers = _layers(plan)
    policies = tuple(resource.inputs for resource in plan.deployed if resource.inputs.get("kind") in POLICIES)
    with ThreadPoolExecutor(2) as pool:  # helm, one a core of a small machine
        sides = [*pool.map(lambda entry: both_sides(entry, before), resources)]
    known = _joined(sides, plan, _made_up_names(resources))
    given_up = _given_up(known)
    moved, held = _of_services(plan, before, known)
    found = []
    for key in sorted(known, key=lambda key: (key.namespace, key.kind, key.name)):
        old, new, entry = known[key]
        difference = _difference(key, old, new, entry)
        if difference is None:
            continue
        context = Context(
            kind=key.kind,
            operation=difference.operation,
            before=old.manifest if old else {},
            after=new.manifest if new else {},
            fields=difference.fields,
            helm=entry.resource.type == RELEASE,
            protected=entry.resource.protect and (entry.resource.type != RELEASE or key.kind == "Release"),
            nodes=nodes,
            policies=policies,
            given_up=given_up,
            moves=moved,
            held=held,
        )
        layer = layers.get(entry.resource.urn, "stack")
        found.append(replace(difference, layer=layer, dangers=tuple(dangers(context))))
    deployed = any(not resource.type.startswith("pulumi:") for resource in plan.deployed)
    return Comparison(stack, tuple(found), (before.describe(),), deployed)


def _of_services(plan: Plan, before: Before, known: Mapping[Key, "Pair"]) -> tuple[tuple[Move, ...], Mapping[str, str]]:
    """The addresses that the cluster's Services lose by a plan, and those that they keep; none without an answer."""
    asks = any(key.kind == "Service" and new and addresses(new.manifest) for key, (_, new, _) in known.items())
    if before.cluster is None or not (asks or changes_pools(plan)):
        return (), {}
    try:
        lost = tuple(planned_moves(plan, before.cluster))
        held = holders(before.cluster.items("/api/v1/services"))
    except ClusterError:
        return (), {}
    gone = {move.address for move in lost}
    return lost, {address: service for address, service in held.items() if address not in gone}


def _given_up(known: Mapping[Key, "Pair"]) -> dict[str, str]:
    """The addresses of Services that go, each with its Service: Pulumi deletes last."""
    return {
        address: str(key)
        for key, (old, new, _) in known.items()
        if key.kind == "Service" and old and new is None
        for address in addresses(old.manifest)
    }


def _layers(plan: Plan) -> dict[str, str]:
    """The outermost component of every resource, by URN."""
    known = {change.resource.urn: change.resource for change in plan.changes}

    def outermost(resource: Resource) -> str:
        parent = known.get(resource.parent)
        if parent is None or parent.type == "pulumi:pulumi:Stack":
            return resource.type.rpartition(":")[2] if not resource.custom else "stack"
        return outermost(parent)

    return {urn: outermost(resource) for urn, resource in known.items()}


Pair = tuple[Object | None, Object | None, Touched]


def _made_up_names(resources: Iterable[Touched]) -> dict[str, str]:
    """Names of new objects that Pulumi makes up again at the update, to what can be said of them before."""
    found = {UNKNOWN: KNOWN_AFTER}
    for entry in resources:
        metadata = (entry.new.inputs.get("metadata") or {}) if entry.new else {}
        old = (entry.old.inputs.get("metadata") or {}) if entry.old else {}
        made_up = "pulumi.com/autonamed" in (metadata.get("annotations") or {})
        if made_up and isinstance(metadata.get("name"), str) and metadata["name"] != old.get("name"):
            found[metadata["name"]] = f"{metadata['name'].rpartition('-')[0]}-{KNOWN_AFTER}"
    return found


def _joined(sides: Iterable[Sides], plan: Plan, unknown: Mapping[str, str]) -> dict[Key, Pair]:
    """Before and after of every object, cleaned; patches laid over the objects that they mean."""
    found: dict[Key, Pair] = {}
    patches: list[Sides] = []
    for entry, old, new in sides:
        if is_patch(entry.resource):
            patches.append((entry, old, new))
            continue
        for side, entries in enumerate((old, new)):
            for each in entries:
                cleaned = replace(each, manifest=clean(_known(each.manifest, unknown)))
                pair = found.get(cleaned.key, (None, None, entry))
                found[cleaned.key] = (cleaned, pair[1], pair[2]) if side == 0 else (pair[0], cleaned, entry)
    _lay_patches(found, patches, plan)
    return found


def _lay_patches(found: dict[Key, Pair], patches: list[Sides], plan: Plan) -> None:
    for entry, old, new in patches:
        for each in (*old, *new):
            found.setdefault(each.key, (_bare(each), _bare(each), entry))
        for before, after in ((old, []), ([], new)):
            _lay(found, before, after)
    # A patch that stays as it is holds its fields while the release under it changes.
    for change in plan.changes:
        if change.operation == "same" and is_patch(change.resource):
            kept = [Object(change.resource.inputs, change.resource.urn)]
            _lay(found, kept, kept)


def _lay(found: dict[Key, Pair], before: list[Object], after: list[Object]) -> None:
    for each in {each.key: each for each in (*before, *after)}.values():
        if each.key in found:
            old, new, entry = found[each.key]
            patch = clean(each.manifest)
            old = replace(old, manifest=laid_over(old.manifest, patch)) if old and before else old
            new = replace(new, manifest=laid_over(new.manifest, patch)) if new and after else new
            found[each.key] = (old, new, entry)


def _bare(patch: Object) -> Object:
    """An object of which nothing is known but its name."""
    cleaned = clean(patch.manifest)
    name = {key: cleaned["metadata"][key] for key in ("name", "namespace") if key in cleaned["metadata"]}
    return Object({"apiVersion": cleaned["apiVersion"], "kind": cleaned["kind"], "metadata": name}, patch.origin)


def laid_over(target: Any, patch: Any, name: str = "") -> Any:
    """What server-side apply makes of an object and a patch: maps joined, list items by their natural key."""
    if isinstance(target, Mapping) and isinstance(patch, Mapping):
        joined = {key: laid_over(target.get(key), value, key) for key, value in patch.items()}
        return {**target, **joined}
    if isinstance(target, list) and isinstance(patch, list):
        old, new = keyed(name, target), keyed(name, patch)
        if old is not None and new is not None:
            merged = {key: laid_over(item, new[key]) if key in new else item for key, item in old.items()}
            return [*merged.values(), *(item for key, item in new.items() if key not in old)]
    return patch


def _difference(key: Key, old: Object | None, new: Object | None, entry: Touched) -> Difference | None:
    operation = _operation(old, new, entry)
    fields = _fields(old, new, entry)
    if operation in {"changed", "not updated"} and not fields:
        return None
    present = new or old
    assert present
    fields = [_shown(key.kind, each) for each in fields]
    noises = {each.path: reason for each in fields if (reason := noise(key.kind, each))}
    return Difference(key, operation, "", entry.resource.urn, entry.engine, tuple(fields), noises, hook=present.hook)


def _operation(old: Object | None, new: Object | None, entry: Touched) -> str:
    if old is None:
        return "not updated" if new and new.installed_once and entry.engine == "update" else "added"
    if new is None:
        helm = entry.resource.type == RELEASE
        annotations = (old.manifest.get("metadata") or {}).get("annotations") or {}
        return "kept" if helm and (annotations.get(KEEP) == "keep" or old.installed_once) else "removed"
    if entry.engine == "replace" and not new.installed_once:
        return "replaced"
    return "not updated" if new.installed_once else "changed"


def _fields(old: Object | None, new: Object | None, entry: Touched) -> list[Field]:
    if old is None or new is None:
        return [Field((), *(side.manifest if side else ABSENT for side in (old, new)))]
    found = [*differences(old.manifest, new.manifest)]
    shown = {each.at for each in found}
    if entry.resource.type != RELEASE:
        found += [each for each in _secrets(old.manifest, new.manifest, entry.changed) if each.at not in shown]
    return found


def _secrets(old: Any, new: Any, changed: Iterable[str]) -> Iterator[Field]:
    """Fields that the engine knows to differ and Pulumi masks on both sides."""
    for path in changed:
        at: tuple[str, ...] = ()
        before, after = old, new
        for step in path.replace("[", ".").replace("]", "").split("."):
            if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
                break
            at, before, after = (*at, step), before.get(step, ABSENT), after.get(step, ABSENT)
        if before == after == SECRET:
            yield Field(at, SECRET, SECRET)


def _shown(kind: str, each: Field) -> Field:
    if kind != "Secret":
        return each
    if each.at and each.at[0] in {"data", "stringData"}:
        return masked(each)
    return Field(each.at, *(_without_data(value) if not each.at else value for value in (each.before, each.after)))


def _without_data(manifest: Any) -> Any:
    if not isinstance(manifest, Mapping):
        return manifest
    return {key: SECRET if key in {"data", "stringData"} else value for key, value in manifest.items()}


def _known(value: Any, unknown: Mapping[str, str]) -> Any:
    """With words in place of what Pulumi knows after the update only."""
    if isinstance(value, str):
        for text, words in unknown.items():
            value = value.replace(text, words)
        return value
    if isinstance(value, Mapping):
        return {key: _known(entry, unknown) for key, entry in value.items()}
    return [_known(entry, unknown) for entry in value] if isinstance(value, list) else value
