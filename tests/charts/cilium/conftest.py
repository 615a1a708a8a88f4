"""Cilium's chart, rendered once for each file."""

import pytest

from tests.support.configs import settings_with
from tests.support.rendering import Manifests, render_cilium


@pytest.fixture(scope="module")
def chart() -> Manifests:
    """The release as shipped."""
    return render_cilium(settings_with())


@pytest.fixture(scope="module")
def config(chart: Manifests) -> dict[str, str]:
    """What the agents and the operator read at start."""
    return dict(chart.data("cilium-config"))
