"""Monitoring: what the layers are watched with beyond what their charts bring.

Owns the PrometheusRule, the Grafana dashboard and the ServiceMonitor of the tunnel's connectors. The charts bring the
other ServiceMonitors; Prometheus, Alertmanager and Grafana belong to somebody else.
"""

import json
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import ConfigMap
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.monitoring import alerts, targets
from components.monitoring.dashboards import UID, dashboard
from settings.stack import Settings

API_VERSION = "monitoring.coreos.com/v1"

RULES = "network-alerts"
"""Name of the PrometheusRule."""


@dataclass(frozen=True, kw_only=True)
class NetworkMonitoringArgs:
    """The settings of all layers, valid as a whole. `namespace` must exist; the rules and monitors go there."""

    settings: Settings
    namespace: pulumi.Input[str]


class NetworkMonitoring(pulumi.ComponentResource):
    """Scrape targets, alerts and the dashboard (`anton:network:NetworkMonitoring`).

    Registers nothing with `monitoring.enabled` false, where the kinds of its objects do not exist. `alerts` are the
    names of the alerts, each once.
    """

    alerts: pulumi.Output[list[str]]

    def __init__(self, name: str, args: NetworkMonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:NetworkMonitoring", name, {}, opts)
        settings, monitoring = args.settings, args.settings.monitoring
        groups = alerts.groups(settings) if monitoring.enabled else []
        if monitoring.enabled and settings.cloudflare.enabled:
            self._custom_resource(name, args, "ServiceMonitor", targets.CLOUDFLARED, targets.cloudflared_monitor())
        if groups:
            self._custom_resource(name, args, "PrometheusRule", RULES, {"groups": groups})
        if monitoring.enabled and monitoring.dashboard:
            ConfigMap(
                f"{name}-dashboard",
                metadata=ObjectMetaArgs(
                    name=f"{UID}-dashboard",
                    namespace=monitoring.dashboard_namespace or args.namespace,
                    labels=dict(monitoring.dashboard_labels),
                ),
                data={f"{UID}.json": json.dumps(dashboard(settings), indent=1)},
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.alerts = pulumi.Output.from_input(
            list(dict.fromkeys(rule["alert"] for group in groups for rule in group["rules"]))
        )
        self.register_outputs({"alerts": self.alerts})

    def _custom_resource(
        self, name: str, args: NetworkMonitoringArgs, kind: str, own_name: str, spec: dict[str, Any]
    ) -> None:
        CustomResource(
            f"{name}-{own_name}",
            api_version=API_VERSION,
            kind=kind,
            metadata=ObjectMetaArgs(
                name=own_name, namespace=args.namespace, labels=dict(args.settings.monitoring.labels)
            ),
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self),
        )
