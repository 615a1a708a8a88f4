"""Charts from a Helm repository: what is taken and what refused, and what a chart that nobody confirmed may be."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml

from settings.charts.archive import content_key
from settings.charts.find import resolve
from settings.charts.lock import UNCONFIRMED, FirstUse, Lock, LockedChart
from settings.charts.model import Chart
from settings.charts.repository import download, find_version
from settings.fields import Problem
from tests.support.chart_repository import Repository, archive, serving, sha256

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("no_engine")]

CONTENT = archive()
OTHER = archive("name: demo\nversion: 1.2.3\ndescription: changed")
WANTED = {"demo": "1.2.3"}


@pytest.fixture
def repository() -> Iterator[Repository]:
    with serving() as served:
        served.publish(CONTENT)
        yield served


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def obtained(
    entry: LockedChart, project: Path, folder: Path | None = None, file: str = "charts.lock"
) -> tuple[dict[str, Chart], list[Problem]]:
    return resolve(WANTED, Lock(project / file, [entry], project), folder, project)


def refused(entry: LockedChart, project: Path, folder: Path | None = None) -> tuple[str, str]:
    """Reason and remedy of the only problem."""
    charts, (problem,) = obtained(entry, project, folder)
    assert charts == {}
    assert problem.key == "charts.versions.demo"
    assert not list(project.glob(".cache/charts/**/*.tgz")), "what is refused must not be kept"
    return problem.reason, str(problem.example)


def taken(entry: LockedChart, project: Path) -> bytes:
    charts, problems = obtained(entry, project)
    assert problems == []
    return (project / charts["demo"].path).read_bytes()


# Any chart


@pytest.mark.parametrize("url", ["files/demo-1.2.3.tgz", "/elsewhere/demo-1.2.3-1766063251-a648.tgz", "whole"])
def test_archive_is_taken_from_where_the_index_says(url: str, project: Path, repository: Repository) -> None:
    repository.publish(CONTENT, f"{repository.address}/at/any.tgz" if url == "whole" else url)
    assert taken(repository.entry(sha256(CONTENT)), project) == CONTENT


def test_index_in_a_folder_of_the_server_is_the_base_of_relative_addresses(
    project: Path, repository: Repository
) -> None:
    repository.files = {f"/helm{path}": content for path, content in repository.files.items()}
    entry = LockedChart("demo", "1.2.3", sha256(CONTENT), f"{repository.address}/helm")
    assert taken(entry, project) == CONTENT


@pytest.mark.parametrize("sha", [sha256(CONTENT), UNCONFIRMED], ids=["pinned", "unconfirmed"])
def test_redirects_are_followed(sha: str, project: Path, repository: Repository) -> None:
    repository.files["/there/index.yaml"] = repository.files.pop("/index.yaml")
    repository.files["/there/demo.tgz"] = repository.files.pop("/files/demo-1.2.3.tgz")
    repository.redirects = {"/index.yaml": "/there/index.yaml", "/files/demo-1.2.3.tgz": "/there/demo.tgz"}
    assert taken(repository.entry(sha), project) == CONTENT


def test_another_archive_than_the_locked_one_is_refused(project: Path, repository: Repository) -> None:
    repository.publish(OTHER)
    reason, remedy = refused(repository.entry(sha256(CONTENT)), project)
    assert f"has SHA-256 {sha256(OTHER)}, but charts.lock names {sha256(CONTENT)}" in reason
    assert "correct its entry in charts.lock" in remedy, "the same archive again is no remedy"


def test_locked_digest_counts_and_not_that_of_the_index(project: Path, repository: Repository) -> None:
    repository.publish(CONTENT, digest=None)
    assert taken(repository.entry(sha256(CONTENT)), project) == CONTENT


@pytest.mark.parametrize("sha", [sha256(CONTENT), UNCONFIRMED], ids=["pinned", "unconfirmed"])
@pytest.mark.parametrize("path", ["/index.yaml", "/files/demo-1.2.3.tgz"])
def test_download_that_ends_early_is_no_chart(sha: str, path: str, project: Path, repository: Repository) -> None:
    repository.truncated = {path}
    size = len(repository.files[path])
    reason, _ = refused(repository.entry(sha), project)
    assert f"{path} ended after {size // 2} of {size} bytes" in reason
    repository.truncated = set()
    assert taken(repository.entry(sha), project) == CONTENT


@pytest.mark.parametrize("path", ["/index.yaml", "/files/demo-1.2.3.tgz"])
@pytest.mark.parametrize("part", ["slow", "slow_headers"])
def test_server_that_drips_does_not_hold_the_program_up(
    part: str, path: str, project: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes in time; only the whole takes too long."""
    getattr(repository, part).add(path)
    monkeypatch.setattr("settings.charts.repository.LIMIT_SECONDS", 1)
    reason, _ = refused(repository.entry(sha256(CONTENT)), project)
    assert "took longer than 1 s" in reason
    assert not repository.closing.is_set()


