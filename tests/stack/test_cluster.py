"""The shipped stack on a real API server: `up` from nothing, nothing to do afterwards, webhooks, and `destroy`."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.api_objects import Object, Objects
from tests.support.configs import charts_folder
from tests.support.control_plane import CONTEXT, ApiError, ControlPlane
from tests.support.engine import Stack
from tests.support.live import shipped
from tests.support.network import Network

pytestmark = pytest.mark.cluster


def test_up_from_nothing_fails_nowhere_and_the_next_has_nothing_to_do(network: Network) -> None:
    first = network.first_update
    assert re.search(r"^Resources:\n    \+ \d+ created\n\n", first, re.MULTILINE), first[-500:]
    assert "**failed**" not in first
    said = network.stack.command("up", "--yes", "--skip-preview", "--expect-no-changes").stdout
    assert re.search(r"^Resources:\n    \d+ unchanged\n\n", said, re.MULTILINE), said[-500:]


def test_refresh_finds_no_drift(stack: Stack) -> None:
    assert stack.preview("--refresh", "--expect-no-changes").operations() == {}


def test_nodes_carry_what_the_inventory_says(stack: Stack, cluster: ControlPlane) -> None:
    metadata = cluster.get("/api/v1/nodes/k8s-2")["metadata"]
    assert metadata["labels"]["network.anton/role"] == "control-plane"
    assert metadata["annotations"]["network.anton/mac-address"] == "58:47:ca:79:78:ba"
    managers = {entry["manager"] for entry in metadata["managedFields"] if entry["operation"] == "Apply"}
    assert managers == {"anton-network"}


def test_update_stops_at_a_node_with_another_address_and_touches_nothing(stack: Stack, cluster: ControlPlane) -> None:
    change = {
        "physical": {"nodes": {"k8s-2": {"address": "192.168.1.90"}}},
        "ingress": {"classes": {"internal": {"tuning": {"clientMaxBodySize": "61m"}}}},
    }
    stack.configure(shipped(change))
    done = stack.command("up", "--yes", "--skip-preview", check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "node k8s-2: Kubernetes reports InternalIP 192.168.1.99" in said
    assert "declares 192.168.1.90" in said
    config = cluster.get("/api/v1/namespaces/network/configmaps/internal-ingress-nginx-controller")["data"]
    assert config["proxy-body-size"] == "50m", "nothing behind the nodes may have been applied"


def test_pool_and_announcement_are_accepted_by_their_definitions(stack: Stack, cluster: ControlPlane) -> None:
    pool = cluster.get("/apis/cilium.io/v2/ciliumloadbalancerippools/lan")
    assert pool["spec"]["blocks"] == [{"start": "192.168.1.105", "stop": "192.168.1.110"}]
    own = cluster.get("/apis/cilium.io/v2/ciliumloadbalancerippools/reserved-internal")["spec"]
    assert own["blocks"] == [{"start": "192.168.1.103", "stop": "192.168.1.103"}]
    assert own["serviceSelector"]["matchLabels"] == {
        "io.kubernetes.service.namespace": "network",
        "io.kubernetes.service.name": "internal-ingress-nginx-controller",
    }
    policy = cluster.get("/apis/cilium.io/v2alpha1/ciliuml2announcementpolicies/load-balancer")
    assert policy["spec"]["interfaces"] == ["^enp87s0$"]


def test_controllers_run_one_a_node(stack: Stack, cluster: ControlPlane) -> None:
    for release in ("external-ingress-nginx", "internal-ingress-nginx"):
        selector = f"app.kubernetes.io/instance={release},app.kubernetes.io/component=controller"
        pods = cluster.get(f"/api/v1/namespaces/network/pods?labelSelector={quote(selector)}")["items"]
        assert len(pods) == 2
        assert len({pod["spec"]["nodeName"] for pod in pods}) == 2


def ingress(ingress_class: str | None, annotations: dict[str, str]) -> dict[str, Any]:
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "app", "port": {"number": 80}}}}
    spec: dict[str, Any] = {"rules": [{"host": "app.example.com", "http": {"paths": [path]}}]}
    if ingress_class:
        spec["ingressClassName"] = ingress_class
    metadata = {"name": "app", "annotations": annotations}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


OLD_ANNOTATION = "kubernetes.io/ingress.class"


@pytest.fixture(scope="module")
def admitting(stack: Stack, cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server that asks the webhooks of the two controllers."""
    plane = ControlPlane(tmp_path_factory.mktemp("admitting"), calls_webhooks=True)
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    try:
        for name in ("external", "internal"):
            found = cluster.get(f"{path}/{name}-ingress-nginx-admission")
            kept = {key: found[key] for key in ("apiVersion", "kind", "webhooks")}
            plane.request("POST", path, kept | {"metadata": {"name": found["metadata"]["name"]}})
        yield plane
    finally:
        plane.stop()


