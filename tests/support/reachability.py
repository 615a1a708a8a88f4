"""Policies that a component registers, as the engine that judges them takes them (cli/verdicts.py)."""

from collections.abc import Iterable
from typing import Any

from cli.verdicts import Manifest
from tests.support.recorder import Registration

KINDS = {
    "kubernetes:networking.k8s.io/v1:NetworkPolicy": ("networking.k8s.io/v1", "NetworkPolicy"),
    "kubernetes:cilium.io/v2:CiliumNetworkPolicy": ("cilium.io/v2", "CiliumNetworkPolicy"),
}


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


def _with_whole_numbers(value: Any) -> Any:
    """Pulumi's protocol knows one kind of number, and so does its recorder; a cluster gets whole ones."""
    if isinstance(value, dict):
        return {key: _with_whole_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
