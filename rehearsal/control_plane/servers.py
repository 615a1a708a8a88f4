"""A real control plane on loopback: etcd, API server, controllers, scheduler, kwok for nodes and pods, and LB-IPAM.

Everything lies in one folder: data, certificates, tokens, kubeconfig, logs and pid files. Nodes are fake and pods run
nothing, but objects, defaulting, admission, server-side apply, garbage collection and scheduling are the real thing.
"""

import base64
import json
import os
import secrets
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import yaml

from rehearsal.control_plane.ports import free_ports, is_free
from rehearsal.control_plane.processes import Processes

PROJECT = Path(__file__).resolve().parents[2]
STAGES = Path(__file__).with_name("kwok-stages.yaml")

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "load_balancer")
"""What runs, in the order of starting. LB-IPAM is a module of this package, the others are built by set-up."""

REQUIRED = (*PROGRAMS[:-1], "openssl")
"""Executables that must be there."""

CILIUM_DEFINITIONS = PROJECT / ".cache/cilium-crds.yaml"
"""What Cilium's operator would install, from set-up."""

CONTEXT = "rehearsal"
READY_SECONDS = 180
"""Usually 3; a machine can be busy with other things."""

PORT_ATTEMPTS = 3

ADVERTISED = "192.0.2.1"
"""What the Service `kubernetes` leads to, which nothing uses here: an address for documentation (RFC 5737).

Loopback is refused, and without one the API server takes that of the default route, which a machine need not have.
"""

_PORTS = ("etcd", "etcd-peers", "kube-apiserver")
_PORT_TAKEN = "address already in use"
_WEBHOOKS = "MutatingAdmissionWebhook,ValidatingAdmissionWebhook"


class ControlPlaneError(Exception):
    """The control plane can't be started, or does not do what it should."""


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


def find(name: str) -> str | None:
    """The path of a program that set-up provides or that the system has, or None."""
    return shutil.which(name, path=f"{PROJECT / '.cache/bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}")


def missing_programs() -> list[str]:
    """What a control plane needs and this machine lacks."""
    definitions = [] if CILIUM_DEFINITIONS.exists() else [CILIUM_DEFINITIONS.name]
    return [name for name in REQUIRED if find(name) is None] + definitions


