"""What cert-manager's chart makes of the settings: one test for each row of the specification and facts."""

from typing import Any

import pytest
import yaml

from components.certificates import cert_manager_values
from tests.components.test_certificates import arguments, recorded, settings_of
from tests.support.rendering import BARE_CLUSTER, CLUSTER, Capabilities, Manifest, Manifests, chart_archive, render

pytestmark = pytest.mark.render

DEPLOYMENTS = {
    "cert-manager": "cert-manager-controller",
    "cert-manager-webhook": "cert-manager-webhook",
    "cert-manager-cainjector": "cert-manager-cainjector",
}
"""The Deployments with the container of each."""

DEFINITIONS = {
    "certificaterequests.cert-manager.io",
    "certificates.cert-manager.io",
    "challenges.acme.cert-manager.io",
    "clusterissuers.cert-manager.io",
    "issuers.cert-manager.io",
    "orders.acme.cert-manager.io",
}


def render_cert_manager(change: dict[str, Any] | None = None, capabilities: Capabilities = CLUSTER) -> Manifests:
    values = cert_manager_values(arguments(settings_of(change)))
    return render(chart_archive("cert-manager"), "cert-manager", "cert-manager", values, capabilities)


@pytest.fixture(scope="module")
def chart() -> Manifests:
    """The release as the specification wants it."""
    return render_cert_manager()


def pods(chart: Manifests) -> dict[str, Manifest]:
    """Every pod of the release, those of hooks included, by the name of its workload."""
    workloads = [*chart.of("Deployment"), *chart.of("Job")]
    return {workload["metadata"]["name"]: workload["spec"]["template"] for workload in workloads}


def arguments_of(chart: Manifests) -> list[str]:
    found: list[str] = chart.container("Deployment", "cert-manager", "cert-manager-controller")["args"]
    return found


def test_spec_certificate_lifecycle_comes_with_its_definitions(chart: Manifests) -> None:
    assert chart.names("CustomResourceDefinition") == DEFINITIONS


def test_definitions_outlive_the_release(chart: Manifests) -> None:
    for definition in chart.of("CustomResourceDefinition"):
        assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", (
            "removing the release would delete every certificate of the cluster"
        )


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_two_pods_of_each_on_different_nodes_with_a_budget(chart: Manifests, name: str) -> None:
    deployment = chart.get("Deployment", name)
    assert deployment["spec"]["replicas"] == 2
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    (constraint,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert constraint["labelSelector"]["matchLabels"].items() <= labels.items(), "it would count no pod of its own"
    assert constraint["topologyKey"] == "kubernetes.io/hostname"
    assert constraint["whenUnsatisfiable"] == "DoNotSchedule"
    assert constraint["matchLabelKeys"] == ["pod-template-hash"], "a rollout would find every node taken"
    budget = chart.get("PodDisruptionBudget", name)["spec"]
    assert budget["minAvailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_single_pods_have_no_budget_that_would_block_a_drain() -> None:
    assert not render_cert_manager({"certificates": {"replicas": 1}}).of("PodDisruptionBudget")


@pytest.mark.parametrize(
    ("name", "limit"),
    [("cert-manager", "128Mi"), ("cert-manager-webhook", "64Mi"), ("cert-manager-cainjector", "128Mi")],
)
def test_resources_are_those_of_the_facts(chart: Manifests, name: str, limit: str) -> None:
    container = chart.container("Deployment", name, DEPLOYMENTS[name])
    assert container["resources"] == {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": limit}}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("controllerResources", "cert-manager"),
        ("webhookResources", "cert-manager-webhook"),
        ("cainjectorResources", "cert-manager-cainjector"),
    ],
)
def test_one_amount_is_changed_and_the_others_stay(key: str, name: str) -> None:
    chart = render_cert_manager({"certificates": {key: {"limits": {"memory": "512Mi"}}}})
    changed = chart.container("Deployment", name, DEPLOYMENTS[name])["resources"]
    assert changed == {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}}


def test_challenges_are_checked_over_https_and_never_with_the_clusters_resolvers(chart: Manifests) -> None:
    assert "--dns01-recursive-nameservers-only=true" in arguments_of(chart), "the LAN's own answers would be believed"
    assert "--dns01-recursive-nameservers=https://1.1.1.1/dns-query,https://1.0.0.1/dns-query" in arguments_of(chart)


