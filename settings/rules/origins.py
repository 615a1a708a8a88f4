"""Rules on where the tunnel's own rules lead: under default deny its connectors get there, and are let in."""

from collections.abc import Iterator

from settings.cloudflare.tunnel import Origin, TunnelRule, is_public, origin_of
from settings.fields import Problem
from settings.ingress import release_name
from settings.policies import flows, infrastructure, tunnel
from settings.policies.traffic import Pods
from settings.stack import Settings

BASE = ("networkPolicies",)
"""What rules rest on that judge other layers by which namespaces are under default deny."""


def _origins(settings: Settings) -> Iterator[tuple[str, TunnelRule, Origin]]:
    """The key of each rule's service, the rule, and where it leads."""
    for index, rule in enumerate(settings.cloudflare.tunnel.rules if settings.cloudflare.enabled else ()):
        if origin := origin_of(rule.service):
            yield f"cloudflare.tunnel.rules[{index}].service", rule, origin


def services(settings: Settings) -> Iterator[Problem]:
    """Services to which the tunnel leads past the ingress controller let its connectors in."""
    denied, own = flows.restricted(settings), infrastructure.namespaces(settings)
    connectors = infrastructure.cloudflared(settings)
    accepting = {
        policy.namespace
        for policy in flows.policies(settings)
        for allow in policy.ingress or ()
        if any(isinstance(peer, Pods) and peer.may_overlap(connectors) for peer in allow.peers)
    }
    controller = f"{release_name(settings.cloudflare.tunnel.ingress_class)}-controller"
    for key, rule, origin in _origins(settings):
        service = tunnel.service_of(settings, origin.host)
        if service is None or service.namespace not in denied:
            continue
        if service.namespace in own:
            if service != tunnel.NamedService(settings.ingress.namespace, controller):
                reason = (
                    f"is in namespace {service.namespace} of the network's own parts, whose default deny lets the "
                    "tunnel's connectors in at their controller alone"
                )
                because = (*BASE, "ingress.namespace", "certificates.namespace", "tailscale.namespace")
                yield Problem(key, rule.service, reason, "a Service of applications, with its namespace", because)
        elif service.namespace not in accepting:
            reason = (
                f"is in namespace {service.namespace} under default deny, where no flow lets the tunnel's connectors in"
            )
            labels = ", ".join(f"{label}: {value}" for label, value in connectors.labels.items())
            example = (
                f"a flow under networkPolicies.namespaces.{service.namespace}.flows with "
                f"source: {{namespace: {connectors.namespace}, labels: {{{labels}}}}}"
            )
            yield Problem(key, rule.service, reason, example, because=BASE)


def addresses(settings: Settings) -> Iterator[Problem]:
    """Addresses are outside of the cluster where policies judge: behind a Service's they see pods."""
    if not settings.network_policies.infrastructure.default_deny:
        return
    cluster = settings.cluster
    inside = {"cluster.podCidr": cluster.pod_cidr, "cluster.serviceCidr": cluster.service_cidr}
    for key, rule, origin in _origins(settings):
        address = tunnel.address_of(origin.host)
        if address is None:
            continue
        owner = next((owner for owner, network in inside.items() if address in network), None)
        pool = settings.load_balancer.pool_of(address)
        if place := owner or (pool and f"loadBalancer.pools.{pool}"):
            reason = f"is an address of {place}; Cilium sees the pods behind it, which no address matches"
            yield Problem(key, rule.service, reason, "the Service by name, such as http://name.namespace:80", (place,))


def authorities(settings: Settings) -> Iterator[Problem]:
    """The certificate of an HTTPS origin can be verified, or nobody wants it to be.

    No public authority signs for private addresses and the cluster's own names; cloudflared would answer 502.
    """
    for key, rule, origin in _origins(settings):
        said = rule.origin_server_name or rule.origin_ca_secret or rule.no_tls_verify
        private = not is_public(origin.host) or tunnel.service_of(settings, origin.host)
        if origin.scheme == "https" and private and not said:
            reason = f"would not be trusted: no public authority signs for {origin.host}"
            example = "the same with originCaSecret, with originServerName where its certificate has a public name, or http://"
            prefix = key.removesuffix("service")
            because = tuple(f"{prefix}{name}" for name in ("originServerName", "originCaSecret", "noTlsVerify"))
            yield Problem(key, rule.service, reason, example, because)


RULES = (authorities,)

ENFORCED = (services, addresses)
"""Rules for stacks with network policies only."""
