"""`anton diff` against a real API server: what it says is what an update makes of the objects there."""

import copy
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import __main__ as anton
from cli.cluster import Cluster
from cli.diff.command import document as document_of
from cli.diff.objects import compare
from cli.diff.sides import Before
from cli.program import SECRET, Change, Plan, Program
from rehearsal.accounts.store import Accounts
from tests.cli.test_diff_charts import widgets
from tests.support.configs import charts_folder
from tests.support.control_plane import ApiError, ControlPlane
from tests.support.engine import Stack
from tests.support.live import shipped
from tests.support.rendering import helm

pytestmark = pytest.mark.cluster

DNS = "cloudflare:index/dnsRecord:DnsRecord"
Key = tuple[str, str, str, str]
Holdings = dict[Key, dict[str, Any]]


def ask(stack: Stack, monkeypatch: pytest.MonkeyPatch, *options: str) -> dict[str, Any]:
    """What `anton diff --json` says of the stack."""
    program = Program("test", stack.environment, stack.file)
    monkeypatch.setattr(Program, "open", lambda *_, **__: program)
    done = CliRunner().invoke(anton.app, ["diff", "--json", *options])
    assert done.exit_code in {0, 1}, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == bool(found["objects"] or found.get("drift"))
    return found


# ---- what the API server holds

_OF_CONTROLLERS = {
    *("APIService", "ControllerRevision", "Endpoints", "EndpointSlice", "Event", "Lease", "Pod", "ReplicaSet"),
    *("ComponentStatus", "FlowSchema", "IPAddress", "PriorityLevelConfiguration"),
}
_NAMES = ("apiVersion", "kind")
_OF_THE_SERVER = ("creationTimestamp", "deletionTimestamp", "finalizers", "generation", "managedFields")
_ANNOTATIONS_OF_CONTROLLERS = ("deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation")


def holdings(cluster: ControlPlane) -> Holdings:
    """Every object that is nobody's child, by group, kind, namespace and name; without what controllers report."""
    versions = ["v1"] + [group["preferredVersion"]["groupVersion"] for group in cluster.get("/apis")["groups"]]
    found: Holdings = {}
    for version in versions:
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        for resource in cluster.get(root)["resources"]:
            if "list" in resource["verbs"] and resource["kind"] not in _OF_CONTROLLERS:
                for item in listed(cluster, f"{root}/{resource['name']}"):
                    metadata = item["metadata"]
                    key = (
                        version.rpartition("/")[0],
                        resource["kind"],
                        metadata.get("namespace", ""),
                        metadata["name"],
                    )
                    if item.get("type") != "helm.sh/release.v1" and "ownerReferences" not in metadata:
                        found[key] = _settled(item)
    return found


def listed(cluster: ControlPlane, path: str) -> list[dict[str, Any]]:
    """The objects of a kind, as soon as the server is ready to list a new one."""
    found: list[dict[str, Any]] = []

    def answers() -> bool:
        try:
            found[:] = cluster.get(path)["items"]
        except ApiError as refusal:
            if refusal.status != HTTPStatus.TOO_MANY_REQUESTS:
                raise
            return False
        return True

    cluster.wait_for(answers, path)
    return found


def _settled(item: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in item["metadata"].items() if key not in _OF_THE_SERVER}
    metadata.pop("resourceVersion")
    for name in _ANNOTATIONS_OF_CONTROLLERS:
        metadata.get("annotations", {}).pop(name, None)
    kept = {key: value for key, value in item.items() if key not in {"status", *_NAMES}}
    return {**kept, "metadata": metadata}


# ---- what anton says, carried out


def key_of(entry: Mapping[str, Any]) -> Key:
    return entry["group"], entry["kind"], entry["namespace"], entry["name"]


def in_the_cluster(document: Mapping[str, Any]) -> dict[Key, dict[str, Any]]:
    """The objects that anton says an update leaves otherwise: neither hooks nor releases nor what clouds hold."""
    clouds = {"cloudflare", "tailscale", "pulumi", "helm.sh"}
    return {
        key_of(entry): entry
        for entry in document["objects"]
        if entry["group"] not in clouds and not entry["hook"] and entry["operation"] not in {"kept", "not updated"}
    }


class New(dict[str, Any]):
    """A subtree that anton says is new: the server may have filled in defaults."""


