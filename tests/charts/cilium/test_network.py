"""What Cilium's chart makes of the shipped configuration: the network, what agents ask of nodes, the release.

Names with `spec` are rows of the specification; the others are rows of facts sections 0 to 2. Hubble and metrics are in
test_monitoring.py, options that the shipped configuration leaves off in test_options.py.
"""

import tarfile

import pytest

from settings.charts.model import CHART_VERSIONS
from tests.support.configs import running_cluster_config, settings_with
from tests.support.rendering import Manifest, Manifests, chart_archive, render_cilium

pytestmark = pytest.mark.render


@pytest.fixture(scope="module")
def agent(chart: Manifests) -> Manifest:
    """The agent's container."""
    return chart.container("DaemonSet", "cilium", "cilium-agent")


def environment(container: Manifest) -> dict[str, str | None]:
    """Environment variables of a container that have a plain value."""
    return {entry["name"]: entry.get("value") for entry in container.get("env", [])}


def capabilities(container: Manifest) -> list[str]:
    """Linux capabilities that a container asks for."""
    added: list[str] = container["securityContext"].get("capabilities", {}).get("add", [])
    return added


# The cluster network of the specification


def test_spec_cni_is_cilium_in_kube_system_under_the_label_of_its_commands(chart: Manifests) -> None:
    agents = chart.get("DaemonSet", "cilium")
    assert agents["metadata"]["namespace"] == "kube-system"
    assert agents["spec"]["template"]["metadata"]["labels"]["k8s-app"] == "cilium", (
        "`kubectl get pods -n kube-system -l k8s-app=cilium` would find nothing"
    )


def test_spec_status_command_finds_the_container_cilium_agent(chart: Manifests) -> None:
    first = chart.pod("DaemonSet", "cilium")["containers"][0]["name"]
    assert first == "cilium-agent", "`kubectl exec -c cilium-agent ds/cilium` would fail"


def test_spec_ebpf_dataplane_writes_its_cni_configuration(config: dict[str, str]) -> None:
    assert config["datapath-mode"] == "veth"
    assert "write-cni-conf-when-ready" in config, "kubelets would have no CNI"


def test_spec_pod_cidr_is_the_native_routing_cidr(config: dict[str, str]) -> None:
    assert config["ipv4-native-routing-cidr"] == "10.244.0.0/16", "traffic between pods would be masqueraded"


def test_pod_cidr_of_the_running_cluster_is_its_native_routing_cidr() -> None:
    config = render_cilium(settings_with(base=running_cluster_config())).data("cilium-config")
    assert config["ipv4-native-routing-cidr"] == "10.42.0.0/16", "the pod network would be hard-coded"


def test_running_clusters_address_plan_leaves_no_address_of_the_specification() -> None:
    text = render_cilium(settings_with(base=running_cluster_config())).text
    for network in ("10.244.", "10.96."):
        assert network not in text, f"{network}x.x would be hard-coded"


def test_spec_ipam_kubernetes_takes_the_nodes_pod_networks(config: dict[str, str]) -> None:
    """The specification's `ipam: kubernetes` is the chart's `ipam.mode`."""
    assert config["ipam"] == "kubernetes", "Cilium would hand out addresses of a network of its own"


def test_spec_tunnel_disabled_is_native_routing(config: dict[str, str]) -> None:
    """The specification's `tunnel: disabled` is `routingMode: native`; the agent knows no key `tunnel` any more."""
    assert config["routing-mode"] == "native", "packets between nodes would be encapsulated"
    assert "tunnel" not in config, "the agent ignores it, and a reader would believe it"


def test_native_routing_installs_routes_to_the_other_nodes(config: dict[str, str]) -> None:
    assert config["auto-direct-node-routes"] == "true", "no router knows the pod networks: nodes would lose each other"


def test_spec_kube_proxy_is_replaced(config: dict[str, str]) -> None:
    """The sources' `strict` is `true` today; the chart refuses the old word."""
    assert config["kube-proxy-replacement"] == "true", "without kube-proxy no Service would work"


def test_kube_proxy_replacement_answers_health_checks(config: dict[str, str]) -> None:
    assert config["kube-proxy-replacement-healthz-bind-address"] == "0.0.0.0:10256", (
        "load balancers that probe kube-proxy's health port would drop every node"
    )


