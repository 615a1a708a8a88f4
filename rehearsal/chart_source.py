"""Which Helm charts a rehearsal uses: upstream's where they are at hand, else the stand-ins of `rehearsal/charts`.

A stand-in has upstream's name and version, so that the program sees no difference; its content, and with it the digest,
is another. Its folder therefore brings a charts.lock of its own; so may one with upstream's charts, where they are not
the archives of their publishers. Run as a module it prints the folder, for the make targets.
"""

import gzip
import io
import os
import re
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from settings.charts.lock import LOCK, LockedChart, digest, read_lock

PROJECT = Path(__file__).resolve().parent.parent
CHARTS = PROJECT / "rehearsal/charts"

PACKAGED = Path(".cache/rehearsal/charts")
"""Where the stand-ins are packaged, relative to the project."""


@dataclass(frozen=True)
class ChartSource:
    """A folder with `<name>-<version>.tgz` files."""

    kind: str
    folder: Path

    @property
    def settings(self) -> dict[str, str]:
        """The `charts` group of a stack file that takes charts from here."""
        return {"folder": str(self.folder)}

    def __str__(self) -> str:
        if self.kind != "upstream":
            return f"{self.kind} charts from {CHARTS.relative_to(PROJECT)}"
        return (
            f"{self.kind} charts from {self.folder}{f' with its own {LOCK}' if (self.folder / LOCK).is_file() else ''}"
        )


def choose(environ: Mapping[str, str], project: Path) -> ChartSource:
    """The folder that CHARTS_DIR in `environ` names, else `../shared/charts` beside the project, else the stand-ins.

    Raises NotADirectoryError when CHARTS_DIR names something else than a folder.
    """
    named = environ.get("CHARTS_DIR")
    if named and not (project / named).is_dir():
        raise NotADirectoryError(f"CHARTS_DIR={named} is not a folder")
    folder = (project / (named or "../shared/charts")).resolve()
    if folder.is_dir():
        return ChartSource("upstream", folder)
    return stand_in_charts(project / PACKAGED)


def stand_in_charts(folder: Path) -> ChartSource:
    """Package the stand-ins into `folder`, each in every version that charts.lock has, with their own lock file.

    The same charts give the same bytes each time. A chart that has no stand-in is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for locked in read_lock(PROJECT / LOCK):
        if not (CHARTS / locked.name).is_dir():
            continue
        content = archive(CHARTS / locked.name, locked.version)
        _write(folder / locked.archive, content)
        entries.append(LockedChart(locked.name, locked.version, digest(content)))
    _write(folder / LOCK, "\n".join(entry.as_toml() for entry in entries).encode())
    return ChartSource("stand-in", folder)


def archive(chart: Path, version: str) -> bytes:
    """A chart's folder as Helm packages it (gzipped tar below the chart's name), as `version`, without any time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(path for path in chart.rglob("*") if path.is_file()):
            content = path.read_bytes()
            if path.name == "Chart.yaml":
                content = re.sub(rb"(?m)^version: .*$", f"version: {version}".encode(), content)
            entry = tarfile.TarInfo(f"{chart.name}/{path.relative_to(chart)}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, as another rehearsal may read it."""
    if not path.is_file() or path.read_bytes() != content:
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_bytes(content)
        partial.replace(path)


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{choose(os.environ, PROJECT).folder}\n")
    except NotADirectoryError as error:
        sys.exit(str(error))
