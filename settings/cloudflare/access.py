"""Access: who gets to an application, and which applications nobody guards.

There is one Access application for each published application that names policies, and those of the settings.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network
from typing import Annotated

from pydantic import Field, StringConstraints

from settings.applications import Published, WildcardPath
from settings.cloudflare.device_posture import DeviceCheck
from settings.cloudflare.rules import CountryCode
from settings.fields import WITHOUT, DnsLabel, DomainName, Form, Model, Network, Problem, below
from settings.parsing import nearest_key

MailAddress = Annotated[
    str,
    StringConstraints(pattern=r"^[^@\s,;A-Z]+@([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)+[a-z]{2,}$"),
    Form("must be one mail address in lower case"),
    Field(examples=["ops@example.com"]),
]
"""One mail address in lower case, as Cloudflare keeps it."""

Hours = Annotated[int, Field(ge=1, le=720, examples=[24])]
"""How long a login lasts, up to 30 days."""

NOT_PUBLIC = tuple(
    IPv4Network(cidr)
    for cidr in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
)
"""Networks from which nobody comes on the internet. Those of documentation stand for public ones, so they may pass."""


class Decision(StrEnum):
    """What a policy does with those it fits."""

    ALLOW = "allow"
    DENY = "deny"
    BYPASS = "bypass"


class Group(Model):
    """People, named once and used in several policies."""

    emails: tuple[MailAddress, ...] = Field(default=(), description="mail addresses")
    email_domains: tuple[DomainName, ...] = Field(default=(), description="domains of mail addresses, without @")

    def problems(self) -> Iterator[Problem]:
        if not (self.emails or self.email_domains):
            yield Problem("", {}, "is nobody", {"emailDomains": ["example.com"]})


class Policy(Model):
    """Who is let in, and what they must show. Somebody is meant when one of emails, emailDomains and groups fits.

    With decision bypass nobody is asked who they are, so only everyone, countries and networks can be meant.
    """

    decision: Decision = Field(
        default=Decision.ALLOW, description="`allow`, `deny`, or `bypass`: let in without a login", examples=["allow"]
    )
    emails: tuple[MailAddress, ...] = Field(default=(), description="mail addresses")
    email_domains: tuple[DomainName, ...] = Field(default=(), description="domains of mail addresses, without @")
    groups: tuple[DnsLabel, ...] = Field(default=(), description="names of `groups`", examples=[["admins"]])
    everyone: bool = Field(default=False, description="everybody; with decision bypass and a reason only")
    reason: Annotated[str, Form("must be a reason of ten characters or more")] | None = Field(
        default=None,
        pattern=r"^\S.{8,}\S$",
        description="why everyone may pass; shown in the policy's name at Cloudflare",
        examples=["webhooks of the payment service, signed by it"],
    )
    countries: tuple[CountryCode, ...] = Field(
        default=(), description="and from one of these countries, or networks", examples=[["US"]]
    )
    networks: tuple[Network, ...] = Field(
        default=(), description="and from one of these public networks, or countries", examples=[["203.0.113.0/24"]]
    )
    require_mfa: bool = Field(
        default=False, description="and logged in with a second factor, as the identity provider says"
    )
    require_device_posture: tuple[DnsLabel, ...] = Field(
        default=(),
        description="and on a device that passes all of these, names of `devicePosture`",
        examples=[["managed"]],
    )
    session_hours: Hours | None = Field(
        default=None, description="how long a login lasts; that of each application when unset"
    )

    def problems(self) -> Iterator[Problem]:
        for index, network in enumerate(self.networks):
            if any(network.subnet_of(inside) for inside in NOT_PUBLIC):
                reason = "is private: Cloudflare sees public addresses only, so this never fits"
                yield Problem(f"networks[{index}]", str(network), reason, "203.0.113.0/24")
        if self.everyone and (self.decision is not Decision.BYPASS or not self.reason):
            reason = "makes the application public, which takes decision: bypass and a reason"
            because = ("decision", "reason")
            yield Problem("everyone", True, reason, False, because)
        if self.reason and not self.everyone:
            reason = "would have no effect: it is for everyone"
            yield Problem("reason", self.reason, reason, WITHOUT, because=("everyone",))
        if self.session_hours and self.decision is not Decision.ALLOW:
            reason = f"would have no effect: nobody logs in by decision {self.decision.value}"
            yield Problem("sessionHours", self.session_hours, reason, WITHOUT, because=("decision",))
        yield from self._bypass_problems() if self.decision is Decision.BYPASS else self._people_problems()

    def _people_problems(self) -> Iterator[Problem]:
        if not (self.emails or self.email_domains or self.groups or self.everyone):
            reason = f"is nobody's: decision {self.decision.value} needs emails, emailDomains or groups"
            yield Problem("", self.decision.value, reason, {"emailDomains": ["example.com"]})

    def _bypass_problems(self) -> Iterator[Problem]:
        asked: dict[str, tuple[str, ...] | bool] = {
            "emails": self.emails,
            "emailDomains": self.email_domains,
            "groups": self.groups,
            "requireMfa": self.require_mfa,
            "requireDevicePosture": self.require_device_posture,
        }
        for key, value in asked.items():
            if value:
                shown = value if isinstance(value, bool) else list(value)
                yield Problem(key, shown, "can't be known: with decision bypass nobody logs in", WITHOUT)
        if not (self.everyone or self.countries or self.networks):
            reason = "is nobody's: decision bypass needs networks or countries, or everyone and a reason"
            yield Problem("", "bypass", reason, {"decision": "bypass", "networks": ["203.0.113.0/24"]})
        if self.everyone and (self.countries or self.networks):
            yield Problem("everyone", True, "would make countries and networks meaningless", False)


class AccessApplication(Model):
    """A host, or a part of one, behind Access that is no entry of `applications`, or a part of one."""

    host: DomainName = Field(description="host name, which leads through the tunnel", examples=["grafana.example.com"])
    path: WildcardPath = Field(default="/", description="this path and all below it", examples=["/admin"])
    policies: tuple[DnsLabel, ...] = Field(
        min_length=1, description="names of `policies`, first match wins", examples=[["staff"]]
    )
    session_hours: Hours | None = Field(
        default=None, description="how long a login lasts; `access.sessionHours` when unset"
    )

    def problems(self) -> Iterator[Problem]:
        if self.path.endswith("/*"):
            plain = self.path.removesuffix("/*") or "/"
            yield Problem("path", self.path, f"leaves {plain} itself open; a path covers all below it", plain)


class Access(Model):
    """Who gets to applications behind the tunnel."""

    session_hours: Hours = Field(default=24, description="how long a login lasts")
    one_time_pin: bool = Field(default=False, description="offer logins by a code sent by mail; it is no second factor")
    groups: dict[DnsLabel, Group] = Field(
        default={}, description="people, for use in policies", examples=[{"admins": {"emails": ["ops@example.com"]}}]
    )
    device_posture: dict[DnsLabel, DeviceCheck] = Field(
        default={},
        description="what a device must be like; needs the WARP client on it",
        examples=[{"managed": {"type": "warp"}}],
    )
    policies: dict[DnsLabel, Policy] = Field(
        default={},
        description="policies, for use in applications",
        examples=[{"staff": {"emailDomains": ["example.com"]}}],
    )
    applications: dict[DnsLabel, AccessApplication] = Field(
        default={},
        description="further hosts and paths behind Access",
        examples=[{"grafana-admin": {"host": "grafana.example.com", "path": "/admin", "policies": ["staff"]}}],
    )

    def problems(self) -> Iterator[Problem]:
        parts: dict[str, Mapping[str, Model]] = {
            "groups": self.groups,
            "devicePosture": self.device_posture,
            "policies": self.policies,
            "applications": self.applications,
        }
        for key, entries in parts.items():
            for name, entry in entries.items():
                yield from below(f"{key}.{name}", entry.problems())
        for name, policy in self.policies.items():
            yield from _unknown(f"policies.{name}.groups", policy.groups, "groups", self.groups)
            checks = policy.require_device_posture
            yield from _unknown(f"policies.{name}.requireDevicePosture", checks, "devicePosture", self.device_posture)
        for name, application in self.applications.items():
            yield from self.policy_problems(f"applications.{name}.policies", application.policies)

    def policy_problems(self, key: str, names: Sequence[str]) -> Iterator[Problem]:
        """Faults of an application's list of policies: unknown or repeated ones, and a list that lets nobody in."""
        unknown = list(_unknown(key, names, "policies", self.policies))
        yield from unknown
        if len(set(names)) < len(names):
            yield Problem(key, list(names), "names a policy twice", list(dict.fromkeys(names)))
        if names and not unknown and all(self.policies[name].decision is Decision.DENY for name in names):
            reason, example = "lets nobody in: every policy denies", WITHOUT
            yield Problem(key, list(names), reason, example, because=("policies",))


