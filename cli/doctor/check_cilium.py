"""Cilium: its parts run, kube-proxy is replaced, and the agents' options are those declared."""

from collections.abc import Iterator, Mapping
from typing import Any

from cli.doctor.context import Context, name_of, side_by_side
from cli.doctor.findings import Finding, critical, unknown, warning
from cli.doctor.probes import ProbeError
from cli.doctor.registry import check
from cli.doctor.workloads import workload
from settings.cilium import Cilium, Masquerade, RoutingMode
from settings.fields import amount_of

HEALTH_PORT = 10256
MEMORY_WARNING, MEMORY_CRITICAL = 0.57, 0.86
"""Shares of the agent's memory limit, those of the alerts (facts section 9)."""

AGENTS = "DaemonSet kube-system/cilium"


@check("cilium", "agents, operator, Envoy and Hubble run", "cilium")
def cilium(context: Context) -> Iterator[Finding]:
    """By their workloads, and the CiliumNode objects that agents write."""
    settings = context.settings.cilium
    yield from workload(context, "DaemonSet", "kube-system/cilium", config="cilium.agent")
    name = "kube-system/cilium-operator"
    yield from workload(
        context, "Deployment", name, config="cilium.operator.replicas", replicas=settings.operator.replicas
    )
    if settings.l7_proxy:
        yield from workload(context, "DaemonSet", "kube-system/cilium-envoy", config="cilium.l7Proxy", after=[AGENTS])
    for part, wanted in (("relay", settings.hubble.relay), ("ui", settings.hubble.ui)):
        if wanted:
            name, key = f"kube-system/hubble-{part}", f"cilium.hubble.{part}"
            yield from workload(context, "Deployment", name, config=key, replicas=1, after=[AGENTS])
    context.need_running_pods()
    yield from _known_nodes(context)


def _known_nodes(context: Context) -> Iterator[Finding]:
    known = {
        node["metadata"]["name"]: [entry["ip"] for entry in node["spec"].get("addresses") or ()]
        for node in context.items("/apis/cilium.io/v2/ciliumnodes")
    }
    for name, node in context.settings.physical.nodes.items():
        if str(node.address) not in known.get(name, ()):
            yield critical(
                f"CiliumNode {name}",
                f"has {', '.join(known.get(name, ())) or 'no address'}",
                f"{node.address}, to which the other nodes route its pods",
                config=f"physical.nodes.{name}.address",
                next_=context.kubectl(f"get ciliumnode {name} -o yaml"),
                after=[f"node {name}", AGENTS],
            )


@check("agent-memory", "agents keep away from their memory limit", "cilium.agent.resources")
def agent_memory(context: Context) -> Iterator[Finding]:
    """By the metrics API, which is there only with a metrics server."""
    limit = context.settings.cilium.agent.resources.limits.memory
    usage = context.items("/apis/metrics.k8s.io/v1beta1/namespaces/kube-system/pods")
    agents = [
        (pod["metadata"]["name"], amount_of(container["usage"]["memory"]))
        for pod in usage
        for container in pod["containers"]
        if container["name"] == "cilium-agent"
    ]
    if not agents or not limit:
        yield unknown("agent memory", "the cluster has no metrics API" if limit else "agents have no memory limit")
        return
    for pod, used in agents:
        share = float(used / amount_of(limit))
        if share > MEMORY_WARNING:
            problem = critical if share > MEMORY_CRITICAL else warning
            yield problem(
                f"pod kube-system/{pod}",
                f"uses {share:.0%} of its memory limit {limit}",
                f"less than {MEMORY_WARNING:.0%}",
                config="cilium.agent.resources.limits.memory",
                next_=context.kubectl(f"-n kube-system top pod {pod} --containers"),
            )


