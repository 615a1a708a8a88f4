"""`anton doctor` on a real API server: nothing to say of a healthy network, and each fault put in is found first."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from typer.testing import CliRunner

from cli import __main__ as anton
from cli.doctor.checks import CHECKS
from cli.doctor.context import Context
from cli.doctor.findings import Issue, Result, Status, explain
from cli.doctor.registry import run_checks
from cli.edge_accounts import DEVICE, DNS_RECORD, TUNNEL
from cli.program import Program
from rehearsal.accounts.store import Account, Accounts, Record
from tests.support.configs import PROJECT
from tests.support.control_plane import ControlPlane
from tests.support.doctor import in_base64, issued
from tests.support.engine import Stack
from tests.support.live_changes import account, added, changed, scaled

pytestmark = pytest.mark.cluster

INTERNAL, GATEWAY = "internal-ingress-nginx", "k8s-gateway"


@pytest.fixture(scope="module")
def program(stack: Stack) -> Program:
    """The stack as doctor opens it; its settings and state are read once for all tests here."""
    return Program("test", stack.environment, stack.file)


def examined(program: Program, *names: str) -> list[Result]:
    """What the checks of these names find, all of them without names."""
    return run_checks([CHECKS[name] for name in names or CHECKS], Context(program), lambda _: None)


@pytest.fixture(scope="module")
def healthy(program: Program, cluster: ControlPlane) -> list[Result]:
    """What doctor says of the network as the update left it."""
    return examined(program)


def causes(program: Program, *names: str) -> list[Issue]:
    """What doctor names, causes first."""
    return explain(examined(program, *names))


def connected(now: Account, connectors: int) -> None:
    """Let the stack's tunnel have that many connectors, each with its four connections."""
    tunnel = now.all(TUNNEL)[0]
    connections = [
        {"clientId": f"connector-{number}", "clientVersion": "2026.7.3", "isPendingReconnect": False}
        for number in range(connectors)
        for _ in range(4)
    ]
    now.put(replace(tunnel, computed=tunnel.computed | {"status": "healthy", "connections": connections}))


def test_a_healthy_network_has_no_findings(healthy: list[Result]) -> None:
    """Simulated nodes run nothing: what only running pods could show is unknown, with the reason, and never healthy."""
    assert [issue.finding for issue in explain(healthy)] == []
    by_name = {result.check: result for result in healthy}
    seen = {"nodes", "datapath", "pools", "addresses", "ingress-classes", "ingress-controllers", "policies", "flows"}
    assert {name for name in seen if by_name[name].status is not Status.HEALTHY} == set()
    for name in ("mtu", "lan-dns", "lan-requests", "public-requests", "enforcement", "tunnel", "certificates"):
        assert by_name[name].status is Status.UNKNOWN, name
        assert all(finding.seen for finding in by_name[name].findings), name
    assert not [finding.seen for result in healthy for finding in result.findings if "defect" in finding.seen]


def test_a_node_at_another_address(program: Program, cluster: ControlPlane) -> None:
    """Whatever the reason on its side: here it is the router's or Talos' doing."""
    moved = [{"type": "InternalIP", "address": "192.168.1.55"}]
    with changed(cluster, "/api/v1/nodes/k8s-2", lambda node: node["status"].update(addresses=moved), "/status"):
        first, *others = causes(program)
    assert (first.finding.subject, first.finding.seen) == ("node k8s-2", "has InternalIP 192.168.1.55")
    assert first.finding.expected == "192.168.1.99"
    assert first.finding.config == "physical.nodes.k8s-2.address"
    assert not others


def test_a_controller_scaled_to_nothing(program: Program, cluster: ControlPlane) -> None:
    """Its Service and webhook have no pods then, which follows and is no cause of its own."""
    with scaled(cluster, f"{INTERNAL}-controller", 0):
        first, *others = causes(program)
    assert first.finding.subject == f"Deployment network/{INTERNAL}-controller"
    assert "--replicas=2" in first.finding.next
    assert {issue.finding.subject for issue in first} == {
        f"endpoints of network/{INTERNAL}-controller",
        f"endpoints of network/{INTERNAL}-controller-admission",
    }
    assert not others


