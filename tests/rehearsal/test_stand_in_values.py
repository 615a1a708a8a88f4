"""The values of the stand-in charts: exactly those that the program sets, each read, or refused with a remedy."""

import re
from pathlib import Path

import pytest
import yaml

from components.cilium.network import CiliumNetworkArgs, cilium_values
from rehearsal import chart_source
from rehearsal.chart_source import ChartSource
from settings.charts.model import CHART_VERSIONS
from tests.charts import test_values
from tests.charts.test_values import leaves
from tests.support.configs import settings_with
from tests.support.rendering import RenderError, render
from tests.support.stand_in_charts import CHANGES, releases, stand_in


def emitted(chart: str) -> set[str]:
    """Every path of values that the program sets for a chart."""
    values = [each.values for title in CHANGES for each in releases(title) if each.chart == chart]
    if chart in ("cilium", "ingress-nginx"):
        values += [each.values for each in test_values.emitted(chart)]
    return {".".join(path) for each in values for path, _ in leaves(each)}


def listed_paths(chart: Path) -> set[str]:
    """Every path of a stand-in's values.yaml."""
    return {".".join(path) for path, _ in leaves(yaml.safe_load((chart / "values.yaml").read_text()))}


@pytest.mark.unit
@pytest.mark.parametrize("chart", CHART_VERSIONS)
def test_values_are_exactly_those_that_the_program_sets(chart: str) -> None:
    own, set_ = listed_paths(chart_source.CHARTS / chart), emitted(chart)
    assert not [path for path in set_ if not any(path == each or path.startswith(f"{each}.") for each in own)], (
        "a stand-in would ignore these without a word"
    )
    assert not [each for each in own if not any(path == each or path.startswith(f"{each}.") for path in set_)], (
        "nobody sets these"
    )


WITHOUT_EFFECT = {
    "prometheus.serviceMonitor.trustCRDsExist": "the cluster is never asked for definitions here",
    "upgradeCompatibility": "changes defaults that upstream had in older versions",
    "authentication.mutual.spire.enabled": "refused with authentication.enabled",
    "authentication.mutual.spire.install.enabled": "refused with authentication.enabled",
}


def is_read(path: list[str], templates: str) -> bool:
    """Whether templates name a value, or copy one that holds it as it is."""
    copied = any(re.search(rf"toYaml [^|}}]*\.{key}\b", templates) for key in path)
    return copied or re.search(rf"\.{path[-1]}\b", templates) is not None


@pytest.mark.unit
@pytest.mark.parametrize("chart", CHART_VERSIONS)
def test_every_value_is_read(chart: str) -> None:
    folder = chart_source.CHARTS / chart
    templates = "".join(path.read_text() for path in folder.glob("templates/*"))
    idle = {path for path in listed_paths(folder) if not is_read(path.split("."), templates)}
    assert idle <= WITHOUT_EFFECT.keys()


@pytest.mark.render
@pytest.mark.parametrize("option", ["gatewayApi", "mutualAuthentication"])
def test_option_that_a_stand_in_has_not_is_refused_with_a_remedy(stand_ins: ChartSource, option: str) -> None:
    wanted = settings_with({"cilium": {"serviceMesh": {option: True, "envoyConfig": True}}})
    values = cilium_values(CiliumNetworkArgs.of(wanted))
    with pytest.raises(RenderError, match="set CHARTS_DIR"):
        render(stand_in(stand_ins, "cilium"), "cilium", "kube-system", values)
