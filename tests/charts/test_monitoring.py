"""What alerts and the dashboard take for granted about the charts: jobs, Deployments and metrics."""

import re
import tarfile
from collections.abc import Iterator

import pytest

from tests.charts import test_cert_manager, test_external_dns, test_tailscale_operator
from tests.charts.test_k8s_gateway import render_gateway
from tests.components import test_discovery
from tests.components.test_alerts import every_layer, rules
from tests.support.alert_cases import JOBS
from tests.support.metrics import CILIUM_DASHBOARDS, METRICS
from tests.support.rendering import Manifests, chart_archive, render_cilium, render_nginx

pytestmark = pytest.mark.render

OWN_JOBS = {"cloudflared"}
"""Of Services that the program itself makes, see test_monitoring.py."""


def releases() -> Iterator[Manifests]:
    """Every release of the stack."""
    settings = every_layer()
    yield render_cilium(settings)
    yield from (render_nginx(settings, ingress_class) for ingress_class in settings.ingress.classes)
    yield test_cert_manager.render_cert_manager()
    yield test_external_dns.rendered()
    yield test_tailscale_operator.rendered()
    yield render_gateway()


def jobs(release: Manifests) -> Iterator[str]:
    """The jobs that a release gives Prometheus: the label of the Service that a monitor names, else its name."""
    for monitor in release.of("ServiceMonitor"):
        spec = monitor["spec"]
        expressions = {each["key"]: each["values"] for each in spec["selector"].get("matchExpressions", [])}
        for service in release.of("Service"):
            labels = service["metadata"].get("labels", {})
            wanted = {key: [value] for key, value in spec["selector"].get("matchLabels", {}).items()} | expressions
            if all(labels.get(key) in values for key, values in wanted.items()):
                yield labels.get(spec.get("jobLabel"), service["metadata"]["name"])


def test_every_job_that_is_asked_for_is_one_that_a_monitor_gives() -> None:
    given = {job for release in releases() for job in jobs(release)} | OWN_JOBS
    found = test_discovery.built()
    service, monitor = found["discovery-k8s-gateway-metrics"].inputs, found["discovery-k8s-gateway-monitor"].inputs
    given.add(service["metadata"]["labels"][monitor["spec"]["jobLabel"]])
    asked = {job for rule in rules(every_layer()) for job in re.findall(r'job="([^"]+)"', rule["expr"])}
    assert asked == set(JOBS)
    assert asked <= given, f"no target would ever have these: {asked - given}"


def test_every_deployment_that_is_asked_for_is_one_that_a_chart_makes() -> None:
    made = {manifest["metadata"]["name"] for release in releases() for manifest in release.of("Deployment")}
    asked = {name for rule in rules(every_layer()) for name in re.findall(r'deployment="([^"]+)"', rule["expr"])}
    assert len(asked) == 5
    assert asked <= made, f"these alerts would never fire: {asked - made}"


def test_agent_memory_is_asked_for_by_the_name_of_its_container() -> None:
    assert render_cilium(every_layer()).container("DaemonSet", "cilium", "cilium-agent")


def test_metrics_of_cilium_and_hubble_are_those_of_its_own_dashboards() -> None:
    with tarfile.open(chart_archive("cilium")) as archive:
        dashboards = [name for name in archive.getnames() if name.endswith("-dashboard.json")]
        text = b"".join(content.read() for name in dashboards if (content := archive.extractfile(name))).decode()
    listed = {metric for metric, source in METRICS.items() if source == CILIUM_DASHBOARDS}
    assert {metric for metric in listed if not re.search(rf"\b{metric}\b", text)} == set()
