"""What the official plugins do to a zone beyond their documentation, with the real engine and the real component.

Each test asserts what the account holds in the end. The stand-in does as the plugins do; how far: docs/stand-in.md.
"""

import json
from typing import Any

import pytest

from tests.rehearsal.test_stand_in_engine import DNS, Rehearsal, fresh, pulumi, rehearsal

__all__ = ["fresh", "pulumi", "rehearsal"]

pytestmark = pytest.mark.engine

BODY = """
from components.cloudflare.zone import ZoneSecurity, ZoneSecurityArgs
from settings.cloudflare.zone import Zone
from settings.ingress import Hsts

off = dict.fromkeys(
    ["ssl", "alwaysUseHttps", "automaticHttpsRewrites", "minTls", "tls13", "zeroRtt", "hsts", "http3", "earlyHints",
     "brotli"]
)
chosen = json.loads({zone!r})
chosen["settings"] = off | chosen.get("settings", {{}})
args = ZoneSecurityArgs(
    zone=Zone.model_validate(chosen), zone_id=ZONE, domain="example.com",
    hsts=Hsts.model_validate(json.loads({hsts!r})), protected_hosts=[],
)
ZoneSecurity("zone", args, pulumi.ResourceOptions(providers=[on_cloudflare.provider]))
"""


def zone(hsts: dict[str, Any] | None = None, **values: Any) -> str:
    """A program with the component of the zone; what is not said is left alone."""
    return BODY.format(zone=json.dumps(values), hsts=json.dumps(hsts or {}))


def only(rehearsal: Rehearsal, kind: str) -> dict[str, Any]:
    """What the account holds of a kind: one, with what the cloud added."""
    with rehearsal.accounts.transaction() as account:
        (record,) = [record for record in account.all() if record.type.endswith(f":{kind}")]
    return record.inputs | record.computed


def test_dnssec_stays_on_when_the_setting_or_the_whole_stack_goes(rehearsal: Rehearsal) -> None:
    """Disabled while the registrar has the DS record, the domain would be bogus."""
    rehearsal.up(zone(dnssec=True, tieredCache=True))
    rehearsal.up(zone())
    assert "zone-dnssec" not in rehearsal.resources()
    assert only(rehearsal, "ZoneDnssec")["status"] == "active"
    assert only(rehearsal, "TieredCache")["value"] == "on", "what is null is left alone"
    rehearsal.up(zone(dnssec=True, tieredCache=True))
    rehearsal.run("destroy", "--yes", "--skip-preview")
    assert only(rehearsal, "ZoneDnssec")["status"] == "active"
    assert only(rehearsal, "TieredCache")["value"] == "on"


def test_dnssec_is_disabled_where_the_settings_say_so(rehearsal: Rehearsal) -> None:
    rehearsal.up(zone(dnssec=True))
    assert rehearsal.plan(zone(dnssec=False)) == {"zone-dnssec": "update"}
    rehearsal.up(zone(dnssec=False))
    assert only(rehearsal, "ZoneDnssec")["status"] == "disabled"


ACCESS = """
from components.cloudflare.access import AccessPolicies, AccessPoliciesArgs
from settings.cloudflare.access import Access

door = {"wiki": {"host": "wiki.example.com", "policies": ["staff"]}}
access = {"sessionHours": 8, "policies": {"staff": {"emailDomains": ["example.com"]}}, "applications": door}
args = AccessPoliciesArgs(access=Access.model_validate(access), account_id=ACCOUNT, published=[], tunnel_hosts=[])
AccessPolicies("access", args, pulumi.ResourceOptions(providers=[on_cloudflare.provider]))
"""


def test_login_lasts_as_the_application_says_where_the_plugin_would_make_it_a_day(rehearsal: Rehearsal) -> None:
    rehearsal.up(ACCESS)
    assert only(rehearsal, "ZeroTrustAccessPolicy")["sessionDuration"] == "8h"


def test_changed_hsts_is_sent_as_a_whole(rehearsal: Rehearsal) -> None:
    """An update would send what changed alone, and leave the rest off."""
    whole = {"enabled": True, "max_age": 300, "include_subdomains": True, "preload": False, "nosniff": True}
    before = {"maxAgeSeconds": 31536000, "includeSubdomains": True, "preload": False}
    rehearsal.up(zone(before, settings={"hsts": True}))
    rehearsal.up(zone(before | {"maxAgeSeconds": 300}, settings={"hsts": True}))
    assert only(rehearsal, "ZoneSetting")["value"] == {"strict_transport_security": whole}
    assert rehearsal.plan() == {}


