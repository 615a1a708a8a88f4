"""Rules at Cloudflare's edge: from the settings to the rules of each phase.

A zone has one ruleset a phase, which holds all of its rules and is replaced as a whole. `phase_rules` therefore makes
every rule of a phase, and `zone` registers each phase once.
"""

from enum import StrEnum
from typing import TYPE_CHECKING

from components.sdk import cloudflare
from settings.cloudflare.rules import (
    Action,
    Cache,
    ConfigRule,
    CustomRule,
    Ddos,
    ManagedRules,
    RateLimit,
    Rules,
    Sensitivity,
    Skipped,
    Threshold,
)

if TYPE_CHECKING:
    import pulumi_cloudflare

CLOUDFLARE_MANAGED = "efb7b8c949ac4650a09736fc376e9aee"
OWASP = "4814384a9e5d4991b9815dcfc25d2f1f"
OWASP_SCORE_RULE = "6179ae15870a4bb7b2d480d4843b323c"
DDOS_L7 = "4d21379b4f9f4bb088e0729962c8b3cf"
"""Rulesets that Cloudflare keeps, and the OWASP rule that acts on the score of the others (facts section 5.3)."""

EVERY_REQUEST = "true"


class Phase(StrEnum):
    """Phases of the Ruleset Engine whose rules the program keeps."""

    CUSTOM = "http_request_firewall_custom"
    RATE_LIMIT = "http_ratelimit"
    MANAGED = "http_request_firewall_managed"
    DDOS = "ddos_l7"
    CACHE = "http_request_cache_settings"
    CONFIG = "http_config_settings"


SKIPPED_PHASES = {
    Skipped.RATE_LIMITS: Phase.RATE_LIMIT.value,
    Skipped.MANAGED_RULES: Phase.MANAGED.value,
    Skipped.BOT_RULES: "http_request_sbfm",
}


SENSITIVITY_LEVELS = {
    Sensitivity.HIGH: "default",
    Sensitivity.MEDIUM: "medium",
    Sensitivity.LOW: "low",
    Sensitivity.OFF: "eoff",
}


SCORES = {Threshold.LOW: 60, Threshold.MEDIUM: 40, Threshold.HIGH: 25}


def phase_rules(rules: Rules, protected_hosts: list[str]) -> "dict[Phase, list[pulumi_cloudflare.RulesetRuleArgs]]":
    """The rules of every phase that has any, in the order in which Cloudflare looks at them.

    `protected_hosts` are behind Access. Each rule has a `ref` made of its name, so that Cloudflare keeps its id, and
    with it its history, when rules before it come or go.
    """
    found = {
        Phase.CUSTOM: _custom(rules, protected_hosts),
        Phase.RATE_LIMIT: [_rate_limit(name, limit) for name, limit in sorted(rules.rate_limits.items())],
        Phase.MANAGED: _managed(rules.managed) if rules.managed else [],
        Phase.DDOS: [_ddos(rules.ddos)] if rules.ddos else [],
        Phase.CACHE: _cache(rules.cache, protected_hosts) if rules.cache else [],
        Phase.CONFIG: [_config(rule) for rule in rules.config],
    }
    return {phase: made for phase, made in found.items() if made}


def _custom(rules: Rules, protected_hosts: list[str]) -> "list[pulumi_cloudflare.RulesetRuleArgs]":
    made = [_custom_rule(rule) for rule in rules.custom]
    if rules.blocked_paths:
        made.append(
            cloudflare.RulesetRuleArgs(
                ref="blocked-paths",
                description="paths that only scanners ask for",
                expression=rules.blocked_paths.expression(protected_hosts),
                action=rules.blocked_paths.action.value,
                enabled=True,
            )
        )
    if rules.countries:
        made.append(
            cloudflare.RulesetRuleArgs(
                ref="countries",
                description="clients by country",
                expression=rules.countries.expression,
                action=rules.countries.action.value,
                enabled=True,
            )
        )
    return made


def _custom_rule(rule: CustomRule) -> "pulumi_cloudflare.RulesetRuleArgs":
    skips = rule.action is Action.SKIP
    return cloudflare.RulesetRuleArgs(
        # The prefix keeps these apart from the ready-made rules of the phase.
        ref=f"custom-{rule.name}",
        description=rule.description or rule.name,
        expression=rule.expression,
        action=rule.action.value,
        action_parameters=_skip_parameters(rule.skips) if skips else None,
        # Cloudflare logs skipped requests unless told, and says so when read; for other actions it refuses the key.
        logging=cloudflare.RulesetRuleLoggingArgs(enabled=True) if skips else None,
        enabled=rule.enabled,
    )


def _skip_parameters(skips: tuple[Skipped, ...]) -> "pulumi_cloudflare.RulesetRuleActionParametersArgs":
    phases = sorted(SKIPPED_PHASES[skipped] for skipped in set(skips) if skipped in SKIPPED_PHASES)
    return cloudflare.RulesetRuleActionParametersArgs(
        ruleset="current" if Skipped.CUSTOM_RULES in skips else None, phases=phases or None
    )


