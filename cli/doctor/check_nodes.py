"""Nodes: ready, at their addresses, with the MTU they should have, and the API behind its virtual address."""

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any

from cli.doctor.context import Context, condition, is_ready, side_by_side
from cli.doctor.findings import Finding, critical, unknown, warning
from cli.doctor.probes import ProbeError
from cli.doctor.registry import check
from cli.doctor.workloads import PLACES
from settings.nodes import Node

NODE_EXPORTER_PORT = 9100
CONTROL_PLANE_TAINT = "node-role.kubernetes.io/control-plane:NoSchedule"
_MTU = re.compile(r'^node_network_mtu_bytes\{device="([^"]+)"\} (\S+)$', re.MULTILINE)


@check("nodes", "nodes are ready, at the addresses declared", "physical.nodes")
def nodes(context: Context) -> Iterator[Finding]:
    """By the Node objects, which the kubelets write."""
    declared = context.settings.physical.nodes
    found = {node["metadata"]["name"]: node for node in context.items("/api/v1/nodes")}
    for name, node in declared.items():
        if name in found:
            yield from _node(context, name, node, found[name])
        else:
            yield critical(
                f"node {name}",
                f"is not in the cluster, which has {', '.join(sorted(found)) or 'none'}",
                f"a node at {node.address}",
                config=f"physical.nodes.{name}",
                next_=f"ping -c 3 {node.address}",
            )
    for name in sorted(found.keys() - declared.keys()):
        yield warning(
            f"node {name}",
            f"is in the cluster at {_address(found[name]) or 'no address'}",
            "only declared nodes: policies, pools and announcements know no other",
            config="physical.nodes",
            next_=context.kubectl(f"get node {name} -o wide"),
        )

    yield from _places(context, found)


def _places(context: Context, found: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Control planes that take no pods, where the settings count on them."""
    counted = [name for name in context.settings.nodes_for_pods if name in found]
    tainted = [name for name in counted if CONTROL_PLANE_TAINT in map(_taint, found[name]["spec"].get("taints") or ())]
    if tainted:
        problem = critical if len(tainted) == len(counted) else warning
        yield problem(
            PLACES,
            f"{', '.join(tainted)} take no pods: taint {CONTROL_PLANE_TAINT}",
            "pods on control planes, or cluster.allowSchedulingOnControlPlanes: false and enough workers",
            config="cluster.allowSchedulingOnControlPlanes",
            next_=context.kubectl(f"taint nodes {' '.join(tainted)} {CONTROL_PLANE_TAINT}-")
            + "   # and the stack output talos_patches, which keeps it so",
        )


def _taint(taint: Mapping[str, str]) -> str:
    return f"{taint['key']}:{taint['effect']}"


def _node(context: Context, name: str, declared: Node, node: Mapping[str, Any]) -> Iterator[Finding]:
    subject, key = f"node {name}", f"physical.nodes.{name}"
    show = context.kubectl(f"describe node {name}")
    address = _address(node)
    if address != str(declared.address):
        seen = f"has InternalIP {address or '(none)'}"
        look = context.kubectl(f"get node {name} -o wide")
        yield critical(subject, seen, str(declared.address), config=f"{key}.address", next_=look)
    if not is_ready(node):
        said = condition(node, "Ready").get("message", "reports no state")
        yield critical(subject, f"is not ready: {said}", "Ready", config=key, next_=show)
    if node["spec"].get("unschedulable"):
        uncordon = context.kubectl(f"uncordon {name}")
        yield warning(subject, "takes no new pods (cordoned)", "schedulable", config=key, next_=uncordon)
    pods = node["spec"].get("podCIDR")
    whole = context.settings.cluster.pod_cidr
    if pods and not IPv4Network(pods).subnet_of(whole):
        seen = f"gives pods addresses of {pods}"
        yield critical(subject, seen, f"a part of {whole}", config="cluster.podCidr", next_=show)


def _address(node: Mapping[str, Any]) -> str:
    found = (node.get("status") or {}).get("addresses") or ()
    return next((entry["address"] for entry in found if entry["type"] == "InternalIP"), "")


@check("api-vip", "the Kubernetes API answers at its virtual address", "physical.apiVip")
def api_vip(context: Context) -> Iterator[Finding]:
    """By a connection from here."""
    context.need_lan()
    vip = str(context.settings.physical.api_vip)
    try:
        context.prober.connect(vip, 6443)
    except ProbeError as error:
        yield critical(
            f"address {vip}",
            f"no connection: {error}",
            "the API server on port 6443",
            config="physical.apiVip",
            next_=f"talosctl -n {next(iter(context.settings.physical.nodes.values())).address} get addresses",
            after=[f"node {name}" for name in context.settings.physical.nodes],
        )


@check("mtu", "node interfaces and Cilium's devices have the MTU declared", "physical.mtu")
def mtu(context: Context) -> Iterator[Finding]:
    """By node-exporter on each node, where there is one: the API server knows no MTU."""
    context.need_lan()
    declared = context.settings.physical.nodes
    answers = side_by_side(lambda node: _mtus(context, node), declared.values())
    for (name, node), answer in zip(declared.items(), answers, strict=True):
        subject = f"MTU on {name}"
        if isinstance(answer, ProbeError):
            yield unknown(subject, f"node-exporter does not answer: {answer}")
            continue
        for device in (node.interface, "cilium_host", "cilium_net"):
            wanted = context.settings.physical.mtu
            seen = answer.get(device)
            if seen is None:
                yield unknown(subject, f"node-exporter tells nothing of {device}")
            elif seen != wanted:
                yield critical(
                    subject,
                    f"{device} has {seen}",
                    str(wanted),
                    config="physical.mtu",
                    next_=context.kubectl(
                        "-n kube-system exec ds/cilium -c cilium-agent -- cilium-dbg status --verbose"
                    ),
                    after=["cilium-config devices"],
                )


def _mtus(context: Context, node: Node) -> dict[str, int] | ProbeError:
    try:
        answer = context.prober.get(str(node.address), "/metrics", port=NODE_EXPORTER_PORT, tls=False)
    except ProbeError as error:
        return error
    return {device: int(float(value)) for device, value in _MTU.findall(answer.text)}
