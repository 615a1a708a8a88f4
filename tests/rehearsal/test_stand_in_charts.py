"""The stand-in charts against upstream's: rendered with the program's values, both give a cluster the same objects.

A stand-in may have less than upstream has (what nobody here looks at), but nothing else: whatever it has, upstream has
too, and what others rely on is compared for equality (`SAME`).
"""

import json
import re
import runpy
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.cilium.network import CiliumNetworkArgs, cilium_values
from rehearsal import chart_source
from rehearsal.chart_source import ChartSource, stand_in_charts
from settings.charts.find import find_charts
from settings.charts.lock import LOCK, LockedChart, digest, read_lock
from settings.charts.model import CHART_VERSIONS, Charts
from tests.charts import test_values
from tests.charts.test_tailscale_operator import faults
from tests.charts.test_values import leaves
from tests.support.configs import PROJECT, charts_without_files, merged, set_config, settings_with, stack_config
from tests.support.live import ACCESS, APPLICATIONS
from tests.support.pod_security import restricted_violations
from tests.support.recorder import Registration, record
from tests.support.rendering import Manifests, RenderError, chart_archive, render

EVERY_LAYER = {"applications": APPLICATIONS, "cloudflare": {"access": ACCESS}, "monitoring": {"enabled": True}}

SCALED = {"serviceType": "LoadBalancer", "autoscaling": {"maxReplicas": 3}}

CHANGES: dict[str, dict[str, Any]] = {
    "as shipped, every layer on": {},
    "options on": {
        "cilium": {
            "loadBalancing": {"acceleration": "native"},
            "bandwidthManager": {"bbr": True},
            "encryption": {"enabled": True, "nodeEncryption": True},
            "serviceMesh": {"envoyConfig": True},
            "upgradeCompatibility": "1.19",
        },
        "loadBalancer": {"bgp": {"localAsn": 64513, "peers": {"router": {"address": "192.168.1.1", "asn": 64512}}}},
        "ingress": {
            "image": f"registry.example.com/ingress-nginx/controller:v1.15.1@sha256:{'0' * 64}",
            "classes": {"external": SCALED, "internal": SCALED},
        },
        "tailscale": {"apiServerProxy": "auth", "proxyGroup": {"replicas": 2}},
        "cloudflare": {"dns": {"externalDns": {"endpointObjects": True}}},
        "discovery": {"coredns": {"clusterDomain": "k8s.internal"}},
    },
    "one of each pod, little else": {
        "monitoring": {"enabled": False},
        "cluster": {"platform": "generic"},
        "cilium": {
            "hubble": {"enabled": False, "relay": False, "ui": False},
            "routingMode": "tunnel",
            "loadBalancing": {"mode": "snat", "algorithm": "random"},
            "localRedirectPolicies": False,
        },
        "ingress": {"classes": {"external": {"replicas": 1}, "internal": {"replicas": 1}}},
        "certificates": {"replicas": 1},
    },
}
"""Changes of the shipped configuration with every layer on."""

SAME = (
    "metadata.labels",
    "spec.type",
    "spec.clusterIP",
    "spec.externalTrafficPolicy",
    "spec.allocateLoadBalancerNodePorts",
    "spec.ports",
    "spec.selector",
    "spec.replicas",
    "spec.minAvailable",
    "spec.metrics",
    "spec.controller",
    "spec.scope",
    "spec.jobLabel",
    "spec.namespaceSelector",
    "spec.template.metadata.labels",
    "spec.template.spec.serviceAccountName",
    "spec.template.spec.hostNetwork",
    "spec.template.spec.topologySpreadConstraints",
    "roleRef",
    "subjects",
    "webhooks",
)
"""Paths at which the objects are equal."""

SAME_ANNOTATIONS = ("helm.sh/", "lbipam.cilium.io/", "cert-manager.io/")

SAME_OF_CONTAINERS = ("name", "image", "ports", "resources")

