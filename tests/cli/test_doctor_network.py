"""Faults that doctor can see only where pods run and the LAN is in reach: connections, names, TLS, HTTP."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, UDPServer
from threading import Thread
from typing import Any

import dns.message
import dns.rrset
import pytest

from cli.doctor.check_requests import FAKE
from cli.doctor.findings import Status
from cli.doctor.probes import Answer, ProbeError, Prober
from tests.support.doctor import (
    DEPLOYMENTS,
    NODES,
    NOW,
    PODS,
    Answers,
    causes,
    certificate,
    context,
    deployment,
    issued,
    pod,
    results,
    said,
    shipped_settings,
)

pytestmark = pytest.mark.unit

INTERNAL, GATEWAY, VIP = "192.168.1.103", "192.168.1.102", "192.168.1.101"
WIKI = "a.wiki.example.com"
HEADERS = {
    "x-frame-options": "SAMEORIGIN",
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
}
KUBE_DNS = {"k8s-app": "kube-dns"}


def through_internal(served: Any = None, **answer: Any) -> dict[str, str]:
    """What is said of requests through class internal that get this certificate and answer."""
    page = Answer(answer.get("status", 200), answer.get("headers", HEADERS), answer.get("seconds", 0.1))
    answers = Answers(certificates={INTERNAL: served or certificate(WIKI)}, pages={f"{INTERNAL}:443": page})
    return said(context({}, answers), "lan-requests")


def test_silence_proves_nothing_where_no_node_answers() -> None:
    """A laptop elsewhere, or a VPN that is off."""
    names = ("api-vip", "mtu", "kube-proxy", "lan-dns", "lan-requests", "enforcement")
    ready = {DEPLOYMENTS: [deployment("network/k8s-gateway", 2, 2)]}
    found = results(context(ready, Answers(open=set())), *names)
    assert {each.status for each in found} == {Status.UNKNOWN}
    assert {f.seen for each in found for f in each.findings} == {
        "no node answers from here: 192.168.1.0/24 is out of reach"
    }


def test_the_api_behind_its_virtual_address() -> None:
    """Nodes answer, the address that they share does not."""
    assert list(said(context({}), "api-vip")) == [f"address {VIP}"]
    answers = Answers(open={f"{NODES['k8s-1']}:6443", f"{VIP}:6443"})
    assert said(context({}, answers), "api-vip") == {}


def test_an_mtu_that_spread_from_tailscale0() -> None:
    """The devices that Cilium was told to take explain it."""
    metrics = 'node_network_mtu_bytes{{device="enp87s0"}} 1500\nnode_network_mtu_bytes{{device="cilium_host"}} {}\n'
    metrics += 'node_network_mtu_bytes{{device="cilium_net"}} 1500\n'
    mtus = dict(zip(NODES.values(), (1500, 1280, 1500), strict=True))
    pages = {f"{address}:9100": Answer(200, {}, 0.1, metrics.format(mtu)) for address, mtu in mtus.items()}
    config = {"/api/v1/namespaces/kube-system/configmaps/cilium-config": {"data": {"devices": "enp+ tailscale0"}}}
    (root,) = [c for c in causes(context(config, Answers(pages=pages)), "mtu", "datapath") if list(c)]
    assert root.finding.subject == "cilium-config devices"
    assert [(issue.finding.subject, issue.finding.seen) for issue in root] == [("MTU on k8s-2", "cilium_host has 1280")]


def test_a_kube_proxy_that_runs_still() -> None:
    """And agents that do not answer in its place."""
    healthy = {f"{address}:10256": Answer(200, {}, 0.1) for address in NODES.values()}
    assert said(context({}, Answers(pages=healthy)), "kube-proxy") == {}
    proxies = [pod("kube-system/kube-proxy-x1", {"k8s-app": "kube-proxy"}, on="k8s-2")]
    pages = healthy | {f"{NODES['k8s-3']}:10256": Answer(503, {}, 0.1)}
    found = said(context({PODS: proxies}, Answers(pages=pages)), "kube-proxy")
    assert found["kube-proxy"] == "pod kube-system/kube-proxy-x1 runs on k8s-2"
    assert found["kube-proxy replacement on k8s-3"] == "port 10256 answers 503"


def test_names_on_the_lan() -> None:
    """Another address than the class's, or none at all."""
    ready = {DEPLOYMENTS: [deployment("network/k8s-gateway", 2, 2)]}
    right = Answers(names={(GATEWAY, WIKI): (INTERNAL,)})
    assert said(context(ready, right), "lan-dns") == {}
    wrong = Answers(names={(GATEWAY, WIKI): ("192.168.1.20",)})
    assert said(context(ready, wrong), "lan-dns") == {"LAN DNS": f"{WIKI} is 192.168.1.20"}
    assert "no answer over UDP" in causes(context(ready), "lan-dns")[0].finding.seen


