"""The stand-in for the clouds on accounts of a test's own, and the stand-in charts, packaged once."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import pytest

from rehearsal.accounts.sdk_schema import Sdk
from rehearsal.accounts.store import Accounts
from rehearsal.chart_source import ChartSource, stand_in_charts
from tests.support.accounts import Cloud


@pytest.fixture(scope="module")
def sdks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sdk]:
    """What the SDKs of both clouds say of their resources, by provider."""
    found = {}
    for name in ("cloudflare", "tailscale"):
        spec = importlib.util.find_spec(f"pulumi_{name}")
        assert spec and spec.origin
        found[name] = Sdk(name, Path(spec.origin).parent.parent, tmp_path_factory.mktemp("cache"))
    return found


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    """Accounts in which nothing is yet."""
    return Accounts(tmp_path / "accounts.db")


@pytest.fixture
def cloud(sdks: Mapping[str, Sdk], accounts: Accounts) -> Cloud:
    """Both clouds on those accounts."""
    return Cloud(sdks, accounts)


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> ChartSource:
    """The stand-in charts as archives, with their lock file."""
    return stand_in_charts(tmp_path_factory.mktemp("stand-in-charts"))
