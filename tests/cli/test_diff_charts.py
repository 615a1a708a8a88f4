"""`anton diff` of releases: charts rendered before and after, Helm's records, CRDs."""

import base64
import gzip
import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.diff.objects import Comparison, compare
from cli.diff.show import lines
from cli.diff.sides import Before
from cli.manifests import RELEASE, RenderError
from cli.program import Change, Plan, Resource
from tests.support.rendering import helm

pytestmark = pytest.mark.render


def compared(*changes: Change, before: Before | None = None) -> Comparison:
    """The differences of a plan with these steps."""
    return compare("test", Plan(changes), before or Before(), nodes=3)


CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "spec": {"group": "example.org", "scope": "Namespaced"},
}


def definition(kind: str, description: str = "", annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A CRD that an API server accepts."""
    names = {"kind": kind, "plural": f"{kind.lower()}s", "singular": kind.lower(), "listKind": f"{kind}List"}
    schema = {"openAPIV3Schema": {"type": "object", "description": description or kind}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {**CRD["spec"], "names": names, "versions": [version]}  # type: ignore[dict-item]
    return {**CRD, "metadata": {"name": f"{kind.lower()}s.example.org", "annotations": annotations}, "spec": spec}


def widgets(folder: Path, version: str) -> Resource:
    """A release of a chart with three CRDs in version 1.0.0, and in 2.0.0 only the one of its crds folder."""
    keep = {"helm.sh/resource-policy": "keep"}
    note = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note"}, "data": {"version": version}}
    files = {
        "Chart.yaml": {"apiVersion": "v2", "name": "widgets", "version": version},
        "crds/once.yaml": definition("Once", f"of {version}"),
        "templates/note.yaml": note,
    }
    if version == "1.0.0":
        files |= {
            "templates/gone.yaml": definition("Gone"),
            "templates/kept.yaml": definition("Kept", annotations=keep),
        }
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for path, document in files.items():
            data = yaml.safe_dump(document).encode()
            info = tarfile.TarInfo(f"widgets/{path}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    archive = folder / f"widgets-{version}.tgz"
    archive.write_bytes(gzip.compress(content.getvalue(), mtime=0))  # the same bytes, so that renderings are kept
    inputs = {"name": "widgets", "namespace": "default", "chart": str(archive), "version": version, "values": {}}
    return Resource("urn:pulumi:test::network::release::widgets", RELEASE, inputs)


@pytest.fixture
def charts(tmp_path: Path) -> Callable[[str], Resource]:
    """Releases of the chart by version."""
    helm()
    return partial(widgets, tmp_path)


def test_chart_that_removes_a_crd(charts: Callable[[str], Resource]) -> None:
    comparison = compared(Change("update", charts("1.0.0"), charts("2.0.0"), ("version",)))
    found = {each.key.name: each for each in comparison.differences}
    assert {name.partition(".")[0]: each.operation for name, each in found.items()} == {
        "gones": "removed",
        "kepts": "kept",
        "onces": "not updated",
        "note": "changed",
        "widgets": "changed",
    }
    assert [danger.rule for danger in found["gones.example.org"].dangers] == ["crd-removed"]
    assert [danger.rule for danger in found["onces.example.org"].dangers] == ["crd-not-updated"]
    text = "\n".join(line.plain for line in lines(comparison))
    assert "! CustomResourceDefinition gones.example.org  all objects of its kind are deleted with it" in text
    assert "capabilities: default" in text


def test_record_of_helm_is_what_counts_as_before(charts: Callable[[str], Resource]) -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note"}, "data": {"version": "by hand"}}
    release = {"manifest": json.dumps(manifest), "namespace": "default"}
    record = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode()))).decode()
    before = Before(records={"default/widgets": record})
    comparison = compared(Change("update", charts("2.0.0"), charts("2.0.0"), ("timeout",)), before=before)
    (note,) = [each for each in comparison.differences if each.key.name == "note"]
    assert [(field.before, field.after) for field in note.fields] == [("by hand", "2.0.0")]


def test_chart_of_then_that_is_gone_is_named_with_its_remedy(charts: Callable[[str], Resource]) -> None:
    old = charts("1.0.0")
    Path(str(old.inputs["chart"])).unlink()
    with pytest.raises(
        RenderError, match=rf"put widgets-1\.0\.0\.tgz into {re.escape(str(Path(str(old.inputs['chart'])).parent))}"
    ):
        compared(Change("update", old, charts("2.0.0")))
