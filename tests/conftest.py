"""Shared by all tests: surroundings that are the same for everybody, and which tests run on which worker."""

import os
import tempfile
from pathlib import Path

import hypothesis
import pulumi
import pytest

from tests.support.surroundings import surroundings

pytest_plugins = ("tests.support.live",)


# An example takes as long as the machine needs, which may have other things to do.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """No test can reach a cluster, an account or a setting of the user by accident (surroundings.py)."""
    home = tempfile.TemporaryDirectory(prefix="anton-home-", ignore_cleanup_errors=True)
    config.add_cleanup(home.cleanup)
    variables = surroundings(os.environ, Path(home.name))
    os.environ.clear()
    os.environ.update(variables)


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of the program go to the terminal; mocks that another test has set would take them."""
    monkeypatch.setattr(pulumi.log, "get_engine", lambda: None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """More workers than cores: tests on a control plane wait for it half of their time."""
    return (os.cpu_count() or 1) + 2


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, tests of one file stay together, and so do those that share a network.

    The longest come first. Of those on a network, tests that need the stack gone come last: others need it again.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: (_rank(item), "destroyed" in _fixtures(item)))


def _group(item: pytest.Item) -> str:
    """What a test shares its worker with. The shipped network exists twice, or its worker would be long the last."""
    if "network" in _fixtures(item):
        return "network of anton" if item.path.parent.name == "cli" else "network"
    return "small_network" if "small_network" in _fixtures(item) else str(item.path)


def _rank(item: pytest.Item) -> int:
    """Where a test stands in the order of starting."""
    if "network" in _fixtures(item):
        return 0
    marks = ("cluster", "newest", "engine", "render", "unit")
    return next((number for number, mark in enumerate(marks, 1) if item.get_closest_marker(mark)), len(marks))


def _fixtures(item: pytest.Item) -> list[str]:
    """The names of all fixtures that a test has, those of its fixtures included."""
    return getattr(item, "fixturenames", [])
