"""Set-up: what it decides, builds, remembers, says when it fails and leaves behind when it is stopped."""

import errno
import fcntl
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolchain import SetupError, cli, debian, engine, gobuild, local_stack, plugins, steps, venvs
from toolchain.console import Progress, exclusive, hint_for
from toolchain.gobuild import GoTool
from toolchain.layout import LOCAL_PASSPHRASE, Layout, as_shell, environment
from toolchain.stamp import Stamp

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parent.parent
PINS = tomllib.loads((ROOT / "toolchain/pins.toml").read_text(encoding="utf-8"))

# Stands for Go: tells a version, gives module files, "builds" shell scripts, and notes each build.
FAKE_GO = """#!/bin/sh
case "$1" in
  env) echo "${FAKE_GO_VERSION:-go1.26.8}"; echo local ;;
  mod) shift 3; mkdir -p "$FAKES/module/python/cmd" "$FAKES/module/cmd/pulumi-resource-kubernetes"
       echo exec > "$FAKES/module/python/cmd/pulumi-language-python-exec"
       for name in schema terraform-mapping; do
         echo {} > "$FAKES/module/cmd/pulumi-resource-kubernetes/$name.json"
       done
       echo "{\\"Dir\\": \\"$FAKES/module\\"}" ;;
  build) for last in "$@"; do :; done
       echo "$last" >> "$FAKES/builds"
       case "$last" in *"${FAKE_GO_FAILS:-nothing}"*) echo "dial tcp: lookup proxy: no such host" >&2; exit 1 ;; esac
       case "$last" in *"${FAKE_GO_HANGS:-nothing}"*) echo $$ > "$FAKES/hanging"; sleep 60 ;; esac
       while [ "$1" != -o ]; do shift; done
       target="$2"; shift 2
       if [ -d "$target" ]; then
         for package in "$@"; do cp "$FAKES/program" "$target/${package##*/}"; done
       else cp "$FAKES/program" "$target"; fi ;;
esac
"""

