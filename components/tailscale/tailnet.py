"""The tailnet itself: policy, HTTPS certificates, auth keys and DNS.

Owns what it is asked for and nothing else: whatever a setting leaves unset stays as the tailnet has it. Takes its
provider from the component above. The tailnet's name is in no code and in no default: `-` is the tailnet of the OAuth
client.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Annotated, Any

import pulumi
import pulumi_tailscale as tailscale
from pydantic import Field, StringConstraints

from components.fields import DnsLabel, DomainName, Form, Model, Problem
from components.tailnet_policy import Policy, Tag

SECONDS_PER_DAY = 86400


class AuthKey(Model):
    """A key with which a device joins the tailnet unattended."""

    tags: tuple[Tag, ...] = Field(
        min_length=1, description="tags of the devices; a key of an OAuth client needs one", examples=[["tag:k8s-node"]]
    )
    reusable: bool = Field(default=True, description="for more than one device")
    preauthorized: bool = Field(default=True, description="devices need no approval by an administrator")
    expiry_days: int = Field(
        default=90, ge=1, le=90, description="life of the key; devices that joined stay", examples=[90]
    )
    description: (
        Annotated[
            str,
            StringConstraints(pattern=r"^[A-Za-z0-9 ]{1,50}$"),
            Form("must be at most 50 letters, digits and blanks"),
        ]
        | None
    ) = Field(
        default=None,
        description="what the admin console shows; the entry's name when unset",
        examples=["cluster nodes"],
    )


class SplitDns(Model):
    """Names below `cluster.domain` are asked for at k8s-gateway's address."""

    reachable: bool = Field(
        default=False,
        description="the tailnet reaches `loadBalancer.addresses.k8s-gateway` by another way than the connector",
    )


class Tailnet(Model):
    """The tailnet: its policy file, DNS, certificates and auth keys."""

    name: Annotated[
        str,
        StringConstraints(pattern=r"^(-|[A-Za-z0-9][-A-Za-z0-9.@_]*)$"),
        Form("must be the id of a tailnet, or - for that of the OAuth client"),
    ] = Field(default="-", description="id of the tailnet; `-` is that of the OAuth client")
    policy: Policy | None = Field(
        default=None,
        description="the whole policy file; unset: somebody else's. Import the existing one first (docs/tailscale.md)",
        examples=[
            {
                "grants": {"members": {"src": ["autogroup:member"], "dst": ["tag:k8s"], "ip": ["tcp:443"]}},
                "testMember": "someone@example.com",
            }
        ],
    )
    magic_dns: bool = Field(default=False, description="turn MagicDNS on; false leaves it as it is")
    https_certificates: bool = Field(
        default=False,
        description="let devices have HTTPS certificates, which class `tailscale` needs; false leaves it as it is",
    )
    split_dns: SplitDns | None = Field(
        default=None,
        description="resolve `cluster.domain` at k8s-gateway for every device of the tailnet",
        examples=[{"reachable": False}],
    )
    search_paths: tuple[DomainName, ...] | None = Field(
        default=None,
        min_length=1,
        description="search domains of every device, in place of those that the tailnet has",
        examples=[["example.com"]],
    )
    auth_keys: dict[DnsLabel, AuthKey] = Field(
        default={},
        description="auth keys by name, such as for the nodes' Tailscale extension",
        examples=[{"nodes": {"tags": ["tag:k8s-node"]}}],
    )

    def problems(self) -> Iterator[Problem]:
        if self.policy:
            yield from (problem.under("policy") for problem in self.policy.problems())

    @property
    def scopes(self) -> list[str]:
        """What the OAuth client must be allowed, no more than the settings need (Tailscale API, trust credentials)."""
        wanted = {
            "policy_file": self.policy is not None,
            "dns": self.magic_dns or self.split_dns is not None or self.search_paths is not None,
            # Reading the settings takes the first, changing the certificates the second.
            "feature_settings": self.https_certificates or self.locks_console,
            "networking_settings": self.https_certificates,
            "auth_keys": bool(self.auth_keys),
        }
        return [scope for scope, needed in wanted.items() if needed]

    @property
    def locks_console(self) -> bool:
        """Whether the admin console's policy editor is closed."""
        return self.policy is not None and self.policy.lock_console


