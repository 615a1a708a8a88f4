"""How the program grows: previews, updates, memory and provider calls with the number of applications and nodes.

Run by `make bench-scale`, on a control plane of its own. What is judged is the program's own processor time, which is
steadier than the clock, and one ratio within this run. Exits with 1 when a target is missed.
"""

import json
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.project import Project, timed
from rehearsal.control_plane.furnish import furnish
from rehearsal.control_plane.servers import ControlPlane
from tests.support.configs import PROJECT, charts_folder, merged, stack_config

APPLICATIONS = (10, 100, 500)
NODES = (3, 20, 100)
MILLISECONDS_AN_APPLICATION = 8
RATIO_TO_EMPTY_COMPONENTS = 2.0

MEASURED = """
import atexit, json, os, resource, sys, time
def report():
    used = resource.getrusage(resource.RUSAGE_SELF)
    open(os.environ["BENCH_PROGRAM"], "w").write(json.dumps([time.process_time(), used.ru_maxrss]))
atexit.register(report)
"""
"""Before the program: its processor time in seconds and its memory in kB, written when it ends."""

MANY = ("kubernetes:networking.k8s.io/v1:Ingress", "kubernetes:networking.k8s.io/v1:NetworkPolicy")
"""The types of what an application consists of."""

EMPTY = """
import pulumi
for number in range({count}):
    pulumi.ComponentResource("bench:index:Empty", f"empty-{{number}}")
"""

BARE = """
import json
from components import sdk
import pulumi
import pulumi_kubernetes as kubernetes
cluster = kubernetes.Provider(
    "kubernetes", kubeconfig={kubeconfig!r}, context="rehearsal", enable_server_side_apply=True
)
for number, (kind, inputs) in enumerate(json.load(open("objects.json"))):
    inputs["metadata"]["name"] = name = f"bare-{{number}}"
    pulumi.CustomResource(kind, name, inputs, pulumi.ResourceOptions(provider=cluster))
pulumi.run(sdk.begin)
"""
"""The same Ingresses and policies by the shortest program there can be: what Pulumi itself takes for them."""


@dataclass(frozen=True)
class Run:
    """What one pulumi command took: seconds by the clock and of the program, memory, provider calls."""

    seconds: float
    program_seconds: float
    program_megabytes: float
    largest_megabytes: float
    calls: Mapping[str, int]


class Case(Project):
    """A project whose program reports what it took."""

    def __init__(self, folder: Path, program: str, groups: Mapping[str, Any], kubeconfig: Path | None = None) -> None:
        super().__init__(folder, f"{MEASURED}\n{program}", groups, kubeconfig)

    def run(self, *arguments: str, count_calls: bool = False) -> Run:
        """Run a pulumi command; it must succeed."""
        calls, report = self.folder / "calls.json", self.folder / "program.json"
        calls.unlink(missing_ok=True)
        more = {"PULUMI_DEBUG_GRPC": str(calls)} if count_calls else {}
        seconds = timed(partial(self.pulumi, *arguments, BENCH_PROGRAM=str(report), **more))
        used, memory = json.loads(report.read_text()) if report.exists() else (0.0, 0)
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        return Run(seconds, used, memory / 1024, largest / 1024, _provider_calls(calls) if count_calls else {})

    def preview(self, *, count_calls: bool = False) -> Run:
        """A preview."""
        return self.run("preview", count_calls=count_calls)

    def up(self) -> Run:
        """An update without its preview."""
        return self.run("up", "--yes", "--skip-preview")

    def resources(self) -> list[dict[str, Any]]:
        """The resources in the state, the stack itself aside."""
        exported = json.loads(self.pulumi("stack", "export"))
        found: list[dict[str, Any]] = exported["deployment"]["resources"][1:]
        return found


def _provider_calls(log: Path) -> dict[str, int]:
    """Calls of providers by method, from the engine's own record of what it said to them."""
    found: Counter[str] = Counter()
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        if "ResourceProvider/" in entry.get("method", "") and entry.get("response") is not None:
            found[entry["method"].rpartition("/")[2]] += 1
    return dict(found)


def groups(applications: int, nodes: int = 3, kubeconfig: Path | None = None) -> dict[str, Any]:
    """The shipped configuration with so many applications of all classes, and so many nodes."""
    first = IPv4Address("192.168.4.0")
    more = {
        f"worker-{number:03}": {
            "address": str(first + number),
            "mac": f"02:00:00:00:00:{number:02x}",
            "role": "worker",
        }
        for number in range(1, nodes - 2)
    }
    entries = {
        f"app-{number:03}": {
            "ingressClass": ("external", "internal", "tailscale")[number % 3],
            "namespace": "production",
            "port": 8080,
        }
        for number in range(applications)
    }
    change: dict[str, Any] = {
        "physical": {"subnet": "192.168.0.0/21", "nodes": more},
        "applications": entries,
        "charts": {"folder": str(charts_folder())},
        "kubernetes": {"protect": False},
        "monitoring": {"enabled": False},
    }
    if kubeconfig:
        change["kubernetes"] |= {"kubeconfig": str(kubeconfig), "context": "rehearsal"}
    return merged(stack_config(), change)


