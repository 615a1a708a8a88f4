"""NetworkMonitoring: what is registered when, the dashboard, and the rules around the settings."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components.monitoring.dashboards import dashboard
from components.monitoring.network import NetworkMonitoring, NetworkMonitoringArgs
from settings.errors import ConfigError
from settings.load import parse
from settings.stack import Settings
from tests.components.test_alerts import EVERY_LAYER, cluster_config, every_layer
from tests.support import edge
from tests.support.alert_cases import CASES
from tests.support.configs import PROJECT, STAND_IN_SECRETS, charts_without_files, merged, settings_with
from tests.support.faults import faults_of
from tests.support.metrics import METRICS, metrics_in
from tests.support.recorder import Registration, record
from tests.support.tools import tool

pytestmark = pytest.mark.unit

COMPONENT = "anton:network:NetworkMonitoring"
RULE, MONITOR = (
    "kubernetes:monitoring.coreos.com/v1:PrometheusRule",
    "kubernetes:monitoring.coreos.com/v1:ServiceMonitor",
)
CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
LABELS = {"release": "kube-prometheus-stack"}


def monitoring(**values: Any) -> dict[str, Any]:
    return {"monitoring": values}


def built(settings: Settings) -> dict[str, Registration]:
    """The registrations by type; each type occurs at most once."""
    args = NetworkMonitoringArgs(settings=settings, namespace=pulumi.Output.from_input("network"))
    found = record(lambda: NetworkMonitoring("monitoring", args))
    assert len({entry.type for entry in found}) == len(found)
    return {entry.type: entry for entry in found}


def alert_faults(**values: Any) -> dict[str, str]:
    return faults_of(merged(EVERY_LAYER, monitoring(alerts=values)), cluster_config())


# Objects


def test_every_layer_gives_rules_a_monitor_and_a_dashboard_beside_the_controllers() -> None:
    found = built(every_layer())
    assert found.keys() == {COMPONENT, RULE, MONITOR, CONFIG_MAP}
    for kind in (RULE, MONITOR, CONFIG_MAP):
        assert found[kind].inputs["metadata"]["namespace"] == "network"
        parent = found[kind].opts.parent
        assert isinstance(parent, NetworkMonitoring)


def test_nothing_is_created_where_the_prometheus_operator_is_absent() -> None:
    assert built(every_layer(monitoring(enabled=False))).keys() == {COMPONENT}


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        (monitoring(dashboard=False), CONFIG_MAP),
        ({"cloudflare": {"enabled": False}}, MONITOR),
    ],
)
def test_each_part_can_be_left_out(change: dict[str, Any], gone: str) -> None:
    assert built(every_layer(change)).keys() == {COMPONENT, RULE, MONITOR, CONFIG_MAP} - {gone}


def test_alerts_can_be_left_out() -> None:
    config = merged(cluster_config(), EVERY_LAYER) | monitoring(alerts=None)
    assert built(parse(config, charts_without_files, STAND_IN_SECRETS)).keys() == {COMPONENT, MONITOR, CONFIG_MAP}


def test_prometheus_finds_rules_and_monitor_by_the_labels_it_selects() -> None:
    found = built(every_layer())
    assert found[RULE].inputs["metadata"]["labels"] == LABELS
    assert found[MONITOR].inputs["metadata"]["labels"] == LABELS
    other = built(every_layer(monitoring(labels={"prometheus": "main"})))
    assert {"prometheus": "main"}.items() <= other[RULE].inputs["metadata"]["labels"].items()


def test_connectors_are_scraped_by_the_labels_and_port_of_their_service() -> None:
    (service,) = (
        entry.inputs
        for entry in edge.built().values()
        if entry.type == "kubernetes:core/v1:Service" and entry.inputs["metadata"]["name"].startswith("cloudflared")
    )
    spec = built(every_layer())[MONITOR].inputs["spec"]
    assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items(), "it would find no Service"
    (endpoint,) = spec["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}, "it would find no port"
    assert service["metadata"]["labels"][spec["jobLabel"]] == "cloudflared", "alerts ask for this job"


def test_rules_carry_every_alert_once_for_each_class() -> None:
    groups = built(every_layer())[RULE].inputs["spec"]["groups"]
    assert len({group["name"] for group in groups}) == len(groups), "Prometheus refuses two groups of one name"
    assert {rule["alert"] for group in groups for rule in group["rules"]} == set(CASES)


def test_grafana_finds_the_dashboard() -> None:
    config_map = built(every_layer())[CONFIG_MAP].inputs
    assert config_map["metadata"]["labels"] == {"grafana_dashboard": "1"}
    ((file, text),) = config_map["data"].items()
    assert file.endswith(".json"), "Grafana's sidecar skips other files"
    assert json.loads(text) == dashboard(every_layer())


def test_dashboard_goes_where_grafana_looks() -> None:
    change = monitoring(dashboardNamespace="observability", dashboardLabels={"dashboards": "network"})
    metadata = built(every_layer(change))[CONFIG_MAP].inputs["metadata"]
    assert metadata["namespace"] == "observability"
    assert metadata["labels"]["dashboards"] == "network"


# Objects against the definitions of their kinds


def definition(kind: str) -> Mapping[str, Any]:
    """The schema of a kind. Skips the test where the operator's definitions are not at hand."""
    path = PROJECT.parent / f"shared/crds/monitoring.coreos.com_{kind.lower()}s.yaml"
    if not path.is_file():
        pytest.skip(f"no {path.name} on this machine")
    crd = yaml.safe_load(path.read_text())
    (version,) = (each for each in crd["spec"]["versions"] if each["name"] == "v1")
    schema: Mapping[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def strangers(value: Any, schema: Mapping[str, Any], path: str = "spec") -> Iterator[str]:
    """Paths of what the API server would drop as unknown, or miss as required."""
    if isinstance(value, dict):
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
        yield from (f"{path} lacks {name}" for name in schema.get("required", []) if name not in value)
        for key, inner in value.items():
            if (known := properties.get(key, rest)) is None:
                yield f"{path}.{key} is unknown"
            else:
                yield from strangers(inner, known, f"{path}.{key}")
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from strangers(item, schema["items"], f"{path}[{position}]")


@pytest.mark.parametrize("kind", ["PrometheusRule", "ServiceMonitor"])
def test_objects_have_no_field_that_their_definition_does_not_know(kind: str) -> None:
    spec = built(every_layer())[f"kubernetes:monitoring.coreos.com/v1:{kind}"].inputs["spec"]
    schema = definition(kind)["properties"]["spec"]
    assert list(strangers(spec, schema)) == []
    assert list(strangers(spec | {"group": []}, schema)) == ["spec.group is unknown"]


# The dashboard


def panels(settings: Settings) -> list[dict[str, Any]]:
    """The panels with data, without the headings."""
    return [panel for panel in dashboard(settings)["panels"] if panel["type"] != "row"]


def headings(settings: Settings) -> list[str]:
    return [panel["title"] for panel in dashboard(settings)["panels"] if panel["type"] == "row"]


def queries(settings: Settings) -> list[str]:
    return [target["expr"] for panel in panels(settings) for target in panel["targets"]]


def test_dashboard_follows_a_request_through_the_layers() -> None:
    assert headings(every_layer()) == [
        *("Cloudflare tunnel", "Ingress classes", "Policies and data path", "DNS"),
        *("LoadBalancer addresses", "Certificates", "Tailscale"),
    ]
    assert headings(settings_with(base=cluster_config())) == [
        "Ingress classes",
        "Policies and data path",
        "DNS",
        "LoadBalancer addresses",
    ]


def test_dashboard_keeps_its_address_and_ties_nobody_to_a_data_source() -> None:
    model = dashboard(every_layer())
    assert model["uid"] == "anton-network", "another uid would break links and leave the old dashboard behind"
    (variable,) = model["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    for panel in panels(every_layer()):
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": f"${{{variable['name']}}}"}


def test_panels_have_units_numbers_of_their_own_and_room() -> None:
    every = dashboard(every_layer())["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for panel in panels(every_layer()):
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names) > 0, panel["title"]
    places = [panel["gridPos"] for panel in every]
    assert all(place["x"] + place["w"] <= 24 for place in places), "Grafana's grid has 24 columns"
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, f"{one} lies on {other}"


def test_every_metric_in_the_dashboard_is_one_that_somebody_exports() -> None:
    for query in queries(every_layer()):
        assert metrics_in(query), query
        assert metrics_in(query) <= METRICS.keys(), f"{query} would stay empty"


def test_every_query_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries(every_layer()))]
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    result = subprocess.run([tool("promtool"), "check", "rules", path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_metric_on_the_list_is_asked_for() -> None:
    asked = {rule["expr"] for group in built(every_layer())[RULE].inputs["spec"]["groups"] for rule in group["rules"]}
    used = {metric for query in [*asked, *queries(every_layer())] for metric in metrics_in(query)}
    assert used == METRICS.keys()


def test_each_class_has_its_own_line() -> None:
    (requests,) = (panel for panel in panels(every_layer()) if panel["title"] == "Requests")
    assert [target["legendFormat"] for target in requests["targets"]] == ["external", "internal"]


# Settings


def test_prometheus_is_where_the_specification_has_it_unless_said() -> None:
    settings = settings_with().monitoring
    assert (settings.namespace, settings.prometheus_labels) == ("monitoring", {"app.kubernetes.io/name": "prometheus"})


def test_warnings_come_before_alarms() -> None:
    assert (
        "memoryCriticalPercent 86"
        in alert_faults(cilium={"memoryHighPercent": 86})["monitoring.alerts.cilium.memoryHighPercent"]
    )
    assert (
        "expiryWarningDays 21"
        in alert_faults(certificates={"expiryCriticalDays": 21})["monitoring.alerts.certificates.expiryCriticalDays"]
    )
    assert (
        "restartsPerHourCritical 6"
        in alert_faults(workloads={"restartsPerHour": 7})["monitoring.alerts.workloads.restartsPerHour"]
    )


@pytest.mark.parametrize(
    ("part", "blamed", "change"),
    [
        ("certificates", "expiryWarningDays", {"expiryWarningDays": 5}),
        ("certificates", "expiryCriticalDays", {"expiryCriticalDays": 30}),
        ("certificates", "expiryCriticalDays", {"expiryCriticalDays": 10, "expiryWarningDays": 4}),
        ("certificates", "expiryWarningDays", {"expiryCriticalDays": 2, "expiryWarningDays": 1}),
        ("cilium", "memoryCriticalPercent", {"memoryCriticalPercent": 50}),
        ("cilium", "memoryHighPercent", {"memoryHighPercent": 100}),
        ("workloads", "restartsPerHourCritical", {"restartsPerHourCritical": 2}),
        ("workloads", "restartsPerHour", {"restartsPerHour": 9, "restartsPerHourCritical": 1}),
    ],
)
def test_of_two_thresholds_the_one_that_was_set_is_blamed_with_an_example_that_helps(
    part: str, blamed: str, change: dict[str, int]
) -> None:
    with pytest.raises(ConfigError) as refused:
        every_layer(monitoring(alerts={part: change}))
    (problem,) = refused.value.problems
    assert problem.key == f"monitoring.alerts.{part}.{blamed}"
    assert every_layer(monitoring(alerts={part: {**change, blamed: problem.example}}))


def test_restarts_that_kubelet_never_makes_are_refused() -> None:
    assert "monitoring.alerts.workloads.restartsPerHourCritical" in alert_faults(
        workloads={"restartsPerHourCritical": 12}
    )


def test_state_of_external_dns_is_not_stale_before_two_rounds() -> None:
    key = "monitoring.alerts.dns.syncStaleMinutes"
    assert "intervalSeconds 60" in alert_faults(dns={"syncStaleMinutes": 1})[key]
    assert every_layer(monitoring(alerts={"dns": {"syncStaleMinutes": 2}}))


def test_link_to_the_runbooks_is_the_page_alone() -> None:
    assert "monitoring.alerts.runbookUrl" in alert_faults(runbookUrl="https://git.example.com/monitoring.md#top")
