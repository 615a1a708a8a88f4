"""The zone: its settings, its certificates at the edge, and what its plan has and lacks."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.cloudflare.rulesets import Phase, phase_rules
from settings.cloudflare.expressions import uses_regex
from settings.cloudflare.rules import Rules
from settings.cloudflare.zone import Plan, Zone, ZoneSettings
from settings.ingress import Hsts
from settings.rules.zone import plan_limits
from tests.components.test_rulesets import ALL_PHASES, RULES, SQLMAP, parsed
from tests.support.edge import WEB, ZONE_ID, built, edge_settings, reasons
from tests.support.recorder import Registration
from tests.support.sdk_types import assert_arguments_fit

pytestmark = pytest.mark.unit


def zone(plan: str = "free", **values: Any) -> dict[str, Any]:
    return {"cloudflare": {"plan": plan, "zone": values}}


def of_type(change: dict[str, Any], kind: str) -> list[Registration]:
    return [each for each in built(change).values() if each.type.endswith(f":{kind}")]


def values_of(change: dict[str, Any]) -> dict[str, Any]:
    """The zone's settings by Cloudflare's id, as they are registered."""
    found = of_type(change, "ZoneSetting")
    for each in found:
        assert each.inputs["zoneId"] == ZONE_ID
        assert_arguments_fit(each)
    return {each.inputs["settingId"]: each.inputs["value"] for each in found}


# Settings


def test_spec_zone_settings_are_those_of_the_specification() -> None:
    values = values_of({})
    del values["security_header"]
    assert values == {
        "ssl": "strict",
        "always_use_https": "on",
        "automatic_https_rewrites": "on",
        "min_tls_version": "1.2",
        "tls_1_3": "on",
        "http3": "on",
        "early_hints": "on",
        "brotli": "on",
        "0rtt": "off",
    }


def test_spec_hsts_at_the_edge_is_the_ingress_controllers() -> None:
    hsts = {"maxAgeSeconds": 15552000, "includeSubdomains": False, "preload": True}
    change = {"ingress": {"classes": {"external": {"tls": {"hsts": hsts}}}}}
    assert values_of(change)["security_header"] == {
        "strict_transport_security": {
            "enabled": True,
            "max_age": 15552000,
            "include_subdomains": False,
            "preload": True,
            "nosniff": True,
        }
    }, "the API's own keys: in camelCase every preview would show a difference"


@pytest.mark.parametrize(
    "change",
    [
        {"ingress": {"classes": {"external": {"tls": {"hsts": {"enabled": False}}}}}},
        zone(settings={"hsts": False}),
    ],
)
def test_hsts_that_is_off_is_off_at_the_edge(change: dict[str, Any]) -> None:
    header = values_of(change)["security_header"]["strict_transport_security"]
    assert (header["enabled"], header["max_age"], header["preload"]) == (False, 0, False)


def test_setting_that_is_null_stays_as_it_is_at_cloudflare() -> None:
    every = [info.alias for info in ZoneSettings.model_fields.values()]
    cleared = {"cloudflare": {"zone": {"settings": dict.fromkeys(map(str, every))}}}
    values = ZoneSettings.model_validate(cleared["cloudflare"]["zone"]["settings"]).values(Hsts())
    assert values == {}


SWITCHES = {
    "alwaysUseHttps": "always_use_https",
    "automaticHttpsRewrites": "automatic_https_rewrites",
    "http3": "http3",
    "earlyHints": "early_hints",
    "brotli": "brotli",
    "tls13": "tls_1_3",
    "zeroRtt": "0rtt",
}


@pytest.mark.parametrize(("key", "setting_id"), SWITCHES.items())
@pytest.mark.parametrize(("on", "value"), [(True, "on"), (False, "off")])
def test_switch_can_be_turned_either_way(key: str, setting_id: str, on: bool, value: str) -> None:
    assert ZoneSettings.model_validate({key: on}).values(Hsts())[setting_id] == value


def test_tls_1_3_with_0_rtt_is_written_as_cloudflare_reads_it_back() -> None:
    values = values_of(zone(settings={"zeroRtt": True}))
    assert (values["0rtt"], values["tls_1_3"]) == ("on", "zrt"), "else every preview shows a difference"


@pytest.mark.parametrize(
    ("chosen", "key", "reason"),
    [
        ({"tls13": False, "minTls": "TLSv1.3"}, "settings.tls13", "leaves no version of TLS"),
        ({"tls13": False, "zeroRtt": True}, "settings.zeroRtt", "is a part of TLS 1.3"),
        ({"minTls": "TLSv1.1"}, "settings.minTls", "must be 'TLSv1.2' or 'TLSv1.3'"),
        ({"ssl": "flexible"}, "settings.ssl", "must be 'full' or 'strict'"),
        ({"mirage": True}, "settings.mirage", "is not a known key"),
    ],
)
def test_setting_that_can_not_work_is_refused_with_its_reason(chosen: dict[str, Any], key: str, reason: str) -> None:
    assert reason in reasons(zone(settings=chosen))[f"cloudflare.zone.{key}"]


# DNSSEC, cache, robots


@pytest.mark.parametrize(("chosen", "status"), [(True, "active"), (False, "disabled")])
def test_dnssec_is_turned_on_or_off_where_the_settings_say(chosen: bool, status: str) -> None:
    (dnssec,) = of_type(zone(dnssec=chosen), "ZoneDnssec")
    assert dnssec.inputs["status"] == status
    assert_arguments_fit(dnssec)


@pytest.mark.parametrize(("chosen", "value"), [(True, "on"), (False, "off")])
def test_tiered_cache_is_turned_on_or_off_where_the_settings_say(chosen: bool, value: str) -> None:
    (cache,) = of_type(zone(tieredCache=chosen), "TieredCache")
    assert cache.inputs == {"zoneId": ZONE_ID, "value": value}
    assert_arguments_fit(cache)


def test_what_is_not_in_the_settings_is_left_alone() -> None:
    kinds = {each.type.rpartition(":")[2] for each in built().values()}
    assert not kinds & {"ZoneDnssec", "TieredCache", "BotManagement", "TotalTls", "CertificatePack", "Ruleset"}


def test_robots_are_dealt_with_as_far_as_the_settings_say() -> None:
    (bots,) = of_type(zone(bots={"fightMode": True, "aiBots": "block"}), "BotManagement")
    assert bots.inputs == {
        "zoneId": ZONE_ID,
        "fightMode": True,
        "aiBotsProtection": "block",
        "isRobotsTxtManaged": False,
    }
    assert_arguments_fit(bots)


def test_paid_plans_defense_against_robots_is_set_by_kind() -> None:
    chosen = {"definitelyAutomated": "block", "likelyAutomated": "managed_challenge", "verifiedBots": "allow"}
    (bots,) = of_type(zone("business", bots=chosen), "BotManagement")
    assert bots.inputs == {
        "zoneId": ZONE_ID,
        "sbfmDefinitelyAutomated": "block",
        "sbfmLikelyAutomated": "managed_challenge",
        "sbfmVerifiedBots": "allow",
        "isRobotsTxtManaged": False,
    }
    assert_arguments_fit(bots)


def test_defense_against_robots_that_changes_nothing_is_refused() -> None:
    assert "changes nothing" in reasons(zone(bots={}))["cloudflare.zone.bots"]


# Certificates at the edge

DEEP: dict[str, Any] = {
    "certificates": {"enabled": True, "letsencrypt": {"environment": "production"}},
    "ingress": {"classes": {"external": {"certificateIssuer": "letsencrypt"}}},
    "applications": {"web": WEB | {"host": "a.apps.example.com"}},
}
"""An application at a name deeper than one label, which has a certificate behind the tunnel."""


def test_spec_deep_host_is_refused_where_universal_ssl_ends() -> None:
    found = reasons(DEEP)
    assert "deeper than one label under example.com" in found["applications.web.host"]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (
            {"tunnel": {"rules": [{"host": "a.b.example.com", "service": "http://a:80"}]}},
            "cloudflare.tunnel.rules[0].host",
        ),
        (
            {
                "dns": {
                    "records": {"a": {"name": "a.b.example.com", "type": "A", "content": "8.8.8.8", "proxied": True}}
                }
            },
            "cloudflare.dns.records.a.name",
        ),
        (
            {
                "dns": {
                    "records": {"a": {"name": "*.b.example.com", "type": "A", "content": "8.8.8.8", "proxied": True}}
                }
            },
            "cloudflare.dns.records.a.name",
        ),
    ],
)
def test_every_name_that_the_edge_serves_needs_a_certificate_there(change: dict[str, Any], key: str) -> None:
    assert "where Cloudflare's free certificate ends" in reasons({"cloudflare": change})[key]


def test_deep_name_that_does_not_pass_the_edge_needs_no_certificate_there() -> None:
    record = {"name": "a.b.example.com", "type": "A", "content": "8.8.8.8"}
    edge_settings({"cloudflare": {"dns": {"records": {"a": record}}}})


@pytest.mark.parametrize(
    "covered",
    [
        {"totalTls": {}},
        {"certificatePacks": {"apps": {"hosts": ["*.apps.example.com"]}}},
        {"certificatePacks": {"apps": {"hosts": ["a.apps.example.com"]}}},
    ],
)
def test_deep_host_is_taken_with_a_certificate_of_its_own(covered: dict[str, Any]) -> None:
    edge_settings(zone(**covered) | DEEP)


@pytest.mark.parametrize("host", ["apps.example.com", "b.apps.example.com", "*.example.com", "*.a.apps.example.com"])
def test_certificate_pack_covers_its_own_names_only(host: str) -> None:
    found = reasons(zone(certificatePacks={"apps": {"hosts": [host]}}) | DEEP)
    assert "applications.web.host" in found


def test_certificate_pack_holds_the_domain_and_its_names_in_order() -> None:
    hosts = ["*.apps.example.com", "*.a.example.com"]
    (pack,) = of_type(zone(certificatePacks={"apps": {"hosts": hosts}}), "CertificatePack")
    assert pack.inputs == {
        "zoneId": ZONE_ID,
        "type": "advanced",
        "hosts": ["*.a.example.com", "*.apps.example.com", "example.com"],
        "certificateAuthority": "google",
        "validationMethod": "txt",
        "cloudflareBranding": False,
        "validityDays": 90,
    }
    assert_arguments_fit(pack)


def test_total_tls_is_ordered_from_the_chosen_authority() -> None:
    (tls,) = of_type(zone(totalTls={"authority": "lets_encrypt"}), "TotalTls")
    assert tls.inputs == {"zoneId": ZONE_ID, "enabled": True, "certificateAuthority": "lets_encrypt"}
    assert_arguments_fit(tls)


@pytest.mark.parametrize(
    ("pack", "key", "reason"),
    [
        ({"hosts": ["*.x.org"]}, "hosts", "lies outside cluster.domain"),
        ({"hosts": ["*.Apps.example.com"]}, "hosts[0]", "DNS name in lower case"),
        ({"hosts": []}, "hosts", "must not be empty"),
        ({"hosts": ["a.b.example.com"], "authority": "lets_encrypt", "validityDays": 30}, "validityDays", "90 days"),
        ({"hosts": ["a.b.example.com"], "validityDays": 60}, "validityDays", "must be 14, 30, 90 or 365"),
    ],
)
def test_certificate_pack_that_can_not_work_is_refused_with_its_reason(
    pack: dict[str, Any], key: str, reason: str
) -> None:
    assert reason in reasons(zone(certificatePacks={"apps": pack}))[f"cloudflare.zone.certificatePacks.apps.{key}"]


# Plans


def custom(**values: Any) -> dict[str, Any]:
    return {"rules": {"custom": [SQLMAP | values]}}


def limited(**values: Any) -> dict[str, Any]:
    return {"rules": {"rateLimits": {"api": {"requests": 100, **values}}}}


GATES: list[tuple[dict[str, Any], str, str]] = [
    # what a zone asks for, the key it is refused under, and the least plan that has it
    ({"settings": {"polish": "lossy"}}, "settings.polish", "pro"),
    ({"bots": {"definitelyAutomated": "block"}}, "bots.definitelyAutomated", "pro"),
    ({"bots": {"verifiedBots": "allow"}}, "bots.verifiedBots", "pro"),
    ({"bots": {"likelyAutomated": "block"}}, "bots.likelyAutomated", "business"),
    ({"rules": {"managed": {}}}, "rules.managed", "pro"),
    (custom(expression='http.host matches "^a"'), "rules.custom[0].expression", "business"),
    (custom(expression='cf.waf.score.class eq "attack"'), "rules.custom[0].expression", "business"),
    (custom(expression="cf.waf.score lt 20"), "rules.custom[0].expression", "enterprise"),
    (custom(expression="cf.bot_management.score lt 30"), "rules.custom[0].expression", "enterprise"),
    (custom(expression='http.request.body.raw contains "x"'), "rules.custom[0].expression", "enterprise"),
    (custom(action="skip", skips=["bot-rules"]), "rules.custom[0].skips", "pro"),
    (custom(action="log"), "rules.custom[0].action", "enterprise"),
    ({"rules": {"blockedPaths": {"action": "log"}}}, "rules.blockedPaths.action", "enterprise"),
    ({"rules": {"countries": {"inside": ["T1"], "action": "log"}}}, "rules.countries.action", "enterprise"),
    ({"rules": {"managed": {"owasp": {"action": "log"}}}}, "rules.managed.owasp.action", "enterprise"),
    ({"rules": {"ddos": {"action": "log"}}}, "rules.ddos.action", "enterprise"),
    (limited(action="log"), "rules.rateLimits.api.action", "enterprise"),
    (limited(hosts=["app.example.com"]), "rules.rateLimits.api.hosts", "pro"),
    (limited(periodSeconds=60), "rules.rateLimits.api.periodSeconds", "pro"),
    (limited(periodSeconds=600), "rules.rateLimits.api.periodSeconds", "business"),
    (limited(periodSeconds=3600), "rules.rateLimits.api.periodSeconds", "enterprise"),
    (limited(timeoutSeconds=3600), "rules.rateLimits.api.timeoutSeconds", "pro"),
    (limited(timeoutSeconds=86400), "rules.rateLimits.api.timeoutSeconds", "business"),
    (limited(action="challenge", timeoutSeconds=10), "rules.rateLimits.api.timeoutSeconds", "enterprise"),
    (
        {"rules": {"cache": {"static": {"edgeTtlSeconds": 3600}}}},
        "rules.cache.static.edgeTtlSeconds",
        "pro",
    ),
    (
        {"rules": {"cache": {"static": {"edgeTtlSeconds": 60}}}},
        "rules.cache.static.edgeTtlSeconds",
        "business",
    ),
    ({"rules": {"custom": [SQLMAP | {"name": f"r{n}"} for n in range(6)]}}, "rules.custom", "pro"),
    ({"rules": {"custom": [SQLMAP | {"name": f"r{n}"} for n in range(21)]}}, "rules.custom", "business"),
    ({"rules": {"rateLimits": {f"r{n}": {"requests": 9} for n in range(2)}}}, "rules.rateLimits", "pro"),
    ({"rules": {"rateLimits": {f"r{n}": {"requests": 9} for n in range(3)}}}, "rules.rateLimits", "business"),
    (
        {"rules": {"cache": {"bypass": {f"r{n}": {"pathPrefix": "/r"} for n in range(10)}}}},
        "rules.cache.bypass",
        "pro",
    ),
    (
        {"rules": {"config": [{"name": f"r{n}", "disableApps": True} for n in range(11)]}},
        "rules.config",
        "pro",
    ),
]


@pytest.mark.parametrize(("asked", "key", "least"), GATES, ids=[f"{key}-{least}" for _, key, least in GATES])
def test_spec_what_a_plan_lacks_is_refused_with_the_reason(asked: dict[str, Any], key: str, least: str) -> None:
    for plan in Plan:
        if plan.has(Plan(least)):
            edge_settings(zone(plan.value, **asked))
        else:
            reason = reasons(zone(plan.value, **asked))[f"cloudflare.zone.{key}"]
            assert plan.value in reason, "the reason names the plan that is in force"


def test_ready_made_rules_count_as_custom_rules() -> None:
    rules = {
        "custom": [SQLMAP | {"name": f"r{n}"} for n in range(4)],
        "blockedPaths": {},
        "countries": {"inside": ["T1"]},
    }
    assert "would be 6 custom rules" in reasons(zone(rules=rules))["cloudflare.zone.rules.custom"]


def test_bot_fight_mode_is_the_free_plans() -> None:
    edge_settings(zone("free", bots={"fightMode": True}))
    assert "is the free plan's" in reasons(zone("pro", bots={"fightMode": True}))["cloudflare.zone.bots.fightMode"]


def test_refused_rate_limit_is_converted_in_the_example() -> None:
    """The specification's 100 requests a minute, on the free plan."""
    layers = edge_settings(zone("pro", **limited(periodSeconds=60)))
    free = replace(layers, cloudflare=layers.cloudflare.model_copy(update={"plan": Plan.FREE}))
    (problem,) = plan_limits(free)
    assert problem.example == "10, with requests: 17"
    assert "counts over 10 s" in problem.reason


