"""Provides the plugins of the two clouds: the user's own or downloaded, else a stand-in; for rehearsals always that."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from toolchain import engine
from toolchain.console import Progress
from toolchain.layout import Layout

_SCRIPT = "rehearsal/accounts/stand_in.py"
_WRAPPER = """#!/bin/sh
# A STAND-IN, not the official plugin: docs/stand-in.md
exec {python} {script} serve {name} "$@"
"""


def provide(versions: Mapping[str, str], layout: Layout, progress: Progress, *, downloads: bool) -> list[Path]:
    """Install the plugin of each SDK in `versions` (name to version) and return the plugins' paths.

    `downloads` tells whether official plugins can be downloaded at all; where one can't, no other is tried. The home
    of the stand-ins gets those in any case.
    """
    placed, missing = [], []
    for name, version in versions.items():
        plugin = engine.plugin_path(layout.pulumi_home, name, version)
        if _is_stand_in(plugin):
            shutil.rmtree(plugin.parent)  # the engine would take the folder for an installed plugin
        if not plugin.exists() and not engine.take_users_plugin(plugin):
            downloads = downloads and engine.download(name, version, layout, progress)
            if not downloads:
                _place_stand_in(plugin, name, layout)
                missing.append(f"{name} {version}")
        stand_in = engine.plugin_path(layout.stand_in_home, name, version)
        _place_stand_in(stand_in, name, layout)
        placed += [plugin, stand_in]
    if missing:
        progress.note(
            f"The official plugins {' and '.join(missing)} can't be had here: previews use a STAND-IN, which "
            "checks arguments but reaches no account (docs/stand-in.md). `make refresh` tries again."
        )
    progress.doing("stand-in" if missing else "official")
    return placed


def _is_stand_in(plugin: Path) -> bool:
    if not plugin.exists():
        return False
    with plugin.open("rb") as file:
        return _SCRIPT.encode() in file.read(4096)


def _place_stand_in(plugin: Path, name: str, layout: Layout) -> None:
    python, script = (quote(str(path)) for path in (layout.venv / "bin/python", layout.root / _SCRIPT))
    plugin.parent.mkdir(parents=True, exist_ok=True)
    plugin.write_text(_WRAPPER.format(python=python, script=script, name=name), encoding="utf-8")
    plugin.chmod(0o755)
