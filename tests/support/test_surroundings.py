"""What of the user's environment reaches the tests."""

from pathlib import Path

import pytest

from tests.support.surroundings import surroundings

pytestmark = pytest.mark.unit

USERS = {
    "HOME": "/home/me",
    "PATH": "/usr/bin",
    "CHARTS_DIR": "/charts",
    "TMPDIR": "/scratch",
    "KUBECONFIG": "/home/me/.kube/config",
    "LANG": "de_DE.UTF-8",
    "LC_TIME": "de_DE.UTF-8",
    "https_proxy": "http://proxy:3128",
    "NO_PROXY": "localhost",
    "GOPROXY": "https://modules.example.com",
    "PIP_INDEX_URL": "https://packages.example.com",
    "PULUMI_HOME": "/home/me/.pulumi",
    "PULUMI_ACCESS_TOKEN": "theirs",
    "PULUMI_K8S_ENABLE_PATCH_FORCE": "true",
    "HELM_NAMESPACE": "theirs",
    "HELM_PLUGINS": "/home/me/plugins",
    "CLOUDFLARE_API_TOKEN": "theirs",
    "TAILSCALE_API_KEY": "theirs",
    "ANTON_ACCOUNTS": "/home/me/accounts.db",
    "XDG_CONFIG_HOME": "/home/me/settings",
    "MAKEFLAGS": "-j8",
    "COLUMNS": "40",
    "FORCE_COLOR": "1",
}


def test_settings_of_the_user_are_out_of_reach_and_where_things_come_from_is_not(tmp_path: Path) -> None:
    assert surroundings(USERS, tmp_path) == {
        "ANTON_CACHE": "/home/me/.cache/anton-network",
        "CHARTS_DIR": "/charts",
        "GOPROXY": "https://modules.example.com",
        "HOME": str(tmp_path),
        "KUBECONFIG": "/nonexistent/kubeconfig",
        "LC_ALL": "C.UTF-8",
        "PATH": "/usr/bin",
        "PIP_INDEX_URL": "https://packages.example.com",
        "TMPDIR": "/scratch",
    }


def test_these_tests_run_so() -> None:
    assert Path.home().name.startswith("anton-home-")
