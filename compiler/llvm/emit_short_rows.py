"""Sums in the order `lanes` over rows shorter than a vector: as many rows at a time as whole vectors hold.

In vectors that begin where a row does, it is known which lane has which element of which row.  What is read is then a
few plain vectors, rearranged in registers, however an operand repeats its elements along the rows or across them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from adjit.compiler.llvm.emit_choice import cost, extents_of, loop_dtype, partials, variables_of
from adjit.compiler.llvm.emit_domain import Pairs
from adjit.compiler.llvm.emit_index import least, vector
from adjit.compiler.llvm.emit_state import Lanes, Pattern, Ramp, Writer
from adjit.compiler.llvm.sequences import below, counted
from adjit.compiler.loops.ir import LOAD, address
from adjit.ir.graph import Node
from adjit.ir.shape import Dim, Size, product

# Instructions that the vectors of one turn may take.
_MOST = 512


def period_of(w: Writer, node: Node, lanes: int) -> int:
    """How many terms of a `reduce` of short rows a turn takes; 0 where rows are longer, or too much code were needed.

    Whole rows and whole vectors, and if possible as many vectors as have partial results, which stay in registers then.
    """
    extents, nodes = extents_of(node), node.regions[0].nodes
    length = extents[-1]
    if len(extents) != 2 or not isinstance(length, int) or not 1 < length < lanes:
        return 0
    loads = [inner for inner in nodes if inner.op is LOAD]
    if any(inner.regions for inner in nodes) or not all(_is_near(load, node, lanes) for load in loads):
        return 0
    work = cost(node.regions[0]) + len(loads)
    most = _MOST // work * min(lanes, w.native_lanes(loop_dtype(node.regions[0])))
    periods = (math.lcm(length, partials(node)), math.lcm(length, lanes))
    return next((period for period in periods if period <= most), 0)


def _is_near(load: Node, node: Node, lanes: int) -> bool:
    """Whether two vectors hold what a vector's lanes read."""
    row, column = variables_of(node)
    _, length = extents_of(node)
    place = address(load.inputs[0].type, load.attributes["at"])  # type: ignore[arg-type]
    if load.attributes["masked"] or not isinstance(length, int):
        return False
    if not isinstance(place, Dim):
        return True
    steps = place.coefficient(row), place.coefficient(column)
    if not isinstance(steps[0], int) or not isinstance(steps[1], int):
        return False
    return abs(steps[0]) * (lanes // length + 1) + abs(steps[1]) * (length - 1) < 2 * lanes


def walk_short_rows(
    w: Writer, node: Node, period: int, begin: str, end: str, lanes: int, add: Callable[[str], None]
) -> str:
    """`add(place)` for the terms begin..end-1, `lanes` at a time; places are counted from the start of a row.

    Returns the place of the first term.  Vectors that hold others too are masked, and look for each lane's element.
    """
    f = w.f
    pairs = tuple(zip(variables_of(node), extents_of(node), strict=True))
    (row, _), (column, length) = pairs
    assert isinstance(length, int)
    before = f.let(f"urem i64 {begin}, {length}")
    first = f.let(f"sub nsw i64 {begin}, {before}")
    total = f.let(f"sub nsw i64 {end}, {first}")
    with counted(f, "0", total, period) as start, w.scope():
        stop, place = (f.let(f"add nsw i64 {start}, {further}") for further in (period, first))
        whole, edge, done = f.label("whole"), f.label("edge"), f.label("done")
        holds = (f.let(f"icmp sge i64 {start}, {before}"), f.let(f"icmp sle i64 {stop}, {total}"))
        f.branch(f.let(f"and i1 {holds[0]}, {holds[1]}"), whole, edge)
        f.start(whole)
        with w.scope():
            above = f.let(f"udiv i64 {place}, {length}")
            for shift in range(0, period, lanes):
                known = {row: _pattern(w, above, [(shift + lane) // length for lane in range(lanes)]),
                         column: _pattern(w, "0", [(shift + lane) % length for lane in range(lanes)])}  # fmt: skip
                with w.vector(lanes, None), w.bound(known):
                    add(f.let(f"add nsw i64 {start}, {shift}"))
        f.jump(done)
        f.start(edge)
        with counted(f, start, least(w, stop, total), lanes) as at, w.scope():
            early, late = (below(f, lanes, f.let(f"sub nsw i64 {limit}, {at}")) for limit in (before, total))
            mask = f.let(f"xor <{lanes} x i1> {early}, {late}")
            lane_by_lane(w, pairs, f.let(f"add nsw i64 {first}, {at}"), mask, lanes, lambda: add(at))
        f.jump(done)
        f.start(done)
    return before


def _pattern(w: Writer, base: str, numbers: list[int]) -> Pattern:
    """The variable that is `base` and one of `numbers` in each lane."""
    start = str(numbers[0]) if base == "0" else w.f.let(f"add nsw i64 {base}, {numbers[0]}")
    return Pattern(start, tuple(number - numbers[0] for number in numbers))


def lane_by_lane(w: Writer, pairs: Pairs, start: str, mask: str, lanes: int, run: Callable[[], None]) -> None:
    """`run` for the terms of `mask` among `lanes` from flat position `start` on, each with variables of its own."""
    flat = Dim.named("@flat")
    w.bounds.declare("@flat", product(extent for _, extent in pairs))
    with w.vector(lanes, mask), w.bound({"@flat": Ramp(start)}):
        places: dict[str, Lanes] = {}
        step: Size = 1
        for name, size in reversed(pairs):
            places[name] = Lanes(vector(w, (flat // step) % size, 64))
            step = step * size
        with w.bound(places):
            run()
