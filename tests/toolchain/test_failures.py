"""What set-up says when it fails, and leaves behind when it is stopped."""

import fcntl
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toolchain.fakes import FAKE_PROGRAM, builds, script, set_up, wait_for
from toolchain import SetupError
from toolchain.console import Progress, exclusive, hint_for
from toolchain.layout import Layout

pytestmark = pytest.mark.unit


@pytest.mark.usefixtures("quick_venvs")
def test_a_failed_build_says_which_step_the_command_the_reason_the_log_and_a_hint(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GO_FAILS", "etcd")
    with pytest.raises(SetupError) as caught:
        set_up(layout, "cluster")
    message = str(caught.value)
    log = layout.logs / "etcd.log"
    for part in (
        "failed in step 6 of 9, etcd 3.7.3",
        "command: go build",
        "(exit status 1)",
        "| dial tcp: lookup proxy: no such host",
        f"full log: {log}",
        "There seems to be no network",
    ):
        assert part in message
    assert "no such host" in log.read_text()


@pytest.mark.usefixtures("quick_venvs")
def test_after_a_failed_build_the_next_run_does_only_what_is_left(
    layout: Layout, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GO_FAILS", "kwok")
    with pytest.raises(SetupError):
        set_up(layout, "cluster")
    assert sorted(path.name for path in layout.tools.iterdir() if "kwok" in path.name) == [".kwok.lock"]
    monkeypatch.delenv("FAKE_GO_FAILS")
    before = len(builds(fakes))
    assert "[2/2] Cilium 1.19.6's custom resource definitions" in set_up(layout, "cluster")
    assert builds(fakes)[before:] == ["kwok"]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_build_ends_its_children_and_leaves_nothing_half_made(
    layout: Layout, fakes: Path, monkeypatch: pytest.MonkeyPatch, sign: signal.Signals
) -> None:
    monkeypatch.setenv("FAKE_GO_HANGS", "cmd/pulumi")
    command = [sys.executable, str(layout.toolchain / "setup.py")]
    # A shell starts background jobs with SIGINT ignored, and children inherit that: tests must not depend on it.
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(sign, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )
    child = int(wait_for((fakes / "hanging").read_text))
    process.send_signal(sign)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from here" in said
    assert [path.name for path in layout.tools.iterdir()] == [".pulumi.lock"]
    assert not layout.stamp.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.usefixtures("quick_venvs")
def test_what_a_killed_build_left_is_cleared_by_the_next(layout: Layout) -> None:
    left = layout.tools / ".building-pulumi/out/pulumi"
    script(left, "half")
    set_up(layout)
    assert not left.parent.parent.exists()
    assert (layout.bin / "pulumi").read_text() == FAKE_PROGRAM


def test_a_second_set_up_waits_for_the_first_and_says_so(layout: Layout) -> None:
    stream = io.StringIO()
    lock = layout.cache / "setup.lock"
    lock.parent.mkdir(parents=True)
    hold = f"import fcntl, time; f = open({str(lock)!r}, 'a'); fcntl.flock(f, 2); print(1, flush=True); time.sleep(0.5)"
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE)
    assert holder.stdout
    assert holder.stdout.readline() == b"1\n"
    with exclusive(lock, Progress(0, stream, layout.logs)):
        assert holder.wait(60) == 0, "the lock must be had only after its holder has gone"
    holder.stdout.close()
    assert f"waiting for another command that holds {lock}" in stream.getvalue()
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("version", "reason"),
    [("go1.25.9", "Go 1.26 or newer is needed to build tools that this machine lacks"), ("nonsense", "answered")],
)
def test_an_old_go_is_named_before_anything_is_built(
    layout: Layout, fakes: Path, monkeypatch: pytest.MonkeyPatch, version: str, reason: str
) -> None:
    monkeypatch.setenv("FAKE_GO_VERSION", version)
    with pytest.raises(SetupError, match=reason):
        set_up(layout)
    assert builds(fakes) == []


def test_without_go_the_message_says_what_to_install(layout: Layout, fakes: Path) -> None:
    (fakes / "go").unlink()
    with pytest.raises(SetupError, match=r"Go 1\.26 or newer .* `go` is not on PATH"):
        set_up(layout)


def test_go_is_not_needed_where_nothing_has_to_be_built(
    layout: Layout, fakes: Path, monkeypatch: pytest.MonkeyPatch, quick_venvs: list[tuple[str, str]]
) -> None:
    (fakes / "go").unlink()
    for name in ("pulumi", "pulumi-language-python"):
        script(fakes / name, FAKE_PROGRAM)
    script(fakes / "pulumi-language-python", FAKE_PROGRAM)
    monkeypatch.setenv("FAKE_DOWNLOADS", "yes")
    set_up(layout)
    assert quick_venvs == [("venv", "newest")]


def test_a_python_without_venv_is_named(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(SetupError, match="apt install python3-venv"):
        set_up(layout)


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        ("dial tcp: lookup proxy on 10.0.0.1:53: no such host", "no network"),
        ("pip: Failed to establish a new connection: Temporary failure in name resolution", "no network"),
        ("go: go.mod requires go >= 1.26 (running go 1.24; GOTOOLCHAIN=local)", "Go 1.26"),
        ("ERROR: No matching distribution found for pulumi==3.259.0", "Python"),
        ("link: write: No space left on device", "disk"),
        ("compile: signal: killed", "memory"),
        ("verifying module: checksum mismatch", "go.sum"),
        ("undefined: foo", ""),
    ],
)
def test_the_usual_failures_come_with_what_helps(output: str, hint: str) -> None:
    assert hint in hint_for(output)
    assert bool(hint) == bool(hint_for(output))


def test_a_terminal_sees_one_line_per_step_updated_in_place(layout: Layout) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = Progress(2, stream, layout.logs)
    progress.begin("pulumi", "pulumi 3.259.0")
    progress.doing("building (usually 3 min)")
    progress.run([sys.executable, "-c", "import time; time.sleep(1.3)"])
    progress.done()
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert re.search(r"building \(usually 3 min\) \.\.\. \d+:\d\d\r", written)
    last = r"\r\x1b\[K\[1/2\] pulumi 3\.259\.0: building \(usually 3 min\) \.\.\. done in \d+:\d\d\n$"
    assert re.search(last, written)


def test_a_pipe_gets_one_line_for_a_step_and_more_only_while_it_lasts(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    progress = Progress(2, stream, layout.logs)
    progress.begin("helm", "helm 3.22.0")
    progress.doing("taken from the cache")
    progress.done()
    assert re.fullmatch(r"\[1/2\] helm 3\.22\.0: taken from the cache \.\.\. done in \d+:\d\d\n", stream.getvalue())
    monkeypatch.setattr("toolchain.console._FIRST_LINE_SECONDS", 0.5)
    progress.begin("etcd", "etcd 3.6.16")
    progress.doing("building")
    progress.run([sys.executable, "-c", "import time; time.sleep(2.5)"])
    progress.done()
    during, after = re.sub(r"\d+:\d\d", "TIME", stream.getvalue()).splitlines()[1:]
    assert (during, after) == (
        "[2/2] etcd 3.6.16: building ... TIME",
        "[2/2] etcd 3.6.16: building ... done in TIME",
    )
