"""Makes the project's virtual environments."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from toolchain import SetupError
from toolchain.console import Progress
from toolchain.layout import Layout
from toolchain.stamp import digest_of_files, python_version

FALLBACK_CONSTRAINTS = "constraints-4.25.0.txt"


def check_python() -> None:
    """Raise SetupError if this Python can't make virtual environments."""
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise SetupError(
            f"{sys.executable} lacks the modules venv and ensurepip. On Debian and Ubuntu: apt install python3-venv"
        )


def inputs(layout: Layout, pair: str, *, development: bool) -> str:
    """Return a hash over all that decides what is installed."""
    files = [*_requirements(layout, development=development), *_constraints(layout, pair)]
    return digest_of_files(files, python_version())


def provide(folder: Path, layout: Layout, pair: str, progress: Progress, *, development: bool) -> list[Path]:
    """Install what is required, with the SDKs of `pair`, into the virtual environment `folder`, made if needed.

    Returns what must be there for as long as the inputs stay the same. An environment whose last installation was
    not finished, or that another Python made, is made anew.
    """
    complete = folder / ".complete"
    progress.doing("installing Python packages (usually 1 min)")
    if not complete.exists() or complete.read_text() != python_version():
        shutil.rmtree(folder, ignore_errors=True)
        progress.run([sys.executable, "-m", "venv", folder])
    complete.unlink(missing_ok=True)
    arguments: list[str | Path] = ["--upgrade"]
    for file in _requirements(layout, development=development):
        arguments += ["--requirement", file]
    for constraint in _constraints(layout, pair):
        arguments += ["--constraint", constraint]
    pip = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    progress.run([*pip, "install", "--quiet", *arguments])
    complete.write_text(python_version())
    return [complete, folder / "bin/python", *([folder / "bin/pytest"] if development else [])]


def _requirements(layout: Layout, *, development: bool) -> list[Path]:
    names = ["requirements.txt", "requirements-dev.txt"] if development else ["requirements.txt"]
    return [layout.root / name for name in names]


def _constraints(layout: Layout, pair: str) -> list[Path]:
    return [layout.toolchain / FALLBACK_CONSTRAINTS] if pair == "fallback" else []
