"""Layer 2, the cluster network: Cilium, its LoadBalancer pools and their announcement.

Owns the Cilium release and Cilium's own custom resources for LoadBalancer addresses. Never touches the ConfigMap
`cilium-config`: the chart owns it, a second owner would fight the release.
"""

from dataclasses import dataclass
from typing import Any, Self

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.helm.v3 import Release
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.charts import release_args
from components.cilium import load_balancer
from settings.charts.model import Chart
from settings.cilium import Cilium, LoadBalancingAlgorithm, LoadBalancingMode, Masquerade, RoutingMode
from settings.cluster import KUBE_PRISM_PORT, Cluster, Platform
from settings.discovery import CLUSTER_DOMAIN
from settings.load_balancer import LoadBalancer, Reservation
from settings.monitoring import Monitoring
from settings.nodes import Physical
from settings.reservations import reservations
from settings.stack import Settings

# fmt: off
TALOS_AGENT_CAPABILITIES = [
    "CHOWN", "KILL", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "SYS_ADMIN", "SYS_RESOURCE", "PERFMON", "BPF",
    "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID",
]

# fmt: on
TALOS_CLEANUP_CAPABILITIES = ["NET_ADMIN", "SYS_ADMIN", "SYS_RESOURCE"]


@dataclass(frozen=True, kw_only=True)
class CiliumNetworkArgs:
    """The settings that shape Cilium; all arrive valid.

    `cluster_domain` is the domain of the cluster's Services. `protect` refuses to delete the release.
    """

    cilium: Cilium
    cluster: Cluster
    physical: Physical
    load_balancer: LoadBalancer
    reserved: list[Reservation]
    monitoring: Monitoring
    chart: Chart
    protect: bool
    cluster_domain: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What this component takes of a stack's settings."""
        return cls(
            cilium=settings.cilium,
            cluster=settings.cluster,
            physical=settings.physical,
            load_balancer=settings.load_balancer,
            reserved=reservations(settings),
            monitoring=settings.monitoring,
            chart=settings.charts["cilium"],
            protect=settings.kubernetes.protect,
            cluster_domain=settings.discovery.coredns.cluster_domain,
        )


