"""Public DNS: which names of the zone exist, and who looks after each.

Owns the tunnel's own name, the records of the settings, and external-dns, which keeps the names of published Ingress
objects. Every name has one owner (`rules.cloudflare`): two would undo each other's changes without end.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address
from typing import Annotated, Any

import pulumi
from pulumi_kubernetes.core.v1 import Secret
from pulumi_kubernetes.helm.v3 import Release
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pydantic import AfterValidator, Field, StringConstraints

from components.charts import Chart, release_args
from components.fields import DnsLabel, Form, Model, Problem, ResourceAmounts, Resources, Seconds, over
from components.monitoring import Monitoring
from components.sdk import cloudflare

AUTOMATIC_TTL = 1
"""Cloudflare's own choice, and the only one for a proxied record."""

EXTERNAL_DNS = "external-dns"
"""Name of the release."""

ANNOTATION_PREFIX = "external-dns.alpha.kubernetes.io/"
"""What Ingress annotations for external-dns begin with; the LAN's name server reads the same."""

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
            yield Problem("priority", self.priority, reason, 10 if needed else "without this key")
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
        yield from (problem.under("resources") for problem in self.resources.problems())


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
            yield from (problem.under(f"records.{key}") for problem in record.problems())
            first = seen.setdefault((record.name, record.type, record.content), key)
            if first != key:
                yield Problem(f"records.{key}", record.content, f"is the record {first} again", "without this record")
        if self.external_dns:
            yield from (problem.under("externalDns") for problem in self.external_dns.problems())


def program_names(
    dns: PublicDnsSettings, domain: str, hostname: str, rule_hosts: Iterable[str], published_hosts: Iterable[str]
) -> list[str]:
    """The names that the program itself points to the tunnel's name, each once.

    The apex stays with the program even under external-dns, which could not put its ownership record there: with a
    prefix it would lie outside the zone (external-dns, The TXT registry).
    """
    published = set(published_hosts) - {domain}
    kept_elsewhere = {hostname} | (published if dns.external_dns else set())
    wanted = [*([domain] if dns.apex else []), *rule_hosts, *sorted(published)]
    return [name for name in dict.fromkeys(wanted) if name not in kept_elsewhere]


@dataclass(frozen=True, kw_only=True)
class PublicDnsArgs:
    """The records and what they lead to; all arrive valid.

    `hostname` is the tunnel's public name and `target` what it points at. `rule_hosts` and `published_hosts` are the
    names that the tunnel's own rules and the applications serve. `owner` marks the records of this stack. `chart` and
    `token` are external-dns's, None without it; the token is secret. `namespace` must exist.
    """

    dns: PublicDnsSettings
    zone_id: str
    domain: str
    hostname: str
    target: pulumi.Input[str]
    rule_hosts: list[str]
    published_hosts: list[str]
    ingress_class: str
    monitoring: Monitoring
    chart: Chart | None
    namespace: pulumi.Input[str]
    token: pulumi.Output[str] | None
    owner: str


