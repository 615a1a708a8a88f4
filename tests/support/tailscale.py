"""Builds the Tailscale layer for tests: settings with it on, and what is registered of them."""

from dataclasses import replace
from typing import Any

import pulumi

from components.tailscale.ingress import TailscaleIngress, TailscaleIngressArgs
from settings.stack import Settings
from tests.support.configs import STAND_IN_SECRETS, merged, settings_with
from tests.support.recorder import Registration, record

EVERYTHING: dict[str, Any] = {
    "discovery": {"enabled": True},
    "tailscale": {
        "enabled": True,
        "proxyGroup": {"replicas": 2},
        "connector": {"replicas": 2},
        "tailnet": {
            "policy": {
                "tagOwners": {"tag:k8s-node": ["autogroup:admin"]},
                "testMember": "someone@example.com",
                "grants": {
                    "members": {"src": ["autogroup:member"], "dst": ["tag:k8s"], "ip": ["tcp:443"]},
                    "names": {"src": ["autogroup:member"], "dst": ["192.168.1.102"], "ip": ["53"]},
                },
            },
            "magicDns": True,
            "httpsCertificates": True,
            "splitDns": {},
            "searchPaths": ["example.com"],
            "authKeys": {"nodes": {"tags": ["tag:k8s-node"]}},
        },
    },
}
"""Everything that the layer can do."""

MEMBERS = {"src": ["autogroup:member"], "dst": ["tag:k8s"], "ip": ["tcp:443"]}
"""A grant: every member reaches what the proxies carry."""


def enabled(**values: Any) -> dict[str, Any]:
    """A change that turns the layer on, with values of its settings."""
    return {"tailscale": {"enabled": True, **values}}


def tailscale_arguments(settings: Settings) -> TailscaleIngressArgs:
    """What the program hands to the Tailscale component."""
    secrets = {key: pulumi.Output.secret(value) for key, value in STAND_IN_SECRETS.items()}
    return TailscaleIngressArgs.of(replace(settings, secrets=secrets))


def built(change: dict[str, Any]) -> dict[str, Registration]:
    """The resources of the layer, by the end of their name."""
    settings = settings_with(change)
    return {
        entry.name.removeprefix("tailscale-"): entry
        for entry in record(lambda: TailscaleIngress("tailscale", tailscale_arguments(settings)))
    }


def dependencies(registration: Registration) -> set[str]:
    """What a resource comes after, by the end of its name."""
    depends_on = registration.opts.depends_on
    assert isinstance(depends_on, list)
    return {entry._name.removeprefix("tailscale-") for entry in depends_on if isinstance(entry, pulumi.Resource)}


def holds_secret(value: Any) -> bool:
    """Whether the engine was told that a recorded input is secret: it then travels inside a marked object."""
    return isinstance(value, dict) and pulumi.runtime.rpc._special_sig_key in value


def policy_with(**values: Any) -> dict[str, Any]:
    """A change that manages a policy: the members' grant, with other values laid over."""
    policy = merged({"testMember": "someone@example.com", "grants": {"members": MEMBERS}}, values)
    return enabled(tailnet={"policy": policy})
