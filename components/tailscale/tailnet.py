"""The tailnet itself: policy, HTTPS certificates, auth keys and DNS.

Owns what it is asked for and nothing else: whatever a setting leaves unset stays as the tailnet has it. Takes its
provider from the component above.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

import pulumi
import pulumi_tailscale as tailscale

from settings.tailscale.tailnet import Tailnet

SECONDS_PER_DAY = 86400


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
            # Tailscale's default, the plugin says "Overwrite Protected" and nothing changes: it has to be imported, so
            # that the preview shows what would be lost. No destroy and no setting taken away ever puts the default
            # back, which lets everybody reach everything.
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
