"""How long a login lasts: a policy always says it, since the plugin makes a day of none."""

from typing import Any

import pytest

from tests.support.edge import WEB, built
from tests.support.recorder import Registration

pytestmark = pytest.mark.unit

STAFF = {"emailDomains": ["example.com"]}


def access(entries: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"cloudflare": {"access": values}, "applications": entries}


def registered(change: dict[str, Any]) -> dict[str, Registration]:
    """The resources of Access, by the end of their name."""
    return {name.partition("cloudflare-access-")[2]: entry for name, entry in built(change).items()}


def lengths(**values: Any) -> dict[str, set[str]]:
    """Host to the lengths of the policies that let somebody in there, as they reach Cloudflare."""
    found = registered(access({"web": WEB | {"access": ["staff"]}}, **values))
    by_id = {f"{entry.name}-id": entry.inputs["sessionDuration"] for key, entry in found.items() if "policy-" in key}
    return {
        entry.inputs["domain"]: {by_id[policy["id"]] for policy in entry.inputs["policies"]}
        for key, entry in found.items()
        if key.startswith("application-")
    }


def wiki(hours: int | None) -> dict[str, Any]:
    length = {"sessionHours": hours} if hours else {}
    return {"wiki": {"host": "wiki.example.com", "policies": ["staff"], **length}}


def test_policy_without_a_length_lasts_as_the_application_says() -> None:
    assert lengths(sessionHours=8, policies={"staff": STAFF}) == {"web.example.com": {"8h"}}


def test_applications_that_differ_share_a_policy_and_not_its_length() -> None:
    found = lengths(sessionHours=8, policies={"staff": STAFF}, applications=wiki(1))
    assert found == {"web.example.com": {"8h"}, "wiki.example.com": {"1h"}}


def test_length_of_the_policy_goes_before_that_of_every_application() -> None:
    found = lengths(sessionHours=8, policies={"staff": STAFF | {"sessionHours": 2}}, applications=wiki(1))
    assert found == {"web.example.com": {"2h"}, "wiki.example.com": {"2h"}}


def test_policy_keeps_its_resource_whatever_its_length() -> None:
    found = registered(access({}, sessionHours=8, policies={"staff": STAFF, "others": STAFF}, applications=wiki(1)))
    assert found["policy-staff"].inputs["sessionDuration"] == "1h"
    assert found["policy-others"].inputs["sessionDuration"] == "8h", "nobody uses it yet"
