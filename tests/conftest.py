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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, tests of one file stay together, and so do all that share the control plane.

    Those come first: they take longest, and the other worker does the rest meanwhile.
    """
    for item in items:
        group = "control plane" if item.get_closest_marker("cluster") else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("cluster") is None)
