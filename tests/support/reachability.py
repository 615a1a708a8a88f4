"""The policies of a stack with every layer on, as the engine that judges them takes them (cli/verdicts.py)."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from cli.verdicts import Manifest
from components.policies.network import NetworkPolicies, NetworkPoliciesArgs
from tests.support.configs import settings_with
from tests.support.recorder import Registration, record

KINDS = {
    "kubernetes:networking.k8s.io/v1:NetworkPolicy": ("networking.k8s.io/v1", "NetworkPolicy"),
    "kubernetes:cilium.io/v2:CiliumNetworkPolicy": ("cilium.io/v2", "CiliumNetworkPolicy"),
}

ID = "0123456789abcdef0123456789abcdef"

FRONTEND, BACKEND = {"labels": {"app": "frontend"}}, {"labels": {"app": "backend"}}

EVERYTHING: dict[str, Any] = {
    "certificates": {"enabled": True},
    "tailscale": {"enabled": True},
    "cloudflare": {"enabled": True, "accountId": ID, "zoneId": ID, "dns": {"externalDns": {}}},
    "discovery": {"enabled": True},
    "applications": {
        "shop": {
            "ingressClass": "external",
            "namespace": "production",
            "service": "frontend",
            "port": 80,
            "podPort": 3000,
        },
        "wiki": {"ingressClass": "internal", "namespace": "production", "port": 80, "podPort": 8000},
        "notes": {"ingressClass": "tailscale", "namespace": "production", "port": 80, "podPort": 8000},
    },
    "networkPolicies": {
        "enabled": True,
        "layer7Tried": True,
        "namespaces": {
            "production": {
                "create": True,
                "probePorts": [8081],
                "flows": {
                    "frontend-to-backend": {"source": FRONTEND, "destination": BACKEND, "port": 8080},
                    "frontend-to-api": {
                        "source": FRONTEND,
                        "destination": {"labels": {"app": "api"}},
                        "port": 80,
                        "http": [
                            {"method": "GET", "path": "/api/v1/.*"},
                            {
                                "method": "POST",
                                "path": "/api/v1/submit",
                                "headers": {"Content-Type": "application/json"},
                            },
                        ],
                    },
                    "batch-to-backend": {
                        "source": {"labels": {"app": "batch"}, "namespace": "staging"},
                        "destination": BACKEND,
                        "port": 8080,
                    },
                },
                "egress": {
                    "payments": {"source": {"labels": {"app": "backend"}}, "to": ["api.example.net", "*.example.org"]},
                    "storage": {"source": {"labels": {"app": "backend"}}, "to": ["192.168.1.20/32"], "ports": [2049]},
                },
                "metrics": {"backend": {"labels": {"app": "backend"}, "port": 9090}},
                "apiServer": {"backend": {"app": "backend"}},
            },
            "staging": {
                "create": True,
                "allowSameNamespace": True,
                "egress": {"crawl": {"source": {"labels": {"app": "batch"}}, "to": ["anywhere"]}},
            },
        },
    },
}
"""Every layer on, with an application of each class."""


def manifests(registrations: Iterable[Registration]) -> list[Manifest]:
    """The policies among recorded resources, as a cluster would get them."""
    return [
        {
            "apiVersion": version,
            "kind": kind,
            "metadata": entry.inputs["metadata"],
            "spec": _with_whole_numbers(entry.inputs["spec"]),
        }
        for entry in registrations
        if entry.type in KINDS
        for version, kind in [KINDS[entry.type]]
    ]


@cache
def policies(*, infrastructure: bool) -> tuple[Manifest, ...]:
    """What the component registers, with or without default deny in the infrastructure's namespaces."""
    change = {**EVERYTHING, "networkPolicies": dict(EVERYTHING["networkPolicies"])}
    change["networkPolicies"]["infrastructure"] = {"defaultDeny": infrastructure}
    settings = settings_with(change)
    args = NetworkPoliciesArgs(settings=settings)
    return tuple(manifests(record(lambda: NetworkPolicies("policies", args))))


def _with_whole_numbers(value: Any) -> Any:
    """Pulumi's protocol knows one kind of number, and so does its recorder; a cluster gets whole ones."""
    if isinstance(value, dict):
        return {key: _with_whole_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
