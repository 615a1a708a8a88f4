"""Access: who gets where, what an application's policies become, and what nobody guards."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.runtime import MockResourceArgs

from components.cloudflare.access import AccessPolicies, AccessPoliciesArgs, public_addresses
from settings.applications import ApplicationLimits, Published
from settings.cloudflare.access import Access, address, guarded
from settings.parsing import parse_group
from tests.settings.test_settings import faults_of
from tests.support.configs import core_config, merged
from tests.support.edge import ACCOUNT_ID, EDGE, WEB, built, edge_settings, reasons
from tests.support.recorder import Recorder, Registration, run
from tests.support.sdk_types import assert_arguments_fit

pytestmark = pytest.mark.unit

STAFF: dict[str, Any] = {"emailDomains": ["example.com"], "requireMfa": True}
DEVELOPERS: dict[str, Any] = {"emailDomains": ["example.com"], "requireDevicePosture": ["managed"]}

SPECIFIED: dict[str, Any] = {
    "devicePosture": {"managed": {"type": "serial_number", "serialNumbers": ["C02B", "C02A"]}},
    "policies": {"staff": STAFF, "developers": DEVELOPERS},
    "applications": {"grafana-admin": {"host": "grafana.example.com", "path": "/admin", "policies": ["staff"]}},
}
"""Administrators with a second factor, developers on managed devices (facts section 5.4)."""


def access(entries: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    """Settings of the edge with Access, and applications by name."""
    return {"cloudflare": {"access": values}, "applications": entries or {}}


def policy(**values: Any) -> dict[str, Any]:
    return access(policies={"it": values}, groups={"admins": {"emails": ["ops@example.com"]}})


def registered(change: dict[str, Any]) -> dict[str, Registration]:
    """The resources of Access, by the end of their name; each fits the SDK."""
    found = {
        name.removeprefix("cloudflare-access-"): entry
        for name, entry in built(change).items()
        if name.startswith("cloudflare-access-")
    }
    for entry in found.values():
        assert_arguments_fit(entry)
        assert entry.inputs["accountId"] == ACCOUNT_ID
        assert "zoneId" not in entry.inputs, "Access is the account's; with both Cloudflare refuses"
    return found


# Applications


def test_spec_grafana_admin_is_for_staff_with_a_second_factor() -> None:
    found = registered(access(**SPECIFIED))
    assert found["application-grafana-admin"].inputs == {
        "accountId": ACCOUNT_ID,
        "name": "grafana-admin",
        "type": "self_hosted",
        "domain": "grafana.example.com/admin",
        "sessionDuration": "24h",
        "policies": [{"id": "cloudflare-access-policy-staff-id", "precedence": 1.0}],
        "appLauncherVisible": False,
        "httpOnlyCookieAttribute": True,
    }
    assert found["policy-staff"].inputs == {
        "accountId": ACCOUNT_ID,
        "name": "staff",
        "decision": "allow",
        "includes": [{"emailDomain": {"domain": "example.com"}}],
        "requires": [{"authMethod": {"authMethod": "mfa"}}],
        "sessionDuration": "24h",
    }


def test_spec_developers_need_a_managed_device() -> None:
    found = registered(access({"app": WEB | {"access": ["developers"]}}, **SPECIFIED))
    assert found["application-app"].inputs["domain"] == "app.example.com"
    assert found["policy-developers"].inputs["requires"] == [
        {"devicePosture": {"integrationUid": "cloudflare-access-device-managed-id"}}
    ]
    assert found["device-managed"].inputs == {
        "accountId": ACCOUNT_ID,
        "name": "managed",
        "type": "serial_number",
        "input": {"id": "cloudflare-access-device-managed-serial-numbers-id"},
    }
    numbers = found["device-managed-serial-numbers"].inputs
    assert (numbers["type"], numbers["items"]) == ("SERIAL", [{"value": "C02A"}, {"value": "C02B"}])


def test_published_application_names_its_policies_in_order() -> None:
    web = WEB | {"access": ["developers", "staff"], "path": "/tools/"}
    application = registered(access({"web": web}, **SPECIFIED))["application-web"].inputs
    assert application["domain"] == "web.example.com/tools", "a slash at the end would leave /tools itself open"
    assert application["policies"] == [
        {"id": "cloudflare-access-policy-developers-id", "precedence": 1.0},
        {"id": "cloudflare-access-policy-staff-id", "precedence": 2.0},
    ]


def test_application_without_policies_has_no_access_application() -> None:
    assert not [name for name in registered(access({"web": WEB}, **SPECIFIED)) if name == "application-web"]


def test_login_lasts_as_long_as_the_application_or_the_policy_says() -> None:
    change = access(
        {"web": WEB | {"access": ["staff"]}},
        sessionHours=8,
        policies={"staff": STAFF | {"sessionHours": 2}},
        applications={"wiki": {"host": "wiki.example.com", "policies": ["staff"], "sessionHours": 1}},
    )
    found = registered(change)
    assert found["application-web"].inputs["sessionDuration"] == "8h"
    assert found["application-wiki"].inputs["sessionDuration"] == "1h"
    assert found["policy-staff"].inputs["sessionDuration"] == "2h"


def test_names_lead_to_an_application_only_after_its_guard_is_there() -> None:
    dns = built(access({"web": WEB | {"access": ["staff"]}}, **SPECIFIED))["cloudflare-dns"]
    assert isinstance(dns.opts.depends_on, list)
    assert any(isinstance(each, AccessPolicies) for each in dns.opts.depends_on), "it would be open until then"


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
        ({"emailDomains": ["@example.com"]}, "emailDomains[0]", "is not a DNS name"),
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


# Between applications and Access


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        (access({"web": WEB | {"access": ["staff"]}}), "applications.web.access", "is no entry of"),
        (
            access({"web": WEB | {"access": ["staff", "staff"]}}, **SPECIFIED),
            "applications.web.access",
            "names a policy twice",
        ),
        (
            access({"web": WEB | {"access": ["no"]}}, policies={"no": STAFF | {"decision": "deny"}}),
            "applications.web.access",
            "lets nobody in",
        ),
        (
            access({"web": WEB | {"access": ["staff"], "ingressClass": "internal"}}, **SPECIFIED),
            "applications.web.access",
            "do not pass Cloudflare",
        ),
        (
            access({"web": WEB | {"access": ["staff"]}}, **SPECIFIED) | {"cloudflare": {"enabled": False}},
            "applications.web.access",
            "cloudflare.enabled is false",
        ),
        (
            access(applications={"a": {"host": "a.example.com", "policies": ["staff"]}}),
            "cloudflare.access.applications.a.policies",
            "is no entry of",
        ),
        (
            access(policies={"staff": STAFF}, applications={"a": {"host": "a.x.org", "policies": ["staff"]}}),
            "cloudflare.access.applications.a.host",
            "lies outside cluster.domain",
        ),
        (
            access(
                {"web": WEB | {"ingressClass": "internal"}},
                policies={"staff": STAFF},
                applications={"a": {"host": "web.example.com", "policies": ["staff"]}},
            ),
            "cloudflare.access.applications.a.host",
            "is of class internal, past Cloudflare",
        ),
        (
            access(
                {"web": WEB},
                policies={"staff": STAFF},
                applications={"web": {"host": "web.example.com", "path": "/a", "policies": ["staff"]}},
            ),
            "cloudflare.access.applications.web",
            "is the name of an entry of applications too",
        ),
        (
            access(
                {"web": WEB | {"access": ["staff"]}},
                policies={"staff": STAFF},
                applications={"a": {"host": "web.example.com", "policies": ["staff"]}},
            ),
            "cloudflare.access.applications.a.path",
            "is guarded by web already",
        ),
        (
            access(
                policies={"staff": STAFF},
                applications={"a": {"host": "a.example.com", "path": "/admin/*", "policies": ["staff"]}},
            ),
            "cloudflare.access.applications.a.path",
            "leaves /admin itself open",
        ),
    ],
)
def test_guard_that_would_not_work_is_refused_with_its_reason(change: dict[str, Any], key: str, reason: str) -> None:
    assert reason in reasons(change)[key]


def test_part_of_a_published_host_can_have_a_guard_of_its_own() -> None:
    change = access({"grafana": WEB | {"host": "grafana.example.com"}}, **SPECIFIED)
    assert "application-grafana-admin" in registered(change)


# What is public


class Account(Recorder):
    """Gives each Access application the tag that Cloudflare would."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        name, outputs = super().new_resource(args)
        return name, outputs | {"aud": f"aud-of-{args.inputs.get('name')}"}