# Stands for whatever was built: a pulumi that answers what set-up asks of it.
FAKE_PROGRAM = """#!/bin/sh
case "$1 $2" in
  "version "*) echo "${FAKE_PULUMI_VERSION:-v3.259.0}" ;;
  "plugin install") [ -n "$FAKE_DOWNLOADS" ] || { echo "no such host" >&2; exit 1; }
    folder="$PULUMI_HOME/plugins/resource-$4-v$5"; mkdir -p "$folder"; cp "$0" "$folder/pulumi-resource-$4" ;;
  "stack init") state="${PULUMI_BACKEND_URL#file://}"
    folder="${state%\\?*}/.pulumi/stacks/anton-network"; mkdir -p "$folder"
    echo '{"checkpoint": {"latest": {"secrets_providers": {"state": {"salt": "v1:local"}}}}}' > "$folder/$3.json"
    echo "encryptionsalt: v1:local" >> "$5/Pulumi.$3.yaml" ;;
  "config set-all") echo "$@" >> "$FAKES/encrypted"; file="$6"; echo config: >> "$file"
    for each in "$@"; do case "$each" in
      *=*) printf '  anton-network:%s:\n    secure: v1:%s\n' "${each%%=*}" "${each%%=*}" >> "$file" ;;
    esac; done ;;
esac
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing but the fakes and the system's basic tools, and a home of its own."""
    folder = tmp_path / "fakes"
    script(folder / "go", FAKE_GO)
    script(folder / "program", FAKE_PROGRAM)
    basics = tmp_path / "basics"
    basics.mkdir()
    for name in ("sh", "cp", "mkdir", "sleep", "echo"):
        if found := shutil.which(name):
            (basics / name).symlink_to(found)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{basics}")
    monkeypatch.setenv("FAKES", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("ANTON_CACHE", "XDG_CACHE_HOME", "PULUMI_HOME", "FAKE_DOWNLOADS", "CHARTS_DIR"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def layout(tmp_path: Path, fakes: Path) -> Layout:
    """A checkout with the real set-up and pins, go.mod files without content and no Python packages to install."""
    assert fakes.is_dir()
    root = tmp_path / "checkout"
    shutil.copytree(
        ROOT / "toolchain", root / "toolchain", ignore=shutil.ignore_patterns("go.*", "*.go", "__pycache__")
    )
    for name in PINS["go"]:
        (root / "toolchain" / name / "go.mod").write_text(f"module {name}\n")
    (root / "requirements.txt").write_text("")
    (root / "requirements-dev.txt").write_text("")
    (root / "Pulumi.yaml").write_text("name: anton-network\nruntime: python\n")
    (root / "Pulumi.prod.yaml").write_text("config:\n  anton-network:domain: example.org\n")
    return Layout.of(root, os.environ)


@pytest.fixture
def quick_venvs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Virtual environments are only noted, as (folder, pair)."""
    made: list[tuple[str, str]] = []

    def provide(folder: Path, _layout: Layout, pair: str, _progress: Progress, *, development: bool) -> list[Path]:
        made.append((folder.name, pair))
        programs = ["python", *(["pytest"] if development else [])]
        return [script(folder / "bin" / name, "") for name in programs]

    monkeypatch.setattr(venvs, "provide", provide)
    return made


def set_up(layout: Layout, *groups: str, refresh: bool = False) -> str:
    """Run set-up and return what it printed."""
    stream = io.StringIO()
    steps.set_up(groups or ("preview",), layout, stream, refresh=refresh)
    return stream.getvalue()


def builds(fakes: Path) -> list[str]:
    """The packages built so far, by the last part of their names."""
    noted = fakes / "builds"
    return [line.rsplit("/", 1)[-1] for line in noted.read_text().split()] if noted.exists() else []


def progress_of(layout: Layout) -> Progress:
    return Progress(1, io.StringIO(), layout.logs)


def tool(name: str) -> GoTool:
    return GoTool.from_pin(name, PINS["go"][name])


def run_cli(layout: Layout, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(layout.toolchain / "setup.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


# What is done once


def test_first_run_builds_what_is_missing_and_second_run_does_and_says_nothing(layout: Layout, fakes: Path) -> None:
    first = run_cli(layout)
    assert first.returncode == 0, first.stderr
    assert builds(fakes) == ["pulumi", "pulumi-language-python", "."]
    done = r"^\[1/5\] pulumi 3\.259\.0: building \(usually \d+ min\) \.\.\. done in \d+:\d\d$"
    assert re.search(done, first.stderr, re.MULTILINE)
    seconds = []
    for _ in range(5):
        started = processor_time_of_children()
        again = run_cli(layout)
        seconds.append(processor_time_of_children() - started)
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(builds(fakes)) == 3, "a second run must not build"
    assert min(seconds) < 0.3, f"deciding that nothing is to be done took {min(seconds):.2f} s of processor time"


@pytest.mark.usefixtures("quick_venvs")
def test_a_second_checkout_takes_the_tools_from_the_shared_cache(layout: Layout, fakes: Path, tmp_path: Path) -> None:
    set_up(layout)
    other = tmp_path / "other"
    shutil.copytree(layout.root, other, ignore=shutil.ignore_patterns(".cache"))
    set_up(Layout.of(other, os.environ))
    assert len(builds(fakes)) == 3
    assert (other / ".cache/bin/pulumi").samefile(layout.bin / "pulumi")


@pytest.mark.usefixtures("quick_venvs")
def test_a_changed_pin_repeats_its_own_step_and_no_other(layout: Layout, fakes: Path) -> None:
    set_up(layout, "cluster")
    before = builds(fakes)
    (layout.toolchain / "kwok/go.mod").write_text("module kwok // changed\n")
    said = set_up(layout, "cluster")
    assert builds(fakes)[len(before) :] == ["kwok"]
    assert "[1/1] kwok 0.8.0" in said


def test_changed_requirements_rebuild_the_environment_and_no_tool(
    layout: Layout, fakes: Path, quick_venvs: list[tuple[str, str]]
) -> None:
    set_up(layout)
    (layout.root / "requirements.txt").write_text("pydantic==2.14.3\n")
    set_up(layout)
    assert quick_venvs == [("venv", "fallback")] * 2
    assert len(builds(fakes)) == 3


def test_changed_set_up_code_repeats_the_steps_but_not_the_builds(
    layout: Layout, fakes: Path, quick_venvs: list[tuple[str, str]]
) -> None:
    set_up(layout)
    code = layout.toolchain / "venvs.py"
    code.write_text(f"{code.read_text()}\n# changed\n")
    assert "[5/5]" in set_up(layout)
    assert (len(quick_venvs), len(builds(fakes))) == (2, 3)


@pytest.mark.usefixtures("quick_venvs")
@pytest.mark.parametrize("lost", ["bin/pulumi", "venv/bin/python", "pulumi-home"])
def test_what_was_removed_since_is_made_again(layout: Layout, lost: str) -> None:
    set_up(layout)
    path = layout.cache / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert "[1/" in set_up(layout)
    assert path.exists()
    assert set_up(layout) == ""


@pytest.mark.usefixtures("quick_venvs")
def test_clearing_the_shared_cache_leaves_a_checkout_working(layout: Layout) -> None:
    set_up(layout)
    shutil.rmtree(layout.tools)
    assert set_up(layout) == ""
    assert (layout.bin / "pulumi").read_text() == FAKE_PROGRAM


@pytest.mark.usefixtures("quick_venvs")
def test_pulumi_and_its_language_host_are_real_files_in_one_folder_or_pulumi_warns(layout: Layout) -> None:
    set_up(layout)
    assert not (layout.bin / "pulumi").is_symlink()
    assert not (layout.bin / "pulumi-language-python").is_symlink()


@pytest.mark.usefixtures("quick_venvs")
def test_tools_placed_again_leave_no_second_file(layout: Layout) -> None:
    set_up(layout)
    before = sorted(layout.bin.iterdir())
    set_up(layout, refresh=True)
    assert sorted(layout.bin.iterdir()) == before


@pytest.mark.usefixtures("quick_venvs")
def test_a_cache_on_another_file_system_is_copied_from(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    set_up(layout)
    assert os.access(layout.bin / "pulumi", os.X_OK)
    assert not (layout.bin / "pulumi").samefile(next(layout.tools.glob("pulumi-3*/pulumi")))


@pytest.mark.usefixtures("quick_venvs")
def test_a_stamp_cut_short_means_looking_again_and_not_a_crash(layout: Layout, fakes: Path) -> None:
    set_up(layout)
    layout.stamp.write_text(layout.stamp.read_text()[:40])
    set_up(layout)
    assert json.loads(layout.stamp.read_text())["groups"]
    assert len(builds(fakes)) == 3, "the tools were still in the shared cache"


def test_preview_after_test_leaves_the_packages_for_tests_alone(
    layout: Layout, quick_venvs: list[tuple[str, str]]
) -> None:
    set_up(layout, "preview", "test")
    made = len(quick_venvs)
    assert set_up(layout, "preview") == ""
    assert set_up(layout, "preview", "test") == ""
    assert len(quick_venvs) == made


# Which pulumi, which plugin


@pytest.mark.parametrize(
    ("version", "usable"),
    [
        ("v3.200.0", True),
        ("v3.272.1", True),
        ("3.259.0-alpha.1", True),
        ("v3.199.9", False),
        ("v4.0.0", False),
        ("unknown command", False),
    ],
)
@pytest.mark.usefixtures("quick_venvs")
def test_a_pulumi_on_path_is_used_only_if_its_version_is_supported(
    layout: Layout, fakes: Path, monkeypatch: pytest.MonkeyPatch, version: str, usable: bool
) -> None:
    monkeypatch.setenv("FAKE_PULUMI_VERSION", version)
    script(fakes / "pulumi", FAKE_PROGRAM)
    script(fakes / "pulumi-language-python", FAKE_PROGRAM)
    said = set_up(layout)
    own_pulumi_links = (layout.bin / "pulumi").exists(), (layout.bin / "pulumi-language-python").exists()
    assert own_pulumi_links == (not usable, not usable)
    assert (f"using {fakes / 'pulumi'}" in said) is usable
    assert ("yours stays as it is" in said) is not usable


@pytest.mark.usefixtures("quick_venvs")
def test_a_pulumi_installed_later_replaces_the_built_one(layout: Layout, fakes: Path) -> None:
    set_up(layout)
    assert (layout.bin / "pulumi").exists()
    script(fakes / "pulumi", FAKE_PROGRAM)
    set_up(layout)
    assert not (layout.bin / "pulumi").exists()


@pytest.mark.usefixtures("quick_venvs")
def test_a_pulumi_without_its_language_host_gets_the_built_host(layout: Layout, fakes: Path) -> None:
    script(fakes / "pulumi", FAKE_PROGRAM)
    set_up(layout)
    assert builds(fakes)[0] == "pulumi-language-python"
    assert os.access(layout.bin / "pulumi-language-python-exec", os.X_OK), "the host runs this script"


def test_without_the_official_plugin_the_pair_that_can_be_built_is_used_and_named(
    layout: Layout, quick_venvs: list[tuple[str, str]]
) -> None:
    said = set_up(layout, "preview", "test")
    assert "plugin 4.34.2 can't be downloaded here: using the pair 4.25.0" in said
    assert (layout.pulumi_home / "plugins/resource-kubernetes-v4.25.0/pulumi-resource-kubernetes").exists()
    assert quick_venvs == [("venv", "fallback"), ("venv", "fallback"), ("venv-newest", "newest")]
    assert not list(layout.pulumi_home.glob("plugins/*4.34.2*")), "a failed download must leave no plugin folder"


def test_with_the_official_plugin_the_newest_pair_is_used_and_no_plugin_is_built(
    layout: Layout, fakes: Path, monkeypatch: pytest.MonkeyPatch, quick_venvs: list[tuple[str, str]]
) -> None:
    monkeypatch.setenv("FAKE_DOWNLOADS", "yes")
    set_up(layout, "preview", "test")
    assert (layout.pulumi_home / "plugins/resource-kubernetes-v4.34.2/pulumi-resource-kubernetes").exists()
    assert quick_venvs == [("venv", "newest")] * 2, "a second environment would hold the same packages"
    assert not any("resource-kubernetes" in path.name for path in layout.tools.iterdir())
    assert builds(fakes)[:2] == ["pulumi", "pulumi-language-python"]


@pytest.mark.usefixtures("quick_venvs")
def test_a_plugin_that_the_user_has_is_linked_and_not_downloaded(layout: Layout, tmp_path: Path) -> None:
    own = tmp_path / "home/.pulumi/plugins/resource-kubernetes-v4.34.2/pulumi-resource-kubernetes"
    script(own, FAKE_PROGRAM)
    said = set_up(layout)
    assert (layout.pulumi_home / "plugins/resource-kubernetes-v4.34.2/pulumi-resource-kubernetes").samefile(own)
    assert "can't be downloaded" not in said


CLOUD_PLUGINS = [f"resource-{name}-v{PINS['plugin'][name]['version']}" for name in ("cloudflare", "tailscale")]


def cloud_plugins(layout: Layout) -> list[Path]:
    """The plugins of the two clouds, where the engine looks for them."""
    folders = [layout.pulumi_home / "plugins" / folder for folder in CLOUD_PLUGINS]
    return [folder / folder.name.rsplit("-v", 1)[0].replace("resource", "pulumi-resource") for folder in folders]


@pytest.mark.usefixtures("quick_venvs")
def test_without_the_official_cloud_plugins_a_stand_in_takes_their_place_and_is_called_one(layout: Layout) -> None:
    said = set_up(layout)
    script(layout.venv / "bin/python", '#!/bin/sh\necho "$@"\n')
    assert "cloudflare 6.23.1 and tailscale 0.29.2 can't be had here: previews use a STAND-IN" in said
    assert "downloading the official plugin cloudflare" not in said, "the Kubernetes plugin showed that it fails"
    for plugin, name in zip(cloud_plugins(layout), ("cloudflare", "tailscale"), strict=True):
        answer = subprocess.run([plugin, "127.0.0.1:1"], capture_output=True, text=True, check=True)
        assert answer.stdout == f"{layout.root / 'rehearsal/stand_in.py'} serve {name} 127.0.0.1:1\n"
    assert set_up(layout) == ""


@pytest.mark.usefixtures("quick_venvs")
def test_official_cloud_plugins_are_downloaded_where_that_works_and_replace_a_stand_in(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(layout)
    assert all("stand_in.py" in plugin.read_text() for plugin in cloud_plugins(layout))
    monkeypatch.setenv("FAKE_DOWNLOADS", "yes")
    said = set_up(layout, refresh=True)
    assert [plugin.read_text() for plugin in cloud_plugins(layout)] == [FAKE_PROGRAM] * 2
    assert "STAND-IN" not in said


@pytest.mark.usefixtures("quick_venvs")
def test_a_cloud_plugin_that_the_user_has_is_used_and_stays_theirs(layout: Layout, tmp_path: Path) -> None:
    theirs, other = cloud_plugins(layout)
    own = script(tmp_path / "home/.pulumi/plugins" / theirs.parent.name / theirs.name, "theirs")
    said = set_up(layout)
    assert theirs.samefile(own)
    assert "stand_in.py" in other.read_text()
    assert "The official plugins tailscale 0.29.2 can't" in said
    set_up(layout, refresh=True)
    assert own.read_text() == "theirs"


@pytest.mark.usefixtures("quick_venvs")
def test_after_one_download_has_failed_no_other_is_tried(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def download(name: str, *_: object) -> bool:
        tried.append(name)
        return False

    monkeypatch.setattr(engine, "download", download)
    plugins.provide({"cloudflare": "1.0.0", "tailscale": "1.0.0"}, layout, progress_of(layout), downloads=True)
    assert tried == ["cloudflare"]


def test_refresh_tries_the_download_again_and_changes_the_pair(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, quick_venvs: list[tuple[str, str]]
) -> None:
    set_up(layout, "preview", "test")
    assert layout.venv_newest.exists()
    monkeypatch.setenv("FAKE_DOWNLOADS", "yes")
    set_up(layout, "preview", "test", refresh=True)
    assert Stamp(layout.stamp).pair == "newest"
    assert quick_venvs[-1] == ("venv", "newest")
    assert not layout.venv_newest.exists(), "tests would run twice with the same SDKs"


def test_an_environment_made_for_another_pair_gets_the_packages_of_this_one(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, quick_venvs: list[tuple[str, str]]
) -> None:
    monkeypatch.setenv("FAKE_DOWNLOADS", "yes")
    set_up(layout)
    shutil.rmtree(layout.pulumi_home)
    monkeypatch.delenv("FAKE_DOWNLOADS")
    said = set_up(layout)
    assert quick_venvs == [("venv", "newest"), ("venv", "fallback")]
    assert "[2/3] virtual environment" in said


def test_an_environment_is_kept_if_it_was_finished_and_made_anew_if_not(layout: Layout) -> None:
    def provide() -> bool:
        """Whether something that was in the environment is still there."""
        trace = layout.venv / "trace"
        if layout.venv.exists():
            trace.touch()
        venvs.provide(layout.venv, layout, "newest", progress_of(layout), development=False)
        return trace.exists()

    provide()
    assert provide(), "packages for tests would be lost at each change"
    (layout.root / "requirements.txt").write_text("no-such-package-anywhere @ file:///nowhere\n")
    with pytest.raises(SetupError):
        provide()
    (layout.root / "requirements.txt").write_text("")
    assert not provide(), "an installation cut short can leave packages half-made"


# Failures and interruptions


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
        "failed in step 6 of 9, etcd 3.6.16",
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
    assert "[2/2] cilium-crds" in set_up(layout, "cluster")
    assert builds(fakes)[before:] == ["kwok", "."]


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
    script(fakes / "pulumi", FAKE_PROGRAM)
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


# The environment of the make targets


def test_make_targets_use_local_state_whatever_the_user_is_logged_in_to(layout: Layout) -> None:
    users = {
        "PATH": f"{layout.bin}{os.pathsep}/usr/bin",
        "PULUMI_BACKEND_URL": "s3://team",
        "PULUMI_CONFIG_PASSPHRASE": "theirs",
        "PULUMI_CONFIG_PASSPHRASE_FILE": "/theirs",
        "PULUMI_ACCESS_TOKEN": "theirs",
        "PULUMI_HOME": "/theirs",
        "PULUMI_STACK": "theirs",
        "EDITOR": "vi",
    }
    result = environment(layout, users, fallback_pair=False)
    assert result == {
        "PATH": os.pathsep.join([str(layout.bin), str(layout.venv / "bin"), "/usr/bin"]),
        "PULUMI_BACKEND_URL": f"{layout.state.as_uri()}?metadata=skip",
        "PULUMI_CONFIG_PASSPHRASE": LOCAL_PASSPHRASE,
        "PULUMI_HOME": str(layout.pulumi_home),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "EDITOR": "vi",
    }


@pytest.mark.parametrize("fallback", [True, False])
def test_the_engine_may_download_plugins_only_where_that_works(layout: Layout, fallback: bool) -> None:
    result = environment(layout, {}, fallback_pair=fallback)
    assert ("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION" in result) is fallback


def test_printed_environment_gives_a_shell_the_same_variables(layout: Layout) -> None:
    before = {"PATH": "/usr/bin:/bin", "PULUMI_ACCESS_TOKEN": "theirs", "ODD": "it's"}
    after = environment(layout, before, fallback_pair=True)
    shell = f"{as_shell(before, after)}\n'{sys.executable}' -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    answer = subprocess.run(["/bin/sh", "-c", shell], env=before, capture_output=True, text=True, check=True)
    seen = json.loads(answer.stdout)
    assert {name: seen.get(name) for name in after} == after
    assert "PULUMI_ACCESS_TOKEN" not in seen


def test_a_command_runs_in_the_environment_and_its_status_is_returned(layout: Layout) -> None:
    assert run_cli(layout).returncode == 0
    answer = run_cli(layout, "--", "sh", "-c", 'echo "$PULUMI_HOME"; exit 7')
    assert (answer.returncode, answer.stdout) == (7, f"{layout.pulumi_home}\n")


def test_a_command_can_be_interrupted_in_the_background_of_a_script_too(layout: Layout) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # children inherit that
    try:
        answer = run_cli(layout, "--", "sh", "-c", "kill -INT $$; echo goes on")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (answer.returncode, answer.stdout) == (-signal.SIGINT, "")


def test_an_unknown_group_names_the_known_ones(layout: Layout) -> None:
    answer = run_cli(layout, "previw")
    assert answer.returncode == 2
    assert "unknown group previw: choose from preview, test, cluster" in answer.stderr


def test_cache_folder_follows_the_users_variables(tmp_path: Path) -> None:
    home = {"HOME": "/home/me"}
    assert Layout.of(tmp_path, home).shared == Path("/home/me/.cache/anton-network")
    assert Layout.of(tmp_path, {**home, "XDG_CACHE_HOME": "/big"}).shared == Path("/big/anton-network")
    assert Layout.of(tmp_path, {**home, "XDG_CACHE_HOME": "/big", "ANTON_CACHE": "/own"}).shared == Path("/own")


# The local stack


def prepare(layout: Layout, stack: str = "prod") -> str:
    script(layout.bin / "pulumi", FAKE_PROGRAM)
    text = local_stack.prepare(stack, layout, environment(layout, os.environ, fallback_pair=True)).read_text()
    lines = text.splitlines(keepends=True)
    assert lines[-1].startswith(f"# Made from Pulumi.{stack}.yaml at each run")
    return "".join(lines[:-1])


def test_local_stack_has_its_salt_in_a_copy_and_the_committed_file_stays_as_it_is(layout: Layout) -> None:
    committed = layout.root / "Pulumi.prod.yaml"
    before = committed.read_bytes()
    assert prepare(layout) == f"{before.decode()}encryptionsalt: v1:local\n"
    assert committed.read_bytes() == before


@pytest.mark.parametrize("stack", ["rehearsal", "prod"])
def test_a_plan_of_the_rehearsal_finds_the_accounts_that_it_works_on(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, stack: str
) -> None:
    seen: dict[str, str] = {}

    def run(command: list[str], settings: dict[str, str]) -> int:
        seen.update(settings)
        return len(command)

    monkeypatch.delenv("ANTON_ACCOUNTS", raising=False)
    monkeypatch.setattr(cli, "_set_up", lambda *_, **__: Stamp(layout.stamp))
    monkeypatch.setattr(local_stack, "prepare", lambda *_: None)
    monkeypatch.setattr(cli, "_replace_process", run)
    assert cli.main(["--stack", stack, "--", "true"], layout.root) == 1
    assert seen.get("ANTON_ACCOUNTS") == (f"{layout.cache}/rehearsal/accounts.db" if stack == "rehearsal" else None)


def test_a_changed_stack_file_reaches_the_local_stack_without_a_new_one(layout: Layout) -> None:
    prepare(layout)
    (layout.root / "Pulumi.prod.yaml").write_text("config:\n  anton-network:domain: example.net\n")
    (layout.bin / "pulumi").unlink()
    copy = local_stack.prepare("prod", layout, {"PATH": ""})
    assert copy.read_text().startswith("config:\n  anton-network:domain: example.net\nencryptionsalt: v1:local\n")


def test_a_team_backends_salt_is_replaced_where_no_secret_depends_on_it(layout: Layout) -> None:
    text = "secretsprovider: awskms://alias/team\nencryptedkey: AAAA\nconfig:\n  anton-network:domain: example.org\n"
    (layout.root / "Pulumi.prod.yaml").write_text(text)
    assert prepare(layout) == "\n\nconfig:\n  anton-network:domain: example.org\nencryptionsalt: v1:local\n", (
        "same lines"
    )


def test_secrets_of_a_team_backend_are_refused_with_the_way_out(layout: Layout) -> None:
    text = "encryptionsalt: v1:team\nconfig:\n  anton-network:token:\n    secure: v1:abc\n"
    (layout.root / "Pulumi.prod.yaml").write_text(text)
    with pytest.raises(SetupError, match="pulumi preview --stack prod"):
        prepare(layout)


STAND_IN_SECRETS = """# They open nothing.
cloudflareApiToken: stand-in-token
tunnelSecret: c3RhbmQ=
"""
FIRST_LINE = '  anton-network:cloudflareApiToken: {"secure": "v1:cloudflareApiToken"}\n'
BOTH_LINES = f'{FIRST_LINE}  anton-network:tunnelSecret: {{"secure": "v1:tunnelSecret"}}\n'
BOTH_SET = "config:\n  'anton-network:tunnelSecret': a\n  \"anton-network:cloudflareApiToken\": b\n"


@pytest.mark.parametrize(
    ("committed", "local"),
    [
        ("config:\n  x:y: z\n", f"config:\n  x:y: z\n{BOTH_LINES}"),
        ("config:  # ours\n  x:y: z\nbackend: {}\n", f"config:  # ours\n  x:y: z\n{BOTH_LINES}backend: {{}}\n"),
        ("config:\n  x:y:\n\n    a: b", f"config:\n  x:y:\n\n    a: b\n{BOTH_LINES}"),
        (
            "# Ours.\nconfig:\n    # first\n    anton-network:tunnelSecret: own\n",
            f"# Ours.\nconfig:\n    # first\n    anton-network:tunnelSecret: own\n  {FIRST_LINE}",
        ),
        (BOTH_SET, BOTH_SET),
        ("config: {}\n", f"config:\n{BOTH_LINES}"),
        ("", f"config:\n{BOTH_LINES}"),
    ],
)
def test_local_stack_gets_stand_in_credentials_for_the_secrets_that_are_not_set(
    layout: Layout, committed: str, local: str
) -> None:
    (layout.root / "rehearsal").mkdir()
    (layout.root / "rehearsal/secrets.yaml").write_text(STAND_IN_SECRETS)
    file = layout.root / "Pulumi.prod.yaml"
    file.write_text(committed)
    assert prepare(layout).lstrip() == f"{local}encryptionsalt: v1:local\n"
    assert file.read_text() == committed


def test_stand_in_credentials_are_encrypted_once(layout: Layout, fakes: Path) -> None:
    """Later previews start without asking Pulumi for it; other values are encrypted anew."""
    (layout.root / "rehearsal").mkdir()
    secrets = layout.root / "rehearsal/secrets.yaml"
    secrets.write_text(STAND_IN_SECRETS)
    runs = fakes / "encrypted"
    first = prepare(layout)
    assert prepare(layout) == first
    assert "stand-in-token" not in first
    assert len(runs.read_text().splitlines()) == 1
    secrets.write_text(STAND_IN_SECRETS.replace("stand-in-token", "another-token"))
    prepare(layout)
    assert len(runs.read_text().splitlines()) == 2


def test_config_in_one_line_is_refused_with_the_way_out(layout: Layout) -> None:
    (layout.root / "rehearsal").mkdir()
    (layout.root / "rehearsal/secrets.yaml").write_text(STAND_IN_SECRETS)
    (layout.root / "Pulumi.prod.yaml").write_text("config: {x:y: z}\n")
    with pytest.raises(SetupError, match="write it as a block"):
        prepare(layout)


def test_text_that_is_no_yaml_is_reported_for_the_users_file_and_line(layout: Layout) -> None:
    (layout.venv / "bin").mkdir(parents=True)
    script(layout.venv / "bin/python", f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    (layout.root / "Pulumi.prod.yaml").write_text("encryptionsalt: v1:team\nconfig:\n  x:y: [\n  x:z: 1\n")
    with pytest.raises(SetupError, match=r"^Pulumi\.prod\.yaml can't be read(.|\n)*line 3"):
        prepare(layout)


def test_changes_of_the_copy_are_kept_and_reported(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(layout)
    copy = layout.stacks / "Pulumi.prod.yaml"
    made = copy.read_text()
    (layout.root / "Pulumi.prod.yaml").write_text("config:\n  anton-network:domain: example.net\n")
    prepare(layout)
    assert not capsys.readouterr().err, "a change of the stack file itself is none of the copy"
    copy.write_text("config:\n  anton-network:token: {secure: abc}\n" + made)
    prepare(layout)
    assert "secure: abc" in (layout.stacks / "Pulumi.prod.yaml.changed").read_text()
    assert "secure" not in copy.read_text()
    assert "Pulumi.prod.yaml.changed" in capsys.readouterr().err


def test_an_unknown_stack_names_the_known_ones(layout: Layout) -> None:
    with pytest.raises(SetupError, match=r"no Pulumi\.staging\.yaml; the stacks here are: prod"):
        prepare(layout, "staging")


# checkers


def test_without_apt_programs_on_path_are_used_and_missing_ones_are_named(layout: Layout, fakes: Path) -> None:
    script(fakes / "kea-dhcp4", '#!/bin/sh\necho "$KEA_LOCKFILE_DIR $1"\n')
    stream = io.StringIO()
    wrappers = debian.provide(layout, Progress(1, stream, layout.logs))
    assert layout.bin / "kea-dhcp4" in wrappers
    answer = subprocess.run([layout.bin / "kea-dhcp4", "-t"], capture_output=True, text=True, check=True)
    assert answer.stdout == f"{layout.cache / 'checkers'} -t\n"
    missing = {"dnsmasq", "dhcpd"} - {wrapper.name for wrapper in wrappers}
    assert all(f"{name} is not on PATH: tests that need it will be skipped" in stream.getvalue() for name in missing)


# The pins


def test_pins_requirements_and_constraints_name_the_same_versions() -> None:
    pair = PINS["plugin"]["kubernetes"]
    requirements = (ROOT / "requirements.txt").read_text()
    for cloud in ("cloudflare", "tailscale"):
        assert f"pulumi-{cloud}=={PINS['plugin'][cloud]['version']}\n" in requirements
    constraints = (ROOT / "toolchain" / venvs.FALLBACK_CONSTRAINTS).read_text()
    assert f"pulumi-kubernetes>={pair['fallback']},<={pair['newest']}\n" in requirements
    assert f"pulumi-kubernetes=={pair['fallback']}\n" in constraints
    assert PINS["go"]["pulumi-resource-kubernetes"]["version"] == pair["fallback"]
    assert f"pulumi=={PINS['go']['pulumi']['version']}\n" in constraints


@pytest.mark.parametrize("name", sorted(PINS["go"]))
def test_each_tool_has_its_module_pinned_with_checksums(name: str) -> None:
    folder = ROOT / "toolchain" / name
    assert (folder / "go.sum").stat().st_size > 0
    module = (folder / "go.mod").read_text()
    pinned = tool(name)
    for package in pinned.packages:
        assert package == "." or f"{package}\n" in module, f"{package} is not a tool of {folder}/go.mod"
    for file in pinned.module_files:
        assert f"{file.module} v" in (ROOT / "toolchain" / file.folder / "go.mod").read_text()


def test_a_tool_is_rebuilt_for_another_go_and_for_other_flags(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder_for(helm: GoTool) -> str:
        return gobuild.provide(helm, layout, progress_of(layout)).name

    first = folder_for(tool("helm"))
    assert folder_for(tool("helm")) == first
    changed = GoTool.from_pin("helm", {**PINS["go"]["helm"], "ldflags": "-X a=b"})
    assert folder_for(changed) != first
    monkeypatch.setattr(gobuild, "find_go", lambda: "go1.27.0")
    assert folder_for(tool("helm")) != first


def test_pulumi_that_hangs_or_is_no_program_has_no_version(tmp_path: Path, fakes: Path) -> None:
    assert fakes.is_dir()
    assert engine.version_of(tmp_path / "absent") is None
    assert engine.version_of(script(tmp_path / "pulumi", "#!/bin/sh\necho v3.259.0; exit 1\n")) is None
    assert engine.version_of(script(tmp_path / "other", "#!/bin/sh\necho v3.259.0\n")) == (3, 259, 0)


def processor_time_of_children() -> float:
    """Of those that have ended: what else runs on the machine must not count."""
    return os.times().children_user + os.times().children_system


def wait_for(ready: Callable[[], Any], seconds: float = 60) -> Any:
    """Return the first true answer of `ready`, which may fail with OSError until then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if answer := ready():
                return answer
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"not ready after {seconds} s")
