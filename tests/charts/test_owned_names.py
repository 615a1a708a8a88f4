"""Names that the charts make: namespaces that nobody else may have."""

import pytest

from settings.rules.namespaces import SYSTEM_NAMESPACES
from tests.support.configs import settings_with
from tests.support.rendering import render_cilium

pytestmark = pytest.mark.render


def test_namespaces_that_ciliums_chart_makes_are_known_as_its_own() -> None:
    mesh = {"envoyConfig": True, "gatewayApi": True, "mutualAuthentication": True}
    made = render_cilium(settings_with({"cilium": {"serviceMesh": mesh}})).names("Namespace")
    assert made == {name for name in SYSTEM_NAMESPACES if name.startswith("cilium-")}
