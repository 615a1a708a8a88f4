"""The Kubernetes objects behind resources: those that the program declares, and those that its releases render to."""

import base64
import gzip
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cli.program import PROJECT, Resource

RELEASE = "kubernetes:helm.sh/v3:Release"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, ten times faster


class RenderError(Exception):
    """Helm could not render a release; the text says which and why."""


@dataclass(frozen=True)
class Capabilities:
    """What a cluster offers, as charts ask for it: its version and its API versions beyond Kubernetes' own."""

    kube_version: str = "1.33.4"
    api_versions: tuple[str, ...] = ("monitoring.coreos.com/v1",)


@dataclass(frozen=True, order=True)
class Key:
    """What names an object in a cluster; the namespace is empty for objects of the whole cluster."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {place}{self.name}"


@dataclass(frozen=True)
class Object:
    """One Kubernetes object and the resource (URN) that brings it.

    A `hook` exists while Helm installs or upgrades; what is `installed_once` lies in the chart's crds folder, which
    Helm reads at installation only.
    """

    manifest: Mapping[str, Any]
    origin: str
    hook: bool = False
    installed_once: bool = False

    @property
    def key(self) -> Key:
        """Its name in the cluster. The API group stands for all its versions."""
        metadata = self.manifest.get("metadata") or {}
        kind = self.manifest["kind"]
        group = self.manifest["apiVersion"].rpartition("/")[0]
        namespace = "" if cluster_wide(kind) else metadata.get("namespace") or ""
        return Key(group, kind, namespace, metadata.get("name") or "")


def objects(resources: Iterable[Resource], capabilities: Capabilities | None = None) -> list[Object]:
    """Every object that these resources stand for; releases are rendered side by side.

    Raises RenderError when a chart is not there or refuses its values.
    """
    known = list(resources)
    releases = [resource for resource in known if resource.type == RELEASE]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rendered = [*pool.map(lambda release: render(release, capabilities or Capabilities()), releases)]
    found = [Object(resource.inputs, resource.urn) for resource in known if is_object(resource)]
    return found + [entry for entries in rendered for entry in entries]


def is_object(resource: Resource) -> bool:
    """Whether a resource is one object in a cluster: neither a release nor a patch of what others own."""
    return (
        resource.type.startswith("kubernetes:")
        and resource.type != RELEASE
        and not is_patch(resource)
        and "kind" in resource.inputs
    )


def is_patch(resource: Resource) -> bool:
    """Whether a resource sets fields of an object that somebody else owns."""
    return resource.type.startswith("kubernetes:") and resource.type.endswith("Patch")


def render(release: Resource, capabilities: Capabilities, *, upgrade: bool = False) -> list[Object]:
    """The objects of one release, CRDs and hooks included; kept by digest, as rendering takes up to a second.

    `upgrade` tells the chart that the release exists already. Raises RenderError.
    """
    inputs = release.inputs
    chart = PROJECT / str(inputs["chart"])
    if not chart.exists():
        raise RenderError(f"release {inputs['name']}: its chart {inputs['chart']} is not there")
    question = [inputs["name"], inputs["namespace"], inputs.get("values") or {}, upgrade, "crds apart"]
    digest = hashlib.sha256(chart.read_bytes())
    digest.update(json.dumps([question, capabilities.kube_version, capabilities.api_versions]).encode())
    kept = PROJECT / ".cache/renderings" / f"{digest.hexdigest()}.json"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        documents = {
            "manifests": _template(chart, inputs, capabilities, upgrade=upgrade),
            "crds": _documents(_helm(str(inputs["name"]), "show", "crds", str(chart))),
        }
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(documents, default=str))
        part.rename(kept)
    documents = json.loads(kept.read_text())
    crds = [] if inputs.get("skipCrds") else documents["crds"]
    return [Object(crd, release.urn, installed_once=True) for crd in crds] + [
        _object(manifest, inputs["namespace"], release.urn) for manifest in documents["manifests"]
    ]


def helm_record(record: str) -> dict[str, Any]:
    """What Helm keeps of a release (chart, config, manifest, hooks): `release` in the data of the Secret it made."""
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(record))))
    return found


def released(record: str, origin: str) -> list[Object]:
    """The objects of a release as Helm recorded it: `release` in the data of its Secret `sh.helm.release.v1.NAME.vN`.

    Custom resource definitions from the chart's crds folder are not in it: Helm installs them and forgets them.
    """
    release = helm_record(record)
    documents = _documents(release["manifest"])
    for hook in release.get("hooks") or []:
        documents += _documents(hook["manifest"])
    return [_object(manifest, release["namespace"], origin) for manifest in documents]


def _object(manifest: dict[str, Any], namespace: str, origin: str) -> Object:
    return Object(_placed(manifest, namespace), origin, "helm.sh/hook" in _annotations(manifest))


def _template(
    chart: Path, inputs: Mapping[str, Any], capabilities: Capabilities, *, upgrade: bool
) -> list[dict[str, Any]]:
    arguments = [inputs["name"], str(chart), "--namespace", inputs["namespace"], "--values", "-"]
    arguments += ["--kube-version", capabilities.kube_version]
    arguments += [f"--api-versions={version}" for version in capabilities.api_versions]
    if upgrade:
        arguments.append("--is-upgrade")
    return _documents(_helm(inputs["name"], "template", *arguments, stdin=json.dumps(inputs.get("values") or {})))


def _helm(release: str, *arguments: str, stdin: str = "") -> str:
    program = shutil.which("helm") or str(PROJECT / ".cache/bin/helm")
    try:
        done = subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RenderError("helm is not on the PATH; `./anton` sets it up") from None
    if done.returncode:
        raise RenderError(f"release {release}: {done.stderr.strip()}")
    return done.stdout


def _documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.load_all(text, Loader=_LOADER) if document]


_CLUSTER_KINDS = {
    "APIService",
    "ClusterIssuer",
    "ClusterRole",
    "ClusterRoleBinding",
    "Connector",
    "CustomResourceDefinition",
    "GatewayClass",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "ProxyClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
}


_NAMESPACED = {
    "CiliumEndpoint",
    "CiliumEnvoyConfig",
    "CiliumGatewayClassConfig",
    "CiliumLocalRedirectPolicy",
    "CiliumNetworkPolicy",
    "CiliumNodeConfig",
}
"""Kinds of a namespace whose names begin as those of the whole cluster do."""


def cluster_wide(kind: str) -> bool:
    """Whether objects of a kind belong to no namespace, as far as charts and this stack have such kinds."""
    return kind in _CLUSTER_KINDS or (kind.startswith(("Cilium", "Cluster")) and kind not in _NAMESPACED)


def _placed(manifest: dict[str, Any], namespace: str) -> dict[str, Any]:
    """With the release's namespace where the chart left it out and the kind has one, as Helm places it."""
    if cluster_wide(manifest["kind"]):
        return manifest
    metadata = {"namespace": namespace, **(manifest.get("metadata") or {})}
    return {**manifest, "metadata": metadata}


def _annotations(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    return (manifest.get("metadata") or {}).get("annotations") or {}
