"""LB-IPAM pools and how their addresses are announced (L2 or BGP), as manifests of Cilium's kinds.

Pure functions; `network.CiliumNetwork` registers the manifests, because Cilium serves their CRDs.
"""

from collections.abc import Sequence
from typing import Any

from settings.load_balancer import Bgp, L2Announcements, LoadBalancer, Reservation
from settings.nodes import AddressRange

POOL = "CiliumLoadBalancerIPPool"


def pools(load_balancer: LoadBalancer, reserved: Sequence[Reservation]) -> list[dict[str, Any]]:
    """The pools: one for each fixed address, which its Service alone can draw from, then the rest of those declared.

    In this order: a pool that overlaps an older one is disabled until that one has shrunk, and an address that was in
    no pool in between would be gone until the next.
    """
    fixed = [
        _manifest(
            "cilium.io/v2",
            POOL,
            each.pool,
            {**_blocks([AddressRange(start=each.address, stop=each.address)]), "serviceSelector": _labelled(each)},
        )
        for each in reserved
    ]
    rest = {name: load_balancer.open_ranges(name) for name in load_balancer.pools}
    return fixed + [_manifest("cilium.io/v2", POOL, name, _blocks(ranges)) for name, ranges in rest.items() if ranges]


def _labelled(reservation: Reservation) -> dict[str, Any]:
    return {"matchLabels": reservation.labels}


def _blocks(ranges: Sequence[AddressRange]) -> dict[str, Any]:
    return {
        "blocks": [{"start": str(part.start), "stop": str(part.stop)} for part in ranges],
        "allowFirstLastIPs": "Yes",
    }


def manifests(
    load_balancer: LoadBalancer, interfaces: tuple[str, ...], reserved: Sequence[Reservation]
) -> list[dict[str, Any]]:
    """The custom resources for pools and announcements: apiVersion, kind, name and spec of each.

    `reserved` are the fixed addresses with their Services. `interfaces` are the names of the nodes' interfaces, used
    where the setting leaves them open.
    Source: CRDs of Cilium 1.19 (facts section 2.3: pools are v2, L2 announcement policies still v2alpha1).
    """
    result = pools(load_balancer, reserved)
    if load_balancer.pools and load_balancer.l2.enabled:
        spec = {
            "nodeSelector": {"matchLabels": {"kubernetes.io/os": "linux"}},
            "interfaces": list(announcing_interfaces(load_balancer.l2, interfaces)),
            "loadBalancerIPs": True,
            "externalIPs": False,
        }
        result.append(_manifest("cilium.io/v2alpha1", "CiliumL2AnnouncementPolicy", "load-balancer", spec))
    return result + (_bgp_manifests(load_balancer.bgp) if load_balancer.bgp else [])


def announcing_interfaces(l2: L2Announcements, interfaces: tuple[str, ...]) -> tuple[str, ...]:
    """The configured expressions, else one exact expression for each declared interface name."""
    return l2.interfaces or tuple(f"^{name.replace('.', '[.]')}$" for name in sorted(set(interfaces)))


def _bgp_manifests(bgp: Bgp) -> list[dict[str, Any]]:
    advertised = {"matchLabels": {"advertise": "load-balancer"}}
    peers = [
        {
            "name": name,
            "peerASN": peer.asn,
            "peerAddress": str(peer.address),
            "peerConfigRef": {"name": "load-balancer"},
        }
        for name, peer in bgp.peers.items()
    ]
    cluster = {
        "nodeSelector": {"matchLabels": {"kubernetes.io/os": "linux"}},
        "bgpInstances": [{"name": "anton", "localASN": bgp.local_asn, "peers": peers}],
    }
    peer_config = {"families": [{"afi": "ipv4", "safi": "unicast", "advertisements": advertised}]}
    advertisement = {
        "advertisements": [
            {
                "advertisementType": "Service",
                "service": {"addresses": ["LoadBalancerIP"]},
                # An expression that every Service matches: the field is required and empty selects none.
                "selector": {"matchExpressions": [{"key": "advertise", "operator": "NotIn", "values": ["never"]}]},
            }
        ]
    }
    return [
        _manifest("cilium.io/v2", "CiliumBGPClusterConfig", "load-balancer", cluster),
        _manifest("cilium.io/v2", "CiliumBGPPeerConfig", "load-balancer", peer_config),
        _manifest("cilium.io/v2", "CiliumBGPAdvertisement", "load-balancer", advertisement)
        | {"labels": advertised["matchLabels"]},
    ]


def _manifest(api_version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"api_version": api_version, "kind": kind, "name": name, "spec": spec}