def test_cluster_dns() -> None:
    """At the address that kubelets give out, by two pods, with the plugins that it takes."""
    corefile = {"data": {"Corefile": ".:53 { kubernetes cluster.local\n forward . /etc/resolv.conf\n ready }"}}
    service = {"spec": {"clusterIP": "10.96.0.10"}}
    objects = {
        "/api/v1/namespaces/kube-system/services/kube-dns": service,
        "/api/v1/namespaces/kube-system/configmaps/coredns": corefile,
        PODS: [pod(f"kube-system/coredns-{number}", KUBE_DNS) for number in range(2)],
    }
    name = "kubernetes.default.svc.cluster.local"
    healthy = Answers(names={("10.96.0.10", name): ("10.96.0.1",)})
    assert said(context(objects, healthy), "cluster-dns") == {}
    objects[PODS] = [pod("kube-system/coredns-0", KUBE_DNS), pod("kube-system/coredns-1", KUBE_DNS, ready=False)]
    service["spec"]["clusterIP"] = "10.43.0.10"
    corefile["data"]["Corefile"] = ".:53 { kubernetes cluster.local\n ready }"
    found = said(context(objects, Answers(names={("10.96.0.10", name): ("10.43.0.1",)})), "cluster-dns")
    assert found["Service kube-system/kube-dns"] == "is at 10.43.0.10"
    assert found["CoreDNS"].startswith("1 ready pods: coredns-1")
    assert found["Corefile"] == "has no plugin forward"
    assert found["cluster DNS"] == f"{name} is 10.43.0.1"


def test_requests_through_a_class_on_the_lan() -> None:
    """All is well: the certificate is for the host, by the class's authority, and the headers are there."""
    assert through_internal() == {}


SERVED = "certificate served by class internal"
ANSWER = "requests to class internal"


@pytest.mark.parametrize(
    ("served", "answer", "subject", "seen"),
    [
        (certificate(common_name=FAKE), {}, SERVED, "is the controller's own"),
        (certificate("*.example.com"), {}, SERVED, "is for *.example.com"),
        (certificate(WIKI, issuer="somebody"), {}, SERVED, "is signed by somebody"),
        (certificate(WIKI, days=-2), {}, SERVED, "expired on 2026-01-13"),
        (certificate(WIKI, days=20), {}, SERVED, "expires in 20 days, on 2026-02-04"),
        (None, {"headers": HEADERS | {"x-frame-options": "DENY"}}, ANSWER, "header X-Frame-Options is DENY"),
        (
            None,
            {"headers": {k: v for k, v in HEADERS.items() if not k.startswith("strict")}},
            ANSWER,
            "Strict-Transport-Security is missing",
        ),
        (None, {"status": 503}, ANSWER, "are answered with 503"),
        (None, {"seconds": 2.5}, ANSWER, "took 2500 ms"),
    ],
)
def test_a_fault_of_requests_on_the_lan(served: Any, answer: dict[str, Any], subject: str, seen: str) -> None:
    """Exactly one thing is said of each."""
    assert through_internal(served, **answer) == {subject: seen}


