"""Vector loops whose bounds tests hold but at the ends: in between they run without the tests.

Padding and shifted reads ask at every place whether an index is in bounds.  Where the answer is yes from one number to
another, the loop runs there without asking, and the vectors before and behind run as they would have.
"""

from __future__ import annotations

from collections.abc import Callable

from adjit.compiler.llvm.emit_index import greatest, least
from adjit.compiler.llvm.emit_state import Ramp, Writer
from adjit.compiler.llvm.gemm_tile import counted
from adjit.compiler.loops.ir import INDEX, INSIDE, LOAD, STORE
from adjit.ir.frozen import frozen
from adjit.ir.graph import Region
from adjit.ir.shape import Dim, Size

# An interior of fewer vectors is not worth code of its own.
_LEAST_VECTORS = 16
_PLAIN = frozenset({LOAD, STORE, INSIDE, INDEX})


@frozen
class Interior:
    """The values start..stop-1 of a variable, for which all bounds tests on it hold."""

    start: int
    stop: int


def interior_of(region: Region, name: str, extent: Size, lanes: int) -> Interior | None:
    """Where the tests on a loop's last variable hold; None if there is none, or it is not a range of numbers."""
    plain = all(node.op in _PLAIN or node.op.family in ("scalar", "source") for node in region.nodes)
    if not plain or not isinstance(extent, int):
        return None
    start, stop, tested = 0, extent, False
    for node in region.nodes:
        pairs: tuple[tuple[Size, Size], ...] = node.attributes["of"] if node.op is INSIDE else ()  # type: ignore[assignment]
        for expression, limit in pairs:
            if not isinstance(expression, Dim) or name not in expression.names:
                continue
            slope, tested = expression.coefficient(name), True
            offset = expression - Dim.named(name) if slope == 1 else None
            if not isinstance(offset, int) or not isinstance(limit, int):
                return None
            start, stop = max(start, -offset), min(stop, limit - offset)
    start, stop = -(-start // lanes) * lanes, stop // lanes * lanes
    return Interior(start, stop) if tested and stop - start >= _LEAST_VECTORS * lanes else None


def interior_loop(
    w: Writer,
    name: str,
    span: tuple[str, str],
    lanes: int,
    interior: Interior,
    ends: Callable[[str, str], None],
    body: Callable[[], None],
) -> None:
    """A vector loop over a span of a variable: `ends(low, high)` before and behind the interior, `body` inside."""
    begin, end = span
    f = w.f
    start = least(w, greatest(w, begin, str(interior.start)), end)
    stop = greatest(w, start, least(w, end, str(interior.stop)))
    whole = _difference(w, stop, start)
    whole = str(int(whole) // lanes * lanes) if not whole.startswith("%") else f.let(f"and i64 {whole}, {-lanes}")
    stop = f.let(f"add nsw i64 {start}, {whole}")
    with counted(f, "0", "2", 1) as side:
        first = f.let(f"icmp eq i64 {side}, 0")
        low, high = (f.let(f"select i1 {first}, i64 {a}, i64 {b}") for a, b in ((begin, stop), (start, end)))
        ends(low, high)
    mark = len(f.lines)
    with counted(f, start, stop, lanes) as i, w.bound({name: Ramp(i, lanes if begin == "0" else 1)}, mark):
        w.interior.add(name)
        with w.vector(lanes, None):
            body()
        w.interior.remove(name)


def _difference(w: Writer, left: str, right: str) -> str:
    if not left.startswith("%") and not right.startswith("%"):
        return str(int(left) - int(right))
    return w.f.let(f"sub nsw i64 {left}, {right}")
