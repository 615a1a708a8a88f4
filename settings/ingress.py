"""The ingress layer: what an ingress class and its ingress-nginx controller may be asked for."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from settings.fields import (
    DnsLabel,
    Form,
    Model,
    NginxSize,
    OneANode,
    Problem,
    ResourceAmounts,
    Resources,
    Seconds,
    below,
    over,
)

ImageReference = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][-a-z0-9._:/]*/[-a-z0-9._/]+:[-\w.]+(@sha256:[0-9a-f]{64})?$"),
    Form("must be registry/repository:tag, with @sha256: and a digest where wanted"),
]
"""A container image with registry, tag and, better, digest."""

ClassName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z]([-a-z0-9]{0,26}[a-z0-9])?$"),
    Form(
        "must start with a letter and be at most 28 lower-case letters, digits and hyphens, with no hyphen at its end: "
        "Services are called <class>-ingress-nginx-controller-admission and so on"
    ),
    Field(examples=["internal"]),
]
"""The name of an ingress class: with what the chart puts behind it, each of the controller's names must be valid."""

HeaderName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$"), Form("must be a header's name: letters, digits and hyphens")
]
"""The name of an HTTP header."""

HeaderValue = Annotated[str, StringConstraints(pattern=r"^[^{}\r\n]+$"), Form("must be one line without braces")]
"""The value of an HTTP header; no braces, which the chart would run through its template engine."""

UserAgent = Annotated[
    str, StringConstraints(pattern=r"^[^,{}\r\n]+$"), Form("must be one line without commas and braces")
]
"""A User-Agent, or `~` and a regular expression; no comma, which separates entries, and no braces."""

KEEPALIVE_REQUESTS = 1000
"""NGINX's own default. A page of some hundred pictures comes over one HTTP/2 connection, which must outlive it."""

TUNNEL_KEEPALIVE_REQUESTS = 10000
"""For the class behind the tunnel, where all clients share the connectors' few connections."""

HTTP2_STREAMS = 128
"""Requests that NGINX takes at once over one HTTP/2 connection, by default; each counts as a connection."""

DEFAULT_ADD_HEADERS = {
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}


class ServiceType(StrEnum):
    """How the controller is reached: from inside the cluster only, or at a LoadBalancer address as well."""

    CLUSTER_IP = "ClusterIP"
    LOAD_BALANCER = "LoadBalancer"


class ClientAddress(StrEnum):
    """Where the controller learns the client's address: from the connection, or from Cloudflare's header."""

    CONNECTION = "connection"
    CLOUDFLARE = "cloudflare"


class CertificateIssuer(StrEnum):
    """Who signs certificates: Let's Encrypt for public names, or the cluster's own certificate authority."""

    LETSENCRYPT = "letsencrypt"
    INTERNAL_CA = "internal-ca"


class TlsProtocol(StrEnum):
    """TLS versions that may be offered; older ones are refused."""

    V1_2 = "TLSv1.2"
    V1_3 = "TLSv1.3"


class Hsts(Model):
    """Strict-Transport-Security (RFC 6797)."""

    enabled: bool = Field(default=True, description="send the header")
    max_age_seconds: Seconds = Field(default=31536000, description="how long browsers insist on HTTPS")
    include_subdomains: bool = Field(default=True, description="for all subdomains as well")
    preload: bool = Field(default=False, description="ask to be built into browsers; hard to take back")


class Tls(Model):
    """TLS towards clients."""

    protocols: tuple[TlsProtocol, ...] = Field(
        default=(TlsProtocol.V1_2, TlsProtocol.V1_3),
        min_length=1,
        description="versions offered",
        examples=[["TLSv1.2", "TLSv1.3"]],
    )
    ciphers: tuple[
        Annotated[str, StringConstraints(pattern=r"^[-A-Z0-9]+$"), Form("must be a cipher by its OpenSSL name")], ...
    ] = Field(
        default=(
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
        ),
        min_length=1,
        description="cipher suites for TLS 1.2, in OpenSSL's names",
        examples=[["ECDHE-ECDSA-AES128-GCM-SHA256"]],
    )
    session_cache_size: NginxSize = Field(default="10m", description="shared session cache")
    session_timeout_minutes: int = Field(default=10, gt=0, description="lifetime of a session", examples=[10])
    hsts: Hsts = Field(default=Hsts(), description="Strict-Transport-Security")


class Limits(Model):
    """Limits per client address and controller replica, unless an Ingress sets its own by annotation.

    The defaults let several pages of some hundred pictures through at once, and stop a client that goes on at 50
    requests a second within a minute.
    """

    requests_per_minute: int = Field(default=600, gt=0, description="steady rate of requests", examples=[600])
    burst_multiplier: int = Field(default=3, gt=0, description="burst as a multiple of the rate", examples=[3])
    connections: int = Field(
        default=2 * HTTP2_STREAMS,
        gt=0,
        description="concurrent connections; over HTTP/2, concurrent requests",
        examples=[2 * HTTP2_STREAMS],
    )


