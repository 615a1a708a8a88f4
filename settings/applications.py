"""Applications that are published: what one entry may say, and what it says with nothing left open (`Published`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, StringConstraints

from settings.fields import DnsLabel, DomainName, Form, LabelValue, Model, NginxSize

TAILSCALE_CLASS = "tailscale"
"""The ingress class of the Tailscale operator; every other class is one of `ingress.classes`."""

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
        default=None, gt=0, description="steady rate of requests per client address, burst five times", examples=[600]
    )
    connections: int | None = Field(
        default=None,
        gt=0,
        description="concurrent connections per client address; over HTTP/2, concurrent requests",
        examples=[256],
    )
    body_size: NginxSize | None = Field(default=None, description="largest request body; 0 is no limit")

    @property
    def by_client(self) -> bool:
        """Whether something is counted by client address."""
        return self.requests_per_minute is not None or self.connections is not None


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
