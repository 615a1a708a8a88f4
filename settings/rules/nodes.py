"""Rules between the nodes and what must be made of them: Talos' patches, DHCP, resolvers."""

import re
from collections.abc import Iterator

from settings.cluster import Platform
from settings.fields import Problem
from settings.stack import Settings

LONGEST_VLAN_PARENT = 10
"""Characters of a card's name; Talos makes up the names of VLANs on longer ones."""

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


RULES = (interfaces,)
