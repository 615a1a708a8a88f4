"""Brings a locked chart into the project's cache: from a folder or its repository, and only the one it must be."""

import os
from pathlib import Path

import pulumi

from settings.charts import repository
from settings.charts.archive import check, content_key
from settings.charts.lock import ChartUnavailableError, FirstUse, Lock, LockedChart, digest, lock_folder_command


def obtain(entry: LockedChart, lock: Lock, folder: Path | None, cache: Path) -> Path:
    """Where the cache holds exactly the locked chart, once it does. Raises ChartUnavailableError or OSError."""
    first_use = None if entry.confirmed else lock.first_use(entry)
    sha256 = first_use.read() if first_use else entry.sha256
    if sha256:
        found = _cached(cache, entry.archive, sha256)
        if found:
            return found
        content = _from_folder(entry, folder) if folder else _from_repository(entry)
    else:
        assert first_use
        content, sha256 = _used_first(entry, lock, first_use, folder)
    if digest(content) != sha256:
        raise _another_archive(entry, lock, first_use, f"{folder or entry.repository} has SHA-256 {digest(content)}")
    return _keep(cache, entry, content)


def _from_folder(entry: LockedChart, folder: Path) -> bytes:
    try:
        return (folder / entry.archive).read_bytes()
    except OSError as fault:
        raise ChartUnavailableError(f"{entry.archive} can't be read in {folder}: {fault.strerror}") from None


def _from_repository(entry: LockedChart) -> bytes:
    return repository.download(entry, repository.listed(entry, over_tls=False))


def _used_first(entry: LockedChart, lock: Lock, first_use: FirstUse, folder: Path | None) -> tuple[bytes, str]:
    """An unconfirmed chart that was not used before, and the digest that counts from now on.

    Raises ChartUnavailableError.
    """
    unknown = f"nobody has confirmed the digest of {entry.name} {entry.version}, and"
    if folder:
        remedy = f"`{lock_folder_command(folder)}` writes down the digests of the archives there, once you trust them"
        raise ChartUnavailableError(f"{unknown} {folder} has none for it either", remedy)
    listing = repository.listed(entry, over_tls=True)
    if listing.sha256 is None:
        raise ChartUnavailableError(f"{unknown} the index of {entry.repository} names none")
    content = repository.download(entry, listing)
    if digest(content) != listing.sha256:
        reason = f"{unknown} {listing.url} has SHA-256 {digest(content)}, but the index names {listing.sha256}"
        raise ChartUnavailableError(reason, "wait until the repository is right, or ask its publisher")
    check(content, entry)
    if not first_use.write(listing.sha256):
        return content, first_use.read() or ""
    pulumi.log.info(
        f"{entry.name} {entry.version} is used for the first time, and nobody has confirmed its digest: from now on it "
        f"must be {listing.sha256}, as the index of {entry.repository} says. "
        f"`{lock.command(entry.name, entry.version)}` pins it for everybody."
    )
    return content, listing.sha256


def _another_archive(entry: LockedChart, lock: Lock, first_use: FirstUse | None, found: str) -> ChartUnavailableError:
    if first_use:
        return ChartUnavailableError(
            f"{entry.archive} from {found}, but at its first use it had {first_use.read()}: "
            "another archive under the same version",
            remedy=f"the archive of the first use; or, once the publisher says that the new one is right, remove "
            f"{first_use.shown}: the next use is the first one again",
        )
    again = f": `{lock.command(entry.name, entry.version)}`" if lock.folder else ""
    return ChartUnavailableError(
        f"{entry.archive} from {found}, but {lock} names {entry.sha256}: it is not the chart that was reviewed",
        remedy=f"the archive that was reviewed; or review this one and correct its entry in {lock}{again}",
    )


def _cached(cache: Path, archive: str, sha256: str) -> Path | None:
    """Where the chart of an archive with that digest lies, if it does and is whole.

    Beside a chart lies an empty file for each archive that it was taken from, named by the digest of that.
    """
    for mark in cache.glob(f"*/{sha256}"):
        chart = mark.with_name(archive)
        if chart.is_file() and (digest(chart.read_bytes()) == sha256 or _holds(chart, mark.parent.name)):
            return chart
    return None


def _holds(chart: Path, key: str) -> bool:
    """Whether a chart has the content that its folder is named by, whatever archive it came from."""
    try:
        return content_key(chart.read_bytes()) == key
    except ValueError:
        return False


def _keep(cache: Path, entry: LockedChart, content: bytes) -> Path:
    """Put a proved archive into the cache, whole or not at all, and return where its chart is."""
    check(content, entry)
    folder = cache / content_key(content)
    folder.mkdir(parents=True, exist_ok=True)
    chart = folder / entry.archive
    if not (chart.is_file() and _holds(chart, folder.name)):
        partial = folder / f".{entry.archive}.{os.getpid()}"
        partial.write_bytes(content)
        partial.replace(chart)
    (folder / digest(content)).touch()
    return chart
