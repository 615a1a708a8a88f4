"""Every option that Talos, the router or DHCP must know, and the output in which it tells them.

Each row changes one option and names the outputs that follow. An option of these layers that is in no row is listed
as none of their business, so that a new one has to be put on one of the two sides.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from components.discovery.services import ServiceDiscoveryArgs, exports
from components.nodes import inventory
from docs import generate
from settings.stack import GROUPS, Settings
from tests.components.test_talos_patches import WITHOUT_REPLACEMENT
from tests.support.configs import merged, settings_with, stack_config

pytestmark = pytest.mark.unit

TALOS = {"talos_patches"}
DHCP = {"dhcp_dnsmasq", "dhcp_kea", "dhcp_isc"}
HOSTS = {"hosts"}
ROUTER = {"lan_dns_dnsmasq", "lan_dns_unbound"}
CORE_DNS = {"coredns_server_blocks"}
NODE = "physical.nodes.<name>"


def node(**values: Any) -> dict[str, Any]:
    return {"physical": {"nodes": {"k8s-1": values}}}


BONDED = {"interface": "bond0", "bond": {"macs": ["58:47:ca:79:7c:a3"]}}
WATCHED = {"cilium": {"devices": ["enp+", "bond+"]}}
BY_BGP = {
    "loadBalancer": {
        "l2": {"enabled": False},
        "bgp": {"localAsn": 64513, "peers": {"router": {"address": "192.168.1.1", "asn": 64512}}},
    }
}
"""Addresses announced without the replacement of kube-proxy."""

WORKERS = {
    "physical": {
        "nodes": {
            f"w-{n}": {"address": f"192.168.1.{20 + n}", "mac": f"58:47:ca:00:01:0{n}", "role": "worker"}
            for n in (1, 2)
        }
    }
}

FOLLOWED: list[tuple[str, dict[str, Any], set[str]]] = [
    ("physical.subnet", {"physical": {"subnet": "192.168.0.0/23"}}, TALOS | DHCP),
    ("physical.gateway", {"physical": {"gateway": "192.168.1.254"}}, TALOS | DHCP),
    ("physical.apiVip", {"physical": {"apiVip": "192.168.1.120"}}, TALOS | HOSTS),
    ("physical.dnsServers", {"physical": {"dnsServers": ["9.9.9.9"]}}, TALOS | DHCP),
    ("physical.ntpServers", {"physical": {"ntpServers": ["192.168.1.1"]}}, TALOS | DHCP),
    ("physical.mtu", {"physical": {"mtu": 9000}}, TALOS),
    ("physical.dhcpRange", {"physical": {"dhcpRange": {"start": "192.168.1.150", "stop": "192.168.1.199"}}}, DHCP),
    (f"{NODE}.address", node(address="192.168.1.97"), TALOS | DHCP | HOSTS),
    (f"{NODE}.mac", node(mac="58:47:ca:79:7c:a9"), TALOS | DHCP),
    (f"{NODE}.role", node(role="worker"), TALOS),
    (f"{NODE}.interface", node(interface="enp87s0.20"), TALOS),
    (f"{NODE}.bond", merged(node(**BONDED), WATCHED), TALOS),
    ("cluster.podCidr", {"cluster": {"podCidr": "10.42.0.0/16"}}, TALOS),
    ("cluster.nodePodPrefixLength", {"cluster": {"nodePodPrefixLength": 26}}, TALOS),
    ("cluster.serviceCidr", {"cluster": {"serviceCidr": "10.43.0.0/16"}}, TALOS | {"cluster_dns_address"}),
    ("cluster.platform", {"cluster": {"platform": "generic"}}, TALOS),
    ("cluster.talosVersion", {"cluster": {"talosVersion": "1.12"}}, TALOS),
    (
        "cluster.allowSchedulingOnControlPlanes",
        merged(WORKERS, {"cluster": {"allowSchedulingOnControlPlanes": False}}),
        TALOS | DHCP | HOSTS,  # with the workers
    ),
    ("cluster.domain", {"cluster": {"domain": "home.example.net"}}, ROUTER | CORE_DNS),
    ("cilium.kubeProxyReplacement", merged({"cilium": WITHOUT_REPLACEMENT["cilium"]}, BY_BGP), TALOS),
    ("cilium.hostLegacyRouting", {"cilium": {"hostLegacyRouting": True}}, TALOS),
    (
        "loadBalancer.addresses.<name>",
        {"loadBalancer": {"addresses": {"k8s-gateway": "192.168.1.110"}}},
        ROUTER | CORE_DNS,
    ),
    ("discovery.coredns.clusterDomain", {"discovery": {"coredns": {"clusterDomain": "home.lan"}}}, TALOS),
    ("discovery.coredns.forwardLanDomain", {"discovery": {"coredns": {"forwardLanDomain": False}}}, CORE_DNS),
    ("discovery.coredns.zones.<name>", {"discovery": {"coredns": {"zones": {"home.arpa": ["192.168.1.1"]}}}}, CORE_DNS),
    (
        "discovery.enabled",
        {"discovery": {"enabled": False}, "tailscale": {"enabled": False}},
        ROUTER | CORE_DNS | {"cluster_dns_address"},
    ),
    ("cloudflare.tunnel.transport", {"cloudflare": {"tunnel": {"transport": "http2"}}}, TALOS),
    ("cloudflare.enabled", {"cloudflare": {"enabled": False}}, TALOS),
]


BY_HAND = ("loadBalancer.bgp", f"{NODE}.bond.mode")
"""Of these the router or the switch is told by hand: docs/operations.md."""

INSIDE = (
    f"{NODE}.linkSpeedMbps",
    f"{NODE}.rack",
    f"{NODE}.switchPort",
    # Cilium's own business: its agents set up routes, programs and the kernel's parameters on the nodes.
    "cilium.routingMode",
    "cilium.tunnelProtocol",
    "cilium.masquerade",
    "cilium.endpointRoutes",
    "cilium.socketLbHostNamespaceOnly",
    "cilium.xtSocketFallback",
    "cilium.l7Proxy",
    "cilium.policyEnforcement",
    "cilium.loadBalancing",
    "cilium.bandwidthManager",
    "cilium.localRedirectPolicies",
    "cilium.cniExclusive",
    "cilium.devices",
    "cilium.bpfMaps",
    "cilium.hubble",
    "cilium.encryption",
    "cilium.serviceMesh",
    "cilium.agent",
    "cilium.operator",
    "cilium.upgradeCompatibility",
    "cilium.runningVersion",
    # Clear of DHCP by rule; ARP tells the rest.
    "loadBalancer.pools",
    "loadBalancer.services",
    "loadBalancer.l2",
    "discovery.lanDns",
    "discovery.coredns.manage",
    "discovery.coredns.upstreams",
    "discovery.services",
)
"""Options of the layers below that nobody outside of the cluster has to know."""

LAYERS = ("physical", "cluster", "cilium", "loadBalancer", "discovery")
"""Those that shape nodes and names. Of the others a row above names what gets out."""


def told(settings: Settings) -> dict[str, Any]:
    """The outputs that somebody outside of the cluster reads."""
    names = exports(ServiceDiscoveryArgs.of(settings, namespace="network")) if settings.discovery.enabled else {}
    return inventory.exports(settings) | names


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    return told(settings_with(base=stack_config()))


@pytest.mark.parametrize(("key", "change", "outputs"), FOLLOWED, ids=[key for key, _, _ in FOLLOWED])
def test_outputs_follow_the_option(
    before: Mapping[str, Any], key: str, change: dict[str, Any], outputs: set[str]
) -> None:
    """Those named, and no other."""
    after = told(settings_with(change, stack_config()))
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == outputs, key


def test_every_option_is_told_or_nobodys_business() -> None:
    options = {key for group in LAYERS for key, _, _, _ in generate.rows(GROUPS[group], group)}
    listed = {*(key for key, _, _ in FOLLOWED), *BY_HAND, *INSIDE}
    objects = {key for key in options if any(other.startswith(f"{key}.") for other in options)}
    assert {key for key in options - objects if not any(f"{key}.".startswith(f"{known}.") for known in listed)} == set()
    other = {key for key, _, _ in FOLLOWED if key.partition(".")[0] not in LAYERS}
    stale = {known for known in listed - other if not any(f"{key}.".startswith(f"{known}.") for key in options)}
    assert stale == set()
