"""Drives the real Pulumi engine on a stack of its own: state, stack file and home folder lie in a test's folder."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from settings.stack import NAMESPACE
from tests.support.configs import PROJECT, STAND_IN_SECRETS
from toolchain.layout import Layout, environment, local_backend

DISABLED_PROVIDERS = {"pulumi:disable-default-providers": ["kubernetes", "cloudflare", "tailscale"]}
HANGS_SECONDS = 900
"""No command takes that long, however much else the machine has to do."""

NEWER_PLUGIN = tuple(map(int, version("pulumi-kubernetes").split(".")[:2])) >= (4, 29)
"""Whether the Kubernetes plugin refuses to create what exists, and has options for that (docs/toolchain.md)."""

IGNORED_TYPES = ("pulumi:pulumi:Stack", "pulumi:providers:", "anton:network:")


@dataclass(frozen=True)
class Step:
    """One resource of a plan: what the engine would do with it, its inputs, and the paths that change."""

    operation: str
    type: str
    name: str
    inputs: Mapping[str, Any]
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What a preview or an update said, resource by resource."""

    steps: Mapping[str, Step]
    warnings: tuple[str, ...]

    def operations(self) -> dict[str, str]:
        """Name to operation of the resources that are no mere containers and do not stay the same."""
        return {
            step.name: step.operation
            for step in self.steps.values()
            if step.operation not in {"same", "refresh"} and not step.type.startswith(IGNORED_TYPES)
        }

    def inputs(self) -> dict[str, Any]:
        """The inputs of every resource by URN, with names that Pulumi makes up written as `<made up>`.

        Immutable Secrets have such names; once a stack is up they stay as they are.
        """
        inputs = {urn: step.inputs for urn, step in self.steps.items()}
        text = json.dumps(inputs)
        for name in made_up(inputs):
            text = text.replace(f'"{name}"', '"<made up>"')
        found: dict[str, Any] = json.loads(text)
        return found


class Stack:
    """A stack in a folder of its own, run from the project as a user would, with local accounts at the two clouds."""

    def __init__(self, folder: Path, groups: Mapping[str, Any], kubeconfig: Path | None = None) -> None:
        self.folder = folder
        self.file = folder / "Pulumi.test.yaml"
        layout = Layout.of(PROJECT, os.environ)
        self.environment = environment(layout, os.environ, fallback_pair=True, stand_ins=True) | {
            "HOME": str(folder / "home"),
            "KUBECONFIG": str(kubeconfig or folder / "no-kubeconfig"),
            "PULUMI_BACKEND_URL": local_backend(folder / "state"),
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "ANTON_ACCOUNTS": str(folder / "accounts.db"),
        }
        for name in ("home", "state"):
            (folder / name).mkdir()
        shutil.copy(PROJECT / "Pulumi.yaml", folder)
        self.secrets: dict[str, Any] = {}
        self.run("stack", "init", "test", "--cwd", str(folder))
        # As an operator sets them, encrypted. Without the namespace Pulumi takes the project's name.
        pairs = [item for key, value in STAND_IN_SECRETS.items() for item in ("--secret", f"{key}={value}")]
        self.run("config", "set-all", "--stack", "test", *pairs, "--cwd", str(folder))
        self.salt, self.secrets = yaml.safe_load(self.file.read_text())["encryptionsalt"], self.written_secrets()
        self.configure(groups)

    def configure(self, groups: Mapping[str, Any]) -> None:
        """Write the stack file: config groups as settings reads them."""
        config = DISABLED_PROVIDERS | {f"{NAMESPACE}:{group}": value for group, value in groups.items()}
        document = {"config": config | self.secrets, "encryptionsalt": self.salt}
        self.file.write_text(yaml.safe_dump(document))

    def own_file(self) -> tuple[str, ...]:
        """Arguments that make a command work on this stack and its file."""
        return ("--stack", "test", "--config-file", str(self.file))

    def written_secrets(self) -> dict[str, Any]:
        """The encrypted values of the stack file."""
        config: dict[str, Any] = yaml.safe_load(self.file.read_text())["config"]
        return {key: value for key, value in config.items() if isinstance(value, dict) and "secure" in value}

    def run(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run pulumi; the result holds what it printed. Fails the test when it fails, unless told not to."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=PROJECT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=HANGS_SECONDS,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def command(self, name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a pulumi command on this stack."""
        return self.run(name, *self.own_file(), *arguments, check=check)

    def kill(self) -> None:
        """End all that works on this stack, at once: Pulumi, its language host, the program and plugins."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("ANTON_ACCOUNTS") == self.environment["ANTON_ACCOUNTS"]:
                    process.suspend()  # none may see that another has gone
                    found.append(process)
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def preview(self, *arguments: str) -> Plan:
        """The plan of `pulumi preview`."""
        document = json.loads(self.command("preview", "--json", *arguments).stdout)
        steps = {}
        for step in document["steps"]:
            state = step.get("newState") or step["oldState"]
            type_, name = state["type"], step["urn"].rsplit("::", 1)[1]
            diff = tuple(sorted(step.get("detailedDiff") or {}))
            steps[step["urn"]] = Step(step["op"], type_, name, state.get("inputs", {}), diff)
        warnings = tuple(
            entry["message"] for entry in document.get("diagnostics", []) if entry["severity"] in {"warning", "error"}
        )
        return Plan(steps, warnings)


def made_up(inputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of objects that Pulumi makes up, in the inputs of resources by URN."""
    metadata = [entry.get("metadata") or {} for entry in inputs.values()]
    return [entry["name"] for entry in metadata if "pulumi.com/autonamed" in entry.get("annotations", {})]


def require_engine() -> None:
    """Skip the test where the engine is not here, and say so."""
    if shutil.which("pulumi") is None:
        pytest.skip("pulumi is not on PATH; `make test` sets it up")


def differences(left: Any, right: Any, path: str = "") -> list[str]:
    """The paths at which two nested values differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        keys = sorted({*left, *right})
        return [found for key in keys for found in differences(left.get(key), right.get(key), f"{path}.{key}")]
    return [] if left == right else [path.removeprefix(".")]
