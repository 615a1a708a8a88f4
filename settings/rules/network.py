"""Rules between the nodes, Cilium, the LoadBalancer pools and the ingress controllers."""

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network

from settings.cilium import matches_device
from settings.discovery import GATEWAY
from settings.fields import WITHOUT, Problem, readable
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

UNROUTED_NETWORKS = {
    network: owner
    for network, owner in RESERVED_NETWORKS.items()
    if network not in {IPv4Network("100.64.0.0/10"), IPv4Network("169.254.0.0/16")}
}
"""Those of them in which no machine has an address that another one can reach."""

MOST_SHARE_BITS = 16
"""Bits between the pod network's prefix and a node's, of which the controller manager takes no more."""

USUAL_NETWORKS = [IPv4Network(cidr) for cidr in ("10.244.0.0/16", "10.42.0.0/16", "10.43.0.0/16", "172.20.0.0/16")]
"""Networks to propose where one is refused."""

RESERVED_CLASSES = {
    "tailscale": "belongs to the Tailscale operator",
    "nginx": "is the upstream default, served by accident",
    GATEWAY: "is the LAN's DNS, which has the address of that name in loadBalancer.addresses",
}


def networks(settings: Settings) -> Iterator[Problem]:
    """Node, pod and service networks are large enough, apart from each other and from reserved ranges."""
    physical, cluster = settings.physical, settings.cluster
    declared = {
        "physical.subnet": physical.subnet,
        "cluster.podCidr": cluster.pod_cidr,
        "cluster.serviceCidr": cluster.service_cidr,
    }
    apart: dict[str, IPv4Network] = {}
    for key, network in declared.items():
        reserved = [f"{each}, {owner}" for each, owner in RESERVED_NETWORKS.items() if network.overlaps(each)]
        taken = [f"{other} ({each})" for other, each in apart.items() if network.overlaps(each)]
        if reserved or taken:
            others = [each for other, each in declared.items() if other != key]
            free = next((str(usual) for usual in USUAL_NETWORKS if not _overlaps_any(usual, others)), WITHOUT)
            reason = f"overlaps {'; '.join([*taken, *reserved])}"
            yield Problem(key, str(network), reason, free, because=tuple(apart) if taken else ())
        else:
            # What lies at the wrong place itself is no measure for the others.
            apart[key] = network
    if physical.subnet.prefixlen > 29:
        reason = "has no room for a gateway, the API VIP, a node and a LoadBalancer address"
        yield Problem("physical.subnet", str(physical.subnet), reason, "192.168.1.0/24")
    if not 12 <= cluster.service_cidr.prefixlen <= 28:
        reason = (
            "the API server takes service networks from /12 on, and below /28 there is no tenth address, where the "
            "cluster's DNS stands"
        )
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


def nodes_for_pods(settings: Settings) -> Iterator[Problem]:
    """Some node takes the network's pods."""
    if settings.physical.nodes and not settings.nodes_for_pods:
        reason = "leaves no node for pods: there is no worker, and every pod of the network would stay pending"
        key = "cluster.allowSchedulingOnControlPlanes"
        yield Problem(key, False, reason, True, because=("physical.nodes",))


def pod_network_size(settings: Settings) -> Iterator[Problem]:
    """Every node gets a share of the pod network."""
    cluster, nodes = settings.cluster, len(settings.physical.nodes)
    share = cluster.node_pod_prefix_length
    shares = 2 ** (share - cluster.pod_cidr.prefixlen) if share >= cluster.pod_cidr.prefixlen else 0
    reason = None
    if shares > 2**MOST_SHARE_BITS:
        most = f"the controller manager starts with {2**MOST_SHARE_BITS} at most"
        reason = f"holds {shares} node networks of /{share}; {most}"
    elif shares < nodes:
        reason = f"holds {shares} node networks of /{share}, and there are {nodes} nodes"
    if reason:
        because = ("physical.nodes", "cluster.nodePodPrefixLength")
        yield Problem("cluster.podCidr", str(cluster.pod_cidr), reason, "10.244.0.0/16", because)


