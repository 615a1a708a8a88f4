"""What is in a chart's archive, whatever it was packed with.

The same files packed twice give archives with other times, owners, order and compression, and so with other digests.
"""

import hashlib
import io
import tarfile
import zlib

import yaml

from settings.charts.lock import ChartUnavailableError, LockedChart

KEY_LENGTH = 16


def content_key(content: bytes) -> str:
    """A short digest of the files in a chart's archive: their names and what is in them, and nothing else.

    Raises ValueError when it is no archive.
    """
    total = hashlib.sha256()
    for name, file in sorted(_files(content)):
        total.update(f"{name}\0{hashlib.sha256(file).hexdigest()}\0".encode())
    return total.hexdigest()[:KEY_LENGTH]


def identity(content: bytes) -> tuple[str, str]:
    """Name and version of the chart in an archive. Raises ValueError when it is no archive of a chart."""
    try:
        ((path, text),) = [file for file in _files(content) if file[0].split("/")[1:] == ["Chart.yaml"]]
        chart = yaml.safe_load(text)
        name, version = str(chart["name"]), str(chart["version"])
    except (ValueError, TypeError, KeyError, yaml.YAMLError):
        raise ValueError("is no archive of a chart") from None
    if path != f"{name}/Chart.yaml":
        raise ValueError(f"has {name} in a folder of another name")
    return name, version


def check(content: bytes, entry: LockedChart) -> None:
    """Raise ChartUnavailableError when an archive does not hold the chart of an entry."""
    try:
        found = identity(content)
    except ValueError as fault:
        raise ChartUnavailableError(f"what was found as {entry.archive} {fault}") from None
    if found != (entry.name, entry.version):
        raise ChartUnavailableError(f"what was found as {entry.archive} holds {' '.join(found)}")


def _files(content: bytes) -> list[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            opened = [(member.name, archive.extractfile(member)) for member in archive if member.isfile()]
            return [(name.removeprefix("./"), file.read()) for name, file in opened if file]
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        raise ValueError("is no archive of a chart") from None
