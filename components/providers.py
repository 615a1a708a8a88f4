"""The providers of a stack, each built once from settings: an ambient kubeconfig or token is never used by accident."""

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_tailscale as tailscale

from components.sdk import cloudflare
from settings.stack import Settings


def build(settings: Settings) -> list[pulumi.ProviderResource]:
    """Providers for the cluster and, where their layers are on, for the Cloudflare account and the tailnet.

    A layer that is off has no provider, so its plugin is never started.
    """
    found: list[pulumi.ProviderResource] = [
        kubernetes.Provider(
            "kubernetes",
            context=settings.kubernetes.context,
            kubeconfig=settings.kubernetes.kubeconfig,
            enable_server_side_apply=True,
        )
    ]
    if settings.cloudflare.enabled:
        found.append(cloudflare.Provider("cloudflare", api_token=settings.secrets["cloudflareApiToken"]))
    tailnet = settings.tailscale.tailnet
    if settings.tailscale.enabled and tailnet:
        found.append(
            tailscale.Provider(
                "tailscale",
                oauth_client_id=settings.secrets["tailscaleApiClientId"],
                oauth_client_secret=settings.secrets["tailscaleApiClientSecret"],
                tailnet=tailnet.name,
                scopes=tailnet.scopes or None,
            )
        )
    return found
