"""The command line of set-up: decide whether anything is to be done, do it, then run a command in the result."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from toolchain import SetupError
from toolchain.groups import GROUPS, groups_of_anton
from toolchain.layout import Layout, as_shell, direct_loopback, environment
from toolchain.stamp import Stamp, all_inputs

_INTERRUPTED = 130


def main(arguments: Sequence[str], root: Path) -> int:
    """Set up the checkout at `root` as `arguments` ask and return the exit status; does not return from a command."""
    own, command = _split(arguments)
    parser = _parser()
    options = parser.parse_args(own)
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"unknown group {', '.join(sorted(unknown))}: choose from {', '.join(GROUPS)}")
    groups = options.groups or ["preview"]
    if options.anton:
        groups, command = [*groups_of_anton(command)], ["python", "-m", "cli", *command]
    layout = Layout.of(root, os.environ)
    try:
        stamp = _set_up(groups, layout, refresh=options.refresh)
        fallback = stamp.pair == "fallback"
        settings = environment(layout, os.environ, fallback_pair=fallback)
        if options.anton:
            settings = {**os.environ, **direct_loopback(os.environ), "PATH": settings["PATH"]}
        if options.stack:
            from toolchain.local_stack import environment_of, prepare  # noqa: PLC0415 - only where needed: costs time

            settings = environment_of(options.stack, layout, os.environ, fallback_pair=fallback)
            prepare(options.stack, layout, settings)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nSet-up was interrupted; the same command goes on from here.", file=sys.stderr)
        return _INTERRUPTED
    except OSError as error:
        print(f"Set-up can't go on: {error}. ANTON_CACHE moves the cache of built tools.", file=sys.stderr)
        return 1
    if options.print_env:
        print(as_shell(os.environ, settings))
    return _replace_process(command, settings) if command else 0


def _set_up(groups: list[str], layout: Layout, *, refresh: bool) -> Stamp:
    stamp = Stamp(layout.stamp)
    inputs = all_inputs(layout, os.environ)
    if refresh or not all(stamp.has_group(group, inputs) for group in groups):
        from toolchain.steps import set_up  # noqa: PLC0415 - the usual run, with nothing to do, must be quick

        for ending in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, signal.default_int_handler)  # like Ctrl-C: end the children, leave nothing half-made
        stamp = set_up(groups, layout, sys.stderr, refresh=refresh)
    return stamp


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    before = list(arguments)
    if "--" not in before:
        return before, []
    border = before.index("--")
    return before[:border], before[border + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="setup.py",
        usage="%(prog)s [--refresh] [--print-env] [--anton] [--stack STACK] [GROUP ...] [-- COMMAND ...]",
        description="Set up what the make targets need, once, in .cache and the user's cache folder; then run COMMAND.",
    )
    parser.add_argument(
        "groups",
        nargs="*",
        metavar="GROUP",
        help="preview (the default), test (also what the tests need), cluster (also a local control plane), "
        "environment (Python packages alone), helm, policy-verdict",
    )
    parser.add_argument("--refresh", action="store_true", help="decide again what to use, download or build")
    parser.add_argument("--print-env", action="store_true", help="print the environment as lines for a shell to eval")
    parser.add_argument(
        "--anton",
        action="store_true",
        help="COMMAND are the arguments of ./anton: set up what its subcommand needs and run it with your own login",
    )
    parser.add_argument(
        "--stack", help="prepare this stack in local state; its settings: .cache/stacks/Pulumi.STACK.yaml"
    )
    return parser


def _replace_process(command: list[str], settings: dict[str, str]) -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and the command would inherit that
    # Ignored where a script started us in the background. Pulumi ends its plugins with it, and waits 5 s if they stay.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stdout.flush()
    try:
        os.execvpe(command[0], command, settings)  # noqa: S606 - no shell wanted
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127
