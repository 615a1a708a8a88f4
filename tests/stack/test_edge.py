"""The edge layers on a real API server and local accounts: secrets, pods, names and classes."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from rehearsal.accounts.store import Accounts, Record
from tests.support.configs import STAND_IN_SECRETS
from tests.support.control_plane import ControlPlane
from tests.support.engine import Stack
from tests.support.live import connector_token
from tests.support.network import Network

pytestmark = pytest.mark.cluster

DNS = "cloudflare:index/dnsRecord:DnsRecord"
TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"


def accounts(stack: Stack) -> Accounts:
    return Accounts(Path(stack.environment["ANTON_ACCOUNTS"]))


def records(stack: Stack, type_: str) -> list[Record]:
    """What exists of a type in the local accounts."""
    with accounts(stack).transaction() as account:
        return account.all(type_)


def tunnel_token(stack: Stack) -> str:
    """The connectors' token as Cloudflare makes it: base64 of account, tunnel and secret."""
    (tunnel,) = records(stack, TUNNEL)
    parts = {"a": tunnel.inputs["accountId"], "t": tunnel.id, "s": STAND_IN_SECRETS["cloudflareTunnelSecret"]}
    return base64.b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode()


def forms(secret: str) -> list[str]:
    """A secret as it would stand in a text: itself, and in base64 as Kubernetes Secrets have it."""
    return [secret, base64.b64encode(secret.encode()).decode()]


def test_connectors_get_the_token_of_the_tunnel(stack: Stack, cluster: ControlPlane) -> None:
    assert connector_token(cluster) == tunnel_token(stack)


def test_no_secret_is_in_plain_text_in_state_previews_logs_or_outputs(network: Network) -> None:
    stack = network.stack
    said = {
        "state": stack.run("stack", "export", "--stack", "test").stdout,
        "first update": network.first_update,
        "preview": "".join(streams(stack.command("preview", "--diff"))),
        "preview as JSON": stack.command("preview", "--json").stdout,
        "log": "".join(streams(stack.command("preview", "--logtostderr", "-v=7"))),
        "outputs": stack.run("stack", "output", "--json", "--stack", "test").stdout,
        "state file": "".join(path.read_text() for path in stack.folder.glob("state/.pulumi/stacks/**/*.json")),
    }
    assert "cloudflared" in said["state"]
    for where, text in said.items():
        assert len(text) > 100, f"nothing was searched in {where}"
        for key, secret in {**STAND_IN_SECRETS, "token of the tunnel": tunnel_token(stack)}.items():
            assert not [form for form in forms(secret) if form in text], f"{key} is in plain text in {where}"


def streams(done: Any) -> tuple[str, str]:
    return done.stdout, done.stderr


def test_no_secret_is_in_helms_own_records(stack: Stack, cluster: ControlPlane) -> None:
    """Helm keeps every release, values included, in a Secret that is easily read."""
    found = cluster.get("/api/v1/secrets?fieldSelector=type%3Dhelm.sh/release.v1")["items"]
    assert len(found) >= 7
    for secret in found:
        release = gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))).decode()
        for key, value in STAND_IN_SECRETS.items():
            assert not [form for form in forms(value) if form in release], f"{key} is in {secret['metadata']['name']}"


def test_secrets_stand_in_exactly_the_kubernetes_secrets_meant_for_them(stack: Stack, cluster: ControlPlane) -> None:
    places: dict[str, set[str]] = {}
    for secret in cluster.get("/api/v1/secrets")["items"]:
        for value in secret.get("data", {}).values():
            for key, wanted in {**STAND_IN_SECRETS, "token": tunnel_token(stack)}.items():
                if base64.b64decode(value) == wanted.encode():
                    name = secret["metadata"]["name"].rpartition("-")[0] or secret["metadata"]["name"]
                    places.setdefault(f"{secret['metadata']['namespace']}/{name}", set()).add(key)
    assert {key for found in places.values() for key in found} == {
        "externalDnsApiToken",
        "certManagerApiToken",
        "tailscaleOperatorClientId",
        "tailscaleOperatorClientSecret",
        "token",
    }, "the program's own credentials have no business in the cluster"
    assert all(len({key.removesuffix("Id").removesuffix("Secret") for key in found}) == 1 for found in places.values())


def test_pod_security_lets_every_pod_of_the_network_run(stack: Stack, cluster: ControlPlane) -> None:
    """The API server enforces the levels of the namespaces; a refused pod would leave its workload short."""
    for kind in ("deployments", "daemonsets"):
        for workload in cluster.get(f"/apis/apps/v1/{kind}")["items"]:
            status = workload["status"]
            wanted = status.get("desiredNumberScheduled", workload["spec"].get("replicas"))
            ready = status.get("numberReady", status.get("readyReplicas", 0))
            assert ready == wanted, workload["metadata"]["name"]
    levels = {
        entry["metadata"]["name"]: entry["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
        for entry in cluster.get("/api/v1/namespaces")["items"]
    }
    assert levels["cert-manager"] == "restricted"
    assert levels["network"] == levels["production"] == "baseline"


def test_public_names_lead_to_the_tunnel(stack: Stack) -> None:
    (tunnel,) = records(stack, TUNNEL)
    found = {record.inputs["name"]: record.inputs["content"] for record in records(stack, DNS)}
    assert found == {
        "external.example.com": f"{tunnel.id}.cfargotunnel.com",
        "example.com": "external.example.com",
    }, "names of applications are external-dns's"


def test_spec_ingress_classes_are_the_three_of_the_specification(stack: Stack, cluster: ControlPlane) -> None:
    classes = cluster.get("/apis/networking.k8s.io/v1/ingressclasses")["items"]
    assert {entry["metadata"]["name"]: entry["spec"] for entry in classes} == {
        "external": {"controller": "k8s.io/external"},
        "internal": {"controller": "k8s.io/internal"},
        "tailscale": {"controller": "tailscale.com/ts-ingress"},
    }
    default = "ingressclass.kubernetes.io/is-default-class"
    assert not [entry for entry in classes if default in entry["metadata"].get("annotations", {})]
