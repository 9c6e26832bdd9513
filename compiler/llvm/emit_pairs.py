"""Rows two at a time: while the sum of one row is folded to a number, which takes long, there is work on the other; and
what both rows read, as the vector that a matrix is multiplied by, is loaded once.

The loop over rows is written for rows i and i + 1 side by side: each loop over the columns of one runs together with
that of the other.  Where the number of rows is odd, the last row is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjit.compiler.llvm.emit_choice import HEAVY, column_stride, cost, extents_of, variables_of
from adjit.compiler.llvm.emit_index import least, uniform
from adjit.compiler.llvm.emit_loops import scalar_loop
from adjit.compiler.llvm.emit_prefetch import fetched_ahead, sent_by_row
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
    w: Writer, node: Node, nodes: Sequence[Node], begin: str, end: str, after: After = lambda row, of: None
) -> None:
    """`nodes` of the body of a `for` for the values begin..end-1 of its last variable.

    After a row, `after(row, of)` is called; `of(value)` is what stands for `value` in that row's code.
    """
    name = variables_of(node)[-1]
    steps = plan(w, nodes)
    private = _private_scratch(nodes, name)
    if not _goes_in_pairs(w, node, steps, private):

        def one() -> None:
            row = w.variables[name]
            assert isinstance(row, Uniform)
            emit_body(w, node, nodes)
            after(row.name, lambda value: value)

        scalar_loop(w, name, begin, end, one)
        return
    twin = Twin(w, name, f"{name}'", nodes, private)
    w.bounds.declare(twin.name, extents_of(node)[-1])
    for load, distance in fetched_ahead(node, [step.nodes for step in steps]).items():
        # Rows that are long come one after the other by themselves, and the first cache does not hold the next two.
        ahead = min(2 * distance, _AHEAD // load.inputs[0].type.dtype.itemsize)
        w.fetched = {**w.fetched, load: ahead, twin.nodes[load]: ahead}
    f = w.f
    last = f.let(f"sub nsw i64 {end}, 1")
    mark = len(f.lines)
    with counted(f, begin, end, 2) as row:
        second = least(w, f.let(f"add nsw i64 {row}, 1"), last)
        with w.bound({name: Uniform(row), twin.name: Uniform(second)}, mark):
            for step in steps:
                emit_step(w, _beside(step, twin))
            after(row, lambda value: value)
            after(second, lambda value: twin.values.get(value, value))


def _goes_in_pairs(w: Writer, node: Node, steps: Sequence[Step], private: set[Value]) -> bool:
    """Whether rows are independent of each other, but for `private` memory, short, and have sums to be folded."""
    if w.lanes > 1 or node.attributes["sequential"] or not any(step.loops for step in steps):
        return False
    if sum(cost(inner.regions[0]) for step in steps for inner in step.nodes if inner.regions) > _MOST:
        return False
    if any(sum(loop.node.op is REDUCE for loop in step.loops) > _MOST_SUMS for step in steps):
        return False
    rows: dict[Value, int] = {}
    written: set[object] = set()
    read: set[object] = set()
    folds = dear = shared = False
    name = variables_of(node)[-1]
    for step in steps:
        for inner in step.nodes:
            if inner.regions and not step.loops:
                return False
            folds |= inner.op is REDUCE
            dear |= any(deeper.op.name in HEAVY for region in inner.regions for deeper in region.nodes)
            for access in (inner, *(deeper for region in inner.regions for deeper in region.nodes)):
                if access.op not in (LOAD, STORE):
                    if access.op.family != "scalar" and access.op.name not in _BETWEEN:
                        return False
                    continue
                buffer = access.inputs[0]
                shared |= bool(step.loops) and access.op is LOAD and column_stride(access, name) == 0
                (read if access.op is LOAD else written).add(w.memory_of(buffer))
                extent = step.loops[0].extent if step.loops else 1
                if not isinstance(extent, int):
                    return False
                rows[buffer] = extent * buffer.type.dtype.itemsize
    short = 2 * sum(rows.values()) <= _ROOM and (dear or max(rows.values()) <= _SHORT)
    lone = shared and not dear and sum(bool(step.loops) for step in steps) == 1 and not any(
        sent_by_row(buffer, size // buffer.type.dtype.itemsize) for buffer, size in rows.items()
    )
    if not folds or not (short or lone):
        return False
    return read & written <= private


def _private_scratch(nodes: Sequence[Node], name: str) -> set[Value]:
    """The scratch memory that each row fills anew: its places do not depend on the row, the variable `name`."""
    found: dict[Value, bool] = {}
    for node in nodes:
        for access in (node, *(inner for region in node.regions for inner in region.walk())):
            buffer = access.inputs[0] if access.op in (LOAD, STORE) else None
            if buffer is not None and buffer.node is not None and buffer.node.op is SCRATCH:
                fixed = name not in size_names(address(buffer.type, access.attributes["at"]))  # type: ignore[arg-type]
                found[buffer] = found.get(buffer, not buffer.node.attributes["shared"]) and fixed
    return {buffer for buffer, is_private in found.items() if is_private}


def _beside(step: Step, twin: Twin) -> Step:
    """A step's nodes and their copies."""
    loops = [RowLoop(twin.nodes[loop.node], loop.extent, loop.lanes, loop.exact) for loop in step.loops]
    return Step([*step.nodes, *(twin.nodes[node] for node in step.nodes)], [*step.loops, *loops])
