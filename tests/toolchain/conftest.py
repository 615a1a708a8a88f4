"""A PATH, a checkout and environments that cost nothing."""

import os
import shutil
from pathlib import Path

import pytest

from tests.toolchain.fakes import FAKE_GO, FAKE_PROGRAM, PINS, ROOT, script
from toolchain import venvs
from toolchain.console import Progress
from toolchain.layout import Layout


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing but the fakes and the system's basic tools, and a home of its own."""
    folder = tmp_path / "fakes"
    script(folder / "go", FAKE_GO)
    script(folder / "program", FAKE_PROGRAM)
    basics = tmp_path / "basics"
    basics.mkdir()
    for name in ("sh", "cp", "mkdir", "sleep", "echo", "sed"):
        if found := shutil.which(name):
            (basics / name).symlink_to(found)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{basics}")
    monkeypatch.setenv("FAKES", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("ANTON_CACHE", "XDG_CACHE_HOME", "PULUMI_HOME", "FAKE_DOWNLOADS", "CHARTS_DIR"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def layout(tmp_path: Path, fakes: Path) -> Layout:
    """A checkout with the real set-up and pins, go.mod files without content and no Python packages to install."""
    assert fakes.is_dir()
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "toolchain", root / "toolchain", ignore=shutil.ignore_patterns("go.*", "__pycache__"))
    for name, pin in PINS["go"].items():
        (root / "toolchain" / pin.get("folder", name) / "go.mod").write_text(
            "module tool\nrequire github.com/cilium/cilium v1.19.6\n"
        )
    (root / "requirements.txt").write_text("")
    (root / "requirements-dev.txt").write_text("")
    (root / "Pulumi.yaml").write_text("name: anton-network\nruntime: python\n")
    (root / "Pulumi.prod.yaml").write_text("config:\n  anton-network:domain: example.org\n")
    return Layout.of(root, os.environ)


@pytest.fixture
def quick_venvs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Virtual environments are only noted, as (folder, pair)."""
    made: list[tuple[str, str]] = []

    def provide(folder: Path, _layout: Layout, pair: str, _progress: Progress, *, development: bool) -> list[Path]:
        made.append((folder.name, pair))
        programs = ["python", *(["pytest"] if development else [])]
        return [script(folder / "bin" / name, "") for name in programs]

    monkeypatch.setattr(venvs, "provide", provide)
    return made
