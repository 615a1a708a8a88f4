"""Bad values: each is refused under its key with its reason, a missing one is named, and the remedy shown works."""

from typing import Any

import pytest

from settings.errors import ConfigError
from tests.support.configs import ingress, merged, settings_with, stack_config
from tests.support.faults import faults_of

pytestmark = pytest.mark.unit


def node(**values: Any) -> dict[str, Any]:
    return {"physical": {"nodes": {"k8s-2": values}}}


def pool(start: str, stop: str) -> dict[str, Any]:
    return {"loadBalancer": {"pools": {"lan": {"start": start, "stop": stop}}}}


def cilium(**values: Any) -> dict[str, Any]:
    return {"cilium": values}


BAD_VALUES: list[tuple[str, dict[str, Any], str, str]] = [
    # what is wrong, the change, the key it is reported under, a part of the reason
    (
        "gateway outside the subnet",
        {"physical": {"gateway": "10.0.0.1"}},
        "physical.gateway",
        "outside the node subnet",
    ),
    ("gateway on the broadcast address", {"physical": {"gateway": "192.168.1.255"}}, "physical.gateway", "broadcast"),
    ("node on the network address", node(address="192.168.1.0"), "physical.nodes.k8s-2.address", "network address"),
    ("node on the gateway", node(address="192.168.1.1"), "physical.nodes.k8s-2.address", "physical.gateway"),
    ("node on the API VIP", node(address="192.168.1.101"), "physical.nodes.k8s-2.address", "physical.apiVip"),
    ("two nodes, one address", node(address="192.168.1.98"), "physical.nodes.k8s-2.address", "nodes.k8s-1"),
    ("two nodes, one MAC", node(mac="58:47:ca:79:7c:a2"), "physical.nodes.k8s-2.mac", "nodes.k8s-1"),
    ("MAC in upper case", node(mac="58:47:CA:79:78:BA"), "physical.nodes.k8s-2.mac", "lower case"),
    ("multicast MAC", node(mac="01:00:5e:00:00:01"), "physical.nodes.k8s-2.mac", "multicast"),
    ("address as a number", node(address=3232235875), "physical.nodes.k8s-2.address", "not an IPv4 address"),
    ("unknown role", node(role="master"), "physical.nodes.k8s-2.role", "control-plane"),
    (
        "interface beyond Linux's 15 characters",
        node(interface="a" * 16),
        "physical.nodes.k8s-2.interface",
        "at most 15",
    ),
    ("interface that Cilium does not watch", node(interface="eth0"), "physical.nodes.k8s-2.interface", "bypass Cilium"),
    ("switch port that is no label", node(switchPort="port 3"), "physical.nodes.k8s-2.switchPort", "letters, digits"),
    (
        "no control-plane node",
        {"physical": {"nodes": {name: {"role": "worker"} for name in ("k8s-1", "k8s-2", "k8s-3")}}},
        "physical.nodes",
        "no control-plane node",
    ),
    (
        "request above its limit",
        ingress("internal", resources={"requests": {"memory": "2Gi"}}),
        "ingress.classes.internal.resources.requests.memory",
        "limit of 500Mi",
    ),
    (
        "memory as an amount of CPU",
        ingress("internal", resources={"limits": {"cpu": "256Mi"}}),
        "ingress.classes.internal.resources.limits.cpu",
        "number of CPU cores",
    ),
    (
        "kubeconfig that is not there",
        {"kubernetes": {"kubeconfig": "~/nowhere/kc"}},
        "kubernetes.kubeconfig",
        "not a file",
    ),
    ("subnet with host bits", {"physical": {"subnet": "192.168.1.5/24"}}, "physical.subnet", "192.168.1.0/24"),
    ("subnet of Tailscale", {"cluster": {"podCidr": "100.64.0.0/16"}}, "cluster.podCidr", "Tailscale"),
    (
        "DHCP range over the VIP",
        {"physical": {"dhcpRange": {"start": "192.168.1.101", "stop": "192.168.1.101"}}},
        "physical.dhcpRange",
        "API VIP",
    ),
    (
        "DHCP range over a pool",
        {"physical": {"dhcpRange": {"start": "192.168.1.110", "stop": "192.168.1.120"}}},
        "loadBalancer.pools.lan",
        "lease",
    ),
    (
        "DHCP range backwards",
        {"physical": {"dhcpRange": {"start": "192.168.1.199", "stop": "192.168.1.150"}}},
        "physical.dhcpRange",
        "ends before",
    ),
    (
        "pods overlap services",
        {"cluster": {"podCidr": "10.96.0.0/16"}},
        "cluster.serviceCidr",
        "overlaps cluster.podCidr",
    ),
    ("pods overlap nodes", {"cluster": {"podCidr": "192.168.0.0/16"}}, "cluster.podCidr", "overlaps physical.subnet"),
    ("pod network too small", {"cluster": {"podCidr": "10.244.0.0/23"}}, "cluster.podCidr", "2 node networks"),
    ("service network too large", {"cluster": {"serviceCidr": "10.0.0.0/8"}}, "cluster.serviceCidr", "/12"),
    ("network without a prefix", {"cluster": {"podCidr": "10.244.0.0"}}, "cluster.podCidr", "CIDR"),
    ("domain under .local", {"cluster": {"domain": "anton.local"}}, "cluster.domain", "RFC 6762"),
    ("domain of one label", {"cluster": {"domain": "anton"}}, "cluster.domain", "two labels"),
    ("pool is the whole subnet", pool("192.168.1.0", "192.168.1.255"), "loadBalancer.pools.lan", "whole node subnet"),
    ("pool over a node", pool("192.168.1.100", "192.168.1.110"), "loadBalancer.pools.lan", "node k8s-3"),
    ("pool outside the subnet", pool("192.168.2.102", "192.168.2.110"), "loadBalancer.pools.lan", "ARP"),
    ("pool backwards", pool("192.168.1.110", "192.168.1.102"), "loadBalancer.pools.lan", "ends before"),
    (
        "two pools overlap",
        {"loadBalancer": {"pools": {"more": {"start": "192.168.1.110", "stop": "192.168.1.115"}}}},
        "loadBalancer.pools.more",
        "overlaps pool lan",
    ),
    (
        "fixed address in no pool",
        {"loadBalancer": {"addresses": {"internal": "192.168.1.120"}}},
        "loadBalancer.addresses.internal",
        "no pool",
    ),
    (
        "one fixed address twice",
        {"loadBalancer": {"addresses": {"external": "192.168.1.103"}}},
        "loadBalancer.addresses.external",
        "addresses.internal",
    ),
    (
        "LoadBalancer class without an address",
        {"loadBalancer": {"addresses": {"internal": None}}},
        "ingress.classes.internal.serviceType",
        "loadBalancer.addresses.internal",
    ),
    (
        "pools that nobody announces",
        {"loadBalancer": {"l2": {"enabled": False}}},
        "loadBalancer.l2.enabled",
        "announce",
    ),
    (
        "announcement on tailscale0",
        {"loadBalancer": {"l2": {"interfaces": [".*"]}}},
        "loadBalancer.l2.interfaces",
        "tailscale0",
    ),
    (
        "announcement on no declared interface",
        {"loadBalancer": {"l2": {"interfaces": ["^eth0$"]}}},
        "loadBalancer.l2.interfaces",
        "none of the nodes' interfaces",
    ),
    (
        "announcement expression that does not compile",
        {"loadBalancer": {"l2": {"interfaces": ["("]}}},
        "loadBalancer.l2.interfaces",
        "regular expression",
    ),
    (
        "lease lost while renewed",
        {"loadBalancer": {"l2": {"leaseRenewDeadlineSeconds": 20}}},
        "loadBalancer.l2.leaseDurationSeconds",
        "renew deadline",
    ),
    (
        "two classes, one controller value",
        ingress("internal", controllerValue="k8s.io/external"),
        "ingress.classes.internal.controllerValue",
        "class external",
    ),
    (
        "two classes, one election id",
        ingress("internal", electionId="external-ingress-nginx-leader"),
        "ingress.classes.internal.electionId",
        "class external",
    ),
    (
        "two default classes",
        {"ingress": {"classes": {"internal": {"default": True}, "external": {"default": True}}}},
        "ingress.classes.internal.default",
        "default already",
    ),
    ("class of the Tailscale operator", ingress("tailscale"), "ingress.classes.tailscale", "Tailscale operator"),
    ("more replicas than nodes", ingress("internal", replicas=4), "ingress.classes.internal.replicas", "3 nodes"),
    (
        "drain impossible",
        ingress("internal", minAvailable=2),
        "ingress.classes.internal.minAvailable",
        "no node could be drained",
    ),
    (
        "autoscaling upside down",
        ingress("internal", autoscaling={"minReplicas": 3, "maxReplicas": 2}),
        "ingress.classes.internal.autoscaling.maxReplicas",
        "minReplicas",
    ),
    (
        "passthrough hides Cloudflare's header",
        ingress("external", sslPassthrough=True),
        "ingress.classes.external.sslPassthrough",
        "decrypted",
    ),
    (
        "TLS 1.1",
        ingress("internal", tls={"protocols": ["TLSv1.1"]}),
        "ingress.classes.internal.tls.protocols[0]",
        "TLSv1.2",
    ),
    (
        "size that NGINX can't count",
        ingress("internal", tuning={"clientMaxBodySize": "9999999999g"}),
        "ingress.classes.internal.tuning.clientMaxBodySize",
        "at most nine digits",
    ),
    (
        "size in another unit",
        ingress("internal", tuning={"clientMaxBodySize": "50MB"}),
        "ingress.classes.internal.tuning.clientMaxBodySize",
        "number of bytes",
    ),
    (
        "image without a tag",
        {"ingress": {"image": "registry.example.com/controller"}},
        "ingress.image",
        "repository:tag",
    ),
    ("DSR in tunnel mode", cilium(routingMode="tunnel"), "cilium.loadBalancing.mode", "routingMode native"),
    (
        "Geneve DSR without Geneve",
        cilium(loadBalancing={"dsrDispatch": "geneve"}),
        "cilium.loadBalancing.dsrDispatch",
        "tunnelProtocol",
    ),
    (
        "IPIP DSR without XDP",
        cilium(loadBalancing={"dsrDispatch": "ipip"}),
        "cilium.loadBalancing.dsrDispatch",
        "XDP",
    ),
    (
        "BBR through the host's stack",
        cilium(bandwidthManager={"bbr": True}, hostLegacyRouting=True),
        "cilium.bandwidthManager.bbr",
        "host routing",
    ),
    (
        "BBR without the bandwidth manager",
        cilium(bandwidthManager={"bbr": True, "enabled": False}),
        "cilium.bandwidthManager.bbr",
        "off",
    ),
    ("iptables masquerading past the host's stack", cilium(masquerade="iptables"), "cilium.masquerade", "host's stack"),
    ("L2 announcements beside kube-proxy", cilium(kubeProxyReplacement=False), "loadBalancer.l2.enabled", "kube-proxy"),
    (
        "kube-proxy replacement strict",
        cilium(kubeProxyReplacement="strict"),
        "cilium.kubeProxyReplacement",
        "true or false",
    ),
    ("devices detected", cilium(devices=[]), "cilium.devices", "tailscale0"),
    ("devices that match tailscale0", cilium(devices=["enp+", "t+"]), "cilium.devices", "1280"),
    (
        "Maglev table of no prime",
        cilium(loadBalancing={"maglevTableSize": 16384}),
        "cilium.loadBalancing.maglevTableSize",
        "primes",
    ),
    (
        "a quarter of the memory for maps",
        cilium(bpfMaps={"dynamicSizeRatio": 0.25}),
        "cilium.bpfMaps.dynamicSizeRatio",
        "25%",
    ),
    (
        "agent killed for memory",
        cilium(agent={"resources": {"limits": {"memory": "512Mi"}}}),
        "cilium.agent.resources.limits.memory",
        "2560Mi",
    ),
    ("all agents restart at once", cilium(agent={"maxUnavailable": 3}), "cilium.agent.maxUnavailable", "at once"),
    ("UI without relay", cilium(hubble={"relay": False}), "cilium.hubble.ui", "relay"),
    ("relay without Hubble", cilium(hubble={"enabled": False, "ui": False}), "cilium.hubble.relay", "never records"),
    (
        "node encryption alone",
        cilium(encryption={"nodeEncryption": True}),
        "cilium.encryption.nodeEncryption",
        "WireGuard",
    ),
    (
        "Gateway API without Envoy",
        cilium(l7Proxy=False, serviceMesh={"gatewayApi": True}),
        "cilium.serviceMesh.gatewayApi",
        "Envoy",
    ),
    ("more operators than nodes", cilium(operator={"replicas": 4}), "cilium.operator.replicas", "3 nodes"),
    ("policies void", cilium(policyEnforcement="never"), "cilium.policyEnforcement", "default"),
    ("state wiped at every start", cilium(cleanState=True), "cilium.cleanState", "wipes"),
    ("the specification's tunnel: disabled", cilium(tunnel="disabled"), "cilium.tunnel", "routingMode: native"),
    ("an upgrade over two minors", cilium(runningVersion="1.17"), "cilium.runningVersion", "one minor"),
    ("a downgrade", cilium(runningVersion="1.20"), "cilium.runningVersion", "never down"),
    ("installed by a later version", cilium(upgradeCompatibility="1.20"), "cilium.upgradeCompatibility", "newer"),
    ("misspelt key", {"physical": {"gatway": "192.168.1.1"}}, "physical.gatway", "did you mean gateway?"),
    ("misspelt group", {"ingres": {}}, "ingres", "did you mean ingress?"),
    ("group that is no object", {"cilium": "fast"}, "cilium", "mapping"),
]


