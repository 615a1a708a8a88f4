"""The stack `rehearsal` in local state: its file, `pulumi preview` and `up` on it, and recovery after a kill."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
import yaml

from rehearsal.accounts.service import stand_in_secrets
from rehearsal.chart_source import ChartSource, choose
from rehearsal.control_plane.servers import PROJECT
from settings.load import parse
from settings.stack import GROUPS, NAMESPACE, Settings
from toolchain import SetupError
from toolchain.layout import Layout, environment
from toolchain.local_stack import REHEARSAL, prepare
from toolchain.stamp import Stamp

FOLDER = PROJECT / ".cache/rehearsal"
"""Of the rehearsal that `make rehearse` starts; its Pulumi state lies with that of the other local stacks."""


class StackError(Exception):
    """Pulumi failed; the text is what it said."""


@dataclass(frozen=True)
class OwnLayout(Layout):
    """The layout of a rehearsal in another folder, which then holds its Pulumi state as well."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def stacks(self) -> Path:
        return self.folder / "stacks"


@dataclass(frozen=True)
class Outcome:
    """What a preview or an update came to: number of resources by what was done (`create`, `unchanged`, ...)."""

    counts: Mapping[str, int]

    @classmethod
    def of(cls, lines: list[str]) -> Self:
        """From the lines that Pulumi closes with, such as `+ 12 to create` or `5 unchanged`."""
        start = max((number for number, line in enumerate(lines) if line.startswith("Resources:")), default=len(lines))
        found = (re.fullmatch(r"\s+(?:\D+?\s*)?(\d+) (?:to )?([a-z]+)", line) for line in lines[start + 1 :])
        return cls({match[2]: int(match[1]) for match in found if match})

    @property
    def changes(self) -> int:
        """How many resources are not as they were."""
        return sum(number for what, number in self.counts.items() if what != "unchanged")

    def __str__(self) -> str:
        return ", ".join(f"{number} {what}" for what, number in self.counts.items()) or "nothing"


