"""Rules at the edge: a phase has one ruleset, its rules say what the settings say, and each keeps its reference."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.cloudflare.rulesets import Phase, phase_rules
from components.cloudflare.zone import ZoneSecurity, ZoneSecurityArgs
from settings.cloudflare.expressions import RETIRED, code_of, fault_of
from settings.cloudflare.rules import Rules
from settings.cloudflare.zone import Zone
from tests.support.edge import ZONE_ID, built, edge_settings, reasons
from tests.support.recorder import Registration, record
from tests.support.sdk_types import assert_arguments_fit
from tests.support.zone_rules import ALL_PHASES, API_LIMIT, PROTECTED, RULES, SQLMAP, parsed

pytestmark = pytest.mark.unit


def edge(rules: dict[str, Any], plan: str = "pro", **others: Any) -> dict[str, Any]:
    return {"cloudflare": {"plan": plan, "zone": {"rules": rules}, **others}}


def rulesets(change: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rules of each registered phase; a phase that is registered twice fails."""
    found = [each for each in built(change).values() if each.type.endswith(":Ruleset")]
    phases = [each.inputs["phase"] for each in found]
    assert len(phases) == len(set(phases)), "Cloudflare takes one ruleset a zone and phase"
    return {each.inputs["phase"]: each.inputs["rules"] for each in found}


def only_rule(change: dict[str, Any], phase: Phase) -> dict[str, Any]:
    (rule,) = rulesets(change)[phase.value]
    return rule


# Phases


def test_spec_every_phase_has_one_ruleset_in_the_zone() -> None:
    found = [each for each in built(edge(ALL_PHASES)).values() if each.type.endswith(":Ruleset")]
    assert sorted(each.inputs["phase"] for each in found) == sorted(phase.value for phase in Phase)
    for each in found:
        assert (each.inputs["kind"], each.inputs["zoneId"]) == ("zone", ZONE_ID)
        assert "accountId" not in each.inputs, "an account's ruleset would hold for every zone of it"
        assert_arguments_fit(each)


def test_phase_without_rules_is_left_to_others() -> None:
    assert rulesets({}) == {}, "an empty ruleset would delete what somebody made in the dashboard"


def test_custom_rules_keep_the_order_of_the_settings_and_come_first() -> None:
    refs = [rule["ref"] for rule in rulesets(edge(ALL_PHASES))[Phase.CUSTOM.value]]
    assert refs == ["custom-office", "custom-no-sqlmap", "blocked-paths", "countries"], (
        "an exception after what it is an exception from has no effect"
    )


def test_custom_rule_says_what_the_setting_says() -> None:
    _, rule, *_ = rulesets(edge(ALL_PHASES))[Phase.CUSTOM.value]
    assert rule == {
        "ref": "custom-no-sqlmap",
        "description": "scanners",
        "expression": SQLMAP["expression"],
        "action": "block",
        "enabled": False,
    }


def test_exception_names_phases_and_its_own_ruleset_and_states_its_logging() -> None:
    rule, *others = rulesets(edge(ALL_PHASES))[Phase.CUSTOM.value]
    assert rule["actionParameters"] == {"ruleset": "current", "phases": ["http_ratelimit"]}
    assert rule["logging"] == {"enabled": True}, "Cloudflare answers with it: every preview would show a difference"
    assert all("logging" not in each for each in others), "Cloudflare refuses it for other actions (error 20018)"


def test_spec_clients_outside_of_the_listed_countries_are_challenged() -> None:
    rule = only_rule(edge({"countries": {"outside": ["US", "CA"]}}), Phase.CUSTOM)
    assert rule["expression"] == 'not ip.src.country in {"CA" "US"}'
    assert rule["action"] == "managed_challenge"


