"""`anton topology`: the picture shows everything, nothing lies on anything else, and the one in docs/ is current."""

import re
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from cli.manifests import objects
from cli.network import Network
from cli.program import Program
from cli.topology.command import tree
from cli.topology.model import Topology
from cli.topology.svg import draw
from tests.support.configs import PROJECT, chart_settings, merged, stack_config
from tests.support.engine import Stack, require_engine
from tests.support.tools import tool

pytestmark = pytest.mark.engine

SVG = "{http://www.w3.org/2000/svg}"

TITLE = "example.com: the network of stack prod"

APPLICATIONS = {
    f"application-{number}": {
        "ingressClass": ("external", "internal", "tailscale")[number % 3],
        "namespace": "production",
        "port": 8000 + number,
    }
    for number in range(20)
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    require_engine()
    return Stack(tmp_path_factory.mktemp("topology"), {})


def topology(stack: Stack, change: dict[str, Any]) -> Topology:
    stack.configure(merged(merged(stack_config(), {"charts": chart_settings()}), change))
    program = Program("test", stack.environment, stack.file)
    network = Network.outline(program.settings, program.plan.planned)
    return Topology.of(network, TITLE)


@pytest.fixture(scope="module")
def with_applications(stack: Stack) -> Topology:
    return topology(stack, {"applications": APPLICATIONS})


def shapes(text: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of every box."""
    found = []
    for rect in ElementTree.fromstring(text).iter(f"{SVG}rect"):
        if "x" in rect.attrib:
            x, y, width, height = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
            found.append((x, y, x + width, y + height))
    return found


def test_picture_in_the_docs_is_that_of_the_shipped_stack(stack: Stack) -> None:
    drawn = draw(topology(stack, {}))
    kept = PROJECT / "docs/topology.svg"
    assert kept.read_text() == drawn, "draw it again: ./anton --local -s prod topology --svg docs/topology.svg"


@pytest.mark.parametrize(
    "change",
    [
        {},
        {
            "discovery": {"lanDns": None},
            "ingress": {"classes": {"external": {"serviceType": "LoadBalancer"}}},
            "loadBalancer": {"addresses": {"external": "192.168.1.104"}},
        },
    ],
)
def test_picture_without_rendered_charts_is_that_of_the_rendered_ones(stack: Stack, change: dict[str, Any]) -> None:
    tool("helm")
    drawn = topology(stack, change)
    program = Program("test", stack.environment, stack.file)
    planned = program.plan.planned
    assert drawn == Topology.of(Network.declared(program.settings, objects(planned), planned), TITLE)


def test_every_application_and_address_is_in_the_picture_and_in_the_tree(with_applications: Topology) -> None:
    picture = "".join(ElementTree.fromstring(draw(with_applications)).itertext())
    console = Console(width=200)
    with console.capture() as capture:
        console.print(tree(with_applications))
    for text in (picture, capture.get()):
        for name, entry in APPLICATIONS.items():
            assert f"production/{name}:{entry['port']}" in text
        for wanted in ("192.168.1.98", "192.168.1.101", "192.168.1.103", "10.244.0.0/16", "external.example.com"):
            assert wanted in text
        assert re.search(r"frontend -> backend 8080/TCP", text)


def test_no_box_lies_on_another(with_applications: Topology) -> None:
    for one, other in combinations(shapes(draw(with_applications)), 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, f"{one} and {other}"


def test_no_line_runs_through_a_box(with_applications: Topology) -> None:
    """Level parts of every line, between the ends; curves lie in the gaps between columns."""
    text = draw(with_applications)
    boxes = shapes(text)
    lines = 0
    for path in ElementTree.fromstring(text).iter(f"{SVG}path"):
        if path.attrib.get("fill") != "none":
            continue
        x1, y1, start, end, y2, x2 = map(
            float,
            re.fullmatch(r"M(\S+),(\S+) H(\S+) C\S+ \S+ (\S+),(\S+) H(\S+)", path.attrib["d"]).groups(),  # type: ignore[union-attr]
        )
        for left, right, y in ((x1, start, y1), (end, x2, y2)):
            lines += 1
            crossed = [box for box in boxes if box[1] < y < box[3] and box[0] < right - 1 and left + 1 < box[2]]
            assert not crossed, f"{path.attrib['d']} crosses {crossed}"
    assert lines > 20


def test_no_line_of_text_leaves_its_box(with_applications: Topology) -> None:
    for group in ElementTree.fromstring(draw(with_applications)).iter(f"{SVG}g"):
        (rect,) = group.iter(f"{SVG}rect")
        for text in group.iter(f"{SVG}text"):
            assert len(text.text or "") * 6.7 + 10 <= float(rect.attrib["width"]), text.text


def test_same_stack_gives_the_same_picture(with_applications: Topology, tmp_path: Path) -> None:
    assert draw(with_applications) == draw(with_applications)
