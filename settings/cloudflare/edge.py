"""The Cloudflare edge as a whole: account, zone and plan, and the settings of its parts."""

import re
from collections.abc import Iterator

from pydantic import Field

from settings.applications import Published
from settings.cloudflare.access import Access, MailAddress
from settings.cloudflare.dns import PublicDnsSettings
from settings.cloudflare.tunnel import Tunnel
from settings.cloudflare.zone import Plan, Zone
from settings.fields import Model, Problem, below
from settings.ingress import CertificateIssuer, Ingress

EXAMPLE_ID = "0123456789abcdef0123456789abcdef"


class Notifications(Model):
    """Mail from Cloudflare itself, which also arrives when the cluster is down."""

    emails: tuple[MailAddress, ...] = Field(
        min_length=1,
        description="who is told when the tunnel degrades, goes down or is healthy again",
        examples=[["ops@example.com"]],
    )


class Cloudflare(Model):
    """The Cloudflare edge: tunnel, DNS, zone settings, WAF and Access."""

    enabled: bool = Field(default=False, description="deploy this layer")
    account_id: str | None = Field(
        default=None, description="the account, 32 hexadecimal digits; required when enabled", examples=[EXAMPLE_ID]
    )
    zone_id: str | None = Field(
        default=None,
        description="the zone of `cluster.domain`, which exists; required when enabled",
        examples=[EXAMPLE_ID],
    )
    plan: Plan = Field(
        default=Plan.FREE,
        description="plan of the zone: `free`, `pro`, `business` or `enterprise`; what it lacks is refused",
    )
    tunnel: Tunnel = Field(default=Tunnel(), description="the tunnel and its connectors")
    dns: PublicDnsSettings = Field(default=PublicDnsSettings(), description="records of the zone")
    zone: Zone = Field(default=Zone(), description="settings, certificates and rules of the zone")
    access: Access = Field(default=Access(), description="who gets to applications behind the tunnel")
    notifications: Notifications | None = Field(
        default=None, description="mail about the tunnel's health", examples=[{"emails": ["ops@example.com"]}]
    )

    def problems(self) -> Iterator[Problem]:
        for key, value in (("accountId", self.account_id), ("zoneId", self.zone_id)):
            if value is None and self.enabled:
                yield Problem(key, None, "is required by cloudflare.enabled", EXAMPLE_ID)
            elif value is not None and not re.fullmatch(r"[0-9a-f]{32}", value):
                yield Problem(key, value, "is not 32 hexadecimal digits in lower case", EXAMPLE_ID)
        yield from below("tunnel", self.tunnel.problems())
        yield from below("dns", self.dns.problems())
        yield from below("zone", self.zone.problems())
        yield from below("access", self.access.problems())

    def hostname(self, domain: str) -> str:
        """The tunnel's public name, which names of applications point to; `domain` is `cluster.domain`."""
        return self.tunnel.hostname or f"external.{domain}"

    def serves(self, ingress_class: str) -> bool:
        """Whether the tunnel leads to an ingress class."""
        return self.enabled and ingress_class == self.tunnel.ingress_class

    def behind_tunnel(self, published: list[Published]) -> list[Published]:
        """The applications that the internet reaches through the tunnel."""
        return [each for each in published if each.ingress_class == self.tunnel.ingress_class]

    def origin_ca_secret(self, ingress: Ingress) -> str | None:
        """The Secret beside the connectors whose `ca.crt` signs the controller's certificate, None for a public one.

        cert-manager writes the authority's certificate into each Secret that it signs.
        """
        if self.tunnel.origin_ca_secret:
            return self.tunnel.origin_ca_secret
        name = self.tunnel.ingress_class
        if ingress.classes[name].certificate_issuer is not CertificateIssuer.INTERNAL_CA:
            return None
        return (ingress.default_certificate(name) or "").rpartition("/")[2]