def test_silent_server_is_given_up(project: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.slow = {"/index.yaml"}
    monkeypatch.setattr("settings.charts.repository.PAUSE_SECONDS", 0.01)
    reason, _ = refused(repository.entry(sha256(CONTENT)), project)
    assert "timed out" in reason


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ("entries: {demo: [{version: 9.9.9, urls: [x]}]}", "has no demo 1.2.3"),
        ("entries:\n  demo:\n  - version: 1.2.3\n    urls: []", "has no demo 1.2.3"),
        ("<html>not a repository</html>", "does not answer as a Helm repository"),
        ("[unclosed", "does not answer as a Helm repository"),
        ("entries:\n  demo:\n  - [version 1.2.3", "does not answer as a Helm repository"),
        ("\udcff", "does not answer as a Helm repository"),
        (None, "can't be reached: Not Found"),
        ("entries: {demo: [{version: 1.2.3, urls: ['file:///etc/hostname']}]}", "is not an HTTP address"),
    ],
)
def test_repository_without_the_chart_gives_its_reason(
    index: str | None, reason: str, project: Path, repository: Repository
) -> None:
    del repository.files["/index.yaml"]
    if index:
        repository.files["/index.yaml"] = index.encode(errors="surrogateescape")
    assert reason in refused(repository.entry("0" * 64), project)[0]


def test_redirect_to_a_file_of_this_machine_is_not_followed(project: Path, repository: Repository) -> None:
    repository.redirects = {"/index.yaml": "ftp://127.0.0.1/index.yaml"}
    assert "is not an HTTP address" in refused(repository.entry("0" * 64), project)[0]


# Charts whose digest nobody could confirm


