"""A Helm repository on loopback, and archives of small charts, for tests of what the program makes of them."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import yaml

from settings.charts.lock import LockedChart


def archive(
    text: str = "name: demo\nversion: 1.2.3", *, time: int = 0, files: Iterable[str] = ("values.yaml",)
) -> bytes:
    """A small chart archive; `time` and the order of `files` change its bytes and not its content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in [("Chart.yaml", text), *((file, f"# {file}") for file in files)]:
            entry = tarfile.TarInfo(f"demo/{name}")
            entry.size, entry.mtime = len(content), time
            tar.addfile(entry, io.BytesIO(content.encode()))
    return gzip.compress(packed.getvalue(), mtime=time)


def repacked(content: bytes) -> bytes:
    """Another archive of the same files, the same one each time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as given, tarfile.open(fileobj=packed, mode="w") as tar:
        for member in reversed([member for member in given if member.isfile()]):
            entry = tarfile.TarInfo(member.name)
            entry.size = member.size
            tar.addfile(entry, given.extractfile(member))
    return gzip.compress(packed.getvalue(), mtime=0)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Repository:
    """What is served: content by path, and how."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    truncated: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    slow_headers: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    closing: Event = field(default_factory=Event)

    def publish(self, content: bytes, url: str = "files/demo-1.2.3.tgz", **more: Any) -> None:
        """List an archive as demo 1.2.3 at a URL, with its digest or what `more` says, and serve it at that path."""
        self.files["/" + url.removeprefix(self.address).lstrip("/")] = content
        listed = {"name": "demo", "version": "1.2.3", "urls": [url], "digest": sha256(content)} | more
        entry = {key: value for key, value in listed.items() if value is not None}
        index = {"apiVersion": "v1", "entries": {"demo": [entry]}, "generated": "2026-01-01T00:00:00Z"}
        self.files["/index.yaml"] = yaml.safe_dump(index).encode()

    def entry(self, digest: str) -> LockedChart:
        """An entry of a lock file for demo 1.2.3 from here."""
        return LockedChart("demo", "1.2.3", digest, self.address)


@contextmanager
def serving() -> Iterator[Repository]:
    """An empty repository on a free port."""
    repository = Repository()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, repository)

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002 - the name of the overridden argument

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    repository.address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield repository
    finally:
        repository.closing.set()
        server.shutdown()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, repository: Repository) -> None:
    path = request.path
    repository.asked.append(path)
    if path in repository.redirects:
        request.send_response(302)
        request.send_header("Location", repository.redirects[path])
        request.end_headers()
        return
    if path not in repository.files:
        request.send_error(404)
        return
    content = repository.files[path]
    if path in repository.slow_headers:
        drip(request, repository, b"HTTP/1.1 200 OK\r\nX-Patience: ")
        return
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    if path in repository.slow:
        drip(request, repository, b"")
        return
    request.wfile.write(content[: len(content) // 2] if path in repository.truncated else content)


def drip(request: BaseHTTPRequestHandler, repository: Repository, start: bytes) -> None:
    """A byte now and then, until the test is over, the reader gone, or ten seconds: then the answer just ends."""
    try:
        request.wfile.write(start)
        for _ in range(200):
            if repository.closing.wait(0.05):
                break
            request.wfile.write(b"x")
            request.wfile.flush()
    except OSError:
        pass
