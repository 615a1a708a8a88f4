"""Single faults of a configuration with every layer: one wrong value each, and the one key that it is reported at."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from tests.support.faults import EVERY_LAYER, KeyPath, key_of


@dataclass(frozen=True)
class Fault:
    """One wrong value at a path; `key` is where it is reported, the path's own when unset.

    `rests_on` are paths of others with which the verdict on it changes: with a fault there it may be silent.
    """

    path: KeyPath
    value: Any
    key: str = ""
    rests_on: tuple[KeyPath, ...] = ()

    @property
    def reported(self) -> str:
        """The key of its problem."""
        return self.key or key_of(self.path)

    def into(self, raw: dict[str, Any]) -> None:
        """Put the wrong value into a configuration; mappings on the way to it are made."""
        at: Any = raw
        for step in self.path[:-1]:
            at = at.setdefault(step, {}) if isinstance(at, dict) else at[step]
        at[self.path[-1]] = deepcopy(self.value)

    def independent_of(self, other: "Fault") -> bool:
        """Whether neither rests on the other, nor is reported where the other stands."""
        same_place = key_of(self.path) == other.reported or key_of(other.path) == self.reported
        return not (same_place or self._touches(other) or other._touches(self))

    def _touches(self, other: "Fault") -> bool:
        return any(path == other.path[: len(path)] for path in (self.path, *self.rests_on)) or any(
            other.path == path[: len(other.path)] for path in self.rests_on
        )


def fault(dotted: str, value: Any, key: str = "", rests_on: str = "") -> Fault:
    """A fault from paths in which `/` stands between steps."""
    return Fault(_path(dotted), value, key, tuple(_path(path) for path in rests_on.split()))


def _path(dotted: str) -> KeyPath:
    return tuple(int(step) if step.isdigit() else step for step in dotted.split("/"))


def faulty(*faults: Fault) -> dict[str, Any]:
    """The configuration of every layer with some faults in it."""
    raw = deepcopy(EVERY_LAYER)
    for each in faults:
        each.into(raw)
    return raw


APPLICATION = {"namespace": "production", "port": 80, "ingressClass": "internal"}
FLOW = {"source": {"labels": {"app": "a"}}, "destination": {"labels": {"app": "b"}}, "port": 80}

SINGLE = (
    # physical
    fault("physical/gateway", "router"),
    fault("physical/apiVip", "192.168.1.98", "physical.nodes.k8s-1.address", "physical/nodes/k8s-1/address"),
    fault("physical/mtu", 500),
    fault("physical/dnsServers", ["resolver"], "physical.dnsServers[0]"),
    fault("physical/ntpServers", "162.159.200.1"),
    fault("physical/dhcpRange/start", "x"),
    fault("physical/nodes/k8s-1/mac", "x"),
    fault("physical/nodes/k8s-1/rack", "shelf 1"),
    fault("physical/nodes/k8s-1/address", "k8s-1.lan"),
    fault("physical/nodes/k8s-2/address", "10.0.0.7"),
    fault("physical/nodes/k8s-2/mac", "58:47:ca:7a:54:aa", "physical.nodes.k8s-3.mac"),
    fault("physical/nodes/k8s-2/linkSpeedMbps", "fast"),
    fault("physical/nodes/k8s-3/interface", "eth0", rests_on="cilium/devices"),
    fault("physical/nodes/k8s-3/role", "master"),
    # cluster
    fault("cluster/domain", "Example.com"),
    fault("cluster/platform", "windows"),
    fault("cluster/nodePodPrefixLength", "x"),
    fault("kubernetes/context", 5),
    fault("kubernetes/kubeconfig", "/nowhere/kubeconfig"),
    # cilium
    fault("cilium/devices", ["eth0"]),
    fault("cilium/routingMode", "direct"),
    fault("cilium/operator/replicas", 5),
    fault("cilium/agent/maxUnavailable", 3),
    fault("cilium/agent/resources/limits/memory", "1Gi"),
    fault("cilium/hubble/relay", False, "cilium.hubble.ui"),
    fault("cilium/bandwidthManager/enabled", "maybe"),
    fault("cilium/loadBalancing/maglevTableSize", 5),
    fault("cilium/bpfMaps/dynamicSizeRatio", 0.5),
    fault("cilium/socketLbHostNamespaceOnly", False),
    fault("cilium/runningVersion", "1.16"),
    # load balancer
    fault("loadBalancer/pools/lan/stop", "x"),
    fault("loadBalancer/pools/second", {"start": "192.168.1.1", "stop": "192.168.1.2"}, rests_on="physical/gateway"),
    fault(
        "loadBalancer/pools/third",
        {"start": "192.168.1.98", "stop": "192.168.1.98"},
        rests_on="physical/nodes/k8s-1/address physical/apiVip",
    ),
    fault("loadBalancer/pools/fourth", {"start": "192.168.1.100", "stop": "192.168.1.100"}),
    fault("loadBalancer/addresses/k8s-gateway", "x"),
    fault("loadBalancer/addresses/other", "192.168.1.103"),
    fault("loadBalancer/addresses/another", "192.168.1.250", rests_on="loadBalancer/pools"),
    fault("loadBalancer/l2/interfaces", ["^eth0$"], rests_on="physical/nodes/k8s-3/interface"),
    fault("loadBalancer/l2/leaseDurationSeconds", 1),
    # certificates
    fault("certificates/replicas", 9),
    fault("certificates/letsencrypt/environment", "prod"),
    fault("certificates/letsencrypt/durationDays", 10, "certificates.letsencrypt.renewBeforeDays"),
    fault("certificates/internalCa/renewBeforeDays", "x"),
    # ingress
    fault("ingress/classes/internal/replicas", "two"),
    fault("ingress/classes/external/replicas", "two"),
    fault("ingress/classes/internal/limits", {"connections": 0}, "ingress.classes.internal.limits.connections"),
    fault("ingress/classes/internal/certificateIssuer", "lets-encrypt"),
    fault(
        "ingress/classes/internal/tuning",
        {"clientMaxBodySize": "50 MB"},
        "ingress.classes.internal.tuning.clientMaxBodySize",
    ),
    fault("ingress/classes/third/minAvailable", 2, rests_on="ingress/classes/third/replicas"),
    fault("ingress/classes/third/electionId", "Third"),
    fault("ingress/classes/third/replicas", 9),
    fault("ingress/classes/third/serviceType", "LoadBalancer"),
    fault("ingress/classes/external/autoscaling/maxReplicas", 9),
    fault("ingress/classes/nginx", {}),
    fault("ingress/classes/Fifth", {}),
    fault("ingress/image", "controller"),
    # tailscale
    fault("tailscale/hostname", "k8s-1"),
    fault("tailscale/connector/addresses", ["k8s-gateway", "internal", "nobody"]),
    fault("tailscale/connector/routes", ["192.168.1.98/32"], rests_on="physical/nodes/k8s-1/address physical/apiVip"),
    fault("tailscale/connector/replicas", "two"),
    fault("tailscale/tailnet/magicDns", "yes please"),
    fault("tailscale/tailnet/policy/grants/admins/ip", ["tcp"], "tailscale.tailnet.policy.grants.admins.ip[0]"),
    fault("tailscale/tailnet/policy/grants/admins/src", ["group:nobody"]),
    # cloudflare
    fault("cloudflare/accountId", "x"),
    fault("cloudflare/zoneId", "x"),
    fault("cloudflare/plan", "gold"),
    fault("cloudflare/tunnel/logLevel", "verbose"),
    fault("cloudflare/tunnel/replicas", 9),
    fault("cloudflare/tunnel/ingressClass", "nobody"),
    fault("cloudflare/tunnel/rules/0/host", "Bad_"),
    fault("cloudflare/tunnel/rules/1/host", "other.example.org", rests_on="cluster/domain"),
    fault("cloudflare/dns/records/mx/priority", "x"),
    fault("cloudflare/dns/records/www/ttl", 5),
    fault(
        "cloudflare/dns/records/away",
        {"name": "a.example.org", "type": "A", "content": "203.0.113.9"},
        "cloudflare.dns.records.away.name",
        "cluster/domain",
    ),
    fault(
        "cloudflare/dns/records/twice",
        {"name": "photos2.example.com", "type": "A", "content": "x"},
        "cloudflare.dns.records.twice.content",
    ),
    fault("cloudflare/dns/externalDns/intervalSeconds", 0),
    fault("cloudflare/zone/settings/minTls", "TLSv1.1"),
    fault("cloudflare/zone/bots/fightMode", "often"),
    fault("cloudflare/zone/rules/custom/0/expression", "nonsense("),
    fault("cloudflare/zone/rules/custom/1/action", "log", rests_on="cloudflare/plan"),
    fault("cloudflare/zone/rules/countries/hosts", ["a.example.org"], rests_on="cluster/domain"),
    fault("cloudflare/zone/rules/cache/static/edgeTtlSeconds", 60, rests_on="cloudflare/plan"),
    fault("cloudflare/access/groups/staff/emails", ["nobody"], "cloudflare.access.groups.staff.emails[0]"),
    fault("cloudflare/access/policies/hooks/reason", 5),
    fault("cloudflare/access/applications/admin/policies", ["nobody"]),
    # applications
    fault("applications/a", APPLICATION | {"ingressClass": "internl"}, "applications.a.ingressClass"),
    fault("applications/b", APPLICATION | {"host": "b.example.org"}, "applications.b.host", "cluster/domain"),
    fault(
        "applications/c",
        APPLICATION | {"ingressClass": "external", "host": "external.example.com"},
        "applications.c.host",
        "cloudflare/tunnel/ingressClass cloudflare/tunnel/hostname",
    ),
    fault("applications/d", APPLICATION | {"port": "http"}, "applications.d.port"),
    fault("applications/e", APPLICATION | {"host": "photos.example.com"}, "applications.e.host"),
    fault(
        "applications/f", APPLICATION | {"access": ["staff"]}, "applications.f.access", "cloudflare/tunnel/ingressClass"
    ),
    fault(
        "applications/g",
        APPLICATION | {"ingressClass": "external", "access": ["nobody"]},
        "applications.g.access",
        "cloudflare/tunnel/ingressClass",
    ),
    fault("applications/media/limits", {"bodySize": "1 GB"}, "applications.media.limits.bodySize"),
    fault("applications/photos/podPort", 0),
    fault("applications/k8s-2", APPLICATION | {"ingressClass": "tailscale"}, "applications.k8s-2"),
    # policies
    fault("networkPolicies/namespaces/kube-system", {}),
    fault("networkPolicies/namespaces/network", {}),
    fault(
        "networkPolicies/namespaces/production/flows/misplaced",
        FLOW
        | {
            "source": {"namespace": "a", "labels": {"app": "a"}},
            "destination": {"namespace": "b", "labels": {"app": "b"}},
        },
    ),
    fault(
        "networkPolicies/namespaces/production/flows/typed",
        FLOW | {"port": "http"},
        "networkPolicies.namespaces.production.flows.typed.port",
    ),
    fault(
        "networkPolicies/namespaces/production/flows/bare",
        FLOW | {"source": {"app": "a"}},
        "networkPolicies.namespaces.production.flows.bare.source",
    ),
    fault("networkPolicies/namespaces/production/egress/net/to", ["10.244.7.0/24"]),
    fault(
        "networkPolicies/namespaces/production/egress/api/to",
        ["API.example.org"],
        "networkPolicies.namespaces.production.egress.api.to[0]",
    ),
    fault("networkPolicies/namespaces/production/podSecurity", "strict"),
    fault("networkPolicies/namespaces/media/probePorts", ["http"], "networkPolicies.namespaces.media.probePorts[0]"),
    # discovery
    fault("discovery/lanDns/replicas", 9),
    fault("discovery/lanDns/fallthroughZones", ["example.org"], rests_on="cluster/domain"),
    fault("discovery/lanDns/upstreams", ["192.168.1.1"], rests_on="physical/gateway"),
    fault("discovery/coredns/upstreams", ["x"], "discovery.coredns.upstreams[0]"),
    fault("discovery/coredns/zones/cluster.local", ["1.1.1.1"]),
    fault("discovery/coredns/zones/corp.example", ["10.96.0.10"]),
    fault("discovery/services/db/namespace", "kube-system"),
    fault("discovery/services/rep/ports/http/port", 0),
    # monitoring
    fault("monitoring/enabled", "perhaps"),
    fault("monitoring/alerts/dns/syncStaleMinutes", 1, rests_on="cloudflare/dns/externalDns/intervalSeconds"),
    fault("monitoring/alerts/certificates/expiryCriticalDays", "x"),
    fault("charts/versions/cilium", 5),
)
"""One row a fault."""
