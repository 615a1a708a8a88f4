"""Public DNS: records of the zone, and external-dns, which keeps the names of published applications."""

from collections.abc import Iterator
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from settings.fields import WITHOUT, DnsLabel, Form, Model, Problem, ResourceAmounts, Resources, Seconds, below, over

AUTOMATIC_TTL = 1
"""Cloudflare's own choice, and the only one for a proxied record."""

EXTERNAL_DNS = "external-dns"
"""Name of the release."""

TUNNEL_DOMAIN = "cfargotunnel.com"
"""Cloudflare's domain of tunnels; its names resolve for proxied records only."""

PRIVATE_NETWORKS = tuple(
    map(
        IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8")
    )
)
"""Addresses that nobody on the internet can reach (RFC 1918, RFC 6598 and the host's own)."""


class RecordType(StrEnum):
    """Types of DNS records that the settings may hold."""

    A = "A"
    AAAA = "AAAA"
    CNAME = "CNAME"
    MX = "MX"
    NS = "NS"
    TXT = "TXT"
    CAA = "CAA"


PROXIABLE = (RecordType.A, RecordType.AAAA, RecordType.CNAME)


def _record_name(value: str) -> str:
    if value.endswith("."):
        raise ValueError("ends with a dot, which Cloudflare drops: every preview would show a difference")
    labels = value.removeprefix("*.").split(".")
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789-_"
    if len(value) > 253 or not all(0 < len(label) < 64 and set(label) <= set(allowed) for label in labels):
        raise ValueError("is not a DNS name in lower case")
    if len(labels) < 2:
        raise ValueError("is not a full name: Cloudflare would complete it, and every preview would show a difference")
    return value


RecordName = Annotated[str, AfterValidator(_record_name), Field(examples=["_dmarc.example.com"])]
"""The full name of a record, without a final dot; underscores and a leading `*.` are allowed."""


class Record(Model):
    """One DNS record."""

    name: RecordName = Field(description="full name, at or under `cluster.domain`")
    type: RecordType = Field(description="`A`, `AAAA`, `CNAME`, `MX`, `NS`, `TXT` or `CAA`", examples=["TXT"])
    content: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="address, name, or text without quotes; CAA: flags, tag and value", examples=["v=spf1 -all"]
    )
    ttl: int = Field(default=AUTOMATIC_TTL, description="seconds, from 60 to 86400; 1 is Cloudflare's own choice")
    proxied: bool = Field(default=False, description="send requests through Cloudflare's edge; A, AAAA and CNAME only")
    priority: int | None = Field(
        default=None, ge=0, le=65535, description="of a mail server, lowest first", examples=[10]
    )

    def problems(self) -> Iterator[Problem]:
        if self.ttl != AUTOMATIC_TTL and not 60 <= self.ttl <= 86400:
            yield Problem("ttl", self.ttl, "is neither 1 (automatic) nor from 60 to 86400 seconds", AUTOMATIC_TTL)
        if self.proxied and self.type not in PROXIABLE:
            yield Problem("proxied", True, f"is for A, AAAA and CNAME; Cloudflare can't proxy {self.type.value}", False)
        elif self.proxied and self.ttl != AUTOMATIC_TTL:
            reason = "of a proxied record is Cloudflare's own; every preview would show a difference"
            yield Problem("ttl", self.ttl, reason, AUTOMATIC_TTL)
        if (self.type is RecordType.MX) != (self.priority is not None):
            needed = self.type is RecordType.MX
            reason = "is required for MX" if needed else f"has no meaning for {self.type.value}"
            yield Problem("priority", self.priority, reason, 10 if needed else WITHOUT)
        yield from self._content_problems()

    def _content_problems(self) -> Iterator[Problem]:
        if self.type in {RecordType.A, RecordType.AAAA}:
            yield from self._address_problems()
        elif self.type in {RecordType.CNAME, RecordType.MX, RecordType.NS}:
            try:
                _record_name(self.content)
            except ValueError as fault:
                yield Problem("content", self.content, str(fault), self.content.rstrip(".").lower())
            if self.content.endswith(f".{TUNNEL_DOMAIN}") and not self.proxied:
                reason = "resolves for proxied records only; nobody would reach the tunnel"
                yield Problem("content", self.content, reason, "the same with proxied: true")
        elif self.type is RecordType.TXT:
            if '"' in self.content or not self.content.isascii() or not self.content.isprintable():
                reason = "must be plain ASCII without quotes; they are added here"
                yield Problem("content", self.content, reason, "v=spf1 include:_spf.example.com -all")
        elif self.caa is None:
            reason = "is not flags (0 or 128), tag (issue, issuewild or iodef) and value"
            yield Problem("content", self.content, reason, "0 issue letsencrypt.org")

    def _address_problems(self) -> Iterator[Problem]:
        family, example = (IPv4Address, "203.0.113.10") if self.type is RecordType.A else (IPv6Address, "2001:db8::10")
        try:
            address = family(self.content)
        except AddressValueError:
            yield Problem("content", self.content, f"is no address for a record of type {self.type.value}", example)
            return
        if isinstance(address, IPv4Address) and any(address in network for network in PRIVATE_NETWORKS):
            reason = "is a private address: nobody on the internet reaches it, and it tells how the LAN is laid out"
            yield Problem("content", self.content, reason, example)

    @property
    def caa(self) -> tuple[int, str, str] | None:
        """Flags, tag and value of a CAA record's content (RFC 8659), None when it is not of that form."""
        flags, _, rest = self.content.partition(" ")
        tag, _, value = rest.partition(" ")
        well_formed = flags in {"0", "128"} and tag in {"issue", "issuewild", "iodef"} and value and '"' not in value
        return (int(flags), tag, value) if well_formed else None


