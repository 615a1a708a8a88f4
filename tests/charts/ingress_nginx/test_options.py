"""What ingress-nginx's chart makes of options that the shipped configuration leaves off, and what it never asks."""

import json
from typing import Any

import pytest

from components.nginx import NginxIngressArgs, nginx_values
from settings.errors import ConfigError
from tests.support.configs import settings_with, stack_config
from tests.support.rendering import BARE_CLUSTER, Manifest, Manifests, chart_archive, render, render_nginx

pytestmark = pytest.mark.render


def rendered(change: dict[str, Any], name: str = "internal") -> Manifests:
    """The release of a class with a change of its settings."""
    return render_nginx(settings_with({"ingress": {"classes": {name: change}}}), name)


def config(change: dict[str, Any], name: str = "internal") -> dict[str, str]:
    """The controller's ConfigMap under a change of its settings."""
    return dict(rendered(change, name).data(f"{name}-ingress-nginx-controller"))


def controller(chart: Manifests, name: str = "internal") -> Manifest:
    return chart.container("Deployment", f"{name}-ingress-nginx-controller", "controller")


def with_values(change: dict[str, Any]) -> Manifests:
    """The internal release with values of `controller` changed behind the settings' back."""
    values = json.loads(json.dumps(nginx_values(NginxIngressArgs.of(settings_with(), "internal", namespace="network"))))
    values["controller"].update(change)
    return render(chart_archive("ingress-nginx"), "internal-ingress-nginx", "network", values)


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ({"tuning": {"workerProcesses": "4"}}, "worker-processes", "4"),
        ({"tuning": {"workerConnections": 16384}}, "max-worker-connections", "16384"),
        ({"tuning": {"workerOpenFiles": 1048576}}, "max-worker-open-files", "1048576"),
        ({"tuning": {"keepaliveTimeoutSeconds": 120}}, "keep-alive", "120"),
        ({"tuning": {"keepaliveRequests": 10000}}, "keep-alive-requests", "10000"),
        ({"tuning": {"clientBodyBufferSize": "100M"}}, "client-body-buffer-size", "100M"),
        ({"tuning": {"clientMaxBodySize": "0"}}, "proxy-body-size", "0"),
        ({"tuning": {"proxyBufferSize": "16k"}}, "proxy-buffer-size", "16k"),
        ({"tuning": {"proxyBuffers": 4}}, "proxy-buffers-number", "4"),
        ({"tuning": {"proxyConnectTimeoutSeconds": 7}}, "proxy-connect-timeout", "7"),
        ({"tuning": {"proxyReadTimeoutSeconds": 7}}, "proxy-read-timeout", "7"),
        ({"tuning": {"proxySendTimeoutSeconds": 7}}, "proxy-send-timeout", "7"),
        ({"tuning": {"gzip": False}}, "use-gzip", "false"),
        ({"tuning": {"gzipLevel": 1}}, "gzip-level", "1"),
        ({"tuning": {"gzipTypes": ["text/plain"]}}, "gzip-types", "text/plain"),
        ({"tls": {"protocols": ["TLSv1.3"]}}, "ssl-protocols", "TLSv1.3"),
        ({"tls": {"ciphers": ["ECDHE-RSA-CHACHA20-POLY1305"]}}, "ssl-ciphers", "ECDHE-RSA-CHACHA20-POLY1305"),
        ({"tls": {"sessionCacheSize": "50m"}}, "ssl-session-cache-size", "50m"),
        ({"tls": {"sessionTimeoutMinutes": 60}}, "ssl-session-timeout", "60m"),
        ({"tls": {"hsts": {"enabled": False}}}, "hsts", "false"),
        ({"tls": {"hsts": {"maxAgeSeconds": 15724800}}}, "hsts-max-age", "15724800"),
        ({"tls": {"hsts": {"includeSubdomains": False}}}, "hsts-include-subdomains", "false"),
        ({"tls": {"hsts": {"preload": True}}}, "hsts-preload", "true"),
        ({"hideHeaders": ["Via"]}, "hide-headers", "Via"),
        ({"blockUserAgents": ["~*GPTBot", "~*CCBot"]}, "block-user-agents", "~*GPTBot,~*CCBot"),
    ],
)
def test_setting_reaches_its_key(change: dict[str, Any], key: str, value: str) -> None:
    assert config(change)[key] == value, "the setting would do nothing"


