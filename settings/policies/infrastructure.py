"""What the network's own parts need: ingress controllers, DNS, cert-manager and Tailscale; `tunnel` has the tunnel's.

Labels and ports are those of the charts and Deployments of the other layers (tests/charts/test_policies.py compares
them). kube-system is exempt: Cilium, Hubble and CoreDNS have no policies of this program but `exemptions`.
"""

from collections.abc import Iterator
from ipaddress import IPv4Network

from settings.applications import TAILSCALE_CLASS
from settings.fields import Protocol
from settings.ingress import ServiceType, release_name
from settings.policies.traffic import Allow, Entities, Networks, Peer, Pods, Policy, PolicyPort
from settings.stack import Settings

NODES = Entities(("host", "remote-node"))

API_SERVER = Entities(("kube-apiserver",))

WEBHOOK_CALLERS = Entities(("kube-apiserver", "host", "remote-node"))
"""The API server, and the nodes it runs on while Cilium does not know it by name yet."""

EVERYONE = Entities(("all",))

INTERNET = Entities(("world",))

TO_API_SERVER = Allow(peers=(API_SERVER,), ports=(PolicyPort(6443),))

GATEWAY_DNS_PORTS = (PolicyPort(1053, Protocol.UDP), PolicyPort(1053))
"""Ports of k8s-gateway's pods behind port 53 of its Service."""


def namespaces(settings: Settings) -> set[str]:
    """Namespaces of the network's own parts, those of layers that are on."""
    found = {settings.ingress.namespace}
    if settings.certificates.enabled:
        found.add(settings.certificates.namespace)
    if settings.tailscale.enabled:
        found.add(settings.tailscale.namespace)
    return found


def controller(settings: Settings, ingress_class: str) -> Pods:
    """The controller of an ingress class."""
    return _nginx(settings, ingress_class, "controller")


def _nginx(settings: Settings, ingress_class: str, component: str) -> Pods:
    labels = {
        "app.kubernetes.io/name": "ingress-nginx",
        "app.kubernetes.io/instance": release_name(ingress_class),
        "app.kubernetes.io/component": component,
    }
    return Pods(settings.ingress.namespace, labels)


def cloudflared(settings: Settings) -> Pods:
    """The connectors of the Cloudflare tunnel."""
    return Pods(settings.ingress.namespace, {"app.kubernetes.io/name": "cloudflared"})


def tailscale_proxies(settings: Settings) -> Pods:
    """The proxies that the Tailscale operator starts: one for each Ingress, Service or Connector."""
    return Pods(settings.tailscale.namespace, {"tailscale.com/managed": "true"})


def k8s_gateway(settings: Settings) -> Pods:
    """The DNS server for the LAN."""
    return Pods(settings.ingress.namespace, {"app.kubernetes.io/name": "k8s-gateway"})


def prometheus(settings: Settings) -> Pods:
    """The pods that scrape."""
    return Pods(settings.monitoring.namespace, settings.monitoring.prometheus_labels)


def server_of(settings: Settings, ingress_class: str) -> Pods:
    """The pods that serve applications of a class."""
    return tailscale_proxies(settings) if ingress_class == TAILSCALE_CLASS else controller(settings, ingress_class)


def policies(settings: Settings) -> Iterator[Policy]:
    """The allows of all namespaces of the network's own parts, one NetworkPolicy and one CiliumNetworkPolicy a part."""
    needs = [
        *_controllers(settings),
        *_dns(settings),
        *_certificates(settings),
        *_tailscale(settings),
    ]
    for need in needs:
        yield from need.by_kind()
    for namespace, ports in _probe_ports(settings).items():
        probes = Allow(peers=(NODES,), ports=tuple(PolicyPort(port) for port in ports))
        yield Policy(name="allow-probes", pods=Pods(namespace), ingress=(probes,))


def exemptions(settings: Settings) -> Iterator[Policy]:
    """That pods of the cluster itself may do everything: where policies are always enforced, this must be said.

    Namespaces under this program's default deny say themselves what they may do.
    """
    everyone = (Allow(peers=(EVERYONE,)),)
    exempt = {"kube-system"} | ({settings.monitoring.namespace} if settings.monitoring.enabled else set())
    for namespace in sorted(exempt - namespaces(settings)):
        yield Policy(name="allow-system", pods=Pods(namespace), ingress=everyone, egress=everyone)


def _probe_ports(settings: Settings) -> dict[str, tuple[int, ...]]:
    """Ports on which the kubelet asks after the health of pods."""
    found: dict[str, tuple[int, ...]] = {settings.ingress.namespace: (7979, 8080, 8181, 10254)}
    if settings.certificates.enabled:
        found[settings.certificates.namespace] = (6080, 9403)
    if settings.tailscale.enabled:
        found[settings.tailscale.namespace] = (9002,)
    return found


def _scraped(settings: Settings, port: int) -> Allow:
    return Allow(peers=(prometheus(settings),), ports=(PolicyPort(port),))


def _clients(settings: Settings) -> tuple[Peer, ...]:
    """Who may use LoadBalancer addresses: the LAN, the nodes, and the tailnet through a subnet router.

    A node counts as itself and never as an address; so does, without direct server return, every client that arrives
    at another node.
    """
    tailnet = (tailscale_proxies(settings),) if settings.tailscale.enabled else ()
    return (Networks(client_networks(settings)), NODES, *tailnet)