class ControlPlane:
    """The control plane of a folder, running or not; only what `start` finds dead is started."""

    def __init__(
        self,
        folder: Path,
        pod_cidr: str = "10.244.0.0/16",
        service_cidr: str = "10.96.0.0/12",
        *,
        context: str = CONTEXT,
        calls_webhooks: bool = False,
    ) -> None:
        """`calls_webhooks` makes the API server ask admission webhooks, behind which no pod answers here."""
        self.folder = folder.absolute()
        self.pod_cidr = pod_cidr
        self.service_cidr = service_cidr
        self.context = context
        self.calls_webhooks = calls_webhooks
        self.kubeconfig = self.folder / "kubeconfig"
        self.processes = Processes(self.folder)

    @property
    def url(self) -> str:
        """Where the API server listens."""
        return f"https://127.0.0.1:{self._ports()['kube-apiserver']}"

    def start(self) -> list[str]:
        """Start what is not running, with the data that is there, and wait until the API server answers.

        Returns what had to be started. Raises ControlPlaneError with the program's last words when it does not come up.
        """
        if missing := missing_programs():
            raise ControlPlaneError(f"{', '.join(missing)} not found; `python3 toolchain/setup.py cluster` builds them")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write_secrets()
        if self._ports_are_taken():
            self._give_up_ports()
        dead = [name for name in PROGRAMS if not self.processes.find(name)]
        for attempt in range(PORT_ATTEMPTS):
            self._choose_ports()
            try:
                self._start_programs()
                break
            except ControlPlaneError:
                if attempt == PORT_ATTEMPTS - 1 or not self._lost_a_port():
                    raise
                self._give_up_ports()
        return dead

    def _start_programs(self) -> None:
        for name in PROGRAMS:
            if name == "kube-controller-manager":  # it and those after it need an API server that answers
                self._write_kubeconfig()
                self._wait_until_ready()
            self.processes.start(name, self._command(name))

    def _lost_a_port(self) -> bool:
        """Whether somebody took a port between its choice and its use."""
        return any(_PORT_TAKEN in self.processes.last_words(name) for name in ("etcd", "kube-apiserver"))

    def _give_up_ports(self) -> None:
        self.stop()
        self._file("ports.json").unlink(missing_ok=True)

    def running(self) -> dict[str, int | None]:
        """The process id of each program; None for one that does not run."""
        found = {name: self.processes.find(name) for name in PROGRAMS}
        return {name: process.pid if process else None for name, process in found.items()}

    def stop(self) -> None:
        """Stop everything, the API server before its etcd: without it, it would hang."""
        self._close()
        for name in reversed(PROGRAMS):
            self.processes.stop(name)

    def kill(self, program: str) -> None:
        """End a program (a name of PROGRAMS) as `kill -9` does."""
        self.processes.kill(program)

    def start_again(self, program: str) -> None:
        """Start a program that is dead on the same port with the same data, and wait until the API server answers."""
        self.processes.start(program, self._command(program))
        self._wait_until_ready()

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: str) -> dict[str, Any]:
        """The answer to a request, such as GET /api/v1/nodes/k8s-1. Raises ApiError when the server refuses it."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        content = None if body is None else json.dumps(body, default=str)
        answer = self._client.request(
            method, self.url + path, content=content, params=query or None, headers={"Content-Type": kind}
        )
        if answer.is_error:
            raise ApiError(answer.status_code, _message(answer))
        found: dict[str, Any] = answer.json()
        return found

    def get(self, path: str) -> dict[str, Any]:
        """The object or list at an API path."""
        return self.request("GET", path)

    def watch(self, path: str) -> Iterator[dict[str, Any]]:
        """The events of a list, those for the objects that are there first, until the server ends the watch."""
        with self._client.stream("GET", self.url + path, params={"watch": "1"}, timeout=None) as answer:
            if answer.is_error:
                answer.read()
                raise ApiError(answer.status_code, _message(answer))
            for line in answer.iter_lines():
                yield json.loads(line)

    def record_identity(self) -> None:
        """Remember which cluster this is."""
        if not self._file("identity").exists():
            _write(self._file("identity"), self._identity())

    def check_identity(self) -> None:
        """Make sure that kubeconfig and port lead to the cluster that was started here. Raises ControlPlaneError."""
        known = self._file("identity").read_text()
        named = yaml.safe_load(self.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        if named != self.url or self._identity() != known:
            raise ControlPlaneError(f"{self.kubeconfig} leads to another cluster than the one started here")

    def _identity(self) -> str:
        """The UID of the kube-system namespace, which no other cluster has."""
        return str(self.get("/api/v1/namespaces/kube-system")["metadata"]["uid"])

    def add_nodes(self, addresses: Mapping[str, str], macs: Mapping[str, str] | None = None) -> None:
        """Create Node objects that report the given InternalIP, and wait until all are ready. Those there stay."""
        for name, address in addresses.items():
            annotations = {"rehearsal/address": address}
            if mac := (macs or {}).get(name):
                annotations["rehearsal/mac"] = mac
            labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
            metadata = {"name": name, "annotations": annotations, "labels": labels}
            self.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        self.wait_for(lambda: all(_is_ready(node) for node in self.get("/api/v1/nodes")["items"]), "nodes ready")

    def add_definitions(self, text: str) -> None:
        """Create CRDs from a stream of YAML documents. Those there stay."""
        for document in filter(None, yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))):
            self.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", document)

    def add_cilium_definitions(self) -> None:
        """Create the CRDs that Cilium's operator would."""
        self.add_definitions(CILIUM_DEFINITIONS.read_text(encoding="utf-8"))

    def create(self, path: str, manifest: Mapping[str, Any]) -> None:
        """Create an object unless it exists."""
        try:
            self.request("POST", path, manifest)
        except ApiError as refused:
            if refused.status != httpx.codes.CONFLICT:
                raise

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float = 60) -> None:
        """Wait until a condition holds. Raises ControlPlaneError when it never does."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return
            time.sleep(0.1)
        raise ControlPlaneError(f"not within {seconds} s: {what}")

    @cached_property
    def _client(self) -> httpx.Client:
        """Trusts this server's certificate alone, and takes no proxy from the environment."""
        trust = ssl.create_default_context(cafile=str(self._certificate))
        headers = {"Authorization": f"Bearer {self._token()}"}
        return httpx.Client(verify=trust, headers=headers, timeout=30, trust_env=False)

    def _close(self) -> None:
        if client := self.__dict__.pop("_client", None):
            client.close()

    def _file(self, name: str) -> Path:
        return self.folder / name

    @property
    def _certificate(self) -> Path:
        return self.folder / "certificates/apiserver.crt"

    def _token(self) -> str:
        return self._file("tokens.csv").read_text().partition(",")[0]

    def _ports(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self._file("ports.json").read_text())
        return found

    def _choose_ports(self) -> None:
        if not self._file("ports.json").exists():
            _write(self._file("ports.json"), json.dumps(dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))))

    def _ports_are_taken(self) -> bool:
        """Whether somebody else listens where a program of ours, now dead, did."""
        try:
            ports = self._ports()
        except FileNotFoundError:
            return False
        owners = {"etcd-peers": "etcd"}
        return any(not is_free(port) for name, port in ports.items() if not self.processes.find(owners.get(name, name)))

    def _write_secrets(self) -> None:
        """The token and the key that signs service accounts, made once."""
        if not self._file("tokens.csv").exists():
            _write(self._file("tokens.csv"), f"{secrets.token_urlsafe(32)},admin,admin,system:masters\n")
        if not self._file("service-accounts.key").exists():
            openssl = find("openssl") or "openssl"
            command = [openssl, "genrsa", "2048"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - fixed arguments
            _write(self._file("service-accounts.key"), done.stdout)

    def _write_kubeconfig(self) -> None:
        """Names this server and its certificate alone. The API server makes the certificate at its first start."""
        self._wait_while_starting(self._certificate.exists)
        authority = base64.b64encode(self._certificate.read_bytes()).decode()
        cluster = {"server": self.url, "certificate-authority-data": authority}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": self.context, "cluster": cluster}],
            "users": [{"name": self.context, "user": {"token": self._token()}}],
            "contexts": [{"name": self.context, "context": {"cluster": self.context, "user": self.context}}],
            "current-context": self.context,
        }
        text = yaml.safe_dump(document)
        if not self.kubeconfig.exists() or self.kubeconfig.read_text() != text:
            _write(self.kubeconfig, text)

    def _wait_until_ready(self) -> None:
        self._wait_while_starting(self._answers)

    def _answers(self) -> bool:
        """Whether the server is healthy, which the controller manager would wait 10 s for, and has its namespaces."""
        try:
            healthy = self._client.get(f"{self.url}/readyz").is_success
            self.get("/api/v1/namespaces/kube-system")
            self.get("/api/v1/namespaces/default")
        except (httpx.TransportError, ApiError):
            return False
        return healthy

    def _wait_while_starting(self, condition: Callable[[], bool]) -> None:
        """Wait for the API server, which waits for etcd. Raises ControlPlaneError as soon as one of them is gone."""
        deadline = time.monotonic() + READY_SECONDS
        while not condition():
            for name in ("etcd", "kube-apiserver"):
                if not self.processes.find(name):
                    raise ControlPlaneError(f"{name} ended at once:\n{self.processes.last_words(name)}")
            if time.monotonic() > deadline:
                said = self.processes.last_words("kube-apiserver")
                raise ControlPlaneError(f"the API server is not ready after {READY_SECONDS} s:\n{said}")
            time.sleep(0.1)

    def _command(self, name: str) -> list[str]:
        if name == "load_balancer":
            return [sys.executable, "-m", f"{__package__}.{name}", f"--kubeconfig={self.kubeconfig}"]
        flags = getattr(self, f"_flags_of_{name.removeprefix('kube-').replace('-', '_')}")()
        return [find(name) or name, *(f"--{flag}={value}" for flag, value in flags.items())]

    def _flags_of_etcd(self) -> dict[str, object]:
        ports = self._ports()
        url, peers = f"http://127.0.0.1:{ports['etcd']}", f"http://127.0.0.1:{ports['etcd-peers']}"
        return {
            "data-dir": self.folder / "etcd",
            "listen-client-urls": url,
            "advertise-client-urls": url,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"default={peers}",
            "unsafe-no-fsync": "true",
        }

    def _flags_of_apiserver(self) -> dict[str, object]:
        ports = self._ports()
        key = self._file("service-accounts.key")
        webhooks = {} if self.calls_webhooks else {"disable-admission-plugins": _WEBHOOKS}
        return {
            "etcd-servers": f"http://127.0.0.1:{ports['etcd']}",
            "secure-port": ports["kube-apiserver"],
            "bind-address": "127.0.0.1",
            "advertise-address": ADVERTISED,
            "cert-dir": self.folder / "certificates",
            "token-auth-file": self._file("tokens.csv"),
            "authorization-mode": "RBAC",
            "service-account-key-file": key,
            "service-account-signing-key-file": key,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-cluster-ip-range": self.service_cidr,
            "allow-privileged": "true",
            **webhooks,
        }

    def _flags_of_controller_manager(self) -> dict[str, object]:
        return {
            "kubeconfig": self.kubeconfig,
            "leader-elect": "false",
            "secure-port": "0",
            "service-account-private-key-file": self._file("service-accounts.key"),
            "root-ca-file": self._certificate,
            "allocate-node-cidrs": "true",
            "cluster-cidr": self.pod_cidr,
            "use-service-account-credentials": "false",
            # Fake nodes never fail. On a machine that stands still for a minute their leases would seem to have ended,
            # and kwok makes pods ready once only: they would be unready for ever.
            "node-monitor-grace-period": "8760h",
        }

    def _flags_of_scheduler(self) -> dict[str, object]:
        return {"kubeconfig": self.kubeconfig, "leader-elect": "false", "secure-port": "0"}

    def _flags_of_kwok(self) -> dict[str, object]:
        return {
            "kubeconfig": self.kubeconfig,
            "manage-all-nodes": "true",
            "node-lease-duration-seconds": "40",
            "config": STAGES,
        }


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError):
        return answer.text


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = node["status"].get("conditions", [])
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
