"""Sums over windows, those of several rows side by side: each waits, term after term, for the addition before it.

Windows of neighbouring rows overlap: term t of row i reads what term t + 1 of row i - 1 does.  Terms are taken by the
row of the image that they read, so that a load serves the sums of all rows.  Each sum keeps its order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd, prod

from adjit.compiler.llvm.emit_choice import Choice, cost, extents_of, in_order, variables_of
from adjit.compiler.llvm.emit_index import least
from adjit.compiler.llvm.emit_loops import ABREAST, SMALL, Body, scalar_loop
from adjit.compiler.llvm.emit_reduce import fold_term, in_order_slot
from adjit.compiler.llvm.emit_state import Register, Uniform, Variable, Writer
from adjit.compiler.llvm.emit_twin import Twin
from adjit.compiler.llvm.sequences import counted
from adjit.compiler.loops.ir import LOAD, REDUCE, RUN, STORE, address
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node
from adjit.ir.shape import Dim

# The most rows side by side; the terms of a column of taps, over all rows, that are written out; and of a row of taps.
_ROWS, _WRITTEN, _SPELLED = 8, 64, 4


@frozen
class Abreast:
    """The `sum` of a `for`, `rows` values of its last variable but one at a time.

    What row i reads at turn t of the sum's variable number `place` depends on step*i + gap*t alone.
    """

    sum: Node
    rows: int
    place: int
    step: int
    gap: int


def abreast_of(w: Writer, node: Node, choice: Choice) -> Abreast | None:
    """How a `for` sums over windows row beside row, or None where it does not."""
    (region,), names, extents = node.regions, variables_of(node), extents_of(node)
    sums = [inner for inner in region.nodes if inner.op is REDUCE]
    if len(names) < 2 or choice.variable != names[-1] or len(sums) != 1 or node.attributes["sequential"]:
        return None
    (inner,) = sums
    known = [extent for extent in (*extents[-2:], *extents_of(inner)) if isinstance(extent, int)]
    if not in_order(inner) or len(known) != 2 + len(extents_of(inner)) or not 0 < prod(known[2:]) <= RUN:
        return None
    if cost(region) > SMALL or not _is_plain(w, node, inner):
        return None
    vectors = min(ABREAST, -(-known[1] // choice.lanes))
    most = min(_ROWS, known[0], w.options.target.vector_registers // 2 // vectors)
    if most < 2:
        return None
    rows = min(range(2, most + 1), key=lambda rows: (-(-known[0] // rows) * rows, -rows))
    for place, (name, taps) in enumerate(zip(variables_of(inner), known[2:], strict=True)):
        for step, gap in _shifts(inner, names[-2], name):
            # What a row reads at turn t, the one `gap` rows on reads at turn t - step: along channels none does.
            if gap < rows and step < taps and rows * taps <= _WRITTEN:
                return Abreast(inner, rows, place, step, gap)
    return None


def _is_plain(w: Writer, node: Node, inner: Node) -> bool:
    """Whether a body is loads, arithmetic and stores around its sum, and reads nothing that it writes."""
    read: set[object] = set()
    written: set[object] = set()
    for each in node.regions[0].walk():
        if each.op in (LOAD, STORE):
            (read if each.op is LOAD else written).add(w.memory_of(each.inputs[0]))
        elif each is not inner and each.op.family != "scalar" and each.op.name not in ("const", "index", "inside"):
            return False
    return not read & written


def _shifts(inner: Node, row: str, name: str) -> Iterator[tuple[int, int]]:
    """By loads, how far apart rows and turns of a variable stand, in the least common unit."""
    for load in inner.regions[0].nodes:
        flat = address(load.inputs[0].type, load.attributes["at"]) if load.op is LOAD else 0  # type: ignore[arg-type]
        slopes = [flat.coefficient(each) if isinstance(flat, Dim) else 0 for each in (row, name)]
        step, gap = (slope if isinstance(slope, int) else 0 for slope in slopes)
        if step > 0 and gap > 0:
            unit = gcd(step, gap)
            yield step // unit, gap // unit


class RowsAbreast:
    """The rows of a `for`, some side by side."""

    def __init__(self, w: Writer, node: Node, how: Abreast) -> None:
        self.w, self.how, self.nodes = w, how, node.regions[0].nodes
        self.row, self.count = variables_of(node)[-2], extents_of(node)[-2]
        self.twins = [Twin(w, self.row, f"{self.row}'{number}", self.nodes) for number in range(1, how.rows)]
        for twin in self.twins:
            w.bounds.declare(twin.name, self.count)

    def each(self, body: Body) -> None:
        """`body` for all rows; the last ones begin earlier where fewer are left, and some are computed twice."""
        w, count, rows = self.w, self.count, self.how.rows
        assert isinstance(count, int)
        if count == rows:
            with w.bound(self._rows("0")):
                body()
            return
        mark = len(w.f.lines)
        with counted(w.f, "0", str(count), rows) as start:
            first = start if count % rows == 0 else least(w, start, str(count - rows))
            with w.bound(self._rows(first), mark):
                body()

    def _rows(self, first: str) -> dict[str, Variable]:
        rows: dict[str, Variable] = {self.row: Uniform(first)}
        for number, twin in enumerate(self.twins, 1):
            rows[twin.name] = Uniform(str(number) if first == "0" else self.w.f.let(f"add nsw i64 {first}, {number}"))
        return rows

    def run(self) -> None:
        """The body of the rows that are side by side."""
        for node in self.nodes:
            copies = [node, *(twin.nodes[node] for twin in self.twins)]
            if node is self.how.sum:
                self._sums(copies)
            else:
                for copy in copies:
                    self.w.emit_node(copy)

    def _sums(self, copies: Sequence[Node]) -> None:
        w, how = self.w, self.how
        slots = [in_order_slot(w, copy) for copy in copies]
        names, extents = variables_of(how.sum), extents_of(how.sum)
        beyond = prod(extent for extent in extents[how.place + 1 :] if isinstance(extent, int))

        def nest(depth: int, turns: Sequence[tuple[int, int]] = ()) -> None:
            if depth == len(names):
                for number, turn in turns:
                    with w.bound({names[how.place]: Uniform(str(turn))}):
                        fold_term(w, copies[number], slots[number])
                return
            extent = extents[depth]
            assert isinstance(extent, int)
            if depth == how.place:
                for shift in range(how.step * (how.rows - 1) + how.gap * (extent - 1) + 1):
                    met = ((number, divmod(shift - how.step * number, how.gap)) for number in range(how.rows))
                    chosen = [(number, turn) for number, (turn, rest) in met if rest == 0 and 0 <= turn < extent]
                    if chosen:
                        nest(depth + 1, chosen)
            else:
                spelled = depth > how.place and beyond <= _SPELLED
                scalar_loop(w, names[depth], "0", str(extent), lambda: nest(depth + 1, turns), spelled)

        nest(0)
        for copy, slot in zip(copies, slots, strict=True):
            w.registers[copy.output] = Register(w.read(slot), slot.type)
