"""Downloads charts from Helm repositories, whose index.yaml says where archives lie and mostly their digests."""

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import ip_address
from threading import Thread
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

import yaml

from settings.charts.lock import ChartUnavailableError, LockedChart, is_digest

PAUSE_SECONDS = 30
"""How long a server may be silent."""

LIMIT_SECONDS = 180
"""How long one download may take as a whole, however steadily it drips."""

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Listing:
    """What an index says of one version of a chart; `sha256` is None where it names no digest."""

    url: str
    sha256: str | None


def listed(entry: LockedChart, *, over_tls: bool) -> Listing:
    """What the index of the chart's repository says of it.

    With `over_tls` the index must come over TLS at every step, or from this machine itself.
    Raises ChartUnavailableError.
    """
    if not entry.repository:
        raise ChartUnavailableError(f"the entry of {entry.archive} names no repository")
    base = entry.repository.rstrip("/") + "/"
    index = _fetch(urljoin(base, "index.yaml"), entry, over_tls=over_tls)
    try:
        found = find_version(index.decode(), entry.name, entry.version)
        urls, sha256 = (found["urls"], found.get("digest")) if found else ((), None)
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        raise ChartUnavailableError(f"{entry.repository} does not answer as a Helm repository") from None
    if not urls:
        raise ChartUnavailableError(f"{entry.repository} has no {entry.name} {entry.version}")
    sha256 = str(sha256).lower().removeprefix("sha256:")
    return Listing(urljoin(base, str(urls[0])), sha256 if is_digest(sha256) else None)


def download(entry: LockedChart, listing: Listing) -> bytes:
    """The archive that an index names. Raises ChartUnavailableError."""
    return _fetch(listing.url, entry, over_tls=False)


def find_version(index: str, name: str, version: str) -> Mapping[str, Any] | None:
    """What an index says of one version of a chart, without reading all of it as YAML: that takes minutes for 10 MB.

    Helm writes one block a version, of which only those are read that mention it. Another form is read whole.
    Raises yaml.YAMLError, KeyError, TypeError or AttributeError when it is no index.
    """
    try:
        versions = [each for block in _blocks(index, name) if version in block for each in yaml.safe_load(block)]
    except yaml.YAMLError:
        versions = yaml.load(index, _LOADER)["entries"].get(name) or []  # noqa: S506 - a safe one
    return next((each for each in versions if each["version"] == version), None)


def _blocks(index: str, name: str) -> list[str]:
    """The texts of the versions of a chart in an index. Raises YAMLError when it does not look as Helm writes it."""
    section = re.search(r"^entries:[ \t]*(?:#.*)?\n(?:[ \t]*(?:#.*)?\n)*( +)(?=[^ ])", index, re.MULTILINE)
    if section is None:
        raise yaml.YAMLError
    indent, start = section[1], section.start(1)
    end = re.compile(r"^[^ \t\n#]", re.MULTILINE).search(index, start)
    # Only at the indentation of the first one is a line a chart's key, and no part of a text.
    key = rf"^{indent}(['\"]?){re.escape(name)}\1:[ \t]*\n({indent} *)- "
    head = re.compile(key, re.MULTILINE).search(index, start, end.start() if end else len(index))
    if head is None:
        raise yaml.YAMLError
    # The list ends at the next line that is not deeper than its key and no item of it.
    end = re.compile(rf"^(?!{indent} |{head[2]}- |[ \t]*(?:#|$))", re.MULTILINE).search(index, head.end())
    text = index[head.start(2) : end.start() if end else len(index)]
    return re.split(rf"^(?={head[2]}- )", text, flags=re.MULTILINE)[1:]


def _fetch(url: str, entry: LockedChart, *, over_tls: bool) -> bytes:
    """What an address answers. A thread does it: neither names nor headers have a time limit as a whole otherwise."""
    done: Future[bytes] = Future()
    Thread(target=_settle, args=(done, lambda: _read(url, over_tls=over_tls)), daemon=True).start()
    try:
        return done.result(LIMIT_SECONDS)
    except TimeoutError as fault:  # of this thread, or the other's, which has its words for a server that is silent
        reason = str(fault) or f"{url} took longer than {LIMIT_SECONDS} s"
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as fault:
        reason = str(getattr(fault, "reason", "") or fault)
    raise ChartUnavailableError(f"{entry.repository} can't be reached: {reason}")


def _settle(done: Future[bytes], work: Callable[[], bytes]) -> None:
    try:
        done.set_result(work())
    except Exception as fault:
        done.set_exception(fault)


def _read(url: str, *, over_tls: bool) -> bytes:
    until = time.monotonic() + LIMIT_SECONDS
    _check(url, over_tls=over_tls)
    # A proxy is for other machines.
    direct = [urllib.request.ProxyHandler({})] if _is_here(url) else []
    opener = urllib.request.build_opener(_Redirects(over_tls=over_tls), *direct)
    request = urllib.request.Request(url, headers={"User-Agent": "anton-network"})  # noqa: S310 - checked above
    content = bytearray()
    with opener.open(request, timeout=PAUSE_SECONDS) as response:
        while chunk := response.read1(65536):
            content += chunk
            if time.monotonic() > until:
                raise TimeoutError
        length = int(response.headers.get("Content-Length") or len(content))
    if len(content) < length:
        raise ValueError(f"{url} ended after {len(content)} of {length} bytes")
    return bytes(content)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that may be read; urllib knows ftp as well, and goes from TLS to plain HTTP."""

    def __init__(self, *, over_tls: bool) -> None:
        self.over_tls = over_tls

    def redirect_request(  # noqa: PLR0913, PLR0917 - the signature of the overridden method
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _check(newurl, over_tls=self.over_tls)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check(url: str, *, over_tls: bool) -> None:
    """Raise ValueError for an address that is not to be read: it comes from charts.lock, an index or a redirect."""
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url} is not an HTTP address")
    if over_tls and not url.startswith("https://") and not _is_here(url):
        raise ValueError(f"{url} is not read over TLS, so that its index proves nothing")


def _is_here(url: str) -> bool:
    """Whether an address is one of this machine's loopback: nobody is in between."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
