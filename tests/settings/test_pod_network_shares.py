"""The shares of the pod network that nodes get."""

import pytest

from tests.support.configs import settings_with
from tests.support.faults import faults_of

pytestmark = pytest.mark.unit


def test_pod_network_in_more_shares_than_the_controller_manager_takes_is_refused() -> None:
    """It ends at its start else, and no node gets any."""
    wide = {"podCidr": "10.0.0.0/8", "serviceCidr": "172.20.0.0/16"}
    faults = faults_of({"cluster": wide | {"nodePodPrefixLength": 25}})
    assert list(faults) == ["cluster.podCidr"]
    assert "131072 node networks of /25" in faults["cluster.podCidr"]
    assert settings_with({"cluster": wide}).cluster.node_pod_prefix_length == 24
