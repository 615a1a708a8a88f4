"""Takes a Corefile apart, after CoreDNS's manual ("Configuration") and the order in its plugin.cfg.

What it shows: blocks balance, every directive is one that CoreDNS is built with. What it can't show: that a plugin
accepts its arguments; only CoreDNS itself would.
"""

from collections.abc import Iterator
from dataclasses import dataclass

DIRECTIVES = """
root metadata geoip cancel tls timeouts multisocket reload nsid bufsize bind debug trace ready health pprof prometheus
errors log dnstap local dns64 acl any chaos loadbalance tsig cache rewrite header dnssec autopath minimal template
transfer hosts route53 azure clouddns k8s_external kubernetes file auto secondary etcd loop forward grpc erratic whoami
on sign view nomad
"""


@dataclass(frozen=True)
class Directive:
    """One plugin of a server block: its name, its arguments, and the lines of its own block."""

    name: str
    arguments: tuple[str, ...]
    options: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class ServerBlock:
    """The zones that a block serves, and its plugins."""

    keys: tuple[str, ...]
    directives: tuple[Directive, ...]


def directives() -> frozenset[str]:
    """The plugins of a stock CoreDNS, as its plugin.cfg lists them."""
    return frozenset(DIRECTIVES.split())


def blocks(text: str) -> list[ServerBlock]:
    """The server blocks of a Corefile. Raises ValueError."""
    return list(parse(text))


def parse(text: str) -> list[ServerBlock]:
    """The server blocks of a Corefile. Raises ValueError where it does not keep to the grammar."""
    lines = iter([words for line in text.splitlines() if (words := line.partition("#")[0].split())])
    return list(_blocks(lines))


def _blocks(lines: Iterator[list[str]]) -> Iterator[ServerBlock]:
    for words in lines:
        if len(words) < 2 or words[-1] != "{":
            raise ValueError(f"Corefile: {' '.join(words)!r} opens no server block")
        yield ServerBlock(tuple(words[:-1]), tuple(_directives(lines)))


def _directives(lines: Iterator[list[str]]) -> Iterator[Directive]:
    for words in lines:
        if words == ["}"]:
            return
        if words[0] in {"{", "}"}:
            raise ValueError(f"Corefile: a plugin is missing before {words[0]!r}")
        opens = words[-1] == "{"
        yield Directive(words[0], tuple(words[1:-1] if opens else words[1:]), tuple(_options(lines)) if opens else ())
    raise ValueError("Corefile: a server block is not closed")


def _options(lines: Iterator[list[str]]) -> Iterator[tuple[str, ...]]:
    for words in lines:
        if words == ["}"]:
            return
        if "{" in words or "}" in words:
            raise ValueError(f"Corefile: {' '.join(words)!r} nests a block too deep")
        yield tuple(words)
    raise ValueError("Corefile: a plugin's block is not closed")
