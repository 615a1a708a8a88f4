"""Applications: an operator's services, published by one typed entry each.

Owns the Ingress objects, never the Services behind them. What else an entry asks for is derived from it by the layer
that owns it: the public name and the Access application (`cloudflare`), the flow from the controller to the pods
(`policies`), the answer on the LAN (`discovery`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pydantic import AfterValidator, Field, StringConstraints

from components.certificates import cluster_issuer
from components.fields import DnsLabel, DomainName, Form, LabelValue, Model, NginxSize

if TYPE_CHECKING:
    from components.rules.layers import Layers

TAILSCALE_CLASS = "tailscale"
"""The ingress class of the Tailscale operator; every other class is one of `ingress.classes`."""

UNKNOWN_TAILNET = "<tailnet>.ts.net"
"""Stands for the tailnet's DNS name where the settings do not hold it; the admin console shows it under DNS."""

PROXY_GROUP = "ingress"
"""The Tailscale proxies that serve that class together, where there are any."""

Port = Annotated[int, Field(ge=1, le=65535, examples=[8080])]
"""A TCP or UDP port."""

WildcardPath = Annotated[
    str,
    StringConstraints(pattern=r"^/[^\s?#{}]*$"),
    Form("must be the path of a URL: from its first slash on, without blanks, ?, # and braces"),
    Field(examples=["/"]),
]
"""The path of a URL, from its first slash on, where a `*` may stand for something."""


def _without_wildcard(value: str) -> str:
    if "*" in value:
        raise ValueError("has a *, which is no wildcard here: a path covers all that begins with it")
    return value


UrlPath = Annotated[WildcardPath, AfterValidator(_without_wildcard)]
"""The path of a URL, from its first slash on; it covers what begins with it, so it has no wildcard."""

LabelKey = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"),
    Form("must be a label key: a name, or a domain, a slash and a name"),
    Field(examples=["app.kubernetes.io/name"]),
]
"""A Kubernetes label key, with or without a prefix."""


class ApplicationLimits(Model):
    """Limits of one application; what is left out is the default of its ingress class."""

    requests_per_minute: int | None = Field(
        default=None, gt=0, description="steady rate of requests per client address", examples=[100]
    )
    connections: int | None = Field(
        default=None, gt=0, description="concurrent connections per client address", examples=[20]
    )
    body_size: NginxSize | None = Field(default=None, description="largest request body; 0 is no limit")


class Application(Model):
    """One published service."""

    ingress_class: DnsLabel = Field(
        description="who may reach it: a class of `ingress.classes`, or `tailscale`", examples=["internal"]
    )
    namespace: DnsLabel = Field(description="namespace of the Service", examples=["production"])
    service: DnsLabel | None = Field(default=None, description="name of the Service; the entry's own name when unset")
    port: Port = Field(description="port of the Service", examples=[80])
    pod_labels: dict[LabelKey, LabelValue] | None = Field(
        default=None,
        min_length=1,
        description="labels of the pods behind the Service; `app: <service>` when unset",
        examples=[{"app": "web"}],
    )
    pod_port: Port | None = Field(default=None, description="port of the pods; that of the Service when unset")
    host: DomainName | None = Field(
        default=None,
        description="name under which it is published; `<entry>.<cluster.domain>` when unset, and on class tailscale "
        "always `<entry>` in the tailnet's own domain",
        examples=["app.example.com"],
    )
    path: UrlPath = Field(default="/", description="path below which it is published")
    limits: ApplicationLimits = Field(default=ApplicationLimits(), description="limits where the class has others")
    access: tuple[DnsLabel, ...] = Field(
        default=(),
        description="policies of `cloudflare.access.policies` that let people in, first match wins; class with the "
        "Cloudflare tunnel only",
        examples=[["staff"]],
    )


class ApplicationSet(Model):
    """Published services by name."""

    mapping_field: ClassVar[str | None] = "entries"

    entries: dict[DnsLabel, Application] = Field(default={}, description="published services by name")

    def published(self, domain: str) -> list["Published"]:
        """Every entry with its defaults filled in; `domain` is `cluster.domain`."""
        return [Published.of(name, entry, domain) for name, entry in self.entries.items()]


@dataclass(frozen=True, kw_only=True)
class Published:
    """An application as the layers see it, without anything left open.

    `host` is a full name, on class tailscale the short name of the device.
    """

    name: str
    ingress_class: str
    namespace: str
    service: str
    port: int
    pod_labels: Mapping[str, str]
    pod_port: int
    host: str
    path: str
    limits: ApplicationLimits
    access: tuple[str, ...]

    @classmethod
    def of(cls, name: str, entry: Application, domain: str) -> "Published":
        """The entry `name` with its defaults for a cluster of that domain."""
        service = entry.service or name
        return cls(
            name=name,
            ingress_class=entry.ingress_class,
            namespace=entry.namespace,
            service=service,
            port=entry.port,
            pod_labels=entry.pod_labels or {"app": service},
            pod_port=entry.pod_port or entry.port,
            host=name if entry.ingress_class == TAILSCALE_CLASS else entry.host or f"{name}.{domain}",
            path=entry.path,
            limits=entry.limits,
            access=entry.access,
        )


def covered_by_wildcard(host: str, domain: str) -> bool:
    """Whether a certificate for `domain` and `*.domain` is good for `host`: a wildcard stands for one label."""
    return host == domain or host.partition(".")[2] == domain


