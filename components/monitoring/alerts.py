"""Alerting rules of the network: from thresholds to the groups of a PrometheusRule.

Pure functions. A layer that is off has no alerts. What an alert means and what to do about it stands in
docs/monitoring.md under its name; that each one fires where it should, and not below, is tested with promtool.

Metrics that start with `kube_` are those of kube-state-metrics and `container_` those of kubelet, as
kube-prometheus-stack scrapes them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from components.monitoring import targets
from settings.cloudflare.dns import EXTERNAL_DNS
from settings.discovery import GATEWAY
from settings.fields import amount_of
from settings.ingress import release_name
from settings.monitoring import Alerts
from settings.stack import Settings

DAY_SECONDS = 86400

CONNECTIONS = 'cloudflared_tunnel_ha_connections{job="cloudflared"}'


class Severity(StrEnum):
    """`critical`: traffic is cut off or will be soon. `warning`: something to look at in working hours."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One alerting rule: it fires when `expression` has had a result for `minutes`.

    `summary` and `description` are Prometheus templates; `labels` come on top of the expression's and the severity.
    """

    name: str
    expression: str
    minutes: int
    severity: Severity = Severity.WARNING
    summary: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def rule(self, runbook_url: str) -> dict[str, Any]:
        """The rule as PrometheusRule takes it; `runbook_url` is the page that has a heading for each alert."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": f"{self.minutes}m",
            "labels": {"severity": self.severity.value, **self.labels},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{runbook_url}#{self.name.lower()}",
            },
        }


def groups(settings: Settings) -> list[dict[str, Any]]:
    """The groups of a PrometheusRule, none without `monitoring.alerts`."""
    thresholds = settings.monitoring.alerts
    if thresholds is None:
        return []
    alerts = {
        "network-cilium": [*cilium(settings, thresholds), *hubble(settings, thresholds)],
        "network-ingress": [*nginx(settings, thresholds)],
        "network-certificates": [*certificates(settings, thresholds)],
        "network-tunnel": [*tunnel(settings, thresholds)],
        "network-tailscale": [*tailscale(settings)],
        "network-dns": [*dns(settings, thresholds)],
        "network-workloads": [*workloads(settings, thresholds)],
    }
    return [
        {"name": name, "rules": [alert.rule(thresholds.runbook_url) for alert in found]}
        for name, found in alerts.items()
        if found
    ]


def cilium(settings: Settings, thresholds: Alerts) -> Iterator[Alert]:
    """Agents, policies, eBPF maps and LoadBalancer addresses."""
    limits = thresholds.cilium
    yield Alert(
        name="CiliumAgentDown",
        expression='up{job="cilium-agent"} == 0',
        minutes=5,
        severity=Severity.CRITICAL,
        summary="The Cilium agent on {{ $labels.instance }} does not answer",
        description="Pods there keep their connections, but nothing new is set up: no pod, no Service, no policy.",
    )
    yield Alert(
        name="CiliumPolicyEnforcementIssue",
        expression='sum by (pod) (rate(cilium_drop_count_total{reason="Policy denied"}[5m]))'
        f" > {limits.policy_drops_per_second}",
        minutes=2,
        summary="{{ $labels.pod }} drops {{ $value | humanize }} packets a second because of a policy",
        description="Somebody probes the network, or a policy lacks an allow.",
    )
    yield from _agent_memory(settings, thresholds)
    yield Alert(
        name="CiliumMapPressure",
        expression=f"max by (pod, map_name) (cilium_bpf_map_pressure) > {limits.map_pressure_percent / 100:g}",
        minutes=5,
        summary="eBPF map {{ $labels.map_name }} of {{ $labels.pod }} is {{ $value | humanizePercentage }} full",
        description="When it is full, new connections, Services or policy entries are refused.",
    )
    yield Alert(
        name="CiliumNodesUnreachable",
        expression="max by (pod) (cilium_unreachable_nodes) > 0",
        minutes=10,
        severity=Severity.CRITICAL,
        summary="{{ $labels.pod }} cannot reach {{ $value }} nodes",
        description="Pods on both sides cannot reach each other either.",
    )
    yield Alert(
        name="LoadBalancerAddressMissing",
        expression="max(cilium_operator_lbipam_services_unsatisfied) > 0",
        minutes=10,
        summary="{{ $value }} Services did not get the LoadBalancer address that they ask for",
        description="The address is taken, or outside every pool of loadBalancer.pools.",
    )


