"""The Pulumi program as its user runs it: what it plans for a stack, what it deployed, and its settings.

Everything here runs `pulumi` as a command with the user's own login and backend, or with the local state behind
`make preview`; nothing is written to a stack.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from settings import secrets
from settings.charts.find import find_charts
from settings.load import parse
from settings.stack import NAMESPACE, Settings
from toolchain import SetupError
from toolchain.layout import Layout
from toolchain.local_stack import REHEARSAL, environment_of, prepare
from toolchain.stamp import Stamp

PROJECT = Path(__file__).resolve().parent.parent

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""How Pulumi's JSON writes a value that is known after the update only."""

_NO_LOGIN = "PULUMI_ACCESS_TOKEN must be set"  # how Pulumi says that it is not logged in and may not ask
_NO_STACK = "no stack named"

SECRET = "[secret]"  # noqa: S105 - what Pulumi prints in place of one
SECRET_MARK = "4dabf18193072939515e22adb298388d"  # noqa: S105 - the key that marks special values in a state


class ProgramError(Exception):
    """Pulumi could not plan or read the stack; the text is what it said."""


@dataclass(frozen=True)
class Resource:
    """A resource of the stack; secrets in `inputs` and `outputs` are `SECRET`, what is not known yet is `UNKNOWN`."""

    urn: str
    type: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    parent: str = ""
    custom: bool = True
    protect: bool = False

    @property
    def name(self) -> str:
        """The last part of the URN."""
        return self.urn.rsplit("::", 1)[1]

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """From an entry of a plan or an exported state."""
        return cls(
            urn=state["urn"],
            type=state["type"],
            inputs=_masked(state.get("inputs") or {}),
            outputs=_masked(state.get("outputs") or {}),
            id=state.get("id", ""),
            parent=state.get("parent", ""),
            custom=state.get("custom", False),
            protect=state.get("protect", False),
        )


@dataclass(frozen=True)
class Change:
    """What the engine would do with one resource; `changed` are the paths of the properties that differ."""

    operation: str
    old: Resource | None
    new: Resource | None
    changed: tuple[str, ...] = ()

    @property
    def resource(self) -> Resource:
        """The resource as it will be, or as it was where it goes."""
        found = self.new or self.old
        assert found, "a step has a state before or after"
        return found


@dataclass(frozen=True)
class Plan:
    """A preview: every resource with what would happen to it."""

    changes: tuple[Change, ...]

    @property
    def planned(self) -> list[Resource]:
        """The resources of the stack as it will be."""
        gone = {"delete", "discard", "refresh"}
        return [change.new for change in self.changes if change.new and change.operation not in gone]

    @property
    def deployed(self) -> list[Resource]:
        """The resources of the stack as it is."""
        return [change.old for change in self.changes if change.old and change.operation != "refresh"]


