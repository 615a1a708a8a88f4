"""When something that ends by itself becomes a finding: certificates and keys, by the same two thresholds."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from cli.doctor.context import Context
from cli.doctor.findings import Finding, critical, warning


def expiry(
    context: Context, subject: str, what: str, ends: datetime, *, config: str, next_: str, after: Iterable[str] = ()
) -> Iterator[Finding]:
    """Nothing, or that `what` has ended or ends soon."""
    left, limits = (ends - context.now).days, context.thresholds
    if left >= limits.certificate_warning_days:
        return
    day = ends.strftime("%Y-%m-%d")
    problem = critical if left < limits.certificate_critical_days else warning
    seen = f"{what} expired on {day}" if left < 0 else f"{what} expires in {left} days, on {day}"
    expected = f"{limits.certificate_warning_days} days or more"
    yield problem(subject, seen.strip(), expected, config=config, next_=next_, after=after)