def test_an_expired_certificate(program: Program, cluster: ControlPlane) -> None:
    """As cert-manager tells of it; that nothing renewed it follows from the issuer when that one is not ready."""
    ended = (datetime.now(UTC) - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    not_ready = {"type": "Ready", "status": "False", "reason": "Expired", "message": "Certificate expired"}
    path = "/apis/cert-manager.io/v1/namespaces/network/certificates/internal-tls"

    def expire(certificate: dict[str, Any]) -> None:
        certificate["status"] = {"notAfter": ended, "conditions": [not_ready]}

    with changed(cluster, path, expire, "/status"):
        first, *others = causes(program)
        assert first.finding.subject == "Certificate network/internal-tls"
        assert first.finding.seen == f"expired on {ended[:10]}; Certificate expired"
        assert not others
        broken = {"type": "Ready", "status": "False", "reason": "ErrGetKeyPair", "message": "secret not found"}
        issuer = "/apis/cert-manager.io/v1/clusterissuers/ca-issuer"
        with changed(cluster, issuer, lambda now: now.update(status={"conditions": [broken]}), "/status"):
            first, *others = causes(program, "issuers", "certificates")
    assert first.finding.subject == "ClusterIssuer ca-issuer"
    assert [issue.finding.subject for issue in first] == ["Certificate network/internal-tls"]
    assert not others


def test_a_missing_tunnel_replica(program: Program, cluster: ControlPlane) -> None:
    """Cloudflare sees one connector, because the Deployment has one pod."""
    with account(program) as accounts:
        with accounts.transaction() as now:
            connected(now, 2)
        assert causes(program, "tunnel") == []
        with accounts.transaction() as now:
            connected(now, 1)
        alone = causes(program, "tunnel")
        with scaled(cluster, "cloudflared", 1):
            first, *others = causes(program)
    assert [issue.finding.subject for issue in alone] == ["tunnel"]
    assert alone[0].finding.seen == "is healthy: 1 of 2 connectors are connected"
    assert first.finding.subject == "Deployment network/cloudflared"
    assert [issue.finding.subject for issue in first] == ["tunnel"]
    assert not others


def test_an_emptied_pool(program: Program, cluster: ControlPlane) -> None:
    """The Service that loses its address follows from it, with what LB-IPAM says; no other loses one."""
    services = [f"/api/v1/namespaces/network/services/{name}" for name in (GATEWAY, f"{INTERNAL}-controller")]

    def with_address() -> int:
        return sum(bool(cluster.get(path)["status"]["loadBalancer"].get("ingress")) for path in services)

    pool = "/apis/cilium.io/v2/ciliumloadbalancerippools/reserved-internal"
    with changed(cluster, pool, lambda now: now["spec"].update(blocks=[])):
        cluster.wait_for(lambda: with_address() == 1, "address taken back")
        first, *others = causes(program)
    cluster.wait_for(lambda: with_address() == 2, "address given again")
    assert (first.finding.subject, first.finding.seen) == ("pool reserved-internal", "is empty")
    assert first.finding.expected == "192.168.1.103"
    said = "has no address: No pool exists with a CIDR containing"
    assert {issue.finding.subject: issue.finding.seen for issue in first} == {
        f"Service network/{INTERNAL}-controller": f"{said} '192.168.1.103'",
    }
    assert not others


BLOCKS_DNS = {
    "apiVersion": "cilium.io/v2",
    "kind": "CiliumNetworkPolicy",
    "metadata": {"name": "no-names", "namespace": "production"},
    "spec": {
        "endpointSelector": {"matchLabels": {"app": "web"}},
        "egressDeny": [{"toPorts": [{"ports": [{"port": "53", "protocol": "UDP"}]}]}],
    },
}


def test_a_policy_that_blocks_dns(program: Program, cluster: ControlPlane) -> None:
    """The one policy is named, of all that say something about these pods."""
    with added(cluster, "/apis/cilium.io/v2/namespaces/production/ciliumnetworkpolicies", BLOCKS_DNS):
        first, *others = causes(program)
    assert first.finding.subject == "CiliumNetworkPolicy production/no-names"
    assert first.finding.seen.startswith("production/web to cluster DNS 53/UDP is blocked leaving")
    assert "get ciliumnetworkpolicy no-names" in first.finding.next
    assert not others


def test_a_policy_that_is_gone(program: Program, cluster: ControlPlane) -> None:
    """Of the whole namespace's default deny."""
    path = "/apis/networking.k8s.io/v1/namespaces/production/networkpolicies"
    manifest = cluster.get(f"{path}/default-deny-all")
    cluster.request("DELETE", f"{path}/default-deny-all")
    try:
        found = causes(program, "policies")
    finally:
        kept = {key: manifest["metadata"].get(key) for key in ("name", "namespace", "labels", "annotations")}
        cluster.request("POST", path, manifest | {"metadata": kept, "status": None})
    assert [issue.finding.subject for issue in found] == ["NetworkPolicy production/default-deny-all"]


def test_options_of_the_agents_that_somebody_changed(program: Program, cluster: ControlPlane) -> None:
    """DSR and the devices, each by the key that declares it."""
    path = "/api/v1/namespaces/kube-system/configmaps/cilium-config"
    edit = {"bpf-lb-mode": "snat", "devices": ""}
    with changed(cluster, path, lambda now: now["data"].update(edit)):
        found = {issue.finding.subject: issue.finding for issue in causes(program, "datapath")}
    assert found["cilium-config bpf-lb-mode"].seen == "is snat"
    assert found["cilium-config bpf-lb-mode"].config == "cilium.loadBalancing.mode"
    assert found["cilium-config devices"].seen == "is (not set)"
    assert len(found) == 2


def test_who_holds_an_address(program: Program, cluster: ControlPlane) -> None:
    """A ready node that renews its Lease is worth a note; another one, or silence, is a fault."""
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"

    def lease(service: str, holder: str, age: int) -> dict[str, Any]:
        at = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        name = f"cilium-l2announce-network-{service}"
        spec = {"holderIdentity": holder, "renewTime": at, "leaseDurationSeconds": 15}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec}

    internal, gateway = f"{INTERNAL}-controller", GATEWAY
    with added(cluster, path, lease(gateway, "k8s-1", 1)):
        with added(cluster, path, lease(internal, "k8s-2", 1)):
            (healthy,) = examined(program, "announcements")
        with added(cluster, path, lease(internal, "k8s-9", 1)):
            gone = causes(program, "announcements")
        with added(cluster, path, lease(internal, "k8s-2", 300)):
            silent = causes(program, "announcements")
        nobody = causes(program, "announcements")
    assert healthy.status is Status.HEALTHY
    assert "held by k8s-2" in [finding.seen for finding in healthy.findings]
    assert [issue.finding.seen for issue in gone] == ["is held by k8s-9, which is no node of the cluster"]
    assert [issue.finding.seen.partition(" and was")[0] for issue in silent] == ["k8s-2 holds its lease"]
    assert [issue.finding.seen for issue in nobody] == ["nobody holds its lease"]


