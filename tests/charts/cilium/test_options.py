"""What Cilium's chart makes of options that the shipped configuration leaves off, and what it accepts without a word.

The charts check little: the second half shows by rendering what the settings therefore have to refuse.
"""

import json
from copy import deepcopy
from typing import Any

import pytest

from components.cilium.network import CiliumNetworkArgs, cilium_values
from settings.errors import ConfigError
from tests.support.configs import settings_with
from tests.support.rendering import (
    BARE_CLUSTER,
    CLUSTER,
    Capabilities,
    Manifests,
    RenderError,
    chart_archive,
    helm_template,
    render,
    render_cilium,
)

pytestmark = pytest.mark.render

BGP = {"loadBalancer": {"bgp": {"localAsn": 64513, "peers": {"router": {"address": "192.168.1.1", "asn": 64512}}}}}
WITHOUT_HUBBLE = {"cilium": {"hubble": {"enabled": False, "relay": False, "ui": False}}}
WITHOUT_KUBE_PROXY_REPLACEMENT = BGP["loadBalancer"] | {"l2": {"enabled": False}}


def rendered(change: dict[str, Any]) -> Manifests:
    """The release of the shipped configuration with a change."""
    return render_cilium(settings_with(change))


def config(change: dict[str, Any]) -> dict[str, str]:
    """The agents' configuration under a change of `cilium`."""
    return dict(rendered({"cilium": change}).data("cilium-config"))


def with_values(change: dict[str, Any], without: tuple[str, ...] = ()) -> Manifests:
    """The release with chart values changed behind the settings' back: top-level keys laid over or left out."""
    values: dict[str, Any] = json.loads(json.dumps(cilium_values(CiliumNetworkArgs.of(settings_with()))))
    for key, value in change.items():
        values[key] = {**values.get(key, {}), **deepcopy(value)} if isinstance(value, dict) else value
    for key in without:
        del values[key]
    return render(chart_archive("cilium"), "cilium", "kube-system", values)


def refused(key: str, change: dict[str, Any]) -> None:
    """The settings refuse the change, and name the key."""
    with pytest.raises(ConfigError) as caught:
        settings_with(change)
    assert key in {problem.key for problem in caught.value.problems}


# Options


def test_wireguard_encrypts_between_nodes() -> None:
    found = config({"encryption": {"enabled": True}})
    assert found["enable-wireguard"] == "true", "traffic would stay in the clear"
    assert "encrypt-node" not in found, "host traffic would be encrypted without being asked for"
    assert "enable-ipsec" not in found


def test_wireguard_encrypts_host_traffic_when_asked() -> None:
    assert config({"encryption": {"enabled": True, "nodeEncryption": True}})["encrypt-node"] == "true"


def test_bgp_turns_the_control_plane_on() -> None:
    found = rendered(BGP).data("cilium-config")
    assert found["enable-bgp-control-plane"] == "true", "the BGP resources would lie unread"


def test_bgp_is_off_without_its_settings() -> None:
    assert "enable-bgp-control-plane" not in config({})


def test_l2_announcements_can_be_left_to_bgp() -> None:
    found = rendered({"loadBalancer": {**BGP["loadBalancer"], "l2": {"enabled": False}}}).data("cilium-config")
    assert "enable-l2-announcements" not in found, "addresses would be announced twice"


def test_l2_lease_times_follow_the_settings() -> None:
    lease = {"leaseDurationSeconds": 30, "leaseRenewDeadlineSeconds": 10, "leaseRetryPeriodSeconds": 3}
    found = rendered({"loadBalancer": {"l2": lease}}).data("cilium-config")
    times = ("lease-duration", "renew-deadline", "retry-period")
    assert [found[f"l2-announcements-{time}"] for time in times] == ["30s", "10s", "3s"]


def test_service_mesh_envoy_config() -> None:
    assert config({"serviceMesh": {"envoyConfig": True}})["enable-envoy-config"] == "true"


def test_service_mesh_gateway_api() -> None:
    chart = rendered({"cilium": {"serviceMesh": {"gatewayApi": True}}})
    assert chart.data("cilium-config")["enable-gateway-api"] == "true"
    groups = {group for rule in chart.get("ClusterRole", "cilium-operator")["rules"] for group in rule["apiGroups"]}
    assert "gateway.networking.k8s.io" in groups, "the operator could not read Gateways"


