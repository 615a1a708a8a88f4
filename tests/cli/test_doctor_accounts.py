"""What `anton` reads of the accounts at Cloudflare and Tailscale: from their APIs, and from local files."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cli.edge_accounts import (
    DEVICE,
    DNS_RECORD,
    TUNNEL,
    AccountError,
    Connector,
    HttpCloudflare,
    HttpTailnet,
    LocalCloudflare,
    LocalTailnet,
)
from rehearsal.accounts.store import Accounts, Record

pytestmark = pytest.mark.unit

Answer = Callable[[str, dict[str, list[str]]], tuple[int, Any]]


class Api:
    """An API on loopback that answers as told, and what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[tuple[str, str, str]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                where = urlsplit(self.path)
                api.asked.append((self.command, where.path, self.headers.get("Authorization", "")))
                status, body = answer(where.path, parse_qs(where.query))
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Api]]:
    """Start an API; it goes with the test."""
    started: list[Api] = []

    def start(answer: Answer) -> Api:
        started.append(Api(answer))
        return started[-1]

    yield start
    for api in started:
        api.stop()


def test_records_are_read_page_by_page(serve: Callable[[Answer], Api]) -> None:
    """A zone with more records than a page holds is read to its end."""
    names = [f"host-{number}.example.com" for number in range(150)]

    def answer(path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        assert path == "/zones/zone/dns_records"
        size, page = int(query["per_page"][0]), int(query["page"][0])
        found = names[(page - 1) * size : page * size]
        return 200, {
            "success": True,
            "result": [{"id": n, "name": n, "type": "A", "content": "1.2.3.4"} for n in found],
        }

    api = serve(answer)
    assert [record.name for record in HttpCloudflare("t0ken", "account", "zone", api.url).dns_records()] == names
    assert {(method, token) for method, _, token in api.asked} == {("GET", "Bearer t0ken")}


def test_connections_that_only_wait_to_come_back_do_not_count(serve: Callable[[Answer], Api]) -> None:
    """Cloudflare lists a broken connection for minutes."""
    connections = [{"is_pending_reconnect": False}, {"is_pending_reconnect": True}]
    answers = {
        "/accounts/account/cfd_tunnel": [{"id": "t", "name": "anton", "status": "degraded"}],
        "/accounts/account/cfd_tunnel/t/connections": [{"id": "c", "version": "2026.7.3", "conns": connections}],
    }
    account = HttpCloudflare("token", "account", "zone", serve(lambda path, _: (200, {"result": answers[path]})).url)
    assert [tunnel.status for tunnel in account.tunnels()] == ["degraded"]
    assert account.connectors("t") == [Connector("c", "2026.7.3", 1)]


def test_a_refusal_is_told_in_the_clouds_words_without_the_token(serve: Callable[[Answer], Api]) -> None:
    """What the user needs to know to mend the token's rights, and nothing secret."""
    body = {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}
    api = serve(lambda *_: (403, body))
    with pytest.raises(AccountError, match=r"dns_records: 403 Forbidden Authentication error \(10000\)") as refused:
        HttpCloudflare("t0ken", "account", "zone", api.url).dns_records()
    assert "t0ken" not in str(refused.value)
    api.stop()
    with pytest.raises(AccountError, match=r"127\.0\.0\.1/zones/zone/dns_records"):
        HttpCloudflare("t0ken", "account", "zone", api.url).dns_records()


def test_devices_and_keys_of_the_tailnet(serve: Callable[[Answer], Api]) -> None:
    """By an OAuth client, which gets a token first; a device whose key never expires has no expiry."""
    device = {"nodeId": "n1", "hostname": "anton-lan-0", "tags": ["tag:k8s"], "expires": "2026-01-01T00:00:00Z"}
    answers = {
        "/oauth/token": {"access_token": "short-lived"},
        "/tailnet/-/devices": {"devices": [device, device | {"nodeId": "n2", "keyExpiryDisabled": True}]},
        "/tailnet/-/keys": {"keys": [{"id": "k1"}]},
        "/tailnet/-/keys/k1": {
            "id": "k1",
            "keyType": "auth",
            "expires": "2026-02-01T00:00:00Z",
            "capabilities": {"devices": {"create": {"tags": ["tag:k8s-node"]}}},
        },
    }
    api = serve(lambda path, _: (200, answers[path]))
    tailnet = HttpTailnet("", ("id", "secret"), api.url)
    assert [(d.id, d.expires) for d in tailnet.devices()] == [("n1", "2026-01-01T00:00:00Z"), ("n2", "")]
    assert [(k.id, k.tags, k.expires) for k in tailnet.auth_keys()] == [
        ("k1", ("tag:k8s-node",), "2026-02-01T00:00:00Z")
    ]
    assert {token for _, path, token in api.asked if path != "/oauth/token"} == {"Bearer short-lived"}


def test_local_accounts_answer_the_same_questions(tmp_path: Path) -> None:
    """Of the stack's own account and zone only."""
    accounts = Accounts(tmp_path / "accounts.db")
    connection = {"clientId": "c", "clientVersion": "2026.7.3", "isPendingReconnect": False}
    with accounts.transaction() as account:
        computed = {"status": "healthy", "connections": [connection, connection | {"isPendingReconnect": True}]}
        account.put(Record(TUNNEL, "account", "t", {"name": "anton"}, computed))
        for zone in ("zone", "other"):
            inputs = {"name": f"{zone}.example.com", "type": "A", "content": "1.2.3.4"}
            account.put(Record(DNS_RECORD, zone, "r", inputs))
        account.put(Record(DEVICE, "", "d", {"hostname": "k8s-1", "tags": ["tag:k8s"]}))
    cloudflare = LocalCloudflare(accounts, "account", "zone")
    assert [tunnel.name for tunnel in cloudflare.tunnels()] == ["anton"]
    assert cloudflare.connectors("t") == [Connector("c", "2026.7.3", 1)]
    assert [record.name for record in cloudflare.dns_records()] == ["zone.example.com"]
    assert [device.hostname for device in LocalTailnet(accounts).devices()] == ["k8s-1"]
