"""The zone at Cloudflare: its settings, bots and certificates at the edge.

A setting that is null stays as somebody left it at Cloudflare.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from settings.applications import covered_by_wildcard
from settings.cloudflare.rules import Rules
from settings.fields import DnsLabel, Form, Model, Problem, below
from settings.ingress import Hsts, TlsProtocol

MOST_PACK_HOSTS = 50
"""Names that Cloudflare takes in one certificate pack, the domain itself among them."""


class Plan(StrEnum):
    """Cloudflare's plans of a zone, from the least to the most."""

    FREE = "free"
    PRO = "pro"
    BUSINESS = "business"
    ENTERPRISE = "enterprise"

    def has(self, other: "Plan") -> bool:
        """Whether what `other` offers is offered here too."""
        ranks = list(Plan)
        return ranks.index(self) >= ranks.index(other)


class SslMode(StrEnum):
    """How Cloudflare connects to an origin: with TLS, and with or without verifying its certificate."""

    FULL = "full"
    STRICT = "strict"


class Polish(StrEnum):
    """How images are made smaller."""

    OFF = "off"
    LOSSLESS = "lossless"
    LOSSY = "lossy"


class CertificateAuthority(StrEnum):
    """Who signs certificates for the edge."""

    GOOGLE = "google"
    LETS_ENCRYPT = "lets_encrypt"
    SSL_COM = "ssl_com"


AUTHORITIES = "`google`, `lets_encrypt` or `ssl_com`"


class ZoneSettings(Model):
    """Settings of the zone; null leaves one alone."""

    ssl: SslMode | None = Field(
        default=SslMode.STRICT, description="`strict`: certificates of origins are verified; `full`: any will do"
    )
    always_use_https: bool | None = Field(default=True, description="answer HTTP with a redirect to HTTPS")
    automatic_https_rewrites: bool | None = Field(default=True, description="turn http links in pages into https")
    min_tls: TlsProtocol | None = Field(
        default=TlsProtocol.V1_2, description="oldest version of TLS that clients may use: `TLSv1.2` or `TLSv1.3`"
    )
    tls13: bool | None = Field(default=True, description="offer TLS 1.3")
    zero_rtt: bool | None = Field(
        default=False, description="take requests in a client's first packet, which an attacker can repeat"
    )
    hsts: bool | None = Field(
        default=True,
        description="Strict-Transport-Security at the edge, always as `ingress.classes.<class>.tls.hsts` of the "
        "class behind the tunnel; false: not from the edge",
    )
    http3: bool | None = Field(default=True, description="offer HTTP/3")
    early_hints: bool | None = Field(default=True, description="announce what a page needs before it is there")
    brotli: bool | None = Field(default=True, description="compress with Brotli")
    polish: Polish | None = Field(
        default=None,
        description="make images smaller: `off`, `lossless` or `lossy`; Pro plan and above",
        examples=["off"],
    )

    def problems(self) -> Iterator[Problem]:
        if self.tls13 is False and self.min_tls is TlsProtocol.V1_3:
            yield Problem("tls13", False, "leaves no version of TLS: minTls is TLSv1.3", True)
        if self.tls13 is False and self.zero_rtt:
            yield Problem("zeroRtt", True, "is a part of TLS 1.3, and tls13 is false", False)

    def values(self, hsts: Hsts) -> dict[str, object]:
        """Cloudflare's id and value of each setting that is not left alone; `hsts` is the ingress controller's."""
        switches = {
            "always_use_https": self.always_use_https,
            "automatic_https_rewrites": self.automatic_https_rewrites,
            "http3": self.http3,
            "early_hints": self.early_hints,
            "brotli": self.brotli,
            "0rtt": self.zero_rtt,
            "tls_1_3": self.tls13,
        }
        found: dict[str, object] = {key: "on" if on else "off" for key, on in switches.items() if on is not None}
        if self.tls13 and self.zero_rtt:
            # What Cloudflare makes of `on` next to 0-RTT; written as `on`, every preview would show a difference.
            found["tls_1_3"] = "zrt"
        if self.ssl:
            found["ssl"] = self.ssl.value
        if self.min_tls:
            found["min_tls_version"] = self.min_tls.value.removeprefix("TLSv")
        if self.polish:
            found["polish"] = self.polish.value
        if self.hsts is not None:
            found["security_header"] = {"strict_transport_security": _security_header(hsts, on=self.hsts)}
        return dict(sorted(found.items()))


def _security_header(hsts: Hsts, *, on: bool) -> dict[str, object]:
    """The edge's header, equal to the controller's.

    The keys are the API's own: the SDK takes this value as it is, and its example in camelCase differs on every preview
    (pulumi-cloudflare, issue 1579).
    """
    if not (on and hsts.enabled):
        return {"enabled": False, "max_age": 0, "include_subdomains": False, "preload": False, "nosniff": True}
    return {
        "enabled": True,
        "max_age": hsts.max_age_seconds,
        "include_subdomains": hsts.include_subdomains,
        "preload": hsts.preload,
        "nosniff": True,
    }


class BotAction(StrEnum):
    """What happens to requests of robots."""

    ALLOW = "allow"
    BLOCK = "block"
    MANAGED_CHALLENGE = "managed_challenge"


