"""What the program costs: `pulumi preview` against an empty program's, by layer; imports; settings and composition.

Run by `make bench`. Machines are noisy, so every figure is the median of rounds that take turns, and what counts is the
ratio to the empty program in the same run. Exits with 1 when a target is missed.
"""

import json
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

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

ROUNDS = 7
PREVIEW_TARGET = 1.3
COMPOSITION_TARGET_SECONDS = 0.150

SDK_MODULES = (
    "import pulumi, pydantic, yaml\n"
    "import pulumi_kubernetes as kubernetes\n"
    "kubernetes.Provider\n"
    "from pulumi_kubernetes import admissionregistration, apiextensions, core, helm, meta, networking\n"
    "admissionregistration.v1.ValidatingWebhookConfigurationPatch, apiextensions.CustomResource, core.v1.NodePatch\n"
    "helm.v3.Release, meta.v1.ObjectMetaArgs, networking.v1.IngressClass\n"
)

IMPORTS = {
    "pulumi": "import pulumi",
    "pydantic": "from pydantic import BaseModel, Field, StringConstraints, create_model, ValidationError",
    "pulumi_kubernetes (what is used)": SDK_MODULES,
    "components (all of the program)": "import components.settings, components.inventory",
}


def programs() -> dict[str, str]:
    """The programs to preview, from nothing to the whole: name to the text of `__main__.py`."""
    whole = (PROJECT / "__main__.py").read_text()
    sections = whole.split("\n\n")
    start = "\n\n".join(sections[: next(i for i, text in enumerate(sections) if "nodes = PhysicalNodes" in text)])
    nodes = next(text for text in sections if "nodes = PhysicalNodes" in text)
    cilium = next(text for text in sections if "cilium = CiliumNetwork" in text)
    return {
        "empty program": "",
        "empty program, SDKs imported": SDK_MODULES,
        "settings and provider": start,
        "+ PhysicalNodes": f"{start}\n{nodes}",
        "+ CiliumNetwork": f"{start}\n{nodes}\n{cilium}",
        "+ NginxIngress, twice (the whole)": whole,
    }


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


def preview(program: str, folder: Path) -> Callable[[], float]:
    """A measure of `pulumi preview` of a program in a project of its own, with the shipped configuration."""
    folder.mkdir()
    (folder / "__main__.py").write_text(f"import sys\nsys.path.insert(0, {str(PROJECT)!r})\n{program}")
    (folder / ".cache").symlink_to(PROJECT / ".cache")
    shutil.copy(PROJECT / "Pulumi.yaml", folder)
    shutil.copy(PROJECT / "Pulumi.prod.yaml", folder)
    (folder / "state").mkdir()
    environment = {**os.environ, "PULUMI_BACKEND_URL": (folder / "state").as_uri(), "KUBECONFIG": "/nonexistent"}
    timed(["pulumi", "stack", "init", "prod", "--non-interactive"], folder, environment)
    return partial(timed, ["pulumi", "preview", "--stack", "prod", "--non-interactive"], folder, environment)


def composition() -> dict[str, Callable[[], float]]:
    """Measures of settings and of all components, in this process and against mocks."""
    from components import settings  # noqa: PLC0415
    from tests.configs import stack_config  # noqa: PLC0415
    from tests.recorder import Recorder, run  # noqa: PLC0415

    raw = stack_config()
    folder = os.environ.get("CHARTS_DIR")
    addresses = {name: node["address"] for name, node in raw["physical"]["nodes"].items()}
    code = compile((PROJECT / "__main__.py").read_text(), "__main__.py", "exec")

    def parse() -> float:
        began = time.perf_counter()
        settings.parse(raw, partial(settings.find_charts, default_folder=folder))
        return time.perf_counter() - began

    def compose() -> float:
        import pulumi  # noqa: PLC0415

        config = {f"anton-network:{key}": json.dumps(value) for key, value in raw.items()}
        took = 0.0

        def build() -> None:
            nonlocal took
            pulumi.runtime.set_all_config(config)
            began = time.perf_counter()
            exec(code, {"__name__": "__main__"})  # noqa: S102 - the program itself
            took = time.perf_counter() - began

        run(build, Recorder(addresses))
        return took

    return {"settings alone": parse, "settings and composition": compose}


def table(title: str, rows: dict[str, float], base: str | None = None) -> None:
    """Print figures, with the ratio to a base row."""
    print(f"\n{title}")
    for name, seconds in rows.items():
        ratio = f"{seconds / rows[base]:6.2f} x" if base else ""
        print(f"  {name:<36} {seconds * 1000:8.0f} ms {ratio}")


def main() -> None:
    """Measure, print three tables and judge the two targets."""
    with tempfile.TemporaryDirectory() as place:
        measures = {
            name: preview(text, Path(place, str(number))) for number, (name, text) in enumerate(programs().items())
        }
        print(f"pulumi preview, {ROUNDS} rounds of {len(measures)} programs (usually 3 min)")
        previews = medians(measures, ROUNDS)
    python = sys.executable
    imports = medians(
        {
            name: partial(timed, [python, "-c", statement], PROJECT, dict(os.environ))
            for name, statement in {"(python alone)": "", **IMPORTS}.items()
        },
        ROUNDS,
    )
    composed = medians(composition(), ROUNDS)
    table("pulumi preview, against the empty program", previews, "empty program")
    table("imports, each in a fresh Python", imports)
    table("settings and composition, without imports", composed)
    whole, base = (previews[name] for name in ("+ NginxIngress, twice (the whole)", "empty program, SDKs imported"))
    took = composed["settings and composition"]
    verdicts = {
        f"preview at most {PREVIEW_TARGET} x the empty program with SDKs: {whole / base:.2f} x": whole / base
        <= PREVIEW_TARGET,
        f"settings and composition under {COMPOSITION_TARGET_SECONDS * 1000:.0f} ms: {took * 1000:.0f} ms": took
        < COMPOSITION_TARGET_SECONDS,
    }
    print("\ntargets")
    for text, met in verdicts.items():
        print(f"  {'met   ' if met else 'MISSED'}  {text}")
    sys.exit(0 if all(verdicts.values()) else 1)


if __name__ == "__main__":
    main()
