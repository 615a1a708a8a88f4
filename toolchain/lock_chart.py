"""Writes digests of charts into lock files, for `make lock`.

`python -m toolchain.lock_chart NAME VERSION [--repository URL] [--lock FILE]` pins one chart, as its repository serves
it: compare the digest with what the chart's publisher says before you commit. `python -m toolchain.lock_chart --folder
DIR` writes DIR/charts.lock for all archives in a folder, which then counts for that folder.
"""

import argparse
import os
import re
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

from settings.charts import repository
from settings.charts.archive import check, identity
from settings.charts.lock import LOCK, UNCONFIRMED, ChartUnavailableError, Lock, LockedChart, digest, read_lock

PROJECT = Path(__file__).resolve().parent.parent

FOLDER_HEADER = """\
# Digests of the archives in this folder, written by `make lock FOLDER=...`. They count for the charts that are taken
# from here; compare them with what the charts' publishers say.

"""


def pin(lock: Lock, name: str, version: str, repository: str | None) -> str:
    """Pin a chart in a lock file, as a new entry or in place of UNCONFIRMED, and return the line to show.

    What counts is the archive of the first use where there was one, else what the repository serves now. The repository
    defaults to that of the chart's other versions. Raises ChartUnavailableError when the chart can't be had, when it is
    not the one in the repository's index, or when no repository is known.
    """
    present = lock.find(name, version)
    if present and present.confirmed:
        return f"{name} {version} is locked already: {present.sha256}"
    known = [present, *lock.charts] if present else lock.charts
    source = repository or next((entry.repository for entry in known if entry.name == name), None)
    if not source:
        raise ChartUnavailableError(f"{lock} knows no repository of {name}: give it by REPOSITORY=url")
    entry = LockedChart(name, version, UNCONFIRMED, source)
    used = lock.first_use(entry).read() if present else None
    sha256, origin = (used, "as it was at its first use") if used else _served(entry)
    pinned = replace(entry, sha256=sha256)
    text = lock.file.read_text()
    _write(lock.file, _replaced(text, pinned) if present else f"{text.rstrip()}\n\n{pinned.as_toml()}")
    return f"{name} {version} {origin}: {sha256}. Compare it with what the publisher says."


def pin_folder(folder: Path, known: list[LockedChart]) -> list[str]:
    """Write the lock file of a folder of archives and return the lines to show.

    `known` are the project's own entries: they say where a chart comes from, and whether an archive is the publisher's.
    Raises ChartUnavailableError when there is no archive, or one that is no chart or has another's name.
    """
    file = folder / LOCK
    before = read_lock(file) if file.is_file() else []
    repositories = {entry.name: entry.repository for entry in (*before, *known)}
    entries = [_read(path, repositories) for path in sorted(folder.glob("*.tgz"))]
    if not entries:
        raise ChartUnavailableError(f"{folder} has no archives (*.tgz)")
    _write(file, FOLDER_HEADER + "\n".join(entry.as_toml() for entry in entries))
    said = {(entry.name, entry.version): entry.sha256 for entry in known}
    lines = [
        f"{entry.name} {entry.version}: {entry.sha256}{_remark(entry, said.get((entry.name, entry.version)))}"
        for entry in entries
    ]
    return [*lines, f"{file} counts for the charts of this folder now."]


def _read(path: Path, repositories: dict[str, str]) -> LockedChart:
    content = path.read_bytes()
    try:
        name, version = identity(content)
    except ValueError as fault:
        raise ChartUnavailableError(f"{path} {fault}") from None
    entry = LockedChart(name, version, digest(content), repositories.get(name, ""))
    if entry.archive != path.name:
        raise ChartUnavailableError(f"{path} holds {name} {version}: name it {entry.archive}")
    return entry


def _remark(entry: LockedChart, said: str | None) -> str:
    if said in {None, UNCONFIRMED}:
        return ""
    return f" (as in {LOCK})" if said == entry.sha256 else f" (another archive than {LOCK} names)"


def _served(entry: LockedChart) -> tuple[str, str]:
    """The digest of the archive that the repository serves, and where it is from."""
    listing = repository.listed(entry, over_tls=False)
    content = repository.download(entry, listing)
    found = digest(content)
    if listing.sha256 not in {None, found}:
        raise ChartUnavailableError(f"{listing.url} has SHA-256 {found}, but the index names {listing.sha256}")
    check(content, entry)
    proof = "as its index says" if listing.sha256 else "whose index names no digest"
    return found, f"from {entry.repository}, {proof}"


def _replaced(text: str, pinned: LockedChart) -> str:
    """The text of a lock file with the digest in the entry of a chart; comments stay."""
    blocks = re.split(r"^(?=\[\[chart\]\])", text, flags=re.MULTILINE)
    for number, block in enumerate(blocks):
        head = tomllib.loads(block).get("chart", [{}])[0]
        if (head.get("name"), head.get("version")) == (pinned.name, pinned.version):
            blocks[number] = block.replace(UNCONFIRMED, pinned.sha256, 1)
    return "".join(blocks)


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(file)


def main() -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Write digests of charts into lock files.")
    parser.add_argument("name", nargs="?", default="", help="chart name, such as cilium")
    parser.add_argument("version", nargs="?", default="", help="chart version, such as 1.19.7")
    parser.add_argument("--repository", help="Helm repository; default: that of the chart's other versions")
    parser.add_argument("--lock", help=f"lock file that gets the entry; default: {LOCK}")
    parser.add_argument("--folder", help=f"write {LOCK} into this folder, for all archives in it")
    given = parser.parse_args()
    if bool(given.folder) == bool(given.name and given.version):
        parser.error("give one chart (make lock CHART=cilium VERSION=1.19.7) or a folder (make lock FOLDER=./charts)")
    try:
        if given.folder:
            lines = pin_folder(Path(given.folder).expanduser(), read_lock(PROJECT / LOCK))
        else:
            file = PROJECT / Path(given.lock or LOCK).expanduser()
            lines = [pin(Lock.read(file, PROJECT), given.name, given.version, given.repository)]
    except (ChartUnavailableError, OSError, ValueError) as fault:
        print(fault, file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