def _unknown(key: str, names: Sequence[str], where: str, known: Mapping[str, object]) -> Iterator[Problem]:
    for name in names:
        if name not in known:
            example = [nearest_key(name, known) or next(iter(known))] if known else WITHOUT
            yield Problem(key, name, f"is no entry of cloudflare.access.{where}", example, because=(where,))


def address(host: str, path: str) -> str:
    """Host and path in one, without a slash at the end: that and all below it."""
    return f"{host}{path.rstrip('/')}"


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A host and path behind Access, and who gets there."""

    name: str
    host: str
    path: str
    policies: tuple[str, ...]
    session_hours: int

    @property
    def domain(self) -> str:
        """Host and path as Cloudflare writes them."""
        return address(self.host, self.path)


def guarded(access: Access, published: list[Published]) -> list[Guarded]:
    """Everything behind Access; `published` are the applications behind the tunnel."""
    return [
        *(
            Guarded(
                name=each.name, host=each.host, path=each.path, policies=each.access, session_hours=access.session_hours
            )
            for each in published
            if each.access
        ),
        *(
            Guarded(
                name=name,
                host=each.host,
                path=each.path,
                policies=each.policies,
                session_hours=each.session_hours or access.session_hours,
            )
            for name, each in sorted(access.applications.items())
        ),
    ]


def session_lengths(access: Access, doors: list[Guarded]) -> dict[str, tuple[int, ...]]:
    """How long logins by each policy last, in hours: as it says, else as each of the applications that use it.

    The first is the main one: that of most applications. Without a length of its own, a policy has several where its
    applications differ.
    """
    found: dict[str, tuple[int, ...]] = {}
    for name, policy in access.policies.items():
        used = {door.session_hours for door in doors if name in door.policies}
        if policy.session_hours or policy.decision is not Decision.ALLOW or not used:
            found[name] = (policy.session_hours or access.session_hours,)
        else:
            found[name] = tuple(sorted(used, key=lambda hours: (hours != access.session_hours, hours)))
    return found


def protected_hosts(access: Access, published: list[Published]) -> list[str]:
    """Hosts of which at least a part is behind Access, sorted."""
    return sorted({each.host for each in guarded(access, published)})