def test_plans_are_not_judged_while_the_layer_is_off() -> None:
    layers = edge_settings(zone("pro", rules={"managed": {}}))
    off = layers.cloudflare.model_copy(update={"plan": Plan.FREE, "enabled": False})
    assert list(plan_limits(replace(layers, cloudflare=off))) == []


LAYERS = edge_settings()


ONE_KIND = RULES.filter(bool).flatmap(
    lambda raw: st.sampled_from(sorted(raw)).map(lambda kind: parsed({kind: raw[kind]}))
)
"""Rules of one kind: of all kinds together hardly any plan has every one."""


@given(ONE_KIND, st.sampled_from(list(Plan)))
@settings(max_examples=200)
def test_what_passes_the_gates_is_within_the_plan(rules: Rules, plan: Plan) -> None:
    """Judged by what would be sent, not by the settings: a new kind of rule that no gate knows is found here."""
    edge = LAYERS.cloudflare.model_copy(update={"plan": plan, "zone": Zone(rules=rules)})
    if not list(plan_limits(replace(LAYERS, cloudflare=edge))):
        assert_within(plan, rules)


def test_full_set_of_rules_is_within_the_pro_plan() -> None:
    assert_within(Plan.PRO, parsed(ALL_PHASES))


def assert_within(plan: Plan, rules: Rules) -> None:
    """Fail when Cloudflare would refuse the rules on a plan (facts section 5.3)."""
    sent = phase_rules(rules, ["grafana.example.com"])
    by_plan = list(Plan).index(plan)
    most = {
        Phase.CUSTOM: (5, 20, 100, 1000),
        Phase.RATE_LIMIT: (1, 2, 5, 100),
        Phase.MANAGED: (0, 2, 2, 2),
        Phase.DDOS: (1, 1, 1, 1),
        Phase.CACHE: (10, 25, 50, 300),
        Phase.CONFIG: (10, 25, 50, 300),
    }
    for phase, found in sent.items():
        assert len(found) <= most[phase][by_plan], phase
        for rule in found:
            expression = str(rule.expression)
            assert not uses_regex(expression) or plan.has(Plan.BUSINESS)
            assert "cf.bot_management" not in expression or plan is Plan.ENTERPRISE
            assert not logs(rule) or plan is Plan.ENTERPRISE
            limit: Any = rule.ratelimit
            if limit:
                assert limit.period <= (10, 60, 600, 3600)[by_plan]
                assert limit.mitigation_timeout <= (10, 3600, 86400, 86400)[by_plan]
                assert rule.action == "block" or limit.mitigation_timeout == 0 or plan is Plan.ENTERPRISE
                assert "http.host" not in expression or plan is not Plan.FREE
            parameters: Any = rule.action_parameters
            if parameters and parameters.edge_ttl:
                assert parameters.edge_ttl.default >= (7200, 3600, 1, 1)[by_plan]


def logs(rule: Any) -> bool:
    """Whether a rule, or what it overrides, only logs."""
    overrides = rule.action_parameters.overrides if rule.action_parameters else None
    actions = [
        rule.action,
        overrides and overrides.action,
        *(each.action for each in (overrides and overrides.rules) or ()),
    ]
    return "log" in actions


def test_text_that_looks_like_a_paid_field_needs_no_plan() -> None:
    edge_settings(zone(**custom(expression='http.cookie contains "cf.waf.score matches"')))
