"""Set-up: what is done once, and what makes it do a step again."""

import errno
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.toolchain.fakes import (
    FAKE_PROGRAM,
    builds,
    processor_time_of_children,
    run_cli,
    set_up,
)
from toolchain.layout import Layout

pytestmark = pytest.mark.unit


def test_first_run_builds_what_is_missing_and_second_run_does_and_says_nothing(layout: Layout, fakes: Path) -> None:
    first = run_cli(layout)
    assert first.returncode == 0, first.stderr
    assert builds(fakes) == ["pulumi", "pulumi-language-python", "."]
    done = r"^\[1/5\] pulumi 3\.259\.0: building \(usually \d+ min\) \.\.\. done in \d+:\d\d$"
    assert re.search(done, first.stderr, re.MULTILINE)
    seconds = []
    for _ in range(5):
        started = processor_time_of_children()
        again = run_cli(layout)
        seconds.append(processor_time_of_children() - started)
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(builds(fakes)) == 3, "a second run must not build"
    assert min(seconds) < 0.3, f"deciding that nothing is to be done took {min(seconds):.2f} s of processor time"


@pytest.mark.usefixtures("quick_venvs")
def test_a_second_checkout_takes_the_tools_from_the_shared_cache(layout: Layout, fakes: Path, tmp_path: Path) -> None:
    set_up(layout)
    other = tmp_path / "other"
    shutil.copytree(layout.root, other, ignore=shutil.ignore_patterns(".cache"))
    set_up(Layout.of(other, os.environ))
    assert len(builds(fakes)) == 3
    assert (other / ".cache/bin/pulumi").samefile(layout.bin / "pulumi")


@pytest.mark.usefixtures("quick_venvs")
def test_a_changed_pin_repeats_its_own_step_and_no_other(layout: Layout, fakes: Path) -> None:
    set_up(layout, "cluster")
    before = builds(fakes)
    pins = layout.toolchain / "pins.toml"
    pins.write_text(pins.read_text().replace('version = "0.8.0"', 'version = "0.8.1"'))
    said = set_up(layout, "cluster")
    assert builds(fakes)[len(before) :] == ["kwok"]
    assert "[1/1] kwok 0.8.1" in said


def test_changed_requirements_rebuild_the_environment_and_no_tool(
    layout: Layout, fakes: Path, quick_venvs: list[tuple[str, str]]
) -> None:
    set_up(layout)
    (layout.root / "requirements.txt").write_text("pydantic==2.14.3\n")
    set_up(layout)
    assert quick_venvs == [("venv", "fallback")] * 2
    assert len(builds(fakes)) == 3


def test_changed_set_up_code_repeats_the_steps_but_not_the_builds(
    layout: Layout, fakes: Path, quick_venvs: list[tuple[str, str]]
) -> None:
    set_up(layout)
    code = layout.toolchain / "venvs.py"
    code.write_text(f"{code.read_text()}\n# changed\n")
    assert "[5/5]" in set_up(layout)
    assert (len(quick_venvs), len(builds(fakes))) == (2, 3)


@pytest.mark.usefixtures("quick_venvs")
@pytest.mark.parametrize("lost", ["bin/pulumi", "venv/bin/python", "pulumi-home"])
def test_what_was_removed_since_is_made_again(layout: Layout, lost: str) -> None:
    set_up(layout)
    path = layout.cache / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert "[1/" in set_up(layout)
    assert path.exists()
    assert set_up(layout) == ""


@pytest.mark.usefixtures("quick_venvs")
def test_clearing_the_shared_cache_leaves_a_checkout_working(layout: Layout) -> None:
    set_up(layout)
    shutil.rmtree(layout.tools)
    assert set_up(layout) == ""
    assert (layout.bin / "pulumi").read_text() == FAKE_PROGRAM


@pytest.mark.usefixtures("quick_venvs")
def test_pulumi_and_its_language_host_are_real_files_in_one_folder_or_pulumi_warns(layout: Layout) -> None:
    set_up(layout)
    assert not (layout.bin / "pulumi").is_symlink()
    assert not (layout.bin / "pulumi-language-python").is_symlink()


@pytest.mark.usefixtures("quick_venvs")
def test_tools_placed_again_leave_no_second_file(layout: Layout) -> None:
    set_up(layout)
    before = sorted(layout.bin.iterdir())
    set_up(layout, refresh=True)
    assert sorted(layout.bin.iterdir()) == before


@pytest.mark.usefixtures("quick_venvs")
def test_a_cache_on_another_file_system_is_copied_from(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    set_up(layout)
    assert os.access(layout.bin / "pulumi", os.X_OK)
    assert not (layout.bin / "pulumi").samefile(next(layout.tools.glob("pulumi-3*/pulumi")))


@pytest.mark.usefixtures("quick_venvs")
def test_a_stamp_cut_short_means_looking_again_and_not_a_crash(layout: Layout, fakes: Path) -> None:
    set_up(layout)
    layout.stamp.write_text(layout.stamp.read_text()[:40])
    set_up(layout)
    assert json.loads(layout.stamp.read_text())["groups"]
    assert len(builds(fakes)) == 3, "the tools were still in the shared cache"


def test_preview_after_test_leaves_the_packages_for_tests_alone(
    layout: Layout, quick_venvs: list[tuple[str, str]]
) -> None:
    set_up(layout, "preview", "test")
    made = len(quick_venvs)
    assert set_up(layout, "preview") == ""
    assert set_up(layout, "preview", "test") == ""
    assert len(quick_venvs) == made
