"""Prepares a stack for the make targets in local state, without touching the stack file in the repository.

`pulumi stack init` with a passphrase writes the stack's salt into Pulumi.<stack>.yaml. That file belongs to the
user's own backend, so local use works on a copy in the cache folder that carries the salt of the local stack, and
stand-in credentials (rehearsal/secrets.yaml) for the secrets that the committed file does not set; encrypted, because
the program refuses secrets in plain text. What depends on this machine, such as where the rehearsal's charts lie, comes
by the environment (`environment_of`), so that the copy says what the committed file says.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from toolchain import SetupError
from toolchain.console import Progress, exclusive
from toolchain.layout import Layout, environment

REHEARSAL = "rehearsal"
"""The stack of `make rehearse`: always in local state, with its accounts beside its control plane."""

_OWN_SECRETS = re.compile(r"^(secretsprovider|encryptionsalt|encryptedkey):.*$", re.MULTILINE)
_SECRET_VALUE = re.compile(r"^\s+(- )?secure:", re.MULTILINE)
_CONFIG = re.compile(r"^config[ \t]*:(?P<flow>[^\n#]*?)(?P<comment>[ \t]+#[^\n]*)?[ \t]*(\n|$)", re.MULTILINE)
_BLOCK = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n|[ \t]+[^\n]*(?:\n|$))*")
_MADE = "# Made from {name} at each run: change that file, not this one. "


def prepare(stack: str, layout: Layout, environ: Mapping[str, str], groups: Mapping[str, object] | None = None) -> Path:
    """Return the stack file to use with the local stack `stack`, which is created at the first call.

    `groups` take the place of the committed file's groups of the same names. Raises SetupError if the repository has
    no such stack, or one with secrets that local use can't decrypt.
    """
    text = _with_groups(_local_text(stack, layout), groups or {}, layout)
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
    text = _with_values(text, _stand_in_secrets(text, stack, salt, layout, environ))
    wanted = _signed(f"{text.rstrip()}\nencryptionsalt: {salt}\n", copy.name)
    there = copy.read_text(encoding="utf-8") if copy.exists() else ""
    if there != wanted:
        _check_syntax(text, copy.name, layout)
        _keep_changes(there, copy)
        copy.write_text(wanted, encoding="utf-8")
    return copy


def _signed(text: str, name: str) -> str:
    """The text with a last line that says where it comes from, and by which later changes are recognized."""
    return f"{text}{_MADE.format(name=name)}{hashlib.sha256(text.encode()).hexdigest()[:16]}\n"


def _keep_changes(there: str, copy: Path) -> None:
    """Keep a copy that somebody has changed, say by `pulumi config set --config-file`, instead of losing that."""
    made = _MADE.format(name=copy.name)
    own = "".join(line for line in there.splitlines(keepends=True) if not line.startswith(made))
    if made not in there or there == _signed(own, copy.name):
        return
    kept = copy.with_name(f"{copy.name}.changed")
    kept.write_text(there, encoding="utf-8")
    kept.chmod(0o600)
    print(
        f"{copy} was changed. It is made from {copy.name} anew at each run; what it held is in {kept.name} beside it.",
        file=sys.stderr,
    )


def _check_syntax(text: str, name: str, layout: Layout) -> None:
    """Raise SetupError for a text that is not YAML, under the name of the user's file and with its line numbers.

    Pulumi would name the copy, or no file at all. Done after a change only: it takes a tenth of a second.
    """
    python = layout.venv / "bin/python"
    if not python.exists():
        return
    code = "import sys, yaml\ntry: yaml.safe_load(sys.stdin)\nexcept yaml.YAMLError as fault: sys.exit(str(fault))"
    done = subprocess.run([python, "-c", code], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"{name} can't be read: {done.stderr.strip()}".replace("<stdin>", name))


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


def environment_of(stack: str, layout: Layout, environ: Mapping[str, str], *, fallback_pair: bool) -> dict[str, str]:
    """The environment for commands on the local stack `stack`.

    The rehearsal's has its own accounts behind the stand-ins, and the charts that `make rehearse` takes. Raises
    SetupError when there are none to be had.
    """
    if stack != REHEARSAL:
        return environment(layout, environ, fallback_pair=fallback_pair)
    settings = environment(layout, environ, fallback_pair=fallback_pair, stand_ins=True)
    settings["ANTON_ACCOUNTS"] = str(layout.cache / "rehearsal/accounts.db")
    command = [str(layout.venv / "bin/python"), "-m", "rehearsal.chart_source"]
    done = subprocess.run(command, cwd=layout.root, env=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(done.stderr.strip())
    return settings | {"CHARTS_DIR": done.stdout.strip()}


def _with_groups(text: str, groups: Mapping[str, object], layout: Layout) -> str:
    project = _project(layout)
    for key in groups:
        own_block = rf"^( +)(['\"]?){re.escape(project)}:{re.escape(key)}\2 *:.*\n(?:(?:\1 +.*|[ ]*#.*|[ ]*)\n)*"
        text = re.sub(own_block, "", text, flags=re.MULTILINE)
    return _with_values(text, {f"{project}:{key}": json.dumps(group) for key, group in groups.items()})


def _stand_in_secrets(text: str, stack: str, salt: str, layout: Layout, environ: Mapping[str, str]) -> dict[str, str]:
    """The project's stand-in credentials for the secrets that the stack file `text` does not set, encrypted, by key."""
    file = layout.root / "rehearsal/secrets.yaml"
    known = re.findall(r"^(\w+): *(\S+)$", file.read_text(encoding="utf-8") if file.exists() else "", re.MULTILINE)
    if not known:
        return {}
    encrypted = _encrypted(dict(known), stack, salt, layout, environ)
    return {
        key: json.dumps({"secure": value})
        for key, value in encrypted.items()
        if not re.search(rf"^\s+(['\"]?){re.escape(key)}\1\s*:", text, re.MULTILINE)
    }


