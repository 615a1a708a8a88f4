"""What ingress-nginx's chart makes of the shipped configuration: pods, Services, flags, webhook and monitor of a class.

Names with `spec` are rows of the specification; the others are rows of facts sections 3.1 to 3.3 and 11. The ConfigMaps
are in test_config_map.py, options that the shipped configuration leaves off in test_options.py.
"""

import re

import pytest

from tests.support.configs import settings_with
from tests.support.rendering import CLASSES, Manifest, Manifests, render_nginx

pytestmark = pytest.mark.render


def deployment(name: str, chart: Manifests) -> Manifest:
    return chart.get("Deployment", f"{name}-ingress-nginx-controller")


def controller(name: str, chart: Manifests) -> Manifest:
    return chart.container("Deployment", f"{name}-ingress-nginx-controller", "controller")


def arguments(name: str, chart: Manifests) -> dict[str, str]:
    """Flags of the controller; those without a value have an empty one."""
    flags = [argument.removeprefix("--").partition("=") for argument in controller(name, chart)["args"][1:]]
    return {flag: value for flag, _, value in flags}


def test_spec_controller_pods_are_in_network_under_the_label_of_its_commands(name: str, chart: Manifests) -> None:
    pods = deployment(name, chart)
    assert pods["metadata"]["namespace"] == "network"
    labels = pods["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "ingress-nginx", (
        "`kubectl get pods -n network -l app.kubernetes.io/name=ingress-nginx` would find nothing"
    )


def test_two_controllers_are_told_apart_by_their_release(name: str, chart: Manifests) -> None:
    labels = deployment(name, chart)["spec"]["selector"]["matchLabels"]
    assert labels["app.kubernetes.io/instance"] == f"{name}-ingress-nginx", "Services would select both controllers"


def test_release_name_is_the_prefix_of_every_object(name: str, chart: Manifests) -> None:
    for manifest in chart:
        found = manifest["metadata"]["name"]
        assert found.startswith(f"{name}-ingress-nginx"), f"{manifest['kind']}/{found} could collide with another's"


def test_two_controllers_share_no_object() -> None:
    names = [
        {(manifest["kind"], manifest["metadata"]["name"]) for manifest in render_nginx(settings_with(), each)}
        for each in CLASSES
    ]
    assert not names[0] & names[1], "the releases would fight over it"


def test_spec_controller_value_of_the_class(name: str, chart: Manifests) -> None:
    assert arguments(name, chart)["controller-class"] == f"k8s.io/{name}", "Ingress objects of the class stay unserved"


def test_ingress_class_comes_from_the_component_and_not_from_the_chart(chart: Manifests) -> None:
    assert not chart.of("IngressClass"), "two owners would fight over it"


def test_class_by_the_old_annotation_means_this_class_only(name: str, chart: Manifests) -> None:
    assert arguments(name, chart)["ingress-class"] == name, "both controllers would serve the annotation `nginx`"


def test_leader_election_is_the_classs_own(name: str, chart: Manifests) -> None:
    assert arguments(name, chart)["election-id"] == f"{name}-ingress-nginx-leader"
    leases = [rule for rule in chart.get("Role", f"{name}-ingress-nginx")["rules"] if "resourceNames" in rule]
    assert leases[0]["resourceNames"] == [f"{name}-ingress-nginx-leader"], "the leader could not renew its lease"


def test_status_is_published_from_the_controllers_own_service(name: str, chart: Manifests) -> None:
    assert arguments(name, chart)["publish-service"] == f"$(POD_NAMESPACE)/{name}-ingress-nginx-controller"


def test_spec_external_controller_is_reached_through_the_tunnel_only() -> None:
    service = render_nginx(settings_with(), "external").get("Service", "external-ingress-nginx-controller")
    assert service["spec"]["type"] == "ClusterIP", "it would get an address on the local network"
    assert not service["metadata"].get("annotations")
    assert [port["port"] for port in service["spec"]["ports"]] == [80, 443]


def test_spec_internal_controller_has_its_fixed_address_on_the_local_network() -> None:
    service = render_nginx(settings_with(), "internal").get("Service", "internal-ingress-nginx-controller")
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["metadata"]["annotations"] == {"lbipam.cilium.io/ips": "192.168.1.103"}
    assert service["spec"]["externalTrafficPolicy"] == "Cluster", (
        "Local black-holes traffic when the node that announces the address runs no controller"
    )


def test_spec_high_availability_has_two_replicas(name: str, chart: Manifests) -> None:
    assert deployment(name, chart)["spec"]["replicas"] == 2


def test_disruption_budget_leaves_one_controller(name: str, chart: Manifests) -> None:
    budget = chart.get("PodDisruptionBudget", f"{name}-ingress-nginx-controller")["spec"]
    assert budget["minAvailable"] == 1, "a node drain could take both"
    assert budget["selector"]["matchLabels"] == deployment(name, chart)["spec"]["selector"]["matchLabels"]


