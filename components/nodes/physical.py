"""Layer 1, the physical network: the inventory of nodes and what makes it true.

Owns labels and annotations on the existing Node objects, the check of their addresses, and the reservation tables.
Leaves the addressing itself to the router and to Talos, who get it ready to use (`inventory`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.core.v1 import NodePatch
from pulumi_kubernetes.meta.v1 import ObjectMetaPatchArgs

from settings.nodes import Node, Physical, Role

LABEL_PREFIX = "network.anton"


class NodeAddressMismatchError(pulumi.RunError):
    """A Kubernetes node reports another InternalIP than the inventory declares."""


@dataclass(frozen=True, kw_only=True)
class PhysicalNodesArgs:
    """`physical` is the inventory; it arrives valid."""

    physical: Physical


class PhysicalNodes(pulumi.ComponentResource):
    """The declared machines on the existing Node objects (`anton:network:PhysicalNodes`).

    Registers one NodePatch a node (server-side apply of labels and annotations; the Node itself is never created or
    deleted). `verified` resolves to the patches once every node reported the declared InternalIP, and fails with
    NodeAddressMismatchError otherwise: what depends on it is never applied to the wrong machines.
    """

    addresses: pulumi.Output[dict[str, str]]
    verified: pulumi.Output[list[pulumi.Resource]]

    def __init__(self, name: str, args: PhysicalNodesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:PhysicalNodes", name, {}, opts)
        planes = sum(node.role is Role.CONTROL_PLANE for node in args.physical.nodes.values())
        if planes % 2 == 0:
            pulumi.warn(f"{planes} control-plane nodes: etcd needs an odd number to lose one and keep its quorum", self)
        declared = {node_name: str(node.address) for node_name, node in args.physical.nodes.items()}
        patches = {
            node_name: NodePatch(
                f"{name}-{node_name}",
                metadata=_metadata(node_name, node),
                opts=pulumi.ResourceOptions(parent=self),
            )
            for node_name, node in args.physical.nodes.items()
        }
        self.addresses = pulumi.Output.all(**{node_name: patch.status for node_name, patch in patches.items()}).apply(
            lambda statuses: _checked(declared, statuses)
        )
        self.verified = self.addresses.apply(lambda _: list(patches.values()))
        self.register_outputs({"addresses": self.addresses})


def _metadata(name: str, node: Node) -> ObjectMetaPatchArgs:
    labels = {"role": node.role.value, "rack": node.rack, "switch-port": node.switch_port}
    annotations = {
        "mac-address": node.mac,
        "address": str(node.address),
        "interface": node.interface,
        "link-speed-mbps": str(node.link_speed_mbps),
    }
    return ObjectMetaPatchArgs(
        name=name,
        labels={f"{LABEL_PREFIX}/{key}": value for key, value in labels.items() if value is not None},
        annotations={f"{LABEL_PREFIX}/{key}": value for key, value in annotations.items()}
        # A fixed field manager: the provider would make up a random one, and the plan would differ on every run.
        | {"pulumi.com/patchFieldManager": "anton-network"},
    )


def _checked(declared: Mapping[str, str], statuses: Mapping[str, Any]) -> dict[str, str]:
    """The declared addresses, when each node's status reports the same; raises NodeAddressMismatchError otherwise."""
    faults = []
    for name, address in declared.items():
        reported = internal_ip(statuses[name])
        if reported != address:
            faults.append(
                f"  node {name}: Kubernetes reports InternalIP {reported or 'none'}, "
                f"anton-network:physical.nodes.{name}.address declares {address}"
            )
    if faults:
        raise NodeAddressMismatchError(
            "The nodes of this cluster are not the declared ones; nothing that depends on them was applied.\n"
            + "\n".join(faults)
            + "\nCorrect the inventory, or the kubeconfig context if this is another cluster."
        )
    return dict(declared)


def internal_ip(status: Any) -> str | None:
    """The InternalIP in a Node's status (NodeStatus, a mapping, or None when the node reported nothing)."""
    addresses = status.get("addresses") if status else None
    return next((entry["address"] for entry in addresses or [] if entry["type"] == "InternalIP"), None)
