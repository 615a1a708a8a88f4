"""What the program costs: `pulumi preview` against an empty program's, by layer; imports; settings and composition.

Run by `make bench`. Machines are noisy, so every figure is the median of rounds that take turns, and what counts is the
ratio to the empty program in the same run. Exits with 1 when a target is missed.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.project import Project, run, timed
from settings.charts.find import find_charts
from settings.load import parse
from tests.components.test_sdk import used_names
from tests.support import recorder
from tests.support.configs import PROJECT, STAND_IN_SECRETS, core_config, set_config, stack_config

ROUNDS = 7
PREVIEW_TARGET = 2.5
CLOUDFLARE_TARGET_SECONDS = 0.5

PULUMI = "import pulumi, pydantic, yaml"

IMPORTS = {
    "(python alone)": "",
    "pulumi, pydantic, yaml": PULUMI,
    "+ Kubernetes SDK, what is used": f"{PULUMI}\nimport components.policies.network, components.cloudflare.connector\n"
    "import components.nodes.physical",
    "components, all of the program": "import settings.load, components.outputs, components.providers",
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


def stack(layers: tuple[str, ...]) -> dict[str, Any]:
    """The config groups of the shipped stack, and of its optional layers only `layers`."""
    whole = stack_config()
    certificates = {"ingress": whole["ingress"]} if "certificates" in layers else {}
    return core_config() | {layer: whole[layer] for layer in layers} | certificates


def preview(program: str, layers: tuple[str, ...], folder: Path) -> Callable[[], float]:
    """A measure of `pulumi preview` of a program in a project of its own, with the shipped configuration."""
    return partial(timed, partial(Project(folder, program, stack(layers)).pulumi, "preview"))


def imports() -> dict[str, Callable[[], float]]:
    """Measures of imports, each in a fresh Python."""
    names = f"NAMES = {used_names()!r}\n"
    return {
        name: partial(timed, partial(run, [sys.executable, "-c", names + code], PROJECT, os.environ))
        for name, code in IMPORTS.items()
    }


def composition() -> dict[str, Callable[[], float]]:
    """Measures of settings and of all components, in this process and against mocks."""
    raw = stack_config()
    addresses = {name: node["address"] for name, node in raw["physical"]["nodes"].items()}
    code = compile((PROJECT / "__main__.py").read_text(), "__main__.py", "exec")

    def read() -> float:
        began = time.perf_counter()
        parse(raw, partial(find_charts, default_folder=os.environ.get("CHARTS_DIR")), STAND_IN_SECRETS)
        return time.perf_counter() - began

    def compose() -> float:
        def build() -> None:
            set_config(raw)
            exec(code, {"__name__": "__main__"})  # noqa: S102 - the program itself

        began = time.perf_counter()
        recorder.run(build, recorder.Recorder(addresses))
        return time.perf_counter() - began

    return {"settings alone": read, "settings and mocked composition": compose}


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
            name: preview(text, layers, Path(place, str(number)))
            for number, (name, (text, layers)) in enumerate(stacks().items())
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