def test_clients_inside_of_countries_can_be_blocked_on_chosen_hosts() -> None:
    countries = {"inside": ["T1"], "action": "block", "hosts": ["app.example.com"]}
    rule = only_rule(edge({"countries": countries}), Phase.CUSTOM)
    assert rule["expression"] == '(ip.src.country in {"T1"}) and (http.host in {"app.example.com"})'
    assert rule["action"] == "block"


GRAFANA: dict[str, Any] = {
    "policies": {"staff": {"emailDomains": ["example.com"]}},
    "applications": {"grafana-admin": {"host": "grafana.example.com", "path": "/admin", "policies": ["staff"]}},
}


def test_spec_blocking_admin_paths_spares_hosts_behind_access() -> None:
    blocked = {"blockedPaths": {"paths": ["/admin", "/WP-Admin"]}}
    rule = only_rule(edge(blocked, access=GRAFANA), Phase.CUSTOM)
    paths = (
        'starts_with(lower(http.request.uri.path), "/admin") or starts_with(lower(http.request.uri.path), "/wp-admin")'
    )
    assert rule["expression"] == f'({paths}) and (not http.host in {{"grafana.example.com"}})', (
        "the firewall comes before Access: the grafana administrators would be locked out"
    )
    assert only_rule(edge(blocked), Phase.CUSTOM)["expression"] == paths


def test_spec_rate_limit_counts_by_client_and_location_on_the_path() -> None:
    rule = only_rule(edge({"rateLimits": {"api": API_LIMIT}}, plan="free"), Phase.RATE_LIMIT)
    assert rule["expression"] == 'starts_with(http.request.uri.path, "/api/")', "the free plan knows the path only"
    assert rule["action"] == "block"
    assert rule["ratelimit"] == {
        "characteristics": ["cf.colo.id", "ip.src"],
        "period": 10,
        "requestsPerPeriod": 17,
        "mitigationTimeout": 10,
        "requestsToOrigin": False,
    }


def test_rate_limit_of_100_a_minute_needs_a_plan_that_counts_so_long() -> None:
    minute = {"rateLimits": {"api": {"pathPrefix": "/api/", "requests": 100, "periodSeconds": 60}}}
    limit = only_rule(edge(minute, plan="pro"), Phase.RATE_LIMIT)["ratelimit"]
    assert (limit["requestsPerPeriod"], limit["period"], limit["mitigationTimeout"]) == (100, 60, 60)


def test_challenge_for_clients_over_the_limit_has_no_duration() -> None:
    limited = {"rateLimits": {"api": API_LIMIT | {"action": "managed_challenge"}}}
    limit = only_rule(edge(limited, plan="free"), Phase.RATE_LIMIT)["ratelimit"]
    assert limit["mitigationTimeout"] == 0, "Cloudflare refuses another value below Enterprise"


def test_rate_limit_without_path_or_host_means_every_path() -> None:
    rule = only_rule(edge({"rateLimits": {"all": {"requests": 50}}}, plan="free"), Phase.RATE_LIMIT)
    assert rule["expression"] == 'starts_with(http.request.uri.path, "/")'


def test_spec_managed_rules_are_cloudflares_own_and_owasps() -> None:
    managed, owasp = rulesets(edge(ALL_PHASES))[Phase.MANAGED.value]
    assert managed["actionParameters"] == {"id": "efb7b8c949ac4650a09736fc376e9aee"}
    assert owasp["actionParameters"] == {
        "id": "4814384a9e5d4991b9815dcfc25d2f1f",
        "overrides": {
            "categories": [{"category": f"paranoia-level-{level}", "enabled": False} for level in (3, 4)],
            "rules": [{"id": "6179ae15870a4bb7b2d480d4843b323c", "action": "managed_challenge", "scoreThreshold": 25}],
        },
    }
    for rule in (managed, owasp):
        assert (rule["action"], rule["expression"]) == ("execute", "true")


