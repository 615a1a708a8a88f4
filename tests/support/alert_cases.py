"""What each alert must do: series that make it fire, such that leave it silent, and the words that people read."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

JOBS = (
    *("cilium-agent", "cilium-operator", "cilium-envoy", "hubble-metrics"),
    *("external-ingress-nginx-controller-metrics", "internal-ingress-nginx-controller-metrics"),
    *("cert-manager", "cloudflared", "external-dns", "k8s-gateway"),
)


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation, a sample a minute, that cross an alert's threshold, and such that stay just below.

    `since` is the minute from which on the crossing shows. `summary`, and `description` where it is a template, are the
    texts that people read; `labels` are what the alert carries beside its severity.
    """

    crossing: Mapping[str, str]
    below: Mapping[str, str]
    summary: str
    labels: Mapping[str, str] = field(default_factory=dict)
    since: int = 0
    description: str | None = None
    severity: str = "warning"

    def critical(self) -> Self:
        """The same for an alert on what cuts traffic off."""
        return replace(self, severity="critical")


def deployment(namespace: str, name: str, **labels: str) -> Case:
    """No pod of a Deployment against one."""
    series = f'kube_deployment_status_replicas_available{{namespace="{namespace}",deployment="{name}"}}'
    return Case(
        {series: "0x60"},
        {series: "1x60"},
        f"No pod of {namespace}/{name} is available",
        {"namespace": namespace, "deployment": name, **labels},
    )


def memory(crossing: int, shown: str) -> Case:
    """The agent's memory, in bytes, against one byte less."""
    series = 'container_memory_working_set_bytes{namespace="kube-system",container="cilium-agent",pod="cilium-a"}'
    return Case(
        {series: f"{crossing}x20"}, {series: f"{crossing - 1}x20"}, f"cilium-a uses {shown} of memory", POD_OF_CILIUM
    )


def restarts(crossing: float, below: float, shown: str) -> Case:
    """A container that restarts that often in a minute."""
    series = 'kube_pod_container_status_restarts_total{namespace="network",pod="cloudflared-a",container="cloudflared"}'
    return Case(
        {series: f"0+{crossing}x120"},
        {series: f"0+{below}x120"},
        "network/cloudflared-a restarts again and again",
        {"namespace": "network", "pod": "cloudflared-a", "container": "cloudflared"},
        since=59,
        description=f"Container cloudflared ended {shown} times within an hour.",
    )


NGINX_JOB = 'job="external-ingress-nginx-controller-metrics"'
EXTERNAL = {"ingress_class": "external"}
POD_OF_CILIUM = {"pod": "cilium-a"}
CERTIFICATE = 'job="cert-manager",namespace="cert-manager",exported_namespace="network",name="external-tls"'
UNISSUED = 'job="cert-manager",namespace="cert-manager",exported_namespace="network",name="never-issued"'
SHORT_LIVED = UNISSUED.replace("never-issued", "short-lived")
EXPIRY, RENEWAL = (f"certmanager_certificate_{time}_timestamp_seconds" for time in ("expiration", "renewal"))
CERTIFICATE_LABELS = {"exported_namespace": "network", "name": "external-tls"}
PROXIES = '{namespace="tailscale",statefulset="ts-web-abc"}'
REPLICAS = '{namespace="network",deployment="cloudflared"}'
LATENCY = "nginx_ingress_controller_request_duration_seconds_bucket"
CONNECTIONS = 'cloudflared_tunnel_ha_connections{job="cloudflared",pod="cloudflared-a"}'
TARGETS = {f'up{{job="{job}"}}': "1x40" for job in JOBS}

