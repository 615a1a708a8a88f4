"""What Tailscale does with the resources that this project uses."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from rehearsal.accounts import tailnet_policy
from rehearsal.accounts.behaviour import Refused, Resource, now
from rehearsal.accounts.sdk_schema import Schema
from rehearsal.accounts.store import Account, Record

ACL = "tailscale:index/acl:Acl"


def policy_of(account: Account) -> str:
    """The tailnet's policy document."""
    record = account.find(ACL, "acl")
    return str(record.inputs["acl"]) if record else tailnet_policy.DEFAULT


def _is_default(text: str) -> bool:
    return tailnet_policy.parse(text) == tailnet_policy.parse(tailnet_policy.DEFAULT)


class Policy(Resource):
    """The one policy document of the tailnet, which always exists."""

    def faults(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        text = inputs.get("acl")
        if isinstance(text, str):
            try:  # the plugin has the API judge it in the preview
                tailnet_policy.judge(text)
            except tailnet_policy.PolicyError as error:
                yield "acl", str(error)

    def same(self, name: str, old: Any, new: Any) -> bool:
        if name == "acl" and isinstance(old, str) and isinstance(new, str):
            return tailnet_policy.written(old) == tailnet_policy.written(new)
        return super().same(name, old, new)

    def identity(self, inputs: Mapping[str, Any]) -> str:
        return "acl"

    def refuse(self, account: Account, inputs: Mapping[str, Any], own: Record | None) -> None:
        if own is None and not inputs.get("overwriteExistingContent") and not _is_default(policy_of(account)):
            raise Refused(
                "Overwrite Protected: You are trying to overwrite a non-default policy. Please import the ACL first or "
                "set overwrite_existing_content = true."
            )
        try:
            tailnet_policy.judge(inputs["acl"])
        except tailnet_policy.PolicyError as error:
            raise Refused(f"400 Bad Request: {error}") from None

    def left(self, record: Record) -> Record | None:
        return None if record.inputs.get("resetAclOnDestroy") else record

    def untouched(self, identifier: str) -> dict[str, Any] | None:
        return {"acl": tailnet_policy.DEFAULT} if identifier == "acl" else None


class Singleton(Resource):
    """A setting of the tailnet that always exists: creating sets it, deleting gives it the values `deleted`.

    Without those deleting leaves it as it is.
    """

    def __init__(self, id_: str, unordered: str = "", deleted: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._id = id_
        self._unordered = unordered
        self._deleted = deleted

    def same(self, name: str, old: Any, new: Any) -> bool:
        if name == self._unordered and isinstance(old, list) and isinstance(new, list):
            return sorted(map(str, old)) == sorted(map(str, new))
        return super().same(name, old, new)

    def identity(self, inputs: Mapping[str, Any]) -> str:
        return self._id

    def left(self, record: Record) -> Record | None:
        return replace(record, inputs=record.inputs | dict(self._deleted))


class SplitDns(Resource):
    """The name servers of one domain."""

    replacing = frozenset({"domain"})
    unordered = frozenset({"nameservers"})

    def identity(self, inputs: Mapping[str, Any]) -> str:
        return str(inputs["domain"])


class Key(Resource):
    """An auth key or OAuth client: made once, shown once, replaced by any change."""

    all_replacing = True
    unordered = frozenset({"tags", "scopes"})

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def identity(self, inputs: Mapping[str, Any]) -> str:
        return f"k{secrets.token_hex(6)}CNTRL"

    def faults(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        description, scopes = inputs.get("description"), inputs.get("scopes")
        if isinstance(description, str) and len(description) > 50:
            yield "description", "must be 50 characters or less"
        needs_tags = isinstance(scopes, list) and any(scope in {"devices:core", "auth_keys"} for scope in scopes)
        if needs_tags and not inputs.get("tags"):
            yield "tags", "are required with the scopes devices:core and auth_keys"

    def refuse(self, account: Account, inputs: Mapping[str, Any], own: Record | None) -> None:
        owned = tailnet_policy.parse(policy_of(account)).get("tagOwners") or {}
        foreign = [tag for tag in inputs.get("tags") or () if tag not in owned]
        if foreign:
            raise Refused(f"400 Bad Request: requested tags {foreign} are invalid or not permitted")

    def computed(self, inputs: Mapping[str, Any], own: Record | None, schema: Schema) -> dict[str, Any]:
        if own:
            return own.computed
        values = {"createdAt": now(), "userId": "", "key": f"{self._prefix}-stand-in-{secrets.token_hex(16)}"}
        return values | ({"invalid": False} if "invalid" in schema.computed else {})


RESOURCES: Mapping[str, Resource] = {
    ACL: Policy(),
    "tailscale:index/dnsPreferences:DnsPreferences": Singleton("dns_preferences", deleted={"magicDns": False}),
    "tailscale:index/dnsNameservers:DnsNameservers": Singleton("dns_nameservers"),
    "tailscale:index/dnsSearchPaths:DnsSearchPaths": Singleton("dns_search_paths", deleted={"searchPaths": []}),
    "tailscale:index/dnsConfiguration:DnsConfiguration": Singleton("dns_configuration"),
    "tailscale:index/tailnetSettings:TailnetSettings": Singleton("tailnet_settings"),
    "tailscale:index/contacts:Contacts": Singleton("contacts"),
    "tailscale:index/dnsSplitNameservers:DnsSplitNameservers": SplitDns(),
    "tailscale:index/tailnetKey:TailnetKey": Key("tskey-auth"),
    "tailscale:index/oauthClient:OauthClient": Key("tskey-client"),
}
FUNCTIONS: Mapping[str, Callable[[Account, Mapping[str, Any]], dict[str, Any]]] = {
    "tailscale:index/getAcl:getAcl": lambda account, _: {
        "id": "acl",
        "hujson": policy_of(account),
        "json": policy_of(account),
    },
    "tailscale:index/getDevices:getDevices": lambda account, _: {"id": "devices", "devices": []},
}
