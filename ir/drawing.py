"""Graphs as pictures: a box for each operation, an arrow for each value it uses; gradients run up beside the program.

Operations of the program stand on the left and run down, those of its derivative on the right and run up, and what is
computed from gradients (an optimizer's step) on the far right; an arrow from left to right is a value that is saved.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from adjit.ir.graph import Graph, Node, Value
from adjit.ir.layout import layout
from adjit.ir.printer import value_names
from adjit.ir.theme import themed

PROGRAM, DERIVATIVE, UPDATE = 0, 1, 2
LANES = ("program", "derivative", "update")
TITLES = {"program": "forward", "derivative": "backward", "update": "update"}
# Pixels; the fonts are monospaced, so widths follow from the number of characters.
TITLE_ADVANCE, TEXT_ADVANCE, BOX_HEIGHT, INPUT_HEIGHT, MARGIN, HEADING = 7.9, 6.05, 38.0, 34.0, 16.0, 26.0
# In graphs with more operations than this, runs of those on one line of the user's program become one box.
MOST_BOXES = 600


@dataclass(frozen=True, slots=True)
class Box:
    """One box: an input, an operation, or several on one line; `nodes` are those it stands for."""

    title: str
    text: str
    kind: str  # input, op, call, group
    lane: int
    nodes: tuple[Node, ...] = ()
    value: Value | None = None
    result: bool = False

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in pixels."""
        width = max(TITLE_ADVANCE * len(self.title), TEXT_ADVANCE * len(self.text)) + 20
        return width, INPUT_HEIGHT if self.kind == "input" else BOX_HEIGHT


@dataclass(frozen=True, slots=True)
class Picture:
    """Boxes, and arrows between them by their numbers; what stands before is numbered lower."""

    name: str
    boxes: tuple[Box, ...]
    arrows: tuple[tuple[int, int], ...]


def picture(graph: Graph, backward: Graph | None = None, saved: Sequence[Value] = ()) -> Picture:
    """The boxes and arrows of a graph; with `backward`, whose last inputs are the graph's `saved` values, of both."""
    names = value_names(graph)
    nodes = [node for node in graph.nodes if node.op.name != "const"]
    sources: dict[Value, Value] = {}
    inputs = list(graph.inputs)
    outputs = set(graph.outputs)
    if backward is not None:
        names = {**value_names(backward), **names}
        nodes += [node for node in backward.nodes if node.op.name != "const"]
        count = len(backward.inputs) - len(saved)
        sources = dict(zip(backward.inputs[count:], saved, strict=True))
        inputs += backward.inputs[:count]
        outputs -= set(saved)
        outputs |= set(backward.outputs)
    lanes = _lanes(nodes, sources, () if backward is None else set(backward.nodes), outputs)
    groups = _groups(nodes, lanes)
    place: dict[Value, int] = {}
    boxes: list[Box] = []
    arrows: dict[tuple[int, int], None] = {}
    waiting = {value: None for value in inputs}
    for group in groups:
        lane = lanes[group[0]]
        inside = set(group)
        used = [sources.get(value, value) for node in group for value in _used(node) if value.node not in inside]
        for value in used:
            if value in waiting:
                del waiting[value]
                place[value] = len(boxes)
                boxes.append(_input(value, names, lane))
        number = len(boxes)
        boxes.append(_box(group, names, lane, outputs, graph))
        for value in used:
            if value in place and place[value] != number:
                arrows[place[value], number] = None
        for node in group:
            for value in node.outputs:
                place[value] = number
    boxes += [_input(value, names, PROGRAM) for value in waiting]
    return Picture(graph.name, tuple(boxes), tuple(arrows))


def _used(node: Node) -> list[Value]:
    """The values a node uses, constants left out; those of its regions too, which may reach outside."""
    values = list(node.inputs)
    for region in node.regions:
        values += [value for inner in region.walk() for value in inner.inputs]
        values += region.outputs
    return [value for value in values if value.constant is None]


