"""Settings: what is shipped, what may be said otherwise, and the one place that reads config and environment."""

from dataclasses import replace
from typing import Any

import pytest

from settings.charts.model import Chart, Charts
from settings.errors import ConfigError
from settings.fields import Problem
from settings.load import load
from tests.support.configs import (
    PROJECT,
    STAND_IN_SECRETS,
    charts_without_files,
    ingress,
    running_cluster_config,
    set_config,
    settings_with,
    stack_config,
)

pytestmark = pytest.mark.unit


def test_shipped_configuration_carries_the_values_of_the_specification() -> None:
    config = settings_with()
    assert str(config.physical.subnet) == "192.168.1.0/24"
    assert str(config.physical.gateway) == "192.168.1.1"
    assert [str(node.address) for node in config.physical.nodes.values()] == [
        "192.168.1.98",
        "192.168.1.99",
        "192.168.1.100",
    ]
    assert str(config.cluster.pod_cidr) == "10.244.0.0/16"
    assert str(config.cluster.service_cidr) == "10.96.0.0/12"
    assert {name: config.ingress.controller_value(name) for name in config.ingress.classes} == {
        "external": "k8s.io/external",
        "internal": "k8s.io/internal",
    }


def test_running_clusters_address_plan_is_accepted() -> None:
    config = settings_with(base=running_cluster_config())
    assert (str(config.physical.gateway), str(config.cluster.pod_cidr)) == ("192.168.1.254", "10.42.0.0/16")


def test_one_amount_of_resources_is_changed_and_the_others_stay() -> None:
    amounts = {"limits": {"cpu": None}, "requests": {"cpu": 1}}
    change: dict[str, Any] = {"cilium": {"agent": {"resources": {"limits": {"memory": "4Gi"}}}}}
    change |= ingress("internal", resources=amounts)
    config = settings_with(change)
    assert config.cilium.agent.resources.values() == {
        "requests": {"cpu": "100m", "memory": "512Mi"},
        "limits": {"memory": "4Gi"},
    }
    assert config.ingress.classes["internal"].resources.values() == {
        "requests": {"cpu": "1", "memory": "256Mi"},
        "limits": {"memory": "500Mi"},
    }


def test_sizes_may_be_bare_numbers() -> None:
    """`pulumi config set --path` keeps 0 as a number, and 0 is how NGINX writes no limit."""
    config = settings_with(ingress("internal", tuning={"clientMaxBodySize": 0}))
    assert config.ingress.classes["internal"].tuning.client_max_body_size == "0"


def test_two_control_plane_nodes_can_be_planned_because_a_dead_one_must_be_removable() -> None:
    nodes = {"k8s-3": None}
    config = settings_with({"physical": {"nodes": nodes}, "loadBalancer": {"addresses": {}}})
    assert len(config.physical.nodes) == 2


def test_load_reads_pulumi_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("settings.load.find_charts", charts_without_files)
    set_config(stack_config())
    loaded = load()
    assert replace(loaded, secrets={}) == settings_with(base=stack_config())
    assert loaded.secrets.keys() == STAND_IN_SECRETS.keys()


def test_load_refuses_a_key_that_no_layer_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("settings.load.find_charts", charts_without_files)
    set_config(stack_config() | {"loadBalancers": {"pools": {}}})
    with pytest.raises(ConfigError, match="did you mean loadBalancer"):
        load()


def test_charts_folder_of_the_environment_counts_where_the_config_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def find_charts(
        model: Charts, names: tuple[str, ...], default_folder: str | None
    ) -> tuple[dict[str, Chart], list[Problem]]:
        seen.append(default_folder)
        return charts_without_files(model, names)

    monkeypatch.setattr("settings.load.find_charts", find_charts)
    set_config(stack_config())
    monkeypatch.setenv("CHARTS_DIR", "/charts")
    load()
    monkeypatch.setenv("CHARTS_DIR", "")
    load()
    assert seen == ["/charts", None]


def test_only_settings_reads_config_environment_or_files() -> None:
    """The rule of the house that keeps every value findable; charts/ reads archives and locks, sdk.py the SDK."""
    readers = ("pulumi.Config", "os.environ", "getenv", "read_text", "open(")
    found = {
        str(path.relative_to(PROJECT))
        for folder in ("settings", "components")
        for path in (PROJECT / folder).rglob("*.py")
        if any(reader in path.read_text() for reader in readers)
    }
    charts = {f"settings/charts/{name}.py" for name in ("archive", "lock", "repository")}
    assert found <= {"settings/load.py", "components/sdk.py", *charts}, found