@dataclass(frozen=True)
class Program:
    """A stack of the project, with the environment in which Pulumi finds its state."""

    stack: str
    environment: Mapping[str, str]
    config_file: Path | None = None
    project: Path = PROJECT

    @classmethod
    def open(cls, stack: str, *, local: bool = False) -> Self:
        """The stack as the user's own Pulumi has it; `local` and the rehearsal stack take the state of `make`.

        Raises ProgramError when there is no such stack file.
        """
        if not (local or stack == REHEARSAL):
            return cls(stack, dict(os.environ))
        layout = Layout.of(PROJECT, os.environ)
        try:
            fallback = Stamp(layout.stamp).pair == "fallback"
            settings = environment_of(stack, layout, os.environ, fallback_pair=fallback)
            return cls(stack, settings, prepare(stack, layout, settings))
        except SetupError as error:
            raise ProgramError(str(error)) from None

    def run(self, *arguments: str) -> str:
        """What a pulumi command on this stack prints. Raises ProgramError with its words when it fails."""
        own = ["--config-file", str(self.config_file)] if self.config_file and arguments[0] != "stack" else []
        command = ["pulumi", *arguments, "--stack", self.stack, "--non-interactive", *own]
        try:
            done = subprocess.run(
                command, cwd=self.project, env=self.environment, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            raise ProgramError("pulumi is not on the PATH; `make preview` sets it up") from None
        if done.returncode:
            raise ProgramError(self._explained(_said(done.stdout, done.stderr)))
        return done.stdout

    def _explained(self, said: str) -> str:
        """With what to do about it where the user's own backend can't be asked, or does not have the stack."""
        local = f"the local state behind `make preview`, which needs no login: `./anton --local -s {self.stack} ...`"
        if _NO_LOGIN in said:
            return (
                f"Pulumi is not logged in, so stack {self.stack} can't be read. Log in to the backend that has it "
                f"(`{self._shown_pulumi()} login`, PULUMI_ACCESS_TOKEN or PULUMI_BACKEND_URL), or look at {local}"
            )
        return f"{said}\nIs it in another backend? There is also {local}" if _NO_STACK in said else said

    def _shown_pulumi(self) -> str:
        """How a shell of the user's calls Pulumi: one that set-up has built is not on its PATH."""
        pulumi = shutil.which("pulumi", path=self.environment.get("PATH"))
        return pulumi if pulumi and Path(pulumi).is_relative_to(PROJECT / ".cache") else "pulumi"

    @cached_property
    def plan(self) -> Plan:
        """What `pulumi preview` says, once for this object."""
        return self.preview()

    def refreshed_plan(self) -> Plan:
        """What `pulumi preview --refresh` says: against the cluster and the accounts as they are now."""
        return self.preview("--refresh")

    def preview(self, *arguments: str) -> Plan:
        """What `pulumi preview` says with arguments of its own."""
        document = json.loads(self.run("preview", "--json", "--show-sames", "--suppress-progress", *arguments))
        return Plan(tuple(_change(step) for step in document.get("steps", [])))

    @cached_property
    def state(self) -> list[Resource]:
        """The resources of the stack's last state; none before the first update."""
        deployment = json.loads(self.run("stack", "export"))["deployment"]
        return [Resource.of(entry) for entry in deployment.get("resources") or [] if not entry.get("delete")]

    @cached_property
    def settings(self) -> Settings:
        """The stack's settings, judged as the program does; secrets are only known to be set.

        Raises settings.errors.ConfigError with every fault.
        """
        values = json.loads(self.run("config", "--json"))
        own = {key.removeprefix(f"{NAMESPACE}:"): value for key, value in values.items() if key.startswith(NAMESPACE)}
        names = {secret.key for secret in secrets.SECRETS}
        groups = {key: _group(value) for key, value in own.items() if key not in names}
        charts = partial(find_charts, default_folder=self.environment.get("CHARTS_DIR"))
        return parse(groups, charts, {key: _placeholder(key) for key in own if key in names})


def _placeholder(key: str) -> str:
    """What stands for a secret that is set: of the form that secrets have, and no two the same."""
    return base64.b64encode(hashlib.sha256(key.encode()).digest()).decode()


def _group(value: Mapping[str, Any]) -> Any:
    return value["objectValue"] if "objectValue" in value else value.get("value")


def _change(step: Mapping[str, Any]) -> Change:
    old, new = step.get("oldState"), step.get("newState")
    changed = tuple(sorted(step.get("detailedDiff") or step.get("diffReasons") or ()))
    return Change(step["op"], Resource.of(old) if old else None, Resource.of(new) if new else None, changed)


def _masked(value: Any) -> Any:
    """With everything that a state marks as secret (and keeps encrypted) masked as previews do."""
    if isinstance(value, Mapping):
        return SECRET if SECRET_MARK in value else {key: _masked(entry) for key, entry in value.items()}
    return [_masked(entry) for entry in value] if isinstance(value, list) else value


def _said(stdout: str, stderr: str) -> str:
    """The readable part of a failed command: the messages within its JSON, else its own words."""
    try:
        messages = [entry["message"] for entry in json.loads(stdout).get("diagnostics", [])]
    except (ValueError, AttributeError):
        messages = [part for part in (stdout, stderr) if part.strip()]
    return "\n".join(message.strip() for message in messages) or "pulumi failed without a word"
