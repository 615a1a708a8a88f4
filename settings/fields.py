"""Base model and field types of the settings: what a single value may look like.

A type here judges one value on its own. What a value means next to others (an address inside its subnet, a
pool clear of the router) is judged by the models' `problems` methods and by `rules`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticKnownError
from pydantic_core.core_schema import no_info_before_validator_function

WITHOUT = "without this key"
"""The example where no value would do: all others are values as one writes them."""

T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True)
class Problem:
    """One fault of the configuration.

    `key` is the path inside the stack config (`physical.gateway`), `reason` the rule that the value breaks and
    `example` a value that would pass.
    """

    key: str
    value: object
    reason: str
    example: object
    because: tuple[str, ...] = ()
    """Other keys that the judgement rests on, or that hold what it rests on. The problem is dropped when a value there
    is at fault itself, and the rule finds the problem only by reading what stands for that value."""

    def under(self, prefix: str) -> Self:
        """The same problem with its keys placed below `prefix`."""
        return replace(self, key=_below(prefix, self.key), because=tuple(_below(prefix, key) for key in self.because))


def _below(prefix: str, key: str) -> str:
    return f"{prefix}.{key}".removesuffix(".")


class UnreadError(Exception):
    """A rule asked for a required value that was missing or at fault; the fault itself is reported elsewhere."""


def readable(*rules: Iterable[T]) -> Iterator[T]:
    """What each of `rules` finds before it needs a value that could not be read."""
    for rule in rules:
        with suppress(UnreadError):
            yield from rule


def below(prefix: str, rule: Iterable[Problem]) -> Iterator[Problem]:
    """What a rule of an inner model finds, as far as that can be read, with its keys placed below `prefix`."""
    return (problem.under(prefix) for problem in readable(rule))


def known(items: Iterable[T], value: Callable[[T], V]) -> Iterator[tuple[T, V]]:
    """Items with a value made of each, without those of which it could not be read."""
    for item in items:
        with suppress(UnreadError):
            yield item, value(item)


@dataclass(frozen=True)
class Form:
    """Metadata beside a pattern: what it asks for, as the reason for refusing a value that does not match."""

    words: str


@dataclass(frozen=True)
class OneANode:
    """Metadata beside a number of pods that are spread one a node: its default is no more than there are nodes.

    `least` is the smallest number that makes sense.
    """

    least: int = 1


class Model(BaseModel):
    """Base of all settings: frozen, camelCase keys as Pulumi's config uses them, unknown keys refused."""

    # Only for the groups, when they are read: a validator for each nested model as well takes a tenth of a second.
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, defer_build=True)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise UnreadError(name)
            return super().__getattr__(name)

    retired: ClassVar[Mapping[str, str]] = {}
    """Keys that other sources use, with the reason why they are refused here."""

    mapping_field: ClassVar[str | None] = None
    """The one field of a config group that is itself a mapping of names: its entries stand directly below the group."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: Any = super().__get_pydantic_core_schema__(source, handler)
        _refuse_truth_as_number(schema["schema"])
        return cast("CoreSchema", schema)

    def problems(self) -> Iterator[Problem]:
        """Faults that need more than one field of this model to see; keys are relative to the model."""
        yield from ()


def _refuse_truth_as_number(schema: Any) -> None:
    """Make the numbers of a model's schema refuse true and false, which pydantic would count as 1 and 0."""
    if isinstance(schema, list):
        for part in schema:
            _refuse_truth_as_number(part)
    elif isinstance(schema, dict):
        kind = schema.get("type")  # of a field called `type`, its schema, which has no hash: no set below
        if kind in ("int", "float"):
            refuse = partial(_no_truth, "int_type" if kind == "int" else "float_type")
            number = dict(schema)
            schema.clear()
            schema.update(no_info_before_validator_function(refuse, number))
        elif kind != "model":  # which did it for itself
            for part in schema.values():
                _refuse_truth_as_number(part)


