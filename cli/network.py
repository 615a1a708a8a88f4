"""The network that a stack declares, or that a cluster runs, as one model: pods, Services, routes, tunnel, policies.

`anton reach` walks through it and `anton topology` draws it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from cli.cluster import Cluster
from cli.manifests import RELEASE, Object, is_object
from cli.program import Program, Resource
from cli.verdicts import Manifest
from settings.applications import IMPLEMENTATION_SPECIFIC, TAILSCALE_CLASS
from settings.discovery import GATEWAY
from settings.ingress import ServiceType, release_name
from settings.policies import infrastructure
from settings.policies.flows import KUBE_DNS
from settings.policies.traffic import Pods as Selected
from settings.stack import Settings

WORKLOADS = ("Deployment", "DaemonSet", "StatefulSet", "Job", "CronJob")
POLICIES = ("NetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")
LB_ADDRESS = "lbipam.cilium.io/ips"

_TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflaredConfig:ZeroTrustTunnelCloudflaredConfig"
_RECORD = "cloudflare:index/dnsRecord:DnsRecord"
_ACCESS = "cloudflare:index/zeroTrustAccessApplication:ZeroTrustAccessApplication"
_EXTERNAL_DNS = "external-dns.alpha.kubernetes.io/target"


@dataclass(frozen=True)
class Port:
    """A port that pods listen on."""

    number: int
    protocol: str = "TCP"
    name: str = ""

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"


@dataclass(frozen=True)
class Pods:
    """Pods with the same labels: those of a workload, of a published application, or those that a policy speaks of."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    ports: tuple[Port, ...] = ()

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def selected_by(self, namespace: str, selector: Mapping[str, str]) -> bool:
        """Whether a Service's or a set's selector means these pods."""
        return bool(selector) and namespace == self.namespace and selector.items() <= self.labels.items()

    def endpoint(self) -> dict[str, Any]:
        """As the policy engine takes it."""
        ports = [
            {"name": port.name, "port": port.number, "protocol": port.protocol} for port in self.ports if port.name
        ]
        return {"namespace": self.namespace, "labels": dict(self.labels), "ports": ports}


@dataclass(frozen=True)
class Service:
    """A Service; `ports` maps its own ports to those of the pods (a number or a name)."""

    namespace: str
    name: str
    type: str
    selector: Mapping[str, str]
    ports: Mapping[int, int | str]
    address: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Route:
    """One path of an Ingress. The host is empty for any, on class tailscale it is the device's short name."""

    ingress: str
    ingress_class: str
    host: str
    path: str
    service: str
    port: int | str
    path_type: str = "Prefix"

    def takes(self, path: str) -> bool:
        """Whether the path of a URL is below this one: by elements, by characters where the type leaves it to NGINX."""
        if self.path_type == IMPLEMENTATION_SPECIFIC:
            return path.startswith(self.path)
        wanted, own = self.path.rstrip("/").split("/"), path.rstrip("/").split("/")
        return own[: len(wanted)] == wanted


@dataclass(frozen=True)
class TunnelRule:
    """One ingress rule of the Cloudflare tunnel; the host is empty for the catch-all, the path for any path."""

    host: str
    service: str
    path: str = ""

    def names(self, host: str) -> bool:
        """Whether its host is that one: a leading `*` stands for any number of labels."""
        return not self.host or host == self.host or (self.host.startswith("*.") and host.endswith(self.host[1:]))

    def matches(self, host: str, path: str) -> bool:
        """Whether cloudflared takes this rule for a request; the path must contain its expression."""
        return self.names(host) and re.search(self.path, path) is not None


