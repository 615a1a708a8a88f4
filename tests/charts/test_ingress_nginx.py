"""What ingress-nginx's chart makes of the shipped configuration: one test for each row of the specification and facts.

Names with `spec` are rows of the specification; the others are rows of facts sections 3.1 to 3.3 and 11. Options that
the shipped configuration leaves off are in test_nginx_options_chart.py.
"""

import json
import re
from typing import Any

import pytest

from tests.support.configs import running_cluster_config, settings_with
from tests.support.rendering import Manifest, Manifests, render_nginx

pytestmark = pytest.mark.render

CLASSES = ("external", "internal")

# What the controller decodes from its ConfigMap: the fields of `Configuration` in its config.go and of `Backend` in its
# defaults, and the names that its configmap.go takes apart by hand. It drops any other key without a word.
CONTROLLER_KEY_NAMES = """
access-log-params access-log-path add-headers allow-backend-server-header allow-cross-namespace-resources
allow-snippet-annotations annotation-value-word-blocklist annotations-risk-level app-root bind-address block-cidrs
block-referers block-user-agents brotli-level brotli-min-length brotli-types client-body-buffer-size
client-body-timeout client-header-buffer-size client-header-timeout compute-full-forwarded-for custom-http-errors
debug-connections default-type denylist-source-range disable-access-log disable-http-access-log disable-ipv6
disable-ipv6-dns disable-proxy-intercept-errors disable-stream-access-log enable-access-log-for-default-backend
enable-aio-write enable-auth-access-log enable-brotli enable-modsecurity enable-multi-accept enable-ocsp
enable-opentelemetry enable-owasp-modsecurity-crs enable-real-ip enable-serial-reloads enable-syslog
enable-underscores-in-headers error-log-level error-log-path force-ssl-redirect forwarded-for-header
forwarded-for-proxy-protocol-header forwarded-host-header generate-request-id geoip2-autoreload-in-minutes
global-allowed-response-headers global-auth-always-set-cookie global-auth-cache-duration global-auth-cache-key
global-auth-method global-auth-request-redirect global-auth-response-headers global-auth-signin
global-auth-signin-redirect-param global-auth-snippet global-auth-url grpc-buffer-size-kb gzip-disable gzip-level
gzip-min-length gzip-types hide-headers hsts hsts-include-subdomains hsts-max-age hsts-preload http-access-log-path
http-redirect-code http-snippet http2-max-concurrent-streams http2-max-field-size http2-max-header-size
http2-max-requests ignore-invalid-headers keep-alive keep-alive-requests large-client-header-buffers
limit-conn-status-code limit-conn-zone-variable limit-rate limit-rate-after limit-req-status-code load-balance
location-snippet log-format-escape-json log-format-escape-none log-format-stream log-format-upstream lua-shared-dicts
main-snippet map-hash-bucket-size max-worker-connections max-worker-open-files modsecurity-snippet
nginx-status-ipv4-whitelist nginx-status-ipv6-whitelist no-auth-locations no-tls-redirect-locations
opentelemetry-config opentelemetry-operation-name opentelemetry-trust-incoming-span otel-max-export-batch-size
otel-max-queuesize otel-sampler otel-sampler-parent-based otel-sampler-ratio otel-schedule-delay-millis
otel-service-name otlp-collector-host otlp-collector-port plugins preserve-trailing-slash
proxy-add-original-uri-header proxy-body-size proxy-buffer-size proxy-buffering proxy-buffers-number
proxy-busy-buffers-size proxy-connect-timeout proxy-cookie-domain proxy-cookie-path proxy-headers-hash-bucket-size
proxy-headers-hash-max-size proxy-http-version proxy-max-temp-file-size proxy-next-upstream
proxy-next-upstream-timeout proxy-next-upstream-tries proxy-protocol-header-timeout proxy-read-timeout
proxy-real-ip-cidr proxy-redirect-from proxy-redirect-to proxy-request-buffering proxy-send-timeout proxy-set-headers
proxy-ssl-location-only proxy-stream-next-upstream proxy-stream-next-upstream-timeout proxy-stream-next-upstream-tries
proxy-stream-responses proxy-stream-timeout relative-redirects retry-non-idempotent reuse-port
server-name-hash-bucket-size server-name-hash-max-size server-snippet server-tokens service-upstream
skip-access-log-urls ssl-buffer-size ssl-ciphers ssl-dh-param ssl-early-data ssl-ecdh-curve ssl-protocols ssl-redirect
ssl-reject-handshake ssl-session-cache ssl-session-cache-size ssl-session-ticket-key ssl-session-tickets
ssl-session-timeout stream-access-log-path stream-snippet strict-validate-path-type syslog-host syslog-port
upstream-hash-by upstream-hash-by-subset upstream-hash-by-subset-size upstream-keepalive-connections
upstream-keepalive-requests upstream-keepalive-time upstream-keepalive-timeout use-forwarded-headers use-geoip2
use-gzip use-http2 use-port-in-redirects use-proxy-protocol variables-hash-bucket-size variables-hash-max-size
whitelist-source-range worker-cpu-affinity worker-processes worker-shutdown-timeout
"""
CONTROLLER_KEYS = frozenset(CONTROLLER_KEY_NAMES.split())

