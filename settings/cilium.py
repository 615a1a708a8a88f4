"""Layer 2, the cluster network: what Cilium may be asked for."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from settings.fields import Form, Model, OneANode, Problem, ResourceAmounts, Resources, amount_of, below, over

MAGLEV_TABLE_SIZES = (251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071)
"""The primes that the agent accepts for `maglev.tableSize`."""

AGENT_MEMORY_FLOOR = "2560Mi"
"""Below this the agent was killed for memory on the real cluster (facts section 11.1)."""


class RoutingMode(StrEnum):
    """How packets travel between nodes."""

    NATIVE = "native"
    TUNNEL = "tunnel"


class TunnelProtocol(StrEnum):
    """Encapsulation in tunnel mode, and of Geneve DSR."""

    VXLAN = "vxlan"
    GENEVE = "geneve"


class Masquerade(StrEnum):
    """Who rewrites the source address of packets that leave the cluster."""

    BPF = "bpf"
    IPTABLES = "iptables"
    OFF = "off"


class PolicyEnforcement(StrEnum):
    """`default`: endpoints with a policy are restricted; `always`: all are. `never` is not offered: it voids them."""

    DEFAULT = "default"
    ALWAYS = "always"


class LoadBalancingMode(StrEnum):
    """Path of a reply from a backend on another node."""

    DSR = "dsr"
    SNAT = "snat"
    HYBRID = "hybrid"


class LoadBalancingAlgorithm(StrEnum):
    """Choice of a backend."""

    MAGLEV = "maglev"
    RANDOM = "random"


class Acceleration(StrEnum):
    """XDP acceleration of load balancing."""

    DISABLED = "disabled"
    NATIVE = "native"
    BEST_EFFORT = "best-effort"


class DsrDispatch(StrEnum):
    """How DSR carries the service address to the backend's node."""

    OPT = "opt"
    IPIP = "ipip"
    GENEVE = "geneve"


class ServiceLoadBalancing(Model):
    """Load balancing of Services in eBPF."""

    mode: LoadBalancingMode = Field(
        default=LoadBalancingMode.DSR, description="`dsr`, `snat` or `hybrid`", examples=["dsr"]
    )
    dsr_dispatch: DsrDispatch = Field(
        default=DsrDispatch.OPT, description="`opt`, `ipip` or `geneve`", examples=["opt"]
    )
    algorithm: LoadBalancingAlgorithm = Field(
        default=LoadBalancingAlgorithm.MAGLEV, description="`maglev` or `random`", examples=["maglev"]
    )
    maglev_table_size: int = Field(
        default=16381, description="entries of each Service's Maglev table", examples=[16381]
    )
    acceleration: Acceleration = Field(
        default=Acceleration.DISABLED,
        description="XDP: `disabled`, `native` or `best-effort`; try it together with DSR before relying on it",
        examples=["disabled"],
    )


class BandwidthManager(Model):
    """Pod bandwidth limits and TCP congestion control in eBPF."""

    enabled: bool = Field(default=True, description="enforce pod bandwidth annotations in eBPF")
    bbr: bool = Field(default=False, description="BBR congestion control for pods")


class BpfMaps(Model):
    """Sizes of eBPF maps, in entries."""

    policy: int = Field(default=16384, gt=0, description="policy entries per endpoint", examples=[16384])
    ct_tcp: int = Field(default=524288, gt=0, description="tracked TCP connections", examples=[524288])
    ct_any: int = Field(default=262144, gt=0, description="other tracked connections", examples=[262144])
    fragments: int = Field(default=8192, gt=0, description="tracked IP fragments", examples=[8192])
    dynamic_size_ratio: float = Field(
        default=0.0025, gt=0, description="share of the node's memory for the maps sized by it", examples=[0.0025]
    )


