"""What a Prometheus operator and Grafana are told: where they look for things, and from which values on alerts fire.

What is made of it is in `components.monitoring`.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field
from pydantic.alias_generators import to_camel

from settings.applications import LabelKey
from settings.fields import DnsLabel, Form, LabelValue, Model, Problem, below

Percent = Annotated[int, Field(gt=0, le=100, examples=[50])]
"""A share of a whole."""

Count = Annotated[int, Field(gt=0, examples=[10])]
"""How often, or how many."""


def _ordered(alerts: Model, lower: str, higher: str, *, equal: bool = False) -> Iterator[Problem]:
    """The fault of two thresholds in the wrong order, on the one that was set; `equal` says whether they may meet."""
    low, high = getattr(alerts, lower), getattr(alerts, higher)
    if low < high or (equal and low == high):
        return
    fields, gap = type(alerts).model_fields, 0 if equal else 1
    if lower in alerts.model_fields_set and high > gap:
        example = min(fields[lower].default, high - gap)
        reason = f"must be {'no more' if equal else 'less'} than {to_camel(higher)} {high}: the warning comes first"
        yield Problem(to_camel(lower), low, reason, example, because=(to_camel(higher),))
    else:
        example = max(fields[higher].default, low + gap)
        reason = f"must be {'no less' if equal else 'more'} than {to_camel(lower)} {low}: the warning comes first"
        yield Problem(to_camel(higher), high, reason, example, because=(to_camel(lower),))


class CiliumAlerts(Model):
    """From which values on Cilium's alerts fire."""

    policy_drops_per_second: Count = Field(default=10, description="packets that policies drop on a node")
    memory_high_percent: Percent = Field(default=57, description="warn at this share of the agent's memory limit")
    memory_critical_percent: Percent = Field(default=86, description="alarm at this share of the agent's memory limit")
    map_pressure_percent: Percent = Field(default=90, description="fullness of an eBPF map")

    def problems(self) -> Iterator[Problem]:
        yield from _ordered(self, "memory_high_percent", "memory_critical_percent")


class HubbleAlerts(Model):
    """From which values on the alerts on flows fire."""

    drops_per_second: Count = Field(default=10, description="packets dropped for one reason, policies aside")
    dns_error_percent: Percent = Field(default=5, description="DNS answers that are errors; unknown names are none")


class NginxAlerts(Model):
    """From which values on an ingress controller's alerts fire; the same for every class."""

    error_percent: Percent = Field(default=5, description="answers with a status of 500 or more")
    limited_percent: Percent = Field(
        default=5, description="answers with status 429: clients beyond `ingress.classes.<name>.limits`"
    )
    p95_seconds: float = Field(
        default=1.0, gt=0, le=10, description="time that 95 % of the requests stay under", examples=[1.0]
    )


class TunnelAlerts(Model):
    """From which values on the tunnel's alerts fire."""

    connections_per_pod: int = Field(
        default=4, ge=1, le=4, description="connections of a connector; it opens four", examples=[4]
    )
    error_percent: Percent = Field(default=5, description="requests that did not get through to the controller")


class CertificateAlerts(Model):
    """From which values on certificates' alerts fire."""

    expiry_warning_days: Count = Field(
        default=21, description="warn this long before expiry, unless the renewal is still to come"
    )
    expiry_critical_days: Count = Field(default=7, description="alarm this long before expiry")
    renewal_overdue_hours: Count = Field(default=24, description="time since a renewal was due")
    acme_errors_per_hour: Count = Field(default=10, description="requests that Let's Encrypt did not grant")

    def problems(self) -> Iterator[Problem]:
        yield from _ordered(self, "expiry_critical_days", "expiry_warning_days")


class DnsAlerts(Model):
    """From which values on external-dns's alerts fire."""

    sync_stale_minutes: Count = Field(default=15, description="time since external-dns last finished a comparison")


class WorkloadAlerts(Model):
    """From which values on the alerts on pods of the network fire.

    kubelet waits up to five minutes between two restarts, so a container that always fails makes 12 an hour.
    """

    restarts_per_hour: int = Field(
        default=3, gt=0, lt=12, description="warn above this many restarts of a container", examples=[3]
    )
    restarts_per_hour_critical: int = Field(
        default=6, gt=0, lt=12, description="alarm above this many restarts of a container", examples=[6]
    )

    def problems(self) -> Iterator[Problem]:
        yield from _ordered(self, "restarts_per_hour", "restarts_per_hour_critical", equal=True)


class Alerts(Model):
    """Alerting rules, with one part a layer."""

    runbook_url: Annotated[str, Form("must be a path or URL without blanks and #")] = Field(
        default="docs/monitoring.md",
        pattern=r"^[^\s#]+$",
        description="where people find docs/monitoring.md; each alert links to its own heading there",
        examples=["https://git.example.com/anton-network/docs/monitoring.md"],
    )
    cilium: CiliumAlerts = Field(default=CiliumAlerts(), description="Cilium")
    hubble: HubbleAlerts = Field(default=HubbleAlerts(), description="flows")
    nginx: NginxAlerts = Field(default=NginxAlerts(), description="ingress controllers")
    tunnel: TunnelAlerts = Field(default=TunnelAlerts(), description="Cloudflare tunnel")
    certificates: CertificateAlerts = Field(default=CertificateAlerts(), description="certificates")
    dns: DnsAlerts = Field(default=DnsAlerts(), description="public names")
    workloads: WorkloadAlerts = Field(default=WorkloadAlerts(), description="pods of the network")

    def problems(self) -> Iterator[Problem]:
        for name in ("cilium", "certificates", "workloads"):
            yield from below(name, getattr(self, name).problems())


class Monitoring(Model):
    """Scrape targets, alerts and dashboards for a Prometheus operator; metrics endpoints themselves are always on."""

    enabled: bool = Field(
        default=True,
        description="create ServiceMonitors, PrometheusRules and dashboards; false where the Prometheus operator's "
        "CRDs are absent",
    )
    namespace: DnsLabel = Field(
        default="monitoring", description="namespace that Prometheus runs in", examples=["monitoring"]
    )
    prometheus_labels: dict[LabelKey, LabelValue] = Field(
        default={"app.kubernetes.io/name": "prometheus"},
        min_length=1,
        description="labels of the pods that scrape; network policies let these pods reach metrics ports",
        examples=[{"app.kubernetes.io/name": "prometheus"}],
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default={"release": "kube-prometheus-stack"},
        description="labels by which Prometheus selects ServiceMonitors and PrometheusRules",
        examples=[{"release": "kube-prometheus-stack"}],
    )
    alerts: Alerts | None = Field(default=Alerts(), description="alerting rules; null for none")
    dashboard: bool = Field(default=True, description="a Grafana dashboard of a request's path through the layers")
    dashboard_labels: dict[LabelKey, LabelValue] = Field(
        default={"grafana_dashboard": "1"},
        min_length=1,
        description="labels by which Grafana finds ConfigMaps with dashboards",
        examples=[{"grafana_dashboard": "1"}],
    )
    dashboard_namespace: DnsLabel | None = Field(
        default=None,
        description="namespace of the dashboard, which must exist; `ingress.namespace` when unset",
        examples=["monitoring"],
    )

    def problems(self) -> Iterator[Problem]:
        if self.alerts:
            yield from below("alerts", self.alerts.problems())

    def service_monitor(self, labels_key: str = "labels") -> dict[str, Any]:
        """A chart's `serviceMonitor` value; `labels_key` is what that chart calls the labels of the monitor."""
        return {"enabled": True, labels_key: dict(self.labels)} if self.enabled else {"enabled": False}