def outputs_of(change: dict[str, Any]) -> dict[str, Any]:
    """What the component puts out."""
    layers = edge_settings(change)
    seen: dict[str, Any] = {}
    args = AccessPoliciesArgs(
        access=layers.cloudflare.access,
        account_id=ACCOUNT_ID,
        published=layers.cloudflare.behind_tunnel(layers.published),
        tunnel_hosts=[rule.host for rule in layers.cloudflare.tunnel.rules],
    )

    def build() -> None:
        found = AccessPolicies("access", args)
        found.public_hosts.apply(lambda hosts: seen.update(public=hosts))
        found.aud_tags.apply(lambda tags: seen.update(tags=tags))

    run(build, Account({}))
    return seen


def test_service_on_the_tunnels_class_without_access_is_listed_as_public() -> None:
    entries = {"shop": WEB, "wiki": WEB | {"access": ["staff"]}, "lan": WEB | {"ingressClass": "internal"}}
    change = access(entries, **SPECIFIED)
    change["cloudflare"]["tunnel"] = {"rules": [{"host": "status.example.com", "service": "http://status:80"}]}
    assert outputs_of(change)["public"] == ["shop.example.com", "status.example.com"]


def test_origin_can_check_tokens_by_each_applications_tag() -> None:
    tags = outputs_of(access({"wiki": WEB | {"access": ["staff"]}}, **SPECIFIED))["tags"]
    assert tags == {"wiki": "aud-of-wiki", "grafana-admin": "aud-of-grafana-admin"}
    assert outputs_of({})["tags"] == {}