def new(value: Any) -> Any:
    """A value with its mappings marked as new."""
    if isinstance(value, Mapping):
        return New({key: new(entry) for key, entry in value.items()})
    return [new(entry) for entry in value] if isinstance(value, list) else value


def carry_out(held: dict[str, Any], fields: list[dict[str, Any]]) -> dict[str, Any]:
    """An object with the values that anton names; fails where the server held another value before."""
    result = copy.deepcopy(held)
    for field in fields:
        parent: Any = result
        for step in field["at"][:-1]:
            parent = parent[_index(parent, step)] if isinstance(parent, list) else parent.setdefault(step, {})
        last, wanted = field["at"][-1], [new(field["after"])] if "after" in field else []
        if isinstance(parent, list):
            index = _index(parent, last)
            assert "before" not in field or not [*unlike(new(field["before"]), parent[index])]
            parent[index : index + 1] = wanted
        else:
            assert not [*unlike(new(field.get("before")), parent.pop(last, None))], field["path"]
            parent |= dict.fromkeys([last], *wanted) if wanted else {}
    return result


def _index(items: list[Any], step: Any) -> int:
    if isinstance(step, int):
        return step
    matches = [index for index, item in enumerate(items) if step.items() <= item.items()]
    return matches[0] if matches else len(items)


def unlike(expected: Any, held: Any, at: str = "") -> Iterator[str]:
    """Where two values differ; in what is new the server may have more."""
    if isinstance(expected, dict) and isinstance(held, dict):
        for key in {*expected, *held}:
            if key in expected and key in held:
                yield from unlike(expected[key], held[key], f"{at}.{key}")
            elif not (isinstance(expected, New) and key in held) and (expected.get(key) or held.get(key)):
                yield f"{at}.{key}: {expected.get(key, 'absent')} is {held.get(key, 'absent')}"
    elif isinstance(expected, list) and isinstance(held, list) and len(expected) == len(held):
        for index, pair in enumerate(zip(expected, held, strict=True)):
            yield from unlike(*pair, f"{at}[{index}]")
    elif str(expected) != str(held) and SECRET not in str(expected):
        yield f"{at}: {expected} is {held}"


def lies(document: Mapping[str, Any], before: Holdings, after: Holdings) -> list[str]:
    """Everything in which anton's document and the API server disagree; nothing is left out in silence."""
    said = in_the_cluster(document)
    touched = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    found = [f"not said: {key}" for key in touched - {*said}] + [f"said only: {key}" for key in {*said} - touched]
    for key in touched & {*said}:
        entry = said[key]
        was, held = before.get(key), after.get(key)
        operation = "added" if was is None else "removed" if held is None else "changed"
        if was and held and was["metadata"].pop("uid") != held["metadata"].pop("uid"):
            operation = "replaced"
        if entry["operation"] != operation:
            found.append(f"{key}: said {entry['operation']}, was {operation}")
        elif operation == "added":
            manifest = {name: value for name, value in entry["fields"][0]["after"].items() if name not in _NAMES}
            found += [f"{key}{text}" for text in unlike(new(manifest), held)]
        elif operation != "removed":
            found += [f"{key}{text}" for text in unlike(carry_out(before[key], entry["fields"]), held)]
    return found


# ---- the tests

RENAMED = {
    "charts": {"versions": {"cilium": "1.19.5"}},
    "ingress": {
        "classes": {
            "internal": None,
            "lan": {"serviceType": "LoadBalancer", "defaultBackend": True, "certificateIssuer": "internal-ca"},
            "external": {"tuning": {"clientMaxBodySize": "60m"}},
        }
    },
    "loadBalancer": {"addresses": {"internal": None, "lan": "192.168.1.105"}},
    "tailscale": {"connector": {"addresses": ["lan", "k8s-gateway"]}},
    "applications": {"wiki": {"ingressClass": "lan"}},
}
"""Cilium at another patch version, one value of an NGINX class, and the other class under another name."""


