"""The shipped stack on a real API server: its configuration there, and fixtures that bring it up once for all tests."""

import base64
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from rehearsal.control_plane.furnish import furnish
from tests.support.configs import chart_settings, core_config, merged, stack_config
from tests.support.control_plane import ControlPlane
from tests.support.engine import Stack
from tests.support.network import Network

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
        "charts": chart_settings() | {"versions": {"cilium": "1.19.5"}, "timeoutSeconds": 30},
        "cilium": {"runningVersion": "1.19", "upgradeCompatibility": "1.19"},
        "kubernetes": {"protect": False},
        "monitoring": {"enabled": False},
        "ingress": {"classes": dict.fromkeys(core_config()["ingress"]["classes"])},
    }
    return merged(core_config(), base)


def addresses() -> dict[str, str]:
    """Address of each node by name."""
    return {name: node["address"] for name, node in stack_config()["physical"]["nodes"].items()}


def furnish_small(plane: ControlPlane) -> None:
    """Bring nodes and Cilium's definitions into a control plane."""
    plane.add_cilium_definitions()
    plane.add_nodes(addresses())


def furnish_shipped(plane: ControlPlane) -> None:
    """Bring the shipped stack's nodes into a control plane, and the definitions that a cluster has by then."""
    furnish(plane, stack_config()["physical"]["nodes"])


_NETWORKS: dict[str, Network] = {}
"""The networks that are up, by the fixture that made them."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Every test finds a shared network as its first update left it, whatever happened to other tests."""
    for name, network in _NETWORKS.items():
        if name in getattr(item, "fixturenames", ()):
            network.restore()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed may not have undone what it did to the cluster."""
    report = yield
    if report.failed:
        for name, network in _NETWORKS.items():
            network.damaged |= name in getattr(item, "fixturenames", ())
    return report


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """The shipped stack on a control plane of its own."""
    yield from _shared("network", Network(tmp_path_factory.mktemp("network"), shipped, furnish_shipped))


@pytest.fixture(scope="session")
def small_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A stack of few resources, quick to change, for what would disturb others."""
    yield from _shared("small_network", Network(tmp_path_factory.mktemp("small-network"), small, furnish_small))


def _shared(name: str, network: Network) -> Iterator[Network]:
    _NETWORKS[name] = network
    try:
        yield network
    finally:
        del _NETWORKS[name]
        network.plane.stop()


@pytest.fixture(scope="session")
def cluster(network: Network) -> ControlPlane:
    """The control plane of the shipped stack."""
    return network.plane


@pytest.fixture(scope="session")
def stack(network: Network) -> Stack:
    """The shipped stack after its first `up`."""
    return network.stack


@pytest.fixture(scope="session")
def destroyed(network: Network) -> str:
    """What `destroy` of the stack printed; the first test with this fixture finds nothing left."""
    return network.stack.command("destroy", "--yes", "--skip-preview").stdout


@pytest.fixture(scope="session")
def small_cluster(small_network: Network) -> ControlPlane:
    """The control plane of the small stack."""
    return small_network.plane


@pytest.fixture(scope="session")
def small_stack(small_network: Network) -> Stack:
    """The small stack after its first `up`."""
    return small_network.stack


def connector_token(cluster: ControlPlane) -> str:
    """The token that the running connectors are given."""
    deployment = cluster.get("/apis/apps/v1/namespaces/network/deployments/cloudflared")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (source,) = [entry["valueFrom"]["secretKeyRef"] for entry in container["env"] if entry["name"] == "TUNNEL_TOKEN"]
    data = cluster.get(f"/api/v1/namespaces/network/secrets/{source['name']}")["data"]
    return base64.b64decode(data[source["key"]]).decode()
