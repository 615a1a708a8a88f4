"""`anton topology`: the network as a picture, in the terminal or as SVG."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.tree import Tree

from cli.console import OUT, errors, print_json, progress
from cli.network import Network
from cli.program import Program
from cli.topology.model import LAYERS, Box, Topology
from cli.topology.svg import draw


def topology(
    context: typer.Context,
    svg: Annotated[Path | None, typer.Option("--svg", help="write an SVG picture to this file")] = None,
    live: Annotated[bool, typer.Option("--live", help="the cluster as it runs, instead of the program")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Show the network: ways in, addresses, classes, tunnel, DNS names, applications, policies and machines.

    Exit status: 0 shown, 3 could not look.
    """
    with errors():
        program: Program = context.obj.program()
        with progress("looking at the stack (usually 5 s)"):
            settings = program.settings
            network = Network.running(program) if live else Network.outline(settings, program.plan.planned)
        found = Topology.of(network, f"{network.settings.cluster.domain}: the network of stack {program.stack}")
    if svg:
        svg.write_text(draw(found), encoding="utf-8")
        OUT.print(f"The picture is in {escape(str(svg))}.")
    elif as_json:
        print_json(found)
    else:
        OUT.print(tree(found))


def tree(topology: Topology) -> Tree:
    """The same as a tree for the terminal: layer, box, its lines, and where its traffic goes."""
    titles = {box.id: box.title for box in topology.flow}
    onward = defaultdict(list)
    for link in topology.links:
        onward[link.source].append(f"to {titles[link.target]}{f' ({link.label})' if link.label else ''}")
    root = Tree(f"[bold]{escape(topology.title)}[/]")
    for number, layer in enumerate(LAYERS):
        branch = root.add(f"[bold]{layer}[/]")
        for box in (box for box in topology.flow if box.column == number):
            _add(branch, box, onward[box.id])
    for title, boxes in (("policies", topology.policies), ("machines", topology.machines)):
        branch = root.add(f"[bold]{title}[/]")
        for box in boxes:
            _add(branch, box, [])
    return root


def _add(branch: Tree, box: Box, onward: list[str]) -> None:
    leaf = branch.add(escape(box.title))
    for row in box.rows:
        leaf.add(escape(row))
    for way in onward:
        leaf.add(f"[cyan]{escape(way)}[/]")
