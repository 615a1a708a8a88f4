"""The Cloudflare edge: everything between the internet and the external ingress controller.

Composes the tunnel and its connectors, the zone's records, the zone's settings and rules, and Access. Each part has a
file and a component of its own; what they share (account, zone, plan) is set once, here.
"""

from dataclasses import dataclass
from typing import Self

import pulumi

from components.cloudflare.access import AccessPolicies, AccessPoliciesArgs
from components.cloudflare.connector import ConnectorArgs, TunnelConnector
from components.cloudflare.dns import PublicDns, PublicDnsArgs
from components.cloudflare.tunnel import CloudflareTunnel, TunnelArgs
from components.cloudflare.zone import ZoneSecurity, ZoneSecurityArgs
from settings.applications import Published
from settings.charts.model import Chart
from settings.cloudflare.access import protected_hosts
from settings.cloudflare.edge import Cloudflare
from settings.cloudflare.limits import beyond_plan
from settings.cluster import Cluster
from settings.ingress import Ingress
from settings.monitoring import Monitoring
from settings.stack import Settings


@dataclass(frozen=True, kw_only=True)
class CloudflareEdgeArgs:
    """The edge's settings, valid as a whole, and what it leads to.

    `chart` and `external_dns_token` are external-dns's, None without it. `namespace` is the ingress controllers' and
    must exist. `origin_service` is the external controller's Service, as `name.namespace.svc`, in `cluster_domain`.
    `owner` marks the records of this stack. `warnings` are said to whoever previews. Secrets arrive as secret outputs.
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
    cluster_domain: str
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        namespace: pulumi.Input[str],
        origin_service: pulumi.Input[str],
        owner: str,
    ) -> Self:
        """What this component takes of a stack's settings."""
        return cls(
            cloudflare=settings.cloudflare,
            cluster=settings.cluster,
            ingress=settings.ingress,
            monitoring=settings.monitoring,
            chart=settings.charts.get("external-dns"),
            namespace=namespace,
            origin_service=origin_service,
            published=settings.published,
            tunnel_secret=settings.secrets["cloudflareTunnelSecret"],
            external_dns_token=settings.secrets.get("externalDnsApiToken"),
            owner=owner,
            protect=settings.kubernetes.protect,
            cluster_domain=settings.discovery.coredns.cluster_domain,
            warnings=tuple(beyond_plan(settings)),
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
        for text in args.warnings:
            pulumi.warn(text, self)
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
                idle_seconds=args.ingress.classes[edge.tunnel.ingress_class].tuning.keepalive_timeout_seconds,
                tunnel_secret=args.tunnel_secret,
                alert_emails=edge.notifications.emails if edge.notifications else (),
                protect=args.protect,
                cluster_domain=args.cluster_domain,
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