@dataclass(frozen=True, kw_only=True)
class ApplicationsArgs:
    """The applications, and what the layers before them say about their classes.

    `tunnel_class` is the class behind the Cloudflare tunnel and `tunnel_hostname` the name that its hosts point to,
    both None without Cloudflare; `issuers` names the ClusterIssuer of each class that has one. `proxy_group` names the
    proxies that serve class tailscale together, None where each application has one of its own; `tailnet_domain` is the
    DNS name of the tailnet.
    """

    published: list[Published]
    domain: str
    tunnel_class: str | None
    tunnel_hostname: str | None
    issuers: Mapping[str, str]
    proxy_group: str | None
    tailnet_domain: str = UNKNOWN_TAILNET

    @classmethod
    def of(cls, layers: "Layers") -> Self:
        """What this component takes of a stack's settings."""
        domain, edge, tailnet = layers.cluster.domain, layers.cloudflare, layers.tailscale.tailnet
        signers = {name: controller.certificate_issuer for name, controller in layers.ingress.classes.items()}
        return cls(
            published=layers.published,
            domain=domain,
            tunnel_class=edge.tunnel.ingress_class if edge.enabled else None,
            tunnel_hostname=edge.hostname(domain) if edge.enabled else None,
            issuers={name: cluster_issuer(layers.certificates, signer) for name, signer in signers.items() if signer},
            proxy_group=PROXY_GROUP if layers.tailscale.proxy_group else None,
            tailnet_domain=tailnet.name if tailnet and tailnet.name.endswith(".ts.net") else UNKNOWN_TAILNET,
        )


class Applications(pulumi.ComponentResource):
    """The published services (`anton:network:Applications`).

    Registers one Ingress an entry. `urls` says where each is reached.
    """

    urls: pulumi.Output[dict[str, str]]

    def __init__(self, name: str, args: ApplicationsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:Applications", name, {}, opts)
        for application in args.published:
            # As a manifest: the SDK's class for it costs twice the time, and a cluster has many (ADR 0008).
            CustomResource(
                f"{name}-{application.name}",
                api_version="networking.k8s.io/v1",
                kind="Ingress",
                metadata={
                    "name": application.name,
                    "namespace": application.namespace,
                    "annotations": _annotations(application, args),
                },
                spec=_tailscale_spec(application)
                if application.ingress_class == TAILSCALE_CLASS
                else _nginx_spec(application, args),
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.urls = pulumi.Output.from_input({each.name: _url(each, args.tailnet_domain) for each in args.published})
        self.register_outputs({"urls": self.urls})


def _url(application: Published, tailnet_domain: str) -> str:
    in_tailnet = application.ingress_class == TAILSCALE_CLASS
    host = f"{application.host}.{tailnet_domain}" if in_tailnet else application.host
    return f"https://{host}{application.path}"


def _annotations(application: Published, args: ApplicationsArgs) -> dict[str, str]:
    """What the controller, external-dns and cert-manager read (facts sections 3.3, 5.2 and 8)."""
    limits = application.limits
    annotations: dict[str, object] = {
        # Whether the Service and its pods are there is their owner's business; an update must not wait for them.
        "pulumi.com/skipAwait": "true",
        "nginx.ingress.kubernetes.io/limit-rpm": limits.requests_per_minute,
        "nginx.ingress.kubernetes.io/limit-connections": limits.connections,
        "nginx.ingress.kubernetes.io/proxy-body-size": limits.body_size,
    }
    if application.ingress_class == args.tunnel_class:
        # Else external-dns would publish the controller's own address, which is private.
        annotations["external-dns.alpha.kubernetes.io/target"] = args.tunnel_hostname
    if application.ingress_class == TAILSCALE_CLASS:
        annotations["tailscale.com/proxy-group"] = args.proxy_group
    else:
        annotations["cert-manager.io/cluster-issuer"] = _own_issuer(application, args)
    return {key: str(value) for key, value in annotations.items() if value is not None}


def _own_issuer(application: Published, args: ApplicationsArgs) -> str | None:
    """The issuer of a certificate for this host alone, None where the class's wildcard is good for it.

    A host behind the tunnel can do without: connectors ask for the tunnel's own name, whatever the host.
    """
    covered = covered_by_wildcard(application.host, args.domain)
    return None if covered else args.issuers.get(application.ingress_class)


def _nginx_spec(application: Published, args: ApplicationsArgs) -> dict[str, Any]:
    tls: dict[str, Any] = {"hosts": [application.host]}
    # Without a Secret the controller takes its default certificate, the wildcard.
    if _own_issuer(application, args):
        tls["secretName"] = f"{application.name}-tls"
    return {
        "ingressClassName": application.ingress_class,
        "tls": [tls],
        "rules": [{"host": application.host, "http": _paths(application)}],
    }


def _tailscale_spec(application: Published) -> dict[str, Any]:
    """The operator names the device after the TLS host and serves no other; a rule therefore names none."""
    return {
        "ingressClassName": TAILSCALE_CLASS,
        "tls": [{"hosts": [application.host]}],
        "rules": [{"http": _paths(application)}],
    }


def _paths(application: Published) -> dict[str, Any]:
    service = {"name": application.service, "port": {"number": application.port}}
    return {"paths": [{"path": application.path, "pathType": "Prefix", "backend": {"service": service}}]}
