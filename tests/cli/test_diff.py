"""`anton diff` without an engine: fields, noise, dangers, charts before and after, and what is printed."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from cli.console import OUT
from cli.diff.command import _page, document
from cli.diff.fields import ABSENT, Field, clean, differences, path_of, projected
from cli.diff.markdown import markdown
from cli.diff.objects import Comparison, compare
from cli.diff.rules import RULES, Context, dangers, noise
from cli.diff.show import lines
from cli.diff.sides import Before
from cli.program import SECRET, UNKNOWN, Change, Plan, Resource

pytestmark = pytest.mark.unit

STACK = "urn:pulumi:test::network::"


def found(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """Differences by path."""
    return {field.path: (field.before, field.after) for field in differences(before, after)}


# ---- fields


def test_items_of_lists_are_compared_by_their_natural_key() -> None:
    ports = [{"containerPort": 80, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}]
    agent = {"name": "agent", "image": "a:1", "ports": ports, "volumeMounts": [{"mountPath": "/run", "name": "run"}]}
    other = {"name": "other", "image": "o:1"}
    after = {**agent, "image": "a:2", "ports": [ports[1], {"containerPort": 8080, "name": "http"}]}
    assert found({"containers": [agent]}, {"containers": [after, other]}) == {
        "containers[agent].image": ("a:1", "a:2"),
        "containers[agent].ports[80/TCP]": (ports[0], ABSENT),
        "containers[agent].ports[8080/TCP]": (ABSENT, {"containerPort": 8080, "name": "http"}),
        "containers[other]": (ABSENT, other),
    }


def test_order_of_named_items_is_a_difference_of_the_whole_list() -> None:
    first, second = {"name": "first"}, {"name": "second"}
    both = {"initContainers": [first, second]}
    assert found(both, {"initContainers": [second, first]}) == {
        "initContainers": ([first, second], [second, first]),
    }


def test_lists_without_keys_are_compared_item_by_item_or_as_a_whole() -> None:
    assert found({"rules": [{"verbs": ["get"]}]}, {"rules": [{"verbs": ["get", "list"]}]}) == {
        "rules[0].verbs": (["get"], ["get", "list"])
    }
    assert found({"args": ["-a", "-b"]}, {"args": ["-a", "-c"]}) == {"args": (["-a", "-b"], ["-a", "-c"])}


@pytest.mark.parametrize(
    ("before", "after"), [("1000m", "1"), (1, "1"), ("1Gi", "1024Mi"), (None, ABSENT), (["x"], ["x"])]
)
def test_two_spellings_of_one_value_are_no_difference(before: Any, after: Any) -> None:
    limits = {} if after is ABSENT else {"cpu": after}
    assert found({"limits": {"cpu": before}}, {"limits": limits}) == {}


@pytest.mark.parametrize(("before", "after"), [("10", "010"), ("1.0", "1"), (True, "true2"), ({}, ABSENT), ("", "0")])
def test_what_only_looks_alike_is_a_difference(before: Any, after: Any) -> None:
    assert found({"value": before}, {} if after is ABSENT else {"value": after})


def test_keys_with_dots_stay_readable() -> None:
    assert path_of(("metadata", "annotations", "lbipam.cilium.io/ips")) == "metadata.annotations[lbipam.cilium.io/ips]"


def test_empty_rules_of_cilium_policies_stay_as_they_deny() -> None:
    policy = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "spec": {"ingress": []}}
    assert clean(policy)["spec"] == {"ingress": []}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {}}, "spec": {"tolerations": []}}
    assert clean(pod) == {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {}}


def test_of_a_live_object_only_what_is_declared_counts() -> None:
    declared = {"replicas": 2, "containers": [{"name": "a", "image": "a:1"}], "labels": {"app": "a"}, "paused": False}
    sidecar = {"name": "injected", "image": "s:1"}
    live = {"replicas": 2, "containers": [sidecar, {"name": "a", "image": "a:1", "tty": True}], "labels": {"app": "a"}}
    assert found(declared, projected(live, declared)) == {}
    live["containers"] = [sidecar]
    assert list(found(declared, projected(live, declared))) == ["containers[a]"]


# ---- noise and dangers


@pytest.mark.parametrize(
    ("kind", "at", "reason"),
    [
        ("Deployment", ("metadata", "labels", "helm.sh/chart"), "chart label"),
        ("Deployment", ("spec", "template", "metadata", "labels", "app.kubernetes.io/version"), "version label"),
        ("DaemonSet", ("spec", "template", "metadata", "annotations", "checksum/config"), "checksum"),
        (
            "DaemonSet",
            ("spec", "template", "metadata", "annotations", "cilium.io/cilium-configmap-checksum"),
            "checksum",
        ),
        ("ValidatingWebhookConfiguration", ("webhooks", 0, "clientConfig", "caBundle"), "certificate authority"),
        ("Secret", ("data", "tls.crt"), "generated certificate"),
        ("ConfigMap", ("data", "tls.crt"), ""),
        ("Deployment", ("metadata", "labels", "app"), ""),
        ("Secret", ("data", "password"), ""),
    ],
)
def test_noise_has_a_name(kind: str, at: tuple[str | int, ...], reason: str) -> None:
    said = noise(kind, Field(at, "a", "b"))
    assert said.startswith(reason) and bool(said) == bool(reason)


POD = {"spec": {"template": {"spec": {"image": "a"}}}}
WEB, API = {"matchLabels": {"app": "web"}}, {"matchLabels": {"app": "api"}}


def policy(selector: Mapping[str, Any], rules: list[Any] | None = None, name: str = "own") -> dict[str, Any]:
    """A NetworkPolicy for ingress."""
    spec = {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": rules or []}
    return {"kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "production"}, "spec": spec}


def cilium_policy(**spec: Any) -> dict[str, Any]:
    """A CiliumNetworkPolicy for pods of `web`."""
    metadata = {"name": "own", "namespace": "production"}
    return {"kind": "CiliumNetworkPolicy", "metadata": metadata, "spec": {"endpointSelector": WEB, **spec}}


def spec(**values: Any) -> dict[str, Any]:
    """An object with this spec."""
    return {"spec": values}


MARKED: list[tuple[str, str, str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("restart-nodes", "DaemonSet", "changed", POD, {"spec": {"template": {"spec": {"image": "b"}}}}, {}),
    ("restart", "Deployment", "changed", POD, {"spec": {"template": {"spec": {"image": "b"}}}}, {}),
    ("immutable", "Deployment", "changed", spec(selector=WEB), spec(selector=API), {"helm": True}),
    ("immutable", "StatefulSet", "changed", spec(serviceName="a"), spec(serviceName="b"), {"helm": True}),
    ("immutable", "Job", "changed", POD, {"spec": {"template": {"spec": {"image": "b"}}}}, {"helm": True}),
    ("immutable", "Service", "replaced", spec(clusterIP="10.96.0.1"), spec(clusterIP="10.96.0.2"), {}),
    ("immutable", "RoleBinding", "changed", {"roleRef": {"name": "a"}}, {"roleRef": {"name": "b"}}, {"helm": True}),
    ("immutable", "IngressClass", "replaced", spec(controller="a"), spec(controller="b"), {}),
    ("immutable", "StorageClass", "changed", {"provisioner": "a"}, {"provisioner": "b"}, {"helm": True}),
    ("immutable", "PersistentVolumeClaim", "replaced", spec(volumeName="a"), spec(volumeName="b"), {}),
    ("immutable", "CustomResourceDefinition", "changed", spec(scope="a"), spec(scope="b"), {"helm": True}),
    ("immutable", "Secret", "replaced", {"type": "a"}, {"type": "b"}, {}),
    ("immutable", "PriorityClass", "replaced", {"value": 1}, {"value": 2}, {}),
    ("immutable", "ConfigMap", "replaced", {"immutable": True, "data": {"a": "1"}}, {"data": {"a": "2"}}, {}),
    (
        "policy-enforcement",
        "ConfigMap",
        "changed",
        {"data": {"enable-policy": "default"}},
        {"data": {"enable-policy": "always"}},
        {},
    ),
    ("replaced", "Tunnel", "replaced", {"a": 1}, {"a": 2}, {}),
    ("namespace-removed", "Namespace", "removed", {"a": 1}, {}, {}),
    ("crd-removed", "CustomResourceDefinition", "removed", {"a": 1}, {}, {"helm": True}),
    ("crd-kept", "CustomResourceDefinition", "kept", {"a": 1}, {}, {"helm": True}),
    ("crd-not-updated", "CustomResourceDefinition", "not updated", {"a": 1}, {"a": 2}, {"helm": True}),
    (
        "crd-version",
        "CustomResourceDefinition",
        "changed",
        spec(versions=[{"name": "v1"}, {"name": "v1alpha1"}]),
        spec(versions=[{"name": "v1"}]),
        {},
    ),
    ("service-removed", "Service", "removed", spec(type="LoadBalancer"), {}, {}),
    (
        "address-held",
        "Service",
        "added",
        {},
        {"metadata": {"annotations": {"lbipam.cilium.io/ips": "192.0.2.1"}}},
        {"given_up": {"192.0.2.1": "Service network/old"}},
    ),
    ("service-address", "Service", "changed", spec(type="LoadBalancer"), spec(type="ClusterIP"), {}),
    (
        "service-address",
        "Service",
        "changed",
        {"metadata": {"annotations": {"lbipam.cilium.io/ips": "192.0.2.1"}}},
        {"metadata": {"annotations": {"lbipam.cilium.io/ips": "192.0.2.2"}}},
        {},
    ),
    ("dnssec", "ZoneDnssec", "changed", {"status": "active"}, {"status": "disabled"}, {}),
    ("class", "Ingress", "changed", spec(ingressClassName="a"), spec(ingressClassName="b"), {}),
    ("class", "IngressClass", "replaced", spec(controller="a"), spec(controller="b"), {}),
    ("class-removed", "IngressClass", "removed", spec(controller="a"), {}, {}),
    ("selector", "Service", "changed", spec(selector={"app": "web"}), spec(selector={"app": "api"}), {}),
    ("selector", "PodDisruptionBudget", "changed", spec(selector=WEB), spec(selector=API), {}),
    ("selector", "NetworkPolicy", "changed", policy(WEB), policy(API), {}),
    ("protected", "Release", "removed", {"a": 1}, {}, {"protected": True}),
    ("policy-denies", "NetworkPolicy", "added", {}, policy(WEB), {"policies": (policy(API, name="other"),)}),
    ("policy-denies", "NetworkPolicy", "changed", policy(WEB, [{"from": [{}]}, {}]), policy(WEB, [{}]), {}),
    ("policy-denies", "NetworkPolicy", "removed", policy(WEB, [{}]), {}, {}),
    ("policy-denies", "CiliumNetworkPolicy", "added", {}, cilium_policy(ingress=[{}]), {}),
    ("policy-denies", "CiliumNetworkPolicy", "changed", cilium_policy(), cilium_policy(egressDeny=[{}]), {}),
]

UNMARKED: list[tuple[str, str, str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (
        "restart-nodes",
        "DaemonSet",
        "changed",
        POD,
        spec(template={"spec": {"image": "b"}}, updateStrategy={"type": "OnDelete"}),
        {},
    ),
    ("restart-nodes", "DaemonSet", "changed", spec(minReadySeconds=1), spec(minReadySeconds=2), {}),
    ("immutable", "Deployment", "changed", spec(replicas=1), spec(replicas=2), {"helm": True}),
    ("immutable", "ConfigMap", "replaced", {"data": {"a": "1"}}, {"data": {"a": "2"}}, {}),
    ("crd-version", "CustomResourceDefinition", "changed", spec(versions=[]), spec(versions=[{"name": "v1"}]), {}),
    ("dnssec", "ZoneDnssec", "changed", {"status": "disabled"}, {"status": "active"}, {}),
    ("service-removed", "Service", "removed", spec(type="ClusterIP"), {}, {}),
    ("protected", "Release", "changed", {"a": 1}, {"a": 2}, {"protected": True}),
    ("address-held", "Service", "added", {}, spec(loadBalancerIP="192.0.2.2"), {"given_up": {"192.0.2.1": "old"}}),
    ("policy-denies", "NetworkPolicy", "added", {}, policy(WEB, [{}]), {"policies": (policy({}, name="default"),)}),
    ("policy-denies", "NetworkPolicy", "changed", policy(WEB, [{}]), policy(WEB, [{}, {"from": [{}]}]), {}),
]


def marks(kind: str, operation: str, before: dict[str, Any], after: dict[str, Any], more: dict[str, Any]) -> set[str]:
    """The rules that mark a difference."""
    fields = tuple(differences(before, after))
    context = Context(kind=kind, operation=operation, before=before, after=after, fields=fields, nodes=3, **more)
    return {danger.rule for danger in dangers(context)}


@pytest.mark.parametrize(("rule", "kind", "operation", "before", "after", "more"), MARKED)
def test_danger_is_marked(rule: str, kind: str, operation: str, before: Any, after: Any, more: Any) -> None:
    assert rule in marks(kind, operation, before, after, more)


@pytest.mark.parametrize(("rule", "kind", "operation", "before", "after", "more"), UNMARKED)
def test_what_is_harmless_is_not_marked(
    rule: str, kind: str, operation: str, before: Any, after: Any, more: Any
) -> None:
    assert rule not in marks(kind, operation, before, after, more)


def test_every_rule_has_its_case() -> None:
    covered = {(rule, operation) for rule, _, operation, *_ in MARKED}
    assert {rule.name for rule in RULES} <= {rule for rule, _ in covered}
    kinds = {kind for _, kind, *_ in MARKED}
    assert [rule for rule in RULES if not any(kind in kinds or kind == "*" for kind in rule.kinds.split())] == []


# ---- plans


def resource(type_: str, name: str, inputs: Mapping[str, Any], **more: Any) -> Resource:
    return Resource(f"{STACK}{type_}::{name}", type_, inputs, **more)


def config_map(data: Any, **metadata: Any) -> Resource:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n", **metadata}}
    return resource("kubernetes:core/v1:ConfigMap", "a", {**manifest, "data": data})


def compared(*changes: Change, before: Before | None = None) -> Comparison:
    return compare("test", Plan(changes), before or Before(), nodes=3)


def test_secret_that_changes_is_said_to_change_and_never_shown() -> None:
    record = resource("tailscale:index/key:Key", "key", {"token": SECRET, "tags": ["a"]})
    secret = resource("kubernetes:core/v1:Secret", "s", {**config_map({}).inputs, "kind": "Secret", "data": {"k": "x"}})
    changed = Resource(secret.urn, secret.type, {**secret.inputs, "data": {"k": "eHl6enk="}})
    comparison = compared(
        Change("update", record, record, ("token",)),
        Change("update", secret, changed, ("data.k",)),
        Change(
            "create", None, resource("kubernetes:core/v1:Secret", "new", {**changed.inputs, "metadata": {"name": "b"}})
        ),
    )
    fields = [
        (each.key.kind, field.path, field.before, field.after)
        for each in comparison.differences
        for field in each.fields
    ]
    assert ("Key", "token", SECRET, SECRET) in fields and ("Secret", "data.k", SECRET, SECRET) in fields
    written = json.dumps(document(comparison, None), default=str) + markdown(comparison, full=True)
    assert "eHl6enk=" not in written and "eHl6enk=" not in "".join(line.plain for line in lines(comparison, full=True))


def test_steps_of_a_replacement_are_one_and_made_up_names_are_not_promised() -> None:
    marked = {"annotations": {"pulumi.com/autonamed": "true"}}
    old, new = config_map({"a": "1"}, **marked, name="a-1111"), config_map({"a": UNKNOWN}, **marked, name="a-2222")
    steps = [Change("create-replacement", old, new), Change("replace", old, new), Change("delete-replaced", old, None)]
    found = {each.key.name: each for each in compared(*steps).differences}
    assert {name: each.operation for name, each in found.items()} == {
        "a-1111": "removed",
        "a-[known after up]": "added",
    }
    assert found["a-[known after up]"].fields[0].after["data"] == {"a": "[known after up]"}


def test_layer_is_the_outermost_component() -> None:
    outer = resource("anton:network:NginxIngress", "internal", {}, parent=f"{STACK}stack", custom=False)
    inner = resource("anton:network:Part", "part", {}, parent=outer.urn, custom=False)
    child = Resource(**{**config_map({}).__dict__, "parent": inner.urn})
    top = resource("pulumi:pulumi:Stack", "stack", {}, custom=False)
    top = Resource(f"{STACK}stack", top.type, {}, custom=False)
    steps = [Change("create", None, each) for each in (top, outer, inner, child)]
    assert [each.layer for each in compared(*steps).differences] == ["NginxIngress"]


def test_patch_is_laid_over_the_object_that_it_means() -> None:
    target = config_map({"a": "1"})
    patch = resource("kubernetes:core/v1:ConfigMapPatch", "p", {**target.inputs, "data": {"b": "2"}})
    changed = Resource(patch.urn, patch.type, {**patch.inputs, "data": {"b": "3"}})
    for steps in (
        [Change("update", patch, changed)],
        [Change("same", target, target), Change("update", patch, changed)],
    ):
        (difference,) = compared(*steps).differences
        assert difference.operation == "changed"
        assert [(field.path, field.before, field.after) for field in difference.fields] == [("data.b", "2", "3")]


def test_nothing_is_said_of_what_stays_the_same() -> None:
    same = config_map({"a": "1"})
    assert compared(Change("same", same, same)).differences == ()


# ---- what is printed


def many(count: int) -> Comparison:
    steps = []
    for number in range(count):
        old = config_map({"a": "1", "script": "one\ntwo|\nthree"}, name=f"a{number}")
        new = {**old.inputs, "data": {"a": "2", "script": "one\n2 `|` <b>\nthree"}}
        steps.append(
            Change(
                "update",
                Resource(f"{old.urn}{number}", old.type, old.inputs),
                Resource(f"{old.urn}{number}", old.type, new),
            )
        )
    return compared(*steps)


def test_summary_comes_first_and_texts_are_compared_by_line() -> None:
    text = [line.plain for line in lines(many(1))]
    assert text[0] == "test: 1 object: 1 changed"
    assert text.index("~ ConfigMap n/a0  data.a, data.script") < text.index("ConfigMap n/a0")
    assert "    - two|" in text and "    + 2 `|` <b>" in text and "    - three" not in text


def test_stack_without_state_is_summed_up_by_layer() -> None:
    text = "\n".join(line.plain for line in lines(compared(Change("create", None, config_map({"a": "1"})))))
    assert "nothing is deployed yet" in text and "1 ConfigMap" in text and "data" not in text


def test_objects_with_nothing_but_noise_are_folded_and_counted() -> None:
    old, new = (config_map({}, labels={"helm.sh/chart": f"x-{number}"}) for number in (1, 2))
    comparison = compared(Change("update", old, new))
    assert comparison.differences[0].folded
    text = "\n".join(line.plain for line in lines(comparison))
    assert "folded: 1 object with nothing but noise" in text and "noise: chart label (1)" in text
    assert "ConfigMap" not in text
    assert "x-2" in "\n".join(line.plain for line in lines(comparison, full=True))


def test_markdown_fits_a_comment_and_nothing_escapes_from_it() -> None:
    text = markdown(many(400))
    assert len(text) < 65_536 and "too long for a comment" in text
    one = markdown(many(1))
    assert one.count("````") == 4 and "<b>" in one.split("````diff")[2]
    rows = [line for line in one.splitlines() if line.startswith("| `")]
    assert rows == ["| `~` | `ConfigMap n/a0` | stack | data.a, data.script |"]


@pytest.mark.parametrize(("height", "paged"), [(10, True), (200, False)])
def test_pager_is_used_where_the_terminal_is_too_small(
    height: int, paged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    monkeypatch.setattr("rich.pager.SystemPager.show", lambda _self, content: used.append(content))
    monkeypatch.setattr(OUT, "_force_terminal", True)
    monkeypatch.setattr(type(OUT), "height", height)
    _page([*lines(many(3))])
    assert bool(used) == paged
