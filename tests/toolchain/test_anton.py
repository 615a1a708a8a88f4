"""What `./anton` sets up: for each subcommand what it uses, for help the Python environment alone."""

import re
import shutil
from pathlib import Path

import pytest
import typer

from cli.__main__ import app
from tests.toolchain.fakes import FAKE_PROGRAM, builds, processor_time_of_children, run_cli, script, set_up
from toolchain.groups import ANTON, GROUPS, VALUED, groups_of_anton
from toolchain.layout import Layout
from toolchain.stamp import Stamp

pytestmark = pytest.mark.unit

PREVIEW, DIFF = ("preview",), ("preview", "helm")


@pytest.mark.parametrize(
    ("arguments", "groups"),
    [
        ("topology", PREVIEW),
        ("-s prod topology --svg diff", PREVIEW),
        ("-s diff topology", PREVIEW),
        ("--stack diff import", PREVIEW),
        ("--stack=reach --local import --file reach", PREVIEW),
        ("--local -sreach diff", DIFF),
        ("-s prod reach internet lan", ("preview", "helm", "policy-verdict")),
        ("doctor --only policies", ("preview", "policy-verdict")),
        ("diff --help", ("environment",)),
        ("-s prod --help diff", ("environment",)),
        ("", ("environment",)),
        ("-s", ("environment",)),
        ("no-such-command diff", ("environment",)),
    ],
)
def test_a_subcommand_gets_what_it_uses_wherever_it_stands(arguments: str, groups: tuple[str, ...]) -> None:
    assert groups_of_anton(arguments.split()) == groups


def test_every_subcommand_and_every_option_before_it_is_known_to_set_up() -> None:
    command = typer.main.get_command(app)
    assert set(getattr(command, "commands")) == set(ANTON)  # noqa: B009 - typer's type does not tell
    valued = {name for option in command.params if not getattr(option, "is_flag", True) for name in option.opts}
    assert valued == set(VALUED)
    assert {group for groups in ANTON.values() for group in groups} <= set(GROUPS)


def test_help_in_a_fresh_clone_makes_the_environment_alone_and_says_so(
    layout: Layout, fakes: Path, quick_venvs: list[tuple[str, str]]
) -> None:
    said = set_up(layout, *groups_of_anton(["diff", "--help"]))
    assert re.fullmatch(r"\[1/1\] virtual environment: .*done in \d+:\d\d\n", said)
    assert (builds(fakes), quick_venvs) == ([], [("venv", "fallback")])
    set_up(layout, "preview")
    assert quick_venvs == [("venv", "fallback")], "the packages that help was shown with are those of a preview"


def test_help_with_the_users_own_pulumi_expects_that_it_can_download(
    layout: Layout, fakes: Path, monkeypatch: pytest.MonkeyPatch, quick_venvs: list[tuple[str, str]]
) -> None:
    for name in ("pulumi", "pulumi-language-python"):
        script(fakes / name, FAKE_PROGRAM)
    set_up(layout, "environment")
    set_up(layout, "preview")
    assert quick_venvs == [("venv", "newest"), ("venv", "fallback")], "where it can't, the packages follow the plugin"


def test_after_a_preview_topology_needs_nothing_more(layout: Layout, fakes: Path) -> None:
    assert run_cli(layout).returncode == 0
    before = builds(fakes)
    script(layout.venv / "bin/python", '#!/bin/sh\necho "$@"\n')
    started = processor_time_of_children()
    answer = run_cli(layout, "--anton", "--", "-s", "prod", "topology", "--", "x")
    assert processor_time_of_children() - started < 5
    assert (answer.stdout, answer.stderr) == ("-m cli -s prod topology -- x\n", "")
    assert builds(fakes) == before


@pytest.mark.usefixtures("quick_venvs")
@pytest.mark.parametrize(
    ("subcommand", "built"),
    [("import", []), ("diff", ["helm"]), ("reach", ["helm", "."]), ("doctor", ["."])],
)
def test_after_a_preview_a_subcommand_adds_its_own_tools(
    layout: Layout, fakes: Path, subcommand: str, built: list[str]
) -> None:
    set_up(layout)
    before = len(builds(fakes))
    set_up(layout, *groups_of_anton([subcommand]))
    assert builds(fakes)[before:] == built


def test_anton_keeps_the_users_login(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_cli(layout, "environment").returncode == 0
    script(layout.venv / "bin/python", '#!/bin/sh\necho "$PULUMI_ACCESS_TOKEN $PULUMI_HOME"\n')
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "theirs")
    assert run_cli(layout, "--anton", "--", "--help").stdout == "theirs \n"


@pytest.mark.usefixtures("quick_venvs")
def test_refresh_to_the_newest_pair_leaves_nothing_of_the_old_one(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(layout, "preview", "test")
    plugins = layout.pulumi_home / "plugins"
    assert (plugins / "resource-kubernetes-v4.25.0").exists()
    assert layout.venv_newest.exists()
    monkeypatch.setenv("FAKE_DOWNLOADS", "yes")
    set_up(layout, "preview", refresh=True)
    assert Stamp(layout.stamp).pair == "newest"
    assert [path.name for path in plugins.glob("resource-kubernetes-*")] == ["resource-kubernetes-v4.34.2"]
    assert not layout.venv_newest.exists(), "`make test` would run the unit tests twice with the same packages"
    assert "virtual environment with the newest SDKs: not needed" in set_up(layout, "preview", "test")


@pytest.mark.usefixtures("quick_venvs")
def test_back_to_the_pair_that_can_be_built_the_newest_plugin_is_gone(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_DOWNLOADS", "yes")
    set_up(layout)
    shutil.rmtree(layout.pulumi_home)
    monkeypatch.delenv("FAKE_DOWNLOADS")
    set_up(layout)
    there = [path.name for path in (layout.pulumi_home / "plugins").glob("resource-kubernetes-*")]
    assert there == ["resource-kubernetes-v4.25.0"]
