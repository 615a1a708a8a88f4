"""Ids under which a stack's resources exist already, as `pulumi import` takes them.

Kubernetes objects are named by the program itself. What Cloudflare and Tailscale number is looked up by what it is
known by there (a record's type and name, a tunnel's name); formats of ids are those of the SDKs' documentation.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from cli.program import Program, Resource

CLOUDFLARE_API = "https://api.cloudflare.com/client/v4/"
TAILSCALE_API = "https://api.tailscale.com/api/v2/"
TIMEOUT_SECONDS = 20


class AccountError(Exception):
    """An account can't be asked; the text says why and what to do."""


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
    "DnsSplitNameservers": Kind("{domain}", "tailnet/{tailnet}/dns/split-dns", ("domain",)),
}
"""What an existing account can be asked for. Keys and OAuth clients are shown once and can't be taken over."""

TUNNEL, TUNNEL_CONFIG = "ZeroTrustTunnelCloudflared", "ZeroTrustTunnelCloudflaredConfig"


class Accounts(Protocol):
    """Reads what exists in the accounts at the two clouds."""

    def known(self, resource: Resource) -> Iterator[Mapping[str, Any]]:
        """What exists of a resource's type, with `id`. Raises AccountError when the account can't be asked."""


class LocalAccounts:
    """The local accounts of the stand-in (docs/stand-in.md), for rehearsals and tests."""

    def __init__(self, file: Path) -> None:
        from rehearsal.accounts import Accounts as Stored  # noqa: PLC0415 - only where there are local accounts

        self._stored = Stored(file)

    def known(self, resource: Resource) -> Iterator[Mapping[str, Any]]:
        with self._stored.transaction() as account:
            records = account.all(resource.type)
        yield from ({**record.inputs, "id": record.id} for record in records)


class CloudAccounts:
    """The accounts at Cloudflare and Tailscale, by the user's own tokens; asked with GET only."""

    def __init__(self, environment: Mapping[str, str], tailnet: str) -> None:
        self._environment = environment
        self._tailnet = tailnet

    def known(self, resource: Resource) -> Iterator[Mapping[str, Any]]:
        path = KINDS[_name(resource)].path.format(**resource.inputs, tailnet=self._tailnet)
        if resource.type.startswith("cloudflare:"):
            yield from self._cloudflare(path)
        else:
            answer = self._get(TAILSCALE_API + path, "TAILSCALE_API_KEY", {})
            yield from ({"domain": domain, "id": domain} for domain in answer)

    def _cloudflare(self, path: str) -> Iterator[Mapping[str, Any]]:
        page, pages = 1, 1
        while page <= pages:
            query = {"page": page, "per_page": 50, "is_deleted": "false"} if "cfd_tunnel" in path else {"page": page}
            answer = self._get(CLOUDFLARE_API + path, "CLOUDFLARE_API_TOKEN", query)
            yield from answer["result"] or ()
            page, pages = page + 1, (answer.get("result_info") or {}).get("total_pages", 1)

    def _get(self, url: str, variable: str, query: Mapping[str, Any]) -> dict[str, Any]:
        token = self._environment.get(variable)
        if not token:
            raise AccountError(f"{variable} is not set: a token that may read is enough")
        try:
            answer = httpx.get(
                url, params=dict(query), headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_SECONDS
            )
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            raise AccountError(f"{variable}: {error.response.status_code} for {url}") from None
        except httpx.HTTPError as error:
            raise AccountError(f"{url} can't be reached: {error}") from None
        found: dict[str, Any] = answer.json()
        return found


def accounts_of(program: Program) -> Accounts:
    """The local accounts where the stack has them, else those at the two clouds."""
    if local := program.environment.get("ANTON_ACCOUNTS"):
        return LocalAccounts(Path(local))
    tailnet = program.settings.tailscale.tailnet
    return CloudAccounts(program.environment, tailnet.name if tailnet else "-")


def cloud_id(resource: Resource, accounts: Accounts, planned: Mapping[str, Resource]) -> str | None:
    """The id of a resource at its cloud, None when there is none. Raises AccountError when that can't be known.

    `planned` holds the program's resources by URN: a tunnel's configuration has the id of the tunnel beside it.
    """
    name = _name(resource)
    if name == TUNNEL_CONFIG:
        beside = (other for other in planned.values() if other.parent == resource.parent)
        tunnel = next((other for other in beside if other.type.endswith(f":{TUNNEL}")), None)
        return cloud_id(tunnel, accounts, planned) if tunnel else None
    kind = KINDS.get(name)
    if kind is None:
        return None
    if not kind.path:
        return kind.id.format(**resource.inputs)
    wanted = [resource.inputs.get(key) for key in kind.keys]
    matches = [entry for entry in accounts.known(resource) if [entry.get(key) for key in kind.keys] == wanted]
    return kind.id.format(**{**resource.inputs, "id": matches[0]["id"]}) if matches else None


def _name(resource: Resource) -> str:
    return resource.type.rpartition(":")[2]
