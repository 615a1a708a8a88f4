"""How tools are built: with the same flags for all, from modules as they are but for the files that are replaced."""

import os
import shutil
from pathlib import Path

import pytest

from tests.toolchain.fakes import PINS, progress_of, set_up, tool
from toolchain import cilium, gobuild
from toolchain.gobuild import GoTool
from toolchain.layout import Layout

pytestmark = pytest.mark.unit


def test_a_file_is_replaced_in_a_copy_of_its_module_which_go_is_told_to_use(layout: Layout, fakes: Path) -> None:
    plugin = tool("pulumi-resource-kubernetes")
    (replaced,) = plugin.replaced_files
    gobuild.provide(plugin, layout, progress_of(layout))
    compiled = fakes / "compiled" / replaced.module / replaced.path
    assert compiled.read_text() == (layout.toolchain / plugin.folder / replaced.by).read_text()
    assert (fakes / "module" / replaced.path).read_text() == "package v2\n", "Go's own cache stays as it is"
    assert f"-replace={replaced.module}=./replaced/{replaced.module}" in (fakes / "edits").read_text()
    assert not list(layout.tools.glob(".building-*"))


def test_another_replacement_is_another_build(layout: Layout) -> None:
    plugin = tool("pulumi-resource-kubernetes")
    before = plugin.inputs(layout)
    file = layout.toolchain / plugin.folder / plugin.replaced_files[0].by
    file.write_text(f"{file.read_text()}// changed\n")
    assert plugin.inputs(layout) != before


@pytest.mark.usefixtures("quick_venvs")
def test_all_tools_are_compiled_with_the_same_flags(layout: Layout, fakes: Path) -> None:
    set_up(layout, "preview", "cluster")
    wanted = [f"-gcflags={flags}" for flags in PINS["compiler"]["flags"]]
    calls = (fakes / "calls").read_text().splitlines()
    assert len(calls) == 6
    for call in calls:
        assert " ".join(wanted) in call


def test_other_flags_are_another_build(layout: Layout) -> None:
    one, other = (GoTool.from_pin("helm", PINS["go"]["helm"], [flags]) for flags in ("all=-l", "all=-N"))
    assert one.inputs(layout) != other.inputs(layout)


@pytest.mark.parametrize(
    ("gigabytes", "cores", "own", "wanted"),
    [
        (24, 2, None, f"off {3 << 30}"),
        (16, 8, None, "400 "),
        (8, 2, None, " "),
        (24, 2, "50", "50 "),
    ],
)
def test_memory_decides_how_the_compiler_collects_garbage(
    layout: Layout,
    fakes: Path,
    monkeypatch: pytest.MonkeyPatch,
    gigabytes: int,
    cores: int,
    own: str | None,
    wanted: str,
) -> None:
    monkeypatch.delenv("GOMEMLIMIT", raising=False)
    monkeypatch.delenv("GOGC", raising=False)
    if own:
        monkeypatch.setenv("GOGC", own)
    monkeypatch.setattr(gobuild, "_memory_bytes", lambda: gigabytes << 30)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    gobuild.provide(tool("helm"), layout, progress_of(layout))
    assert (fakes / "calls").read_text().startswith(f"{wanted} build ")


def test_ciliums_definitions_are_one_stream_from_its_module(layout: Layout) -> None:
    (file,) = cilium.provide(layout, progress_of(layout))
    assert file.read_text() == "---\nname: one\n---\nname: two\n"
    assert file == layout.cilium_definitions


def test_a_second_checkout_needs_no_module_for_ciliums_definitions(layout: Layout, fakes: Path, tmp_path: Path) -> None:
    cilium.provide(layout, progress_of(layout))
    other = tmp_path / "other"
    shutil.copytree(layout.root, other, ignore=shutil.ignore_patterns(".cache"))
    shutil.rmtree(fakes / "module")
    (fakes / "go").unlink()
    (file,) = cilium.provide(Layout.of(other, os.environ), progress_of(layout))
    assert file.samefile(layout.cilium_definitions)