@pytest.mark.parametrize(("days", "status"), [(29, Status.WARNING), (7, Status.WARNING), (6, Status.CRITICAL)])
def test_the_last_days_of_a_certificate(days: int, status: Status) -> None:
    """A warning from 30 days on, critical below 7."""
    page = Answer(200, HEADERS, 0.1)
    answers = Answers(certificates={INTERNAL: certificate(WIKI, days=days)}, pages={f"{INTERNAL}:443": page})
    (found,) = causes(context({}, answers), "lan-requests")
    assert found.finding.status is status


def test_no_answer_on_the_lan_follows_from_a_controller_that_is_gone() -> None:
    """Whether its pods or the announcement of its address are missing."""
    objects = {DEPLOYMENTS: [deployment("network/internal-ingress-nginx-controller", 0, 0)]}
    (root,) = [cause for cause in causes(context(objects), "ingress-controllers", "lan-requests") if list(cause)][:1]
    assert root.finding.subject == "Deployment network/internal-ingress-nginx-controller"
    assert ANSWER in {issue.finding.subject for issue in root}


def test_answers_of_cloudflare() -> None:
    """Its own errors tell the cause; what another server answers on this network is no answer of Cloudflare."""
    pages = {
        "web.example.com:443": Answer(530, {"cf-ray": "8"}, 0.1),
        "shop.example.com:443": Answer(200, {"server": "nginx"}, 0.1),
    }
    (found,) = results(context({}, Answers(pages=pages)), "public-requests")
    by_subject = {finding.subject: finding for finding in found.findings}
    assert by_subject["requests to web.example.com"].seen.startswith("530: Cloudflare finds no tunnel")
    assert by_subject["requests to shop.example.com"].status is Status.UNKNOWN
    pages["web.example.com:443"] = Answer(302, {"cf-ray": "8"}, 0.1)
    assert said(context({}, Answers(pages=pages)), "public-requests") == {}


def test_what_policies_deny_is_denied() -> None:
    """A connection that succeeds is a fault; one that fails proves something only while another one succeeds."""
    dns_pod = pod("kube-system/coredns-0", KUBE_DNS, podIP="10.244.0.2")
    web = pod("production/web-1", {"app": "web"}, podIP="10.244.1.7")
    web["spec"]["containers"][0]["ports"] = [{"containerPort": 8080}]
    objects, lan = {PODS: [dns_pod, web]}, {f"{NODES['k8s-1']}:6443"}
    (open_,) = causes(context(objects, Answers(open=lan | {"10.244.0.2:53", "10.244.1.7:8080"})), "enforcement")
    assert open_.finding.seen == "a connection from here to production/web-1 port 8080 succeeds"
    (denied,) = results(context(objects, Answers(open=lan | {"10.244.0.2:53"})), "enforcement")
    (unrouted,) = results(context(objects, Answers(open=lan)), "enforcement")
    assert (denied.status, unrouted.status) == (Status.HEALTHY, Status.UNKNOWN)


def test_agents_near_their_memory_limit() -> None:
    """At the shares of the alerts."""

    def usage(memory: str) -> dict[str, Any]:
        containers = [{"name": "cilium-agent", "usage": {"cpu": "100m", "memory": memory}}]
        return {
            "/apis/metrics.k8s.io/v1beta1/namespaces/kube-system/pods": [
                {"metadata": {"name": "cilium-x"}, "containers": containers}
            ]
        }

    assert said(context(usage("1024Mi")), "agent-memory") == {}
    (mild,) = causes(context(usage("2100Mi")), "agent-memory")
    (high,) = causes(context(usage("3200Mi")), "agent-memory")
    assert (mild.finding.status, high.finding.status) == (Status.WARNING, Status.CRITICAL)
    assert mild.finding.seen == "uses 59% of its memory limit 3584Mi"


def test_sessions_with_routers() -> None:
    """Where addresses are announced by BGP."""
    change = {
        "loadBalancer": {
            "l2": {"enabled": False},
            "bgp": {"localAsn": 64513, "peers": {"router": {"address": "192.168.1.1", "asn": 64512}}},
        }
    }
    sessions = [
        {
            "metadata": {"name": name},
            "status": {"bgpInstances": [{"peers": [{"name": "router", "peeringState": state}]}]},
        }
        for name, state in (("k8s-1", "established"), ("k8s-2", "active"))
    ]
    settings = shipped_settings(change)
    found = said(context({"/apis/cilium.io/v2/ciliumbgpnodeconfigs": sessions}, settings=settings), "announcements")
    assert found == {
        "BGP session of k8s-2 with router": "active",
        "BGP session of k8s-3 with router": "no session",
    }


