"""Compares what two revisions of the program plan, stack by stack: `python -m bench.plans BEFORE [AFTER]`.

For changes that must not change anything. Each revision (AFTER is HEAD when left out) is cloned, set up and previewed
as a user would, with the same charts; a plan is every resource with its operation, inputs and options.
"""

import json
import os
import subprocess
import sys
import tempfile
from difflib import unified_diff
from pathlib import Path
from typing import Any

import yaml

from settings.stack import NAMESPACE
from tests.support.configs import PROJECT, charts_folder, merged
from tests.support.engine import made_up

PROFILES = {file.stem: yaml.safe_load(file.read_text()) for file in sorted((PROJECT / "tests/profiles").glob("*.yaml"))}
"""Changes of prod that are stacks of their own here."""

STACKS = ("prod", "rehearsal-without-cluster", *PROFILES)

BY_THE_WAY = {"created", "modified", "outputs", "sourcePosition", "stackTrace"}
"""What of a resource in a plan is no decision of the program."""


def cloned(revision: str, folder: Path) -> Path:
    """A clone of a revision, with a stack file for each profile."""
    subprocess.run(["git", "clone", "-q", str(PROJECT), str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "checkout", "-q", "--detach", revision], check=True)
    changes = {name: ("prod", change) for name, change in PROFILES.items()}
    changes["rehearsal-without-cluster"] = ("rehearsal", {"kubernetes": {"kubeconfig": None}})
    for name, (stack, change) in changes.items():
        shipped = yaml.safe_load((folder / f"Pulumi.{stack}.yaml").read_text())["config"]
        config = merged(shipped, {f"{NAMESPACE}:{group}": value for group, value in change.items()})
        (folder / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump({"config": config}))
    return folder


def plan(checkout: Path, stack: str) -> str:
    """The plan of a stack as text: one JSON object a resource, by URN; names that Pulumi makes up are `<made up>`."""
    charts = {"CHARTS_DIR": str(folder)} if (folder := charts_folder()) else {}
    command = ["make", "-s", "preview", f"STACK={stack}", "ARGS=--json"]
    done = subprocess.run(
        command, cwd=checkout, env=os.environ | charts, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed in {checkout}:\n{done.stdout}")
    document = json.loads(done.stdout[done.stdout.index("{") :])
    steps = sorted(document["steps"], key=lambda step: str(step["urn"]))
    text = "".join(f"{json.dumps(_decided(step), sort_keys=True, indent=1)}\n" for step in steps)
    for name in made_up({step["urn"]: step.get("newState", {}).get("inputs", {}) for step in steps}):
        text = text.replace(f'"{name}"', '"<made up>"')
    return text


def _decided(step: dict[str, Any]) -> dict[str, Any]:
    state = {key: value for key, value in step.get("newState", {}).items() if key not in BY_THE_WAY}
    state["dependencies"] = sorted(state.get("dependencies", []))  # sets, in whichever order they were met
    state["propertyDependencies"] = {
        name: sorted(urns or []) for name, urns in state.get("propertyDependencies", {}).items()
    }
    return {"operation": step["op"], "urn": step["urn"], "state": state}


def main(before: str, after: str = "HEAD") -> None:
    """Print what differs; exits with 1 where something does."""
    different = False
    with tempfile.TemporaryDirectory() as place:
        print(f"setting up {before} and {after} (usually a minute each)", flush=True)
        checkouts = [cloned(revision, Path(place, str(number))) for number, revision in enumerate((before, after))]
        for stack in STACKS:
            plans = [plan(checkout, stack).splitlines(keepends=True) for checkout in checkouts]
            changes = list(unified_diff(plans[0], plans[1], before, after))
            resources = plans[1].count("{\n")
            print(f"{stack}: {resources} resources, {'different' if changes else 'the same plan'}", flush=True)
            sys.stdout.writelines(changes)
            different |= bool(changes)
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
