"""The command line behind `make rehearse`: the complete network on a control plane and accounts of this machine."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
import yaml
from kubernetes import client
from kubernetes import config as kubeconfigs
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from rehearsal.console import ERR, OUT, Steps
from rehearsal.control_plane.furnish import furnish
from rehearsal.control_plane.servers import CONTEXT, PROJECT, ApiError, ControlPlane, ControlPlaneError
from rehearsal.recovery import ADOPT, recover
from rehearsal.stack import FOLDER, Stack, StackError, declared
from rehearsal.summary import tables
from settings.charts.lock import LockError
from settings.errors import ConfigError
from toolchain.console import Progress, exclusive
from toolchain.local_stack import REHEARSAL

app = typer.Typer(
    name="rehearsal",
    help="Rehearse the complete network on this machine: a real control plane with fake nodes on loopback, and local "
    "accounts in place of Cloudflare and Tailscale. Your own kubeconfig is neither read nor changed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

FAILED = 1
UPDATE_PATIENCE_SECONDS = 900


class RehearsalError(Exception):
    """The rehearsal can't go on, for the reason in the text."""


FAILURES = (
    *(RehearsalError, ConfigError, ControlPlaneError, StackError, LockError),
    *(ApiError, client.ApiException, HTTPError, NotADirectoryError),
)
"""What a command explains in words."""


@dataclass(frozen=True)
class Options:
    """What all commands take."""

    folder: Path

    @property
    def plane(self) -> ControlPlane:
        """The control plane of the folder."""
        return ControlPlane(self.folder)


@app.callback()
def common(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="where everything lies that the rehearsal makes")] = FOLDER,
) -> None:
    """Options before the command."""
    context.obj = Options(folder.absolute())


@app.command()
def up(
    context: typer.Context,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="use the cluster of this file instead of starting a control plane")
    ] = None,
    cluster: Annotated[str | None, typer.Option("--context", help="context in that file")] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML with config groups of that cluster: at least physical.nodes")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="print what Pulumi prints")] = False,
) -> None:
    """Start what is not running, plan the network, bring it up, and show what there is."""
    steps = Steps()
    with _errors(), _alone(context.obj.folder):
        if kubeconfig:
            target = _other_cluster(context.obj.folder, kubeconfig, cluster, config)
        elif cluster or config:
            raise RehearsalError("--context and --config belong to --kubeconfig, the cluster to use")
        else:
            target = _own_cluster(_start(context.obj.folder, steps))
        _bring_up(target, steps, verbose=verbose)


@app.command()
def start(context: typer.Context) -> None:
    """Start what is not running of the control plane, with the data that is there."""
    with _errors(), _alone(context.obj.folder):
        plane = _start(context.obj.folder, Steps())
        OUT.print(f"kubeconfig: {_short(plane.kubeconfig)}", markup=False)


@app.command()
def status(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False
) -> None:
    """Show what runs. Exit code 1 when something of it does not."""
    with _errors():
        plane = context.obj.plane
        running = plane.running()
        if as_json:
            found = {
                "folder": str(plane.folder),
                "programs": running,
                "server": plane.url if any(running.values()) else None,
            }
            sys.stdout.write(json.dumps(found, indent=2) + "\n")
        else:
            for name, pid in running.items():
                memory = f"pid {pid:<8} {_megabytes(pid):4} MB" if pid else "not running"
                OUT.print(f"{name:<24} {memory}", markup=False)
            if all(running.values()):
                OUT.print(f"API server {plane.url}, kubeconfig {_short(plane.kubeconfig)}", markup=False)
    raise typer.Exit(0 if all(running.values()) else 1)


@app.command()
def stop(context: typer.Context) -> None:
    """Stop the control plane; cluster, accounts and stack stay for the next start."""
    with _errors(), _alone(context.obj.folder):
        context.obj.plane.stop()
        OUT.print("stopped; `make rehearse` goes on from here")


@app.command()
def reset(context: typer.Context) -> None:
    """Stop everything and throw away cluster, accounts and the local state of the stack."""
    with _errors(), _alone(context.obj.folder):
        plane = context.obj.plane
        stack = Stack(plane.folder, plane.kubeconfig)
        for process in stack.processes():
            process.kill()
        plane.stop()
        stack.remove()
        shutil.rmtree(plane.folder, ignore_errors=True)
        OUT.print(f"{_short(plane.folder)} is gone; `make rehearse` starts anew")


@dataclass(frozen=True)
class Target:
    """A cluster to rehearse on, with the stack for it and the groups that differ from the committed stack file."""

    stack: Stack
    kubeconfig: Path
    context: str
    changes: dict[str, Any]
    plane: ControlPlane | None = None

    def api(self) -> client.ApiClient:
        """A client for the cluster. Raises RehearsalError when the kubeconfig has no such context."""
        try:
            api: client.ApiClient = kubeconfigs.new_client_from_config(  # type: ignore[no-untyped-call]
                str(self.kubeconfig), self.context
            )
        except ConfigException as error:
            raise RehearsalError(f"{self.kubeconfig}, context {self.context}: {error}") from None
        return api

    def check(self) -> None:
        """Make sure that the stack leads to this cluster and no other. Raises RehearsalError."""
        wanted = self.stack.groups()["kubernetes"]
        leads_to = (PROJECT / Path(wanted.get("kubeconfig", "")).expanduser(), wanted.get("context"))
        if leads_to != (self.kubeconfig, self.context):
            raise RehearsalError(
                f"the stack's kubernetes settings lead to {leads_to[0]}, context {leads_to[1]}: a rehearsal changes "
                f"{self.kubeconfig}, context {self.context}, and no other cluster"
            )
        if self.plane:
            self.plane.check_identity()


