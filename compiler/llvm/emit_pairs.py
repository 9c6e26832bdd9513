"""Rows two at a time: while the sum of one row is folded to a number, which takes long, there is work on the other; and
what all rows read, as the vector that a matrix is multiplied by, is loaded once, and for that up to four go together.

The loop over rows is written for rows i, i + 1, ... side by side, or for rows i, i + n, ... of an array that the second
cache does not hold: each then goes on where the one before it ended, as memory foresees.  Each loop over the columns of
one runs together with those of the others.  Where the number of rows is no multiple of theirs, the last row is computed
more than once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjit.compiler.llvm.emit_choice import HEAVY, column_stride, cost, extents_of, variables_of
from adjit.compiler.llvm.emit_index import least, uniform
from adjit.compiler.llvm.emit_loops import scalar_loop
from adjit.compiler.llvm.emit_prefetch import fetched_ahead, is_large
from adjit.compiler.llvm.emit_state import Uniform, Writer
from adjit.compiler.llvm.emit_together import RowLoop, Step, emit_body, emit_step, plan
from adjit.compiler.llvm.emit_twin import Twin
from adjit.compiler.llvm.sequences import counted
from adjit.compiler.loops.ir import LOAD, REDUCE, SCRATCH, STORE, address
from adjit.ir.graph import Node, Value
from adjit.ir.shape import size_names

# Bytes of two rows of all that is touched, which stay in the first cache; operations of a body that is written twice.
_ROOM, _MOST = 40 << 10, 100
# Sums that are under way together, each in four registers, so that those of two rows still have some.
_MOST_SUMS = 3
# Bytes of a row above which folding a sum is little beside adding it up, where nothing dearer is done and no operand is
# read for both rows at once; and bytes that are fetched ahead.
_SHORT, _AHEAD = 2 << 10, 1 << 10
# Rows that share an operand; and bytes of rows that go together far from each other, where only sums come of them and
# where rows are stored as well.
_SHARING, _READ, _STORED = 4, 1 << 10, 4 << 10
# What may stand between loads and stores, beside scalar ops.
_BETWEEN = ("const", "index", "random_word", "reduce", "for")
# Of a row's value: its place among the registers.
After = Callable[[str, Callable[[Value], Value]], None]


def emit_rows(w: Writer, node: Node, span: tuple[str, str] | None) -> None:
    """A `for` none of whose variables is cut into vectors; `span` restricts its first variable."""
    (region,), names, extents = node.regions, variables_of(node), extents_of(node)
    for name, extent in zip(names, extents, strict=True):
        w.bounds.declare(name, extent)

    def nest(depth: int) -> None:
        begin, end = span if span is not None and depth == 0 else ("0", uniform(w, extents[depth]))
        if depth + 1 == len(names):
            row_loop(w, node, region.nodes, begin, end)
        else:
            scalar_loop(w, names[depth], begin, end, lambda: nest(depth + 1))

    nest(0)


def row_loop(
    w: Writer, node: Node, nodes: Sequence[Node], begin: str, end: str, after: After | None = None
) -> None:
    """`nodes` of the body of a `for` for the values begin..end-1 of its last variable.

    With `after`, those are few, and after each `after(row, of)` is called; `of(value)` is what stands for `value` in
    that row's code.
    """
    name = variables_of(node)[-1]
    steps = plan(w, nodes)
    private = _private_scratch(nodes, name)
    count, far = _rows_abreast(w, node, steps, private)
    if count == 1:

        def one() -> None:
            row = w.variables[name]
            assert isinstance(row, Uniform)
            emit_body(w, node, nodes)
            if after is not None:
                after(row.name, lambda value: value)

        scalar_loop(w, name, begin, end, one)
        return
    twins = [Twin(w, name, name + "'" * number, nodes, private) for number in range(1, count)]
    for twin in twins:
        w.bounds.declare(twin.name, extents_of(node)[-1])
    for load, distance in fetched_ahead(node, [step.nodes for step in steps]).items():
        # Rows that are long come one after the other by themselves, and the first cache does not hold the next ones.
        ahead = min(count * distance, _AHEAD // load.inputs[0].type.dtype.itemsize)
        w.fetched = {**w.fetched, **dict.fromkeys([load, *(twin.nodes[load] for twin in twins)], ahead)}
    f = w.f
    last = f.let(f"sub nsw i64 {end}, 1")
    gap = _part(w, begin, last, count) if far and after is None else ""
    stop = f.let(f"add nsw i64 {begin}, {gap}") if gap else end
    mark = len(f.lines)
    with counted(f, begin, stop, 1 if gap else count) as row:
        beyond = (f.let(f"mul nsw i64 {gap}, {number}") if gap else str(number) for number in range(1, count))
        others = [least(w, f.let(f"add nsw i64 {row}, {distance}"), last) for distance in beyond]
        places = {twin.name: Uniform(other) for twin, other in zip(twins, others, strict=True)}
        with w.bound({name: Uniform(row), **places}, mark):
            for step in steps:
                emit_step(w, _beside(step, twins))
            for place, values in ((row, {}), *zip(others, (twin.values for twin in twins), strict=True)):
                if after is not None:
                    after(place, lambda value, values=values: values.get(value, value))  # type: ignore[misc]


def _part(w: Writer, begin: str, last: str, count: int) -> str:
    """How many rows each of `count` parts of the rows begin..last has, the last of them perhaps fewer."""
    rounded = w.f.let(f"add nsw i64 {w.f.let(f'sub nsw i64 {last}, {begin}')}, {count}")
    return w.f.let(f"udiv i64 {rounded}, {count}")


def _rows_abreast(w: Writer, node: Node, steps: Sequence[Step], private: set[Value]) -> tuple[int, bool]:
    """How many rows go together, and whether far apart.

    They are independent of each other, but for `private` memory, have sums, and are short or read an operand together.
    """
    if w.lanes > 1 or node.attributes["sequential"] or not any(step.loops for step in steps):
        return 1, False
    if sum(cost(inner.regions[0]) for step in steps for inner in step.nodes if inner.regions) > _MOST:
        return 1, False
    if any(sum(loop.node.op is REDUCE for loop in step.loops) > _MOST_SUMS for step in steps):
        return 1, False
    rows: dict[Value, int] = {}
    written: set[object] = set()
    read: set[object] = set()
    folds = dear = shared = stored = False
    name = variables_of(node)[-1]
    for step in steps:
        for inner in step.nodes:
            if inner.regions and not step.loops:
                return 1, False
            folds |= inner.op is REDUCE
            dear |= any(deeper.op.name in HEAVY for region in inner.regions for deeper in region.nodes)
            for access in (inner, *(deeper for region in inner.regions for deeper in region.nodes)):
                if access.op not in (LOAD, STORE):
                    if access.op.family != "scalar" and access.op.name not in _BETWEEN:
                        return 1, False
                    continue
                buffer = access.inputs[0]
                shared |= bool(step.loops) and access.op is LOAD and column_stride(access, name) == 0
                stored |= bool(step.loops) and access.op is STORE
                (read if access.op is LOAD else written).add(w.memory_of(buffer))
                extent = step.loops[0].extent if step.loops else 1
                if not isinstance(extent, int):
                    return 1, False
                rows[buffer] = extent * buffer.type.dtype.itemsize
    short = 2 * sum(rows.values()) <= _ROOM and (dear or max(rows.values()) <= _SHORT)
    if not folds or not read & written <= private:
        return 1, False
    far = any(is_large(buffer) and size >= (_STORED if stored else _READ) for buffer, size in rows.items())
    if short:
        return 2, far
    once = sum(bool(step.loops) for step in steps) == 1
    return (_sharing(w, node, steps) if shared and not dear and once else 1), far


def _sharing(w: Writer, node: Node, steps: Sequence[Step]) -> int:
    """How many rows that share an operand go together: their sums take half of the registers."""
    sums = [loop for step in steps for loop in step.loops if loop.node.op is REDUCE]
    size = sum(loop.lanes * loop.node.output.type.dtype.itemsize for loop in sums)
    registers = w.options.target.vector_registers * w.options.target.vector_bytes
    return max(1, min(_SHARING, registers // 2 // size))


def _private_scratch(nodes: Sequence[Node], name: str) -> set[Value]:
    """The scratch memory that each row fills anew: its places do not depend on the row, the variable `name`.

    What rows read and never write was filled for all of them.
    """
    found: dict[Value, bool] = {}
    for node in nodes:
        for access in (node, *(inner for region in node.regions for inner in region.walk())):
            buffer = access.inputs[0] if access.op in (LOAD, STORE) else None
            if buffer is not None and buffer.node is not None and buffer.node.op is SCRATCH:
                fixed = name not in size_names(address(buffer.type, access.attributes["at"]))  # type: ignore[arg-type]
                fills = access.op is STORE and not buffer.node.attributes["shared"]
                found[buffer] = found.get(buffer, fills) and fixed
    return {buffer for buffer, is_private in found.items() if is_private}


def _beside(step: Step, twins: Sequence[Twin]) -> Step:
    """A step's nodes and their copies."""
    loops = [RowLoop(twin.nodes[loop.node], loop.extent, loop.lanes, loop.exact)
             for twin in twins for loop in step.loops]  # fmt: skip
    return Step([*step.nodes, *(twin.nodes[node] for twin in twins for node in step.nodes)], [*step.loops, *loops])
