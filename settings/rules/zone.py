"""Rules between the zone, its plan and Access, and the applications behind them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from settings.applications import Published
from settings.cloudflare.access import address, guarded, protected_hosts
from settings.cloudflare.dns import PROXIABLE
from settings.cloudflare.expressions import code_of, uses_regex
from settings.cloudflare.rules import CustomRule, Mitigation, RateLimit, Rules, Skipped
from settings.cloudflare.zone import Plan, Polish, Zone
from settings.fields import WITHOUT, Problem, readable
from settings.rules.cloudflare import EDGE_CERTIFICATES
from settings.stack import Settings

MOST_CUSTOM_RULES = {Plan.FREE: 5, Plan.PRO: 20, Plan.BUSINESS: 100, Plan.ENTERPRISE: 1000}
MOST_RATE_LIMITS = {Plan.FREE: 1, Plan.PRO: 2, Plan.BUSINESS: 5, Plan.ENTERPRISE: 100}
MOST_OTHER_RULES = {Plan.FREE: 10, Plan.PRO: 25, Plan.BUSINESS: 50, Plan.ENTERPRISE: 300}
"""Rules that a phase may hold by plan; the last line is for cache rules and configuration rules."""

PERIODS = (10, 60, 120, 300, 600, 3600)
TIMEOUTS = (10, 60, 120, 300, 600, 3600, 86400)
LONGEST_PERIOD = {Plan.FREE: 10, Plan.PRO: 60, Plan.BUSINESS: 600, Plan.ENTERPRISE: 3600}
LONGEST_TIMEOUT = {Plan.FREE: 10, Plan.PRO: 3600, Plan.BUSINESS: 86400, Plan.ENTERPRISE: 86400}
"""Seconds that Cloudflare knows for rate limits, and the most by plan (WAF, Rate limiting parameters)."""

SHORTEST_EDGE_TTL = {Plan.FREE: 7200, Plan.PRO: 3600, Plan.BUSINESS: 1, Plan.ENTERPRISE: 1}
"""Seconds that Cloudflare keeps a copy at least, by plan."""

FIELD_PLANS = {
    r"cf\.bot_management\b": Plan.ENTERPRISE,
    r"cf\.waf\.score\.class\b": Plan.BUSINESS,
    r"cf\.waf\.score\b(?!\.class)": Plan.ENTERPRISE,
    r"http\.request\.body\b": Plan.ENTERPRISE,
}
"""Fields of the rule language that not every plan fills in."""


@dataclass(frozen=True)
class Paid:
    """A setting that needs a plan, with a value that needs none."""

    key: str
    value: object
    plan: Plan
    example: object
    what: str = "is"


def plan_limits(settings: Settings) -> Iterator[Problem]:
    """Nothing is asked of Cloudflare that the zone's plan does not have."""
    if settings.cloudflare.enabled:
        for problem in _beyond_plan(settings.cloudflare.plan, settings.cloudflare.zone):
            yield replace(problem, because=("cloudflare.plan",))


def _beyond_plan(plan: Plan, zone: Zone) -> Iterator[Problem]:
    rules = (_paid_rule(index, rule) for index, rule in enumerate(zone.rules.custom))
    for paid in readable(_paid_settings(zone), *rules, _paid_rules(zone.rules), _paid_actions(zone.rules)):
        if not plan.has(paid.plan):
            reason = f"{paid.what} part of the {paid.plan.value} plan, and cloudflare.plan is {plan.value}"
            yield Problem(f"cloudflare.zone.{paid.key}", paid.value, reason, paid.example)
    if zone.bots and zone.bots.fight_mode and plan is not Plan.FREE:
        reason = f"is the free plan's, and cloudflare.plan is {plan.value}, which has definitelyAutomated instead"
        yield Problem("cloudflare.zone.bots.fightMode", True, reason, WITHOUT)
    yield from readable(
        _counts(plan, zone.rules),
        _edge_ttl(plan, zone.rules),
        *(
            _rate_limit(f"cloudflare.zone.rules.rateLimits.{name}", limit, plan)
            for name, limit in zone.rules.rate_limits.items()
        ),
    )


