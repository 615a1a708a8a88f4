"""The Cloudflare tunnel: its rules, how it speaks to the origin, and the connectors that hold it up."""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from settings.fields import DnsLabel, DomainName, Form, Model, Problem, ResourceAmounts, Resources, Seconds, over
from settings.ingress import ImageReference


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
    http2_origin: bool = Field(
        default=False,
        description="speak HTTP/2 to the ingress controller, as gRPC needs; requests that can't be sent again are "
        "lost when NGINX ends a connection",
    )
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
