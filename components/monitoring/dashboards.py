"""The Grafana dashboard: the path of a request through the layers, from the tunnel to the node.

A pure function from settings to Grafana's JSON model. A layer that is off has no row. Panels ask whichever Prometheus
is chosen on the page, so the dashboard works in any Grafana.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from components.monitoring import targets
from settings.cloudflare.dns import EXTERNAL_DNS
from settings.discovery import GATEWAY
from settings.stack import Settings

UID = "anton-network"
"""Identifies the dashboard to Grafana: links to it stay valid when its title changes."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

SCHEMA_VERSION = 39
"""Grafana 10.3; later versions migrate it by themselves."""

COLUMNS = 24
"""Width of Grafana's grid."""

HEIGHT = 8
"""Height of a panel in rows of Grafana's grid."""


@dataclass(frozen=True)
class Panel:
    """A graph, or the latest values, or only whose they are; `queries` are expressions by legend."""

    title: str
    unit: str
    queries: dict[str, str]
    shows: Literal["graph", "values", "names"] = "graph"


@dataclass(frozen=True)
class Row:
    """Panels of one layer, side by side."""

    title: str
    panels: tuple[Panel, ...]


def dashboard(settings: Settings) -> dict[str, Any]:
    """The dashboard in Grafana's JSON model."""
    return {
        "uid": UID,
        "title": "Network: path of a request",
        "tags": ["network"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "panels": list(_placed(rows(settings))),
    }


def rows(settings: Settings) -> Iterator[Row]:
    """The rows in the order in which a request meets the layers."""
    if settings.cloudflare.enabled:
        yield tunnel()
    if settings.ingress.classes:
        yield ingress(settings)
    yield policies(settings)
    yield names(settings)
    yield addresses()
    if settings.certificates.enabled:
        yield certificates()
    if settings.tailscale.enabled:
        yield tailscale(settings)


def tunnel() -> Row:
    """What Cloudflare hands to the connectors."""
    job = f'job="{targets.CLOUDFLARED}"'
    return Row(
        "Cloudflare tunnel",
        (
            Panel(
                "Connections to Cloudflare",
                "short",
                {"{{pod}}": f"sum by (pod) (cloudflared_tunnel_ha_connections{{{job}}})"},
            ),
            Panel(
                "Requests by status",
                "reqps",
                {"{{status_code}}": _rate(f"cloudflared_tunnel_response_by_code{{{job}}}", "status_code")},
            ),
            Panel(
                "Requests that did not reach the controller",
                "reqps",
                {"{{pod}}": _rate(f"cloudflared_tunnel_request_errors{{{job}}}", "pod")},
            ),
        ),
    )


def ingress(settings: Settings) -> Row:
    """What each ingress class answers."""
    requests, errors, latency = {}, {}, {}
    for name in settings.ingress.classes:
        job = f'job="{targets.nginx(name)}"'
        total = f"sum(rate(nginx_ingress_controller_requests{{{job}}}[5m]))"
        failed = f'sum(rate(nginx_ingress_controller_requests{{{job},status=~"5.."}}[5m]))'
        buckets = f"nginx_ingress_controller_request_duration_seconds_bucket{{{job}}}"
        requests[name] = total
        # A class without any failure has no such series, and would have no line.
        errors[name] = f"({failed} or 0 * {total}) / {total}"
        latency[name] = f"histogram_quantile(0.95, sum by (le) (rate({buckets}[5m])))"
    return Row(
        "Ingress classes",
        (
            Panel("Requests", "reqps", requests),
            Panel("Share of failed requests (5xx)", "percentunit", errors),
            Panel("Time that 95 % of requests stay under", "s", latency),
        ),
    )


def policies(settings: Settings) -> Row:
    """What Cilium lets through on the way to the pods."""
    drops = Panel("Dropped packets by reason", "pps", {"{{reason}}": _rate("cilium_drop_count_total", "reason")})
    pressure = "max by (map_name) (cilium_bpf_map_pressure)"
    panels = [drops, Panel("Fullness of eBPF maps", "percentunit", {"{{map_name}}": pressure})]
    if targets.has_hubble(settings, "flow"):
        verdicts = {"{{verdict}}": _rate("hubble_flows_processed_total", "verdict")}
        panels.insert(1, Panel("Flows by verdict", "ops", verdicts))
    return Row("Policies and data path", tuple(panels))


def names(settings: Settings) -> Row:
    """Names, wherever they are answered."""
    panels = [Panel("Answers of the cluster's DNS", "ops", {"{{rcode}}": _dns("kube-dns|coredns")})]
    if targets.has_hubble(settings, "dns"):
        answers = {"{{rcode}}": _rate("hubble_dns_responses_total", "rcode")}
        panels.append(Panel("Answers to pods under DNS policies", "ops", answers))
    if targets.has_lan_dns(settings):
        panels.append(Panel("Answers to the LAN", "ops", {"{{rcode}}": _dns(GATEWAY)}))
    if targets.has_external_dns(settings):
        synced = f'max(external_dns_controller_last_sync_timestamp_seconds{{job="{EXTERNAL_DNS}"}})'
        panels.append(Panel("Time since public names were compared", "s", {"external-dns": f"time() - {synced}"}))
    return Row("DNS", tuple(panels))


def addresses() -> Row:
    """LoadBalancer addresses, and the node that answers for each on the LAN."""
    leases = 'kube_lease_owner{namespace="kube-system",lease=~"cilium-l2announce-.*"}'
    given = "max by (ip, namespace, service) (kube_service_status_load_balancer_ingress)"
    return Row(
        "LoadBalancer addresses",
        (
            Panel("Addresses given", "short", {"{{ip}} {{namespace}}/{{service}}": given}, shows="names"),
            Panel("Announced by", "short", {"{{lease}}: {{lease_holder}}": leases}, shows="names"),
            Panel(
                "Addresses left",
                "short",
                {
                    "{{pool}}": "max by (pool) (cilium_operator_lbipam_ips_available)",
                    "Services without": "max(cilium_operator_lbipam_services_unsatisfied)",
                },
                shows="values",
            ),
        ),
    )


def certificates() -> Row:
    """What clients are shown."""
    which, job = "{{exported_namespace}}/{{name}}", f'job="{targets.CERT_MANAGER}"'
    expiry = f"max by (exported_namespace, name) (certmanager_certificate_expiration_timestamp_seconds{{{job}}} > 0)"
    ready = f'certmanager_certificate_ready_status{{{job},condition="True"}}'
    refused = f'certmanager_http_acme_client_request_count{{{job},status!~"2..|3.."}}'
    return Row(
        "Certificates",
        (
            Panel("Days left", "d", {which: f"({expiry} - time()) / 86400"}, shows="values"),
            Panel("Ready", "bool_yes_no", {which: f"max by (exported_namespace, name) ({ready})"}, shows="values"),
            Panel("Requests that Let's Encrypt did not grant", "reqps", {"{{status}}": _rate(refused, "status")}),
        ),
    )


def tailscale(settings: Settings) -> Row:
    """The proxies, as the tailnet sees them."""
    where = f'{{namespace="{settings.tailscale.namespace}"}}'
    received = f"tailscaled_inbound_bytes_total{where}"
    sent = f"tailscaled_outbound_bytes_total{where}"
    return Row(
        "Tailscale",
        (
            Panel("Received by proxies", "Bps", {"{{pod}} {{path}}": _rate(received, "pod, path")}),
            Panel("Sent by proxies", "Bps", {"{{pod}} {{path}}": _rate(sent, "pod, path")}),
            Panel("Health warnings", "short", {"{{pod}}": f"sum by (pod) (tailscaled_health_messages{where})"}),
        ),
    )


def _rate(counter: str, by: str) -> str:
    return f"sum by ({by}) (rate({counter}[5m]))"


def _dns(job: str) -> str:
    """Answers of a CoreDNS by code."""
    return _rate(f'coredns_dns_responses_total{{job=~"{job}"}}', "rcode")


def _placed(found: Iterator[Row]) -> Iterator[dict[str, Any]]:
    """Grafana's panels, with a heading above each row and its panels sharing the width."""
    number, top = 1, 0
    for row in found:
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        width = COLUMNS // len(row.panels)
        for column, panel in enumerate(row.panels):
            number += 1
            place = {"x": column * width, "y": top + 1, "w": width, "h": HEIGHT}
            yield {"id": number, **_panel(panel), "gridPos": place}
        number, top = number + 1, top + 1 + HEIGHT


def _panel(panel: Panel) -> dict[str, Any]:
    latest = panel.shows != "graph"
    text = "name" if panel.shows == "names" else "value_and_name"
    return {
        "type": "stat" if latest else "timeseries",
        "title": panel.title,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": text} if latest else {},
        "targets": [
            {
                "refId": chr(ord("A") + position),
                "datasource": DATASOURCE,
                "expr": expression,
                "legendFormat": legend,
                "instant": latest,
                "range": not latest,
            }
            for position, (legend, expression) in enumerate(panel.queries.items())
        ],
    }
