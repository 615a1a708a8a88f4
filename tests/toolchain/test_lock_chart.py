"""`make lock`: a chart from its repository, one that was used before anybody confirmed it, a folder of archives."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from settings.charts.find import lock_file, resolve
from settings.charts.lock import LOCK, UNCONFIRMED, ChartUnavailableError, Lock, LockedChart, read_lock
from settings.charts.model import Charts
from tests.support.chart_repository import Repository, archive, serving, sha256
from toolchain import lock_chart

pytestmark = pytest.mark.unit

CONTENT = archive()
OTHER = archive("name: demo\nversion: 1.2.3\ndescription: changed")
HEADER = "# What we run.\n"


@pytest.fixture
def repository() -> Iterator[Repository]:
    with serving() as served:
        served.publish(CONTENT)
        yield served


def lock_with(tmp_path: Path, *entries: LockedChart) -> Lock:
    (tmp_path / LOCK).write_text(HEADER + "\n" + "\n".join(entry.as_toml() for entry in entries))
    return Lock.read(tmp_path / LOCK, tmp_path)


def before(repository: Repository) -> LockedChart:
    return LockedChart("demo", "1.0.0", "0" * 64, repository.address)


def test_locking_a_chart_writes_the_digest_of_what_its_repository_serves(
    tmp_path: Path, repository: Repository
) -> None:
    said = lock_chart.pin(lock_with(tmp_path, before(repository)), "demo", "1.2.3", None)
    assert read_lock(tmp_path / LOCK) == [before(repository), repository.entry(sha256(CONTENT))]
    assert sha256(CONTENT) in said
    assert "as its index says" in said
    text = (tmp_path / LOCK).read_text()
    assert text.startswith(HEADER)
    assert "locked already" in lock_chart.pin(Lock.read(tmp_path / LOCK, tmp_path), "demo", "1.2.3", None)
    assert (tmp_path / LOCK).read_text() == text


def test_unconfirmed_chart_becomes_a_pinned_one(tmp_path: Path, repository: Repository) -> None:
    others = before(repository), LockedChart("later", "1.2.3", UNCONFIRMED, repository.address)
    lock = lock_with(tmp_path, others[0], repository.entry(UNCONFIRMED), others[1])
    lock_chart.pin(lock, "demo", "1.2.3", None)
    assert read_lock(tmp_path / LOCK) == [others[0], repository.entry(sha256(CONTENT)), others[1]]
    assert (tmp_path / LOCK).read_text().startswith(HEADER)


def test_archive_of_the_first_use_is_the_one_that_is_pinned(tmp_path: Path, repository: Repository) -> None:
    lock = lock_with(tmp_path, repository.entry(UNCONFIRMED))
    assert not resolve({"demo": "1.2.3"}, lock, None, tmp_path)[1]
    repository.publish(OTHER)
    said = lock_chart.pin(lock, "demo", "1.2.3", None)
    assert "as it was at its first use" in said
    assert read_lock(tmp_path / LOCK) == [repository.entry(sha256(CONTENT))]


def test_index_without_a_digest_is_said(tmp_path: Path, repository: Repository) -> None:
    repository.publish(CONTENT, digest=None)
    said = lock_chart.pin(lock_with(tmp_path, repository.entry(UNCONFIRMED)), "demo", "1.2.3", None)
    assert "whose index names no digest" in said
    assert read_lock(tmp_path / LOCK)[0].sha256 == sha256(CONTENT)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"junk", "is no archive of a chart"),
        (archive("name: other\nversion: 1.2.3"), "has other in a folder of another name"),
        (archive("name: demo\nversion: 1.2.4"), "holds demo 1.2.4"),
    ],
    ids=["junk", "another chart", "another version"],
)
def test_locking_takes_nothing_but_that_chart(
    content: bytes, reason: str, tmp_path: Path, repository: Repository
) -> None:
    repository.publish(content)
    lock = lock_with(tmp_path, before(repository))
    with pytest.raises(ChartUnavailableError, match=reason):
        lock_chart.pin(lock, "demo", "1.2.3", None)
    assert read_lock(tmp_path / LOCK) == lock.charts


def test_archive_that_is_not_the_one_of_the_index_is_not_locked(tmp_path: Path, repository: Repository) -> None:
    repository.files["/files/demo-1.2.3.tgz"] = OTHER
    with pytest.raises(ChartUnavailableError, match="but the index names"):
        lock_chart.pin(lock_with(tmp_path, before(repository)), "demo", "1.2.3", None)


def test_locking_an_unknown_chart_asks_for_its_repository(tmp_path: Path, repository: Repository) -> None:
    lock = lock_with(tmp_path, LockedChart("another", "1.0.0", "0" * 64, "https://charts.invalid"))
    with pytest.raises(ChartUnavailableError, match="REPOSITORY=url"):
        lock_chart.pin(lock, "demo", "1.2.3", None)
    lock_chart.pin(lock, "demo", "1.2.3", repository.address)
    assert read_lock(tmp_path / LOCK)[-1] == repository.entry(sha256(CONTENT))


# A folder of archives


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts/demo-1.2.3.tgz").write_bytes(CONTENT)
    return tmp_path / "charts"


def test_folder_gets_a_lock_that_counts_for_it(folder: Path, tmp_path: Path) -> None:
    known = [LockedChart("demo", "1.0.0", "0" * 64, "https://charts.invalid")]
    lines = lock_chart.pin_folder(folder, known)
    assert read_lock(folder / LOCK) == [LockedChart("demo", "1.2.3", sha256(CONTENT), "https://charts.invalid")]
    assert lines[0] == f"demo 1.2.3: {sha256(CONTENT)}"
    assert lock_file(Charts(), folder, tmp_path) == (folder / LOCK, folder)
    lock = Lock.read(folder / LOCK, tmp_path, folder)
    assert not resolve({"demo": "1.2.3"}, lock, folder, tmp_path)[1]


def test_each_run_says_what_is_there_now(folder: Path) -> None:
    lock_chart.pin_folder(folder, [LockedChart("demo", "1.2.3", "0" * 64, "https://charts.invalid")])
    (folder / "demo-1.2.3.tgz").write_bytes(OTHER)
    lock_chart.pin_folder(folder, [])
    expected = LockedChart("demo", "1.2.3", sha256(OTHER), "https://charts.invalid")
    assert read_lock(folder / LOCK) == [expected], "the repository is known from before"


@pytest.mark.parametrize(
    ("digest", "remark"),
    [
        (sha256(CONTENT), " (as in charts.lock)"),
        ("0" * 64, " (another archive than charts.lock names)"),
        (UNCONFIRMED, ""),
    ],
)
def test_archives_are_compared_with_the_projects_lock(digest: str, remark: str, folder: Path) -> None:
    lines = lock_chart.pin_folder(folder, [LockedChart("demo", "1.2.3", digest, "https://charts.invalid")])
    assert lines[0] == f"demo 1.2.3: {sha256(CONTENT)}{remark}"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("demo-1.2.4.tgz", CONTENT, "demo-1.2.4.tgz holds demo 1.2.3: name it demo-1.2.3.tgz"),
        ("junk-1.0.0.tgz", b"junk", "junk-1.0.0.tgz is no archive of a chart"),
    ],
    ids=["another version", "junk"],
)
def test_folder_with_something_else_is_not_locked(name: str, content: bytes, reason: str, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ChartUnavailableError, match=reason):
        lock_chart.pin_folder(folder, [])
    assert not (folder / LOCK).exists()


def test_folder_without_archives_is_said(tmp_path: Path) -> None:
    with pytest.raises(ChartUnavailableError, match="has no archives"):
        lock_chart.pin_folder(tmp_path, [])


# The command line


def test_command_locks_a_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `make lock FOLDER=...` calls it: what was not given is empty."""
    command = ["lock_chart", "", "", "--repository", "", "--lock", "", "--folder", str(folder)]
    monkeypatch.setattr("sys.argv", command)
    assert lock_chart.main() == 0
    assert f"{folder}/charts.lock counts" in capsys.readouterr().out


@pytest.mark.parametrize("given", [["", ""], ["cilium", ""], ["cilium", "1.0.0", "--folder", "charts"]])
def test_command_wants_one_chart_or_a_folder(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["lock_chart", *given])
    with pytest.raises(SystemExit):
        lock_chart.main()
    assert "make lock FOLDER=./charts" in capsys.readouterr().err


def test_command_says_a_fault_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["lock_chart", "--folder", str(tmp_path / "nowhere")])
    assert lock_chart.main() == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