def _agent_memory(settings: Settings, thresholds: Alerts) -> Iterator[Alert]:
    """By the working set, which is what the kernel counts against the limit; none where there is no limit."""
    limit = settings.cilium.agent.resources.limits.memory
    if limit is None:
        return
    for name, percent, minutes, severity in (
        ("CiliumAgentMemoryHigh", thresholds.cilium.memory_high_percent, 5, Severity.WARNING),
        ("CiliumAgentMemoryCritical", thresholds.cilium.memory_critical_percent, 2, Severity.CRITICAL),
    ):
        yield Alert(
            name=name,
            expression="max by (pod) "
            '(container_memory_working_set_bytes{namespace="kube-system",container="cilium-agent"})'
            f" > {int(amount_of(limit) * percent / 100)}",
            minutes=minutes,
            severity=severity,
            summary="{{ $labels.pod }} uses {{ $value | humanize1024 }}B of memory",
            description=f"That is more than {percent} % of its limit of {limit}. At the limit the agent is killed, "
            "and its node drops traffic until it is back.",
        )


def hubble(settings: Settings, thresholds: Alerts) -> Iterator[Alert]:
    """Flows, as far as `cilium.hubble.metrics` counts them."""
    limits = thresholds.hubble
    if targets.has_hubble(settings, "drop"):
        yield Alert(
            name="HubbleDropsHigh",
            expression='sum by (reason) (rate(hubble_drop_total{reason!="POLICY_DENIED"}[5m]))'
            f" > {limits.drops_per_second}",
            minutes=5,
            summary="{{ $value | humanize }} packets a second are dropped: {{ $labels.reason }}",
            description="Not by a policy; `hubble observe --verdict DROPPED` shows between whom.",
        )
    if targets.has_hubble(settings, "dns"):
        errors = 'rcode!~"No Error|Non-Existent Domain"'
        yield Alert(
            name="HubbleDnsErrors",
            expression=_ratio(f"hubble_dns_responses_total{{{errors}}}", "hubble_dns_responses_total")
            + f" > {limits.dns_error_percent / 100:g}",
            minutes=10,
            summary="{{ $value | humanizePercentage }} of the DNS answers that Hubble sees are errors",
            description="CoreDNS or its upstream is in trouble. Hubble sees queries of pods under DNS policies only.",
        )


def nginx(settings: Settings, thresholds: Alerts) -> Iterator[Alert]:
    """Each ingress class by itself: a broken internal class must not hide behind a busy external one."""
    limits = thresholds.nginx
    for name in settings.ingress.classes:
        labels = {"ingress_class": name}
        job = f'job="{targets.nginx(name)}"'
        requests = "nginx_ingress_controller_requests"
        yield Alert(
            name="NginxErrorRatioHigh",
            expression=_ratio(f'{requests}{{{job},status=~"5.."}}', f"{requests}{{{job}}}")
            + f" > {limits.error_percent / 100:g}",
            minutes=5,
            summary=f"{{{{ $value | humanizePercentage }}}} of the requests to class {name} fail",
            description="Answers with a status of 500 or more: an application is down, or unreachable from NGINX.",
            labels=labels,
        )
        yield Alert(
            name="NginxClientsLimited",
            expression=_ratio(f'{requests}{{{job},status="429"}}', f"{requests}{{{job}}}")
            + f" > {limits.limited_percent / 100:g}",
            minutes=5,
            summary=f"{{{{ $value | humanizePercentage }}}} of the requests to class {name} are beyond the limits",
            description="Answers with status 429: one client asks too much, or the limits are too tight for what people"
            " do.",
            labels=labels,
        )
        buckets = f"nginx_ingress_controller_request_duration_seconds_bucket{{{job}}}"
        yield Alert(
            name="NginxLatencyHigh",
            expression=f"histogram_quantile(0.95, sum by (le) (rate({buckets}[5m]))) > {limits.p95_seconds:g}",
            minutes=10,
            summary=f"One request in twenty to class {name} takes longer than {{{{ $value | humanizeDuration }}}}",
            description="Long-lived requests such as WebSockets count as well.",
            labels=labels,
        )
        yield Alert(
            name="NginxConfigReloadFailed",
            expression=f"min by (pod) (nginx_ingress_controller_config_last_reload_successful{{{job}}}) == 0",
            minutes=5,
            severity=Severity.CRITICAL,
            summary=f"{{{{ $labels.pod }}}} of class {name} runs with an old configuration",
            description="NGINX refused the last one. Changes to Ingress objects have no effect, nor do new endpoints "
            "once the pod restarts.",
            labels=labels,
        )
        controller = f"{settings.ingress.namespace}/{release_name(name)}-controller"
        lost = f"No host of ingress class {name} answers."
        yield replace(_down("NginxControllerDown", controller, 1, Severity.CRITICAL, lost), labels=labels)


