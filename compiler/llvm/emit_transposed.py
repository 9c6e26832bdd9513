"""Loops that read arrays across the direction in which they write: squares of elements, exchanged in registers.

Where the elements of neighbouring lanes stand far apart, but those of neighbouring values of another variable are
neighbours, a square of both is read row by row and written column by column, so that each cache line is used whole.
Where a register is shorter than a line, squares stand beside each other, as many as make one of what is written.
"""

from __future__ import annotations

from collections.abc import Mapping

from adjit.compiler.llvm.emit_access import reverse
from adjit.compiler.llvm.emit_choice import Choice, column_stride, extents_of, variables_of
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_loops import scalar_loop
from adjit.compiler.llvm.emit_state import Ramp, Register, Uniform, Variable, Writer
from adjit.compiler.llvm.emit_stream import emit_streaming, is_streamed
from adjit.compiler.llvm.sequences import below, counted, masked_load, minimum, offset, prefetch, when
from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.transposition import emit_transpose
from adjit.compiler.loops.ir import LOAD, STORE, address
from adjit.compiler.memory import LINE
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node
from adjit.ir.shape import Size
from adjit.ir.types import BOOL, F32, F64, I32, I64

# Elements that are exchanged as they stand in memory.
_EXCHANGED = (F32, F64, I32, I64)
# Arrays of fewer elements stay in the first cache, where reading across costs little.
_LEAST = 1 << 10
# Bytes of a row in a block of squares: cache lines that follow each other, in few pages; vectors fetched ahead in it.
_BLOCK, _AHEAD = 1024, 2


@frozen
class Crossing:
    """Loads that go along the variable `reading`, in a `for` whose lanes and stores go along `writing`.

    A square has `side` elements in each direction; those beside each other have `lanes` along `writing`.
    """

    reading: str
    writing: str
    side: int
    lanes: int
    loads: tuple[Node, ...]


