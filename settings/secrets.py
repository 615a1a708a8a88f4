"""The stack's secrets: which there are, which a configuration needs, and what one must look like.

`load` reads them, each under a key of its own, and hands them on as secret outputs. No text made here ever holds a
secret's value.
"""

import base64
import binascii
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from settings.fields import Problem
from settings.parsing import HIDDEN
from settings.stack import Settings

TUNNEL_SECRET_BYTES = 32
"""The shortest tunnel secret that Cloudflare takes."""


def _any_text(value: str) -> str | None:
    if not value or value != value.strip() or not value.isprintable():
        return "is empty, or has white space or control characters around or in it"
    return None


def _tunnel_secret(value: str) -> str | None:
    try:
        size = len(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return "is not base64"
    return (
        None if size >= TUNNEL_SECRET_BYTES else f"holds {size} bytes; Cloudflare wants {TUNNEL_SECRET_BYTES} or more"
    )


@dataclass(frozen=True)
class Secret:
    """One secret of the stack.

    `needed` says for which setting a configuration needs it, or returns None; `fault` says what is wrong with a value.
    """

    key: str
    purpose: str
    needed: Callable[[Settings], str | None]
    fault: Callable[[str], str | None] = _any_text
    example: str = "a token"

    @property
    def command(self) -> str:
        """How to set it without showing it on the screen."""
        return f"pulumi config set --secret {self.key}   # asks for it: {self.example}"


def _cloudflare(settings: Settings) -> str | None:
    return "cloudflare.enabled" if settings.cloudflare.enabled else None


def _external_dns(settings: Settings) -> str | None:
    return (
        "cloudflare.dns.externalDns" if settings.cloudflare.enabled and settings.cloudflare.dns.external_dns else None
    )


def _letsencrypt(settings: Settings) -> str | None:
    return "certificates.letsencrypt" if settings.certificates.enabled and settings.certificates.letsencrypt else None


def _tailscale(settings: Settings) -> str | None:
    return "tailscale.enabled" if settings.tailscale.enabled else None


def _tailnet(settings: Settings) -> str | None:
    return "tailscale.tailnet" if settings.tailscale.enabled and settings.tailscale.tailnet else None


SECRETS = (
    Secret(
        "cloudflareApiToken",
        "what the program itself changes at Cloudflare: tunnel, DNS, zone settings, rules, Access",
        _cloudflare,
        example="an API token with the permissions listed in docs/secrets.md",
    ),
    Secret(
        "cloudflareTunnelSecret",
        "the tunnel's own secret, from which its connectors' token is made",
        _cloudflare,
        _tunnel_secret,
        example="the output of `openssl rand -base64 32`",
    ),
    Secret(
        "externalDnsApiToken",
        "external-dns: records of the zone",
        _external_dns,
        example="an API token with DNS Edit and Zone Read on the one zone",
    ),
    Secret(
        "certManagerApiToken",
        "cert-manager: DNS-01 challenges in the zone",
        _letsencrypt,
        example="an API token with DNS Edit and Zone Read on the one zone",
    ),
    Secret(
        "tailscaleOperatorClientId",
        "the Tailscale operator's OAuth client",
        _tailscale,
        example="the id of an OAuth client with devices:core, auth_keys and services, tag:k8s-operator",
    ),
    Secret(
        "tailscaleOperatorClientSecret",
        "the Tailscale operator's OAuth client",
        _tailscale,
        example="the secret of the same OAuth client",
    ),
    Secret(
        "tailscaleApiClientId",
        "what the program itself changes in the tailnet: policy, DNS, keys",
        _tailnet,
        example="the id of an OAuth client with those scopes of docs/secrets.md that the settings use",
    ),
    Secret(
        "tailscaleApiClientSecret",
        "what the program itself changes in the tailnet: policy, DNS, keys",
        _tailnet,
        example="the secret of the same OAuth client",
    ),
)


def directed(problem: Problem) -> Problem:
    """The problem of an unknown key that holds a secret by its name, with the way to where secrets go.

    Others are returned as they are.
    """
    if problem.value != HIDDEN:
        return problem
    own = {secret.key.lower(): secret for secret in SECRETS}
    name = re.sub(r"[^a-z]", "", problem.key.lower())
    near = [own[name]] if name in own else [own[key] for key in get_close_matches(name, own, n=2, cutoff=0.75)]
    places = [" or ".join(secret.key for secret in near), "docs/secrets.md"] if near else ["docs/secrets.md"]
    known = problem.reason if "did you mean" in problem.reason else "is not a known key;"
    reason = f"{known} a secret has a key of its own, which keeps it encrypted: {', '.join(places)}"
    return replace(problem, reason=reason, example=near[0].command if near else problem.example)


def problems(settings: Settings, given: Mapping[str, str], plain: Collection[str] = ()) -> Iterator[Problem]:
    """Secrets that are needed and missing, in plain text, malformed, or one and the same token for two purposes.

    `given` maps keys to values, and `plain` are the keys of those that are not encrypted; a problem shows the key and
    never the value.
    """
    owners: dict[str, str] = {}
    for secret in SECRETS:
        because = secret.needed(settings)
        value = given.get(secret.key)
        if value is None:
            if because:
                yield Problem(secret.key, None, f"is required by {because}: {secret.purpose}", secret.command)
            continue
        if secret.key in plain:
            reason = "stands in plain text in the stack's config; encrypt it, and replace it if others could read it"
            yield Problem(secret.key, HIDDEN, reason, secret.command)
        if fault := secret.fault(value):
            yield Problem(secret.key, HIDDEN, fault, secret.command)
        first = owners.setdefault(value, secret.key)
        if first != secret.key:
            reason = f"is the same as {first}; a token that leaks must not open the other door as well"
            yield Problem(secret.key, HIDDEN, reason, secret.command)