def test_an_admission_webhook_whose_ca_expired(program: Program, cluster: ControlPlane) -> None:
    """Every Ingress of the class would be refused."""
    base = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"

    def expire(now: dict[str, Any]) -> None:
        now["webhooks"][0]["clientConfig"]["caBundle"] = in_base64(issued("webhook", days=-1, now=datetime.now(UTC))[0])

    with changed(cluster, f"{base}/internal-ingress-nginx-admission", expire):
        (found,) = causes(program, "admission-webhooks")
    assert found.finding.subject == "admission webhook internal-ingress-nginx-admission"
    assert found.finding.seen.startswith("its CA expired on ")


def test_records_that_differ_from_cloudflares_view(program: Program, cluster: ControlPlane) -> None:
    """One of the stack's that is gone, one that leads to a tunnel of the past, one with a private address."""
    zone = program.settings.cloudflare.zone_id or ""
    dead = {"name": "old.example.com", "type": "CNAME", "content": f"{'0' * 8}.cfargotunnel.com", "proxied": True}
    private = {"name": "nas.example.com", "type": "A", "content": "192.168.1.20"}
    with account(program) as accounts:
        with accounts.transaction() as now:
            apex = next(record for record in now.all(DNS_RECORD) if record.inputs["name"] == "example.com")
            now.remove(apex)
            now.put(Record(DNS_RECORD, zone, "dead", dead))
            now.put(Record(DNS_RECORD, zone, "private", private))
        found = {issue.finding.subject: issue.finding.seen for issue in causes(program, "dns-records")}
    assert found["DNS record example.com"] == "is not in the zone"
    assert "error 1033" in found["DNS record old.example.com"]
    assert found["DNS record nas.example.com"] == "publishes the private address 192.168.1.20"


