"""Rules between the nodes, Cilium, the LoadBalancer pools and the ingress controllers."""

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network

from settings.cilium import matches_device
from settings.discovery import GATEWAY
from settings.fields import Problem
from settings.ingress import ServiceType
from settings.nodes import Role
from settings.stack import Settings

RESERVED_NETWORKS = {
    IPv4Network("100.64.0.0/10"): "the address space of Tailscale",
    IPv4Network("127.0.0.0/8"): "the loopback network",
    IPv4Network("169.254.0.0/16"): "the link-local network",
    IPv4Network("224.0.0.0/4"): "the multicast network",
    IPv4Network("240.0.0.0/4"): "reserved (RFC 1112)",
    IPv4Network("0.0.0.0/8"): "reserved (RFC 791)",
}

USUAL_NETWORKS = [IPv4Network(cidr) for cidr in ("10.244.0.0/16", "10.42.0.0/16", "10.43.0.0/16", "172.20.0.0/16")]
"""Networks to propose where one is refused."""

RESERVED_CLASSES = {
    "tailscale": "belongs to the Tailscale operator",
    "nginx": "is the upstream default, served by accident",
}


def networks(settings: Settings) -> Iterator[Problem]:
    """Node, pod and service networks are large enough, apart from each other and from reserved ranges."""
    physical, cluster = settings.physical, settings.cluster
    declared = {
        "physical.subnet": physical.subnet,
        "cluster.podCidr": cluster.pod_cidr,
        "cluster.serviceCidr": cluster.service_cidr,
    }
    for position, (key, network) in enumerate(declared.items()):
        others = [(other, declared[other]) for other in list(declared)[:position]]
        free = next((str(usual) for usual in USUAL_NETWORKS if not _overlaps_any(usual, declared.values())), "another")
        for reserved, owner in RESERVED_NETWORKS.items():
            if network.overlaps(reserved):
                yield Problem(key, str(network), f"overlaps {reserved}, {owner}", free)
        for other, taken in others:
            if network.overlaps(taken):
                yield Problem(key, str(network), f"overlaps {other} ({taken})", free, because=(other,))
    if physical.subnet.prefixlen > 29:
        reason = "has no room for a gateway, the API VIP, a node and a LoadBalancer address"
        yield Problem("physical.subnet", str(physical.subnet), reason, "192.168.1.0/24")
    if not 12 <= cluster.service_cidr.prefixlen <= 28:
        reason = "the API server takes service networks from /12 on, and below /28 there is no room for services"
        yield Problem("cluster.serviceCidr", str(cluster.service_cidr), reason, "10.96.0.0/12")


def _overlaps_any(network: IPv4Network, others: Iterable[IPv4Network]) -> bool:
    return any(network.overlaps(other) for other in others)


def control_plane(settings: Settings) -> Iterator[Problem]:
    """Somebody runs the API server."""
    if not any(node.role is Role.CONTROL_PLANE for node in settings.physical.nodes.values()):
        reason = "has no control-plane node"
        yield Problem(
            "physical.nodes", sorted(settings.physical.nodes), reason, "one node or more with role control-plane"
        )


def pod_network_size(settings: Settings) -> Iterator[Problem]:
    """Every node gets a share of the pod network."""
    cluster, nodes = settings.cluster, len(settings.physical.nodes)
    share = cluster.node_pod_prefix_length
    shares = 2 ** (share - cluster.pod_cidr.prefixlen) if share >= cluster.pod_cidr.prefixlen else 0
    if shares < nodes:
        reason = f"holds {shares} node networks of /{share}, and there are {nodes} nodes"
        because = ("physical.nodes", "cluster.nodePodPrefixLength")
        yield Problem("cluster.podCidr", str(cluster.pod_cidr), reason, "10.244.0.0/16", because)


