"""The programs of one folder: started detached, found again by later commands, never mistaken for anything else.

A program is known by its name and by an option that names a path directly in the folder (`--data-dir=FOLDER/etcd`).
The pid file only says where to look first: a number that the system gave to another process meanwhile does not match,
and a program whose pid file is lost is found by its command line.
"""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 15


class Processes:
    """The programs that run in a folder, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a program unless it runs already; it outlives this process and writes to `<name>.log`."""
        if self.find(name):
            return
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - programs of the project, by absolute path
                command,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interruption at the terminal is not for it
            )
        self._children[name] = child
        self._pid_file(name).write_text(f"{child.pid}\n")

    def find(self, name: str) -> psutil.Process | None:
        """The running program, or None."""
        child = self._children.get(name)
        if child and child.poll() is None:  # the system may not have its command line yet
            return psutil.Process(child.pid)
        try:
            process = psutil.Process(int(self._pid_file(name).read_text()))
        except (OSError, ValueError, psutil.NoSuchProcess):
            pass
        else:
            if self._is(name, process):
                return process
        return next((process for process in psutil.process_iter() if self._is(name, process)), None)

    def stop(self, name: str) -> None:
        """End a program in an orderly way, by force when it takes longer than PATIENCE_SECONDS."""
        while process := self.find(name):
            process.terminate()
            if not _ended(process, PATIENCE_SECONDS):
                self._kill(process)
        self._forget(name)

    def kill(self, name: str) -> None:
        """End a program as `kill -9` does."""
        while process := self.find(name):
            self._kill(process)
        self._forget(name)

    def log(self, name: str) -> Path:
        """What the program printed."""
        return self.folder / f"{name}.log"

    def last_words(self, name: str) -> str:
        """The end of the program's log."""
        try:
            return self.log(name).read_text(errors="replace")[-2000:].strip()
        except FileNotFoundError:
            return "it has not run yet"

    @staticmethod
    def _kill(process: psutil.Process) -> None:
        process.kill()
        _ended(process, PATIENCE_SECONDS)

    def _forget(self, name: str) -> None:
        self._pid_file(name).unlink(missing_ok=True)
        if child := self._children.pop(name, None):
            child.poll()

    def _pid_file(self, name: str) -> Path:
        return self.folder / f"{name}.pid"

    def _is(self, name: str, process: psutil.Process) -> bool:
        try:
            if process.uids().real != os.getuid():
                return False
            words = process.cmdline()
        except psutil.Error:
            return False
        if not words or not (Path(words[0]).name == name or words[1:3] == ["-m", f"{__package__}.{name}"]):
            return False
        return any(Path(word.partition("=")[2]).parent == self.folder for word in words if word.startswith("--"))


def _ended(process: psutil.Process, seconds: float) -> bool:
    """Wait until a program ended. One whose parent has not taken note of it yet, a zombie, has: it may never."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            # The first thread may be a zombie while others still hold the program's ports.
            if not process.is_running() or (process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1):
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False
