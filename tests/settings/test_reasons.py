"""Reasons say what is wrong with the value that is there, not what a right one would be called."""

from pathlib import Path

import pytest

from settings.charts.find import find_charts
from settings.charts.lock import ChartUnavailableError, FirstUse, LockError, read_lock
from settings.charts.model import CHART_VERSIONS, Charts
from tests.support.configs import PROJECT, merged, stack_config
from tests.support.faults import problems

pytestmark = pytest.mark.unit

APPLICATION = {"ingressClass": "internal", "namespace": "production", "port": 80}


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("wiki.example.com.", "ends with a dot"),
        (".example.com", "begins with a dot"),
        ("wiki..example.com", "two dots"),
        ("https://wiki.example.com", "is a URL"),
        ("https://wiki.example.com:8443/start", "is a URL"),
        ("wiki.example.com/start", "has a path"),
        ("wiki.example.com:8443", "has a port"),
        ("my_wiki.example.com", "has an underscore"),
        ("*.example.com", "no wildcard"),
        ("Wiki.Example.com", "lower case"),
        ("wiki example.com", "white space"),
        ("me@example.com", "mail address"),
        ("bücher.example.com", "xn--"),
        ("-wiki.example.com", "hyphen at an end"),
        (f"{'a' * 64}.example.com", "more than 63"),
        (f"{'a.' * 130}example.com", "more than 253"),
        ("wiki", "two labels"),
        ("", "is empty"),
    ],
)
def test_of_a_host(host: str, says: str) -> None:
    for change in (
        {"applications": {"wiki": APPLICATION | {"host": host}}},
        {"cloudflare": {"tunnel": {"hostname": host}}},
        {"cluster": {"domain": host}},
    ):
        (problem,) = problems(merged(stack_config(), change))
        assert says in problem.reason, problem


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ((PROJECT / "charts.lock").read_text().encode("utf-16"), "UTF-16"),
        ((PROJECT / "charts.lock").read_text().encode("utf-16-le"), "is no TOML"),
        (b"\xff\xfe\xfa", "not text in UTF-8"),
        (b"[[chart]\n", "is no TOML"),
        (b"", "has no entry [[chart]]"),
        (b"chart = 5\n", "has no entry [[chart]]"),
        (b"chart = [1]\n", "entry 1 is not of name, version, sha256"),
        (b'[[chart]]\nname = "cilium"\nversion = "1"\n', "entry 1 is not of name, version, sha256"),
        (b'[[chart]]\nname = "cilium"\nversion = 1.19\nsha256 = "x"\n', "entry 1 has no text for version"),
        (b'[[chart]]\nname = "cilium"\nversion = "1.19.6"\nsha256 = "x"\n', "64 hexadecimal digits"),
    ],
)
def test_of_a_lock_file(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "charts.lock"
    file.write_bytes(content)
    _, (problem,) = find_charts(Charts(lock=str(file)), tuple(CHART_VERSIONS), None)
    assert problem.key == "charts.lock"
    assert says in problem.reason
    with pytest.raises(LockError):
        read_lock(file)


def test_of_a_lock_file_that_is_a_folder(tmp_path: Path) -> None:
    _, (problem,) = find_charts(Charts(lock=str(tmp_path)), tuple(CHART_VERSIONS), None)
    assert problem.reason == "can't be read: Is a directory"


def test_of_the_record_of_a_first_use_in_another_encoding(tmp_path: Path) -> None:
    record = FirstUse(tmp_path / "cilium-1.19.6", "cilium-1.19.6")
    record.file.write_bytes(("a" * 64).encode("utf-16"))
    with pytest.raises(ChartUnavailableError, match="holds something else"):
        record.read()
