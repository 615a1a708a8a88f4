"""A Pulumi project in a folder of its own, for measuring what commands take on it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from settings.stack import NAMESPACE
from tests.support.configs import PROJECT, STAND_IN_SECRETS
from tests.support.engine import DISABLED_PROVIDERS
from toolchain.layout import Layout, environment, local_backend


class Project:
    """A program that imports from this project, with local state, accounts and the stack `test`.

    `groups` are its config groups; the secrets are stand-ins. Without a kubeconfig there is no cluster.
    """

    def __init__(self, folder: Path, program: str, groups: Mapping[str, Any], kubeconfig: Path | None = None) -> None:
        folder.mkdir()
        self.folder = folder
        (folder / "__main__.py").write_text(f"import sys\nsys.path.insert(0, {str(PROJECT)!r})\n{program}")
        (folder / ".cache").symlink_to(PROJECT / ".cache")
        shutil.copy(PROJECT / "Pulumi.yaml", folder)
        (folder / "state").mkdir()
        layout = Layout.of(PROJECT, os.environ)
        self.environment = environment(layout, os.environ, fallback_pair=True, stand_ins=True) | {
            "PULUMI_BACKEND_URL": local_backend(folder / "state"),
            "KUBECONFIG": str(kubeconfig or "/nonexistent"),
            "ANTON_ACCOUNTS": str(folder / "accounts.db"),
        }
        self.pulumi("stack", "init", "test")
        self.pulumi("config", "set-all", *(f"--secret={key}={value}" for key, value in STAND_IN_SECRETS.items()))
        self.configure(groups)

    def configure(self, groups: Mapping[str, Any]) -> None:
        """Set config groups; others stay."""
        file = self.folder / "Pulumi.test.yaml"
        document = yaml.safe_load(file.read_text())
        document["config"] |= DISABLED_PROVIDERS | {f"{NAMESPACE}:{name}": value for name, value in groups.items()}
        file.write_text(yaml.safe_dump(document))

    def pulumi(self, *arguments: str, **environment: str) -> str:
        """Run a pulumi command, which must succeed; what it printed."""
        stack = () if arguments[:2] == ("stack", "init") else ("--stack", "test")
        return run(["pulumi", *arguments, *stack, "--non-interactive"], self.folder, self.environment | environment)


def run(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Run a command in a folder; what it printed. Ends the benchmark when it fails."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def timed(work: Callable[[], object]) -> float:
    """Seconds by the clock that a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
