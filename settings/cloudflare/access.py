"""Access: who gets to an application, asked by Cloudflare before a request enters the tunnel.

Owns policies, groups, device posture rules and the Access applications: one for each published application that names
policies, and those of the settings. Leaves the applications' own logins to them. An application on the class behind the
tunnel that no Access application covers is public; `public_addresses` lists those.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Annotated

import pulumi
from pydantic import Field, StringConstraints

from components.applications import Published, WildcardPath
from components.device_posture import DeviceCheck, device_check
from components.edge_rules import CountryCode
from components.fields import DnsLabel, DomainName, Form, Model, Network, Problem
from components.sdk import cloudflare

if TYPE_CHECKING:
    import pulumi_cloudflare

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
        default=None, description="how long a login lasts; that of the application when unset"
    )

    def problems(self) -> Iterator[Problem]:
        for index, network in enumerate(self.networks):
            if any(network.subnet_of(inside) for inside in NOT_PUBLIC):
                reason = "is private: Cloudflare sees public addresses only, so this never fits"
                yield Problem(f"networks[{index}]", str(network), reason, "203.0.113.0/24")
        if self.everyone and (self.decision is not Decision.BYPASS or not self.reason):
            reason = "makes the application public, which takes decision: bypass and a reason"
            because = ("decision", "reason")
            yield Problem("everyone", True, reason, "false, and emails, emailDomains or groups", because)
        if self.reason and not self.everyone:
            reason = "would have no effect: it is for everyone"
            yield Problem("reason", self.reason, reason, "without this key", because=("everyone",))
        if self.session_hours and self.decision is not Decision.ALLOW:
            reason = f"would have no effect: nobody logs in by decision {self.decision.value}"
            yield Problem("sessionHours", self.session_hours, reason, "without this key", because=("decision",))
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
                yield Problem(key, shown, "can't be known: with decision bypass nobody logs in", "without this key")
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
                yield from (problem.under(f"{key}.{name}") for problem in entry.problems())
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
            reason, example = "lets nobody in: every policy denies", "a policy with decision allow as well"
            yield Problem(key, list(names), reason, example, because=("policies",))


def _unknown(key: str, names: Sequence[str], where: str, known: Mapping[str, object]) -> Iterator[Problem]:
    for name in names:
        if name not in known:
            example = ", ".join(sorted(known)) or f"an entry of cloudflare.access.{where}"
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


def protected_hosts(access: Access, published: list[Published]) -> list[str]:
    """Hosts of which at least a part is behind Access, sorted."""
    return sorted({each.host for each in guarded(access, published)})


def public_addresses(access: Access, published: list[Published], tunnel_hosts: list[str]) -> list[str]:
    """Hosts and paths behind the tunnel that everybody gets to, sorted.

    `tunnel_hosts` are those that the tunnel sends elsewhere than to the ingress controller. A host of which only some
    paths are behind Access counts as public, and so does what a policy lets everyone bypass to.
    """
    doors = {door.domain: door for door in guarded(access, published)}
    opened = {domain for domain, door in doors.items() if any(access.policies[name].everyone for name in door.policies)}
    addresses = {*tunnel_hosts, *(address(each.host, each.path) for each in published), *opened}
    return sorted(each for each in addresses if (door := _door_to(each, doors)) is None or door in opened)


def _door_to(wanted: str, doors: Iterable[str]) -> str | None:
    """The Access application that decides for an address: the most specific one at or above it."""
    above = [door for door in doors if wanted == door or wanted.startswith(f"{door}/")]
    return max(above, key=len, default=None)


@dataclass(frozen=True, kw_only=True)
class AccessPoliciesArgs:
    """Who gets where; all arrive valid.

    `published` are the applications behind the tunnel, `tunnel_hosts` the hosts of the tunnel's own rules.
    """

    access: Access
    account_id: str
    published: list[Published]
    tunnel_hosts: list[str]


class AccessPolicies(pulumi.ComponentResource):
    """Access groups, device posture rules, policies and applications (`anton:network:AccessPolicies`).

    `aud_tags` maps each Access application to the tag in its tokens, by which an origin can check them.
    `public_hosts` are the hosts, and paths of hosts, behind the tunnel that everybody gets to.
    """

    aud_tags: pulumi.Output[dict[str, str]]
    public_hosts: pulumi.Output[list[str]]

    def __init__(self, name: str, args: AccessPoliciesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:AccessPolicies", name, {}, opts)
        if args.access.one_time_pin:
            cloudflare.ZeroTrustAccessIdentityProvider(
                f"{name}-one-time-pin",
                account_id=args.account_id,
                name="One-time PIN",
                type="onetimepin",
                config=cloudflare.ZeroTrustAccessIdentityProviderConfigArgs(),
                opts=pulumi.ResourceOptions(parent=self),
            )
        groups = {
            key: self._group(f"{name}-group-{key}", args, key, group) for key, group in args.access.groups.items()
        }
        checks = {
            key: device_check(f"{name}-device-{key}", args.account_id, key, check, self)
            for key, check in args.access.device_posture.items()
        }
        policies = {
            key: self._policy(f"{name}-policy-{key}", args, key, groups, checks) for key in args.access.policies
        }
        doors = guarded(args.access, args.published)
        applications = {
            door.name: cloudflare.ZeroTrustAccessApplication(
                f"{name}-application-{door.name}",
                account_id=args.account_id,
                name=door.name,
                type="self_hosted",
                domain=door.domain,
                session_duration=f"{door.session_hours}h",
                policies=[
                    cloudflare.ZeroTrustAccessApplicationPolicyArgs(id=policies[policy].id, precedence=position)
                    for position, policy in enumerate(door.policies, start=1)
                ],
                app_launcher_visible=False,
                http_only_cookie_attribute=True,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for door in doors
        }
        names = list(applications)
        tags = pulumi.Output.all(*(each.aud for each in applications.values()))
        self.aud_tags = tags.apply(lambda known: dict(zip(names, known, strict=True)))
        self.public_hosts = pulumi.Output.from_input(public_addresses(args.access, args.published, args.tunnel_hosts))
        self.register_outputs({"aud_tags": self.aud_tags, "public_hosts": self.public_hosts})

    def _group(self, resource: str, args: AccessPoliciesArgs, key: str, group: Group) -> pulumi.Output[str]:
        include = cloudflare.ZeroTrustAccessGroupIncludeArgs
        return cloudflare.ZeroTrustAccessGroup(
            resource,
            account_id=args.account_id,
            name=key,
            includes=[
                *(
                    include(email=cloudflare.ZeroTrustAccessGroupIncludeEmailArgs(email=email))
                    for email in sorted(set(group.emails))
                ),
                *(
                    include(email_domain=cloudflare.ZeroTrustAccessGroupIncludeEmailDomainArgs(domain=domain))
                    for domain in sorted(set(group.email_domains))
                ),
            ],
            opts=pulumi.ResourceOptions(parent=self),
        ).id

    def _policy(
        self,
        resource: str,
        args: AccessPoliciesArgs,
        key: str,
        groups: Mapping[str, pulumi.Output[str]],
        checks: Mapping[str, pulumi.Output[str]],
    ) -> pulumi.CustomResource:
        policy = args.access.policies[key]
        somewhere = None
        if policy.decision is not Decision.BYPASS and (policy.countries or policy.networks):
            somewhere = self._places(f"{resource}-places", args, key, policy)
        return cloudflare.ZeroTrustAccessPolicy(
            resource,
            account_id=args.account_id,
            name=f"{key}: {policy.reason}" if policy.reason else key,
            decision=policy.decision.value,
            includes=policy_includes(policy, groups),
            requires=policy_requires(policy, checks, somewhere) or None,
            session_duration=f"{policy.session_hours}h" if policy.session_hours else None,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _places(self, resource: str, args: AccessPoliciesArgs, key: str, policy: Policy) -> pulumi.Output[str]:
        """Countries and networks as a group: requirements must all be met, and nobody is in two countries at once."""
        include = cloudflare.ZeroTrustAccessGroupIncludeArgs
        return cloudflare.ZeroTrustAccessGroup(
            resource,
            account_id=args.account_id,
            name=f"{key}: places",
            includes=[
                *(
                    include(geo=cloudflare.ZeroTrustAccessGroupIncludeGeoArgs(country_code=country))
                    for country in sorted(set(policy.countries))
                ),
                *(
                    include(ip=cloudflare.ZeroTrustAccessGroupIncludeIpArgs(ip=str(network)))
                    for network in sorted(set(policy.networks))
                ),
            ],
            opts=pulumi.ResourceOptions(parent=self),
        ).id


def policy_includes(
    policy: Policy, groups: Mapping[str, pulumi.Output[str]]
) -> "list[pulumi_cloudflare.ZeroTrustAccessPolicyIncludeArgs]":
    """Whom a policy means; one that fits is enough. `groups` are the ids of groups by name."""
    include = cloudflare.ZeroTrustAccessPolicyIncludeArgs
    if policy.everyone:
        # The SDK leaves the constructor of a class without fields untyped.
        everyone = cloudflare.ZeroTrustAccessPolicyIncludeEveryoneArgs()  # type: ignore[no-untyped-call]
        return [include(everyone=everyone)]
    people = [
        *(
            include(email=cloudflare.ZeroTrustAccessPolicyIncludeEmailArgs(email=email))
            for email in sorted(set(policy.emails))
        ),
        *(
            include(email_domain=cloudflare.ZeroTrustAccessPolicyIncludeEmailDomainArgs(domain=domain))
            for domain in sorted(set(policy.email_domains))
        ),
        *(
            include(group=cloudflare.ZeroTrustAccessPolicyIncludeGroupArgs(id=groups[group]))
            for group in sorted(set(policy.groups))
        ),
    ]
    if policy.decision is not Decision.BYPASS:
        return people
    return [
        *(
            include(geo=cloudflare.ZeroTrustAccessPolicyIncludeGeoArgs(country_code=country))
            for country in sorted(set(policy.countries))
        ),
        *(
            include(ip=cloudflare.ZeroTrustAccessPolicyIncludeIpArgs(ip=str(network)))
            for network in sorted(set(policy.networks))
        ),
    ]


def policy_requires(
    policy: Policy, checks: Mapping[str, pulumi.Output[str]], places: pulumi.Output[str] | None
) -> "list[pulumi_cloudflare.ZeroTrustAccessPolicyRequireArgs]":
    """What those must show besides, all of it. `checks` are the ids of device posture rules by name."""
    require = cloudflare.ZeroTrustAccessPolicyRequireArgs
    mfa = cloudflare.ZeroTrustAccessPolicyRequireAuthMethodArgs(auth_method="mfa") if policy.require_mfa else None
    return [
        *([require(auth_method=mfa)] if mfa else []),
        *(
            require(
                device_posture=cloudflare.ZeroTrustAccessPolicyRequireDevicePostureArgs(integration_uid=checks[check])
            )
            for check in sorted(set(policy.require_device_posture))
        ),
        *([require(group=cloudflare.ZeroTrustAccessPolicyRequireGroupArgs(id=places))] if places is not None else []),
    ]
