"""Scrape targets: the names under which Prometheus knows the layers, and the monitor that no chart brings.

A target's `job` is the label that its ServiceMonitor names, else the name of its Service. The charts' monitors are
rendered in tests/charts/test_monitoring.py, so a job here that no monitor gives is a failing test.
"""

from collections.abc import Iterator
from typing import Any

from components.cloudflare import connector
from settings.cloudflare.dns import EXTERNAL_DNS
from settings.discovery import GATEWAY
from settings.ingress import release_name
from settings.stack import Settings

CILIUM_AGENT = "cilium-agent"
CILIUM_OPERATOR = "cilium-operator"
CILIUM_ENVOY = "cilium-envoy"
HUBBLE = "hubble-metrics"
CERT_MANAGER = "cert-manager"
CLOUDFLARED = connector.NAME


def nginx(ingress_class: str) -> str:
    """The job of a class's controller."""
    return f"{release_name(ingress_class)}-controller-metrics"


def jobs(settings: Settings) -> Iterator[str]:
    """The jobs of the layers that are on. Tailscale's proxies come and go with Ingress objects and are left out."""
    yield from (CILIUM_AGENT, CILIUM_OPERATOR)
    if settings.cilium.l7_proxy:
        yield CILIUM_ENVOY
    if has_hubble(settings):
        yield HUBBLE
    yield from map(nginx, settings.ingress.classes)
    if settings.certificates.enabled:
        yield CERT_MANAGER
    if settings.cloudflare.enabled:
        yield CLOUDFLARED
    if has_external_dns(settings):
        yield EXTERNAL_DNS
    if has_lan_dns(settings):
        yield GATEWAY


def has_hubble(settings: Settings, metric: str | None = None) -> bool:
    """Whether Hubble exports metrics, or this one of `cilium.hubble.metrics`."""
    hubble = settings.cilium.hubble
    exported = {each.partition(":")[0] for each in hubble.metrics}
    return hubble.enabled and bool(exported) and (metric is None or metric in exported)


def has_external_dns(settings: Settings) -> bool:
    """Whether external-dns runs."""
    return settings.cloudflare.enabled and settings.cloudflare.dns.external_dns is not None


def has_lan_dns(settings: Settings) -> bool:
    """Whether k8s-gateway runs."""
    return settings.discovery.enabled and settings.discovery.lan_dns is not None


def cloudflared_monitor() -> dict[str, Any]:
    """The spec of the connectors' ServiceMonitor, in their own namespace: they are deployed without a chart."""
    return {
        "jobLabel": "app.kubernetes.io/name",
        "selector": {"matchLabels": dict(connector.LABELS)},
        "endpoints": [{"port": "metrics"}],
    }
