"""Helm charts: which version, from where, and the proof that it is the chart that was reviewed.

Before any resource is registered, every chart is brought into the project and its SHA-256 compared with a lock file.
The release then names one relative path, which follows from what is in the chart: its plan is the same on every
machine, whether the chart came from its repository or from a folder (ADR 0002).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from pulumi_kubernetes.helm.v3 import ReleaseArgs
from pydantic import Field

from components.chart_fetch import obtain
from components.chart_lock import LOCK, ChartUnavailableError, Lock, LockedChart
from components.fields import DnsLabel, Model, Problem, Seconds

CACHE = Path(".cache/charts")
"""Where charts are kept, relative to the project: `<key of its content>/<name>-<version>.tgz`."""

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
    lock: str | None = Field(
        default=None,
        min_length=1,
        description="file with each chart's version and SHA-256, in the form of charts.lock; when unset, the "
        "charts.lock in the folder of archives, and where there is none, the project's own",
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


def lock_file(model: Charts, folder: Path | None, project: Path) -> tuple[Path, Path | None]:
    """The lock file that counts, and the folder that brought it along, if one did.

    It is the one that is set, else the folder's own, else the project's.
    """
    if model.lock:
        return project / Path(model.lock).expanduser(), None
    if folder and (folder / LOCK).is_file() and not folder.samefile(project):
        return folder / LOCK, folder
    return project / LOCK, None


def resolve(
    wanted: Mapping[str, str], lock: Lock, folder: Path | None, project: Path
) -> tuple[dict[str, Chart], list[Problem]]:
    """Bring each wanted chart (name to version) into the cache below `project`, from `folder` or else its repository.

    Returns the charts by name and one problem for each that can't be had.
    """
    charts: dict[str, Chart] = {}
    problems: list[Problem] = []
    for name, version in wanted.items():
        key, entry = f"charts.versions.{name}", lock.find(name, version)
        if entry is None:
            reason = f"is not in {lock}; `{lock.command(name, version)}` adds it, once you have reviewed it"
            problems.append(Problem(key, version, reason, (lock.versions(name) or ["1.0.0"])[-1]))
            continue
        try:
            path = obtain(entry, lock, folder, project / CACHE)
        except ChartUnavailableError as fault:
            problems.append(Problem(key, version, str(fault), fault.remedy or _remedies(entry, lock)))
        except OSError as fault:
            problems.append(Problem(key, version, f"can't be kept in {CACHE}: {fault}", "a folder that can be written"))
        else:
            charts[name] = Chart(name, version, str(path.relative_to(project)))
    return charts, problems


def _remedies(entry: LockedChart, lock: Lock) -> str:
    reach = f"either let this machine reach {entry.repository}, " if entry.repository else ""
    bring = "and name it: `pulumi config set --path charts.folder FOLDER`, or CHARTS_DIR=FOLDER in the environment"
    if entry.confirmed:
        return f"{reach}{'or ' if reach else ''}put {entry.archive} into a folder {bring}"
    return (
        f"{reach}whose index must name the digest over TLS; or pin what it serves, once you have compared its digest "
        f"with the publisher's: `{lock.command(entry.name, entry.version)}`; or put {entry.archive} into a folder, run "
        f"`make lock FOLDER=FOLDER` {bring}"
    )


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
