"""Shared by all tests: live credentials and the user's Pulumi and Kubernetes settings are out of reach."""

import pytest

pytest_plugins = ("tests.live",)

AMBIENT = ("PULUMI_ACCESS_TOKEN", "CLOUDFLARE_API_TOKEN", "TAILSCALE_API_KEY")


@pytest.fixture(autouse=True)
def no_ambient_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test can reach a cluster or an account by accident."""
    for name in AMBIENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", "/nonexistent/kubeconfig")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, tests of one file stay together, and so do all that share a control plane.

    Those with one come first: they take longest. Of these, those that need the stack gone come last.
    """
    for item in items:
        shared = [name for name in ("cluster", "small_cluster") if name in _fixtures(item)]
        item.add_marker(pytest.mark.xdist_group(shared[0] if shared else item.path.name))
    items.sort(key=lambda item: (item.get_closest_marker("cluster") is None, "destroyed" in _fixtures(item)))


def _fixtures(item: pytest.Item) -> list[str]:
    """The names of all fixtures that a test has, those of its fixtures included."""
    return getattr(item, "fixturenames", [])
