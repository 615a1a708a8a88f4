"""The infrastructure's policies fit the pods that the charts and components make: labels, ports, probes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from tests.charts.test_cert_manager import render_cert_manager
from tests.charts.test_k8s_gateway import render_gateway
from tests.charts.test_tailscale_operator import rendered as render_tailscale
from tests.support import edge
from tests.support.configs import settings_with
from tests.support.reachability import policies
from tests.support.rendering import Manifest, Manifests, chart_archive, render, render_nginx

pytestmark = pytest.mark.render

MADE_BY_THE_OPERATOR = {"tailscale.com/managed": "true"}
"""Labels of pods that no chart holds."""


@dataclass(frozen=True)
class Pod:
    """A pod template: where its pods run, their labels, what they listen on, and where the kubelet asks."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    ports: frozenset[tuple[int, str]]
    probes: frozenset[int]

    def has(self, labels: Mapping[str, str]) -> bool:
        return labels.items() <= self.labels.items()


def template(namespace: str, workload: Manifest) -> Pod:
    spec = workload["spec"]["template"]
    listening: set[tuple[int, str]] = set()
    probes: set[int] = set()
    for container in spec["spec"]["containers"]:
        ports = container.get("ports") or []
        listening |= {(int(port["containerPort"]), port.get("protocol", "TCP")) for port in ports}
        by_name = {port["name"]: int(port["containerPort"]) for port in ports if "name" in port}
        for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
            if asked := container.get(kind, {}).get("httpGet"):
                probes.add(by_name[asked["port"]] if asked["port"] in by_name else int(asked["port"]))
    name, labels = workload["metadata"]["name"], spec["metadata"]["labels"]
    return Pod(namespace, name, labels, frozenset(listening), frozenset(probes))


def of_chart(namespace: str, chart: Manifests) -> Iterator[Pod]:
    yield from (template(namespace, manifest) for kind in ("Deployment", "Job") for manifest in chart.of(kind))


@cache
def pods() -> tuple[Pod, ...]:
    registered = edge.built()
    (connectors,) = (entry for entry in registered.values() if entry.type == "kubernetes:apps/v1:Deployment")
    (external_dns,) = (entry for entry in registered.values() if entry.inputs.get("name") == "external-dns")
    external_dns_chart = render(chart_archive("external-dns"), "external-dns", "network", external_dns.inputs["values"])
    settings = settings_with()
    return (
        *of_chart("network", render_nginx(settings, "external")),
        *of_chart("network", render_nginx(settings, "internal")),
        *of_chart("network", external_dns_chart),
        *of_chart("network", render_gateway()),
        template("network", {"metadata": {"name": "cloudflared"}, "spec": connectors.inputs["spec"]}),
        *of_chart("cert-manager", render_cert_manager()),
        *of_chart("tailscale", render_tailscale()),
    )


def subject(policy: Manifest) -> Mapping[str, str]:
    selector = policy["spec"].get("podSelector", policy["spec"].get("endpointSelector"))
    labels: Mapping[str, str] = selector.get("matchLabels", {})
    return labels


def ports(rule: Mapping[str, Any]) -> set[tuple[int, str]]:
    native = {(int(port["port"]), port["protocol"]) for port in rule.get("ports") or []}
    return native | {(int(port["port"]), port["protocol"]) for to in rule.get("toPorts", []) for port in to["ports"]}


def specific() -> list[Manifest]:
    """Policies of the infrastructure that name pods of charts."""
    infrastructure = ("network", "cert-manager", "tailscale")
    named = [policy for policy in policies(infrastructure=True) if subject(policy)]
    return [
        policy
        for policy in named
        if policy["metadata"]["namespace"] in infrastructure and subject(policy) != MADE_BY_THE_OPERATOR
    ]


def test_every_policy_selects_pods_that_exist() -> None:
    assert len(specific()) > 15
    for policy in specific():
        namespace, name = policy["metadata"]["namespace"], policy["metadata"]["name"]
        selected = [pod for pod in pods() if pod.namespace == namespace and pod.has(subject(policy))]
        assert selected, f"{namespace}/{name} selects {subject(policy)}, which no pod has"


def test_every_port_that_is_let_in_is_one_that_a_selected_pod_listens_on() -> None:
    for policy in specific():
        selected = [pod for pod in pods() if pod.has(subject(policy))]
        listening = {port for pod in selected for port in pod.ports}
        for rule in policy["spec"].get("ingress") or []:
            assert ports(rule) <= listening, f"{policy['metadata']['name']} lets in what nobody listens on"


def test_every_pod_of_the_infrastructure_is_spoken_for() -> None:
    """Under default deny a pod without an allow of its own could do nothing but ask DNS."""
    for pod in pods():
        assert any(
            policy["metadata"]["namespace"] == pod.namespace and pod.has(subject(policy)) for policy in specific()
        ), f"nothing allows {pod.namespace}/{pod.name} anything"


def test_every_probe_port_is_let_in_from_the_nodes() -> None:
    allowed = {
        policy["metadata"]["namespace"]: {port for rule in policy["spec"]["ingress"] for port, _ in ports(rule)}
        for policy in policies(infrastructure=True)
        if policy["metadata"]["name"] == "allow-probes"
    }
    assert sum(len(pod.probes) for pod in pods()) > 8
    for pod in pods():
        assert pod.probes <= allowed[pod.namespace], f"a probe of {pod.namespace}/{pod.name} is cut off"
