"""The specification's commands find what they look for, under the names that docs/operations.md gives for them."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from settings.stack import Settings
from tests.support.configs import PROJECT, settings_with
from tests.support.rendering import Manifests, chart_archive, render, render_cilium, render_nginx

pytestmark = pytest.mark.render


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_with()


@pytest.fixture(scope="module")
def cilium(settings: Settings) -> Manifests:
    return render_cilium(settings)


@pytest.fixture(scope="module")
def controllers(settings: Settings) -> dict[str, Manifests]:
    return {name: render_nginx(settings, name) for name in settings.ingress.classes}


def commands() -> list[str]:
    """The commands of the table in docs/operations.md that replace those of the specification."""
    section = (PROJECT / "docs/operations.md").read_text().split("## The commands of the specification")[1]
    rows = [line for line in section.split("\n## ")[0].splitlines() if line.startswith("| `")]
    return [match for row in rows for match in re.findall(r"`(kubectl [^`]+)`", row.split(" | ")[1])]


def pod_labels(workload: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def test_agents_are_found_by_the_specifications_label_and_container(cilium: Manifests) -> None:
    agent = cilium.get("DaemonSet", "cilium")
    assert pod_labels(agent)["k8s-app"] == "cilium"
    assert agent["metadata"]["namespace"] == "kube-system"
    assert cilium.container("DaemonSet", "cilium", "cilium-agent")


def test_controllers_are_found_by_the_specifications_label(controllers: dict[str, Manifests]) -> None:
    for name, manifests in controllers.items():
        deployment = manifests.get("Deployment", f"{name}-ingress-nginx-controller")
        assert pod_labels(deployment)["app.kubernetes.io/name"] == "ingress-nginx"
        assert deployment["metadata"]["namespace"] == "network"


def test_metrics_of_each_controller_are_behind_a_service_on_port_10254(controllers: dict[str, Manifests]) -> None:
    for name, manifests in controllers.items():
        service = manifests.get("Service", f"{name}-ingress-nginx-controller-metrics")
        assert [port["port"] for port in service["spec"]["ports"]] == [10254]


def test_certificates_are_a_kind_of_the_cert_manager_chart() -> None:
    values = {"crds": {"enabled": True}}
    manifests = render(chart_archive("cert-manager"), "cert-manager", "cert-manager", values)
    names = {entry["spec"]["names"]["plural"] for entry in manifests.of("CustomResourceDefinition")}
    assert "certificates" in names


def test_every_object_that_the_documented_commands_name_exists(
    cilium: Manifests, controllers: dict[str, Manifests]
) -> None:
    """`svc/x`, `deployment/x` and `ds/x` in the table are names of rendered objects."""
    kinds = {"svc": "Service", "deployment": "Deployment", "ds": "DaemonSet"}
    everything = [cilium, *controllers.values()]
    named = [found for command in commands() for found in re.findall(r"\b(svc|deployment|ds)/([\w-]+)", command)]
    assert len(named) > 5, "the table names hardly any object"
    for kind, name in named:
        assert any(name in manifests.names(kinds[kind]) for manifests in everything), f"{kind}/{name} does not exist"