class Hubble(Model):
    """Flow observability."""

    enabled: bool = Field(default=True, description="record flows")
    relay: bool = Field(default=True, description="collect the flows of all nodes")
    ui: bool = Field(default=True, description="service map in the browser")
    metrics: tuple[
        Annotated[
            str,
            StringConstraints(pattern=r"^[A-Za-z0-9-]+(:[^\s]+)?$"),
            Form("must be a metric's name, with options after a colon where it has any"),
        ],
        ...,
    ] = Field(
        default=("dns", "drop", "tcp", "flow", "port-distribution", "icmp", "httpV2"),
        description="Hubble metrics to export on port 9965",
        examples=[["dns", "drop"]],
    )


class Encryption(Model):
    """WireGuard between nodes (UDP 51871, about 80 bytes of MTU)."""

    enabled: bool = Field(default=False, description="encrypt pod traffic between nodes with WireGuard")
    node_encryption: bool = Field(default=False, description="encrypt node to node traffic as well")


class ServiceMesh(Model):
    """The sidecar-free service mesh, by parts."""

    envoy_config: bool = Field(default=False, description="CiliumEnvoyConfig resources")
    gateway_api: bool = Field(default=False, description="Gateway API controller (its CRDs must exist)")
    mutual_authentication: bool = Field(
        default=False, description="SPIRE identities; deprecated in Cilium 1.20, removal announced for 1.21"
    )


OPERATOR_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="50m", memory="128Mi"), limits=ResourceAmounts(memory="256Mi")
)

AGENT_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="100m", memory="512Mi"), limits=ResourceAmounts(memory="3584Mi")
)


class Operator(Model):
    """The cilium-operator Deployment."""

    replicas: Annotated[int, OneANode()] = Field(
        default=2, ge=1, description="replicas, one a node; by default no more than there are nodes", examples=[2]
    )
    resources: Annotated[Resources, over(OPERATOR_RESOURCES)] = Field(
        default=OPERATOR_RESOURCES, description="requests and limits"
    )


class Agent(Model):
    """The cilium DaemonSet."""

    resources: Annotated[Resources, over(AGENT_RESOURCES)] = Field(
        default=AGENT_RESOURCES,
        description=f"requests and limits; a memory limit under {AGENT_MEMORY_FLOOR} is refused",
    )
    max_unavailable: int = Field(
        default=1, ge=1, description="nodes whose agent, or Envoy, restarts at the same time", examples=[1]
    )


MinorVersion = Annotated[
    str,
    StringConstraints(pattern=r"^1\.[0-9]+$"),
    Form("must be a minor version of Cilium: 1, a dot and a number"),
    Field(examples=["1.19"]),
]
"""A minor version of Cilium; without quotes YAML would read it as a number."""


