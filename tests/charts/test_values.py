"""Every value that the program hands to a chart exists there, and does something.

The charts ignore unknown keys in silence, so a misspelt key looks exactly like one that works. Two checks tell them
apart: each emitted path must be in the chart's own values.yaml, and a changed value must change the manifests (or be
refused by the chart, which then has looked at it).
"""

import inspect
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from components import nginx
from components.cilium import network
from components.cilium.network import CiliumNetworkArgs, cilium_values
from components.nginx import NginxIngressArgs, nginx_values
from settings.ingress import release_name
from tests.support.configs import settings_with
from tests.support.rendering import BARE_CLUSTER, CLUSTER, Capabilities, RenderError, chart_archive, helm_template

pytestmark = pytest.mark.render

Keys = tuple[str, ...]

WORKERS = min(4, os.cpu_count() or 1)

# Emitted paths that values.yaml does not list, as patterns, each with the reason why it works all the same.
UNLISTED: dict[str, dict[str, str]] = {
    "cilium": {
        "devices": "a comment in values.yaml of 1.19, a listed key in 1.20",
        "loadBalancer.mode": "a comment in values.yaml",
        "loadBalancer.algorithm": "a comment in values.yaml",
        "loadBalancer.dsrDispatch": "a comment in values.yaml",
        "maglev.tableSize": "a comment in values.yaml",
        "socketLB.hostNamespaceOnly": "a comment in values.yaml",
        "l2announcements.lease*": "comments in values.yaml",
        "extraConfig.*": "open map: entries of the agents' configuration",
        "resources.*": "open map: a Kubernetes resource",
        "operator.resources.*": "open map: a Kubernetes resource",
        "*serviceMonitor.labels.*": "open map: labels",
    },
    "ingress-nginx": {
        "fullnameOverride": "a comment in values.yaml",
        "controller.image.repository": "a comment in values.yaml: stands for registry and image",
        "controller.service.allocateLoadBalancerNodePorts": "a comment in values.yaml",
        "controller.config.*": "open map: the controller's ConfigMap (CONTROLLER_KEYS in its test_config_map.py)",
        "controller.extraArgs.*": "open map: flags of the controller",
        "controller.addHeaders.*": "open map: response headers",
        "controller.service.annotations.*": "open map: annotations",
        "controller.metrics.serviceMonitor.additionalLabels.*": "open map: labels",
        "controller.resources.limits.*": "open map: a Kubernetes resource",
        "controller.autoscaling.behavior.*": "open map: a Kubernetes resource",
    },
}


@dataclass(frozen=True)
class Emitted:
    """The values of one configuration, with the release that they are for."""

    title: str
    chart: str
    release: str
    namespace: str
    values: dict[str, Any]

    def template(self, values: Mapping[str, Any], capabilities: Capabilities) -> str:
        """The manifests under these values."""
        return helm_template(chart_archive(self.chart), self.release, self.namespace, json.dumps(values), capabilities)


CILIUM_CHANGES: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "every option": {
        "cilium": {
            "loadBalancing": {"acceleration": "native"},
            "bandwidthManager": {"bbr": True},
            "encryption": {"enabled": True, "nodeEncryption": True},
            "serviceMesh": {"envoyConfig": True, "gatewayApi": True, "mutualAuthentication": True},
            "upgradeCompatibility": "1.19",
        },
        "loadBalancer": {"bgp": {"localAsn": 64513, "peers": {"router": {"address": "192.168.1.1", "asn": 64512}}}},
        "discovery": {"coredns": {"clusterDomain": "k8s.internal"}},
    },
    "another platform, tunnel routing, no monitoring": {
        "cluster": {"platform": "generic"},
        "monitoring": {"enabled": False},
        "cilium": {
            "routingMode": "tunnel",
            "tunnelProtocol": "geneve",
            "loadBalancing": {"dsrDispatch": "geneve"},
            "hubble": {"enabled": False, "relay": False, "ui": False},
        },
    },
    "kube-proxy stays": {
        "cilium": {
            "kubeProxyReplacement": False,
            "masquerade": "iptables",
            "hostLegacyRouting": True,
            "localRedirectPolicies": False,
            "loadBalancing": {"mode": "snat", "algorithm": "random"},
        },
        "loadBalancer": {"pools": None, "addresses": None, "l2": {"enabled": False}},
        "ingress": {"classes": {"internal": {"serviceType": "ClusterIP"}}},
    },
}

