"""What people have at home: tunnel rules to their machines, single-label zones, open tailnets, one node."""

from typing import Any

import pytest

from settings.cautions import cautions
from tests.support.configs import merged, settings_with, stack_config
from tests.support.faults import the_only_problem

pytestmark = pytest.mark.unit


def rule(service: str) -> dict[str, Any]:
    return {"cloudflare": {"tunnel": {"rules": [{"host": "nas.example.com", "service": service}]}}}


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        ("http://192.168.1.20:65536", "ports end at 65535"),
        ("http://192.168.1.300:80", "is no IPv4 address"),
        ("http://192.168.1:80", "is no IPv4 address"),
        ("http://127.0.0.1:80", "no connector finds"),
        ("http://0.0.0.0:80", "no connector finds"),
        ("http://localhost:80", "the connector's own pod"),
    ],
)
def test_origin_that_is_nowhere_is_one_fault(service: str, reason: str) -> None:
    problem = the_only_problem(rule(service))
    assert problem.key == "cloudflare.tunnel.rules[0].service"
    assert reason in problem.reason


@pytest.mark.parametrize("service", ["http://192.168.1.20:65535", "http://nas.lan", "ssh://192.168.1.20"])
def test_origin_in_the_home_is_taken(service: str) -> None:
    settings_with(rule(service), stack_config())


@pytest.mark.parametrize("zone", ["lan", "internal", "home.arpa"])
def test_zone_of_the_router_may_have_one_label(zone: str) -> None:
    change = {"discovery": {"coredns": {"zones": {zone: ["192.168.1.1"]}}}}
    assert zone in settings_with(change, stack_config()).discovery.coredns.zones


def tailnet(**policy: Any) -> dict[str, Any]:
    owners = {"tag:k8s-operator": ["autogroup:admin"], "tag:k8s": ["tag:k8s-operator"]}
    return {"tailscale": {"tailnet": {"policy": {"tagOwners": owners, **policy}}}}


OPEN = {"all": {"src": ["autogroup:member"], "dst": ["*"], "ip": ["*"]}}


def test_open_tailnet_needs_a_test_of_its_own_and_is_told_how() -> None:
    problem = the_only_problem(tailnet(grants=OPEN, testMember="me@example.com"))
    assert problem.key == "tailscale.tailnet.policy.tests"
    settings_with(tailnet(grants=OPEN, tests=problem.example), stack_config())


def test_member_is_asked_for_where_one_would_do() -> None:
    problem = the_only_problem(
        tailnet(grants={"lan": {"src": ["autogroup:member"], "dst": ["192.168.1.0/24"], "ip": ["tcp:443", "udp:53"]}})
    )
    assert problem.key == "tailscale.tailnet.policy.testMember"


def test_label_that_the_api_would_refuse_is_refused() -> None:
    problem = the_only_problem({"monitoring": {"prometheusLabels": {"app": "no label"}}})
    assert problem.key == "monitoring.prometheusLabels.app"


def test_on_one_node_source_nat_hides_no_client() -> None:
    one = {"physical": {"nodes": {"k8s-2": None, "k8s-3": None}}, "cilium": {"loadBalancing": {"mode": "snat"}}}
    said = {caution.key for caution in cautions(settings_with(one, stack_config()))}
    assert "cilium.loadBalancing.mode" not in said
    two = merged(one, {"physical": {"nodes": {"k8s-2": stack_config()["physical"]["nodes"]["k8s-2"]}}})
    assert "cilium.loadBalancing.mode" in {caution.key for caution in cautions(settings_with(two, stack_config()))}


def test_namespace_of_a_rule_is_looked_at_however_it_is_written() -> None:
    for service in ("http://web.producton:80", "http://web.producton", "http://web.producton.svc:80"):
        said = [str(caution) for caution in cautions(settings_with(rule(service), stack_config()))]
        assert any("did you mean production" in each for each in said), service
