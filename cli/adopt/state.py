"""After `pulumi import`: lets the state say what the program says, wherever the cluster already agrees.

An import records every field that the API server filled in, so that the next preview would take them all away again,
and replace what can't be changed in place. Here each imported object is compared with the program: when it carries all
that the program declares, its recorded inputs become the program's own, and what it does not declare is left alone.
What differs stays as imported and shows up in the preview.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from cli.manifests import RELEASE, helm_record, is_patch
from cli.program import SECRET, SECRET_MARK, UNKNOWN, Resource

Live = Callable[[Resource], Mapping[str, Any] | None]
"""From a resource to the object in the cluster, None when it is not there."""

AUTONAMED = "pulumi.com/autonamed"
_OWN_ANNOTATIONS = "pulumi.com/"
_RECORDED = "__inputs"  # where the Kubernetes provider keeps the inputs that it compares with
_DATA = ("data", "stringData")


def carries(live: Any, wanted: Any) -> bool:
    """Whether a value has all that is wanted of it; secrets and values that are not known yet count as there."""
    if wanted in (SECRET, UNKNOWN) or (live is None and wanted in ({}, [], "", None)):
        return True
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            key.startswith(_OWN_ANNOTATIONS) or carries(live.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(live, list)
            and len(live) == len(wanted)
            and all(carries(own, entry) for own, entry in zip(live, wanted, strict=True))
        )
    return bool(live == wanted)


def settled(deployment: dict[str, Any], planned: Mapping[str, Resource], live: Live) -> tuple[int, list[str]]:
    """Change an exported deployment in place; the number of resources that agree, and the names of those that do not.

    `planned` holds the program's resources by URN. Patches, which `pulumi import` can't take over, are added where the
    object carries their fields already.
    """
    known = {entry["urn"]: entry for entry in deployment["resources"]}
    agreed, differing = 0, []
    for urn, resource in _with_existing_names(planned, known).items():
        entry = known.get(urn)
        if not resource.type.startswith("kubernetes:") or not (entry or is_patch(resource)):
            continue
        if not _agrees(resource, live):
            differing.append(resource.name)
            continue
        agreed += 1
        if entry:
            inputs = _inputs(entry["inputs"], resource)
            entry["inputs"], entry["protect"] = inputs, resource.protect
            if resource.type == RELEASE:
                entry["outputs"] |= inputs | {_RECORDED: _secret(inputs)}
            else:
                entry["outputs"][_RECORDED] = inputs
        else:
            deployment["resources"].append(_patch(resource, live(resource) or {}, known))
    return agreed, differing


def _secret(value: Any) -> dict[str, str]:
    """A value as `pulumi stack import` takes it to be encrypted; the provider expects so of a release's inputs."""
    return {SECRET_MARK: "1b47061264138c4ac30d75fd1eb44270", "plaintext": json.dumps(value)}


def _with_existing_names(planned: Mapping[str, Resource], known: Mapping[str, Any]) -> dict[str, Resource]:
    """The plan with the names that exist wherever it has made up new ones, and wherever those are referred to."""
    text = json.dumps([asdict(resource) for resource in planned.values()])
    for urn, resource in planned.items():
        if urn in known and _autonamed(resource):
            made_up, existing = resource.inputs["metadata"]["name"], known[urn]["inputs"]["metadata"]["name"]
            text = text.replace(json.dumps(made_up), json.dumps(existing))
    return {entry["urn"]: Resource(**entry) for entry in json.loads(text)}


def _patch(resource: Resource, found: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The state of a patch that is in force. The program reads the object's own status from it, such as addresses."""
    provider = next(entry for entry in known.values() if entry["type"] == "pulumi:providers:kubernetes")
    inputs = resource.inputs
    return {
        "urn": resource.urn,
        "custom": True,
        "id": inputs["metadata"]["name"],
        "type": resource.type,
        "inputs": inputs,
        "outputs": {
            **found,
            **inputs,
            _RECORDED: inputs,
            "__initialApiVersion": inputs["apiVersion"],
            "__fieldManager": inputs["metadata"]["annotations"]["pulumi.com/patchFieldManager"],
        },
        "parent": resource.parent,
        "provider": f"{provider['urn']}::{provider['id']}",
    }


def _agrees(resource: Resource, live: Live) -> bool:
    found = live(resource)
    if found is None:
        return False
    if resource.type == RELEASE:
        return release_agrees(resource, found)
    return carries(found, {key: value for key, value in resource.inputs.items() if key not in _DATA})


def release_agrees(resource: Resource, secret: Mapping[str, Any]) -> bool:
    """Whether Helm's record of a release has the chart and the values of the program."""
    record = helm_record(secret["data"]["release"])
    metadata = record["chart"]["metadata"]
    same_chart = str(resource.inputs["chart"]).endswith(f"/{metadata['name']}-{metadata['version']}.tgz")
    return same_chart and record.get("config") == resource.inputs.get("values")


def _autonamed(resource: Resource) -> bool:
    return AUTONAMED in ((resource.inputs.get("metadata") or {}).get("annotations") or {})


def _inputs(imported: Mapping[str, Any], resource: Resource) -> dict[str, Any]:
    """The program's inputs; of a Secret the imported data, which the next preview compares with the program's."""
    if not resource.type.endswith(":Secret"):
        return dict(resource.inputs)
    inputs = {key: value for key, value in resource.inputs.items() if key not in _DATA}
    return {**inputs, "data": imported.get("data", {})}