def _no_truth(fault: Literal["int_type", "float_type"], value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError(fault)
    return value


def _address(value: Any) -> IPv4Address:
    if isinstance(value, IPv4Address):
        return value
    if not isinstance(value, str):
        raise ValueError("is not an IPv4 address")
    try:
        return IPv4Address(value)
    except AddressValueError:
        raise ValueError("is not an IPv4 address") from None


THIS_HOST = IPv4Network("0.0.0.0/8")


def _elsewhere(value: IPv4Address) -> IPv4Address:
    if value.is_loopback or value in THIS_HOST:
        raise ValueError("means the machine that asks, where nobody answers")
    if value.is_multicast or value.is_reserved or value.is_link_local:
        raise ValueError("is the address of no single server")
    return value


def _network(value: Any) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    if not isinstance(value, str) or "/" not in value:
        raise ValueError("is not an IPv4 network in CIDR notation")
    try:
        network = IPv4Network(value, strict=False)
    except (AddressValueError, NetmaskValueError):
        raise ValueError("is not an IPv4 network in CIDR notation") from None
    if str(network) != value:
        raise ValueError(f"is not canonical: the network that contains it is written {network}")
    return network


def _mac(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", value):
        raise ValueError("is not a MAC address in lower case with colons")
    if value == "00:00:00:00:00:00" or int(value[:2], 16) & 1:
        raise ValueError("is not the address of a single network card (all zero, or the multicast bit is set)")
    return value


def _digits(value: Any) -> Any:
    """A bare number, which YAML and `pulumi config set` do not keep as text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


MOST_CORES = 32
"""No container of such a network asks for more; 100 is meant as 100m."""

LEAST_MEMORY = 2**20
"""No container starts with less; 256 is meant as 256Mi."""


def _cores(value: str) -> str:
    if amount_of(value) > MOST_CORES:
        raise ValueError(f"is {amount_of(value):g} cores for one container; thousandths of a core have m behind them")
    return value


def _bytes(value: str) -> str:
    if 0 < amount_of(value) < LEAST_MEMORY:
        raise ValueError(f"is {amount_of(value):g} bytes, too few for a container; mebibytes have Mi behind them")
    return value


def _nginx_bytes(value: str) -> str:
    if value.isdecimal() and 0 < int(value) < 1024:
        raise ValueError(f"is {value} bytes; megabytes have m behind them")
    return value


def _zone(value: str) -> str:
    labels = value.split(".")
    if fault := _name_fault(value, labels):
        raise ValueError(fault)
    if labels[-1] == "local":
        raise ValueError(".local belongs to multicast DNS (RFC 6762); resolvers will not ask the cluster for it")
    return value


def _domain(value: str) -> str:
    if "." not in _zone(value):
        raise ValueError("needs at least two labels")
    return value


_NOT_IN_NAMES = {
    r"://|^//": "is a URL, and only the name of its host stands here",
    r"/": "has a path, and only the name of the host stands here",
    r"@": "is a mail address, and only the domain behind its @ stands here",
    r":[0-9]*$": "has a port, and only the name of the host stands here",
    r"\*": "has a *, and no wildcard may stand here: each name is given in full",
    r"\s": "has white space in it",
    r"\.$": "ends with a dot, and names are written without it here",
    r"^\.": "begins with a dot: it is written without it",
    r"\.\.": "has two dots beside each other",
    r"_": "has an underscore, which names of hosts may not have",
    r"[^\x00-\x7f]": "has letters beyond ASCII: it is written as DNS knows it, with xn--",
    r"[A-Z]": "is not in lower case",
    r"[^a-z0-9.-]": "has characters other than letters, digits, hyphens and dots",
    r"(^|\.)-|-(\.|$)": "has a hyphen at an end of a label",
    r"[^.]{64}": "has a label of more than 63 letters, digits and hyphens",
}
"""What is found in a text that is no DNS name, and what it tells; the first that is found counts."""


def _name_fault(value: str, labels: list[str]) -> str | None:
    found = next((reason for pattern, reason in _NOT_IN_NAMES.items() if re.search(pattern, value)), None)
    too_long = "has more than 253 characters, the most of a DNS name" if len(value) > 253 else None
    return found or too_long or (None if all(labels) else "is empty")


Address = Annotated[IPv4Address, BeforeValidator(_address), Field(examples=["192.168.1.10"])]
"""An IPv4 address, from its dotted form only (a bare number would be read as one silently)."""

ServerAddress = Annotated[Address, AfterValidator(_elsewhere), Field(examples=["1.1.1.1"])]
"""The address of a server that whoever asks it must be able to reach: none that means the asking machine, or nobody."""

Network = Annotated[IPv4Network, BeforeValidator(_network), Field(examples=["192.168.1.0/24"])]
"""An IPv4 network in canonical CIDR form: no host bits set."""

MacAddress = Annotated[str, AfterValidator(_mac), Field(examples=["00:00:5e:00:53:01"])]
"""A unicast MAC address, lower case, colons."""

DomainName = Annotated[str, AfterValidator(_domain), Field(examples=["example.com"])]
"""A DNS domain of two labels or more, not under .local."""

ZoneName = Annotated[str, AfterValidator(_zone), Field(examples=["home.arpa"])]
"""A DNS zone, of one label as well, not under .local."""

DnsLabel = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"),
    Form("must be at most 63 lower-case letters, digits and hyphens, with no hyphen at either end"),
    Field(examples=["my-app"]),
]
"""A DNS label as Kubernetes takes it for names (RFC 1123)."""

ServiceName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"),
    Form(
        "must start with a letter and be at most 63 lower-case letters, digits and hyphens, with no hyphen at its end"
    ),
    Field(examples=["my-app"]),
]
"""The name of a Service, narrower than other names (RFC 1035): its API refuses a digit in front."""

LabelValue = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"),
    Form("must be at most 63 letters, digits, hyphens, underscores and dots, with a letter or digit at both ends"),
    Field(examples=["my-app"]),
]
"""A Kubernetes label value."""

InterfaceName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]{0,14}$"),
    Form("must be the name of a network interface: at most 15 letters, digits, hyphens, underscores and dots"),
    Field(examples=["enp87s0"]),
]
"""A Linux network interface name (at most 15 characters)."""

Cpu = Annotated[
    str,
    BeforeValidator(_digits),
    StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?m?$"),
    Form("must be a number of CPU cores, or of thousandths with m behind it"),
    AfterValidator(_cores),
    Field(examples=["100m"]),
]
"""CPU cores as Kubernetes writes them; m stands for thousandths."""

Memory = Annotated[
    str,
    BeforeValidator(_digits),
    StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(k|Ki|M|Mi|G|Gi)?$"),
    Form("must be a number of bytes, alone or with k, Ki, M, Mi, G or Gi behind it"),
    AfterValidator(_bytes),
    Field(examples=["256Mi"]),
]
"""Bytes as Kubernetes writes them."""


class Protocol(StrEnum):
    """Transport of a port."""

    TCP = "TCP"
    UDP = "UDP"


Seconds = Annotated[int, Field(gt=0, le=86400 * 366, examples=[65])]
"""A duration in whole seconds."""

NginxSize = Annotated[
    str,
    BeforeValidator(_digits),
    StringConstraints(pattern=r"^([0-9]{1,18}|[0-9]{1,9}[kKmMgG])$"),  # NGINX counts in 63 bits
    Form("must be a whole number of bytes, alone or with k, m or g behind at most nine digits"),
    AfterValidator(_nginx_bytes),
    Field(examples=["50m"]),
]
"""A size as NGINX writes it: bytes, or with k, m or g; 0 means no limit where NGINX knows one."""


def amount_of(quantity: str) -> float:
    """The number of bytes or cores that a Kubernetes quantity stands for."""
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", quantity)
    assert match, f"{quantity} did not pass Cpu or Memory"
    factor = {"": 1, "m": 1e-3, "k": 1e3, "Ki": 2**10, "M": 1e6, "Mi": 2**20, "G": 1e9, "Gi": 2**30}
    return float(match[1]) * factor[match[2]]


class ResourceAmounts(Model):
    """Amounts of CPU and memory; what is left out is up to the chart."""

    cpu: Cpu | None = Field(default=None, description="CPU cores")
    memory: Memory | None = Field(default=None, description="bytes of memory")


class Resources(Model):
    """Requests and limits of a container."""

    requests: ResourceAmounts = Field(default=ResourceAmounts(), description="what the scheduler reserves")
    limits: ResourceAmounts = Field(default=ResourceAmounts(), description="what the container may use at most")

    def values(self) -> dict[str, dict[str, str]]:
        """The same as a chart's `resources` value, without what is not set."""
        return self.model_dump(exclude_none=True, exclude_defaults=True)

    def problems(self) -> Iterator[Problem]:
        for name in ("cpu", "memory"):
            request, limit = getattr(self.requests, name), getattr(self.limits, name)
            if request and limit and amount_of(request) > amount_of(limit):
                reason = f"is more than the limit of {limit}"
                yield Problem(f"requests.{name}", request, reason, limit, because=(f"limits.{name}",))


def over(default: Resources) -> BeforeValidator:
    """Lay a partial object over a default, so that one amount can be changed and the others stay."""

    def lay(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        base = default.model_dump(exclude_none=True)
        parts = {key: {**base.get(key, {}), **part} if isinstance(part, dict) else part for key, part in value.items()}
        return {**base, **parts}

    return BeforeValidator(lay)
