"""The chart of ingress-nginx, rendered for each class of the shipped configuration."""

import pytest

from tests.support.configs import settings_with
from tests.support.rendering import CLASSES, Manifests, render_nginx


@pytest.fixture(scope="module", params=CLASSES)
def name(request: pytest.FixtureRequest) -> str:
    """Each of the two ingress classes."""
    return str(request.param)


@pytest.fixture
def chart(name: str) -> Manifests:
    """The release of a class."""
    return render_nginx(settings_with(), name)
