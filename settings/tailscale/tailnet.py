"""The tailnet itself: auth keys, split DNS and its policy. What a setting leaves unset stays as the tailnet has it.

The tailnet's name is in no code and in no default: `-` is the tailnet of the OAuth client.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, StringConstraints

from settings.fields import DnsLabel, DomainName, Form, Model, Problem, below
from settings.tailscale.policy import Policy, Tag


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
    routes_approved: bool = Field(
        default=False,
        description="silence the warning that somebody has to approve the connector's routes: that was done, or a "
        "policy of somebody else's approves them",
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
            yield from below("policy", self.policy.problems())

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
    def awaits_approval(self) -> bool:
        """Whether names are sent to a route that nobody is known to approve: a policy of this program would."""
        split = self.split_dns
        return split is not None and self.policy is None and not (split.reachable or split.routes_approved)

    @property
    def locks_console(self) -> bool:
        """Whether the admin console's policy editor is closed."""
        return self.policy is not None and self.policy.lock_console
