"""Calls the stand-in for the two clouds as the engine does, and has types and inputs of resources to call it with."""

import json
from collections.abc import Mapping
from typing import Any

from pulumi.runtime.proto import provider_pb2

from rehearsal.accounts.sdk_schema import Sdk
from rehearsal.accounts.service import Provider, stand_in_secrets
from rehearsal.accounts.store import Accounts
from rehearsal.accounts.wire import Secret, decode, encode

ACCOUNT, ZONE = "a" * 32, "b" * 32

TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"
TUNNEL_CONFIG = "cloudflare:index/zeroTrustTunnelCloudflaredConfig:ZeroTrustTunnelCloudflaredConfig"
TUNNEL_FUNCTION = "cloudflare:index/getZeroTrustTunnelCloudflaredToken:getZeroTrustTunnelCloudflaredToken"
DNS = "cloudflare:index/dnsRecord:DnsRecord"
RULESET = "cloudflare:index/ruleset:Ruleset"
LIST = "cloudflare:index/list:List"
SETTING = "cloudflare:index/zoneSetting:ZoneSetting"
APPLICATION = "cloudflare:index/zeroTrustAccessApplication:ZeroTrustAccessApplication"
ACL = "tailscale:index/acl:Acl"
KEY = "tailscale:index/tailnetKey:TailnetKey"
SPLIT = "tailscale:index/dnsSplitNameservers:DnsSplitNameservers"

SECRETS = stand_in_secrets()
TUNNEL_INPUTS = {
    "accountId": ACCOUNT,
    "name": "anton",
    "configSrc": "cloudflare",
    "tunnelSecret": Secret(SECRETS["cloudflareTunnelSecret"]),
}
CNAME = {"zoneId": ZONE, "name": "app.example.com", "type": "CNAME", "ttl": 1, "content": "external.example.com"}
WAF: dict[str, Any] = {
    "zoneId": ZONE,
    "name": "waf",
    "kind": "zone",
    "phase": "http_request_firewall_custom",
    "rules": [{"action": "block", "expression": "true", "ref": "one"}],
}
POLICY = json.dumps(
    {"tagOwners": {"tag:k8s": []}, "acls": [{"action": "accept", "src": ["*"], "dst": ["tag:k8s:443"]}]}
)


class CallFailedError(Exception):
    """The call's error as the engine sees it."""


class Context:
    """Takes the place of gRPC's."""

    def abort(self, _code: Any, text: str) -> None:
        raise CallFailedError(text)


class Cloud:
    """Both providers on one set of accounts, called as the engine calls them."""

    def __init__(self, sdks: Mapping[str, Sdk], accounts: Accounts | None, stack: str = "test") -> None:
        self._providers = {name: Provider(sdk, accounts) for name, sdk in sdks.items()}
        self._stack = stack

    def call(self, method: str, token: str, **fields: Any) -> Any:
        """The answer to one call on a resource type or function; raises CallFailedError where it is refused."""
        request = {
            "Check": provider_pb2.CheckRequest,
            "Diff": provider_pb2.DiffRequest,
            "Create": provider_pb2.CreateRequest,
            "Update": provider_pb2.UpdateRequest,
            "Delete": provider_pb2.DeleteRequest,
            "Read": provider_pb2.ReadRequest,
            "Invoke": provider_pb2.InvokeRequest,
            "CheckConfig": provider_pb2.CheckRequest,
            "Configure": provider_pb2.ConfigureRequest,
        }[method]()
        if method == "Invoke":
            request.tok = token
        elif method != "Configure":
            request.urn = f"urn:pulumi:{self._stack}::project::anton:network:Edge${token}::thing"
        for name, value in fields.items():
            if isinstance(value, dict):
                encode(value, getattr(request, name))
            else:
                setattr(request, name, value)
        provider = self._providers[token.split(":", maxsplit=1)[0]]
        return getattr(provider, method)(request, Context())

    def faults(self, token: str, inputs: dict[str, Any]) -> dict[str, str]:
        """Property to reason of each fault that a check of the arguments finds."""
        return {fault.property: fault.reason for fault in self.call("Check", token, news=inputs).failures}

    def create(self, token: str, inputs: dict[str, Any], preview: bool = False) -> tuple[str, dict[str, Any]]:
        """The id and the state of a new resource."""
        answer = self.call("Create", token, properties=inputs, preview=preview)
        return answer.id, decode(answer.properties)

    def changes(self, token: str, old: dict[str, Any], new: dict[str, Any]) -> dict[str, str]:
        """Path to kind of each change that is planned."""
        answer = self.call("Diff", token, old_inputs=old, news=new)
        kind = provider_pb2.PropertyDiff.Kind
        assert (answer.changes == provider_pb2.DiffResponse.DIFF_NONE) == (not answer.detailedDiff)
        return {path: kind.Name(change.kind) for path, change in answer.detailedDiff.items()}

    def token(self, tunnel_id: str) -> dict[str, Any]:
        """What the function for a connector's token returns."""
        answer = self.call("Invoke", TUNNEL_FUNCTION, args={"accountId": ACCOUNT, "tunnelId": tunnel_id})
        return decode(getattr(answer, "return"))
