"""An API server's objects as a whole: every kind that it serves, all that exists, and what it makes of a manifest."""

import base64
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""Every group in one answer."""

PATIENCE_SECONDS = 30

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind as one API version has it. `resource` is its plural with the group, as kubectl prints it."""

    version: str
    name: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]

    @property
    def resource(self) -> str:
        group, slash, _ = self.version.partition("/")
        return f"{self.plural}.{group}" if slash else self.plural

    def path(self, namespace: str | None = None) -> str:
        """Where its objects are, in one namespace or all."""
        root = "/apis" if "/" in self.version else "/api"
        within = f"namespaces/{namespace}/" if namespace and self.namespaced else ""
        return f"{root}/{self.version}/{within}{self.plural}"


@dataclass(frozen=True)
class Answer:
    """What the server made of a manifest: the object (None when it was refused), and what it said against it."""

    stored: Object | None
    complaints: tuple[str, ...]


class Objects:
    """The objects behind a kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        document = yaml.safe_load(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        trust = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        headers = {"Authorization": f"Bearer {user['token']}"}
        self._client = httpx.Client(
            base_url=cluster["server"], verify=trust, headers=headers, timeout=30, trust_env=False
        )
        self._known: dict[tuple[str, str], Kind] = {}

    def kinds(self) -> list[Kind]:
        """Every kind in every version, of a group the preferred version first."""
        groups = [
            group
            for root in ("/api", "/apis")
            for group in self._client.get(root, headers={"Accept": DISCOVERY}).raise_for_status().json()["items"]
        ]
        return [
            Kind(
                version="/".join(filter(None, (group["metadata"].get("name"), version["version"]))),
                name=resource["responseKind"]["kind"],
                plural=resource["resource"],
                namespaced=resource["scope"] == "Namespaced",
                verbs=frozenset(resource["verbs"]),
            )
            for group in groups
            for version in group["versions"]
            for resource in version["resources"]
        ]

    def everything(self) -> dict[str, Object]:
        """All objects of all kinds, by `<resource> <namespace>/<name>`."""
        preferred = {kind.resource: kind for kind in reversed(self.kinds()) if "list" in kind.verbs}
        return {
            f"{resource} {entry['metadata'].get('namespace', '')}/{entry['metadata']['name']}": entry
            for resource, kind in preferred.items()
            for entry in self._list(kind)
        }

    def _list(self, kind: Kind) -> list[Object]:
        """All objects of a kind. A kind that was defined a moment ago is not served at once (429)."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (answer := self._client.get(kind.path())).status_code == httpx.codes.TOO_MANY_REQUESTS:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.2)
        found: list[Object] = answer.raise_for_status().json()["items"]
        return found

    def dry_run(self, text: str, namespace: str) -> Answer:
        """Apply a manifest (YAML) without storing it, every field it has by force; `namespace` is for one without."""
        manifest = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - the safe loader, in C
        metadata = manifest["metadata"]
        path = self._kind(manifest).path(metadata.get("namespace", namespace)) + f"/{metadata['name']}"
        return self._try("PATCH", path, text, force="true", fieldManager="dry-run")

    def dry_run_pod(self, template: Object, namespace: str) -> Answer:
        """Create a pod of a template without storing it: what the namespace's Pod Security levels say of it."""
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "dry-run-"}, "spec": template["spec"]}
        return self._try("POST", f"/api/v1/namespaces/{namespace}/pods", yaml.safe_dump(pod))

    def _kind(self, manifest: Object) -> Kind:
        wanted = manifest["apiVersion"], manifest["kind"]
        if wanted not in self._known:
            self._known = {(kind.version, kind.name): kind for kind in self.kinds()}
        return self._known[wanted]

    def _try(self, method: str, path: str, text: str, **query: str) -> Answer:
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/yaml"
        query |= {"dryRun": "All", "fieldValidation": "Strict"}
        answer = self._client.request(method, path, content=text, params=query, headers={"Content-Type": kind})
        warnings = answer.headers.get_list("Warning")
        if answer.is_error:
            return Answer(None, (answer.json()["message"], *warnings))
        return Answer(answer.json(), tuple(warnings))
