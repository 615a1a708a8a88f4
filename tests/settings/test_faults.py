"""Faults are found: one clear error for each wherever it stands, all in one report, and no error that is not there."""

from copy import deepcopy
from typing import Any

import pytest

from tests.support.configs import merged, stack_config
from tests.support.faults import EVERY_LAYER, below, faults_of, holder, key_of, paths, problems, the_only_problem

pytestmark = pytest.mark.unit


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
            "cloudflare.tunnel.replicas",
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


def test_all_faults_of_all_layers_come_in_one_report() -> None:
    found = faults_of(
        {
            "physical": {
                "gateway": "10.0.0.1",
                "nodes": {"k8s-1": {"mac": "x"}, "k8s-2": {"address": "192.168.1.1000"}},
            },
            "cluster": {"domain": "anton.local"},
            "cilium": {"routingMode": "tunnel", "devices": ["tailscale0"]},
            "ingress": {"classes": {"internal": {"replicas": 9, "tuning": {"gzipLevel": 12}}}},
        }
    )
    assert {
        "physical.gateway",
        "physical.nodes.k8s-1.mac",
        "physical.nodes.k8s-2.address",
        "cluster.domain",
        "cilium.loadBalancing.mode",
        "cilium.devices",
        "ingress.classes.internal.tuning.gzipLevel",
    } <= found.keys()


def test_unreadable_pool_causes_no_fault_that_is_not_there() -> None:
    """Without its pool, every fixed address would lie in none."""
    found = faults_of({"loadBalancer": {"pools": {"lan": {"start": "192.168.1.1o2"}}}})
    assert found.keys() == {"loadBalancer.pools.lan.start"}


def test_unreadable_node_causes_no_fault_that_is_not_there() -> None:
    """Leaving the node out of the count would report a quorum of two and too many replicas."""
    found = faults_of(
        {"physical": {"nodes": {"k8s-3": {"mac": "x"}}}, "ingress": {"classes": {"internal": {"replicas": 3}}}}
    )
    assert found.keys() == {"physical.nodes.k8s-3.mac"}
