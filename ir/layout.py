"""Layered drawing of a graph: boxes in rows by depth, few crossings, edges that bend around boxes.

Source: Sugiyama, Tagawa and Toda, 1981: ranks by longest path, orders by barycentres; coordinates by isotonic
regression.  Boxes may be spread over lanes, each laid out on its own and put side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

ROW_GAP = 34.0
BOX_GAP = 22.0
LANE_GAP = 90.0
# A long edge is led through its rows by points; past this many of them, edges run straight.
MOST_POINTS = 30_000
SWEEPS = 8
# Lanes are made as tall as the tallest, up to this factor.
MOST_STRETCH = 3.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where boxes stand (the middle of each) and edges run (points from box to box), in a picture of a size."""

    width: float
    height: float
    centres: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]


@dataclass(slots=True)
class _Item:
    """A box, or a point of a long edge, in a row."""

    width: float
    height: float
    above: list[int]
    below: list[int]
    x: float = 0.0


def layout(
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]],
    lanes: Sequence[int] | None = None,
    rising: frozenset[int] = frozenset(),
) -> Layout:
    """Place boxes of these sizes; each edge leads from a box to a later one.

    `lanes` numbers the lane of each box, from the left; lanes in `rising` run from the bottom to the top.
    """
    lanes = lanes or [0] * len(sizes)
    centres: list[Point] = [(0.0, 0.0)] * len(sizes)
    routes: list[tuple[Point, ...]] = [()] * len(edges)
    placed = [(lane, *_lane(sizes, edges, lanes, lane)) for lane in sorted(set(lanes))]
    height = max([extent for _, _, extent, _, _ in placed], default=0.0)
    left = 0.0
    for lane, width, extent, points, paths in placed:
        stretch = min((height - ROW_GAP) / (extent - ROW_GAP), MOST_STRETCH) if extent > ROW_GAP else 1.0

        def moved(point: Point, left: float = left, stretch: float = stretch, up: bool = lane in rising) -> Point:
            y = ROW_GAP / 2 + (point[1] - ROW_GAP / 2) * stretch
            return left + point[0], height - y if up else y

        for box, point in points.items():
            centres[box] = moved(point)
        for edge, path in paths.items():
            routes[edge] = tuple(map(moved, path))
        left += width + LANE_GAP
    for number, (source, target) in enumerate(edges):
        routes[number] = _ends(sizes, centres, source, target, routes[number], lanes)
    return Layout(max(0.0, left - LANE_GAP), height, tuple(centres), tuple(routes))


def _ends(
    sizes: Sequence[tuple[float, float]],
    centres: Sequence[Point],
    source: int,
    target: int,
    inner: tuple[Point, ...],
    lanes: Sequence[int],
) -> tuple[Point, ...]:
    """A route with its ends at the borders of its boxes: at top and bottom in a lane, at the sides between lanes."""
    (x, y), (u, v) = centres[source], centres[target]
    if lanes[source] != lanes[target]:
        side = 1 if u > x else -1
        return (x + side * sizes[source][0] / 2, y), (u - side * sizes[target][0] / 2, v)
    down = 1 if v > y else -1
    return (x, y + down * sizes[source][1] / 2), *inner, (u, v - down * sizes[target][1] / 2)


