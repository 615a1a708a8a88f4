"""The user's PATH as it comes: folders that may not be read, links to nothing, files, relative and odd entries."""

import errno
import os
from pathlib import Path

import pytest

from tests.toolchain.fakes import FAKE_PROGRAM, run_cli, script, set_up
from toolchain import engine
from toolchain.layout import Layout, find_executable, search_path
from toolchain.stamp import all_inputs

pytestmark = pytest.mark.unit


@pytest.fixture
def odd(tmp_path: Path) -> list[str]:
    """Entries that hold no program, though some of them look like it."""
    names = ("file", "link/pulumi", "folder/pulumi", "loop", "plain/pulumi")
    file, link, folder, loop, plain = (tmp_path / "odd" / name for name in names)
    for parent in (file.parent, link.parent, folder, plain.parent):
        parent.mkdir(parents=True)
    file.touch()
    link.symlink_to("nowhere")
    loop.symlink_to(loop)
    plain.touch()
    entries = [file, link.parent, folder.parent, loop, plain.parent, tmp_path / "absent"]
    return [*map(str, entries), f"{tmp_path}/{'x' * 300}", os.fsdecode(os.fsencode(tmp_path) + b"/\xff")]


def test_what_holds_no_program_is_passed_over(tmp_path: Path, odd: list[str]) -> None:
    wanted = script(tmp_path / "last/pulumi", FAKE_PROGRAM)
    assert find_executable("pulumi", [*odd, str(wanted.parent)]) == wanted
    assert find_executable("pulumi", odd) is None


def test_a_folder_that_may_not_be_searched_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, wanted = script(tmp_path / "closed/pulumi", FAKE_PROGRAM), script(tmp_path / "open/pulumi", FAKE_PROGRAM)
    stat = os.stat

    def refuse(path: str | Path, **options: bool) -> os.stat_result:  # root may search every folder
        if str(path).startswith(str(closed.parent)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **options)

    closed.parent.chmod(0)
    monkeypatch.setattr(os, "stat", refuse)
    try:
        assert find_executable("pulumi", [str(closed.parent), str(wanted.parent)]) == wanted
    finally:
        closed.parent.chmod(0o755)


def test_set_up_goes_on_whatever_is_on_path(layout: Layout, odd: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join([*odd, "", os.environ["PATH"], ""]))
    done = run_cli(layout)
    assert done.returncode == 0, done.stderr
    assert run_cli(layout).stderr == ""


def test_relative_folders_mean_the_same_wherever_a_tool_runs(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(layout.root)
    assert search_path(layout, {"PATH": "own/bin::/usr/bin:"}) == [f"{layout.root}/own/bin", "/usr/bin"]


def test_only_the_projects_own_folders_are_left_out(layout: Layout) -> None:
    near = f"{layout.cache}-of-mine/bin"
    path = os.pathsep.join([str(layout.bin), str(layout.venv / "bin"), near])
    assert search_path(layout, {"PATH": path}) == [near]


def test_a_pulumi_in_a_folder_whose_name_is_no_text_counts_too(layout: Layout, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    without = all_inputs(layout, {"PATH": str(folder)})
    script(folder / "pulumi", FAKE_PROGRAM)
    assert all_inputs(layout, {"PATH": str(folder)}) != without


@pytest.mark.usefixtures("fakes")
def test_a_program_that_answers_no_text_has_no_version(tmp_path: Path) -> None:
    assert engine.version_of(script(tmp_path / "pulumi", "#!/bin/sh\nprintf '\\377'\n")) is None


@pytest.mark.usefixtures("quick_venvs")
def test_a_home_of_pulumi_that_may_not_be_read_is_passed_over(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = script(tmp_path / "home/.pulumi/plugins/resource-kubernetes-v4.34.2/pulumi-resource-kubernetes", "theirs")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != own and access(path, mode))
    assert "using the pair 4.25.0" in set_up(layout)


def test_a_cache_that_cannot_be_made_is_one_line(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    (layout.root / "taken").touch()
    monkeypatch.setenv("ANTON_CACHE", str(layout.root / "taken/below"))
    done = run_cli(layout)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"{layout.root}/taken" in done.stderr.splitlines()[-1]
    assert "ANTON_CACHE" in done.stderr.splitlines()[-1]
