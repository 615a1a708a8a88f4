"""`anton diff`: what a pending change does to every object, before it is made."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer
from rich.text import Text

from cli.cluster import Cluster, ClusterError
from cli.console import OUT, errors, print_json, progress
from cli.diff.drift import Drift, drift
from cli.diff.drift import lines as drift_lines
from cli.diff.fields import ABSENT, Field, Item
from cli.diff.markdown import markdown
from cli.diff.objects import Comparison, Difference, compare
from cli.diff.show import lines
from cli.diff.sides import Before
from cli.program import Program

SAME, DIFFERENT = 0, 1


def diff(
    context: typer.Context,
    live: Annotated[bool, typer.Option("--live", help="also what differs in the cluster and the clouds now")] = False,
    full: Annotated[bool, typer.Option("--full", help="fold and shorten nothing")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="print Markdown for a pull request")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """What `pulumi up` changes in every object, charts rendered; dangers first.

    Exit status: 0 nothing changes, 1 something does (or has drifted), 2 wrong usage, 3 could not look.
    """
    with errors():
        program: Program = context.obj.program()
        with progress("comparing the stack before and after (usually 8 s)"), ThreadPoolExecutor(2) as pool:
            asked = pool.submit(_before, program)  # while Pulumi plans
            refreshed = pool.submit(program.refreshed_plan) if live else None
            nodes = len(program.settings.physical.nodes)
            comparison = compare(program.stack, program.plan, asked.result(), nodes)
            found = drift(program.plan, asked.result(), refreshed.result()) if refreshed else None
        if as_json:
            print_json(document(comparison, found))
        elif as_markdown:
            sys.stdout.write(markdown(comparison, full=full))
            if found:
                sys.stdout.write("\n".join(["", *(f"    {line.plain}" for line in drift_lines(found)), ""]))
        else:
            shown = [*lines(comparison, full=full)]
            _page(shown + ([Text(), *drift_lines(found)] if found else []))
        raise typer.Exit(DIFFERENT if comparison.differences or (found and found.objects) else SAME)


def _before(program: Program) -> Before:
    try:
        return Before.of(Cluster.of(program))
    except ClusterError as error:
        return Before(reason=str(error))


def _page(shown: list[Text]) -> None:
    """Print; by the user's pager when the terminal is too small for all lines."""
    height = sum(line.plain.count("\n") + 1 for line in shown)
    if not OUT.is_terminal or height < OUT.height:
        for line in shown:
            OUT.print(line)
        return
    os.environ.setdefault("LESS", "-RFXS")  # colours, no wrapping, and what was seen stays on the terminal
    with OUT.pager(styles=True):
        for line in shown:
            OUT.print(line)


# ---- JSON


def document(comparison: Comparison, found: Drift | None) -> dict[str, Any]:
    """The comparison as one JSON document; secrets are masked in it already."""
    written: dict[str, Any] = {
        "stack": comparison.stack,
        "deployed": comparison.deployed,
        "sources": comparison.sources,
        "objects": [_object(each) for each in comparison.differences],
    }
    if found:
        written["drift"] = [
            {**_key(each.key), "problem": each.problem, "fields": [_field(entry) for entry in each.fields]}
            for each in found.objects
        ]
    return written


def _object(each: Difference) -> dict[str, Any]:
    return {
        **_key(each.key),
        "operation": each.operation,
        "layer": each.layer,
        "resource": each.origin,
        "engine": each.engine,
        "hook": each.hook,
        "folded": each.folded,
        "dangers": each.dangers,
        "fields": [
            _field(entry) | ({"noise": each.noises[entry.path]} if entry.path in each.noises else {})
            for entry in each.fields
        ],
    }


def _key(key: Any) -> dict[str, str]:
    return {"group": key.group, "kind": key.kind, "namespace": key.namespace, "name": key.name}


def _field(entry: Field) -> dict[str, Any]:
    """A field; `at` is its path as steps: a key, a list's index, or an object with the values that name an item."""
    values = {"before": entry.before, "after": entry.after}
    at = [dict(step.key) if isinstance(step, Item) else step for step in entry.at]
    return {"path": entry.path, "at": at} | {name: value for name, value in values.items() if value is not ABSENT}
