"""Prepares a stack for the make targets in local state, without touching the stack file in the repository.

`pulumi stack init` with a passphrase writes the stack's salt into Pulumi.<stack>.yaml. That file belongs to the
user's own backend, so local use works on a copy in the cache folder that carries the salt of the local stack, and
stand-in credentials (rehearsal/secrets.yaml) for the secrets that the committed file does not set.
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
_CONFIG = re.compile(r"^config:[ \t]*(\{\})?[ \t]*$\n?", re.MULTILINE)


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
    return _with_stand_in_secrets(_OWN_SECRETS.sub("", text), layout)


def _with_stand_in_secrets(text: str, layout: Layout) -> str:
    """The stack file `text` with the project's stand-in credentials for the secrets that it does not set."""
    file = layout.root / "rehearsal/secrets.yaml"
    known = re.findall(r"^(\w+): *(\S+)$", file.read_text(encoding="utf-8") if file.exists() else "", re.MULTILINE)
    project = _project(layout)
    missing = {
        key: value
        for key, value in known
        if not re.search(rf"^\s+(['\"]?){re.escape(project)}:{key}\1\s*:", text, re.MULTILINE)
    }
    if not missing:
        return text
    if not _CONFIG.search(text):
        text = f"{text.rstrip()}\nconfig:\n"
    before, _, after = _CONFIG.split(text, maxsplit=1)
    indent = re.match(r"(?:[ \t]*(?:#.*)?\n)*( +)\S", after)
    lines = (f"{indent[1] if indent else '  '}{project}:{key}: {value}\n" for key, value in missing.items())
    return f"{before}config:\n{''.join(lines)}{after}"


def _project(layout: Layout) -> str:
    found = re.search(
        r"^name:\s*['\"]?([\w.-]+)", (layout.root / "Pulumi.yaml").read_text(encoding="utf-8"), re.MULTILINE
    )
    if not found:
        raise SetupError("Pulumi.yaml has no name")
    return found[1]


def _salt(stack: str, layout: Layout) -> str:
    state = layout.state / ".pulumi/stacks" / _project(layout) / f"{stack}.json"
    try:
        latest = json.loads(state.read_bytes())["checkpoint"]["latest"]
        return str(latest["secrets_providers"]["state"]["salt"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ""
