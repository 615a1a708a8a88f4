"""Shared by all tests: surroundings that are the same for everybody, and which tests run on which worker."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.surroundings import surroundings

pytest_plugins = ("tests.live",)


def pytest_configure(config: pytest.Config) -> None:
    """No test can reach a cluster, an account or a setting of the user by accident (surroundings.py)."""
    home = tempfile.TemporaryDirectory(prefix="anton-home-", ignore_cleanup_errors=True)
    config.add_cleanup(home.cleanup)
    variables = surroundings(os.environ, Path(home.name))
    os.environ.clear()
    os.environ.update(variables)


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, tests of one file stay together, and so do all that share a control plane.

    Those with one come first: they take longest. Of these, those that need the stack gone come last.
    """
    for item in items:
        shared = [name for name in ("network", "small_network") if name in _fixtures(item)]
        item.add_marker(pytest.mark.xdist_group(shared[0] if shared else item.path.name))
    items.sort(key=lambda item: (item.get_closest_marker("cluster") is None, "destroyed" in _fixtures(item)))


def _fixtures(item: pytest.Item) -> list[str]:
    """The names of all fixtures that a test has, those of its fixtures included."""
    return getattr(item, "fixturenames", [])
