"""The stack's configuration, read once into typed settings.

This is the only module that reads Pulumi config, the environment and files. `load` either returns settings that every
component can rely on, or raises ConfigError with all the faults it found, before any resource is registered.
"""

import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime.config import CONFIG, get_config_env, is_config_secret

from components import charts, secrets
from components.applications import ApplicationSet, Published
from components.certificates import CertManager
from components.chart_lock import LOCK, Lock
from components.charts import Chart, Charts
from components.cilium import Cilium
from components.cloudflare import Cloudflare
from components.cluster import Cluster, Kubernetes
from components.discovery import Discovery
from components.fields import Model, Problem
from components.load_balancer import LoadBalancer
from components.monitoring import Monitoring
from components.nginx import Ingress
from components.nodes import Physical
from components.parsing import HIDDEN, concealed, nearest_key, parse_group, unknown_key
from components.policies import Policies
from components.report import Report
from components.rules import RULES
from components.tailscale import Tailscale

PROJECT = Path(__file__).resolve().parent.parent

NAMESPACE = "anton-network"
"""The project's name in Pulumi.yaml, under which Pulumi keeps its config."""

CHART_VERSIONS = {
    "cilium": "1.19.6",
    "ingress-nginx": "4.15.1",
    "cert-manager": "v1.21.1",
    "tailscale-operator": "1.102.4",
    "external-dns": "1.21.1",
    "k8s-gateway": "3.7.2",
}
"""Charts of this program, at the versions whose values were proved by rendering."""

GROUPS: dict[str, type[Model]] = {
    "physical": Physical,
    "cluster": Cluster,
    "kubernetes": Kubernetes,
    "cilium": Cilium,
    "loadBalancer": LoadBalancer,
    "certificates": CertManager,
    "ingress": Ingress,
    "tailscale": Tailscale,
    "cloudflare": Cloudflare,
    "applications": ApplicationSet,
    "networkPolicies": Policies,
    "discovery": Discovery,
    "monitoring": Monitoring,
    "charts": Charts,
}
"""Config keys of the project, one object a layer, with the model that each is read into."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything the components are built from, valid as a whole."""

    physical: Physical
    cluster: Cluster
    kubernetes: Kubernetes
    cilium: Cilium
    load_balancer: LoadBalancer
    certificates: CertManager
    ingress: Ingress
    tailscale: Tailscale
    cloudflare: Cloudflare
    applications: ApplicationSet
    network_policies: Policies
    discovery: Discovery
    monitoring: Monitoring
    charts: Mapping[str, Chart]
    secrets: Mapping[str, pulumi.Output[str]] = field(default_factory=dict)

    @property
    def published(self) -> list[Published]:
        """The applications with nothing left open."""
        return self.applications.published(self.cluster.domain)


ChartFinder = Callable[[Charts, tuple[str, ...]], tuple[dict[str, Chart], list[Problem]]]
"""From the settings of charts and the names of those in use to the charts by name, and one problem for each missing."""


class ConfigError(pulumi.RunError):
    """All faults of a configuration; `problems` holds them one by one."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(
            f"The configuration has {count}; nothing was changed.\n\n" + "\n\n".join(map(_shown, problems)) + "\n"
        )


def _shown(problem: Problem) -> str:
    value = "(none)" if problem.value is None else _as_yaml(concealed(problem.value))
    is_prose = isinstance(problem.example, str) and " " in problem.example
    return (
        f"  {NAMESPACE}:{problem.key}\n"
        f"    value:   {value if len(value) <= 200 else value[:200] + ' ...'}\n"
        f"    reason:  {problem.reason}\n"
        f"    example: {problem.example if is_prose else _as_yaml(problem.example)}"
    )


def _as_yaml(value: Any) -> str:
    """As one would write it in the stack file: text that YAML would read as something else keeps its quotes."""
    return value if isinstance(value, str) and _is_plain_text(value) else json.dumps(value, default=str)


def _is_plain_text(text: str) -> bool:
    try:
        return isinstance(yaml.safe_load(text), str)
    except yaml.YAMLError:
        return False


def load() -> Settings:
    """The settings of the current stack. Raises ConfigError with every fault found."""
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


def find_charts(
    model: Charts, names: tuple[str, ...], default_folder: str | None
) -> tuple[dict[str, Chart], list[Problem]]:
    """The charts `names` by name, and one problem for each that can't be had.

    `default_folder` is where charts are taken from when `charts.folder` is not set; None means their repositories.
    Says in one line each when a folder brings its own lock file, and when a chart that nobody confirmed is used first.
    """
    problems = [
        Problem(f"charts.versions.{name}", version, unknown_key(name, CHART_VERSIONS), "without this key")
        for name, version in model.versions.items()
        if name not in CHART_VERSIONS
    ]
    named = model.folder or default_folder
    folder = PROJECT / Path(named).expanduser() if named else None
    file, brought = charts.lock_file(model, folder, PROJECT)
    try:
        lock = Lock.read(file, PROJECT, brought)
    except (OSError, ValueError, TypeError, KeyError) as fault:
        remedy = "charts.lock as it is in version control, or as `make lock FOLDER=FOLDER` writes it"
        return {}, [Problem("charts.lock", str(file), f"can't be read: {fault}", remedy)]
    if lock.folder:
        pulumi.log.info(f"Charts come from {folder}, as its own {LOCK} says; the project's does not count for them.")
    wanted = {name: model.versions.get(name, CHART_VERSIONS[name]) for name in names}
    found, faults = charts.resolve(wanted, lock, folder, PROJECT)
    return {
        name: replace(chart, timeout_seconds=model.timeout_seconds) for name, chart in found.items()
    }, problems + faults
