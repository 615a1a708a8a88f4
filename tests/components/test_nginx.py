"""NginxIngress: the class, the release, the webhook's scope. Its values are proved by rendering."""

from typing import Any

import pytest

from components.nginx import NginxIngress, NginxIngressArgs
from tests.support.configs import settings_with
from tests.support.recorder import Registration, record

pytestmark = pytest.mark.unit


def built(name: str, change: dict[str, Any] | None = None) -> dict[str, Registration]:
    args = NginxIngressArgs.of(settings_with(change), name, namespace="network")
    return {entry.name: entry for entry in record(lambda: NginxIngress(name, args))}


@pytest.mark.parametrize("name", ["external", "internal"])
def test_ingress_class_has_the_controller_of_the_specification_and_is_no_default(name: str) -> None:
    inputs = built(name)[f"{name}-class"].inputs
    assert inputs["metadata"]["name"] == name
    assert inputs["spec"] == {"controller": f"k8s.io/{name}"}
    assert "ingressclass.kubernetes.io/is-default-class" not in inputs["metadata"].get("annotations", {})


def test_default_class_says_so() -> None:
    inputs = built("internal", {"ingress": {"classes": {"internal": {"default": True}}}})["internal-class"].inputs
    assert inputs["metadata"]["annotations"] == {"ingressclass.kubernetes.io/is-default-class": "true"}


def test_changed_controller_value_is_planned_as_a_replacement() -> None:
    """The API server refuses the change in place; the preview must say what will happen."""
    opts = built("internal")["internal-class"].opts
    assert opts.replace_on_changes == ["spec.controller"]
    assert opts.delete_before_replace is True


@pytest.mark.parametrize("name", ["external", "internal"])
def test_release_is_named_after_its_class(name: str) -> None:
    release = built(name)[f"{name}-release"].inputs
    assert release["name"] == f"{name}-ingress-nginx" == release["values"]["fullnameOverride"]
    assert release["namespace"] == "network"


def test_controller_starts_after_its_class_exists() -> None:
    dependencies = built("internal")["internal-release"].opts.depends_on
    assert isinstance(dependencies, list)
    assert [type(entry).__name__ for entry in dependencies] == ["IngressClass"]


@pytest.mark.parametrize("name", ["external", "internal"])
def test_admission_webhook_sees_only_ingress_objects_of_its_own_class(name: str) -> None:
    patch = built(name)[f"{name}-admission-scope"]
    assert patch.inputs["metadata"]["name"] == f"{name}-ingress-nginx-admission"
    (webhook,) = patch.inputs["webhooks"]
    assert webhook["name"] == "validate.nginx.ingress.kubernetes.io", "the chart's webhook is merged by this name"
    (condition,) = webhook["matchConditions"]
    assert condition["expression"].endswith(f"== '{name}'"), "tests/stack/test_cluster.py shows what it lets through"


def test_external_controller_has_no_address_on_the_lan() -> None:
    service = built("external")["external-release"].inputs["values"]["controller"]["service"]
    assert service == {"type": "ClusterIP"}


def test_internal_controller_asks_for_its_fixed_address() -> None:
    service = built("internal")["internal-release"].inputs["values"]["controller"]["service"]
    assert service["annotations"] == {"lbipam.cilium.io/ips": "192.168.1.103"}


def test_external_controller_can_be_given_its_address_on_the_lan() -> None:
    change = {"ingress": {"classes": {"external": {"serviceType": "LoadBalancer"}}}}
    service = built("external", change)["external-release"].inputs["values"]["controller"]["service"]
    assert service["annotations"] == {"lbipam.cilium.io/ips": "192.168.1.104"}


@pytest.mark.parametrize("cidr", ["10.244.0.0/16", "10.42.0.0/16"])
def test_forwarded_headers_are_believed_from_pods_only(cidr: str) -> None:
    change = {"cluster": {"podCidr": cidr}}
    config = built("external", change)["external-release"].inputs["values"]["controller"]["config"]
    assert config["proxy-real-ip-cidr"] == cidr
    assert config["forwarded-for-header"] == "CF-Connecting-IP"


def test_internal_controller_believes_no_forwarded_header() -> None:
    config = built("internal")["internal-release"].inputs["values"]["controller"]["config"]
    assert config["use-forwarded-headers"] == config["enable-real-ip"] == "false"
    assert "forwarded-for-header" not in config
