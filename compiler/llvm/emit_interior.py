"""Vector loops whose bounds tests are decided but at a few places: between these they run without the tests.

Padding, shifted reads and arrays side by side ask at every place whether an index is in bounds.  Where the answer is
the same from one number to another, the loop runs there without asking; the vectors around run as they would have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from adjit.compiler.llvm.emit_choice import cost
from adjit.compiler.llvm.emit_index import greatest, least
from adjit.compiler.llvm.emit_state import Ramp, Writer
from adjit.compiler.llvm.sequences import counted
from adjit.compiler.loops.ir import INDEX, INSIDE, LOAD, STORE
from adjit.ir.frozen import frozen
from adjit.ir.graph import Region
from adjit.ir.shape import Dim, Size

# Code of its own is worth this many vectors, and fewer where it is short; one where all of a row is in such stretches,
# or there are many rows, each of a few vectors.
_LEAST_VECTORS, _LEAST_SHORT, _SHORT, _FEW_VECTORS = 16, 4, 50, 4
# The most stretches, and the most operations in all of their code.
_MOST, _LARGEST = 4, 200
_PLAIN = frozenset({LOAD, STORE, INSIDE, INDEX})
Test: TypeAlias = "tuple[Size, Size]"


@frozen
class Stretch:
    """The values start..stop-1 of a variable, for which the answers to some bounds tests are `known`."""

    start: int
    stop: int
    known: Mapping[Test, bool]


def stretches_of(region: Region, name: str, extent: Size, lanes: int, is_row: bool) -> tuple[Stretch, ...]:
    """The stretches of a loop's last variable, in order, that are worth code of their own; they hold whole vectors.

    The variable runs over a row where there are others around it.
    """
    plain = all(node.op in _PLAIN or node.op.family in ("scalar", "source") for node in region.nodes)
    if not plain or not isinstance(extent, int):
        return ()
    ranges: dict[Test, range] = {}
    for node in region.nodes:
        tests: tuple[Test, ...] = node.attributes["of"] if node.op is INSIDE else ()  # type: ignore[assignment]
        for test in tests:
            if (found := _true_range(test, name)) is not None:
                ranges[test] = found
    ends = {0, extent, *(end for found in ranges.values() for end in (found.start, found.stop) if 0 < end < extent)}
    places = sorted(ends) if ranges else []
    cuts = list(pairwise(places))
    whole = len(cuts) <= _MOST and extent % lanes == 0 and all(end % lanes == 0 for end in places)
    few = whole or (is_row and extent <= _FEW_VECTORS * lanes)
    wanted = lanes * (1 if few else _LEAST_SHORT if cost(region) <= _SHORT else _LEAST_VECTORS)
    inner = [(-(-start // lanes) * lanes, stop // lanes * lanes) for start, stop in cuts]
    long = [(start, stop) for start, stop in inner if stop - start >= wanted]
    most = min(_MOST, max(1, _LARGEST // cost(region)))
    kept = sorted(sorted(long, key=lambda cut: cut[0] - cut[1])[:most])
    return tuple(
        Stretch(start, stop, {test: start in found for test, found in ranges.items()}) for start, stop in kept
    )


def _true_range(test: Test, name: str) -> range | None:
    """The values of a variable for which a test holds, where it depends on nothing else."""
    expression, limit = test
    if not isinstance(expression, Dim) or not isinstance(limit, int):
        return None
    slope = expression.coefficient(name)
    if slope == 1 and isinstance(offset := expression - Dim.named(name), int):
        return range(-offset, limit - offset)
    if slope == -1 and isinstance(offset := expression + Dim.named(name), int):
        return range(offset - limit + 1, offset + 1)
    return None


def stretched_loop(
    w: Writer,
    name: str,
    span: tuple[str, str],
    lanes: int,
    stretches: Sequence[Stretch],
    between: Callable[[str, str], None],
    body: Callable[[], None],
) -> None:
    """A vector loop over a span of a variable: `between(low, high)` around the stretches, `body` in them."""
    begin, end = span
    f = w.f
    inside: list[tuple[str, str]] = []
    for stretch in stretches:
        start = least(w, greatest(w, begin, str(stretch.start)), end)
        stop = greatest(w, start, least(w, end, str(stretch.stop)))
        whole = _difference(w, stop, start)
        whole = str(int(whole) // lanes * lanes) if not whole.startswith("%") else f.let(f"and i64 {whole}, {-lanes}")
        inside.append((start, _sum(w, start, whole)))
    gaps = list(zip((begin, *(stop for _, stop in inside)), (*(start for start, _ in inside), end), strict=True))
    gaps = [(low, high) for low, high in gaps if low != high]
    if gaps:
        with counted(f, "0", str(len(gaps)), 1) as number:
            low, high = gaps[0]
            for place, (left, right) in enumerate(gaps[1:], 1):
                there = f.let(f"icmp eq i64 {number}, {place}")
                low = f.let(f"select i1 {there}, i64 {left}, i64 {low}")
                high = f.let(f"select i1 {there}, i64 {right}, i64 {high}")
            between(low, high)
    for stretch, (start, stop) in zip(stretches, inside, strict=True):
        mark = len(f.lines)
        with counted(f, start, stop, lanes) as i, w.bound({name: Ramp(i, lanes if begin == "0" else 1)}, mark):
            before = w.decided
            w.decided = {**before, **stretch.known}
            with w.vector(lanes, None):
                body()
            w.decided = before


def _difference(w: Writer, left: str, right: str) -> str:
    if not left.startswith("%") and not right.startswith("%"):
        return str(int(left) - int(right))
    return w.f.let(f"sub nsw i64 {left}, {right}")


def _sum(w: Writer, left: str, right: str) -> str:
    if not left.startswith("%") and not right.startswith("%"):
        return str(int(left) + int(right))
    return w.f.let(f"add nsw i64 {left}, {right}")
