"""The pins: one version in every file that names it."""

import re
from pathlib import Path

import pytest

from tests.toolchain.fakes import PINS, ROOT, progress_of, script, tool
from toolchain import engine, gobuild, venvs
from toolchain.gobuild import GoTool
from toolchain.layout import Layout

pytestmark = pytest.mark.unit


def test_pins_requirements_and_constraints_name_the_same_versions() -> None:
    pair = PINS["plugin"]["kubernetes"]
    requirements = (ROOT / "requirements.txt").read_text()
    for cloud in ("cloudflare", "tailscale"):
        assert f"pulumi-{cloud}=={PINS['plugin'][cloud]['version']}\n" in requirements
    constraints = (ROOT / "toolchain" / venvs.FALLBACK_CONSTRAINTS).read_text()
    assert f"pulumi-kubernetes>={pair['fallback']},<={pair['newest']}\n" in requirements
    assert f"pulumi-kubernetes=={pair['fallback']}\n" in constraints
    assert PINS["go"]["pulumi-resource-kubernetes"]["version"] == pair["fallback"]
    assert f"pulumi=={PINS['go']['pulumi']['version']}\n" in constraints


@pytest.mark.parametrize("name", sorted(PINS["go"]))
def test_each_tool_has_its_module_pinned_with_checksums(name: str) -> None:
    pinned = tool(name)
    folder = ROOT / "toolchain" / pinned.folder
    assert (folder / "go.sum").stat().st_size > 0
    module = (folder / "go.mod").read_text()
    for package in pinned.packages:
        assert package == "." or f"{package}\n" in module, f"{package} is not a tool of {folder}/go.mod"
    for file in pinned.module_files:
        assert f"{file.module} v" in (ROOT / "toolchain" / file.folder / "go.mod").read_text()
    for replaced in pinned.replaced_files:
        assert f"{replaced.module} v" in module
        assert (folder / replaced.by).is_file()


def test_a_tool_is_rebuilt_for_another_go_and_for_other_flags(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder_for(helm: GoTool) -> str:
        return gobuild.provide(helm, layout, progress_of(layout)).name

    first = folder_for(tool("helm"))
    assert folder_for(tool("helm")) == first
    changed = GoTool.from_pin("helm", {**PINS["go"]["helm"], "ldflags": "-X a=b"})
    assert folder_for(changed) != first
    monkeypatch.setattr(gobuild, "find_go", lambda: "go1.27.0")
    assert folder_for(tool("helm")) != first


def test_pulumi_that_hangs_or_is_no_program_has_no_version(tmp_path: Path, fakes: Path) -> None:
    assert fakes.is_dir()
    assert engine.version_of(tmp_path / "absent") is None
    assert engine.version_of(script(tmp_path / "pulumi", "#!/bin/sh\necho v3.259.0; exit 1\n")) is None
    assert engine.version_of(script(tmp_path / "other", "#!/bin/sh\necho v3.259.0\n")) == (3, 259, 0)


def versions(folder: str) -> dict[str, str]:
    """The modules that a go.mod requires, with their versions."""
    text = (ROOT / "toolchain" / folder / "go.mod").read_text()
    return dict(re.findall(r"^(?:require )?\s*(\S+\.\S+) (v\S+)", text, re.MULTILINE))


def test_the_plugin_shares_with_the_engine_what_both_compile() -> None:
    """Its Kubernetes libraries are its own: those of its release."""
    own, others = versions("pulumi-resource-kubernetes"), versions("tools")
    shared = [
        name for name in own if name.startswith(("github.com/pulumi/pulumi/", "golang.org/x/", "google.golang.org/"))
    ]
    assert {name: own[name] for name in shared} == {name: others[name] for name in shared if name in others}
    assert len(shared) > 10
