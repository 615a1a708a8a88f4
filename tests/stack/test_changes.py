"""Day-two changes: one value edited, and which resources of the running stack that is about, by which operation."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from rehearsal.accounts.store import Accounts, Record
from tests.support.configs import merged
from tests.support.control_plane import ControlPlane
from tests.support.engine import Plan, Stack, Step
from tests.support.live import connector_token, shipped, small

pytestmark = pytest.mark.cluster

TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"
ROTATED = base64.b64encode(b"another secret of thirty-two byte").decode()
STATUS_OF_NODE = "/api/v1/nodes/k8s-3/status"


def plan_of(stack: Stack, change: dict[str, Any]) -> Plan:
    stack.configure(shipped(change))
    return stack.preview()


def step(plan: Plan, name: str) -> Step:
    (found,) = [each for each in plan.steps.values() if each.name == name]
    return found


def test_body_size_is_one_value_of_one_release(stack: Stack) -> None:
    plan = plan_of(stack, {"ingress": {"classes": {"internal": {"tuning": {"clientMaxBodySize": "60m"}}}}})
    assert plan.operations() == {"internal-release": "update"}
    assert step(plan, "internal-release").changed == ("values.controller.config.proxy-body-size",)


def test_controller_value_is_a_replacement_of_the_class(stack: Stack) -> None:
    plan = plan_of(stack, {"ingress": {"classes": {"internal": {"controllerValue": "k8s.io/lan"}}}})
    operations = plan.operations()
    assert operations["internal-release"] == "update"
    assert "replace" in operations["internal-class"]
    assert "external-class" not in operations


def test_ingress_class_is_its_release_and_what_belongs_to_it(stack: Stack) -> None:
    plan = plan_of(stack, {"ingress": {"classes": {"guests": {"serviceType": "ClusterIP"}}}})
    operations = plan.operations()
    created = {name for name, operation in operations.items() if operation == "create"}
    assert created == {"guests-class", "guests-release", "guests-admission-scope"}
    # With the Prometheus operator's kinds at hand, its alerts and panels come along.
    assert operations.keys() - created <= {"monitoring-dashboard", "monitoring-network-alerts"}


def test_internal_address_moves_with_its_route_into_the_tailnet(stack: Stack) -> None:
    plan = plan_of(stack, {"loadBalancer": {"addresses": {"internal": "192.168.1.105"}}})
    assert plan.operations() == {
        "internal-release": "update",
        "tailscale-connector-lan": "update",
        "cilium-loadbalancerippool-reserved-internal": "update",
        "cilium-loadbalancerippool-lan": "update",
    }
    annotation = 'values.controller.service.annotations["lbipam.cilium.io/ips"]'
    assert step(plan, "internal-release").changed == (annotation,)
    assert step(plan, "tailscale-connector-lan").changed == ("spec.subnetRouter.advertiseRoutes[1]",)


def test_added_node_is_itself_alone(stack: Stack) -> None:
    worker = {"k8s-4": {"address": "192.168.1.97", "mac": "58:47:ca:00:00:04", "role": "worker"}}
    assert plan_of(stack, {"physical": {"nodes": worker}}).operations() == {"nodes-k8s-4": "create"}


def test_readdressed_node_is_its_annotation(stack: Stack, cluster: ControlPlane) -> None:
    """After the machine has the new address: before, the update would stop (test_cluster.py)."""
    report(cluster, "192.168.1.96")
    try:
        plan = plan_of(stack, {"physical": {"nodes": {"k8s-3": {"address": "192.168.1.96"}}}})
    finally:
        report(cluster, "192.168.1.100")
    assert plan.operations() == {"nodes-k8s-3": "update"}
    assert step(plan, "nodes-k8s-3").changed == ('metadata.annotations["network.anton/address"]',)


def report(cluster: ControlPlane, address: str) -> None:
    """Let the node k8s-3 report an InternalIP."""
    cluster.request("PATCH", STATUS_OF_NODE, {"status": {"addresses": [{"type": "InternalIP", "address": address}]}})


def test_application_is_its_ingress_and_its_flow(stack: Stack) -> None:
    news = {"ingressClass": "external", "namespace": "production", "port": 80}
    assert plan_of(stack, {"applications": {"news": news}}).operations() == {
        "applications-news": "create",
        "policies-production-accept-ingress-news": "create",
    }


def test_application_moved_behind_a_login_is_guarded_before_it_is_named(stack: Stack) -> None:
    assert plan_of(stack, {"applications": {"shop": {"access": ["staff"]}}}).operations() == {
        "cloudflare-access-application-shop": "create",
        # Hosts behind a login are left out of the blocked paths and of the caches.
        "cloudflare-zone-http_request_firewall_custom": "update",
        "cloudflare-zone-http_request_cache_settings": "update",
    }


def test_default_deny_in_another_namespace_brings_its_allows_along(stack: Stack) -> None:
    plan = plan_of(stack, {"networkPolicies": {"namespaces": {"staging": {"create": True}}}})
    created = plan.operations()
    assert set(created.values()) == {"create"}
    assert {name.removeprefix("policies-staging-") for name in created} >= {"default-deny-all", "allow-dns"}


def test_monitoring_switched_off_removes_its_objects_and_nothing_else(stack: Stack) -> None:
    if not shipped()["monitoring"]["enabled"]:
        pytest.skip("no ../shared/crds: the Prometheus operator's kinds are not here")
    operations = plan_of(stack, {"monitoring": {"enabled": False}}).operations()
    deleted = {name for name, operation in operations.items() if operation == "delete"}
    assert deleted == {
        "monitoring-cloudflared",
        "monitoring-network-alerts",
        "monitoring-dashboard",
        "discovery-k8s-gateway-monitor",
    }
    assert {operation for name, operation in operations.items() if name not in deleted} == {"update"}


def test_rotated_tunnel_secret_keeps_the_tunnel_and_restarts_its_connectors(
    stack: Stack, cluster: ControlPlane
) -> None:
    before = tunnel(stack)
    stack.run("config", "set", "--secret", "cloudflareTunnelSecret", ROTATED, *stack.own_file())
    stack.secrets = stack.written_secrets()
    # Cloudflare is asked for the token during the update: a plan knows the old one alone.
    assert plan_of(stack, {}).operations() == {"cloudflare-tunnel-tunnel": "update"}
    stack.command("up", "--yes", "--skip-preview")
    after = tunnel(stack)
    assert after.id == before.id, "with another id every name would lead nowhere for a while"
    assert after.inputs["tunnelSecret"] == ROTATED
    token = json.loads(base64.b64decode(connector_token(cluster)))
    assert token["s"] == ROTATED


def tunnel(stack: Stack) -> Record:
    with Accounts(Path(stack.environment["ANTON_ACCOUNTS"])).transaction() as account:
        (found,) = account.all(TUNNEL)
        return found


def test_cilium_upgrade_is_one_release_and_reaches_every_pod(small_stack: Stack, small_cluster: ControlPlane) -> None:
    """From 1.19.5 as docs/operations.md has it: `runningVersion` is the minor that runs."""
    assert versions_of_cilium(small_cluster) == {"v1.19.5"}
    small_stack.configure(merged(small(), {"charts": {"versions": {"cilium": "1.19.6"}}}))
    plan = small_stack.preview()
    assert plan.operations() == {"cilium-release": "update"}
    assert step(plan, "cilium-release").changed == ("chart", "version")
    small_stack.command("up", "--yes", "--skip-preview")
    assert versions_of_cilium(small_cluster) == {"v1.19.6"}


def versions_of_cilium(cluster: ControlPlane) -> set[str]:
    """The tags of the images of the agents that run; upstream's chart has a digest after them."""
    pods = cluster.get("/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dcilium")["items"]
    images = [container["image"] for pod in pods for container in pod["spec"]["containers"]]
    return {image.partition("@")[0].rpartition(":")[2] for image in images}
