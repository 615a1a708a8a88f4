"""Helm charts: the proof that each is the chart that was reviewed.

Before any resource is registered, every chart is brought into the project and its SHA-256 compared with a lock file.
The release then names one relative path, which follows from what is in the chart: its plan is the same on every
machine, whether the chart came from its repository or from a folder (ADR 0002).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pulumi

from settings.charts.fetch import obtain
from settings.charts.lock import LOCK, ChartUnavailableError, Lock, LockedChart, LockError
from settings.charts.model import CHART_VERSIONS, Chart, Charts
from settings.fields import WITHOUT, Problem
from settings.parsing import unknown_key

PROJECT = Path(__file__).resolve().parents[2]

ChartFinder = Callable[[Charts, tuple[str, ...]], tuple[dict[str, Chart], list[Problem]]]
"""From the settings of charts and the names of those in use to the charts by name, and one problem for each missing."""

CACHE = Path(".cache/charts")
"""Where charts are kept, relative to the project: `<key of its content>/<name>-<version>.tgz`."""


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


def find_charts(
    model: Charts, names: tuple[str, ...], default_folder: str | None
) -> tuple[dict[str, Chart], list[Problem]]:
    """The charts `names` by name, and one problem for each that can't be had.

    `default_folder` is where charts are taken from when `charts.folder` is not set; None means their repositories.
    Says in one line each when a folder brings its own lock file, and when a chart that nobody confirmed is used first.
    """
    problems = [
        Problem(f"charts.versions.{name}", version, unknown_key(name, CHART_VERSIONS), WITHOUT)
        for name, version in model.versions.items()
        if name not in CHART_VERSIONS
    ]
    named = model.folder or default_folder
    folder = PROJECT / Path(named).expanduser() if named else None
    file, brought = lock_file(model, folder, PROJECT)
    try:
        lock = Lock.read(file, PROJECT, brought)
    except LockError as fault:
        remedy = "charts.lock as it is in version control, or as `make lock FOLDER=FOLDER` writes it"
        return {}, [Problem("charts.lock", str(file), fault.reason, remedy)]
    if lock.folder:
        pulumi.log.info(f"Charts come from {folder}, as its own {LOCK} says; the project's does not count for them.")
    wanted = {name: model.versions.get(name, CHART_VERSIONS[name]) for name in names}
    found, faults = resolve(wanted, lock, folder, PROJECT)
    return {
        name: replace(chart, timeout_seconds=model.timeout_seconds) for name, chart in found.items()
    }, problems + faults
