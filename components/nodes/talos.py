"""What Talos must know of the settings: one machine configuration patch (YAML) a node.

Pure functions from settings to text; `inventory.exports` publishes them. Talos' own code reads them in
tests/components/test_talos_patches.py. Facts section 1 has the sources of what no setting names.
"""

from typing import Any

import yaml

from settings.cloudflare.tunnel import Transport
from settings.cluster import KUBE_PRISM_PORT, Cluster, Platform
from settings.nodes import BondMode, Node, Physical, Role
from settings.stack import Settings

QUIC_BUFFERS = {"net.core.rmem_max": "7500000", "net.core.wmem_max": "7500000"}
"""What a QUIC connection of cloudflared asks of the kernel for its socket; with less it drops packets under load."""

API_NAME = "kubernetes-api"
"""The API's name in the hosts file."""

HOSTNAME_DOCUMENT = 12
"""Minor version of Talos from which on a machine's name has a document of its own, and no other place."""

KUBELET_PODS = 110
"""Pods that a kubelet takes unless told otherwise."""

BOND_POLL_MILLISECONDS = 100
"""How often a bond looks whether its cards have a link; Linux does not look by itself."""


def patches(settings: Settings) -> dict[str, str]:
    """The patch of each node by its name, for `talosctl machineconfig patch`; none where Talos is not the platform."""
    if settings.cluster.platform is not Platform.TALOS:
        return {}
    return {name: _patch(settings, name, node) for name, node in settings.physical.nodes.items()}


def _patch(settings: Settings, name: str, node: Node) -> str:
    machine = _machine(settings, node)
    documents: list[dict[str, Any]] = [{"machine": machine, "cluster": _cluster(settings, node)}]
    if int(settings.cluster.talos_version.partition(".")[2]) >= HOSTNAME_DOCUMENT:
        documents.append({"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "off", "hostname": name})
    else:
        machine["network"] = {"hostname": name, **machine["network"]}
    return yaml.safe_dump_all(documents, sort_keys=False)


def _machine(settings: Settings, node: Node) -> dict[str, Any]:
    physical = settings.physical
    return {
        "network": {
            "nameservers": [str(address) for address in physical.dns_servers],
            "interfaces": [_interface(physical, node)],
        },
        "time": {"servers": [str(address) for address in physical.ntp_servers]},
        "kubelet": {"nodeIP": {"validSubnets": [str(physical.subnet)]}, **_most_pods(settings.cluster)},
        "features": _features(settings),
        **({"sysctls": QUIC_BUFFERS} if _tunnels_by_quic(settings) else {}),
    }


def _features(settings: Settings) -> dict[str, Any]:
    # Cilium reaches the API here, before there is a Service network.
    features: dict[str, Any] = {"kubePrism": {"enabled": True, "port": KUBE_PRISM_PORT}}
    if not settings.cilium.host_legacy_routing:
        # The address at which Talos answers pods is the host's own; packets that eBPF routes past its stack don't get
        # there, and CoreDNS would wait for every name outside of the cluster. It asks the node's resolvers itself then.
        features["hostDNS"] = {"forwardKubeDNSToHost": False}
    return features


def _tunnels_by_quic(settings: Settings) -> bool:
    return settings.cloudflare.enabled and settings.cloudflare.tunnel.transport is not Transport.HTTP2


def _most_pods(cluster: Cluster) -> dict[str, Any]:
    """The kubelet's limit, where a node has fewer addresses than the kubelet takes pods by itself."""
    most = cluster.pods_per_node
    return {"extraConfig": {"maxPods": most}} if most < KUBELET_PODS else {}


def _interface(physical: Physical, node: Node) -> dict[str, Any]:
    """The card or bond, with the addressing on it or on a VLAN of it."""
    addressing: dict[str, Any] = {
        "dhcp": False,
        "mtu": physical.mtu,
        "addresses": [f"{node.address}/{physical.subnet.prefixlen}"],
        "routes": [{"network": "0.0.0.0/0", "gateway": str(physical.gateway)}],
    }
    if node.role is Role.CONTROL_PLANE:
        addressing["vip"] = {"ip": str(physical.api_vip)}
    link = _link(node)
    if node.vlan is None:
        return link | addressing
    return link | {"dhcp": False, "mtu": physical.mtu, "vlans": [{"vlanId": node.vlan, **addressing}]}


def _link(node: Node) -> dict[str, Any]:
    if node.bond is None:
        return {"deviceSelector": {"hardwareAddr": node.mac}}
    # The permanent addresses: in a bond all cards take the address of one.
    cards = [{"permanentAddr": mac} for mac in node.macs]
    bond = {"mode": node.bond.mode.value, "miimon": BOND_POLL_MILLISECONDS, "deviceSelectors": cards}
    if node.bond.mode is BondMode.LACP:
        bond["xmitHashPolicy"] = "layer3+4"
    return {"interface": node.link, "bond": bond}


def _cluster(settings: Settings, node: Node) -> dict[str, Any]:
    """What a node knows of the cluster; what only static pods and the scheduler read stands on control planes alone."""
    cluster = settings.cluster
    result: dict[str, Any] = {
        "network": {
            "cni": {"name": "none"},
            "podSubnets": [str(cluster.pod_cidr)],
            "serviceSubnets": [str(cluster.service_cidr)],
            "dnsDomain": settings.discovery.coredns.cluster_domain,
        },
        "proxy": {"disabled": settings.cilium.kube_proxy_replacement},
    }
    if node.role is Role.CONTROL_PLANE:
        share = str(cluster.node_pod_prefix_length)
        result["controllerManager"] = {"extraArgs": {"node-cidr-mask-size": share}}
        # Where a node has a second network: etcd's members find each other on this one.
        result["etcd"] = {"advertisedSubnets": [str(settings.physical.subnet)]}
        # Its names in the certificate, for clients that come by the address or by the hosts file.
        result["apiServer"] = {"certSANs": [str(settings.physical.api_vip), API_NAME]}
        result["allowSchedulingOnControlPlanes"] = cluster.allow_scheduling_on_control_planes
    return result
