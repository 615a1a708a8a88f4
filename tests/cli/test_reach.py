"""`anton reach` on the shipped stack with applications: ways, what stops them, and what a change opens and closes."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import __main__ as anton
from cli.manifests import objects
from cli.network import Network
from cli.program import Program
from cli.reach.command import Pair, compare
from cli.reach.paths import Path, Reach, UnknownEndError, find
from tests.support.configs import merged
from tests.support.engine import Stack, require_engine
from tests.support.live import shipped
from tests.support.tools import tool

pytestmark = pytest.mark.engine

POLICIES = {"networkPolicies": {"infrastructure": {"defaultDeny": True}}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    require_engine()
    tool("policy-verdict")
    return Stack(tmp_path_factory.mktemp("reach"), shipped(POLICIES))


def declared(stack: Stack, change: dict[str, Any] | None = None) -> Network:
    stack.configure(shipped(merged(POLICIES, change or {})))
    program = Program("test", stack.environment, stack.file)
    return Network.declared(program.settings, objects(program.plan.planned), program.plan.planned)


@pytest.fixture(scope="module")
def network(stack: Stack) -> Network:
    return declared(stack)


def paths(
    network: Network, source: str, destination: str, port: int | None = None, protocol: str = "TCP"
) -> list[Path]:
    return Reach(network).paths(find(network, source), find(network, destination), port, protocol)


def is_open(network: Network, source: str, destination: str, port: int | None = None, protocol: str = "TCP") -> bool:
    return any(path.allowed for path in paths(network, source, destination, port, protocol))


@pytest.mark.parametrize(
    ("source", "destination", "port", "wanted"),
    [
        ("internet", "https://web.example.com/", None, True),
        ("internet", "shop.example.com", None, True),
        ("internet", "a.wiki.example.com", None, False),
        ("internet", "production/wiki", None, False),
        ("lan", "a.wiki.example.com", None, True),
        ("lan", "192.168.1.103", None, True),
        ("lan", "192.168.1.102", 53, True),
        ("lan", "web.example.com", None, True),
        ("tailnet", "a.wiki.example.com", None, True),
        ("tailnet", "admin", None, True),
        ("lan", "admin", None, False),
        ("production/app=frontend", "production/app=backend", 8080, True),
        ("production/app=frontend", "production/app=backend", 8081, False),
        ("production/web", "production/wiki", 8080, False),
        ("production/web", "coredns", None, True),
        ("production/web", "api.example.net", 443, False),
        ("production/web", "web.example.com", None, False),
        ("production/web", "monitoring/prometheus", 9090, False),
        ("network/cloudflared", "internet", 7844, True),
        ("network/cloudflared", "network/internal-ingress-nginx-controller", 443, False),
        ("monitoring/prometheus", "network/cloudflared", 8080, True),
        ("lan", "network/cloudflared", None, False),
        ("192.168.1.98", "network/k8s-gateway", 1053, True),
        ("203.0.113.9", "web.example.com", None, True),
    ],
)
def test_spec_who_reaches_what(network: Network, source: str, destination: str, port: int | None, wanted: bool) -> None:
    found = paths(network, source, destination, port)
    assert any(path.allowed for path in found) is wanted, found


def test_way_from_the_internet_names_every_hop_and_the_policy_that_lets_in(network: Network) -> None:
    (path,) = paths(network, "internet", "https://web.example.com/")
    places = [hop.place for hop in path.hops]
    assert places == [
        "Cloudflare DNS",
        "Cloudflare Access",
        "tunnel",
        "cloudflared to network/external-ingress-nginx-controller 443/TCP",
        "Ingress production/web",
        "network/external-ingress-nginx-controller to production/web 80/TCP",
    ]
    assert "NetworkPolicy production/accept-ingress-web" in path.hops[-1].policies
    assert [hop.place for hop in paths(network, "internet", "shop.example.com")[0].hops][:2] == [
        "Cloudflare DNS",
        "tunnel",
    ], "an application without Access policies asks nobody"


def test_closed_way_says_where_it_stops_and_who_restricts(network: Network) -> None:
    (path,) = paths(network, "production/app=frontend", "production/app=backend", 22)
    (hop,) = path.hops
    assert hop.text.startswith("denied on the way out")
    assert "NetworkPolicy production/default-deny-all" in hop.policies
    (path,) = paths(network, "internet", "a.wiki.example.com")
    assert [hop.text for hop in path.hops if not hop.allowed] == [
        "192.168.1.103 is a private address: no route from the internet"
    ]


def test_path_of_another_application_is_not_found_under_its_host(network: Network) -> None:
    assert not is_open(network, "internet", "https://unknown.example.com/")


def test_name_that_nobody_has_comes_with_the_nearest(network: Network) -> None:
    with pytest.raises(UnknownEndError, match=r"did you mean .*production/shop"):
        find(network, "production/shopp")


def test_pending_change_names_what_it_opens_and_closes(stack: Stack, network: Network) -> None:
    flow = {"source": {"labels": {"app": "web"}}, "destination": {"labels": {"app": "wiki"}}, "port": 8080}
    after = declared(
        stack,
        {
            "networkPolicies": {
                "namespaces": {"production": {"flows": {"web-to-wiki": flow, "frontend-to-backend": None}}}
            },
            "applications": {"shop": None},
        },
    )
    opened, closed = compare(network, after)
    assert opened == {Pair("production/wiki 8080/TCP", "production/web")}
    assert closed == {
        Pair("production/app=backend 8080/TCP", "production/app=frontend"),
        Pair("production/shop 80/TCP", "network/external-ingress-nginx-controller"),
        Pair("shop.example.com/", "internet"),
        Pair("shop.example.com/", "lan"),
        Pair("shop.example.com/", "tailnet"),
    }


def test_command_prints_json_and_says_by_its_status_whether_it_is_open(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.configure(shipped(POLICIES))
    program = Program("test", stack.environment, stack.file)
    monkeypatch.setattr(Program, "open", lambda *_, **__: program)
    runner = CliRunner()
    done = runner.invoke(anton.app, ["reach", "internet", "web.example.com", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["reachable"] is True
    done = runner.invoke(anton.app, ["reach", "production/web", "production/wiki", "8080"])
    assert done.exit_code == 1
    assert "not reachable" in done.stdout and "\x1b" not in done.stdout
    assert runner.invoke(anton.app, ["reach", "nobody", "lan"]).exit_code == 2
    assert runner.invoke(anton.app, ["reach", "lan"]).exit_code == 2
    assert runner.invoke(anton.app, ["reach", "lan", "internet", "--live"]).exit_code == 3, "there is no cluster here"