def test_mutual_authentication_installs_spire_with_its_socket_and_volume() -> None:
    chart = rendered({"cilium": {"serviceMesh": {"mutualAuthentication": True}}})
    found = chart.data("cilium-config")
    assert (found["mesh-auth-enabled"], found["mesh-auth-mutual-enabled"]) == ("true", "true")
    assert found["mesh-auth-spire-agent-socket"] == "/run/spire/sockets/agent/agent.sock"
    server = chart.get("StatefulSet", "spire-server")
    assert server["metadata"]["namespace"] == "cilium-spire"
    assert server["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "1Gi"


def test_bbr_is_switched_on_with_the_bandwidth_manager() -> None:
    assert config({"bandwidthManager": {"bbr": True}})["enable-bbr"] == "true"


def test_bandwidth_manager_can_be_left_out() -> None:
    assert "enable-bandwidth-manager" not in config({"bandwidthManager": {"enabled": False}})


def test_hubble_off_leaves_no_part_of_it() -> None:
    chart = rendered(WITHOUT_HUBBLE)
    assert chart.data("cilium-config")["enable-hubble"] == "false"
    left = {f"{each['kind']}/{each['metadata']['name']}" for each in chart if "hubble" in each["metadata"]["name"]}
    assert not left, "objects without a purpose"


def test_relay_alone_has_no_ui() -> None:
    chart = rendered({"cilium": {"hubble": {"ui": False}}})
    assert "hubble-relay" in chart.names("Deployment")
    assert "hubble-ui" not in chart.names("Deployment")


def test_hubble_metrics_follow_the_settings() -> None:
    assert config({"hubble": {"metrics": ["dns", "drop"]}})["hubble-metrics"] == "dns drop"


def test_monitoring_off_leaves_no_monitor_and_no_dashboard() -> None:
    chart = rendered({"monitoring": {"enabled": False}})
    assert not chart.of("ServiceMonitor"), "a cluster without the Prometheus operator refuses the release"
    labels = [each["metadata"].get("labels") or {} for each in chart]
    assert not [each for each in labels if "grafana_dashboard" in each]
    assert chart.data("cilium-config")["prometheus-serve-addr"] == ":9962", "metrics themselves stay on"


def test_monitoring_labels_follow_the_settings() -> None:
    chart = rendered({"monitoring": {"labels": {"prometheus": "main"}}})
    for monitor in chart.of("ServiceMonitor"):
        labels = monitor["metadata"]["labels"]
        assert labels["prometheus"] == "main", f"{monitor['metadata']['name']} would not be scraped"
        assert "release" not in labels


def test_generic_platform_talks_to_the_api_address_and_mounts_its_cgroup() -> None:
    chart = rendered({"cluster": {"platform": "generic"}})
    agent = chart.container("DaemonSet", "cilium", "cilium-agent")
    environment = {entry["name"]: entry.get("value") for entry in agent["env"]}
    assert (environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]) == ("192.168.1.101", "6443")
    assert "SYS_MODULE" in agent["securityContext"]["capabilities"]["add"], "kernel modules could not be loaded"
    assert "mount-cgroup" in [each["name"] for each in chart.pod("DaemonSet", "cilium")["initContainers"]]


def test_tunnel_routing_needs_no_routes_between_nodes() -> None:
    found = config(
        {
            "routingMode": "tunnel",
            "tunnelProtocol": "geneve",
            "loadBalancing": {"mode": "dsr", "dsrDispatch": "geneve"},
        }
    )
    assert (found["routing-mode"], found["tunnel-protocol"]) == ("tunnel", "geneve")
    assert found["auto-direct-node-routes"] == "false"
    assert "ipv4-native-routing-cidr" not in found
    assert found["bpf-lb-dsr-dispatch"] == "geneve"


def test_load_balancing_without_dsr_has_no_dispatch() -> None:
    found = config({"loadBalancing": {"mode": "snat", "algorithm": "random"}})
    assert (found["bpf-lb-mode"], found["bpf-lb-algorithm"]) == ("snat", "random")
    assert not {"bpf-lb-dsr-dispatch", "bpf-lb-maglev-table-size"} & found.keys()


def test_acceleration_follows_the_settings() -> None:
    found = config({"loadBalancing": {"acceleration": "best-effort", "dsrDispatch": "ipip"}})
    assert (found["bpf-lb-acceleration"], found["bpf-lb-dsr-dispatch"]) == ("best-effort", "ipip")


