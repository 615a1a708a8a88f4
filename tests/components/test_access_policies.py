"""Who passes Access: policies and the groups and devices that they name, and which can't work."""

from typing import Any

import pytest

from tests.support.access import access, registered
from tests.support.configs import core_config, merged
from tests.support.edge import ACCOUNT_ID, EDGE, reasons
from tests.support.faults import faults_of

pytestmark = pytest.mark.unit


def policy(**values: Any) -> dict[str, Any]:
    return access(policies={"it": values}, groups={"admins": {"emails": ["ops@example.com"]}})


# Policies


def test_groups_are_made_once_and_used_by_their_id() -> None:
    group = {"emails": ["b@example.com", "a@example.com"], "emailDomains": ["example.org"]}
    found = registered(access(groups={"admins": group}, policies={"it": {"groups": ["admins"]}}))
    assert found["group-admins"].inputs["includes"] == [
        {"email": {"email": "a@example.com"}},
        {"email": {"email": "b@example.com"}},
        {"emailDomain": {"domain": "example.org"}},
    ]
    assert found["policy-it"].inputs["includes"] == [{"group": {"id": "cloudflare-access-group-admins-id"}}]


def test_several_countries_or_networks_are_alternatives() -> None:
    change = policy(emailDomains=["example.com"], countries=["US", "CA"], networks=["198.51.45.0/24"])
    found = registered(change)
    assert found["policy-it"].inputs["requires"] == [{"group": {"id": "cloudflare-access-policy-it-places-id"}}]
    assert found["policy-it-places"].inputs["includes"] == [
        {"geo": {"countryCode": "CA"}},
        {"geo": {"countryCode": "US"}},
        {"ip": {"ip": "198.51.45.0/24"}},
    ], "as requirements all of them would have to be met, and nobody is in two countries at once"


def test_bypass_of_places_asks_nobody_who_they_are() -> None:
    inputs = registered(policy(decision="bypass", networks=["198.51.45.0/24"], countries=["US"]))["policy-it"].inputs
    assert inputs["decision"] == "bypass"
    assert inputs["includes"] == [{"geo": {"countryCode": "US"}}, {"ip": {"ip": "198.51.45.0/24"}}]
    assert "requires" not in inputs


def test_everyone_bypasses_with_a_reason_that_is_seen_at_cloudflare() -> None:
    reason = "webhooks, signed by the sender"
    inputs = registered(policy(decision="bypass", everyone=True, reason=reason))["policy-it"].inputs
    assert inputs["includes"] == [{"everyone": {}}]
    assert inputs["name"] == f"it: {reason}"


def test_one_time_pin_is_offered_where_the_settings_say() -> None:
    inputs = registered(access(oneTimePin=True))["one-time-pin"].inputs
    assert inputs == {"accountId": ACCOUNT_ID, "name": "One-time PIN", "type": "onetimepin", "config": {}}
    assert "one-time-pin" not in registered({})