@dataclass(frozen=True, kw_only=True)
class Network:
    """Everything that decides where traffic goes. `public_names` are host names with a record in the public zone.

    `enforcement` is Cilium's mode, as what this network was made of says it: a stack's settings are of one side only.
    """

    settings: Settings
    pods: tuple[Pods, ...]
    services: tuple[Service, ...]
    routes: tuple[Route, ...]
    tunnel: tuple[TunnelRule, ...]
    public_names: frozenset[str]
    guarded: frozenset[str]
    advertised: frozenset[str]
    policies: tuple[Manifest, ...]
    namespaces: Mapping[str, Mapping[str, str]]
    enforcement: str

    @classmethod
    def declared(cls, settings: Settings, objects: Iterable[Object], resources: Iterable[Resource]) -> Self:
        """The network of a program: its objects, and the pods and Services that its settings speak of."""
        manifests = [entry.manifest for entry in objects if not entry.hook]
        pods = [*_workloads(manifests), *_spoken_of(settings)]
        services = [*_services(manifests), *_application_services(settings)]
        return cls._of(settings, manifests, resources, pods, services)

    @classmethod
    def outline(cls, settings: Settings, resources: Iterable[Resource]) -> Self:
        """As `declared` but with no chart rendered: of what charts bring, it has the Services with a fixed address."""
        known = list(resources)
        manifests = [resource.inputs for resource in known if is_object(resource)]
        services = [*_services(manifests), *_chart_services(settings), *_application_services(settings)]
        return cls._of(settings, manifests, known, [*_workloads(manifests), *_spoken_of(settings)], services)

    @classmethod
    def running(cls, program: Program) -> Self:
        """The network of a program's cluster as it runs now. Raises ClusterError when it can't be reached."""
        return cls.live(program.settings, Cluster.of(program), program.state)

    @classmethod
    def live(cls, settings: Settings, cluster: Cluster, resources: Iterable[Resource]) -> Self:
        """The network of a cluster as it runs now, with what the stack's state says of the edge.

        Raises ClusterError when the cluster can't be reached.
        """
        manifests: list[Manifest] = [
            {"kind": kind, **item} for kind, path in _LISTS.items() for item in cluster.items(path)
        ]
        if config := cluster.find("/api/v1/namespaces/kube-system/configmaps/cilium-config"):
            name = {"name": "cilium-config", "namespace": "kube-system"}
            manifests.append({"kind": "ConfigMap", "metadata": name, "data": config.get("data") or {}})
        pods = [*_running(manifests), *_spoken_of(settings)]
        return cls._of(settings, manifests, resources, pods, _services(manifests))

    @classmethod
    def _of(
        cls,
        settings: Settings,
        manifests: list[Manifest],
        resources: Iterable[Resource],
        pods: Iterable[Pods],
        services: Iterable[Service],
    ) -> Self:
        known = list(resources)
        return cls(
            settings=settings,
            pods=_distinct(pods),
            services=tuple({str(service): service for service in services}.values()),
            routes=tuple(_routes(manifests)),
            tunnel=tuple(_tunnel(known)),
            public_names=frozenset(_public_names(known, manifests)),
            guarded=frozenset(resource.inputs["domain"] for resource in known if resource.type == _ACCESS),
            advertised=frozenset(_advertised(manifests)),
            policies=tuple(manifest for manifest in manifests if manifest["kind"] in POLICIES),
            namespaces={
                manifest["metadata"]["name"]: manifest["metadata"].get("labels") or {}
                for manifest in manifests
                if manifest["kind"] == "Namespace"
            },
            enforcement=_enforcement(manifests, known) or settings.cilium.policy_enforcement.value,
        )

    def behind(self, service: Service) -> list[Pods]:
        """The pods that a Service leads to."""
        return [pods for pods in self.pods if pods.selected_by(service.namespace, service.selector)]

    def service(self, name: str) -> Service | None:
        """The Service `namespace/name`."""
        return next((service for service in self.services if str(service) == name), None)

    def controller(self, ingress_class: str) -> Pods:
        """The pods that serve a class: a controller, or the Tailscale operator's proxies."""
        return self._known(infrastructure.server_of(self.settings, ingress_class), f"{ingress_class} controller")

    def cloudflared(self) -> Pods:
        """The connectors of the tunnel."""
        return self._known(infrastructure.cloudflared(self.settings), "cloudflared")

    def tailscale_proxies(self) -> Pods:
        """The proxies and subnet routers that the Tailscale operator starts."""
        return self._known(infrastructure.tailscale_proxies(self.settings), "tailscale proxies")

    def _known(self, selected: Selected, name: str) -> Pods:
        found = (pods for pods in self.pods if pods.selected_by(selected.namespace, selected.labels))
        return next(found, Pods(selected.namespace, name, selected.labels))


