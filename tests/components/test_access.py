"""What Access guards: applications and their policies in order, guards that would not work, and what is public."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.runtime import MockResourceArgs

from components.cloudflare.access import AccessPolicies, AccessPoliciesArgs, public_addresses
from settings.applications import ApplicationLimits, Published
from settings.cloudflare.access import Access, address, guarded
from settings.parsing import parse_group
from tests.support.access import access, registered
from tests.support.edge import ACCOUNT_ID, WEB, built, edge_settings, reasons
from tests.support.recorder import Recorder, run

pytestmark = pytest.mark.unit

STAFF: dict[str, Any] = {"emailDomains": ["example.com"], "requireMfa": True}
DEVELOPERS: dict[str, Any] = {"emailDomains": ["example.com"], "requireDevicePosture": ["managed"]}

SPECIFIED: dict[str, Any] = {
    "devicePosture": {"managed": {"type": "serial_number", "serialNumbers": ["C02B", "C02A"]}},
    "policies": {"staff": STAFF, "developers": DEVELOPERS},
    "applications": {"grafana-admin": {"host": "grafana.example.com", "path": "/admin", "policies": ["staff"]}},
}
"""Administrators with a second factor, developers on managed devices (facts section 5.4)."""


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
