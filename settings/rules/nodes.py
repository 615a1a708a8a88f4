"""Rules between the nodes and what must be made of them: Talos' patches, DHCP, resolvers."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address

from settings.cluster import Platform
from settings.fields import Problem
from settings.stack import Settings

LONGEST_VLAN_PARENT = 10
"""Characters of a card's name; Talos makes up the names of VLANs on longer ones."""

EXAMPLES = {"dnsServers": ["1.1.1.1", "1.0.0.1"], "ntpServers": ["162.159.200.1"]}

_NO_CARDS = re.compile(r"(br|virbr|docker|dummy|lo|lxc|cilium|tailscale|tap|team|tun|veth|vxlan|wg)[-_0-9a-z]*")


def interfaces(settings: Settings) -> Iterator[Problem]:
    """Talos can make the interface that carries a node's address: a card, a bond, or a VLAN on one of them."""
    if settings.cluster.platform is not Platform.TALOS:
        return
    for name, node in settings.physical.nodes.items():
        key, because = f"physical.nodes.{name}.interface", (f"physical.nodes.{name}.bond", "cluster.platform")
        if node.link.startswith("bond") and node.bond is None:
            example = {"macs": ["00:00:5e:00:53:02"]}
            reason = "is a bond, and Talos must know the other cards in it"
            yield Problem(f"physical.nodes.{name}.bond", None, reason, example, because=(key, "cluster.platform"))
        elif re.fullmatch(r"vlan[0-9]+", node.link):
            yield Problem(key, node.interface, "is not how Talos names a VLAN: <card>.<id>", "enp87s0.20", because)
        elif _NO_CARDS.fullmatch(node.link):
            reason = "is neither a network card nor a bond, and Talos would put the address on the card of `mac`"
            yield Problem(key, node.interface, reason, "enp87s0", because)
        elif node.vlan is not None and len(node.link) > LONGEST_VLAN_PARENT:
            reason = (
                f"is a VLAN on a card whose name has more than {LONGEST_VLAN_PARENT} characters: "
                "Talos would shorten it to another name, which Cilium would not know"
            )
            yield Problem(key, node.interface, reason, f"bond0.{node.vlan}, with the card as a bond", because)


def servers(settings: Settings) -> Iterator[Problem]:
    """Nodes ask no resolver or time server that needs the cluster, which needs the nodes: they could not start."""
    physical = settings.physical
    for key, addresses in {"dnsServers": physical.dns_servers, "ntpServers": physical.ntp_servers}.items():
        for address in addresses:
            if found := _part_of_the_cluster(settings, address):
                part, said_by = found
                reason = f"is {part}: a node would need the cluster to start, and the cluster its nodes"
                yield Problem(f"physical.{key}", str(address), reason, EXAMPLES[key], because=(said_by,))


def _part_of_the_cluster(settings: Settings, address: IPv4Address) -> tuple[str, str] | None:
    """What of the cluster has an address, and the key that says so."""
    physical, balancer = settings.physical, settings.load_balancer
    own = {physical.api_vip: ("the API VIP", "physical.apiVip")}
    own |= {node.address: (f"node {name}", f"physical.nodes.{name}") for name, node in physical.nodes.items()}
    for name, given in balancer.addresses.items():
        own[given] = (f"the address of {name}", f"loadBalancer.addresses.{name}")
    if address in own:
        return own[address]
    if pool := balancer.pool_of(address):
        return f"in pool {pool}", f"loadBalancer.pools.{pool}"
    networks = {"podCidr": settings.cluster.pod_cidr, "serviceCidr": settings.cluster.service_cidr}
    return next(
        ((f"in cluster.{key}", f"cluster.{key}") for key, network in networks.items() if address in network), None
    )


RULES = (interfaces, servers)