def table(title: str, heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Print rows under heads."""
    print(f"\n{title}")
    print("  " + "".join(f"{head:>18}" for head in heads))
    for row in rows:
        cells = (f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row)
        print("  " + "".join(f"{cell:>18}" for cell in cells))


HEADS = ("preview s", "program s", "program MB", "largest MB", "provider calls")


def _row(run: Run, counted: Run) -> tuple[Any, ...]:
    return run.seconds, run.program_seconds, run.program_megabytes, run.largest_megabytes, sum(counted.calls.values())


def main() -> None:
    """Measure, print the tables and judge the targets."""
    whole = (PROJECT / "__main__.py").read_text()
    with tempfile.TemporaryDirectory() as place:
        rows, program = [], {}
        for count in APPLICATIONS:
            case = Case(Path(place, f"applications-{count}"), whole, groups(count))
            case.preview()  # warms caches
            run = min((case.preview() for _ in range(3)), key=lambda run: run.program_seconds)
            program[count] = run.program_seconds
            rows.append((count, *_row(run, case.preview(count_calls=True))))
        table("previews from nothing, 3 nodes", ("applications", *HEADS), rows)
        rows = []
        for count in NODES:
            case = Case(Path(place, f"nodes-{count}"), whole, groups(10, count))
            case.preview()
            rows.append((count, *_row(case.preview(), case.preview(count_calls=True))))
        table("previews from nothing, 10 applications", ("nodes", *HEADS), rows)
        ratio = _updates(Path(place), whole)
    slope = (program[APPLICATIONS[-1]] - program[APPLICATIONS[0]]) / (APPLICATIONS[-1] - APPLICATIONS[0]) * 1000
    halves = [(program[b] - program[a]) / (b - a) * 1000 for a, b in pairwise(APPLICATIONS)]
    verdicts = {
        f"at most {MILLISECONDS_AN_APPLICATION} ms of program time an application: {slope:.1f} ms": slope
        <= MILLISECONDS_AN_APPLICATION,
        f"linear: {halves[1]:.1f} ms an application above {APPLICATIONS[1]}, {halves[0]:.1f} ms below": halves[1]
        <= 1.3 * halves[0],
        f"second preview of {APPLICATIONS[-1]} applications at most {RATIO_TO_EMPTY_COMPONENTS} x as many empty "
        f"components: {ratio:.2f} x": ratio <= RATIO_TO_EMPTY_COMPONENTS,
    }
    print("\ntargets")
    for text, met in verdicts.items():
        print(f"  {'met   ' if met else 'MISSED'}  {text}")
    sys.exit(0 if all(verdicts.values()) else 1)


def _updates(place: Path, whole: str) -> float:
    """Bring each size up on a control plane; the ratio of the largest one's second preview to empty components'."""
    plane = ControlPlane(place / "control-plane")
    plane.start()
    rows, ratio = [], 0.0
    try:
        furnish(plane, stack_config()["physical"]["nodes"])
        case = Case(place / "updates", whole, groups(0, kubeconfig=plane.kubeconfig), plane.kubeconfig)
        for count in APPLICATIONS:
            case.configure({"applications": groups(count)["applications"]})
            up = case.up()
            resources = case.resources()
            empty = Case(place / f"empty-{count}", EMPTY.format(count=len(resources)), {})
            bare = Case(place / f"bare-{count}", BARE.format(kubeconfig=str(plane.kubeconfig)), {}, plane.kubeconfig)
            objects = [(each["type"], each["inputs"]) for each in resources if each["type"] in MANY]
            (bare.folder / "objects.json").write_text(json.dumps(objects))
            for base in (empty, bare):
                base.environment |= {"PULUMI_EXPERIMENTAL": "true", "PULUMI_SKIP_CHECKPOINTS": "true"}  # else minutes
                base.up()
            ours, least, floor = (
                min(run.seconds for run in runs)
                for runs in zip(*([each.preview() for each in (case, empty, bare)] for _ in range(3)), strict=True)
            )
            ratio = ours / least
            rows.append((count, len(resources), up.seconds, ours, least, ratio, len(objects), floor))
            bare.pulumi("destroy", "--yes", "--skip-preview")
    finally:
        plane.stop()
    heads = (
        "applications",
        "resources",
        "up s",
        "second preview s",
        "as many empty s",
        "ratio",
        "bare objects",
        "bare s",
    )
    table("updates and the preview after them", heads, rows)
    return ratio


if __name__ == "__main__":
    main()
