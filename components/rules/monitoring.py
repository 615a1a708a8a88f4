"""Rules between monitoring and what it watches."""

from collections.abc import Callable, Iterator

from components.fields import Problem
from components.rules.layers import Layers


def expiry_warning(layers: Layers) -> Iterator[Problem]:
    """A certificate is renewed before its expiry is warned of: else every renewal would start with a false alarm."""
    monitoring, certificates = layers.monitoring, layers.certificates
    if not (monitoring.enabled and monitoring.alerts and certificates.enabled):
        return
    days = monitoring.alerts.certificates.expiry_warning_days
    issuers = {"letsencrypt": certificates.letsencrypt, "internalCa": certificates.internal_ca}
    for key, issuer in issuers.items():
        if issuer and days >= issuer.renew_before_days:
            first = f"certificates.{key}.renewBeforeDays {issuer.renew_before_days}"
            reason = f"would warn of every certificate before its renewal at {first}"
            yield Problem(
                "monitoring.alerts.certificates.expiryWarningDays", days, reason, issuer.renew_before_days - 9
            )
            return


def stale_sync(layers: Layers) -> Iterator[Problem]:
    """external-dns has had two chances before its state counts as stale."""
    monitoring, edge = layers.monitoring, layers.cloudflare
    if not (monitoring.enabled and monitoring.alerts and edge.enabled and edge.dns.external_dns):
        return
    minutes, interval = monitoring.alerts.dns.sync_stale_minutes, edge.dns.external_dns.interval_seconds
    if minutes * 60 < 2 * interval:
        reason = f"is less than two rounds of cloudflare.dns.externalDns.intervalSeconds {interval}"
        yield Problem("monitoring.alerts.dns.syncStaleMinutes", minutes, reason, -(-2 * interval // 60))


RULES: tuple[Callable[[Layers], Iterator[Problem]], ...] = (expiry_warning, stale_sync)
