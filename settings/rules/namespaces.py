"""Rules on who owns a namespace: each layer creates its own, with the Pod Security level that its pods need."""

from collections.abc import Iterator
from dataclasses import dataclass

from settings.certificates import CertManager
from settings.fields import Model, Problem
from settings.ingress import Ingress
from settings.stack import Settings
from settings.tailscale.operator import Tailscale

SYSTEM_NAMESPACES = {
    "default": "is where things land by accident",
    "kube-system": "holds Cilium and the cluster's DNS; a label or a policy there can cut the cluster off",
    "kube-public": "belongs to Kubernetes",
    "kube-node-lease": "belongs to Kubernetes",
    "cilium-secrets": "belongs to Cilium, whose chart creates it",
    "cilium-spire": "belongs to Cilium, whose chart creates it",
}
"""Namespaces that exist without this program, or that Cilium's chart creates, with their owner in words."""


@dataclass(frozen=True)
class _Own:
    """The namespace of a layer: the key that names it, its name, and the name by default."""

    key: str
    name: str
    usual: str

    @property
    def chosen(self) -> bool:
        """Whether it is another than by default: then its key is the one to change where two meet."""
        return self.name != self.usual


def _own(settings: Settings) -> list[_Own]:
    """The namespaces that the program creates for its own parts."""
    found = [_Own("ingress.namespace", settings.ingress.namespace, _usual(Ingress))]
    if settings.certificates.enabled:
        found.append(_Own("certificates.namespace", settings.certificates.namespace, _usual(CertManager)))
    if settings.tailscale.enabled:
        found.append(_Own("tailscale.namespace", settings.tailscale.namespace, _usual(Tailscale)))
    return found


def _usual(layer: type[Model]) -> str:
    name: str = layer.model_fields["namespace"].default
    return name


def layers(settings: Settings) -> Iterator[Problem]:
    """Each layer has a namespace to itself: two would label one differently, and the later one undoes the other."""
    for layer in _own(settings):
        if owner := SYSTEM_NAMESPACES.get(layer.name):
            yield Problem(layer.key, layer.name, f"{owner}; this layer creates its own", layer.usual)
        elif key := next(_other_owners(settings, layer), None):
            reason = f"is {key}; this layer creates its own, with the Pod Security level that its pods need"
            yield Problem(layer.key, layer.name, reason, layer.usual, because=(key,))


def _other_owners(settings: Settings, layer: _Own) -> Iterator[str]:
    """The keys of those whose namespace a layer has taken."""
    own = _own(settings)
    for other in own:
        is_earlier = own.index(other) < own.index(layer)
        if other.name == layer.name and (layer.chosen > other.chosen or (layer.chosen == other.chosen and is_earlier)):
            yield other.key
    if layer.chosen and layer.name == settings.monitoring.namespace:
        yield "monitoring.namespace"
    if layer.chosen and layer.name in settings.network_policies.namespaces:
        yield f"networkPolicies.namespaces.{layer.name}"


def applications(settings: Settings) -> Iterator[Problem]:
    """Namespaces of applications are no layer's own."""
    for layer in _own(settings):
        if layer.name in settings.network_policies.namespaces and not layer.chosen:
            key = f"networkPolicies.namespaces.{layer.name}"
            reason = "belongs to the network's own parts; networkPolicies.infrastructure.defaultDeny is for them"
            yield Problem(key, layer.name, reason, "production", because=(layer.key,))


def foreign(settings: Settings) -> Iterator[Problem]:
    """Single objects go into namespaces of applications, never into the cluster's own."""
    named: dict[str, tuple[str, str]] = {}
    if settings.discovery.enabled:
        for name, service in settings.discovery.services.items():
            named[f"discovery.services.{name}.namespace"] = (service.namespace, "production")
    dashboard = settings.monitoring.dashboard_namespace
    if settings.monitoring.enabled and settings.monitoring.dashboard and dashboard:
        named["monitoring.dashboardNamespace"] = (dashboard, "monitoring")
    for key, (name, example) in named.items():
        if name != "default" and name in SYSTEM_NAMESPACES:
            yield Problem(key, name, f"belongs to the cluster: {SYSTEM_NAMESPACES[name]}", example)


RULES = (layers, applications, foreign)
