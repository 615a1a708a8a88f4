"""charts.lock: which archive a chart must be; where nobody could confirm that, which one it was at its first use."""

import hashlib
import os
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK = "charts.lock"
"""The project's own lock file; a folder of archives may bring one of the same name."""

UNCONFIRMED = "unconfirmed"
"""In place of a SHA-256: nobody could confirm what the publisher's archive is."""

FIRST_USE = Path(".cache/first-use")
"""Which archives unconfirmed charts were at their first use, relative to the project: a folder for each lock file."""


class ChartUnavailableError(Exception):
    """A chart can't be had, or is not the one that it must be; the text is the reason.

    `remedy` says what to do when bringing the chart along is not it.
    """

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.remedy = remedy


@dataclass(frozen=True)
class LockedChart:
    """One entry of a lock file; without a repository the archive can only come from a folder.

    Raises ValueError when `sha256` is neither a digest nor UNCONFIRMED, or is that where no repository can be asked.
    """

    name: str
    version: str
    sha256: str
    repository: str = ""

    def __post_init__(self) -> None:
        if self.confirmed and not is_digest(self.sha256):
            raise ValueError(
                f'the sha256 of {self.name} {self.version} is neither 64 hexadecimal digits nor "{UNCONFIRMED}"'
            )
        if not (self.confirmed or self.repository):
            raise ValueError(f"{self.name} {self.version} has neither a sha256 nor a repository that could be asked")

    @property
    def confirmed(self) -> bool:
        """Whether the entry says which archive the chart is."""
        return self.sha256 != UNCONFIRMED

    @property
    def archive(self) -> str:
        """The file name of the chart in a folder of archives."""
        return f"{self.name}-{self.version}.tgz"

    def as_toml(self) -> str:
        """The entry as it stands in a lock file."""
        keys = ("name", "version", "repository", "sha256") if self.repository else ("name", "version", "sha256")
        return "\n".join(["[[chart]]", *(f'{key} = "{getattr(self, key)}"' for key in keys), ""])


@dataclass(frozen=True)
class Lock:
    """A lock file that was read; `folder` is the folder of archives that brought it along, if one did."""

    file: Path
    charts: list[LockedChart]
    project: Path
    folder: Path | None = None

    @classmethod
    def read(cls, file: Path, project: Path, folder: Path | None = None) -> "Lock":
        """Raises what `read_lock` raises."""
        return cls(file, read_lock(file), project, folder)

    def __str__(self) -> str:
        return _within(self.file, self.project)

    def find(self, name: str, version: str) -> LockedChart | None:
        """The entry of a chart in a version."""
        return next((entry for entry in self.charts if (entry.name, entry.version) == (name, version)), None)

    def versions(self, name: str) -> list[str]:
        """The versions of a chart that have an entry."""
        return [entry.version for entry in self.charts if entry.name == name]

    def command(self, name: str, version: str) -> str:
        """What writes the digest of a chart down, once it was compared with the publisher's."""
        if self.folder:
            return lock_folder_command(self.folder)
        own = "" if str(self) == LOCK else f" LOCK={shlex.quote(str(self))}"
        return f"make lock CHART={name} VERSION={version}{own}"

    def first_use(self, entry: LockedChart) -> "FirstUse":
        """What is known of an unconfirmed entry."""
        path = str(self)
        name = path if path == LOCK else f"{self.file.stem}-{hashlib.sha256(path.encode()).hexdigest()[:12]}"
        file = self.project / FIRST_USE / name / f"{entry.name}-{entry.version}"
        return FirstUse(file, _within(file, self.project))


@dataclass(frozen=True)
class FirstUse:
    """The record of the first use of an unconfirmed chart: a file that holds the digest of the archive."""

    file: Path
    shown: str

    def read(self) -> str | None:
        """The digest; None before the first use. Raises ChartUnavailableError when the record is damaged."""
        try:
            text = self.file.read_bytes().decode(errors="replace").strip()
        except FileNotFoundError:
            return None
        if not is_digest(text):
            raise ChartUnavailableError(
                f"{self.shown} should hold the SHA-256 of the archive of the first use, but holds something else",
                remedy=f"remove {self.shown}: the next use is the first one again",
            )
        return text

    def write(self, sha256: str) -> bool:
        """Record the digest, whole or not at all. False when another process was first: then its record counts."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        partial.write_text(f"{sha256}\n")
        try:
            self.file.hardlink_to(partial)  # unlike a renaming, fails if the file is there
        except FileExistsError:
            return False
        finally:
            partial.unlink()
        return True


def lock_folder_command(folder: Path) -> str:
    """What writes the lock file of a folder of archives."""
    return f"make lock FOLDER={shlex.quote(str(folder))}"


class LockError(ValueError):
    """A lock file that can't be read, or is none; `reason` says why without its name."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file} {reason}")
        self.reason = reason


def read_lock(file: Path) -> list[LockedChart]:
    """The entries of a lock file (TOML). Raises LockError when it can't be read, or is none."""
    try:
        return _entries(file.read_bytes().decode())
    except OSError as fault:
        why = str(fault.strerror)
    except UnicodeDecodeError:
        why = "it is not text in UTF-8; some editors and shells of Windows write UTF-16"
    except tomllib.TOMLDecodeError as fault:
        why = f"it is no TOML: {fault}"
    except ValueError as fault:
        why = str(fault)
    raise LockError(file, f"can't be read: {why}")


def _entries(text: str) -> list[LockedChart]:
    entries = tomllib.loads(text).get("chart")
    if not isinstance(entries, list) or not entries:
        raise ValueError("it has no entry [[chart]]")
    return [_entry(place, entry) for place, entry in enumerate(entries, start=1)]


def _entry(place: int, entry: Any) -> LockedChart:
    known = {"name", "version", "sha256", "repository"}
    if not isinstance(entry, dict) or not known - {"repository"} <= entry.keys() <= known:
        raise ValueError(f"entry {place} is not of name, version, sha256 and, where needed, repository")
    if wrong := [key for key, value in entry.items() if not isinstance(value, str)]:
        raise ValueError(f"entry {place} has no text for {', '.join(wrong)}")
    return LockedChart(**entry)


def digest(content: bytes) -> str:
    """SHA-256 as lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256 as lower-case hex."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def _within(path: Path, project: Path) -> str:
    return str(path.relative_to(project) if path.is_relative_to(project) else path)
