"""Rules between monitoring and what it watches."""

from collections.abc import Callable, Iterator

from settings.fields import Problem
from settings.stack import Settings


def stale_sync(settings: Settings) -> Iterator[Problem]:
    """external-dns has had two chances before its state counts as stale."""
    monitoring, edge = settings.monitoring, settings.cloudflare
    if not (monitoring.enabled and monitoring.alerts and edge.enabled and edge.dns.external_dns):
        return
    minutes, interval = monitoring.alerts.dns.sync_stale_minutes, edge.dns.external_dns.interval_seconds
    if minutes * 60 < 2 * interval:
        reason = f"is less than two rounds of cloudflare.dns.externalDns.intervalSeconds {interval}"
        key, because = "monitoring.alerts.dns.syncStaleMinutes", ("cloudflare.dns.externalDns",)
        yield Problem(key, minutes, reason, -(-2 * interval // 60), because)


RULES: tuple[Callable[[Settings], Iterator[Problem]], ...] = (stale_sync,)
