"""What a report says of a fault: its key, its value, a plain reason, and an example of what would pass."""

from copy import deepcopy
from typing import Any

import pulumi
import pytest

from settings.errors import ConfigError
from tests.support.configs import merged, settings_with, stack_config
from tests.support.faults import EVERY_LAYER, below, holder, paths, problems, shown, the_only_problem

pytestmark = pytest.mark.unit


def test_report_gives_key_value_reason_and_example() -> None:
    with pytest.raises(ConfigError) as caught:
        settings_with({"physical": {"gateway": "192.168.2.1"}, "cilium": {"upgradeCompatibility": 1.19}})
    report = str(caught.value)
    assert "2 problems" in report
    assert "anton-network:physical.gateway\n    value:   192.168.2.1\n    reason:  lies outside" in report
    assert 'example: "1.19"' in report, (
        "a number in quotes must be shown with its quotes, else the example is refused too"
    )


def test_error_is_shown_without_a_traceback() -> None:
    assert issubclass(ConfigError, pulumi.RunError)


@pytest.mark.parametrize(
    ("change", "key", "example"),
    [
        (below("networkPolicies", "namespaces", "Media", value={}), "Media", "production"),
        (below("ingress", "classes", "Internal", value={}), "Internal", "internal"),
        (
            below("cloudflare", "dns", "records", "Oo", value={"name": "a.example.com", "type": "TXT", "content": "x"}),
            "Oo",
            "spf",
        ),
        (below("tailscale", "tailnet", "authKeys", "Nodes", value={"tags": ["tag:k8s"]}), "Nodes", "nodes"),
        (
            below("tailscale", "tailnet", "policy", "tagOwners", "k8s", value=["autogroup:admin"]),
            "k8s",
            "tag:k8s-node",
        ),
        (below("tailscale", "tailnet", "policy", "groups", "admins", value=["a@anton.dev"]), "admins", "group:admins"),
        (below("discovery", "coredns", "zones", "Bad_zone", value=["1.1.1.1"]), "Bad_zone", "home.arpa"),
        (
            below("networkPolicies", "namespaces", "production", "metrics", "M", value={"port": 1, "labels": {}}),
            "M",
            None,
        ),
    ],
)
def test_faulty_name_is_shown_with_an_example_of_a_name(change: dict[str, Any], key: str, example: str | None) -> None:
    found = [problem for problem in problems(merged(EVERY_LAYER, change)) if problem.key.endswith(f".{key}")]
    assert [problem.value for problem in found] == [key]
    assert isinstance(found[0].example, str)
    assert found[0].example == (example or found[0].example)


def test_example_of_a_list_is_a_list() -> None:
    for path in (
        ("cloudflare", "access", "policies", "staff", "emails"),
        ("cloudflare", "access", "policies", "staff", "emailDomains"),
        ("cloudflare", "zone", "certificatePacks", "apps", "hosts"),
    ):
        example = the_only_problem(below(*path, value="x.example.com")).example
        assert isinstance(example, list), path
        assert isinstance(example[0], str)


class TestWording:
    @pytest.mark.parametrize(
        ("path", "value", "reason"),
        [
            ("cluster.domain", 5, "must be text; a number needs quotes to be text"),
            ("cluster.domain", {"a": 1}, "must be text"),
            ("cluster.domain", ["a"], "must be text"),
            ("monitoring.enabled", "maybe", "must be true or false"),
            ("monitoring.enabled", 3, "must be true or false"),
            ("physical.mtu", "large", "must be a whole number"),
            ("physical.mtu", 1500.5, "must be a whole number"),
            ("physical.mtu", True, "must be a whole number"),
            ("physical.mtu", 5, "must be 1280 or more"),
            ("cilium.operator.replicas", {}, "must be a whole number"),
            ("cilium.bpfMaps.dynamicSizeRatio", "half", "must be a number"),
            ("cilium.operator", [], "must be a mapping (key: value)"),
            ("physical.dnsServers", "1.1.1.1", "must be a list"),
            ("physical", "x", "must be a mapping (key: value)"),
            ("applications", ["a"], "must be a mapping (key: value)"),
        ],
    )
    def test_reasons_are_plain(self, path: str, value: Any, reason: str) -> None:
        found = {
            problem.key: problem.reason
            for problem in problems(merged(stack_config(), below(*path.split("."), value=value)))
        }
        assert found[path] == reason

    def test_null_is_said_to_be_empty(self) -> None:
        raw = stack_config() | {"discovery": None, "cilium": {"operator": None, "routingMode": None}}
        found = {problem.key: problem.reason for problem in problems(raw)}
        mapping = "is empty (null); a mapping without values is written {}"
        assert found == {
            "discovery": mapping,
            "cilium.operator": mapping,
            "cilium.routingMode": "is empty (null)",
        }

    def test_numbers_as_names_are_taken_as_text(self) -> None:
        entry = {"ingressClass": "internal", "namespace": "production", "port": "x", "service": "web"}
        raw = stack_config() | {"applications": {1: entry}}
        assert [problem.key for problem in problems(raw)] == ["applications.1.port"]

    def test_missing_values_are_shown_in_one_way(self) -> None:
        change: dict[str, Any] = {"physical": {"gateway": None}, "cloudflare": {"zoneId": None}}
        report = shown(change)
        assert "physical.gateway\n    value:   (none)" in report
        assert "cloudflare.zoneId\n    value:   (none)" in report
        assert "null" not in report

    def test_advice_is_shown_without_quotes_and_values_with_those_they_need(self) -> None:
        report = shown(
            {
                "certificates": {"letsencrypt": {"environment": "staging"}},
                "cilium": {"upgradeCompatibility": 1.19},
                "cloudflare": {"tunnel": {"rules": [{"host": "a.example.com", "service": "http://a.production.svc"}]}},
            }
        )
        assert "example: production\n" in report
        assert 'example: "1.19"' in report
        assert (
            "example: a flow under networkPolicies.namespaces.production.flows with source: {namespace: network, "
            "labels: {" in report
        )

    def test_no_reason_is_a_regular_expression(self) -> None:
        for path in paths(EVERY_LAYER):
            raw = deepcopy(EVERY_LAYER)
            at = holder(raw, path)
            if not isinstance(at[path[-1]], str):
                continue
            at[path[-1]] = "\x00{?}"
            for problem in problems(raw):
                assert "^" not in problem.reason, problem
                assert "is not written as the example is" not in problem.reason, f"no Form says what {problem.key} is"


def test_garbled_texts_read_well() -> None:
    routes = below("tailscale", "connector", "routes", value=["192.168.1.0/24"])
    reason = the_only_problem(routes).reason
    assert reason.startswith(
        "holds the whole node subnet with addresses that are no service's: 192.168.1.0 (the network address), "
    )
