"""The metrics that alerts and the dashboard may ask for, each with where it is defined, and how to find them in PromQL.

A metric that nobody exports gives no error anywhere: its alert never fires and its panel stays empty.
"""

import re

CILIUM_DASHBOARDS = "dashboards in the Cilium chart"
"""Checked against the chart itself in tests/charts/test_monitoring.py."""

CILIUM_OPERATOR = "Cilium documentation, Monitoring & Metrics, cilium-operator, LB-IPAM"
NGINX = "ingress-nginx v1.15, internal/ingress/metric/collectors"
CERT_MANAGER = "cert-manager v1.21, pkg/metrics"
CLOUDFLARED = "cloudflared, metrics of the packages connection and proxy"
TAILSCALE = "Tailscale, wgengine/magicsock and health, user metrics"
EXTERNAL_DNS = "external-dns v0.21, docs/monitoring/metrics.md"
COREDNS = "CoreDNS, plugin/metrics"
KUBE_STATE = "kube-state-metrics, docs/metrics"
CADVISOR = "kubelet, /metrics/cadvisor"

METRICS = {
    "up": "Prometheus itself",
    "cilium_bpf_map_pressure": CILIUM_DASHBOARDS,
    "cilium_drop_count_total": CILIUM_DASHBOARDS,
    "cilium_unreachable_nodes": CILIUM_DASHBOARDS,
    "hubble_dns_responses_total": CILIUM_DASHBOARDS,
    "hubble_drop_total": CILIUM_DASHBOARDS,
    "hubble_flows_processed_total": CILIUM_DASHBOARDS,
    "cilium_operator_lbipam_ips_available": CILIUM_OPERATOR,
    "cilium_operator_lbipam_services_unsatisfied": CILIUM_OPERATOR,
    "nginx_ingress_controller_config_last_reload_successful": NGINX,
    "nginx_ingress_controller_request_duration_seconds_bucket": NGINX,
    "nginx_ingress_controller_requests": NGINX,
    "certmanager_certificate_expiration_timestamp_seconds": CERT_MANAGER,
    "certmanager_certificate_ready_status": CERT_MANAGER,
    "certmanager_certificate_renewal_timestamp_seconds": CERT_MANAGER,
    "certmanager_http_acme_client_request_count": CERT_MANAGER,
    "cloudflared_tunnel_ha_connections": CLOUDFLARED,
    "cloudflared_tunnel_request_errors": CLOUDFLARED,
    "cloudflared_tunnel_response_by_code": CLOUDFLARED,
    "cloudflared_tunnel_total_requests": CLOUDFLARED,
    "tailscaled_health_messages": TAILSCALE,
    "tailscaled_inbound_bytes_total": TAILSCALE,
    "tailscaled_outbound_bytes_total": TAILSCALE,
    "external_dns_controller_last_sync_timestamp_seconds": EXTERNAL_DNS,
    "external_dns_registry_errors_total": EXTERNAL_DNS,
    "external_dns_source_errors_total": EXTERNAL_DNS,
    "coredns_dns_responses_total": COREDNS,
    "kube_deployment_spec_replicas": KUBE_STATE,
    "kube_deployment_status_replicas_available": KUBE_STATE,
    "kube_lease_owner": KUBE_STATE,
    "kube_pod_container_status_restarts_total": KUBE_STATE,
    "kube_service_status_load_balancer_ingress": KUBE_STATE,
    "kube_statefulset_replicas": KUBE_STATE,
    "kube_statefulset_status_replicas_ready": KUBE_STATE,
    "container_memory_working_set_bytes": CADVISOR,
}

LANGUAGE = {
    *("sum", "max", "min", "rate", "increase", "time", "vector", "absent", "histogram_quantile"),
    *("and", "by", "or"),
}
"""Functions, aggregations and operators of PromQL in use."""


def metrics_in(expression: str) -> set[str]:
    """The metrics that a PromQL expression asks for."""
    bare = re.sub(r'"(\\.|[^"\\])*"', "", expression)
    bare = re.sub(r"\{[^{}]*\}|\[[^\[\]]*\]|\bby \([^()]*\)", "", bare)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", bare)) - LANGUAGE
