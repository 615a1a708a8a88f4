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
