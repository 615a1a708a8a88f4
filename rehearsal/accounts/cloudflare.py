"""What Cloudflare does with the resources that this project uses.

Replacement follows the schemas of Cloudflare's Terraform provider 5, which Pulumi's plugin wraps; refusals carry the
API's own codes.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from rehearsal.accounts.behaviour import Refused, Resource, hex_id, now, uuid_id
from rehearsal.accounts.sdk_schema import Schema
from rehearsal.accounts.store import Account, Record
from rehearsal.accounts.wire import Unknown

TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"
DNS_RECORD = "cloudflare:index/dnsRecord:DnsRecord"
RULESET = "cloudflare:index/ruleset:Ruleset"
TIERS = "cloudflare:index/argoTieredCaching:ArgoTieredCaching"
ACCESS_POLICY = "cloudflare:index/zeroTrustAccessPolicy:ZeroTrustAccessPolicy"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_RECORD_TYPES = _words(
    "A AAAA CAA CERT CNAME DNSKEY DS HTTPS LOC MX NAPTR NS OPENPGPKEY PTR SMIMEA SRV SSHFP SVCB TLSA TXT URI"
)
_ADDRESS_TYPES = frozenset({"A", "AAAA"})
_PROXIED_TYPES = frozenset({"A", "AAAA", "CNAME"})
_KINDS = frozenset({"managed", "custom", "root", "zone"})
_PHASES = _words(
    "ddos_l4 ddos_l7 http_config_settings http_custom_errors http_log_custom_fields http_ratelimit "
    "http_request_cache_settings http_request_dynamic_redirect http_request_firewall_custom "
    "http_request_firewall_managed http_request_late_transform http_request_origin http_request_redirect "
    "http_request_sanitize http_request_sbfm http_request_transform http_response_cache_settings "
    "http_response_compression http_response_firewall_managed http_response_headers_transform magic_transit "
    "magic_transit_ids_managed magic_transit_managed magic_transit_ratelimit"
)


def _one_of(inputs: Mapping[str, Any], name: str, allowed: frozenset[str]) -> Iterator[tuple[str, str]]:
    value = inputs.get(name)
    if isinstance(value, str) and value not in allowed:
        yield name, f"must be one of {', '.join(sorted(allowed))}, is {value}"


class Tunnel(Resource):
    """A tunnel. Its secret goes in and never comes out again."""

    replacing = frozenset({"configSrc"})
    patches = True
    write_only = frozenset({"tunnelSecret"})

    def faults(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from _one_of(inputs, "configSrc", frozenset({"local", "cloudflare"}))
        secret = inputs.get("tunnelSecret")
        if isinstance(secret, str):
            try:
                long_enough = len(base64.b64decode(secret, validate=True)) >= 32
            except (binascii.Error, ValueError):
                long_enough = False
            if not long_enough:
                yield "tunnelSecret", "must be base64 of 32 bytes or more"

    def identity(self, inputs: Mapping[str, Any]) -> str:
        return uuid_id()

    def refuse(self, account: Account, inputs: Mapping[str, Any], own: Record | None) -> None:
        for other in account.all(TUNNEL, inputs["accountId"]):
            if other.inputs["name"] == inputs["name"] and (own is None or other.id != own.id):
                raise Refused("409 Conflict (1013): You already have a tunnel with this name")

    def refuse_removal(self, account: Account, record: Record) -> None:
        if record.computed.get("status") in {"healthy", "degraded"}:
            raise Refused("400 Bad Request (1022): Cannot delete tunnel because it has active connections")

    def computed(self, inputs: Mapping[str, Any], own: Record | None, schema: Schema) -> dict[str, Any]:
        remote = inputs.get("configSrc", "local") == "cloudflare"
        before = own.computed if own else {"createdAt": now(), "status": "inactive", "tunType": "cfd_tunnel"}
        return before | {"accountTag": inputs["accountId"], "remoteConfig": remote, "metadata": "{}", "connections": []}


class TunnelConfig(Resource):
    """The ingress rules of a remotely managed tunnel. There is one set per tunnel, which goes with it."""

    replacing = frozenset({"tunnelId"})

    def faults(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        rules = (inputs.get("config") or {}).get("ingresses") if isinstance(inputs.get("config"), dict) else None
        if isinstance(rules, list) and rules:
            last = rules[-1]
            if isinstance(last, dict) and (last.get("hostname") or last.get("path")):
                path = f"config.ingresses[{len(rules) - 1}]"
                yield path, "the last ingress rule must match all URLs, without hostname and path (1056)"

    def identity(self, inputs: Mapping[str, Any]) -> str:
        return str(inputs["tunnelId"])

    def refuse(self, account: Account, inputs: Mapping[str, Any], own: Record | None) -> None:
        tunnel = account.find(TUNNEL, inputs["tunnelId"], inputs["accountId"])
        if tunnel is None:
            raise Refused("404 Not Found (1003): Tunnel not found")
        if tunnel.inputs.get("configSrc", "local") != "cloudflare":
            raise Refused("400 Bad Request: the tunnel is managed locally, its configuration can't be set here")

    def computed(self, inputs: Mapping[str, Any], own: Record | None, schema: Schema) -> dict[str, Any]:
        before: dict[str, Any] = own.computed if own else {"createdAt": now(), "version": 0}
        return before | {"version": before["version"] + 1}


class DnsRecord(Resource):
    """A record. Its type changes in place, as in version 5 of the Terraform provider."""

    unordered = frozenset({"tags"})

    def faults(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from _one_of(inputs, "type", _RECORD_TYPES)
        ttl, kind, proxied = inputs.get("ttl"), inputs.get("type"), inputs.get("proxied")
        if isinstance(ttl, int | float) and ttl != 1 and not 30 <= ttl <= 86400:
            yield "ttl", f"must be 1 (automatic) or between 60 and 86400 seconds (30 on Enterprise), is {ttl}"
        if proxied is True and isinstance(ttl, int | float) and ttl != 1:
            yield "ttl", f"must be 1 where proxied is true, is {ttl}"
        if proxied is True and isinstance(kind, str) and kind in _RECORD_TYPES - _PROXIED_TYPES:
            yield "proxied", f"only A, AAAA and CNAME can be proxied, this is {kind} (9004)"
        if inputs.get("content") is None and inputs.get("data") is None:
            yield "content", "is required where there is no data"

    def same(self, name: str, old: Any, new: Any) -> bool:
        if name == "name" and isinstance(old, str) and isinstance(new, str):
            return _host(old) == _host(new)
        return super().same(name, old, new)

    def refuse(self, account: Account, inputs: Mapping[str, Any], own: Record | None) -> None:
        kind = inputs["type"].upper()
        for other in account.all(DNS_RECORD, inputs["zoneId"]):
            if (own and other.id == own.id) or _host(other.inputs["name"]) != _host(inputs["name"]):
                continue
            theirs = other.inputs["type"].upper()
            if kind in _ADDRESS_TYPES and theirs == "CNAME":
                raise Refused("400 Bad Request (81054): A CNAME record with that host already exists.")
            if kind == "CNAME" and theirs in _PROXIED_TYPES:
                raise Refused("400 Bad Request (81053): An A, AAAA, or CNAME record with that host already exists.")
            if kind == theirs and all(inputs.get(key) == other.inputs.get(key) for key in ("content", "data")):
                raise Refused("400 Bad Request (81058): An identical record already exists.")

    def computed(self, inputs: Mapping[str, Any], own: Record | None, schema: Schema) -> dict[str, Any]:
        values = super().computed(inputs, own, schema) | {"meta": "{}", "proxiable": inputs["type"] in _PROXIED_TYPES}
        for kind, name in (("comment", "commentModifiedOn"), ("tags", "tagsModifiedOn")):
            if inputs.get(kind):
                values.setdefault(name, now())
            else:
                values.pop(name, None)
        if data := inputs.get("data"):
            values["content"] = " ".join(str(value) for _, value in sorted(data.items()))
        return values

    def updated(self, before: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The plugin sends the content of the old data along, and that counts."""
        both = before.get("data") and inputs.get("data") and before["type"] == inputs["type"]
        return {**inputs, "data": before["data"]} if both else dict(inputs)