def test_strictest_owasp_level_leaves_out_none_and_sends_no_empty_list() -> None:
    change = edge({"managed": {"cloudflare": False, "owasp": {"paranoiaLevel": 4}}})
    assert "categories" not in only_rule(change, Phase.MANAGED)["actionParameters"]["overrides"]


@pytest.mark.parametrize(
    ("sensitivity", "level"), [("high", "default"), ("medium", "medium"), ("low", "low"), ("off", "eoff")]
)
def test_spec_ddos_protection_can_be_changed_and_needs_nothing_otherwise(sensitivity: str, level: str) -> None:
    rule = only_rule(edge({"ddos": {"sensitivity": sensitivity, "action": "block"}}), Phase.DDOS)
    assert rule["action"] == "execute"
    assert rule["actionParameters"] == {
        "id": "4d21379b4f9f4bb088e0729962c8b3cf",
        "overrides": {"sensitivityLevel": level, "action": "block"},
    }


def test_spec_static_files_stay_30_days_at_the_edge_and_a_day_in_browsers() -> None:
    static, *bypasses = rulesets(edge(ALL_PHASES))[Phase.CACHE.value]
    assert static["actionParameters"] == {
        "cache": True,
        "edgeTtl": {"mode": "override_origin", "default": 2592000},
        "browserTtl": {"mode": "override_origin", "default": 86400},
    }
    assert {rule["ref"]: rule["expression"] for rule in bypasses} == {
        "bypass-api": 'starts_with(http.request.uri.path, "/api/")',
        "bypass-grafana": 'http.host in {"grafana.example.com"}',
    }
    assert all(rule["actionParameters"] == {"cache": False} for rule in bypasses)
    assert static["ref"] == "static", "the last cache rule that matches decides, so exceptions come after"


def test_files_of_hosts_behind_access_are_not_cached_for_everybody() -> None:
    rule = only_rule(edge({"cache": {}}, access=GRAFANA), Phase.CACHE)
    assert rule["expression"].endswith('and (not http.host in {"grafana.example.com"})')


def test_configuration_rule_changes_what_it_names_only() -> None:
    rule = only_rule(edge({"config": ALL_PHASES["config"]}), Phase.CONFIG)
    assert rule["action"] == "set_config"
    assert rule["actionParameters"] == {"emailObfuscation": False, "disableRum": True}


@pytest.mark.parametrize(
    ("rules", "key", "reason"),
    [
        ({"custom": [SQLMAP, SQLMAP]}, "custom[1].name", "is the name of cloudflare.zone.rules.custom[0] too"),
        ({"custom": [SQLMAP | {"action": "skip"}]}, "custom[0].skips", "is required for action skip"),
        ({"custom": [SQLMAP | {"skips": ["rate-limits"]}]}, "custom[0].skips", "would have no effect"),
        ({"custom": [SQLMAP | {"action": "allow"}]}, "custom[0].action", "must be 'block'"),
        ({"countries": {}}, "countries", "either outside or inside"),
        ({"countries": {"outside": ["US"], "inside": ["CA"]}}, "countries", "either outside or inside"),
        ({"countries": {"outside": ["us"]}}, "countries.outside[0]", "two capital letters"),
        ({"countries": {"outside": ["US", "US"]}}, "countries.outside", "names US twice"),
        ({"blockedPaths": {"paths": ["/"]}}, "blockedPaths.paths", "every request would be meant"),
        ({"managed": {"cloudflare": False}}, "managed.cloudflare", "leaves no rules"),
        ({"ddos": {}}, "ddos.sensitivity", "would change nothing"),
        ({"cache": {"bypass": {"all": {}}}}, "cache.bypass.all", "needs hosts or pathPrefix"),
        ({"cache": {"static": {"extensions": [".js"]}}}, "cache.static.extensions[0]", "without its dot"),
        ({"config": [{"name": "a", "pathPrefix": "/a"}]}, "config[0]", "changes nothing"),
        ({"rateLimits": {"api": {"requests": 0}}}, "rateLimits.api.requests", "more than 0"),
        (
            {"rateLimits": {"api": {"requests": 1, "pathPrefix": "api"}}},
            "rateLimits.api.pathPrefix",
            "from its first slash on",
        ),
        ({"rateLimits": {"a": API_LIMIT | {"hosts": ["x.org"]}}}, "rateLimits.a.hosts", "outside cluster.domain"),
        ({"cache": {"bypass": {"a": {"hosts": ["x.org"]}}}}, "cache.bypass.a.hosts", "outside cluster.domain"),
        ({"countries": {"inside": ["T1"], "hosts": ["x.org"]}}, "countries.hosts", "outside cluster.domain"),
        (
            {"config": [{"name": "a", "hosts": ["x.org"], "disableApps": True}]},
            "config[0].hosts",
            "outside cluster.domain",
        ),
    ],
)
def test_rule_that_can_not_work_is_refused_with_its_reason(rules: dict[str, Any], key: str, reason: str) -> None:
    assert reason in reasons(edge(rules))[f"cloudflare.zone.rules.{key}"]