def _own_cluster(plane: ControlPlane) -> Target:
    kubernetes = {"kubeconfig": str(plane.kubeconfig), "context": plane.context}
    changes = {} if plane.folder == FOLDER else {"kubernetes": kubernetes}
    return Target(Stack(plane.folder, plane.kubeconfig), plane.kubeconfig, CONTEXT, changes, plane)


def _other_cluster(folder: Path, kubeconfig: Path, cluster: str | None, config: Path | None) -> Target:
    if not cluster:
        raise RehearsalError("--kubeconfig needs --context: the current context is never taken")
    if not kubeconfig.is_file():
        raise RehearsalError(f"{kubeconfig} is not a file")
    changes = _overlay(config) if config else {}
    own = {"kubeconfig": str(kubeconfig.absolute()), "context": cluster, "protect": False}
    changes["kubernetes"] = own
    place = folder / "elsewhere" / "".join(letter if letter.isalnum() else "-" for letter in cluster)
    place.mkdir(parents=True, exist_ok=True)
    return Target(Stack(place, kubeconfig.absolute()), kubeconfig.absolute(), cluster, changes)


def _overlay(config: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(config.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise RehearsalError(f"{config} can't be read: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(group, dict) for group in found.values()):
        raise RehearsalError(f"{config} must hold config groups by name, such as `physical:` with `nodes:`")
    return found


def _start(folder: Path, steps: Steps) -> ControlPlane:
    """The control plane with the networks and nodes that the stack declares."""
    settings = declared()
    plane = ControlPlane(folder, str(settings.cluster.pod_cidr), str(settings.cluster.service_cidr))
    with steps.step("control plane", 5) as step:
        started = plane.start()
        plane.record_identity()
        step.result = f"started {', '.join(started)}" if started else "was running"
    with steps.step("cluster", 3) as step:
        nodes = {
            name: {"address": str(node.address), "mac": str(node.mac)} for name, node in settings.physical.nodes.items()
        }
        definitions = furnish(plane, nodes)
        step.result = f"{len(nodes)} nodes; Cilium's definitions, {definitions} ones of the Prometheus operator"
    return plane


def _bring_up(target: Target, steps: Steps, *, verbose: bool) -> None:
    stack = target.stack
    with steps.step("stack", 2) as step:
        _wait_for_updater(stack)
        stack.prepare(target.changes)
        target.check()
        step.result = f"{stack.charts}, local accounts in {_short(stack.accounts)}"
    if stack.was_interrupted():
        with steps.step("recovery", 5) as step:
            recover(stack, target.api(), own_cluster=target.plane is not None)
            step.result = "the last update was ended before its time; its stack is unlocked and goes on from there"
        _update(stack, steps, ADOPT, verbose=verbose)
        stack.forget_pending()
    # After a recovery this is what takes the adoption's own setting back.
    _update(stack, steps, {}, verbose=verbose)
    with steps.step("look", 3) as step:
        shown = tables(stack.state(), stack.outputs(), target.api(), stack.accounts)
        step.result = ""
    for table in shown:
        OUT.print()
        OUT.print(table)
    OUT.print(f"\n{steps.total:.0f} s in all. Next:", markup=False)
    for command, what in _next(target):
        OUT.print(f"  {what}:\n    {command}", markup=False)


def _update(stack: Stack, steps: Steps, settings: Mapping[str, str], *, verbose: bool) -> None:
    """Plan, and do what is planned; `settings` go into Pulumi's environment."""
    for name, run, usual in (("preview", stack.preview, 15), ("up", stack.up, 60)):
        with steps.step(name, usual) as step:
            outcome = run(_printed if verbose else step.doing, **settings)
            step.result = str(outcome)
        if not outcome.changes:
            break


def _wait_for_updater(stack: Stack) -> None:
    """An update outlives a command that is killed: let it come to its end."""
    if process := stack.updater():
        ERR.print(f"waiting for the update of an earlier command (pid {process.pid})")
        try:
            process.wait(UPDATE_PATIENCE_SECONDS)
        except psutil.TimeoutExpired:
            raise RehearsalError(f"Pulumi (pid {process.pid}) is still at work on the stack") from None


def _next(target: Target) -> Iterator[tuple[str, str]]:
    yield f"kubectl --kubeconfig {_short(target.kubeconfig)} --context {target.context} get pods -A", "the cluster"
    accounts = f"ANTON_ACCOUNTS={_short(target.stack.accounts)} .cache/venv/bin/python -m rehearsal.stand_in list"
    yield accounts, "the local accounts"
    if target.stack.folder == FOLDER:
        yield (
            f"make preview STACK={REHEARSAL}",
            f"what a change of Pulumi.{REHEARSAL}.yaml would do; `make rehearse` does it",
        )
        yield f"./anton -s {REHEARSAL} --help", "questions to the network"
        yield "make rehearse-stop", "stop, and go on later; `make rehearse-reset` throws everything away"


@contextmanager
def _errors() -> Iterator[None]:
    """Print what went wrong in words and leave with FAILED."""
    try:
        yield
    except FAILURES as error:
        ERR.print(str(error), style="red", markup=False)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        ERR.print("interrupted; the same command goes on from here")
        raise typer.Exit(130) from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One command at a time works on a folder; the lock file lies beside it, as `reset` removes the folder."""
    with exclusive(folder.with_name(f"{folder.name}.lock"), Progress(0, sys.stderr, folder)):
        yield


def _printed(line: str) -> None:
    OUT.print(line, markup=False)


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _megabytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss / 2**20)


if __name__ == "__main__":
    app(prog_name="python -m rehearsal")