def test_limits_follow_the_settings() -> None:
    snippet = config({"limits": {"requestsPerMinute": 600, "burstMultiplier": 2, "connections": 50}})["http-snippet"]
    for directive in ("rate=600r/m;", "burst=1200 ", "limit_conn default_connections 50;"):
        assert directive in snippet


def test_limits_off_leaves_no_directive() -> None:
    base = stack_config()
    base["ingress"]["classes"]["internal"]["limits"] = None
    found = render_nginx(settings_with(base=base), "internal").data("internal-ingress-nginx-controller")
    assert "http-snippet" not in found, "every client would still be limited"


def test_autoscaling_replaces_the_fixed_number_of_replicas() -> None:
    chart = rendered({"autoscaling": {"maxReplicas": 3}})
    scaler = chart.get("HorizontalPodAutoscaler", "internal-ingress-nginx-controller")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 3), "one replica would be no high availability"
    targets = {
        metric["resource"]["name"]: metric["resource"]["target"]["averageUtilization"] for metric in scaler["metrics"]
    }
    assert targets == {"cpu": 50, "memory": 70}
    assert scaler["behavior"] == {"scaleDown": {"stabilizationWindowSeconds": 300}}
    deployment = chart.get("Deployment", "internal-ingress-nginx-controller")["spec"]
    assert "replicas" not in deployment, "each update would undo what the autoscaler decided"


def test_disruption_budget_remains_under_autoscaling() -> None:
    chart = rendered({"autoscaling": {"maxReplicas": 3}})
    assert chart.get("PodDisruptionBudget", "internal-ingress-nginx-controller")["spec"]["minAvailable"] == 1


def test_single_replica_has_no_disruption_budget() -> None:
    chart = rendered({"replicas": 1})
    assert chart.get("Deployment", "internal-ingress-nginx-controller")["spec"]["replicas"] == 1
    assert not chart.of("PodDisruptionBudget"), "the node could never be drained"


def test_disruption_budget_follows_the_settings() -> None:
    chart = rendered({"replicas": 3, "minAvailable": 2})
    assert chart.get("PodDisruptionBudget", "internal-ingress-nginx-controller")["spec"]["minAvailable"] == 2


def test_resources_follow_the_settings() -> None:
    resources = {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}
    found = controller(rendered({"resources": resources}))["resources"]
    assert found == {"requests": resources["requests"], "limits": {"cpu": "1", "memory": "1Gi"}}


@pytest.mark.parametrize("digest", ["", f"@sha256:{'0' * 64}"])
def test_image_is_swapped_by_one_setting_for_both_classes(digest: str) -> None:
    image = f"registry.example.com:5000/mirror/ingress-nginx/controller:v1.16.0-fork{digest}"
    settings = settings_with({"ingress": {"image": image}})
    found = {controller(render_nginx(settings, name), name)["image"] for name in ("external", "internal")}
    assert found == {image}


def test_external_controller_can_be_exposed_at_its_fixed_address() -> None:
    chart = rendered({"serviceType": "LoadBalancer"}, "external")
    service = chart.get("Service", "external-ingress-nginx-controller")
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["metadata"]["annotations"] == {"lbipam.cilium.io/ips": "192.168.1.104"}


def test_default_backend_can_be_left_out() -> None:
    assert "internal-ingress-nginx-defaultbackend" not in rendered({"defaultBackend": False}).names("Deployment")


def test_ssl_passthrough_is_a_flag_without_a_value() -> None:
    chart = rendered({"sslPassthrough": True})
    assert "--enable-ssl-passthrough" in controller(chart)["args"]


def test_default_certificate_follows_the_settings() -> None:
    chart = rendered({"defaultCertificate": "cert-manager/wildcard"})
    assert "--default-ssl-certificate=cert-manager/wildcard" in controller(chart)["args"]


