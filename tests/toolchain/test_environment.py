"""The environment of the make targets, and the programs that check what is written."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toolchain.fakes import run_cli, script
from toolchain import debian
from toolchain.console import Progress
from toolchain.layout import LOCAL_PASSPHRASE, Layout, as_shell, environment

pytestmark = pytest.mark.unit


def test_make_targets_use_local_state_whatever_the_user_is_logged_in_to(layout: Layout) -> None:
    users = {
        "PATH": f"{layout.bin}{os.pathsep}/usr/bin",
        "PULUMI_BACKEND_URL": "s3://team",
        "PULUMI_CONFIG_PASSPHRASE": "theirs",
        "PULUMI_CONFIG_PASSPHRASE_FILE": "/theirs",
        "PULUMI_ACCESS_TOKEN": "theirs",
        "PULUMI_HOME": "/theirs",
        "PULUMI_STACK": "theirs",
        "PULUMI_DEBUG_PROVIDERS": "cloudflare:1",
        "PULUMI_K8S_ENABLE_PATCH_FORCE": "true",
        "PYTHONPATH": "/theirs",
        "ANTON_PLAIN_SDK": "1",
        "EDITOR": "vi",
    }
    result = environment(layout, users, fallback_pair=False)
    assert result == {
        "PATH": os.pathsep.join([str(layout.bin), str(layout.venv / "bin"), "/usr/bin"]),
        "PULUMI_BACKEND_URL": f"{layout.state.as_uri()}?metadata=skip",
        "PULUMI_CONFIG_PASSPHRASE": LOCAL_PASSPHRASE,
        "PULUMI_HOME": str(layout.pulumi_home),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_IGNORE_AMBIENT_PLUGINS": "true",
        "PULUMI_K8S_ENABLE_PATCH_FORCE": "true",
        "ANTON_PLAIN_SDK": "1",
        "EDITOR": "vi",
    }


def test_stand_ins_have_a_home_of_their_own_in_which_nothing_is_downloaded(layout: Layout) -> None:
    official, stand_ins = (environment(layout, {}, fallback_pair=False, stand_ins=each) for each in (False, True))
    own = {
        "PULUMI_HOME": str(layout.stand_in_home),
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    assert stand_ins == official | own
    assert official["PULUMI_HOME"] != own["PULUMI_HOME"]


@pytest.mark.parametrize(
    ("users", "added"),
    [
        ({}, {}),
        ({"no_proxy": "example.org"}, {}),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "localhost,127.0.0.1,::1"),
        ({"http_proxy": "http://proxy:3128", "NO_PROXY": "example.org"}, "example.org,localhost,127.0.0.1,::1"),
    ],
)
def test_a_proxy_of_the_user_is_none_for_servers_on_this_machine(
    layout: Layout, users: dict[str, str], added: str | dict[str, str]
) -> None:
    result = environment(layout, users, fallback_pair=False)
    if added:
        assert (result["no_proxy"], result["NO_PROXY"]) == (added, added)
    else:
        assert users.items() <= result.items() and "NO_PROXY" not in result


@pytest.mark.parametrize("fallback", [True, False])
def test_the_engine_may_download_plugins_only_where_that_works(layout: Layout, fallback: bool) -> None:
    result = environment(layout, {}, fallback_pair=fallback)
    assert ("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION" in result) is fallback


def test_printed_environment_gives_a_shell_the_same_variables(layout: Layout) -> None:
    before = {"PATH": "/usr/bin:/bin", "PULUMI_ACCESS_TOKEN": "theirs", "ODD": "it's"}
    after = environment(layout, before, fallback_pair=True)
    shell = f"{as_shell(before, after)}\n'{sys.executable}' -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    answer = subprocess.run(["/bin/sh", "-c", shell], env=before, capture_output=True, text=True, check=True)
    seen = json.loads(answer.stdout)
    assert {name: seen.get(name) for name in after} == after
    assert "PULUMI_ACCESS_TOKEN" not in seen


def test_a_command_runs_in_the_environment_and_its_status_is_returned(layout: Layout) -> None:
    assert run_cli(layout).returncode == 0
    answer = run_cli(layout, "--", "sh", "-c", 'echo "$PULUMI_HOME"; exit 7')
    assert (answer.returncode, answer.stdout) == (7, f"{layout.pulumi_home}\n")


def test_a_command_can_be_interrupted_in_the_background_of_a_script_too(layout: Layout) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # children inherit that
    try:
        answer = run_cli(layout, "--", "sh", "-c", "kill -INT $$; echo goes on")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (answer.returncode, answer.stdout) == (-signal.SIGINT, "")


def test_an_unknown_group_names_the_known_ones(layout: Layout) -> None:
    answer = run_cli(layout, "previw")
    assert answer.returncode == 2
    assert (
        "unknown group previw: choose from environment, preview, helm, policy-verdict, test, cluster\n" in answer.stderr
    )


def test_cache_folder_follows_the_users_variables(tmp_path: Path) -> None:
    home = {"HOME": "/home/me"}
    assert Layout.of(tmp_path, home).shared == Path("/home/me/.cache/anton-network")
    assert Layout.of(tmp_path, {**home, "XDG_CACHE_HOME": "/big"}).shared == Path("/big/anton-network")
    assert Layout.of(tmp_path, {**home, "XDG_CACHE_HOME": "/big", "ANTON_CACHE": "/own"}).shared == Path("/own")


def test_without_apt_programs_on_path_are_used_and_missing_ones_are_named(layout: Layout, fakes: Path) -> None:
    script(fakes / "kea-dhcp4", '#!/bin/sh\necho "$KEA_LOCKFILE_DIR $1"\n')
    stream = io.StringIO()
    wrappers = debian.provide(layout, Progress(1, stream, layout.logs))
    assert layout.bin / "kea-dhcp4" in wrappers
    answer = subprocess.run([layout.bin / "kea-dhcp4", "-t"], capture_output=True, text=True, check=True)
    assert answer.stdout == f"{layout.cache / 'checkers'} -t\n"
    missing = {"dnsmasq", "dhcpd"} - {wrapper.name for wrapper in wrappers}
    assert all(f"{name} is not on PATH: tests that need it will be skipped" in stream.getvalue() for name in missing)
