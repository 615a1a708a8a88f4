"""Split DNS whose routes nobody approved: said in the preview, and critical in doctor."""

from typing import Any

import pulumi
import pytest

from cli.doctor.check_tailscale import _device
from cli.doctor.findings import Status
from cli.edge_accounts import Device
from components.tailscale.ingress import TailscaleIngress
from tests.support.configs import merged, settings_with, stack_config
from tests.support.doctor import context
from tests.support.recorder import record
from tests.support.tailscale import enabled, tailscale_arguments

pytestmark = pytest.mark.unit

POLICY: dict[str, Any] = {
    "testMember": "someone@example.com",
    "grants": {"names": {"src": ["autogroup:member"], "dst": ["192.168.1.102"], "ip": ["53"]}},
}


def warnings(tailnet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(pulumi, "warn", lambda text, resource: said.append(text))
    change = merged(enabled(connector={}, tailnet=tailnet), {"discovery": {"enabled": True}})
    arguments = tailscale_arguments(settings_with(change))
    record(lambda: TailscaleIngress("tailscale", arguments))
    return said


@pytest.mark.parametrize(
    ("tailnet", "count"),
    [
        ({"splitDns": {}}, 1),
        ({"splitDns": {"routesApproved": True}}, 0),
        ({"splitDns": {"reachable": True}}, 0),
        ({"splitDns": {}, "policy": POLICY}, 0),
        ({"magicDns": True}, 0),
    ],
)
def test_preview_says_that_the_routes_await_approval(
    tailnet: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = warnings(tailnet, monkeypatch)
    assert len(said) == count
    assert all("192.168.1.102" in text and "example.com" in text and "approve" in text for text in said)


@pytest.mark.parametrize(
    ("advertised", "approved", "change", "wanted"),
    [
        (["192.168.1.102/32"], [], {}, [(Status.CRITICAL, "tailscale.tailnet.splitDns", "resolves example.com")]),
        (
            ["192.168.1.102/32", "192.168.1.103/32"],
            ["192.168.1.102/32"],
            {},
            [(Status.CRITICAL, "tailscale.connector", "192.168.1.103/32, which nobody approved")],
        ),
        (
            ["192.168.1.102/32"],
            [],
            {"tailscale": {"tailnet": {"splitDns": None}}},
            [(Status.CRITICAL, "tailscale.connector", "which nobody approved")],
        ),
        (["10.0.0.0/8"], [], {}, [(Status.WARNING, "tailscale.connector", "10.0.0.0/8")]),
        (["192.168.1.102/32"], ["192.168.1.102/32"], {}, []),
    ],
)
def test_doctor_calls_a_route_of_the_settings_critical(
    advertised: list[str], approved: list[str], change: dict[str, Any], wanted: list[tuple[Status, str, str]]
) -> None:
    router = Device(
        id="1",
        name="anton-lan-0.tail1234.ts.net",
        hostname="anton-lan-0",
        tags=("tag:k8s",),
        expires="",
        authorized=True,
        connected=True,
        last_seen="",
        advertised_routes=tuple(advertised),
        enabled_routes=tuple(approved),
    )
    found = list(_device(context({}, settings=settings_with(change, stack_config())), router))
    assert [(each.status, each.config) for each in found] == [(status, key) for status, key, _ in wanted]
    assert all(words in each.seen for each, (_, _, words) in zip(found, wanted, strict=True)), found
