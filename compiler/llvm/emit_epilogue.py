"""What follows a product: arithmetic on its complete sums, block by block, while the first cache holds them.

A function of its own that the loops of the product call, so that tiles stay as they are and its code stands once.
Vectors run along the columns of a block, or along its rows where these are what stands side by side in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from adjit.compiler.llvm.emit_choice import Dependence
from adjit.compiler.llvm.emit_domain import Pairs, split_flat, walk_pieces, walk_rows
from adjit.compiler.llvm.emit_index import least, uniform
from adjit.compiler.llvm.emit_state import Ramp, Register, Uniform, Writer
from adjit.compiler.llvm.emit_stream import is_streamed
from adjit.compiler.llvm.gemm_pack import ATTRIBUTES
from adjit.compiler.llvm.gemm_plan import GemmPlan
from adjit.compiler.llvm.sequences import below, counted, offset, prefetch, splat
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.loops.affine import collapsed
from adjit.compiler.loops.collapse import accesses
from adjit.compiler.loops.ir import LOAD, STORE, address
from adjit.compiler.memory import LINE
from adjit.ir.graph import Node, Region, Value
from adjit.ir.shape import Dim, Size, size_names, substitute
from adjit.ir.types import I64

# Bytes of an array that L2 may not hold beside the product's operands.
_FAR = 256 << 10
PARAMETERS = (
    "ptr %buffers, ptr %sizes, i64 %batch, i64 %row, i64 %column, i64 %rows, i64 %columns, ptr readonly %sums, "
    "i64 %pitch"
)


def emit_epilogue(
    module: Module,
    name: str,
    plan: GemmPlan,
    region: Region,
    axes: tuple[Pairs, Pairs, Pairs],
    along_rows: bool,
    attach: Callable[[Function], Writer],
) -> bool:
    """`void @name(PARAMETERS)`: the region, whose input is a sum, for each element of a block of complete sums.

    And `void @name.fetch(PARAMETERS)`, which asks for what that will touch.  `axes` are the variables of the batch, the
    rows and the columns; with `along_rows`, vectors run along the rows.  Returns whether results go past the caches.
    """
    streams = False
    for own, suffix in ((_Epilogue.finish, ""), (_Epilogue.fetch, ".fetch")):
        f = Function(module, f"{name}{suffix}", PARAMETERS, attributes=ATTRIBUTES)
        w = attach(f)
        merged, zeros = zip(*(_merged(pairs, region) for pairs in axes[1:]), strict=True)
        for pairs in (axes[0], *merged):
            for variable, extent in pairs:
                w.bounds.declare(variable, extent)
        type = LLType(plan.dtype, w.options.lanes or plan.lanes)
        # Blocks begin at multiples of a panel, but where they are rows of windows.
        regular = not along_rows and plan.order != "windows" and _has_vectors(type.lanes, plan.nr, axes[2])
        with w.bound({**split_flat(w, axes[0], "%batch"), **dict.fromkeys(chain(*zeros), Uniform("0"))}):
            own(_Epilogue(w, type, region, (merged[0], merged[1]), along_rows, regular))
        streams |= bool(w.streamed)
        w.finish()
    return streams


class _Epilogue:
    def __init__(
        self, w: Writer, type: LLType, region: Region, axes: tuple[Pairs, Pairs], along_rows: bool, regular: bool
    ) -> None:
        self.w, self.f, self.region = w, w.f, region
        rows, columns = (axes[0], "%row", "%rows", "%pitch"), (axes[1], "%column", "%columns", "1")
        self.moving, self.other = (rows, columns) if along_rows else (columns, rows)
        self.type = type
        self.whole = regular

    def finish(self) -> None:
        """For all values of the other index, the vectors of the block along the moving one."""
        w, f, lanes = self.w, self.f, self.type.lanes
        before, inside = _split(self.region.nodes, w.dependence, {name for name, _ in self.moving[0]})
        fixed, before = _split(before, w.dependence, {name for name, _ in self.other[0]})
        w.streamed = {w.buffers[node.inputs[0]]: self._at_lines(node) for node in inside if self._is_streamed(node)}

        def row() -> None:
            for node in before:
                w.emit_node(node)

        def vector(index: str, end: str, number: str, other: str) -> None:
            mask = None
            if lanes > 1 and not self.whole:
                mask = below(f, lanes, least(w, f.let(f"sub nsw i64 {end}, {index}"), str(lanes)))
            with w.bound({name: Ramp(index) for name, _ in self.moving[0][-1:]}), w.vector(lanes, mask):
                w.registers[self.region.inputs[0]] = self._sums(number, other)
                for node in inside:
                    w.emit_node(node)

        for node in fixed:
            w.emit_node(node)
        self._walk(lanes, row, vector)

    def fetch(self) -> None:
        """Ask for the lines of large arrays that the block's elements stand in."""
        w = self.w
        far = {_place_of(node): node.op is STORE for node in self.region.nodes if self._is_far(node)}
        if not far:
            return

        def line(index: str, end: str, number: str, other: str) -> None:
            with w.bound({name: Uniform(index) for name, _ in self.moving[0][-1:]}):
                for (buffer, at), stored in far.items():
                    type = LLType(buffer.type.dtype).llvm
                    prefetch(self.f, offset(self.f, type, w.buffers[buffer], uniform(w, at)), write=stored)

        self._walk(LINE // max(buffer.type.dtype.itemsize for buffer, _ in far), lambda: None, line)

    # -- the block ----------------------------------------------------------------------------------------------------
    def _walk(self, step: int, row: Callable[[], None], body: Callable[[str, str, str, str], None]) -> None:
        """For each value of the other index `row()`, then `body(index, end, number, other)` by steps of the moving one.

        These are the `other`-th and the `number`-th of the block; `end` is where the moving index's row ends.
        """
        w, f = self.w, self.f
        pairs, first, count, _ = self.moving
        others, first_other, count_other, _ = self.other
        with walk_pieces(w, pairs, first, f.let(f"add nsw i64 {first}, {count}")) as (shift, begin, end):
            before = f.let(f"sub nsw i64 {shift}, {first}")

            def each(flat: str) -> None:
                other = f.let(f"sub nsw i64 {flat}, {first_other}")
                with w.scope():
                    row()
                    mark = len(f.lines)
                    with counted(f, begin, end, step) as index, w.scope(mark):
                        body(index, end, f.let(f"add nsw i64 {before}, {index}"), other)

            walk_rows(w, others, first_other, f.let(f"add nsw i64 {first_other}, {count_other}"), each)

    def _sums(self, moving: str, other: str) -> Register:
        """A vector of the block's sums, those from its `moving`-th on for its `other`-th value of the other index."""
        w, f, type = self.w, self.f, self.type
        places = (f.let(f"mul nsw i64 {n}, {index[3]}") for n, index in ((moving, self.moving), (other, self.other)))
        place = offset(f, type.element, "%sums", f.let(f"add nsw i64 {next(places)}, {next(places)}"))
        if self.moving[3] == "1" or type.lanes == 1:
            return Register(f.let(f"load {type.llvm}, ptr {place}, align {type.dtype.itemsize}"), type)
        numbers = LLType(I64, type.lanes)
        steps = f.let(f"mul nsw {numbers.llvm} {splat(f, numbers, '%pitch')}, {numbers.numbers()}")
        pointers = f.let(f"getelementptr {type.element}, ptr {place}, {numbers.llvm} {steps}")
        return Register(f.gather(type, pointers, w.mask, type.constant(0)), type)

    # -- what it touches ----------------------------------------------------------------------------------------------
    def _is_far(self, node: Node) -> bool:
        """Whether a node touches an array, at other places for each value of both indices, that L2 may not hold."""
        if node.op not in (LOAD, STORE) or len(node.inputs) > 1 + (node.op is STORE) or self._is_streamed(node):
            return False
        type = node.inputs[0].type
        size = type.size * type.dtype.itemsize if isinstance(type.size, int) else _FAR
        return size >= _FAR and not {name for name, _ in self.other[0]}.isdisjoint(size_names(_place_of(node)[1]))

    def _is_streamed(self, node: Node) -> bool:
        """Whether a node stores a large result, of which no cache holds any line, by whole lines."""
        if not self.whole or node.op is not STORE or not is_streamed(self.w, node, self.moving[0][-1][0]):
            return False
        return not any(other.op is LOAD and other.inputs[0] is node.inputs[0] for other in self.region.nodes)

    def _at_lines(self, store: Node) -> str:
        """Whether (i1) what a node stores begins at a line."""
        address = self.f.let(f"ptrtoint ptr {self.w.buffers[store.inputs[0]]} to i64")
        return self.f.let(f"icmp eq i64 {self.f.let(f'and i64 {address}, {LINE - 1}')}, 0")


def _has_vectors(lanes: int, panel: int, columns: Pairs) -> bool:
    """Whether rows of columns, and panels of them, are whole vectors: blocks begin at multiples of one then."""
    extent = columns[-1][1] if columns else 1
    return isinstance(extent, int) and extent % lanes == panel % lanes == 0


def _merged(pairs: Pairs, region: Region) -> tuple[Pairs, list[str]]:
    """The variables, the inner of two standing for both wherever all places allow it, and those that are 0 then."""
    used = [expression for _, expressions in accesses(region) for expression in expressions]
    found, zeros = list(pairs), []
    for place in range(len(pairs) - 1, 0, -1):
        (outer, count), (inner, extent) = found[place - 1 : place + 1]
        if collapsed(Dim.named(outer), Dim.named(inner), extent, used):
            used = [substitute(expression, {outer: 0}) for expression in used]
            found[place - 1 : place + 1] = [(inner, count * extent)]
            zeros.append(outer)
    return tuple(found), zeros


def _place_of(access: Node) -> tuple[Value, Size]:
    """The buffer of a `load` or `store` and the flat position in it."""
    buffer = access.inputs[0]
    return buffer, address(buffer.type, access.attributes["at"])  # type: ignore[arg-type]


def _split(nodes: Sequence[Node], dependence: Dependence, names: set[str]) -> tuple[list[Node], list[Node]]:
    """The nodes that depend on no variable of `names`, by themselves or by the sum, and the others."""
    before = [
        node for node in nodes
        if node.outputs and all(names.isdisjoint(dependence.of(value)) for value in node.outputs)
    ]  # fmt: skip
    return before, [node for node in nodes if node not in before]