def test_spec_enable_ipv4_masquerade_runs_in_ebpf(config: dict[str, str]) -> None:
    assert config["enable-ipv4-masquerade"] == "true", "pods could not reach the internet"
    assert config["enable-bpf-masquerade"] == "true", "masquerading would fall back to iptables"


def test_spec_enable_xt_socket_fallback(config: dict[str, str]) -> None:
    assert config["enable-xt-socket-fallback"] == "true", "layer 7 policies would need the kernel module xt_socket"


def test_spec_enable_l7_proxy_runs_envoy_as_its_own_daemonset(chart: Manifests, config: dict[str, str]) -> None:
    assert config["enable-l7-proxy"] == "true", "layer 7 policies would be refused"
    assert config["external-envoy-proxy"] == "true", "Envoy would run, and restart, inside the agent"
    assert chart.get("DaemonSet", "cilium-envoy")["metadata"]["namespace"] == "kube-system"


def test_spec_enable_policy_default(config: dict[str, str]) -> None:
    """The specification's second key, `policy-enforcement`, does not exist."""
    assert config["enable-policy"] == "default"
    assert "policy-enforcement" not in config
    assert config["enable-k8s-networkpolicy"] == "true", "the specification's NetworkPolicy objects would do nothing"


def test_spec_load_balancing_is_direct_server_return(config: dict[str, str]) -> None:
    assert config["bpf-lb-mode"] == "dsr", "replies would take the way back through the first node"
    assert config["bpf-lb-dsr-dispatch"] == "opt"


def test_spec_service_mesh_is_off_until_asked_for(chart: Manifests, config: dict[str, str]) -> None:
    assert config["mesh-auth-enabled"] == "false"
    assert not {"enable-envoy-config", "enable-gateway-api"} & config.keys()
    assert not chart.of("StatefulSet"), "SPIRE would need a StorageClass"


def test_spec_loadbalancer_services_get_addresses_from_cilium(config: dict[str, str]) -> None:
    """The specification says MetalLB; the cluster uses Cilium's LB-IPAM."""
    assert config["enable-lb-ipam"] == "true", "pools would be ignored"
    assert config["default-lb-service-ipam"] == "lbipam", "Services without a class would get no address"


# Settings of facts section 2.1


def test_maglev_spreads_connections_with_its_default_table(config: dict[str, str]) -> None:
    assert config["bpf-lb-algorithm"] == "maglev", "a lost node would move the connections of all others"
    assert config["bpf-lb-maglev-table-size"] == "16381"


def test_xdp_acceleration_is_off_until_tried_with_dsr(config: dict[str, str]) -> None:
    assert config["bpf-lb-acceleration"] == "disabled"


def test_nodeport_health_checks_are_on(config: dict[str, str]) -> None:
    assert config["enable-health-check-nodeport"] == "true", "Services with local traffic policy would lose clients"


def test_socket_load_balancing_stays_in_the_host_namespace(config: dict[str, str]) -> None:
    assert config["bpf-lb-sock"] == "true"
    assert config["bpf-lb-sock-hostns-only"] == "true", "Tailscale proxies in pods would lose their Service addresses"


def test_each_endpoint_has_its_own_route(config: dict[str, str]) -> None:
    assert config["enable-endpoint-routes"] == "true"


def test_host_routing_is_ebpf(config: dict[str, str]) -> None:
    assert config["enable-host-legacy-routing"] == "false", "Tailscale's packet marks would clash with Cilium's"


def test_bandwidth_manager_is_on_without_bbr(config: dict[str, str]) -> None:
    assert config["enable-bandwidth-manager"] == "true", "pod bandwidth annotations would do nothing"
    assert config["enable-bbr"] == "false"


def test_local_redirect_policies_are_on(config: dict[str, str]) -> None:
    assert config["enable-local-redirect-policy"] == "true"


def test_bpf_map_sizes_are_those_of_the_sources(config: dict[str, str]) -> None:
    assert config["bpf-policy-map-max"] == "16384"
    assert config["bpf-ct-global-tcp-max"] == "524288"
    assert config["bpf-ct-global-any-max"] == "262144"


