"""The Cloudflare tunnel: the only way in from the internet, without an open port.

Owns the tunnel, which is managed at Cloudflare, and its ingress rules. Leaves the connectors that hold it up to
`connector`, the names that lead to it to `dns`, and everything behind it to the external ingress controller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi

from components.sdk import cloudflare
from settings.cloudflare.tunnel import Tunnel, TunnelRule
from settings.discovery import CLUSTER_DOMAIN

if TYPE_CHECKING:
    import pulumi_cloudflare

CA_FILE = "/etc/cloudflared/origin/ca.crt"
"""Where connectors find the origin's certificate authority, if it is not a public one."""

CLOUDFLARED_IDLE_SECONDS = 90
"""How long cloudflared keeps an idle connection to an origin by itself; longer than NGINX does."""


def rule_ca_file(secret: str) -> str:
    """Where connectors find the certificate authority of a rule of its own, by the name of its Secret."""
    return f"/etc/cloudflared/rules/{secret}/ca.crt"


CATCH_ALL = "http_status:404"
"""What every request gets that no rule takes."""


@dataclass(frozen=True, kw_only=True)
class TunnelArgs:
    """The tunnel's settings and what lies behind it; all arrive valid.

    `hostname` is the tunnel's public name. `origin_service` is the external controller's Service, as
    `name.namespace.svc`, and `cluster_domain` the domain that it is in; `private_ca` says that connectors find the
    authority of its certificate at CA_FILE. `idle_seconds` is how long the controller keeps an idle connection.
    `tunnel_secret` is 32 bytes or more in base64. `alert_emails` get mail when the tunnel degrades or goes down.
    """

    tunnel: Tunnel
    account_id: str
    domain: str
    hostname: str
    origin_service: pulumi.Input[str]
    private_ca: bool
    idle_seconds: int
    tunnel_secret: pulumi.Output[str]
    alert_emails: tuple[str, ...]
    protect: bool
    cluster_domain: str = CLUSTER_DOMAIN


class CloudflareTunnel(pulumi.ComponentResource):
    """The tunnel, its ingress rules and its health alert (`anton:network:CloudflareTunnel`).

    `target` is what a DNS record points at. `token` is the connectors' credential: a secret, and no registered output.
    """

    tunnel_id: pulumi.Output[str]
    target: pulumi.Output[str]
    token: pulumi.Output[str]

    def __init__(self, name: str, args: TunnelArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:CloudflareTunnel", name, {}, opts)
        for host in (rule.host for rule in args.tunnel.rules if rule.no_tls_verify):
            pulumi.warn(f"{host}: noTlsVerify takes any certificate from its origin; originCaSecret names one", self)
        tunnel = cloudflare.ZeroTrustTunnelCloudflared(
            f"{name}-tunnel",
            account_id=args.account_id,
            name=args.tunnel.name,
            config_src="cloudflare",
            # Cloudflare never returns the secret, so the state is all there is to compare with. The stack's config is
            # its one source: as long as that stays, nothing differs; a new value is a rotation, which the preview shows
            # as an update in place. Ignoring changes would hide the rotation, and leave an imported tunnel without its
            # secret.
            tunnel_secret=args.tunnel_secret,
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        cloudflare.ZeroTrustTunnelCloudflaredConfig(
            f"{name}-config",
            account_id=args.account_id,
            tunnel_id=tunnel.id,
            config=cloudflare.ZeroTrustTunnelCloudflaredConfigConfigArgs(ingresses=ingress_rules(args)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        if args.alert_emails:
            _health_alert(name, args, tunnel.id, self)
        self.tunnel_id = tunnel.id
        self.target = pulumi.Output.concat(tunnel.id, ".cfargotunnel.com")
        # Asked for after an update of the tunnel, hence new after a rotation. The SDK does not mark it as secret.
        self.token = pulumi.Output.secret(
            cloudflare.get_zero_trust_tunnel_cloudflared_token_output(
                account_id=args.account_id, tunnel_id=tunnel.id, opts=pulumi.InvokeOutputOptions(parent=self)
            ).token
        )
        self.register_outputs({"tunnel_id": self.tunnel_id, "target": self.target})


def ingress_rules(args: TunnelArgs) -> "Sequence[pulumi_cloudflare.ZeroTrustTunnelCloudflaredConfigConfigIngressArgs]":
    """The tunnel's ingress rules in order: the settings' own, the domain and its subdomains, the catch-all.

    cloudflared takes the first rule that matches, and refuses a list whose last rule has a host or a path.
    """
    rule = cloudflare.ZeroTrustTunnelCloudflaredConfigConfigIngressArgs
    origin = cloudflare.ZeroTrustTunnelCloudflaredConfigConfigIngressOriginRequestArgs
    controller = pulumi.Output.format("https://{0}.{1}:443", args.origin_service, args.cluster_domain)
    return [
        *(
            rule(
                hostname=extra.host,
                path=extra.path,
                service=extra.service,
                origin_request=_own_origin(extra),
            )
            for extra in args.tunnel.rules
        ),
        *(
            rule(
                hostname=host,
                service=controller,
                origin_request=origin(
                    # The name in the controller's default certificate; the request keeps its own Host.
                    origin_server_name=args.hostname,
                    # False is Cloudflare's default, and comes back from the API as nothing.
                    http2_origin=args.tunnel.http2_origin or None,
                    connect_timeout=args.tunnel.connect_timeout_seconds,
                    keep_alive_timeout=idle_timeout(args.idle_seconds),
                    ca_pool=CA_FILE if args.private_ca else None,
                ),
            )
            for host in (args.domain, f"*.{args.domain}")
        ),
        rule(service=CATCH_ALL),
    ]


def _own_origin(
    rule: TunnelRule,
) -> "pulumi_cloudflare.ZeroTrustTunnelCloudflaredConfigConfigIngressOriginRequestArgs | None":
    """What a rule of its own says of its origin; None for nothing, since an empty one would differ in every preview."""
    if not (rule.origin_server_name or rule.origin_ca_secret or rule.no_tls_verify):
        return None
    return cloudflare.ZeroTrustTunnelCloudflaredConfigConfigIngressOriginRequestArgs(
        origin_server_name=rule.origin_server_name,
        ca_pool=rule_ca_file(rule.origin_ca_secret) if rule.origin_ca_secret else None,
        no_tls_verify=True if rule.no_tls_verify else None,
    )


def idle_timeout(origin_seconds: int) -> int:
    """After how many seconds connectors give up an idle connection: before the origin does.

    A request on a connection that the origin closes at that moment is lost, unless it can be sent again.
    """
    return max(1, min(CLOUDFLARED_IDLE_SECONDS, origin_seconds - 5))


def _health_alert(name: str, args: TunnelArgs, tunnel_id: pulumi.Output[str], parent: pulumi.Resource) -> None:
    cloudflare.NotificationPolicy(
        f"{name}-health",
        account_id=args.account_id,
        name=f"Health of tunnel {args.tunnel.name}",
        alert_type="tunnel_health_event",
        enabled=True,
        mechanisms=cloudflare.NotificationPolicyMechanismsArgs(
            emails=[cloudflare.NotificationPolicyMechanismsEmailArgs(id=email) for email in args.alert_emails]
        ),
        filters=cloudflare.NotificationPolicyFiltersArgs(
            tunnel_ids=[tunnel_id],
            new_statuses=["TUNNEL_STATUS_TYPE_HEALTHY", "TUNNEL_STATUS_TYPE_DEGRADED", "TUNNEL_STATUS_TYPE_DOWN"],
        ),
        opts=pulumi.ResourceOptions(parent=parent),
    )