def pools(settings: Settings) -> Iterator[Problem]:
    """Pools lie in the node subnet and hold no address that something else owns.

    A pool that is the whole subnet would hand the router's address to a Service (pitfalls, VIP pool safety).
    """
    physical, load_balancer = settings.physical, settings.load_balancer
    for name, pool in load_balancer.pools.items():
        key = f"loadBalancer.pools.{name}"
        example = "start and stop of a run of addresses in the node subnet that nothing else uses"
        inside = pool.start in physical.subnet and pool.stop in physical.subnet
        if not inside and load_balancer.bgp is None:
            reason = f"leaves the node subnet {physical.subnet}, and ARP does not reach beyond it (BGP would)"
            yield Problem(key, str(pool), reason, example, because=("loadBalancer.bgp",))
        taken = [f"{address} ({owner})" for address, owner in sorted(physical.taken().items()) if address in pool]
        if taken:
            whole = pool.start <= physical.subnet[1] and pool.stop >= physical.subnet[-2]
            prefix = "is the whole node subnet" if whole else "contains addresses that are taken"
            yield Problem(key, str(pool), f"{prefix}; a Service could be handed {', '.join(taken)}", example)
        if physical.dhcp_range and pool.overlaps(physical.dhcp_range):
            reason = f"overlaps physical.dhcpRange {physical.dhcp_range}; the router could lease a Service's address"
            yield Problem(key, str(pool), reason, example)
        for other, network in (("podCidr", settings.cluster.pod_cidr), ("serviceCidr", settings.cluster.service_cidr)):
            if pool.start <= network[-1] and network[0] <= pool.stop:
                reason = f"overlaps cluster.{other} ({network})"
                yield Problem(key, str(pool), reason, example, because=(f"cluster.{other}",))


def announcements(settings: Settings) -> Iterator[Problem]:
    """Addresses are announced, and can be: kube-proxy is replaced."""
    l2 = settings.load_balancer.l2
    if l2.enabled and not settings.cilium.kube_proxy_replacement:
        reason = "needs the kube-proxy replacement, and cilium.kubeProxyReplacement is false"
        yield Problem("loadBalancer.l2.enabled", True, reason, False, because=("cilium.kubeProxyReplacement",))
    if settings.load_balancer.pools and not l2.enabled and settings.load_balancer.bgp is None:
        reason = "with neither L2 nor BGP announcements nobody would find the pools' addresses"
        yield Problem("loadBalancer.l2.enabled", False, reason, True, because=("loadBalancer.bgp",))


def announcing_interfaces(settings: Settings) -> Iterator[Problem]:
    """Addresses are announced on interfaces of the nodes, never on that of the tailnet."""
    declared = sorted({node.interface for node in settings.physical.nodes.values()})
    key, nodes = "loadBalancer.l2.interfaces", ("physical.nodes",)
    for expression in (settings.load_balancer.l2.interfaces or ()) if declared else ():
        try:
            pattern = re.compile(expression)
        except re.error as fault:
            yield Problem(key, expression, f"is not a regular expression: {fault}", [f"^{declared[0]}$"])
            continue
        if pattern.search("tailscale0"):
            yield Problem(key, expression, "matches tailscale0", [f"^{declared[0]}$"])
        elif not any(pattern.search(interface) for interface in declared):
            reason = f"matches none of the nodes' interfaces ({', '.join(declared)})"
            yield Problem(key, expression, reason, [f"^{declared[0]}$"], because=nodes)


def devices(settings: Settings) -> Iterator[Problem]:
    """Cilium's programs run on the interface that carries each node's address."""
    patterns, nodes = settings.cilium.devices, settings.physical.nodes
    unwatched = {
        name: node.interface
        for name, node in nodes.items()
        if not any(matches_device(pattern, node.interface) for pattern in patterns)
    }
    if nodes and len(unwatched) == len(nodes):
        interfaces = sorted(set(unwatched.values()))
        reason = f"match no node's interface ({', '.join(interfaces)}), so all traffic would bypass Cilium"
        yield Problem("cilium.devices", list(patterns), reason, interfaces, because=("physical.nodes",))
        return
    for name, interface in unwatched.items():
        key = f"physical.nodes.{name}.interface"
        reason = f"matches none of cilium.devices ({', '.join(patterns)}), so the node's traffic would bypass Cilium"
        yield Problem(key, interface, reason, "enp87s0", because=("cilium.devices",))


