"""`anton reach`: whether traffic passes from one end to another, by which way, and what lets or stops it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.markup import escape

from cli.addresses import Move, changes_pools, planned_moves
from cli.cluster import Cluster, ClusterError
from cli.console import OUT, errors, print_json, progress
from cli.manifests import objects
from cli.network import Network, Pods
from cli.program import Program
from cli.reach.paths import API_SERVER, NODE, End, Path, Reach, UnknownEndError, find, outside
from cli.verdicts import InputError, Judge

OPEN, CLOSED = 0, 1


@dataclass(frozen=True, order=True)
class Pair:
    """Something that can be reached, or not: `destination` is a host name, or pods with their port."""

    destination: str
    source: str


def reach(
    context: typer.Context,
    source: Annotated[
        str | None, typer.Argument(help="internet, lan, tailnet, node, api-server, pods, address")
    ] = None,
    destination: Annotated[str | None, typer.Argument(help="the same, or a host name or URL")] = None,
    port: Annotated[int | None, typer.Argument(help="port of the pods; all that they declare when left out")] = None,
    protocol: Annotated[str, typer.Option(help="TCP or UDP, with a port")] = "TCP",
    live: Annotated[bool, typer.Option("--live", help="ask the cluster for its policies, pods and Services")] = False,
    changes: Annotated[bool, typer.Option("--changes", help="what the pending change opens and closes")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Whether SOURCE reaches DESTINATION, by which way, and by which policy or rule.

    Pods are written `namespace/workload`, `workload` or `namespace/label=value`. Exit status: 0 reachable (or no
    change), 1 not reachable (or something changes), 2 wrong usage, 3 could not look.
    """
    with errors():
        program: Program = context.obj.program()
        if changes:
            raise typer.Exit(_show_changes(program, as_json=as_json))
        if source is None or destination is None:
            raise typer.BadParameter("say SOURCE and DESTINATION, or --changes")
        with progress("looking at the stack (usually 5 s)"):
            network = Network.running(program) if live else declared_network(program)
            start, end = _end(network, source), _end(network, destination)
            paths = Reach(network).paths(start, end, port, protocol.upper())
        if as_json:
            print_json({"source": source, "destination": destination, "reachable": _open(paths), "paths": paths})
        else:
            _show(start, end, paths)
        raise typer.Exit(OPEN if _open(paths) else CLOSED)


def _end(network: Network, text: str) -> End:
    try:
        return find(network, text)
    except UnknownEndError as error:
        raise typer.BadParameter(str(error)) from None


def declared_network(program: Program) -> Network:
    """The network as the program declares it. Raises ProgramError, RenderError or ConfigError."""
    planned = program.plan.planned
    return Network.declared(program.settings, objects(planned), planned)


def _open(paths: Iterable[Path]) -> bool:
    return any(path.allowed for path in paths)


def _show(source: End, destination: End, paths: list[Path]) -> None:
    said = "[green]reachable[/]" if _open(paths) else "[red]not reachable[/]"
    OUT.print(f"{escape(source.name)} to {escape(destination.name)}: {said}")
    for path in paths:
        OUT.print(f"\n  {'[green]open[/]  ' if path.allowed else '[red]closed[/]'}  {escape(path.title)}")
        for number, hop in enumerate(path.hops, 1):
            mark = "" if hop.allowed else "[red]stops here[/]: "
            by = f" ({', '.join(hop.policies)})" if hop.policies else ""
            OUT.print(f"    {number}. {escape(hop.place)}: {mark}{escape(hop.text)}{escape(by)}")


# ---- what a change opens and closes


def reachable(network: Network, among: Iterable[Pods]) -> set[Pair]:
    """Everything that is reached: hosts and addresses from outside, and the ports of `among` from within."""
    return {*_from_outside(network), *_between(network, list(among))}


