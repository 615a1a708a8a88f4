"""Adds a chart to charts.lock: `python -m toolchain.lock_chart NAME VERSION [--repository URL] [--folder DIR]`.

Run by `make lock CHART=name VERSION=version`. The digest written down is that of the archive fetched now: compare it
with what the chart's publisher says before you commit.
"""

import argparse
import io
import os
import sys
import tarfile
from pathlib import Path

import yaml

from components.charts import ChartUnavailableError, LockedChart, digest, download, read_lock

LOCK = Path(__file__).resolve().parent.parent / "charts.lock"


def add(lock: Path, name: str, version: str, repository: str | None, folder: Path | None) -> str:
    """Add an entry to a lock file and return the line to show.

    The repository defaults to that of the chart's other versions; the archive is read from `folder` when it is there.
    Raises ChartUnavailableError when the chart can't be had or no repository is known.
    """
    known = read_lock(lock)
    present = next((entry for entry in known if (entry.name, entry.version) == (name, version)), None)
    if present:
        return f"{name} {version} is locked already: {present.sha256}"
    source = repository or next((entry.repository for entry in known if entry.name == name), None)
    if source is None:
        raise ChartUnavailableError(f"charts.lock knows no other version of {name}: give its repository")
    entry = LockedChart(name, version, source, "")
    local = folder / entry.archive if folder else None
    found = local if local and local.is_file() else None
    content = found.read_bytes() if found else download(entry)
    _check(content, entry)
    values = {"name": name, "version": version, "repository": source, "sha256": digest(content)}
    lines = [f'{key} = "{value}"' for key, value in values.items()]
    with lock.open("a") as file:
        file.write("\n".join(["", "[[chart]]", *lines, ""]))
    return f"{name} {version} from {found or source}: {values['sha256']}"


def _check(content: bytes, entry: LockedChart) -> None:
    """Raises ChartUnavailableError when the content is not an archive of that chart in that version."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            file = archive.extractfile(f"{entry.name}/Chart.yaml")
            chart = yaml.safe_load(file.read()) if file else {}
    except (tarfile.TarError, OSError, EOFError, KeyError, yaml.YAMLError):
        raise ChartUnavailableError(f"what was found as {entry.archive} is not an archive of a chart") from None
    if (chart.get("name"), chart.get("version")) != (entry.name, entry.version):
        raise ChartUnavailableError(f"{entry.archive} holds {chart.get('name')} {chart.get('version')}")


def main() -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Add a chart to charts.lock.")
    parser.add_argument("name", help="chart name, such as cilium")
    parser.add_argument("version", help="chart version, such as 1.19.7")
    parser.add_argument("--repository", help="Helm repository; default: that of the chart's other versions")
    parser.add_argument(
        "--folder", default=os.environ.get("CHARTS_DIR"), help="take the archive from here if it has it"
    )
    arguments = parser.parse_args()
    if not arguments.name or not arguments.version:
        parser.error("a chart and a version are needed: make lock CHART=cilium VERSION=1.19.7")
    folder = Path(arguments.folder) if arguments.folder else None
    try:
        print(add(LOCK, arguments.name, arguments.version, arguments.repository or None, folder))
    except ChartUnavailableError as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
