"""The Cloudflare tunnel: the only way in from the internet, without an open port.

Owns the tunnel, which is managed at Cloudflare, and its ingress rules. Leaves the connectors that hold it up to
`connector`, the names that lead to it to `public_dns`, and everything behind it to the external ingress controller.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import pulumi
from pydantic import AfterValidator, Field, StringConstraints

from components.fields import DnsLabel, DomainName, Form, Model, Problem, ResourceAmounts, Resources, Seconds, over
from components.nginx import ImageReference
from components.sdk import cloudflare

if TYPE_CHECKING:
    import pulumi_cloudflare

CA_FILE = "/etc/cloudflared/origin/ca.crt"
"""Where connectors find the origin's certificate authority, if it is not a public one."""

CATCH_ALL = "http_status:404"
"""What every request gets that no rule takes."""


def _pinned(reference: str) -> str:
    if reference.partition("@")[0].endswith(":latest"):
        raise ValueError("latest is whatever was pushed last, and differs from node to node; name a version")
    return reference


def _expression(value: str) -> str:
    """A regular expression in Go's dialect, which has neither look-around nor references."""
    try:
        re.compile(value)
    except re.error as fault:
        raise ValueError(f"is not a regular expression: {fault}") from None
    if re.search(r"\(\?[=!<]|\\[1-9]", value):
        raise ValueError("uses look-around or a reference, which Go's regular expressions don't know")
    return value


PinnedImage = Annotated[ImageReference, AfterValidator(_pinned)]
"""A container image of a fixed version."""

TunnelService = Annotated[
    str,
    StringConstraints(
        pattern=r"^((https?|tcp|ssh|rdp|smb)://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[1-9][0-9]{0,4})?|http_status:[1-5][0-9]{2})$"
    ),
    Form("must be scheme://host or scheme://host:port without a path, or http_status:CODE"),
    Field(examples=["http://status.monitoring.svc.cluster.local:8080"]),
]
"""Where cloudflared sends requests: scheme, host and port without a path, or a fixed HTTP status."""


class Transport(StrEnum):
    """How connectors reach Cloudflare: QUIC with HTTP/2 where QUIC does not get through, or one of the two."""

    AUTO = "auto"
    QUIC = "quic"
    HTTP2 = "http2"