def replicas(settings: Settings) -> Iterator[Problem]:
    """Pods that are spread one a node have enough nodes."""
    nodes = len(settings.physical.nodes)
    wanted = {"cilium.operator.replicas": settings.cilium.operator.replicas}
    for name, controller in settings.ingress.classes.items():
        scaling = controller.autoscaling
        path = f"ingress.classes.{name}"
        key = f"{path}.autoscaling.maxReplicas" if scaling else f"{path}.replicas"
        wanted[key] = scaling.max_replicas if scaling else controller.replicas
    for key, count in wanted.items():
        if count > nodes:
            yield too_few_nodes(key, count, nodes)
    most = settings.cilium.agent.max_unavailable
    if nodes > 1 and most >= nodes:
        reason = f"an update would take the network of all {nodes} nodes at once"
        yield Problem("cilium.agent.maxUnavailable", most, reason, 1, because=("physical.nodes",))


def too_few_nodes(key: str, count: int, nodes: int) -> Problem:
    """The problem of more pods than there are nodes to spread them over."""
    there = "is 1 node" if nodes == 1 else f"are {nodes} nodes"
    reason = f"one pod a node, and there {there}: the rest would stay pending"
    return Problem(key, count, reason, nodes, because=("physical.nodes",))


def ingress_classes(settings: Settings) -> Iterator[Problem]:
    """Class names are free to use, and a LoadBalancer class has its fixed address."""
    for name, controller in settings.ingress.classes.items():
        if name in RESERVED_CLASSES:
            yield Problem(f"ingress.classes.{name}", name, RESERVED_CLASSES[name], "another name, such as internal")
        fixed = name in settings.load_balancer.addresses
        if controller.service_type is ServiceType.LOAD_BALANCER and not fixed:
            reason = f"needs loadBalancer.addresses.{name}, else the controller's address changes with the pool's order"
            key = f"ingress.classes.{name}.serviceType"
            yield Problem(key, "LoadBalancer", reason, "ClusterIP", because=("loadBalancer.addresses",))


def cilium_upgrade(settings: Settings) -> Iterator[Problem]:
    """Cilium is upgraded one minor version at a time, as its upgrade guide asks."""
    chart = settings.charts.get("cilium")
    if chart is None:
        return
    minor = int(chart.version.split(".")[1])
    first, running = settings.cilium.upgrade_compatibility, settings.cilium.running_version
    if first and int(first.split(".")[1]) > minor:
        reason = f"is newer than the chart {chart.version}, so nothing can have been installed with it"
        yield Problem("cilium.upgradeCompatibility", first, reason, f"1.{minor}", because=("charts",))
    if running and minor - int(running.split(".")[1]) not in {0, 1}:
        reason = f"the chart is {chart.version}; Cilium is upgraded one minor version at a time, and never down"
        yield Problem("cilium.runningVersion", running, reason, f"1.{minor - 1}", because=("charts",))


def fixed_addresses(settings: Settings) -> Iterator[Problem]:
    """Every fixed address lies in a pool, and is a Service's that is not named twice."""
    load_balancer = settings.load_balancer
    for name, address in load_balancer.addresses.items():
        if load_balancer.pool_of(address) is None:
            key, example = f"loadBalancer.addresses.{name}", load_balancer.free_address()
            reason = "lies in no pool of loadBalancer.pools"
            yield Problem(key, str(address), reason, example, because=("loadBalancer.pools",))
    for name, service in load_balancer.services.items():
        if name in settings.ingress.classes or name == GATEWAY:
            reason = "is not its Service: this stack makes that itself"
            because = ("ingress.classes", f"loadBalancer.addresses.{name}")
            yield Problem(f"loadBalancer.services.{name}", service, reason, "without this key", because)


RULES = (
    cilium_upgrade,
    networks,
    pools,
    announcements,
    announcing_interfaces,
    devices,
    ingress_classes,
    control_plane,
    pod_network_size,
    replicas,
    fixed_addresses,
)
