"""Renders the real charts with the program's values, so that a test can look at the objects a cluster would get.

The charts accept unknown keys in silence: what matters is the manifests, not the values.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.cilium.network import CiliumNetworkArgs, cilium_values
from components.nginx import NginxIngressArgs, nginx_values
from settings.charts.model import CHART_VERSIONS
from settings.ingress import release_name
from settings.stack import Settings
from tests.support.configs import PROJECT, charts_folder

Manifest = Mapping[str, Any]

CLASSES = ("external", "internal")
"""The shipped ingress classes with a controller each."""

# The safe loader in C, ten times faster; a PyYAML built without libyaml does not have it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RenderError(Exception):
    """The chart refused the values; the text is helm's message."""


@dataclass(frozen=True)
class Manifests:
    """The objects of one rendering. They are shared between tests: read only."""

    objects: tuple[Manifest, ...]
    text: str

    def __iter__(self) -> Iterator[Manifest]:
        return iter(self.objects)

    def of(self, kind: str) -> list[Manifest]:
        """All objects of a kind."""
        return [manifest for manifest in self.objects if manifest["kind"] == kind]

    def names(self, kind: str) -> set[str]:
        """The names of all objects of a kind."""
        return {manifest["metadata"]["name"] for manifest in self.of(kind)}

    def get(self, kind: str, name: str) -> Manifest:
        """The one object of that kind and name."""
        found = [manifest for manifest in self.of(kind) if manifest["metadata"]["name"] == name]
        if len(found) != 1:
            existing = ", ".join(sorted(f"{each['kind']}/{each['metadata']['name']}" for each in self.objects))
            raise AssertionError(
                f"{len(found)} objects {kind}/{name} were rendered, expected one; there are: {existing}"
            )
        return found[0]

    def pod(self, kind: str, name: str) -> Manifest:
        """The pod spec of a workload."""
        spec: Manifest = self.get(kind, name)["spec"]["template"]["spec"]
        return spec

    def container(self, kind: str, name: str, container: str) -> Manifest:
        """One container of a workload, init containers included."""
        pod = self.pod(kind, name)
        containers = {each["name"]: each for each in [*pod.get("initContainers", []), *pod["containers"]]}
        assert container in containers, f"{kind}/{name} has no container {container}, only {sorted(containers)}"
        found: Manifest = containers[container]
        return found

    def data(self, config_map: str) -> Mapping[str, str]:
        """The entries of a ConfigMap."""
        data: Mapping[str, str] = self.get("ConfigMap", config_map)["data"]
        return data


def helm() -> Path:
    """The helm binary: the user's own, else the one that the project built. Skips the test when there is neither."""
    local = PROJECT / ".cache/bin/helm"
    found = shutil.which("helm") or (str(local) if local.is_file() else None)
    if found is None:
        pytest.skip(f"no helm on PATH and none at {local.relative_to(PROJECT)}: charts can't be rendered")
    return Path(found)


def chart_archive(name: str, version: str | None = None) -> Path:
    """The archive of a chart, by default at the version that the program deploys. Skips the test without it."""
    folder = charts_folder()
    if folder is None:
        pytest.skip("no charts on this machine: set CHARTS_DIR to a folder with the .tgz files")
    archive = folder / f"{name}-{version or CHART_VERSIONS[name]}.tgz"
    if not archive.is_file():
        pytest.skip(f"{archive.name} is not in CHARTS_DIR")
    return archive


@dataclass(frozen=True)
class Capabilities:
    """What the cluster is said to offer: its version, and APIs beyond those of Kubernetes itself."""

    kube_version: str = "1.33.4"
    api_versions: tuple[str, ...] = ("monitoring.coreos.com/v1",)


CLUSTER = Capabilities()
"""The specified cluster, with the Prometheus operator in it."""

BARE_CLUSTER = Capabilities(api_versions=())
"""The same before anything is installed."""


def render(
    archive: Path,
    release: str,
    namespace: str,
    values: Mapping[str, Any],
    capabilities: Capabilities = CLUSTER,
    *,
    fresh: bool = False,
) -> Manifests:
    """The manifests of a release, hooks included. Identical calls render once, unless `fresh`. Raises RenderError."""
    call = _rendered.__wrapped__ if fresh else _rendered
    return call(archive, release, namespace, json.dumps(values, sort_keys=True), capabilities)


def helm_template(archive: Path, release: str, namespace: str, values: str, capabilities: Capabilities) -> str:
    """The manifests of a release as text, rendered anew; `values` is JSON. Raises RenderError."""
    command = [str(helm()), "template", release, str(archive), "--namespace", namespace, "--values", "-"]
    command += ["--kube-version", capabilities.kube_version]
    for api_version in capabilities.api_versions:
        command += ["--api-versions", api_version]
    # A user's helm settings (plugins, a kube context) have no say here.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HELM_")}
    result = subprocess.run(command, input=values, capture_output=True, text=True, check=False, env=environment)
    if result.returncode != 0:
        raise RenderError(result.stderr.strip())
    return result.stdout


@cache
def _rendered(archive: Path, release: str, namespace: str, values: str, capabilities: Capabilities) -> Manifests:
    text = helm_template(archive, release, namespace, values, capabilities)
    documents = yaml.load_all(text, Loader=_Loader)
    return Manifests(tuple(document for document in documents if document), text)


def render_cilium(
    settings: Settings, capabilities: Capabilities = CLUSTER, *, version: str | None = None, fresh: bool = False
) -> Manifests:
    """The Cilium release of these settings."""
    values = cilium_values(CiliumNetworkArgs.of(settings))
    return render(chart_archive("cilium", version), "cilium", "kube-system", values, capabilities, fresh=fresh)


def render_nginx(
    settings: Settings, ingress_class: str, capabilities: Capabilities = CLUSTER, *, fresh: bool = False
) -> Manifests:
    """The ingress-nginx release of a class."""
    values = nginx_values(NginxIngressArgs.of(settings, ingress_class, namespace=settings.ingress.namespace))
    archive, release = chart_archive("ingress-nginx"), release_name(ingress_class)
    return render(archive, release, settings.ingress.namespace, values, capabilities, fresh=fresh)
