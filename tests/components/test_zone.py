"""The zone: its settings, and its certificates at the edge."""

from typing import Any

import pytest

from settings.cloudflare.zone import ZoneSettings
from settings.ingress import Hsts
from tests.support.edge import WEB, ZONE_ID, built, edge_settings, reasons, zone
from tests.support.recorder import Registration
from tests.support.sdk_types import assert_arguments_fit

pytestmark = pytest.mark.unit


def of_type(change: dict[str, Any], kind: str) -> list[Registration]:
    return [each for each in built(change).values() if each.type.endswith(f":{kind}")]


def values_of(change: dict[str, Any]) -> dict[str, Any]:
    """The zone's settings by Cloudflare's id, as they are registered."""
    found = of_type(change, "ZoneSetting")
    for each in found:
        assert each.inputs["zoneId"] == ZONE_ID
        assert_arguments_fit(each)
    return {each.inputs["settingId"]: each.inputs["value"] for each in found}


# Settings


def test_spec_zone_settings_are_those_of_the_specification() -> None:
    values = values_of({})
    del values["security_header"]
    assert values == {
        "ssl": "strict",
        "always_use_https": "on",
        "automatic_https_rewrites": "on",
        "min_tls_version": "1.2",
        "tls_1_3": "on",
        "http3": "on",
        "early_hints": "on",
        "brotli": "on",
        "0rtt": "off",
    }


def test_spec_hsts_at_the_edge_is_the_ingress_controllers() -> None:
    hsts = {"maxAgeSeconds": 15552000, "includeSubdomains": False, "preload": True}
    change = {"ingress": {"classes": {"external": {"tls": {"hsts": hsts}}}}}
    assert values_of(change)["security_header"] == {
        "strict_transport_security": {
            "enabled": True,
            "max_age": 15552000,
            "include_subdomains": False,
            "preload": True,
            "nosniff": True,
        }
    }, "the API's own keys: in camelCase every preview would show a difference"


@pytest.mark.parametrize(
    "change",
    [
        {"ingress": {"classes": {"external": {"tls": {"hsts": {"enabled": False}}}}}},
        zone(settings={"hsts": False}),
    ],
)
def test_hsts_that_is_off_is_off_at_the_edge(change: dict[str, Any]) -> None:
    header = values_of(change)["security_header"]["strict_transport_security"]
    assert (header["enabled"], header["max_age"], header["preload"]) == (False, 0, False)


def test_setting_that_is_null_stays_as_it_is_at_cloudflare() -> None:
    every = [info.alias for info in ZoneSettings.model_fields.values()]
    cleared = {"cloudflare": {"zone": {"settings": dict.fromkeys(map(str, every))}}}
    values = ZoneSettings.model_validate(cleared["cloudflare"]["zone"]["settings"]).values(Hsts())
    assert values == {}


SWITCHES = {
    "alwaysUseHttps": "always_use_https",
    "automaticHttpsRewrites": "automatic_https_rewrites",
    "http3": "http3",
    "earlyHints": "early_hints",
    "brotli": "brotli",
    "tls13": "tls_1_3",
    "zeroRtt": "0rtt",
}


@pytest.mark.parametrize(("key", "setting_id"), SWITCHES.items())
@pytest.mark.parametrize(("on", "value"), [(True, "on"), (False, "off")])
def test_switch_can_be_turned_either_way(key: str, setting_id: str, on: bool, value: str) -> None:
    assert ZoneSettings.model_validate({key: on}).values(Hsts())[setting_id] == value


def test_tls_1_3_with_0_rtt_is_written_as_cloudflare_reads_it_back() -> None:
    values = values_of(zone(settings={"zeroRtt": True}))
    assert (values["0rtt"], values["tls_1_3"]) == ("on", "zrt"), "else every preview shows a difference"


@pytest.mark.parametrize(
    ("chosen", "key", "reason"),
    [
        ({"tls13": False, "minTls": "TLSv1.3"}, "settings.tls13", "leaves no version of TLS"),
        ({"tls13": False, "zeroRtt": True}, "settings.zeroRtt", "is a part of TLS 1.3"),
        ({"minTls": "TLSv1.1"}, "settings.minTls", "must be 'TLSv1.2' or 'TLSv1.3'"),
        ({"ssl": "flexible"}, "settings.ssl", "must be 'full' or 'strict'"),
        ({"mirage": True}, "settings.mirage", "is not a known key"),
    ],
)
def test_setting_that_can_not_work_is_refused_with_its_reason(chosen: dict[str, Any], key: str, reason: str) -> None:
    assert reason in reasons(zone(settings=chosen))[f"cloudflare.zone.{key}"]


# DNSSEC, cache, robots


@pytest.mark.parametrize(("chosen", "status"), [(True, "active"), (False, "disabled")])
def test_dnssec_is_turned_on_or_off_where_the_settings_say(chosen: bool, status: str) -> None:
    (dnssec,) = of_type(zone(dnssec=chosen), "ZoneDnssec")
    assert dnssec.inputs["status"] == status
    assert_arguments_fit(dnssec)


@pytest.mark.parametrize(("chosen", "value"), [(True, "on"), (False, "off")])
def test_tiered_cache_is_turned_on_or_off_where_the_settings_say(chosen: bool, value: str) -> None:
    (cache,) = of_type(zone(tieredCache=chosen), "TieredCache")
    assert cache.inputs == {"zoneId": ZONE_ID, "value": value}
    assert_arguments_fit(cache)


def test_what_is_not_in_the_settings_is_left_alone() -> None:
    kinds = {each.type.rpartition(":")[2] for each in built().values()}
    assert not kinds & {"ZoneDnssec", "TieredCache", "BotManagement", "TotalTls", "CertificatePack", "Ruleset"}


