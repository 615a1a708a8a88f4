"""Published applications: one entry gives a consistent Ingress, and what can't work is refused."""

from typing import Any

import pytest

from components.applications import Applications, ApplicationsArgs
from settings.applications import Published, covered_by_wildcard
from settings.errors import ConfigError
from settings.stack import Settings
from tests.support.configs import settings_with, stack_config
from tests.support.recorder import Registration, record

pytestmark = pytest.mark.unit

TOGETHER: dict[str, Any] = {"tailscale": {"proxyGroup": {}}}

WEB = {"ingressClass": "external", "namespace": "production", "port": 80}


def settings_with_all(change: dict[str, Any]) -> Settings:
    """The shipped settings, every layer on, with a change."""
    return settings_with(change, stack_config())


def ingress_of(settings: Settings, name: str = "web") -> dict[str, Any]:
    """The inputs of the Ingress of an entry."""
    args = ApplicationsArgs.of(settings)
    found: list[Registration] = record(lambda: Applications("applications", args))
    return next(entry.inputs for entry in found if entry.name == f"applications-{name}")


def entry(**change: Any) -> Settings:
    """The shipped settings with one application."""
    return settings_with_all({"applications": {"web": WEB | change}})


def reasons(change: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        settings_with_all(change)
    return {problem.key: problem.reason for problem in caught.value.problems}


def test_three_values_publish_a_service() -> None:
    ingress = ingress_of(entry())
    assert ingress["metadata"]["name"] == "web"
    assert ingress["metadata"]["namespace"] == "production"
    assert ingress["spec"]["ingressClassName"] == "external"
    (rule,) = ingress["spec"]["rules"]
    assert rule["host"] == "web.example.com"
    (path,) = rule["http"]["paths"]
    assert path == {
        "path": "/",
        "pathType": "Prefix",
        "backend": {"service": {"name": "web", "port": {"number": 80}}},
    }


def test_public_name_points_to_the_tunnel_and_never_to_the_controllers_address() -> None:
    annotations = ingress_of(entry())["metadata"]["annotations"]
    assert annotations["external-dns.alpha.kubernetes.io/target"] == "external.example.com"


def test_internal_application_has_no_public_target() -> None:
    annotations = ingress_of(entry(ingressClass="internal"))["metadata"]["annotations"]
    assert not [key for key in annotations if key.startswith("external-dns")]


def test_old_class_annotation_is_never_set() -> None:
    assert "kubernetes.io/ingress.class" not in ingress_of(entry())["metadata"]["annotations"]


def test_host_under_the_wildcard_uses_the_controllers_default_certificate() -> None:
    ingress = ingress_of(entry())
    (tls,) = ingress["spec"]["tls"]
    assert tls == {"hosts": ["web.example.com"]}
    assert "cert-manager.io/cluster-issuer" not in ingress["metadata"]["annotations"]


def test_deeper_host_gets_a_certificate_of_its_classes_issuer() -> None:
    ingress = ingress_of(entry(ingressClass="internal", host="a.web.example.com"))
    assert ingress["metadata"]["annotations"]["cert-manager.io/cluster-issuer"] == "ca-issuer"
    assert ingress["spec"]["tls"] == [{"hosts": ["a.web.example.com"], "secretName": "web-tls"}]


def test_limits_replace_the_defaults_of_the_class_and_only_where_set() -> None:
    limits = {"requestsPerMinute": 600, "bodySize": "1g"}
    annotations = ingress_of(entry(limits=limits))["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/limit-rpm"] == "600"
    assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == "1g"
    assert "nginx.ingress.kubernetes.io/limit-connections" not in annotations


def test_tailscale_application_is_a_device_of_the_entrys_name() -> None:
    ingress = ingress_of(entry(ingressClass="tailscale"))
    assert ingress["spec"]["tls"] == [{"hosts": ["web"]}]
    (rule,) = ingress["spec"]["rules"]
    assert "host" not in rule, "the operator ignores rules for any host but the TLS one"
    assert not [key for key in ingress["metadata"]["annotations"] if key.startswith("nginx")]


@pytest.mark.parametrize(
    ("tailnet", "domain"),
    [("-", "<tailnet>.ts.net"), ("example.org", "<tailnet>.ts.net"), ("tail1234.ts.net", "tail1234.ts.net")],
)
def test_addresses_on_the_tailnet_are_whole_and_say_which_part_is_not_known(tailnet: str, domain: str) -> None:
    change = {"applications": {"web": WEB | {"ingressClass": "tailscale"}}, "tailscale": {"tailnet": {"name": tailnet}}}
    args = ApplicationsArgs.of(settings_with_all(change))
    urls: dict[str, str] = {}
    record(lambda: Applications("applications", args).urls.apply(urls.update))
    assert urls["web"] == f"https://web.{domain}/"


def test_proxy_group_serves_tailscale_applications_together() -> None:
    settings = settings_with_all({"applications": {"web": WEB | {"ingressClass": "tailscale"}}, **TOGETHER})
    assert ingress_of(settings)["metadata"]["annotations"]["tailscale.com/proxy-group"] == "ingress"
    assert "tailscale.com/proxy-group" not in ingress_of(entry(ingressClass="tailscale"))["metadata"]["annotations"]


def test_update_does_not_wait_for_pods_that_others_deploy() -> None:
    assert ingress_of(entry())["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"


@pytest.mark.parametrize(
    ("host", "covered"),
    [("example.com", True), ("web.example.com", True), ("a.web.example.com", False), ("notexample.com", False)],
)
def test_wildcard_stands_for_one_label(host: str, covered: bool) -> None:
    assert covered_by_wildcard(host, "example.com") is covered


def test_pods_are_found_by_the_services_name_unless_labels_say_otherwise() -> None:
    (published,) = entry(service="frontend").published
    assert published.pod_labels == {"app": "frontend"}
    (published,) = entry(podLabels={"app.kubernetes.io/name": "web"}, podPort=8080).published
    assert isinstance(published, Published)
    assert (published.pod_labels, published.pod_port) == ({"app.kubernetes.io/name": "web"}, 8080)


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        ({"ingressClass": "public"}, "ingressClass", "is no class of ingress.classes"),
        ({"ingressClass": "tailscale"}, "ingressClass", "tailscale.enabled is false"),
        ({"host": "web.elsewhere.org"}, "host", "lies outside cluster.domain example.com"),
        (
            {"host": "a.web.example.com", "ingressClass": "internal"},
            "host",
            "deeper than a wildcard certificate reaches",
        ),
        ({"port": 0}, "port", "1 or more"),
        ({"path": "api"}, "path", "from its first slash on"),
        ({"path": "/api/*"}, "path", "no wildcard here"),
        ({"namespace": "Production"}, "namespace", "lower-case letters"),
        ({"tlsSecret": "x"}, "tlsSecret", "is not a known key"),
    ],
)
def test_entry_that_can_not_work_is_refused_with_its_reason(change: dict[str, Any], key: str, reason: str) -> None:
    without = {"ingress": {"classes": {"internal": {"certificateIssuer": None}}}, "tailscale": {"enabled": False}}
    found = reasons({"applications": {"web": WEB | change}, **without})
    assert reason in found[f"applications.web.{key}"]


def test_two_applications_can_not_share_a_host_and_path_on_a_class() -> None:
    found = reasons({"applications": {"web": WEB, "shop": WEB | {"host": "web.example.com"}}})
    assert "applications.web" in found["applications.shop.host"]


def test_same_host_may_be_public_and_on_the_lan() -> None:
    """Split horizon: the LAN gets the internal controller's address, everybody else the tunnel."""
    lan = WEB | {"ingressClass": "internal", "host": "web.example.com"}
    assert len(settings_with_all({"applications": {"web": WEB, "web-lan": lan}}).published) == 2


def test_limits_and_host_mean_nothing_on_tailscale_and_are_refused() -> None:
    change = {"ingressClass": "tailscale", "host": "web.example.com", "limits": {"connections": 5}}
    found = reasons({"applications": {"web": WEB | change}, "tailscale": {"enabled": True}})
    assert "the tailnet names the device" in found["applications.web.host"]
    assert "no limits" in found["applications.web.limits"]