INVENTED_KEYS = {
    "worker-connections": "max-worker-connections",
    "worker-rlimit-nofile": "max-worker-open-files",
    "keepalive-timeout": "keep-alive",
    "keepalive-requests": "keep-alive-requests",
    "client-max-body-size": "proxy-body-size",
    "proxy-buffers": "proxy-buffers-number",
    "enable-gzip": "use-gzip",
}
"""Names that the specification and its siblings use, and the keys that exist."""


@pytest.fixture(scope="module", params=CLASSES)
def name(request: pytest.FixtureRequest) -> str:
    """Each of the two ingress classes."""
    return str(request.param)


@pytest.fixture
def chart(name: str) -> Manifests:
    """The release of a class."""
    return render_nginx(settings_with(), name)


@pytest.fixture
def config(name: str, chart: Manifests) -> dict[str, str]:
    """The controller's ConfigMap."""
    return dict(chart.data(f"{name}-ingress-nginx-controller"))


def deployment(name: str, chart: Manifests) -> Manifest:
    return chart.get("Deployment", f"{name}-ingress-nginx-controller")


def controller(name: str, chart: Manifests) -> Manifest:
    return chart.container("Deployment", f"{name}-ingress-nginx-controller", "controller")


def arguments(name: str, chart: Manifests) -> dict[str, str]:
    """Flags of the controller; those without a value have an empty one."""
    flags = [argument.removeprefix("--").partition("=") for argument in controller(name, chart)["args"][1:]]
    return {flag: value for flag, _, value in flags}


# Wiring


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


def test_snippets_by_annotation_are_refused(config: dict[str, str]) -> None:
    assert config.get("allow-snippet-annotations", "false") == "false", (
        "who may write an Ingress could read all Secrets"
    )
    assert "annotations-risk-level" not in config, "Critical would let snippets through"


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


# The ConfigMap, key by key


def test_every_key_is_one_that_the_controller_knows(config: dict[str, str]) -> None:
    assert not config.keys() - CONTROLLER_KEYS, "the controller drops it without a word"


def test_names_that_the_sources_invented_are_not_used(config: dict[str, str]) -> None:
    assert not config.keys() & INVENTED_KEYS.keys()
    assert set(INVENTED_KEYS.values()) <= config.keys()


def test_spec_worker_processes_is_worker_processes(config: dict[str, str]) -> None:
    assert config["worker-processes"] == "auto"


def test_spec_worker_connections_is_max_worker_connections(config: dict[str, str]) -> None:
    assert config["max-worker-connections"] == "1024"


def test_spec_keepalive_timeout_is_keep_alive(config: dict[str, str]) -> None:
    assert config["keep-alive"] == "65"


def test_spec_client_body_buffer_size_is_client_body_buffer_size(config: dict[str, str]) -> None:
    assert config["client-body-buffer-size"] == "128k"


def test_spec_client_max_body_size_is_proxy_body_size(config: dict[str, str]) -> None:
    assert config["proxy-body-size"] == "50m"


def test_spec_enable_gzip_is_use_gzip(config: dict[str, str]) -> None:
    assert config["use-gzip"] == "true"


def test_spec_gzip_level_is_gzip_level(config: dict[str, str]) -> None:
    assert config["gzip-level"] == "6"


def test_spec_gzip_types_is_gzip_types(config: dict[str, str]) -> None:
    assert config["gzip-types"] == "text/plain application/json application/javascript text/css"


def test_worker_rlimit_nofile_is_max_worker_open_files(config: dict[str, str]) -> None:
    assert config["max-worker-open-files"] == "65535"


def test_keepalive_requests_is_keep_alive_requests(config: dict[str, str]) -> None:
    assert config["keep-alive-requests"] == "1000"


def test_proxy_buffers_8_4k_is_a_number_and_a_size(config: dict[str, str]) -> None:
    assert (config["proxy-buffers-number"], config["proxy-buffer-size"]) == ("8", "4k")


def test_proxy_timeouts_are_5_60_60(config: dict[str, str]) -> None:
    assert [config[f"proxy-{step}-timeout"] for step in ("connect", "read", "send")] == ["5", "60", "60"]


def test_spec_ssl_termination_offers_tls_1_2_and_1_3(config: dict[str, str]) -> None:
    assert config["ssl-protocols"] == "TLSv1.2 TLSv1.3"


def test_ssl_ciphers_are_four_with_forward_secrecy(config: dict[str, str]) -> None:
    assert config["ssl-ciphers"].split(":") == [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
    ]


