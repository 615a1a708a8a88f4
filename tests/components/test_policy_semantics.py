"""What network policies mean: the cases in which Kubernetes and Cilium surprise, judged by Cilium's policy engine.

They hold the engine to the documentation of Kubernetes (Network Policies) and Cilium (Policy Language), so that its
word on the program's own policies (test_reachability.py) can be taken.
"""

from typing import Any

import pytest

from cli.verdicts import InputError, Judge, Manifest
from settings.policies.model import UNSEEN_LABELS
from tests.support.tools import tool

pytestmark = pytest.mark.render


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    tool("policy-verdict")


ENDPOINTS: dict[str, dict[str, Any]] = {
    "a": {"namespace": "one", "labels": {"app": "a"}},
    "b": {
        "namespace": "one",
        "labels": {"app": "b"},
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
    },
    "a of two": {"namespace": "two", "labels": {"app": "a"}},
    "b of two": {"namespace": "two", "labels": {"app": "b"}},
    "LAN client": {"address": "192.168.1.50"},
}


def native(**spec: Any) -> Manifest:
    return {"kind": "NetworkPolicy", "metadata": {"name": "under-test", "namespace": "one"}, "spec": spec}


def cilium(**spec: Any) -> Manifest:
    metadata = {"name": "under-test-too", "namespace": "one"}
    return {"kind": "CiliumNetworkPolicy", "metadata": metadata, "spec": {"endpointSelector": {}, **spec}}


def cluster(*policies: Manifest, enforcement: str = "default") -> Judge:
    return Judge(policies, ENDPOINTS, enforcement)


def app(name: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {"app": name}}}


def of_two() -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "two"}}}


def test_without_policies_everything_is_allowed() -> None:
    verdict = cluster().verdict("a of two", "b", 80)
    assert verdict.allowed and not verdict.ingress["enforced"]


def test_enforcement_always_denies_without_policies() -> None:
    assert not cluster(enforcement="always").allows("a", "b", 80)


def test_empty_pod_selector_speaks_of_all_pods_of_its_namespace_and_no_other() -> None:
    judged = cluster(native(podSelector={}, policyTypes=["Ingress"]))
    assert not judged.allows("a", "b", 80)
    assert not judged.allows("b", "a", 80)
    assert judged.allows("a", "b of two", 80)


def test_direction_that_is_no_policy_type_stays_open() -> None:
    judged = cluster(native(podSelector={}, policyTypes=["Ingress"]))
    assert judged.allows("a", "a of two", 80)


def test_rules_of_a_direction_that_is_no_policy_type_restrict_all_the_same() -> None:
    """Kubernetes documents otherwise; the program writes no such policy."""
    judged = cluster(native(podSelector={}, policyTypes=["Egress"], ingress=[{"from": [app("a")]}]))
    assert not judged.allows("a of two", "b", 80)


def test_policy_types_default_to_ingress() -> None:
    judged = cluster(native(podSelector={}))
    assert not judged.allows("a", "b", 80)
    assert judged.allows("a", "a of two", 80)


def test_native_rule_without_fields_allows_everything_and_ciliums_nothing() -> None:
    assert cluster(native(podSelector={}, ingress=[{}])).allows("a of two", "b", 80)
    assert not cluster(cilium(ingress=[{}])).allows("a of two", "b", 80)


def test_two_selectors_in_one_peer_are_both_required_and_as_two_peers_either_suffices() -> None:
    one_peer = cluster(native(podSelector={}, ingress=[{"from": [of_two() | app("a")]}]))
    two_peers = cluster(native(podSelector={}, ingress=[{"from": [of_two(), app("a")]}]))
    assert one_peer.allows("a of two", "b", 80) and two_peers.allows("a of two", "b", 80)
    assert not one_peer.allows("b of two", "b", 80)
    assert two_peers.allows("b of two", "b", 80), "any pod of that namespace is let in"
    assert not one_peer.allows("a", "b", 80)
    assert two_peers.allows("a", "b", 80), "and any such pod of the policy's own"