class LogLevel(StrEnum):
    """What connectors log at least."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class TunnelRule(Model):
    """A host, or a part of one, that does not go to the ingress controller."""

    host: DomainName = Field(description="public host name, under `cluster.domain`", examples=["status.example.com"])
    path: Annotated[str, StringConstraints(min_length=1), AfterValidator(_expression)] | None = Field(
        default=None,
        description="regular expression that the path must contain; any path when unset",
        examples=["^/hook"],
    )
    service: TunnelService = Field(description="where requests go; certificates of HTTPS origins are always verified")
    origin_server_name: DomainName | None = Field(
        default=None, description="name in the origin's certificate, where it is not the service's own"
    )

    def problems(self) -> Iterator[Problem]:
        if self.origin_server_name and not self.service.startswith("https://"):
            reason = f"would have no effect: {self.service} is not HTTPS"
            yield Problem("originServerName", self.origin_server_name, reason, "without this key")


CONNECTOR_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="10m", memory="64Mi"), limits=ResourceAmounts(memory="256Mi")
)


class Tunnel(Model):
    """The tunnel and the connectors that hold it up."""

    name: Annotated[
        str,
        StringConstraints(pattern=r"^[a-zA-Z0-9]([-a-zA-Z0-9 ._]{0,98}[a-zA-Z0-9])?$"),
        Form("must be at most 100 letters, digits, blanks, hyphens, dots and underscores, the first and last no sign"),
    ] = Field(default="anton", description="name of the tunnel, unique in the account")
    hostname: DomainName | None = Field(
        default=None,
        description="public name of the tunnel, to which applications' names point; `external.<cluster.domain>` when "
        "unset",
        examples=["external.example.com"],
    )
    ingress_class: DnsLabel = Field(
        default="external",
        description="the class of `ingress.classes` behind the tunnel; its clientAddress is cloudflare",
    )
    rules: tuple[TunnelRule, ...] = Field(
        default=(),
        description="hosts that go elsewhere than to the ingress controller; looked at first, in this order",
        examples=[[{"host": "status.example.com", "service": "http://status.monitoring.svc.cluster.local:8080"}]],
    )
    connect_timeout_seconds: Seconds = Field(default=10, description="connecting to the ingress controller")
    origin_ca_secret: DnsLabel | None = Field(
        default=None,
        description="Secret in the ingress namespace whose `ca.crt` signs the origin's certificate. Unset: public "
        "authorities, and for a class with certificateIssuer internal-ca the Secret of its default certificate",
        examples=["origin-ca"],
    )
    image: PinnedImage = Field(default="docker.io/cloudflare/cloudflared:2026.7.3", description="image of cloudflared")
    replicas: int = Field(
        default=2,
        ge=1,
        description="connectors, one a node; each holds four connections; at least 2 where there are two nodes",
        examples=[2],
    )
    transport: Transport = Field(
        default=Transport.AUTO,
        description="`auto` (QUIC, and HTTP/2 where UDP 7844 is blocked), `quic` (UDP 7844) or `http2` (TCP 7844)",
    )
    post_quantum: bool = Field(default=False, description="insist on post-quantum key agreement; needs transport quic")
    grace_period_seconds: int = Field(
        default=30, gt=0, le=180, description="how long a stopping connector lets requests finish", examples=[30]
    )
    log_level: LogLevel = Field(default=LogLevel.INFO, description="`debug`, `info`, `warn` or `error`")
    resources: Annotated[Resources, over(CONNECTOR_RESOURCES)] = Field(
        default=CONNECTOR_RESOURCES, description="requests and limits of a connector"
    )

    def problems(self) -> Iterator[Problem]:
        if self.post_quantum and self.transport is not Transport.QUIC:
            reason = (
                f"works over QUIC only, and transport is {self.transport.value}: there would be no fallback to HTTP/2"
            )
            yield Problem("postQuantum", True, reason, "false, or transport: quic", because=("transport",))
        owners: dict[tuple[str, str | None], int] = {}
        for index, rule in enumerate(self.rules):
            yield from (problem.under(f"rules[{index}]") for problem in rule.problems())
            first = next((owners[key] for key in ((rule.host, None), (rule.host, rule.path)) if key in owners), None)
            if first is not None:
                reason = f"is never reached: cloudflare.tunnel.rules[{first}] takes the same requests before it"
                because = (f"rules[{first}]", f"rules[{index}]")
                yield Problem(f"rules[{index}].host", rule.host, reason, "another host or path", because)
            owners.setdefault((rule.host, rule.path), index)
        yield from (problem.under("resources") for problem in self.resources.problems())


@dataclass(frozen=True, kw_only=True)
class TunnelArgs:
    """The tunnel's settings and what lies behind it; all arrive valid.

    `hostname` is the tunnel's public name. `origin_service` is the external controller's Service, as
    `name.namespace.svc`; `private_ca` says that connectors find the authority of its certificate at CA_FILE.
    `tunnel_secret` is 32 bytes or more in base64. `alert_emails` get mail when the tunnel degrades or goes down.
    """

    tunnel: Tunnel
    account_id: str
    domain: str
    hostname: str
    origin_service: pulumi.Input[str]
    private_ca: bool
    tunnel_secret: pulumi.Output[str]
    alert_emails: tuple[str, ...]
    protect: bool


class CloudflareTunnel(pulumi.ComponentResource):
    """The tunnel, its ingress rules and its health alert (`anton:network:CloudflareTunnel`).

    `target` is what a DNS record points at. `token` is the connectors' credential: a secret, and no registered output.
    """

    tunnel_id: pulumi.Output[str]
    target: pulumi.Output[str]
    token: pulumi.Output[str]

    def __init__(self, name: str, args: TunnelArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:CloudflareTunnel", name, {}, opts)
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
    controller = pulumi.Output.format("https://{0}.cluster.local:443", args.origin_service)
    return [
        *(
            rule(
                hostname=extra.host,
                path=extra.path,
                service=extra.service,
                origin_request=origin(origin_server_name=extra.origin_server_name)
                if extra.origin_server_name
                else None,
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
                    http2_origin=True,
                    connect_timeout=args.tunnel.connect_timeout_seconds,
                    ca_pool=CA_FILE if args.private_ca else None,
                ),
            )
            for host in (args.domain, f"*.{args.domain}")
        ),
        rule(service=CATCH_ALL),
    ]


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
