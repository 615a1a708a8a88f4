"""What every Helm release of the program has in common."""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_kubernetes.helm.v3 import ReleaseArgs

from settings.charts.model import Chart


def release_args(chart: Chart, *, name: str, namespace: pulumi.Input[str], values: dict[str, Any]) -> ReleaseArgs:
    """A release that rolls back by itself when it fails; only one that is killed stays pending (docs/recovery.md).

    The name is fixed: without one the provider makes it up, and the labels that Services select by follow it.
    """
    return ReleaseArgs(
        chart=chart.path,
        version=chart.version,
        name=name,
        namespace=namespace,
        values=values,
        atomic=True,
        cleanup_on_fail=True,
        max_history=10,
        timeout=chart.timeout_seconds,
    )


def one_a_node(labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """`topologySpreadConstraints` that keep the pods with these labels on different nodes."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": dict(labels)},
            # Per revision: else a rolling update finds every node taken by the old pods.
            "matchLabelKeys": ["pod-template-hash"],
        }
    ]
