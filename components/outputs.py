"""The stack's outputs: what a router, a resolver, Talos and an operator read (`pulumi stack output NAME`)."""

from collections.abc import Mapping

import pulumi

from components.applications import Applications
from components.certificates import Certificates
from components.cilium.network import CiliumNetwork
from components.cloudflare.edge import CloudflareEdge
from components.discovery.services import ServiceDiscovery
from components.nginx import NginxIngress
from components.nodes import inventory
from components.nodes.physical import PhysicalNodes
from components.tailscale.ingress import TailscaleIngress
from settings.stack import Settings


def export(  # noqa: PLR0913, PLR0917 - one argument a layer, in their order
    settings: Settings,
    nodes: PhysicalNodes,
    cilium: CiliumNetwork,
    ingress: Mapping[str, NginxIngress],
    certificates: Certificates | None,
    discovery: ServiceDiscovery | None,
    tailscale: TailscaleIngress | None,
    cloudflare: CloudflareEdge | None,
    applications: Applications,
) -> None:
    """Export what the layers give; None is a layer that is off. docs/operations.md says who reads what."""
    pulumi.export("node_addresses", nodes.addresses)
    pulumi.export("load_balancer_pools", cilium.pools)
    pulumi.export("ingress_classes", {name: component.service for name, component in ingress.items()})
    pulumi.export("applications", applications.urls)
    for name, text in inventory.exports(settings).items():
        pulumi.export(name, text)
    if certificates and certificates.ca_certificate_command:
        pulumi.export("ca_certificate_command", certificates.ca_certificate_command)
    for name, text in (discovery.outputs if discovery else {}).items():
        pulumi.export(name, text)
    if tailscale:
        pulumi.export("tailscale_auth_keys", tailscale.auth_keys)
    if cloudflare:
        pulumi.export("tunnel_hostname", cloudflare.tunnel_hostname)
        pulumi.export("dns_names", cloudflare.dns_names)
        pulumi.export("public_hosts", cloudflare.public_hosts)
        pulumi.export("access_aud_tags", cloudflare.access_aud_tags)
        if settings.cloudflare.zone.dnssec:
            pulumi.export("dnssec_ds_record", cloudflare.ds_record)
    pulumi.export("next_commands", _next_commands(settings))


def _next_commands(settings: Settings) -> list[str]:
    """What to look at after an update, layer by layer."""
    kubectl = f"kubectl --context {settings.kubernetes.context}"
    commands = [
        "get nodes -o wide",
        "-n kube-system exec ds/cilium -c cilium-agent -- cilium-dbg status",
        f"-n {settings.ingress.namespace} get pods",
        "get ingressclass,ingress -A",
    ]
    if settings.certificates.enabled:
        commands.append("get clusterissuers,certificates -A")
    if settings.network_policies.enabled:
        commands.append("get networkpolicies,ciliumnetworkpolicies -A")
    return [f"{kubectl} {command}" for command in commands]