def _edge_ttl(plan: Plan, rules: Rules) -> Iterator[Problem]:
    static = rules.cache.static if rules.cache else None
    if static and static.edge_ttl_seconds < SHORTEST_EDGE_TTL[plan]:
        reason = f"is less than the {SHORTEST_EDGE_TTL[plan]} s that the {plan.value} plan keeps copies at least"
        key = "cloudflare.zone.rules.cache.static.edgeTtlSeconds"
        yield Problem(key, static.edge_ttl_seconds, reason, SHORTEST_EDGE_TTL[plan])


def _paid_settings(zone: Zone) -> Iterator[Paid]:
    polish, bots = zone.settings.polish, zone.bots
    if polish and polish is not Polish.OFF:
        yield Paid("settings.polish", polish.value, Plan.PRO, "off")
    if bots and bots.definitely_automated:
        yield Paid("bots.definitelyAutomated", bots.definitely_automated.value, Plan.PRO, WITHOUT)
    if bots and bots.verified_bots:
        yield Paid("bots.verifiedBots", bots.verified_bots.value, Plan.PRO, WITHOUT)
    if bots and bots.likely_automated:
        yield Paid("bots.likelyAutomated", bots.likely_automated.value, Plan.BUSINESS, WITHOUT)


def _paid_rule(index: int, rule: CustomRule) -> Iterator[Paid]:
    key = f"rules.custom[{index}]"
    if Skipped.BOT_RULES in rule.skips:
        others = [each.value for each in rule.skips if each is not Skipped.BOT_RULES]
        what = "means Super Bot Fight Mode, which is"
        yield Paid(f"{key}.skips", "bot-rules", Plan.PRO, others or ["managed-rules"], what)
    example = 'starts_with(http.request.uri.path, "/api/")'
    if uses_regex(rule.expression):
        what = "uses a regular expression instead of starts_with, contains or wildcard, which is"
        yield Paid(f"{key}.expression", rule.expression, Plan.BUSINESS, example, what)
    for field, plan in FIELD_PLANS.items():
        found = re.search(field, code_of(rule.expression))
        if found:
            what = f"uses {found[0]}, which is"
            yield Paid(f"{key}.expression", rule.expression, plan, example, what)


def _paid_rules(rules: Rules) -> Iterator[Paid]:
    if rules.managed:
        what = "Cloudflare's Free Managed Ruleset is on by itself; choosing managed rules is"
        shown = rules.managed.model_dump(mode="json", by_alias=True, exclude_none=True)
        yield Paid("rules.managed", shown, Plan.PRO, WITHOUT, what)
    for name, limit in rules.rate_limits.items():
        key = f"rules.rateLimits.{name}"
        if limit.hosts:
            what = "in a rate limit, where the free plan knows the path only, is"
            yield Paid(f"{key}.hosts", list(limit.hosts), Plan.PRO, WITHOUT, what)
        if limit.challenges and limit.timeout_seconds:
            what = "for a challenge, which has no duration otherwise, is"
            yield Paid(f"{key}.timeoutSeconds", limit.timeout_seconds, Plan.ENTERPRISE, WITHOUT, what)


def _paid_actions(rules: Rules) -> Iterator[Paid]:
    """Logging without doing anything."""
    actions = {f"custom[{index}]": rule.action.value for index, rule in enumerate(rules.custom)}
    actions |= {f"rateLimits.{name}": limit.action.value for name, limit in rules.rate_limits.items()}
    if rules.blocked_paths:
        actions["blockedPaths"] = rules.blocked_paths.action.value
    if rules.countries:
        actions["countries"] = rules.countries.action.value
    if rules.managed and rules.managed.owasp:
        actions["managed.owasp"] = rules.managed.owasp.action.value
    if rules.ddos and rules.ddos.action:
        actions["ddos"] = rules.ddos.action.value
    for key, action in actions.items():
        if action == Mitigation.LOG.value:
            yield Paid(f"rules.{key}.action", action, Plan.ENTERPRISE, "managed_challenge")


