"""The objects of one resource before and after an update: what the cluster or the state has, and what is planned."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cli.cluster import Cluster, ClusterError
from cli.diff.fields import projected
from cli.manifests import RELEASE, Capabilities, Object, RenderError, is_object, is_patch, released, render
from cli.program import Change, Resource

_PROVIDERS = "pulumi:providers:"

_QUIET = {"same", "refresh", "discard"}

_RELEASE_SHOWN = ("name", "namespace", "chart", "version", "atomic", "timeout", "skipCrds", "forceUpdate", "maxHistory")


@dataclass(frozen=True)
class Before:
    """What is known of the cluster: its capabilities, and Helm's records by release (namespace/name)."""

    capabilities: Capabilities = field(default_factory=Capabilities)
    records: Mapping[str, str] = field(default_factory=dict)
    cluster: Cluster | None = None
    reason: str = ""

    @classmethod
    def of(cls, cluster: Cluster) -> "Before":
        """What the cluster says; without an answer the defaults, with the reason. Never raises."""
        try:
            capabilities = cluster.capabilities
            secrets = cluster.items("/api/v1/secrets", labelSelector="owner=helm,status=deployed")
        except ClusterError as error:
            return cls(reason=str(error))
        records: dict[str, tuple[int, str]] = {}
        for secret in secrets:
            labels, namespace = secret["metadata"]["labels"], secret["metadata"]["namespace"]
            name, version = f"{namespace}/{labels['name']}", int(labels["version"])
            if version > records.get(name, (0, ""))[0]:
                records[name] = (version, secret["data"]["release"])
        return cls(capabilities, {name: record for name, (_, record) in records.items()}, cluster)

    def describe(self) -> str:
        """Which capabilities and whose word on what is deployed."""
        if self.cluster:
            return f"before: Helm's records in {self.cluster.context}; capabilities: Kubernetes {self.version} there"
        why = f" ({self.reason})" if self.reason else ""
        return f"before: the stack's last state; capabilities: default, Kubernetes {self.version}{why}"

    @property
    def version(self) -> str:
        """The version of Kubernetes that charts see."""
        return self.capabilities.kube_version


@dataclass(frozen=True)
class Touched:
    """A resource that the engine touches: all its steps in one."""

    engine: str
    old: Resource | None
    new: Resource | None
    changed: tuple[str, ...]

    @property
    def resource(self) -> Resource:
        """As it will be, or was."""
        found = self.new or self.old
        assert found, "a step has a state before or after"
        return found


def touched(changes: Iterable[Change]) -> list[Touched]:
    """What the engine would not leave alone; the three steps of a replacement are one."""
    found: dict[str, Touched] = {}
    for change in changes:
        if change.operation in _QUIET or not (change.resource.custom or change.resource.type == RELEASE):
            continue
        if change.resource.type.startswith("pulumi:pulumi:"):
            continue
        known = found.get(change.resource.urn)
        replaces = "replac" in change.operation
        old = (known and known.old) or change.old
        new = (known and known.new) or (None if change.operation.startswith("delete") else change.new)
        changed = (*(known.changed if known else ()), *change.changed)
        found[change.resource.urn] = Touched("replace" if replaces else change.operation, old, new, changed)
    return list(found.values())


Sides = tuple[Touched, list[Object], list[Object]]


def both_sides(entry: Touched, before: Before) -> Sides:
    if entry.resource.type == RELEASE:
        return _release(entry, before)
    old = [_object(entry.old)] if entry.old else []
    return entry, old, [_object(entry.new)] if entry.new else []


def _object(resource: Resource) -> Object:
    """A resource as an object; what is none in the cluster gets the cloud as group and the type as kind."""
    if is_object(resource) or (is_patch(resource) and "kind" in resource.inputs):
        return Object(resource.inputs, resource.urn)
    package, _, kind = resource.type.removeprefix(_PROVIDERS).partition(":")
    kind = kind.rpartition(":")[2] or "Provider"
    manifest = {"apiVersion": f"{package}/", "kind": kind, **_plain(resource.inputs)}
    return Object({**manifest, "metadata": {"name": resource.name}}, resource.urn)


def _plain(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in inputs.items() if key not in {"kind", "apiVersion", "metadata"}}


def _release(entry: Touched, before: Before) -> Sides:
    old: list[Object] = []
    if entry.old:
        record = before.records.get(f"{entry.old.inputs['namespace']}/{entry.old.inputs['name']}")
        old = released(record, entry.old.urn) if record else _as_deployed(entry.old, before)
        old.append(_release_itself(entry.old))
    new = render(entry.new, before.capabilities, upgrade=entry.engine == "update") if entry.new else []
    if entry.engine == "update":
        old, new = _installed_once(entry, old, new, before)
    if entry.new:
        new.append(_release_itself(entry.new))
    return entry, old, new


def _as_deployed(resource: Resource, before: Before) -> list[Object]:
    try:
        return render(resource, before.capabilities)
    except RenderError as error:
        if "is not there" not in str(error):
            raise
        folder, _, archive = str(resource.inputs["chart"]).rpartition("/")
        raise RenderError(
            f"{error}, and no record of the release can be read from the cluster. Either let this machine reach the "
            f"cluster, or put {archive} into {folder}"
        ) from None


def _release_itself(resource: Resource) -> Object:
    """What a release says beside its values."""
    shown = {name: resource.inputs[name] for name in _RELEASE_SHOWN if name in resource.inputs}
    metadata = {"name": resource.inputs["name"], "namespace": resource.inputs["namespace"]}
    manifest = {"apiVersion": "helm.sh/v3", "kind": "Release", "metadata": metadata, "spec": shown}
    return Object(manifest, resource.urn)


def _installed_once(
    entry: Touched, old: list[Object], new: list[Object], before: Before
) -> tuple[list[Object], list[Object]]:
    """Both sides, with what is in the cluster as before of CRDs that Helm leaves alone at an upgrade."""
    wanted = [found for found in new if found.installed_once]
    old = [found for found in old if not found.installed_once]
    if wanted and before.cluster is None:
        assert entry.old
        old += [found for found in _as_deployed(entry.old, before) if found.installed_once]
    for definition in wanted if before.cluster else ():
        assert before.cluster
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition.key.name}"
        if live := before.cluster.find(path):
            held = projected(live, definition.manifest)
            old.append(replace(definition, manifest=held))
    return old, new
