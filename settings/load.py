"""The stack's configuration, read once into typed settings.

`load` reads Pulumi config and the environment; it either returns settings that every component can rely on, or raises
ConfigError with all the faults it found, before any resource is registered.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env, is_config_secret

from settings import secrets
from settings.cautions import cautions
from settings.charts.find import ChartFinder, find_charts
from settings.cluster import Kubernetes
from settings.errors import ConfigError
from settings.fields import Problem
from settings.parsing import HIDDEN, concealed, nearest_key, parse_group, unknown_key
from settings.report import Report
from settings.rules import RULES
from settings.stack import GROUPS, NAMESPACE, Settings


def load() -> Settings:
    """The settings of the current stack; what to think about is said as warnings.

    Raises ConfigError with every fault found.
    """
    config = pulumi.Config(NAMESPACE)
    raw = {group: config.get_object(group) for group in GROUPS}
    given = {secret.key: value for secret in secrets.SECRETS if (value := config.get(secret.key))}
    folder = os.environ.get("CHARTS_DIR") or None
    try:
        settings = parse(
            {group: value for group, value in raw.items() if value is not None} | _unknown_groups(),
            partial(find_charts, default_folder=folder),
            given,
            [key for key in given if not is_config_secret(f"{NAMESPACE}:{key}")],
        )
    except ConfigError as error:
        raise ConfigError([_without_secrets(problem) for problem in error.problems]) from None
    for caution in cautions(settings):
        pulumi.warn(str(caution))
    return replace(settings, secrets={key: pulumi.Output.secret(value) for key, value in given.items()})


def _without_secrets(problem: Problem) -> Problem:
    """A problem without its value, where the stack file has something in its group encrypted."""
    group = problem.key.partition(".")[0]
    return replace(problem, value=HIDDEN) if is_config_secret(f"{NAMESPACE}:{group}") else problem


def _unknown_groups() -> dict[str, str]:
    """Keys of this project's namespace that no group reads. `pulumi.Config` can't list keys."""
    prefix = f"{NAMESPACE}:"
    names = {name.removeprefix(prefix) for name in {*CONFIG.get(), *get_config_env()} if name.startswith(prefix)}
    known = GROUPS.keys() | {secret.key for secret in secrets.SECRETS}
    return dict.fromkeys(sorted(names - known), "(set)")


def parse(
    raw: Mapping[str, Any],
    get_charts: ChartFinder,
    given_secrets: Mapping[str, str],
    unencrypted: Collection[str] = (),
) -> Settings:
    """Settings from a mapping of config key to object, and the secrets by key, which are only judged here.

    `unencrypted` are the keys of secrets in plain text. Raises ConfigError with every fault found.
    """
    report = Report()
    meant = _unknown(raw, report)
    models: dict[str, Any] = {}
    for group, model in GROUPS.items():
        reading = parse_group(model, raw.get(group, {}))
        models[group] = reading.model
        if group not in meant:
            report.add([secrets.directed(fault.under(group)) for fault in reading.problems])
        report.suspect(f"{group}.{key}" for key in reading.meant)
        report.renumber({f"{group}.{key}": places for key, places in reading.numbering.items()})
    layers = {_snake_case(group): model for group, model in models.items() if group != "charts"}
    settings = Settings(**layers, charts={})
    found, faults = get_charts(models["charts"], _charts_in_use(settings))
    settings = replace(settings, charts=found)
    report.judge(
        (replace(fault, because=("charts.folder",)) for fault in faults),
        *(_below(group, parsed.problems()) for group, parsed in models.items()),
        _kubeconfig(settings.kubernetes),
        secrets.problems(settings, given_secrets, unencrypted),
    )
    report.judge(*(rule(settings) for rule in RULES))
    if report.problems:
        raise ConfigError(report.problems)
    return settings


def _unknown(raw: Mapping[str, Any], report: Report) -> set[str]:
    """Report the keys of no group; the groups that are probably meant by them."""
    known = [*GROUPS, *(secret.key for secret in secrets.SECRETS)]
    unknown = [key for key in raw if key not in GROUPS]
    report.add(Problem(key, concealed(raw[key], key), unknown_key(key, known), "without this key") for key in unknown)
    meant = {near for key in unknown if (near := nearest_key(key, known)) and near not in raw}
    report.suspect(meant)
    return meant


def _below(group: str, faults: Iterator[Problem]) -> Iterator[Problem]:
    return (fault.under(group) for fault in faults)


def _charts_in_use(settings: Settings) -> tuple[str, ...]:
    """The charts of the layers that are on: a stack without Tailscale needs no way to get its chart."""
    layers = {
        "cilium": True,
        "ingress-nginx": bool(settings.ingress.classes),
        "cert-manager": settings.certificates.enabled,
        "tailscale-operator": settings.tailscale.enabled,
        "external-dns": settings.cloudflare.enabled and settings.cloudflare.dns.external_dns is not None,
        "k8s-gateway": settings.discovery.enabled,
    }
    return tuple(name for name, used in layers.items() if used)


def _snake_case(key: str) -> str:
    return re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", key)


def _kubeconfig(kubernetes: Kubernetes) -> Iterator[Problem]:
    """A kubeconfig that is named must be there; the provider would say so in the middle of an update only."""
    path = kubernetes.kubeconfig
    if path and not Path(path).is_file():
        yield Problem("kubernetes.kubeconfig", path, "is not a file", "the path of a kubeconfig, or without this key")