class Cilium(Model):
    """Options of Cilium. Derived values (native routing CIDR, API endpoint) are not options."""

    retired: ClassVar[Mapping[str, str]] = {
        "tunnel": "left the chart in 1.15; tunnel: disabled is routingMode: native",
        "policy-enforcement": "never existed; it is policyEnforcement",
        "enable-cpu-affinity": "no such option exists in the chart or the agent",
        "cleanState": "wipes the agent's state at every start; a single wipe is done by hand",
        "cleanBpfState": "wipes the agent's eBPF maps at every start; a single wipe is done by hand",
        "ipv4NativeRoutingCIDR": "is derived from cluster.podCidr",
        "k8sServiceHost": "is derived from cluster.platform",
        "extraConfig": "would bypass every check; ask for the option by name",
    }

    routing_mode: RoutingMode = Field(
        default=RoutingMode.NATIVE, description="`native` or `tunnel`", examples=["native"]
    )
    tunnel_protocol: TunnelProtocol = Field(
        default=TunnelProtocol.VXLAN, description="`vxlan` or `geneve`", examples=["vxlan"]
    )
    kube_proxy_replacement: bool = Field(default=True, description="serve Services in eBPF instead of kube-proxy")
    masquerade: Masquerade = Field(default=Masquerade.BPF, description="`bpf`, `iptables` or `off`", examples=["bpf"])
    host_legacy_routing: bool = Field(
        default=False, description="route through the host's stack; marks clash with Tailscale's then"
    )
    endpoint_routes: bool = Field(default=True, description="one route per pod instead of one per node")
    socket_lb_host_namespace_only: bool = Field(
        default=True, description="translate Services at the socket in the host namespace only (Tailscale, VMs)"
    )
    xt_socket_fallback: bool = Field(default=True, description="fallback where the xt_socket kernel module is missing")
    l7_proxy: bool = Field(default=True, description="Envoy DaemonSet for layer 7 policies")
    policy_enforcement: PolicyEnforcement = Field(
        default=PolicyEnforcement.DEFAULT, description="`default` or `always`", examples=["default"]
    )
    load_balancing: ServiceLoadBalancing = Field(default=ServiceLoadBalancing(), description="Services in eBPF")
    bandwidth_manager: BandwidthManager = Field(default=BandwidthManager(), description="bandwidth manager")
    local_redirect_policies: bool = Field(default=True, description="CiliumLocalRedirectPolicy resources")
    cni_exclusive: bool = Field(default=False, description="remove other CNI configurations from the nodes")
    devices: tuple[str, ...] = Field(
        default=("enp+",),
        description="interfaces with eBPF programs; a trailing + matches any rest; must not match tailscale0",
        examples=[["enp+"]],
    )
    bpf_maps: BpfMaps = Field(default=BpfMaps(), description="eBPF map sizes")
    hubble: Hubble = Field(default=Hubble(), description="flow observability")
    encryption: Encryption = Field(default=Encryption(), description="WireGuard")
    service_mesh: ServiceMesh = Field(default=ServiceMesh(), description="service mesh")
    agent: Agent = Field(default=Agent(), description="agent")
    operator: Operator = Field(default=Operator(), description="operator")
    upgrade_compatibility: MinorVersion | None = Field(
        default=None,
        description="minor version that this cluster's Cilium was first installed with; keeps defaults of that time",
        examples=["1.19"],
    )
    running_version: MinorVersion | None = Field(
        default=None,
        description="minor version that runs now; a chart two or more ahead, or older, is refused",
        examples=["1.19"],
    )

    def problems(self) -> Iterator[Problem]:
        yield from self._routing_problems()
        yield from self._kube_proxy_problems()
        yield from self._device_problems()
        yield from self._size_problems()
        hubble = self.hubble
        if hubble.ui and not hubble.relay:
            yield Problem("hubble.ui", True, "the UI reads flows from the relay, and hubble.relay is false", False)
        if hubble.relay and not hubble.enabled:
            yield Problem("hubble.relay", True, "the relay reads flows that hubble.enabled false never records", False)
        if self.encryption.node_encryption and not self.encryption.enabled:
            reason = "node encryption extends WireGuard, and encryption.enabled is false"
            yield Problem("encryption.nodeEncryption", True, reason, False, because=("encryption.enabled",))
        if not self.l7_proxy:
            for key in ("envoy_config", "gateway_api"):
                if getattr(self.service_mesh, key):
                    camel = "envoyConfig" if key == "envoy_config" else "gatewayApi"
                    yield Problem(f"serviceMesh.{camel}", True, "runs in Envoy, and l7Proxy is false", False)

    def _routing_problems(self) -> Iterator[Problem]:
        balancing = self.load_balancing
        uses_dsr = balancing.mode is not LoadBalancingMode.SNAT
        geneve = balancing.dsr_dispatch is DsrDispatch.GENEVE
        if uses_dsr and self.routing_mode is RoutingMode.TUNNEL and not geneve:
            reason = f"{balancing.mode} needs routingMode native; under tunnel only dsrDispatch geneve carries it"
            because = ("loadBalancing.dsrDispatch",)
            yield Problem("loadBalancing.mode", balancing.mode.value, reason, "snat", because)
        if uses_dsr and geneve and self.tunnel_protocol is not TunnelProtocol.GENEVE:
            reason = "dsrDispatch geneve needs tunnelProtocol geneve"
            yield Problem("loadBalancing.dsrDispatch", "geneve", reason, "opt", because=("tunnelProtocol",))
        if uses_dsr and balancing.dsr_dispatch is DsrDispatch.IPIP and balancing.acceleration is Acceleration.DISABLED:
            reason = "dsrDispatch ipip works only with XDP acceleration"
            because = ("loadBalancing.acceleration",)
            yield Problem("loadBalancing.dsrDispatch", "ipip", reason, "opt", because)
        if self.bandwidth_manager.bbr and self.host_legacy_routing:
            reason = "BBR needs eBPF host routing; hostLegacyRouting true resets the packets' timestamps"
            yield Problem("bandwidthManager.bbr", True, reason, False)
        if self.bandwidth_manager.bbr and not self.bandwidth_manager.enabled:
            reason = "BBR is a part of the bandwidth manager, which is off"
            yield Problem("bandwidthManager.bbr", True, reason, False)
        if not self.host_legacy_routing and self.masquerade is Masquerade.IPTABLES:
            reason = "iptables masquerading needs the host's stack, and hostLegacyRouting is false"
            yield Problem("masquerade", "iptables", reason, "bpf", because=("hostLegacyRouting",))

    def _kube_proxy_problems(self) -> Iterator[Problem]:
        if self.kube_proxy_replacement:
            return
        needing = {
            "loadBalancing.mode": (self.load_balancing.mode.value, LoadBalancingMode.SNAT.value),
            "loadBalancing.algorithm": (self.load_balancing.algorithm.value, LoadBalancingAlgorithm.RANDOM.value),
            "loadBalancing.acceleration": (self.load_balancing.acceleration.value, Acceleration.DISABLED.value),
            "localRedirectPolicies": (self.local_redirect_policies, False),
            "serviceMesh.gatewayApi": (self.service_mesh.gateway_api, False),
            "hostLegacyRouting": (self.host_legacy_routing, True),
        }
        for key, (value, without) in needing.items():
            if value != without:
                yield Problem(
                    key, value, "needs the kube-proxy replacement, and kubeProxyReplacement is false", without
                )
        if self.masquerade is Masquerade.BPF:
            reason = "eBPF masquerading needs the kube-proxy replacement, and kubeProxyReplacement is false"
            yield Problem("masquerade", "bpf", reason, "iptables")

    def _device_problems(self) -> Iterator[Problem]:
        if not self.devices:
            reason = "Cilium then detects devices by itself and takes tailscale0 with its MTU of 1280 along"
            yield Problem("devices", [], reason, ["enp+"])
        for device in self.devices:
            if matches_device(device, "tailscale0"):
                reason = "matches tailscale0, whose MTU of 1280 would spread to every pod"
                yield Problem("devices", device, reason, ["enp+"])

    def _size_problems(self) -> Iterator[Problem]:
        size = self.load_balancing.maglev_table_size
        if size not in MAGLEV_TABLE_SIZES:
            sizes = ", ".join(map(str, MAGLEV_TABLE_SIZES))
            yield Problem("loadBalancing.maglevTableSize", size, f"is not one of the primes {sizes}", 16381)
        ratio = self.bpf_maps.dynamic_size_ratio
        if ratio > 0.01:
            reason = f"would give {ratio:.0%} of every node's memory to eBPF maps; more than 1 % is refused"
            yield Problem("bpfMaps.dynamicSizeRatio", ratio, reason, 0.0025)
        limit = self.agent.resources.limits.memory
        if limit and amount_of(limit) < amount_of(AGENT_MEMORY_FLOOR):
            reason = f"agents were killed for memory below {AGENT_MEMORY_FLOOR}, and a killed agent drops traffic"
            yield Problem("agent.resources.limits.memory", limit, reason, "3584Mi")
        yield from below("agent.resources", self.agent.resources.problems())
        yield from below("operator.resources", self.operator.resources.problems())


def matches_device(pattern: str, interface: str) -> bool:
    """Whether a Cilium device pattern (exact, or a prefix followed by +) matches an interface name."""
    return interface.startswith(pattern[:-1]) if pattern.endswith("+") else interface == pattern
