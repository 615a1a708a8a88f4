"""Charts: pinned, proved by digest, the same plan from every source, and one clear error when one can't be had."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import settings
from components.charts import Chart, Charts, ChartUnavailableError, LockedChart, read_lock, resolve
from components.settings import CHART_VERSIONS, ConfigError, find_charts
from tests.configs import PROJECT, STAND_IN_SECRETS, charts_folder, core_config, settings_with
from toolchain import lock_chart

pytestmark = pytest.mark.unit


def archive(text: str = "name: demo\nversion: 1.2.3") -> bytes:
    """A small chart archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("demo/Chart.yaml")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


CONTENT = archive()
LOCKED = LockedChart("demo", "1.2.3", "https://charts.invalid", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts/demo-1.2.3.tgz").write_bytes(CONTENT)
    return tmp_path / "charts"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002 - the name of the overridden argument


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A Helm repository on loopback: its address and its folder."""
    root = tmp_path / "repository"
    root.mkdir()
    index = {"apiVersion": "v1", "entries": {"demo": [{"version": "1.2.3", "urls": ["files/demo-1.2.3.tgz"]}]}}
    (root / "index.yaml").write_text(yaml.safe_dump(index))
    (root / "files").mkdir()
    (root / "files/demo-1.2.3.tgz").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", root
    server.shutdown()
    server.server_close()


def test_chart_from_a_folder_is_brought_to_the_projects_cache(project: Path, folder: Path) -> None:
    charts, problems = resolve({"demo": "1.2.3"}, [LOCKED], folder, project)
    assert problems == []
    assert charts == {"demo": Chart("demo", "1.2.3", ".cache/charts/demo-1.2.3.tgz")}
    assert (project / charts["demo"].path).read_bytes() == CONTENT


def test_plan_is_the_same_from_a_folder_and_from_a_repository(
    tmp_path: Path, project: Path, folder: Path, repository: tuple[str, Path]
) -> None:
    """The path in the release's inputs must not tell where the chart came from, or two operators undo each other."""
    other = tmp_path / "other"
    served = LockedChart("demo", "1.2.3", repository[0], LOCKED.sha256)
    assert resolve({"demo": "1.2.3"}, [LOCKED], folder, project) == resolve({"demo": "1.2.3"}, [served], None, other)
    assert (other / ".cache/charts/demo-1.2.3.tgz").read_bytes() == CONTENT


def test_chart_at_hand_is_not_fetched_again(project: Path, repository: tuple[str, Path]) -> None:
    address, root = repository
    served = LockedChart("demo", "1.2.3", address, LOCKED.sha256)
    resolve({"demo": "1.2.3"}, [served], None, project)
    (root / "index.yaml").unlink()
    assert resolve({"demo": "1.2.3"}, [served], None, project)[1] == []


def test_damaged_chart_in_the_cache_is_fetched_again(project: Path, folder: Path) -> None:
    charts, _ = resolve({"demo": "1.2.3"}, [LOCKED], folder, project)
    (project / charts["demo"].path).write_bytes(CONTENT[:100])
    assert resolve({"demo": "1.2.3"}, [LOCKED], folder, project)[1] == []
    assert (project / charts["demo"].path).read_bytes() == CONTENT


@pytest.mark.parametrize("source", ["folder", "repository"])
def test_chart_with_another_digest_is_refused_and_not_kept(
    source: str, project: Path, folder: Path, repository: tuple[str, Path]
) -> None:
    other = archive("name: demo # changed")
    (folder / "demo-1.2.3.tgz").write_bytes(other)
    (repository[1] / "files/demo-1.2.3.tgz").write_bytes(other)
    locked = LockedChart("demo", "1.2.3", repository[0], LOCKED.sha256)
    charts, problems = resolve({"demo": "1.2.3"}, [locked], folder if source == "folder" else None, project)
    assert charts == {}
    assert "not the chart that was reviewed" in problems[0].reason
    assert "correct its entry in charts.lock" in str(problems[0].example), "the same archive again is no remedy"
    assert not (project / ".cache/charts/demo-1.2.3.tgz").exists()


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ("entries: {demo: [{version: 9.9.9, urls: [x]}]}", "has no demo 1.2.3"),
        ("<html>not a repository</html>", "does not answer as a Helm repository"),
        ("[unclosed", "does not answer as a Helm repository"),
        (None, "can't be reached: File not found"),
    ],
)
def test_repository_without_the_chart_gives_its_reason(
    index: str | None, reason: str, project: Path, repository: tuple[str, Path]
) -> None:
    address, root = repository
    (root / "index.yaml").unlink()
    if index:
        (root / "index.yaml").write_text(index)
    _, problems = resolve({"demo": "1.2.3"}, [LockedChart("demo", "1.2.3", address, "0")], None, project)
    assert reason in problems[0].reason.replace("Not Found", "File not found")


