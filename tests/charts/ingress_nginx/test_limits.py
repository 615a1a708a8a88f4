"""The default limits in a real NGINX: they hold where an Ingress sets none, and yield where it does.

The configuration around them is what the controller writes around `http-snippet`: servers with locations that carry the
directives of the annotations `limit-rpm` and `limit-connections` of one Ingress, and none of another.
"""

import socket
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.nginx import config_map, default_limits
from settings.ingress import Limits
from tests.support.configs import settings_with
from tests.support.tools import serving, stop, tool

CONFIGURATION = """
daemon off; master_process off; pid "{folder}/pid"; error_log stderr;
events {{ }}
http {{
  access_log off;
  client_body_temp_path "{folder}/body"; proxy_temp_path "{folder}/proxy"; fastcgi_temp_path "{folder}/fastcgi";
  uwsgi_temp_path "{folder}/uwsgi"; scgi_temp_path "{folder}/scgi";
  limit_req_status 429; limit_conn_status 429;
  {snippet}
  limit_req_zone $binary_remote_addr zone=of_one_ingress:1m rate=6000r/m;
  server {{
    listen 127.0.0.1:{port};
    {real_ip}
    location /plain {{ return 200; }}
    location /own {{ limit_req zone=of_one_ingress burst=500 nodelay; try_files $uri @ok; }}
    location /default {{ try_files $uri @ok; }}
    {extra}
    location @ok {{ return 204; }}
  }}
}}
"""

# Requests come from loopback, which the limits exempt for the controller's own calls; the exemption looks at the
# connection, so a trusted proxy on loopback is not representative. The tests therefore exempt another network.
NOT_LOOPBACK = ("127.0.0.0/8 1", "127.99.0.0/16 1")


def limits(**values: int) -> Limits:
    return Limits.model_validate(values)


class Nginx:
    """A running NGINX with default limits."""

    def __init__(self, folder: Path, limits: Limits, *, exempt_loopback: bool = False, extra: str = "") -> None:
        snippet = default_limits(limits)
        text = snippet if exempt_loopback else snippet.replace(*NOT_LOOPBACK)
        assert exempt_loopback or text != snippet
        real_ip = "set_real_ip_from 127.0.0.0/8; real_ip_header CF-Connecting-IP;"
        path = folder / "nginx.conf"
        command = [tool("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(path)]

        def start(port: int) -> subprocess.Popen[str]:
            configuration = CONFIGURATION.format(folder=folder, snippet=text, port=port, real_ip=real_ip, extra=extra)
            path.write_text(configuration)
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

        def answers(port: int) -> bool:
            self.port = port
            return self.status("/plain", "192.0.2.250") == 200

        self.process, self.port = serving(start, answers, socket.SOCK_STREAM)

    def status(self, path: str, client: str) -> int:
        """The status of one request as a client at an address."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"CF-Connecting-IP": client})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return int(response.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    def statuses(self, path: str, client: str, count: int) -> Counter[int]:
        """How often each status came back for a run of requests."""
        return Counter(self.status(path, client) for _ in range(count))

    def send(self, path: str, client: str) -> socket.socket:
        """A connection with a request on it whose answer nobody waits for."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nCF-Connecting-IP: {client}\r\n\r\n".encode())
        return connection

    def stop(self) -> None:
        stop(self.process)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    server = Nginx(tmp_path, limits(requestsPerMinute=2, burstMultiplier=5, connections=20))
    yield server
    server.stop()


def test_client_beyond_rate_and_burst_gets_429(nginx: Nginx) -> None:
    found = nginx.statuses("/default", "192.0.2.1", 30)
    assert 10 <= found[204] <= 13, f"a rate of 2 and a burst of 10 were configured: {found}"
    assert found[429] == 30 - found[204]


def test_each_client_has_its_own_budget(nginx: Nginx) -> None:
    nginx.statuses("/default", "192.0.2.1", 30)
    assert nginx.status("/default", "192.0.2.2") == 204


def test_annotation_on_an_ingress_replaces_the_default(nginx: Nginx) -> None:
    assert nginx.statuses("/own", "192.0.2.1", 30) == {204: 30}


def test_controllers_own_calls_from_loopback_are_exempt(tmp_path: Path) -> None:
    server = Nginx(tmp_path, limits(requestsPerMinute=1, burstMultiplier=1), exempt_loopback=True)
    try:
        found = server.statuses("/default", "127.0.0.1", 20)
    finally:
        server.stop()
    assert found == {204: 20}, "health checks and dynamic reconfiguration would be answered with 429"


def test_client_cannot_exempt_itself_by_a_forged_header(nginx: Nginx) -> None:
    """The exemption looks at the address of the connection, not at what a header says."""
    found = nginx.statuses("/default", "127.99.0.1", 30)
    assert found[429] > 0


def test_requests_at_the_same_time_beyond_the_limit_get_429(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        backend = f"location /slow {{ proxy_pass http://127.0.0.1:{silent.getsockname()[1]}; }}"
        server = Nginx(tmp_path, limits(requestsPerMinute=60000, connections=3), extra=backend)
        try:
            waiting = [server.send("/slow", "192.0.2.1") for _ in range(3)]
            arrived = [silent.accept()[0] for _ in range(3)]
            assert server.status("/slow", "192.0.2.1") == 429
            assert server.status("/default", "192.0.2.2") == 204, "another client must not be held up"
            for connection in waiting + arrived:
                connection.close()
        finally:
            server.stop()


def test_snippet_is_the_config_maps_and_free_of_template_braces() -> None:
    """The chart runs ConfigMap values through its template engine, which would take double braces for its own."""
    controller = settings_with().ingress.classes["external"]
    snippet = config_map(controller, "10.244.0.0/16")["http-snippet"]
    assert controller.limits is not None
    assert snippet == default_limits(controller.limits)
    assert "{{" not in snippet
