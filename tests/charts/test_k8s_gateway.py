"""What k8s-gateway's chart makes of the settings: one test for each row of the specification and facts section 7."""

from collections.abc import Mapping
from typing import Any

import pytest

from components.discovery.gateway import gateway_values, lan_classes
from tests.components.test_discovery import arguments, built, discovery
from tests.support.configs import settings_with
from tests.support.corefile import Directive, ServerBlock, blocks, directives
from tests.support.rendering import BARE_CLUSTER, CLUSTER, Capabilities, Manifest, Manifests, chart_archive, render

pytestmark = pytest.mark.render


def render_gateway(change: Mapping[str, Any] | None = None, capabilities: Capabilities = CLUSTER) -> Manifests:
    args = arguments(settings_with(change or discovery()))
    gateway, address = args.discovery.lan_dns, args.gateway_address
    assert gateway and address
    values = gateway_values(gateway, args.cluster.domain, lan_classes(args.ingress), address)
    return render(chart_archive("k8s-gateway"), "k8s-gateway", "network", values, capabilities)


@pytest.fixture(scope="module")
def chart() -> Manifests:
    """The release as the specification wants it."""
    return render_gateway()


def server_block(chart: Manifests) -> ServerBlock:
    """The one block of its Corefile."""
    (block,) = blocks(chart.data("k8s-gateway")["Corefile"])
    return block


def plugin(chart: Manifests, name: str) -> Directive:
    (found,) = [each for each in server_block(chart).directives if each.name == name]
    return found


def options(chart: Manifests) -> dict[str, tuple[str, ...]]:
    """What plugin k8s_gateway is told, by keyword."""
    return {words[0]: words[1:] for words in plugin(chart, "k8s_gateway").options}


def pod(chart: Manifests) -> Manifest:
    return chart.pod("Deployment", "k8s-gateway")


def test_lan_dns_answers_for_the_domain_of_the_cluster(chart: Manifests) -> None:
    assert plugin(chart, "k8s_gateway").arguments == ("example.com",)
    assert options(chart)["ttl"] == ("1",)
    assert options(chart)["resources"] == ("Ingress", "Service")


def test_only_classes_with_an_address_on_the_lan_are_answered(chart: Manifests) -> None:
    assert options(chart)["ingressClasses"] == ("internal",), "hosts of other classes are not reached there"
    change = discovery() | {"ingress": {"classes": {"external": {"serviceType": "LoadBalancer"}}}}
    assert options(render_gateway(change))["ingressClasses"] == ("external", "internal")


def test_without_such_a_class_no_ingress_is_watched() -> None:
    found = options(render_gateway(discovery() | {"ingress": {"classes": {"internal": {"serviceType": "ClusterIP"}}}}))
    assert found["resources"] == ("Service",), "without a filter every class would be answered"
    assert "ingressClasses" not in found


def test_hosts_behind_the_tunnel_resolve_on_the_lan_too(chart: Manifests) -> None:
    assert options(chart)["fallthrough"] == ("example.com",), (
        "app.example.com has no address in the cluster: the LAN would be told that it does not exist"
    )
    assert plugin(chart, "forward").arguments == (".", "1.1.1.1", "1.0.0.1"), (
        "by way of the pod's own resolver the question could come back here"
    )


def test_falling_through_can_be_narrowed_and_turned_off() -> None:
    narrowed = render_gateway(discovery(lanDns={"fallthroughZones": ["apps.example.com"]}))
    assert options(narrowed)["fallthrough"] == ("apps.example.com",)
    assert "fallthrough" not in options(render_gateway(discovery(lanDns={"fallthroughZones": []})))


