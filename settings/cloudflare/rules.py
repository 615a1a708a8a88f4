"""Settings of the rules at Cloudflare's edge, and the expressions that they stand for.

`components.cloudflare.rulesets` makes Cloudflare's rules of them. Which rules a plan allows is judged by
`settings.rules.zone`.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from settings.applications import UrlPath
from settings.cloudflare.expressions import Expression, both, one_of, path_below
from settings.fields import WITHOUT, DnsLabel, DomainName, Form, Model, Problem, Seconds, below

STATIC_EXTENSIONS = (
    *("avif", "css", "gif", "ico", "jpeg", "jpg", "js", "mjs", "otf"),
    *("png", "svg", "ttf", "webp", "woff", "woff2"),
)

SCANNED_PATHS = ("/.env", "/.git", "/wp-admin", "/wp-login.php", "/xmlrpc.php", "/phpmyadmin")


class Mitigation(StrEnum):
    """What happens to a request that a rule finds."""

    BLOCK = "block"
    MANAGED_CHALLENGE = "managed_challenge"
    JS_CHALLENGE = "js_challenge"
    CHALLENGE = "challenge"
    LOG = "log"


class Action(StrEnum):
    """What a custom rule does: a mitigation, or an exception from later rules."""

    BLOCK = "block"
    MANAGED_CHALLENGE = "managed_challenge"
    JS_CHALLENGE = "js_challenge"
    CHALLENGE = "challenge"
    LOG = "log"
    SKIP = "skip"


MITIGATIONS = "`block`, `managed_challenge`, `js_challenge`, `challenge`, or on an Enterprise plan `log`"


class Skipped(StrEnum):
    """Rules that a request is let past."""

    CUSTOM_RULES = "custom-rules"
    RATE_LIMITS = "rate-limits"
    MANAGED_RULES = "managed-rules"
    BOT_RULES = "bot-rules"


class Sensitivity(StrEnum):
    """How readily Cloudflare takes traffic for an attack."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    OFF = "off"


class Threshold(StrEnum):
    """How readily the OWASP rules act: from which score on (60, 40 and 25 points)."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


def _outside(expression: str, hosts: list[str]) -> str:
    return both(expression, f"not {one_of('http.host', hosts)}") if hosts else expression


def _once(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"names {', '.join(twice)} twice")
    return values


CountryCode = Annotated[
    str,
    StringConstraints(pattern=r"^([A-Z]{2}|T1)$"),
    Form("must be two capital letters (ISO 3166-1), or T1 for Tor"),
    Field(examples=["US"]),
]
"""A country (ISO 3166-1 alpha-2), XX for an unknown one, T1 for Tor."""

Hosts = Annotated[tuple[DomainName, ...], AfterValidator(_once)]
Countries = Annotated[tuple[CountryCode, ...], AfterValidator(_once)]


class Match(Model):
    """Requests by host and path."""

    hosts: Hosts = Field(
        default=(), description="host names, exactly; all of the zone when empty", examples=[["a.example.com"]]
    )
    path_prefix: UrlPath = Field(default="/", description="what the path begins with", examples=["/api/"])

    @property
    def expression(self) -> str:
        """The same in the rule language."""
        hosts = [one_of("http.host", self.hosts)] if self.hosts else []
        path = [path_below(self.path_prefix)] if self.path_prefix != "/" or not hosts else []
        return both(*hosts, *path)

    @property
    def everything(self) -> bool:
        """Whether every request of the zone is meant."""
        return not self.hosts and self.path_prefix == "/"


class CustomRule(Model):
    """One rule in Cloudflare's rule language."""

    name: DnsLabel = Field(
        description="name, unique among these rules; a new name is a new rule", examples=["no-sqlmap"]
    )
    expression: Expression = Field(description="which requests")
    action: Action = Field(description=f"{MITIGATIONS}; or `skip`, an exception", examples=["managed_challenge"])
    skips: tuple[Skipped, ...] = Field(
        default=(),
        description="with action skip: `custom-rules` (those after it), `rate-limits`, `managed-rules`, `bot-rules`",
        examples=[["rate-limits"]],
    )
    enabled: bool = Field(default=True, description="false keeps the rule at Cloudflare without effect")
    description: str | None = Field(
        default=None, min_length=1, description="what it is for; the name when unset", examples=["scanners"]
    )

    def problems(self) -> Iterator[Problem]:
        if (self.action is Action.SKIP) != bool(self.skips):
            needed = self.action is Action.SKIP
            reason = (
                "is required for action skip" if needed else f"would have no effect: the action is {self.action.value}"
            )
            yield Problem("skips", list(self.skips), reason, ["rate-limits"] if needed else WITHOUT)


