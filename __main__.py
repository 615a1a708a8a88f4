"""The network of a cluster, layer by layer; each layer takes what the ones before it give."""

import pulumi
import pulumi_kubernetes as kubernetes

from components import inventory, settings
from components.cilium import CiliumNetwork, CiliumNetworkArgs
from components.nginx import NginxIngress, NginxIngressArgs, ServiceType
from components.nodes import PhysicalNodes, PhysicalNodesArgs

config = settings.load()
provider = kubernetes.Provider(
    "kubernetes",
    context=config.kubernetes.context,
    kubeconfig=config.kubernetes.kubeconfig,
    enable_server_side_apply=True,
)
protect = config.kubernetes.protect

nodes = PhysicalNodes(
    "nodes", PhysicalNodesArgs(physical=config.physical), pulumi.ResourceOptions(providers=[provider])
)

cilium = CiliumNetwork(
    "cilium",
    CiliumNetworkArgs(
        cilium=config.cilium,
        cluster=config.cluster,
        physical=config.physical,
        load_balancer=config.load_balancer,
        monitoring=config.monitoring,
        chart=config.charts["cilium"],
        protect=protect,
    ),
    pulumi.ResourceOptions(providers=[provider], depends_on=nodes.verified),
)

namespace = kubernetes.core.v1.Namespace(
    "network",
    metadata=kubernetes.meta.v1.ObjectMetaArgs(name=config.ingress.namespace),
    opts=pulumi.ResourceOptions(provider=provider, protect=protect, depends_on=nodes.verified),
)

ingress = {
    name: NginxIngress(
        name,
        NginxIngressArgs(
            ingress_class=name,
            ingress=config.ingress,
            cluster=config.cluster,
            monitoring=config.monitoring,
            chart=config.charts["ingress-nginx"],
            namespace=namespace.metadata.name,
            address=config.load_balancer.addresses[name]
            if controller.service_type is ServiceType.LOAD_BALANCER
            else None,
        ),
        pulumi.ResourceOptions(providers=[provider], depends_on=[cilium]),
    )
    for name, controller in config.ingress.classes.items()
}

pulumi.export("node_addresses", nodes.addresses)
pulumi.export("load_balancer_pools", cilium.pools)
pulumi.export("ingress_classes", {name: component.service for name, component in ingress.items()})
for key, value in inventory.exports(config.physical, config.cluster).items():
    pulumi.export(key, value)
kubectl = f"kubectl --context {config.kubernetes.context}"
pulumi.export(
    "next_commands",
    [
        f"{kubectl} get nodes -o wide",
        f"{kubectl} -n kube-system exec ds/cilium -c cilium-agent -- cilium-dbg status",
        f"{kubectl} -n {config.ingress.namespace} get pods -l app.kubernetes.io/name=ingress-nginx",
        f"{kubectl} get ingressclass",
    ],
)
