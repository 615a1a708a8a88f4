"""What Cilium's chart offers to those who watch, as shipped: Hubble, metrics, monitors and dashboards."""

import pytest

from tests.support.rendering import Manifests

pytestmark = pytest.mark.render


def test_hubble_records_flows_behind_relay_and_ui(chart: Manifests, config: dict[str, str]) -> None:
    assert config["enable-hubble"] == "true"
    assert chart.get("Service", "hubble-relay")["spec"]["ports"][0]["port"] == 80
    assert chart.get("Service", "hubble-ui")["spec"]["ports"][0]["port"] == 80
    assert {"hubble-relay", "hubble-ui"} <= chart.names("Deployment")


def test_hubble_metrics_are_on_9965_and_not_on_9090(chart: Manifests, config: dict[str, str]) -> None:
    assert config["hubble-metrics"].split() == ["dns", "drop", "tcp", "flow", "port-distribution", "icmp", "httpV2"]
    assert config["enable-hubble-open-metrics"] == "true"
    assert config["hubble-metrics-server"] == ":9965"
    service = chart.get("Service", "hubble-metrics")["spec"]
    assert (service["clusterIP"], service["ports"][0]["port"]) == ("None", 9965)


def test_hubble_certificates_are_made_in_the_cluster(chart: Manifests) -> None:
    assert chart.get("CronJob", "hubble-generate-certs")["spec"]["schedule"], "certificates would expire"
    assert not chart.of("Secret"), "the chart would make new keys, and a change, on every preview"


def test_agent_metrics_are_on_9962_under_a_port_named_metrics(chart: Manifests, config: dict[str, str]) -> None:
    """Facts 2.2: the documented monitor selects k8s-app=cilium and a port `prometheus`; neither would match."""
    assert config["prometheus-serve-addr"] == ":9962"
    port = chart.get("Service", "cilium-agent")["spec"]["ports"][0]
    assert (port["name"], port["port"], port["targetPort"]) == ("metrics", 9962, "prometheus")
    monitor = chart.get("ServiceMonitor", "cilium-agent")["spec"]
    assert monitor["selector"]["matchLabels"] == {"app.kubernetes.io/name": "cilium-agent"}
    assert monitor["endpoints"][0]["port"] == "metrics"


def test_operator_metrics_are_on_9963(chart: Manifests, config: dict[str, str]) -> None:
    assert config["operator-prometheus-serve-addr"] == ":9963"
    assert chart.get("Service", "cilium-operator")["spec"]["ports"][0]["port"] == 9963
    assert chart.get("ServiceMonitor", "cilium-operator")["spec"]["endpoints"][0]["port"] == "metrics"


def test_envoy_metrics_are_on_9964(chart: Manifests) -> None:
    port = chart.get("Service", "cilium-envoy")["spec"]["ports"][0]
    assert (port["name"], port["port"]) == ("envoy-metrics", 9964)
    assert chart.get("ServiceMonitor", "cilium-envoy")["spec"]["endpoints"][0]["port"] == "envoy-metrics"


def test_hubble_has_a_service_monitor(chart: Manifests) -> None:
    assert chart.get("ServiceMonitor", "hubble")["spec"]["endpoints"][0]["port"] == "hubble-metrics"


def test_prometheus_finds_every_service_monitor_by_its_label(chart: Manifests) -> None:
    monitors = chart.of("ServiceMonitor")
    assert {"cilium-agent", "cilium-operator", "hubble"} <= chart.names("ServiceMonitor")
    for monitor in monitors:
        name = monitor["metadata"]["name"]
        assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack", f"{name} would not be scraped"


def test_dashboards_carry_the_label_that_grafana_looks_for(chart: Manifests) -> None:
    found = {
        manifest["metadata"]["name"]
        for manifest in chart.of("ConfigMap")
        if manifest["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    }
    assert {"cilium-dashboard", "cilium-operator-dashboard", "hubble-dashboard"} <= found
    assert len(found) == 6, "one for the agent, one for the operator, four for Hubble"
