"""Public DNS: what each record looks like, and that every name has one owner."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.cloudflare.dns import program_names, record_content
from settings.cloudflare.dns import PublicDnsSettings, Record, RecordType
from settings.errors import ConfigError
from tests.support.configs import STAND_IN_SECRETS
from tests.support.edge import OWNER, TUNNEL_ID, WEB, ZONE_ID, built, edge_settings, reasons
from tests.support.recorder import Registration
from tests.support.sdk_types import assert_arguments_fit, secret_paths, without_secrets

pytestmark = pytest.mark.unit

PROGRAM_KEEPS = {"cloudflare": {"dns": {"externalDns": None}}}
"""Without external-dns."""


def records(**entries: Any) -> dict[str, Any]:
    return {"cloudflare": {"dns": {"records": entries}}}


def record(**values: Any) -> dict[str, Any]:
    """A record that is right, with a change."""
    return records(it={"name": "it.example.com", "type": "A", "content": "203.0.113.10"} | values)


def registered(change: dict[str, Any] | None = None) -> dict[str, Registration]:
    """The DNS records of the edge by name and type."""
    found = [each for each in built(change).values() if each.type.endswith(":DnsRecord")]
    return {f"{each.inputs['name']} {each.inputs['type']}": each for each in found}


def inputs(key: str, change: dict[str, Any] | None = None) -> dict[str, Any]:
    return registered(change)[key].inputs


# The tunnel's names


def test_spec_external_name_leads_to_the_tunnel() -> None:
    anchor = inputs("external.example.com CNAME")
    assert anchor["content"] == f"{TUNNEL_ID}.cfargotunnel.com"
    assert anchor["proxied"] is True, "the tunnel's own domain resolves for proxied records only"
    assert anchor["ttl"] == 1, "a proxied record has no other, every preview would differ"
    assert anchor["zoneId"] == ZONE_ID
    assert OWNER in anchor["comment"]


def test_apex_leads_to_the_tunnels_name_unless_switched_off() -> None:
    apex = inputs("example.com CNAME")
    assert (apex["content"], apex["proxied"], apex["ttl"]) == ("external.example.com", True, 1)
    assert registered({"cloudflare": {"dns": {"apex": False}}}).keys() == {"external.example.com CNAME"}


def test_tunnels_name_can_be_chosen_and_every_alias_follows() -> None:
    found = registered({"cloudflare": {"tunnel": {"hostname": "edge.example.com"}}})
    assert found.keys() == {"edge.example.com CNAME", "example.com CNAME"}
    assert found["example.com CNAME"].inputs["content"] == "edge.example.com"


def test_names_are_full_and_without_a_final_dot() -> None:
    change = {"applications": {"web": WEB}} | PROGRAM_KEEPS
    for each in registered(change).values():
        for value in (each.inputs["name"], each.inputs["content"]):
            assert value.endswith((".example.com", "example.com", ".cfargotunnel.com")), "Cloudflare would rewrite it"


def test_only_the_tunnels_own_record_names_the_tunnel() -> None:
    change = {"applications": {"web": WEB, "shop": WEB}} | PROGRAM_KEEPS
    targets = {key: each.inputs["content"] for key, each in registered(change).items()}
    assert [key for key, target in targets.items() if "cfargotunnel" in target] == ["external.example.com CNAME"], (
        "an application that goes would leave a name that leads into the tunnel"
    )


def test_changed_type_deletes_the_old_record_first() -> None:
    for each in registered(records(spf={"name": "example.com", "type": "TXT", "content": "v=spf1 -all"})).values():
        assert each.opts.delete_before_replace is True, "Cloudflare refuses the new one while the name is taken"


def test_aliases_come_after_the_name_that_they_point_to() -> None:
    waits_for = registered()["example.com CNAME"].opts.depends_on
    assert isinstance(waits_for, list)
    assert len(waits_for) == 1


# Names of applications


def test_spec_names_of_applications_are_kept_by_external_dns_alone_when_it_is_on() -> None:
    found = built({"applications": {"web": WEB}})
    assert "cloudflare-dns-external-dns" in found
    assert "web.example.com CNAME" not in registered({"applications": {"web": WEB}})


def test_names_of_applications_are_kept_by_the_program_without_external_dns() -> None:
    change = {"applications": {"web": WEB}} | PROGRAM_KEEPS
    assert not [name for name in built(change) if "external-dns" in name]
    alias = inputs("web.example.com CNAME", change)
    assert (alias["content"], alias["proxied"], alias["ttl"]) == ("external.example.com", True, 1)


def test_spec_internal_applications_have_no_public_name() -> None:
    change = {"applications": {"web": WEB | {"ingressClass": "internal"}}} | PROGRAM_KEEPS
    assert "web.example.com CNAME" not in registered(change)


def test_two_applications_on_one_host_share_its_record() -> None:
    change = {"applications": {"web": WEB, "api": WEB | {"host": "web.example.com", "path": "/api"}}} | PROGRAM_KEEPS
    assert len([key for key in registered(change) if key.startswith("web.")]) == 1


def test_hosts_of_the_tunnels_own_rules_have_a_name_as_well() -> None:
    rules = [{"host": "status.example.com", "service": "http://status.mon.svc:80"}]
    alias = inputs("status.example.com CNAME", {"cloudflare": {"tunnel": {"rules": rules}}})
    assert alias["content"] == "external.example.com"


def test_application_at_the_apex_uses_the_programs_record() -> None:
    """external-dns could not put its ownership record there."""
    change = {"applications": {"web": WEB | {"host": "example.com"}}}
    assert "example.com CNAME" in registered(change)
    off = change | {"cloudflare": {"dns": {"apex": False}}}
    assert "applications.web" in reasons(off)["cloudflare.dns.apex"]


# Records of the settings


def test_spec_records_are_data() -> None:
    change = records(
        spf={"name": "example.com", "type": "TXT", "content": "v=spf1 include:_spf.example.net -all"},
        mail={"name": "example.com", "type": "MX", "content": "mx.example.net", "priority": 10, "ttl": 3600},
        issuer={"name": "example.com", "type": "CAA", "content": "0 issue letsencrypt.org"},
        vps={"name": "vps.example.com", "type": "A", "content": "203.0.113.10", "proxied": True},
        verify={"name": "_acme.example.com", "type": "CNAME", "content": "verify.example.net"},
        delegated={"name": "lab.example.com", "type": "NS", "content": "ns1.example.net"},
        six={"name": "six.example.com", "type": "AAAA", "content": "2001:db8::10"},
    )
    found = registered(change)
    for each in found.values():
        assert_arguments_fit(each)
    assert found["example.com TXT"].inputs["content"] == '"v=spf1 include:_spf.example.net -all"'
    mail = found["example.com MX"].inputs
    assert (mail["content"], mail["priority"], mail["ttl"], mail["proxied"]) == ("mx.example.net", 10, 3600, False)
    assert found["example.com CAA"].inputs["data"] == {"flags": 0, "tag": "issue", "value": "letsencrypt.org"}
    assert "content" not in found["example.com CAA"].inputs, "the provider takes CAA records apart"
    vps = found["vps.example.com A"].inputs
    assert (vps["proxied"], vps["ttl"]) == (True, 1)


def test_long_text_is_split_into_strings_of_255_bytes() -> None:
    text = "v=DKIM1; p=" + "A" * 400
    content = record_content(Record(name="k._domainkey.example.com", type=RecordType.TXT, content=text))
    parts = content[1:-1].split('" "')
    assert max(map(len, parts)) == 255
    assert "".join(parts) == text


@pytest.mark.parametrize(
    ("values", "key", "reason"),
    [
        ({"name": "it.example.com."}, "name", "ends with a dot"),
        ({"name": "it"}, "name", "not a full name"),
        ({"name": "It.example.com"}, "name", "lower case"),
        ({"name": "it.elsewhere.org"}, "name", "lies outside cluster.domain"),
        ({"ttl": 30}, "ttl", "from 60 to 86400"),
        ({"ttl": 300, "proxied": True}, "ttl", "of a proxied record"),
        ({"type": "TXT", "content": "x", "proxied": True}, "proxied", "can't proxy TXT"),
        ({"type": "MX", "content": "mx.example.net"}, "priority", "is required for MX"),
        ({"priority": 10}, "priority", "has no meaning for A"),
        ({"content": "example.net"}, "content", "is no address"),
        ({"content": "192.168.1.103"}, "content", "is a private address"),
        ({"content": "100.64.0.1", "proxied": True}, "content", "is a private address"),
        ({"type": "AAAA"}, "content", "is no address"),
        ({"type": "CNAME", "content": "a.example.net."}, "content", "ends with a dot"),
        ({"type": "CNAME", "content": f"{TUNNEL_ID}.cfargotunnel.com"}, "content", "for proxied records only"),
        ({"type": "CNAME", "content": "external.example.com"}, "proxied", "unproxied, nobody would reach"),
        ({"type": "TXT", "content": '"quoted"'}, "content", "without quotes"),
        ({"type": "CAA", "content": "letsencrypt.org"}, "content", "is not flags"),
        ({"type": "SRV"}, "type", "must be"),
        ({"content": ""}, "content", "must not be empty"),
        ({"name": "external.example.com"}, "name", "cloudflare.tunnel.hostname"),
        ({"name": "example.com"}, "name", "cloudflare.dns.apex"),
    ],
)
def test_record_that_can_not_work_is_refused_with_its_reason(values: dict[str, Any], key: str, reason: str) -> None:
    found = reasons(record(**values))
    assert reason in found[f"cloudflare.dns.records.it.{key}"], found


# One owner


@pytest.mark.parametrize(("change", "keeper"), [({}, "external-dns"), (PROGRAM_KEEPS, "the program")])
def test_record_for_an_applications_name_is_refused_with_both_owners(change: dict[str, Any], keeper: str) -> None:
    dns = {
        **change.get("cloudflare", {}).get("dns", {}),
        "records": record(name="web.example.com")["cloudflare"]["dns"]["records"],
    }
    (reason,) = reasons({"applications": {"web": WEB}, "cloudflare": {"dns": dns}}).values()
    assert "applications.web" in reason
    assert keeper in reason
    assert "cloudflare.dns.records.it" in reason


def test_record_for_the_name_of_a_tunnel_rule_is_refused_with_both_owners() -> None:
    rules = [{"host": "status.example.com", "service": "http://status.mon.svc:80"}]
    change = record(name="status.example.com", type="TXT", content="x")
    change["cloudflare"]["tunnel"] = {"rules": rules}
    (reason,) = reasons(change).values()
    assert "belongs to cloudflare.tunnel.rules[0]" in reason


def test_application_can_not_take_the_tunnels_name() -> None:
    found = reasons({"applications": {"web": WEB | {"host": "external.example.com"}}})
    assert "the tunnel's own name" in found["applications.web.host"]


def test_cname_stands_alone_at_its_name() -> None:
    entries = {
        "one": {"name": "it.example.com", "type": "CNAME", "content": "a.example.net"},
        "two": {"name": "it.example.com", "type": "TXT", "content": "x"},
    }
    assert reasons(records(**entries)).keys() == {"cloudflare.dns.records.one.name"}


def test_same_record_twice_is_refused_and_two_addresses_are_not() -> None:
    one = {"name": "it.example.com", "type": "A", "content": "203.0.113.10"}
    assert "is the record one again" in reasons(records(one=one, two=one))["cloudflare.dns.records.two"]
    assert len(registered(records(one=one, two=one | {"content": "203.0.113.11"}))) == 3


names = st.sampled_from([f"{label}.example.com" for label in ("external", "a", "b", "c")] + ["example.com"])
types = st.sampled_from([("A", "203.0.113.10"), ("TXT", "x"), ("CNAME", "a.example.net")])


@settings(max_examples=60)
@given(
    published=st.lists(names, max_size=3, unique=True),
    ruled=st.lists(names, max_size=2, unique=True),
    own=st.lists(st.tuples(names, types), max_size=3),
    apex=st.booleans(),
    external=st.booleans(),
)
def test_every_accepted_configuration_has_one_owner_for_each_name(
    published: list[str], ruled: list[str], own: list[tuple[str, tuple[str, str]]], apex: bool, external: bool
) -> None:
    entries = {f"r{i}": {"name": name, "type": kind, "content": value} for i, (name, (kind, value)) in enumerate(own)}
    change: dict[str, Any] = {
        "applications": {f"app{index}": WEB | {"host": host} for index, host in enumerate(published)},
        "cloudflare": {
            "dns": {"apex": apex, "records": entries, "externalDns": {} if external else None},
            "tunnel": {"rules": [{"host": host, "path": "^/x", "service": "http://a.b.svc:80"} for host in ruled]},
        },
    }
    try:
        accepted = edge_settings(change)
    except ConfigError:
        return
    by_program = program_names(accepted.cloudflare.dns, "example.com", "external.example.com", ruled, published)
    by_external_dns = set(published) - {"example.com"} if external else set()
    by_settings = {name for name, (kind, _) in own if kind != "TXT"}
    owners = [*by_program, "external.example.com", *by_external_dns, *by_settings]
    assert len(owners) == len(set(owners)), "two owners would undo each other's changes"
    assert set(published) | set(ruled) <= set(owners), "a published name would not resolve"


def test_shipped_settings_put_every_name_on_the_programs_side_once() -> None:
    assert program_names(PublicDnsSettings(), "example.com", "external.example.com", [], ["example.com"]) == [
        "example.com"
    ]


# external-dns; its values are proved by rendering


def test_external_dns_token_is_a_secret_of_its_own() -> None:
    found = built()
    assert secret_paths(found["cloudflare-dns-external-dns-token"].inputs) == {"stringData"}
    assert STAND_IN_SECRETS["externalDnsApiToken"] not in str([without_secrets(each.inputs) for each in found.values()])
    (variable,) = found["cloudflare-dns-external-dns"].inputs["values"]["env"]
    assert variable["valueFrom"]["secretKeyRef"]["name"].startswith("cloudflare-dns-external-dns-token-")


def test_external_dns_release_is_in_the_namespace_of_the_controllers() -> None:
    release = built()["cloudflare-dns-external-dns"].inputs
    assert (release["name"], release["namespace"]) == ("external-dns", "network")


@pytest.mark.parametrize(
    ("values", "key", "reason"),
    [
        ({"policy": "create-only"}, "policy", "must be"),
        ({"txtPrefix": "k8s"}, "txtPrefix", "with a dot behind it"),
        ({"intervalSeconds": 0}, "intervalSeconds", "more than 0"),
        ({"resources": {"requests": {"memory": "1Gi"}}}, "resources.requests.memory", "limit of 128Mi"),
    ],
)
def test_external_dns_setting_that_can_not_work_is_refused(values: dict[str, Any], key: str, reason: str) -> None:
    assert reason in reasons({"cloudflare": {"dns": {"externalDns": values}}})[f"cloudflare.dns.externalDns.{key}"]
