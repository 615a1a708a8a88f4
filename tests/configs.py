"""Stack configurations for tests: the shipped one, the running cluster's address plan, and changes to them."""

import json
import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pulumi
import yaml

from components.charts import Chart, Charts
from components.cilium import CiliumNetworkArgs
from components.fields import Problem
from components.nginx import NginxIngressArgs, ServiceType
from components.settings import CHART_VERSIONS, NAMESPACE, Settings, parse

PROJECT = Path(__file__).resolve().parent.parent

STAND_IN_SECRETS: dict[str, str] = yaml.safe_load((PROJECT / "rehearsal/secrets.yaml").read_text())
"""Every secret of the stack, as previews and tests on this machine take them."""


def stack_config(stack: str = "prod") -> dict[str, Any]:
    """The groups of a shipped stack file."""
    config = yaml.safe_load((PROJECT / f"Pulumi.{stack}.yaml").read_text())["config"]
    return {
        key.removeprefix(f"{NAMESPACE}:"): value for key, value in config.items() if key.startswith(f"{NAMESPACE}:")
    }


def running_cluster_config() -> dict[str, Any]:
    """The shipped configuration with the address plan of the running cluster."""
    plan = yaml.safe_load((PROJECT / "tests/profiles/running-cluster.yaml").read_text())
    return merged(stack_config(), plan)


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the mappings of `change` laid over it; None removes a key."""
    result = deepcopy(dict(base))
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = deepcopy(value)
    return result


def charts_without_files(
    model: Charts, names: tuple[str, ...], default_folder: str | None = None
) -> tuple[dict[str, Chart], list[Problem]]:
    """A chart finder that needs no archive: for tests of what the settings make of the rest."""
    versions = CHART_VERSIONS | model.versions
    return {name: Chart(name, version, f".cache/charts/{name}-{version}.tgz") for name, version in versions.items()}, []


def settings_with(change: Mapping[str, Any] | None = None, base: Mapping[str, Any] | None = None) -> Settings:
    """Valid settings: the shipped configuration, or `base`, with a change."""
    return parse(merged(base or stack_config(), change or {}), charts_without_files, STAND_IN_SECRETS)


def set_config(groups: Mapping[str, Any]) -> None:
    """Make groups, and the stand-in's secrets, the config that a program under mocks reads."""
    config = {group: json.dumps(value) for group, value in groups.items()} | STAND_IN_SECRETS
    pulumi.runtime.set_all_config({f"{NAMESPACE}:{key}": value for key, value in config.items()})


def cilium_arguments(settings: Settings) -> CiliumNetworkArgs:
    """What the program hands to the Cilium component."""
    return CiliumNetworkArgs(
        cilium=settings.cilium,
        cluster=settings.cluster,
        physical=settings.physical,
        load_balancer=settings.load_balancer,
        monitoring=settings.monitoring,
        chart=settings.charts["cilium"],
        protect=settings.kubernetes.protect,
    )


def nginx_arguments(settings: Settings, ingress_class: str) -> NginxIngressArgs:
    """What the program hands to the NGINX component of a class."""
    exposed = settings.ingress.classes[ingress_class].service_type is ServiceType.LOAD_BALANCER
    return NginxIngressArgs(
        ingress_class=ingress_class,
        ingress=settings.ingress,
        cluster=settings.cluster,
        monitoring=settings.monitoring,
        chart=settings.charts["ingress-nginx"],
        namespace=settings.ingress.namespace,
        address=settings.load_balancer.addresses[ingress_class] if exposed else None,
    )


def charts_folder() -> Path | None:
    """Where real charts lie on this machine: CHARTS_DIR, else shared/charts beside the project, else nowhere."""
    candidates = [os.environ.get("CHARTS_DIR"), PROJECT.parent / "shared/charts"]
    return next((Path(path).resolve() for path in candidates if path and Path(path).is_dir()), None)