@pytest.mark.parametrize(
    ("ingress_class", "annotations", "asked"),
    [
        ("external", {}, {"external"}),
        ("internal", {"some": "other"}, {"internal"}),
        ("tailscale", {}, set()),
        (None, {}, set()),
        (None, {OLD_ANNOTATION: "internal"}, {"internal"}),
        (None, {OLD_ANNOTATION: "nginx"}, set()),
    ],
)
def test_admission_asks_the_controller_of_the_class_and_no_other(
    ingress_class: str | None, annotations: dict[str, str], asked: set[str], admitting: ControlPlane
) -> None:
    """No controller answers on this control plane, so whoever is asked denies, and the error names it."""
    path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses?dryRun=All"
    try:
        admitting.request("POST", path, ingress(ingress_class, annotations))
        said = ""
    except ApiError as refusal:
        said = refusal.message
        assert "failed calling webhook" in said, said
    found = {name for name in ("external", "internal") if f"{name}-ingress-nginx-controller-admission" in said}
    assert found == asked


def test_changed_release_keeps_its_webhook_to_its_own_class_and_peers_come_and_go(
    stack: Stack, cluster: ControlPlane
) -> None:
    """Helm merges its manifest with what is there; the condition is not in the manifest and must not go."""
    bgp = {"localAsn": 64513, "peers": {"router": {"address": "192.168.1.1", "asn": 64512}}}
    tuning = {"clientMaxBodySize": "62m"}
    stack.configure(shipped({"loadBalancer": {"bgp": bgp}, "ingress": {"classes": {"internal": {"tuning": tuning}}}}))
    stack.command("up", "--yes", "--skip-preview")
    advertisement = cluster.get("/apis/cilium.io/v2/ciliumbgpadvertisements/load-balancer")
    assert advertisement["spec"]["advertisements"][0]["advertisementType"] == "Service"
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/internal-ingress-nginx-admission"
    (webhook,) = cluster.get(path)["webhooks"]
    assert [condition["name"] for condition in webhook["matchConditions"]] == ["own-ingress-class"]
    assert stack.preview("--refresh", "--expect-no-changes").operations() == {}
    stack.configure(shipped())
    stack.command("up", "--yes", "--skip-preview")
    with pytest.raises(ApiError, match="404"):
        cluster.get("/apis/cilium.io/v2/ciliumbgpadvertisements/load-balancer")


def test_kubeconfig_without_the_declared_context_changes_nothing(
    stack: Stack, cluster: ControlPlane, tmp_path: Path
) -> None:
    """Its current context leads to a cluster that works; the program must not take it."""
    other = tmp_path / "kubeconfig"
    other.write_text(cluster.kubeconfig.read_text().replace(CONTEXT, "admin@elsewhere"))
    (tmp_path / "fresh").mkdir()
    fresh = Stack(tmp_path / "fresh", shipped(), other)
    done = fresh.command("up", "--yes", "--skip-preview", check=False)
    assert done.returncode != 0
    resources = json.loads(fresh.run("stack", "export", "--stack", "test").stdout)["deployment"].get("resources", [])
    assert not [entry["type"] for entry in resources if entry["type"].startswith("kubernetes:")]


