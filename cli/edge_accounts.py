"""Read access to the accounts at Cloudflare and Tailscale: what exists there, whoever made it.

The clouds' own APIs are asked with the user's token, from the environment and never from the stack's secrets; where
the program works on local accounts (ANTON_ACCOUNTS), those are read instead.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from cli.program import Program
from rehearsal.accounts.store import Accounts, Record

CLOUDFLARE_API = "https://api.cloudflare.com/client/v4"
TAILSCALE_API = "https://api.tailscale.com/api/v2"
TIMEOUT_SECONDS = 10
PAGE_SIZE = 100

TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"
DNS_RECORD = "cloudflare:index/dnsRecord:DnsRecord"
SPLIT_DNS = "tailscale:index/dnsSplitNameservers:DnsSplitNameservers"
DEVICE = "tailscale:index/getDevice:getDevice"
KEY = "tailscale:index/tailnetKey:TailnetKey"
OAUTH_CLIENT = "tailscale:index/oauthClient:OauthClient"


class AccountError(Exception):
    """An account can't be read; the text says which and why, and never holds a token."""


@dataclass(frozen=True)
class Tunnel:
    """A Cloudflare tunnel; `status` is healthy, degraded, down or inactive (never connected)."""

    id: str
    name: str
    status: str


@dataclass(frozen=True)
class Connector:
    """A cloudflared process with its connections to Cloudflare's edge that carry traffic."""

    id: str
    version: str
    connections: int


@dataclass(frozen=True)
class DnsRecord:
    """A record of the zone; TTL in seconds, 1 for automatic."""

    id: str
    name: str
    type: str
    content: str
    proxied: bool
    ttl: int
    comment: str = ""


@dataclass(frozen=True)
class Device:
    """A machine of the tailnet. `expires` is when its key does, RFC 3339, empty for never."""

    id: str
    name: str
    hostname: str
    tags: tuple[str, ...]
    expires: str
    authorized: bool
    connected: bool
    last_seen: str
    advertised_routes: tuple[str, ...] = ()
    enabled_routes: tuple[str, ...] = ()
    lock_error: str = ""


@dataclass(frozen=True)
class TailnetKey:
    """An auth key, API token or OAuth client; `expires` as RFC 3339, empty for never."""

    id: str
    description: str
    kind: str
    tags: tuple[str, ...]
    expires: str
    invalid: bool


class CloudflareAccount(ABC):
    """What exists in the account and the zone."""

    @abstractmethod
    def tunnels(self) -> list[Tunnel]:
        """All tunnels but the deleted ones."""

    @abstractmethod
    def connectors(self, tunnel_id: str) -> list[Connector]:
        """The cloudflared processes that a tunnel has."""

    @abstractmethod
    def dns_records(self) -> list[DnsRecord]:
        """All records of the zone."""

    @abstractmethod
    def listed(self, type_: str, path: str) -> list[dict[str, Any]]:
        """Whatever exists of a Pulumi type, with its `id`; `path` is where the API lists it."""


class Tailnet(ABC):
    """What exists in the tailnet."""

    @abstractmethod
    def devices(self) -> list[Device]:
        """All machines."""

    @abstractmethod
    def auth_keys(self) -> list[TailnetKey]:
        """Auth keys, API tokens and OAuth clients that the token may see."""

    @abstractmethod
    def split_dns(self) -> list[str]:
        """Domains with name servers of their own."""


def cloudflare(program: Program) -> CloudflareAccount:
    """The account of the stack's settings. Raises AccountError where no token is set."""
    settings = program.settings.cloudflare
    account, zone = settings.account_id or "", settings.zone_id or ""
    if path := program.environment.get("ANTON_ACCOUNTS"):
        return LocalCloudflare(Accounts(Path(path)), account, zone)
    token = program.environment.get("CLOUDFLARE_API_TOKEN")
    if not token:
        raise AccountError("Cloudflare was not asked: CLOUDFLARE_API_TOKEN (a read-only token of your own) is not set")
    return HttpCloudflare(token, account, zone)


