"""Pod and service networks in address space that belongs to somebody else."""

import pulumi
import pytest

from components.cilium.network import CiliumNetwork, CiliumNetworkArgs
from tests.support.configs import settings_with
from tests.support.recorder import record

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("pods", "services", "warned"),
    [
        ("10.244.0.0/16", "10.96.0.0/12", []),
        ("172.20.0.0/16", "192.168.128.0/20", []),
        ("52.0.0.0/16", "10.96.0.0/12", ["cluster.podCidr 52.0.0.0/16"]),
        ("10.244.0.0/16", "172.32.0.0/16", ["cluster.serviceCidr 172.32.0.0/16"]),
    ],
)
def test_public_address_space_is_warned_about(
    pods: str, services: str, warned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi, "warn", lambda text, _: said.append(text))
    args = CiliumNetworkArgs.of(settings_with({"cluster": {"podCidr": pods, "serviceCidr": services}}))
    record(lambda: CiliumNetwork("cilium", args))
    assert [text.partition(" is public")[0] for text in said] == warned