def _encrypted(
    values: Mapping[str, str], stack: str, salt: str, layout: Layout, environ: Mapping[str, str]
) -> dict[str, str]:
    """Config values encrypted for the local stack, by full key: by Pulumi once (half a second), then from a file."""
    kept, origin = layout.stacks / f"{stack}.secrets.json", {"salt": salt, "values": dict(values)}
    with suppress(FileNotFoundError, ValueError, KeyError):
        there = json.loads(kept.read_text(encoding="utf-8"))
        if there["origin"] == origin:
            return dict(there["encrypted"])
    scratch = layout.stacks / f".{stack}.secrets.yaml"
    scratch.write_text(f"encryptionsalt: {salt}\n", encoding="utf-8")
    command = ["pulumi", "config", "set-all", "--stack", stack, "--config-file", str(scratch)]
    pairs = [item for key, value in values.items() for item in ("--secret", f"{key}={value}")]
    at = ["--cwd", str(layout.stacks), "--non-interactive"]
    done = subprocess.run([*command, *pairs, *at], env=environ, capture_output=True, text=True, check=False)
    found = dict(re.findall(r"^ +(\S+):\n +secure: (\S+)$", scratch.read_text(encoding="utf-8"), re.MULTILINE))
    scratch.unlink()
    if done.returncode or len(found) != len(values):
        raise SetupError(f"Encrypting the stand-in credentials failed: {done.stderr.strip() or done.stdout.strip()}")
    kept.write_text(json.dumps({"origin": origin, "encrypted": found}), encoding="utf-8")
    return found


def _with_values(text: str, values: Mapping[str, str]) -> str:
    """The stack file `text` with more config values; JSON is YAML too."""
    if not values:
        return text
    head = _CONFIG.search(text)
    if not head:
        return _with_values(f"{text.rstrip()}\nconfig:\n".lstrip(), values)
    if head["flow"].strip() not in {"", "{}"}:
        raise SetupError("The stack file has `config` in one line; write it as a block, one key a line.")
    # At the end of the block, so that the lines of the user keep their numbers.
    block = _BLOCK.match(text, head.end())
    body = block[0] if block else ""
    indent = re.search(r"^( +)[^\s#]", body, re.MULTILINE)
    lines = "".join(f"{indent[1] if indent else '  '}{key}: {value}\n" for key, value in values.items())
    before, after = text[: head.start()], text[head.end() + len(body) :]
    if body and not body.endswith("\n"):
        body += "\n"
    return f"{before}config:{head['comment'] or ''}\n{body}{lines}{after}"


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