CASES = {
    "CiliumAgentDown": Case(
        {'up{job="cilium-agent",instance="192.168.1.98:9962"}': "0x20"},
        {'up{job="cilium-agent",instance="192.168.1.98:9962"}': "1x20"},
        "The Cilium agent on 192.168.1.98:9962 does not answer",
        {"job": "cilium-agent", "instance": "192.168.1.98:9962"},
    ).critical(),
    "CiliumPolicyEnforcementIssue": Case(
        {'cilium_drop_count_total{reason="Policy denied",direction="INGRESS",pod="cilium-a"}': "0+606x20"},
        {
            'cilium_drop_count_total{reason="Policy denied",direction="INGRESS",pod="cilium-a"}': "0+599x20",
            'cilium_drop_count_total{reason="Stale or unroutable IP",direction="INGRESS",pod="cilium-a"}': "0+6000x20",
        },
        "cilium-a drops 10.1 packets a second because of a policy",
        POD_OF_CILIUM,
        since=5,
    ),
    # 57 % and 86 % of 3584 MiB.
    "CiliumAgentMemoryHigh": memory(2142114939, "1.995GiB"),
    "CiliumAgentMemoryCritical": memory(3231962891, "3.01GiB").critical(),
    "CiliumMapPressure": Case(
        {'cilium_bpf_map_pressure{pod="cilium-a",map_name="ct4_global"}': "0.91x20"},
        {'cilium_bpf_map_pressure{pod="cilium-a",map_name="ct4_global"}': "0.9x20"},
        "eBPF map ct4_global of cilium-a is 91% full",
        {"pod": "cilium-a", "map_name": "ct4_global"},
    ),
    "CiliumNodesUnreachable": Case(
        {'cilium_unreachable_nodes{pod="cilium-a"}': "1x20"},
        {'cilium_unreachable_nodes{pod="cilium-a"}': "0x20"},
        "cilium-a cannot reach 1 nodes",
        POD_OF_CILIUM,
    ).critical(),
    "LoadBalancerAddressMissing": Case(
        {"cilium_operator_lbipam_services_unsatisfied": "1x20"},
        {"cilium_operator_lbipam_services_unsatisfied": "0x20"},
        "1 Services did not get the LoadBalancer address that they ask for",
    ),
    "HubbleDropsHigh": Case(
        {'hubble_drop_total{reason="STALE_OR_UNROUTABLE_IP",protocol="TCP"}': "0+606x20"},
        {
            'hubble_drop_total{reason="STALE_OR_UNROUTABLE_IP",protocol="TCP"}': "0+599x20",
            'hubble_drop_total{reason="POLICY_DENIED",protocol="TCP"}': "0+6000x20",
        },
        "10.1 packets a second are dropped: STALE_OR_UNROUTABLE_IP",
        {"reason": "STALE_OR_UNROUTABLE_IP"},
        since=5,
    ),
    "HubbleDnsErrors": Case(
        {
            'hubble_dns_responses_total{rcode="No Error"}': "0+949x30",
            'hubble_dns_responses_total{rcode="Server Failure"}': "0+51x30",
        },
        {
            'hubble_dns_responses_total{rcode="No Error"}': "0+451x30",
            'hubble_dns_responses_total{rcode="Non-Existent Domain"}': "0+500x30",
            'hubble_dns_responses_total{rcode="Server Failure"}': "0+49x30",
        },
        "5.1% of the DNS answers that Hubble sees are errors",
        since=1,
    ),
    "NginxErrorRatioHigh": Case(
        {
            f'nginx_ingress_controller_requests{{{NGINX_JOB},status="200"}}': "0+949x20",
            f'nginx_ingress_controller_requests{{{NGINX_JOB},status="503"}}': "0+51x20",
        },
        {
            f'nginx_ingress_controller_requests{{{NGINX_JOB},status="200"}}': "0+451x20",
            f'nginx_ingress_controller_requests{{{NGINX_JOB},status="404"}}': "0+500x20",
            f'nginx_ingress_controller_requests{{{NGINX_JOB},status="503"}}': "0+49x20",
        },
        "5.1% of the requests to class external fail",
        EXTERNAL,
        since=1,
    ),
    "NginxClientsLimited": Case(
        {
            f'nginx_ingress_controller_requests{{{NGINX_JOB},status="200"}}': "0+949x20",
            f'nginx_ingress_controller_requests{{{NGINX_JOB},status="429"}}': "0+51x20",
        },
        {
            f'nginx_ingress_controller_requests{{{NGINX_JOB},status="200"}}': "0+451x20",
            f'nginx_ingress_controller_requests{{{NGINX_JOB},status="404"}}': "0+500x20",
            f'nginx_ingress_controller_requests{{{NGINX_JOB},status="429"}}': "0+49x20",
        },
        "5.1% of the requests to class external are beyond the limits",
        EXTERNAL,
        since=1,
    ),
    "NginxLatencyHigh": Case(
        {
            f'{LATENCY}{{{NGINX_JOB},le="1"}}': "0+94x30",
            f'{LATENCY}{{{NGINX_JOB},le="2.5"}}': "0+100x30",
            f'{LATENCY}{{{NGINX_JOB},le="+Inf"}}': "0+100x30",
        },
        {
            f'{LATENCY}{{{NGINX_JOB},le="1"}}': "0+96x30",
            f'{LATENCY}{{{NGINX_JOB},le="2.5"}}': "0+100x30",
            f'{LATENCY}{{{NGINX_JOB},le="+Inf"}}': "0+100x30",
        },
        "One request in twenty to class external takes longer than 1.25s",
        EXTERNAL,
        since=1,
    ),
    "NginxConfigReloadFailed": Case(
        {f'nginx_ingress_controller_config_last_reload_successful{{{NGINX_JOB},pod="external-a"}}': "0x20"},
        {f'nginx_ingress_controller_config_last_reload_successful{{{NGINX_JOB},pod="external-a"}}': "1x20"},
        "external-a of class external runs with an old configuration",
        {"pod": "external-a", **EXTERNAL},
    ).critical(),
    "NginxControllerDown": deployment("network", "external-ingress-nginx-controller", **EXTERNAL).critical(),
    "CertificateExpiringSoon": Case(
        {f"{EXPIRY}{{{CERTIFICATE}}}": "1814399x70", f"{RENEWAL}{{{CERTIFICATE}}}": "1x70"},
        {
            f"{EXPIRY}{{{CERTIFICATE}}}": "1818900x70",
            f"{RENEWAL}{{{CERTIFICATE}}}": "1x70",
            f"{EXPIRY}{{{UNISSUED}}}": "0x70",
            f"{RENEWAL}{{{UNISSUED}}}": "0x70",
            f"{EXPIRY}{{{SHORT_LIVED}}}": "86400x70",
            f"{RENEWAL}{{{SHORT_LIVED}}}": "43200x70",
        },
        "Certificate network/external-tls expires in 20d 22h 57m 59s",
        CERTIFICATE_LABELS,
        since=1,
    ),
    "CertificateExpiryCritical": Case(
        {f"{EXPIRY}{{{CERTIFICATE}}}": "604799x20", f"{RENEWAL}{{{CERTIFICATE}}}": "1x20"},
        {
            f"{EXPIRY}{{{CERTIFICATE}}}": "606000x20",
            f"{RENEWAL}{{{CERTIFICATE}}}": "1x20",
            f"{EXPIRY}{{{UNISSUED}}}": "0x20",
            f"{RENEWAL}{{{UNISSUED}}}": "0x20",
            f"{EXPIRY}{{{SHORT_LIVED}}}": "86400x20",
            f"{RENEWAL}{{{SHORT_LIVED}}}": "43200x20",
        },
        "Certificate network/external-tls expires in 6d 23h 47m 59s",
        CERTIFICATE_LABELS,
        since=1,
    ).critical(),
    "CertificateRenewalOverdue": Case(
        {f"{RENEWAL}{{{CERTIFICATE}}}": "1x1500"},
        {f"{RENEWAL}{{{CERTIFICATE}}}": "1000x1500", f"{RENEWAL}{{{UNISSUED}}}": "0x1500"},
        "The renewal of certificate network/external-tls is overdue since 1d 0h 11m 59s",
        CERTIFICATE_LABELS,
        since=1441,
    ),
    "CertificateNotReady": Case(
        {f'certmanager_certificate_ready_status{{{CERTIFICATE},condition="False"}}': "1x20"},
        {
            f'certmanager_certificate_ready_status{{{CERTIFICATE},condition="False"}}': "0x20",
            f'certmanager_certificate_ready_status{{{CERTIFICATE},condition="True"}}': "1x20",
        },
        "Certificate network/external-tls is not ready",
        CERTIFICATE_LABELS,
    ),
    "AcmeRequestsFailing": Case(
        {'certmanager_http_acme_client_request_count{job="cert-manager",status="429"}': "0+0.17x80"},
        {
            'certmanager_http_acme_client_request_count{job="cert-manager",status="429"}': "0+0.16x80",
            'certmanager_http_acme_client_request_count{job="cert-manager",status="200"}': "0+10x80",
        },
        "Let's Encrypt did not grant 10.2 requests within an hour",
        since=59,
    ),
    "CertManagerDown": deployment("cert-manager", "cert-manager"),
    "TunnelConnectionsLow": Case(
        {CONNECTIONS: "3x20", CONNECTIONS.replace("-a", "-b"): "4x20"},
        {CONNECTIONS: "4x20", CONNECTIONS.replace("-a", "-b"): "4x20"},
        "cloudflared-a holds 3 of 4 connections to Cloudflare",
        {"pod": "cloudflared-a"},
    ),
    "TunnelDown": Case(
        {CONNECTIONS: "0x20"}, {CONNECTIONS: "1x20"}, "The Cloudflare tunnel has no connection"
    ).critical(),
    "TunnelRequestErrors": Case(
        {
            'cloudflared_tunnel_total_requests{job="cloudflared"}': "0+1000x20",
            'cloudflared_tunnel_request_errors{job="cloudflared"}': "0+51x20",
        },
        {
            'cloudflared_tunnel_total_requests{job="cloudflared"}': "0+1000x20",
            'cloudflared_tunnel_request_errors{job="cloudflared"}': "0+49x20",
        },
        "5.1% of the requests through the tunnel do not reach the controller",
        since=1,
    ),
    "TailscaleOperatorDown": deployment("tailscale", "operator"),
    "TailscaleProxyDown": Case(
        {f"kube_statefulset_status_replicas_ready{PROXIES}": "1x20", f"kube_statefulset_replicas{PROXIES}": "2x20"},
        {f"kube_statefulset_status_replicas_ready{PROXIES}": "2x20", f"kube_statefulset_replicas{PROXIES}": "2x20"},
        "Tailscale proxy ts-web-abc has 1 pods ready",
        {"namespace": "tailscale", "statefulset": "ts-web-abc"},
    ),
    "ExternalDnsErrors": Case(
        {
            'external_dns_registry_errors_total{job="external-dns"}': "0+1x40",
            'external_dns_source_errors_total{job="external-dns"}': "0x40",
        },
        {
            'external_dns_registry_errors_total{job="external-dns"}': "3x40",
            'external_dns_source_errors_total{job="external-dns"}': "0x40",
        },
        "external-dns fails again and again",
        since=1,
    ),
    "ExternalDnsSyncStale": Case(
        {'external_dns_controller_last_sync_timestamp_seconds{job="external-dns"}': "1x40"},
        {'external_dns_controller_last_sync_timestamp_seconds{job="external-dns"}': "-900+60x40"},
        "external-dns has not finished a comparison for 21m 59s",
        since=16,
    ),
    "LanDnsDown": deployment("network", "k8s-gateway").critical(),
    "NetworkPodCrashLooping": restarts(0.051, 0.049, "3.06"),
    "NetworkPodCrashLoopingLong": restarts(0.102, 0.098, "6.12").critical(),
    "NetworkReplicasMismatch": Case(
        {
            f"kube_deployment_spec_replicas{REPLICAS}": "2x20",
            f"kube_deployment_status_replicas_available{REPLICAS}": "1x20",
        },
        {
            f"kube_deployment_spec_replicas{REPLICAS}": "2x20",
            f"kube_deployment_status_replicas_available{REPLICAS}": "2x20",
        },
        "network/cloudflared has fewer than 2 pods available",
        {"namespace": "network", "deployment": "cloudflared"},
    ),
    "NetworkMetricsMissing": Case(
        {series: values for series, values in TARGETS.items() if "cloudflared" not in series},
        TARGETS,
        "Prometheus has no target cloudflared",
        {"job": "cloudflared"},
    ),
}