def test_both_ends_must_allow() -> None:
    deny = native(podSelector={}, policyTypes=["Ingress", "Egress"])
    way_out = {**native(**app("a"), policyTypes=["Egress"], egress=[{"to": [app("b")]}])}
    way_out["metadata"] = {"name": "way-out", "namespace": "one"}
    way_in = {**native(**app("b"), ingress=[{"from": [app("a")]}]), "metadata": {"name": "way-in", "namespace": "one"}}
    assert not cluster(deny, way_out).allows("a", "b", 80)
    assert not cluster(deny, way_in).allows("a", "b", 80)
    assert cluster(deny, way_out, way_in).allows("a", "b", 80)


def test_address_never_stands_for_a_pod_or_a_node() -> None:
    judged = cluster(native(podSelector={}, ingress=[{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]))
    assert judged.allows("LAN client", "b", 80)
    assert judged.allows("internet", "b", 80)
    assert not judged.allows("a", "b", 80)
    assert not judged.allows("another node", "b", 80)


def test_network_holds_its_addresses_without_its_exceptions() -> None:
    block = {"cidr": "192.168.0.0/16", "except": ["192.168.1.0/24"]}
    judged = cluster(native(podSelector={}, ingress=[{"from": [{"ipBlock": block}]}]))
    assert not judged.allows("LAN client", "b", 80)
    assert cluster(cilium(ingress=[{"fromCIDR": ["192.168.1.0/24"]}])).allows("LAN client", "b", 80)


def test_own_node_is_always_let_in_and_other_nodes_are_not() -> None:
    judged = cluster(native(podSelector={}, policyTypes=["Ingress"]))
    assert judged.allows("own node", "b", 80)
    assert not judged.allows("another node", "b", 80)
    assert not judged.allows("API server", "b", 80)


def test_api_server_is_known_by_its_own_name_and_as_a_node() -> None:
    assert cluster(cilium(ingress=[{"fromEntities": ["kube-apiserver"]}])).allows("API server", "b", 80)
    assert cluster(cilium(ingress=[{"fromEntities": ["remote-node"]}])).allows("API server", "b", 80)
    assert not cluster(cilium(ingress=[{"fromEntities": ["kube-apiserver"]}])).allows("another node", "b", 80)


def test_empty_endpoint_selector_in_a_namespaced_policy_is_its_own_namespace() -> None:
    judged = cluster(cilium(ingress=[{"fromEndpoints": [{}]}]))
    assert judged.allows("a", "b", 80)
    assert not judged.allows("a of two", "b", 80)


def test_empty_endpoint_selector_in_a_cluster_wide_policy_is_every_namespace() -> None:
    """The cluster-wide `deny-cross-namespace` that is passed around allows what its name denies."""
    policy = {
        "kind": "CiliumClusterwideNetworkPolicy",
        "metadata": {"name": "deny-cross-namespace"},
        "spec": {"endpointSelector": {}, "ingress": [{"fromEndpoints": [{}]}]},
    }
    assert cluster(policy).allows("a of two", "b", 80)


def test_cilium_policy_can_allow_without_denying_the_rest() -> None:
    allow = [{"fromEndpoints": [{"matchLabels": {"app": "a"}}]}]
    assert not cluster(cilium(ingress=allow)).allows("a of two", "b", 80)
    assert cluster(cilium(ingress=allow, enableDefaultDeny={"ingress": False})).allows("a of two", "b", 80)


def test_deny_wins_over_allow() -> None:
    judged = cluster(native(podSelector={}, ingress=[{}]), cilium(ingressDeny=[{"fromEntities": ["world"]}]))
    assert not judged.allows("LAN client", "b", 80)
    assert judged.allows("a of two", "b", 80)


def test_named_port_is_that_of_the_pod() -> None:
    judged = cluster(native(**app("b"), ingress=[{"ports": [{"port": "web"}]}]))
    assert judged.allows("a", "b", 8080)
    assert not judged.allows("a", "b", 80)


def test_port_without_protocol_is_tcp() -> None:
    judged = cluster(native(**app("b"), ingress=[{"ports": [{"port": 53}]}]))
    assert judged.allows("a", "b", 53, "TCP")
    assert not judged.allows("a", "b", 53, "UDP")


@pytest.mark.parametrize(
    ("pattern", "name", "allowed"),
    [
        ({"matchName": "example.com"}, "example.com", True),
        ({"matchName": "example.com"}, "www.example.com", False),
        ({"matchPattern": "*.example.com"}, "www.example.com", True),
        ({"matchPattern": "*.example.com"}, "example.com", False),
        ({"matchPattern": "*.example.com"}, "a.b.example.com", False),
        ({"matchPattern": "*.example.com"}, "www.example.com.attacker.net", False),
        ({"matchPattern": "**.example.com"}, "a.b.example.com", True),
        ({"matchPattern": "**.example.com"}, "example.com", False),
    ],
)
def test_domain_pattern_covers_one_label_and_with_two_stars_any_number(
    pattern: dict[str, str], name: str, allowed: bool
) -> None:
    judged = Judge([cilium(egress=[{"toFQDNs": [pattern]}])], ENDPOINTS | {"outside": {"domain": name}})
    assert judged.allows("a", "outside", 443) is allowed


def http(*rules: dict[str, Any], **peers: Any) -> dict[str, Any]:
    return {**peers, "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}], "rules": {"http": list(rules)}}]}


@pytest.mark.parametrize(
    ("path", "allowed"), [("/api", True), ("/api/", False), ("/x/api", False), ("/api?admin=1", False)]
)
def test_http_path_is_an_expression_for_the_whole_path(path: str, allowed: bool) -> None:
    judged = cluster(cilium(ingress=[http({"method": "GET", "path": "/api"}, fromEndpoints=[{}])]))
    assert judged.allows("a", "b", 80, http={"method": "GET", "path": path}) is allowed


def test_allow_without_http_rules_voids_those_of_another_for_the_same_pods() -> None:
    narrow = cilium(ingress=[http({"method": "GET"}, fromEndpoints=[{"matchLabels": {"app": "a"}}])])
    asked = {"method": "DELETE", "path": "/"}
    assert not cluster(narrow).allows("a", "b", 80, http=asked)
    wide = native(podSelector={}, ingress=[{"from": [app("a")], "ports": [{"port": 80}]}])
    assert cluster(narrow, wide).allows("a", "b", 80, http=asked)


@pytest.mark.parametrize(
    ("label", "seen"),
    [
        ("app", True),
        ("app.kubernetes.io/name", True),
        ("k8s-app", True),
        ("tailscale.com/managed", True),
        ("example.com/kubernetes.io", True),
        ("pod-template-hash", False),
        ("statefulset.kubernetes.io/pod-name", False),
        ("apps.kubernetes.io/pod-index", False),
        ("batch.kubernetes.io/controller-uid", False),
        ("batch.kubernetes.io/job-name", True),
        ("controller-uid", False),
        ("kubernetes.io/os", False),
        ("topology.kubernetes.io/zone", False),
        ("failure-domain.beta.kubernetes.io/zone", False),
    ],
)
def test_labels_that_cilium_does_not_see_are_those_that_settings_refuse(label: str, seen: bool) -> None:
    policy = native(podSelector={"matchLabels": {label: "x"}}, policyTypes=["Ingress"])
    judged = Judge([policy], ENDPOINTS | {"labelled": {"namespace": "one", "labels": {label: "x"}}})
    assert judged.verdict("a", "labelled", 80).ingress["enforced"] is seen
    assert (UNSEEN_LABELS.match(label) is None) is seen


@pytest.mark.parametrize(
    ("policies", "reason"),
    [
        ([native(podSelector={}, ingres=[])], "unknown field"),
        ([cilium(ingress=[{"fromEndpoint": [{}]}])], "unknown field"),
        ([cilium(egress=[{"toServices": [{"k8sService": {"serviceName": "x"}}]}])], "toServices"),
        ([cilium(egress=[http({"path": "/(["}, toEndpoints=[{}])])], "error parsing regexp"),
        ([native(podSelector={})] * 2, "twice"),
        ([{"kind": "Deployment", "metadata": {"name": "x", "namespace": "y"}}], "not a kind of network policy"),
    ],
)
def test_engine_refuses_what_it_cant_judge(policies: list[Manifest], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Judge(policies, ENDPOINTS).verdicts([])


def test_verdict_names_the_policies_that_decide() -> None:
    verdict = cluster(native(**app("b"), ingress=[{"from": [app("a")]}])).verdict("a", "b", 80)
    assert verdict.ingress["policies"] == ["NetworkPolicy one/under-test"]
    verdict = cluster(native(podSelector={}, policyTypes=["Ingress"])).verdict("a", "b", 80)
    assert verdict.ingress == {"allowed": False, "enforced": True, "policies": ["NetworkPolicy one/under-test"]}
