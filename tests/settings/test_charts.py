"""Charts: pinned, proved by digest, the same plan from every source, and one clear error when one can't be had."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import pytest

from settings.charts.find import find_charts, resolve
from settings.charts.lock import LOCK, UNCONFIRMED, Lock, LockedChart, read_lock
from settings.charts.model import CHART_VERSIONS, Chart, Charts
from settings.errors import ConfigError
from settings.fields import Problem
from settings.load import parse
from tests.support.chart_repository import Repository, archive, serving, sha256
from tests.support.configs import PROJECT, STAND_IN_SECRETS, charts_folder, core_config, settings_with

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("no_engine")]

CONTENT = archive()
REPACKED = archive(time=1)
"""The same files in another archive."""
CHANGED = archive("name: demo\nversion: 1.2.3\ndescription: changed")
LOCKED = LockedChart("demo", "1.2.3", sha256(CONTENT), "https://charts.invalid")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_with(CONTENT, tmp_path / "charts")


@pytest.fixture
def repository() -> Iterator[Repository]:
    with serving() as served:
        served.publish(CONTENT)
        yield served


def folder_with(content: bytes, folder: Path) -> Path:
    folder.mkdir()
    (folder / "demo-1.2.3.tgz").write_bytes(content)
    return folder


def obtained(
    entry: LockedChart, folder: Path | None, project: Path, version: str = "1.2.3"
) -> tuple[dict[str, Chart], list[Problem]]:
    return resolve({"demo": version}, Lock(project / LOCK, [entry], project), folder, project)


def path_of(entry: LockedChart, folder: Path | None, project: Path) -> str:
    charts, problems = obtained(entry, folder, project)
    assert problems == []
    return charts["demo"].path


def test_chart_from_a_folder_is_brought_to_the_projects_cache(project: Path, folder: Path) -> None:
    path = path_of(LOCKED, folder, project)
    assert path.startswith(".cache/charts/")
    assert path.endswith("/demo-1.2.3.tgz")
    assert (project / path).read_bytes() == CONTENT


def test_plan_is_the_same_from_a_folder_and_from_a_repository(
    tmp_path: Path, project: Path, folder: Path, repository: Repository
) -> None:
    """The path in the release's inputs must not tell where the chart came from, or two operators undo each other."""
    other = tmp_path / "other"
    from_repository = path_of(repository.entry(sha256(CONTENT)), None, other)
    assert path_of(LOCKED, folder, project) == from_repository
    assert (other / from_repository).read_bytes() == CONTENT


def test_plan_is_the_same_from_the_publishers_archive_and_from_one_packed_from_the_same_files(
    tmp_path: Path, project: Path, folder: Path
) -> None:
    again = LockedChart("demo", "1.2.3", sha256(REPACKED))
    path = path_of(LOCKED, folder, project)
    assert path_of(again, folder_with(REPACKED, tmp_path / "packed"), tmp_path / "other") == path


def test_charts_of_one_version_and_other_content_never_take_each_others_place(
    tmp_path: Path, project: Path, folder: Path
) -> None:
    """Two stacks may be at work at once: what one has planned with must stay where it was."""
    other, elsewhere = LockedChart("demo", "1.2.3", sha256(CHANGED)), folder_with(CHANGED, tmp_path / "changed")
    for _ in range(2):
        paths = path_of(LOCKED, folder, project), path_of(other, elsewhere, project)
        assert [(project / path).read_bytes() for path in paths] == [CONTENT, CHANGED]


def test_chart_at_hand_is_not_fetched_again(project: Path, repository: Repository) -> None:
    served = repository.entry(sha256(CONTENT))
    path_of(served, None, project)
    repository.asked.clear()
    path_of(served, None, project)
    assert repository.asked == []


def test_two_archives_of_one_content_stay_both_at_hand(
    tmp_path: Path, project: Path, folder: Path, repository: Repository
) -> None:
    """A stack that takes charts from a folder must not make another one download its own again, maybe offline."""
    repository.publish(REPACKED)
    path_of(LOCKED, folder, project)
    path_of(repository.entry(sha256(REPACKED)), None, project)
    repository.asked.clear()
    nowhere = tmp_path / "nowhere"
    paths = {path_of(LOCKED, nowhere, project), path_of(repository.entry(sha256(REPACKED)), None, project)}
    assert (len(paths), repository.asked) == (1, [])


