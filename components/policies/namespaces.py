"""Namespaces: that of the ingress controllers, and those of applications where the program is to make them.

They come before everything that goes into them (Ingress objects, Services, policies); what may pass between them is
`policies`' business.
"""

from dataclasses import dataclass
from typing import Self

import pulumi
from pulumi_kubernetes.core.v1 import Namespace
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from settings.policies.model import PodSecurity, Policies
from settings.stack import Settings


def network_namespace(settings: Settings, opts: pulumi.ResourceOptions) -> Namespace:
    """The namespace of the ingress controllers and what stands beside them; gone with it is all access from outside."""
    labels = {"enforce": PodSecurity.BASELINE, "warn": PodSecurity.RESTRICTED}
    return Namespace(
        "network",
        metadata=ObjectMetaArgs(name=settings.ingress.namespace, labels=_pod_security(labels)),
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=settings.kubernetes.protect)),
    )


def _pod_security(levels: dict[str, PodSecurity]) -> dict[str, str]:
    return {f"pod-security.kubernetes.io/{mode}": level.value for mode, level in levels.items()}


@dataclass(frozen=True, kw_only=True)
class ApplicationNamespacesArgs:
    """`policies` holds the namespaces. `protect` refuses to delete them, and all that is in them."""

    policies: Policies
    protect: bool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What this component takes of a stack's settings."""
        return cls(policies=settings.network_policies, protect=settings.kubernetes.protect)


class ApplicationNamespaces(pulumi.ComponentResource):
    """Namespaces with `create` under `networkPolicies.namespaces` (`anton:network:ApplicationNamespaces`).

    Each enforces its Pod Security level and reports what would violate `restricted`. `created` are their names.
    """

    created: pulumi.Output[list[str]]

    def __init__(self, name: str, args: ApplicationNamespacesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:ApplicationNamespaces", name, {}, opts)
        created = {namespace: entry for namespace, entry in args.policies.namespaces.items() if entry.create}
        for namespace, entry in created.items():
            levels = {"enforce": entry.pod_security, "audit": PodSecurity.RESTRICTED, "warn": PodSecurity.RESTRICTED}
            Namespace(
                f"{name}-{namespace}",
                metadata=ObjectMetaArgs(name=namespace, labels=_pod_security(levels)),
                opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
            )
        self.created = pulumi.Output.from_input(list(created))
        self.register_outputs({"created": self.created})
