"""Judges a tailnet's policy document as Tailscale's API does before it takes one: syntax, names, and its own tests.

What is judged and what is not: docs/stand-in.md.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from typing import Any

DEFAULT = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'
"""What a new tailnet has: everybody reaches everything."""

_SECTIONS = (
    *("acls", "grants", "groups", "hosts", "tagOwners", "autoApprovers", "ssh", "sshTests", "tests", "nodeAttrs"),
    *("postures", "ipsets", "defaultSrcPosture", "derpMap", "disableIPv4", "randomizeClientPort", "OneCGNATRoute"),
    "extraDNSRecords",
)
_WHITE = " \t\r\n"


class PolicyError(Exception):
    """The API would refuse the document; the message says why."""


def parse(text: str) -> dict[str, Any]:
    """The document, JSON or HuJSON (comments and trailing commas allowed). Raises PolicyError."""
    try:
        document = json.loads(_as_json(text))
    except ValueError as error:
        raise PolicyError(f"invalid HuJSON: {error}") from None
    if not isinstance(document, dict):
        raise PolicyError("the policy must be an object")
    return document


def written(text: str) -> list[str]:
    """What is written in a document, as the plugin compares it: comments and order count, white space does not."""
    words = re.findall(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/|[^\s"/{}\[\],:]+|\S', text, re.DOTALL)
    ends = [*words[1:], ""]
    return [word.rstrip() for word, after in zip(words, ends, strict=True) if word != "," or after not in {"]", "}"}]


def _as_json(text: str) -> str:
    """HuJSON with its comments blanked and trailing commas dropped, so that positions stay right."""
    result: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        if char == '"':
            end = position + 1
            while end < len(text) and text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            result.append(text[position : end + 1])
            position = end + 1
            continue
        if text.startswith(("//", "/*"), position):
            closing = "\n" if text[position + 1] == "/" else "*/"
            end = text.find(closing, position + 2)
            if end < 0 and closing == "*/":
                raise ValueError("a comment does not end")
            end = len(text) if end < 0 else end + (2 if closing == "*/" else 0)
            result.append("".join(c if c == "\n" else " " for c in text[position:end]))
            position = end
            continue
        if char in "]}":
            _drop_comma(result)
        result.append(char)
        position += 1
    return "".join(result)


def _drop_comma(result: list[str]) -> None:
    """Blank a comma at the end that follows a value."""
    filled = [index for index in range(len(result)) if result[index].strip(_WHITE)][-2:]
    if len(filled) == 2 and result[filled[1]] == "," and result[filled[0]] not in {"[", "{", ","}:
        result[filled[1]] = " "


def judge(text: str) -> dict[str, Any]:
    """The parsed document if the API would take it. Raises PolicyError with the first fault."""
    document = parse(text)
    for section in document:
        if section not in _SECTIONS:
            raise PolicyError(f'unknown field "{section}"')
    for owned in document.get("tagOwners") or {}:
        if not owned.startswith("tag:"):
            raise PolicyError(f'tagOwners: "{owned}" must start with "tag:"')
    for where, name in _names(document):
        _check_name(document, where, name)
    for index, test in enumerate(document.get("tests") or []):
        _run_test(document, index, test)
    return document


def _names(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """All names of users, groups, tags and hosts that the document uses, and where."""
    for section in ("acls", "grants", "ssh"):
        for rule in document.get(section) or []:
            for side in ("src", "dst"):
                for name in rule.get(side) or []:
                    yield section, _host(name) if section == "acls" and side == "dst" else name
    for name, owners in (document.get("tagOwners") or {}).items():
        yield from ((f"tagOwners of {name}", owner) for owner in owners)
    approvers = document.get("autoApprovers") or {}
    for kind in ("routes", "services"):
        for owners in (approvers.get(kind) or {}).values():
            yield from ((f"autoApprovers.{kind}", owner) for owner in owners)
    yield from (("autoApprovers.exitNode", owner) for owner in approvers.get("exitNode") or [])
    for attribute in document.get("nodeAttrs") or []:
        yield from (("nodeAttrs", target) for target in attribute.get("target") or [])
    for test in document.get("tests") or []:
        yield "tests", test.get("src") or ""
        for side in ("accept", "deny"):
            yield from (("tests", _host(target)) for target in test.get(side) or [])


def _check_name(document: dict[str, Any], where: str, name: str) -> None:
    kind = name.partition(":")[0]
    known = {"tag": "tagOwners", "group": "groups", "ipset": "ipsets"}.get(kind)
    if known:
        if name not in (document.get(known) or {}):
            raise PolicyError(f'{where}: {kind} not found: "{name}", it is not in {known}')
    elif kind in {"autogroup", "svc"} or name == "*" or "@" in name or _network(name):
        return
    elif name not in (document.get("hosts") or {}):
        raise PolicyError(f'{where}: host not found: "{name}"')


def _host(target: str) -> str:
    """`tag:k8s` of `tag:k8s:443`."""
    return target.rpartition(":")[0]


def _network(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError:
        return None


def _run_test(document: dict[str, Any], index: int, test: dict[str, Any]) -> None:
    source = test.get("src") or ""
    protocol = test.get("proto") or "tcp"
    for verdict in ("accept", "deny"):
        for target in test.get(verdict) or []:
            host, _, port = target.rpartition(":")
            if not port.isdigit():
                raise PolicyError(f'tests[{index}]: "{target}" must end with one port')
            reached = _reaches(document, source, host, int(port), protocol)
            if reached != (verdict == "accept"):
                found = "accept" if reached else "deny"
                raise PolicyError(
                    f'test(s) failed: tests[{index}]: from "{source}" to "{target}" ({protocol}): '
                    f"expected {verdict}, got {found}"
                )


def _reaches(document: dict[str, Any], source: str, host: str, port: int, protocol: str) -> bool:
    for rule in document.get("acls") or []:
        if not _any_matches(document, rule.get("src"), source) or rule.get("proto", protocol) != protocol:
            continue
        for target in rule.get("dst") or []:
            name, _, ports = target.rpartition(":")
            if _matches(document, name, host) and _has_port(ports, port):
                return True
    for grant in document.get("grants") or []:
        if _any_matches(document, grant.get("src"), source) and _any_matches(document, grant.get("dst"), host):
            for capability in grant.get("ip") or []:
                kind, _, ports = capability.rpartition(":")
                if kind in {"", protocol} and _has_port(ports, port):
                    return True
    return False


def _any_matches(document: dict[str, Any], names: list[str] | None, subject: str) -> bool:
    return any(_matches(document, name, subject) for name in names or [])


def _matches(document: dict[str, Any], name: str, subject: str) -> bool:
    """Whether a name in a rule covers the user, group, tag, host or address of a test.

    Which role a user has is not known here, so of the autogroups only those that follow from the kind of name count.
    """
    if name in {"*", subject, "autogroup:danger-all"}:
        return True
    is_user = "@" in subject or subject.startswith("group:")
    if name == "autogroup:tagged":
        return subject.startswith("tag:")
    if name == "autogroup:member":
        return is_user
    if name.startswith("group:"):
        return subject in (document.get("groups") or {}).get(name, [])
    hosts = document.get("hosts") or {}
    wide, narrow = _network(hosts.get(name, name)), _network(hosts.get(subject, subject))
    return bool(wide and narrow and wide.version == narrow.version and narrow.subnet_of(wide))  # type: ignore[arg-type]


def _has_port(ports: str, port: int) -> bool:
    for part in ports.split(","):
        first, _, last = part.partition("-")
        if part == "*" or (first.isdigit() and int(first) <= port <= int(last or first)):
            return True
    return False
