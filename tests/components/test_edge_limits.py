"""What Cloudflare cuts off at the edge by plan is said in the preview, with the number and the way out."""

from typing import Any

import pulumi
import pytest

from components.cloudflare.edge import CloudflareEdge
from settings.cloudflare.limits import LIMITS, beyond_plan, records
from settings.cloudflare.zone import Plan
from tests.support.configs import merged, settings_with, stack_config
from tests.support.edge import built, edge_arguments, edge_settings, recorded

pytestmark = pytest.mark.unit

PHOTOS = {"ingressClass": "external", "namespace": "production", "port": 80}


def application(size: str, **change: Any) -> dict[str, Any]:
    return {"applications": {"photos": PHOTOS | {"limits": {"bodySize": size}} | change}}


def with_plan(plan: str, change: dict[str, Any]) -> dict[str, Any]:
    return merged(change, {"cloudflare": {"plan": plan}})


def warnings(change: dict[str, Any]) -> list[str]:
    return list(beyond_plan(settings_with(change, stack_config())))


def tuned(**tuning: Any) -> dict[str, Any]:
    return {"ingress": {"classes": {"external": {"tuning": tuning}}}}


def many(count: int) -> dict[str, Any]:
    return {"applications": {f"app-{number}": PHOTOS for number in range(count)}}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (application("2g"), ["applications.photos.limits.bodySize is 2g", "413", "100 MB"]),
        (application("0"), ["applications.photos.limits.bodySize is unlimited", "100 MB"]),
        (with_plan("business", application("201m")), ["business plan", "200 MB"]),
        (tuned(clientMaxBodySize="101m"), ["ingress.classes.external.tuning.clientMaxBodySize is 101m", "100 MB"]),
        (tuned(proxyReadTimeoutSeconds=300), ["proxyReadTimeoutSeconds is 300", "524", "100 s"]),
        (many(110), ["222 records", "holds 200", "without dns.externalDns"]),
    ],
)
def test_value_beyond_the_plan_is_warned_of_with_its_number(change: dict[str, Any], wanted: list[str]) -> None:
    (said,) = warnings(change)
    assert all(words in said for words in wanted), said


@pytest.mark.parametrize(
    "change",
    [
        {},
        application("100m"),
        application("2g", ingressClass="internal"),
        with_plan("business", application("200m")),
        with_plan("enterprise", application("500m")),
        with_plan("enterprise", tuned(proxyReadTimeoutSeconds=600)),
        tuned(proxyReadTimeoutSeconds=100),
        many(99),
        with_plan("pro", many(110)),
        merged(many(110), {"cloudflare": {"dns": {"externalDns": None}}}),
        merged(application("2g"), {"cloudflare": {"enabled": False}}),
    ],
)
def test_value_within_the_plan_is_not(change: dict[str, Any]) -> None:
    assert warnings(change) == []


def test_records_are_those_that_the_program_makes_without_external_dns() -> None:
    change = merged(many(3), {"cloudflare": {"dns": {"externalDns": None}}})
    made = [each for each in built(change).values() if each.type.endswith(":DnsRecord")]
    assert records(edge_settings(change)) == len(made) == 5


def test_every_plan_has_its_limits() -> None:
    assert LIMITS.keys() == set(Plan)


def test_preview_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi, "warn", lambda text, resource: said.append(text))
    arguments = edge_arguments(edge_settings(application("2g")))
    recorded(lambda: CloudflareEdge("cloudflare", arguments))
    assert [text.partition(" ")[0] for text in said] == ["applications.photos.limits.bodySize"]
