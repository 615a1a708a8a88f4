"""Remembers what set-up has done, so that a second run decides at once that nothing is to be done."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolchain.layout import Layout, find_executable, search_path

_REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")


def digest(parts: Iterable[str | bytes]) -> str:
    """Return a short hash over `parts`, in which the borders between parts count."""
    result = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogateescape") if isinstance(part, str) else part  # paths may be no UTF-8
        result.update(b"%d:" % len(data) + data)
    return result.hexdigest()[:16]


def digest_of_files(files: Iterable[Path], *more: str) -> str:
    """Return a hash over names and contents of `files` and over `more`."""
    parts: list[str | bytes] = list(more)
    for file in files:
        parts += [file.name, file.read_bytes()]
    return digest(parts)


def python_version() -> str:
    """Return the version that a virtual environment depends on, such as `3.11`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def files_below(folder: Path) -> list[Path]:
    """Return all files below `folder` that belong to the project, in a stable order."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__")


def all_inputs(layout: Layout, environ: Mapping[str, str]) -> str:
    """Return a hash over everything that set-up's decisions depend on."""
    files = [*files_below(layout.toolchain), *(layout.root / name for name in _REQUIREMENTS)]
    own = own_pulumi(layout, environ)
    return digest_of_files(files, python_version(), str(layout.root), str(layout.shared), own)


def own_pulumi(layout: Layout, environ: Mapping[str, str]) -> str:
    """Return what identifies the pulumi on the user's PATH without running it, or an empty string."""
    pulumi = find_executable("pulumi", search_path(layout, environ))
    if not pulumi:
        return ""
    status = pulumi.stat()
    return f"{pulumi} {status.st_mtime_ns} {status.st_size}"


class Stamp:
    """The record of finished steps and groups, kept in one file of the project's cache."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._data: dict[str, Any] = {"steps": {}, "groups": {}, "pair": ""}
        with suppress(FileNotFoundError, ValueError):  # a first run, or a file cut short: look at each step anew
            self._data.update(json.loads(file.read_bytes()))

    @property
    def pair(self) -> str:
        """The SDK pair in use: `newest`, `fallback` or, when not decided yet, an empty string."""
        return str(self._data["pair"])

    def choose_pair(self, pair: str) -> None:
        """Record the decision for an SDK pair."""
        self._data["pair"] = pair

    def has_group(self, group: str, inputs: str) -> bool:
        """Tell whether `group` was set up for `inputs` and all that it made is still there."""
        return self._holds("groups", group, inputs)

    def has_step(self, step: str, inputs: str) -> bool:
        """Tell whether `step` was done for `inputs` and all that it made is still there."""
        return self._holds("steps", step, inputs)

    def record_step(self, step: str, inputs: str, outputs: Iterable[Path]) -> None:
        """Record that `step` is done for `inputs` and made `outputs`, and save."""
        self._data["steps"][step] = {"inputs": inputs, "outputs": [str(output) for output in outputs]}
        self._save()

    def record_group(self, group: str, inputs: str, steps: Iterable[str]) -> None:
        """Record that all `steps` of `group` are done for `inputs`, and save."""
        outputs = [output for step in steps for output in self._data["steps"][step]["outputs"]]
        self._data["groups"][group] = {"inputs": inputs, "outputs": outputs}
        self._save()

    def _holds(self, kind: str, name: str, inputs: str) -> bool:
        entry = self._data[kind].get(name)
        return bool(entry) and entry["inputs"] == inputs and all(map(os.path.exists, entry["outputs"]))

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(json.dumps(self._data, indent=1), encoding="utf-8")
        unfinished.replace(self._file)
