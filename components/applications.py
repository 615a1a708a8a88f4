"""Applications: an operator's services, published by one typed entry each.

Owns the Ingress objects, never the Services behind them. What else an entry asks for is made by the layer that owns
it: the public name and the Access application (`cloudflare`), the flow from the controller to the pods (`policies`),
the answer on the LAN (`discovery`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from components.certificates import cluster_issuer
from settings.applications import PROXY_GROUP, TAILSCALE_CLASS, Published, covered_by_wildcard
from settings.stack import Settings

UNKNOWN_TAILNET = "<tailnet>.ts.net"
"""Stands for the tailnet's DNS name where the settings do not hold it; the admin console shows it under DNS."""


@dataclass(frozen=True, kw_only=True)
class ApplicationsArgs:
    """The applications, and what the layers before them say about their classes.

    `tunnel_class` is the class behind the Cloudflare tunnel and `tunnel_hostname` the name that its hosts point to,
    both None without Cloudflare; `issuers` names the ClusterIssuer of each class that has one. `proxy_group` names the
    proxies that serve class tailscale together, None where each application has one of its own; `tailnet_domain` is the
    DNS name of the tailnet.
    """

    published: list[Published]
    domain: str
    tunnel_class: str | None
    tunnel_hostname: str | None
    issuers: Mapping[str, str]
    proxy_group: str | None
    tailnet_domain: str = UNKNOWN_TAILNET

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What this component takes of a stack's settings."""
        domain, edge, tailnet = settings.cluster.domain, settings.cloudflare, settings.tailscale.tailnet
        signers = {name: controller.certificate_issuer for name, controller in settings.ingress.classes.items()}
        return cls(
            published=settings.published,
            domain=domain,
            tunnel_class=edge.tunnel.ingress_class if edge.enabled else None,
            tunnel_hostname=edge.hostname(domain) if edge.enabled else None,
            issuers={name: cluster_issuer(settings.certificates, signer) for name, signer in signers.items() if signer},
            proxy_group=PROXY_GROUP if settings.tailscale.proxy_group else None,
            tailnet_domain=tailnet.name if tailnet and tailnet.name.endswith(".ts.net") else UNKNOWN_TAILNET,
        )


class Applications(pulumi.ComponentResource):
    """The published services (`anton:network:Applications`).

    Registers one Ingress an entry. `urls` says where each is reached.
    """

    urls: pulumi.Output[dict[str, str]]

    def __init__(self, name: str, args: ApplicationsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:Applications", name, {}, opts)
        for application in args.published:
            # As a manifest: the SDK's class for it costs twice the time, and a cluster has many (ADR 0008).
            CustomResource(
                f"{name}-{application.name}",
                api_version="networking.k8s.io/v1",
                kind="Ingress",
                metadata={
                    "name": application.name,
                    "namespace": application.namespace,
                    "annotations": _annotations(application, args),
                },
                spec=_tailscale_spec(application)
                if application.ingress_class == TAILSCALE_CLASS
                else _nginx_spec(application, args),
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.urls = pulumi.Output.from_input({each.name: _url(each, args.tailnet_domain) for each in args.published})
        self.register_outputs({"urls": self.urls})


def _url(application: Published, tailnet_domain: str) -> str:
    in_tailnet = application.ingress_class == TAILSCALE_CLASS
    host = f"{application.host}.{tailnet_domain}" if in_tailnet else application.host
    return f"https://{host}{application.path}"


def _annotations(application: Published, args: ApplicationsArgs) -> dict[str, str]:
    """What the controller, external-dns and cert-manager read (facts sections 3.3, 5.2 and 8)."""
    limits = application.limits
    annotations: dict[str, object] = {
        # Whether the Service and its pods are there is their owner's business; an update must not wait for them.
        "pulumi.com/skipAwait": "true",
        "nginx.ingress.kubernetes.io/limit-rpm": limits.requests_per_minute,
        "nginx.ingress.kubernetes.io/limit-connections": limits.connections,
        "nginx.ingress.kubernetes.io/proxy-body-size": limits.body_size,
    }
    if application.ingress_class == args.tunnel_class:
        # Else external-dns would publish the controller's own address, which is private.
        annotations["external-dns.alpha.kubernetes.io/target"] = args.tunnel_hostname
    if application.ingress_class == TAILSCALE_CLASS:
        annotations["tailscale.com/proxy-group"] = args.proxy_group
    else:
        annotations["cert-manager.io/cluster-issuer"] = _own_issuer(application, args)
    return {key: str(value) for key, value in annotations.items() if value is not None}


def _own_issuer(application: Published, args: ApplicationsArgs) -> str | None:
    """The issuer of a certificate for this host alone, None where the class's wildcard is good for it.

    A host behind the tunnel can do without: connectors ask for the tunnel's own name, whatever the host.
    """
    covered = covered_by_wildcard(application.host, args.domain)
    return None if covered else args.issuers.get(application.ingress_class)


def _nginx_spec(application: Published, args: ApplicationsArgs) -> dict[str, Any]:
    tls: dict[str, Any] = {"hosts": [application.host]}
    # Without a Secret the controller takes its default certificate, the wildcard.
    if _own_issuer(application, args):
        tls["secretName"] = f"{application.name}-tls"
    return {
        "ingressClassName": application.ingress_class,
        "tls": [tls],
        "rules": [{"host": application.host, "http": _paths(application)}],
    }


def _tailscale_spec(application: Published) -> dict[str, Any]:
    """The operator names the device after the TLS host and serves no other; a rule therefore names none."""
    return {
        "ingressClassName": TAILSCALE_CLASS,
        "tls": [{"hosts": [application.host]}],
        "rules": [{"http": _paths(application)}],
    }


def _paths(application: Published) -> dict[str, Any]:
    service = {"name": application.service, "port": {"number": application.port}}
    return {"paths": [{"path": application.path, "pathType": application.path_type, "backend": {"service": service}}]}