@pytest.mark.parametrize("damage", [CONTENT[:100], b"", CHANGED], ids=["truncated", "empty", "changed"])
@pytest.mark.parametrize("content", [CONTENT, REPACKED], ids=["publisher's", "packed again"])
def test_damaged_chart_in_the_cache_is_fetched_again(
    content: bytes, damage: bytes, tmp_path: Path, project: Path, folder: Path
) -> None:
    entry, source = LockedChart("demo", "1.2.3", sha256(content)), folder_with(content, tmp_path / "source")
    path_of(LOCKED, folder, project)
    path = project / path_of(entry, source, project)
    path.write_bytes(damage)
    assert path_of(entry, source, project)
    assert path.read_bytes() == content


def test_chart_with_another_digest_is_refused_and_not_kept(project: Path, folder: Path) -> None:
    (folder / "demo-1.2.3.tgz").write_bytes(CHANGED)
    charts, (problem,) = obtained(LOCKED, folder, project)
    assert charts == {}
    assert "not the chart that was reviewed" in problem.reason
    assert "correct its entry in charts.lock" in str(problem.example), "the same archive again is no remedy"
    assert not list(project.glob("**/*.tgz"))


def test_locked_archive_that_is_no_chart_is_refused(project: Path, folder: Path) -> None:
    (folder / "demo-1.2.3.tgz").write_bytes(b"junk")
    _, (problem,) = obtained(LockedChart("demo", "1.2.3", sha256(b"junk")), folder, project)
    assert "what was found as demo-1.2.3.tgz is no archive of a chart" in problem.reason


def test_cache_that_cannot_be_written_is_a_fault_in_words(project: Path, folder: Path) -> None:
    (project / ".cache").write_text("in the way")
    _, (problem,) = obtained(LOCKED, folder, project)
    assert "can't be kept in .cache/charts" in problem.reason


def test_chart_that_cannot_be_had_names_both_remedies(project: Path, tmp_path: Path) -> None:
    nobody = LockedChart("demo", "1.2.3", "0" * 64, "http://127.0.0.1:9")
    for folder in (None, tmp_path / "empty"):
        _, (problem,) = obtained(nobody, folder, project)
        assert problem.key == "charts.versions.demo"
        assert "http://127.0.0.1:9" in str(problem.example)
        assert "charts.folder" in str(problem.example)
        assert "CHARTS_DIR" in str(problem.example)


def test_entry_without_a_repository_needs_a_folder(project: Path) -> None:
    _, (problem,) = obtained(LockedChart("demo", "1.2.3", "0" * 64), None, project)
    assert "names no repository" in problem.reason
    assert "reach" not in str(problem.example)


def test_version_that_nobody_reviewed_is_refused(project: Path, folder: Path) -> None:
    _, (problem,) = obtained(LOCKED, folder, project, "2.0.0")
    assert "is not in charts.lock; `make lock CHART=demo VERSION=2.0.0`" in problem.reason
    assert problem.example == "1.2.3"


# Which lock file counts