def test_no_default_certificate_leaves_no_flag() -> None:
    arguments = controller(rendered({"defaultCertificate": None}, "external"), "external")["args"]
    assert not [each for each in arguments if "default-ssl-certificate" in each]


def test_controller_value_and_election_id_follow_the_settings() -> None:
    chart = rendered({"controllerValue": "example.com/lan", "electionId": "lan-leader"})
    assert {"--controller-class=example.com/lan", "--election-id=lan-leader"} <= set(controller(chart)["args"])


def test_added_headers_follow_the_settings() -> None:
    headers = rendered({"addHeaders": {"X-Robots-Tag": "noindex"}}).data("internal-ingress-nginx-custom-add-headers")
    assert headers["X-Robots-Tag"] == "noindex"


def test_monitoring_off_leaves_no_service_monitor_but_the_metrics() -> None:
    settings = settings_with({"monitoring": {"enabled": False}})
    for name in ("external", "internal"):
        chart = render_nginx(settings, name)
        assert not chart.of("ServiceMonitor"), "a cluster without the Prometheus operator refuses the release"
        assert chart.get("Service", f"{name}-ingress-nginx-controller-metrics")


def test_monitoring_labels_follow_the_settings() -> None:
    settings = settings_with({"monitoring": {"labels": {"prometheus": "main"}}})
    monitor = render_nginx(settings, "internal").get("ServiceMonitor", "internal-ingress-nginx-controller")
    assert monitor["metadata"]["labels"]["prometheus"] == "main"


def test_service_monitors_need_no_prometheus_operator_at_the_time_of_rendering() -> None:
    chart = render_nginx(settings_with(), "internal", BARE_CLUSTER)
    assert chart.of("ServiceMonitor")


def test_controllers_of_another_namespace_stay_in_it() -> None:
    chart = render_nginx(settings_with({"ingress": {"namespace": "edge"}}), "internal")
    namespaces = {each["metadata"].get("namespace") for each in chart} - {None}
    assert namespaces == {"edge"}
    assert chart.data("internal-ingress-nginx-controller")["add-headers"].startswith("edge/")


# What the chart accepts without a word


def test_chart_accepts_keys_that_the_controller_drops() -> None:
    chart = with_values({"config": {"worker-connections": "1024"}})
    assert chart.data("internal-ingress-nginx-controller")["worker-connections"] == "1024"


def test_chart_accepts_a_misspelt_key_of_its_own() -> None:
    assert "--ingress-class=other" not in controller(with_values({"ingresClass": "other"}))["args"]


def test_chart_accepts_a_budget_that_no_drain_can_meet_and_settings_do_not() -> None:
    chart = with_values({"minAvailable": 2})
    assert chart.get("PodDisruptionBudget", "internal-ingress-nginx-controller")["spec"]["minAvailable"] == 2
    with pytest.raises(ConfigError, match="no node could be drained"):
        settings_with({"ingress": {"classes": {"internal": {"minAvailable": 2}}}})


def test_chart_accepts_the_upstream_class_and_settings_do_not() -> None:
    assert "--ingress-class=nginx" in controller(with_values({"ingressClass": "nginx"}))["args"]
    with pytest.raises(ConfigError, match="served by accident"):
        settings_with({"ingress": {"classes": {"nginx": {}}}})


def test_chart_accepts_one_election_for_two_controllers_and_settings_do_not() -> None:
    other = "external-ingress-nginx-leader"
    assert f"--election-id={other}" in controller(with_values({"electionID": other}))["args"]
    with pytest.raises(ConfigError, match="one controller would never write status"):
        settings_with({"ingress": {"classes": {"internal": {"electionId": other}}}})


def test_chart_runs_config_values_through_its_template_engine() -> None:
    """So a value with two braces is no text: the JSON access log must not contain any."""
    chart = with_values({"config": {"hide-headers": "{{ .Release.Name }}"}})
    assert chart.data("internal-ingress-nginx-controller")["hide-headers"] == "internal-ingress-nginx"
    assert not [value for value in config({}).values() if "{{" in value]
