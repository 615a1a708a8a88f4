"""Where charts come from: the user's folder, the shared one or the stand-ins, which never pass for upstream's."""

import shutil
import tarfile
from pathlib import Path

import pytest
import yaml

from rehearsal import chart_source
from rehearsal.chart_source import ChartSource, stand_in_charts
from settings.charts.find import find_charts
from settings.charts.lock import LOCK, LockedChart, digest, read_lock
from settings.charts.model import Charts
from tests.support.configs import PROJECT
from tests.support.stand_in_charts import stand_in


@pytest.mark.unit
def test_packaging_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = stand_in_charts(tmp_path / "a"), stand_in_charts(tmp_path / "b")
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == {
        path.name: path.read_bytes() for path in second.folder.iterdir()
    }


@pytest.mark.unit
def test_every_locked_chart_has_its_stand_in(stand_ins: ChartSource) -> None:
    locked, own = read_lock(PROJECT / "charts.lock"), read_lock(stand_ins.folder / "charts.lock")
    assert [(each.name, each.version) for each in own] == [(each.name, each.version) for each in locked]
    assert not {each.sha256 for each in own} & {each.sha256 for each in locked}
    for each in own:
        with tarfile.open(stand_ins.folder / each.archive) as archive:
            content = archive.extractfile(f"{each.name}/Chart.yaml")
            assert content is not None
            chart = yaml.safe_load(content)
        assert (chart["name"], chart["version"]) == (each.name, each.version)


@pytest.mark.unit
def test_charts_dir_comes_first_then_the_shared_folder_then_the_stand_ins(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    assert chart_source.choose({}, project).kind == "stand-in"
    assert chart_source.choose({"CHARTS_DIR": ""}, project).folder == project / ".cache/rehearsal/charts"
    (tmp_path / "shared/charts").mkdir(parents=True)
    shared = chart_source.choose({}, project)
    assert (shared.kind, shared.settings) == ("upstream", {"folder": str(tmp_path / "shared/charts")})
    assert str(shared) == f"upstream charts from {tmp_path / 'shared/charts'}"
    (tmp_path / "shared/charts/charts.lock").touch()
    locked = chart_source.choose({}, project)
    assert locked == shared
    assert str(locked) == f"upstream charts from {tmp_path / 'shared/charts'} with its own charts.lock"
    (project / "own").mkdir()
    assert chart_source.choose({"CHARTS_DIR": "own"}, project).folder == project / "own"
    with pytest.raises(NotADirectoryError, match="CHARTS_DIR=nowhere"):
        chart_source.choose({"CHARTS_DIR": "nowhere"}, project)


@pytest.mark.unit
def test_stand_in_and_upstreams_chart_of_a_version_never_take_each_others_place(
    stand_ins: ChartSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = tmp_path / "upstream"
    upstream.mkdir()
    shutil.copytree(chart_source.CHARTS / "k8s-gateway", copy := tmp_path / "k8s-gateway")
    (copy / "values.yaml").write_text("upstream: true\n")
    content = chart_source.archive(copy, "3.7.2")
    (upstream / "k8s-gateway-3.7.2.tgz").write_bytes(content)
    (upstream / LOCK).write_text(LockedChart("k8s-gateway", "3.7.2", digest(content)).as_toml())
    monkeypatch.setattr("settings.charts.find.PROJECT", tmp_path)
    for _ in range(2):
        paths = []
        for group in ({"folder": str(upstream)}, stand_ins.settings):
            found, problems = find_charts(Charts.model_validate(group), ("k8s-gateway",), None)
            assert not problems
            paths.append(found["k8s-gateway"].path)
        assert (tmp_path / paths[0]).read_bytes() == content
        assert (tmp_path / paths[1]).read_bytes() == stand_in(stand_ins, "k8s-gateway").read_bytes()


@pytest.mark.unit
def test_stand_in_is_no_chart_of_the_projects_own_lock(
    stand_ins: ChartSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(PROJECT / "charts.lock", tmp_path)
    monkeypatch.setattr("settings.charts.find.PROJECT", tmp_path)
    _, problems = find_charts(Charts(folder=str(stand_ins.folder), lock="charts.lock"), ("external-dns",), None)
    assert "is not the chart that was reviewed" in problems[0].reason
