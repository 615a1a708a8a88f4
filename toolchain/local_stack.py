"""Prepares a stack for the make targets in local state, without touching the stack file in the repository.

`pulumi stack init` with a passphrase writes the stack's salt into Pulumi.<stack>.yaml. That file belongs to the
user's own backend, so local use works on a copy in the cache folder that carries the salt of the local stack.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from toolchain import SetupError
from toolchain.console import Progress, exclusive
from toolchain.layout import Layout

_OWN_SECRETS = re.compile(r"^(secretsprovider|encryptionsalt|encryptedkey):.*\n?", re.MULTILINE)
_SECRET_VALUE = re.compile(r"^\s+(- )?secure:", re.MULTILINE)


def prepare(stack: str, layout: Layout, environ: Mapping[str, str]) -> Path:
    """Return the stack file to use with the local stack `stack`, which is created at the first call.

    Raises SetupError if the repository has no such stack, or one with secrets that local use can't decrypt.
    """
    text = _local_text(stack, layout)
    # Of two first runs at once, one makes the stack and the other finds it.
    with exclusive(layout.stacks / f".{stack}.lock", Progress(0, sys.stderr, layout.logs)):
        return _prepared(stack, text, layout, environ)


def _prepared(stack: str, text: str, layout: Layout, environ: Mapping[str, str]) -> Path:
    copy = layout.stacks / f"Pulumi.{stack}.yaml"
    salt = _salt(stack, layout)
    if not salt:
        shutil.copyfile(layout.root / "Pulumi.yaml", layout.stacks / "Pulumi.yaml")
        copy.write_text(text, encoding="utf-8")
        command = ["pulumi", "stack", "init", stack, "--cwd", str(layout.stacks), "--non-interactive"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        salt = _salt(stack, layout)
        if done.returncode or not salt:
            raise SetupError(f"Creating the local stack {stack} failed: {done.stderr.strip() or done.stdout.strip()}")
    wanted = f"{text.rstrip()}\nencryptionsalt: {salt}\n"
    if not copy.exists() or copy.read_text(encoding="utf-8") != wanted:
        copy.write_text(wanted, encoding="utf-8")
    return copy


def _local_text(stack: str, layout: Layout) -> str:
    committed = layout.root / f"Pulumi.{stack}.yaml"
    if not committed.exists():
        known = sorted(
            path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in layout.root.glob("Pulumi.*.yaml")
        )
        raise SetupError(f"There is no {committed.name}; the stacks here are: {', '.join(known)}")
    text = committed.read_text(encoding="utf-8")
    if _OWN_SECRETS.search(text) and _SECRET_VALUE.search(text):
        raise SetupError(
            f"{committed.name} holds secrets of your own backend, which local state can't decrypt. "
            f"Use your login and backend instead: pulumi preview --stack {stack}"
        )
    return _OWN_SECRETS.sub("", text)


def _salt(stack: str, layout: Layout) -> str:
    project = re.search(
        r"^name:\s*['\"]?([\w.-]+)", (layout.root / "Pulumi.yaml").read_text(encoding="utf-8"), re.MULTILINE
    )
    if not project:
        raise SetupError("Pulumi.yaml has no name")
    state = layout.state / ".pulumi/stacks" / project[1] / f"{stack}.json"
    try:
        latest = json.loads(state.read_bytes())["checkpoint"]["latest"]
        return str(latest["secrets_providers"]["state"]["salt"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ""