class CiliumNetwork(pulumi.ComponentResource):
    """Cilium and its LoadBalancer pools (`anton:network:CiliumNetwork`).

    Registers the Helm release `cilium` in kube-system, then the pools, the L2 announcement policy and the BGP
    resources: they come after the release is ready because Cilium's operator, not the chart, installs their CRDs.
    """

    pools: pulumi.Output[dict[str, Any]]
    pool_resources: list[CustomResource]

    def __init__(self, name: str, args: CiliumNetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:CiliumNetwork", name, {}, opts)
        if args.cilium.service_mesh.mutual_authentication:
            pulumi.warn("cilium.serviceMesh.mutualAuthentication is deprecated in Cilium 1.20 and leaves in 1.21", self)
        for key, network in (("podCidr", args.cluster.pod_cidr), ("serviceCidr", args.cluster.service_cidr)):
            if not network.is_private:
                said = f"cluster.{key} {network} is public address space: pods can't reach those who own it"
                pulumi.warn(f"{said}; private networks are 10.0.0.0/8, 172.16.0.0/12 and 192.168.0.0/16", self)
        release = Release(
            f"{name}-release",
            release_args(args.chart, name="cilium", namespace="kube-system", values=cilium_values(args)),
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        interfaces = tuple(node.interface for node in args.physical.nodes.values())
        self.pool_resources = []
        reserved: list[pulumi.Resource] = []
        for manifest in load_balancer.manifests(args.load_balancer, interfaces, args.reserved):
            # The pools of fixed addresses are there before the others shrink around them.
            fixed = "serviceSelector" in manifest["spec"]
            resource = CustomResource(
                f"{name}-{manifest['kind'].removeprefix('Cilium').lower()}-{manifest['name']}",
                api_version=manifest["api_version"],
                kind=manifest["kind"],
                metadata=ObjectMetaArgs(name=manifest["name"], labels=manifest.get("labels")),
                spec=manifest["spec"],
                opts=pulumi.ResourceOptions(parent=self, depends_on=[release, *([] if fixed else reserved)]),
            )
            self.pool_resources.append(resource)
            reserved += [resource] if fixed else []
        self.pools = pulumi.Output.from_input(args.load_balancer.usage())
        self.register_outputs({"pools": self.pools})


def cilium_values(args: CiliumNetworkArgs) -> dict[str, Any]:
    """The values of the Cilium chart (1.19). Every key is proved by rendering in tests/charts/cilium."""
    return {
        **_datapath_values(args),
        **_service_values(args),
        **_workload_values(args),
        **_observability_values(args),
        **_option_values(args),
        **_platform_values(args),
    }


def _datapath_values(args: CiliumNetworkArgs) -> dict[str, Any]:
    cilium, maps = args.cilium, args.cilium.bpf_maps
    native = cilium.routing_mode is RoutingMode.NATIVE
    routing = {"autoDirectNodeRoutes": True, "ipv4NativeRoutingCIDR": str(args.cluster.pod_cidr)} if native else {}
    return {
        "routingMode": cilium.routing_mode.value,
        "tunnelProtocol": cilium.tunnel_protocol.value,
        **routing,
        "ipam": {"mode": "kubernetes"},
        # Explicit: the chart notices a missing native routing CIDR only when this is set, not when it defaults to true.
        "enableIPv4Masquerade": cilium.masquerade is not Masquerade.OFF,
        "enableXTSocketFallback": cilium.xt_socket_fallback,
        "endpointRoutes": {"enabled": cilium.endpoint_routes},
        "devices": list(cilium.devices),
        "cni": {"exclusive": cilium.cni_exclusive},
        "bpf": {
            "masquerade": cilium.masquerade is Masquerade.BPF,
            "hostLegacyRouting": cilium.host_legacy_routing,
            "policyMapMax": maps.policy,
            "ctTcpMax": maps.ct_tcp,
            "ctAnyMax": maps.ct_any,
            "mapDynamicSizeRatio": maps.dynamic_size_ratio,
        },
        # The chart has no key of its own for this one.
        "extraConfig": {"bpf-fragments-map-max": str(maps.fragments)},
    }


def _service_values(args: CiliumNetworkArgs) -> dict[str, Any]:
    cilium, balancing, l2 = args.cilium, args.cilium.load_balancing, args.load_balancer.l2
    replaced = cilium.kube_proxy_replacement
    load_balancing: dict[str, Any] = {
        "mode": balancing.mode.value,
        "algorithm": balancing.algorithm.value,
        "acceleration": balancing.acceleration.value,
    }
    if balancing.mode is not LoadBalancingMode.SNAT:
        load_balancing["dsrDispatch"] = balancing.dsr_dispatch.value
    maglev = {"maglev": {"tableSize": balancing.maglev_table_size}}
    return {
        "kubeProxyReplacement": replaced,
        "kubeProxyReplacementHealthzBindAddr": "0.0.0.0:10256" if replaced else "",
        "loadBalancer": load_balancing,
        **(maglev if balancing.algorithm is LoadBalancingAlgorithm.MAGLEV else {}),
        "socketLB": {"enabled": replaced, "hostNamespaceOnly": cilium.socket_lb_host_namespace_only},
        "enableLBIPAM": True,
        "defaultLBServiceIPAM": "lbipam",
        "l2announcements": {
            "enabled": l2.enabled,
            "leaseDuration": f"{l2.lease_duration_seconds}s",
            "leaseRenewDeadline": f"{l2.lease_renew_deadline_seconds}s",
            "leaseRetryPeriod": f"{l2.lease_retry_period_seconds}s",
        },
        "bgpControlPlane": {"enabled": args.load_balancer.bgp is not None},
        "localRedirectPolicies": {"enabled": cilium.local_redirect_policies},
    }


def _workload_values(args: CiliumNetworkArgs) -> dict[str, Any]:
    cilium = args.cilium
    return {
        "resources": cilium.agent.resources.values(),
        # The chart's default of 2 takes the network of two nodes in three at once.
        "updateStrategy": {"rollingUpdate": {"maxUnavailable": cilium.agent.max_unavailable}},
        "rollOutCiliumPods": True,
        "operator": {
            "replicas": cilium.operator.replicas,
            "rollOutPods": True,
            "resources": cilium.operator.resources.values(),
            "prometheus": {"enabled": True, "serviceMonitor": args.monitoring.service_monitor()},
            "dashboards": {"enabled": args.monitoring.enabled},
        },
        **({"upgradeCompatibility": cilium.upgrade_compatibility} if cilium.upgrade_compatibility else {}),
    }


def _observability_values(args: CiliumNetworkArgs) -> dict[str, Any]:
    hubble, monitoring = args.cilium.hubble, args.monitoring
    return {
        # The chart looks for the CRDs only in the cluster it renders against; `monitoring.enabled` decides instead.
        "prometheus": {
            "enabled": True,
            "serviceMonitor": monitoring.service_monitor() | {"trustCRDsExist": True},
        },
        "dashboards": {"enabled": monitoring.enabled},
        "hubble": {
            "enabled": hubble.enabled,
            # Where the relay asks for the agents, by their Service's full name.
            **(
                {} if args.cluster_domain == CLUSTER_DOMAIN else {"peerService": {"clusterDomain": args.cluster_domain}}
            ),
            "relay": {"enabled": hubble.relay},
            "ui": {"enabled": hubble.ui},
            # The default method makes new certificates on every render, and so a change on every preview.
            "tls": {"auto": {"method": "cronJob"}},
            "metrics": {
                "enabled": list(hubble.metrics),
                "enableOpenMetrics": True,
                "serviceMonitor": monitoring.service_monitor(),
                "dashboards": {"enabled": monitoring.enabled and hubble.enabled},
            },
        },
    }


def _option_values(args: CiliumNetworkArgs) -> dict[str, Any]:
    cilium = args.cilium
    mesh, encryption = cilium.service_mesh, cilium.encryption
    envoy = {
        "updateStrategy": {"rollingUpdate": {"maxUnavailable": cilium.agent.max_unavailable}},
        "prometheus": {"serviceMonitor": args.monitoring.service_monitor()},
    }
    wireguard = {"type": "wireguard", "nodeEncryption": encryption.node_encryption} if encryption.enabled else {}
    spire = {"mutual": {"spire": {"enabled": True, "install": {"enabled": True}}}} if mesh.mutual_authentication else {}
    return {
        "policyEnforcementMode": cilium.policy_enforcement.value,
        "l7Proxy": cilium.l7_proxy,
        # As its own DaemonSet, Envoy keeps serving layer 7 policies while the agent restarts.
        "envoy": {"enabled": cilium.l7_proxy, **(envoy if cilium.l7_proxy else {})},
        "bandwidthManager": {"enabled": cilium.bandwidth_manager.enabled, "bbr": cilium.bandwidth_manager.bbr},
        "encryption": {"enabled": encryption.enabled, **wireguard},
        "envoyConfig": {"enabled": mesh.envoy_config},
        "gatewayAPI": {"enabled": mesh.gateway_api},
        "authentication": {"enabled": mesh.mutual_authentication, **spire},
    }


def _platform_values(args: CiliumNetworkArgs) -> dict[str, Any]:
    """What the operating system of the nodes asks for (facts section 1)."""
    if args.cluster.platform is Platform.GENERIC:
        return {"k8sServiceHost": str(args.physical.api_vip), "k8sServicePort": 6443}
    return {
        "k8sServiceHost": "127.0.0.1",
        "k8sServicePort": KUBE_PRISM_PORT,
        "cgroup": {"autoMount": {"enabled": False}, "hostRoot": "/sys/fs/cgroup"},
        "securityContext": {
            "capabilities": {
                "ciliumAgent": TALOS_AGENT_CAPABILITIES,
                "cleanCiliumState": TALOS_CLEANUP_CAPABILITIES,
            }
        },
    }