def test_fragments_map_has_no_chart_key_and_goes_through_extra_config(config: dict[str, str]) -> None:
    assert config["bpf-fragments-map-max"] == "8192"


def test_dynamic_map_ratio_is_a_four_hundredth_of_memory(config: dict[str, str]) -> None:
    assert config["bpf-map-dynamic-size-ratio"] == "0.0025", "0.25, as one source says, is a quarter of the memory"


def test_other_cni_configurations_may_stay(config: dict[str, str]) -> None:
    assert config["cni-exclusive"] == "false", "Cilium would remove the configuration of Multus"


def test_agent_devices_are_the_network_cards_and_never_tailscale0(config: dict[str, str]) -> None:
    assert config["devices"] == "enp+", "tailscale0 and its MTU of 1280 would spread to every pod"


def test_mtu_is_detected_from_those_devices(config: dict[str, str]) -> None:
    assert "mtu" not in config, "the MTU would be fixed, whatever the network card has"


def test_l2_announcements_are_on_with_their_lease_times(config: dict[str, str]) -> None:
    assert config["enable-l2-announcements"] == "true", "nobody would answer ARP for LoadBalancer addresses"
    assert config["l2-announcements-lease-duration"] == "15s"
    assert config["l2-announcements-renew-deadline"] == "5s"
    assert config["l2-announcements-retry-period"] == "2s"


def test_l2_announcements_may_hold_leases(chart: Manifests) -> None:
    granted = [rule for rule in chart.get("ClusterRole", "cilium")["rules"] if "leases" in rule["resources"]]
    assert granted, "the agents could not agree on who announces an address"


def test_rendering_twice_gives_the_same_manifests(chart: Manifests) -> None:
    again = render_cilium(settings_with(), fresh=True)
    assert again.text == chart.text, "every preview would show a change"


def test_encryption_is_off(config: dict[str, str]) -> None:
    assert not {"enable-wireguard", "enable-ipsec"} & config.keys()


def test_operator_has_two_replicas_on_different_nodes(chart: Manifests) -> None:
    assert chart.get("Deployment", "cilium-operator")["spec"]["replicas"] == 2
    affinity = chart.pod("Deployment", "cilium-operator")["affinity"]["podAntiAffinity"]
    assert affinity["requiredDuringSchedulingIgnoredDuringExecution"][0]["topologyKey"] == "kubernetes.io/hostname"


def test_operator_resources(chart: Manifests) -> None:
    resources = chart.container("Deployment", "cilium-operator", "cilium-operator")["resources"]
    assert resources == {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}


def test_agent_resources_hold_3584_mebibytes_and_no_cpu_limit(agent: Manifest) -> None:
    assert agent["resources"] == {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "3584Mi"}}


@pytest.mark.parametrize("name", ["cilium", "cilium-envoy"])
def test_agents_are_replaced_one_node_at_a_time(name: str, chart: Manifests) -> None:
    update = chart.get("DaemonSet", name)["spec"]["updateStrategy"]["rollingUpdate"]
    assert update["maxUnavailable"] == 1, "the chart's 2 takes the network of two nodes in three"


@pytest.mark.parametrize(("kind", "name"), [("DaemonSet", "cilium"), ("Deployment", "cilium-operator")])
def test_changed_configuration_rolls_out_by_itself(chart: Manifests, kind: str, name: str) -> None:
    annotations = chart.get(kind, name)["spec"]["template"]["metadata"]["annotations"]
    assert "cilium.io/cilium-configmap-checksum" in annotations, "pods would keep the old configuration"


def test_state_is_never_wiped_at_start(config: dict[str, str]) -> None:
    assert not {"clean-cilium-state", "clean-cilium-bpf-state"} & config.keys(), "a rolling update would deadlock"


# Talos, facts section 1


@pytest.mark.parametrize(
    ("kind", "name", "container"),
    [
        ("DaemonSet", "cilium", "config"),
        ("DaemonSet", "cilium", "cilium-agent"),
        ("DaemonSet", "cilium-envoy", "cilium-envoy"),
        ("Deployment", "cilium-operator", "cilium-operator"),
    ],
)
def test_kubeprism_is_the_api_address(chart: Manifests, kind: str, name: str, container: str) -> None:
    found = environment(chart.container(kind, name, container))
    address = (found.get("KUBERNETES_SERVICE_HOST"), found.get("KUBERNETES_SERVICE_PORT"))
    assert address == ("127.0.0.1", "7445"), "it would need the Service network that it is about to build"


