"""`./anton` where the user's own Pulumi can't read the stack: what to do instead of Pulumi's raw words."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import __main__ as anton
from cli.program import PROJECT, Program, ProgramError

pytestmark = pytest.mark.unit


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a pulumi that fails with the words in $SAYS; the only one on PATH."""
    program = tmp_path / "pulumi"
    program.write_text('#!/bin/sh\necho "error: $SAYS" >&2\nexit 3\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SAYS", "PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions")
    return tmp_path


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("command", [["topology"], ["diff"], ["reach", "internet", "lan"], ["import"], ["doctor"]])
def test_without_a_login_both_ways_out_are_named(command: list[str]) -> None:
    said = CliRunner().invoke(anton.app, ["-s", "prod", *command])
    assert said.exit_code == 3
    assert "Pulumi is not logged in, so stack prod can't be read" in said.output
    assert "`pulumi login`" in said.output
    assert "`./anton --local -s prod ...`" in said.output
    assert "PULUMI_ACCESS_TOKEN must be set" not in said.output


def test_a_pulumi_that_set_up_has_built_is_named_by_its_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.program.PROJECT", path)
    built = path / ".cache/bin/pulumi"
    built.parent.mkdir(parents=True)
    (path / "pulumi").rename(built)
    with pytest.raises(ProgramError, match=f"`{built} login`"):
        Program("prod", {**os.environ, "PATH": str(built.parent)}, project=PROJECT).run("stack", "export")


@pytest.mark.usefixtures("path")
def test_a_stack_that_the_backend_lacks_comes_with_the_local_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYS", "no stack named 'prod' found")
    with pytest.raises(ProgramError, match=r"no stack named 'prod' found\n.*`\./anton --local -s prod \.\.\.`"):
        Program("prod", dict(os.environ)).run("stack", "export")


@pytest.mark.usefixtures("path")
def test_other_words_of_pulumi_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYS", "passphrase must be set")
    with pytest.raises(ProgramError, match=r"^error: passphrase must be set$"):
        Program("prod", dict(os.environ)).run("stack", "export")
