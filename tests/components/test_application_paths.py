"""Paths and limits of applications are those that the ingress controller, the API server and NGINX take."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from components.applications import Applications, ApplicationsArgs
from settings.applications import ApplicationLimits
from settings.errors import ConfigError
from settings.stack import Settings
from tests.support.configs import settings_with, stack_config
from tests.support.recorder import record
from tests.support.tools import tool

VALID_WITH_PREFIX = re.compile(r"/[A-Za-z0-9._/-]*")
"""What strict validation of paths lets through with type Prefix; ImplementationSpecific is not looked at."""

FORBIDDEN_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
"""What the API server refuses in a path of type Prefix (validation of networking/v1)."""


def published(**change: Any) -> Settings:
    entry = {"ingressClass": "external", "namespace": "production", "port": 80} | change
    return settings_with({"applications": {"web": entry}}, stack_config())


def path_of(settings: Settings) -> dict[str, Any]:
    args = ApplicationsArgs.of(settings)
    found = record(lambda: Applications("applications", args))
    ingress = next(entry.inputs for entry in found if entry.name == "applications-web")
    path: dict[str, Any] = ingress["spec"]["rules"][0]["http"]["paths"][0]
    return path


def reason(**change: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        published(**change)
    (problem,) = caught.value.problems
    assert problem.key.startswith("applications.web.")
    return problem.reason


@pytest.mark.unit
@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/", "Prefix"),
        ("/api/v1.0/some_thing-else", "Prefix"),
        ("/~alice", "ImplementationSpecific"),
        ("/@team/a:b", "ImplementationSpecific"),
        ("/a+b,c=d&e!", "ImplementationSpecific"),
    ],
)
def test_path_goes_with_a_type_that_the_controller_takes(path: str, wanted: str) -> None:
    sent = path_of(published(path=path))
    assert sent["path"] == path and sent["pathType"] == wanted
    assert wanted != "Prefix" or VALID_WITH_PREFIX.fullmatch(sent["path"])


@pytest.mark.unit
def test_tailscale_has_no_such_validation_and_one_way_to_compare() -> None:
    assert path_of(published(ingressClass="tailscale", path="/~alice"))["pathType"] == "Prefix"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/a%20b", "decoded"),
        ("/a%2Fb", "decoded"),
        ("/a//b", "empty element"),
        ("/a/./b", "empty element"),
        ("/a/../b", "empty element"),
        ("/a/..", "empty element"),
        ("/a/.", "empty element"),
        ("/a;b", "has ;"),
        ("/a$1", "has $"),
        ("/a'b", "has '"),
        ('/a"b', 'has "'),
        ("/(a|b)", "has ("),
        ("/ü", "has ü"),
        ("/etc/passwd", "takes for an attack"),
        ("/x_by_lua", "takes for an attack"),
    ],
)
def test_path_that_would_be_refused_in_the_middle_of_an_update_is_refused_here(path: str, why: str) -> None:
    assert why in reason(path=path)


@pytest.mark.unit
@pytest.mark.parametrize("path", ["/.well-known/x", "/a/...", "/a/", "/a..b"])
def test_nearest_paths_are_taken(path: str) -> None:
    sent = path_of(published(path=path))
    assert sent["pathType"] == "Prefix" and not any(part in sent["path"] for part in FORBIDDEN_SEQUENCES)


@pytest.mark.unit
@pytest.mark.parametrize(("limit", "most"), [("connections", 65535), ("requestsPerMinute", 1_000_000_000)])
def test_limit_that_nginx_does_not_take_is_refused(limit: str, most: int) -> None:
    assert published(limits={limit: most}).published[0].limits != ApplicationLimits()
    reason(limits={limit: most + 1})


@pytest.mark.unit
@pytest.mark.parametrize(("limit", "most"), [("connections", 65535), ("requestsPerMinute", 1_000_000_000)])
def test_limit_of_a_class_is_one_that_nginx_takes(limit: str, most: int) -> None:
    settings_with({"ingress": {"classes": {"internal": {"limits": {limit: most}}}}}, stack_config())
    with pytest.raises(ConfigError) as caught:
        settings_with({"ingress": {"classes": {"internal": {"limits": {limit: most + 1}}}}}, stack_config())
    (problem,) = caught.value.problems
    assert problem.key == f"ingress.classes.internal.limits.{limit}"


def verdict(folder: Path, location: str, rate: int = 1, connections: int = 1) -> bool:
    """Whether NGINX takes a configuration with that location and those limits; its port may be in use when it tests."""
    path = folder / "nginx.conf"
    path.write_text(
        f'daemon off; pid "{folder}/pid"; error_log stderr; events {{}}\n'
        f'http {{ access_log off; client_body_temp_path "{folder}/a"; proxy_temp_path "{folder}/b";'
        f' fastcgi_temp_path "{folder}/c"; uwsgi_temp_path "{folder}/d"; scgi_temp_path "{folder}/e";\n'
        f"limit_req_zone $binary_remote_addr zone=r:5m rate={rate}r/m; limit_conn_zone $binary_remote_addr zone=c:5m;\n"
        f"server {{ listen 127.0.0.1:8080; location {location} {{"
        f" limit_req zone=r burst={rate * 5} nodelay; limit_conn c {connections}; return 204; }} }} }}\n"
    )
    command = [tool("nginx"), "-t", "-p", str(folder), "-e", "stderr", "-c", str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.render
def test_nginx_itself_takes_every_character_and_limit_that_is_taken_here(tmp_path: Path) -> None:
    every = "/aZ09._-/~:@!+,=&"
    assert path_of(published(path=every))["path"] == every
    assert verdict(tmp_path, every, 1_000_000_000, 65535)
    assert not verdict(tmp_path, "/a;b"), "what ends a directive"
    assert not verdict(tmp_path, "/", connections=65536)