class PublicDns(pulumi.ComponentResource):
    """The zone's records and external-dns (`anton:network:PublicDns`).

    `names` are those whose records the program itself keeps.
    """

    names: pulumi.Output[list[str]]

    def __init__(self, name: str, args: PublicDnsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:PublicDns", name, {}, opts)
        # Applications point to this name and never to the tunnel itself: one that goes leaves no tunnel behind in DNS.
        anchor = self._alias(f"{name}-tunnel", args, args.hostname, args.target)
        aliases = program_names(args.dns, args.domain, args.hostname, args.rule_hosts, args.published_hosts)
        for host in aliases:
            self._alias(f"{name}-host-{host}", args, host, args.hostname, after=[anchor])
        for key, record in args.dns.records.items():
            self._record(f"{name}-record-{key}", args, record)
        if args.dns.external_dns and args.chart and args.token is not None:
            token = Secret(
                f"{name}-external-dns-token",
                # Named by Pulumi and immutable: a new token is a new Secret, and external-dns restarts with it.
                metadata=ObjectMetaArgs(namespace=args.namespace),
                immutable=True,
                string_data={"token": args.token},
                opts=pulumi.ResourceOptions(parent=self),
            )
            values = external_dns_values(args, args.dns.external_dns, token.metadata.name)
            Release(
                f"{name}-external-dns",
                release_args(args.chart, name=EXTERNAL_DNS, namespace=args.namespace, values=values),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[anchor]),
            )
        records = [record.name for record in args.dns.records.values()]
        self.names = pulumi.Output.from_input(list(dict.fromkeys([args.hostname, *aliases, *records])))
        self.register_outputs({"names": self.names})

    def _alias(
        self,
        resource: str,
        args: PublicDnsArgs,
        host: str,
        target: pulumi.Input[str],
        after: list[pulumi.Resource] | None = None,
    ) -> pulumi.Resource:
        """A proxied CNAME. At the apex Cloudflare answers with addresses instead (CNAME flattening)."""
        return cloudflare.DnsRecord(
            resource,
            zone_id=args.zone_id,
            name=host,
            type=RecordType.CNAME.value,
            content=target,
            ttl=AUTOMATIC_TTL,
            proxied=True,
            comment=_comment(args),
            opts=self._record_options(after),
        )

    def _record(self, resource: str, args: PublicDnsArgs, record: Record) -> None:
        caa = record.caa if record.type is RecordType.CAA else None
        cloudflare.DnsRecord(
            resource,
            zone_id=args.zone_id,
            name=record.name,
            type=record.type.value,
            content=None if caa else record_content(record),
            data=cloudflare.DnsRecordDataArgs(flags=caa[0], tag=caa[1], value=caa[2]) if caa else None,
            ttl=record.ttl,
            proxied=record.proxied,
            priority=record.priority,
            comment=_comment(args),
            opts=self._record_options(),
        )

    def _record_options(self, after: list[pulumi.Resource] | None = None) -> pulumi.ResourceOptions:
        # Cloudflare refuses a second record of another type under a name that is taken.
        return pulumi.ResourceOptions(parent=self, delete_before_replace=True, depends_on=after)


def _comment(args: PublicDnsArgs) -> str:
    return f"kept by Pulumi: {args.owner}"


def record_content(record: Record) -> str:
    """A record's content as Cloudflare keeps it: text in quotes, in strings of at most 255 bytes (RFC 1035, 3.3)."""
    if record.type is not RecordType.TXT:
        return record.content
    text = record.content
    return " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))


def external_dns_values(args: PublicDnsArgs, settings: ExternalDns, token_secret: pulumi.Input[str]) -> dict[str, Any]:
    """The values of the external-dns chart (1.21). tests/charts/test_external_dns.py proves each key by rendering."""
    return {
        "fullnameOverride": EXTERNAL_DNS,
        "provider": {"name": "cloudflare"},
        "sources": ["ingress", *(["crd"] if settings.endpoint_objects else [])],
        "policy": settings.policy.value,
        "registry": "txt",
        "txtOwnerId": args.owner,
        "txtPrefix": settings.txt_prefix,
        "domainFilters": [args.domain],
        # The next version of external-dns looks for another prefix unless told.
        "annotationPrefix": ANNOTATION_PREFIX,
        "interval": f"{settings.interval_seconds}s",
        "triggerLoopOnEvent": True,
        "logFormat": "json",
        "extraArgs": [
            "--cloudflare-proxied",
            "--cloudflare-dns-records-per-page=1000",
            f"--zone-id-filter={args.zone_id}",
            f"--ingress-class={args.ingress_class}",
            # Names come from rules alone: a wildcard in a certificate is no published name.
            "--ignore-ingress-tls-spec",
            # An Ingress without the target annotation offers its controller's own address, which is private.
            *(f"--exclude-target-net={network}" for network in PRIVATE_NETWORKS),
        ],
        "env": [{"name": "CF_API_TOKEN", "valueFrom": {"secretKeyRef": {"name": token_secret, "key": "token"}}}],
        "priorityClassName": "system-cluster-critical",
        "resources": settings.resources.values(),
        "serviceMonitor": args.monitoring.service_monitor("additionalLabels"),
    }