class Stack:
    """The rehearsal stack of a folder: its accounts, and outside of FOLDER its state, lie there."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        self.folder = folder
        layout = Layout.of(PROJECT, os.environ)
        self.layout = layout if folder == FOLDER else OwnLayout(layout.root, layout.shared, folder)
        self.accounts = folder / "accounts.db"
        fallback = Stamp(layout.stamp).pair == "fallback"
        self.environment = environment(self.layout, os.environ, fallback_pair=fallback, stand_ins=True) | {
            "ANTON_ACCOUNTS": str(self.accounts),
            "KUBECONFIG": str(kubeconfig),  # nothing may fall back to the user's
        }
        self.charts: ChartSource | None = None

    @property
    def file(self) -> Path:
        """The stack file in use."""
        return self.layout.stacks / f"Pulumi.{REHEARSAL}.yaml"

    def prepare(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the stack file: the committed one with `changes` laid over its groups; choose the charts.

        Raises StackError when there is no stack to be made.
        """
        committed = groups_of(PROJECT / f"Pulumi.{REHEARSAL}.yaml")
        groups = {key: merged(committed.get(key, {}), change) for key, change in changes.items()}
        self.charts = choose(os.environ, PROJECT)
        self.environment["CHARTS_DIR"] = str(self.charts.folder)
        for folder in (self.layout.stacks, self.layout.state):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            prepare(REHEARSAL, self.layout, self.environment, groups)
        except SetupError as error:
            raise StackError(str(error)) from None

    def groups(self) -> dict[str, Any]:
        """The groups of the stack file in use."""
        return groups_of(self.file)

    def preview(self, show: Callable[[str], None], **settings: str) -> Outcome:
        """What an update would do; `show` gets each line that Pulumi prints, `settings` go into its environment."""
        return self._outcome("preview", [], show, settings)

    def up(self, show: Callable[[str], None], **settings: str) -> Outcome:
        """Bring the network up; `show` gets each line that Pulumi prints, `settings` go into its environment."""
        return self._outcome("up", ["--yes", "--skip-preview"], show, settings)

    def state(self) -> dict[str, Any]:
        """The deployment as `pulumi stack export` has it, secrets encrypted."""
        found: dict[str, Any] = json.loads(self._run("stack", "export"))["deployment"]
        return found

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs; secret ones masked."""
        found: dict[str, Any] = json.loads(self._run("stack", "output", "--json"))
        return found

    def remove(self) -> None:
        """Forget the stack and its history, without touching what it made."""
        below = self.layout.state / ".pulumi"
        for kind in ("stacks", "history", "backups", "locks"):
            for path in below.glob(f"{kind}/**/{REHEARSAL}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.file.unlink(missing_ok=True)

    def updater(self) -> psutil.Process | None:
        """The Pulumi that is at work on this stack, which may have outlived the command that started it."""
        return next((process for process in self.processes() if process.name() == "pulumi"), None)

    def was_interrupted(self) -> bool:
        """Whether an update of this stack was ended before its time."""
        return any(self._locks()) or bool(self._pending())

    def unlock(self) -> None:
        """Take away the lock that a killed update has left."""
        if any(self._locks()):
            self._run("cancel", "--yes")

    def forget_pending(self) -> None:
        """Drop the notes of what killed updates were about to do."""
        if self._pending():
            document = json.loads(self._run("stack", "export"))
            del document["deployment"]["pending_operations"]
            self._run("stack", "import", input=json.dumps(document))

    def _locks(self) -> Iterator[Path]:
        return (self.layout.state / ".pulumi/locks").glob(f"**/{REHEARSAL}/*.json")

    def _pending(self) -> list[Any]:
        try:
            text = (self.layout.state / f".pulumi/stacks/{NAMESPACE}/{REHEARSAL}.json").read_text()
            latest = json.loads(text)["checkpoint"]["latest"] or {}
        except (FileNotFoundError, ValueError):
            return []
        return latest.get("pending_operations") or []

    def processes(self) -> Iterator[psutil.Process]:
        """Pulumi and its plugins at work for the accounts of this folder."""
        for process in psutil.process_iter():
            try:
                if "pulumi" in process.name() and process.environ().get("ANTON_ACCOUNTS") == str(self.accounts):
                    yield process
            except psutil.Error:
                continue

    def _outcome(
        self, command: str, arguments: list[str], show: Callable[[str], None], settings: Mapping[str, str]
    ) -> Outcome:
        lines = []
        with (self.folder / f"{command}.log").open("w") as log:
            process = subprocess.Popen(  # noqa: S603 - pulumi with fixed arguments
                self._command(command, *arguments, "--suppress-permalink=true"),
                cwd=PROJECT,
                env={**self.environment, **settings},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert process.stdout
            for line in process.stdout:
                log.write(line)
                log.flush()
                lines.append(line.rstrip())
                show(lines[-1])
            if process.wait():
                raise StackError("\n".join(_diagnostics(lines)))
        return Outcome.of(lines)

    def _run(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - as subprocess names it
        done = subprocess.run(  # noqa: S603 - pulumi with fixed arguments
            self._command(*arguments),
            cwd=PROJECT,
            env=self.environment,
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StackError(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def _command(self, *arguments: str) -> list[str]:
        file = ["--config-file", str(self.file)] if arguments[0] in {"preview", "up"} else []
        pulumi = shutil.which("pulumi", path=self.environment["PATH"]) or "pulumi"
        return [pulumi, *arguments, "--stack", REHEARSAL, "--non-interactive", *file]


def declared() -> Settings:
    """What the committed stack file says, charts and secrets aside, which other steps judge.

    Raises ConfigError with all its faults, StackError when it can't be read.
    """
    groups = groups_of(PROJECT / f"Pulumi.{REHEARSAL}.yaml")
    groups = merged(groups, {"kubernetes": {"kubeconfig": None}})  # which is still to be written
    return parse({name: groups[name] for name in GROUPS if name in groups}, lambda *_: ({}, []), stand_in_secrets())


def groups_of(file: Path) -> dict[str, Any]:
    """The groups of a stack file by name. Raises StackError when it can't be read."""
    try:
        config = yaml.safe_load(file.read_text())["config"].copy()
    except (OSError, yaml.YAMLError) as error:
        raise StackError(f"{file.name} can't be read: {error}") from None
    except (TypeError, KeyError, AttributeError):
        raise StackError(
            f"{file.name} must hold `config:` with the groups of the stack, such as {NAMESPACE}:physical"
        ) from None
    prefix = f"{NAMESPACE}:"
    return {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the mappings of `change` laid over it; null removes a key."""
    result = dict(base)
    for key, value in change.items():
        inner = result.get(key)
        if value is None:
            result.pop(key, None)
        else:
            result[key] = (
                merged(inner if isinstance(inner, Mapping) else {}, value) if isinstance(value, Mapping) else value
            )
    return result


def _diagnostics(lines: list[str]) -> list[str]:
    """What Pulumi says about a failure, without the list of resources."""
    start = next((number for number, line in enumerate(lines) if line.startswith("Diagnostics:")), len(lines) - 20)
    stop = next((number for number, line in enumerate(lines) if line.startswith("Outputs:") and number > start), None)
    return [line for line in lines[max(start, 0) : stop] if line.strip()]
