"""The local stack: what the make targets use in place of the committed stack file."""

import os
import sys
from pathlib import Path

import pytest
import yaml

from tests.toolchain.fakes import FAKE_PROGRAM, script
from toolchain import SetupError, cli, local_stack
from toolchain.layout import Layout, environment
from toolchain.stamp import Stamp

pytestmark = pytest.mark.unit


def prepare(layout: Layout, stack: str = "prod") -> str:
    script(layout.bin / "pulumi", FAKE_PROGRAM)
    text = local_stack.prepare(stack, layout, environment(layout, os.environ, fallback_pair=True)).read_text()
    lines = text.splitlines(keepends=True)
    assert lines[-1].startswith(f"# Made from Pulumi.{stack}.yaml at each run")
    return "".join(lines[:-1])


def test_local_stack_has_its_salt_in_a_copy_and_the_committed_file_stays_as_it_is(layout: Layout) -> None:
    committed = layout.root / "Pulumi.prod.yaml"
    before = committed.read_bytes()
    assert prepare(layout) == f"{before.decode()}encryptionsalt: v1:local\n"
    assert committed.read_bytes() == before


def run_with(layout: Layout, monkeypatch: pytest.MonkeyPatch, stack: str) -> dict[str, str]:
    """The environment that `setup.py --stack` runs a command in."""
    seen: dict[str, str] = {}

    def run(command: list[str], settings: dict[str, str]) -> int:
        seen.update(settings)
        return len(command)

    script(layout.root / "rehearsal/chart_source.py", "print('/where/the/charts/are')\n")
    script(layout.venv / "bin/python", f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    monkeypatch.delenv("ANTON_ACCOUNTS", raising=False)
    monkeypatch.setattr(cli, "_set_up", lambda *_, **__: Stamp(layout.stamp))
    monkeypatch.setattr(local_stack, "prepare", lambda *_: None)
    monkeypatch.setattr(cli, "_replace_process", run)
    assert cli.main(["--stack", stack, "--", "true"], layout.root) == 1
    return seen


def test_a_plan_of_the_rehearsal_finds_the_accounts_charts_and_plugins_that_it_works_with(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = run_with(layout, monkeypatch, "rehearsal")
    assert seen["ANTON_ACCOUNTS"] == f"{layout.cache}/rehearsal/accounts.db"
    assert seen["CHARTS_DIR"] == "/where/the/charts/are"
    assert seen["PULUMI_HOME"] == str(layout.stand_in_home)


def test_a_plan_of_another_stack_has_no_accounts_and_the_official_plugins(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = run_with(layout, monkeypatch, "prod")
    assert not {"ANTON_ACCOUNTS", "CHARTS_DIR"} & seen.keys()
    assert seen["PULUMI_HOME"] == str(layout.pulumi_home)


def test_groups_that_are_given_take_the_place_of_the_committed_ones_and_no_other(layout: Layout) -> None:
    (layout.root / "Pulumi.prod.yaml").write_text("config:\n  anton-network:a:\n    b: 1\n  anton-network:c: {d: 2}\n")
    script(layout.bin / "pulumi", FAKE_PROGRAM)
    settings = environment(layout, os.environ, fallback_pair=True)
    text = local_stack.prepare("prod", layout, settings, {"a": {"b": 3}}).read_text()
    assert yaml.safe_load(text)["config"] == {"anton-network:a": {"b": 3}, "anton-network:c": {"d": 2}}
    text = local_stack.prepare("prod", layout, settings).read_text()
    assert yaml.safe_load(text)["config"] == {"anton-network:a": {"b": 1}, "anton-network:c": {"d": 2}}, "nothing stays"


def test_a_changed_stack_file_reaches_the_local_stack_without_a_new_one(layout: Layout) -> None:
    prepare(layout)
    (layout.root / "Pulumi.prod.yaml").write_text("config:\n  anton-network:domain: example.net\n")
    (layout.bin / "pulumi").unlink()
    copy = local_stack.prepare("prod", layout, {"PATH": ""})
    assert copy.read_text().startswith("config:\n  anton-network:domain: example.net\nencryptionsalt: v1:local\n")


def test_a_team_backends_salt_is_replaced_where_no_secret_depends_on_it(layout: Layout) -> None:
    text = "secretsprovider: awskms://alias/team\nencryptedkey: AAAA\nconfig:\n  anton-network:domain: example.org\n"
    (layout.root / "Pulumi.prod.yaml").write_text(text)
    assert prepare(layout) == "\n\nconfig:\n  anton-network:domain: example.org\nencryptionsalt: v1:local\n", (
        "same lines"
    )


def test_secrets_of_a_team_backend_are_refused_with_the_way_out(layout: Layout) -> None:
    text = "encryptionsalt: v1:team\nconfig:\n  anton-network:token:\n    secure: v1:abc\n"
    (layout.root / "Pulumi.prod.yaml").write_text(text)
    with pytest.raises(SetupError, match="pulumi preview --stack prod"):
        prepare(layout)


STAND_IN_SECRETS = """# They open nothing.
cloudflareApiToken: stand-in-token
tunnelSecret: c3RhbmQ=
"""
FIRST_LINE = '  anton-network:cloudflareApiToken: {"secure": "v1:cloudflareApiToken"}\n'
BOTH_LINES = f'{FIRST_LINE}  anton-network:tunnelSecret: {{"secure": "v1:tunnelSecret"}}\n'
BOTH_SET = "config:\n  'anton-network:tunnelSecret': a\n  \"anton-network:cloudflareApiToken\": b\n"


@pytest.mark.parametrize(
    ("committed", "local"),
    [
        ("config:\n  x:y: z\n", f"config:\n  x:y: z\n{BOTH_LINES}"),
        ("config:  # ours\n  x:y: z\nbackend: {}\n", f"config:  # ours\n  x:y: z\n{BOTH_LINES}backend: {{}}\n"),
        ("config:\n  x:y:\n\n    a: b", f"config:\n  x:y:\n\n    a: b\n{BOTH_LINES}"),
        (
            "# Ours.\nconfig:\n    # first\n    anton-network:tunnelSecret: own\n",
            f"# Ours.\nconfig:\n    # first\n    anton-network:tunnelSecret: own\n  {FIRST_LINE}",
        ),
        (BOTH_SET, BOTH_SET),
        ("config: {}\n", f"config:\n{BOTH_LINES}"),
        ("", f"config:\n{BOTH_LINES}"),
    ],
)
def test_local_stack_gets_stand_in_credentials_for_the_secrets_that_are_not_set(
    layout: Layout, committed: str, local: str
) -> None:
    (layout.root / "rehearsal").mkdir()
    (layout.root / "rehearsal/secrets.yaml").write_text(STAND_IN_SECRETS)
    file = layout.root / "Pulumi.prod.yaml"
    file.write_text(committed)
    assert prepare(layout).lstrip() == f"{local}encryptionsalt: v1:local\n"
    assert file.read_text() == committed


def test_stand_in_credentials_are_encrypted_once(layout: Layout, fakes: Path) -> None:
    """Later previews start without asking Pulumi for it; other values are encrypted anew."""
    (layout.root / "rehearsal").mkdir()
    secrets = layout.root / "rehearsal/secrets.yaml"
    secrets.write_text(STAND_IN_SECRETS)
    runs = fakes / "encrypted"
    first = prepare(layout)
    assert prepare(layout) == first
    assert "stand-in-token" not in first
    assert len(runs.read_text().splitlines()) == 1
    secrets.write_text(STAND_IN_SECRETS.replace("stand-in-token", "another-token"))
    prepare(layout)
    assert len(runs.read_text().splitlines()) == 2


def test_config_in_one_line_is_refused_with_the_way_out(layout: Layout) -> None:
    (layout.root / "rehearsal").mkdir()
    (layout.root / "rehearsal/secrets.yaml").write_text(STAND_IN_SECRETS)
    (layout.root / "Pulumi.prod.yaml").write_text("config: {x:y: z}\n")
    with pytest.raises(SetupError, match="write it as a block"):
        prepare(layout)


def test_text_that_is_no_yaml_is_reported_for_the_users_file_and_line(layout: Layout) -> None:
    (layout.venv / "bin").mkdir(parents=True)
    script(layout.venv / "bin/python", f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    (layout.root / "Pulumi.prod.yaml").write_text("encryptionsalt: v1:team\nconfig:\n  x:y: [\n  x:z: 1\n")
    with pytest.raises(SetupError, match=r"^Pulumi\.prod\.yaml can't be read(.|\n)*line 3"):
        prepare(layout)


def test_changes_of_the_copy_are_kept_and_reported(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(layout)
    copy = layout.stacks / "Pulumi.prod.yaml"
    made = copy.read_text()
    (layout.root / "Pulumi.prod.yaml").write_text("config:\n  anton-network:domain: example.net\n")
    prepare(layout)
    assert not capsys.readouterr().err, "a change of the stack file itself is none of the copy"
    copy.write_text("config:\n  anton-network:token: {secure: abc}\n" + made)
    prepare(layout)
    assert "secure: abc" in (layout.stacks / "Pulumi.prod.yaml.changed").read_text()
    assert "secure" not in copy.read_text()
    assert "Pulumi.prod.yaml.changed" in capsys.readouterr().err


def test_an_unknown_stack_names_the_known_ones(layout: Layout) -> None:
    with pytest.raises(SetupError, match=r"no Pulumi\.staging\.yaml; the stacks here are: prod"):
        prepare(layout, "staging")
