"""The releases that the program asks for under three configurations, and where the stand-in charts for them lie."""

import json
import runpy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rehearsal.chart_source import ChartSource
from settings.charts.model import CHART_VERSIONS
from tests.support.configs import PROJECT, charts_without_files, merged, set_config, stack_config
from tests.support.live import ACCESS, APPLICATIONS
from tests.support.recorder import Registration, record
from tests.support.rendering import Manifests, render

EVERY_LAYER = {"applications": APPLICATIONS, "cloudflare": {"access": ACCESS}, "monitoring": {"enabled": True}}

SCALED = {"serviceType": "LoadBalancer", "autoscaling": {"maxReplicas": 3}}

CHANGES: dict[str, dict[str, Any]] = {
    "as shipped, every layer on": {},
    "options on": {
        "cilium": {
            "loadBalancing": {"acceleration": "native"},
            "bandwidthManager": {"bbr": True},
            "encryption": {"enabled": True, "nodeEncryption": True},
            "serviceMesh": {"envoyConfig": True},
            "upgradeCompatibility": "1.19",
        },
        "loadBalancer": {"bgp": {"localAsn": 64513, "peers": {"router": {"address": "192.168.1.1", "asn": 64512}}}},
        "ingress": {
            "image": f"registry.example.com/ingress-nginx/controller:v1.15.1@sha256:{'0' * 64}",
            "classes": {"external": SCALED, "internal": SCALED},
        },
        "tailscale": {"apiServerProxy": "auth", "proxyGroup": {"replicas": 2}},
        "cloudflare": {"dns": {"externalDns": {"endpointObjects": True}}},
        "discovery": {"coredns": {"clusterDomain": "k8s.internal"}},
    },
    "one of each pod, little else": {
        "monitoring": {"enabled": False},
        "cluster": {"platform": "generic"},
        "cilium": {
            "hubble": {"enabled": False, "relay": False, "ui": False},
            "routingMode": "tunnel",
            "loadBalancing": {"mode": "snat", "algorithm": "random"},
            "localRedirectPolicies": False,
        },
        "ingress": {"classes": {"external": {"replicas": 1}, "internal": {"replicas": 1}}},
        "certificates": {"replicas": 1},
    },
}
"""Changes of the shipped configuration with every layer on."""


@dataclass(frozen=True)
class Release:
    """A release as the program asks for it."""

    chart: str
    name: str
    namespace: str
    values: Mapping[str, Any]

    def rendered(self, archive: Path) -> Manifests:
        """The release's objects, made by the chart in an archive."""
        return render(archive, self.name, self.namespace, self.values)


@cache
def registered(title: str) -> tuple[Registration, ...]:
    """What the program registers under a configuration of `CHANGES`."""
    config = merged(merged(stack_config(), EVERY_LAYER), CHANGES[title])

    def build() -> None:
        set_config(config)
        runpy.run_path(str(PROJECT / "__main__.py"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("settings.load.find_charts", charts_without_files)
        return tuple(record(build, {name: node["address"] for name, node in config["physical"]["nodes"].items()}))


def releases(title: str) -> Iterator[Release]:
    """The releases of a configuration."""
    for entry in registered(title):
        if entry.type == "kubernetes:helm.sh/v3:Release":
            archive, inputs = Path(entry.inputs["chart"]).name, entry.inputs
            name = archive.removesuffix(f"-{inputs['version']}.tgz")
            # In one order, as the same values are rendered once.
            values = json.loads(json.dumps(inputs["values"], sort_keys=True))
            yield Release(name, inputs["name"], inputs["namespace"], values)


def stand_in(source: ChartSource, chart: str, version: str | None = None) -> Path:
    """The archive of a stand-in chart, in the version that the program takes unless another is named."""
    return source.folder / f"{chart}-{version or CHART_VERSIONS[chart]}.tgz"
