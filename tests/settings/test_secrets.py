"""Secrets: which a configuration needs, what they look like, and that no message ever holds one."""

from typing import Any

import pytest

from settings import secrets
from settings.errors import ConfigError
from settings.load import load, parse
from tests.support.configs import PROJECT, STAND_IN_SECRETS, charts_without_files, merged, set_config, stack_config
from tests.support.faults import below, shown

pytestmark = pytest.mark.unit

EVERYTHING = {
    "cloudflare": {"enabled": True, "accountId": "0" * 31 + "1", "zoneId": "0" * 31 + "2", "dns": {"externalDns": {}}},
    "certificates": {"enabled": True, "letsencrypt": {}},
    "tailscale": {"enabled": True, "tailnet": {}},
}
NOTHING: dict[str, Any] = dict.fromkeys(EVERYTHING)


def faults(given: dict[str, str], groups: dict[str, Any]) -> dict[str, str]:
    """Key to reason of the problems with secrets alone."""
    keys = {secret.key for secret in secrets.SECRETS}
    try:
        parse(merged(stack_config(), groups), charts_without_files, given)
    except ConfigError as error:
        assert not [value for value in given.values() if value.strip() and value in str(error)], (
            "a secret is in the message"
        )
        return {problem.key: problem.reason for problem in error.problems if problem.key in keys}
    return {}


def test_every_secret_is_asked_for_at_once_with_the_setting_that_needs_it() -> None:
    found = faults({}, EVERYTHING)
    assert found.keys() == {secret.key for secret in secrets.SECRETS}
    assert "cloudflare.dns.externalDns" in found["externalDnsApiToken"]
    assert "certificates.letsencrypt" in found["certManagerApiToken"]


def test_stack_without_edge_layers_needs_no_secret() -> None:
    assert faults({}, NOTHING) == {}


def test_stand_in_secrets_are_complete_and_well_formed() -> None:
    assert faults(STAND_IN_SECRETS, EVERYTHING) == {}


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("cloudflareTunnelSecret", "not base64!", "is not base64"),
        ("cloudflareTunnelSecret", "c2hvcnQ=", "holds 5 bytes"),
        ("cloudflareApiToken", "token\n", "white space"),
        ("tailscaleApiClientSecret", " ", "white space"),
    ],
)
def test_malformed_secret_is_refused_without_being_shown(key: str, value: str, reason: str) -> None:
    assert reason in faults(STAND_IN_SECRETS | {key: value}, EVERYTHING)[key]


def test_one_token_for_two_purposes_is_refused() -> None:
    shared = {"externalDnsApiToken": STAND_IN_SECRETS["cloudflareApiToken"]}
    assert "is the same as cloudflareApiToken" in faults(STAND_IN_SECRETS | shared, EVERYTHING)["externalDnsApiToken"]


def test_remedy_never_puts_a_secret_on_the_command_line() -> None:
    for secret in secrets.SECRETS:
        command = secret.command.split("   #")[0]
        assert command == f"pulumi config set --secret {secret.key}", "without a value Pulumi asks for it"


def test_every_secret_is_documented() -> None:
    page = (PROJECT / "docs/secrets.md").read_text()
    for secret in secrets.SECRETS:
        assert f"`{secret.key}`" in page


class TestSecretInTheWrongPlace:
    @pytest.mark.parametrize(
        ("change", "points_to"),
        [
            (below("cloudflare", "apiToken", value="abcdef"), "cloudflareApiToken"),
            (below("cloudflare", "tunnel", "secret", value="abcdef"), "cloudflareTunnelSecret"),
            (below("tailscale", "oauthClientSecret", value="abcdef"), "tailscaleOperatorClientSecret"),
            (below("monitoring", "password", value="abcdef"), "docs/secrets.md"),
            (below("cloudflareToken", value="abcdef"), "cloudflareApiToken"),
            (below("cloudflare", "credentials", value={"id": "abcdef"}), "docs/secrets.md"),
            (below("cloudflare", "login", value={"api_key": "abcdef"}), "known: access"),
        ],
    )
    def test_it_is_not_shown_and_the_right_one_named(self, change: dict[str, Any], points_to: str) -> None:
        report = shown(change)
        assert "abcdef" not in report
        assert points_to in report

    def test_nothing_of_a_group_with_something_encrypted_is_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`pulumi config set --secret --path cloudflare.zoneId` makes the whole group a secret, decrypted for us."""
        monkeypatch.setattr("settings.load.find_charts", charts_without_files)
        set_config(merged(stack_config(), {"cloudflare": {"zoneId": "fedcba98"}, "physical": {"gateway": "10.0.0.1"}}))
        encrypted = {"anton-network:cloudflare", *(f"anton-network:{key}" for key in STAND_IN_SECRETS)}
        monkeypatch.setattr("settings.load.is_config_secret", encrypted.__contains__)
        with pytest.raises(ConfigError) as caught:
            load()
        assert "anton-network:cloudflare.zoneId\n    value:   (not shown)" in str(caught.value)
        assert "fedcba98" not in str(caught.value)
        assert "value:   10.0.0.1" in str(caught.value)

    def test_in_plain_text_it_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("settings.load.find_charts", charts_without_files)
        set_config(stack_config())
        monkeypatch.setattr("settings.load.is_config_secret", lambda key: not key.endswith("TunnelSecret"))
        with pytest.raises(ConfigError) as caught:
            load()
        (problem,) = caught.value.problems
        assert problem.key == "cloudflareTunnelSecret"
        assert "in plain text" in problem.reason
        assert STAND_IN_SECRETS["cloudflareTunnelSecret"] not in str(caught.value)
