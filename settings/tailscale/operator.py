"""The Tailscale operator in the cluster, its proxies, and the subnets that it makes reachable."""

from collections.abc import Iterator
from enum import StrEnum
from ipaddress import IPv4Network
from typing import Annotated

from pydantic import Field

from settings.cluster import Cluster
from settings.discovery import GATEWAY
from settings.fields import DnsLabel, Model, Network, Problem, ResourceAmounts, Resources, below, over
from settings.load_balancer import LoadBalancer
from settings.tailscale.policy import Tag
from settings.tailscale.tailnet import Tailnet

CONNECTOR = "lan"

OPERATOR_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="20m", memory="128Mi"), limits=ResourceAmounts(memory="512Mi")
)

PROXY_RESOURCES = Resources(requests=ResourceAmounts(cpu="20m", memory="64Mi"), limits=ResourceAmounts(memory="256Mi"))


class ApiServerProxy(StrEnum):
    """Whether the operator lets the tailnet reach the API server, and as whom."""

    OFF = "off"
    AUTH = "auth"
    NO_AUTH = "noauth"


class ProxyGroup(Model):
    """Proxies that several Ingress objects share, more than one of each."""

    replicas: int = Field(default=2, ge=2, le=9, description="proxies of the group", examples=[2])


class Connector(Model):
    """A subnet router: what of the LAN the tailnet reaches without a proxy of its own."""

    hostname: DnsLabel = Field(
        default="anton-lan",
        max_length=60,
        description="start of the devices' names, `<hostname>-0` and so on",
        examples=["anton-lan"],
    )
    replicas: int = Field(default=1, ge=1, le=3, description="routers; more than one take over from each other")
    addresses: tuple[DnsLabel, ...] = Field(
        default=(GATEWAY, "internal"),
        description="entries of `loadBalancer.addresses` to advertise, each as one address",
    )
    routes: tuple[Network, ...] = Field(
        default=(), description="further networks to advertise", examples=[["192.168.50.0/24"]]
    )
    service_network: bool = Field(default=False, description="advertise `cluster.serviceCidr`")
    expose_nodes: bool = Field(
        default=False, description="let `routes` hold the addresses of nodes, API server and gateway"
    )
    tags: tuple[Tag, ...] | None = Field(
        default=None,
        min_length=1,
        description="tags of the routers; `tailscale.proxyTags` when unset",
        examples=[["tag:k8s-router"]],
    )

    def problems(self) -> Iterator[Problem]:
        if not self.addresses and not self.routes and not self.service_network:
            reason = "is empty and so are routes: nothing is advertised"
            yield Problem("addresses", [], reason, [GATEWAY], because=("routes", "serviceNetwork"))