def tailnet(program: Program) -> Tailnet:
    """The tailnet that the user's credentials belong to. Raises AccountError where none are set."""
    if path := program.environment.get("ANTON_ACCOUNTS"):
        return LocalTailnet(Accounts(Path(path)))
    key = program.environment.get("TAILSCALE_API_KEY")
    client = (
        program.environment.get("TAILSCALE_OAUTH_CLIENT_ID", ""),
        program.environment.get("TAILSCALE_OAUTH_CLIENT_SECRET", ""),
    )
    if not key and not all(client):
        raise AccountError(
            "Tailscale was not asked: neither TAILSCALE_API_KEY nor TAILSCALE_OAUTH_CLIENT_ID and "
            "TAILSCALE_OAUTH_CLIENT_SECRET (read-only, your own) are set"
        )
    return HttpTailnet(key or "", client)


# ---- by the clouds' own APIs


def _ask(client: httpx.Client, method: str, path: str, **options: Any) -> dict[str, Any]:
    """The JSON answer. Raises AccountError with the cloud's own words."""
    where = f"{client.base_url.host}{client.base_url.path.rstrip('/')}/{path}"
    try:
        response = client.request(method, path, **options)
        body = response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise AccountError(f"{where}: {error or type(error).__name__}") from None
    if response.is_error or not isinstance(body, dict):
        errors = body.get("errors") or [] if isinstance(body, dict) else []
        said = "; ".join(f"{entry.get('message')} ({entry.get('code')})" for entry in errors)
        said = said or (str(body.get("message", "")) if isinstance(body, dict) else "")
        raise AccountError(f"{where}: {response.status_code} {response.reason_phrase} {said}".rstrip())
    return body


