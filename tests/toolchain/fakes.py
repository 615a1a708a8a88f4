"""What stands for Go, Pulumi and a checkout in the tests of set-up, and how they run it."""

import io
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolchain import steps
from toolchain.console import Progress
from toolchain.gobuild import GoTool
from toolchain.layout import Layout

ROOT = Path(__file__).parents[2]
PINS = tomllib.loads((ROOT / "toolchain/pins.toml").read_text(encoding="utf-8"))

# Stands for Go: tells a version, gives module files, "builds" shell scripts, and notes each build.
FAKE_GO = """#!/bin/sh
case "$1" in
  env) echo "${FAKE_GO_VERSION:-go1.26.8}"; echo local ;;
  mod) [ "$2" != edit ] || { echo "$*" >> "$FAKES/edits"; exit; }
       shift 3; mkdir -p "$FAKES/module/python/cmd" "$FAKES/module/cmd/pulumi-resource-kubernetes"
       echo exec > "$FAKES/module/python/cmd/pulumi-language-python-exec"
       mkdir -p "$FAKES/module/go/kubernetes/yaml/v2" "$FAKES/module/pkg/k8s/apis/cilium.io/client/crds/v2"
       echo package v2 > "$FAKES/module/go/kubernetes/yaml/v2/kinds.go"
       for name in one two; do
         echo "name: $name" > "$FAKES/module/pkg/k8s/apis/cilium.io/client/crds/v2/$name.yaml"
       done
       for name in schema terraform-mapping; do
         echo {} > "$FAKES/module/cmd/pulumi-resource-kubernetes/$name.json"
       done
       echo "{\\"Dir\\": \\"$FAKES/module\\"}" ;;
  build) for last in "$@"; do :; done
       echo "$last" >> "$FAKES/builds"
       echo "$GOGC $GOMEMLIMIT $*" >> "$FAKES/calls"
       if [ -d replaced ]; then cp -R replaced "$FAKES/compiled"; fi
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
  "stack init") state="$(echo "${PULUMI_BACKEND_URL#file://}" | sed 's/%20/ /g')"
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
    path.unlink(
        missing_ok=True
    )  # a link to a real program, such as an environment's python, must not be written through
    path.write_text(text)
    path.chmod(0o755)
    return path


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


def processor_time_of_children() -> float:
    """Of those that have ended: what else runs on the machine must not count."""
    return os.times().children_user + os.times().children_system