def test_kube_proxy_can_stay() -> None:
    change = {
        "kubeProxyReplacement": False,
        "masquerade": "iptables",
        "hostLegacyRouting": True,
        "localRedirectPolicies": False,
        "loadBalancing": {"mode": "snat", "algorithm": "random"},
    }
    chart = rendered({"cilium": change, "loadBalancer": WITHOUT_KUBE_PROXY_REPLACEMENT})
    found = chart.data("cilium-config")
    assert found["kube-proxy-replacement"] == "false"
    assert "kube-proxy-replacement-healthz-bind-address" not in found, "kube-proxy's own port would be taken"
    assert (found["enable-bpf-masquerade"], found["enable-host-legacy-routing"]) == ("false", "true")
    assert found["enable-ipv4-masquerade"] == "true"
    assert found["bpf-lb-sock"] == "false"
    assert "enable-local-redirect-policy" not in found


def test_masquerading_can_be_off() -> None:
    found = config({"masquerade": "off"})
    assert (found["enable-ipv4-masquerade"], found["enable-bpf-masquerade"]) == ("false", "false")


def test_policies_can_be_enforced_always() -> None:
    """The settings ask for policies that cover the cluster first (tests/components)."""
    covered = {"networkPolicies": {"enabled": True, "infrastructure": {"defaultDeny": True, "allowSystem": True}}}
    chart = rendered({"cilium": {"policyEnforcement": "always"}, **covered})
    assert chart.data("cilium-config")["enable-policy"] == "always"


def test_l7_proxy_off_removes_envoy() -> None:
    chart = rendered({"cilium": {"l7Proxy": False}})
    assert chart.data("cilium-config")["enable-l7-proxy"] == "false"
    assert "cilium-envoy" not in chart.names("DaemonSet")


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("xtSocketFallback", "enable-xt-socket-fallback", "false"),
        ("endpointRoutes", "enable-endpoint-routes", None),
        ("socketLbHostNamespaceOnly", "bpf-lb-sock-hostns-only", "false"),
        ("localRedirectPolicies", "enable-local-redirect-policy", None),
    ],
)
def test_switches_reach_the_agents(setting: str, key: str, value: str | None) -> None:
    assert config({setting: False}).get(key) == value, f"cilium.{setting} would do nothing"


def test_devices_are_joined_as_the_agent_reads_them() -> None:
    assert config({"devices": ["enp+", "bond0"]})["devices"] == "enp+ bond0"


def test_large_numbers_keep_their_digits() -> None:
    """Helm reads numbers as floats: 1048576 comes out as 1.048576e+06 wherever a template forgets to convert it."""
    maps = {"policy": 1048576, "ctTcp": 1048576, "ctAny": 2097152, "fragments": 1048576}
    found = config({"bpfMaps": maps, "loadBalancing": {"maglevTableSize": 131071}})
    assert found["bpf-policy-map-max"] == "1048576"
    assert found["bpf-ct-global-tcp-max"] == "1048576"
    assert found["bpf-ct-global-any-max"] == "2097152"
    assert found["bpf-fragments-map-max"] == "1048576"
    assert found["bpf-lb-maglev-table-size"] == "131071"


def test_dynamic_map_ratio_follows_the_settings() -> None:
    assert config({"bpfMaps": {"dynamicSizeRatio": 0.005}})["bpf-map-dynamic-size-ratio"] == "0.005"


def test_workload_settings_reach_the_workloads() -> None:
    change = {
        "agent": {"maxUnavailable": 2, "resources": {"limits": {"memory": "4Gi"}}},
        "operator": {"replicas": 1, "resources": {"limits": {"memory": "512Mi"}}},
    }
    chart = rendered({"cilium": change})
    assert chart.get("DaemonSet", "cilium")["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == 2
    assert chart.container("DaemonSet", "cilium", "cilium-agent")["resources"] == {
        "requests": {"cpu": "100m", "memory": "512Mi"},
        "limits": {"memory": "4Gi"},
    }
    assert chart.get("Deployment", "cilium-operator")["spec"]["replicas"] == 1
    operator = chart.container("Deployment", "cilium-operator", "cilium-operator")
    assert operator["resources"] == {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


def test_upgrade_compatibility_changes_nothing_between_versions_that_may_follow_one_another() -> None:
    shipped = rendered({}).text
    assert rendered({"cilium": {"upgradeCompatibility": "1.18"}}).text == shipped
    assert with_values({"upgradeCompatibility": "1.9"}).text != shipped, "the chart no longer knows the key"


# What the cluster offers


def test_service_monitors_need_no_prometheus_operator_at_the_time_of_rendering() -> None:
    chart = render_cilium(settings_with(), capabilities=BARE_CLUSTER)
    assert {"cilium-agent", "cilium-operator", "hubble"} <= chart.names("ServiceMonitor")


def test_chart_refuses_the_kubernetes_version_that_a_plain_helm_library_reports() -> None:
    with pytest.raises(RenderError, match=r"kubeVersion: >= 1\.21"):
        render_cilium(settings_with(), capabilities=Capabilities(kube_version="1.20.0"))


# What the chart itself refuses


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tunnel": "disabled"}, "tunnel was deprecated"),
        ({"kubeProxyReplacement": "strict"}, "must be explicitly set to a valid value"),
        ({"encryption": {"keyFile": "keys"}}, "has been removed"),
        ({"hubble": {"relay": {"enabled": False}}}, "Hubble UI requires"),
    ],
)
def test_chart_refuses_what_older_charts_took(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RenderError, match=message):
        with_values(change)