def _rate_limit(name: str, limit: RateLimit) -> "pulumi_cloudflare.RulesetRuleArgs":
    return cloudflare.RulesetRuleArgs(
        ref=f"limit-{name}",
        description=f"{name}: {limit.requests} requests in {limit.period_seconds} s",
        expression=limit.expression,
        action=limit.action.value,
        ratelimit=cloudflare.RulesetRuleRatelimitArgs(
            # Cloudflare counts by location, and wants that said.
            characteristics=["cf.colo.id", "ip.src"],
            period=limit.period_seconds,
            requests_per_period=limit.requests,
            mitigation_timeout=limit.mitigation_timeout,
            requests_to_origin=False,
        ),
        enabled=limit.enabled,
    )


def _managed(managed: ManagedRules) -> "list[pulumi_cloudflare.RulesetRuleArgs]":
    made = []
    if managed.cloudflare:
        parameters = cloudflare.RulesetRuleActionParametersArgs(id=CLOUDFLARE_MANAGED)
        made.append(_execute("cloudflare-managed", "Cloudflare Managed Ruleset", parameters))
    if managed.owasp:
        overrides = cloudflare.RulesetRuleActionParametersOverridesArgs(
            categories=[
                cloudflare.RulesetRuleActionParametersOverridesCategoryArgs(
                    category=f"paranoia-level-{level}", enabled=False
                )
                for level in range(managed.owasp.paranoia_level + 1, 5)
            ]
            or None,
            rules=[
                cloudflare.RulesetRuleActionParametersOverridesRuleArgs(
                    id=OWASP_SCORE_RULE,
                    action=managed.owasp.action.value,
                    score_threshold=SCORES[managed.owasp.threshold],
                )
            ],
        )
        parameters = cloudflare.RulesetRuleActionParametersArgs(id=OWASP, overrides=overrides)
        made.append(_execute("owasp", "OWASP Core Ruleset", parameters))
    return made


def _ddos(ddos: Ddos) -> "pulumi_cloudflare.RulesetRuleArgs":
    overrides = cloudflare.RulesetRuleActionParametersOverridesArgs(
        sensitivity_level=SENSITIVITY_LEVELS[ddos.sensitivity or Sensitivity.HIGH],
        action=ddos.action.value if ddos.action else None,
    )
    parameters = cloudflare.RulesetRuleActionParametersArgs(id=DDOS_L7, overrides=overrides)
    return _execute("ddos", "HTTP DDoS protection", parameters)


def _execute(
    ref: str, description: str, parameters: "pulumi_cloudflare.RulesetRuleActionParametersArgs"
) -> "pulumi_cloudflare.RulesetRuleArgs":
    return cloudflare.RulesetRuleArgs(
        ref=ref,
        description=description,
        expression=EVERY_REQUEST,
        action="execute",
        action_parameters=parameters,
        enabled=True,
    )


def _cache(cache: Cache, protected_hosts: list[str]) -> "list[pulumi_cloudflare.RulesetRuleArgs]":
    """Of the cache rules that match, the last one decides: static files first, exceptions after them."""
    made = []
    if cache.static:
        parameters = cloudflare.RulesetRuleActionParametersArgs(
            cache=True,
            edge_ttl=cloudflare.RulesetRuleActionParametersEdgeTtlArgs(
                mode="override_origin", default=cache.static.edge_ttl_seconds
            ),
            browser_ttl=cloudflare.RulesetRuleActionParametersBrowserTtlArgs(
                mode="override_origin", default=cache.static.browser_ttl_seconds
            ),
        )
        made.append(_cache_rule("static", "static files", cache.static.expression(protected_hosts), parameters))
    for name, bypass in sorted(cache.bypass.items()):
        parameters = cloudflare.RulesetRuleActionParametersArgs(cache=False)
        made.append(_cache_rule(f"bypass-{name}", f"{name}: never cached", bypass.expression, parameters))
    return made


def _cache_rule(
    ref: str, description: str, expression: str, parameters: "pulumi_cloudflare.RulesetRuleActionParametersArgs"
) -> "pulumi_cloudflare.RulesetRuleArgs":
    return cloudflare.RulesetRuleArgs(
        ref=ref,
        description=description,
        expression=expression,
        action="set_cache_settings",
        action_parameters=parameters,
        enabled=True,
    )


def _config(rule: ConfigRule) -> "pulumi_cloudflare.RulesetRuleArgs":
    return cloudflare.RulesetRuleArgs(
        ref=f"config-{rule.name}",
        description=rule.name,
        expression=rule.expression,
        action="set_config",
        action_parameters=cloudflare.RulesetRuleActionParametersArgs(
            email_obfuscation=rule.email_obfuscation,
            rocket_loader=rule.rocket_loader,
            bic=rule.browser_integrity_check,
            # Cloudflare knows these as true only.
            disable_apps=rule.disable_apps or None,
            disable_rum=rule.disable_rum or None,
        ),
        enabled=True,
    )
