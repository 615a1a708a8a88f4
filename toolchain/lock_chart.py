"""Adds a chart to charts.lock: `python -m toolchain.lock_chart NAME VERSION [--repository URL] [--folder DIR]`.

Run by `make lock CHART=name VERSION=version`. The digest written down is that of the archive fetched now: compare it
with what the chart's publisher says before you commit.
"""

import argparse
import os
import sys
from pathlib import Path

from components.charts import ChartUnavailableError, LockedChart, digest, download, read_lock

LOCK = Path(__file__).resolve().parent.parent / "charts.lock"


def add(lock: Path, name: str, version: str, repository: str | None, folder: Path | None) -> str:
    """Add an entry to a lock file and return the line to show.

    The repository defaults to that of the chart's other versions; the archive is read from `folder` when given. Raises
    ChartUnavailableError when the chart can't be had or no repository is known.
    """
    known = read_lock(lock)
    present = next((entry for entry in known if (entry.name, entry.version) == (name, version)), None)
    if present:
        return f"{name} {version} is locked already: {present.sha256}"
    source = repository or next((entry.repository for entry in known if entry.name == name), None)
    if source is None:
        raise ChartUnavailableError(f"charts.lock knows no other version of {name}: give its --repository")
    entry = LockedChart(name, version, source, "")
    try:
        content = (folder / entry.archive).read_bytes() if folder else download(entry)
    except OSError as fault:
        raise ChartUnavailableError(f"{entry.archive} can't be read in {folder}: {fault.strerror}") from None
    values = {"name": name, "version": version, "repository": source, "sha256": digest(content)}
    lines = [f'{key} = "{value}"' for key, value in values.items()]
    with lock.open("a") as file:
        file.write("\n".join(["", "[[chart]]", *lines, ""]))
    return f"{name} {version} from {folder or source}: {values['sha256']}"


def main() -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Add a chart to charts.lock.")
    parser.add_argument("name", help="chart name, such as cilium")
    parser.add_argument("version", help="chart version, such as 1.19.7")
    parser.add_argument("--repository", help="Helm repository; default: that of the chart's other versions")
    parser.add_argument("--folder", default=os.environ.get("CHARTS_DIR"), help="read the archive here instead")
    arguments = parser.parse_args()
    folder = Path(arguments.folder) if arguments.folder else None
    try:
        print(add(LOCK, arguments.name, arguments.version, arguments.repository, folder))
    except ChartUnavailableError as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
