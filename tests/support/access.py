"""Access for tests: settings of the edge with it, and what is registered of it."""

from typing import Any

from tests.support.edge import ACCOUNT_ID, built
from tests.support.recorder import Registration
from tests.support.sdk_types import assert_arguments_fit


def access(entries: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    """Settings of the edge with Access, and applications by name."""
    return {"cloudflare": {"access": values}, "applications": entries or {}}


def registered(change: dict[str, Any]) -> dict[str, Registration]:
    """The resources of Access, by the end of their name; each fits the SDK."""
    found = {
        name.removeprefix("cloudflare-access-"): entry
        for name, entry in built(change).items()
        if name.startswith("cloudflare-access-")
    }
    for entry in found.values():
        assert_arguments_fit(entry)
        assert entry.inputs["accountId"] == ACCOUNT_ID
        assert "zoneId" not in entry.inputs, "Access is the account's; with both Cloudflare refuses"
    return found