KEPT = {
    # cert-manager's chart keeps them: with them every Certificate and Issuer of the cluster would go.
    "challenges.acme.cert-manager.io",
    "orders.acme.cert-manager.io",
    "certificaterequests.cert-manager.io",
    "certificates.cert-manager.io",
    "clusterissuers.cert-manager.io",
    "issuers.cert-manager.io",
}
"""CRDs that outlive the stack, by design of their charts."""

VERSIONS_KEPT = {"v1.acme.cert-manager.io", "v1.cert-manager.io"}
"""What the API server registers for them itself."""

if charts_folder():  # Helm never deletes what a chart has in its `crds` folder; the stand-ins have none
    KEPT |= {"dnsendpoints.externaldns.k8s.io", "dnsrecords.externaldns.k8s.io"}
    VERSIONS_KEPT |= {"v1alpha1.externaldns.k8s.io"}

TRACES = {"events", "events.events.k8s.io", "leases.coordination.k8s.io"}
"""What a cluster writes down about itself all the time."""


def test_destroy_leaves_no_object_behind_and_the_rest_as_it_was(
    network: Network, cluster: ControlPlane, destroyed: str
) -> None:
    """Of all kinds that the server knows, those of the stack's own definitions included."""

    kept = {f"customresourcedefinitions.apiextensions.k8s.io /{name}" for name in KEPT}
    kept |= {f"apiservices.apiregistration.k8s.io /{version}" for version in VERSIONS_KEPT}
    deadline = time.monotonic() + 300  # for the garbage collector
    while (found := difference(network.before, Objects(cluster.kubeconfig).everything())) != kept:
        assert time.monotonic() < deadline, (found - kept, kept - found)
        time.sleep(1)
    state = json.loads(network.stack.run("stack", "export", "--stack", "test").stdout)["deployment"]
    assert state.get("resources", []) == []


def difference(left: dict[str, Object], right: dict[str, Object]) -> set[str]:
    """The names of objects that are on one side only, or not the same on both."""
    ours, theirs = own(left), own(right)
    return {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}


def own(objects: dict[str, Object]) -> dict[str, Any]:
    """What somebody asked for in each object: without its status and what the server notes beside it."""
    noted = {"resourceVersion", "generation", "managedFields"}
    return {
        name: {key: value for key, value in entry.items() if key not in {"status", "metadata"}}
        | {"metadata": {key: value for key, value in entry["metadata"].items() if key not in noted}}
        for name, entry in objects.items()
        if name.split()[0] not in TRACES
    }


def test_destroy_takes_no_controller_away_before_what_it_must_let_go(destroyed: str) -> None:
    """A webhook without its server refuses every change, and a finalizer without its controller holds its object."""
    line = {verb: lines_of(destroyed, verb) for verb in ("deleting", "deleted")}
    for release, objects in {
        "certificates-release": ("certificates-letsencrypt-prod", "certificates-selfsigned"),
        "external-release": ("applications-web", "applications-shop", "external-admission-scope"),
        "internal-release": ("applications-wiki", "internal-admission-scope"),
        "tailscale-release": ("tailscale-connector-lan", "applications-admin"),
        "cilium-release": ("cilium-loadbalancerippool-lan", "policies-production-allow-probes", "external-release"),
    }.items():
        for name in objects:
            assert line["deleted"][name] < line["deleting"][release], f"{name} must be gone before {release} goes"


def lines_of(said: str, verb: str) -> dict[str, int]:
    """Where a command's output first says `verb` of each resource."""
    found: dict[str, int] = {}
    for number, line in enumerate(said.splitlines()):
        if match := re.match(rf" - +\S+ (\S+) {verb} ", line):
            found.setdefault(match[1], number)
    return found
