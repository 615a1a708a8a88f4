"""Who reaches whom under a set of network policies, judged by Cilium's own policy engine (toolchain/policy-verdict)."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.program import PROJECT

Manifest = Mapping[str, Any]

CLUSTER_ENDPOINTS: dict[str, dict[str, Any]] = {
    "own node": {"entities": ["host"]},
    "another node": {"entities": ["remote-node"]},
    "API server": {"entities": ["kube-apiserver", "remote-node"]},
    "internet": {"entities": ["world"]},
    "cluster DNS": {"namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
}
"""Endpoints that every cluster has."""


class InputError(Exception):
    """The engine is not here, or refused a policy, an endpoint or a query; the text is its message."""


@dataclass(frozen=True)
class Verdict:
    """One answer; `egress` and `ingress` hold `allowed`, `enforced`, `policies` and the proxy's rules."""

    allowed: bool
    egress: Mapping[str, Any]
    ingress: Mapping[str, Any]

    def __str__(self) -> str:
        return f"out: {self.egress['policies']}, in: {self.ingress['policies']}"


@dataclass(frozen=True)
class Judge:
    """Policies and the endpoints between which they are judged, by name.

    `endpoints`, `namespaces` (labels by name) and `enforcement` are as `policy-verdict --help` says.
    """

    policies: Sequence[Manifest]
    endpoints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    enforcement: str = "default"
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def verdicts(self, queries: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        """Answers in the order of the queries; each has from, to, port, protocol and maybe http or dns.

        Raises InputError when the engine refuses the question or is not here.
        """
        endpoints = CLUSTER_ENDPOINTS | dict(self.endpoints)
        question = {
            "enforcement": self.enforcement,
            "namespaces": [{"name": name, "labels": labels} for name, labels in self.namespaces.items()],
            "endpoints": [{"name": name, **endpoint} for name, endpoint in endpoints.items()],
            "policies": self.policies,
            "queries": [{"protocol": "TCP", **query} for query in queries],
        }
        program = shutil.which("policy-verdict") or str(PROJECT / ".cache/bin/policy-verdict")
        try:
            done = subprocess.run([program], input=json.dumps(question), capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise InputError("policy-verdict is not here; `./anton` and `make test` set it up") from None
        if done.returncode != 0:
            raise InputError(done.stderr.strip())
        return [Verdict(answer["allowed"], answer["egress"], answer["ingress"]) for answer in json.loads(done.stdout)]

    def verdict(self, source: str, destination: str, port: int, protocol: str = "TCP", **asked: Any) -> Verdict:
        """The answer to one query; `asked` is `http` or `dns`."""
        query = {"from": source, "to": destination, "port": port, "protocol": protocol, **asked}
        return self.verdicts([query])[0]

    def allows(self, source: str, destination: str, port: int, protocol: str = "TCP", **asked: Any) -> bool:
        """Whether both ends' policies let it through."""
        return self.verdict(source, destination, port, protocol, **asked).allowed
