"""Certificates: cert-manager, Let's Encrypt and the cluster's own certificate authority."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from settings.fields import DnsLabel, Form, Model, OneANode, Problem, ResourceAmounts, Resources, below, over
from settings.ingress import CertificateIssuer


class Environment(StrEnum):
    """Let's Encrypt's two services: the untrusted one to try on, and the one that browsers trust."""

    STAGING = "staging"
    PRODUCTION = "production"


def _contact(value: str) -> str:
    if value.rpartition("@")[2] in {"example.com", "example.net", "example.org"}:
        raise ValueError("lies in a documentation domain, and Let's Encrypt refuses accounts with such a contact")
    return value


Email = Annotated[
    str,
    StringConstraints(pattern=r"^[^@\s,;]+@([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)+[a-z]{2,}$"),
    Form("must be one mail address"),
]
"""One mail address, its domain in lower case."""

DohUrl = Annotated[
    str,
    StringConstraints(pattern=r"^https://[^\s,/]+/[^\s,]*$"),
    Form("must be a resolver's URL, from https:// to its path"),
]
"""The URL of a resolver that speaks DNS over HTTPS (RFC 8484)."""


def _renewal_problem(duration_days: int, renew_before_days: int, *, root: bool = False) -> Iterator[Problem]:
    duration, key = ("rootDurationDays", "rootRenewBeforeDays") if root else ("durationDays", "renewBeforeDays")
    if renew_before_days >= duration_days:
        reason = f"is no shorter than the certificate's {duration_days} days; it would be renewed without end"
        yield Problem(key, renew_before_days, reason, max(duration_days // 3, 1), because=(duration,))


class LetsEncrypt(Model):
    """Public certificates by DNS-01 through Cloudflare."""

    environment: Environment = Field(
        default=Environment.STAGING,
        description="`staging` for the first run (untrusted, no strict limits), then `production`: which of the two "
        "the issuer `letsencrypt` means",
        examples=["staging"],
    )
    email: Annotated[Email, AfterValidator(_contact)] | None = Field(
        default=None, description="contact of the ACME account", examples=["hostmaster@anton.example"]
    )
    duration_days: int = Field(
        default=90, ge=2, le=90, description="lifetime that Let's Encrypt gives a certificate", examples=[90]
    )
    renew_before_days: int = Field(default=30, ge=1, description="renew this long before expiry", examples=[30])

    def problems(self) -> Iterator[Problem]:
        yield from _renewal_problem(self.duration_days, self.renew_before_days)


class InternalCa(Model):
    """The cluster's own certificate authority."""

    duration_days: int = Field(default=90, ge=2, description="lifetime of a certificate", examples=[90])
    renew_before_days: int = Field(default=30, ge=1, description="renew this long before expiry", examples=[30])
    root_duration_days: int = Field(
        default=3650, ge=30, description="lifetime of the authority's own certificate", examples=[3650]
    )
    root_renew_before_days: int = Field(
        default=365, ge=1, description="renew the authority's certificate this long before expiry", examples=[365]
    )

    def problems(self) -> Iterator[Problem]:
        yield from _renewal_problem(self.duration_days, self.renew_before_days)
        yield from _renewal_problem(self.root_duration_days, self.root_renew_before_days, root=True)
        if self.root_renew_before_days < self.duration_days:
            reason = f"is shorter than a certificate's {self.duration_days} days, which could outlive its authority"
            because = ("durationDays",)
            yield Problem("rootRenewBeforeDays", self.root_renew_before_days, reason, self.duration_days, because)


CONTROLLER_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="10m", memory="32Mi"), limits=ResourceAmounts(memory="128Mi")
)

WEBHOOK_RESOURCES = Resources(requests=ResourceAmounts(cpu="10m", memory="32Mi"), limits=ResourceAmounts(memory="64Mi"))


class CertManager(Model):
    """cert-manager, its issuers and the certificates it keeps renewed."""

    enabled: bool = Field(default=False, description="deploy this layer")
    namespace: DnsLabel = Field(
        default="cert-manager",
        description="namespace of cert-manager, created and owned by this layer",
        examples=["cert-manager"],
    )
    letsencrypt: LetsEncrypt | None = Field(default=None, description="Let's Encrypt", examples=[{}])
    internal_ca: InternalCa | None = Field(
        default=InternalCa(), description="internal certificate authority; null for none"
    )
    dns01_nameservers: tuple[DohUrl, ...] = Field(
        default=("https://1.1.1.1/dns-query", "https://1.0.0.1/dns-query"),
        min_length=1,
        description="resolvers for the check that a DNS-01 record is public; over HTTPS, because the LAN's own "
        "answers differ",
        examples=[["https://1.1.1.1/dns-query"]],
    )
    replicas: Annotated[int, OneANode()] = Field(
        default=2,
        ge=1,
        description="pods of controller, webhook and CA injector each, one a node; by default no more than there are "
        "nodes",
        examples=[2],
    )
    controller_resources: Annotated[Resources, over(CONTROLLER_RESOURCES)] = Field(
        default=CONTROLLER_RESOURCES, description="requests and limits of the controller"
    )
    webhook_resources: Annotated[Resources, over(WEBHOOK_RESOURCES)] = Field(
        default=WEBHOOK_RESOURCES, description="requests and limits of the webhook"
    )
    cainjector_resources: Annotated[Resources, over(CONTROLLER_RESOURCES)] = Field(
        default=CONTROLLER_RESOURCES, description="requests and limits of the CA injector"
    )
    wait_until_issued: bool = Field(
        default=False,
        description="hold an update until the default certificates are issued (10 minutes at most), and with it the "
        "controllers that serve them",
    )

    def problems(self) -> Iterator[Problem]:
        parts: dict[str, LetsEncrypt | InternalCa | Resources | None] = {
            "letsencrypt": self.letsencrypt,
            "internalCa": self.internal_ca,
            "controllerResources": self.controller_resources,
            "webhookResources": self.webhook_resources,
            "cainjectorResources": self.cainjector_resources,
        }
        for key, part in parts.items():
            yield from below(key, part.problems()) if part else ()

    def configured(self, issuer: CertificateIssuer) -> bool:
        """Whether this layer can sign with an issuer."""
        needed = self.letsencrypt if issuer is CertificateIssuer.LETSENCRYPT else self.internal_ca
        return self.enabled and needed is not None