class Tuning(Model):
    """NGINX settings; each becomes one key of the controller's ConfigMap (`config_map`)."""

    worker_processes: Annotated[str, Form("must be auto or a number")] = Field(
        default="auto", pattern=r"^(auto|[1-9][0-9]*)$", description="NGINX workers", examples=["auto"]
    )
    worker_connections: int = Field(default=1024, gt=0, description="connections per worker", examples=[1024])
    worker_open_files: int = Field(default=65535, gt=0, description="open files per worker", examples=[65535])
    keepalive_timeout_seconds: Seconds = Field(default=65, description="idle client connection")
    keepalive_requests: int | None = Field(
        default=None,
        gt=0,
        description=f"requests per client connection; {KEEPALIVE_REQUESTS} when unset, and "
        f"{TUNNEL_KEEPALIVE_REQUESTS} for the class behind the tunnel",
        examples=[1000],
    )
    client_body_buffer_size: NginxSize = Field(default="128k", description="request body kept in memory")
    client_max_body_size: NginxSize = Field(default="50m", description="largest request body; 0 is no limit")
    proxy_buffer_size: NginxSize = Field(default="4k", description="response headers")
    proxy_buffers: int = Field(default=8, ge=2, description="buffers per response", examples=[8])
    proxy_connect_timeout_seconds: Seconds = Field(default=5, description="connecting to a backend")
    proxy_read_timeout_seconds: Seconds = Field(default=60, description="between two reads from a backend")
    proxy_send_timeout_seconds: Seconds = Field(default=60, description="between two writes to a backend")
    gzip: bool = Field(default=True, description="compress responses")
    gzip_level: int = Field(default=6, ge=1, le=9, description="effort of compression", examples=[6])
    gzip_types: tuple[
        Annotated[str, StringConstraints(pattern=r"^[\w.+-]+/[\w.+*-]+$"), Form("must be a media type: type/subtype")],
        ...,
    ] = Field(
        default=("text/plain", "application/json", "application/javascript", "text/css"),
        min_length=1,
        description="media types to compress",
        examples=[["text/plain"]],
    )


class Autoscaling(Model):
    """HorizontalPodAutoscaler of a controller."""

    min_replicas: int = Field(
        default=2, ge=2, description="never fewer; one would be no high availability", examples=[2]
    )
    max_replicas: Annotated[int, OneANode(least=2)] = Field(
        default=3,
        ge=2,
        description="never more; one fits on a node, and by default there are no more than nodes",
        examples=[3],
    )
    cpu_percent: int = Field(default=50, gt=0, le=100, description="target use of the CPU request", examples=[50])
    memory_percent: int = Field(default=70, gt=0, le=100, description="target use of the memory request", examples=[70])
    scale_down_window_seconds: int = Field(
        default=300, ge=0, le=3600, description="how long a lower need must last", examples=[300]
    )


CONTROLLER_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="100m", memory="256Mi"), limits=ResourceAmounts(cpu="1", memory="500Mi")
)