def certificates(settings: Settings, thresholds: Alerts) -> Iterator[Alert]:
    """cert-manager, and each certificate.

    A certificate's own namespace is in `exported_namespace`: `namespace` is the target's. One that was never issued
    has 0 for its times.
    """
    manager, limits = settings.certificates, thresholds.certificates
    if not manager.enabled:
        return
    job, which = f'job="{targets.CERT_MANAGER}"', "{{ $labels.exported_namespace }}/{{ $labels.name }}"
    expiry, renewal = (
        f"max by (exported_namespace, name) (certmanager_certificate_{time}_timestamp_seconds{{{job}}} > 0)"
        for time in ("expiration", "renewal")
    )
    for name, days, minutes, severity in (
        ("CertificateExpiringSoon", limits.expiry_warning_days, 60, Severity.WARNING),
        ("CertificateExpiryCritical", limits.expiry_critical_days, 10, Severity.CRITICAL),
    ):
        yield Alert(
            name=name,
            # A short-lived certificate is always near its expiry; that counts once its renewal is due.
            expression=f"{expiry} - time() < {days * DAY_SECONDS} and {renewal} < time()",
            minutes=minutes,
            severity=severity,
            summary=f"Certificate {which} expires in {{{{ $value | humanizeDuration }}}}",
            description="It should have been renewed by now.",
        )
    yield Alert(
        name="CertificateRenewalOverdue",
        expression=f"time() - {renewal} > {limits.renewal_overdue_hours * 3600}",
        minutes=10,
        summary=f"The renewal of certificate {which} is overdue since {{{{ $value | humanizeDuration }}}}",
        description="cert-manager tries and fails; the CertificateRequest and Challenge objects say why.",
    )
    yield Alert(
        name="CertificateNotReady",
        expression="max by (exported_namespace, name) "
        f'(certmanager_certificate_ready_status{{{job},condition!="True"}}) == 1',
        minutes=15,
        summary=f"Certificate {which} is not ready",
        description="It was never issued, or does not match what is asked for.",
    )
    if manager.letsencrypt:
        refused = f'certmanager_http_acme_client_request_count{{{job},status!~"2..|3.."}}'
        yield Alert(
            name="AcmeRequestsFailing",
            expression=f"sum(increase({refused}[1h])) > {limits.acme_errors_per_hour}",
            minutes=10,
            summary="Let's Encrypt did not grant {{ $value | humanize }} requests within an hour",
            description="Its rate limits come next; fix the cause before trying again.",
        )
    deployment = f"{manager.namespace}/cert-manager"
    yield _down("CertManagerDown", deployment, 10, Severity.WARNING, "No certificate is issued or renewed.")


def tunnel(settings: Settings, thresholds: Alerts) -> Iterator[Alert]:
    """The connectors' view of the tunnel."""
    if not settings.cloudflare.enabled:
        return
    limits = thresholds.tunnel
    yield Alert(
        name="TunnelConnectionsLow",
        expression=f"min by (pod) ({CONNECTIONS}) < {limits.connections_per_pod}",
        minutes=5,
        summary="{{ $labels.pod }} holds {{ $value }} of 4 connections to Cloudflare",
        description="The tunnel works, with less to fall back on.",
    )
    yield Alert(
        name="TunnelDown",
        # Without a pod there is no series to sum; that counts as no connection.
        expression=f"(sum({CONNECTIONS}) or vector(0)) == 0",
        minutes=1,
        severity=Severity.CRITICAL,
        summary="The Cloudflare tunnel has no connection",
        description="Nothing of this cluster is reachable from the internet.",
    )
    yield Alert(
        name="TunnelRequestErrors",
        expression=_ratio(
            'cloudflared_tunnel_request_errors{job="cloudflared"}',
            'cloudflared_tunnel_total_requests{job="cloudflared"}',
        )
        + f" > {limits.error_percent / 100:g}",
        minutes=5,
        summary="{{ $value | humanizePercentage }} of the requests through the tunnel do not reach the controller",
        description="The ingress controller behind the tunnel is down, or a policy keeps the connectors from it.",
    )


def tailscale(settings: Settings) -> Iterator[Alert]:
    """Operator and proxies, from what Kubernetes knows of them: the operator is not scraped."""
    if not settings.tailscale.enabled:
        return
    namespace = settings.tailscale.namespace
    lost = "Proxies go on, but new Ingress objects of class tailscale and Connectors are not acted on."
    yield _down("TailscaleOperatorDown", f"{namespace}/operator", 5, Severity.WARNING, lost)
    where = f'{{namespace="{namespace}"}}'
    yield Alert(
        name="TailscaleProxyDown",
        expression=f"kube_statefulset_status_replicas_ready{where} < kube_statefulset_replicas{where}",
        minutes=5,
        summary="Tailscale proxy {{ $labels.statefulset }} has {{ $value }} pods ready",
        description="What it serves is cut off, unless another of its pods is left.",
    )


