"""What external-dns's chart makes of the settings."""

from typing import Any

import pytest

from components.cloudflare.dns import PublicDnsArgs, external_dns_values
from settings.cloudflare.dns import EXTERNAL_DNS, PRIVATE_NETWORKS
from settings.stack import Settings
from tests.charts.test_values import defaults_of, leaves, listed
from tests.support.edge import OWNER, ZONE_ID, edge_settings
from tests.support.pod_security import restricted_violations
from tests.support.rendering import Manifest, Manifests, RenderError, chart_archive, render

pytestmark = pytest.mark.render

# Emitted paths that values.yaml does not list: entries of open maps.
OPEN_MAPS = ("resources", "serviceMonitor.additionalLabels")


def values_of(settings: Settings) -> dict[str, Any]:
    args = PublicDnsArgs(
        dns=settings.cloudflare.dns,
        zone_id=ZONE_ID,
        domain=settings.cluster.domain,
        hostname="external.example.com",
        target="tunnel.cfargotunnel.com",
        rule_hosts=[],
        published_hosts=[],
        ingress_class=settings.cloudflare.tunnel.ingress_class,
        monitoring=settings.monitoring,
        chart=settings.charts["external-dns"],
        namespace="network",
        token=None,
        owner=OWNER,
    )
    assert settings.cloudflare.dns.external_dns
    return external_dns_values(args, settings.cloudflare.dns.external_dns, "token-1a2b3c")


def rendered(change: dict[str, Any] | None = None, *, fresh: bool = False) -> Manifests:
    values = values_of(edge_settings(change))
    return render(chart_archive("external-dns"), EXTERNAL_DNS, "network", values, fresh=fresh)


def settings(**values: Any) -> dict[str, Any]:
    return {"cloudflare": {"dns": {"externalDns": values}}}


def container(change: dict[str, Any] | None = None) -> Manifest:
    return rendered(change).container("Deployment", EXTERNAL_DNS, "external-dns")


def flags(change: dict[str, Any] | None = None) -> dict[str, list[str]]:
    """Flags with all their values."""
    found: dict[str, list[str]] = {}
    for argument in container(change)["args"]:
        flag, _, value = argument.removeprefix("--").partition("=")
        found.setdefault(flag, []).append(value)
    return found


def test_every_value_exists_in_the_chart() -> None:
    defaults = defaults_of(chart_archive("external-dns"))
    change = settings(endpointObjects=True)
    unknown = [
        ".".join(path)
        for path, _ in leaves(values_of(edge_settings(change)))
        if not listed(path, defaults) and not ".".join(path).startswith(OPEN_MAPS)
    ]
    assert not unknown, "the chart ignores unknown keys without a word"


def test_spec_dns_records_are_updated_at_cloudflare_from_ingress_objects() -> None:
    found = flags()
    assert found["provider"] == ["cloudflare"]
    assert found["source"] == ["ingress"], "Services would be published as well"
    assert "events" in found, "a new name would wait for the next comparison"
    assert found["interval"] == ["60s"]


def test_spec_only_the_external_class_is_published() -> None:
    assert flags()["ingress-class"] == ["external"], "names of the LAN would become public"
    assert "ignore-ingress-tls-spec" in flags()


def test_ownership_registry_tells_this_stack_from_others() -> None:
    found = flags()
    assert (found["registry"], found["txt-owner-id"], found["txt-prefix"]) == (["txt"], [OWNER], ["k8s."])


def test_only_the_stacks_own_zone_is_touched() -> None:
    found = flags()
    assert found["domain-filter"] == ["example.com"]
    assert found["zone-id-filter"] == [ZONE_ID]


@pytest.mark.parametrize("policy", ["sync", "upsert-only"])
def test_policy_is_the_chosen_one(policy: str) -> None:
    assert flags(settings(policy=policy))["policy"] == [policy]


def test_chart_refuses_to_go_without_a_policy() -> None:
    values = values_of(edge_settings())
    del values["policy"]
    with pytest.raises(RenderError, match="policy"):
        render(chart_archive("external-dns"), EXTERNAL_DNS, "network", values)


def test_records_are_proxied_and_read_in_few_calls() -> None:
    found = flags()
    assert "cloudflare-proxied" in found, "the origin would be reached past the edge"
    assert found["cloudflare-dns-records-per-page"] == ["1000"]


def test_annotation_prefix_is_pinned() -> None:
    """The default changes with the next version; the LAN's name server and our Ingress objects use this one."""
    assert flags()["annotation-prefix"] == ["external-dns.alpha.kubernetes.io/"]


def test_private_addresses_are_never_published() -> None:
    assert flags()["exclude-target-net"] == [str(network) for network in PRIVATE_NETWORKS]


def test_endpoint_objects_are_a_source_when_asked_for() -> None:
    assert flags(settings(endpointObjects=True))["source"] == ["ingress", "crd"]


def test_token_comes_from_the_secret_and_stands_nowhere_else() -> None:
    assert container()["env"] == [
        {"name": "CF_API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "token-1a2b3c", "key": "token"}}}
    ]
    assert not rendered().of("Secret")


def test_pod_meets_the_restricted_pod_security_level() -> None:
    pod = rendered().pod("Deployment", EXTERNAL_DNS)
    assert restricted_violations(pod) == []
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True


def test_pod_is_evicted_last_and_bounded() -> None:
    assert rendered().pod("Deployment", EXTERNAL_DNS)["priorityClassName"] == "system-cluster-critical"
    assert container()["resources"] == {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}


def test_two_at_once_can_not_happen() -> None:
    spec = rendered().get("Deployment", EXTERNAL_DNS)["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate"), "it knows no leader election"


def test_logs_are_json() -> None:
    assert flags()["log-format"] == ["json"]


def test_release_name_is_the_name_of_every_object() -> None:
    assert all(each["metadata"]["name"].startswith(EXTERNAL_DNS) for each in rendered())
    assert rendered().get("Deployment", EXTERNAL_DNS)["metadata"]["namespace"] == "network"


def test_metrics_are_scraped_by_the_labels_that_prometheus_selects() -> None:
    monitor = rendered().get("ServiceMonitor", EXTERNAL_DNS)
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    service = rendered().get("Service", EXTERNAL_DNS)
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert service["spec"]["ports"][0]["port"] == 7979


def test_monitoring_off_leaves_no_monitor() -> None:
    assert not rendered({"monitoring": {"enabled": False}}).of("ServiceMonitor")


def test_rendering_twice_gives_the_same_manifests() -> None:
    assert rendered(fresh=True).text == rendered().text, "every preview would show a change"