def test_what_controllers_should_have_written_is_missed_where_they_run() -> None:
    """What is unknown of simulated pods is a fault of real ones."""
    ca = {"spec": {"secretName": "internal-tls", "issuerRef": {"name": "ca-issuer"}}}
    ingress = {
        "metadata": {"namespace": "production", "name": "wiki"},
        "spec": {"ingressClassName": "internal", "rules": []},
    }
    objects = {
        "/apis/cert-manager.io/v1/certificates": [{"metadata": {"namespace": "network", "name": "internal-tls"}, **ca}],
        "/apis/tailscale.com/v1alpha1/connectors/lan": {"metadata": {"name": "lan"}},
        "/apis/networking.k8s.io/v1/ingresses": [ingress],
        "/apis/cilium.io/v2/ciliumnodes": [],
    }
    found = said(context(objects), "certificates", "tailscale", "ingresses", "cilium")
    assert found["Certificate network/internal-tls"] == "is not ready: cert-manager has not looked at it"
    assert found["Connector lan"] == "is not ready: the operator has not looked at it"
    assert found["Ingress production/wiki"] == "has no address: its controller has not taken it"
    assert found["CiliumNode k8s-1"] == "has no address"


def test_containers_that_keep_restarting() -> None:
    """Within the last hour, in the network's own namespaces."""
    ended = {"finishedAt": (NOW - timedelta(minutes=5)).isoformat(), "reason": "OOMKilled"}
    long_ago = ended | {"finishedAt": (NOW - timedelta(days=3)).isoformat()}
    pods = [
        pod(
            f"{place}/p", {}, containerStatuses=[{"name": "main", "restartCount": 4, "lastState": {"terminated": when}}]
        )
        for place, when in (("production", ended), ("kube-system", ended), ("network", long_ago))
    ]
    found = said(context({PODS: pods}), "restarts")
    assert list(found) == ["pod kube-system/p"]
    assert found["pod kube-system/p"].endswith("OOMKilled")


def test_the_prober_asks_real_servers(tmp_path: Path, servers: dict[str, int]) -> None:
    """TLS with the name of the host, a page with its headers, a name over UDP; and a closed port is told as such."""
    prober = Prober(timeout=2)
    assert prober.certificate("127.0.0.1", "web.example.com", servers["https"]).not_valid_after_utc > datetime.now(UTC)
    answer = prober.get("127.0.0.1", "/where", "web.example.com", port=servers["https"])
    assert (answer.status, answer.headers["x-asked"]) == (418, "web.example.com /where")
    prober.connect("127.0.0.1", servers["https"])
    assert prober.resolve("web.example.com", "127.0.0.1", port=servers["dns"]) == ("192.168.1.103",)
    with pytest.raises(ProbeError) as closed:
        prober.connect("127.0.0.1", 1)
    assert closed.value.refused


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, int]]:
    """Ports of an HTTPS server and a name server on loopback."""
    pem = tmp_path / "server.pem"
    pem.write_bytes(issued("web.example.com", now=datetime.now(UTC))[1])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)

    class Web(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(418)
            self.send_header("X-Asked", f"{self.headers['Host']} {self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Names(BaseRequestHandler):
        def handle(self) -> None:
            data, socket = self.request
            query = dns.message.from_wire(data)
            reply = dns.message.make_response(query)
            reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.168.1.103"))
            socket.sendto(reply.to_wire(), self.client_address)

    web, names = HTTPServer(("127.0.0.1", 0), Web), UDPServer(("127.0.0.1", 0), Names)
    web.socket = tls.wrap_socket(web.socket, server_side=True)
    for server in (web, names):
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield {"https": web.server_port, "dns": names.server_address[1]}
    for server in (web, names):
        server.shutdown()
        server.server_close()