class CountryRule(Model):
    """Requests by the country of the client's address."""

    outside: Countries = Field(
        default=(), description="act on clients that are in none of these countries", examples=[["US", "CA"]]
    )
    inside: Countries = Field(default=(), description="act on clients in these countries", examples=[["T1"]])
    action: Mitigation = Field(default=Mitigation.MANAGED_CHALLENGE, description=MITIGATIONS)
    hosts: Hosts = Field(default=(), description="for these hosts only", examples=[["app.example.com"]])

    def problems(self) -> Iterator[Problem]:
        if bool(self.outside) == bool(self.inside):
            reason = "needs either outside or inside, and not both"
            yield Problem(
                "", self.model_dump(mode="json", include={"outside", "inside"}), reason, {"outside": ["US", "CA"]}
            )

    @property
    def expression(self) -> str:
        """The same in the rule language."""
        there = one_of("ip.src.country", self.outside or self.inside)
        where = f"not {there}" if self.outside else there
        return both(where, one_of("http.host", self.hosts)) if self.hosts else where


class BlockedPaths(Model):
    """Paths that only scanners ask for. Hosts behind Access are left out: who gets there has logged in."""

    paths: Annotated[tuple[UrlPath, ...], AfterValidator(_once)] = Field(
        default=SCANNED_PATHS,
        min_length=1,
        description="what such paths begin with, in any case",
        examples=[list(SCANNED_PATHS)],
    )
    action: Mitigation = Field(default=Mitigation.BLOCK, description=MITIGATIONS)

    def problems(self) -> Iterator[Problem]:
        if "/" in self.paths:
            yield Problem("paths", list(self.paths), "with / every request would be meant", list(SCANNED_PATHS))

    def expression(self, protected_hosts: list[str]) -> str:
        """The same in the rule language."""
        paths = " or ".join(path_below(path.lower(), "lower(http.request.uri.path)") for path in self.paths)
        return _outside(paths, protected_hosts)


class RateLimit(Match):
    """A limit on the requests of one client address, counted by each of Cloudflare's locations for itself."""

    requests: int = Field(gt=0, description="requests in a period from which on the action is taken", examples=[17])
    period_seconds: Seconds = Field(
        default=10,
        description="over which requests are counted: 10, and by plan 60, 120, 300, 600 or 3600",
        examples=[10],
    )
    action: Mitigation = Field(default=Mitigation.BLOCK, description=MITIGATIONS)
    timeout_seconds: Seconds | None = Field(
        default=None,
        description="how long a client stays blocked: 10, and by plan 60, 120, 300, 600, 3600 or 86400; as long as the "
        "period when unset. A challenge has none",
        examples=[10],
    )
    enabled: bool = Field(default=True, description="false keeps the rule at Cloudflare without effect")

    @property
    def challenges(self) -> bool:
        """Whether clients over the limit are asked to prove themselves, instead of being turned away for a time."""
        return self.action in {Mitigation.MANAGED_CHALLENGE, Mitigation.JS_CHALLENGE, Mitigation.CHALLENGE}

    @property
    def mitigation_timeout(self) -> int:
        """Seconds that the action lasts."""
        return self.timeout_seconds or (0 if self.challenges else self.period_seconds)


class Owasp(Model):
    """The OWASP Core Ruleset: each rule adds to a request's score."""

    paranoia_level: int = Field(default=1, ge=1, le=4, description="how strict its rules are, 1 to 4", examples=[1])
    threshold: Threshold = Field(
        default=Threshold.MEDIUM,
        description="how readily it acts: `low` (from 60 points on), `medium` (40), `high` (25)",
    )
    action: Mitigation = Field(default=Mitigation.MANAGED_CHALLENGE, description=MITIGATIONS)


class ManagedRules(Model):
    """Rules against known attacks that Cloudflare keeps up to date. The free plan has its own, always on."""

    cloudflare: bool = Field(default=True, description="the Cloudflare Managed Ruleset")
    owasp: Owasp | None = Field(default=None, description="the OWASP Core Ruleset", examples=[{"paranoiaLevel": 1}])

    def problems(self) -> Iterator[Problem]:
        if not self.cloudflare and self.owasp is None:
            yield Problem("cloudflare", False, "leaves no rules, owasp being unset", True)


class Ddos(Model):
    """A change to Cloudflare's HTTP DDoS protection, which is always on and needs none."""

    sensitivity: Sensitivity | None = Field(
        default=None,
        description="`high` (Cloudflare's own, also when unset), `medium`, `low` or `off`",
        examples=["medium"],
    )
    action: Mitigation | None = Field(
        default=None, description=f"instead of Cloudflare's own choice: {MITIGATIONS}", examples=["block"]
    )

    def problems(self) -> Iterator[Problem]:
        if self.sensitivity in {None, Sensitivity.HIGH} and self.action is None:
            shown = self.sensitivity.value if self.sensitivity else None
            yield Problem(
                "sensitivity", shown, "would change nothing: high is what Cloudflare does by itself", "medium"
            )


