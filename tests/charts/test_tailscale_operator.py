"""What the tailscale-operator chart makes of the settings, and whether the operator's definitions take the rest."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from components.tailscale.ingress import TailscaleIngress, tailscale_values
from settings.stack import Settings
from tests.charts import test_values
from tests.charts.test_values import Emitted, idle_paths, plain, unknown_paths
from tests.support.configs import STAND_IN_SECRETS, merged, settings_with
from tests.support.recorder import record
from tests.support.rendering import Manifest, Manifests, chart_archive, render
from tests.support.tailscale import EVERYTHING, enabled, tailscale_arguments

pytestmark = pytest.mark.render

CHART = "tailscale-operator"

UNLISTED = {
    "operatorConfig.resources.*": "open map: a Kubernetes resource",
    "operatorConfig.podSecurityContext.*": "open map: a Kubernetes resource",
    "operatorConfig.securityContext.*": "open map: a Kubernetes resource",
}


def rendered(change: Mapping[str, Any] | None = None, *, fresh: bool = False) -> Manifests:
    settings = settings_with(change or enabled())
    values = tailscale_values(tailscale_arguments(settings))
    return render(chart_archive(CHART), CHART, settings.tailscale.namespace, values, fresh=fresh)


def environment(chart: Manifests) -> dict[str, str]:
    container = chart.container("Deployment", "operator", "operator")
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def test_spec_ingress_class_tailscale_has_its_controller_and_is_never_default() -> None:
    (found,) = rendered().of("IngressClass")
    assert found["metadata"]["name"] == "tailscale"
    assert found["spec"] == {"controller": "tailscale.com/ts-ingress"}, "the specification shows no parameters"
    assert not found["metadata"].get("annotations"), "an Ingress without a class would become a device"
    assert environment(rendered())["OPERATOR_INGRESS_CLASS_NAME"] == "tailscale", "the operator would serve another"


def test_definitions_are_part_of_the_release() -> None:
    names = rendered().names("CustomResourceDefinition")
    assert {f"{kind}.tailscale.com" for kind in ("connectors", "proxyclasses", "proxygroups")} <= names


def test_credentials_are_mounted_from_a_secret_that_the_release_does_not_hold() -> None:
    chart = rendered()
    assert chart.of("Secret") == [], "Helm's own record would hold the credentials"
    (volume,) = chart.pod("Deployment", "operator")["volumes"]
    assert volume["secret"] == {"secretName": "operator-oauth"}
    found = environment(chart)
    assert (found["CLIENT_ID_FILE"], found["CLIENT_SECRET_FILE"]) == ("/oauth/client_id", "/oauth/client_secret")
    for value in (STAND_IN_SECRETS["tailscaleOperatorClientId"], STAND_IN_SECRETS["tailscaleOperatorClientSecret"]):
        assert value not in chart.text


def test_tags_of_operator_and_proxies() -> None:
    found = environment(rendered())
    assert (found["OPERATOR_INITIAL_TAGS"], found["PROXY_TAGS"]) == ("tag:k8s-operator", "tag:k8s")
    several = environment(rendered(enabled(operatorTags=["tag:a", "tag:b"], proxyTags=["tag:c", "tag:d"])))
    assert (several["OPERATOR_INITIAL_TAGS"], several["PROXY_TAGS"]) == ("tag:a,tag:b", "tag:c,tag:d")


def test_operators_device_has_its_name() -> None:
    assert environment(rendered())["OPERATOR_HOSTNAME"] == "tailscale-operator"
    assert environment(rendered(enabled(hostname="anton-operator")))["OPERATOR_HOSTNAME"] == "anton-operator"


def test_proxies_without_a_class_of_their_own_have_ours() -> None:
    assert environment(rendered())["PROXY_DEFAULT_CLASS"] == "default"


@pytest.mark.parametrize(("mode", "value"), [("off", "false"), ("auth", "true"), ("noauth", "noauth")])
def test_api_server_proxy_impersonates_only_where_the_grants_say_as_whom(mode: str, value: str) -> None:
    chart = rendered(enabled(apiServerProxy=mode))
    assert environment(chart)["APISERVER_PROXY"] == value
    assert ("tailscale-auth-proxy" in chart.names("ClusterRole")) is (mode == "auth"), "it may act as anybody"


def test_operator_may_do_its_work_and_no_secrets_but_its_namespaces() -> None:
    chart = rendered()
    assert {"operator", "proxies"} <= chart.names("ServiceAccount")
    assert {"operator", "proxies"} <= chart.names("Role") & chart.names("RoleBinding")
    assert "tailscale-operator" in chart.names("ClusterRole") & chart.names("ClusterRoleBinding")
    rules = chart.get("ClusterRole", "tailscale-operator")["rules"]
    assert not [rule for rule in rules if "secrets" in rule["resources"]]


def test_operator_is_evicted_last_and_has_its_limits() -> None:
    chart = rendered()
    assert chart.pod("Deployment", "operator")["priorityClassName"] == "system-cluster-critical"
    assert chart.container("Deployment", "operator", "operator")["resources"] == {
        "requests": {"cpu": "20m", "memory": "128Mi"},
        "limits": {"memory": "512Mi"},
    }


def test_operator_can_gain_no_privilege() -> None:
    chart = rendered()
    assert chart.pod("Deployment", "operator")["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert chart.container("Deployment", "operator", "operator")["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("monitoring", [True, False])
def test_release_itself_brings_no_monitor(monitoring: bool) -> None:
    chart = rendered(merged(enabled(), {"monitoring": {"enabled": monitoring}}))
    assert not chart.of("ServiceMonitor"), "proxies get theirs from the operator, as their class says"


def test_release_needs_no_hooks() -> None:
    assert not [each for each in rendered() if "helm.sh/hook" in (each["metadata"].get("annotations") or {})]


def test_rendering_the_operator_twice_gives_the_same_manifests() -> None:
    assert rendered(fresh=True).text == rendered().text


def test_every_value_of_the_operator_exists_in_the_chart_and_does_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(test_values.UNLISTED, CHART, UNLISTED)
    values = plain(tailscale_values(tailscale_arguments(settings_with(enabled(apiServerProxy="auth")))))
    assert not unknown_paths(CHART, values), "the chart ignores these without a word"
    assert not idle_paths([Emitted("as shipped", CHART, CHART, "tailscale", values)]), "the chart never looks at these"


# The operator's own custom resources


def faults(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Where a value departs from a definition: keys that the API server would drop, and values that it would refuse."""
    kinds: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": (int, float)}
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if kind and not isinstance(value, kinds[kind]):
        yield f"{path}: {value} is no {kind}"
    elif kind == "object":
        known = schema.get("properties", {})
        yield from (f"{path}.{key} is missing" for key in schema.get("required", []) if key not in value)
        for key, item in value.items():
            inner = known.get(key) or schema.get("additionalProperties")
            if inner is None:
                yield f"{path}.{key} is unknown"
            else:
                yield from faults(item, inner, f"{path}.{key}")
    elif kind == "array":
        for item in value:
            yield from faults(item, schema["items"], f"{path}[]")
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value} is none of {schema['enum']}"
    elif "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{path}: {value} does not match {schema['pattern']}"


