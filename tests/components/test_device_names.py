"""Devices in the tailnet have the names that rules, doctor and documentation count on."""

from dataclasses import replace
from typing import Any

import pulumi
import pytest

from components.tailscale.ingress import TailscaleIngressArgs, connector, proxy_group
from settings.applications import PROXY_GROUP
from tests.support.configs import STAND_IN_SECRETS, settings_with, stack_config

pytestmark = pytest.mark.unit


def operators_names(spec: dict[str, Any], name: str) -> list[str]:
    """The names that the operator gives a Connector's or ProxyGroup's devices (1.102: sts.go, pgHostname)."""
    return [f"{spec.get('hostnamePrefix') or name}-{number}" for number in range(spec["replicas"])]


def test_subnet_routers_and_proxies_are_called_after_their_settings_with_a_number() -> None:
    change = {"tailscale": {"connector": {"hostname": "lan", "replicas": 2}, "proxyGroup": {"replicas": 2}}}
    settings = settings_with(change, stack_config())
    secrets = {key: pulumi.Output.secret(value) for key, value in STAND_IN_SECRETS.items()}
    arguments, own = TailscaleIngressArgs.of(replace(settings, secrets=secrets)), settings.tailscale
    assert own.connector
    assert own.proxy_group
    routers = connector(arguments, own.connector)
    assert operators_names(routers.spec, routers.name) == ["lan-0", "lan-1"]
    proxies = proxy_group(arguments, own.proxy_group)
    assert operators_names(proxies.spec, proxies.name) == [f"{PROXY_GROUP}-0", f"{PROXY_GROUP}-1"]