def test_service_has_its_fixed_address_for_udp_and_tcp(chart: Manifests) -> None:
    service = chart.get("Service", "k8s-gateway")
    assert service["metadata"]["annotations"]["lbipam.cilium.io/ips"] == "192.168.1.102"
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["spec"]["externalTrafficPolicy"] == "Cluster"
    ports = {(port["protocol"], port["port"], port["targetPort"]) for port in service["spec"]["ports"]}
    assert ports == {("UDP", 53, "dns-udp"), ("TCP", 53, "dns-tcp")}, "long answers need TCP"
    container = chart.container("Deployment", "k8s-gateway", "k8s-gateway")
    assert {(port["protocol"], port["name"]) for port in container["ports"]} >= {
        ("UDP", "dns-udp"),
        ("TCP", "dns-tcp"),
    }


def test_two_pods_on_different_nodes(chart: Manifests) -> None:
    deployment = chart.get("Deployment", "k8s-gateway")
    assert deployment["spec"]["replicas"] == 2
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    (constraint,) = pod(chart)["topologySpreadConstraints"]
    assert constraint["labelSelector"]["matchLabels"].items() <= labels.items(), "it would count no pod of its own"
    assert constraint["whenUnsatisfiable"] == "DoNotSchedule"
    assert constraint["matchLabelKeys"] == ["pod-template-hash"]


def test_budget_and_metrics_service_select_the_charts_pods(chart: Manifests) -> None:
    labels = chart.get("Deployment", "k8s-gateway")["spec"]["template"]["metadata"]["labels"]
    found = built()
    budget = found["discovery-k8s-gateway-budget"].inputs["spec"]["selector"]["matchLabels"]
    selector = found["discovery-k8s-gateway-metrics"].inputs["spec"]["selector"]
    assert budget.items() <= labels.items()
    assert selector.items() <= labels.items()


def test_metrics_service_leads_to_the_port_that_the_chart_opens(chart: Manifests) -> None:
    (port,) = built()["discovery-k8s-gateway-metrics"].inputs["spec"]["ports"]
    container = chart.container("Deployment", "k8s-gateway", "k8s-gateway")
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports[port["targetPort"]] == port["port"] == 9153
    assert plugin(chart, "prometheus").arguments == ("0.0.0.0:9153",)
    assert not [each for each in chart.get("Service", "k8s-gateway")["spec"]["ports"] if each["port"] == 9153], (
        "metrics would be open to the LAN"
    )


def test_probes_find_the_plugins_that_answer_them(chart: Manifests) -> None:
    names = {each.name for each in server_block(chart).directives}
    assert {"health", "ready", "errors", "reload", "loop"} <= names
    assert plugin(chart, "health").options == (("lameduck", "5s"),)
    assert "log" not in names, "every query of the house would be written down"


def test_its_corefile_keeps_to_what_it_is_built_with(chart: Manifests) -> None:
    names = {each.name for each in server_block(chart).directives}
    assert names <= directives() - {"kubernetes", "k8s_external"} | {"k8s_gateway"}


def test_pod_may_do_nothing_but_answer(chart: Manifests) -> None:
    context = chart.container("Deployment", "k8s-gateway", "k8s-gateway")["securityContext"]
    assert context == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "runAsUser": 1000,
    }
    assert pod(chart)["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert server_block(chart).keys == (".:1053",), "port 53 would need a capability"


def test_pod_is_not_evicted_for_others_and_has_its_resources(chart: Manifests) -> None:
    assert pod(chart)["priorityClassName"] == "system-cluster-critical"
    container = chart.container("Deployment", "k8s-gateway", "k8s-gateway")
    assert container["resources"] == {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}


def test_settings_reach_the_pod() -> None:
    change = discovery(lanDns={"replicas": 3, "ttlSeconds": 60, "resources": {"limits": {"memory": "256Mi"}}})
    chart = render_gateway(change)
    assert chart.get("Deployment", "k8s-gateway")["spec"]["replicas"] == 3
    assert options(chart)["ttl"] == ("60",)
    assert chart.container("Deployment", "k8s-gateway", "k8s-gateway")["resources"]["limits"]["memory"] == "256Mi"


def test_chart_brings_no_monitor_of_its_own() -> None:
    for capabilities in (CLUSTER, BARE_CLUSTER):
        assert not render_gateway(capabilities=capabilities).of("ServiceMonitor"), "there would be two"