def test_update_makes_of_the_cluster_what_diff_said(
    stack: Stack, cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.configure(shipped(RENAMED))
    document = ask(stack, monkeypatch)
    before = holdings(cluster)
    stack.command("up", "--yes", "--skip-preview")
    said = in_the_cluster(document)
    after = settled(cluster, [key for key, entry in said.items() if entry["operation"] == "removed"])
    assert lies(document, before, after) == []
    dangers = {(entry["kind"], entry["name"], danger["rule"]) for entry in said.values() for danger in entry["dangers"]}
    assert {
        ("DaemonSet", "cilium", "restart-nodes"),
        ("IngressClass", "internal", "class-removed"),
        ("Ingress", "wiki", "class"),
        ("Service", "internal-ingress-nginx-controller", "service-removed"),
    } <= dangers
    if charts_folder():  # the stand-in has one Envoy for all versions
        assert ("DaemonSet", "cilium-envoy", "restart-nodes") in dangers


def settled(cluster: ControlPlane, removed: list[Key]) -> Holdings:
    """What the API server holds once the garbage collector is through with what was removed."""
    found: Holdings = {}

    def gone() -> bool:
        found.clear()
        found.update(holdings(cluster))
        return not any(key in found for key in removed)

    cluster.wait_for(gone, "removed objects are gone", 300)
    return found


def test_change_by_hand_is_drift_and_no_pending_change(
    stack: Stack, cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/api/v1/namespaces/network/configmaps/external-ingress-nginx-controller"
    policy = "/apis/networking.k8s.io/v1/namespaces/production/networkpolicies"
    config, kept = cluster.get(path), cluster.get(f"{policy}/accept-ingress-web")
    by_hand = {**config, "data": {**config["data"], "proxy-body-size": "1m", "not-ours": "x"}}
    accounts = Accounts(Path(stack.environment["ANTON_ACCOUNTS"]))
    cluster.request("PUT", path, by_hand)
    cluster.request("DELETE", f"{policy}/accept-ingress-web")
    with accounts.transaction() as account:
        (record,) = [each for each in account.all(DNS) if each.inputs["name"] == "example.com"]
        account.put(replace(record, inputs=record.inputs | {"proxied": False}))
    try:
        document = ask(stack, monkeypatch, "--live")
    finally:
        with accounts.transaction() as account:
            account.put(record)
        cluster.request("PUT", path, {**config, "metadata": cluster.get(path)["metadata"]})
        metadata = {key: kept["metadata"][key] for key in ("name", "namespace", "labels") if key in kept["metadata"]}
        cluster.request("POST", policy, {**kept, "metadata": metadata})
    assert document["objects"] == []
    found = {(entry["kind"], entry["name"]): (entry["problem"], entry["fields"]) for entry in document["drift"]}
    assert found == {
        ("ConfigMap", "external-ingress-nginx-controller"): (
            "changed",
            [{"path": "data.proxy-body-size", "at": ["data", "proxy-body-size"], "before": "50m", "after": "1m"}],
        ),
        ("NetworkPolicy", "accept-ingress-web"): ("missing", []),
        ("DnsRecord", "cloudflare-dns-host-example.com"): (
            "changed",
            [{"path": "proxied", "at": ["proxied"], "before": True, "after": False}],
        ),
    }


def test_chart_that_removes_a_crd_leaves_what_diff_said(stack: Stack, cluster: ControlPlane, tmp_path: Path) -> None:
    """Helm by itself, as the stack's own charts remove none."""
    old, new = widgets(tmp_path, "1.0.0"), widgets(tmp_path, "2.0.0")

    def run(*arguments: str) -> None:
        command = [str(helm()), *arguments, "--kubeconfig", str(cluster.kubeconfig)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    run("install", "widgets", old.inputs["chart"])
    try:
        before = holdings(cluster)
        asked = Before.of(Cluster.of(Program("test", stack.environment, stack.file)))
        comparison = compare("test", Plan((Change("update", old, new),)), asked, nodes=3)
        said = json.loads(json.dumps(document_of(comparison, None), default=vars))
        operations = {entry["name"].partition(".")[0]: entry["operation"] for entry in said["objects"]}
        assert operations["kepts"] == "kept" and operations["onces"] == "not updated"
        run("upgrade", "widgets", new.inputs["chart"])
        gone = ("apiextensions.k8s.io", "CustomResourceDefinition", "", "gones.example.org")
        assert lies(said, before, settled(cluster, [gone])) == []
    finally:
        run("uninstall", "widgets")
        for name in ("kepts", "onces"):
            cluster.request("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}.example.org")