def _from_outside(network: Network) -> set[Pair]:
    found = set()
    judge = Reach(network)
    hosts = [End(route.host + route.path, "host", host=route.host, path=route.path) for route in network.routes]
    hosts += [
        End(rule.host, "host", host=rule.host)
        for rule in network.tunnel
        if rule.host and not rule.host.startswith("*") and not rule.path and rule.host not in _hosts(network)
    ]
    addresses = [End(str(service), "service", host=service.address) for service in network.services if service.address]
    for source in outside(network):
        for end in (*hosts, *addresses):
            if _open(judge.paths(source, end, None)):
                found.add(Pair(end.name, source.name))
    return found


def _hosts(network: Network) -> set[str]:
    return {route.host for route in network.routes}


def _between(network: Network, among: list[Pods]) -> set[Pair]:
    endpoints: dict[str, Mapping[str, Any]] = {str(pods): pods.endpoint() for pods in among}
    endpoints |= {end.name: end.endpoint for end in (NODE, API_SERVER)}
    queries = [
        {"from": source, "to": str(pods), "port": port.number, "protocol": port.protocol}
        for pods in among
        for port in pods.ports
        for source in endpoints
        if source != str(pods)
    ]
    # What pods may ask of the world, at the port that nearly all of it answers on.
    queries += [{"from": str(pods), "to": "internet", "port": 443} for pods in among]
    judge = Judge(network.policies, endpoints, network.enforcement, network.namespaces)
    verdicts = judge.verdicts(queries)
    return {
        Pair(f"{query['to']} {query['port']}/{query.get('protocol', 'TCP')}", str(query["from"]))
        for query, verdict in zip(queries, verdicts, strict=True)
        if verdict.allowed
    }


def compare(before: Network, after: Network) -> tuple[set[Pair], set[Pair]]:
    """What the change makes reachable and unreachable, judged between the pods of both networks.

    Pods that one of them does not have count as there: a policy speaks of labels, not of what runs.
    """
    known = {str(pods): pods for pods in (*before.pods, *after.pods)}.values()
    old, new = reachable(before, known), reachable(after, known)
    return new - old, old - new


def _show_changes(program: Program, *, as_json: bool) -> int:
    with progress("comparing the stack before and after (usually 10 s)"):
        plan = program.plan
        after = declared_network(program)
        if not plan.deployed:
            raise InputError("Nothing is deployed yet, so there is nothing to compare with")
        before = Network.declared(program.settings, objects(plan.deployed), plan.deployed)
        opened, closed = compare(before, after)
        lost, unseen = _lost_addresses(program)
    if as_json:
        print_json({"opened": sorted(opened), "closed": sorted(closed), "lost": lost})
    else:
        for move in lost:
            OUT.print(f"[red]loses its address[/]  {escape(str(move))}")
        if unseen:
            OUT.print(f"[dim]Pools change; whether Services lose addresses is unknown: {escape(unseen)}[/]")
        _print_pairs("becomes reachable", "green", opened)
        _print_pairs("becomes unreachable", "red", closed)
        if not opened and not closed and not lost:
            OUT.print("The pending change opens and closes nothing.")
    return CLOSED if opened or closed or lost else OPEN


def _lost_addresses(program: Program) -> tuple[list[Move], str]:
    """What running Services lose when pools change, and why that can't be said where the cluster does not answer."""
    if not changes_pools(program.plan):
        return [], ""
    try:
        return planned_moves(program.plan, Cluster.of(program)), ""
    except ClusterError as error:
        return [], str(error)


def _print_pairs(title: str, colour: str, pairs: set[Pair]) -> None:
    """In as few lines as it takes: many sources for one destination, or many destinations for the same sources."""
    by_destination: dict[str, list[str]] = defaultdict(list)
    for pair in sorted(pairs):
        by_destination[pair.destination].append(pair.source)
    by_sources: dict[str, list[str]] = defaultdict(list)
    for destination, sources in by_destination.items():
        by_sources[", ".join(sources)].append(destination)
    for from_, destinations in by_sources.items():
        OUT.print(f"[{colour}]{title}[/]  {escape(', '.join(destinations))}")
        OUT.print(f"  from {escape(from_)}")