def crossing(w: Writer, node: Node, choice: Choice) -> Crossing | None:
    """How a `for` reads across the direction in which it writes, or None."""
    names, extents = variables_of(node), dict(zip(variables_of(node), extents_of(node), strict=True))
    lanes, writing = choice.lanes, choice.variable
    if w.lanes != 1 or writing is None or lanes < 2 or node.attributes["sequential"] or not node.attributes["parallel"]:
        return None
    (region,) = node.regions
    found: dict[str, list[Node]] = {}
    for inner in region.nodes:
        if inner.regions or inner.op.name == "update":
            return None
        if inner.op is STORE and (len(inner.inputs) != 2 or column_stride(inner, writing) != 1):
            return None
        if inner.op is LOAD and len(inner.inputs) == 1 and _is_far(column_stride(inner, writing)):
            along = [name for name in names if name != writing and column_stride(inner, name) in (1, -1)]
            type = inner.inputs[0].type
            if len(along) == 1 and type.dtype in _EXCHANGED and lanes == w.native_lanes(type.dtype):
                found.setdefault(along[0], []).append(inner)
    for name, loads in found.items():
        sides = extents[name], extents[writing]
        large = all(_is_large(load.inputs[0].type.size, _LEAST) for load in loads)
        if large and all(_is_large(side, lanes) for side in sides):
            line = max(lanes, LINE // loads[0].output.type.dtype.itemsize)
            return Crossing(name, writing, lanes, line if _is_large(extents[writing], line) else lanes, tuple(loads))
    return None


def _is_far(stride: Size | None) -> bool:
    return stride is not None and (not isinstance(stride, int) or abs(stride) > 1)


def _is_large(size: Size, least: int) -> bool:
    return not isinstance(size, int) or size >= least


def emit_crossing(w: Writer, node: Node, span: tuple[str, str] | None, across: Crossing) -> None:
    """The `for`, a square of `reading` and `writing` after another; `span` restricts its first variable."""
    names, extents = variables_of(node), extents_of(node)
    bounds = {name: ("0", uniform(w, extent)) for name, extent in zip(names, extents, strict=True)}
    for name, extent in zip(names, extents, strict=True):
        w.bounds.declare(name, extent)
    if span is not None:
        bounds[names[0]] = span
    squares = {load: _Square(w, load, across) for load in across.loads}
    outer = [name for name in names if name not in (across.reading, across.writing)]

    def nest(depth: int) -> None:
        if depth < len(outer):
            scalar_loop(w, outer[depth], *bounds[outer[depth]], lambda: nest(depth + 1))
        else:
            _each_square(w, node, across, squares, bounds, whole)

    own = dict(zip(names, extents, strict=True))[across.writing]
    whole = isinstance(own, int) and own % across.lanes == 0 and (span is None or names[0] != across.writing)
    stores = [inner for inner in node.regions[0].nodes if inner.op is STORE and inner.inputs[0] not in w.sources]
    streamed = [store.inputs[0] for store in stores if whole and is_streamed(w, store, across.writing)]
    if streamed:
        emit_streaming(w, streamed, "0", lambda: nest(0))
    else:
        nest(0)


def _each_square(
    w: Writer,
    node: Node,
    across: Crossing,
    squares: Mapping[Node, _Square],
    bounds: Mapping[str, tuple[str, str]],
    whole: bool,
) -> None:
    """The plane of both variables; where lines are `whole`, all have a whole number of vectors.

    Else stores have masks: of all vectors, or, where masks take time, of the last one in a block.
    """
    f, lanes = w.f, across.lanes
    (first, last), (begin, end) = bounds[across.writing], bounds[across.reading]
    block = _BLOCK // across.loads[0].output.type.dtype.itemsize

    def vectors(column: str, columns: str, mask: str | None) -> None:
        with counted(f, top, bottom, across.side) as row, w.scope():
            rows = minimum(f, f.let(f"sub nsw i64 {bottom}, {row}"), str(across.side))
            for square in squares.values():
                square.read(across, row, rows, column, columns)
            with counted(f, "0", rows, 1) as k:
                present = Uniform(f.let(f"add nsw i64 {row}, {k}"))
                with w.bound({across.reading: present, across.writing: Ramp(column)}), w.vector(lanes, mask):
                    _run(w, node, squares, k)

    with counted(f, first, last, block) as left, counted(f, begin, end, block) as top, w.scope():
        right, bottom = (minimum(f, f.let(f"add nsw i64 {x}, {block}"), y) for x, y in ((left, last), (top, end)))
        if whole or w.module.avx512:
            with counted(f, left, right, lanes) as column, w.scope():
                columns = minimum(f, f.let(f"sub nsw i64 {right}, {column}"), str(lanes))
                vectors(column, columns, None if whole else below(f, lanes, columns))
        else:
            rest = f.let(f"and i64 {f.let(f'sub nsw i64 {right}, {left}')}, {lanes - 1}")
            stop = f.let(f"sub nsw i64 {right}, {rest}")
            with counted(f, left, stop, lanes) as column, w.scope():
                vectors(column, str(lanes), None)
            with when(f, f.let(f"icmp sgt i64 {rest}, 0")), w.scope():
                vectors(stop, rest, below(f, lanes, rest))


def _run(w: Writer, node: Node, squares: Mapping[Node, _Square], k: str) -> None:
    for inner in node.regions[0].nodes:
        square = squares.get(inner)
        if square is None:
            w.emit_node(inner)
        else:
            w.registers[inner.output] = square.column(k)


class _Square:
    """Room on the stack for squares of a load's elements, and for the same with rows and columns exchanged."""

    def __init__(self, w: Writer, load: Node, across: Crossing) -> None:
        self.w, self.load = w, load
        self.backward = column_stride(load, across.reading) == -1
        self.type = LLType(load.output.type.dtype, across.side)
        self.beside = LLType(load.output.type.dtype, across.lanes)
        self.rows, self.columns = w.room(self.type, across.lanes), w.room(self.beside, across.side)

    def read(self, across: Crossing, row: str, rows: str, column: str, columns: str) -> None:
        """Read the squares that begin at `row` of `reading` and `column` of `writing`."""
        w, f, type = self.w, self.w.f, self.type
        start = {across.reading: Uniform(row)}
        if w.module.avx512:
            self._rows(across, start, column, columns, below(f, type.lanes, rows))
        else:
            is_whole = f.let(f"icmp eq i64 {rows}, {type.lanes}")
            with when(f, is_whole), w.scope():
                self._rows(across, start, column, columns, None)
            with when(f, f.let(f"xor i1 {is_whole}, true")), w.scope():
                self._rows(across, start, column, columns, below(f, type.lanes, rows))
        exchange = emit_transpose(w.module, type)
        for lane in range(0, across.lanes, type.lanes):
            square, to = offset(f, type.llvm, self.rows, lane), offset(f, type.element, self.columns, lane)
            f.line(f"call void @{exchange}(ptr {square}, ptr {to}, i64 {across.lanes}, i64 {type.lanes})")

    def _rows(
        self, across: Crossing, start: Mapping[str, Variable], column: str, columns: str, mask: str | None
    ) -> None:
        """Read rows that follow `writing`, of each the lanes of `mask`, or all."""
        w, f, type = self.w, self.w.f, self.type
        align, ahead = type.dtype.itemsize, _AHEAD * type.lanes
        if mask is not None and self.backward:
            mask = reverse(w, LLType(BOOL, type.lanes), mask)
        with counted(f, "0", columns, 1) as k:
            place = {**start, across.writing: Uniform(f.let(f"add nsw i64 {column}, {k}"))}
            with w.bound(place), w.scope():
                flat = address(self.load.inputs[0].type, self.load.attributes["at"])  # type: ignore[arg-type]
                at = offset(f, type.element, w.buffers[self.load.inputs[0]], uniform(w, flat))
                first = offset(f, type.element, at, 1 - type.lanes) if self.backward else at
                if mask is None:
                    found = f.let(f"load {type.llvm}, ptr {first}, align {align}")
                else:
                    found = masked_load(f, type, first, mask, type.constant(0))
                prefetch(f, offset(f, type.element, at, -ahead if self.backward else ahead))
                if self.backward:
                    found = reverse(w, type, found)
            f.line(f"store {type.llvm} {found}, ptr {offset(f, type.llvm, self.rows, k)}, align {align * type.lanes}")

    def column(self, k: str) -> Register:
        """The elements at `row + k` of `reading`."""
        f, type = self.w.f, self.beside
        align = min(64, type.lanes * type.dtype.itemsize)
        return Register(f.let(f"load {type.llvm}, ptr {offset(f, type.llvm, self.columns, k)}, align {align}"), type)
