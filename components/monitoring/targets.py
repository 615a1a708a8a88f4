"""Scrape targets: the names under which Prometheus knows the layers, and the monitor that no chart brings.

A target's `job` is the label that its ServiceMonitor names, else the name of its Service. The charts' monitors are
rendered in tests/charts/test_monitoring.py, so a job here that no monitor gives is a failing test.
"""

from collections.abc import Iterator
from typing import Any

from components import connector
from components.discovery import GATEWAY
from components.nginx import release_name
from components.public_dns import EXTERNAL_DNS
from components.rules.layers import Layers

CILIUM_AGENT = "cilium-agent"
CILIUM_OPERATOR = "cilium-operator"
CILIUM_ENVOY = "cilium-envoy"
HUBBLE = "hubble-metrics"
CERT_MANAGER = "cert-manager"
CLOUDFLARED = connector.NAME


def nginx(ingress_class: str) -> str:
    """The job of a class's controller."""
    return f"{release_name(ingress_class)}-controller-metrics"


def jobs(layers: Layers) -> Iterator[str]:
    """The jobs of the layers that are on. Tailscale's proxies come and go with Ingress objects and are left out."""
    yield from (CILIUM_AGENT, CILIUM_OPERATOR)
    if layers.cilium.l7_proxy:
        yield CILIUM_ENVOY
    if has_hubble(layers):
        yield HUBBLE
    yield from map(nginx, layers.ingress.classes)
    if layers.certificates.enabled:
        yield CERT_MANAGER
    if layers.cloudflare.enabled:
        yield CLOUDFLARED
    if has_external_dns(layers):
        yield EXTERNAL_DNS
    if has_lan_dns(layers):
        yield GATEWAY


def has_hubble(layers: Layers, metric: str | None = None) -> bool:
    """Whether Hubble exports metrics, or this one of `cilium.hubble.metrics`."""
    hubble = layers.cilium.hubble
    exported = {each.partition(":")[0] for each in hubble.metrics}
    return hubble.enabled and bool(exported) and (metric is None or metric in exported)


def has_external_dns(layers: Layers) -> bool:
    """Whether external-dns runs."""
    return layers.cloudflare.enabled and layers.cloudflare.dns.external_dns is not None


def has_lan_dns(layers: Layers) -> bool:
    """Whether k8s-gateway runs."""
    return layers.discovery.enabled and layers.discovery.lan_dns is not None


def cloudflared_monitor() -> dict[str, Any]:
    """The spec of the connectors' ServiceMonitor, in their own namespace: they are deployed without a chart."""
    return {
        "jobLabel": "app.kubernetes.io/name",
        "selector": {"matchLabels": dict(connector.LABELS)},
        "endpoints": [{"port": "metrics"}],
    }
