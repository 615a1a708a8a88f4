"""Stack configurations for tests: the shipped one, the running cluster's address plan, and changes to them."""

import json
import os
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pulumi
import yaml

from rehearsal.chart_source import choose
from settings.charts.model import CHART_VERSIONS, Chart, Charts
from settings.fields import Problem
from settings.load import parse
from settings.stack import NAMESPACE, Settings

PROJECT = Path(__file__).resolve().parents[2]

STAND_IN_SECRETS: dict[str, str] = yaml.safe_load((PROJECT / "rehearsal/secrets.yaml").read_text())
"""Every secret of the stack, as previews and tests on this machine take them."""


def stack_config(stack: str = "prod") -> dict[str, Any]:
    """The groups of a shipped stack file."""
    return deepcopy(_stack_config(stack))


@cache
def _stack_config(stack: str) -> dict[str, Any]:
    config = yaml.safe_load((PROJECT / f"Pulumi.{stack}.yaml").read_text())["config"]
    return {
        key.removeprefix(f"{NAMESPACE}:"): value for key, value in config.items() if key.startswith(f"{NAMESPACE}:")
    }


def core_config() -> dict[str, Any]:
    """The shipped configuration without its optional layers: what a layer's own tests start from."""
    return deepcopy(_core_config())


@cache
def _core_config() -> dict[str, Any]:
    optional = dict.fromkeys(
        ("certificates", "tailscale", "cloudflare", "applications", "networkPolicies", "discovery"), None
    )
    controllers = {name: {"certificateIssuer": None} for name in stack_config()["ingress"]["classes"]}
    return merged(stack_config(), {**optional, "ingress": {"classes": controllers}})


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


def ingress(name: str, **values: Any) -> dict[str, Any]:
    """A change of one ingress class."""
    return {"ingress": {"classes": {name: values}}}


def charts_without_files(
    model: Charts, names: tuple[str, ...], default_folder: str | None = None
) -> tuple[dict[str, Chart], list[Problem]]:
    """A chart finder that needs no archive: for tests of what the settings make of the rest."""
    versions = CHART_VERSIONS | model.versions
    return {name: Chart(name, version, f".cache/charts/{name}-{version}.tgz") for name, version in versions.items()}, []


def settings_with(change: Mapping[str, Any] | None = None, base: Mapping[str, Any] | None = None) -> Settings:
    """Valid settings: the core of the shipped configuration, or `base`, with a change."""
    return parse(merged(base or _core_config(), change or {}), charts_without_files, STAND_IN_SECRETS)


def set_config(groups: Mapping[str, Any]) -> None:
    """Make groups, and the stand-in's secrets, the config that a program under mocks reads."""
    config = {group: json.dumps(value) for group, value in groups.items()} | STAND_IN_SECRETS
    encrypted = [f"{NAMESPACE}:{key}" for key in STAND_IN_SECRETS]
    pulumi.runtime.set_all_config({f"{NAMESPACE}:{key}": value for key, value in config.items()}, encrypted)


def charts_folder() -> Path | None:
    """Where real charts lie on this machine: CHARTS_DIR, else shared/charts beside the project, else nowhere."""
    candidates = [os.environ.get("CHARTS_DIR"), PROJECT.parent / "shared/charts"]
    return next((Path(path).resolve() for path in candidates if path and Path(path).is_dir()), None)


@cache
def chart_settings() -> dict[str, str]:
    """The `charts` group for stacks that are run: upstream's charts where they are here, else the stand-ins."""
    return choose(os.environ, PROJECT).settings
