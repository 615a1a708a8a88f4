"""What Talos makes of the patches: a fresh machine configuration, patched and validated by Talos' own code."""

import subprocess
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from components.nodes import talos
from settings.nodes import Role
from settings.stack import Settings
from tests.support.configs import settings_with, stack_config
from tests.support.tools import tool

WORKER = {"address": "192.168.1.97", "mac": "58:47:ca:00:00:01", "role": "worker"}
WITH_WORKER = {"physical": {"nodes": {"k8s-4": WORKER}}}

ONE_OF_EACH = {"ingress": {"classes": {name: {"replicas": 1} for name in ("internal", "external")}}}
"""Replicas that a single worker has room for."""


class Patched(Protocol):
    def __call__(self, change: dict[str, Any] | None = None, node: str = "k8s-1") -> dict[str, Any]: ...


def configuration(settings: Settings, node: str, version: str, folder: Path) -> dict[str, Any]:
    """A fresh machine configuration of a Talos version after the node's patch; further documents by their kind."""
    file = folder / f"{node}.yaml"
    file.write_text(talos.patches(settings)[node])
    kind = ["-worker"] if settings.physical.nodes[node].role is Role.WORKER else []
    command = [tool("talos-patch-check"), "-talos", version, "-print", *kind, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(done.stdout))
    return documents[0] | {document["kind"]: document for document in documents[1:]}


@pytest.fixture
def patched(tmp_path: Path) -> Patched:
    """The machine configuration of a node after its patch, for a change of the shipped settings."""

    def patch(change: dict[str, Any] | None = None, node: str = "k8s-1") -> dict[str, Any]:
        return configuration(settings_with(change), node, "v1.10", tmp_path)

    return patch


def test_talos_takes_the_patch_of_a_worker(patched: Patched) -> None:
    """A worker's configuration allows less: no virtual address, for one."""
    assert patched(WITH_WORKER, "k8s-4")["machine"]["network"]["hostname"] == "k8s-4"


def test_control_planes_take_pods_where_nothing_else_would(patched: Patched) -> None:
    assert patched()["cluster"]["allowSchedulingOnControlPlanes"] is True


@pytest.mark.parametrize("allowed", [True, False])
def test_control_planes_take_pods_as_said(patched: Patched, allowed: bool) -> None:
    change = {"cluster": {"allowSchedulingOnControlPlanes": allowed}, **ONE_OF_EACH}
    assert patched(WITH_WORKER | change)["cluster"]["allowSchedulingOnControlPlanes"] is allowed


@pytest.mark.unit
def test_platform_without_talos_has_no_patches() -> None:
    assert talos.patches(settings_with({"cluster": {"platform": "generic"}})) == {}


WITHOUT_REPLACEMENT = {
    "loadBalancer": {"pools": None, "addresses": None, "l2": {"enabled": False}},
    "ingress": {"classes": {"internal": {"serviceType": "ClusterIP"}}},
    "cilium": {
        "kubeProxyReplacement": False,
        "masquerade": "iptables",
        "hostLegacyRouting": True,
        "localRedirectPolicies": False,
        "loadBalancing": {"mode": "snat", "algorithm": "random"},
    },
}
"""Cilium without the replacement of kube-proxy, and without what needs it."""


def test_kube_proxy_runs_exactly_where_cilium_does_not_replace_it(patched: Patched) -> None:
    assert patched()["cluster"]["proxy"]["disabled"] is True
    assert patched(WITHOUT_REPLACEMENT)["cluster"]["proxy"]["disabled"] is False


def test_controller_manager_divides_the_pod_network_as_said(patched: Patched) -> None:
    """With its own default of /24 a pod network of /24 would be one node's, and the others would get no pods."""
    change = {"cluster": {"podCidr": "10.244.0.0/24", "nodePodPrefixLength": 26}}
    found = patched(change)
    assert found["cluster"]["network"]["podSubnets"] == ["10.244.0.0/24"]
    assert found["cluster"]["controllerManager"]["extraArgs"]["node-cidr-mask-size"] == "26"
    assert patched()["cluster"]["controllerManager"]["extraArgs"]["node-cidr-mask-size"] == "24"


@pytest.mark.parametrize(("prefix", "most"), [(24, None), (25, None), (26, 60), (28, 12)])
def test_kubelet_takes_no_more_pods_than_its_node_has_addresses(patched: Patched, prefix: int, most: int) -> None:
    """A pod too many would wait for an address for ever; workers have a kubelet as well."""
    change = {"cluster": {"nodePodPrefixLength": prefix}}
    for node in ("k8s-1", "k8s-4"):
        found = patched(WITH_WORKER | change, node)["machine"]["kubelet"]
        assert found.get("extraConfig", {}).get("maxPods") == most


ADDRESSING = {
    "addresses": ["192.168.1.98/24"],
    "routes": [{"network": "0.0.0.0/0", "gateway": "192.168.1.1"}],
    "vip": {"ip": "192.168.1.101"},
    "mtu": 9000,
}


