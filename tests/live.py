"""The shipped stack on a real API server: its configuration there, and fixtures that bring it up once for all tests."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from rehearsal.cluster import furnish
from tests.api_objects import Object, Objects
from tests.configs import chart_settings, core_config, merged, stack_config
from tests.control_plane import ControlPlane, require_control_plane
from tests.engine import Stack, require_engine

ACCESS: dict[str, Any] = stack_config("rehearsal")["cloudflare"]["access"]

APPLICATIONS: dict[str, Any] = stack_config("rehearsal")["applications"]
"""One of each kind."""


def shipped(change: dict[str, Any] | None = None) -> dict[str, Any]:
    """The shipped configuration with applications, for a cluster to throw away."""
    base = {
        "charts": chart_settings(),
        "kubernetes": {"protect": False},
        "monitoring": {"enabled": True},
        "applications": APPLICATIONS,
        "cloudflare": {"access": ACCESS},
    }
    return merged(merged(stack_config(), base), change or {})


def small() -> dict[str, Any]:
    """Nodes, Cilium and its pools alone, at Cilium's older version, with little patience."""
    base = {
        "charts": chart_settings() | {"versions": {"cilium": "1.19.5"}, "timeoutSeconds": 20},
        "cilium": {"runningVersion": "1.19", "upgradeCompatibility": "1.19"},
        "kubernetes": {"protect": False},
        "monitoring": {"enabled": False},
        "ingress": {"classes": dict.fromkeys(core_config()["ingress"]["classes"])},
    }
    return merged(core_config(), base)


def addresses() -> dict[str, str]:
    """Address of each node by name."""
    return {name: node["address"] for name, node in stack_config()["physical"]["nodes"].items()}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with the shipped stack's nodes and the definitions that a cluster has by then."""
    require_control_plane()
    require_engine()
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        furnish(plane, stack_config()["physical"]["nodes"])
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def before(cluster: ControlPlane) -> dict[str, Object]:
    """Every object of the control plane before the stack's first `up`."""
    return Objects(cluster.kubeconfig).everything()


@pytest.fixture(scope="session")
def stack(cluster: ControlPlane, before: dict[str, Object], tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The stack after its first `up`."""
    stack = Stack(tmp_path_factory.mktemp("stack"), shipped(), cluster.kubeconfig)
    stack.first_update = stack.command("up", "--yes", "--skip-preview").stdout
    return stack


@pytest.fixture(scope="session")
def destroyed(stack: Stack) -> str:
    """What `destroy` of the stack printed. Tests with this fixture come last, as nothing is left (conftest.py)."""
    stack.configure(shipped())
    return stack.command("destroy", "--yes", "--skip-preview").stdout


@pytest.fixture(scope="session")
def small_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own for what would disturb others."""
    require_control_plane()
    require_engine()
    plane = ControlPlane(tmp_path_factory.mktemp("small-control-plane"))
    try:
        plane.add_cilium_definitions()
        plane.add_nodes(addresses())
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def small_stack(small_cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A stack of few resources after its first `up`, quick to change."""
    stack = Stack(tmp_path_factory.mktemp("small-stack"), small(), small_cluster.kubeconfig)
    stack.command("up", "--yes", "--skip-preview")
    return stack


def connector_token(cluster: ControlPlane) -> str:
    """The token that the running connectors are given."""
    deployment = cluster.get("/apis/apps/v1/namespaces/network/deployments/cloudflared")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (source,) = [entry["valueFrom"]["secretKeyRef"] for entry in container["env"] if entry["name"] == "TUNNEL_TOKEN"]
    data = cluster.get(f"/api/v1/namespaces/network/secrets/{source['name']}")["data"]
    return base64.b64decode(data[source["key"]]).decode()
