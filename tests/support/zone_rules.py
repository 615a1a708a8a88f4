"""Rules of a zone for tests: one of every kind, and a generator of any."""

from typing import Any

from hypothesis import strategies as st

from settings.cloudflare.rules import Rules
from settings.parsing import parse_group

SQLMAP: dict[str, Any] = {"name": "no-sqlmap", "expression": 'http.user_agent contains "sqlmap"', "action": "block"}

API_LIMIT: dict[str, Any] = {"pathPrefix": "/api/", "requests": 17}

ALL_PHASES: dict[str, Any] = {
    "custom": [
        {
            "name": "office",
            "expression": "ip.src in {203.0.113.0/24}",
            "action": "skip",
            "skips": ["custom-rules", "rate-limits"],
        },
        SQLMAP | {"description": "scanners", "enabled": False},
    ],
    "blockedPaths": {},
    "countries": {"outside": ["US", "CA"]},
    "rateLimits": {"api": API_LIMIT, "login": {"pathPrefix": "/login", "requests": 5, "hosts": ["app.example.com"]}},
    "managed": {"owasp": {"paranoiaLevel": 2, "threshold": "high"}},
    "ddos": {"sensitivity": "medium", "action": "managed_challenge"},
    "cache": {"bypass": {"api": {"pathPrefix": "/api/"}, "grafana": {"hosts": ["grafana.example.com"]}}},
    "config": [{"name": "api", "pathPrefix": "/api/", "emailObfuscation": False, "disableRum": True}],
}
"""Something in every phase; needs a Pro plan."""


def name_of(rule: Any) -> str:
    return str(rule["name"])


NAMES = st.from_regex(r"\A[a-z]([a-z0-9]{0,5})\Z")
HOSTS = st.sampled_from(["app.example.com", "grafana.example.com", "example.com"])
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "hosts": st.lists(HOSTS, unique=True, max_size=2),
        "pathPrefix": st.sampled_from(["/", "/api/", '/a"b\\c', "/login"]),
    },
)
MITIGATIONS = st.sampled_from(["block", "managed_challenge", "js_challenge", "challenge", "log"])
EXPRESSIONS = st.sampled_from(
    ["true", 'http.host eq "app.example.com"', 'http.request.uri.path matches "^/a"', "cf.bot_management.score lt 30"]
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "custom": st.lists(
            st.one_of(
                st.fixed_dictionaries({"name": NAMES, "expression": EXPRESSIONS, "action": MITIGATIONS}),
                st.fixed_dictionaries(
                    {
                        "name": NAMES,
                        "expression": EXPRESSIONS,
                        "action": st.just("skip"),
                        "skips": st.lists(
                            st.sampled_from(["custom-rules", "rate-limits", "managed-rules", "bot-rules"]), min_size=1
                        ),
                    }
                ),
            ),
            unique_by=name_of,
            max_size=8,
        ),
        "blockedPaths": st.fixed_dictionaries({}, optional={"action": MITIGATIONS}),
        "countries": st.fixed_dictionaries({"outside": st.just(["US"])}, optional={"action": MITIGATIONS}),
        "rateLimits": st.dictionaries(
            NAMES,
            st.builds(
                lambda match, limit: match | limit,
                MATCHES,
                st.fixed_dictionaries(
                    {"requests": st.integers(1, 1000)},
                    optional={
                        "periodSeconds": st.sampled_from([10, 60, 120, 300, 600, 3600, 45]),
                        "timeoutSeconds": st.sampled_from([10, 60, 600, 3600, 86400, 45]),
                        "action": MITIGATIONS,
                    },
                ),
            ),
            max_size=3,
        ),
        "managed": st.fixed_dictionaries(
            {},
            optional={
                "owasp": st.fixed_dictionaries({"paranoiaLevel": st.integers(1, 4)}, optional={"action": MITIGATIONS})
            },
        ),
        "ddos": st.fixed_dictionaries(
            {"sensitivity": st.sampled_from(["medium", "low", "off"])}, optional={"action": MITIGATIONS}
        ),
        "cache": st.fixed_dictionaries(
            {},
            optional={
                "static": st.fixed_dictionaries({"edgeTtlSeconds": st.sampled_from([1, 3600, 7200, 86400])}),
                "bypass": st.dictionaries(NAMES, MATCHES.map(lambda match: {"pathPrefix": "/x"} | match), max_size=12),
            },
        ),
        "config": st.lists(
            st.builds(lambda name, match: {"name": name, "disableApps": True} | match, NAMES, MATCHES),
            unique_by=name_of,
            max_size=12,
        ),
    },
)
"""Rules of every kind, for any plan or none."""

PROTECTED = st.lists(HOSTS, unique=True)
"""Hosts behind Access."""


def parsed(raw: dict[str, Any]) -> Rules:
    """Rules as settings have them; a fault in them fails."""
    reading = parse_group(Rules, raw)
    assert not reading.problems, reading.problems
    return reading.model
