"""The tailnet's policy file: who owns which tag, who reaches what, and the tests that Tailscale runs before it saves.

Syntax: Tailscale's reference of the policy file, sections tagOwners, groups, grants, autoApprovers and tests. Not
offered: `acls` (grants say the same), `ssh`, and `nodeAttrs`, without which no device can turn on Funnel and so publish
itself to the internet.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from settings.fields import DnsLabel, Form, Model, Problem, below

_TAG, _GROUP, _USER = r"tag:[A-Za-z][-A-Za-z0-9]*", r"group:[A-Za-z0-9][-\w.]*", r"[^\s@:*]+@[^\s@:]+"

_AUTOGROUP, _SERVICE = r"autogroup:[-a-z]+", r"svc:[a-z0-9]([-a-z0-9]*[a-z0-9])?"

_IDENTITY = re.compile(f"{_TAG}|{_GROUP}|{_USER}")
"""What Tailscale's tests take as a source."""

_ONLY_DESTINATION = re.compile(rf"{_SERVICE}|autogroup:(internet|self)")

EVERYBODY = {"*", "0.0.0.0/0", "autogroup:danger-all"}

EVERYTHING = {"*", "0.0.0.0/0"}


def _is_network(value: str) -> bool:
    try:
        return str(IPv4Network(value)).removesuffix("/32") == value.removesuffix("/32")
    except (AddressValueError, NetmaskValueError, ValueError):
        return False


def _selector(value: str) -> str:
    if value == "*" or re.fullmatch("|".join((_TAG, _GROUP, _USER, _AUTOGROUP, _SERVICE)), value):
        return value
    if not _is_network(value):
        raise ValueError(
            "is no selector: tag:NAME, group:NAME, autogroup:NAME, svc:NAME, a user, an IPv4 address or network, or *"
        )
    return value


def _test_source(value: str) -> str:
    if value.startswith("autogroup:"):
        raise ValueError("is an autogroup, which Tailscale's tests do not take; name a user who is in it")
    if not _IDENTITY.fullmatch(value):
        raise ValueError("is neither a user nor tag:NAME nor group:NAME")
    return value


def _port(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) <= 65535


