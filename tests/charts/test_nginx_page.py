"""The default limits in a real NGINX, against what browsers do: a page of pictures over one HTTP/2 connection."""

import asyncio
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from components.nginx import config_map
from settings.ingress import Limits
from tests.support.configs import settings_with
from tests.support.tools import serving, stop, tool

CONFIGURATION = """
# Not each 429: nobody reads what it says, and it would wait for that.
daemon off; master_process off; pid "{folder}/pid"; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path "{folder}/body"; proxy_temp_path "{folder}/proxy"; fastcgi_temp_path "{folder}/fastcgi";
  uwsgi_temp_path "{folder}/uwsgi"; scgi_temp_path "{folder}/scgi";
  limit_req_status 429; limit_conn_status 429;
  keepalive_requests {requests};
  {snippet}
  server {{
    listen 127.0.0.1:{port} {protocol};
    root "{folder}";
    # Each takes a second, so that all that a connection may have under way at once is under way at once.
    location /pictures/ {{ limit_rate 8k; try_files /picture =404; }}
    location / {{ try_files /picture =404; }}
  }}
}}
"""

PICTURES = 300


class Page:
    """NGINX with the rendered configuration of a class, which speaks HTTP/2 or HTTP/1.1."""

    def __init__(self, folder: Path, ingress_class: str, *, http2: bool) -> None:
        (folder / "picture").write_bytes(b"p" * 16384)
        config = config_map(settings_with().ingress.classes[ingress_class], "10.244.0.0/16")
        # Requests come from loopback, which is exempt as the controller's own.
        snippet = config["http-snippet"].replace("127.0.0.0/8 1", "127.99.0.0/16 1")
        path = folder / "nginx.conf"

        def start(port: int) -> subprocess.Popen[str]:
            words = {"port": port, "protocol": "http2" if http2 else "", "requests": config["keep-alive-requests"]}
            path.write_text(CONFIGURATION.format(folder=folder, snippet=snippet, **words))
            command = [tool("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(path)]
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

        def answers(port: int) -> bool:
            self.port = port
            with socket.create_connection(("127.0.0.1", port), timeout=60):
                return True

        self.process, self.port = serving(start, answers, socket.SOCK_STREAM)

    def one_after_the_other(self, count: int) -> Counter[int]:
        """How often each status came back for requests over HTTP/1.1."""
        with httpx.Client(timeout=300) as client:
            return Counter(client.get(f"http://127.0.0.1:{self.port}/").status_code for _ in range(count))

    def together(self, count: int) -> tuple[Counter[int], int]:
        """How often each status came back for pictures asked for at once, and how many connections that took."""
        loop = asyncio.new_event_loop()  # `asyncio.run` would take the thread's own loop away, which Pulumi's tests use
        try:
            return loop.run_until_complete(self._together(count))
        finally:
            loop.close()

    async def _together(self, count: int) -> tuple[Counter[int], int]:
        async with httpx.AsyncClient(
            http1=False, http2=True, timeout=300, limits=httpx.Limits(max_connections=1)
        ) as client:
            opened = 0

            async def get(number: int) -> int:
                async def traced(event: str, _info: object) -> None:
                    nonlocal opened
                    opened += event == "connection.connect_tcp.complete"

                url = f"http://127.0.0.1:{self.port}/pictures/{number}"
                return (await client.get(url, extensions={"trace": traced})).status_code

            found = Counter(await asyncio.gather(*(get(number) for number in range(count))))
            return found, opened


@contextmanager
def running(folder: Path, ingress_class: str, *, http2: bool) -> Iterator[Page]:
    page = Page(folder, ingress_class, http2=http2)
    try:
        yield page
    finally:
        stop(page.process)


CLASSES = pytest.mark.parametrize("ingress_class", ["external", "internal"])


@CLASSES
def test_page_of_300_pictures_over_one_connection_gets_no_429(tmp_path: Path, ingress_class: str) -> None:
    with running(tmp_path, ingress_class, http2=True) as page:
        found, connections = page.together(PICTURES)
    assert found == {200: PICTURES}
    assert connections == 1


@CLASSES
def test_client_with_50_requests_a_second_for_a_minute_gets_429(tmp_path: Path, ingress_class: str) -> None:
    """Sent as fast as NGINX takes them: the bucket drains by time, so a minute adds the rate of a minute at most."""
    sent = 50 * 60
    with running(tmp_path, ingress_class, http2=False) as page:
        found = page.one_after_the_other(sent)
    limits = Limits()
    burst = limits.requests_per_minute * limits.burst_multiplier
    assert found.keys() == {200, 429}
    assert found[200] >= burst, "a burst that is configured passes"
    assert sent - burst - limits.requests_per_minute > 0, "in a whole minute the rest would pass as well"
    assert found[429] > 0