def pools(settings: Settings) -> Iterator[Problem]:
    """Pools lie in the node subnet and hold no address that something else owns.

    A pool that is the whole subnet would hand the router's address to a Service (pitfalls, VIP pool safety).
    """
    for name in settings.load_balancer.pools:
        yield from readable(*(rule(settings, name) for rule in (_pool_place, _pool_neighbours, _pool_networks)))


def _pool_place(settings: Settings, name: str) -> Iterator[Problem]:
    physical, pool = settings.physical, settings.load_balancer.pools[name]
    inside = pool.start in physical.subnet and pool.stop in physical.subnet
    if not inside and settings.load_balancer.bgp is None:
        reason = f"leaves the node subnet {physical.subnet}, and ARP does not reach beyond it (BGP would)"
        because = ("loadBalancer.bgp", "physical.subnet")
        yield Problem(f"loadBalancer.pools.{name}", str(pool), reason, _free_run(settings, name), because)


def _pool_neighbours(settings: Settings, name: str) -> Iterator[Problem]:
    physical, pool, key = settings.physical, settings.load_balancer.pools[name], f"loadBalancer.pools.{name}"
    taken = [f"{address} ({owner})" for address, owner in sorted(physical.taken().items()) if address in pool]
    if taken:
        whole = pool.start <= physical.subnet[1] and pool.stop >= physical.subnet[-2]
        prefix = "is the whole node subnet" if whole else "contains addresses that are taken"
        reason = f"{prefix}; a Service could be handed {', '.join(taken)}"
        yield Problem(key, str(pool), reason, _free_run(settings, name))
    if physical.dhcp_range and pool.overlaps(physical.dhcp_range):
        reason = f"overlaps physical.dhcpRange {physical.dhcp_range}; the router could lease a Service's address"
        yield Problem(key, str(pool), reason, _free_run(settings, name), because=("physical.dhcpRange",))


def _pool_networks(settings: Settings, name: str) -> Iterator[Problem]:
    pool = settings.load_balancer.pools[name]
    for other, network in (("podCidr", settings.cluster.pod_cidr), ("serviceCidr", settings.cluster.service_cidr)):
        if pool.start <= network[-1] and network[0] <= pool.stop:
            key, reason, because = (
                f"loadBalancer.pools.{name}",
                f"overlaps cluster.{other} ({network})",
                f"cluster.{other}",
            )
            yield Problem(key, str(pool), reason, _free_run(settings, name), because=(because,))


def _free_run(settings: Settings, name: str) -> object:
    """A pool that would do in place of the one of that name."""
    others = [pool for other, pool in settings.load_balancer.pools.items() if other != name]
    return settings.physical.free_run(settings.physical.dhcp_range, *others) or WITHOUT


def announcements(settings: Settings) -> Iterator[Problem]:
    """Addresses are announced, and can be: kube-proxy is replaced."""
    l2 = settings.load_balancer.l2
    if l2.enabled and not settings.cilium.kube_proxy_replacement:
        reason = "needs the kube-proxy replacement, and cilium.kubeProxyReplacement is false"
        yield Problem("loadBalancer.l2.enabled", True, reason, False, because=("cilium.kubeProxyReplacement",))
    if settings.load_balancer.pools and not l2.enabled and settings.load_balancer.bgp is None:
        reason = "with neither L2 nor BGP announcements nobody would find the pools' addresses"
        yield Problem("loadBalancer.l2.enabled", False, reason, True, because=("loadBalancer.bgp",))