class StaticCache(Model):
    """Files that change with their name only. Hosts behind Access are left out: what is theirs is not for everybody."""

    extensions: Annotated[
        tuple[
            Annotated[
                str,
                StringConstraints(pattern=r"^[a-z0-9]+$"),
                Form("must be an extension in lower case, without its dot"),
            ],
            ...,
        ],
        AfterValidator(_once),
    ] = Field(default=STATIC_EXTENSIONS, min_length=1, description="file name extensions", examples=[["css", "js"]])
    edge_ttl_seconds: Seconds = Field(
        default=2592000, description="how long Cloudflare keeps them, whatever the origin says"
    )
    browser_ttl_seconds: Seconds = Field(default=86400, description="how long browsers keep them")

    def expression(self, protected_hosts: list[str]) -> str:
        """The same in the rule language."""
        return _outside(one_of("http.request.uri.path.extension", self.extensions), protected_hosts)


class CacheBypass(Match):
    """Requests that are never cached."""

    def problems(self) -> Iterator[Problem]:
        if self.everything:
            yield Problem(
                "", {}, "needs hosts or pathPrefix; to cache nothing, leave out cache", {"pathPrefix": "/api/"}
            )


class Cache(Model):
    """What Cloudflare keeps copies of."""

    static: StaticCache | None = Field(
        default=StaticCache(), description="static files; null for Cloudflare's own rules"
    )
    bypass: dict[DnsLabel, CacheBypass] = Field(
        default={},
        description="requests that are never cached, by a name of their own",
        examples=[{"api": {"pathPrefix": "/api/"}}],
    )

    def problems(self) -> Iterator[Problem]:
        for name, bypass in self.bypass.items():
            yield from below(f"bypass.{name}", bypass.problems())


class ConfigRule(Match):
    """Features of Cloudflare that a part of the zone has otherwise than the rest."""

    name: DnsLabel = Field(description="name, unique among these rules", examples=["api"])
    email_obfuscation: bool | None = Field(
        default=None, description="hide mail addresses in pages from robots", examples=[False]
    )
    rocket_loader: bool | None = Field(default=None, description="load scripts after the page", examples=[False])
    browser_integrity_check: bool | None = Field(
        default=None, description="refuse clients with odd headers", examples=[False]
    )
    disable_apps: bool = Field(default=False, description="no Cloudflare Apps")
    disable_rum: bool = Field(default=False, description="no Real User Monitoring")

    def problems(self) -> Iterator[Problem]:
        changes = (self.email_obfuscation, self.rocket_loader, self.browser_integrity_check)
        if changes == (None, None, None) and not (self.disable_apps or self.disable_rum):
            yield Problem("", self.name, "changes nothing", {"name": self.name, "emailObfuscation": False})


class Rules(Model):
    """Rules of the zone. What is left out is Cloudflare's own business; no ruleset of its phase is touched."""

    custom: tuple[CustomRule, ...] = Field(
        default=(),
        description="custom rules; looked at in this order, before countries and blockedPaths",
        examples=[[{"name": "no-sqlmap", "expression": 'http.user_agent contains "sqlmap"', "action": "block"}]],
    )
    blocked_paths: BlockedPaths | None = Field(
        default=None, description="paths that only scanners ask for", examples=[{"action": "block"}]
    )
    countries: CountryRule | None = Field(
        default=None, description="clients by country", examples=[{"outside": ["US", "CA"]}]
    )
    rate_limits: dict[DnsLabel, RateLimit] = Field(
        default={},
        description="rate limits by a name of their own",
        examples=[{"api": {"pathPrefix": "/api/", "requests": 17}}],
    )
    managed: ManagedRules | None = Field(
        default=None, description="managed WAF rules; Pro plan and above", examples=[{"owasp": {}}]
    )
    ddos: Ddos | None = Field(
        default=None, description="change to the DDoS protection", examples=[{"sensitivity": "medium"}]
    )
    cache: Cache | None = Field(
        default=None, description="what is cached", examples=[{"bypass": {"api": {"pathPrefix": "/api/"}}}]
    )
    config: tuple[ConfigRule, ...] = Field(
        default=(),
        description="features by host and path; of several that match, the last one decides",
        examples=[[{"name": "api", "pathPrefix": "/api/", "emailObfuscation": False}]],
    )

    def problems(self) -> Iterator[Problem]:
        lists: dict[str, tuple[CustomRule | ConfigRule, ...]] = {"custom": self.custom, "config": self.config}
        for key, listed in lists.items():
            names: dict[str, int] = {}
            for index, rule in enumerate(listed):
                yield from below(f"{key}[{index}]", rule.problems())
                first = names.setdefault(rule.name, index)
                if first != index:
                    reason = (
                        f"is the name of cloudflare.zone.rules.{key}[{first}] too; Cloudflare tells rules apart by it"
                    )
                    yield Problem(f"{key}[{index}].name", rule.name, reason, f"{rule.name}-2")
        parts = {
            "blockedPaths": self.blocked_paths,
            "countries": self.countries,
            "managed": self.managed,
            "ddos": self.ddos,
        }
        for key, part in (parts | {"cache": self.cache}).items():
            yield from below(key, part.problems() if part else ())
