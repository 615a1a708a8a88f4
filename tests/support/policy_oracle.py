"""Kubernetes' rules for NetworkPolicy, written down from its documentation and API reference, for pods alone.

An answer of its own to hold Cilium's engine and `anton reach` against: it shares no code with them.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

Manifest = Mapping[str, Any]


def allows(
    policies: list[Manifest],
    namespaces: Mapping[str, Mapping[str, str]],
    source: Manifest,
    destination: Manifest,
    port: int,
) -> bool:
    """Whether TCP passes from one end to the other; an end is a pod (namespace, labels, ports) or an address."""
    return _one_way(policies, namespaces, "Egress", source, destination, destination, port) and _one_way(
        policies, namespaces, "Ingress", destination, source, destination, port
    )


def _one_way(
    policies: list[Manifest],
    namespaces: Mapping[str, Mapping[str, str]],
    direction: str,
    isolated: Manifest,
    peer: Manifest,
    listening: Manifest,
    port: int,
) -> bool:
    if "address" in isolated:
        return True
    selecting = [policy for policy in policies if direction in _types(policy) and _selects(policy, isolated)]
    key, ends = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return not selecting or any(
        _peers(rule.get(ends), policy["metadata"]["namespace"], namespaces, peer)
        and _ports(rule.get("ports"), listening, port)
        for policy in selecting
        for rule in policy["spec"].get(key) or ()
    )


def _types(policy: Manifest) -> list[str]:
    """Left out, the types are Ingress, and Egress where there is an egress rule."""
    spec = policy["spec"]
    return spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _selects(policy: Manifest, pod: Manifest) -> bool:
    return pod["namespace"] == policy["metadata"]["namespace"] and _matches(
        policy["spec"]["podSelector"], pod["labels"]
    )


def _peers(
    peers: list[Manifest] | None, namespace: str, namespaces: Mapping[str, Mapping[str, str]], end: Manifest
) -> bool:
    """No list, or an empty one, is everybody; a peer is a block, or pods of some namespaces."""
    return not peers or any(_peer(peer, namespace, namespaces, end) for peer in peers)


def _peer(peer: Manifest, namespace: str, namespaces: Mapping[str, Mapping[str, str]], end: Manifest) -> bool:
    if block := peer.get("ipBlock"):
        if "address" not in end:
            return False  # Cilium never takes a block for a pod; Kubernetes leaves that open
        address = IPv4Address(end["address"])
        return address in IPv4Network(block["cidr"]) and not any(
            address in IPv4Network(excepted) for excepted in block.get("except", ())
        )
    if "address" in end:
        return False
    if "namespaceSelector" in peer:
        labels = {**namespaces.get(end["namespace"], {}), "kubernetes.io/metadata.name": end["namespace"]}
        if not _matches(peer["namespaceSelector"], labels):
            return False
    elif end["namespace"] != namespace:
        return False
    return _matches(peer.get("podSelector", {}), end["labels"])


def _ports(ports: list[Manifest] | None, listening: Manifest, port: int) -> bool:
    """No list, or an empty one, is every port; a name means the port of that name of the listening pod."""
    return not ports or any(_port(entry, listening, port) for entry in ports)


def _port(entry: Manifest, listening: Manifest, port: int) -> bool:
    wanted = entry.get("port")
    if entry.get("protocol", "TCP") != "TCP":
        return False
    if isinstance(wanted, str):
        return any(own["name"] == wanted and own["port"] == port for own in listening.get("ports", ()))
    return wanted is None or wanted <= port <= entry.get("endPort", wanted)


def _matches(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """An empty selector matches everything; all its parts must hold."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions", ()))


def _holds(expression: Manifest, labels: Mapping[str, str]) -> bool:
    value, wanted = labels.get(expression["key"]), expression.get("values", [])
    match expression["operator"]:
        case "In":
            return value in wanted
        case "NotIn":
            return value not in wanted
        case "Exists":
            return value is not None
        case _:
            return value is None
