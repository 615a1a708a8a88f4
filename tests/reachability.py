"""Who reaches whom under a set of network policies, judged by Cilium's own policy engine (toolchain/policy-verdict)."""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.recorder import Registration
from tests.tools import tool

Manifest = Mapping[str, Any]

KINDS = {
    "kubernetes:networking.k8s.io/v1:NetworkPolicy": ("networking.k8s.io/v1", "NetworkPolicy"),
    "kubernetes:cilium.io/v2:CiliumNetworkPolicy": ("cilium.io/v2", "CiliumNetworkPolicy"),
}

CLUSTER_ENDPOINTS: dict[str, dict[str, Any]] = {
    "own node": {"entities": ["host"]},
    "another node": {"entities": ["remote-node"]},
    "API server": {"entities": ["kube-apiserver", "remote-node"]},
    "internet": {"entities": ["world"]},
    "cluster DNS": {"namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
}
"""Endpoints that every cluster has."""


def manifests(registrations: Iterable[Registration]) -> list[Manifest]:
    """The policies among recorded resources, as a cluster would get them."""
    return [
        {
            "apiVersion": version,
            "kind": kind,
            "metadata": entry.inputs["metadata"],
            "spec": _with_whole_numbers(entry.inputs["spec"]),
        }
        for entry in registrations
        if entry.type in KINDS
        for version, kind in [KINDS[entry.type]]
    ]


def _with_whole_numbers(value: Any) -> Any:
    """Pulumi's protocol knows one kind of number, and so does its recorder; a cluster gets whole ones."""
    if isinstance(value, dict):
        return {key: _with_whole_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class InputError(Exception):
    """The engine refused a policy, an endpoint or a query; the text is its message."""


@dataclass(frozen=True)
class Verdict:
    """One answer; `egress` and `ingress` hold `allowed`, `enforced`, `policies` and the proxy's rules."""

    allowed: bool
    egress: Mapping[str, Any]
    ingress: Mapping[str, Any]

    def __str__(self) -> str:
        return f"out: {self.egress['policies']}, in: {self.ingress['policies']}"


@dataclass(frozen=True)
class Cluster:
    """Policies and the endpoints between which they are judged, by name."""

    policies: Sequence[Manifest]
    endpoints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    enforcement: str = "default"

    def verdicts(self, queries: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        """Answers in the order of the queries; each has from, to, port, protocol and maybe http or dns."""
        endpoints = CLUSTER_ENDPOINTS | dict(self.endpoints)
        question = {
            "enforcement": self.enforcement,
            "endpoints": [{"name": name, **endpoint} for name, endpoint in endpoints.items()],
            "policies": self.policies,
            "queries": [{"protocol": "TCP", **query} for query in queries],
        }
        command = [tool("policy-verdict")]
        result = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise InputError(result.stderr.strip())
        return [Verdict(answer["allowed"], answer["egress"], answer["ingress"]) for answer in json.loads(result.stdout)]

    def verdict(self, source: str, destination: str, port: int, protocol: str = "TCP", **asked: Any) -> Verdict:
        """The answer to one query; `asked` is `http` or `dns`."""
        query = {"from": source, "to": destination, "port": port, "protocol": protocol, **asked}
        return self.verdicts([query])[0]

    def allows(self, source: str, destination: str, port: int, protocol: str = "TCP", **asked: Any) -> bool:
        """Whether both ends' policies let it through."""
        return self.verdict(source, destination, port, protocol, **asked).allowed
