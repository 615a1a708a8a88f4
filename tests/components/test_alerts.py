"""Alerts: each one runs in promtool, and fires when it should, after the time it should, with the words it should.

`CASES` (alert_cases.py) has one entry for each alert; an alert without one is a failing test.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from components.monitoring import alerts
from settings.cilium import Agent
from settings.fields import Resources
from settings.stack import Settings
from tests.support.alert_cases import CASES, JOBS, Case
from tests.support.configs import PROJECT, merged, settings_with, stack_config
from tests.support.edge import EDGE
from tests.support.metrics import METRICS, metrics_in
from tests.support.tools import tool

pytestmark = pytest.mark.unit

EVERY_LAYER: dict[str, Any] = merged(
    EDGE,
    {
        "certificates": {"enabled": True, "letsencrypt": {"email": "hostmaster@anton.example"}, "internalCa": {}},
        "tailscale": {"enabled": True},
        "discovery": {"enabled": True},
    },
)
"""All that there are alerts on."""


@cache
def cluster_config() -> dict[str, Any]:
    """Nodes, Cilium and the ingress controllers, without what stands around them."""
    shipped = stack_config()
    base = {group: shipped[group] for group in ("physical", "cluster", "kubernetes", "loadBalancer", "ingress")}
    classes = {name: {"certificateIssuer": None} for name in base["ingress"]["classes"]}
    return merged(base, {"ingress": {"classes": classes}})


def every_layer(change: Mapping[str, Any] | None = None) -> Settings:
    """All layers on."""
    return settings_with(merged(EVERY_LAYER, change), cluster_config()) if change else _every_layer()


@cache
def _every_layer() -> Settings:
    return settings_with(EVERY_LAYER, cluster_config())


def rules(settings: Settings) -> Iterator[dict[str, Any]]:
    """Every rule of the settings."""
    for group in alerts.groups(settings):
        yield from group["rules"]


def names(settings: Settings) -> set[str]:
    return {rule["alert"] for rule in rules(settings)}


def rule_of(name: str) -> dict[str, Any]:
    """The first rule of that name; of those that exist for each ingress class, the external one's."""
    return next(rule for rule in rules(every_layer()) if rule["alert"] == name)


def minutes(rule: Mapping[str, Any]) -> int:
    return int(rule["for"].removesuffix("m"))


def promtool(*arguments: str | Path) -> None:
    """Run promtool; what it has to say is the failure."""
    result = subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def expect(folder: Path, name: str, series: Mapping[str, str], alerts_at: Mapping[int, list[dict[str, Any]]]) -> None:
    """Have promtool compare what alert `name` does, minute by minute, with `alerts_at`."""
    path = folder / "test.yaml"
    test = {
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": expected}
            for minute, expected in alerts_at.items()
        ],
    }
    alone = {"name": "alone", "rules": [rule for rule in rules(every_layer()) if rule["alert"] == name]}
    (folder / "rules.yaml").write_text(json.dumps({"groups": [alone]}))
    path.write_text(json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    promtool("test", "rules", path)


def firing(rule: Mapping[str, Any], case: Case) -> dict[str, Any]:
    """The alert as promtool describes it."""
    texts = {"summary": case.summary} | ({"description": case.description} if case.description else {})
    return {
        "exp_labels": {"severity": case.severity, **case.labels},
        "exp_annotations": rule["annotations"] | texts,
    }


def test_every_alert_has_its_case_and_every_case_its_alert() -> None:
    assert names(every_layer()) == set(CASES)


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps({"groups": alerts.groups(every_layer())}))  # JSON is YAML
    promtool("check", "rules", "--lint-fatal", path)


@pytest.mark.parametrize("name", CASES)
def test_alert_fires_beyond_its_threshold_once_that_has_lasted(tmp_path: Path, name: str) -> None:
    rule, case = rule_of(name), CASES[name]
    due = case.since + minutes(rule)
    # Prometheus 3 leaves the older end of a range out, which may shift the crossing by a minute.
    early: dict[int, list[dict[str, Any]]] = {due - 2: []} if minutes(rule) > 1 else {}
    expect(tmp_path, name, case.crossing, {**early, due + 1: [firing(rule, case)]})


@pytest.mark.parametrize("name", CASES)
def test_alert_is_silent_just_below_its_threshold(tmp_path: Path, name: str) -> None:
    rule, case = rule_of(name), CASES[name]
    due = case.since + minutes(rule)
    expect(tmp_path, name, case.below, {due + 1: []})


def test_tunnel_without_any_pod_is_down(tmp_path: Path) -> None:
    expect(tmp_path, "TunnelDown", {}, {2: [firing(rule_of("TunnelDown"), CASES["TunnelDown"])]})


@pytest.mark.parametrize(
    ("pod", "ours"), [("coredns-a", True), ("cilium-operator-a", True), ("metrics-server-a", False)]
)
def test_of_kube_system_only_pods_of_the_network_count(tmp_path: Path, pod: str, ours: bool) -> None:
    labels = {"namespace": "kube-system", "pod": pod, "container": "c"}
    series = f'kube_pod_container_status_restarts_total{{namespace="kube-system",pod="{pod}",container="c"}}'
    case = Case(
        {}, {}, f"kube-system/{pod} restarts again and again", labels, 0, "Container c ended 6 times within an hour."
    )
    alert = firing(rule_of("NetworkPodCrashLooping"), case)
    expect(tmp_path, "NetworkPodCrashLooping", {series: "0+0.1x120"}, {100: [alert] if ours else []})


