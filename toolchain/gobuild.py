"""Builds pinned tools from their Go modules into the user's cache folder, which all checkouts share."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from toolchain import SetupError
from toolchain.console import Progress, exclusive
from toolchain.layout import Layout
from toolchain.stamp import digest, digest_of_files, files_below

_MINIMUM_GO = (1, 26)
_AMPLE_MEMORY_BYTES = 12 << 30
_LIMIT_BYTES = 3 << 30


@dataclass(frozen=True)
class ModuleFile:
    """A file that a build takes from a module which the go.mod in `folder` pins."""

    folder: str
    module: str
    path: str
    beside: str


@dataclass(frozen=True)
class ReplacedFile:
    """A file of a module in whose place a build takes `by`, a file of the tool's folder."""

    module: str
    path: str
    by: str


@dataclass(frozen=True)
class GoTool:
    """One table `go.<name>` of pins.toml."""

    name: str
    version: str
    packages: tuple[str, ...]
    usual: str
    folder: str
    ldflags: str = ""
    gcflags: tuple[str, ...] = ()
    module_files: tuple[ModuleFile, ...] = ()
    replaced_files: tuple[ReplacedFile, ...] = ()

    @classmethod
    def from_pin(cls, name: str, pin: Mapping[str, Any], gcflags: Sequence[str] = ()) -> GoTool:
        """Return the tool that the table `pin` of pins.toml describes; `gcflags` are those of all tools."""
        return cls(
            name=name,
            version=pin["version"],
            packages=tuple(pin["packages"]),
            usual=pin["usual"],
            folder=pin.get("folder", name),
            ldflags=pin.get("ldflags", "").format(version=pin["version"]),
            gcflags=tuple(gcflags),
            module_files=tuple(ModuleFile(**file) for file in pin.get("module_files", ())),
            replaced_files=tuple(ReplacedFile(**file) for file in pin.get("replaced_files", ())),
        )

    @property
    def binaries(self) -> tuple[str, ...]:
        """The names of the programs that the tool consists of."""
        if len(self.packages) == 1:
            return (self.name,)
        return tuple(package.rsplit("/", 1)[-1] for package in self.packages)

    @property
    def executables(self) -> tuple[str, ...]:
        """The names of all executable files: the programs and the scripts beside them."""
        scripts = [Path(file.path).name for file in self.module_files if file.beside == "binary"]
        return (*self.binaries, *scripts)

    def inputs(self, layout: Layout) -> str:
        """Return a hash over all that decides what is built, except the Go version."""
        return digest_of_files(files_below(layout.toolchain / self.folder), repr(replace(self, usual="")))


def find_go() -> str:
    """Return the version of the Go that builds would use.

    Raises SetupError if there is none, or only one that is too old.
    """
    need = "Go {}.{} or newer".format(*_MINIMUM_GO)
    go = shutil.which("go")
    if not go:
        raise SetupError(f"{need} is needed to build tools that this machine lacks, and `go` is not on PATH.")
    return _checked_version(go, need)


@cache
def _checked_version(go: str, need: str) -> str:
    # Outside of a module `go` reports itself; a build in toolchain/ may still switch to a newer one by GOTOOLCHAIN.
    answer = subprocess.run([go, "env", "GOVERSION", "GOTOOLCHAIN"], capture_output=True, text=True, check=False)
    version, _, toolchain = answer.stdout.strip().partition("\n")
    found = re.match(r"go(\d+)\.(\d+)", version)
    if not found:
        raise SetupError(f"{need} is needed; `{go} env` answered: {answer.stdout.strip() or answer.stderr.strip()}")
    numbers = (int(found[1]), int(found[2]))
    if numbers < _MINIMUM_GO and (toolchain == "local" or numbers < (1, 21)):
        raise SetupError(f"{need} is needed to build tools that this machine lacks; {go} is {version}.")
    return version


def provide(tool: GoTool, layout: Layout, progress: Progress) -> Path:
    """Return the folder with the programs of `tool`, built now if the cache folder lacks them.

    Nothing half-made ever has the final name. Raises SetupError if a build fails.
    """
    key = digest([tool.inputs(layout), find_go()])
    final = layout.tools / f"{tool.name}-{tool.version}-{key}"
    if not final.is_dir():
        with exclusive(layout.tools / f".{tool.name}.lock", progress):
            if not final.is_dir():
                _build_into(final, tool, layout, progress)
                return final
    progress.doing(f"taking it from {layout.tools}")
    return final


def _build_into(final: Path, tool: GoTool, layout: Layout, progress: Progress) -> None:
    work = layout.tools / f".building-{tool.name}"
    shutil.rmtree(work, ignore_errors=True)  # left by a build that was killed: the lock says that none is running
    try:
        source, out = work / "source", work / "out"
        shutil.copytree(layout.toolchain / tool.folder, source)
        out.mkdir()
        progress.doing(f"building (usually {tool.usual})")
        for file in tool.module_files:
            _copy_module_file(file, layout, source if file.beside == "source" else out, progress)
        for replaced in tool.replaced_files:
            _replace_file(replaced, source, progress)
        flags = ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", f"-s -w {tool.ldflags}".strip()]
        flags += [f"-gcflags={each}" for each in tool.gcflags]
        target = out / tool.name if len(tool.packages) == 1 else out
        progress.run(["go", "build", *flags, "-o", target, *tool.packages], cwd=source, env=_go_environment())
        out.rename(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _copy_module_file(file: ModuleFile, layout: Layout, to: Path, progress: Progress) -> None:
    copy = to / Path(file.path).name
    shutil.copyfile(module_folder(file.module, layout.toolchain / file.folder, progress) / file.path, copy)
    copy.chmod(0o755 if file.beside == "binary" else 0o644)


def _replace_file(file: ReplacedFile, source: Path, progress: Progress) -> None:
    """Let the build in `source` use a copy of a module in which one file is another; go.sum has checked the module.

    The `-overlay` of `go build` would not do: it refuses to replace files of the module cache.
    """
    copy = source / "replaced" / file.module
    if not copy.exists():
        shutil.copytree(module_folder(file.module, source, progress), copy, copy_function=shutil.copyfile)
        for folder in (copy, *filter(Path.is_dir, copy.rglob("*"))):
            folder.chmod(0o755)  # Go's cache is read-only, and what is in such a folder can't be removed
        replacement = f"-replace={file.module}=./{copy.relative_to(source)}"
        progress.run(["go", "mod", "edit", replacement], cwd=source, env=_go_environment())
    shutil.copyfile(source / file.by, copy / file.path)


def module_folder(module: str, folder: Path, progress: Progress) -> Path:
    """Return the folder of Go's cache with a module in the version that the go.mod in `folder` pins."""
    answer = progress.run(["go", "mod", "download", "-json", module], cwd=folder, env=_go_environment())
    return Path(json.loads(answer)["Dir"])


def _go_environment() -> dict[str, str]:
    # The user's own flags or workspace would change what is built; without cgo no C compiler is needed.
    settings = {**os.environ, "GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0"}
    # The compiler's garbage collection costs a quarter of its time. Go runs one compiler a core.
    if _memory_bytes() >= _AMPLE_MEMORY_BYTES and "GOGC" not in settings:
        enough = _memory_bytes() >= 2 * _LIMIT_BYTES * (os.cpu_count() or 1)
        settings |= {"GOGC": "off", "GOMEMLIMIT": str(_LIMIT_BYTES)} if enough else {"GOGC": "400"}
    return settings


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
