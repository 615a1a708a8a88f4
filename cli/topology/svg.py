"""Draws a topology as SVG: the flow in columns from left to right, policies and machines in bands below."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from cli.topology.model import LAN, LANES, LAYERS, PLAIN, TAILNET, TUNNEL, WIDEST, Box, Link, Topology

MARGIN, GAP, COLUMN_GAP, LANE_GAP = 24, 18, 96, 34
ROW, HEAD, CHARACTER = 17, 24, 6.7
NARROWEST = 14
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"

COLOURS = {
    TUNNEL: ("#c2570c", "#fff4e8"),
    LAN: ("#1d5fa8", "#eaf3fc"),
    TAILNET: ("#6d3fb0", "#f3edfb"),
    PLAIN: ("#4a5563", "#f5f6f8"),
}
"""Line and fill by what a box belongs to."""


@dataclass(frozen=True)
class Placed:
    """A box with its place, in pixels."""

    box: Box
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Height at which links meet it."""
        return self.y + self.height / 2


def draw(topology: Topology) -> str:
    """The picture as an SVG document; the same topology gives the same text."""
    flow, bottom, right = _flow(topology, MARGIN + 54)
    policies, bottom, wide = _band(topology.policies, bottom + 44)
    machines, bottom, wider = _band(topology.machines, bottom + 44)
    width = max(right, wide, wider) + MARGIN
    root = ElementTree.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {bottom + MARGIN:.0f}",
        width=f"{width:.0f}",
        height=f"{bottom + MARGIN:.0f}",
        role="img",
    )
    root.set("font-family", FONT)
    root.set("font-size", "11")
    root.set("xml:space", "preserve")
    ElementTree.SubElement(root, "title").text = topology.title
    ElementTree.SubElement(root, "rect", width="100%", height="100%", fill="#ffffff")
    _text(root, MARGIN, MARGIN + 8, topology.title, size="16", weight="bold")
    for number, name in enumerate(LAYERS):
        places = [place for place in flow if place.box.column == number]
        if places:
            _text(root, places[0].x, MARGIN + 40, name, fill="#6b7280")
    by_id = {place.box.id: place for place in flow}
    for link in topology.links:
        _link(root, link, by_id)
    for title, band in (("policies: who may talk to whom", policies), ("machines and addresses", machines)):
        if band:
            _text(root, MARGIN, band[0].y - 12, title, fill="#6b7280")
    for place in (*flow, *policies, *machines):
        _box(root, place)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _flow(topology: Topology, top: float) -> tuple[list[Placed], float, float]:
    """Boxes by column and lane, one lane below the other; bottom and right edge."""
    columns = [
        max((_width(box) for box in topology.flow if box.column == number), default=0) for number in range(len(LAYERS))
    ]
    lefts = [MARGIN + sum(width + COLUMN_GAP for width in columns[:number] if width) for number in range(len(LAYERS))]
    placed: list[Placed] = []
    for lane in LANES:
        boxes = [box for box in topology.flow if box.lane == lane]
        if not boxes:
            continue
        stacks = _stacks(boxes, topology.links)
        height = max(_stack_height(stack) for stack in stacks)
        for stack in stacks:
            y = top + (height - _stack_height(stack)) / 2
            for box in stack:
                column = box.column or 0
                placed.append(Placed(box, lefts[column], y, columns[column], _height(box)))
                y += _height(box) + GAP
        top += height + LANE_GAP
    right = max(place.x + place.width for place in placed)
    return placed, top - LANE_GAP, right


def _stacks(boxes: Sequence[Box], links: Iterable[Link]) -> list[list[Box]]:
    """Boxes of a lane that must not stand at one height: those of a column, and what a passing link would cross."""
    column = {box.id: box.column or 0 for box in boxes}
    stacks = [[box for box in boxes if box.column == number] for number in range(len(LAYERS))]
    for link in links:
        if link.source in column and link.target in column:
            start, end = column[link.source], column[link.target]
            for between in range(start + 1, end):
                if stacks[between] and stacks[end]:
                    stacks[between], stacks[end] = [*stacks[between], *stacks[end]], []
    return [stack for stack in stacks if stack]