ON_PURPOSE = {
    "kube-system/ConfigMap cilium-envoy-config data": "read by Envoy alone, which does not run",
    "kube-system/ConfigMap hubble-ui-nginx data": "read by the console's NGINX alone, which does not run",
    "kube-system/ConfigMap hubble-relay-config data": "read by the relay alone, which does not run",
    "kube-system/ConfigMap *dashboard* data": "a dashboard is hundreds of kilobytes",
    "kube-system/ConfigMap hubble-*-namespace data": "a dashboard is hundreds of kilobytes",
    "kube-system/ConfigMap hubble-l7-http-metrics-by-workload data": "a dashboard is hundreds of kilobytes",
    "* spec.template.metadata.annotations.*checksum*": "a digest of the whole ConfigMap",
    "/ClusterRole cert-manager-* metadata.labels": "what a stand-in grants, which is nothing, is passed on to nobody",
    "*CustomResourceDefinition * spec.versions.*.schema": "compared field by field, see below",
}
"""Differences that are meant, as patterns with the reason."""


@dataclass(frozen=True)
class Release:
    """A release as the program asks for it."""

    chart: str
    name: str
    namespace: str
    values: Mapping[str, Any]

    def rendered(self, archive: Path) -> Manifests:
        return render(archive, self.name, self.namespace, self.values)