@check("kube-proxy", "one serves Services: Cilium, or kube-proxy", "cilium.kubeProxyReplacement")
def kube_proxy(context: Context) -> Iterator[Finding]:
    """By what runs in kube-system, and the health port that replaces kube-proxy's on every node."""
    running = next((pod for pod in context.items("/api/v1/pods") if _is_kube_proxy(pod)), None)
    if not context.settings.cilium.kube_proxy_replacement:
        if running is None:
            yield critical(
                "kube-proxy",
                "no pod of it runs, and Cilium leaves Services to it: nobody serves them",
                "kube-proxy on every node",
                config="cilium.kubeProxyReplacement",
                next_="talosctl get machineconfig -o yaml | grep -A2 'proxy:'   # disabled: false",
            )
        return
    if running:
        yield critical(
            "kube-proxy",
            f"pod {name_of(running)} runs on {running['spec'].get('nodeName', '?')}",
            "no kube-proxy: it and Cilium would both rewrite Service traffic",
            config="cilium.kubeProxyReplacement",
            next_="talosctl get machineconfig -o yaml | grep -A2 'proxy:'   # disabled: true",
        )
    context.need_lan()
    declared = context.settings.physical.nodes
    addresses = [str(node.address) for node in declared.values()]
    for name, answer in zip(declared, side_by_side(lambda a: _health(context, a), addresses), strict=True):
        if answer != "200":
            yield critical(
                f"kube-proxy replacement on {name}",
                f"port {HEALTH_PORT} answers {answer}",
                "200, from the agent",
                config="cilium.kubeProxyReplacement",
                next_=context.kubectl("-n kube-system exec ds/cilium -c cilium-agent -- cilium-dbg status"),
                after=[f"node {name}", AGENTS, "cilium-config kube-proxy-replacement"],
            )


def _is_kube_proxy(pod: Mapping[str, Any]) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return labels.get("k8s-app") == "kube-proxy" or name_of(pod).startswith("kube-system/kube-proxy-")


def _health(context: Context, address: str) -> str:
    try:
        return str(context.prober.get(address, "/healthz", port=HEALTH_PORT, tls=False).status)
    except ProbeError as error:
        return f"not: {error}"


@check("datapath", "routing, DSR, devices and policies are set as declared", "cilium")
def datapath(context: Context) -> Iterator[Finding]:
    """By the ConfigMap that agents read; `cilium` tells when some still run with an older one."""
    found = context.object("/api/v1/namespaces/kube-system/configmaps/cilium-config")
    if found is None:
        yield critical("cilium-config", "does not exist", "the agents' options", config="cilium", next_=context.up)
        return
    data = found.get("data") or {}
    for option, (wanted, key) in declared_options(context).items():
        seen = data.get(option, "")
        # Booleans that are off are left out by the chart.
        if seen != wanted and (seen, wanted) != ("", "false"):
            yield critical(
                f"cilium-config {option}",
                f"is {seen or '(not set)'}",
                wanted,
                config=key,
                next_=f"{context.kubectl('-n kube-system get configmap cilium-config -o yaml')} && {context.up}",
            )


def declared_options(context: Context) -> dict[str, tuple[str, str]]:
    """Options of the agent that decide where packets go: the value declared, and the key that declares it."""
    settings, cilium = context.settings, context.settings.cilium
    native = cilium.routing_mode is RoutingMode.NATIVE
    options: dict[str, tuple[Any, str]] = {
        "routing-mode": (cilium.routing_mode.value, "cilium.routingMode"),
        "kube-proxy-replacement": (cilium.kube_proxy_replacement, "cilium.kubeProxyReplacement"),
        "devices": (" ".join(cilium.devices), "cilium.devices"),
        "enable-bpf-masquerade": (cilium.masquerade is Masquerade.BPF, "cilium.masquerade"),
        "enable-host-legacy-routing": (cilium.host_legacy_routing, "cilium.hostLegacyRouting"),
        "enable-endpoint-routes": (cilium.endpoint_routes, "cilium.endpointRoutes"),
        "enable-l7-proxy": (cilium.l7_proxy, "cilium.l7Proxy"),
        "enable-policy": (cilium.policy_enforcement.value, "cilium.policyEnforcement"),
        "enable-wireguard": (cilium.encryption.enabled, "cilium.encryption.enabled"),
        "enable-l2-announcements": (settings.load_balancer.l2.enabled, "loadBalancer.l2.enabled"),
        "enable-bgp-control-plane": (settings.load_balancer.bgp is not None, "loadBalancer.bgp"),
        **_load_balancing(cilium),
    }
    if native:
        options["ipv4-native-routing-cidr"] = (settings.cluster.pod_cidr, "cluster.podCidr")
    return {option: (_text(value), key) for option, (value, key) in options.items()}


def _load_balancing(cilium: Cilium) -> dict[str, tuple[Any, str]]:
    balancing, key = cilium.load_balancing, "cilium.loadBalancing"
    return {
        "bpf-lb-mode": (balancing.mode.value, f"{key}.mode"),
        "bpf-lb-algorithm": (balancing.algorithm.value, f"{key}.algorithm"),
        "bpf-lb-acceleration": (balancing.acceleration.value, f"{key}.acceleration"),
    }


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
