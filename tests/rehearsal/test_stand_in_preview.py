"""What a preview gets of the stand-in for the two clouds: it checks arguments and plans as the real plugins do."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi_tailscale as tailscale
import pytest
from pulumi._types import input_type_py_to_pulumi_names

from components.sdk import cloudflare
from rehearsal.accounts.sdk_schema import Schema, Sdk, UnknownResourceError
from rehearsal.accounts.service import RESOURCES
from rehearsal.accounts.wire import UNKNOWN, Secret
from tests.support.accounts import (
    ACCOUNT,
    ACL,
    APPLICATION,
    CNAME,
    DNS,
    KEY,
    POLICY,
    RULESET,
    SETTING,
    SPLIT,
    TUNNEL,
    TUNNEL_CONFIG,
    TUNNEL_INPUTS,
    WAF,
    ZONE,
    Cloud,
)

pytestmark = pytest.mark.unit

SHARE = "cloudflare:index/shareResource:ShareResource"


# What the SDK says


@pytest.mark.parametrize("token", sorted([*RESOURCES, SHARE]))
def test_arguments_of_a_resource_are_those_of_the_sdks_own_class(sdks: Mapping[str, Sdk], token: str) -> None:
    name = token.rsplit(":", 1)[-1]
    package = tailscale if token.startswith("tailscale") else cloudflare
    arguments = getattr(package, "ShareResourceInitArgs" if token == SHARE else f"{name}Args")
    names = input_type_py_to_pulumi_names(arguments)
    parameters = inspect.signature(arguments.__init__).parameters
    required = {
        names[key] for key, value in parameters.items() if value.default is inspect.Parameter.empty and key in names
    }
    schema = sdks[token.split(":", maxsplit=1)[0]].schema(token)
    assert set(schema.inputs) == set(names.values())
    assert {key for key, known in schema.inputs.items() if known["required"]} == required
    assert schema.inputs.keys() <= {*schema.outputs}, "what goes in comes out"


def test_what_was_found_once_is_read_from_the_cache_and_is_the_same(sdks: Mapping[str, Sdk], tmp_path: Path) -> None:
    fresh = Sdk("cloudflare", sdks["cloudflare"]._folder.parent, tmp_path)
    first = fresh.schema(RULESET)
    (file,) = tmp_path.glob("cloudflare-*/*.json")
    assert Schema(**json.loads(file.read_bytes())) == first
    again = Sdk("cloudflare", sdks["cloudflare"]._folder.parent, tmp_path)
    again._folder = tmp_path / "gone"
    assert again.schema(RULESET) == first, "the SDK's text must not be read again"


def test_a_cache_file_cut_short_is_made_anew(sdks: Mapping[str, Sdk], tmp_path: Path) -> None:
    folder = sdks["cloudflare"]._folder.parent
    schema = Sdk("cloudflare", folder, tmp_path).schema(DNS)
    (file,) = tmp_path.glob("cloudflare-*/*.json")
    file.write_text(file.read_text()[:50])
    assert Sdk("cloudflare", folder, tmp_path).schema(DNS) == schema


def test_a_type_that_the_sdk_lacks_is_named(sdks: Mapping[str, Sdk]) -> None:
    with pytest.raises(UnknownResourceError, match="has no resource cloudflare:index/dnsRecrod:DnsRecrod"):
        sdks["cloudflare"].schema("cloudflare:index/dnsRecrod:DnsRecrod")


def test_all_faults_in_arguments_are_reported_at_once_with_path_and_nearest_name(cloud: Cloud) -> None:
    rule = {"acton": "block", "expression": 5, "ratelimit": {"period": "10", "characteristics": "ip.src"}}
    assert cloud.faults(RULESET, {"name": "waf", "kind": True, "zone": ZONE, "rules": [WAF["rules"][0], rule]}) == {
        "zone": "is not known here, did you mean zoneId?",
        "kind": "must be a string, is a boolean",
        "phase": "is required and missing",
        "rules[1].acton": "is not known here, did you mean action?",
        "rules[1].action": "is required and missing",
        "rules[1].expression": "must be a string, is a number",
        "rules[1].ratelimit.period": "must be a whole number, is a string",
        "rules[1].ratelimit.characteristics": "must be a list, is a string",
    }


def test_secret_and_unknown_values_are_checked_as_what_they_hold(cloud: Cloud) -> None:
    assert cloud.faults(TUNNEL, TUNNEL_INPUTS | {"name": UNKNOWN}) == {}
    assert cloud.faults(TUNNEL, TUNNEL_INPUTS | {"tunnelSecret": Secret(7)}) == {
        "tunnelSecret": "must be a string, is a number"
    }


@pytest.mark.parametrize(
    ("token", "inputs", "path", "reason"),
    [
        (TUNNEL, {**TUNNEL_INPUTS, "configSrc": "remote"}, "configSrc", "must be one of cloudflare, local"),
        (TUNNEL, {**TUNNEL_INPUTS, "tunnelSecret": Secret("c2hvcnQ=")}, "tunnelSecret", "32 bytes"),
        (DNS, {**CNAME, "type": "ALIAS"}, "type", "is ALIAS"),
        (DNS, {**CNAME, "ttl": 20}, "ttl", "between 60 and 86400"),
        (DNS, {**CNAME, "ttl": 300, "proxied": True}, "ttl", "must be 1 where proxied"),
        (DNS, {**CNAME, "type": "TXT", "proxied": True}, "proxied", "only A, AAAA and CNAME"),
        (DNS, {**CNAME, "content": None}, "content", "required"),
        (RULESET, {**WAF, "phase": "waf"}, "phase", "is waf"),
        (RULESET, {**WAF, "accountId": ACCOUNT}, "zoneId", "exactly one"),
        (RULESET, {**WAF, "rules": [*WAF["rules"]] * 2}, "rules[0].ref", "more than one rule"),
        (SETTING, {"zoneId": ZONE, "settingId": "ssl", "value": "full_strict"}, "value", "is full_strict"),
        (APPLICATION, {"accountId": ACCOUNT, "type": "self_hosted"}, "domain", "needs a domain"),
        (ACL, {"acl": "{nonsense}"}, "acl", "invalid HuJSON"),
        ("tailscale:index/oauthClient:OauthClient", {"scopes": ["auth_keys"]}, "tags", "are required"),
    ],
)
def test_values_that_the_provider_refuses_are_refused_in_preview(
    cloud: Cloud, token: str, inputs: dict[str, Any], path: str, reason: str
) -> None:
    found = cloud.faults(token, inputs)
    assert list(found) == [path]
    assert reason in found[path]


def test_a_tunnel_config_whose_last_rule_is_no_catch_all_is_refused(cloud: Cloud) -> None:
    rules = [{"hostname": "a.example.com", "service": "https://a"}]
    inputs = {"accountId": ACCOUNT, "tunnelId": UNKNOWN, "config": {"ingresses": rules}}
    assert "must match all URLs" in cloud.faults(TUNNEL_CONFIG, inputs)["config.ingresses[0]"]
    rules.append({"service": "http_status:404"})
    assert cloud.faults(TUNNEL_CONFIG, inputs) == {}


# Planning


@pytest.mark.parametrize(
    ("token", "old", "change", "expected"),
    [
        (TUNNEL, TUNNEL_INPUTS, {"configSrc": "local"}, {"configSrc": "UPDATE_REPLACE"}),
        (TUNNEL, TUNNEL_INPUTS, {"accountId": "c" * 32}, {"accountId": "UPDATE_REPLACE"}),
        (TUNNEL, TUNNEL_INPUTS, {"name": "other"}, {"name": "UPDATE"}),
        (TUNNEL, TUNNEL_INPUTS, {"tunnelSecret": Secret("b3RoZXI=")}, {"tunnelSecret": "UPDATE"}),
        (TUNNEL, {"accountId": ACCOUNT, "name": "anton"}, {"tunnelSecret": Secret("eA==")}, {"tunnelSecret": "ADD"}),
        (DNS, CNAME, {"type": "A", "content": "192.0.2.1"}, {"type": "UPDATE", "content": "UPDATE"}),
        (DNS, CNAME, {"zoneId": "c" * 32}, {"zoneId": "UPDATE_REPLACE"}),
        (DNS, CNAME, {"name": "App.example.com."}, {}),
        (DNS, CNAME, {"proxied": False}, {}),
        (DNS, CNAME, {"comment": "x"}, {"comment": "ADD"}),
        (DNS, CNAME, {"content": UNKNOWN}, {"content": "UPDATE"}),
        (DNS, {**CNAME, "tags": ["a", "b"]}, {"tags": ["b", "a"]}, {}),
        (RULESET, WAF, {"phase": "http_ratelimit"}, {"phase": "UPDATE_REPLACE"}),
        (RULESET, WAF, {"kind": "custom"}, {"kind": "UPDATE_REPLACE"}),
        (
            RULESET,
            WAF,
            {"rules": [{"action": "log", "expression": "true", "ref": "one"}, {"action": "block", "expression": "x"}]},
            {"rules[0].action": "UPDATE", "rules[1]": "ADD"},
        ),
        (SETTING, {"zoneId": ZONE, "settingId": "ssl", "value": "full"}, {"value": "strict"}, {"value": "UPDATE"}),
        (KEY, {"tags": ["tag:a"]}, {"reusable": True}, {"reusable": "ADD_REPLACE"}),
        (ACL, {"acl": '{"acls": []}'}, {"acl": '{ // none\n "acls": [], }'}, {"acl": "UPDATE"}),
        (ACL, {"acl": '{"acls": []}'}, {"acl": '{\n "acls": [ ], }\n'}, {}),
        (ACL, {"acl": '{"acls": []} // a'}, {"acl": '{"acls": []}  // b'}, {"acl": "UPDATE"}),
        (ACL, {"acl": '{"acls": []}'}, {"acl": POLICY}, {"acl": "UPDATE"}),
        (SPLIT, {"domain": "a", "nameservers": ["1", "2"]}, {"nameservers": ["2", "1"]}, {}),
        (SPLIT, {"domain": "a", "nameservers": ["1"]}, {"domain": "b"}, {"domain": "UPDATE_REPLACE"}),
    ],
)
def test_a_change_is_planned_as_update_replacement_or_nothing(
    cloud: Cloud, token: str, old: dict[str, Any], change: dict[str, Any], expected: dict[str, str]
) -> None:
    assert cloud.changes(token, old, old | change) == expected


def test_an_argument_taken_away_is_planned(cloud: Cloud) -> None:
    assert cloud.changes(RULESET, WAF, {k: v for k, v in WAF.items() if k != "rules"}) == {"rules": "DELETE"}


def test_preview_of_a_create_knows_the_arguments_and_nothing_that_the_cloud_adds(sdks: Mapping[str, Sdk]) -> None:
    id_, state = Cloud(sdks, None, "prod").create(TUNNEL, TUNNEL_INPUTS, preview=True)
    assert id_ == ""
    assert (state["name"], state["tunnelSecret"]) == ("anton", TUNNEL_INPUTS["tunnelSecret"])
    assert {state[name] for name in ("createdAt", "accountTag", "status")} == {UNKNOWN}
