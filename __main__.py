"""The network of a cluster, layer by layer; each layer takes what the ones before it give."""

import pulumi

from components import outputs, providers, sdk
from components.applications import Applications, ApplicationsArgs
from components.certificates import Certificates, CertificatesArgs
from components.cilium.network import CiliumNetwork, CiliumNetworkArgs
from components.cloudflare.edge import CloudflareEdge, CloudflareEdgeArgs
from components.discovery.services import ServiceDiscovery, ServiceDiscoveryArgs
from components.monitoring.network import NetworkMonitoring, NetworkMonitoringArgs
from components.nginx import NginxIngress, NginxIngressArgs
from components.nodes.physical import PhysicalNodes, PhysicalNodesArgs
from components.policies.namespaces import ApplicationNamespaces, ApplicationNamespacesArgs, network_namespace
from components.policies.network import NetworkPolicies, NetworkPoliciesArgs
from components.tailscale.ingress import TailscaleIngress, TailscaleIngressArgs
from settings.load import load

config = load()
accounts = providers.build(config)


def after(*needed: pulumi.Resource | None) -> pulumi.ResourceOptions:
    """Options of a layer that comes when all that others hold is ready; None is a layer that is off."""
    return pulumi.ResourceOptions(providers=accounts, depends_on=[resource for resource in needed if resource])


async def compose() -> None:
    """Make the layers, while the plugins of the accounts start one after the other; the first must be on its way."""
    await accounts[0].urn.future()
    nodes = PhysicalNodes("nodes", PhysicalNodesArgs(physical=config.physical), after())
    verified = pulumi.ResourceOptions(providers=accounts, depends_on=nodes.verified)
    cilium = CiliumNetwork("cilium", CiliumNetworkArgs.of(config), verified)

    network = network_namespace(config, verified)
    namespace = network.metadata.name

    # With the policies off as well: what runs in a namespace must not go with them.
    namespaces = ApplicationNamespaces("namespaces", ApplicationNamespacesArgs.of(config), verified)

    certificates = discovery = tailscale = cloudflare = None
    if config.certificates.enabled:
        certificates = Certificates("certificates", CertificatesArgs.of(config), after(cilium, network))

    ingress = {
        name: NginxIngress(name, NginxIngressArgs.of(config, name, namespace=namespace), after(cilium, certificates))
        for name in config.ingress.classes
    }

    if config.discovery.enabled:
        names = ServiceDiscoveryArgs.of(config, namespace=namespace)
        discovery = ServiceDiscovery("discovery", names, after(cilium, namespaces))

    if config.tailscale.enabled:
        tailscale = TailscaleIngress("tailscale", TailscaleIngressArgs.of(config), after(cilium, discovery))

    if config.cloudflare.enabled:
        service = ingress[config.cloudflare.tunnel.ingress_class].service
        owner = f"{pulumi.get_project()}-{pulumi.get_stack()}"
        edge = CloudflareEdgeArgs.of(config, namespace=namespace, origin_service=service, owner=owner)
        cloudflare = CloudflareEdge("cloudflare", edge, after(*ingress.values()))

    # After the edge: external-dns names an application as soon as it is there, and its login must be there first.
    serving = (*ingress.values(), tailscale, cloudflare, namespaces)
    applications = Applications("applications", ApplicationsArgs.of(config), after(*serving))

    watched = NetworkMonitoringArgs(settings=config, namespace=namespace)
    monitoring = NetworkMonitoring("monitoring", watched, after(network))
    if config.network_policies.enabled:
        # Last: a default deny before what it must let through would cut the cluster off.
        before = after(*serving, applications, discovery, monitoring)
        NetworkPolicies("policies", NetworkPoliciesArgs(settings=config), before)

    outputs.export(config, nodes, cilium, ingress, certificates, discovery, tailscale, cloudflare, applications)
    await sdk.begin()


pulumi.run(compose)