def _enforcement(manifests: Iterable[Manifest], resources: Iterable[Resource]) -> str | None:
    """Cilium's mode by the configuration of its agents, else by the values of its release; None where neither is."""
    for manifest in manifests:
        if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"] == "cilium-config":
            return (manifest.get("data") or {}).get("enable-policy")
    for resource in resources:
        if resource.type == RELEASE and resource.inputs.get("name") == "cilium":
            return (resource.inputs.get("values") or {}).get("policyEnforcementMode")
    return None


_LISTS = {
    "Namespace": "/api/v1/namespaces",
    "Pod": "/api/v1/pods",
    "Service": "/api/v1/services",
    "Ingress": "/apis/networking.k8s.io/v1/ingresses",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
    "CiliumNetworkPolicy": "/apis/cilium.io/v2/ciliumnetworkpolicies",
    "CiliumClusterwideNetworkPolicy": "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies",
    "Connector": "/apis/tailscale.com/v1alpha1/connectors",
}

_OWN_TO_A_POD = ("pod-template-hash", "controller-revision-hash", "pod-template-generation", "apps.kubernetes.io/")


def _distinct(pods: Iterable[Pods]) -> tuple[Pods, ...]:
    """One entry for pods of the same namespace and labels, with the ports of all; the first name stays."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], Pods] = {}
    for entry in pods:
        key = (entry.namespace, frozenset(entry.labels.items()))
        known = found.get(key)
        ports = tuple(dict.fromkeys([*(known.ports if known else ()), *entry.ports]))
        found[key] = Pods(entry.namespace, known.name if known else entry.name, entry.labels, ports)
    return tuple(found.values())


def _workloads(manifests: Iterable[Manifest]) -> Iterator[Pods]:
    for manifest in manifests:
        if manifest["kind"] in WORKLOADS:
            spec = manifest["spec"]
            template = spec["jobTemplate"]["spec"]["template"] if "jobTemplate" in spec else spec["template"]
            labels = (template.get("metadata") or {}).get("labels") or {}
            metadata = manifest["metadata"]
            yield Pods(metadata.get("namespace", "default"), metadata["name"], labels, _ports(template["spec"]))


def _running(manifests: Iterable[Manifest]) -> Iterator[Pods]:
    for manifest in manifests:
        metadata = manifest["metadata"]
        if manifest["kind"] == "Pod" and (manifest.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}:
            labels = {
                key: value for key, value in (metadata.get("labels") or {}).items() if not key.startswith(_OWN_TO_A_POD)
            }
            owner = next(iter(metadata.get("ownerReferences") or ()), {"kind": "", "name": metadata["name"]})
            name = owner["name"].rpartition("-")[0] if owner["kind"] == "ReplicaSet" else owner["name"]
            yield Pods(metadata["namespace"], name, labels, _ports(manifest["spec"]))


def _ports(pod: Mapping[str, Any]) -> tuple[Port, ...]:
    return tuple(
        Port(port["containerPort"], port.get("protocol", "TCP"), port.get("name", ""))
        for container in pod["containers"]
        for port in container.get("ports") or ()
    )


def _spoken_of(settings: Settings) -> Iterator[Pods]:
    """Pods that no workload here brings: of applications, of the Tailscale operator, and those that flows name."""
    for application in settings.published:
        port = Port(application.pod_port)
        yield Pods(application.namespace, application.name, application.pod_labels, (port,))
    dns = (Port(53, "UDP"), Port(53))
    yield Pods(KUBE_DNS.namespace, "coredns", KUBE_DNS.labels, dns)
    if settings.tailscale.enabled:
        proxies = infrastructure.tailscale_proxies(settings)
        yield Pods(proxies.namespace, "tailscale proxies", proxies.labels)
    if settings.monitoring.enabled:
        prometheus = infrastructure.prometheus(settings)
        yield Pods(prometheus.namespace, "prometheus", prometheus.labels)
    for name, namespace in settings.network_policies.namespaces.items():
        for clients in namespace.clients.values():
            ports = tuple(Port(port, clients.protocol.value) for port in clients.ports)
            yield Pods(name, _as_text(clients.labels), clients.labels, ports)
        for flow in namespace.flows.values():
            listening = (Port(flow.port, flow.protocol.value),)
            for group, ports in ((flow.source, ()), (flow.destination, listening)):
                yield Pods(group.namespace or name, _as_text(group.labels), group.labels, ports)


def _as_text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _services(manifests: Iterable[Manifest]) -> Iterator[Service]:
    for manifest in manifests:
        if manifest["kind"] == "Service":
            metadata, spec = manifest["metadata"], manifest["spec"]
            given = ((manifest.get("status") or {}).get("loadBalancer") or {}).get("ingress") or [{}]
            wanted = (metadata.get("annotations") or {}).get(LB_ADDRESS, "") or spec.get("loadBalancerIP", "")
            yield Service(
                metadata.get("namespace", "default"),
                metadata["name"],
                spec.get("type", "ClusterIP"),
                spec.get("selector") or {},
                {port["port"]: port.get("targetPort", port["port"]) for port in spec.get("ports") or ()},
                given[0].get("ip", "") or wanted,
            )


def _chart_services(settings: Settings) -> Iterator[Service]:
    """The Services of charts that have a fixed address."""
    for name, owner in addressed(settings).items():
        namespace, _, service = name.partition("/")
        gateway = owner == GATEWAY
        pods = infrastructure.k8s_gateway(settings) if gateway else infrastructure.controller(settings, owner)
        ports: dict[int, int | str] = {port: port for port in ((53,) if gateway else (80, 443))}
        address = str(settings.load_balancer.addresses[owner])
        yield Service(namespace, service, "LoadBalancer", pods.labels, ports, address)


def addressed(settings: Settings) -> dict[str, str]:
    """The Services `namespace/name` that have a fixed address, each with the name that the address is declared by."""
    services = {
        name: f"{release_name(name)}-controller"
        for name, controller in settings.ingress.classes.items()
        if controller.service_type is ServiceType.LOAD_BALANCER
    }
    if settings.discovery.enabled and settings.discovery.lan_dns:
        services[GATEWAY] = GATEWAY
    return {f"{settings.ingress.namespace}/{service}": owner for owner, service in services.items()}


def _application_services(settings: Settings) -> Iterator[Service]:
    for entry in settings.published:
        ports: dict[int, int | str] = {entry.port: entry.pod_port}
        yield Service(entry.namespace, entry.service, "ClusterIP", entry.pod_labels, ports)


def _routes(manifests: Iterable[Manifest]) -> Iterator[Route]:
    for manifest in manifests:
        if manifest["kind"] != "Ingress":
            continue
        metadata, spec = manifest["metadata"], manifest["spec"]
        ingress_class = spec.get("ingressClassName", "")
        devices = [host for tls in spec.get("tls") or () for host in tls.get("hosts") or ()]
        for rule in spec.get("rules") or ():
            host = rule.get("host", "") or (devices[0] if ingress_class == TAILSCALE_CLASS and devices else "")
            for path in (rule.get("http") or {}).get("paths") or ():
                backend = path["backend"].get("service") or {}
                port = backend.get("port") or {}
                yield Route(
                    f"{metadata['namespace']}/{metadata['name']}",
                    ingress_class,
                    host,
                    path.get("path", "/"),
                    f"{metadata['namespace']}/{backend.get('name', '')}",
                    port.get("number") or port.get("name", ""),
                    path.get("pathType", IMPLEMENTATION_SPECIFIC),
                )


def _tunnel(resources: Iterable[Resource]) -> Iterator[TunnelRule]:
    for resource in resources:
        if resource.type == _TUNNEL:
            for rule in resource.inputs["config"]["ingresses"]:
                yield TunnelRule(rule.get("hostname") or "", rule["service"], rule.get("path") or "")


def _public_names(resources: Iterable[Resource], manifests: Iterable[Manifest]) -> Iterator[str]:
    """Names with a record of the program, and those for which external-dns keeps one."""
    for resource in resources:
        if resource.type == _RECORD:
            yield resource.inputs["name"]
    for manifest in manifests:
        annotations = manifest["metadata"].get("annotations") or {}
        if manifest["kind"] == "Ingress" and _EXTERNAL_DNS in annotations:
            yield from (rule["host"] for rule in manifest["spec"].get("rules") or () if "host" in rule)


def _advertised(manifests: Iterable[Manifest]) -> Iterator[str]:
    for manifest in manifests:
        if manifest["kind"] == "Connector":
            yield from (manifest["spec"].get("subnetRouter") or {}).get("advertiseRoutes") or ()
