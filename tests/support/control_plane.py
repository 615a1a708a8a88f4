"""A control plane for tests (rehearsal/control_plane/servers.py), running from construction on; it dies with `stop`."""

from pathlib import Path

import pytest

from rehearsal.control_plane import servers
from rehearsal.control_plane.servers import ApiError

__all__ = ["CONTEXT", "ApiError", "ControlPlane", "require_control_plane"]

CONTEXT = "admin@anton"
"""The context that the shipped stack asks for."""


def require_control_plane() -> None:
    """Skip the test where a program of the control plane is not here, and say which."""
    if missing := servers.missing_programs():
        pytest.skip(f"no control plane: {', '.join(missing)} not found; `make test` builds them")


class ControlPlane(servers.ControlPlane):
    """A running control plane; `calls_webhooks` as in its base."""

    def __init__(
        self,
        folder: Path,
        pod_cidr: str = "10.244.0.0/16",
        service_cidr: str = "10.96.0.0/12",
        *,
        calls_webhooks: bool = False,
    ) -> None:
        super().__init__(folder, pod_cidr, service_cidr, context=CONTEXT, calls_webhooks=calls_webhooks)
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
