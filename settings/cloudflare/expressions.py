"""Cloudflare's rule language: expressions built from settings, and judgment of those that are written by hand.

What comes from a setting always enters an expression through `quoted`, so that no host or path can end the text it
stands in and add conditions of its own.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field

LONGEST = 4096
"""Characters that Cloudflare takes in one expression (Ruleset Engine, Expressions)."""

RETIRED = {
    r"cf\.threat_score": "cf.threat_score is no longer filled in and always 0; nothing would ever match",
    r"ip\.geoip\.(\w+)": r"ip.geoip.\1 was renamed: write ip.src.\1",
}
"""Fields of old rules, with what to say about them (facts section 5.3)."""

FIELDS = frozenset(
    f"{root}.{rest}" if rest else root
    for root, names in {
        "http": "cookie host referer user_agent x_forwarded_for",
        "http.request": "accepted_languages cookies full_uri headers method timestamp.msec timestamp.sec uri version",
        "http.request.body": "form form.names form.values mime raw size truncated",
        "http.request.headers": "names truncated values",
        "http.request.uri": "args args.names args.values path path.extension query",
        "ip": "src",
        "ip.src": "asnum city continent country is_in_european_union lat lon metro_code postal_code region region_code "
        "subdivision_1_iso_code subdivision_2_iso_code timezone.name",
    }.items()
    for rest in names.split()
)
"""Fields of every request (Cloudflare, Fields reference). There are more, of single products and new ones."""

_FIELD = re.compile(r"(?<![\w.])(?:http|ip)(?:\.\w+)+")

_STRING = re.compile(r'\br(#*)"(?:.*?)"\1|"(?:[^"\\]|\\.)*"', re.DOTALL)

_PAIRS = {")": "(", "}": "{", "]": "["}


def quoted(text: str) -> str:
    """A string literal that stands for exactly this text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def one_of(field: str, values: Iterable[str]) -> str:
    """`field` is one of the values; each once and sorted, so that their order in the settings makes no difference."""
    return f"{field} in {{{' '.join(quoted(value) for value in sorted(set(values)))}}}"


def path_below(prefix: str, path: str = "http.request.uri.path") -> str:
    """The path of the request begins with `prefix`."""
    return f"starts_with({path}, {quoted(prefix)})"


def both(*conditions: str) -> str:
    """All of the conditions."""
    return " and ".join(condition if len(conditions) == 1 else f"({condition})" for condition in conditions)


def code_of(expression: str) -> str:
    """The expression without the text in its strings, which may look like anything."""
    return _STRING.sub("''", expression)


def uses_regex(expression: str) -> bool:
    """Whether an expression matches regular expressions."""
    return re.search(r"\bmatches\b|~", code_of(expression)) is not None


def _judged(expression: str) -> str:
    fault = fault_of(expression)
    if fault:
        raise ValueError(fault)
    return expression


def fault_of(expression: str) -> str | None:
    """What Cloudflare would refuse, or take and never match; None for an expression without such a fault."""
    if not expression.strip():
        return "must not be empty; `true` matches every request"
    if expression != expression.strip() or not expression.isprintable():
        return "has white space around it or control characters in it; in YAML, `>-` folds lines into one"
    if len(expression) > LONGEST:
        return f"has {len(expression)} characters, and Cloudflare takes {LONGEST}"
    code = code_of(expression)
    if '"' in code:
        return "has a string that is not closed"
    return _bracket_fault(code) or _retired_fault(code) or _misspelt_fault(code)


def _bracket_fault(code: str) -> str | None:
    opened: list[str] = []
    for character in code:
        if character in _PAIRS.values():
            opened.append(character)
        elif character in _PAIRS and (not opened or opened.pop() != _PAIRS[character]):
            return f"closes a {character} that was not opened"
    return f"does not close a {opened[-1]}" if opened else None


def _retired_fault(code: str) -> str | None:
    for pattern, reason in RETIRED.items():
        match = re.search(rf"(?<![\w.]){pattern}", code)
        if match:
            return match.expand(reason)
    return None


def _misspelt_fault(code: str) -> str | None:
    """A field that is close to a known one. One that is like none of them may be new, and Cloudflare judges it."""
    for name in sorted({*_FIELD.findall(code)} - FIELDS):
        near = difflib.get_close_matches(name, FIELDS, n=1, cutoff=0.9)
        if near:
            return f"has {name}, which is no field of Cloudflare; did you mean {near[0]}?"
    return None


Expression = Annotated[
    str, AfterValidator(_judged), Field(examples=['http.user_agent contains "sqlmap" and not cf.client.bot'])
]
"""A condition on a request, in Cloudflare's rule language."""
