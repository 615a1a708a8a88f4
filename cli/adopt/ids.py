"""Ids under which a stack's resources exist already, as `pulumi import` takes them.

Kubernetes objects are named by the program itself. What Cloudflare and Tailscale number is looked up by what it is
known by there (a record's type and name, a tunnel's name); formats of ids are those of the SDKs' documentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from cli import edge_accounts
from cli.edge_accounts import SPLIT_DNS, CloudflareAccount, Tailnet
from cli.program import Program, Resource


@dataclass(frozen=True)
class Kind:
    """A type of the clouds: its id, the API path that lists it, and the properties by which one is known."""

    id: str
    path: str = ""
    keys: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    "DnsRecord": Kind("{zoneId}/{id}", "zones/{zoneId}/dns_records", ("type", "name")),
    "Ruleset": Kind("zones/{zoneId}/{id}", "zones/{zoneId}/rulesets", ("kind", "phase")),
    "CertificatePack": Kind("{zoneId}/{id}", "zones/{zoneId}/ssl/certificate_packs", ("hosts",)),
    "ZoneSetting": Kind("{zoneId}/{settingId}"),
    "BotManagement": Kind("{zoneId}"),
    "TieredCache": Kind("{zoneId}"),
    "ArgoTieredCaching": Kind("{zoneId}"),
    "TotalTls": Kind("{zoneId}"),
    "ZoneDnssec": Kind("{zoneId}"),
    "ZeroTrustTunnelCloudflared": Kind("{accountId}/{id}", "accounts/{accountId}/cfd_tunnel", ("name",)),
    "ZeroTrustAccessPolicy": Kind("{accountId}/{id}", "accounts/{accountId}/access/policies", ("name",)),
    "ZeroTrustAccessApplication": Kind("accounts/{accountId}/{id}", "accounts/{accountId}/access/apps", ("domain",)),
    "ZeroTrustAccessGroup": Kind("accounts/{accountId}/{id}", "accounts/{accountId}/access/groups", ("name",)),
    "ZeroTrustAccessIdentityProvider": Kind(
        "accounts/{accountId}/{id}", "accounts/{accountId}/access/identity_providers", ("name",)
    ),
    "ZeroTrustDevicePostureRule": Kind("{accountId}/{id}", "accounts/{accountId}/devices/posture", ("name",)),
    "ZeroTrustList": Kind("{accountId}/{id}", "accounts/{accountId}/gateway/lists", ("name",)),
    "NotificationPolicy": Kind("{accountId}/{id}", "accounts/{accountId}/alerting/v3/policies", ("name",)),
    "Acl": Kind("acl"),
    "DnsPreferences": Kind("dns_preferences"),
    "TailnetSettings": Kind("tailnet_settings"),
}
"""What an existing account can be asked for. Keys and OAuth clients are shown once and can't be taken over."""

TUNNEL, TUNNEL_CONFIG = "ZeroTrustTunnelCloudflared", "ZeroTrustTunnelCloudflaredConfig"

OBJECT_SETTINGS = frozenset({"security_header"})
"""Settings of the zone that are objects: importing one ends the plugin with a panic."""


def only_set(resource: Resource) -> str:
    """Why a resource that exists is not imported but set by the update, which overwrites nothing else; or nothing."""
    if _name(resource) == "ZoneSetting" and resource.inputs["settingId"] in OBJECT_SETTINGS:
        return "exists always, and is set by the update: the plugin can't import it"
    return ""


def updated_alone(resource: Resource) -> bool:
    """Whether its first update after an import has to be a run of its own.

    The tunnel's secret is set where the imported state has none. The plugin then leaves texts out of all that it sends
    in the same run.
    """
    return _name(resource) == TUNNEL


class Accounts:
    """The accounts of a stack; each is opened when it is first asked. Raises AccountError where one can't be."""

    def __init__(self, program: Program) -> None:
        self._program = program

    @cached_property
    def cloudflare(self) -> CloudflareAccount:
        """The account at Cloudflare."""
        return edge_accounts.cloudflare(self._program)

    @cached_property
    def tailnet(self) -> Tailnet:
        """The tailnet."""
        return edge_accounts.tailnet(self._program)


def cloud_id(resource: Resource, accounts: Accounts, planned: Mapping[str, Resource]) -> str | None:
    """The id of a resource at its cloud, None when there is none. Raises AccountError when that can't be known.

    `planned` holds the program's resources by URN: a tunnel's configuration has the id of the tunnel beside it.
    """
    name = _name(resource)
    if only_set(resource):
        return None
    if name == TUNNEL_CONFIG:
        beside = (other for other in planned.values() if other.parent == resource.parent)
        tunnel = next((other for other in beside if other.type.endswith(f":{TUNNEL}")), None)
        return cloud_id(tunnel, accounts, planned) if tunnel else None
    if resource.type == SPLIT_DNS:
        domain = str(resource.inputs["domain"])
        return domain if domain in accounts.tailnet.split_dns() else None
    kind = KINDS.get(name)
    if kind is None:
        return None
    if not kind.path:
        return kind.id.format(**resource.inputs)
    wanted = [resource.inputs.get(key) for key in kind.keys]
    known = accounts.cloudflare.listed(resource.type, kind.path.format(**resource.inputs))
    matches = [entry for entry in known if [entry.get(key) for key in kind.keys] == wanted]
    return kind.id.format(**{**resource.inputs, "id": matches[0]["id"]}) if matches else None


def _name(resource: Resource) -> str:
    return resource.type.rpartition(":")[2]