def on(interface: str, **more: Any) -> dict[str, Any]:
    """The first node on an interface that Cilium watches."""
    first = {"interface": interface, **more}
    return {"physical": {"mtu": 9000, "nodes": {"k8s-1": first}}, "cilium": {"devices": ["enp+", "bond+"]}}


def test_address_and_mtu_are_on_the_card(patched: Patched) -> None:
    (card,) = patched(on("enp87s0"))["machine"]["network"]["interfaces"]
    assert card["deviceSelector"] == {"hardwareAddr": "58:47:ca:79:7c:a2"}
    assert card.items() >= ADDRESSING.items()


def test_address_and_mtu_are_on_the_vlan(patched: Patched) -> None:
    """The card below it carries frames of that size as well, and no address."""
    (card,) = patched(on("enp87s0.20"))["machine"]["network"]["interfaces"]
    assert card["deviceSelector"] == {"hardwareAddr": "58:47:ca:79:7c:a2"}
    assert card["mtu"] == ADDRESSING["mtu"]
    assert not card.keys() & {"addresses", "routes", "vip"}
    (vlan,) = card["vlans"]
    assert vlan.items() >= {"vlanId": 20, **ADDRESSING}.items()


@pytest.mark.parametrize("mode", ["active-backup", "802.3ad"])
def test_address_and_mtu_are_on_the_bond(patched: Patched, mode: str) -> None:
    bonded = {"mode": mode, "macs": ["58:47:ca:79:7c:a3"]}
    (bond,) = patched(on("bond0", bond=bonded))["machine"]["network"]["interfaces"]
    assert (bond["interface"], bond["bond"]["mode"], bond["bond"]["miimon"]) == ("bond0", mode, 100)
    cards = [card["permanentAddr"] for card in bond["bond"]["deviceSelectors"]]
    assert cards == ["58:47:ca:79:7c:a2", "58:47:ca:79:7c:a3"]
    assert bond.items() >= ADDRESSING.items()


def test_address_and_mtu_are_on_the_vlan_of_a_bond(patched: Patched) -> None:
    (bond,) = patched(on("bond0.20", bond={"macs": ["58:47:ca:79:7c:a3"]}))["machine"]["network"]["interfaces"]
    assert (bond["interface"], bond["mtu"]) == ("bond0", 9000)
    assert not bond.keys() & {"addresses", "routes", "vip"}
    assert bond["vlans"][0].items() >= {"vlanId": 20, **ADDRESSING}.items()


def test_core_dns_asks_the_hosts_resolver_only_where_packets_get_there(patched: Patched) -> None:
    """Routed by eBPF they go past the host's stack; names outside of the cluster would not resolve in pods."""
    assert patched()["machine"]["features"]["hostDNS"] == {"enabled": True, "forwardKubeDNSToHost": False}
    legacy = {"cilium": {"hostLegacyRouting": True}}
    assert patched(legacy)["machine"]["features"]["hostDNS"]["forwardKubeDNSToHost"] is True


@pytest.mark.parametrize(("transport", "size"), [("auto", "7500000"), ("quic", "7500000"), ("http2", None)])
def test_kernel_has_room_for_the_tunnels_quic_packets(tmp_path: Path, transport: str, size: str | None) -> None:
    base = stack_config()
    change = {"cloudflare": {"tunnel": {"transport": transport}}}
    found = configuration(settings_with(change, base), "k8s-1", "v1.10", tmp_path)["machine"].get("sysctls", {})
    assert (found.get("net.core.rmem_max"), found.get("net.core.wmem_max")) == (size, size)


@pytest.mark.parametrize("version", ["1.10", "1.11", "1.12", "1.13"])
def test_every_version_of_talos_takes_its_patches(tmp_path: Path, version: str) -> None:
    """A machine's name has a document of its own from 1.12 on, and is refused in the old place."""
    settings = settings_with({"cluster": {"talosVersion": version}})
    found = configuration(settings, "k8s-1", f"v{version}", tmp_path)
    if version in {"1.10", "1.11"}:
        assert found["machine"]["network"]["hostname"] == "k8s-1"
    else:
        assert found["HostnameConfig"].items() >= {"hostname": "k8s-1", "auto": "off"}.items()
        assert "hostname" not in found["machine"]["network"]


def test_cluster_has_the_domain_that_core_dns_answers_for(patched: Patched) -> None:
    change = {"discovery": {"coredns": {"clusterDomain": "home.lan"}}}
    assert patched(change)["cluster"]["network"]["dnsDomain"] == "home.lan"
    assert patched()["cluster"]["network"]["dnsDomain"] == "cluster.local"


def test_api_and_etcd_are_at_the_addresses_of_the_settings(patched: Patched) -> None:
    """The certificate of the API names the virtual address, and etcd keeps to the node network."""
    cluster = patched({"physical": {"apiVip": "192.168.1.120"}})["cluster"]
    assert {"192.168.1.120", "kubernetes-api"} <= set(cluster["apiServer"]["certSANs"])
    assert cluster["etcd"]["advertisedSubnets"] == ["192.168.1.0/24"]