def bgp_peers(settings: Settings) -> Iterator[Problem]:
    """Peers are routers: no address is the cluster's own, and none that no machine has."""
    physical, balancer, bgp = settings.physical, settings.load_balancer, settings.load_balancer.bgp
    owners = {node.address: (f"node {name}", f"physical.nodes.{name}") for name, node in physical.nodes.items()}
    owners |= {
        physical.api_vip: ("the API VIP", "physical.apiVip"),
        physical.subnet.network_address: ("the network address of the node subnet", "physical.subnet"),
        physical.subnet.broadcast_address: ("the broadcast address of the node subnet", "physical.subnet"),
    }
    networks = [(network, "", f"reserved: {words}") for network, words in UNROUTED_NETWORKS.items()]
    networks += [
        (settings.cluster.pod_cidr, "cluster.podCidr", "cluster.podCidr"),
        (settings.cluster.service_cidr, "cluster.serviceCidr", "cluster.serviceCidr"),
    ]
    for name, peer in bgp.peers.items() if bgp else ():
        address = peer.address
        if address in owners:
            words, owner = owners[address]
            reason = f"is {words}, and a peer is a router"
        elif pool := balancer.pool_of(address):
            owner, reason = f"loadBalancer.pools.{pool}", f"lies in pool {pool}, and a Service could be handed it"
        elif found := next((each for each in networks if address in each[0]), None):
            owner, reason = found[1], f"lies in {found[0]} ({found[2]}), where no router is"
        else:
            continue
        key = f"loadBalancer.bgp.peers.{name}.address"
        yield Problem(key, str(address), reason, str(physical.gateway), because=(owner,) if owner else ())


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
    controllers = (_controller_pods(settings, name) for name in settings.ingress.classes)
    yield from readable(_operator_pods(settings), *controllers, _agents_at_once(settings))


def _operator_pods(settings: Settings) -> Iterator[Problem]:
    """Cilium's operator runs where nothing else may yet."""
    yield from too_few_nodes(settings, "cilium.operator.replicas", settings.cilium.operator.replicas, everywhere=True)


def _controller_pods(settings: Settings, ingress_class: str) -> Iterator[Problem]:
    controller, path = settings.ingress.classes[ingress_class], f"ingress.classes.{ingress_class}"
    scaling = controller.autoscaling
    if scaling is None:
        yield from too_few_nodes(settings, f"{path}.replicas", controller.replicas)
    elif "max_replicas" in scaling.model_fields_set:
        yield from too_few_nodes(settings, f"{path}.autoscaling.maxReplicas", scaling.max_replicas)
    elif scaling.max_replicas > (nodes := len(settings.nodes_for_pods)):
        shown = scaling.model_dump(by_alias=True, exclude_unset=True)
        reason = f"one pod a node, and {_there_are(nodes)}: nothing to scale to"
        yield Problem(f"{path}.autoscaling", shown, reason, WITHOUT, because=("physical.nodes",))


def _agents_at_once(settings: Settings) -> Iterator[Problem]:
    most, nodes = settings.cilium.agent.max_unavailable, len(settings.physical.nodes)
    if nodes > 1 and most >= nodes:
        reason = f"an update would take the network of all {nodes} nodes at once"
        yield Problem("cilium.agent.maxUnavailable", most, reason, 1, because=("physical.nodes",))


def too_few_nodes(settings: Settings, key: str, count: int, *, everywhere: bool = False) -> Iterator[Problem]:
    """The problem of `count` pods, of which a node takes one, when there are fewer nodes that take them.

    `everywhere` are pods that tolerate control planes which take no others.
    """
    total = len(settings.physical.nodes)
    nodes = total if everywhere else len(settings.nodes_for_pods)
    if not 0 < nodes < count:
        return  # with none at all, `nodes_for_pods` says why
    there = _there_are(nodes)
    if nodes < total:
        there += " beside control planes, which take no pods (cluster.allowSchedulingOnControlPlanes)"
    reason = f"one pod a node, and {there}: the rest would stay pending"
    yield Problem(key, count, reason, nodes, because=("physical.nodes", "cluster.allowSchedulingOnControlPlanes"))


def _there_are(nodes: int) -> str:
    return "there is 1 node" if nodes == 1 else f"there are {nodes} nodes"


def ingress_classes(settings: Settings) -> Iterator[Problem]:
    """Class names are free to use, and a LoadBalancer class has its fixed address."""
    for name, controller in settings.ingress.classes.items():
        if name in RESERVED_CLASSES:
            yield Problem(f"ingress.classes.{name}", name, RESERVED_CLASSES[name], "internal")
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
            yield Problem(f"loadBalancer.services.{name}", service, reason, WITHOUT, because)


BASE = (networks,)
"""What must be right before the rest can be judged."""

RULES = (
    cilium_upgrade,
    pools,
    announcements,
    bgp_peers,
    announcing_interfaces,
    devices,
    ingress_classes,
    control_plane,
    nodes_for_pods,
    pod_network_size,
    replicas,
    fixed_addresses,
)
