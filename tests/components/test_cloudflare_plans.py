"""Cloudflare's plans: what a zone asks for beyond its plan is refused, and all that passes is within it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.cloudflare.rulesets import Phase, phase_rules
from settings.cloudflare.expressions import uses_regex
from settings.cloudflare.rules import Rules
from settings.cloudflare.zone import Plan, Zone
from settings.rules.zone import plan_limits
from tests.support.edge import edge_settings, reasons, zone
from tests.support.zone_rules import ALL_PHASES, RULES, SQLMAP, parsed

pytestmark = pytest.mark.unit


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
    assert problem.example == 10
    assert "requests would be 17 in 10 s" in problem.reason
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