def test_first_use_is_said_once_and_counts(
    project: Path, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = repository.entry(UNCONFIRMED)
    assert taken(entry, project) == CONTENT
    (line,) = capsys.readouterr().err.splitlines()
    assert "demo 1.2.3 is used for the first time" in line
    assert sha256(CONTENT) in line
    assert "`make lock CHART=demo VERSION=1.2.3` pins it" in line
    repository.asked.clear()
    assert taken(entry, project) == CONTENT
    assert (capsys.readouterr().err, repository.asked) == ("", []), "what is at hand is neither fetched nor spoken of"


def test_another_archive_after_the_first_use_is_refused(project: Path, repository: Repository) -> None:
    entry = repository.entry(UNCONFIRMED)
    taken(entry, project)
    remove(project / ".cache/charts")
    repository.publish(OTHER)
    reason, remedy = refused(entry, project)
    assert f"has SHA-256 {sha256(OTHER)}, but at its first use it had {sha256(CONTENT)}" in reason
    record = ".cache/first-use/charts.lock/demo-1.2.3"
    assert f"remove {record}" in remedy
    repository.publish(CONTENT)
    assert taken(entry, project) == CONTENT
    remove(project / ".cache/charts")
    (project / record).unlink()
    repository.publish(OTHER)
    assert taken(entry, project) == OTHER, "the remedy must be one"


def test_archive_that_is_not_the_one_of_the_index_is_refused(project: Path, repository: Repository) -> None:
    repository.files["/files/demo-1.2.3.tgz"] = OTHER
    reason, _ = refused(repository.entry(UNCONFIRMED), project)
    assert f"has SHA-256 {sha256(OTHER)}, but the index names {sha256(CONTENT)}" in reason
    repository.publish(CONTENT)
    assert taken(repository.entry(UNCONFIRMED), project) == CONTENT, "what is refused was not used"


@pytest.mark.parametrize("digest", [None, "", "sha512:00", 7])
def test_index_without_a_digest_proves_nothing(digest: Any, project: Path, repository: Repository) -> None:
    repository.publish(CONTENT, digest=digest)
    reason, remedy = refused(repository.entry(UNCONFIRMED), project)
    assert "nobody has confirmed the digest of demo 1.2.3, and the index of http://127.0.0.1" in reason
    assert "pin what it serves" in remedy
    assert "`make lock CHART=demo VERSION=1.2.3`" in remedy
    assert "/files/demo-1.2.3.tgz" not in repository.asked


def test_index_that_does_not_come_over_tls_proves_nothing(project: Path, repository: Repository) -> None:
    plain = LockedChart("demo", "1.2.3", UNCONFIRMED, "http://charts.invalid")
    assert "http://charts.invalid/index.yaml is not read over TLS" in refused(plain, project)[0]
    repository.redirects = {"/index.yaml": "http://charts.invalid/index.yaml"}
    reason, remedy = refused(repository.entry(UNCONFIRMED), project)
    assert "http://charts.invalid/index.yaml is not read over TLS" in reason
    assert "make lock CHART=demo VERSION=1.2.3" in remedy


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (archive("name: demo\nversion: 1.2.4"), "what was found as demo-1.2.3.tgz holds demo 1.2.4"),
        (b"junk", "what was found as demo-1.2.3.tgz is no archive of a chart"),
    ],
    ids=["another version", "junk"],
)
def test_first_use_takes_nothing_but_that_chart(
    content: bytes, reason: str, project: Path, repository: Repository
) -> None:
    repository.publish(content)
    assert reason in refused(repository.entry(UNCONFIRMED), project)[0]
    repository.publish(CONTENT)
    assert taken(repository.entry(UNCONFIRMED), project) == CONTENT


def test_folder_proves_no_unconfirmed_chart(project: Path, tmp_path: Path, repository: Repository) -> None:
    folder = tmp_path / "charts"
    folder.mkdir()
    (folder / "demo-1.2.3.tgz").write_bytes(CONTENT)
    _, remedy = refused(repository.entry(UNCONFIRMED), project, folder)
    assert f"make lock FOLDER={quote(str(folder))}" in remedy
    taken(repository.entry(UNCONFIRMED), project)
    remove(project / ".cache/charts")
    assert not obtained(repository.entry(UNCONFIRMED), project, folder)[1], "it is the archive of the first use"


def test_each_lock_file_has_first_uses_of_its_own(project: Path, repository: Repository) -> None:
    entry = repository.entry(UNCONFIRMED)
    taken(entry, project)
    repository.publish(OTHER)
    paths = [obtained(entry, project, file=file)[0]["demo"].path for file in ("charts.lock", "own.lock", "charts.lock")]
    assert [(project / path).read_bytes() for path in paths] == [CONTENT, OTHER, CONTENT]


