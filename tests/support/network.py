"""A stack on a control plane of its own, shared by tests: made once, and put back to that whatever a test has left."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from rehearsal.accounts.store import Accounts
from rehearsal.control_plane.servers import PROGRAMS
from settings.stack import NAMESPACE
from tests.support.api_objects import Object, Objects
from tests.support.control_plane import ControlPlane, require_control_plane
from tests.support.engine import Stack, require_engine


class Network:
    """A stack after its first `up`, with its cluster and local accounts. Skips the test where a program is missing.

    `groups` makes the configuration that each test finds, `furnish` brings what the cluster has before.
    """

    def __init__(
        self, folder: Path, groups: Callable[[], Mapping[str, Any]], furnish: Callable[[ControlPlane], object]
    ) -> None:
        require_control_plane()
        require_engine()
        self.damaged = False
        self._groups = groups
        self._copy = folder / "copy"
        for name in ("stack", "copy"):
            (folder / name).mkdir()
        self.plane = ControlPlane(folder / "plane")
        try:
            furnish(self.plane)
            self.before = Objects(self.plane.kubeconfig).everything()
            self.stack = Stack(folder / "stack", groups(), self.plane.kubeconfig)
            self.first_update = self.stack.command("up", "--yes", "--skip-preview").stdout
            self._keep()
        except BaseException:
            self.plane.stop()
            raise

    before: dict[str, Object]
    """Every object of the cluster before the first `up`."""

    first_update: str
    """What it printed."""

    @property
    def accounts(self) -> Accounts:
        """What the two clouds have."""
        return Accounts(Path(self.stack.environment["ANTON_ACCOUNTS"]))

    def restore(self) -> None:
        """Bring everything back to how the first `up` left it, unless it is so.

        An update changes state or accounts. What a test does to the cluster alone it must undo, or set `damaged`.
        """
        if self.damaged or self._traces() != self._kept:
            self.damaged = True
            self._go_back()
            self.damaged = False
        self.stack.secrets = dict(self._secrets)
        self.stack.configure(self._groups())

    def _keep(self) -> None:
        self._secrets = dict(self.stack.secrets)
        self._kept = self._traces()
        shutil.copytree(self.stack.folder / "state", self._copy / "state")
        shutil.copy(self.accounts.path, self._copy)
        with paused(self.plane, "etcd"):  # its files are then as after a sudden end, from which it recovers
            shutil.copytree(self.plane.folder / "etcd", self._copy / "etcd")

    def _go_back(self) -> None:
        self.stack.kill()  # an update that outlived its test would go on
        for program in reversed(PROGRAMS):
            self.plane.kill(program)
        for name, place in (("etcd", self.plane.folder), ("state", self.stack.folder)):
            shutil.rmtree(place / name)
            shutil.copytree(self._copy / name, place / name)
        for left in self.stack.folder.glob(f"{self.accounts.path.name}*"):
            left.unlink()
        shutil.copy(self._copy / self.accounts.path.name, self.stack.folder)
        self.plane.start()

    def _traces(self) -> tuple[Any, ...]:
        """What an update changes: resources of the state, what was begun, locks, and the records of the accounts."""
        state = self.stack.folder / "state/.pulumi"
        try:
            latest = json.loads((state / f"stacks/{NAMESPACE}/test.json").read_text())["checkpoint"]["latest"]
        except (OSError, ValueError):
            latest = {}
        with self.accounts.transaction() as account:
            records = account.all()
        return latest.get("resources"), latest.get("pending_operations"), [*state.glob("locks/**/*.json")], records


@contextmanager
def paused(plane: ControlPlane, program: str) -> Iterator[None]:
    """A program of a control plane that does nothing for as long as the block lasts."""
    process = plane.processes.find(program)
    assert process, f"{program} does not run"
    process.suspend()
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()
