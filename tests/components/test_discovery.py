"""Service discovery: what is registered, CoreDNS's text, the router's lines, and the rules.

No CoreDNS runs here: its configuration is taken apart by a parser of the documented grammar, and the directives are
compared with those that CoreDNS is built with. Chart values are proved by rendering (tests/charts/test_k8s_gateway.py).
"""

import subprocess
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from components.discovery.corefile import corefile, server_blocks
from components.discovery.services import ServiceDiscovery, ServiceDiscoveryArgs, exports
from settings.discovery import CoreDns, cluster_dns_address
from settings.stack import Settings
from tests.support.configs import merged, settings_with
from tests.support.corefile import blocks, directives, parse
from tests.support.faults import faults_of
from tests.support.recorder import Registration, record
from tests.support.tools import tool

pytestmark = pytest.mark.unit

GATEWAY = IPv4Address("192.168.1.102")


def discovery(**values: Any) -> dict[str, Any]:
    return {"discovery": {"enabled": True, **values}}


def arguments(settings: Settings) -> ServiceDiscoveryArgs:
    """What the program hands to the component."""
    return ServiceDiscoveryArgs.of(settings, namespace=settings.ingress.namespace)


def built(change: Mapping[str, Any] | None = None) -> dict[str, Registration]:
    args = arguments(settings_with(change or discovery()))
    return {entry.name: entry for entry in record(lambda: ServiceDiscovery("discovery", args))}


def coredns(**values: Any) -> CoreDns:
    return CoreDns.model_validate(values)


# k8s-gateway


def test_lan_dns_is_released_beside_the_controllers() -> None:
    release = built()["discovery-k8s-gateway"].inputs
    assert (release["name"], release["namespace"]) == ("k8s-gateway", "network")


def test_disruption_budget_leaves_one_dns_pod() -> None:
    budget = built()["discovery-k8s-gateway-budget"].inputs["spec"]
    assert budget["minAvailable"] == 1, "a node drain could take the LAN's DNS"
    assert "discovery-k8s-gateway-budget" not in built(discovery(lanDns={"replicas": 1})), (
        "a budget for the only pod would keep its node from being drained"
    )


def test_metrics_are_served_inside_the_cluster_and_found_by_prometheus() -> None:
    found = built()
    service = found["discovery-k8s-gateway-metrics"].inputs
    assert service["spec"]["clusterIP"] == "None"
    monitor = found["discovery-k8s-gateway-monitor"].inputs
    assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"], "it would find no Service"
    assert monitor["spec"]["endpoints"] == [{"port": service["spec"]["ports"][0]["name"]}]
    assert monitor["metadata"]["labels"] == {"release": "kube-prometheus-stack"}


def test_no_monitor_without_prometheus() -> None:
    found = built(discovery() | {"monitoring": {"enabled": False}})
    assert not [name for name, entry in found.items() if entry.inputs.get("kind") == "ServiceMonitor"]
    assert "discovery-k8s-gateway-metrics" in found, "metrics themselves stay on"


def test_lan_dns_can_be_left_out() -> None:
    args = arguments(settings_with(discovery()))
    without = args.discovery.model_copy(update={"lan_dns": None})
    bare = ServiceDiscoveryArgs(**{**vars(args), "discovery": without})
    names = [entry.name for entry in record(lambda: ServiceDiscovery("discovery", bare))]
    assert names == ["discovery"], "nothing but the component itself"
    assert exports(bare).keys() == {"cluster_dns_address", "coredns_server_blocks"}
    assert exports(bare)["coredns_server_blocks"] == "", "pods would be sent to an address that nobody holds"


# CoreDNS


def test_spec_coredns_is_left_alone_by_default() -> None:
    """Its ConfigMap belongs to Talos, or whoever installed it; writing it by accident is a takeover."""
    change = discovery(coredns={"zones": {"home.arpa": ["192.168.1.1"]}})
    found = built(change)
    assert not [entry.type for entry in found.values() if "ConfigMap" in entry.type]
    assert "kube-system" not in {entry.inputs.get("metadata", {}).get("namespace") for entry in found.values()}
    text = exports(arguments(settings_with(change)))["coredns_server_blocks"]
    assert [block.keys for block in blocks(text)] == [("example.com:53",), ("home.arpa:53",)], (
        "its owner gets the blocks as a stack output"
    )