NGINX_CHANGES: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "every option": {
        "image": f"registry.example.com/ingress-nginx/controller:v1.15.1@sha256:{'0' * 64}",
        "classes": {
            name: {
                "serviceType": "LoadBalancer",
                "clientAddress": "connection",
                "autoscaling": {"maxReplicas": 3},
                "blockUserAgents": ["~*GPTBot"],
                "sslPassthrough": True,
            }
            for name in ("external", "internal")
        },
    },
}


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they arrive at the chart: no tuples, no enumerations."""
    result: dict[str, Any] = json.loads(json.dumps(values))
    return result


@cache
def emitted(chart: str) -> tuple[Emitted, ...]:
    """The configurations that together emit every key of a chart."""
    if chart == "cilium":
        return tuple(
            Emitted(
                title, chart, "cilium", "kube-system", plain(cilium_values(CiliumNetworkArgs.of(settings_with(change))))
            )
            for title, change in CILIUM_CHANGES.items()
        )
    return tuple(
        Emitted(
            f"{name}, {title}",
            chart,
            release_name(name),
            "network",
            plain(nginx_values(NginxIngressArgs.of(settings_with({"ingress": change}), name, namespace="network"))),
        )
        for title, change in NGINX_CHANGES.items()
        for name in ("external", "internal")
    )


def leaves(values: Mapping[str, Any], above: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every path that ends in something other than a filled mapping, with that value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def defaults_of(archive: Path) -> dict[str, Any]:
    """values.yaml of a chart."""
    with tarfile.open(archive) as content:
        member = next(name for name in content.getnames() if name.count("/") == 1 and name.endswith("/values.yaml"))
        file = content.extractfile(member)
        assert file is not None
        result: dict[str, Any] = yaml.safe_load(file)
        return result


def listed(path: Keys, defaults: Mapping[str, Any]) -> bool:
    """Whether a chart's values.yaml has a path."""
    found: Any = defaults
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return False
        found = found[key]
    return True


def exception_for(path: Keys, chart: str) -> str | None:
    """The entry of UNLISTED that covers a path."""
    return next((entry for entry in UNLISTED[chart] if fnmatchcase(".".join(path), entry)), None)


def unknown_paths(chart: str, values: Mapping[str, Any]) -> set[str]:
    """Emitted paths that neither the chart's values.yaml nor UNLISTED knows."""
    defaults = defaults_of(chart_archive(chart))
    return {
        ".".join(path)
        for path, _ in leaves(values)
        if not listed(path, defaults) and exception_for(path, chart) is None
    }


def other_values(value: Any) -> list[Any]:
    """Values that differ from one."""
    others: list[Any]
    match value:
        case bool():
            others = [not value]
        case int():
            others = [value + 1]
        case float():
            others = [value * 2]
        case str() if re.fullmatch(r"1\.\d+", value):
            others = ["1.7"]  # a version: the chart compares it with those that changed a default
        case str():
            others = [f"{value}x"]
        case list():
            others = [value[:-1], [*value, value[0]]] if value else [["x"]]
        case _:
            others = [{"x": "x"}]
    return others


def replaced(values: Mapping[str, Any], path: Keys, value: Any) -> dict[str, Any]:
    """The values with another value at a path."""
    result = deepcopy(dict(values))
    place = result
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return result


def matters(each: Emitted, originals: Mapping[Capabilities, str], path: Keys) -> bool:
    """Whether another value at a path changes the manifests, or is refused by the chart."""
    value = dict(leaves(each.values))[path]
    for capabilities, original in originals.items():
        for other in other_values(value):
            try:
                text = each.template(replaced(each.values, path, other), capabilities)
            except RenderError as fault:
                assert re.search("execution error|don't meet the specifications|error calling", str(fault)), fault
                return True
            if text != original:
                return True
    return False


