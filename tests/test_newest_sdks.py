"""The unit tests once more with the newest SDKs, where the program runs with the pair that can be built."""

import subprocess

import pytest

from tests.support.configs import PROJECT
from tests.support.engine import HANGS_SECONDS

pytestmark = pytest.mark.newest

PYTHON = PROJECT / ".cache/venv-newest/bin/python"

OTHERS = ("toolchain", "settings", "cli", "support/test_surroundings.py")
"""Tests of what imports no provider's SDK (test_layering.py), and so has no pair."""


def test_unit_tests_pass_with_the_newest_sdks() -> None:
    if not PYTHON.exists():
        pytest.skip("no .cache/venv-newest: the SDKs in use are the newest, or `make test` has not made it")
    command = [str(PYTHON), "-m", "pytest", "-m", "unit", "-q", "-p", "no:cacheprovider", "-n0"]
    command += [f"--ignore=tests/{name}" for name in OTHERS]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=HANGS_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