def test_of_two_processes_at_once_one_is_first(
    project: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process records another archive while this one downloads: both can't be right."""
    entry = repository.entry(UNCONFIRMED)
    record = Lock(project / "charts.lock", [entry], project).first_use(entry)

    def meanwhile(*arguments: Any) -> bytes:
        assert record.write(sha256(OTHER))
        return download(*arguments)

    monkeypatch.setattr("settings.charts.repository.download", meanwhile)
    assert f"at its first use it had {sha256(OTHER)}" in refused(entry, project)[0]


def test_record_of_first_use_is_written_by_one_process_alone(tmp_path: Path) -> None:
    digests = [f"{number:064x}" for number in range(8)]
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as processes:
        first = list(processes.map(FirstUse(tmp_path / "records/demo-1.2.3", "").write, digests))
    assert first.count(True) == 1
    assert FirstUse(tmp_path / "records/demo-1.2.3", "").read() == digests[first.index(True)]
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["demo-1.2.3"], "something is left behind"


def test_damaged_record_is_no_first_use(project: Path, repository: Repository) -> None:
    record = project / ".cache/first-use/charts.lock/demo-1.2.3"
    record.parent.mkdir(parents=True)
    record.write_text("abc")
    reason, remedy = refused(repository.entry(UNCONFIRMED), project)
    assert ".cache/first-use/charts.lock/demo-1.2.3" in reason
    assert "remove .cache/first-use/charts.lock/demo-1.2.3" in remedy


# Indexes


VERSION = """\
  - annotations:
      artifacthub.io/crds: |
        - kind: CiliumNetworkPolicy
          version: v2
          description: |
            entries:
              chart-9:
              - version: 9.9.9
    apiVersion: v2
    appVersion: {version}
    created: "2026-05-01T10:00:00.000000000Z"
    description: Networking, security, and observability of a chart that has many versions
    digest: {digest}
    home: https://example.com/
    keywords:
    - BPF
    - Networking
    name: {name}
    sources:
    - https://example.com/sources/of/a/chart/that/has/many/versions
    urls:
    - charts/{name}-{version}.tgz
    version: {version}
"""


def large_index(charts: int, versions: int) -> str:
    lines = ["apiVersion: v1\nentries:\n"]
    for chart in range(charts):
        lines.append(f"  chart-{chart}:\n")
        lines += [
            VERSION.format(name=f"chart-{chart}", version=f"1.{number}.0", digest=f"{chart * versions + number:064x}")
            for number in range(versions)
        ]
    return "".join([*lines, 'generated: "2026-05-01T10:00:00Z"\n'])


@pytest.mark.parametrize(("charts", "versions"), [(1, 15000), (150, 100)])
def test_index_of_ten_megabytes_takes_no_time(charts: int, versions: int) -> None:
    """The bound is of processor time and far from what it takes; to read it all as YAML takes 3 s even with libyaml."""
    index = large_index(charts, versions)
    assert len(index) > 10_000_000
    for version, there in ((f"1.{versions - 1}.0", True), ("7.7.7", False)):
        start = time.process_time()
        found = find_version(index, f"chart-{charts - 1}", version)
        assert time.process_time() - start < 2
        assert (found is not None) is there
        if found:
            assert found["digest"] == f"{charts * versions - 1:064x}"


INDENTED = yaml.safe_dump(yaml.safe_load(large_index(3, 3)), indent=4)


@pytest.mark.parametrize(
    "index",
    [
        large_index(3, 3),
        large_index(3, 3).replace("  chart-1:\n", '  "chart-1":\n'),
        large_index(3, 3)
        .replace("\n  - ", "\n    - ")
        .replace("\n    ", "\n      ")
        .replace("      - ann", "    - ann"),
        large_index(3, 3).replace("entries:\n  chart", "# what there is\nentries: # by name\n  chart", 1),
        large_index(3, 3).replace("\n", "\r\n"),
        INDENTED,
        json.dumps(yaml.safe_load(large_index(3, 3))),
        json.dumps(yaml.safe_load(large_index(3, 3)), indent=2),
        yaml.safe_dump(yaml.safe_load(large_index(3, 3)), default_flow_style=True),
        large_index(3, 3).replace("keywords:\n    - BPF", "keywords: &words\n    - BPF", 1),
    ],
    ids=["as Helm", "quoted", "deeper", "comments", "CRLF", "PyYAML", "JSON", "JSON indented", "flow", "anchor"],
)
def test_index_of_every_form_says_the_same(index: str) -> None:
    whole = yaml.safe_load(index)["entries"]
    for chart in ("chart-0", "chart-1", "chart-2"):
        for version in ("1.0.0", "1.1.0", "1.2.0"):
            expected = next(each for each in whole[chart] if each["version"] == version)
            assert find_version(index, chart, version) == expected
        assert find_version(index, chart, "1.3.0") is None
    assert find_version(index, "chart-9", "9.9.9") is None


# Content


def test_content_counts_and_not_how_it_was_packed() -> None:
    first, again = archive(files=("a", "b")), archive(files=("b", "a"), time=1)
    assert first != again
    assert content_key(first) == content_key(again)
    assert len({content_key(each) for each in (first, OTHER, CONTENT, archive(files=("a", "c")))}) == 4


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