@pytest.mark.parametrize(
    ("change", "key", "reason"), [case[1:] for case in BAD_VALUES], ids=[case[0] for case in BAD_VALUES]
)
def test_bad_value_is_refused_under_its_key_with_its_reason(change: dict[str, Any], key: str, reason: str) -> None:
    base = stack_config() if not isinstance(change.get("cilium"), str) else {**stack_config(), "cilium": {}}
    found = faults_of(change, base)
    assert key in found, f"reported instead: {found}"
    assert reason in found[key]


def test_example_of_every_bad_value_that_is_a_value_is_accepted() -> None:
    """The report's own remedy must work; examples in prose (with a blank) are advice, not values."""
    tried = 0
    for _, change, key, _ in BAD_VALUES:
        base = {**stack_config(), "cilium": {}}
        with pytest.raises(ConfigError) as caught:
            settings_with(change, base)
        problem = next(problem for problem in caught.value.problems if problem.key == key)
        named = problem.value == key.rpartition(".")[2]  # the example is another name for the entry
        if named or len(caught.value.problems) > 1 or "[" in key or " " in str(problem.example) or "." not in key:
            continue
        remedy: dict[str, Any] = {}
        at = remedy
        *parents, last = key.split(".")
        for step in parents:
            at = at.setdefault(step, {})
        at[last] = problem.example
        settings_with(merged(change, remedy), base)
        tried += 1
    assert tried > 25, "too few remedies were tried for this to mean much"


@pytest.mark.parametrize(
    "missing", ["physical.subnet", "physical.gateway", "physical.apiVip", "physical.nodes", "cluster.domain"]
)
def test_missing_required_value_is_named(missing: str) -> None:
    group, key = missing.split(".")
    assert faults_of({group: {key: None}})[missing] == "is required"


def test_cluster_must_be_named_explicitly() -> None:
    """Without a context the provider would take whatever cluster the kubeconfig points to at the moment."""
    assert faults_of({"kubernetes": {"context": None}}) == {"kubernetes.context": "is required"}