class HttpCloudflare(CloudflareAccount):
    """By Cloudflare's API, version 4 (https://developers.cloudflare.com/api)."""

    def __init__(self, token: str, account_id: str, zone_id: str, url: str = CLOUDFLARE_API) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS)
        self._account = f"accounts/{account_id}"
        self._zone = f"zones/{zone_id}"

    def tunnels(self) -> list[Tunnel]:
        found = self._all(f"{self._account}/cfd_tunnel", is_deleted="false")
        return [Tunnel(entry["id"], entry["name"], entry.get("status", "")) for entry in found]

    def connectors(self, tunnel_id: str) -> list[Connector]:
        answer = _ask(self._client, "GET", f"{self._account}/cfd_tunnel/{tunnel_id}/connections")
        return [
            Connector(entry["id"], entry.get("version", ""), _active(entry.get("conns") or (), "is_pending_reconnect"))
            for entry in answer.get("result") or ()
        ]

    def dns_records(self) -> list[DnsRecord]:
        return [
            DnsRecord(
                entry["id"],
                entry["name"],
                entry["type"],
                entry.get("content", ""),
                bool(entry.get("proxied")),
                entry.get("ttl", 1),
                entry.get("comment") or "",
            )
            for entry in self._all(f"{self._zone}/dns_records")
        ]

    def listed(self, type_: str, path: str) -> list[dict[str, Any]]:
        return [*self._all(path, **({"is_deleted": "false"} if type_ == TUNNEL else {}))]

    def _all(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """Page by page, until one is not full."""
        page, before = 0, None
        while True:
            page += 1
            parameters = {**query, "page": str(page), "per_page": str(PAGE_SIZE)}
            found = _ask(self._client, "GET", path, params=parameters).get("result") or []
            if found == before:  # a list without pages
                return
            yield from found
            if len(found) < PAGE_SIZE:
                return
            before = found


class HttpTailnet(Tailnet):
    """By Tailscale's API, version 2 (https://tailscale.com/api), with an API token or an OAuth client."""

    def __init__(self, key: str, oauth_client: tuple[str, str] = ("", ""), url: str = TAILSCALE_API) -> None:
        self._key, self._oauth_client, self._url = key, oauth_client, url

    def devices(self) -> list[Device]:
        found = _ask(self._client, "GET", "tailnet/-/devices", params={"fields": "all"}).get("devices") or ()
        return [_device(entry) for entry in found]

    def auth_keys(self) -> list[TailnetKey]:
        """The list names little more than ids, so that each key is asked for on its own."""
        listed = _ask(self._client, "GET", "tailnet/-/keys", params={"all": "true"}).get("keys") or ()
        return [_key(_ask(self._client, "GET", f"tailnet/-/keys/{entry['id']}")) for entry in listed]

    def split_dns(self) -> list[str]:
        return [*_ask(self._client, "GET", "tailnet/-/dns/split-dns")]

    @cached_property
    def _client(self) -> httpx.Client:
        token = self._key or self._token()
        return httpx.Client(base_url=self._url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_SECONDS)

    def _token(self) -> str:
        """A token for an hour from the OAuth client (RFC 6749, 4.4)."""
        identity, secret = self._oauth_client
        with httpx.Client(base_url=self._url, timeout=TIMEOUT_SECONDS) as client:
            answer = _ask(client, "POST", "oauth/token", data={"client_id": identity, "client_secret": secret})
        return str(answer["access_token"])


def _active(connections: Iterable[Mapping[str, Any]], pending: str) -> int:
    """Cloudflare lists a connection for minutes after it broke."""
    return sum(not connection.get(pending) for connection in connections)


def _device(entry: Mapping[str, Any]) -> Device:
    return Device(
        id=entry.get("nodeId") or entry.get("id", ""),
        name=entry.get("name", ""),
        hostname=entry.get("hostname", ""),
        tags=tuple(entry.get("tags") or ()),
        expires="" if entry.get("keyExpiryDisabled") else entry.get("expires", ""),
        authorized=entry.get("authorized", True),
        connected=entry.get("connectedToControl", True),
        last_seen=entry.get("lastSeen", ""),
        advertised_routes=tuple(entry.get("advertisedRoutes") or ()),
        enabled_routes=tuple(entry.get("enabledRoutes") or ()),
        lock_error=entry.get("tailnetLockError", ""),
    )


def _key(entry: Mapping[str, Any]) -> TailnetKey:
    devices = (entry.get("capabilities") or {}).get("devices") or {}
    return TailnetKey(
        id=entry["id"],
        description=entry.get("description", ""),
        kind=entry.get("keyType", "auth"),
        tags=tuple(entry.get("tags") or (devices.get("create") or {}).get("tags") or ()),
        expires=entry.get("expires", ""),
        invalid=bool(entry.get("invalid") or entry.get("revoked")),
    )


# ---- local accounts


class LocalCloudflare(CloudflareAccount):
    """From the accounts of the stand-in."""

    def __init__(self, accounts: Accounts, account_id: str, zone_id: str) -> None:
        self._accounts, self._account, self._zone = accounts, account_id, zone_id

    def tunnels(self) -> list[Tunnel]:
        return [
            Tunnel(entry.id, entry.inputs["name"], entry.computed.get("status", ""))
            for entry in _records(self._accounts, TUNNEL, self._account)
        ]

    def connectors(self, tunnel_id: str) -> list[Connector]:
        tunnel = next((r for r in _records(self._accounts, TUNNEL, self._account) if r.id == tunnel_id), None)
        connections = (tunnel.computed.get("connections") or []) if tunnel else []
        clients = {entry["clientId"]: entry.get("clientVersion", "") for entry in connections}
        return [
            Connector(
                client,
                version,
                _active((entry for entry in connections if entry["clientId"] == client), "isPendingReconnect"),
            )
            for client, version in clients.items()
        ]

    def dns_records(self) -> list[DnsRecord]:
        return [
            DnsRecord(
                entry.id,
                entry.inputs["name"],
                entry.inputs["type"],
                entry.inputs.get("content", ""),
                bool(entry.inputs.get("proxied")),
                int(entry.inputs.get("ttl", 1)),
                entry.inputs.get("comment") or "",
            )
            for entry in _records(self._accounts, DNS_RECORD, self._zone)
        ]

    def listed(self, type_: str, path: str) -> list[dict[str, Any]]:  # noqa: ARG002 - local accounts know types
        return [{**record.inputs, "id": record.id} for record in _records(self._accounts, type_)]


class LocalTailnet(Tailnet):
    """From the accounts of the stand-in. Nothing joins it by itself; devices are there as tests put them."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def devices(self) -> list[Device]:
        return [_device({"id": entry.id, **entry.inputs}) for entry in _records(self._accounts, DEVICE)]

    def auth_keys(self) -> list[TailnetKey]:
        return [
            _key({"id": entry.id, "keyType": kind, **entry.inputs, **entry.computed})
            for type_, kind in ((KEY, "auth"), (OAUTH_CLIENT, "client"))
            for entry in _records(self._accounts, type_)
        ]

    def split_dns(self) -> list[str]:
        return [entry.inputs["domain"] for entry in _records(self._accounts, SPLIT_DNS)]


def _records(accounts: Accounts, type_: str, scope: str | None = None) -> list[Record]:
    with accounts.transaction() as account:
        return account.all(type_, scope)
