"""Reports of faults: one clear error for each, and no error that is not there."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import yaml

from settings.errors import ConfigError
from settings.fields import Problem
from settings.load import load, parse
from tests.support.configs import (
    PROJECT,
    STAND_IN_SECRETS,
    charts_without_files,
    merged,
    set_config,
    settings_with,
    stack_config,
)

pytestmark = pytest.mark.unit

Path = tuple[str | int, ...]

EVERY_LAYER: dict[str, Any] = merged(
    stack_config(), yaml.safe_load((PROJECT / "tests/profiles/every-layer.yaml").read_text())
)


def problems(raw: dict[str, Any]) -> list[Problem]:
    try:
        parse(raw, charts_without_files, STAND_IN_SECRETS)
    except ConfigError as error:
        return error.problems
    return []


def the_only_problem(change: dict[str, Any], base: dict[str, Any] | None = None) -> Problem:
    found = problems(merged(base or stack_config(), change))
    assert len(found) == 1, [(problem.key, problem.reason) for problem in found]
    return found[0]


def shown(change: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        settings_with(change, stack_config())
    return str(caught.value)


def below(*path: str, value: Any) -> dict[str, Any]:
    """A change of one value."""
    for step in reversed(path):
        value = {step: value}
    return dict(value)


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in items:
        yield from paths(inner, (*at, step))


def key_of(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def holder(raw: Any, path: Path) -> Any:
    for step in path[:-1]:
        raw = raw[step]
    return raw


class TestOneFaultIsOneError:
    """A value at fault is reported where it stands; nothing is said of the default that stands for it."""

    def test_wherever_a_value_has_a_wrong_type(self) -> None:
        assert problems(EVERY_LAYER) == []
        more: dict[str, list[str]] = {}
        for path in paths(EVERY_LAYER):
            raw = deepcopy(EVERY_LAYER)
            at = holder(raw, path)
            at[path[-1]] = "?" if isinstance(at[path[-1]], dict) else {}
            found = [f"{problem.key}: {problem.reason}" for problem in problems(raw)]
            if [each.split(": ")[0] for each in found] != [key_of(path)]:
                more[key_of(path)] = found
        assert not more, more

    def test_wherever_a_setting_is_misspelt(self) -> None:
        tried, more = 0, {}
        for path in paths(EVERY_LAYER):
            raw = deepcopy(EVERY_LAYER)
            at, wrong = holder(raw, path), f"{path[-1]}x"
            if isinstance(path[-1], int):
                continue
            at[wrong] = at.pop(path[-1])
            found = problems(raw)
            if not any("is not a known key" in problem.reason for problem in found):
                continue  # a name of the operator's own
            tried += 1
            if [problem.key for problem in found] != [key_of((*path[:-1], wrong))]:
                more[key_of(path)] = [f"{problem.key}: {problem.reason}" for problem in found]
        assert tried > 150
        assert not more, more

    @pytest.mark.parametrize(
        ("change", "key"),
        [
            (
                below("certificates", "letsencrypt", "environment", value="prod"),
                "certificates.letsencrypt.environment",
            ),
            (
                below("certificates", "controllerResources", "limits", "memory", value="1X"),
                "certificates.controllerResources.limits.memory",
            ),
            (below("cloudflare", "zoneId", value=12345678901234567890123456789012), "cloudflare.zoneId"),
            (
                below("cloudflare", "zone", "rules", "ddos", "sensitivity", value="none"),
                "cloudflare.zone.rules.ddos.sensitivity",
            ),
            (
                below(
                    "discovery",
                    "services",
                    "db",
                    value={"namespace": "production", "type": "external-name", "host": "Db_"},
                ),
                "discovery.services.db.host",
            ),
            (
                below("cloudflare", "access", "groups", "staff", "emails", value=["nobody"]),
                "cloudflare.access.groups.staff.emails[0]",
            ),
            (
                below("cloudflare", "access", "policies", "staff", "emails", value="me@anton.dev"),
                "cloudflare.access.policies.staff.emails",
            ),
            (below("cilium", "devices", value=[]), "cilium.devices"),
            (below("cilium", "devices", value=[{}]), "cilium.devices[0]"),
            (below("cilium", "devices", value=["eth0"]), "cilium.devices"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_where_a_rule_would_judge_what_is_left(self, change: dict[str, Any], key: str) -> None:
        assert the_only_problem(change).key == key

    def test_in_the_tailnets_policy(self) -> None:
        path = ("tailscale", "tailnet", "policy")
        grant = below(*path, "grants", "dns", "ip", value=["tcp"])
        assert the_only_problem(grant, EVERY_LAYER).key == "tailscale.tailnet.policy.grants.dns.ip[0]"
        accept = below(*path, "tests", "a", "accept", value=["?"])
        assert the_only_problem(accept, EVERY_LAYER).key == "tailscale.tailnet.policy.tests.a.accept[0]"

    def test_for_a_namespace_that_belongs_to_the_network(self) -> None:
        policies = {"namespaces": {"network": {}, "tailscale": {}}, "infrastructure": {"defaultDeny": True}}
        found = problems(merged(stack_config(), {"networkPolicies": policies}))
        assert [problem.key for problem in found] == [
            "networkPolicies.namespaces.network",
            "networkPolicies.namespaces.tailscale",
        ]

    def test_when_a_group_is_misspelt(self) -> None:
        raw = EVERY_LAYER | {"physicals": EVERY_LAYER["physical"]}
        del raw["physical"]
        (problem,) = problems(raw)
        assert (problem.key, problem.reason) == ("physicals", "is not a known key; did you mean physical?")

    def test_when_no_node_can_be_read(self) -> None:
        nodes = {name: {"mac": "x"} for name in ("k8s-1", "k8s-2", "k8s-3")}
        change = {"physical": {"nodes": nodes}, "loadBalancer": {"l2": {"interfaces": ["^enp87s0$"]}}}
        found = problems(merged(stack_config(), change))
        assert [problem.key for problem in found] == [f"physical.nodes.{name}.mac" for name in nodes]

    def test_and_independent_faults_are_all_there(self) -> None:
        """Dropping what follows must not hide what does not."""
        change = merged(
            below("physical", "nodes", "k8s-1", "mac", value="x"),
            {
                "physical": {"gateway": "10.0.0.1", "nodes": {"k8s-2": {"interface": "eth0"}}},
                "loadBalancer": {"pools": {"lan": {"stop": "192.168.1.250"}}},
                "cilium": {"hubble": {"enabled": "maybe"}},
                "cloudflare": {"plan": "gold", "tunnel": {"replicas": 9}},
                "discovery": {"coredns": {"zones": {"cluster.local": ["1.1.1.1"]}}},
                "monitoring": {"enabled": 3},
            },
        )
        assert {problem.key for problem in problems(merged(stack_config(), change))} == {
            "physical.nodes.k8s-1.mac",
            "physical.gateway",
            "physical.nodes.k8s-2.interface",
            "cilium.hubble.enabled",
            "cloudflare.plan",
            "discovery.coredns.zones.cluster.local",
            "monitoring.enabled",
        }


def test_list_items_keep_their_places_when_one_before_them_is_at_fault() -> None:
    rules = [
        {"host": "Bad_", "service": "http://a.media:80"},
        {"host": "status.example.com", "service": "http://a.media:80"},
        {"host": "a.example.org", "service": "http://a.media:80"},
    ]
    custom = [
        {"name": "a", "expression": "nonsense(", "action": "block"},
        {"name": "b", "expression": 'http.request.body.raw contains "x"', "action": "block"},
    ]
    record = {"name": "status.example.com", "type": "A", "content": "203.0.113.9"}
    change = {
        "cloudflare": {
            "tunnel": {"rules": rules},
            "zone": {"rules": {"custom": custom}},
            "dns": {"records": {"status": record}},
        }
    }
    found = {problem.key: problem.reason for problem in problems(merged(stack_config(), change))}
    assert found.keys() == {
        "cloudflare.tunnel.rules[0].host",
        "cloudflare.tunnel.rules[2].host",
        "cloudflare.zone.rules.custom[0].expression",
        "cloudflare.zone.rules.custom[1].expression",
        "cloudflare.dns.records.status.name",
    }
    assert "belongs to cloudflare.tunnel.rules[1]" in found["cloudflare.dns.records.status.name"]


class TestSecretInTheWrongPlace:
    @pytest.mark.parametrize(
        ("change", "points_to"),
        [
            (below("cloudflare", "apiToken", value="abcdef"), "cloudflareApiToken"),
            (below("cloudflare", "tunnel", "secret", value="abcdef"), "cloudflareTunnelSecret"),
            (below("tailscale", "oauthClientSecret", value="abcdef"), "tailscaleOperatorClientSecret"),
            (below("monitoring", "password", value="abcdef"), "docs/secrets.md"),
            (below("cloudflareToken", value="abcdef"), "cloudflareApiToken"),
            (below("cloudflare", "credentials", value={"id": "abcdef"}), "docs/secrets.md"),
            (below("cloudflare", "login", value={"api_key": "abcdef"}), "known: access"),
        ],
    )
    def test_it_is_not_shown_and_the_right_one_named(self, change: dict[str, Any], points_to: str) -> None:
        report = shown(change)
        assert "abcdef" not in report
        assert points_to in report

    def test_nothing_of_a_group_with_something_encrypted_is_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`pulumi config set --secret --path cloudflare.zoneId` makes the whole group a secret, decrypted for us."""
        monkeypatch.setattr("settings.load.find_charts", charts_without_files)
        set_config(merged(stack_config(), {"cloudflare": {"zoneId": "fedcba98"}, "physical": {"gateway": "10.0.0.1"}}))
        encrypted = {"anton-network:cloudflare", *(f"anton-network:{key}" for key in STAND_IN_SECRETS)}
        monkeypatch.setattr("settings.load.is_config_secret", encrypted.__contains__)
        with pytest.raises(ConfigError) as caught:
            load()
        assert "anton-network:cloudflare.zoneId\n    value:   (not shown)" in str(caught.value)
        assert "fedcba98" not in str(caught.value)
        assert "value:   10.0.0.1" in str(caught.value)

    def test_in_plain_text_it_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("settings.load.find_charts", charts_without_files)
        set_config(stack_config())
        monkeypatch.setattr("settings.load.is_config_secret", lambda key: not key.endswith("TunnelSecret"))
        with pytest.raises(ConfigError) as caught:
            load()
        (problem,) = caught.value.problems
        assert problem.key == "cloudflareTunnelSecret"
        assert "in plain text" in problem.reason
        assert STAND_IN_SECRETS["cloudflareTunnelSecret"] not in str(caught.value)


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
        entry = {"ingressClass": "internal", "namespace": "production", "port": "x"}
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
        assert "example: production; until then cloudflare.enabled: false, or" in report
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


