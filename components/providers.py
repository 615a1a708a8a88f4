"""The providers of a stack, each built once from settings: an ambient kubeconfig or token is never used by accident."""

from collections.abc import Mapping

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_tailscale as tailscale

from components.rules.layers import Layers
from components.sdk import cloudflare


def build(layers: Layers, secrets: Mapping[str, pulumi.Output[str]]) -> list[pulumi.ProviderResource]:
    """Providers for the cluster and, where their layers are on, for the Cloudflare account and the tailnet.

    `secrets` holds the stack's secrets by key. A layer that is off has no provider, so its plugin is never started.
    """
    found: list[pulumi.ProviderResource] = [
        kubernetes.Provider(
            "kubernetes",
            context=layers.kubernetes.context,
            kubeconfig=layers.kubernetes.kubeconfig,
            enable_server_side_apply=True,
        )
    ]
    if layers.cloudflare.enabled:
        found.append(cloudflare.Provider("cloudflare", api_token=secrets["cloudflareApiToken"]))
    tailnet = layers.tailscale.tailnet
    if layers.tailscale.enabled and tailnet:
        found.append(
            tailscale.Provider(
                "tailscale",
                oauth_client_id=secrets["tailscaleApiClientId"],
                oauth_client_secret=secrets["tailscaleApiClientSecret"],
                tailnet=tailnet.name,
                scopes=tailnet.scopes or None,
            )
        )
    return found