def published(name: str, host: str, path: str, policies: tuple[str, ...]) -> Published:
    return Published(
        name=name,
        ingress_class="external",
        namespace="production",
        service=name,
        port=80,
        pod_labels={"app": name},
        pod_port=80,
        host=host,
        path=path,
        limits=ApplicationLimits(),
        access=policies,
    )


@pytest.mark.parametrize(
    ("entries", "public"),
    [
        ([("/", ()), ("/admin", ("staff",))], ["a.example.com"]),
        ([("/", ("staff",)), ("/api", ())], []),
        ([("/", ("staff",)), ("/hook", ("open",))], ["a.example.com/hook"]),
        ([("/admin", ("staff",)), ("/administration", ())], ["a.example.com/administration"]),
    ],
)
def test_most_specific_guard_decides_what_is_public(
    entries: list[tuple[str, tuple[str, ...]]], public: list[str]
) -> None:
    policies = {"staff": STAFF, "open": {"decision": "bypass", "everyone": True, "reason": "webhooks are signed"}}
    reading = parse_group(Access, {"policies": policies})
    assert not reading.problems
    behind = [published(f"e{index}", "a.example.com", *entry) for index, entry in enumerate(entries)]
    assert public_addresses(reading.model, behind, []) == public


PATHS = st.sampled_from(["/", "/a", "/a/b", "/ab", "/a/"])
ENTRIES = st.lists(
    st.tuples(st.sampled_from(["a.example.com", "b.example.com"]), PATHS, st.sampled_from([(), ("staff",)])),
    unique_by=lambda entry: address(entry[0], entry[1]),
)


@given(ENTRIES)
def test_every_application_is_guarded_or_listed_as_public(entries: list[tuple[str, str, tuple[str, ...]]]) -> None:
    settings = parse_group(Access, {"policies": {"staff": STAFF}}).model
    behind = [published(f"e{index}", *entry) for index, entry in enumerate(entries)]
    doors = {door.domain for door in guarded(settings, behind)}
    public = set(public_addresses(settings, behind, []))
    assert not doors & public
    for each in behind:
        wanted = address(each.host, each.path)
        parts = wanted.split("/")
        above = {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
        assert (wanted in public) is not bool(above & doors)