def test_chart_that_cannot_be_had_names_both_remedies(project: Path, tmp_path: Path) -> None:
    nobody = LockedChart("demo", "1.2.3", "http://127.0.0.1:9", "0")
    for folder in (None, tmp_path / "empty"):
        _, problems = resolve({"demo": "1.2.3"}, [nobody], folder, project)
        assert problems[0].key == "charts.versions.demo"
        assert "http://127.0.0.1:9" in str(problems[0].example)
        assert "charts.folder" in str(problems[0].example)
        assert "CHARTS_DIR" in str(problems[0].example)


def test_version_that_nobody_reviewed_is_refused(project: Path, folder: Path) -> None:
    _, problems = resolve({"demo": "2.0.0"}, [LOCKED], folder, project)
    assert "is not in charts.lock" in problems[0].reason
    assert problems[0].example == "1.2.3"


def test_missing_charts_are_reported_beside_all_other_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "PROJECT", tmp_path)
    (tmp_path / "charts.lock").write_text((PROJECT / "charts.lock").read_text())
    raw = core_config() | {"cluster": {"domain": "x.local"}, "charts": {"folder": "nowhere"}}
    with pytest.raises(ConfigError) as caught:
        settings.parse(raw, partial(find_charts, default_folder=None), STAND_IN_SECRETS)
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


def test_setting_picks_another_locked_version() -> None:
    assert settings_with({"charts": {"versions": {"cilium": "1.19.5"}}}).charts["cilium"].version == "1.19.5"


@pytest.mark.render
def test_archives_at_hand_are_those_of_the_lock() -> None:
    folder = charts_folder()
    if folder is None:
        pytest.skip("no real charts: neither CHARTS_DIR nor ../shared/charts is there")
    for entry in read_lock(PROJECT / "charts.lock"):
        assert hashlib.sha256((folder / entry.archive).read_bytes()).hexdigest() == entry.sha256, entry.archive


def test_locking_a_chart_writes_the_digest_of_what_was_fetched(tmp_path: Path, repository: tuple[str, Path]) -> None:
    lock = tmp_path / "charts.lock"
    lock.write_text(f'[[chart]]\nname = "demo"\nversion = "1.0.0"\nrepository = "{repository[0]}"\nsha256 = "0"\n')
    said = lock_chart.add(lock, "demo", "1.2.3", None, None)
    assert read_lock(lock)[-1] == LockedChart("demo", "1.2.3", repository[0], LOCKED.sha256)
    assert LOCKED.sha256 in said
    before = lock.read_text()
    assert "locked already" in lock_chart.add(lock, "demo", "1.2.3", None, None)
    assert lock.read_text() == before


@pytest.mark.parametrize(
    "content",
    [b"junk", archive("name: other"), archive("name: demo\nversion: 1.2.4")],
    ids=["no archive", "another chart", "another version"],
)
def test_locking_takes_nothing_but_that_chart(content: bytes, tmp_path: Path, folder: Path) -> None:
    lock = tmp_path / "charts.lock"
    lock.write_text((PROJECT / "charts.lock").read_text())
    (folder / "demo-1.2.3.tgz").write_bytes(content)
    with pytest.raises(ChartUnavailableError):
        lock_chart.add(lock, "demo", "1.2.3", "https://charts.invalid", folder)
    assert lock.read_text() == (PROJECT / "charts.lock").read_text()


def test_repository_that_names_a_file_of_this_machine_is_not_followed(
    project: Path, repository: tuple[str, Path]
) -> None:
    address, root = repository
    (root / "index.yaml").write_text("entries: {demo: [{version: 1.2.3, urls: ['file:///etc/hostname']}]}")
    _, problems = resolve({"demo": "1.2.3"}, [LockedChart("demo", "1.2.3", address, "0")], None, project)
    assert "is not an HTTP address" in problems[0].reason


def test_locking_an_unknown_chart_asks_for_its_repository(tmp_path: Path) -> None:
    lock = tmp_path / "charts.lock"
    lock.write_text((PROJECT / "charts.lock").read_text())
    with pytest.raises(ChartUnavailableError, match="give its repository"):
        lock_chart.add(lock, "demo", "1.2.3", None, None)
