"""What the program costs: `pulumi preview` against an empty program's, by layer; imports; settings and composition.

Run by `make bench`. Machines are noisy, so every figure is the median of rounds that take turns, and what counts is the
ratio to the empty program in the same run. Exits with 1 when a target is missed.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from components import settings
from components.settings import NAMESPACE
from tests.configs import PROJECT, STAND_IN_SECRETS, set_config, stack_config
from tests.recorder import Recorder, run
from tests.test_sdk import used_names
from toolchain.layout import local_backend

ROUNDS = 7
PREVIEW_TARGET = 2.5
CLOUDFLARE_TARGET_SECONDS = 0.5

PULUMI = "import pulumi, pydantic, yaml"

IMPORTS = {
    "(python alone)": "",
    "pulumi, pydantic, yaml": PULUMI,
    "+ Kubernetes SDK, what is used": f"{PULUMI}\nimport components.policies, components.connector, components.nodes",
    "components, all of the program": "import components.settings, components.outputs, components.providers",
    "Cloudflare SDK, classes in use": f"{PULUMI}\nfrom components.sdk import cloudflare\n"
    "for name in NAMES: getattr(cloudflare, name)",
    "Cloudflare SDK, plain import": f"{PULUMI}\nimport pulumi_cloudflare",
}

LAYERS = ("certificates", "discovery", "tailscale", "cloudflare", "networkPolicies")
"""Config groups in the order in which previews add them; what is not added yet is off."""


def stacks() -> dict[str, tuple[str, tuple[str, ...]]]:
    """What is previewed: name to the program's text and the config groups that are on."""
    whole = (PROJECT / "__main__.py").read_text()
    found = {
        "empty program": ("", LAYERS),
        "nodes, Cilium, two controllers": (whole, ()),
    }
    for number, layer in enumerate(LAYERS):
        found[f"+ {layer}"] = (whole, LAYERS[: number + 1])
    return found


def medians(measures: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each measure in seconds; measures take turns so that a slow spell hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for done in range(rounds + 1):
        print(f"\r  round {done} of {rounds}", end="", file=sys.stderr, flush=True)
        for name, measure in measures.items():
            value = measure()
            if done:  # the first round only warms caches
                seconds[name].append(value)
    print("\r" + " " * 24 + "\r", end="", file=sys.stderr)
    return {name: statistics.median(values) for name, values in seconds.items()}


def timed(command: list[str], cwd: Path, environment: dict[str, str]) -> float:
    """Seconds that a command takes; it must succeed."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - began


def stack_file(groups: tuple[str, ...]) -> dict[str, Any]:
    """The shipped stack, and of the optional layers only `groups`."""
    document: dict[str, Any] = yaml.safe_load((PROJECT / "Pulumi.prod.yaml").read_text())
    config = document["config"]
    for layer in LAYERS:
        if layer not in groups:
            config.pop(f"{NAMESPACE}:{layer}", None)
    if "certificates" not in groups:
        for controller in config[f"{NAMESPACE}:ingress"]["classes"].values():
            controller.pop("certificateIssuer", None)
    return document


def preview(program: str, groups: tuple[str, ...], folder: Path) -> Callable[[], float]:
    """A measure of `pulumi preview` of a program in a project of its own, with the shipped configuration."""
    folder.mkdir()
    (folder / "__main__.py").write_text(f"import sys\nsys.path.insert(0, {str(PROJECT)!r})\n{program}")
    (folder / ".cache").symlink_to(PROJECT / ".cache")
    shutil.copy(PROJECT / "Pulumi.yaml", folder)
    (folder / "Pulumi.prod.yaml").write_text(yaml.safe_dump(stack_file(groups)))
    (folder / "state").mkdir()
    environment = {**os.environ, "PULUMI_BACKEND_URL": local_backend(folder / "state"), "KUBECONFIG": "/nonexistent"}
    timed(["pulumi", "stack", "init", "prod", "--non-interactive"], folder, environment)
    secrets = [f"--secret={key}={value}" for key, value in STAND_IN_SECRETS.items()]
    timed(["pulumi", "config", "set-all", "--stack", "prod", *secrets, "--non-interactive"], folder, environment)
    return partial(timed, ["pulumi", "preview", "--stack", "prod", "--non-interactive"], folder, environment)


def imports() -> dict[str, Callable[[], float]]:
    """Measures of imports, each in a fresh Python."""
    names = f"NAMES = {used_names()!r}\n"
    return {
        name: partial(timed, [sys.executable, "-c", names + code], PROJECT, dict(os.environ))
        for name, code in IMPORTS.items()
    }


def composition() -> dict[str, Callable[[], float]]:
    """Measures of settings and of all components, in this process and against mocks."""
    raw = stack_config()
    addresses = {name: node["address"] for name, node in raw["physical"]["nodes"].items()}
    code = compile((PROJECT / "__main__.py").read_text(), "__main__.py", "exec")

    def parse() -> float:
        began = time.perf_counter()
        settings.parse(
            raw, partial(settings.find_charts, default_folder=os.environ.get("CHARTS_DIR")), STAND_IN_SECRETS
        )
        return time.perf_counter() - began

    def compose() -> float:
        def build() -> None:
            set_config(raw)
            exec(code, {"__name__": "__main__"})  # noqa: S102 - the program itself

        began = time.perf_counter()
        run(build, Recorder(addresses))
        return time.perf_counter() - began

    return {"settings alone": parse, "settings and mocked composition": compose}


def table(title: str, rows: dict[str, float], base: str | None = None) -> None:
    """Print figures, with the ratio to a base row."""
    print(f"\n{title}")
    for name, seconds in rows.items():
        ratio = f"{seconds / rows[base]:6.2f} x" if base else ""
        print(f"  {name:<36} {seconds * 1000:8.0f} ms {ratio}")


def main() -> None:
    """Measure, print three tables and judge the targets."""
    with tempfile.TemporaryDirectory() as place:
        measures = {
            name: preview(text, groups, Path(place, str(number)))
            for number, (name, (text, groups)) in enumerate(stacks().items())
        }
        print(f"pulumi preview, {ROUNDS} rounds of {len(measures)} stacks (usually 5 min)")
        previews = medians(measures, ROUNDS)
    imported = medians(imports(), ROUNDS)
    composed = medians(composition(), ROUNDS)
    table("pulumi preview, against the empty program", previews, "empty program")
    table("imports, each in a fresh Python", imported)
    table("settings and composition, without imports", composed)
    ratio = list(previews.values())[-1] / previews["empty program"]
    sdk = imported["Cloudflare SDK, classes in use"] - imported["pulumi, pydantic, yaml"]
    verdicts = {
        f"whole preview at most {PREVIEW_TARGET} x the empty program: {ratio:.2f} x": ratio <= PREVIEW_TARGET,
        f"Cloudflare's SDK at most {CLOUDFLARE_TARGET_SECONDS} s: {sdk:.2f} s": sdk <= CLOUDFLARE_TARGET_SECONDS,
    }
    print("\ntargets")
    for text, met in verdicts.items():
        print(f"  {'met   ' if met else 'MISSED'}  {text}")
    sys.exit(0 if all(verdicts.values()) else 1)


if __name__ == "__main__":
    main()
