"""What Cloudflare's plans let through the edge, whatever the controller behind it allows.

Nothing here is refused at Cloudflare's API: requests fail later, so a preview warns.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from settings.cloudflare.zone import Plan
from settings.stack import Settings


@dataclass(frozen=True)
class PlanLimits:
    """Limits of a plan: bytes of a request's body, seconds without an answer, records of a zone."""

    body: int
    answer_seconds: int
    records: int


LIMITS = {
    Plan.FREE: PlanLimits(100 * 2**20, 100, 200),
    Plan.PRO: PlanLimits(100 * 2**20, 100, 3500),
    Plan.BUSINESS: PlanLimits(200 * 2**20, 100, 3500),
    Plan.ENTERPRISE: PlanLimits(500 * 2**20, 6000, 3500),
}
"""Cloudflare's documentation: Workers, Limits, Request limits (bodies; enterprise can ask for more); Error 524 (100 s,
enterprise up to 6000 s by `proxy_read_timeout`); DNS, Create DNS records (free zones made since September 2024 hold
200, older ones 1000)."""


def beyond_plan(settings: Settings) -> Iterator[str]:
    """What the edge will cut off, in words: each key with its value, the plan's number and the way out."""
    edge = settings.cloudflare
    if not edge.enabled:
        return
    limits, plan = LIMITS[edge.plan], edge.plan.value
    name = edge.tunnel.ingress_class
    tuning = settings.ingress.classes[name].tuning
    bodies = {f"ingress.classes.{name}.tuning.clientMaxBodySize": tuning.client_max_body_size} | {
        f"applications.{each.name}.limits.bodySize": each.limits.body_size
        for each in edge.behind_tunnel(settings.published)
        if each.limits.body_size
    }
    for key, size in bodies.items():
        if bytes_of(size) > limits.body:
            shown = "unlimited" if bytes_of(size) == float("inf") else size
            yield (
                f"{key} is {shown}, but Cloudflare's {plan} plan answers 413 to bodies over "
                f"{limits.body // 2**20} MB: upload in parts, or on a class of the LAN or the tailnet"
            )
    if tuning.proxy_read_timeout_seconds > limits.answer_seconds:
        yield (
            f"ingress.classes.{name}.tuning.proxyReadTimeoutSeconds is {tuning.proxy_read_timeout_seconds}, but "
            f"Cloudflare's {plan} plan ends a request with 524 after {limits.answer_seconds} s without an answer: "
            "answer at once and let clients ask again, or use a class of the LAN or the tailnet"
        )
    if (count := records(settings)) > limits.records:
        older = "; zones from before September 2024 may have 1000" if edge.plan is Plan.FREE else ""
        yield (
            f"cloudflare.dns comes to {count} records, but a zone of Cloudflare's {plan} plan holds "
            f"{limits.records}{older}: without dns.externalDns each name takes one record in place of two"
        )


def bytes_of(size: str) -> float:
    """The bytes that a size of NGINX stands for; 0 is no limit."""
    match = re.fullmatch(r"(\d+)([kmg]?)", size.lower())
    assert match, f"{size} did not pass NginxSize"
    return int(match[1]) * {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}[match[2]] or float("inf")


def records(settings: Settings) -> int:
    """How many records the zone will hold: those of the program, and two a name from external-dns (CNAME and TXT)."""
    edge, domain = settings.cloudflare, settings.cluster.domain
    hosts = {each.host for each in edge.behind_tunnel(settings.published)} - {domain}
    own = {edge.hostname(domain), *(rule.host for rule in edge.tunnel.rules), *([domain] if edge.dns.apex else [])}
    each = 2 if edge.dns.external_dns else 1
    return len(own) + len(edge.dns.records) + each * len(hosts - own)
