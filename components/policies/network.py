"""Network policies: default deny by namespace, and the flows that are let through.

Owns the policies. Which ones a configuration asks for is in `settings.policies`; docs/network-policies.md explains it.
"""

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from components.policies import manifests
from settings.policies import flows
from settings.policies.traffic import Policy
from settings.stack import Settings


@dataclass(frozen=True, kw_only=True)
class NetworkPoliciesArgs:
    """The settings of all layers, valid as a whole. Every namespace that they name must exist."""

    settings: Settings


class NetworkPolicies(pulumi.ComponentResource):
    """All network policies (`anton:network:NetworkPolicies`).

    A default deny depends on every policy that allows something, in whatever namespace: it comes last, and goes first.
    `namespaces` are those under default deny.
    """

    namespaces: pulumi.Output[list[str]]

    def __init__(self, name: str, args: NetworkPoliciesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:NetworkPolicies", name, {}, opts)
        settings = args.settings
        if (
            settings.network_policies.uses_proxy
            and settings.tailscale.enabled
            and not settings.network_policies.layer7_tried
        ):
            pulumi.warn(
                "HTTP and domain rules can lose traffic on nodes that run Tailscale 1.98 or newer: try them on one "
                "node, then set networkPolicies.layer7Tried (docs/network-policies.md)",
                self,
            )
        policies = flows.policies(settings)
        allows = [self._policy(name, policy, []) for policy in policies if not policy.denies_only]
        for policy in policies:
            if policy.denies_only:
                self._policy(name, policy, allows)
        self.namespaces = pulumi.Output.from_input(sorted(flows.restricted(settings)))
        self.register_outputs({"namespaces": self.namespaces})

    def _policy(self, name: str, policy: Policy, after: list[pulumi.Resource]) -> pulumi.Resource:
        native = policy.is_native
        # As a manifest in either case: the SDK's class for the native kind costs twice the time (ADR 0008).
        return CustomResource(
            f"{name}-{policy.namespace}-{policy.name}",
            api_version="networking.k8s.io/v1" if native else "cilium.io/v2",
            kind="NetworkPolicy" if native else "CiliumNetworkPolicy",
            metadata={"name": policy.name, "namespace": policy.namespace},
            spec=manifests.native_spec(policy) if native else manifests.cilium_spec(policy),
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )
