"""What the subcommands share at the terminal: errors in one line, JSON, exit codes, no colour when piped."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import Any

import typer
from rich.console import Console

from cli.cluster import ClusterError
from cli.manifests import RenderError
from cli.program import ProgramError
from cli.verdicts import InputError
from settings.errors import ConfigError

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)

FAILED = 3
"""Exit code of a command that could not look; 0 and 1 are what it saw, 2 is a wrong command line."""


@contextmanager
def errors() -> Iterator[None]:
    """Print what went wrong in words and leave with FAILED, instead of a traceback."""
    try:
        yield
    except (ProgramError, ClusterError, RenderError, InputError, ConfigError) as error:
        ERR.print(str(error), style="red", markup=False)
        raise typer.Exit(FAILED) from None


@contextmanager
def progress(text: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is being waited for; the given function replaces the text."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with ERR.status(text) as status:
        yield status.update


def print_json(value: Any) -> None:
    """Print a value as indented JSON, dataclasses as objects."""
    sys.stdout.write(json.dumps(value, indent=2, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