def _test_destination(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not _port(port) or not (_IDENTITY.fullmatch(host) or _is_network(host)):
        raise ValueError("is not HOST:PORT, with a tag, group, user or address as host and one port")
    return value


def _protocol_and_ports(value: str) -> str:
    protocol, _, ports = value.rpartition(":")
    first, _, last = ports.partition("-")
    numbered = _port(first) and (not last or (_port(last) and int(first) <= int(last)))
    if protocol not in ("", "tcp", "udp", "icmp") or not (ports == "*" or (numbered and protocol != "icmp")):
        raise ValueError("is not PORT, FROM-TO or *, with tcp:, udp: or icmp: in front where only that is meant")
    return value


Tag = Annotated[
    str,
    StringConstraints(pattern=f"^{_TAG}$"),
    Form("must be tag: and a name of letters, digits and hyphens that starts with a letter"),
    Field(examples=["tag:k8s"]),
]
"""A tag of the tailnet, which stands for a role of devices."""

User = Annotated[
    str,
    StringConstraints(pattern=f"^{_USER}$"),
    Form("must be the login name of one user, such as a mail address"),
    Field(examples=["someone@example.com"]),
]
"""A user of the tailnet by login name."""

GroupName = Annotated[
    str, StringConstraints(pattern=f"^{_GROUP}$"), Form("must be group: and a name"), Field(examples=["group:admins"])
]
"""A group of the policy file."""

Owner = Annotated[
    str,
    StringConstraints(pattern=f"^({_TAG}|{_GROUP}|{_USER}|{_AUTOGROUP})$"),
    Form("must be a user, group:NAME, tag:NAME or autogroup:NAME"),
    Field(examples=["autogroup:admin"]),
]
"""Who may give a tag to a device."""

Selector = Annotated[str, AfterValidator(_selector), Field(examples=["autogroup:member"])]
"""One side of a grant."""

ProtocolAndPorts = Annotated[str, AfterValidator(_protocol_and_ports), Field(examples=["tcp:443"])]
"""What a grant opens."""

TestSource = Annotated[str, AfterValidator(_test_source), Field(examples=["someone@example.com"])]
"""From whose device a test connects."""

TestDestination = Annotated[str, AfterValidator(_test_destination), Field(examples=["tag:k8s:443"])]
"""Where a test connects to."""

Capability = Annotated[
    str,
    StringConstraints(pattern=r"^[-a-z0-9.]+/[-\w./]+$"),
    Form("must be a capability: the owner's domain, a slash and a name"),
    Field(examples=["tailscale.com/cap/kubernetes"]),
]
"""The name of an application capability, below its owner's domain."""


class Protocol(StrEnum):
    """What a test connects with."""

    TCP = "tcp"
    UDP = "udp"


class Grant(Model):
    """Who reaches what. Grants add up; none takes away what another gives."""

    src: tuple[Selector, ...] = Field(min_length=1, description="who is let through", examples=[["autogroup:member"]])
    dst: tuple[Selector, ...] = Field(min_length=1, description="what they reach", examples=[["tag:k8s"]])
    ip: tuple[ProtocolAndPorts, ...] = Field(
        default=(), description="protocols and ports, `tcp:443` or `443` or `8000-8010`", examples=[["tcp:443"]]
    )
    app: dict[Capability, tuple[dict[str, Any], ...]] = Field(
        default={},
        description="capabilities inside an application, such as who a user is for the API server proxy",
        examples=[{"tailscale.com/cap/kubernetes": [{"impersonate": {"groups": ["system:masters"]}}]}],
    )

    def problems(self) -> Iterator[Problem]:
        if not self.ip and not self.app:
            reason = "with neither ip nor app the grant gives nothing"
            yield Problem("ip", None, reason, ["tcp:443"], because=("app",))
        for source in self.src:
            if _ONLY_DESTINATION.fullmatch(source):
                yield Problem("src", source, "can only be a destination", ["autogroup:member"])
        everybody, everything = EVERYBODY & {*self.src}, EVERYTHING & {*self.dst}
        if everybody and everything:
            reason = f"with dst {everything.pop()} opens everything to everybody, and no other grant can narrow that"
            yield Problem("src", everybody.pop(), reason, ["autogroup:member"])

    def opens(self, address: IPv4Address, protocol: str, port: int) -> bool:
        """Whether the grant lets anybody reach a port of an address that is no device of the tailnet."""
        networks = [
            IPv4Network("0.0.0.0/0" if each == "*" else each) for each in self.dst if _is_network(each) or each == "*"
        ]
        return any(address in network for network in networks) and any(
            _covers(each, protocol, port) for each in self.ip
        )


def _covers(entry: str, protocol: str, port: int) -> bool:
    named, _, ports = entry.rpartition(":")
    first, _, last = ports.partition("-")
    return named in ("", protocol) and (ports == "*" or int(first) <= port <= int(last or first))


class PolicyTest(Model):
    """What must be possible or impossible; Tailscale refuses a policy that fails."""

    src: TestSource = Field(description="a user, tag or group; no autogroup", examples=["someone@example.com"])
    proto: Protocol | None = Field(default=None, description="protocol; either when unset", examples=["tcp"])
    accept: tuple[TestDestination, ...] = Field(
        default=(), description="`HOST:PORT` that must be reachable", examples=[["tag:k8s:443"]]
    )
    deny: tuple[TestDestination, ...] = Field(
        default=(), description="`HOST:PORT` that must not be reachable", examples=[["tag:k8s:22"]]
    )

    def problems(self) -> Iterator[Problem]:
        if not self.accept and not self.deny:
            reason = "with neither accept nor deny nothing is tested"
            yield Problem("accept", None, reason, ["tag:k8s:443"], because=("deny",))
        for destination in sorted({*self.accept} & {*self.deny}):
            yield Problem("deny", destination, "is in accept as well", "one of the two")


class Policy(Model):
    """The whole policy file of the tailnet."""

    tag_owners: dict[Tag, tuple[Owner, ...]] = Field(
        default={},
        description="who may give which tag to a device. The operator's tags and those of its proxies have their "
        "owners already; an entry here replaces them",
        examples=[{"tag:k8s-node": ["autogroup:admin"]}],
    )
    groups: dict[GroupName, Annotated[tuple[User, ...], Field(min_length=1)]] = Field(
        default={}, description="groups of users", examples=[{"group:admins": ["someone@example.com"]}]
    )
    grants: dict[DnsLabel, Grant] = Field(
        min_length=1,
        description="who reaches what, by a name of your own; the file holds no other permission",
        examples=[{"members": {"src": ["autogroup:member"], "dst": ["tag:k8s"], "ip": ["tcp:443"]}}],
    )
    tests: dict[DnsLabel, PolicyTest] = Field(
        default={},
        description="tests of your own, beside those made from the grants",
        examples=[{"no-shell": {"src": "someone@example.com", "deny": ["tag:k8s:22"]}}],
    )
    test_member: User | None = Field(
        default=None,
        description="a user of the tailnet who stands for `autogroup:member` in the tests made from the grants",
        examples=["someone@example.com"],
    )
    lock_console: bool = Field(
        default=False, description="close the admin console's policy editor, whose changes an update would overwrite"
    )

    def problems(self) -> Iterator[Problem]:
        for name, grant in self.grants.items():
            yield from below(f"grants.{name}", grant.problems())
        for name, test in self.tests.items():
            yield from below(f"tests.{name}", test.problems())
        for key, used in self.used("group:"):
            if used not in self.groups:
                example = [next(iter(self.groups), "autogroup:member")]
                yield Problem(key, used, "has no entry in groups", example, because=("groups",))
        if self.grants and not self.tests and not generated_tests(self):
            yield self._untested()

    def _untested(self) -> Problem:
        """What to add where no test can be made from the grants: a member to stand for all, or a test."""
        member = "someone@example.com"
        if self.test_member is None and generated_tests(self.model_copy(update={"test_member": member})):
            reason = (
                "no test can be made from the grants: their sources are autogroups, which Tailscale's tests do not take"
            )
            return Problem("testMember", None, reason, member, because=("grants",))
        reason = (
            "no test can be made from the grants: none has a single user, group or tag as source and a destination "
            "with a port; write one of what must stay reachable"
        )
        return Problem("tests", None, reason, {"lan": {"src": member, "accept": ["192.168.1.1:443"]}}, ("grants",))

    def used(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Every mention of a tag or group outside its own definition: the key of the mention, and the name."""
        mentions = [(f"tagOwners.{tag}", owner) for tag, owners in self.tag_owners.items() for owner in owners]
        for name, grant in self.grants.items():
            mentions += [(f"grants.{name}.src", each) for each in grant.src]
            mentions += [(f"grants.{name}.dst", each) for each in grant.dst]
        for name, test in self.tests.items():
            mentions.append((f"tests.{name}.src", test.src))
            for side, destinations in (("accept", test.accept), ("deny", test.deny)):
                mentions += [(f"tests.{name}.{side}", each.rpartition(":")[0]) for each in destinations]
        yield from (mention for mention in mentions if mention[1].startswith(prefix))


def generated_tests(policy: Policy) -> list[dict[str, Any]]:
    """A test for everything that the grants open and that Tailscale's tests can express.

    Their source is one user, group or tag and their destination has one port: autogroups other than members (for whom
    `testMember` stands), `*`, services and ICMP are left out, and of a network or a range of ports the first is taken.
    """
    accepted: dict[tuple[str, str], set[str]] = {}
    for grant in policy.grants.values():
        sources = [policy.test_member if each == "autogroup:member" else each for each in grant.src]
        testable = [each for each in sources if each and _IDENTITY.fullmatch(each)]
        for source in testable:
            for entry in grant.ip:
                protocol, _, ports = entry.rpartition(":")
                if protocol == "icmp":
                    continue
                port = "443" if ports == "*" else ports.partition("-")[0]
                hosts = {f"{host}:{port}" for host in map(_test_host, grant.dst) if host}
                if hosts:
                    accepted.setdefault((source, protocol), set()).update(hosts)
    return [
        {"src": source, "accept": sorted(hosts)} | ({"proto": protocol} if protocol else {})
        for (source, protocol), hosts in sorted(accepted.items())
    ]


def _test_host(destination: str) -> str | None:
    """One host of a grant's destination, as a test names it; None where a test can't."""
    if _IDENTITY.fullmatch(destination):
        return destination
    if destination not in EVERYTHING and _is_network(destination):
        network = IPv4Network(destination)
        return str(network[0] if network.prefixlen >= 31 else network[1])
    return None
