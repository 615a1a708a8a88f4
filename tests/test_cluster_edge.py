"""The edge layers on a real API server and local accounts: secrets, accepted objects, drift, and day-two plans."""

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rehearsal.accounts import Accounts, Record
from tests.configs import STAND_IN_SECRETS
from tests.control_plane import ControlPlane
from tests.engine import Stack
from tests.live import shipped

pytestmark = pytest.mark.cluster

DNS = "cloudflare:index/dnsRecord:DnsRecord"
TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"
ROTATED = base64.b64encode(b"another secret of thirty-two byte").decode()


@pytest.fixture(autouse=True)
def shipped_configuration(stack: Stack) -> Iterator[None]:
    """Every test starts from the shipped configuration, and leaves it."""
    stack.configure(shipped())
    yield
    stack.configure(shipped())


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


def connector_token(cluster: ControlPlane) -> str:
    """The token that the running connectors are given."""
    deployment = cluster.get("/apis/apps/v1/namespaces/network/deployments/cloudflared")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (source,) = [entry["valueFrom"]["secretKeyRef"] for entry in container["env"] if entry["name"] == "TUNNEL_TOKEN"]
    data = cluster.get(f"/api/v1/namespaces/network/secrets/{source['name']}")["data"]
    return base64.b64decode(data[source["key"]]).decode()


def test_connectors_get_the_token_of_the_tunnel(stack: Stack, cluster: ControlPlane) -> None:
    assert connector_token(cluster) == tunnel_token(stack)


def test_no_secret_is_in_plain_text_in_state_previews_logs_or_outputs(stack: Stack) -> None:
    said = {
        "state": stack.run("stack", "export", "--stack", "test").stdout,
        "first update": stack.first_update,
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


def test_every_manifest_is_kept_as_it_was_sent(stack: Stack, cluster: ControlPlane) -> None:
    """The API server drops fields that it does not know; what the program asked for must be there word for word."""
    exported = json.loads(stack.run("stack", "export", "--stack", "test").stdout)["deployment"]["resources"]
    compared = 0
    for resource in exported:
        inputs = resource.get("inputs", {})
        if resource["type"].endswith(("Patch", ":Release", ":Secret")) or not resource["type"].startswith(
            "kubernetes:"
        ):
            continue
        assert missing(resource["outputs"], inputs) == [], resource["urn"]
        compared += 1
    assert compared > 30


def missing(whole: Any, part: Any, path: str = "") -> list[str]:
    """The paths of what is in `part` and not, or not the same, in `whole`; Pulumi's own notes stay out."""
    if isinstance(part, dict) and isinstance(whole, dict):
        keys = [key for key in part if not key.startswith("__") and key != "pulumi.com/autonamed"]
        return [found for key in keys for found in missing(whole.get(key), part[key], f"{path}.{key}")]
    if isinstance(part, list) and isinstance(whole, list) and len(part) == len(whole):
        return [found for i, item in enumerate(part) for found in missing(whole[i], item, f"{path}[{i}]")]
    # Without the definition at hand the provider writes `default` into objects that have no namespace.
    return [] if whole == part or (path, part) == (".metadata.namespace", "default") else [path]


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


def test_record_changed_by_hand_is_found_and_put_right(stack: Stack) -> None:
    (record,) = [entry for entry in records(stack, DNS) if entry.inputs["name"] == "example.com"]
    with accounts(stack).transaction() as account:
        account.put(Record(record.type, record.scope, record.id, record.inputs | {"content": "elsewhere.example.org"}))
    plan = stack.preview("--refresh")
    assert plan.operations() == {"cloudflare-dns-host-example.com": "update"}
    stack.command("up", "--refresh", "--yes", "--skip-preview")
    (record,) = [entry for entry in records(stack, DNS) if entry.inputs["name"] == "example.com"]
    assert record.inputs["content"] == "external.example.com"


def test_rotated_tunnel_secret_keeps_the_tunnel_and_restarts_its_connectors(
    stack: Stack, cluster: ControlPlane
) -> None:
    (before,) = records(stack, TUNNEL)
    kept = dict(stack.secrets)
    stack.run("config", "set", "--secret", "cloudflareTunnelSecret", ROTATED, *stack.own_file())
    stack.secrets = stack.written_secrets()
    try:
        stack.configure(shipped())
        assert stack.preview().operations()["cloudflare-tunnel-tunnel"] == "update"
        stack.command("up", "--yes", "--skip-preview")
        (after,) = records(stack, TUNNEL)
        assert after.id == before.id, "with another id every name would lead nowhere for a while"
        assert after.inputs["tunnelSecret"] == ROTATED
        token = json.loads(base64.b64decode(connector_token(cluster)))
        assert token["s"] == ROTATED
    finally:
        stack.secrets = kept
        stack.configure(shipped())
        stack.command("up", "--yes", "--skip-preview")


def test_new_application_is_its_ingress_its_flow_and_nothing_else(stack: Stack) -> None:
    news = {"ingressClass": "external", "namespace": "production", "port": 80}
    stack.configure(shipped({"applications": {"news": news}}))
    assert stack.preview().operations() == {
        "applications-news": "create",
        "policies-production-accept-ingress-news": "create",
    }


def test_application_moved_behind_a_login_is_guarded_before_it_is_named(stack: Stack) -> None:
    stack.configure(shipped({"applications": {"shop": {"access": ["staff"]}}}))
    assert stack.preview().operations() == {
        "cloudflare-access-application-shop": "create",
        # Hosts behind a login are left out of the blocked paths and of the caches.
        "cloudflare-zone-http_request_firewall_custom": "update",
        "cloudflare-zone-http_request_cache_settings": "update",
    }


def test_default_deny_in_another_namespace_brings_its_allows_along(stack: Stack) -> None:
    stack.configure(shipped({"networkPolicies": {"namespaces": {"staging": {"create": True}}}}))
    created = stack.preview().operations()
    assert set(created.values()) == {"create"}
    assert {name.removeprefix("policies-staging-") for name in created} >= {"default-deny-all", "allow-dns"}


def test_monitoring_switched_off_removes_its_objects_and_nothing_else(stack: Stack) -> None:
    if not shipped()["monitoring"]["enabled"]:
        pytest.skip("no ../shared/crds: the Prometheus operator's kinds are not here")
    stack.configure(shipped({"monitoring": {"enabled": False}}))
    operations = stack.preview().operations()
    deleted = {name for name, operation in operations.items() if operation == "delete"}
    assert deleted == {
        "monitoring-cloudflared",
        "monitoring-network-alerts",
        "monitoring-dashboard",
        "discovery-k8s-gateway-monitor",
    }
    assert {operation for name, operation in operations.items() if name not in deleted} == {"update"}