def test_managed_corefile_is_patched_into_the_existing_object() -> None:
    patch = built(discovery(coredns={"manage": True}))["discovery-coredns"]
    assert patch.type == "kubernetes:core/v1:ConfigMapPatch", "the object itself is never owned, or deleted"
    metadata = patch.inputs["metadata"]
    assert (metadata["namespace"], metadata["name"]) == ("kube-system", "coredns")
    assert metadata["annotations"]["pulumi.com/patchFieldManager"] == "anton-network", "plans would not repeat"
    assert metadata["annotations"]["pulumi.com/patchForce"] == "true", "the key's present owner would be a conflict"
    assert patch.inputs["data"].keys() == {"Corefile"}
    assert patch.opts.retain_on_delete is True, (
        "turning `manage` off would take the Corefile away from a running CoreDNS"
    )


def test_managed_corefile_serves_the_cluster_as_its_installer_set_it_up() -> None:
    main, *_ = blocks(corefile(CoreDns(), "example.com", GATEWAY))
    assert main.keys == (".:53",)
    assert [(each.name, each.arguments) for each in main.directives] == [
        ("errors", ()),
        ("health", ()),
        ("ready", ()),
        ("kubernetes", ("cluster.local", "in-addr.arpa", "ip6.arpa")),
        ("prometheus", (":9153",)),
        ("forward", (".", "/etc/resolv.conf")),
        ("cache", ("30",)),
        ("loop", ()),
        ("reload", ()),
        ("loadbalance", ()),
    ]
    options = {each.name: each.options for each in main.directives}
    assert options["health"] == (("lameduck", "5s"),)
    assert ("fallthrough", "in-addr.arpa", "ip6.arpa") in options["kubernetes"], "outside addresses lose their names"


def test_pods_get_the_lans_answers_and_other_zones_their_resolvers() -> None:
    settings = coredns(zones={"home.arpa": ["192.168.1.1", "192.168.1.2"]})
    found = {block.keys[0]: block for block in blocks(server_blocks(settings, "example.com", GATEWAY))}
    assert [each.arguments for each in found["example.com:53"].directives if each.name == "forward"] == [
        (".", "192.168.1.102")
    ]
    assert [each.arguments for each in found["home.arpa:53"].directives if each.name == "forward"] == [
        (".", "192.168.1.1", "192.168.1.2")
    ]


def test_pods_can_be_kept_off_the_lans_answers() -> None:
    assert server_blocks(coredns(forwardLanDomain=False), "example.com", GATEWAY) == ""


@pytest.mark.parametrize("change", [{}, {"upstreams": ["1.1.1.1"], "zones": {"home.arpa": ["192.168.1.1"]}}])
def test_corefile_keeps_to_the_grammar_and_to_what_coredns_is_built_with(change: dict[str, Any]) -> None:
    text = corefile(coredns(**change), "example.com", GATEWAY)
    found = blocks(text)
    keys = [key for block in found for key in block.keys]
    assert len(keys) == len(set(keys)), "CoreDNS refuses a zone that two blocks serve"
    for block in found:
        names = [each.name for each in block.directives]
        assert set(names) <= directives(), f"{set(names) - directives()}: CoreDNS would not start"
        assert len(names) == len(set(names)), "a plugin is set up once in a block"


@pytest.mark.parametrize("text", [".:53 {\n errors\n", ".:53 {\n errors\n}\n}\n", "errors\n", ".:53 {\n{\n}\n}\n"])
def test_a_broken_corefile_would_be_noticed(text: str) -> None:
    with pytest.raises(ValueError, match="Corefile"):
        parse(text)


@pytest.mark.parametrize(
    ("network", "address"),
    [("10.96.0.0/12", "10.96.0.10"), ("10.43.0.0/16", "10.43.0.10"), ("10.0.0.0/28", "10.0.0.10")],
)
def test_cluster_dns_is_the_tenth_address_of_the_service_network(network: str, address: str) -> None:
    assert str(cluster_dns_address(IPv4Network(network))) == address


