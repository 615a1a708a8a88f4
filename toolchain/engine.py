"""Chooses the Pulumi CLI, its Python language host and the Kubernetes plugin: the user's own, downloaded or built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolchain import SetupError, gobuild
from toolchain.console import Progress
from toolchain.gobuild import GoTool
from toolchain.layout import Layout, environment, find_executable, search_path

PAIRS = ("newest", "fallback")
"""The pairs of SDKs and Kubernetes plugin, the preferred one first."""

_HOST = "pulumi-language-python"


def version_of(pulumi: Path) -> tuple[int, ...] | None:
    """Return the version that the program `pulumi` reports, or None if it reports none."""
    try:
        settings = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
        answer = subprocess.run(
            [pulumi, "version"],
            capture_output=True,
            text=True,
            errors="replace",
            env=settings,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", answer.stdout.strip())
    return tuple(map(int, found.groups())) if found and answer.returncode == 0 else None


def choose_own(layout: Layout, limits: Mapping[str, str], environ: Mapping[str, str]) -> tuple[Path | None, str]:
    """Return the user's own pulumi if it can be used, and else None and why not, for the user to read."""
    pulumi = find_executable("pulumi", search_path(layout, environ))
    if not pulumi:
        return None, "no pulumi on PATH"
    version = version_of(pulumi)
    if not version:
        return None, f"{pulumi} does not tell its version"
    if not _numbers(limits["at_least"]) <= version < _numbers(limits["below"]):
        shown = ".".join(map(str, version))
        return None, f"{pulumi} is {shown}, needed is at least {limits['at_least']} and below {limits['below']}"
    if not _host_of(pulumi):
        return None, f"{pulumi} has no {_HOST} beside it"
    return pulumi, ""


def _host_of(pulumi: Path) -> Path | None:
    """The language host beside a pulumi, which is where that one looks: those on PATH are ignored (layout.py)."""
    return find_executable(_HOST, [str(pulumi.resolve().parent)])


def provide_pulumi(tool: GoTool, limits: Mapping[str, str], layout: Layout, progress: Progress) -> list[Path]:
    """Make a supported pulumi the one that make targets find, and return its path."""
    own, reason = choose_own(layout, limits, os.environ)
    if own:
        (layout.bin / "pulumi").unlink(missing_ok=True)
        progress.doing(f"using {own}")
        return [own]
    if find_executable("pulumi", search_path(layout, os.environ)):
        progress.note(f"{reason}: a suitable one is built for this project, yours stays as it is")
    return provide_tool(tool, layout, progress)


def provide_language_host(tool: GoTool, limits: Mapping[str, str], layout: Layout, progress: Progress) -> list[Path]:
    """Make the Python language host of the chosen pulumi available, and return its path."""
    own, _ = choose_own(layout, limits, os.environ)
    host = own and _host_of(own)
    if host:
        for name in tool.executables:
            (layout.bin / name).unlink(missing_ok=True)
        progress.doing(f"using {host}")
        return [host]
    return provide_tool(tool, layout, progress)


def provide_tool(tool: GoTool, layout: Layout, progress: Progress) -> list[Path]:
    """Build `tool` if needed, place its programs in the project's bin folder and return their paths there."""
    folder = gobuild.provide(tool, layout, progress)
    return [place(folder / name, layout.bin / name) for name in tool.executables]


def place(file: Path, name: Path) -> Path:
    """Make `name` the same file as `file`, by a hard link or else a copy, and return `name`.

    Not by a symbolic link: pulumi follows those and then warns that its language host is not in the same folder.
    """
    if name.exists() and name.samefile(file) and not name.is_symlink():
        return name  # renaming one hard link over another does nothing and leaves both
    name.parent.mkdir(parents=True, exist_ok=True)
    unfinished = name.with_name(f".{name.name}.new")
    unfinished.unlink(missing_ok=True)
    try:
        unfinished.hardlink_to(file)
    except OSError:
        shutil.copy2(file, unfinished)
    unfinished.replace(name)
    return name


def provide_kubernetes_plugin(
    tool: GoTool, versions: Mapping[str, Any], layout: Layout, progress: Progress
) -> tuple[str, list[Path]]:
    """Install the newest Kubernetes plugin if it can be had, else build the fallback one.

    Returns the SDK pair to use (`newest` or `fallback`) and the plugin's path. What was there for the other pair goes.
    """
    newest, fallback = (plugin_path(layout.pulumi_home, "kubernetes", versions[pair]) for pair in PAIRS)
    if newest.exists() or take_users_plugin(newest) or download("kubernetes", versions["newest"], layout, progress):
        progress.doing(f"version {versions['newest']}")
        for home in (layout.pulumi_home, layout.stand_in_home):
            shutil.rmtree(plugin_path(home, "kubernetes", versions["fallback"]).parent, ignore_errors=True)
        shutil.rmtree(layout.venv_newest, ignore_errors=True)  # the main environment has the newest SDKs now
        return "newest", _in_both_homes(newest, layout)
    progress.note(
        f"The official plugin {versions['newest']} can't be downloaded here: using the pair "
        f"{versions['fallback']}, SDK and plugin, the plugin built from source. `make refresh` tries again."
    )
    folder = gobuild.provide(tool, layout, progress)
    return "fallback", _in_both_homes(place(folder / fallback.name, fallback), layout)


def _in_both_homes(plugin: Path, layout: Layout) -> list[Path]:
    """Place a plugin of the project's Pulumi home in that of the stand-ins too, and return both."""
    return [plugin, place(plugin, layout.stand_in_home / plugin.relative_to(layout.pulumi_home))]


def plugin_path(home: Path, name: str, version: str) -> Path:
    """Where the engine looks for the plugin of an SDK in the Pulumi home `home`."""
    return home / "plugins" / f"resource-{name}-v{version}" / f"pulumi-resource-{name}"


def take_users_plugin(plugin: Path) -> bool:
    """Make the user's own plugin of the same version the project's `plugin`, and tell whether `plugin` is there."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    own = home / "plugins" / plugin.parent.name / plugin.name
    if own != plugin and os.access(own, os.R_OK | os.X_OK):
        place(own, plugin)
    return plugin.exists()


def download(name: str, version: str, layout: Layout, progress: Progress) -> bool:
    """Let the engine download an official plugin, and tell whether that worked."""
    progress.doing(f"downloading the official plugin {name} {version}")
    plugin = plugin_path(layout.pulumi_home, name, version)
    settings = environment(layout, os.environ, fallback_pair=False)
    try:
        progress.run(["pulumi", "plugin", "install", "resource", name, version], env=settings, cwd=layout.cache)
    except SetupError:
        shutil.rmtree(plugin.parent, ignore_errors=True)
    return plugin.exists()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
