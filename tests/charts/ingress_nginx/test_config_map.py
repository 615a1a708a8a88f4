"""What the controllers read: the ConfigMaps of ingress-nginx's chart under the shipped configuration, key by key.

Names with `spec` are rows of the specification; the others are rows of facts sections 3.1 to 3.3 and 11.
"""

import json
import re
from typing import Any

import pytest

from tests.support.configs import running_cluster_config, settings_with
from tests.support.rendering import Manifests, render_nginx

pytestmark = pytest.mark.render

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


@pytest.fixture
def config(name: str, chart: Manifests) -> dict[str, str]:
    """The controller's ConfigMap."""
    return dict(chart.data(f"{name}-ingress-nginx-controller"))


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


def test_snippets_by_annotation_are_refused(config: dict[str, str]) -> None:
    assert config.get("allow-snippet-annotations", "false") == "false", (
        "who may write an Ingress could read all Secrets"
    )
    assert "annotations-risk-level" not in config, "Critical would let snippets through"