@dataclass(frozen=True, kw_only=True)
class TailnetAccessArgs:
    """`policy` is the policy file as JSON, None when the tailnet keeps its own."""

    tailnet: Tailnet
    policy: str | None


class TailnetAccess(pulumi.ComponentResource):
    """Who may do what in the tailnet (`anton:network:TailnetAccess`).

    Registers the policy file, the tailnet's settings and the auth keys, each only when asked for. `auth_keys` maps the
    names of the settings to the keys, and is secret.
    """

    auth_keys: pulumi.Output[dict[str, str]]

    def __init__(self, name: str, args: TailnetAccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:TailnetAccess", name, {}, opts)
        tailnet = args.tailnet
        policy: list[pulumi.Resource] = []
        if args.policy is not None:
            # There is one policy file a tailnet, and everybody's access hangs on it. Created over a file that is not
            # Tailscale's default, the API answers 412 and nothing changes: it has to be imported, so that the preview
            # shows what would be lost. No destroy and no setting taken away ever puts the default back, which lets
            # everybody reach everything.
            policy.append(
                tailscale.Acl(
                    f"{name}-policy",
                    acl=args.policy,
                    overwrite_existing_content=False,
                    reset_acl_on_destroy=False,
                    opts=pulumi.ResourceOptions(parent=self, protect=True, retain_on_delete=True),
                )
            )
        if tailnet.https_certificates or tailnet.locks_console:
            tailscale.TailnetSettings(
                f"{name}-settings",
                https_enabled=True if tailnet.https_certificates else None,
                acls_externally_managed_on=True if tailnet.locks_console else None,
                opts=pulumi.ResourceOptions(parent=self, depends_on=policy),
            )
        keys = {
            entry: tailscale.TailnetKey(
                f"{name}-key-{entry}",
                tags=list(key.tags),
                reusable=key.reusable,
                preauthorized=key.preauthorized,
                # An ephemeral device is forgotten when it is off the net, and comes back under another address.
                ephemeral=False,
                expiry=key.expiry_days * SECONDS_PER_DAY,
                # An expired key is made anew by the next update, so that the output always holds one that works.
                recreate_if_invalid="always",
                description=key.description or entry.replace("-", " ")[:50],
                # The tags must be in the policy before a key can have them.
                opts=pulumi.ResourceOptions(parent=self, depends_on=policy),
            )
            for entry, key in tailnet.auth_keys.items()
        }
        found: dict[str, Any] = {entry: key.key for entry, key in keys.items()}
        self.auth_keys = pulumi.Output.secret(found)
        self.register_outputs({"auth_keys": self.auth_keys})


@dataclass(frozen=True, kw_only=True)
class TailnetDnsArgs:
    """`domain` is resolved at `nameserver`, None without split DNS; `routes` are what makes it reachable, if any."""

    tailnet: Tailnet
    domain: str
    nameserver: IPv4Address | None
    routes: list[pulumi.Resource]


class TailnetDns(pulumi.ComponentResource):
    """How the tailnet's devices resolve names (`anton:network:TailnetDns`).

    Registers MagicDNS, search domains and split DNS, each only when asked for, and each by its own resource:
    `tailscale.DnsConfiguration` would take over all of the tailnet's DNS, global nameservers included.
    """

    def __init__(self, name: str, args: TailnetDnsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:TailnetDns", name, {}, opts)
        if args.tailnet.magic_dns:
            tailscale.DnsPreferences(
                f"{name}-preferences",
                magic_dns=True,
                # The provider's delete turns MagicDNS off for the whole tailnet.
                opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
            )
        if args.tailnet.search_paths:
            tailscale.DnsSearchPaths(
                f"{name}-search-paths",
                search_paths=list(args.tailnet.search_paths),
                opts=pulumi.ResourceOptions(parent=self),
            )
        if args.nameserver:
            tailscale.DnsSplitNameservers(
                f"{name}-split",
                domain=args.domain,
                nameservers=[str(args.nameserver)],
                # Until the route exists, every device would ask an address that it can't reach.
                opts=pulumi.ResourceOptions(parent=self, depends_on=args.routes),
            )
        self.register_outputs({})
