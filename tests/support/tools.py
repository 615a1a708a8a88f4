"""Programs that set-up provides for tests."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.support.configs import PROJECT


def find(name: str) -> str | None:
    """The path of a program of the project or the system, or None."""
    return shutil.which(name, path=f"{PROJECT / '.cache/bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/bin")


def tool(name: str) -> str:
    """The path of a program; skips the test where set-up could not provide it."""
    found = find(name)
    if found is None:
        pytest.skip(f"{name} is not here: `make test` takes it from Debian packages where there are any")
    return found


def serving(
    start: Callable[[int], subprocess.Popen[str]], answers: Callable[[int], bool], kind: socket.SocketKind
) -> tuple[subprocess.Popen[str], int]:
    """A server that `start` starts on a port of loopback, once it `answers` there, and the port.

    Somebody else may take a port between its choice and its use: a server that ends at once gets another one. Fails
    with what the server printed when none is taken.
    """
    for _ in range(3):
        port = _free_port(kind)
        server = start(port)
        deadline = time.monotonic() + 60
        while server.poll() is None:
            with suppress(OSError):
                if answers(port):
                    return server, port
            if time.monotonic() > deadline:
                stop(server)
                break
            time.sleep(0.02)
    raise AssertionError(f"{server.args!r} does not serve: {server.communicate()[0]}")


def stop(server: subprocess.Popen[str]) -> None:
    """End a server."""
    server.terminate()
    try:
        server.wait(60)
    finally:
        server.kill()


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