def test_robots_are_dealt_with_as_far_as_the_settings_say() -> None:
    (bots,) = of_type(zone(bots={"fightMode": True, "aiBots": "block"}), "BotManagement")
    assert bots.inputs == {
        "zoneId": ZONE_ID,
        "fightMode": True,
        "aiBotsProtection": "block",
        "isRobotsTxtManaged": False,
    }
    assert_arguments_fit(bots)


def test_paid_plans_defense_against_robots_is_set_by_kind() -> None:
    chosen = {"definitelyAutomated": "block", "likelyAutomated": "managed_challenge", "verifiedBots": "allow"}
    (bots,) = of_type(zone("business", bots=chosen), "BotManagement")
    assert bots.inputs == {
        "zoneId": ZONE_ID,
        "sbfmDefinitelyAutomated": "block",
        "sbfmLikelyAutomated": "managed_challenge",
        "sbfmVerifiedBots": "allow",
        "isRobotsTxtManaged": False,
    }
    assert_arguments_fit(bots)


def test_defense_against_robots_that_changes_nothing_is_refused() -> None:
    assert "changes nothing" in reasons(zone(bots={}))["cloudflare.zone.bots"]


# Certificates at the edge

DEEP: dict[str, Any] = {
    "certificates": {"enabled": True, "letsencrypt": {"environment": "production"}},
    "ingress": {"classes": {"external": {"certificateIssuer": "letsencrypt"}}},
    "applications": {"web": WEB | {"host": "a.apps.example.com"}},
}
"""An application at a name deeper than one label, which has a certificate behind the tunnel."""


def test_spec_deep_host_is_refused_where_universal_ssl_ends() -> None:
    found = reasons(DEEP)
    assert "deeper than one label under example.com" in found["applications.web.host"]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (
            {"tunnel": {"rules": [{"host": "a.b.example.com", "service": "http://a:80"}]}},
            "cloudflare.tunnel.rules[0].host",
        ),
        (
            {
                "dns": {
                    "records": {"a": {"name": "a.b.example.com", "type": "A", "content": "8.8.8.8", "proxied": True}}
                }
            },
            "cloudflare.dns.records.a.name",
        ),
        (
            {
                "dns": {
                    "records": {"a": {"name": "*.b.example.com", "type": "A", "content": "8.8.8.8", "proxied": True}}
                }
            },
            "cloudflare.dns.records.a.name",
        ),
    ],
)
def test_every_name_that_the_edge_serves_needs_a_certificate_there(change: dict[str, Any], key: str) -> None:
    assert "where Cloudflare's free certificate ends" in reasons({"cloudflare": change})[key]


def test_deep_name_that_does_not_pass_the_edge_needs_no_certificate_there() -> None:
    record = {"name": "a.b.example.com", "type": "A", "content": "8.8.8.8"}
    edge_settings({"cloudflare": {"dns": {"records": {"a": record}}}})


@pytest.mark.parametrize(
    "covered",
    [
        {"totalTls": {}},
        {"certificatePacks": {"apps": {"hosts": ["*.apps.example.com"]}}},
        {"certificatePacks": {"apps": {"hosts": ["a.apps.example.com"]}}},
    ],
)
def test_deep_host_is_taken_with_a_certificate_of_its_own(covered: dict[str, Any]) -> None:
    edge_settings(zone(**covered) | DEEP)


@pytest.mark.parametrize("host", ["apps.example.com", "b.apps.example.com", "*.example.com", "*.a.apps.example.com"])
def test_certificate_pack_covers_its_own_names_only(host: str) -> None:
    found = reasons(zone(certificatePacks={"apps": {"hosts": [host]}}) | DEEP)
    assert "applications.web.host" in found


def test_certificate_pack_holds_the_domain_and_its_names_in_order() -> None:
    hosts = ["*.apps.example.com", "*.a.example.com"]
    (pack,) = of_type(zone(certificatePacks={"apps": {"hosts": hosts}}), "CertificatePack")
    assert pack.inputs == {
        "zoneId": ZONE_ID,
        "type": "advanced",
        "hosts": ["*.a.example.com", "*.apps.example.com", "example.com"],
        "certificateAuthority": "google",
        "validationMethod": "txt",
        "cloudflareBranding": False,
        "validityDays": 90,
    }
    assert_arguments_fit(pack)


def test_total_tls_is_ordered_from_the_chosen_authority() -> None:
    (tls,) = of_type(zone(totalTls={"authority": "lets_encrypt"}), "TotalTls")
    assert tls.inputs == {"zoneId": ZONE_ID, "enabled": True, "certificateAuthority": "lets_encrypt"}
    assert_arguments_fit(tls)


@pytest.mark.parametrize(
    ("pack", "key", "reason"),
    [
        ({"hosts": ["*.x.org"]}, "hosts", "lies outside cluster.domain"),
        ({"hosts": ["*.Apps.example.com"]}, "hosts[0]", "DNS name in lower case"),
        ({"hosts": []}, "hosts", "must not be empty"),
        ({"hosts": ["a.b.example.com"], "authority": "lets_encrypt", "validityDays": 30}, "validityDays", "90 days"),
        ({"hosts": ["a.b.example.com"], "validityDays": 60}, "validityDays", "must be 14, 30, 90 or 365"),
    ],
)
def test_certificate_pack_that_can_not_work_is_refused_with_its_reason(
    pack: dict[str, Any], key: str, reason: str
) -> None:
    assert reason in reasons(zone(certificatePacks={"apps": pack}))[f"cloudflare.zone.certificatePacks.apps.{key}"]