CAA = """
from components.cloudflare.dns import PublicDns, PublicDnsArgs
from settings.cloudflare.dns import PublicDnsSettings
from settings.monitoring import Monitoring

dns = {{"apex": False, "records": {{"caa": {{"name": "example.com", "type": "CAA", "content": '{content}'}}}}}}
args = PublicDnsArgs(
    dns=PublicDnsSettings.model_validate(dns), zone_id=ZONE, domain="example.com", target="t",
    hostname="external.example.com",
    rule_hosts=[], published_hosts=[], ingress_class="external", monitoring=Monitoring(), chart=None,
    namespace="network", token=None, owner="test",
)
PublicDns("dns", args, pulumi.ResourceOptions(providers=[on_cloudflare.provider]))
"""


def test_changed_caa_record_says_the_new_authority(rehearsal: Rehearsal) -> None:
    """The plugin's update sends the old content along, which counts."""
    rehearsal.up(CAA.format(content="0 issue letsencrypt.org"))
    rehearsal.up(CAA.format(content="0 issue pki.goog"))
    with rehearsal.accounts.transaction() as account:
        (record,) = [record for record in account.all(DNS) if record.inputs["type"] == "CAA"]
    assert record.inputs["data"]["value"] == "pki.goog"


def test_host_that_leaves_a_certificate_pack_is_planned_as_a_new_pack(rehearsal: Rehearsal) -> None:
    both, one = ["*.apps.example.com", "*.dev.example.com"], ["*.apps.example.com"]
    rehearsal.up(zone(certificatePacks={"deep": {"hosts": both}}))
    assert only(rehearsal, "CertificatePack")["cloudflareBranding"] is False
    assert rehearsal.plan(zone(certificatePacks={"deep": {"hosts": one}}))["zone-certificate-deep"] == "replace"
    rehearsal.up(zone(certificatePacks={"deep": {"hosts": one}}))
    assert only(rehearsal, "CertificatePack")["hosts"] == ["*.apps.example.com", "example.com"]


PACK = """
cloudflare.CertificatePack(
    "zone-certificate-deep", zone_id=ZONE, type="advanced", hosts=["*.apps.example.com", "example.com"],
    certificate_authority="google", validation_method="txt", validity_days=90,
    opts=pulumi.ResourceOptions.merge(on_cloudflare, pulumi.ResourceOptions(parent={parent})),
)
"""


def test_pack_of_an_older_version_of_the_program_is_not_ordered_again(rehearsal: Rehearsal) -> None:
    """It has neither branding nor a trigger in its state."""
    rehearsal.up(
        "from pulumi import ComponentResource\n"
        + PACK.format(parent='ComponentResource("anton:network:ZoneSecurity", "zone")')
    )
    plan = rehearsal.plan(zone(certificatePacks={"deep": {"hosts": ["*.apps.example.com"]}}))
    assert "zone-certificate-deep" not in plan


def test_smart_tiered_cache_comes_after_the_tiers(rehearsal: Rehearsal) -> None:
    """Cloudflare refuses it without."""
    for on, value in ((True, "on"), (False, "off"), (True, "on")):
        rehearsal.up(zone(tieredCache=on))
        assert only(rehearsal, "ArgoTieredCaching")["value"] == value
        assert only(rehearsal, "TieredCache")["value"] == value


def test_cloudflares_robots_txt_stays_as_the_settings_say_whatever_else_of_bots_changes(rehearsal: Rehearsal) -> None:
    """The plugin sends `false` with any other setting, unless told."""
    rehearsal.up(zone(bots={"aiBots": "block", "managedRobotsTxt": True}))
    rehearsal.up(zone(bots={"aiBots": "disabled", "managedRobotsTxt": True}))
    assert only(rehearsal, "BotManagement")["isRobotsTxtManaged"] is True
    rehearsal.up(zone(bots={"aiBots": "disabled"}))
    assert only(rehearsal, "BotManagement")["isRobotsTxtManaged"] is False


POSTURE = """
from components.cloudflare.device_posture import device_check
from settings.cloudflare.device_posture import DeviceCheck

parent = pulumi.ComponentResource("test:Parent", "p", {}, pulumi.ResourceOptions(providers=[on_cloudflare.provider]))
for name, check in {
    "firewall": {"type": "firewall", "platform": "mac"},
    "version": {"type": "os_version", "platform": "windows", "minVersion": "10.0.1"},
    "disk": {"type": "disk_encryption", "platform": "linux"},
}.items():
    device_check(name, ACCOUNT, name, DeviceCheck.model_validate(check), parent)
"""


def test_checks_of_devices_show_no_difference_after_a_refresh(rehearsal: Rehearsal) -> None:
    rehearsal.up(POSTURE)
    rehearsal.run("refresh", "--yes", "--skip-preview")
    assert rehearsal.plan() == {}