def _counts(plan: Plan, rules: Rules) -> Iterator[Problem]:
    ready_made = sum(part is not None for part in (rules.blocked_paths, rules.countries))
    custom = len(rules.custom) + ready_made
    if custom > MOST_CUSTOM_RULES[plan]:
        own = "" if not ready_made else ", blockedPaths and countries included"
        reason = f"would be {custom} custom rules{own}; the {plan.value} plan has {MOST_CUSTOM_RULES[plan]}"
        names = [rule.name for rule in rules.custom]
        yield Problem("cloudflare.zone.rules.custom", names, reason, "fewer rules, joined with `or`")
    cache = rules.cache
    cached = (len(cache.bypass) + (cache.static is not None)) if cache else 0
    limits = (
        ("rateLimits", list(rules.rate_limits), len(rules.rate_limits), MOST_RATE_LIMITS[plan]),
        ("cache.bypass", list(cache.bypass) if cache else [], cached, MOST_OTHER_RULES[plan]),
        ("config", [rule.name for rule in rules.config], len(rules.config), MOST_OTHER_RULES[plan]),
    )
    for key, names, count, most in limits:
        if count > most:
            reason = f"would be {count} rules; the {plan.value} plan has {most}"
            yield Problem(f"cloudflare.zone.rules.{key}", names, reason, f"{most} or fewer")