EXTERNAL_DNS_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="10m", memory="64Mi"), limits=ResourceAmounts(memory="128Mi")
)


class SyncPolicy(StrEnum):
    """Whether external-dns also deletes the records of Ingress objects that are gone."""

    SYNC = "sync"
    UPSERT_ONLY = "upsert-only"


class ExternalDns(Model):
    """external-dns, which keeps the public names of Ingress objects of the class behind the tunnel."""

    policy: SyncPolicy = Field(
        default=SyncPolicy.SYNC, description="`sync`, or `upsert-only`, which never deletes a record"
    )
    interval_seconds: Seconds = Field(default=60, description="time between two comparisons; changes come at once")
    txt_prefix: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?\.$"),
        Form("must be one label in lower case with a dot behind it"),
    ] = Field(default="k8s.", description="prefix of the TXT records by which it knows its own")
    endpoint_objects: bool = Field(default=False, description="records from DNSEndpoint objects as well")
    resources: Annotated[Resources, over(EXTERNAL_DNS_RESOURCES)] = Field(
        default=EXTERNAL_DNS_RESOURCES, description="requests and limits"
    )

    def problems(self) -> Iterator[Problem]:
        yield from below("resources", self.resources.problems())


class PublicDnsSettings(Model):
    """Records of the zone, and who keeps the names of applications."""

    apex: bool = Field(default=True, description="let `cluster.domain` itself lead to the tunnel")
    records: dict[DnsLabel, Record] = Field(
        default={},
        description="records beside those of the tunnel and the applications, by a name of their own",
        examples=[{"spf": {"name": "example.com", "type": "TXT", "content": "v=spf1 -all"}}],
    )
    external_dns: ExternalDns | None = Field(
        default=None,
        description="keep the names of Ingress objects; unset: the program keeps those of `applications`",
        examples=[{"policy": "sync"}],
    )

    def problems(self) -> Iterator[Problem]:
        seen: dict[tuple[str, RecordType, str], str] = {}
        for key, record in self.records.items():
            yield from below(f"records.{key}", record.problems())
            first = seen.setdefault((record.name, record.type, record.content), key)
            if first != key:
                yield Problem(f"records.{key}", record.content, f"is the record {first} again", WITHOUT)
        if self.external_dns:
            yield from below("externalDns", self.external_dns.problems())