@pytest.mark.parametrize(
    ("values", "key", "reason"),
    [
        ({}, "", "is nobody's"),
        ({"countries": ["US"]}, "", "is nobody's"),
        ({"everyone": True}, "everyone", "makes the application public"),
        ({"everyone": True, "reason": "because I say so"}, "everyone", "makes the application public"),
        ({"everyone": True, "decision": "deny"}, "everyone", "makes the application public"),
        ({"everyone": True, "decision": "bypass"}, "everyone", "takes decision: bypass and a reason"),
        ({"everyone": True, "decision": "bypass", "reason": "x"}, "reason", "ten characters or more"),
        ({"emails": ["a@example.com"], "reason": "nothing to explain"}, "reason", "would have no effect"),
        ({"decision": "bypass"}, "", "needs networks or countries, or everyone"),
        ({"decision": "bypass", "networks": ["203.0.113.0/24"], "emails": ["a@b.org"]}, "emails", "can't be known"),
        ({"decision": "bypass", "networks": ["1.1.1.0/24"], "groups": ["admins"]}, "groups", "can't be known"),
        ({"decision": "bypass", "networks": ["1.1.1.0/24"], "requireMfa": True}, "requireMfa", "can't be known"),
        ({"decision": "bypass", "countries": ["US"], "sessionHours": 1}, "sessionHours", "nobody logs in"),
        (
            {"decision": "bypass", "everyone": True, "reason": "webhooks are signed", "countries": ["US"]},
            "everyone",
            "meaningless",
        ),
        ({"emails": ["a@example.com"], "networks": ["10.0.0.0/8"]}, "networks[0]", "is private"),
        ({"emails": ["a@example.com"], "networks": ["1.1.1.0/24", "100.64.1.0/24"]}, "networks[1]", "is private"),
        ({"emails": ["A@example.com"]}, "emails[0]", "one mail address in lower case"),
        ({"emailDomains": ["@example.com"]}, "emailDomains[0]", "is a mail address"),
        ({"groups": ["others"]}, "groups", "is no entry of cloudflare.access.groups"),
        (
            {"emails": ["a@example.com"], "requireDevicePosture": ["managed"]},
            "requireDevicePosture",
            "is no entry of cloudflare.access.devicePosture",
        ),
        ({"emails": ["a@example.com"], "countries": ["usa"]}, "countries[0]", "two capital letters"),
        ({"emails": ["a@example.com"], "sessionHours": 0}, "sessionHours", "1 or more"),
        ({"emails": ["a@example.com"], "decision": "non_identity"}, "decision", "must be 'allow'"),
    ],
)
def test_policy_that_can_not_work_is_refused_with_its_reason(values: dict[str, Any], key: str, reason: str) -> None:
    assert reason in reasons(policy(**values))[f"cloudflare.access.policies.it.{key}".removesuffix(".")]


def test_group_of_nobody_is_refused() -> None:
    assert "is nobody" in reasons(access(groups={"admins": {}}))["cloudflare.access.groups.admins"]


# Device posture


@pytest.mark.parametrize(
    ("check", "inputs"),
    [
        ({"type": "warp"}, {}),
        ({"type": "gateway"}, {}),
        (
            {"type": "disk_encryption", "platform": "linux"},
            {"input": {"requireAll": True}, "matches": [{"platform": "linux"}], "schedule": "5m"},
        ),
        (
            {"type": "firewall", "platform": "mac"},
            {
                "input": {"enabled": True},
                "matches": [{"platform": "mac"}],
                "schedule": "5m",
            },
        ),
        (
            {"type": "os_version", "platform": "windows", "minVersion": "10.0.19045"},
            {
                "input": {"operator": ">=", "version": "10.0.19045"},
                "matches": [{"platform": "windows"}],
                "schedule": "5m",
            },
        ),
    ],
)
def test_device_check_says_what_the_setting_says(check: dict[str, Any], inputs: dict[str, Any]) -> None:
    found = registered(access(devicePosture={"it": check}))["device-it"].inputs
    assert found == {"accountId": ACCOUNT_ID, "name": "it", "type": check["type"], **inputs}


@pytest.mark.parametrize(
    ("check", "key", "reason"),
    [
        ({"type": "serial_number"}, "serialNumbers", "is required for type serial_number"),
        ({"type": "warp", "serialNumbers": ["C02A"]}, "serialNumbers", "means nothing for type warp"),
        ({"type": "disk_encryption"}, "platform", "is required for type disk_encryption"),
        ({"type": "gateway", "platform": "mac"}, "platform", "means nothing for type gateway"),
        ({"type": "firewall", "platform": "linux"}, "platform", "has no check of type firewall"),
        ({"type": "os_version", "platform": "mac"}, "minVersion", "is required for type os_version"),
        ({"type": "os_version", "platform": "mac", "minVersion": "14"}, "minVersion", "three numbers"),
        ({"type": "antivirus"}, "type", "must be 'warp'"),
    ],
)
def test_device_check_that_can_not_work_is_refused_with_its_reason(
    check: dict[str, Any], key: str, reason: str
) -> None:
    found = faults_of(access(devicePosture={"it": check}), merged(core_config(), EDGE))
    assert reason in found[f"cloudflare.access.devicePosture.it.{key}"]