class TestLayersThatAreOff:
    """Single values are always judged; rules across layers judge only layers that are on."""

    def test_values_are_judged(self) -> None:
        for group in ("certificates", "tailscale", "cloudflare", "networkPolicies", "discovery", "monitoring"):
            raw = stack_config() | {"applications": {}}
            raw["ingress"] = {"classes": {}}
            raw[group] = {"enabled": False, "nonsense": 1}
            assert f"{group}.nonsense" in {problem.key for problem in problems(raw)}

    def test_rules_across_layers_are_silent(self) -> None:
        """Each of these is refused where its layer is on."""
        change = {
            "certificates": {"replicas": 9},
            "tailscale": {"connector": {"routes": ["192.168.1.0/24"]}},
            "cloudflare": {
                "tunnel": {"replicas": 9, "rules": [{"host": "a.example.org", "service": "http://a.media:80"}]},
                "dns": {"records": {"a": {"name": "a.example.org", "type": "A", "content": "203.0.113.9"}}},
                "zone": {"rules": {"managed": {}}},
            },
            "networkPolicies": {
                "namespaces": {
                    "production": {
                        "flows": {
                            name: {"source": {"labels": {"a": "b"}}, "destination": {"labels": {"c": "d"}}, "port": 1}
                            for name in ("one", "two")
                        }
                    }
                }
            },
            "discovery": {"lanDns": {"replicas": 9}},
        }
        on = merged(stack_config(), change)
        refused = {problem.key.split(".")[0] for problem in problems(on)}
        assert refused == change.keys()
        off = deepcopy(on)
        for group in change:
            off[group]["enabled"] = False
        off["ingress"] = {"classes": {"internal": {"serviceType": "LoadBalancer"}}}
        assert problems(off) == []


class TestWhatHasNoEffectIsRefused:
    def test_anywhere_beside_a_domain(self) -> None:
        egress = {"source": {"labels": {"app": "web"}}, "to": ["anywhere", "api.example.org"]}
        change = below("networkPolicies", "namespaces", "production", "egress", "api", value=egress)
        problem = the_only_problem(change)
        assert problem.key == "networkPolicies.namespaces.production.egress.api.to"
        assert "no effect" in problem.reason

    def test_one_path_written_in_two_ways(self) -> None:
        entry = {"ingressClass": "internal", "namespace": "production", "port": 80, "host": "api.example.com"}
        problem = the_only_problem({"applications": {"a": entry | {"path": "/api"}, "b": entry | {"path": "/api/"}}})
        assert problem.key == "applications.b.host"
        assert "applications.a" in problem.reason


def test_garbled_texts_read_well() -> None:
    routes = below("tailscale", "connector", "routes", value=["192.168.1.0/24"])
    reason = the_only_problem(routes).reason
    assert reason.startswith(
        "holds the whole node subnet with addresses that are no service's: 192.168.1.0 (the network address), "
    )
