"""The Kubernetes objects that network policies become.

A policy becomes a NetworkPolicy where that suffices. Cilium's own kind is taken for what the native one can't say:
entities such as the nodes or the API server, HTTP rules, and domains.
"""

from collections.abc import Iterator
from typing import Any

from settings.policies.traffic import Allow, Domains, Entities, HttpMatch, Networks, Peer, Pods, Policy


def native_spec(policy: Policy) -> dict[str, Any]:
    """The spec of a NetworkPolicy; the policy must be native."""
    spec: dict[str, Any] = {"podSelector": _selector(policy.pods), "policyTypes": []}
    for direction, side, allows in _directions(policy):
        spec["policyTypes"].append(direction.capitalize())
        if allows:
            spec[direction] = [
                {side: _native_peers(allow, policy.namespace), **_native_ports(allow)} for allow in allows
            ]
    return spec


def _directions(policy: Policy) -> Iterator[tuple[str, str, tuple[Allow, ...]]]:
    """The directions of which a policy speaks, with the word for their peers and what is allowed."""
    for direction, side, allows in (("ingress", "from", policy.ingress), ("egress", "to", policy.egress)):
        if allows is not None:
            yield direction, side, allows


def _selector(pods: Pods) -> dict[str, Any]:
    return {"matchLabels": dict(pods.labels)} if pods.labels else {}


def _native_peers(allow: Allow, own_namespace: str) -> list[dict[str, Any]]:
    peers: list[dict[str, Any]] = []
    for peer in allow.peers:
        if isinstance(peer, Networks):
            peers += [{"ipBlock": {"cidr": str(network)}} for network in peer.networks]
            continue
        assert isinstance(peer, Pods), f"{peer} is nothing for a NetworkPolicy"
        # Both selectors in one peer: as two peers they would let in the whole namespace, and namesakes everywhere.
        namespace = {"matchLabels": {"kubernetes.io/metadata.name": peer.namespace}}
        other = {"namespaceSelector": namespace} if peer.namespace != own_namespace else {}
        peers.append({**other, "podSelector": _selector(peer)})
    return peers


def _native_ports(allow: Allow) -> dict[str, Any]:
    ports = [{"port": port.number, "protocol": port.protocol.value} for port in allow.ports]
    return {"ports": ports} if ports else {}


def cilium_spec(policy: Policy) -> dict[str, Any]:
    """The spec of a CiliumNetworkPolicy."""
    spec: dict[str, Any] = {"endpointSelector": _selector(policy.pods)}
    for direction, side, allows in _directions(policy):
        # Cilium takes one sort of peer a rule.
        spec[direction] = [
            {**_cilium_peer(peer, side), **_cilium_ports(allow)} for allow in allows for peer in allow.peers
        ]
    return spec


def _cilium_peer(peer: Peer, side: str) -> dict[str, Any]:
    match peer:
        case Pods():
            labels = {"k8s:io.kubernetes.pod.namespace": peer.namespace, **peer.labels}
            return {f"{side}Endpoints": [{"matchLabels": labels}]}
        case Entities():
            return {f"{side}Entities": list(peer.names)}
        case Networks():
            return {f"{side}CIDR": [str(network) for network in peer.networks]}
        case Domains():
            return {f"{side}FQDNs": [{_name_or_pattern(name): name} for name in peer.names]}


def _name_or_pattern(domain: str) -> str:
    return "matchPattern" if "*" in domain else "matchName"


def _cilium_ports(allow: Allow) -> dict[str, Any]:
    if not allow.ports:
        return {}
    rules: dict[str, Any] = {}
    if allow.http:
        rules = {"rules": {"http": [_http_rule(match) for match in allow.http]}}
    if allow.learn_names:
        rules = {"rules": {"dns": [{"matchPattern": "*"}]}}
    ports = [{"port": str(port.number), "protocol": port.protocol.value} for port in allow.ports]
    return {"toPorts": [{"ports": ports, **rules}]}


def _http_rule(match: HttpMatch) -> dict[str, Any]:
    headers = [f"{name}: {value}" if value else name for name, value in match.headers.items()]
    rule = {"method": match.method, "path": match.path, "headers": headers}
    return {key: value for key, value in rule.items() if value}
