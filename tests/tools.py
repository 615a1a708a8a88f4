"""Programs that set-up provides for tests."""

import shutil
import socket

import pytest

from tests.configs import PROJECT


def find(name: str) -> str | None:
    """The path of a program of the project or the system, or None."""
    return shutil.which(name, path=f"{PROJECT / '.cache/bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/bin")


def tool(name: str) -> str:
    """The path of a program; skips the test where set-up could not provide it."""
    found = find(name)
    if found is None:
        pytest.skip(f"{name} is not here: `make test` takes it from Debian packages where there are any")
    return found


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port on loopback that nothing listens on."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