@pytest.fixture
def own_lock(folder: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose charts.lock knows its archive, beside a project's that names another."""
    monkeypatch.setattr("settings.charts.find.PROJECT", project)
    monkeypatch.setattr("settings.charts.find.CHART_VERSIONS", {"demo": "1.2.3"})
    (project / LOCK).write_text(LockedChart("demo", "1.2.3", sha256(CHANGED), "https://charts.invalid").as_toml())
    (folder / LOCK).write_text(LOCKED.as_toml())
    return folder


@pytest.mark.parametrize("by", ["setting", "environment"])
def test_folders_own_lock_counts_for_it_and_one_line_says_so(
    by: str, own_lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, default = (Charts(folder=str(own_lock)), None) if by == "setting" else (Charts(), str(own_lock))
    found, problems = find_charts(model, ("demo",), default)
    assert (list(found), problems) == (["demo"], [])
    (line,) = capsys.readouterr().err.splitlines()
    assert f"Charts come from {own_lock}, as its own charts.lock says" in line


def test_setting_comes_before_the_folders_own_lock(own_lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, (problem,) = find_charts(Charts(folder=str(own_lock), lock=LOCK), ("demo",), None)
    assert "but charts.lock names" in problem.reason
    assert capsys.readouterr().err == ""


def test_folder_without_a_lock_is_under_the_projects(own_lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own_lock / LOCK).unlink()
    _, (problem,) = find_charts(Charts(folder=str(own_lock)), ("demo",), None)
    assert "but charts.lock names" in problem.reason
    assert capsys.readouterr().err == ""


def test_faults_under_a_folders_own_lock_name_its_command(own_lock: Path) -> None:
    (own_lock / "demo-1.2.3.tgz").write_bytes(CHANGED)
    _, (problem,) = find_charts(Charts(folder=str(own_lock)), ("demo",), None)
    assert f"correct its entry in {own_lock}/charts.lock: `make lock FOLDER={quote(str(own_lock))}`" in str(
        problem.example
    )
    _, (problem,) = find_charts(Charts(folder=str(own_lock), versions={"demo": "2.0.0"}), ("demo",), None)
    assert f"is not in {own_lock}/charts.lock; `make lock FOLDER={quote(str(own_lock))}`" in problem.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[chart", "can't be read"),
        ('[[chart]]\nname = "demo"', "can't be read"),
        ('[[chart]]\nname = "demo"\nversion = "1.2.3"\nsha256 = "abc"', "the sha256 of demo 1.2.3 is neither"),
        ('[[chart]]\nname = "demo"\nversion = "1.2.3"\nsha256 = "unconfirmed"', "nor a repository that could be asked"),
        ("chart = 1", "can't be read"),
        ("", "can't be read"),
    ],
)
def test_broken_lock_is_one_fault(text: str, reason: str, own_lock: Path) -> None:
    (own_lock / LOCK).write_text(text)
    _, (problem,) = find_charts(Charts(folder=str(own_lock)), ("demo",), None)
    assert problem.key == "charts.lock"
    assert problem.value == str(own_lock / LOCK)
    assert reason in problem.reason


# The program's own


def test_missing_charts_are_reported_beside_all_other_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("settings.charts.find.PROJECT", tmp_path)
    (tmp_path / "charts.lock").write_text((PROJECT / "charts.lock").read_text())
    raw = core_config() | {"cluster": {"domain": "x.local"}, "charts": {"folder": "nowhere"}}
    with pytest.raises(ConfigError) as caught:
        parse(raw, partial(find_charts, default_folder=None), STAND_IN_SECRETS)
    keys = {problem.key for problem in caught.value.problems}
    assert keys == {"charts.versions.cilium", "charts.versions.ingress-nginx", "cluster.domain"}


def test_chart_that_this_program_does_not_deploy_is_refused() -> None:
    _, problems = find_charts(Charts(versions={"celium": "1.0.0"}), (), "nowhere")
    assert problems[0].key == "charts.versions.celium"
    assert "did you mean cilium?" in problems[0].reason


def test_lock_has_every_chart_of_the_program_once() -> None:
    locked = [(entry.name, entry.version) for entry in read_lock(PROJECT / "charts.lock")]
    assert set(CHART_VERSIONS.items()) <= set(locked)
    assert len(set(locked)) == len(locked)


def test_charts_that_nobody_confirmed_come_over_tls() -> None:
    unconfirmed = [entry for entry in read_lock(PROJECT / "charts.lock") if entry.sha256 == UNCONFIRMED]
    assert all(entry.repository.startswith("https://") for entry in unconfirmed)


def test_setting_picks_another_locked_version() -> None:
    assert settings_with({"charts": {"versions": {"cilium": "1.19.5"}}}).charts["cilium"].version == "1.19.5"


@pytest.mark.render
def test_archives_at_hand_are_those_of_their_lock() -> None:
    folder = charts_folder()
    if folder is None:
        pytest.skip("no real charts: neither CHARTS_DIR nor ../shared/charts is there")
    own: dict[str, Any] = {"folder": str(folder)}
    _, problems = find_charts(Charts(**own), tuple(CHART_VERSIONS), None)
    assert problems == []
