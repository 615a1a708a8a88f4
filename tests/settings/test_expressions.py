"""Cloudflare's rule language: no setting ends its own string, and what would be refused or never match is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.cloudflare.expressions import code_of, fault_of, one_of, path_below, quoted, uses_regex
from tests.support.edge import reasons

pytestmark = pytest.mark.unit


@given(st.text())
def test_text_from_a_setting_never_leaves_its_string(text: str) -> None:
    expression = f"http.host eq {quoted(text)}"
    assert code_of(expression) == "http.host eq ''", "the rest of the text would be read as conditions"


@given(st.lists(st.text(min_size=1), min_size=1))
def test_list_of_values_is_the_same_in_any_order(values: list[str]) -> None:
    assert one_of("http.host", values) == one_of("http.host", [*reversed(values), values[0]])


def test_host_with_a_quote_adds_no_condition() -> None:
    assert path_below('/a" or true or "') == 'starts_with(http.request.uri.path, "/a\\" or true or \\"")'


@pytest.mark.parametrize(
    "expression",
    [
        "true",
        '(http.host eq "a.example.com" and not ip.src in {203.0.113.0/24 2001:db8::/32})',
        'http.user_agent contains "(" or http.user_agent contains "\\""',
        'http.request.uri.path matches r"^/\\d+(/|$)"',
        'http.request.uri.path matches r#"a"b("#',
        'any(http.request.headers["x-a"][*] eq "1")',
        'http.user_agent contains "cf.threat_score"',
        'http.user_agent contains "http.useragent"',
        'any(lower(http.request.headers.names[*])[*] eq "x-a") and http.request.uri.args.names[0] eq "a"',
        'http.request.body.multipart.names[0][0] eq "a" or cf.bot_management.ja4 eq "x" or raw.http.request.uri eq "/"',
        'http.request.jwt.claims.iss["a"][0] eq "b" or ip.src.asnum in {1 2}',
    ],
)
def test_good_expression_is_taken(expression: str) -> None:
    assert fault_of(expression) is None


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("", "must not be empty"),
        ("  ", "must not be empty"),
        (" true", "white space around"),
        ('http.host eq "a"\nor true', "control characters"),
        ('http.host eq "a', "string that is not closed"),
        ('http.host eq "a\\"', "string that is not closed"),
        ('(http.host eq "a"', "does not close a ("),
        ('http.host eq "a")', "closes a ) that was not opened"),
        ('http.host in {"a")', "closes a ) that was not opened"),
        ("true or " * 600 + "true", "and Cloudflare takes 4096"),
        ("cf.threat_score gt 10", "always 0"),
        ('ip.geoip.country eq "US"', "write ip.src.country"),
        ("ip.geoip.asnum eq 1", "write ip.src.asnum"),
        ('http.useragent eq "a"', "did you mean http.user_agent?"),
        ('true and ip.src.cuntry eq "US"', "did you mean ip.src.country?"),
        ('starts_with(http.request.url.path, "/a")', "did you mean http.request.uri.path?"),
    ],
)
def test_bad_expression_is_refused_with_its_reason(expression: str, fault: str) -> None:
    rule = {"name": "it", "expression": expression, "action": "block"}
    found = reasons({"cloudflare": {"zone": {"rules": {"custom": [rule]}}}})
    assert fault in found["cloudflare.zone.rules.custom[0].expression"]


def test_regular_expressions_are_seen_as_operators_only() -> None:
    assert uses_regex('http.host matches "^a"')
    assert uses_regex('http.host ~ "^a"')
    assert not uses_regex('http.user_agent contains "matches ~"')
    assert not uses_regex('http.cookie contains "a" or http.request.uri.args["matches_a"][0] eq "b"')
