"""A real control plane on loopback for tests: etcd, API server, controllers, scheduler, and kwok for nodes and pods.

Everything lies in one folder and dies with `stop`. Nodes are fake and pods run nothing, but objects, defaulting,
admission, server-side apply, garbage collection and scheduling are the real thing.
"""

import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.configs import PROJECT
from tests.tools import find, free_port

TOKEN = "for-this-control-plane-only"  # noqa: S105 - made for a server that lives for one test run on loopback
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "cilium-crds")
CONTEXT = "admin@anton"
WEBHOOKS = "MutatingAdmissionWebhook,ValidatingAdmissionWebhook"
UNVERIFIED = ssl._create_unverified_context()  # noqa: S323 - the server signs for itself, on loopback


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


def require_control_plane() -> None:
    """Skip the test where a program of the control plane is not here, and say which."""
    missing = [name for name in (*PROGRAMS, "openssl") if find(name) is None]
    if missing:
        pytest.skip(f"no control plane: {', '.join(missing)} not found; `make test` builds them")


class ControlPlane:
    """A running control plane with its kubeconfig."""

    def __init__(
        self,
        folder: Path,
        pod_cidr: str = "10.244.0.0/16",
        service_cidr: str = "10.96.0.0/12",
        *,
        calls_webhooks: bool = False,
    ) -> None:
        """Start it; `calls_webhooks` makes the API server ask admission webhooks, behind which no pod answers here."""
        self.folder = folder
        self.calls_webhooks = calls_webhooks
        self.kubeconfig = folder / "kubeconfig"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.url = f"https://127.0.0.1:{free_port()}"
        try:
            self._start(pod_cidr, service_cidr)
        except BaseException:
            self.stop()
            raise

    def _start(self, pod_cidr: str, service_cidr: str) -> None:
        etcd = self._start_etcd()
        key = self.folder / "service-accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        (self.folder / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")
        port = self.url.rsplit(":", 1)[1]
        self._run(
            "kube-apiserver",
            {
                "etcd-servers": etcd,
                "secure-port": port,
                "bind-address": "127.0.0.1",
                "cert-dir": self.folder / "certificates",
                "token-auth-file": self.folder / "tokens.csv",
                "authorization-mode": "RBAC",
                "service-account-key-file": key,
                "service-account-signing-key-file": key,
                "service-account-issuer": "https://kubernetes.default.svc",
                "service-cluster-ip-range": service_cidr,
                "allow-privileged": "true",
            }
            | ({} if self.calls_webhooks else {"disable-admission-plugins": WEBHOOKS}),
        )
        self._write_kubeconfig()
        self._wait_until_ready()
        common = {"kubeconfig": self.kubeconfig, "leader-elect": "false", "secure-port": "0"}
        self._run(
            "kube-controller-manager",
            common
            | {
                "service-account-private-key-file": key,
                "root-ca-file": self.folder / "certificates/apiserver.crt",
                "allocate-node-cidrs": "true",
                "cluster-cidr": pod_cidr,
                "use-service-account-credentials": "false",
            },
        )
        self._run("kube-scheduler", common)
        stages = PROJECT / "tests/kwok-stages.yaml"
        self._run(
            "kwok",
            {
                "kubeconfig": self.kubeconfig,
                "manage-all-nodes": "true",
                "node-lease-duration-seconds": "40",
                "config": stages,
            },
        )

    def _start_etcd(self) -> str:
        url, peers = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
        self._run(
            "etcd",
            {
                "data-dir": self.folder / "etcd",
                "listen-client-urls": url,
                "advertise-client-urls": url,
                "listen-peer-urls": peers,
                "initial-advertise-peer-urls": peers,
                "initial-cluster": f"default={peers}",
                "unsafe-no-fsync": "true",
            },
        )
        return url

    def _run(self, program: str, flags: Mapping[str, object]) -> None:
        found = find(program)
        assert found, program
        log = (self.folder / f"{program}.log").open("wb")
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        self.processes.append(subprocess.Popen([found, *arguments], stdout=log, stderr=subprocess.STDOUT))

    def _write_kubeconfig(self) -> None:
        cluster = {"server": self.url, "insecure-skip-tls-verify": True}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "anton", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": TOKEN}}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": "anton", "user": "admin"}}],
            "current-context": CONTEXT,
        }
        self.kubeconfig.write_text(yaml.safe_dump(document))

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self.get("/api/v1/namespaces/default")
            except (OSError, ApiError):
                time.sleep(0.2)
            else:
                return
        log = (self.folder / "kube-apiserver.log").read_text()[-2000:]
        raise AssertionError(f"the API server is not ready after 60 s:\n{log}")

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a request, such as GET /api/v1/nodes/k8s-1. Raises ApiError when the server refuses it."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body, default=str).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, context=UNVERIFIED, timeout=30) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as refused:
            raise ApiError(refused.code, json.load(refused)["message"]) from None

    def get(self, path: str) -> dict[str, Any]:
        """The object or list at an API path."""
        return self.request("GET", path)

    def add_nodes(self, addresses: Mapping[str, str]) -> None:
        """Create Node objects that report the given InternalIP, and wait until all are ready."""
        for name, address in addresses.items():
            labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
            metadata = {"name": name, "annotations": {"rehearsal/address": address}, "labels": labels}
            self.request("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        self.wait_for(lambda: all(_is_ready(node) for node in self.get("/api/v1/nodes")["items"]), "nodes ready")

    def add_definitions(self, text: str) -> None:
        """Create CRDs from a stream of YAML documents."""
        for document in filter(None, yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))):
            self.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", document)

    def add_cilium_definitions(self) -> None:
        """Create the CRDs that Cilium's operator would."""
        program = find("cilium-crds")
        assert program
        self.add_definitions(subprocess.run([program], capture_output=True, text=True, check=True).stdout)

    def wait_for(self, condition: Any, what: str, seconds: float = 60) -> None:
        """Wait until a condition holds; fails the test when it never does."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return
            time.sleep(0.3)
        raise AssertionError(f"not within {seconds} s: {what}")

    def stop(self) -> None:
        """Stop everything, the API server before its etcd: without it, it would hang."""
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = node["status"].get("conditions", [])
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
