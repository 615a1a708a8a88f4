"""Takes Cilium's custom resource definitions from its Go module: the chart has none, the operator installs them."""

from __future__ import annotations

import re
from pathlib import Path

from toolchain import gobuild
from toolchain.console import Progress, exclusive
from toolchain.engine import place
from toolchain.layout import Layout
from toolchain.stamp import digest

_MODULE = "github.com/cilium/cilium"
_DEFINITIONS = "pkg/k8s/apis/cilium.io/client/crds"
_PINNED_BY = "policy-verdict"


def version(layout: Layout) -> str:
    """Return the version of Cilium that is pinned, such as 1.19.6."""
    found = re.search(rf"{_MODULE} v(\S+)", (layout.toolchain / _PINNED_BY / "go.mod").read_text(encoding="utf-8"))
    return found[1] if found else ""


def inputs(layout: Layout) -> str:
    """Return a hash over what decides which definitions are taken."""
    return digest([_MODULE, version(layout), _DEFINITIONS])


def provide(layout: Layout, progress: Progress) -> list[Path]:
    """Put all definitions as one stream of YAML documents into the project's cache and return that file."""
    shared = layout.tools / f"cilium-crds-{version(layout)}-{inputs(layout)}.yaml"
    with exclusive(layout.tools / ".cilium-crds.lock", progress):
        if not shared.exists():
            progress.doing("taking them from Cilium's Go module (usually 20 s)")
            folder = gobuild.module_folder(_MODULE, layout.toolchain / _PINNED_BY, progress) / _DEFINITIONS
            unfinished = shared.with_name(f".{shared.name}.new")
            unfinished.write_text("".join(f"---\n{file.read_text()}" for file in sorted(folder.rglob("*.yaml"))))
            unfinished.replace(shared)
    return [place(shared, layout.cilium_definitions)]
