"""What the API server makes of every object of the shipped stack, field by field, and of every pod."""

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from tests.support.api_objects import Objects
from tests.support.control_plane import ControlPlane
from tests.support.engine import Stack

pytestmark = pytest.mark.cluster

SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - how Pulumi marks a secret in a state that is exported
QUANTITY = re.compile(r"[0-9.]+(m|k|[KMGT]i?)?$")

Manifests = dict[str, tuple[str, str]]
"""What was sent: namespace and YAML by a name to show."""


@pytest.fixture(scope="module")
def objects(cluster: ControlPlane) -> Objects:
    return Objects(cluster.kubeconfig)


@pytest.fixture(scope="module")
def of_releases(stack: Stack, cluster: ControlPlane) -> Manifests:
    """Every manifest that Helm sent, hooks and the CRDs beside the templates included, as its records have them."""
    return dict(_of_releases(cluster))


def _of_releases(cluster: ControlPlane) -> Iterator[tuple[str, tuple[str, str]]]:
    for secret in cluster.get("/api/v1/secrets?fieldSelector=type%3Dhelm.sh/release.v1")["items"]:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        release = json.loads(gzip.decompress(packed))
        files = release["chart"].get("files") or []
        beside = [base64.b64decode(file["data"]).decode() for file in files if is_crd(file["name"])]
        hooks = [hook["manifest"] for hook in release.get("hooks") or []]
        for stream in [release["manifest"], *hooks, *beside]:
            for text in re.split(r"^---\s*$", stream, flags=re.MULTILINE):
                if manifest := loaded(text):
                    name = f"{release['name']}: {manifest['kind']} {manifest['metadata']['name']}"
                    yield name, (release["namespace"], text)


def loaded(text: str) -> Any:
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - the safe loader, in C


def is_crd(file: str) -> bool:
    return file.startswith("crds/") and file.endswith((".yaml", ".yml"))


@pytest.fixture(scope="module")
def of_program(stack: Stack) -> Manifests:
    """Every manifest that the program itself sent, patches included; secrets are opened, in memory alone."""
    exported = json.loads(stack.run("stack", "export", "--show-secrets", "--stack", "test").stdout)
    return {
        resource["urn"].rsplit("::", 1)[1]: ("default", json.dumps(manifest_of(resource)))
        for resource in exported["deployment"]["resources"]
        if resource["type"].startswith("kubernetes:") and not resource["type"].endswith(":Release")
    }


def manifest_of(resource: Mapping[str, Any]) -> Any:
    """The object behind a resource's inputs. Those of a patch name the kind that it patches."""
    manifest = opened(resource["inputs"])
    metadata = manifest["metadata"]
    metadata.get("annotations", {}).pop("pulumi.com/autonamed", None)
    if metadata.get("namespace") == "default":  # the provider's word for none, where it had no definition at hand
        del metadata["namespace"]
    return manifest


def opened(value: Any) -> Any:
    """The value with its secrets in the clear, and without Pulumi's own notes."""
    match value:
        case {"plaintext": str() as text} if SECRET in value.values():
            return opened(json.loads(text))
        case dict():
            return {key: opened(item) for key, item in value.items() if not key.startswith("__")}
        case list():
            return [opened(item) for item in value]
    return value


def missing(sent: Any, stored: Any, path: str = "") -> list[str]:
    """The paths of what was sent and is not stored, or not the same. Null is not sent, and zero need not be stored."""
    match sent, stored:
        case dict(), dict():
            return [fault for key in sent for fault in missing(sent[key], stored.get(key), f"{path}.{key}")]
        case list(), list() if len(sent) == len(stored):
            return [fault for i, item in enumerate(sent) for fault in missing(item, stored[i], f"{path}[{i}]")]
        case dict(), None:
            return [fault for key in sent for fault in missing(sent[key], None, f"{path}.{key}")]
    same = sent is None or sent == stored or (not sent and stored is None) or is_same_quantity(sent, stored)
    return [] if same else [f"{path}: {sent!r} became {stored!r}"]


def is_same_quantity(sent: Any, stored: Any) -> bool:
    """A number where a quantity is due is stored as text."""
    return isinstance(stored, str) and QUANTITY.match(stored) is not None and str(sent) == stored


def judged(manifests: Manifests, objects: Objects) -> dict[str, list[str]]:
    """What the server says against each manifest, and which of its fields are not stored."""
    found = {}
    for name, (namespace, text) in manifests.items():
        answer, sent = objects.dry_run(text, namespace), loaded(text)
        if "stringData" in sent:  # is stored as `data`
            plain = sent.pop("stringData")
            sent["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        lost = missing(sent, answer.stored) if answer.stored else []
        found[name] = [*answer.complaints, *lost]
    return {name: faults for name, faults in found.items() if faults}


def test_every_object_of_a_release_is_stored_as_it_was_sent(of_releases: Manifests, objects: Objects) -> None:
    """Helm sends without strict validation: a misspelt field would be dropped in silence."""
    assert len(of_releases) > 150
    kinds = {name.split()[1] for name in of_releases}
    assert {"ValidatingWebhookConfiguration", "ClusterRole", "CustomResourceDefinition", "Job", "DaemonSet"} <= kinds
    assert judged(of_releases, objects) == {}


def test_every_object_of_the_program_is_stored_as_it_was_sent(of_program: Manifests, objects: Objects) -> None:
    assert len(of_program) > 40
    assert judged(of_program, objects) == {}


def test_every_pod_is_admitted_where_it_runs_without_a_warning(
    stack: Stack, of_releases: Manifests, of_program: Manifests, objects: Objects
) -> None:
    """Under the namespaces' Pod Security levels. Pods of hooks are among them, which run for seconds only."""
    workloads = {
        name: (namespace, manifest)
        for name, (namespace, text) in (of_releases | of_program).items()
        if (manifest := loaded(text))["kind"] in {"Deployment", "DaemonSet", "Job"}
    }
    assert len(workloads) > 15
    for name, (namespace, manifest) in workloads.items():
        template = manifest["spec"]["template"]
        template["spec"].pop("serviceAccountName", None)  # that of a hook is gone by now
        answer = objects.dry_run_pod(template, manifest["metadata"].get("namespace", namespace))
        assert answer.complaints == (), name
