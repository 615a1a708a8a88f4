"""Names that become other names: of releases, Services, devices and entries of Pulumi's state."""

from typing import Any

import pytest

from settings.errors import ConfigError
from settings.fields import Problem
from tests.support.configs import merged, settings_with, stack_config

pytestmark = pytest.mark.unit


def the_only_problem(change: dict[str, Any]) -> Problem:
    with pytest.raises(ConfigError) as caught:
        settings_with(change, stack_config())
    assert len(caught.value.problems) == 1, [(problem.key, problem.reason) for problem in caught.value.problems]
    return caught.value.problems[0]


def ingress_class(name: str) -> dict[str, Any]:
    return {"ingress": {"classes": {name: {}}}}


def application(name: str, **values: Any) -> dict[str, Any]:
    return {"applications": {name: {"ingressClass": "internal", "namespace": "production", "port": 80, **values}}}


def device(**values: Any) -> dict[str, Any]:
    return {"tailscale": values}


def service(name: str, namespace: str = "production") -> dict[str, Any]:
    entry = {"namespace": namespace, "type": "external-name", "host": "db.example.net"}
    return {"discovery": {"services": {name: entry}}}


LONG = "c" * 28


@pytest.mark.parametrize("name", ["c" * 40, f"{LONG}c", "1st", "9", "ends-", "-starts", "Internal"])
def test_class_whose_controller_could_not_be_called_after_it_is_refused(name: str) -> None:
    problem = the_only_problem(ingress_class(name))
    assert problem.key == f"ingress.classes.{name}"
    assert "start with a letter" in problem.reason


@pytest.mark.parametrize("name", [LONG, "a", "x1-2"])
def test_class_whose_controller_can_be_called_after_it_is_accepted(name: str) -> None:
    assert name in settings_with(ingress_class(name), stack_config()).ingress.classes


def test_class_at_fault_is_one_fault_for_those_that_use_it() -> None:
    change = merged(ingress_class("1st"), application("web", ingressClass="1st"))
    assert the_only_problem(change).key == "ingress.classes.1st"


def test_class_called_like_the_lans_dns_would_get_its_address() -> None:
    change = {"ingress": {"classes": {"k8s-gateway": {"serviceType": "LoadBalancer"}}}}
    assert the_only_problem(change).key == "ingress.classes.k8s-gateway"


def test_service_never_starts_with_a_digit() -> None:
    assert the_only_problem(service("1db")).key == "discovery.services.1db"
    assert the_only_problem(application("web", service="1db")).key == "applications.web.service"
    derived = the_only_problem(application("1db"))
    assert (derived.key, derived.example) == ("applications.1db.service", "db")
    settings_with(application("1db", service="db"), stack_config())


@pytest.mark.parametrize(
    ("change", "key", "owner"),
    [
        (device(connector={"hostname": "k8s", "replicas": 3}), "tailscale.connector.hostname", "the node k8s-1"),
        (device(hostname="anton-lan-0"), "tailscale.hostname", "the subnet router"),
        (device(hostname="anton-lan-2", connector={"replicas": 3}), "tailscale.hostname", "the subnet router"),
        (device(proxyGroup={}, connector={"hostname": "ingress"}), "tailscale.connector.hostname", "a proxy"),
        (device(proxyGroup={}, hostname="ingress-1"), "tailscale.hostname", "a proxy"),
        (
            merged(device(proxyGroup={}), application("ingress-0", ingressClass="tailscale")),
            "applications.ingress-0",
            "a proxy",
        ),
    ],
)
def test_no_two_devices_of_the_tailnet_want_one_name(change: dict[str, Any], key: str, owner: str) -> None:
    problem = the_only_problem(change)
    assert problem.key == key
    assert f"the name of {owner}" in problem.reason


def test_node_called_like_a_proxy_is_named() -> None:
    node = {"address": "192.168.1.97", "mac": "58:47:ca:79:7c:a3"}
    problem = the_only_problem({"physical": {"nodes": {"ingress-0": node}}, **device(proxyGroup={})})
    assert (problem.key, "the node ingress-0" in problem.reason) == ("tailscale.proxyGroup", True)


@pytest.mark.parametrize(
    "change",
    [
        device(hostname="anton-lan-1"),
        device(hostname="anton-lan"),
        device(connector={"hostname": "k8s", "replicas": 1}),
        device(hostname="ingress-0"),
        device(proxyGroup={}, hostname="ingress-2"),
    ],
)
def test_names_that_no_other_device_has_are_accepted(change: dict[str, Any]) -> None:
    settings_with(change, stack_config())


def test_names_that_would_be_one_in_pulumis_state_are_refused() -> None:
    """Namespace and name are joined by a hyphen there: the engine would stop at a duplicate."""
    services = merged(service("data-db", "team"), service("db", "team-data"))
    assert the_only_problem(services).key == "discovery.services.db"
    assert the_only_problem(service("gateway-metrics", "k8s")).key == "discovery.services.gateway-metrics"
    flow = {"source": {"labels": {"app": "a"}}, "destination": {"labels": {"app": "b"}}, "port": 80}
    flows = {"team": {"flows": {"allow-web": flow}}, "team-allow": {"flows": {"web": flow}}}
    problem = the_only_problem({"networkPolicies": {"namespaces": flows}})
    assert (problem.key, problem.value) == ("networkPolicies.namespaces.team-allow", "allow-web")


def test_applications_own_certificate_is_never_a_class_default_one() -> None:
    change = application("internal", namespace="network", host="a.b.example.com")
    problem = the_only_problem(change)
    assert problem.key == "applications.internal"
    assert "network/internal-tls" in problem.reason
    settings_with(application("internal", namespace="network"), stack_config())
    settings_with(application("internal", host="a.b.example.com"), stack_config())


@pytest.mark.parametrize("fault", [{"replicas": "x"}, {"hostname": "X_"}])
def test_names_are_judged_beside_faults_that_they_do_not_rest_on(fault: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_with(merged(device(hostname="anton-lan-0", connector=fault), {"physical": {"mtu": 1}}), stack_config())
    keys = {problem.key for problem in caught.value.problems}
    assert keys >= {f"tailscale.connector.{next(iter(fault))}", "physical.mtu"}
    assert ("tailscale.hostname" in keys) is ("replicas" in fault), "whose name is at fault has none to compare"
