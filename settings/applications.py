"""Applications that are published: what one entry may say, and what it says with nothing left open (`Published`)."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, StringConstraints

from settings.fields import DnsLabel, DomainName, Form, LabelValue, Model, NginxSize, Problem, ServiceName, UnreadError

TAILSCALE_CLASS = "tailscale"
"""The ingress class of the Tailscale operator; every other class is one of `ingress.classes`."""

PROXY_GROUP = "ingress"
"""The Tailscale proxies that serve that class together, where there are any."""

IMPLEMENTATION_SPECIFIC = "ImplementationSpecific"
"""The type of Ingress paths that NGINX compares by characters, `/~al` with `/~alice` too."""

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


_PREFIX = re.compile(r"/[A-Za-z0-9._/-]*")
"""Paths that the ingress controller takes with type Prefix (its strict validation of paths, on since 1.12)."""

_OTHER_CHARACTERS = "~:@!+,=&"
"""What else a path may hold as it stands in NGINX's configuration, where quotes, `$`, `;` and the like mean more."""


def _routable(value: str) -> str:
    """A path that the API server and the controller take, and that a request can have when NGINX compares them."""
    if "%" in value:
        raise ValueError("has a %, but requests are compared decoded, so that it would match none")
    if foreign := re.sub(rf"[A-Za-z0-9._/{re.escape(_OTHER_CHARACTERS)}-]", "", value):
        raise ValueError(f"has {foreign[0]}, and besides letters, digits and ._-/ it may hold {_OTHER_CHARACTERS} only")
    if re.search(r"//|/\.\.?(/|$)", value):
        raise ValueError("has an empty element, . or .. between slashes, which the API server refuses")
    if re.search(r"/etc/(passwd|shadow|group|nginx|ingress-controller)|/var/run/secrets|_by_lua", value):
        raise ValueError("holds what the ingress controller takes for an attack: a folder of its own, or _by_lua")
    return value


UrlPath = Annotated[WildcardPath, AfterValidator(_without_wildcard)]
"""The path of a URL, from its first slash on; it covers what begins with it, so it has no wildcard."""

IngressPath = Annotated[UrlPath, AfterValidator(_routable)]
"""The path of an application, which the ingress controller has to take."""

LabelKey = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"),
    Form("must be a label key: a name, or a domain, a slash and a name"),
    Field(examples=["app.kubernetes.io/name"]),
]
"""A Kubernetes label key, with or without a prefix."""


MOST_REQUESTS, MOST_CONNECTIONS = 1_000_000_000, 65535
"""What NGINX takes as a rate (it multiplies by 1000 in 63 bits) and as a number of connections."""


class ApplicationLimits(Model):
    """Limits of one application; what is left out is the default of its ingress class."""

    requests_per_minute: int | None = Field(
        default=None,
        gt=0,
        le=MOST_REQUESTS,
        description="steady rate of requests per client address, burst five times",
        examples=[600],
    )
    connections: int | None = Field(
        default=None,
        gt=0,
        le=MOST_CONNECTIONS,
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
    service: ServiceName | None = Field(
        default=None, description="name of the Service; the entry's own name when unset"
    )
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
    path: IngressPath = Field(
        default="/",
        description="path below which it is published; whole elements of it are compared, and single characters where "
        f"it has one of `{_OTHER_CHARACTERS}`",
    )
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

    def problems(self) -> Iterator[Problem]:
        for name, entry in self.entries.items():
            if name[0].isdigit() and entry.service is None:
                reason = f"would be {name}, and the name of a Service starts with a letter"
                yield Problem(f"{name}.service", None, reason, name.lstrip("0123456789-") or "my-app")

    def published(self, domain: str | None) -> list["Published"]:
        """Every entry with its defaults filled in; `domain` is `cluster.domain`, None where that could not be read."""
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

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in type(self).__dataclass_fields__:
                raise UnreadError(name)
            raise AttributeError(name)

    @property
    def path_type(self) -> str:
        """How an Ingress has to say the path.

        NGINX's controller refuses type Prefix for other characters than `_PREFIX` has. Tailscale knows one way only.
        """
        plain = self.ingress_class == TAILSCALE_CLASS or _PREFIX.fullmatch(self.path)
        return "Prefix" if plain else IMPLEMENTATION_SPECIFIC

    @classmethod
    def of(cls, name: str, entry: Application, domain: str | None) -> "Published":
        """The entry `name` with its defaults for a cluster of that domain.

        Asking it for what rests on a value that could not be read raises UnreadError.
        """
        parts: dict[str, Callable[[], object]] = {
            "name": lambda: name,
            "ingress_class": lambda: entry.ingress_class,
            "namespace": lambda: entry.namespace,
            "service": lambda: entry.service or name,
            "port": lambda: entry.port,
            "pod_labels": lambda: entry.pod_labels or {"app": entry.service or name},
            "pod_port": lambda: entry.pod_port or entry.port,
            "host": lambda: _host(name, entry, domain),
            "path": lambda: entry.path,
            "limits": lambda: entry.limits,
            "access": lambda: entry.access,
        }
        published = object.__new__(cls)
        for part, read in parts.items():
            with suppress(UnreadError):
                object.__setattr__(published, part, read())
        return published


def _host(name: str, entry: Application, domain: str | None) -> str:
    if entry.ingress_class == TAILSCALE_CLASS:
        return name
    if entry.host is None and domain is None:
        raise UnreadError("domain")
    return entry.host or f"{name}.{domain}"


def covered_by_wildcard(host: str, domain: str) -> bool:
    """Whether a certificate for `domain` and `*.domain` is good for `host`: a wildcard stands for one label."""
    return host == domain or host.partition(".")[2] == domain
