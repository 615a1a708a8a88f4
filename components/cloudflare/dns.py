"""Public DNS: which names of the zone exist, and who looks after each.

Owns the tunnel's own name, the records of the settings, and external-dns, which keeps the names of published Ingress
objects. Every name has one owner (`settings.rules.cloudflare`): two would undo each other's changes without end.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.core.v1 import Secret
from pulumi_kubernetes.helm.v3 import Release
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.charts import release_args
from components.sdk import cloudflare
from settings.charts.model import Chart
from settings.cloudflare.dns import (
    AUTOMATIC_TTL,
    EXTERNAL_DNS,
    PRIVATE_NETWORKS,
    ExternalDns,
    PublicDnsSettings,
    Record,
    RecordType,
)
from settings.monitoring import Monitoring

ANNOTATION_PREFIX = "external-dns.alpha.kubernetes.io/"
"""What Ingress annotations for external-dns begin with; the LAN's name server reads the same."""


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
        return pulumi.ResourceOptions(
            parent=self,
            # Cloudflare refuses a second record of another type under a name that is taken.
            delete_before_replace=True,
            # The plugin's update of a record with data sends the content of the old data along.
            replace_on_changes=["data"],
            depends_on=after,
        )


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
