"""One wrong value is one message, whatever it breaks."""

from typing import Any

import pytest

from tests.support.configs import merged, stack_config
from tests.support.faults import problems

pytestmark = pytest.mark.unit

FLOW = {"from": {"labels": {"app": "a"}}, "to": {"labels": {"app": "b"}}, "port": 80}


def messages(change: dict[str, Any]) -> dict[str, str]:
    found = problems(merged(stack_config(), change))
    assert len({problem.key for problem in found}) == len(found), found
    return {problem.key: problem.reason for problem in found}


@pytest.mark.parametrize(
    ("change", "key", "says"),
    [
        ({"cluster": {"podCidr": "192.168.1.0/24"}}, "cluster.podCidr", "physical.subnet"),
        ({"cluster": {"podCidr": "10.96.0.0/12"}}, "cluster.serviceCidr", "cluster.podCidr"),
        ({"cluster": {"serviceCidr": "10.96.0.0/29"}}, "cluster.serviceCidr", "tenth address"),
        ({"cluster": {"podCidr": "0.0.0.0/0"}}, "cluster.podCidr", "physical.subnet"),
        ({"cluster": {"podCidr": "0.0.0.0/0"}}, "cluster.podCidr", "the multicast network"),
        ({"cluster": {"serviceCidr": "0.0.0.0/0"}}, "cluster.serviceCidr", "cluster.podCidr"),
        ({"physical": {"subnet": "192.168.7.0/24"}}, "physical.subnet", "192.168.1.98"),
        (
            {
                "physical": {
                    "subnet": "192.168.7.0/24",
                    "dhcpRange": {"start": "192.168.1.150", "stop": "192.168.1.160"},
                }
            },
            "physical.subnet",
            "192.168.1.98",
        ),
        (
            {"physical": {"dhcpRange": {"start": "10.0.0.1", "stop": "10.0.0.9"}}},
            "physical.dhcpRange",
            "leaves the node subnet",
        ),
        (
            {"physical": {"dhcpRange": {"start": "192.168.1.150", "end": "192.168.1.199"}}},
            "physical.dhcpRange.end",
            "did you mean stop?",
        ),
        (
            {"loadBalancer": {"pools": {"more": {"from": "192.168.1.111", "stop": "192.168.1.112"}}}},
            "loadBalancer.pools.more.from",
            "did you mean start?",
        ),
        (
            {"cloudflare": {"tunnel": {"rules": [{"hostname": "a.example.com", "url": "http://a.media:80"}]}}},
            "cloudflare.tunnel.rules[0].url",
            "did you mean service?",
        ),
    ],
)
def test_of_a_value(change: dict[str, Any], key: str, says: str) -> None:
    found = messages(change)
    if "tunnel" in key:  # two keys of another product's file, each a fault of its own
        assert found.pop("cloudflare.tunnel.rules[0].hostname").endswith("did you mean host?")
    assert found.keys() == {key}
    assert says in found[key]


def test_of_each_key_of_a_flow() -> None:
    key = "networkPolicies.namespaces.production.flows.typed"
    found = messages({"networkPolicies": {"namespaces": {"production": {"flows": {"typed": FLOW}}}}})
    assert found == {
        f"{key}.from": "is not a known key; did you mean source?",
        f"{key}.to": "is not a known key; did you mean destination?",
    }


def test_of_a_missing_key_beside_a_misspelt_one_that_is_not_required() -> None:
    wrong = {"labels": {"app": "a"}}
    found = messages(
        {"networkPolicies": {"namespaces": {"production": {"flows": {"typed": {"source": wrong, "protocoll": "TCP"}}}}}}
    )
    key = "networkPolicies.namespaces.production.flows.typed"
    assert found.keys() == {f"{key}.destination", f"{key}.port", f"{key}.protocoll"}


def test_several_rules_that_one_value_breaks_are_said_together() -> None:
    found = messages(
        {
            "physical": {"dhcpRange": {"start": "192.168.1.105", "stop": "192.168.1.120"}},
            "loadBalancer": {"pools": {"lan": {"start": "192.168.1.100", "stop": "192.168.1.110"}}},
        }
    )
    assert found.keys() == {"loadBalancer.pools.lan"}
    assert "192.168.1.100 (node k8s-3)" in found["loadBalancer.pools.lan"]
    assert "overlaps physical.dhcpRange" in found["loadBalancer.pools.lan"]
