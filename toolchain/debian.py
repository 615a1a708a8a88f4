"""Takes programs out of Debian packages without installing them: no root needed, nothing started, nothing replaced.

They check what the program writes for DHCP servers, NGINX and Prometheus. apt works in folders of its own below the
cache; a wrapper script per program sets what the program needs to run from there.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from toolchain import SetupError
from toolchain.console import Progress, exclusive
from toolchain.layout import Layout, find_executable, search_path
from toolchain.stamp import digest

_SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"]


@dataclass(frozen=True)
class DebianTool:
    """A program, the package and folder that hold it, and whether it needs what the package depends on."""

    program: str
    package: str
    folder: str = "usr/sbin"
    dependencies: bool = True


CHECKERS = (
    DebianTool("dnsmasq", "dnsmasq-base"),
    DebianTool("kea-dhcp4", "kea-dhcp4-server"),
    DebianTool("dhcpd", "isc-dhcp-server"),
    DebianTool("nginx", "nginx"),
    DebianTool("unbound-checkconf", "unbound"),
    # Linked statically; the package's dependencies are 200 MB of scripts for the server's web pages.
    DebianTool("promtool", "prometheus", "usr/bin", dependencies=False),
)


def provide(layout: Layout, progress: Progress) -> list[Path]:
    """Put a wrapper for each checker into the project's bin folder and return what it needs to go on working.

    Where there is no apt, programs found on PATH are used; for one that is not, a line says that its tests will be
    skipped. Raises SetupError if apt is there but fails.
    """
    folders = search_path(layout, os.environ)
    if find_executable("apt-get", folders) and find_executable("dpkg", folders):
        root = _extracted(layout, progress)
        programs = [root / tool.folder / tool.program for tool in CHECKERS]
        return [*programs, *(_wrap(program, layout, _library_folders(root)) for program in programs)]
    progress.doing("looking on PATH, as this is not a Debian-like system")
    wrappers = []
    for tool in CHECKERS:
        if found := find_executable(tool.program, [*folders, *_SYSTEM_FOLDERS]):
            wrappers.append(_wrap(found, layout, []))
        else:
            progress.note(f"{tool.program} is not on PATH: tests that need it will be skipped")
    return wrappers


def _extracted(layout: Layout, progress: Progress) -> Path:
    release = Path("/etc/debian_version")
    key = digest([release.read_text() if release.exists() else "", repr(CHECKERS), os.uname().machine])
    final = layout.tools / f"checkers-{key}"
    with exclusive(layout.tools / ".checkers.lock", progress):
        if final.is_dir():
            progress.doing(f"taking them from {layout.tools}")
            return final
        work = layout.tools / ".extracting-checkers"
        shutil.rmtree(work, ignore_errors=True)
        try:
            progress.doing("extracting them from Debian packages (usually 10 s)")
            _extract(work, progress)
            (work / "root").rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


def _extract(work: Path, progress: Progress) -> None:
    for folder in ("lists/partial", "archives/partial", "root"):
        (work / folder).mkdir(parents=True)
    options = {
        "Dir::State": work,
        "Dir::State::lists": work / "lists",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": work,
        "Dir::Cache::archives": work / "archives",
        "Dir::Log": work,
        "Debug::NoLocking": "true",  # the folders are ours alone, and the system's lock belongs to root
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
    }
    apt = ["apt-get", "-q", "-y", *(f"-o{name}={value}" for name, value in options.items())]
    with suppress(SetupError):  # hooks of the system may fail for an ordinary user; the next line tells for sure
        progress.run([*apt, "update"])
    # Packages that the system lacks, dependencies included; --reinstall also fetches a wanted one that it has.
    packages = [tool.package for tool in CHECKERS if tool.dependencies]
    progress.run([*apt, "--download-only", "--reinstall", "install", *packages])
    alone = [tool.package for tool in CHECKERS if not tool.dependencies]
    progress.run([*apt, "download", *alone], cwd=work / "archives")
    for archive in sorted((work / "archives").glob("*.deb")):
        progress.run(["dpkg", "-x", archive, work / "root"])


def _library_folders(root: Path) -> list[Path]:
    return sorted({library.parent for library in (root / "usr/lib").glob("*/*.so*")})


def _wrap(program: Path, layout: Layout, libraries: Iterable[Path]) -> Path:
    scratch = layout.cache / "checkers"
    scratch.mkdir(parents=True, exist_ok=True)
    settings = {f"KEA_{name}": str(scratch) for name in ("PIDFILE_DIR", "LOCKFILE_DIR")}
    if path := os.pathsep.join(map(str, libraries)):
        settings["LD_LIBRARY_PATH"] = path
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    wrapper = layout.bin / program.name
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    wrapper.unlink(missing_ok=True)
    wrapper.write_text("\n".join(["#!/bin/sh", *lines, f'exec {shlex.quote(str(program))} "$@"', ""]))
    wrapper.chmod(0o755)
    return wrapper