@cache
def registered(title: str) -> tuple[Registration, ...]:
    """What the program registers under a configuration of `CHANGES`."""
    config = merged(merged(stack_config(), EVERY_LAYER), CHANGES[title])

    def build() -> None:
        set_config(config)
        runpy.run_path(str(PROJECT / "__main__.py"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("settings.load.find_charts", charts_without_files)
        return tuple(record(build, {name: node["address"] for name, node in config["physical"]["nodes"].items()}))


def releases(title: str) -> Iterator[Release]:
    """The releases of a configuration."""
    for entry in registered(title):
        if entry.type == "kubernetes:helm.sh/v3:Release":
            archive, inputs = Path(entry.inputs["chart"]).name, entry.inputs
            name = archive.removesuffix(f"-{inputs['version']}.tgz")
            # In one order, as the same values are rendered once.
            values = json.loads(json.dumps(inputs["values"], sort_keys=True))
            yield Release(name, inputs["name"], inputs["namespace"], values)


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> ChartSource:
    return stand_in_charts(tmp_path_factory.mktemp("stand-in-charts"))


def stand_in(source: ChartSource, chart: str, version: str | None = None) -> Path:
    return source.folder / f"{chart}-{version or CHART_VERSIONS[chart]}.tgz"


# Comparing two renderings

CLUSTER_WIDE = {
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
}


def objects(manifests: Manifests, namespace: str) -> dict[str, Any]:
    """The objects by `namespace/kind name`, as the API server would have them. The namespace is that of the release."""
    found = {}
    for manifest in manifests:
        kind, metadata = manifest["kind"], manifest["metadata"]
        place = "" if kind in CLUSTER_WIDE else metadata.get("namespace", namespace)
        # Upstream names a Job by a digest of its content, as it can't be changed.
        name = re.sub(r"-[0-9a-f]{10}$", "-<digest>", metadata["name"])
        found[f"{place}/{kind} {name}"] = normal(
            {**manifest, "metadata": metadata | {"name": name, "namespace": place}}
        )
    return found


def normal(value: Any) -> Any:
    """A part of an object with defaults filled in, without image tags and indentation of texts."""
    if isinstance(value, Mapping):
        result = {key: normal(item) for key, item in value.items()}
        if isinstance(value.get("image"), str):
            result["image"] = re.sub(r"(:[^/@]+)?(@sha256:\w+)?$", "", value["image"])
        if {"port", "containerPort"} & value.keys():
            result.setdefault("protocol", "TCP")
        return result
    if isinstance(value, str) and "\n" in value:
        return "\n".join(line.strip() for line in value.splitlines())
    return [normal(item) for item in value] if isinstance(value, list) else value


def at(value: Any, path: str) -> Any:
    """What lies at a dotted path; None where nothing does."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value or None


def extras(own: Any, upstream: Any, path: str) -> Iterator[str]:
    """Where a stand-in has what upstream has not. Lists of named things are compared by name."""
    if isinstance(own, Mapping) and isinstance(upstream, Mapping):
        for key, item in own.items():
            yield from extras(item, upstream.get(key), f"{path}.{key}")
    elif isinstance(own, list) and isinstance(upstream, list):
        named = {item["name"]: item for item in upstream if isinstance(item, Mapping) and "name" in item}
        for item in own:
            if isinstance(item, Mapping) and item.get("name") in named:
                yield from extras(item, named[item["name"]], f"{path}.{item['name']}")
            elif not any(not list(extras(item, other, "")) for other in upstream):
                yield f"{path}: {item} is not upstream's"
    elif own not in ({}, [], None) and own != upstream:
        yield f"{path}: {own} is {upstream} upstream"


def unequal(own: Any, upstream: Any, name: str) -> Iterator[str]:
    """Where two objects differ at the paths of `SAME`, in annotations, or in what others know of their containers."""
    for path in SAME:
        if at(own, path) != at(upstream, path):
            yield f"{name} {path}: {at(own, path)} is {at(upstream, path)} upstream"
    annotations = [
        {
            key: text
            for key, text in (at(each, "metadata.annotations") or {}).items()
            if key.startswith(SAME_ANNOTATIONS)
        }
        for each in (own, upstream)
    ]
    if annotations[0] != annotations[1]:
        yield f"{name} annotations: {annotations[0]} is {annotations[1]} upstream"
    containers = [
        [
            {key: at(container, key) for key in SAME_OF_CONTAINERS}
            for container in at(each, "spec.template.spec.containers") or []
        ]
        for each in (own, upstream)
    ]
    if containers[0] != containers[1]:
        yield f"{name} containers: {containers[0]} is {containers[1]} upstream"
    pods = [at(each, "spec.template.spec") for each in (own, upstream)]
    if all(pods) and restricted_violations(pods[0]) and not restricted_violations(pods[1]):
        yield f"{name} pod: not allowed where upstream's is"


def differences(own: Manifests, upstream: Manifests, namespace: str) -> list[str]:
    """Everything about a stand-in that is not as upstream."""
    ours, theirs = objects(own, namespace), objects(upstream, namespace)
    found = [f"{name}: {'missing' if name in theirs else 'not upstream'}" for name in ours.keys() ^ theirs.keys()]
    for name in ours.keys() & theirs.keys():
        found += unequal(ours[name], theirs[name], name)
        found += [f"{name} {fault.removeprefix('.')}" for fault in extras(ours[name], theirs[name], "")]
    return sorted(found)


def is_meant(difference: str, pattern: str) -> bool:
    subject = difference.partition(": ")[0]
    return fnmatchcase(subject, pattern) or fnmatchcase(subject, f"{pattern}.*")


@cache
def all_differences(source: ChartSource, title: str) -> tuple[str, ...]:
    """Everything about the stand-ins that is not as upstream under a configuration."""
    return tuple(
        difference
        for each in releases(title)
        for difference in differences(
            each.rendered(stand_in(source, each.chart)), each.rendered(chart_archive(each.chart)), each.namespace
        )
    )


@pytest.mark.render
@pytest.mark.parametrize("title", CHANGES)
def test_a_cluster_gets_the_same_objects_from_both(stand_ins: ChartSource, title: str) -> None:
    assert {release.chart for release in releases(title)} == set(CHART_VERSIONS)
    found = all_differences(stand_ins, title)
    assert not [fault for fault in found if not any(is_meant(fault, each) for each in ON_PURPOSE)]


@pytest.mark.render
def test_every_difference_on_purpose_is_one(stand_ins: ChartSource) -> None:
    found = [fault for title in CHANGES for fault in all_differences(stand_ins, title)]
    assert not [pattern for pattern in ON_PURPOSE if not any(is_meant(fault, pattern) for fault in found)]


@pytest.mark.render
def test_stand_in_of_the_version_before_is_as_that_one(stand_ins: ChartSource) -> None:
    (cilium,) = [release for release in releases("as shipped, every layer on") if release.chart == "cilium"]
    before = cilium.rendered(chart_archive("cilium", "1.19.5"))
    found = differences(cilium.rendered(stand_in(stand_ins, "cilium", "1.19.5")), before, cilium.namespace)
    assert not [fault for fault in found if not any(is_meant(fault, each) for each in ON_PURPOSE)]


@pytest.mark.render
@pytest.mark.parametrize(
    ("line", "change", "fault"),
    [
        ("{name: http, port: 7979,", "{name: web, port: 7979,", "Service external-dns spec.ports"),
        (
            "{name: http, containerPort: 7979,",
            "{name: http, containerPort: 7980,",
            "Deployment external-dns containers",
        ),
        ("app.kubernetes.io/instance: ", "app.kubernetes.io/release: ", "Deployment external-dns spec.selector"),
        ("  name: {{ $name }}-viewer", "  name: {{ $name }}", "ClusterRoleBinding external-dns: not upstream"),
        ("kind: ServiceMonitor", "kind: PodMonitor", "ServiceMonitor external-dns: missing"),
        ("        - --log-level=info", "        - --log-level=debug", "Deployment external-dns spec.template.spec"),
        ("          capabilities: {drop: [ALL]}", "", "Deployment external-dns pod"),
        ("--policy=", "--regime=", "Deployment external-dns spec.template.spec"),
    ],
)
def test_drift_is_noticed(stand_ins: ChartSource, tmp_path: Path, line: str, change: str, fault: str) -> None:
    copy = tmp_path / "external-dns"
    shutil.copytree(chart_source.CHARTS / "external-dns", copy)
    template = copy / "templates/external-dns.yaml"
    assert line in template.read_text()
    template.write_text(template.read_text().replace(line, change))
    (tmp_path / "external-dns.tgz").write_bytes(chart_source.archive(copy, "1.21.1"))
    (release,) = [each for each in releases("as shipped, every layer on") if each.chart == "external-dns"]
    upstream = release.rendered(chart_archive("external-dns"))
    found = differences(release.rendered(tmp_path / "external-dns.tgz"), upstream, release.namespace)
    assert [each for each in found if fault in each], found


# Definitions of custom resources


def schemas(manifests: Manifests) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The schema of a spec by kind and API version."""
    return {
        (each["spec"]["names"]["kind"], f"{each['spec']['group']}/{version['name']}"): version["schema"][
            "openAPIV3Schema"
        ]["properties"]["spec"]
        for each in manifests.of("CustomResourceDefinition")
        for version in each["spec"]["versions"]
    }


def stranger_fields(own: Mapping[str, Any], upstream: Mapping[str, Any], path: str) -> Iterator[str]:
    """Fields of a stand-in's schema that upstream's does not have so. An open one has none."""
    if own.get("x-kubernetes-preserve-unknown-fields"):
        return
    # Upstream may be stricter about a text.
    checked = [key for key in ("pattern", "format", "minItems", "minimum") if key in own]
    for key in ("type", "enum", "x-kubernetes-int-or-string", *checked):
        if own.get(key) != upstream.get(key):
            yield f"{path}: {key} {own.get(key)} is {upstream.get(key)} upstream"
    if set(own.get("required", [])) != set(upstream.get("required", [])):
        yield f"{path}: required"
    parts = {**own.get("properties", {}), **{key: own[key] for key in ("items", "additionalProperties") if key in own}}
    known = {**upstream.get("properties", {}), **{key: upstream.get(key) for key in ("items", "additionalProperties")}}
    for key, part in parts.items():
        if known.get(key) is None:
            yield f"{path}.{key} is unknown"
        else:
            yield from stranger_fields(part, known[key], f"{path}.{key}")


@pytest.mark.render
@pytest.mark.parametrize("chart", ["cert-manager", "tailscale-operator"])
def test_fields_of_the_definitions_are_upstreams(stand_ins: ChartSource, chart: str) -> None:
    (release,) = [each for each in releases("as shipped, every layer on") if each.chart == chart]
    own, upstream = (
        schemas(release.rendered(stand_in(stand_ins, chart))),
        schemas(release.rendered(chart_archive(chart))),
    )
    assert own.keys() == upstream.keys()
    for kind, schema in own.items():
        assert not list(stranger_fields(schema, upstream[kind], kind[0]))


@pytest.mark.render
@pytest.mark.parametrize("title", CHANGES)
def test_definitions_take_every_custom_resource_of_the_program(stand_ins: ChartSource, title: str) -> None:
    known: dict[tuple[str, str], Mapping[str, Any]] = {}
    for release in releases(title):
        known |= schemas(release.rendered(stand_in(stand_ins, release.chart)))
    wanted = [
        entry.inputs
        for entry in registered(title)
        if re.search(r"kubernetes:(cert-manager\.io|tailscale\.com)/", entry.type)
    ]
    assert len(wanted) >= 8
    for each in wanted:
        schema = known[each["kind"], each["apiVersion"]]
        assert not schema.get("x-kubernetes-preserve-unknown-fields"), "it would take anything"
        assert not list(faults(each["spec"], schema, each["kind"])), "dropped without a word, or refused"


# Values


def emitted(chart: str) -> set[str]:
    """Every path of values that the program sets for a chart."""
    values = [each.values for title in CHANGES for each in releases(title) if each.chart == chart]
    if chart in ("cilium", "ingress-nginx"):
        values += [each.values for each in test_values.emitted(chart)]
    return {".".join(path) for each in values for path, _ in leaves(each)}


def listed_paths(chart: Path) -> set[str]:
    """Every path of a stand-in's values.yaml."""
    return {".".join(path) for path, _ in leaves(yaml.safe_load((chart / "values.yaml").read_text()))}


@pytest.mark.unit
@pytest.mark.parametrize("chart", CHART_VERSIONS)
def test_values_are_exactly_those_that_the_program_sets(chart: str) -> None:
    own, set_ = listed_paths(chart_source.CHARTS / chart), emitted(chart)
    assert not [path for path in set_ if not any(path == each or path.startswith(f"{each}.") for each in own)], (
        "a stand-in would ignore these without a word"
    )
    assert not [each for each in own if not any(path == each or path.startswith(f"{each}.") for path in set_)], (
        "nobody sets these"
    )


WITHOUT_EFFECT = {
    "prometheus.serviceMonitor.trustCRDsExist": "the cluster is never asked for definitions here",
    "upgradeCompatibility": "changes defaults that upstream had in older versions",
    "authentication.mutual.spire.enabled": "refused with authentication.enabled",
    "authentication.mutual.spire.install.enabled": "refused with authentication.enabled",
}


def is_read(path: list[str], templates: str) -> bool:
    """Whether templates name a value, or copy one that holds it as it is."""
    copied = any(re.search(rf"toYaml [^|}}]*\.{key}\b", templates) for key in path)
    return copied or re.search(rf"\.{path[-1]}\b", templates) is not None


@pytest.mark.unit
@pytest.mark.parametrize("chart", CHART_VERSIONS)
def test_every_value_is_read(chart: str) -> None:
    folder = chart_source.CHARTS / chart
    templates = "".join(path.read_text() for path in folder.glob("templates/*"))
    idle = {path for path in listed_paths(folder) if not is_read(path.split("."), templates)}
    assert idle <= WITHOUT_EFFECT.keys()


@pytest.mark.render
@pytest.mark.parametrize("option", ["gatewayApi", "mutualAuthentication"])
def test_option_that_a_stand_in_has_not_is_refused_with_a_remedy(stand_ins: ChartSource, option: str) -> None:
    wanted = settings_with({"cilium": {"serviceMesh": {option: True, "envoyConfig": True}}})
    values = cilium_values(CiliumNetworkArgs.of(wanted))
    with pytest.raises(RenderError, match="set CHARTS_DIR"):
        render(stand_in(stand_ins, "cilium"), "cilium", "kube-system", values)


# Where charts come from


@pytest.mark.unit
def test_packaging_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = stand_in_charts(tmp_path / "a"), stand_in_charts(tmp_path / "b")
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == {
        path.name: path.read_bytes() for path in second.folder.iterdir()
    }


@pytest.mark.unit
def test_every_locked_chart_has_its_stand_in(stand_ins: ChartSource) -> None:
    locked, own = read_lock(PROJECT / "charts.lock"), read_lock(stand_ins.folder / "charts.lock")
    assert [(each.name, each.version) for each in own] == [(each.name, each.version) for each in locked]
    assert not {each.sha256 for each in own} & {each.sha256 for each in locked}
    for each in own:
        with tarfile.open(stand_ins.folder / each.archive) as archive:
            content = archive.extractfile(f"{each.name}/Chart.yaml")
            assert content is not None
            chart = yaml.safe_load(content)
        assert (chart["name"], chart["version"]) == (each.name, each.version)


@pytest.mark.unit
def test_charts_dir_comes_first_then_the_shared_folder_then_the_stand_ins(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    assert chart_source.choose({}, project).kind == "stand-in"
    assert chart_source.choose({"CHARTS_DIR": ""}, project).folder == project / ".cache/rehearsal/charts"
    (tmp_path / "shared/charts").mkdir(parents=True)
    shared = chart_source.choose({}, project)
    assert (shared.kind, shared.settings) == ("upstream", {"folder": str(tmp_path / "shared/charts")})
    assert str(shared) == f"upstream charts from {tmp_path / 'shared/charts'}"
    (tmp_path / "shared/charts/charts.lock").touch()
    locked = chart_source.choose({}, project)
    assert locked == shared
    assert str(locked) == f"upstream charts from {tmp_path / 'shared/charts'} with its own charts.lock"
    (project / "own").mkdir()
    assert chart_source.choose({"CHARTS_DIR": "own"}, project).folder == project / "own"
    with pytest.raises(NotADirectoryError, match="CHARTS_DIR=nowhere"):
        chart_source.choose({"CHARTS_DIR": "nowhere"}, project)


@pytest.mark.unit
def test_stand_in_and_upstreams_chart_of_a_version_never_take_each_others_place(
    stand_ins: ChartSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = tmp_path / "upstream"
    upstream.mkdir()
    shutil.copytree(chart_source.CHARTS / "k8s-gateway", copy := tmp_path / "k8s-gateway")
    (copy / "values.yaml").write_text("upstream: true\n")
    content = chart_source.archive(copy, "3.7.2")
    (upstream / "k8s-gateway-3.7.2.tgz").write_bytes(content)
    (upstream / LOCK).write_text(LockedChart("k8s-gateway", "3.7.2", digest(content)).as_toml())
    monkeypatch.setattr("settings.charts.find.PROJECT", tmp_path)
    for _ in range(2):
        paths = []
        for group in ({"folder": str(upstream)}, stand_ins.settings):
            found, problems = find_charts(Charts.model_validate(group), ("k8s-gateway",), None)
            assert not problems
            paths.append(found["k8s-gateway"].path)
        assert (tmp_path / paths[0]).read_bytes() == content
        assert (tmp_path / paths[1]).read_bytes() == stand_in(stand_ins, "k8s-gateway").read_bytes()


@pytest.mark.unit
def test_stand_in_is_no_chart_of_the_projects_own_lock(
    stand_ins: ChartSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(PROJECT / "charts.lock", tmp_path)
    monkeypatch.setattr("settings.charts.find.PROJECT", tmp_path)
    _, problems = find_charts(Charts(folder=str(stand_ins.folder), lock="charts.lock"), ("external-dns",), None)
    assert "is not the chart that was reviewed" in problems[0].reason