def test_ssl_session_cache_is_a_switch_and_a_size(config: dict[str, str]) -> None:
    """The sources' `shared:SSL:10m` is no boolean: the controller would take it for false."""
    keys = ("ssl-session-cache", "ssl-session-cache-size", "ssl-session-timeout")
    assert [config[key] for key in keys] == ["true", "10m", "10m"]


def test_hsts_lasts_a_year_for_all_subdomains(config: dict[str, str]) -> None:
    keys = ("hsts", "hsts-max-age", "hsts-include-subdomains", "hsts-preload")
    assert [config[key] for key in keys] == ["true", "31536000", "true", "false"]


def test_http_is_redirected_to_https(config: dict[str, str]) -> None:
    assert (config["ssl-redirect"], config["force-ssl-redirect"]) == ("true", "true")


def test_security_headers_come_from_a_config_map_instead_of_snippets(
    name: str, chart: Manifests, config: dict[str, str]
) -> None:
    headers = f"{name}-ingress-nginx-custom-add-headers"
    assert config["add-headers"] == f"network/{headers}"
    assert chart.data(headers) == {
        "X-Frame-Options": "SAMEORIGIN",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "strict-origin-when-cross-origin",
    }


def test_backends_do_not_tell_what_they_are(config: dict[str, str]) -> None:
    assert config["hide-headers"] == "Server,X-Powered-By"


@pytest.mark.parametrize(
    ("base", "pod_cidr"), [(None, "10.244.0.0/16"), (running_cluster_config(), "10.42.0.0/16")], ids=["spec", "running"]
)
def test_external_controller_believes_cloudflares_header_from_pods_only(
    base: dict[str, Any] | None, pod_cidr: str
) -> None:
    chart = render_nginx(settings_with(base=base), "external")
    config = chart.data("external-ingress-nginx-controller")
    assert (config["use-forwarded-headers"], config["enable-real-ip"]) == ("true", "true")
    assert config["forwarded-for-header"] == "CF-Connecting-IP"
    assert config["proxy-real-ip-cidr"] == pod_cidr, "anyone in the local network could forge a client address"


def test_internal_controller_believes_no_forwarded_header() -> None:
    config = render_nginx(settings_with(), "internal").data("internal-ingress-nginx-controller")
    assert (config["use-forwarded-headers"], config["enable-real-ip"]) == ("false", "false")
    assert not {"forwarded-for-header", "proxy-real-ip-cidr"} & config.keys()


def test_access_log_is_json_with_the_clients_address(config: dict[str, str]) -> None:
    assert config["log-format-escape-json"] == "true", "a quote in a user agent would break the line"
    entry = json.loads(re.sub(r"\$(\w+)(?=[,}])", r'"$\1"', config["log-format-upstream"]))
    assert entry["client"] == "$remote_addr", "$proxy_protocol_addr is empty without the PROXY protocol"
    assert {"time", "host", "method", "path", "status", "duration", "upstream", "id"} <= entry.keys()


def test_spec_rate_limiting_answers_429(config: dict[str, str]) -> None:
    assert (config["limit-req-status-code"], config["limit-conn-status-code"]) == ("429", "429")


def test_spec_rate_limit_is_600_a_minute_with_a_burst_of_three_times_that(config: dict[str, str]) -> None:
    limit = r"^limit_req_zone \$default_limit_key zone=(\w+):10m rate=600r/m;\nlimit_req zone=\1 burst=1800 nodelay;$"
    assert re.search(limit, config["http-snippet"], re.MULTILINE)


def test_spec_connection_limit_is_256(config: dict[str, str]) -> None:
    limit = r"^limit_conn_zone \$default_limit_key zone=(\w+):10m;\nlimit_conn \1 256;$"
    assert re.search(limit, config["http-snippet"], re.MULTILINE)


def test_limits_spare_the_controllers_own_calls(config: dict[str, str]) -> None:
    own = 'map $default_limit_exempt $default_limit_key { 0 $binary_remote_addr; 1 ""; }'
    assert own in config["http-snippet"], "the controller would be refused its own status page"
    assert "{ default 0; 127.0.0.0/8 1; ::1/128 1; }" in config["http-snippet"]


def test_waf_is_left_to_the_edge(config: dict[str, str]) -> None:
    assert not {"enable-modsecurity", "enable-owasp-modsecurity-crs"} & config.keys()


def test_bots_are_not_blocked_by_default(config: dict[str, str]) -> None:
    assert "block-user-agents" not in config


def test_spec_service_types_open_no_node_port(name: str, chart: Manifests) -> None:
    types = {service["metadata"]["name"]: service["spec"]["type"] for service in chart.of("Service")}
    for service in chart.of("Service"):
        if service["spec"]["type"] == "LoadBalancer":
            assert service["spec"]["allocateLoadBalancerNodePorts"] is False, "every node's address would answer too"
    exposed = {service for service, kind in types.items() if kind != "ClusterIP"}
    assert exposed <= {"internal-ingress-nginx-controller"}, "it could be reached past the tunnel"
    assert "NodePort" not in types.values()
    assert f"{name}-ingress-nginx-controller" in types