class Controller(Model):
    """One ingress class and its controller."""

    controller_value: (
        Annotated[
            str,
            StringConstraints(pattern=r"^[-a-z0-9.]+/[-a-zA-Z0-9._/]+$"),
            Form("must be a domain, a slash and a name"),
        ]
        | None
    ) = Field(
        default=None,
        description="controller of the IngressClass; `k8s.io/<class>` when unset",
        examples=["k8s.io/internal"],
    )
    election_id: DnsLabel | None = Field(
        default=None,
        description="leader election; `<class>-ingress-nginx-leader` when unset",
        examples=["internal-leader"],
    )
    default: bool = Field(default=False, description="take Ingress objects that name no class")
    service_type: ServiceType = Field(
        default=ServiceType.CLUSTER_IP,
        description="`ClusterIP` (behind the tunnel only) or `LoadBalancer` (at `loadBalancer.addresses.<class>`)",
        examples=["ClusterIP"],
    )
    client_address: ClientAddress = Field(
        default=ClientAddress.CONNECTION,
        description="`connection`, or `cloudflare`: the CF-Connecting-IP header, believed only from pods",
        examples=["connection"],
    )
    replicas: Annotated[int, OneANode()] = Field(
        default=2,
        ge=1,
        description="controller pods without autoscaling, one a node; by default no more than there are nodes",
        examples=[2],
    )
    autoscaling: Autoscaling | None = Field(default=None, description="scale by load", examples=[{"maxReplicas": 3}])
    min_available: int = Field(default=1, ge=1, description="pods that a node drain must leave", examples=[1])
    resources: Annotated[Resources, over(CONTROLLER_RESOURCES)] = Field(
        default=CONTROLLER_RESOURCES, description="requests and limits"
    )
    default_certificate: (
        Annotated[str, StringConstraints(pattern=r"^[-a-z0-9]+/[-a-z0-9.]+$"), Form("must be namespace/secret")] | None
    ) = Field(
        default=None,
        description="`namespace/secret` of the certificate for hosts without their own; `<namespace>/<class>-tls` when "
        "unset and `certificateIssuer` is set",
        examples=["network/example-com-tls"],
    )
    certificate_issuer: CertificateIssuer | None = Field(
        default=None,
        description="`letsencrypt` or `internal-ca`: who signs the default certificate, a wildcard for "
        "`cluster.domain`; unset: the Secret is somebody else's",
        examples=["letsencrypt"],
    )
    default_backend: bool = Field(default=False, description="a 404 page of its own for unknown hosts")
    ssl_passthrough: bool = Field(default=False, description="hand TLS through to backends that ask for it")
    limits: Limits | None = Field(default=Limits(), description="limits per client; null for none")
    tls: Tls = Field(default=Tls(), description="TLS towards clients")
    tuning: Tuning = Field(default=Tuning(), description="NGINX itself")
    add_headers: dict[HeaderName, HeaderValue] = Field(
        default=DEFAULT_ADD_HEADERS, description="response headers to add", examples=[DEFAULT_ADD_HEADERS]
    )
    hide_headers: tuple[HeaderName, ...] = Field(
        default=("Server", "X-Powered-By"), description="backend headers to drop", examples=[["Server"]]
    )
    block_user_agents: tuple[UserAgent, ...] = Field(
        default=(), description="User-Agent values to refuse", examples=[["~*GPTBot"]]
    )

    def problems(self) -> Iterator[Problem]:
        scaling = self.autoscaling
        if scaling and scaling.max_replicas < scaling.min_replicas:
            reason = f"is less than minReplicas {scaling.min_replicas}"
            key, least = "autoscaling.maxReplicas", scaling.min_replicas
            yield Problem(key, scaling.max_replicas, reason, least, because=("autoscaling.minReplicas",))
        fewest = scaling.min_replicas if scaling else self.replicas
        if fewest > 1 and self.min_available >= fewest:
            reason = f"with {fewest} pods no node could be drained"
            yield Problem("minAvailable", self.min_available, reason, fewest - 1, because=("replicas", "autoscaling"))
        yield from below("resources", self.resources.problems())
        if self.client_address is ClientAddress.CLOUDFLARE and self.ssl_passthrough:
            reason = "traffic handed through is never decrypted, so Cloudflare's header is not seen"
            yield Problem("sslPassthrough", True, reason, False, because=("clientAddress",))


class Ingress(Model):
    """The ingress-nginx controllers."""

    namespace: DnsLabel = Field(default="network", description="namespace of the controllers", examples=["network"])
    image: ImageReference | None = Field(
        default=None,
        description="controller image; the chart's own when unset. Swap it for a maintained build here",
        examples=["registry.example.com/ingress-nginx/controller:v1.15.1"],
    )
    classes: dict[ClassName, Controller] = Field(
        default={}, description="controllers by ingress class", examples=[{"internal": {"serviceType": "LoadBalancer"}}]
    )

    def problems(self) -> Iterator[Problem]:
        for name, controller in self.classes.items():
            yield from below(f"classes.{name}", controller.problems())
        yield from self._shared("controllerValue", {name: self.controller_value(name) for name in self.classes})
        yield from self._shared("electionId", {name: self.election_id(name) for name in self.classes})
        defaults = [name for name, controller in self.classes.items() if controller.default]
        for name in defaults[1:]:
            reason = f"class {defaults[0]} is the default already; with two, an Ingress without a class is rejected"
            yield Problem(f"classes.{name}.default", True, reason, False)

    def _shared(self, key: str, effective: dict[str, str]) -> Iterator[Problem]:
        owners: dict[str, str] = {}
        for name, value in effective.items():
            first = owners.setdefault(value, name)
            if first != name:
                example = f"k8s.io/{name}" if key == "controllerValue" else f"{name}-ingress-nginx-leader"
                reason = f"is that of class {first} too; both controllers would serve the same Ingress objects"
                if key == "electionId":
                    reason = f"is that of class {first} too; one controller would never write status"
                yield Problem(f"classes.{name}.{key}", value, reason, example)

    def controller_value(self, name: str) -> str:
        """The controller value in force for a class (spec, Ingress Classes)."""
        return self.classes[name].controller_value or f"k8s.io/{name}"

    def default_certificate(self, name: str) -> str | None:
        """`namespace/secret` of a class's default certificate, None where it has none."""
        controller = self.classes[name]
        derived = f"{self.namespace}/{name}-tls" if controller.certificate_issuer else None
        return controller.default_certificate or derived

    def election_id(self, name: str) -> str:
        """The leader election id in force for a class."""
        return self.classes[name].election_id or f"{release_name(name)}-leader"


def release_name(ingress_class: str) -> str:
    """Name of a class's release; its objects are `<release>-controller`, `-controller-metrics` and so on."""
    return f"{ingress_class}-ingress-nginx"
