"""The Cloudflare tunnel: its rules, how it speaks to the origin, and the connectors that hold it up."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from settings.fields import (
    WITHOUT,
    DnsLabel,
    DomainName,
    Form,
    Model,
    OneANode,
    Problem,
    ResourceAmounts,
    Resources,
    Seconds,
    below,
    over,
)
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


def _somewhere(service: str) -> str:
    found = re.fullmatch(r"\w+://([^:]+)(?::(\d+))?", service)
    host, port = (found[1], int(found[2] or 0)) if found else ("", 0)
    if port > 65535:
        raise ValueError(f"has port {port}, and ports end at 65535")
    if host == "localhost":
        raise ValueError("would be the connector's own pod")
    if re.fullmatch(r"[0-9.]+", host):
        try:
            address = IPv4Address(host)
        except AddressValueError:
            raise ValueError(f"has the host {host}, which is no IPv4 address") from None
        if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_reserved:
            raise ValueError(f"has the host {host}, where no connector finds a server of yours")
    return service


PinnedImage = Annotated[ImageReference, AfterValidator(_pinned)]
"""A container image of a fixed version."""

TunnelService = Annotated[
    str,
    StringConstraints(
        pattern=r"^((https?|tcp|ssh|rdp|smb)://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[1-9][0-9]{0,4})?|http_status:[1-5][0-9]{2})$"
    ),
    Form("must be scheme://host or scheme://host:port without a path, or http_status:CODE"),
    AfterValidator(_somewhere),
    Field(examples=["http://status.monitoring.svc.cluster.local:8080"]),
]
"""Where cloudflared sends requests: scheme, host and port without a path, or a fixed HTTP status."""


PRIVATE_SUFFIXES = (".svc", ".cluster.local", ".home.arpa", ".internal", ".lan", ".home", ".local")
"""Ends of names that no public authority knows."""


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


DEFAULT_PORTS = {"http": 80, "https": 443, "ssh": 22, "rdp": 3389, "smb": 445, "tcp": 7864}
"""Where cloudflared connects when a service names no port."""


@dataclass(frozen=True)
class Origin:
    """Where cloudflared connects for a rule."""

    scheme: str
    host: str
    port: int


def origin_of(service: str) -> Origin | None:
    """Where a rule's service leads, None for a fixed status."""
    url = urlsplit(service)
    if not url.hostname:
        return None
    return Origin(url.scheme, url.hostname, url.port or DEFAULT_PORTS.get(url.scheme, 443))


class TunnelRule(Model):
    """A host, or a part of one, that does not go to the ingress controller."""

    host: DomainName = Field(description="public host name, under `cluster.domain`", examples=["status.example.com"])
    path: Annotated[str, StringConstraints(min_length=1), AfterValidator(_expression)] | None = Field(
        default=None,
        description="regular expression that the path must contain; any path when unset",
        examples=["^/hook"],
    )
    service: TunnelService = Field(
        description="where requests go: a Service (`name.namespace` will do), a machine on the LAN or a status; the "
        "certificate of an HTTPS origin is verified"
    )
    origin_server_name: DomainName | None = Field(
        default=None, description="name in the origin's certificate, where it is not the service's own"
    )
    origin_ca_secret: DnsLabel | None = Field(
        default=None,
        description="Secret in the ingress namespace whose `ca.crt` signs the origin's certificate; public authorities "
        "when unset",
        examples=["nas-ca"],
    )
    no_tls_verify: bool = Field(
        default=False,
        description="take any certificate from the origin: whoever is in between can read and change everything",
    )

    def problems(self) -> Iterator[Problem]:
        choices: dict[str, str | bool | None] = {
            "originServerName": self.origin_server_name,
            "originCaSecret": self.origin_ca_secret,
            "noTlsVerify": self.no_tls_verify,
        }
        for key, value in choices.items():
            if value and not self.service.startswith("https://"):
                yield Problem(key, value, f"would have no effect: {self.service} is not HTTPS", WITHOUT)
            elif value and self.no_tls_verify and key != "noTlsVerify":
                reason = "would have no effect: noTlsVerify takes any certificate"
                yield Problem(key, value, reason, WITHOUT, because=("noTlsVerify",))


def is_public(host: str) -> bool:
    """Whether a public authority could sign a certificate for it."""
    try:
        return not IPv4Address(host).is_private
    except AddressValueError:
        return "." in host and not host.endswith(PRIVATE_SUFFIXES)


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
    replicas: Annotated[int, OneANode()] = Field(
        default=2,
        ge=1,
        description="connectors, one a node; each holds four connections; at least 2 where there are two nodes, "
        "and by default no more than there are nodes",
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
            yield Problem("postQuantum", True, reason, False, because=("transport",))
        owners: dict[tuple[str, str | None], int] = {}
        for index, rule in enumerate(self.rules):
            yield from below(f"rules[{index}]", rule.problems())
            first = next((owners[key] for key in ((rule.host, None), (rule.host, rule.path)) if key in owners), None)
            if first is not None:
                reason = f"is never reached: cloudflare.tunnel.rules[{first}] takes the same requests before it"
                because = (f"rules[{first}]", f"rules[{index}]")
                yield Problem(f"rules[{index}].host", rule.host, reason, WITHOUT, because)
            owners.setdefault((rule.host, rule.path), index)
        yield from below("resources", self.resources.problems())