def _lanes(
    nodes: Sequence[Node], sources: Mapping[Value, Value], derivative: Container[Node], outputs: Container[Value]
) -> dict[Node, int]:
    """The lane of each node: a derivative's by its location, an update where it uses a gradient and is none.

    What serves another lane alone stands there.
    """
    lanes: dict[Node, int] = {}
    users: dict[Node, set[Node]] = {node: set() for node in nodes}
    for node in nodes:
        used = [source for value in _used(node) if (source := sources.get(value, value).node) is not None]
        reached = any(lanes.get(source, PROGRAM) for source in used)
        derived = node in derivative or "∂" in node.location.origin
        lanes[node] = DERIVATIVE if derived else UPDATE if reached else PROGRAM
        for source in used:
            if source in users:
                users[source].add(node)
    for node in reversed(nodes):
        served = {lanes[user] for user in users[node]}
        result = any(value in outputs for value in node.outputs)
        if lanes[node] == PROGRAM and (served == {UPDATE} or (served == {DERIVATIVE} and not result)):
            lanes[node] = served.pop()
    if lanes and all(lane == DERIVATIVE for lane in lanes.values()):
        return dict.fromkeys(lanes, PROGRAM)
    return lanes


def _groups(nodes: Sequence[Node], lanes: Mapping[Node, int]) -> list[list[Node]]:
    """Each node alone, or in a large graph runs of nodes with one lane and one line, long runs in pieces."""
    most = 1 if len(nodes) <= MOST_BOXES else -(-2 * len(nodes) // MOST_BOXES)
    groups: list[list[Node]] = []
    last: object = None
    for node in nodes:
        key = (lanes[node], node.location.path, node.location.line)
        if key == last and len(groups[-1]) < most:
            groups[-1].append(node)
        else:
            groups.append([node])
        last = key
    return groups


def _input(value: Value, names: Mapping[Value, str], lane: int) -> Box:
    return Box(f"%{names[value]}", str(value.type), "input", lane, value=value)


def _box(group: Sequence[Node], names: Mapping[Value, str], lane: int, outputs: set[Value], graph: Graph) -> Box:
    result = any(value in outputs for node in group for value in node.outputs)
    if len(group) > 1:
        place, count = f"{group[0].location.file}:{group[0].location.line}", f"{len(group)} operations"
        return Box(place, count, "group", lane, tuple(group), result=result)
    (node,) = group
    callee = node.attributes.get("callee")
    kind, title = ("call", callee.name) if isinstance(callee, Graph) else ("op", node.op.name)
    text = ", ".join(f"%{names[value]}: {value.type}" for value in node.outputs[:1])
    if len(node.outputs) > 1:
        text += f" + {len(node.outputs) - 1}"
    return Box(title, text, kind, lane, (node,), result=result)


def to_svg(picture: Picture, attributes: Callable[[Box], Mapping[str, str]] | None = None, title: str = "") -> str:
    """The SVG of a picture; `attributes` adds attributes to the element of each box."""
    boxes = picture.boxes
    lanes = [box.lane for box in boxes]
    arranged = layout([box.size for box in boxes], picture.arrows, lanes, frozenset({DERIVATIVE}))
    width, height = arranged.width + 2 * MARGIN, arranged.height + MARGIN + HEADING
    label = escape(title or f"graph of {picture.name}")
    parts = [
        f'<svg class="adjit-graph" xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{label}">',
        f"<style>{STYLE}</style>",
        f'<g transform="translate({MARGIN:.0f} {HEADING:.0f})">',
    ]
    for lane in sorted(set(lanes)) if len(set(lanes)) > 1 else ():
        xs = [arranged.centres[n][0] for n, own in enumerate(lanes) if own == lane]
        middle = (min(xs) + max(xs)) / 2
        parts.append(f'<text class="lane" x="{middle:.0f}" y="-6">{TITLES[LANES[lane]]}</text>')
    for (source, target), route in zip(picture.arrows, arranged.routes, strict=True):
        crossing = " crossing" if lanes[source] != lanes[target] else ""
        parts.append(
            f'<path class="arrow {LANES[lanes[target]]}{crossing}" data-from="{source}" data-to="{target}" '
            f'd="{_path(route, bool(crossing))}"/>'
        )
    for number, (box, (x, y)) in enumerate(zip(boxes, arranged.centres, strict=True)):
        parts.append(_svg_box(number, box, x, y, attributes(box) if attributes else {}))
    return "\n".join([*parts, "</g>", "</svg>"])


def _svg_box(number: int, box: Box, x: float, y: float, attributes: Mapping[str, str]) -> str:
    width, height = box.size
    extra = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    classes = f"box {box.kind} {LANES[box.lane]}{' result' if box.result else ''}"
    location = box.nodes[0].location if box.nodes else None
    hint = f"{box.title}  {box.text}" + (f"\n{location}\n{location.expression}" if location and location.line else "")
    radius = height / 2 if box.kind == "input" else 6
    place = f"translate({x - width / 2:.1f} {y - height / 2:.1f})"
    return (
        f'<g class="{classes}" data-box="{number}"{extra} transform="{place}">'
        f"<title>{escape(hint)}</title>"
        f'<rect width="{width:.1f}" height="{height:.1f}" rx="{radius:.0f}"/>'
        f'<text class="title" x="{width / 2:.1f}" y="{height / 2 - 4:.1f}">{escape(box.title)}</text>'
        f'<text class="type" x="{width / 2:.1f}" y="{height / 2 + 11:.1f}">{escape(box.text)}</text></g>'
    )


def _path(route: Sequence[tuple[float, float]], sideways: bool) -> str:
    """A smooth line through points: it leaves and enters them straight down, or sideways between lanes."""
    (x, y), *rest = route
    text = f"M{x:.1f} {y:.1f}"
    for u, v in rest:
        if sideways:
            middle = (x + u) / 2
            text += f"C{middle:.1f} {y:.1f} {middle:.1f} {v:.1f} {u:.1f} {v:.1f}"
        else:
            middle = (y + v) / 2
            text += f"C{x:.1f} {middle:.1f} {u:.1f} {middle:.1f} {u:.1f} {v:.1f}"
        x, y = u, v
    return text


def graph_svg(graph: Graph) -> str:
    """The picture of a graph as SVG text."""
    return to_svg(picture(graph))


STYLE = (
    themed(
        "adjit-graph",
        "--g-ink:#1f2328;--g-soft:#6a737d;--g-line:#b4bcc6;--g-program:#0969da;--g-program-fill:#eef5ff;"
        "--g-derivative:#bc4c00;--g-derivative-fill:#fff4ec;--g-update:#1a7f37;--g-update-fill:#edf9f0;"
        "--g-input-fill:#f3f5f7",
        "--g-ink:#e6edf3;--g-soft:#9aa4af;--g-line:#4d5661;--g-program:#58a6ff;--g-program-fill:#10233d;"
        "--g-derivative:#f0883e;--g-derivative-fill:#331e0e;--g-update:#3fb950;--g-update-fill:#0f2a18;"
        "--g-input-fill:#1c2128",
    )
    + """
.adjit-graph{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.adjit-graph .arrow{fill:none;stroke:var(--g-line);stroke-width:1.3}
.adjit-graph .arrow.crossing{stroke-dasharray:4 4;opacity:.55}
.adjit-graph rect{stroke-width:1.2}
.adjit-graph .program rect{stroke:var(--g-program);fill:var(--g-program-fill)}
.adjit-graph .derivative rect{stroke:var(--g-derivative);fill:var(--g-derivative-fill)}
.adjit-graph .update rect{stroke:var(--g-update);fill:var(--g-update-fill)}
.adjit-graph .input rect{stroke:var(--g-line);fill:var(--g-input-fill)}
.adjit-graph .result rect{stroke-width:2.6}
.adjit-graph text{text-anchor:middle;fill:var(--g-ink)}
.adjit-graph .title{font-size:13px;font-weight:600}
.adjit-graph .type{font-size:10px;fill:var(--g-soft)}
.adjit-graph .lane{font-size:12px;fill:var(--g-soft);letter-spacing:.08em}
"""
).replace("\n", "")