@pytest.mark.parametrize("key", ["tunnel", "extraConfig", "ipv4NativeRoutingCIDR", "cleanState", "cleanBpfState"])
def test_settings_refuse_keys_of_the_chart_that_they_derive_or_forbid(key: str) -> None:
    refused(f"cilium.{key}", {"cilium": {key: "disabled"}})


# What the chart accepts without a word, so that the settings must not


def test_chart_misses_a_native_routing_cidr_only_when_masquerading_is_explicit() -> None:
    with pytest.raises(RenderError, match="ipv4NativeRoutingCIDR must be set"):
        with_values({}, without=("ipv4NativeRoutingCIDR",))
    silent = with_values({}, without=("ipv4NativeRoutingCIDR", "enableIPv4Masquerade"))
    assert "ipv4-native-routing-cidr" not in silent.data("cilium-config")


def test_chart_accepts_dsr_under_tunnel_routing_and_settings_do_not() -> None:
    assert with_values({"routingMode": "tunnel"}).data("cilium-config")["bpf-lb-mode"] == "dsr"
    refused("cilium.loadBalancing.mode", {"cilium": {"routingMode": "tunnel"}})


def test_chart_accepts_an_unknown_routing_mode_and_settings_do_not() -> None:
    assert with_values({"routingMode": "natvie"}).data("cilium-config")["routing-mode"] == "natvie"
    refused("cilium.routingMode", {"cilium": {"routingMode": "natvie"}})


def test_chart_accepts_l2_announcements_without_kube_proxy_replacement_and_settings_do_not() -> None:
    found = with_values({"kubeProxyReplacement": False}).data("cilium-config")
    assert found["enable-l2-announcements"] == "true"
    refused("loadBalancer.l2.enabled", {"cilium": {"kubeProxyReplacement": False}})


def test_chart_accepts_bbr_with_legacy_host_routing_and_settings_do_not() -> None:
    found = with_values({"bandwidthManager": {"bbr": True}, "bpf": {"hostLegacyRouting": True}}).data("cilium-config")
    assert (found["enable-bbr"], found["enable-host-legacy-routing"]) == ("true", "true")
    refused("cilium.bandwidthManager.bbr", {"cilium": {"bandwidthManager": {"bbr": True}, "hostLegacyRouting": True}})


def test_chart_accepts_a_quarter_of_the_memory_for_maps_and_settings_do_not() -> None:
    assert with_values({"bpf": {"mapDynamicSizeRatio": 0.25}}).data("cilium-config")["bpf-map-dynamic-size-ratio"]
    refused("cilium.bpfMaps.dynamicSizeRatio", {"cilium": {"bpfMaps": {"dynamicSizeRatio": 0.25}}})


def test_chart_accepts_tailscale0_as_a_device_and_settings_do_not() -> None:
    assert with_values({"devices": ["tailscale0"]}).data("cilium-config")["devices"] == "tailscale0"
    refused("cilium.devices", {"cilium": {"devices": ["enp+", "tailscale+"]}})


def test_chart_accepts_wiping_the_state_at_every_start_and_settings_do_not() -> None:
    assert with_values({"cleanState": True}).data("cilium-config")["clean-cilium-state"] == "true"
    refused("cilium.cleanState", {"cilium": {"cleanState": True}})


def test_chart_accepts_the_misspelt_cgroup_key_and_keeps_the_privileged_mount() -> None:
    chart = with_values({"cgroup": {"automount": {"enabled": False}, "autoMount": {"enabled": True}}})
    assert "mount-cgroup" in [each["name"] for each in chart.pod("DaemonSet", "cilium")["initContainers"]]


def test_charts_own_certificates_would_change_on_every_rendering() -> None:
    values = cilium_values(CiliumNetworkArgs.of(settings_with()))
    values["hubble"]["tls"]["auto"]["method"] = "helm"
    call = (chart_archive("cilium"), "cilium", "kube-system", json.dumps(values), CLUSTER)
    assert helm_template(*call) != helm_template(*call)
