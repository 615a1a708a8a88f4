"""Rules between monitoring and what it watches."""

from collections.abc import Callable, Iterator

from components.fields import Problem
from components.rules.layers import Layers


def stale_sync(layers: Layers) -> Iterator[Problem]:
    """external-dns has had two chances before its state counts as stale."""
    monitoring, edge = layers.monitoring, layers.cloudflare
    if not (monitoring.enabled and monitoring.alerts and edge.enabled and edge.dns.external_dns):
        return
    minutes, interval = monitoring.alerts.dns.sync_stale_minutes, edge.dns.external_dns.interval_seconds
    if minutes * 60 < 2 * interval:
        reason = f"is less than two rounds of cloudflare.dns.externalDns.intervalSeconds {interval}"
        key, because = "monitoring.alerts.dns.syncStaleMinutes", ("cloudflare.dns.externalDns",)
        yield Problem(key, minutes, reason, -(-2 * interval // 60), because)


RULES: tuple[Callable[[Layers], Iterator[Problem]], ...] = (stale_sync,)