BOT_ACTIONS = "`allow`, `block` or `managed_challenge`"


class VerifiedBots(StrEnum):
    """What happens to requests of robots that Cloudflare knows, such as search engines."""

    ALLOW = "allow"
    BLOCK = "block"


class AiBots(StrEnum):
    """What happens to requests of robots that collect pages for language models."""

    BLOCK = "block"
    ONLY_ON_AD_PAGES = "only_on_ad_pages"
    DISABLED = "disabled"


class Bots(Model):
    """Defense against robots; null leaves a part alone."""

    fight_mode: bool | None = Field(
        default=None,
        description="challenge robots, those of your own API clients too; free plan, no rule can make an exception",
        examples=[False],
    )
    ai_bots: AiBots | None = Field(
        default=None,
        description="collectors for language models: `block`, `only_on_ad_pages`, `disabled`",
        examples=["block"],
    )
    managed_robots_txt: bool = Field(
        default=False,
        description="let Cloudflare put rules for collectors in front of your robots.txt; with `bots` it is never left "
        "alone: the provider always sends it",
    )
    definitely_automated: BotAction | None = Field(
        default=None,
        description=f"robots for certain: {BOT_ACTIONS}; Pro plan and above",
        examples=["managed_challenge"],
    )
    likely_automated: BotAction | None = Field(
        default=None,
        description=f"probably robots: {BOT_ACTIONS}; Business plan and above",
        examples=["managed_challenge"],
    )
    verified_bots: VerifiedBots | None = Field(
        default=None,
        description="robots that Cloudflare knows: `allow` or `block`; Pro plan and above",
        examples=["allow"],
    )

    def problems(self) -> Iterator[Problem]:
        given = {name: getattr(self, name) for name in type(self).model_fields}
        asked = {name for name, value in given.items() if value is not None} - {"managed_robots_txt"}
        if not asked | (self.model_fields_set & {"managed_robots_txt"}):
            yield Problem("", {}, "changes nothing", {"aiBots": "block"})


class TotalTls(Model):
    """A certificate for every proxied name. Needs the paid add-on Advanced Certificate Manager."""

    authority: CertificateAuthority = Field(
        default=CertificateAuthority.GOOGLE, description=f"who signs: {AUTHORITIES}"
    )


PackHost = Annotated[
    str,
    StringConstraints(pattern=r"^(\*\.)?([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)+[a-z]{2,}$"),
    Form("must be a DNS name in lower case, with *. in front where any label may stand there"),
    Field(examples=["*.apps.example.com"]),
]
"""A name in an edge certificate, in lower case; a leading `*.` stands for one label."""


class CertificatePack(Model):
    """One certificate for chosen names. Needs the paid add-on Advanced Certificate Manager."""

    hosts: tuple[PackHost, ...] = Field(
        min_length=1, max_length=MOST_PACK_HOSTS - 1, description="names beside `cluster.domain`, which is always in it"
    )
    authority: CertificateAuthority = Field(
        default=CertificateAuthority.GOOGLE, description=f"who signs: {AUTHORITIES}"
    )
    validity_days: Literal[14, 30, 90, 365] = Field(default=90, description="14, 30, 90 or 365; renewed by Cloudflare")

    def problems(self) -> Iterator[Problem]:
        if self.authority is CertificateAuthority.LETS_ENCRYPT and self.validity_days != 90:
            yield Problem("validityDays", self.validity_days, "Let's Encrypt signs for 90 days", 90)

    def covers(self, host: str) -> bool:
        """Whether the certificate is good for `host`."""
        return host in self.hosts or f"*.{host.partition('.')[2]}" in self.hosts


class Zone(Model):
    """The zone's settings, certificates and rules."""

    settings: ZoneSettings = Field(default=ZoneSettings(), description="settings of the zone")
    dnssec: bool | None = Field(
        default=None,
        description="sign the zone; the DS record in the outputs then goes to the registrar",
        examples=[True],
    )
    tiered_cache: bool | None = Field(
        default=None, description="let Cloudflare's locations ask each other before the origin", examples=[True]
    )
    bots: Bots | None = Field(default=None, description="defense against robots", examples=[{"aiBots": "block"}])
    total_tls: TotalTls | None = Field(
        default=None,
        description="certificates for names deeper than one label under `cluster.domain`",
        examples=[{"authority": "google"}],
    )
    certificate_packs: dict[DnsLabel, CertificatePack] = Field(
        default={}, description="certificates for chosen names", examples=[{"apps": {"hosts": ["*.apps.example.com"]}}]
    )
    rules: Rules = Field(default=Rules(), description="rules of the zone")

    def problems(self) -> Iterator[Problem]:
        yield from below("settings", self.settings.problems())
        yield from below("rules", self.rules.problems())
        if self.bots:
            yield from below("bots", self.bots.problems())
        for name, pack in self.certificate_packs.items():
            yield from below(f"certificatePacks.{name}", pack.problems())

    def has_certificate(self, host: str, domain: str) -> bool:
        """Whether the edge has a certificate for `host`: Universal SSL covers the domain and one label below it."""
        packs = self.certificate_packs.values()
        return (
            covered_by_wildcard(host, domain) or self.total_tls is not None or any(pack.covers(host) for pack in packs)
        )
