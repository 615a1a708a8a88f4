"""The steps of set-up, by group, and the run through those that are not done yet."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from toolchain import cilium, debian, engine, gobuild, plugins, venvs
from toolchain.console import Progress, exclusive
from toolchain.gobuild import GoTool
from toolchain.groups import GROUPS
from toolchain.layout import Layout
from toolchain.stamp import Stamp, all_inputs, digest, digest_of_files, own_pulumi

Action = Callable[[Progress], list[Path]]


@dataclass(frozen=True)
class Step:
    """One thing to provide: `run` makes it and returns what must exist for as long as `inputs` stays the same."""

    name: str
    title: str
    inputs: Callable[[], str]
    run: Action
    needs_go: Callable[[], bool] = lambda: False


class Plan:
    """The steps of a checkout. Building it reads pins.toml and the stamp, and changes nothing."""

    def __init__(self, layout: Layout, stamp: Stamp) -> None:
        self._layout = layout
        self._stamp = stamp
        self._pins: dict[str, Any] = tomllib.loads((layout.toolchain / "pins.toml").read_text(encoding="utf-8"))
        flags = self._pins["compiler"]["flags"]
        self._tools = {name: GoTool.from_pin(name, pin, flags) for name, pin in self._pins["go"].items()}

    def steps(self, group: str) -> list[Step]:
        """Return the steps of `group` in the order in which they must run."""
        own = {
            "pulumi": self._pulumi,
            "pulumi-language-python": self._language_host,
            "pulumi-resource-kubernetes": self._kubernetes_plugin,
            "cloud-plugins": self._cloud_plugins,
            "venv": self._venv,
            "venv-test": self._development_packages,
            "venv-newest": self._venv_newest,
            "checkers": self._checkers,
            "cilium-definitions": self._cilium_definitions,
        }
        return [own[name]() if name in own else self._tool(name) for name in GROUPS[group]]

    def _tool(self, name: str) -> Step:
        tool = self._tools[name]
        programs = f" ({', '.join(tool.binaries)})" if len(tool.binaries) > 1 else ""
        return Step(
            name,
            f"{name} {tool.version}{programs}",
            lambda: tool.inputs(self._layout),
            lambda progress: engine.provide_tool(tool, self._layout, progress),
            lambda: True,
        )

    def _pulumi(self) -> Step:
        tool, limits = self._tools["pulumi"], self._pins["pulumi_on_path"]
        return Step(
            "pulumi",
            f"pulumi {tool.version}",
            lambda: self._with_own_pulumi(tool),
            lambda progress: engine.provide_pulumi(tool, limits, self._layout, progress),
            lambda: engine.choose_own(self._layout, limits, os.environ)[0] is None,
        )

    def _language_host(self) -> Step:
        tool, limits = self._tools["pulumi-language-python"], self._pins["pulumi_on_path"]
        return Step(
            "pulumi-language-python",
            "Pulumi's Python language host",
            lambda: self._with_own_pulumi(tool),
            lambda progress: engine.provide_language_host(tool, limits, self._layout, progress),
        )

    def _with_own_pulumi(self, tool: GoTool) -> str:
        return digest([tool.inputs(self._layout), own_pulumi(self._layout, os.environ)])

    def _kubernetes_plugin(self) -> Step:
        tool, versions = self._tools["pulumi-resource-kubernetes"], self._pins["plugin"]["kubernetes"]

        def run(progress: Progress) -> list[Path]:
            pair, plugin = engine.provide_kubernetes_plugin(tool, versions, self._layout, progress)
            self._stamp.choose_pair(pair)
            return plugin

        return Step(
            "pulumi-resource-kubernetes",
            "Pulumi's Kubernetes plugin",
            lambda: digest([tool.inputs(self._layout), repr(versions)]),
            run,
        )

    def _cloud_plugins(self) -> Step:
        versions = {name: self._pins["plugin"][name]["version"] for name in ("cloudflare", "tailscale")}

        def run(progress: Progress) -> list[Path]:
            return plugins.provide(versions, self._layout, progress, downloads=self._stamp.pair == "newest")

        return Step(
            "cloud-plugins",
            "Pulumi's Cloudflare and Tailscale plugins",
            lambda: digest(["cloud-plugins", repr(versions), self._stamp.pair, str(self._layout.root)]),
            run,
        )

    def _venv(self) -> Step:
        def run(progress: Progress) -> list[Path]:
            return venvs.provide(self._layout.venv, self._layout, self._pair(), progress, development=False)

        return Step("venv", "virtual environment", lambda: self._venv_inputs(development=False), run)

    def _development_packages(self) -> Step:
        def run(progress: Progress) -> list[Path]:
            return venvs.provide(self._layout.venv, self._layout, self._pair(), progress, development=True)

        return Step("venv-test", "packages for tests", lambda: self._venv_inputs(development=True), run)

    def _venv_newest(self) -> Step:
        folder = self._layout.venv_newest

        def run(progress: Progress) -> list[Path]:
            if self._stamp.pair == "newest":
                progress.doing("not needed, the main one has the newest SDKs")
                shutil.rmtree(folder, ignore_errors=True)
                return []
            return venvs.provide(folder, self._layout, "newest", progress, development=True)

        return Step(
            "venv-newest",
            "virtual environment with the newest SDKs",
            lambda: digest([venvs.inputs(self._layout, "newest", development=True), self._stamp.pair]),
            run,
        )

    def _venv_inputs(self, *, development: bool) -> str:
        return digest([venvs.inputs(self._layout, self._pair(), development=development), self._pair()])

    def _pair(self) -> str:
        """The pair in use. Before that is decided, which takes an engine, the one that it probably will be."""
        if self._stamp.pair:
            return self._stamp.pair
        own, _ = engine.choose_own(self._layout, self._pins["pulumi_on_path"], os.environ)
        return "newest" if own else "fallback"

    def _cilium_definitions(self) -> Step:
        return Step(
            "cilium-definitions",
            f"Cilium {cilium.version(self._layout)}'s custom resource definitions",
            lambda: cilium.inputs(self._layout),
            lambda progress: cilium.provide(self._layout, progress),
            lambda: True,
        )

    def _checkers(self) -> Step:
        return Step(
            "checkers",
            ", ".join(tool.program for tool in debian.CHECKERS),
            lambda: digest(["checkers", repr(debian.CHECKERS)]),
            lambda progress: debian.provide(self._layout, progress),
        )


def set_up(groups: Sequence[str], layout: Layout, stream: TextIO, *, refresh: bool) -> Stamp:
    """Do all steps of `groups` that are not done, or all of them again with `refresh`, and return the stamp.

    Raises SetupError if something needed is missing or a step fails; what is done stays done.
    """
    with exclusive(layout.cache / "setup.lock", Progress(0, stream, layout.logs)):
        stamp = Stamp(layout.stamp)
        plan = Plan(layout, stamp)
        by_group = {group: plan.steps(group) for group in groups}
        steps = {step.name: step for group in by_group.values() for step in group}
        _run_all(list(steps.values()), stamp, layout, stream, refresh=refresh)
        inputs = all_inputs(layout, os.environ)
        for group, members in by_group.items():
            stamp.record_group(group, inputs, [step.name for step in members])
        return stamp


def _run_all(steps: list[Step], stamp: Stamp, layout: Layout, stream: TextIO, *, refresh: bool) -> None:
    code = digest_of_files(sorted(layout.toolchain.glob("*.py")))

    def inputs_of(step: Step) -> str:
        return digest([code, step.inputs()])

    def is_due(step: Step) -> bool:
        return refresh or not stamp.has_step(step.name, inputs_of(step))

    planned = [step for step in steps if is_due(step)]
    venvs.check_python()
    if any(step.needs_go() for step in planned):
        gobuild.find_go()
    for folder in (layout.bin, layout.state):
        folder.mkdir(parents=True, exist_ok=True)
    progress = Progress(len(planned), stream, layout.logs)
    for step in steps:
        if step not in planned:
            if not is_due(step):
                continue
            progress.add_step()  # an earlier step has changed what this one depends on
        progress.begin(step.name, step.title)
        outputs = step.run(progress)
        stamp.record_step(step.name, inputs_of(step), outputs)
        progress.done()
