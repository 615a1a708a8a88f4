"""The providers of a stack, each built once from settings: an ambient kubeconfig or token is never used by accident."""

from collections.abc import Mapping

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_tailscale as tailscale

from components.cloudflare import Cloudflare
from components.cluster import Kubernetes
from components.sdk import cloudflare
from components.tailscale import Tailscale


def build(
    cluster: Kubernetes, edge: Cloudflare, tailnet: Tailscale, secrets: Mapping[str, pulumi.Output[str]]
) -> list[pulumi.ProviderResource]:
    """Providers for the cluster and, where their layers are on, for the Cloudflare account and the tailnet.

    `secrets` holds the stack's secrets by key. A layer that is off has no provider, so its plugin is never started.
    """
    found: list[pulumi.ProviderResource] = [
        kubernetes.Provider(
            "kubernetes",
            context=cluster.context,
            kubeconfig=cluster.kubeconfig,
            enable_server_side_apply=True,
        )
    ]
    if edge.enabled:
        found.append(cloudflare.Provider("cloudflare", api_token=secrets["cloudflareApiToken"]))
    if tailnet.enabled and tailnet.tailnet:
        found.append(
            tailscale.Provider(
                "tailscale",
                oauth_client_id=secrets["tailscaleApiClientId"],
                oauth_client_secret=secrets["tailscaleApiClientSecret"],
                tailnet=tailnet.tailnet.name,
            )
        )
    return found