class Tailscale(Model):
    """The Tailscale operator and, where wanted, the tailnet itself."""

    enabled: bool = Field(default=False, description="deploy this layer")
    namespace: DnsLabel = Field(
        default="tailscale", description="namespace of the operator and its proxies", examples=["tailscale"]
    )
    hostname: DnsLabel = Field(
        default="tailscale-operator",
        description="the operator's device in the tailnet; another name is a new device",
        examples=["tailscale-operator"],
    )
    operator_tags: tuple[Tag, ...] = Field(
        default=("tag:k8s-operator",), min_length=1, description="tags of the operator's device"
    )
    proxy_tags: tuple[Tag, ...] = Field(
        default=("tag:k8s",), min_length=1, description="tags of the proxies, which the operator's tags must own"
    )
    api_server_proxy: ApiServerProxy = Field(
        default=ApiServerProxy.OFF,
        description="`off`, `auth` (kubectl through the tailnet, as whom the grants say) or `noauth` (the tailnet is "
        "the way, credentials are the caller's own)",
        examples=["auth"],
    )
    priority_class: DnsLabel = Field(
        default="system-cluster-critical", description="priority of the operator and its proxies"
    )
    resources: Annotated[Resources, over(OPERATOR_RESOURCES)] = Field(
        default=OPERATOR_RESOURCES, description="requests and limits of the operator"
    )
    proxy_resources: Annotated[Resources, over(PROXY_RESOURCES)] = Field(
        default=PROXY_RESOURCES, description="requests and limits of each proxy"
    )
    proxy_group: ProxyGroup | None = Field(
        default=None,
        description="proxies shared by the Ingress objects with annotation `tailscale.com/proxy-group: ingress`",
        examples=[{"replicas": 2}],
    )
    connector: Connector | None = Field(
        default=None, description="subnet router from the tailnet to the LAN", examples=[{"addresses": [GATEWAY]}]
    )
    tailnet: Tailnet | None = Field(
        default=None, description="the tailnet itself; unset: somebody else's", examples=[{"magicDns": True}]
    )

    @property
    def connector_tags(self) -> tuple[str, ...]:
        """The tags in force for the subnet routers."""
        return (self.connector.tags if self.connector else None) or self.proxy_tags

    def tag_owners(self) -> dict[str, tuple[str, ...]]:
        """Every tag that the policy file defines, with its owners: the operator owns what its proxies carry."""
        proxies = {*self.proxy_tags, *(self.connector_tags if self.connector else ())}
        derived = dict.fromkeys(sorted(proxies), self.operator_tags) | dict.fromkeys(self.operator_tags, ())
        given = self.tailnet.policy.tag_owners if self.tailnet and self.tailnet.policy else {}
        return derived | given

    def problems(self) -> Iterator[Problem]:
        parts: dict[str, Connector | Tailnet | Resources | None] = {
            "resources": self.resources,
            "proxyResources": self.proxy_resources,
            "connector": self.connector,
            "tailnet": self.tailnet,
        }
        for key, part in parts.items():
            yield from below(key, part.problems()) if part else ()
        for tag in self.operator_tags:
            if tag in self.proxy_tags:
                reason = "is a tag of the operator too: who may reach a proxy could reach the operator"
                yield Problem("proxyTags", tag, reason, ["tag:k8s"], because=("operatorTags",))
        if self.tailnet and self.tailnet.policy:
            yield from self._tag_problems(self.tailnet)

    def _tag_problems(self, tailnet: Tailnet) -> Iterator[Problem]:
        assert tailnet.policy is not None
        owners, own = self.tag_owners(), ("operatorTags", "proxyTags", "connectorTags")
        used = [(f"tailnet.policy.{key}", tag) for key, tag in tailnet.policy.used("tag:")]
        used += [(f"tailnet.authKeys.{name}.tags", tag) for name, key in tailnet.auth_keys.items() for tag in key.tags]
        for key, tag in used:
            if tag not in owners:
                reason = "has no entry in tailscale.tailnet.policy.tagOwners, without which a tag does not exist"
                because = ("tailnet.policy.tagOwners", *own)
                yield Problem(key, tag, reason, {tag: ["autogroup:admin"]}, because)
        for tag in dict.fromkeys((*self.proxy_tags, *(self.connector_tags if self.connector else ()))):
            if not {*owners[tag]} & {*self.operator_tags} and tag not in self.operator_tags:
                reason = "leaves out the operator's tag, without which the operator can give it to no proxy"
                key = f"tailnet.policy.tagOwners.{tag}"
                yield Problem(key, list(owners[tag]), reason, [*owners[tag], self.operator_tags[0]], because=own)


def advertised_routes(connector: Connector, load_balancer: LoadBalancer, cluster: Cluster) -> list[IPv4Network]:
    """What the subnet routers advertise, each network once."""
    addresses = [load_balancer.addresses[name] for name in connector.addresses if name in load_balancer.addresses]
    routes = [*map(IPv4Network, addresses), *connector.routes]
    return list(dict.fromkeys([*routes, cluster.service_cidr] if connector.service_network else routes))
