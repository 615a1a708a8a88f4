"""Warnings of the settings on the real engine: a preview says them, and plans all the same."""

from pathlib import Path

import pytest

from tests.support.configs import chart_settings, merged, stack_config
from tests.support.engine import Stack, require_engine

pytestmark = pytest.mark.engine


def test_preview_says_which_applications_nobody_reaches(tmp_path: Path) -> None:
    require_engine()
    web = {"ingressClass": "external", "namespace": "production", "port": 80}
    change = {"charts": chart_settings(), "cloudflare": {"enabled": False}, "applications": {"web": web}}
    plan = Stack(tmp_path, merged(stack_config(), change)).preview()
    said = "ingress.classes.external.serviceType: ClusterIP publishes web to nobody"
    assert sum(said in warning for warning in plan.warnings) == 1
    assert {step.name for step in plan.steps.values()} >= {"applications-web"}