def client_networks(settings: Settings) -> tuple[IPv4Network, ...]:
    """The networks whose clients use LoadBalancer addresses, where nothing else is said."""
    return settings.network_policies.infrastructure.clients or (settings.physical.subnet,)


def _controllers(settings: Settings) -> Iterator[Policy]:
    for name, ingress_class in settings.ingress.classes.items():
        own, backend = controller(settings, name), _nginx(settings, name, "default-backend")
        ingress = [
            _scraped(settings, 10254),
            Allow(peers=(WEBHOOK_CALLERS,), ports=(PolicyPort(8443),)),
        ]
        egress = [TO_API_SERVER]
        if ingress_class.service_type is ServiceType.LOAD_BALANCER:
            ingress.append(Allow(peers=_clients(settings), ports=(PolicyPort(80), PolicyPort(443))))
        if settings.cloudflare.enabled and name == settings.cloudflare.tunnel.ingress_class:
            ingress.append(Allow(peers=(cloudflared(settings),), ports=(PolicyPort(443),)))
        if ingress_class.default_backend:
            egress.append(Allow(peers=(backend,), ports=(PolicyPort(8080),)))
            from_controller = Allow(peers=(own,), ports=(PolicyPort(8080),))
            yield Policy(name=f"allow-{name}-default-backend", pods=backend, ingress=(from_controller,))
        yield Policy(name=f"allow-{name}-controller", pods=own, ingress=tuple(ingress), egress=tuple(egress))
        # The chart's hooks that make the webhook's certificate run before every install and upgrade.
        hooks = _nginx(settings, name, "admission-webhook")
        yield Policy(name=f"allow-{name}-admission-hooks", pods=hooks, egress=(TO_API_SERVER,))


def _dns(settings: Settings) -> Iterator[Policy]:
    namespace = settings.ingress.namespace
    if settings.cloudflare.enabled and settings.cloudflare.dns.external_dns:
        yield Policy(
            name="allow-external-dns",
            pods=Pods(namespace, {"app.kubernetes.io/name": "external-dns"}),
            ingress=(_scraped(settings, 7979),),
            egress=(TO_API_SERVER, Allow(peers=(INTERNET,), ports=(PolicyPort(443),))),
        )
    if settings.discovery.enabled and settings.discovery.lan_dns:
        upstream = Allow(peers=(INTERNET,), ports=(PolicyPort(53, Protocol.UDP), PolicyPort(53)))
        yield Policy(
            name="allow-k8s-gateway",
            pods=k8s_gateway(settings),
            ingress=(_scraped(settings, 9153), Allow(peers=_clients(settings), ports=GATEWAY_DNS_PORTS)),
            egress=(TO_API_SERVER, upstream),
        )


def _certificates(settings: Settings) -> Iterator[Policy]:
    if not settings.certificates.enabled:
        return
    namespace, everyone = settings.certificates.namespace, {"app.kubernetes.io/instance": "cert-manager"}
    yield Policy(
        name="allow-cert-manager",
        pods=Pods(namespace, everyone),
        ingress=(_scraped(settings, 9402),),
        egress=(TO_API_SERVER,),
    )
    # The certificate authority, Cloudflare's API, and DNS over HTTPS for its own checks.
    yield Policy(
        name="allow-cert-manager-controller",
        pods=Pods(namespace, everyone | {"app.kubernetes.io/component": "controller"}),
        egress=(Allow(peers=(INTERNET,), ports=(PolicyPort(443),)),),
    )
    yield Policy(
        name="allow-cert-manager-webhook",
        pods=Pods(namespace, everyone | {"app.kubernetes.io/component": "webhook"}),
        ingress=(Allow(peers=(WEBHOOK_CALLERS,), ports=(PolicyPort(10250),)),),
    )


def _tailscale(settings: Settings) -> Iterator[Policy]:
    """WireGuard picks its ports and peers freely, so that the way out is open; the way in needs no rule (replies)."""
    if not settings.tailscale.enabled:
        return
    outside = (TO_API_SERVER, Allow(peers=(INTERNET,)))
    yield Policy(name="allow-operator", pods=Pods(settings.tailscale.namespace, {"app": "operator"}), egress=outside)
    exposed = [
        Allow(peers=(controller(settings, name),), ports=(PolicyPort(80), PolicyPort(443)))
        for name, ingress_class in settings.ingress.classes.items()
        if ingress_class.service_type is ServiceType.LOAD_BALANCER
    ]
    if settings.discovery.enabled and settings.discovery.lan_dns:
        exposed.append(Allow(peers=(k8s_gateway(settings),), ports=GATEWAY_DNS_PORTS))
    connector = settings.tailscale.connector
    if connector and connector.service_network:
        exposed.append(Allow(peers=(Entities(("cluster",)),)))
    if connector and connector.expose_nodes:
        exposed.append(Allow(peers=(NODES,)))
    yield Policy(
        name="allow-proxies",
        pods=tailscale_proxies(settings),
        ingress=(_scraped(settings, 9002),),
        egress=(*outside, *exposed),
    )