def _lane(
    sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]], lanes: Sequence[int], lane: int
) -> tuple[float, float, dict[int, Point], dict[int, tuple[Point, ...]]]:
    """Width and height of a lane, the middles of its boxes, and the inner points of its edges by their numbers."""
    boxes = [box for box, own in enumerate(lanes) if own == lane]
    inner = [number for number, (source, target) in enumerate(edges) if lanes[source] == lanes[target] == lane]
    ranks = _ranks(boxes, [edges[number] for number in inner])
    items = [_Item(*sizes[box], [], []) for box in boxes]
    places = {box: place for place, box in enumerate(boxes)}
    rows: list[list[int]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
    for box in boxes:
        rows[ranks[box]].append(places[box])
    paths: dict[int, list[int]] = {}
    points = 0
    for number in inner:
        source, target = edges[number]
        chain = [places[source]]
        points += ranks[target] - ranks[source] - 1
        if points <= MOST_POINTS:
            for rank in range(ranks[source] + 1, ranks[target]):
                rows[rank].append(len(items))
                chain.append(len(items))
                items.append(_Item(0.0, 0.0, [], []))
            chain.append(places[target])
            for upper, lower in pairwise(chain):
                items[upper].below.append(lower)
                items[lower].above.append(upper)
        paths[number] = chain[1:-1] if points <= MOST_POINTS else []
    _order(rows, items)
    _align(rows, items)
    left = min((item.x - item.width / 2 for item in items), default=0.0)
    width = max((item.x + item.width / 2 for item in items), default=0.0) - left
    ys, y = [], 0.0
    for row in rows:
        tallest = max(items[place].height for place in row)
        ys.append(y + (tallest + ROW_GAP) / 2)
        y += tallest + ROW_GAP
    row_of = {place: rank for rank, row in enumerate(rows) for place in row}

    def at(place: int) -> Point:
        return items[place].x - left, ys[row_of[place]]

    return width, y, {box: at(places[box]) for box in boxes}, {n: tuple(map(at, path)) for n, path in paths.items()}


def _ranks(boxes: Sequence[int], edges: Sequence[tuple[int, int]]) -> dict[int, int]:
    """The row of each box: below all that it uses, and just above its first user where that makes no edge longer."""
    before: dict[int, list[int]] = {box: [] for box in boxes}
    after: dict[int, list[int]] = {box: [] for box in boxes}
    for source, target in edges:
        before[target].append(source)
        after[source].append(target)
    ranks: dict[int, int] = {}
    for box in boxes:
        ranks[box] = max((ranks[source] + 1 for source in before[box]), default=0)
    for box in reversed(boxes):
        if after[box] and len(before[box]) <= len(after[box]):
            ranks[box] = min(ranks[target] for target in after[box]) - 1
    return ranks


def _order(rows: Sequence[list[int]], items: Sequence[_Item]) -> None:
    """Sort each row by the mean position of its neighbours in the row before, down and up in turn."""
    position = [0.0] * len(items)
    for row in rows:
        _number(row, position)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            weights = {}
            for place in row:
                near = items[place].above if down else items[place].below
                weights[place] = sum(position[n] for n in near) / len(near) if near else position[place]
            row.sort(key=weights.__getitem__)
            _number(row, position)


def _number(row: Sequence[int], position: list[float]) -> None:
    """Positions relative to the row's middle, so that rows of different lengths compare."""
    for index, place in enumerate(row):
        position[place] = index - (len(row) - 1) / 2


def _align(rows: Sequence[Sequence[int]], items: Sequence[_Item]) -> None:
    """Move the items of each row as close to the mean of their neighbours as their widths allow."""
    for sweep in range(2 * SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            wanted, offsets, offset = [], [], 0.0
            for index, place in enumerate(row):
                item = items[place]
                if index:
                    previous = items[row[index - 1]]
                    gap = BOX_GAP if previous.width and item.width else BOX_GAP / 2
                    offset += (previous.width + item.width) / 2 + gap
                near = item.above if down else item.below
                if sweep >= SWEEPS:
                    near = item.above + item.below
                wanted.append((sum(items[n].x for n in near) / len(near) if near else item.x) - offset)
                offsets.append(offset)
            for place, x, shift in zip(row, _isotonic(wanted), offsets, strict=True):
                items[place].x = x + shift


def _isotonic(values: Sequence[float]) -> list[float]:
    """The non-decreasing numbers closest to `values` in the mean square: pool adjacent violators."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while blocks and blocks[-1][0] > mean:
            other, size = blocks.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        blocks.append((mean, count))
    return [mean for mean, count in blocks for _ in range(count)]
