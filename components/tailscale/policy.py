"""The tailnet's policy file as text; `tailnet.TailnetAccess` registers it."""

import json
from collections.abc import Mapping
from typing import Any

from settings.tailscale.policy import Grant, Policy, PolicyTest, generated_tests


def policy_document(
    policy: Policy, tag_owners: Mapping[str, tuple[str, ...]], approvers: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> str:
    """The policy file as JSON, the same text for the same policy whatever the order of its entries.

    `tag_owners` holds every tag with its owners, `approvers` the section autoApprovers: by kind (`routes`, `services`)
    and route or service, the tags whose devices may take it without being asked for approval.
    """
    document = {
        "tagOwners": {tag: _stable(owners) for tag, owners in tag_owners.items()},
        "groups": {group: _stable(users) for group, users in policy.groups.items()},
        "grants": [_grant(grant) for _, grant in sorted(policy.grants.items())],
        "autoApprovers": {
            kind: {subject: _stable(tags) for subject, tags in entries.items()} for kind, entries in approvers.items()
        },
        "tests": generated_tests(policy) + [_test(test) for _, test in sorted(policy.tests.items())],
    }
    return json.dumps({key: value for key, value in document.items() if value}, indent=2, sort_keys=True)


def _stable(values: tuple[str, ...]) -> list[str]:
    return sorted(set(values))


def _grant(grant: Grant) -> dict[str, Any]:
    result: dict[str, Any] = {"src": _stable(grant.src), "dst": _stable(grant.dst)}
    if grant.ip:
        result["ip"] = _stable(grant.ip)
    if grant.app:
        result["app"] = {capability: list(entries) for capability, entries in grant.app.items()}
    return result


def _test(test: PolicyTest) -> dict[str, Any]:
    result: dict[str, Any] = {"src": test.src}
    if test.proto:
        result["proto"] = test.proto.value
    for side, destinations in (("accept", test.accept), ("deny", test.deny)):
        if destinations:
            result[side] = _stable(destinations)
    return result
