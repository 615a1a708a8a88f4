"""`anton doctor` on the stack's objects as they would be if their pods ran: nothing is unknown, nothing is wrong."""

from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.cluster import Cluster
from cli.doctor.checks import CHECKS
from cli.doctor.context import Context
from cli.doctor.findings import Status, explain
from cli.doctor.probes import Answer
from cli.doctor.registry import run_checks
from cli.edge_accounts import DEVICE, DNS_RECORD, TUNNEL
from cli.program import Program
from rehearsal.accounts.store import Accounts, Record
from tests.support.control_plane import ControlPlane
from tests.support.doctor import NODES, NOW, PODS, Answers, certificate, in_base64, pod
from tests.support.engine import Stack
from tests.support.live import APPLICATIONS

pytestmark = pytest.mark.cluster

READY = [{"type": type_, "status": "True"} for type_ in ("Ready", "ConnectorReady")]
INTERNAL, GATEWAY, CLUSTER_DNS, DNS_POD = "192.168.1.103", "192.168.1.102", "10.96.0.10", "10.244.0.2"
WIKI, PUBLIC = "a.wiki.example.com", ("web.example.com", "shop.example.com")
HEADERS = {
    "x-frame-options": "SAMEORIGIN",
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
}
METRICS = "".join(
    f'node_network_mtu_bytes{{device="{device}"}} 1500\n' for device in ("enp87s0", "cilium_host", "cilium_net")
)

WRITTEN: dict[str, list[dict[str, Any]]] = {
    PODS: [pod(f"kube-system/coredns-{n}", {"k8s-app": "kube-dns"}, podIP=DNS_POD) for n in range(2)],
    "/apis/cilium.io/v2/ciliumnodes": [
        {"metadata": {"name": name}, "spec": {"addresses": [{"ip": address}]}} for name, address in NODES.items()
    ],
    "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases": [
        {
            "metadata": {"name": f"cilium-l2announce-network-{service}"},
            "spec": {"holderIdentity": "k8s-1", "renewTime": NOW.isoformat()},
        }
        for service in ("internal-ingress-nginx-controller", "k8s-gateway")
    ],
    "/apis/discovery.k8s.io/v1/endpointslices": [
        {
            "metadata": {"namespace": "production", "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": ["10.244.1.9"]}],
        }
        for name in APPLICATIONS
    ],
    "/apis/metrics.k8s.io/v1beta1/namespaces/kube-system/pods": [
        {"metadata": {"name": "cilium-x"}, "containers": [{"name": "cilium-agent", "usage": {"memory": "900Mi"}}]}
    ],
}
"""Objects that agents, Talos, applications and a metrics server write."""

SINGLE: dict[str, dict[str, Any]] = {
    "/api/v1/namespaces/kube-system/services/kube-dns": {"spec": {"clusterIP": CLUSTER_DNS}},
    "/api/v1/namespaces/kube-system/configmaps/coredns": {"data": {"Corefile": "kubernetes forward ready"}},
}


class Running:
    """The cluster with what its pods would write."""

    def __init__(self, cluster: Cluster, authority: str) -> None:
        self._cluster, self._authority = cluster, authority

    def items(self, path: str) -> list[dict[str, Any]]:
        return [*map(self._written, deepcopy(self._cluster.items(path))), *WRITTEN.get(path, ())]

    def find(self, path: str) -> dict[str, Any] | None:
        found = SINGLE.get(path) or self._cluster.find(path)
        return self._written(deepcopy(found)) if found else None

    def _written(self, item: dict[str, Any]) -> dict[str, Any]:
        status = item.get("status") or {}
        status |= {"notAfter": (NOW + timedelta(days=60)).isoformat(), "nodeInfo": {"kubeletVersion": "v1.33.4"}}
        status.setdefault("conditions", READY)
        if "ingressClassName" in item.get("spec", {}):
            status["loadBalancer"] = {"ingress": [{"ip": INTERNAL}]}
        for webhook in item.get("webhooks", ()):
            webhook["clientConfig"]["caBundle"] = self._authority
        return item | {"status": status}


def healthy_network() -> Answers:
    """What a machine on the LAN is answered."""
    nodes = {f"{address}:{port}": page for address in NODES.values() for port, page in NODE_PAGES.items()}
    hosts = {f"{host}:443": Answer(200, {"cf-ray": "8"}, 0.1) for host in PUBLIC}
    return Answers(
        open={*(f"{address}:6443" for address in NODES.values()), "192.168.1.101:6443", f"{DNS_POD}:53"},
        names={
            (GATEWAY, WIKI): (INTERNAL,),
            (CLUSTER_DNS, "kubernetes.default.svc.cluster.local"): ("10.96.0.1",),
        },
        certificates={INTERNAL: certificate(WIKI)},
        pages={**nodes, **hosts, f"{INTERNAL}:443": Answer(200, HEADERS, 0.1)},
    )


NODE_PAGES = {9100: Answer(200, {}, 0.1, METRICS), 10256: Answer(200, {}, 0.1)}


@pytest.fixture
def program(stack: Stack, tmp_path: Path) -> Program:
    """The stack with accounts of its own, in which connectors, devices and external-dns have done their part."""
    copy = tmp_path / "accounts.db"
    copy.write_bytes(Path(stack.environment["ANTON_ACCOUNTS"]).read_bytes())
    program = Program("test", {**stack.environment, "ANTON_ACCOUNTS": str(copy)}, stack.file)
    devices = {"tailscale-operator": "tag:k8s-operator", "anton-lan-0": "tag:k8s", "admin": "tag:k8s"}
    with Accounts(copy).transaction() as account:
        (tunnel,) = account.all(TUNNEL)
        connections = [{"clientId": f"connector-{number % 2}"} for number in range(8)]
        account.put(replace(tunnel, computed=tunnel.computed | {"status": "healthy", "connections": connections}))
        for host in PUBLIC:
            inputs = {"name": host, "type": "CNAME", "content": "external.example.com", "proxied": True}
            account.put(Record(DNS_RECORD, program.settings.cloudflare.zone_id or "", host, inputs))
        for name, tag in devices.items():
            account.put(Record(DEVICE, "", name, {"hostname": name, "name": name, "tags": [tag]}))
    return program


def test_a_network_that_runs_is_healthy_in_every_check(program: Program, cluster: ControlPlane) -> None:
    """So whatever is said of another one is about that one."""
    context = Context(program, prober=healthy_network(), now=NOW)
    running = Running(Cluster.of(program), in_base64(certificate("webhook", days=300)))
    context._once.get("cluster", lambda: running)
    results = run_checks(CHECKS.values(), context, lambda _: None)
    assert [(issue.finding.subject, issue.finding.seen) for issue in explain(results)] == []
    assert {
        result.check: [f.seen for f in result.findings] for result in results if result.status is not Status.HEALTHY
    } == {}