def test_each_class_has_the_same_alerts_about_itself_alone() -> None:
    by_class: dict[str, list[str]] = {"external": [], "internal": []}
    for rule in rules(every_layer()):
        if (ingress_class := rule["labels"].get("ingress_class")) is not None:
            by_class[ingress_class].append(json.dumps(rule))
    assert len(by_class["external"]) == 5
    assert [text.replace("external", "internal") for text in by_class["external"]] == by_class["internal"]


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"cloudflare": {"enabled": False}}, {name for name in CASES if name.startswith(("Tunnel", "ExternalDns"))}),
        ({"cloudflare": {"dns": {"externalDns": None}}}, {"ExternalDnsErrors", "ExternalDnsSyncStale"}),
        ({"tailscale": {"enabled": False}}, {"TailscaleOperatorDown", "TailscaleProxyDown"}),
        ({"discovery": {"enabled": False}}, {"LanDnsDown"}),
        ({"certificates": {"letsencrypt": None}}, {"AcmeRequestsFailing"}),
        ({"certificates": {"enabled": False}}, {name for name in CASES if name.startswith(("Cert", "Acme"))}),
        ({"cilium": {"hubble": {"metrics": ["dns:query", "flow"]}}}, {"HubbleDropsHigh"}),
        ({"cilium": {"hubble": {"metrics": ["drop"]}}}, {"HubbleDnsErrors"}),
        (
            {"cilium": {"hubble": {"enabled": False, "relay": False, "ui": False}}},
            {"HubbleDropsHigh", "HubbleDnsErrors"},
        ),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_what_does_not_run_has_no_alerts(change: dict[str, Any], gone: set[str]) -> None:
    assert names(every_layer()) - names(every_layer(change)) == gone


def test_agent_without_a_memory_limit_has_no_alert_on_it() -> None:
    settings = every_layer()
    unlimited = settings.cilium.model_copy(update={"agent": Agent(resources=Resources())})
    gone = names(settings) - names(replace(settings, cilium=unlimited))
    assert gone == {"CiliumAgentMemoryHigh", "CiliumAgentMemoryCritical"}


def test_missing_targets_are_looked_for_only_where_there_are_such() -> None:
    expression = {rule["alert"]: rule["expr"] for rule in rules(settings_with(base=cluster_config()))}[
        "NetworkMetricsMissing"
    ]
    assert set(re.findall(r'job="([^"]+)"', expression)) == set(JOBS[:6])


def test_thresholds_follow_the_settings() -> None:
    change = {
        "cilium": {"agent": {"resources": {"limits": {"memory": "4Gi"}}}},
        "monitoring": {
            "alerts": {
                "cilium": {"policyDropsPerSecond": 111, "memoryHighPercent": 50, "mapPressurePercent": 61},
                "hubble": {"dropsPerSecond": 112, "dnsErrorPercent": 62},
                "nginx": {"errorPercent": 63, "limitedPercent": 65, "p95Seconds": 2.5},
                "tunnel": {"connectionsPerPod": 2, "errorPercent": 64},
                "certificates": {
                    "expiryWarningDays": 20,
                    "expiryCriticalDays": 10,
                    "renewalOverdueHours": 10,
                    "acmeErrorsPerHour": 113,
                },
                "dns": {"syncStaleMinutes": 30},
                "workloads": {"restartsPerHour": 4, "restartsPerHourCritical": 9},
            }
        },
    }
    ends = {
        "CiliumPolicyEnforcementIssue": "> 111",
        "CiliumAgentMemoryHigh": f"> {2**31}",
        "CiliumMapPressure": "> 0.61",
        "HubbleDropsHigh": "> 112",
        "HubbleDnsErrors": "> 0.62",
        "NginxErrorRatioHigh": "> 0.63",
        "NginxClientsLimited": "> 0.65",
        "NginxLatencyHigh": "> 2.5",
        "TunnelConnectionsLow": "< 2",
        "TunnelRequestErrors": "> 0.64",
        "CertificateExpiringSoon": "< 1728000 and",
        "CertificateExpiryCritical": "< 864000 and",
        "CertificateRenewalOverdue": "> 36000",
        "AcmeRequestsFailing": "> 113",
        "ExternalDnsSyncStale": "> 1800",
        "NetworkPodCrashLooping": "> 4",
        "NetworkPodCrashLoopingLong": "> 9",
    }
    changed = {rule["alert"]: rule["expr"] for rule in rules(every_layer(change))}
    assert {name: f"{end} " in f"{changed[name]} " for name, end in ends.items()} == dict.fromkeys(ends, True)


def test_every_metric_in_an_alert_is_one_that_somebody_exports() -> None:
    for rule in rules(every_layer()):
        asked = metrics_in(rule["expr"])
        assert asked, f"{rule['alert']} asks for nothing"
        assert asked <= METRICS.keys(), f"{rule['alert']} could never fire: {asked - METRICS.keys()}"


def test_every_alert_says_what_to_do_where_the_link_leads() -> None:
    headings = set(re.findall(r"^#+ (.+)$", (PROJECT / "docs/monitoring.md").read_text(), re.MULTILINE))
    for rule in rules(every_layer()):
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["alert"] in headings, f"docs/monitoring.md says nothing about {rule['alert']}"
        assert rule["annotations"]["runbook_url"] == f"docs/monitoring.md#{rule['alert'].lower()}"


def test_links_lead_to_where_people_find_the_documentation() -> None:
    url = "https://git.example.com/network/monitoring.md"
    for rule in rules(every_layer({"monitoring": {"alerts": {"runbookUrl": url}}})):
        assert rule["annotations"]["runbook_url"].startswith(f"{url}#")


def test_no_alerts_at_all_when_they_are_switched_off() -> None:
    settings = every_layer()
    silent = settings.monitoring.model_copy(update={"alerts": None})
    assert alerts.groups(replace(settings, monitoring=silent)) == []
