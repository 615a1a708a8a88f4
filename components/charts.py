"""Helm charts: which version, from where, and the proof that it is the chart that was reviewed.

Every chart is brought to `.cache/charts/<name>-<version>.tgz` inside the project and its SHA-256 compared with
charts.lock before any resource is registered. The release then names that one relative path, so its plan is the same on
every machine, whether the chart came from its repository or from a folder (ADR 0002).
"""

import hashlib
import http.client
import os
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pulumi
import yaml
from pulumi_kubernetes.helm.v3 import ReleaseArgs
from pydantic import Field

from components.fields import DnsLabel, Model, Problem, Seconds

LOCK = "charts.lock"
"""The project's own lock file."""

CACHE = Path(".cache/charts")
"""Where charts are kept, relative to the project."""

DOWNLOAD_TIMEOUT_SECONDS = 30

RELEASE_TIMEOUT_SECONDS = 600


class Charts(Model):
    """Versions and source of the Helm charts."""

    versions: dict[DnsLabel, str] = Field(
        default={},
        description="chart versions by chart name, where another than the default is wanted; charts.lock must have it",
        examples=[{"cilium": "1.19.6"}],
    )
    folder: str | None = Field(
        default=None,
        min_length=1,
        description="folder with `<name>-<version>.tgz` files, for clusters without internet access; "
        "the environment variable CHARTS_DIR does the same",
        examples=["./charts"],
    )
    lock: str = Field(
        default=LOCK,
        min_length=1,
        description="file with each chart's version and SHA-256, in the form of charts.lock: for charts of your own",
        examples=["./own-charts.lock"],
    )
    timeout_seconds: Seconds = Field(
        default=RELEASE_TIMEOUT_SECONDS,
        description="how long a release may wait for its pods and jobs until it counts as failed and is rolled back",
        examples=[RELEASE_TIMEOUT_SECONDS],
    )


@dataclass(frozen=True)
class Chart:
    """A chart that is at hand and proved: `path` is relative to the project.

    `timeout_seconds` bounds the wait for the workloads and hooks of a release of it.
    """

    name: str
    version: str
    path: str
    timeout_seconds: int = RELEASE_TIMEOUT_SECONDS


@dataclass(frozen=True)
class LockedChart:
    """One entry of charts.lock."""

    name: str
    version: str
    repository: str
    sha256: str

    @property
    def archive(self) -> str:
        """The file name of the chart."""
        return f"{self.name}-{self.version}.tgz"


class ChartUnavailableError(Exception):
    """A chart can't be had, or is not the one that charts.lock names; the text is the reason.

    `remedy` says what to do when bringing the chart along is not it.
    """

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.remedy = remedy


def read_lock(lock: Path) -> list[LockedChart]:
    """The entries of a charts.lock file (TOML). Raises OSError, TOMLDecodeError or TypeError when it is broken."""
    return [LockedChart(**entry) for entry in tomllib.loads(lock.read_text())["chart"]]


def cache_of(lock: str) -> Path:
    """Where the charts of a lock file are kept, relative to the project.

    Those of another lock file than the project's own may have the same versions with other content: they are kept
    apart, so that two stacks at work at once never take each other's chart, and a plan shows which it is.
    """
    return CACHE if lock == LOCK else CACHE / Path(lock).stem


def resolve(
    wanted: Mapping[str, str], locked: list[LockedChart], folder: Path | None, project: Path, lock: str = LOCK
) -> tuple[dict[str, Chart], list[Problem]]:
    """Bring each wanted chart (name to version) into the cache below `project`; `locked` are the entries of `lock`.

    Returns the charts by name and one problem for each that can't be had.
    """
    cache = cache_of(lock)
    charts: dict[str, Chart] = {}
    problems: list[Problem] = []
    for name, version in wanted.items():
        entry = next((entry for entry in locked if (entry.name, entry.version) == (name, version)), None)
        known = [entry.version for entry in locked if entry.name == name]
        if entry is None:
            command = f"`make lock CHART={name} VERSION={version}`"
            reason = f"is not in {lock}; {command} reviews and adds it to charts.lock"
            problems.append(Problem(f"charts.versions.{name}", version, reason, known[-1] if known else "1.0.0"))
            continue
        try:
            _obtain(entry, folder, project / cache)
        except ChartUnavailableError as fault:
            problems.append(Problem(f"charts.versions.{name}", version, str(fault), fault.remedy or _remedies(entry)))
        else:
            charts[name] = Chart(name, version, str(cache / entry.archive))
    return charts, problems


