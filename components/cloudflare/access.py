"""Access: who gets to an application, asked by Cloudflare before a request enters the tunnel.

Owns policies, groups, device posture rules and the Access applications: one for each published application that names
policies, and those of the settings. Leaves the applications' own logins to them. An application on the class behind the
tunnel that no Access application covers is public; `public_addresses` lists those.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi

from components.cloudflare.device_posture import device_check
from components.sdk import cloudflare
from settings.applications import Published
from settings.cloudflare.access import Access, Decision, Group, Policy, address, guarded, session_lengths

if TYPE_CHECKING:
    import pulumi_cloudflare


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
        doors = guarded(args.access, args.published)
        policies = {
            key: self._policies(f"{name}-policy-{key}", args, key, groups, checks) for key in args.access.policies
        }
        applications = {
            door.name: cloudflare.ZeroTrustAccessApplication(
                f"{name}-application-{door.name}",
                account_id=args.account_id,
                name=door.name,
                type="self_hosted",
                domain=door.domain,
                session_duration=f"{door.session_hours}h",
                policies=[
                    cloudflare.ZeroTrustAccessApplicationPolicyArgs(
                        id=policies[policy].get(door.session_hours, policies[policy][0]).id, precedence=position
                    )
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

    def _policies(
        self,
        resource: str,
        args: AccessPoliciesArgs,
        key: str,
        groups: Mapping[str, pulumi.Output[str]],
        checks: Mapping[str, pulumi.Output[str]],
    ) -> dict[int, pulumi.CustomResource]:
        """A policy by the hours that a login by it lasts; the main one is also at 0.

        The length is always sent. The plugin makes 24 hours of none, and a policy's length goes over its application's.
        """
        policy = args.access.policies[key]
        somewhere = None
        if policy.decision is not Decision.BYPASS and (policy.countries or policy.networks):
            somewhere = self._places(f"{resource}-places", args, key, policy)
        lengths = session_lengths(args.access, guarded(args.access, args.published))[key]
        shown = f"{key}: {policy.reason}" if policy.reason else key
        made: dict[int, pulumi.CustomResource] = {
            hours: cloudflare.ZeroTrustAccessPolicy(
                resource if hours == lengths[0] else f"{resource}.{hours}h",
                account_id=args.account_id,
                name=shown if hours == lengths[0] else f"{shown}, {hours} h",
                decision=policy.decision.value,
                includes=policy_includes(policy, groups),
                requires=policy_requires(policy, checks, somewhere) or None,
                session_duration=f"{hours}h",
                opts=pulumi.ResourceOptions(parent=self),
            )
            for hours in lengths
        }
        return {0: made[lengths[0]]} | made

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