def definition(chart: Manifests, kind: str, api_version: str) -> Mapping[str, Any]:
    (found,) = [each for each in chart.of("CustomResourceDefinition") if each["spec"]["names"]["kind"] == kind]
    (version,) = [each for each in found["spec"]["versions"] if api_version.endswith(f"/{each['name']}")]
    schema: Manifest = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def custom_resources(settings: Settings) -> list[dict[str, Any]]:
    found = record(lambda: TailscaleIngress("tailscale", tailscale_arguments(settings)))
    return [entry.inputs for entry in found if entry.type.startswith("kubernetes:tailscale.com/")]


def test_definitions_of_the_chart_take_every_custom_resource() -> None:
    chart, resources = rendered(), custom_resources(settings_with(EVERYTHING))
    assert {each["kind"] for each in resources} == {"ProxyClass", "ProxyGroup", "Connector"}
    for each in resources:
        schema = definition(chart, each["kind"], each["apiVersion"])
        assert not list(faults(each["spec"], schema, each["kind"])), "dropped without a word, or refused"


def test_check_against_the_definitions_catches_what_they_do_not_take() -> None:
    schema = definition(rendered(), "Connector", "tailscale.com/v1alpha1")
    wrong = {"hostnamePrefix": "-lan", "replica": 2, "subnetRouter": {}, "exitNode": "no", "tags": [1]}
    assert {fault.partition(":")[0].partition(" ")[0] for fault in faults(wrong, schema, "Connector")} == {
        "Connector.hostnamePrefix",
        "Connector.replica",
        "Connector.subnetRouter.advertiseRoutes",
        "Connector.exitNode",
        "Connector.tags[]",
    }
