"""Progress of set-up: one line per step with the time it takes, and failures that say which, why and what to do."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from toolchain import SetupError

_TAIL_LINES = 20
_FIRST_LINE_SECONDS, _QUIET_INTERVAL_SECONDS = 5.0, 30.0
_HINTS = (
    (
        r"no such host|dial tcp|i/o timeout|[Cc]onnection refused|name resolution|network is unreachable|not resolve",
        "There seems to be no network, or a proxy is needed (HTTPS_PROXY, GOPROXY, PIP_INDEX_URL).",
    ),
    (r"requires go >=|go: download go1", "Install Go 1.26 or newer, or allow Go to fetch it (GOTOOLCHAIN=auto)."),
    (
        r"No matching distribution|requires a different Python",
        "The package index lacks a pinned version for this Python.",
    ),
    (r"No space left on device", "The disk is full: a first set-up needs about 12 GB, mostly Go's own caches."),
    (r"signal: killed|cannot allocate memory", "The build ran out of memory: 4 GB of free memory are enough."),
    (
        r"checksum mismatch|SECURITY ERROR",
        "A download does not match its pin in go.sum: don't use it; check the proxy.",
    ),
)


def hint_for(output: str) -> str:
    """Return what usually helps against the failure that printed `output`, or an empty string."""
    return next((hint for pattern, hint in _HINTS if re.search(pattern, output)), "")


class Progress:
    """Prints the steps of one set-up: updated in place on a terminal. Elsewhere a step has one line at its end, and
    one that takes longer than 5 s also says so then and every 30 s."""

    def __init__(self, total: int, stream: TextIO, logs: Path) -> None:
        self._total = total
        self._stream = stream
        self._logs = logs
        self._in_place = stream.isatty()
        self._number = 0
        self._name = self._title = self._activity = ""
        self._started = self._last_line = 0.0

    def begin(self, name: str, title: str) -> None:
        """Start the next step; `name` names its log file."""
        self._number += 1
        self._name, self._title, self._activity = name, title, ""
        self._started = time.monotonic()

    def add_step(self) -> None:
        """Announce one step more than expected."""
        self._total += 1

    def doing(self, activity: str) -> None:
        """Say what the step does now, such as `building (usually 3 min)`."""
        self._activity = activity
        if self._in_place:
            self._show(final=False)
        else:
            self._last_line = time.monotonic() - _QUIET_INTERVAL_SECONDS + _FIRST_LINE_SECONDS

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._clear()
        self._stream.write(f"      {text}\n")
        self._stream.flush()

    def done(self, result: str = "done") -> None:
        """End the step."""
        self._show(f"{result} in {_clock(time.monotonic() - self._started)}", final=True)

    def run(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run `command` to its end while showing the time and return its standard output.

        Raises SetupError if it fails or can't be started. If this process is interrupted, the command and all its
        children are ended before the interruption goes on.
        """
        arguments = [os.fspath(argument) for argument in command]
        process: subprocess.Popen[str] | None = None
        try:
            with _interrupts_held():
                process = subprocess.Popen(
                    arguments,
                    cwd=cwd,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                )
            out, err = self._watch(process)
        except OSError as error:
            raise self._failure(arguments, str(error)) from error
        except BaseException:
            if process:
                _end_group(process)
            raise
        if process.returncode:
            raise self._failure(arguments, f"{out}{err}", process.returncode)
        return out

    def _watch(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        while True:
            try:
                return process.communicate(timeout=1)
            except subprocess.TimeoutExpired:
                self._tick()

    def _tick(self) -> None:
        if self._in_place or time.monotonic() - self._last_line >= _QUIET_INTERVAL_SECONDS:
            self._show(_clock(time.monotonic() - self._started), final=False)

    def _show(self, tail: str = "", *, final: bool) -> None:
        text = f"[{self._number}/{self._total}] {self._title}: {self._activity} ... {tail}".rstrip()
        self._last_line = time.monotonic()
        if self._in_place:
            width = _width(self._stream)
            text = "\r\x1b[K" + (text if len(text) < width else f"{text[: width - len(tail) - 5]} ... {tail}")
        self._stream.write(text if self._in_place and not final else f"{text}\n")
        self._stream.flush()

    def _clear(self) -> None:
        if self._in_place:
            self._stream.write("\r\x1b[K")

    def _failure(self, command: list[str], output: str, status: int | None = None) -> SetupError:
        if self._in_place:
            self._stream.write("\n")
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{self._name or 'setup'}.log"
        log.write_text(f"$ {shlex.join(command)}\n{output}\n", encoding="utf-8")
        last = "\n".join(f"  | {line}" for line in output.strip().splitlines()[-_TAIL_LINES:])
        hint = hint_for(output)
        lines = [
            f"Set-up failed in step {self._number} of {self._total}, {self._title}: {self._activity}",
            f"  command: {shlex.join(command)}" + (f" (exit status {status})" if status is not None else ""),
            last,
            f"  full log: {log}",
            f"  hint: {hint}" if hint else "",
            "  Steps that are done are kept: the same command goes on from here.",
        ]
        return SetupError("\n".join(line for line in lines if line))


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let an interruption wait for the end of the block: a process just started must first be known to be ended."""
    held: list[int] = []
    signs = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {sign: signal.signal(sign, lambda number, _frame: held.append(number)) for sign in signs}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
    if held:
        raise KeyboardInterrupt


def _end_group(process: subprocess.Popen[str]) -> None:
    for sign, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue


def _width(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


@contextmanager
def exclusive(lock: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock file for the block; if another command holds it, say so and wait."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.note(f"waiting for another command that holds {lock}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