def dns(settings: Settings, thresholds: Alerts) -> Iterator[Alert]:
    """Public names, and those of the LAN."""
    job = f'job="{EXTERNAL_DNS}"'
    if targets.has_external_dns(settings):
        failures = " + ".join(
            f"sum(increase(external_dns_{part}_errors_total{{{job}}}[15m]))" for part in ("registry", "source")
        )
        yield Alert(
            name="ExternalDnsErrors",
            expression=f"{failures} > 0",
            minutes=15,
            summary="external-dns fails again and again",
            description="It cannot read Ingress objects, or Cloudflare refuses it. Names of new hosts do not appear.",
        )
        synced = f"max(external_dns_controller_last_sync_timestamp_seconds{{{job}}})"
        yield Alert(
            name="ExternalDnsSyncStale",
            expression=f"time() - {synced} > {thresholds.dns.sync_stale_minutes * 60}",
            minutes=5,
            summary="external-dns has not finished a comparison for {{ $value | humanizeDuration }}",
            description="Public names stay as they are, whatever Ingress objects say.",
        )
    if targets.has_lan_dns(settings):
        lost = "On the LAN, names of the cluster's domain do not resolve."
        yield _down("LanDnsDown", f"{settings.ingress.namespace}/{GATEWAY}", 2, Severity.CRITICAL, lost)


def workloads(settings: Settings, thresholds: Alerts) -> Iterator[Alert]:
    """Pods of every layer, and whether Prometheus sees the layers at all."""
    namespaces = [settings.ingress.namespace]
    namespaces += [settings.certificates.namespace] if settings.certificates.enabled else []
    namespaces += [settings.tailscale.namespace] if settings.tailscale.enabled else []
    own = f'namespace=~"{"|".join(namespaces)}"'
    system = 'namespace="kube-system",{}=~"(cilium|hubble|coredns).*"'

    limits = thresholds.workloads
    for name, restarts, minutes, severity in (
        ("NetworkPodCrashLooping", limits.restarts_per_hour, 15, Severity.WARNING),
        ("NetworkPodCrashLoopingLong", limits.restarts_per_hour_critical, 30, Severity.CRITICAL),
    ):
        yield Alert(
            name=name,
            expression=" or ".join(
                f"increase(kube_pod_container_status_restarts_total{{{selector}}}[1h]) > {restarts}"
                for selector in (own, system.format("pod"))
            ),
            minutes=minutes,
            severity=severity,
            summary="{{ $labels.namespace }}/{{ $labels.pod }} restarts again and again",
            description="Container {{ $labels.container }} ended {{ $value | humanize }} times within an hour.",
        )
    yield Alert(
        name="NetworkReplicasMismatch",
        expression=" or ".join(
            f"kube_deployment_spec_replicas{{{selector}}} > kube_deployment_status_replicas_available{{{selector}}}"
            for selector in (own, system.format("deployment"))
        ),
        minutes=10,
        summary="{{ $labels.namespace }}/{{ $labels.deployment }} has fewer than {{ $value }} pods available",
        description="One more failure, or a node drain, may cut it off.",
    )
    yield Alert(
        name="NetworkMetricsMissing",
        expression=" or ".join(f'absent(up{{job="{job}"}})' for job in targets.jobs(settings)),
        minutes=15,
        summary="Prometheus has no target {{ $labels.job }}",
        description="The other alerts on it cannot fire. Its ServiceMonitor is not selected, or its Service is gone.",
    )


def _ratio(part: str, whole: str) -> str:
    """An expression for the share that counter `part` has in counter `whole`, over all pods and five minutes."""
    return f"sum(rate({part}[5m])) / sum(rate({whole}[5m]))"


def _down(name: str, deployment: str, minutes: int, severity: Severity, description: str) -> Alert:
    """A Deployment, as `namespace/name`, without a single available pod."""
    namespace, _, name_there = deployment.partition("/")
    where = f'{{namespace="{namespace}",deployment="{name_there}"}}'
    return Alert(
        name=name,
        expression=f"kube_deployment_status_replicas_available{where} == 0",
        minutes=minutes,
        severity=severity,
        summary=f"No pod of {deployment} is available",
        description=description,
    )