def _rate_limit(key: str, limit: RateLimit, plan: Plan) -> Iterator[Problem]:
    """Periods and durations are of those that the plan has; what is asked for is converted in the example."""
    possible = [period for period in PERIODS if period <= LONGEST_PERIOD[plan]]
    if limit.period_seconds not in possible:
        period = max((each for each in possible if each <= limit.period_seconds), default=possible[0])
        # Rounded up: the same rate, and never a limit of nothing.
        requests = -(-limit.requests * period // limit.period_seconds)
        reason = (
            f"is no period of the {plan.value} plan, which counts over {_listed(possible)} s: requests would be "
            f"{requests} in {period} s"
        )
        yield Problem(f"{key}.periodSeconds", limit.period_seconds, reason, period)
    durations = [duration for duration in TIMEOUTS if duration <= LONGEST_TIMEOUT[plan]]
    if limit.timeout_seconds and limit.timeout_seconds not in durations and not limit.challenges:
        reason = f"is no duration of the {plan.value} plan, which blocks for {_listed(durations)} s"
        yield Problem(f"{key}.timeoutSeconds", limit.timeout_seconds, reason, durations[0])


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def rule_hosts(settings: Settings) -> Iterator[Problem]:
    """Hosts in rules and certificates lie in the zone: others never come by here."""
    rules, domain = settings.cloudflare.zone.rules, settings.cluster.domain
    if not settings.cloudflare.enabled:
        return
    named = {f"rules.rateLimits.{name}.hosts": limit.hosts for name, limit in rules.rate_limits.items()}
    named |= {f"rules.config[{index}].hosts": rule.hosts for index, rule in enumerate(rules.config)}
    if rules.countries:
        named["rules.countries.hosts"] = rules.countries.hosts
    if rules.cache:
        named |= {f"rules.cache.bypass.{name}.hosts": bypass.hosts for name, bypass in rules.cache.bypass.items()}
    named |= {
        f"certificatePacks.{name}.hosts": pack.hosts
        for name, pack in settings.cloudflare.zone.certificate_packs.items()
    }
    for key, hosts in named.items():
        for host in hosts:
            if not _under(host, domain):
                reason = f"lies outside cluster.domain {domain}, the zone of these rules"
                yield Problem(f"cloudflare.zone.{key}", host, reason, [f"app.{domain}"])


def blocked_paths(settings: Settings) -> Iterator[Problem]:
    """No published path is blocked as one that only scanners ask for."""
    blocked = settings.cloudflare.zone.rules.blocked_paths
    if not settings.cloudflare.enabled or blocked is None:
        return
    behind = _behind_tunnel(settings)
    protected = protected_hosts(settings.cloudflare.access, behind)
    for application in behind:
        for path in blocked.paths:
            if application.host not in protected and application.path.lower().startswith(path.lower()):
                reason = (
                    f"is blocked by {path} of cloudflare.zone.rules.blockedPaths, and no policy in access guards it"
                )
                key = f"applications.{application.name}.path"
                guards = (f"applications.{application.name}", "cloudflare.access")
                because = (*guards, "cloudflare.zone.rules.blockedPaths", "cloudflare.tunnel.ingressClass")
                yield Problem(key, application.path, reason, "/app", because)


def edge_certificates(settings: Settings) -> Iterator[Problem]:
    """Every public name has a certificate at the edge, where Universal SSL covers one label only."""
    edge, domain = settings.cloudflare, settings.cluster.domain
    if not edge.enabled:
        return
    names = {f"applications.{each.name}.host": each.host for each in _behind_tunnel(settings)}
    names |= {f"cloudflare.tunnel.rules[{index}].host": rule.host for index, rule in enumerate(edge.tunnel.rules)}
    names |= {
        f"cloudflare.dns.records.{key}.name": record.name
        for key, record in edge.dns.records.items()
        if record.proxied and record.type in PROXIABLE
    }
    for key, host in names.items():
        # A wildcard record needs a certificate for any name that it stands for.
        if _under(host, domain) and not edge.zone.has_certificate(host.replace("*", "any"), domain):
            reason = (
                f"is deeper than one label under {domain}, where Cloudflare's free certificate ends; browsers would "
                "refuse it. cloudflare.zone.totalTls or a certificate pack covers it, with a paid add-on"
            )
            example = f"{host.replace(f'.{domain}', '').replace('.', '-')}.{domain}"
            yield Problem(key, host, reason, example, because=(*EDGE_CERTIFICATES, key.rpartition(".")[0]))


def application_access(settings: Settings) -> Iterator[Problem]:
    """An application's Access policies exist, and Cloudflare sees its requests."""
    edge = settings.cloudflare
    for application in settings.published:
        key = f"applications.{application.name}.access"
        shown = list(application.access)
        if not shown:
            continue
        if not edge.enabled:
            reason = "needs Cloudflare Access, and cloudflare.enabled is false"
            yield Problem(key, shown, reason, WITHOUT, because=("cloudflare.enabled",))
        elif (
            application.ingress_class != edge.tunnel.ingress_class
            and edge.tunnel.ingress_class in settings.ingress.classes
        ):
            reason = (
                f"would guard nothing: requests of class {application.ingress_class} do not pass Cloudflare, those of "
                f"class {edge.tunnel.ingress_class} do"
            )
            yield Problem(key, shown, reason, WITHOUT, because=("cloudflare.tunnel.ingressClass",))
        else:
            for problem in edge.access.policy_problems(key, application.access):
                yield replace(problem, because=("cloudflare.access.policies",))


def access_applications(settings: Settings) -> Iterator[Problem]:
    """Access applications of the settings guard what passes Cloudflare, each part of it once and under its own name."""
    edge, domain = settings.cloudflare, settings.cluster.domain
    if not edge.enabled:
        return
    published = settings.published
    behind = _behind_tunnel(settings)
    inside = {each.host: each for each in published if each.ingress_class != edge.tunnel.ingress_class}
    outside = {each.host for each in behind} | {rule.host for rule in edge.tunnel.rules}
    for name, application in edge.access.applications.items():
        key = f"cloudflare.access.applications.{name}"
        if name in settings.applications.entries:
            reason = "is the name of an entry of applications too, whose own access makes an Access application"
            yield Problem(key, name, reason, f"{name}-admin")
        if not _under(application.host, domain):
            yield Problem(f"{key}.host", application.host, f"lies outside cluster.domain {domain}", f"app.{domain}")
        elif application.host in inside and application.host not in outside:
            other = inside[application.host]
            reason = (
                f"would guard nothing: applications.{other.name} is of class {other.ingress_class}, past Cloudflare"
            )
            because = (f"applications.{other.name}", "cloudflare.tunnel.ingressClass")
            example = f"a host of class {edge.tunnel.ingress_class}"
            yield Problem(f"{key}.host", application.host, reason, example, because)
    owners: dict[str, str] = {}
    for door in guarded(edge.access, behind):
        first = owners.setdefault(door.domain, door.name)
        if first != door.name and door.name in edge.access.applications:
            reason = f"is guarded by {first} already"
            shown = address(door.host, door.path)
            key = f"cloudflare.access.applications.{door.name}.path"
            yield Problem(key, shown, reason, "/app", because=(f"applications.{first}",))


def _behind_tunnel(settings: Settings) -> list[Published]:
    return settings.cloudflare.behind_tunnel(settings.published)


def _under(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


RULES = (plan_limits, rule_hosts, blocked_paths, edge_certificates, application_access, access_applications)