def test_devices_of_the_tailnet(program: Program, cluster: ControlPlane) -> None:
    """A wrong tag, a key about to run out, a machine that joined twice, and one that is not there."""
    soon = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    tagged = {"tags": ["tag:k8s"], "keyExpiryDisabled": True}
    devices: list[dict[str, Any]] = [
        {"hostname": "tailscale-operator", "name": "tailscale-operator.tail.ts.net", "tags": ["tag:k8s"]},
        {"hostname": "admin", "name": "admin.tail.ts.net", "tags": ["tag:k8s"], "expires": soon},
        {"hostname": "k8s-1", "name": "k8s-1-1.tail.ts.net", **tagged},
    ]
    with account(program) as accounts:
        with accounts.transaction() as now:
            for number, device in enumerate(devices):
                now.put(Record(DEVICE, "", str(number), device))
        found = {issue.finding.subject: issue.finding.seen for issue in causes(program, "tailnet")}
    assert found["device tailscale-operator"] == "has tag:k8s"
    assert found["device admin"].startswith("its key expires in 2 days")
    assert found["device k8s-1-1"] == "is a second k8s-1: its old identity was lost"
    assert found["device anton-lan-0"] == "is not in the tailnet"


def test_reading_is_all_it_needs(
    program: Program, cluster: ControlPlane, healthy: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user with the shipped role alone sees as much as an administrator; every request is a GET."""
    role, binding, account_ = list(yaml.safe_load_all((PROJECT / "docs/doctor-role.yaml").read_text()))
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list"}
    assert not any({"secrets", "*"} & {*rule["resources"]} for rule in role["rules"])
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    namespace = account_["metadata"]["namespace"]
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    with (
        added(cluster, f"{rbac}/clusterroles", role),
        added(cluster, f"{rbac}/clusterrolebindings", binding),
        added(cluster, accounts, account_),
    ):
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": None}}
        token = cluster.request("POST", f"{accounts}/{account_['metadata']['name']}/token", request)["status"]["token"]
        kubeconfig = yaml.safe_load(cluster.kubeconfig.read_text())
        kubeconfig["users"][0]["user"] = {"token": token}
        own = cluster.folder / "doctor-kubeconfig"
        own.write_text(yaml.safe_dump(kubeconfig))
        limited = Program("test", {**program.environment, "KUBECONFIG": str(own)}, program.config_file)
        methods = []
        original = urllib3.PoolManager.request

        def noted(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
            methods.append(method)
            return original(self, method, *arguments, **options)

        monkeypatch.setattr(urllib3.PoolManager, "request", noted)
        results = examined(limited)
        assert not [f.seen for result in results for f in result.findings if "Forbidden" in f.seen]
        assert {result.check: result.status for result in results} == {r.check: r.status for r in healthy}
    assert set(methods) == {"GET"}


def test_the_command_line(program: Program, cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit codes and the JSON of the cluster's own monitor; no secret of the stack in either form."""
    monkeypatch.setattr(Program, "open", lambda *_, **__: program)
    runner = CliRunner()
    healthy = runner.invoke(anton.app, ["doctor", "--json"])
    document = json.loads(healthy.stdout)
    assert healthy.exit_code == 0
    assert document.keys() == {"status", "timestamp", "summary", "details", "issues"}
    assert document["summary"]["total"] == len(CHECKS) == sum(document["summary"].values()) / 2
    assert document["details"].keys() == CHECKS.keys()
    cordon = {"unschedulable": True}
    with changed(cluster, "/api/v1/nodes/k8s-3", lambda node: node["spec"].update(cordon)):
        assert runner.invoke(anton.app, ["doctor", "--only", "nodes"]).exit_code == 1
    with scaled(cluster, "k8s-gateway", 0):
        broken = runner.invoke(anton.app, ["doctor", "--only", "lan-dns", "--only", "nodes"])
    assert broken.exit_code == 2
    assert "1. critical  Deployment network/k8s-gateway is scaled to 0" in broken.stdout
    assert "Pulumi.test.yaml:" in broken.stdout
    assert runner.invoke(anton.app, ["doctor", "--only", "mtu"]).exit_code == 3
    assert runner.invoke(anton.app, ["doctor", "--only", "nothing"]).exit_code == 2
    with Accounts(Path(program.environment["ANTON_ACCOUNTS"])).transaction() as now:
        keys = [record.computed["key"] for record in now.all() if "key" in record.computed]
    assert not [key for key in keys if key in healthy.stdout]
