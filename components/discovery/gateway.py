"""k8s-gateway, the DNS of `cluster.domain` for the LAN: the values of its chart."""

from ipaddress import IPv4Address
from typing import Any

from components.charts import one_a_node
from components.discovery.corefile import METRICS_PORT
from settings.discovery import GATEWAY, LanDns
from settings.ingress import Ingress, ServiceType

GATEWAY_LABELS = {"app.kubernetes.io/name": GATEWAY, "app.kubernetes.io/instance": GATEWAY}
"""What the chart selects its pods by."""


def lan_classes(ingress: Ingress) -> list[str]:
    """The ingress classes that have an address on the LAN."""
    return [name for name, entry in ingress.classes.items() if entry.service_type is ServiceType.LOAD_BALANCER]


def gateway_values(gateway: LanDns, domain: str, ingress_classes: list[str], address: IPv4Address) -> dict[str, Any]:
    """The values of the k8s-gateway chart (3.7). Every key is proved by rendering in tests/charts/test_k8s_gateway.py.

    `ingress_classes` are those whose hosts are answered; without any, only Services are.
    """
    zones = [domain] if gateway.fallthrough_zones is None else list(gateway.fallthrough_zones)
    return {
        "domain": domain,
        "ttl": gateway.ttl_seconds,
        # An empty filter would mean every class, the tailnet's included.
        "watchedResources": ["Ingress", "Service"] if ingress_classes else ["Service"],
        "filters": {"ingressClasses": ingress_classes},
        "fallthrough": {"enabled": bool(zones), "zones": zones},
        "extraZonePlugins": _gateway_plugins(gateway),
        "service": {
            "type": "LoadBalancer",
            "annotations": {"lbipam.cilium.io/ips": str(address)},
            # Answers beyond 512 bytes, or cut short, are asked for again over TCP.
            "useTcp": True,
            # Local would black-hole queries whenever the node that announces the address runs no pod.
            "externalTrafficPolicy": "Cluster",
        },
        "replicaCount": gateway.replicas,
        "priorityClassName": "system-cluster-critical",
        "topologySpreadConstraints": one_a_node(GATEWAY_LABELS),
        "resources": gateway.resources.values(),
        "podSecurityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _gateway_plugins(gateway: LanDns) -> list[dict[str, str]]:
    """The chart's own list, without its query log, and with other upstreams.

    The chart forwards to the pod's resolver, which is CoreDNS. Where that forwards `cluster.domain` to k8s-gateway, a
    name that falls through would go round between the two.
    """
    return [
        {"name": "errors"},
        {"name": "health", "configBlock": "lameduck 5s"},
        {"name": "ready"},
        {"name": "prometheus", "parameters": f"0.0.0.0:{METRICS_PORT}"},
        {"name": "forward", "parameters": " ".join([".", *map(str, gateway.upstreams)])},
        {"name": "loop"},
        {"name": "reload"},
        {"name": "loadbalance"},
    ]