def test_published_path_is_not_blocked_unguarded() -> None:
    web = {"ingressClass": "external", "namespace": "production", "port": 80, "path": "/admin"}
    change = edge({"blockedPaths": {"paths": ["/admin"]}}, access={"policies": GRAFANA["policies"]})
    found = reasons(change | {"applications": {"web": web}})
    assert "is blocked by /admin" in found["applications.web.path"]
    edge_settings(change | {"applications": {"web": web | {"access": ["staff"]}}})


# Properties


def registered(rules: Rules, protected: list[str]) -> list[Registration]:
    zone = Zone(rules=rules)
    hsts = edge_settings().ingress.classes["external"].tls.hsts
    args = ZoneSecurityArgs(zone=zone, zone_id=ZONE_ID, domain="example.com", hsts=hsts, protected_hosts=protected)
    return [each for each in record(lambda: ZoneSecurity("zone", args)) if each.type.endswith(":Ruleset")]


@given(RULES, PROTECTED)
@settings(max_examples=40)
def test_whatever_the_settings_a_phase_has_one_ruleset_that_fits_the_sdk(
    raw: dict[str, Any], protected: list[str]
) -> None:
    found = registered(parsed(raw), protected)
    phases = [each.inputs["phase"] for each in found]
    assert len(phases) == len(set(phases))
    assert len({each.name for each in found}) == len(found)
    for each in found:
        assert each.inputs["rules"], "an empty list comes back as none: every preview would show a difference"
        assert_arguments_fit(each)


@given(RULES, PROTECTED)
@settings(max_examples=60)
def test_references_are_unique_and_expressions_sound(raw: dict[str, Any], protected: list[str]) -> None:
    for phase, rules in phase_rules(parsed(raw), protected).items():
        refs = [str(rule.ref) for rule in rules]
        assert len(refs) == len(set(refs)), phase
        for rule in rules:
            assert isinstance(rule.expression, str)
            assert fault_of(rule.expression) is None, rule.expression
            assert not any(re.search(field, code_of(rule.expression)) for field in RETIRED)


@given(RULES, PROTECTED, st.data())
@settings(max_examples=60)
def test_rule_keeps_its_reference_when_others_come_or_go(
    raw: dict[str, Any], protected: list[str], data: st.DataObject
) -> None:
    """A reference made of a position would move every later rule, and with it its id and its history at Cloudflare."""
    keys = [key for key in raw if raw[key] and isinstance(raw[key], list | dict)]
    if not keys:
        return
    without = dict(raw)
    del without[data.draw(st.sampled_from(keys))]
    before, after = phase_rules(parsed(raw), protected), phase_rules(parsed(without), protected)
    for phase, rules in after.items():
        known = {rule.ref: rule.expression for rule in before[phase]}
        for rule in rules:
            assert known[rule.ref] == rule.expression