def test_cluster_issuers_read_their_secrets_in_the_namespace_of_the_release(chart: Manifests) -> None:
    assert "--cluster-resource-namespace=$(POD_NAMESPACE)" in arguments_of(chart)


def test_hook_proves_the_webhook_once_the_release_is_installed(chart: Manifests) -> None:
    job = chart.get("Job", "cert-manager-startupapicheck")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][:2] == ["check", "api"], "it asks the API server to take an object through the webhook"


def test_every_pod_is_allowed_by_the_namespaces_pod_security_level(chart: Manifests) -> None:
    """Pod security standard `restricted` (Kubernetes documentation, Pod Security Standards)."""
    for name, template in pods(chart).items():
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        assert all(volume.keys() <= {"name", "configMap", "secret", "emptyDir"} for volume in pod.get("volumes", []))
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["readOnlyRootFilesystem"] is True, name


def test_pods_are_not_evicted_for_others(chart: Manifests) -> None:
    for name, template in pods(chart).items():
        assert template["spec"]["priorityClassName"] == "system-cluster-critical", name


def test_nothing_is_written_outside_the_layers_own_namespace(chart: Manifests) -> None:
    namespaces = {manifest["metadata"].get("namespace", "cert-manager") for manifest in chart}
    assert namespaces == {"cert-manager"}, "leader election in kube-system would need a Role there"


def test_release_follows_its_namespace() -> None:
    settings = settings_of({"certificates": {"namespace": "pki"}})
    chart = render(chart_archive("cert-manager"), "cert-manager", "pki", cert_manager_values(arguments(settings)))
    assert {manifest["metadata"].get("namespace", "pki") for manifest in chart} == {"pki"}
    assert "--leader-election-namespace=pki" in arguments_of(chart)


def test_monitoring_on_lets_prometheus_find_all_three(chart: Manifests) -> None:
    monitor = chart.get("ServiceMonitor", "cert-manager")
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["targetPort"] == "http-metrics"


def test_monitoring_off_leaves_no_monitor() -> None:
    chart = render_cert_manager({"monitoring": {"enabled": False}}, BARE_CLUSTER)
    assert not chart.of("ServiceMonitor"), "the API server would refuse the release where the CRDs are absent"
    assert not chart.of("PodMonitor")


def test_issuers_and_certificates_hold_only_fields_that_their_definitions_know(chart: Manifests) -> None:
    """The API server drops unknown fields of a custom resource without a word."""
    schemas = {
        definition["spec"]["names"]["kind"]: definition["spec"]["versions"][0]
        for definition in chart.of("CustomResourceDefinition")
    }
    checked = 0
    for entry in recorded().values():
        if (kind := entry.inputs.get("kind")) in schemas:
            version = schemas[kind]
            assert entry.inputs["apiVersion"] == f"cert-manager.io/{version['name']}"
            schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
            assert not unknown_fields(entry.inputs["spec"], schema, "spec"), entry.name
            checked += 1
    assert checked == 7, "four issuers, the authority and two default certificates"


def unknown_fields(value: Any, schema: dict[str, Any], path: str) -> list[str]:
    """Paths in `value` that a structural schema does not list, or of another type, or without a required field."""
    # The recorder's numbers are floats.
    types: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": float, "boolean": bool}
    if not isinstance(value, types[schema["type"]]):
        return [f"{path}: {value!r} is no {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path}: {value!r} is none of {schema['enum']}"]
    if isinstance(value, list):
        return [fault for each in value for fault in unknown_fields(each, schema["items"], f"{path}[]")]
    if not isinstance(value, dict):
        return []
    known = schema.get("properties", {})
    faults = [f"{path}.{key}: is missing" for key in schema.get("required", []) if key not in value]
    for key, inner in value.items():
        if key in known:
            faults += unknown_fields(inner, known[key], f"{path}.{key}")
        else:
            faults.append(f"{path}.{key}: is unknown")
    return faults


def test_a_misspelt_field_of_an_issuer_would_be_noticed(chart: Manifests) -> None:
    definition = chart.get("CustomResourceDefinition", "clusterissuers.cert-manager.io")
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    wrong = yaml.safe_load("acme: {server: x, privateKeySecretRef: {name: y}, solvers: [{selector: {dnsZone: [z]}}]}")
    assert unknown_fields(wrong, schema, "spec") == ["spec.acme.solvers[].selector.dnsZone: is unknown"]