def test_controllers_are_spread_one_a_node(name: str, chart: Manifests) -> None:
    pod = chart.pod("Deployment", f"{name}-ingress-nginx-controller")
    (constraint,) = pod["topologySpreadConstraints"]
    assert (constraint["maxSkew"], constraint["topologyKey"]) == (1, "kubernetes.io/hostname")
    assert constraint["whenUnsatisfiable"] == "DoNotSchedule"
    labels = deployment(name, chart)["spec"]["template"]["metadata"]["labels"]
    assert constraint["labelSelector"]["matchLabels"].items() <= labels.items(), "it would count other pods"
    assert constraint["matchLabelKeys"] == ["pod-template-hash"], "a rolling update would find every node taken"


def test_resources(name: str, chart: Manifests) -> None:
    assert controller(name, chart)["resources"] == {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"cpu": "1", "memory": "500Mi"},
    }


def test_shutdown_waits_300_seconds_for_open_connections(name: str, chart: Manifests) -> None:
    pod = chart.pod("Deployment", f"{name}-ingress-nginx-controller")
    assert pod["terminationGracePeriodSeconds"] == 300


def test_controllers_are_evicted_last(name: str, chart: Manifests) -> None:
    pod = chart.pod("Deployment", f"{name}-ingress-nginx-controller")
    assert pod["priorityClassName"] == "system-cluster-critical"


def test_spec_metrics_service_is_on_10254(name: str, chart: Manifests) -> None:
    """The specification's `ingress-nginx-controller-metrics` has its class in front."""
    service = chart.get("Service", f"{name}-ingress-nginx-controller-metrics")["spec"]
    assert service["ports"][0]["port"] == 10254
    ports = {port["name"]: port["containerPort"] for port in controller(name, chart)["ports"]}
    assert ports[service["ports"][0]["targetPort"]] == 10254


def test_metrics_flag_is_enable_metrics(name: str, chart: Manifests) -> None:
    """`--metrics-bind-address`, as one source has it, does not exist; the controller would not start."""
    found = arguments(name, chart)
    assert found["enable-metrics"] == "true"
    assert "metrics-bind-address" not in found


def test_service_monitor_selects_the_labels_that_exist(name: str, chart: Manifests) -> None:
    monitor = chart.get("ServiceMonitor", f"{name}-ingress-nginx-controller")
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack", "Prometheus would not find it"
    service = chart.get("Service", f"{name}-ingress-nginx-controller-metrics")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_default_certificate_of_the_external_controller() -> None:
    found = arguments("external", render_nginx(settings_with(), "external"))
    assert found["default-ssl-certificate"] == "network/example-com-tls"


def test_ssl_passthrough_is_off(name: str, chart: Manifests) -> None:
    assert "enable-ssl-passthrough" not in arguments(name, chart), "the rules of layer 7 would be bypassed"


def test_internal_controller_has_its_own_default_backend() -> None:
    chart = render_nginx(settings_with(), "internal")
    backend = "internal-ingress-nginx-defaultbackend"
    assert arguments("internal", chart)["default-backend-service"] == f"$(POD_NAMESPACE)/{backend}"
    assert chart.get("Deployment", backend)
    assert chart.get("Service", backend)


def test_external_controller_has_no_default_backend() -> None:
    chart = render_nginx(settings_with(), "external")
    assert "default-backend-service" not in arguments("external", chart)
    assert chart.names("Deployment") == {"external-ingress-nginx-controller"}


def test_admission_webhook_of_the_class_fails_closed(name: str, chart: Manifests) -> None:
    (webhook,) = chart.get("ValidatingWebhookConfiguration", f"{name}-ingress-nginx-admission")["webhooks"]
    assert webhook["name"] == "validate.nginx.ingress.kubernetes.io", "the component patches it by this name"
    assert webhook["failurePolicy"] == "Fail"
    assert webhook["clientConfig"]["service"]["name"] == f"{name}-ingress-nginx-controller-admission"
    selectors = {"objectSelector", "namespaceSelector"} & webhook.keys()
    assert not selectors, "a label that no Ingress carries would switch validation off"


def test_only_the_webhooks_certificate_needs_helm_hooks(name: str, chart: Manifests) -> None:
    hooks = {
        each["metadata"]["name"] for each in chart if "helm.sh/hook" in (each["metadata"].get("annotations") or {})
    }
    prefix = f"{name}-ingress-nginx-admission"
    assert hooks == {prefix, f"{prefix}-create", f"{prefix}-patch"}


def test_image_is_the_charts_own_pinned_by_digest(name: str, chart: Manifests) -> None:
    image = controller(name, chart)["image"]
    assert re.fullmatch(r"registry\.k8s\.io/ingress-nginx/controller:v1\.15\.1@sha256:[0-9a-f]{64}", image)


def test_rendering_twice_gives_the_same_manifests(name: str, chart: Manifests) -> None:
    assert render_nginx(settings_with(), name, fresh=True).text == chart.text, "every preview would show a change"


def test_spec_service_types_open_no_node_port(name: str, chart: Manifests) -> None:
    types = {service["metadata"]["name"]: service["spec"]["type"] for service in chart.of("Service")}
    for service in chart.of("Service"):
        if service["spec"]["type"] == "LoadBalancer":
            assert service["spec"]["allocateLoadBalancerNodePorts"] is False, "every node's address would answer too"
    exposed = {service for service, kind in types.items() if kind != "ClusterIP"}
    assert exposed <= {"internal-ingress-nginx-controller"}, "it could be reached past the tunnel"
    assert "NodePort" not in types.values()
    assert f"{name}-ingress-nginx-controller" in types