def idle_paths(configurations: Iterable[Emitted], only: Keys | None = None) -> set[str]:
    """Emitted paths whose value makes no difference under any of the configurations that emit them."""
    idle: set[Keys] = set()
    effective: set[Keys] = set()
    with ThreadPoolExecutor(WORKERS) as workers:
        for each in configurations:
            # A cluster without the monitoring API is the only one in which trustCRDsExist makes a difference.
            originals = {offered: each.template(each.values, offered) for offered in (CLUSTER, BARE_CLUSTER)}
            paths = [path for path, _ in leaves(each.values) if path not in effective and only in (None, path)]
            results = workers.map(partial(matters, each, originals), paths)
            for path, makes_a_difference in zip(paths, results, strict=True):
                (effective if makes_a_difference else idle).add(path)
    return {".".join(path) for path in idle - effective}


@pytest.mark.parametrize("chart", ["cilium", "ingress-nginx"])
def test_every_value_exists_in_the_chart(chart: str) -> None:
    for each in emitted(chart):
        assert not unknown_paths(chart, each.values), f"{each.title}: the chart ignores these without a word"


@pytest.mark.parametrize("chart", ["cilium", "ingress-nginx"])
def test_every_exception_is_still_needed(chart: str) -> None:
    defaults = defaults_of(chart_archive(chart))
    paths = {path for each in emitted(chart) for path, _ in leaves(each.values) if not listed(path, defaults)}
    used = {exception_for(path, chart) for path in paths}
    assert used >= UNLISTED[chart].keys(), "take what is no longer used out of UNLISTED"


@pytest.mark.parametrize("chart", ["cilium", "ingress-nginx"])
def test_a_changed_value_changes_the_manifests(chart: str) -> None:
    assert not idle_paths(emitted(chart)), "the chart never looks at these keys: they do nothing"


@pytest.mark.parametrize(("module", "chart"), [(network, "cilium"), (nginx, "ingress-nginx")])
def test_the_configurations_emit_every_key_that_the_program_knows(module: ModuleType, chart: str) -> None:
    """A key that is emitted under a condition needs a configuration here that meets the condition."""
    sources = [
        inspect.getsource(function)
        for _, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and str(function.__annotations__.get("return")).startswith("dict[")
    ]
    written = {key for source in sources for key in re.findall(r'"([\w.-]+)"(?:: |\] = )', source)}
    found = {key for each in emitted(chart) for path, _ in leaves(each.values) for key in path}
    inside_lists = {"maxSkew", "topologyKey", "whenUnsatisfiable", "labelSelector", "matchLabels", "matchLabelKeys"}
    labels = {"app.kubernetes.io/instance", "app.kubernetes.io/component"}
    assert len(written) > 30, "the search finds nothing"
    assert not written - found - inside_lists - labels, "add a configuration that emits these"


@pytest.mark.parametrize(
    ("chart", "path", "value"),
    [
        ("cilium", ("cgroup", "automount"), {"enabled": False}),
        ("cilium", ("hubble", "realy"), {"enabled": True}),
        ("cilium", ("extraConfigs",), {"bpf-fragments-map-max": "8192"}),
        ("ingress-nginx", ("controller", "ingresClass"), "external"),
        ("ingress-nginx", ("controller", "metrics", "servicemonitor"), {"enabled": True}),
    ],
)
def test_both_checks_catch_a_misspelt_key(chart: str, path: Keys, value: Any) -> None:
    shipped = emitted(chart)[0]
    misspelt = replace(shipped, values=replaced(shipped.values, path, value))
    (wrong,) = {found for found, _ in leaves(misspelt.values)} - {found for found, _ in leaves(shipped.values)}
    assert unknown_paths(chart, misspelt.values) == {".".join(wrong)}
    assert idle_paths([misspelt], only=wrong) == {".".join(wrong)}
