"""The Cloudflare edge: everything between the internet and the external ingress controller.

Composes the tunnel and its connectors, the zone's records, the zone's settings and rules, and Access. Each part has a
file and a component of its own; what they share (account, zone, plan) is set once, here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import pulumi
from pydantic import Field

from components.access import Access, AccessPolicies, AccessPoliciesArgs, MailAddress, protected_hosts
from components.applications import Published
from components.charts import Chart
from components.cluster import Cluster
from components.connector import ConnectorArgs, TunnelConnector
from components.fields import Model, Problem
from components.monitoring import Monitoring
from components.nginx import CertificateIssuer, Ingress
from components.public_dns import PublicDns, PublicDnsArgs, PublicDnsSettings
from components.tunnel import CloudflareTunnel, Tunnel, TunnelArgs
from components.zone import Plan, Zone, ZoneSecurity, ZoneSecurityArgs

if TYPE_CHECKING:
    from components.rules.layers import Layers

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
        yield from (problem.under("tunnel") for problem in self.tunnel.problems())
        yield from (problem.under("dns") for problem in self.dns.problems())
        yield from (problem.under("zone") for problem in self.zone.problems())
        yield from (problem.under("access") for problem in self.access.problems())

    def hostname(self, domain: str) -> str:
        """The tunnel's public name, which names of applications point to; `domain` is `cluster.domain`."""
        return self.tunnel.hostname or f"external.{domain}"

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


@dataclass(frozen=True, kw_only=True)
class CloudflareEdgeArgs:
    """The edge's settings, valid as a whole, and what it leads to.

    `chart` and `external_dns_token` are external-dns's, None without it. `namespace` is the ingress controllers' and
    must exist. `origin_service` is the external controller's Service, as `name.namespace.svc`. `owner` marks the
    records of this stack. Secrets arrive as secret outputs.
    """

    cloudflare: Cloudflare
    cluster: Cluster
    ingress: Ingress
    monitoring: Monitoring
    chart: Chart | None
    namespace: pulumi.Input[str]
    origin_service: pulumi.Input[str]
    published: list[Published]
    tunnel_secret: pulumi.Output[str]
    external_dns_token: pulumi.Output[str] | None
    owner: str
    protect: bool

    @classmethod
    def of(
        cls,
        layers: "Layers",
        secrets: Mapping[str, pulumi.Output[str]],
        *,
        namespace: pulumi.Input[str],
        origin_service: pulumi.Input[str],
        owner: str,
    ) -> Self:
        """What this component takes of a stack's settings and secrets."""
        return cls(
            cloudflare=layers.cloudflare,
            cluster=layers.cluster,
            ingress=layers.ingress,
            monitoring=layers.monitoring,
            chart=layers.charts.get("external-dns"),
            namespace=namespace,
            origin_service=origin_service,
            published=layers.published,
            tunnel_secret=secrets["cloudflareTunnelSecret"],
            external_dns_token=secrets.get("externalDnsApiToken"),
            owner=owner,
            protect=layers.kubernetes.protect,
        )


class CloudflareEdge(pulumi.ComponentResource):
    """Tunnel, connectors, records, zone and Access (`anton:network:CloudflareEdge`).

    `tunnel_hostname` is what the tunnel's record points at, `hostname` the name of that record, `dns_names` all names
    that the program keeps. `public_hosts` are those behind the tunnel that everybody gets to, `ds_record` is what the
    registrar wants to know with DNSSEC. `ready` must be there before an application is published: Access among it.
    """

    tunnel_id: pulumi.Output[str]
    tunnel_hostname: pulumi.Output[str]
    hostname: pulumi.Output[str]
    dns_names: pulumi.Output[list[str]]
    public_hosts: pulumi.Output[list[str]]
    ds_record: pulumi.Output[str | None]
    access_aud_tags: pulumi.Output[dict[str, str]]
    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: CloudflareEdgeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:CloudflareEdge", name, {}, opts)
        edge = args.cloudflare
        assert edge.account_id, "an enabled edge has one"
        assert edge.zone_id, "an enabled edge has one"
        domain = args.cluster.domain
        hostname = edge.hostname(domain)
        behind_tunnel = edge.behind_tunnel(args.published)
        rule_hosts = [rule.host for rule in edge.tunnel.rules]
        ca_secret = edge.origin_ca_secret(args.ingress)
        tunnel = CloudflareTunnel(
            f"{name}-tunnel",
            TunnelArgs(
                tunnel=edge.tunnel,
                account_id=edge.account_id,
                domain=domain,
                hostname=hostname,
                origin_service=args.origin_service,
                private_ca=ca_secret is not None,
                tunnel_secret=args.tunnel_secret,
                alert_emails=edge.notifications.emails if edge.notifications else (),
                protect=args.protect,
            ),
            pulumi.ResourceOptions(parent=self),
        )
        connector = TunnelConnector(
            f"{name}-connector",
            ConnectorArgs(tunnel=edge.tunnel, namespace=args.namespace, token=tunnel.token, ca_secret=ca_secret),
            # Connectors without ingress rules would answer everything with an error.
            pulumi.ResourceOptions(parent=self, depends_on=[tunnel]),
        )
        zone = ZoneSecurity(
            f"{name}-zone",
            ZoneSecurityArgs(
                zone=edge.zone,
                zone_id=edge.zone_id,
                domain=domain,
                hsts=args.ingress.classes[edge.tunnel.ingress_class].tls.hsts,
                protected_hosts=protected_hosts(edge.access, behind_tunnel),
            ),
            pulumi.ResourceOptions(parent=self),
        )
        access = AccessPolicies(
            f"{name}-access",
            AccessPoliciesArgs(
                access=edge.access, account_id=edge.account_id, published=behind_tunnel, tunnel_hosts=rule_hosts
            ),
            pulumi.ResourceOptions(parent=self),
        )
        dns = PublicDns(
            f"{name}-dns",
            PublicDnsArgs(
                dns=edge.dns,
                zone_id=edge.zone_id,
                domain=domain,
                hostname=hostname,
                target=tunnel.target,
                rule_hosts=rule_hosts,
                published_hosts=[each.host for each in behind_tunnel],
                ingress_class=edge.tunnel.ingress_class,
                monitoring=args.monitoring,
                chart=args.chart,
                namespace=args.namespace,
                token=args.external_dns_token,
                owner=args.owner,
            ),
            # A name that is found before the rest is there shows Cloudflare's error 1033, or an unguarded application.
            pulumi.ResourceOptions(parent=self, depends_on=[connector, zone, access]),
        )
        self.tunnel_id = tunnel.tunnel_id
        self.tunnel_hostname = tunnel.target
        self.hostname = pulumi.Output.from_input(hostname)
        self.dns_names = dns.names
        self.public_hosts = access.public_hosts
        self.ds_record = zone.ds_record
        self.access_aud_tags = access.aud_tags
        self.ready = [tunnel, connector, zone, access, dns]
        self.register_outputs(
            {
                "tunnel_id": self.tunnel_id,
                "tunnel_hostname": self.tunnel_hostname,
                "hostname": self.hostname,
                "dns_names": self.dns_names,
                "public_hosts": self.public_hosts,
                "ds_record": self.ds_record,
                "access_aud_tags": self.access_aud_tags,
            }
        )
