"""A network for doctor's unit tests: objects, answers of the network and certificates, as a test puts them."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cli.cluster import ClusterError
from cli.doctor.checks import CHECKS
from cli.doctor.context import Context
from cli.doctor.findings import Issue, Result, explain
from cli.doctor.probes import Answer, ProbeError, Prober
from cli.doctor.registry import run_checks
from cli.program import Program
from settings.stack import Settings
from tests.support.configs import settings_with, stack_config
from tests.support.live import APPLICATIONS

NOW = datetime(2026, 1, 15, tzinfo=UTC)

NODES = {name: node["address"] for name, node in stack_config()["physical"]["nodes"].items()}

NODE_LIST = "/api/v1/nodes"
PODS = "/api/v1/pods"
DEPLOYMENTS = "/apis/apps/v1/deployments"


@cache
def _shipped() -> Settings:
    return shipped_settings({})


def shipped_settings(change: Mapping[str, Any] | None = None) -> Settings:
    """The shipped stack with an application of each kind that the shipped access allows."""
    applications = {name: {**entry, "access": []} for name, entry in APPLICATIONS.items()}
    return settings_with(change, base=stack_config() | {"applications": applications})


def node(name: str, address: str, *, ready: bool = True) -> dict[str, Any]:
    """A Node with a kubelet."""
    status = {
        "nodeInfo": {"kubeletVersion": "v1.33.4"},
        "addresses": [{"type": "InternalIP", "address": address}],
        "conditions": [{"type": "Ready", "status": str(ready), "message": "kubelet stopped posting node status"}],
    }
    return {"metadata": {"name": name}, "spec": {}, "status": status}


def deployment(name: str, replicas: int, ready: int) -> dict[str, Any]:
    """A Deployment `namespace/name` with pods labelled `app: <name>`."""
    namespace, _, own = name.partition("/")
    return {
        "metadata": {"namespace": namespace, "name": own},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": own}}},
        "status": {"readyReplicas": ready, "updatedReplicas": replicas},
    }


def pod(
    name: str, labels: Mapping[str, str], *, on: str = "k8s-1", ready: bool = True, **status: Any
) -> dict[str, Any]:
    """A Pod `namespace/name`."""
    namespace, _, own = name.partition("/")
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {
        "metadata": {"namespace": namespace, "name": own, "labels": dict(labels)},
        "spec": {"nodeName": on, "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "conditions": conditions, **status},
    }


def certificate(
    *hosts: str, issuer: str = "example.com internal CA", days: int = 60, common_name: str = ""
) -> x509.Certificate:
    """One for these hosts that ends so many days after NOW."""
    return issued(*hosts, issuer=issuer, days=days, common_name=common_name)[0]


def issued(
    *hosts: str, issuer: str = "example.com internal CA", days: int = 60, common_name: str = "", now: datetime = NOW
) -> tuple[x509.Certificate, bytes]:
    """A certificate, and itself with its key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject, signer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in (common_name or "host", issuer))
    builder = x509.CertificateBuilder(signer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=100)).not_valid_after(now + timedelta(days=days, hours=1))
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    signed = builder.sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return signed, pem + signed.public_bytes(serialization.Encoding.PEM)


def in_base64(signed: x509.Certificate) -> str:
    """As PEM in base64, which is how an admission webhook has its CA."""
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


@dataclass(frozen=True)
class Answers(Prober):
    """Answers by end: `address:port` that accepts connections, names by server, certificates and GETs by address."""

    open: set[str] = field(default_factory=lambda: {f"{address}:6443" for address in NODES.values()})
    names: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    certificates: dict[str, x509.Certificate] = field(default_factory=dict)
    pages: dict[str, Answer] = field(default_factory=dict)

    def connect(self, address: str, port: int) -> None:
        if f"{address}:{port}" not in self.open:
            raise ProbeError(f"{address} port {port}: timed out")

    def resolve(self, name: str, server: str, **_: Any) -> tuple[str, ...]:
        if (server, name) not in self.names:
            raise ProbeError(f"{server}: timed out")
        return self.names[server, name]

    def certificate(self, address: str, _host: str, port: int = 443) -> x509.Certificate:
        if address not in self.certificates:
            raise ProbeError(f"{address} port {port}: connection refused", refused=True)
        return self.certificates[address]

    def get(self, address: str, *_: str, port: int = 443, **__: Any) -> Answer:
        if f"{address}:{port}" not in self.pages:
            raise ProbeError(f"{address} port {port}: timed out")
        return self.pages[f"{address}:{port}"]


@dataclass
class Objects:
    """A cluster by API path: lists of objects, and single ones; `error` is what every question then fails with."""

    by_path: Mapping[str, Any]
    error: str = ""
    asked: int = 0

    def items(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._found(path) or []
        return found

    def find(self, path: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._found(path)
        return found

    def _found(self, path: str) -> Any:
        self.asked += 1
        if self.error:
            raise ClusterError(self.error)
        return self.by_path.get(path)


def context(
    objects: Mapping[str, Any],
    answers: Prober | None = None,
    settings: Settings | None = None,
    error: str = "",
) -> Context:
    """What doctor sees of a cluster with these objects, and its nodes unless the objects say otherwise."""
    program = Program("test", {}, Path("/nonexistent/Pulumi.test.yaml"))
    vars(program).update(settings=settings or _shipped(), state=[])
    seen = Context(program, prober=answers or Answers(), now=NOW)
    nodes = [node(name, address) for name, address in NODES.items()]
    cluster = Objects({NODE_LIST: nodes} | dict(objects), error)
    seen._once.get("cluster", lambda: cluster)
    return seen


def results(seen: Context, *names: str) -> list[Result]:
    """What these checks find; fails the test when one of them breaks."""
    found = run_checks([CHECKS[name] for name in names], seen, lambda _: None)
    assert not [finding for result in found for finding in result.findings if "a defect of" in finding.seen]
    return found


def causes(seen: Context, *names: str) -> list[Issue]:
    """What doctor names, causes first."""
    return explain(results(seen, *names))


def said(seen: Context, *names: str) -> dict[str, str]:
    """What was seen of each subject that something is wrong with."""
    return {each.finding.subject: each.finding.seen for root in causes(seen, *names) for each in (root, *root)}