def test_cluster_dns_address_is_published() -> None:
    change = discovery() | {"cluster": {"serviceCidr": "10.43.0.0/16"}}
    assert exports(arguments(settings_with(change)))["cluster_dns_address"] == "10.43.0.10"


# The router


def test_split_horizon_sends_the_lan_to_its_own_dns() -> None:
    texts = exports(arguments(settings_with(discovery())))
    assert "server=/example.com/192.168.1.102" in texts["lan_dns_dnsmasq"].splitlines()
    assert "rebind-domain-ok=/example.com/" in texts["lan_dns_dnsmasq"].splitlines(), (
        "a router with rebind protection drops private answers"
    )
    assert 'name: "example.com"' in texts["lan_dns_unbound"]
    assert "forward-addr: 192.168.1.102" in texts["lan_dns_unbound"]


def test_dnsmasq_accepts_its_lines(tmp_path: Path) -> None:
    config = tmp_path / "dnsmasq.conf"
    config.write_text(exports(arguments(settings_with(discovery())))["lan_dns_dnsmasq"])
    command = [tool("dnsmasq"), "--test", f"--conf-file={config}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_unbound_accepts_its_lines(tmp_path: Path) -> None:
    config = tmp_path / "unbound.conf"
    # What a router's own configuration says before; by default unbound looks for folders and a user of its own.
    around = f'server:\n  directory: "{tmp_path}"\n  chroot: ""\n  username: ""\n'
    config.write_text(around + exports(arguments(settings_with(discovery())))["lan_dns_unbound"])
    command = [tool("unbound-checkconf"), str(config)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


# Services


SERVICES: dict[str, Any] = {
    "mail": {"namespace": "production", "type": "external-name", "host": "mail.example.net"},
    "database": {
        "namespace": "production",
        "type": "headless",
        "selector": {"app": "database"},
        "ports": {"postgres": {"port": 5432}, "gossip": {"port": 7946, "protocol": "UDP"}},
    },
}


def test_spec_external_name_is_a_cname_to_a_host_outside() -> None:
    service = built(discovery(services=SERVICES))["discovery-production-mail"].inputs
    assert (service["metadata"]["name"], service["metadata"]["namespace"]) == ("mail", "production")
    assert service["spec"] == {"type": "ExternalName", "externalName": "mail.example.net"}


def test_spec_headless_service_names_its_pods() -> None:
    service = built(discovery(services=SERVICES))["discovery-production-database"].inputs
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"app": "database"}
    assert service["spec"]["ports"] == [
        {"name": "postgres", "port": 5432, "protocol": "TCP"},
        {"name": "gossip", "port": 7946, "protocol": "UDP"},
    ]
    assert service["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}, (
        "an update would wait for an application that comes later"
    )


def service(**values: Any) -> dict[str, Any]:
    return discovery(services={"db": {"namespace": "production", **values}})


BAD_VALUES: list[tuple[str, dict[str, Any], str, str]] = [
    # what is wrong, the change, the key it is reported under, a part of the reason
    (
        "no address for LAN DNS",
        merged(discovery(), {"loadBalancer": {"addresses": {"k8s-gateway": None}}}),
        "loadBalancer.addresses.k8s-gateway",
        "required by discovery.lanDns",
    ),
    (
        "zone forwarded to the cluster's own DNS",
        discovery(coredns={"zones": {"home.arpa": ["10.96.0.10"]}}),
        "discovery.coredns.zones.home.arpa",
        "go round",
    ),
    (
        "everything forwarded to the cluster's own DNS",
        discovery(coredns={"upstreams": ["10.96.0.10"]}),
        "discovery.coredns.upstreams",
        "go round",
    ),
    (
        "LAN DNS forwards to the cluster's DNS",
        discovery(lanDns={"upstreams": ["10.96.0.10"]}),
        "discovery.lanDns.upstreams",
        "go round",
    ),
    (
        "LAN DNS forwards to the router",
        discovery(lanDns={"upstreams": ["192.168.1.1"]}),
        "discovery.lanDns.upstreams",
        "is the router",
    ),
    (
        "LAN DNS forwards to itself",
        discovery(lanDns={"upstreams": ["192.168.1.102"]}),
        "discovery.lanDns.upstreams",
        "own address",
    ),
    (
        "two answers for cluster.domain",
        discovery(coredns={"zones": {"example.com": ["192.168.1.1"]}}),
        "discovery.coredns.zones.example.com",
        "forwardLanDomain",
    ),
    (
        "falls through where it does not answer",
        discovery(lanDns={"fallthroughZones": ["home.arpa"]}),
        "discovery.lanDns.fallthroughZones",
        "outside cluster.domain",
    ),
    ("more pods than nodes", discovery(lanDns={"replicas": 4}), "discovery.lanDns.replicas", "3 nodes"),
    (
        "service network without a tenth address",
        discovery() | {"cluster": {"serviceCidr": "10.96.0.0/29"}},
        "cluster.serviceCidr",
        "tenth",
    ),
    (
        "the cluster's own domain as a zone",
        discovery(coredns={"zones": {"cluster.local": ["192.168.1.1"]}}),
        "discovery.coredns.zones.cluster.local",
        "CoreDNS answers for cluster.local itself",
    ),
    (
        "everything as a zone",
        discovery(coredns={"zones": {".": ["192.168.1.1"]}}),
        "discovery.coredns.zones.",
        "discovery.coredns.upstreams",
    ),
    (
        "zone under .local",
        discovery(coredns={"zones": {"lan.local": ["192.168.1.1"]}}),
        "discovery.coredns.zones.lan.local",
        "multicast",
    ),
    (
        "zone without a resolver",
        discovery(coredns={"zones": {"home.arpa": []}}),
        "discovery.coredns.zones.home.arpa",
        "empty",
    ),
    ("corefile by hand", discovery(coredns={"corefile": "."}), "discovery.coredns.corefile", "composed"),
    ("MetalLB", discovery(metallb={}), "discovery.metallb", "not installed"),
    ("NodePort", service(type="NodePort"), "discovery.services.db.type", "every node's own address"),
    ("LoadBalancer", service(type="LoadBalancer"), "discovery.services.db.type", "not MetalLB"),
    ("ClusterIP", service(type="ClusterIP"), "discovery.services.db.type", "own Service"),
    ("unknown type", service(type="magic"), "discovery.services.db.type", "headless"),
    (
        "external name without a host",
        service(type="external-name"),
        "discovery.services.db.host",
        "required by type external-name",
    ),
    (
        "external name under .local",
        service(type="external-name", host="nas.local"),
        "discovery.services.db.host",
        "multicast",
    ),
    (
        "external name that is an address",
        service(type="external-name", host="192.168.1.5"),
        "discovery.services.db.host",
        "is an address",
    ),
    (
        "external name that is an IPv6 address",
        service(type="external-name", host="fd00::5"),
        "discovery.services.db.host",
        "is an address",
    ),
    (
        "external name inside the cluster",
        service(type="external-name", host="web.production.svc.cluster.local"),
        "discovery.services.db.host",
        "Service of the cluster",
    ),
    (
        "external name with ports",
        service(type="external-name", host="db.example.net", ports={"postgres": {"port": 5432}}),
        "discovery.services.db.ports",
        "no meaning",
    ),
    ("headless without pods", service(type="headless"), "discovery.services.db.selector", "required by type headless"),
    (
        "headless with a host",
        service(type="headless", selector={"app": "db"}, host="db.example.net"),
        "discovery.services.db.host",
        "no meaning",
    ),
    (
        "service in the cluster's namespace",
        discovery(services={"db": {"namespace": "kube-system", "type": "external-name", "host": "db.example.net"}}),
        "discovery.services.db.namespace",
        "belongs to the cluster",
    ),
]


@pytest.mark.parametrize(("change", "key", "reason"), [case[1:] for case in BAD_VALUES], ids=[c[0] for c in BAD_VALUES])
def test_bad_discovery_setting_is_refused_with_its_reason(change: dict[str, Any], key: str, reason: str) -> None:
    faults = faults_of(change)
    assert faults.keys() == {key}, "each fault is reported once, where it can be mended"
    assert reason in faults[key]


def test_layer_that_is_off_asks_for_nothing() -> None:
    change = {"discovery": {"enabled": False}, "loadBalancer": {"addresses": {"k8s-gateway": None}}}
    assert not settings_with(change).discovery.enabled
