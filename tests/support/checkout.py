"""A checkout of its own, as a user has it, with the tools that are here: what it makes lies in its own `.cache`."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import psutil
import yaml

from rehearsal.control_plane.servers import ControlPlane
from rehearsal.stack import merged
from settings.stack import NAMESPACE
from tests.support.configs import PROJECT
from toolchain.layout import Layout, search_path

_NOT_COPIED = shutil.ignore_patterns(".git", ".cache", ".*_cache", ".hypothesis", "__pycache__")

_LOOPBACK_ONLY = """
import fcntl, os, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 0x41))  # SIOCSIFFLAGS: up, running
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Checkout:
    """A copy of the project at `root`, set up but for the clouds' plugins, which set-up then chooses anew.

    `home` is its user's, empty.
    """

    def __init__(self, root: Path, home: Path) -> None:
        self.root = root
        self.layout = Layout.of(root, {})
        self.plane = ControlPlane(root / ".cache/rehearsal")
        home.mkdir()
        here = Layout.of(PROJECT, os.environ)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "KUBECONFIG"))}
        self.environment = kept | {
            "HOME": str(home),
            "PATH": os.pathsep.join(search_path(here, os.environ)),
            "ANTON_CACHE": str(here.shared),
        }
        self.environment.pop("CHARTS_DIR", None)

    @classmethod
    def make(cls, folder: Path) -> Self:
        """A new one below `folder`."""
        checkout = cls(folder / "anton network", folder / "home")
        shutil.copytree(PROJECT, checkout.root, ignore=_NOT_COPIED)
        here, there = Layout.of(PROJECT, os.environ), checkout.layout
        there.cache.mkdir()
        there.bin.symlink_to(here.bin)
        there.venv.symlink_to(here.venv)
        there.cilium_definitions.symlink_to(here.cilium_definitions)
        for plugin in here.pulumi_home.glob("plugins/resource-kubernetes-*/pulumi-resource-kubernetes"):
            for home in (there.pulumi_home, there.stand_in_home):
                copy = home / plugin.relative_to(here.pulumi_home)
                copy.parent.mkdir(parents=True)
                copy.hardlink_to(plugin)
        stamp = json.loads(here.stamp.read_text())
        del stamp["steps"]["cloud-plugins"]
        there.stamp.write_text(json.dumps(stamp | {"groups": {}}))
        return checkout

    def rehearse(self, command: str = "up", *arguments: str, loopback: bool = False) -> str:
        """`make rehearse`, on loopback alone if asked; all that it printed. Fails the test when it fails."""
        before = loopback_only() if loopback else []
        setup = (*before, sys.executable, "toolchain/setup.py", "preview", "cluster", "--")
        done = self._run(*setup, "python", "-m", "rehearsal", command, *arguments)
        return done.stdout + done.stderr

    def preview(self, stack: str, *arguments: str, status: int = 0) -> str:
        """`make preview` of a stack; its standard output. Fails the test when its exit status is another."""
        command = ("pulumi", "preview", "--stack", stack, "--config-file", f".cache/stacks/Pulumi.{stack}.yaml")
        setup = (sys.executable, "toolchain/setup.py", "preview", "--stack", stack, "--")
        return self._run(*setup, *command, *arguments, status=status).stdout

    def anton(self, *arguments: str, status: int = 0) -> str:
        """`./anton`; its standard output. Fails the test when its exit status is another."""
        return self._run("./anton", *arguments, status=status).stdout

    def _run(self, *command: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def change(self, stack: str, changes: Mapping[str, Any]) -> None:
        """Lay changes over the groups of a stack file; null removes a key."""
        file = self.root / f"Pulumi.{stack}.yaml"
        document = yaml.safe_load(file.read_text())
        prefixed = {f"{NAMESPACE}:{group}": change for group, change in changes.items()}
        document["config"] = merged(document["config"], prefixed)
        file.write_text(yaml.safe_dump(document, sort_keys=False))

    def end(self) -> None:
        """End all that runs for it."""
        self.plane.stop()


def loopback_only() -> list[str]:
    """What runs a command where there is no network but loopback; empty where this machine can't do that."""
    unshare = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    command = [*unshare, sys.executable, "-c", _LOOPBACK_ONLY]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    ):
        return []
    return command


def kill(process: subprocess.Popen[Any]) -> None:
    """End a command and all that it has started, as a machine that loses its power does."""
    leader = psutil.Process(process.pid)
    family = [leader, *leader.children(recursive=True)]
    for member in family:
        try:
            member.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:  # it came to its own end meanwhile
            continue
    process.communicate()
