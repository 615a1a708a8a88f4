"""The stand-in judges a tailnet policy as Tailscale's API does: syntax, names, and the policy's own tests."""

import json
from typing import Any

import pytest

from rehearsal.accounts.tailnet_policy import DEFAULT, PolicyError, judge, parse

pytestmark = pytest.mark.unit

BASE: dict[str, Any] = {
    "groups": {"group:admins": ["ann@example.com"]},
    "hosts": {"gateway": "192.168.1.102", "lan": "192.168.1.0/24"},
    "tagOwners": {"tag:operator": ["group:admins"], "tag:k8s": ["tag:operator"], "tag:ci": []},
    "acls": [
        {"action": "accept", "src": ["group:admins"], "dst": ["tag:k8s:443,8000-8010", "lan:22"]},
        {"action": "accept", "src": ["autogroup:member"], "proto": "udp", "dst": ["gateway:53"]},
    ],
    "grants": [
        {"src": ["autogroup:member"], "dst": ["tag:k8s"], "ip": ["tcp:443", "icmp:*"]},
        {"src": ["tag:ci"], "dst": ["tag:operator"], "ip": ["*"]},
        {"src": ["autogroup:tagged"], "dst": ["10.0.0.0/8"], "ip": ["80-90"]},
        {"src": ["ann@example.com"], "dst": ["tag:ci"], "app": {"tailscale.com/cap/kubernetes": [{}]}},
    ],
    "autoApprovers": {"routes": {"192.168.1.102/32": ["tag:k8s"]}},
}


def with_test(**test: Any) -> str:
    return json.dumps(BASE | {"tests": [test]})


@pytest.mark.parametrize(
    ("source", "target", "protocol", "reached"),
    [
        ("ann@example.com", "tag:k8s:443", "tcp", True),
        ("bob@example.com", "tag:k8s:443", "tcp", True),
        ("bob@example.com", "tag:k8s:443", "udp", False),
        ("ann@example.com", "tag:k8s:8005", "tcp", True),
        ("group:admins", "tag:k8s:8010", "tcp", True),
        ("ann@example.com", "tag:k8s:8011", "tcp", False),
        ("bob@example.com", "tag:k8s:8005", "tcp", False),
        ("ann@example.com", "gateway:22", "tcp", True),
        ("ann@example.com", "192.168.1.7:22", "tcp", True),
        ("ann@example.com", "192.168.2.7:22", "tcp", False),
        ("bob@example.com", "gateway:53", "udp", True),
        ("bob@example.com", "gateway:53", "tcp", False),
        ("tag:ci", "tag:operator:1", "tcp", True),
        ("tag:k8s", "tag:operator:1", "tcp", False),
        ("tag:k8s", "10.1.2.3:85", "tcp", True),
        ("bob@example.com", "10.1.2.3:85", "tcp", False),
        ("ann@example.com", "tag:ci:443", "tcp", False),
    ],
)
def test_a_policys_own_tests_are_run(source: str, target: str, protocol: str, reached: bool) -> None:
    right, wrong = ("accept", "deny") if reached else ("deny", "accept")
    judge(with_test(src=source, proto=protocol, **{right: [target]}))
    with pytest.raises(PolicyError, match=rf'test\(s\) failed: tests\[0\]: from "{source}" .*expected {wrong}'):
        judge(with_test(src=source, proto=protocol, **{wrong: [target]}))


def test_the_default_policy_lets_everybody_reach_everything() -> None:
    judge(json.dumps(parse(DEFAULT) | {"tests": [{"src": "x@y.z", "accept": ["100.64.0.1:22"]}]}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"acl": []}, 'unknown field "acl"'),
        ({"tagOwners": {"k8s": []}}, 'must start with "tag:"'),
        ({"grants": [{"src": ["tag:web"], "dst": ["*"], "ip": ["*"]}]}, 'grants: tag not found: "tag:web"'),
        ({"acls": [{"action": "accept", "src": ["*"], "dst": ["tag:web:*"]}]}, 'acls: tag not found: "tag:web"'),
        ({"tagOwners": BASE["tagOwners"] | {"tag:x": ["group:none"]}}, 'tagOwners of tag:x: group not found: "group:n'),
        ({"autoApprovers": {"routes": {"10.0.0.0/8": ["tag:web"]}}}, 'autoApprovers.routes: tag not found: "tag:web"'),
        ({"autoApprovers": {"exitNode": ["tag:web"]}}, 'autoApprovers.exitNode: tag not found: "tag:web"'),
        ({"nodeAttrs": [{"target": ["tag:web"], "attr": ["funnel"]}]}, 'nodeAttrs: tag not found: "tag:web"'),
        ({"acls": [{"action": "accept", "src": ["*"], "dst": ["printer:*"]}]}, 'acls: host not found: "printer"'),
        ({"tests": [{"src": "tag:web", "deny": ["gateway:1"]}]}, 'tests: tag not found: "tag:web"'),
        ({"tests": [{"src": "tag:ci", "deny": ["gateway:1-2"]}]}, "must end with one port"),
    ],
)
def test_a_name_or_section_that_does_not_exist_is_refused(change: dict[str, Any], reason: str) -> None:
    judge(json.dumps(BASE))
    with pytest.raises(PolicyError) as caught:
        judge(json.dumps(BASE | change))
    assert reason in str(caught.value)


def test_comments_and_trailing_commas_are_taken_and_texts_left_alone() -> None:
    text = """// whole
    { /* one, two */ "hosts": {"a//b": "1.2.3.4", "c,}": "5.6.7.8",}, "acls": [ // none
      ], "groups": {"group:\\"q": ["x@y.z",  ]  , },
    }"""
    assert parse(text) == {
        "hosts": {"a//b": "1.2.3.4", "c,}": "5.6.7.8"},
        "acls": [],
        "groups": {'group:"q': ["x@y.z"]},
    }


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": }', "{,}", '{"acls": [] /* open', '{"a" 1}'])
def test_what_is_no_policy_document_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        parse(text)