def _host(name: str) -> str:
    return name.rstrip(".").lower()


class Ruleset(Resource):
    """A ruleset. A zone or account has one entry point (kind zone or root) for each phase."""

    replacing = frozenset({"kind", "phase"})

    def faults(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from _one_of(inputs, "kind", _KINDS)
        yield from _one_of(inputs, "phase", _PHASES)
        if (inputs.get("zoneId") is None) == (inputs.get("accountId") is None):
            yield "zoneId", "exactly one of zoneId and accountId must be set"
        rules = inputs.get("rules")
        if isinstance(rules, list):
            refs = [rule.get("ref") for rule in rules if isinstance(rule, dict)]
            for ref in sorted({ref for ref in refs if isinstance(ref, str) and refs.count(ref) > 1}):
                yield f"rules[{refs.index(ref)}].ref", f"{ref} is the ref of more than one rule"

    def refuse(self, account: Account, inputs: Mapping[str, Any], own: Record | None) -> None:
        if inputs["kind"] not in {"zone", "root"}:
            return
        for other in account.all(RULESET, inputs.get("zoneId") or inputs.get("accountId")):
            same_phase = (other.inputs["kind"], other.inputs["phase"]) == (inputs["kind"], inputs["phase"])
            if same_phase and (own is None or other.id != own.id):
                raise Refused(
                    f"400 Bad Request (20217): '{inputs['kind']}' is not a valid value for kind because exceeded "
                    f"maximum number of zone rulesets for phase {inputs['phase']}: a similar configuration already "
                    "exists and must be imported"
                )

    def computed(self, inputs: Mapping[str, Any], own: Record | None, schema: Schema) -> dict[str, Any]:
        before = own.computed if own else {}
        known = {rule["ref"]: rule["id"] for rule in before.get("rules", ())}
        rules = []
        for rule in inputs.get("rules") or ():
            id_ = known.get(rule.get("ref")) or hex_id()
            rules.append(rule | {"id": id_, "ref": rule.get("ref") or id_, "enabled": rule.get("enabled", True)})
        version = str(int(before.get("version", 0)) + 1)
        return {"version": version, "lastUpdated": now()} | ({"rules": rules} if rules else {})


class ZoneSetting(Resource):
    """A setting of a zone: it always exists, creating changes it and deleting leaves it."""

    replacing = frozenset({"settingId"})
    patches = True

    _VALUES: Mapping[str, frozenset[str]] = {
        "ssl": frozenset({"off", "flexible", "full", "strict", "origin_pull"}),
        "min_tls_version": frozenset({"1.0", "1.1", "1.2", "1.3"}),
        "tls_1_3": frozenset({"on", "off", "zrt"}),
        **dict.fromkeys(
            _words("0rtt always_use_https automatic_https_rewrites brotli early_hints http3 websockets"),
            _words("on off"),
        ),
    }

    def faults(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        allowed = self._VALUES.get(str(inputs.get("settingId")))
        value = inputs.get("value")
        if allowed and value is not None and not isinstance(value, Unknown) and value not in allowed:
            yield "value", f"must be one of {', '.join(sorted(allowed))} for {inputs['settingId']}, is {value}"

    def identity(self, inputs: Mapping[str, Any]) -> str:
        return str(inputs["settingId"])

    def updated(self, before: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {**inputs, "value": _changed(before.get("value"), inputs.get("value"))}

    def refuse_import(self, id_: str) -> None:
        if id_ == "security_header":
            raise Refused("panic: the plugin can't read a setting that is an object before it knows one; it has ended")

    def left(self, record: Record) -> Record | None:
        return record

    def computed(self, inputs: Mapping[str, Any], own: Record | None, schema: Schema) -> dict[str, Any]:
        return {"editable": True, "modifiedOn": now()}


def _changed(before: Any, value: Any) -> Any:
    """Of an object what has changed, as the plugin's update sends it."""
    if not (isinstance(before, dict) and isinstance(value, dict)):
        return value
    return {key: _changed(before.get(key), each) for key, each in value.items() if before.get(key) != each}


class OfZone(Resource):
    """What a zone has one of, always. Deleting gives it the values `deleted`, and without those leaves it as it is."""

    patches = True

    def __init__(self, **deleted: Any) -> None:
        self._deleted = deleted

    def identity(self, inputs: Mapping[str, Any]) -> str:
        return str(inputs["zoneId"])

    def left(self, record: Record) -> Record | None:
        return replace(record, inputs=record.inputs | self._deleted)


class SmartTieredCache(OfZone):
    """Which location is the upper tier is Cloudflare's choice, where there are tiers."""

    def refuse(self, account: Account, inputs: Mapping[str, Any], own: Record | None) -> None:
        tiers = account.find(TIERS, inputs["zoneId"], inputs["zoneId"])
        if inputs["value"] == "on" and (tiers is None or tiers.inputs["value"] != "on"):
            raise Refused("400 Bad Request: smart tiered cache needs tiered caching to be on")


class BotManagement(OfZone):
    """The defense against robots. The plugin always sends whether Cloudflare keeps robots.txt: no, unless told."""

    def computed(self, inputs: Mapping[str, Any], own: Record | None, schema: Schema) -> dict[str, Any]:
        managed = inputs.get("isRobotsTxtManaged", False)
        return super().computed(inputs, own, schema) | {"isRobotsTxtManaged": managed}


class CertificatePack(Resource):
    """A certificate at the edge: any change is a new order, but for hosts that the old one covers."""

    all_replacing = True

    def same(self, name: str, old: Any, new: Any) -> bool:
        if name == "hosts" and isinstance(old, list) and isinstance(new, list):
            return set(map(str, new)) <= set(map(str, old))
        return bool(old == new)


class AccessResource(Resource):
    """Anything of Access: its ids are UUIDs."""

    def identity(self, inputs: Mapping[str, Any]) -> str:
        return uuid_id()


class DevicePosture(AccessResource):
    """A check of devices. Its operating system is that of `matches`; the one of `input` is not given back."""

    def returned(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        found = super().returned(inputs)
        asked = {name: value for name, value in (inputs.get("input") or {}).items() if name != "operatingSystem"}
        return {**found, "input": asked} if "input" in found else found


class AccessApplication(AccessResource):
    """An application behind Access, with the audience tag that an origin checks tokens against."""

    unordered = frozenset({"allowedIdps", "tags"})

    def faults(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if (inputs.get("zoneId") is None) == (inputs.get("accountId") is None):
            yield "accountId", "exactly one of zoneId and accountId must be set"
        if inputs.get("type") == "self_hosted" and not (inputs.get("domain") or inputs.get("destinations")):
            yield "domain", "a self-hosted application needs a domain or destinations"

    def refuse(self, account: Account, inputs: Mapping[str, Any], own: Record | None) -> None:
        for policy in inputs.get("policies") or ():
            if policy.get("id") and account.find(ACCESS_POLICY, policy["id"]) is None:
                raise Refused(f"400 Bad Request (12130): policy {policy['id']} does not exist")

    def computed(self, inputs: Mapping[str, Any], own: Record | None, schema: Schema) -> dict[str, Any]:
        values = super().computed(inputs, own, schema)
        values.setdefault("aud", secrets.token_hex(32))
        return values


class AccessPolicy(AccessResource):
    """A reusable policy of Access."""

    def faults(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from _one_of(inputs, "decision", frozenset({"allow", "deny", "non_identity", "bypass"}))

    def computed(self, inputs: Mapping[str, Any], own: Record | None, schema: Schema) -> dict[str, Any]:
        lasts = inputs.get("sessionDuration") or "24h"  # the plugin's own default, which it sends
        return super().computed(inputs, own, schema) | {"appCount": 0, "reusable": True, "sessionDuration": lasts}


def tunnel_token(account: Account, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `getZeroTrustTunnelCloudflaredToken` returns: base64 of account, tunnel and secret. Raises Refused."""
    tunnel = account.find(TUNNEL, arguments["tunnelId"], arguments["accountId"])
    if tunnel is None:
        raise Refused("404 Not Found (1003): Tunnel not found")
    parts = {"a": arguments["accountId"], "t": tunnel.id, "s": tunnel.inputs.get("tunnelSecret", "")}
    token = base64.b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode()
    return {"accountId": arguments["accountId"], "tunnelId": tunnel.id, "token": token}


_access = AccessResource()
RESOURCES: Mapping[str, Resource] = {
    TUNNEL: Tunnel(),
    "cloudflare:index/zeroTrustTunnelCloudflaredConfig:ZeroTrustTunnelCloudflaredConfig": TunnelConfig(),
    DNS_RECORD: DnsRecord(),
    RULESET: Ruleset(),
    "cloudflare:index/zoneSetting:ZoneSetting": ZoneSetting(),
    "cloudflare:index/certificatePack:CertificatePack": CertificatePack(),
    "cloudflare:index/zoneDnssec:ZoneDnssec": OfZone(status="disabled"),
    "cloudflare:index/tieredCache:TieredCache": SmartTieredCache(value="off"),
    TIERS: OfZone(),
    "cloudflare:index/totalTls:TotalTls": OfZone(),
    "cloudflare:index/botManagement:BotManagement": BotManagement(),
    "cloudflare:index/zeroTrustAccessApplication:ZeroTrustAccessApplication": AccessApplication(),
    ACCESS_POLICY: AccessPolicy(),
    "cloudflare:index/zeroTrustAccessGroup:ZeroTrustAccessGroup": _access,
    "cloudflare:index/zeroTrustAccessIdentityProvider:ZeroTrustAccessIdentityProvider": _access,
    "cloudflare:index/zeroTrustDevicePostureRule:ZeroTrustDevicePostureRule": DevicePosture(),
}
FUNCTIONS: Mapping[str, Callable[[Account, Mapping[str, Any]], dict[str, Any]]] = {
    "cloudflare:index/getZeroTrustTunnelCloudflaredToken:getZeroTrustTunnelCloudflaredToken": tunnel_token,
}