def _remedies(entry: LockedChart) -> str:
    return (
        f"either let this machine reach {entry.repository}, or put {entry.archive} into a folder and name it: "
        "`pulumi config set --path charts.folder FOLDER`, or CHARTS_DIR=FOLDER in the environment"
    )


def _obtain(entry: LockedChart, folder: Path | None, cache: Path) -> None:
    """Make sure that the cache holds exactly the locked chart. Raises ChartUnavailableError."""
    target = cache / entry.archive
    if target.is_file() and digest(target.read_bytes()) == entry.sha256:
        return
    content = _from_folder(entry, folder) if folder else download(entry)
    if digest(content) != entry.sha256:
        source = folder or entry.repository
        raise ChartUnavailableError(
            f"{entry.archive} from {source} has SHA-256 {digest(content)}, but its entry names {entry.sha256}: "
            "it is not the chart that was reviewed",
            remedy="the archive that was reviewed; or review this one and correct its entry in charts.lock",
        )
    cache.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(target)


def _from_folder(entry: LockedChart, folder: Path) -> bytes:
    try:
        return (folder / entry.archive).read_bytes()
    except OSError as fault:
        raise ChartUnavailableError(f"{entry.archive} can't be read in {folder}: {fault.strerror}") from None


def download(entry: LockedChart) -> bytes:
    """The archive as the chart's repository serves it (Helm repository: index.yaml, then the first URL of the version).

    Raises ChartUnavailableError.
    """
    base = entry.repository.rstrip("/") + "/"
    try:
        index = yaml.safe_load(_get(urljoin(base, "index.yaml")))
        urls = next(
            (found["urls"] for found in index["entries"][entry.name] if found["version"] == entry.version), None
        )
        if not urls:
            raise ChartUnavailableError(f"{entry.repository} has no {entry.name} {entry.version}")
        return _get(urljoin(base, urls[0]))
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as fault:
        raise ChartUnavailableError(f"{entry.repository} can't be reached: {getattr(fault, 'reason', fault)}") from None
    except (yaml.YAMLError, KeyError, TypeError):
        raise ChartUnavailableError(f"{entry.repository} does not answer as a Helm repository") from None


def _get(url: str) -> bytes:
    # The address comes from charts.lock, or from the index of a repository named there; the digest decides in the end.
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url} is not an HTTP address")
    with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_SECONDS) as response:  # noqa: S310
        content: bytes = response.read()
        return content


def digest(content: bytes) -> str:
    """SHA-256 as lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def release_args(chart: Chart, *, name: str, namespace: pulumi.Input[str], values: dict[str, Any]) -> ReleaseArgs:
    """A release that rolls back by itself when it fails; only one that is killed stays pending (docs/recovery.md).

    The name is fixed: without one the provider makes it up, and the labels that Services select by follow it.
    """
    return ReleaseArgs(
        chart=chart.path,
        version=chart.version,
        name=name,
        namespace=namespace,
        values=values,
        atomic=True,
        cleanup_on_fail=True,
        max_history=10,
        timeout=chart.timeout_seconds,
    )


def one_a_node(labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """`topologySpreadConstraints` that keep the pods with these labels on different nodes."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": dict(labels)},
            # Per revision: else a rolling update finds every node taken by the old pods.
            "matchLabelKeys": ["pod-template-hash"],
        }
    ]