def _stack_height(stack: Sequence[Box]) -> float:
    return sum(map(_height, stack)) + GAP * (len(stack) - 1)


def _band(boxes: Iterable[Box], top: float) -> tuple[list[Placed], float, float]:
    placed, x = [], float(MARGIN)
    for box in boxes:
        placed.append(Placed(box, x, top, _width(box), _height(box)))
        x += _width(box) + GAP
    return placed, top + max((place.height for place in placed), default=-44), x


def _width(box: Box) -> float:
    longest = max(map(len, (box.title, *box.rows)))
    return min(max(longest, NARROWEST), WIDEST) * CHARACTER + 20


def _height(box: Box) -> float:
    return HEAD + len(box.rows) * ROW + (6 if box.rows else 0)


def _box(root: ElementTree.Element, place: Placed) -> None:
    line, fill = COLOURS[place.box.lane]
    group = ElementTree.SubElement(root, "g")
    shape = {
        "x": f"{place.x:.0f}",
        "y": f"{place.y:.0f}",
        "width": f"{place.width:.0f}",
        "height": f"{place.height:.0f}",
    }
    ElementTree.SubElement(group, "rect", {**shape, "rx": "5", "fill": fill, "stroke": line})
    _text(group, place.x + 10, place.y + 16, place.box.title, fill=line, weight="bold")
    for number, row in enumerate(place.box.rows):
        text = row if len(row) <= WIDEST else row[: WIDEST - 1] + "…"
        element = _text(group, place.x + 10, place.y + HEAD + 12 + number * ROW, text)
        if text != row:
            ElementTree.SubElement(element, "title").text = row


def _link(root: ElementTree.Element, link: Link, places: dict[str, Placed]) -> None:
    """A line that bends in one gap between columns and runs level in the rest, clear of the boxes between."""
    source, target = places[link.source], places[link.target]
    line, _ = COLOURS[link.lane]
    x1, y1, x2, y2 = source.x + source.width, source.middle, target.x - 7, target.middle
    # Within its lane a line changes height at once, where the way is kept free; into another one only before its end.
    start = x1 if source.box.lane == target.box.lane else max(x1, x2 - COLUMN_GAP + 14)
    end, bend = start + COLUMN_GAP - 14, (COLUMN_GAP - 14) / 2
    curve = f"M{x1:.0f},{y1:.0f} H{start:.0f} C{start + bend:.0f},{y1:.0f} {end - bend:.0f},{y2:.0f} {end:.0f},{y2:.0f}"
    ElementTree.SubElement(
        root, "path", {"d": f"{curve} H{x2:.0f}", "fill": "none", "stroke": line, "stroke-width": "1.6"}
    )
    head = f"M{x2 - 1:.0f},{y2 - 4:.0f} L{x2 + 7:.0f},{y2:.0f} L{x2 - 1:.0f},{y2 + 4:.0f} Z"
    ElementTree.SubElement(root, "path", d=head, fill=line)
    if link.label:
        label = _text(root, (start + end) / 2, (y1 + y2) / 2 + 4, link.label, fill=line)
        for name, value in (("text-anchor", "middle"), ("stroke", "#ffffff"), ("stroke-width", "4")):
            label.set(name, value)
        label.set("paint-order", "stroke")


def _text(
    parent: ElementTree.Element,
    x: float,
    y: float,
    text: str,
    *,
    fill: str = "#1f2937",
    size: str = "",
    weight: str = "",
) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, "text", x=f"{x:.0f}", y=f"{y:.0f}", fill=fill)
    for name, value in (("font-size", size), ("font-weight", weight)):
        if value:
            element.set(name, value)
    element.text = text
    return element
