"""What a cluster has before the network comes: the declared nodes and the operators' definitions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rehearsal.control_plane.servers import PROJECT, ControlPlane

PROMETHEUS_DEFINITIONS = PROJECT.parent / "shared/crds"
"""The Prometheus operator's own definitions, where they are at hand."""

STAND_INS = Path(__file__).with_name("definitions.yaml")
"""What stands for them else: the API server then does not check what is in a monitor or rule."""


def furnish(plane: ControlPlane, nodes: Mapping[str, Mapping[str, Any]]) -> str:
    """Bring nodes and definitions into a control plane that runs; what is there stays.

    `nodes` is the stack's `physical.nodes`. Returns which definitions of the Prometheus operator it has.
    """
    plane.add_cilium_definitions()
    upstream = sorted(PROMETHEUS_DEFINITIONS.glob("*.yaml"))
    for path in upstream or [STAND_INS]:
        plane.add_definitions(path.read_text())
    plane.add_nodes(
        {name: node["address"] for name, node in nodes.items()},
        {name: node["mac"] for name, node in nodes.items() if "mac" in node},
    )
    return "upstream" if upstream else "stand-in"