def test_cgroup_is_the_one_that_talos_mounts(chart: Manifests, config: dict[str, str]) -> None:
    """The cluster's own repository wrote `cgroup.automount`: the chart ignored it and kept the privileged mount."""
    containers = [each["name"] for each in chart.pod("DaemonSet", "cilium")["initContainers"]]
    assert "mount-cgroup" not in containers
    assert config["cgroup-root"] == "/sys/fs/cgroup"


def test_agent_capabilities_are_those_that_talos_allows(agent: Manifest) -> None:
    wanted = (
        "CHOWN KILL NET_ADMIN NET_RAW IPC_LOCK SYS_ADMIN SYS_RESOURCE PERFMON BPF DAC_OVERRIDE FOWNER SETGID SETUID"
    )
    assert sorted(capabilities(agent)) == sorted(wanted.split())


def test_cleanup_capabilities_are_those_that_talos_allows(chart: Manifests) -> None:
    found = capabilities(chart.container("DaemonSet", "cilium", "clean-cilium-state"))
    assert sorted(found) == ["NET_ADMIN", "SYS_ADMIN", "SYS_RESOURCE"]


def test_no_container_asks_for_sys_module(chart: Manifests) -> None:
    privileged = set()
    for name in chart.names("DaemonSet"):
        pod = chart.pod("DaemonSet", name)
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert "SYS_MODULE" not in capabilities(container), f"Talos would not start {name}/{container['name']}"
            if container["securityContext"].get("privileged"):
                privileged.add(container["name"])
    assert privileged <= {"mount-bpf-fs"}, "another container got all capabilities at once"


# Ground rules, facts sections 0, 2.2 and 2.3


def test_keys_that_the_sources_invented_are_not_in_the_configuration(config: dict[str, str]) -> None:
    invented = {
        "tunnel",
        "policy-enforcement",
        "enable-spire",
        "spire-agent-socket",
        "enable-cpu-affinity",
        "cpu-affinity-threads",
    }
    assert not invented & config.keys()


def test_every_object_is_in_kube_system_or_in_the_chart_s_secrets_namespace(chart: Manifests) -> None:
    namespaces = {manifest["metadata"].get("namespace") for manifest in chart} - {None}
    assert namespaces == {"kube-system", "cilium-secrets"}


def test_no_helm_hook_is_needed(chart: Manifests) -> None:
    hooks = [each for each in chart if "helm.sh/hook" in (each["metadata"].get("annotations") or {})]
    assert not hooks, "the release would not be complete without its hooks"


def test_chart_brings_no_resource_definitions(chart: Manifests) -> None:
    """So pools and policies must come after the release: Cilium's operator creates their definitions."""
    with tarfile.open(chart_archive("cilium")) as archive:
        folders = {name.split("/")[1] for name in archive.getnames()}
    assert "crds" not in folders
    assert not chart.of("CustomResourceDefinition")


def test_agent_is_of_the_charts_version(agent: Manifest) -> None:
    assert f":v{CHART_VERSIONS['cilium']}@" in agent["image"]


def test_images_are_pinned_by_digest(chart: Manifests) -> None:
    for kind in ("DaemonSet", "Deployment"):
        for name in chart.names(kind):
            for container in chart.pod(kind, name)["containers"]:
                assert "@sha256:" in container["image"], f"{name}/{container['name']} could change under its tag"


def test_the_version_before_renders_with_the_same_values(chart: Manifests) -> None:
    before = render_cilium(settings_with(), version="1.19.5")
    assert ":v1.19.5@" in before.container("DaemonSet", "cilium", "cilium-agent")["image"]
    differing = {
        key
        for key in {*before.data("cilium-config"), *chart.data("cilium-config")}
        if before.data("cilium-config").get(key) != chart.data("cilium-config").get(key)
    }
    assert differing <= {"enable-host-firewall"}, "the upgrade would change more than the version"
