"""Folds over rows: the totals of many columns stand in L1 while the rows pass, so that memory is read as it lies.

Column after column, a sum down a wide matrix would jump from row to row.  The order of each column's sum is that of
`emit_reduce`: runs of terms, each added from zero, and the runs added in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

from adjit.compiler.llvm.emit_access import combine
from adjit.compiler.llvm.emit_choice import (
    Choice,
    Dependence,
    column_stride,
    cost,
    extents_of,
    in_order,
    variables_of,
)
from adjit.compiler.llvm.emit_index import greatest, least, uniform
from adjit.compiler.llvm.emit_loops import Body, neutral, scalar_loop, vector_loop
from adjit.compiler.llvm.emit_prefetch import columns_ahead
from adjit.compiler.llvm.emit_reduce import fused_product, run_length
from adjit.compiler.llvm.emit_state import Ramp, Register, Slot, Uniform, Writer
from adjit.compiler.llvm.sequences import counted, offset
from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.loops.ir import LOAD, REDUCE
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Region
from adjit.ir.types import BOOL

# Bytes of the rows of totals together: with the runs under way they fit the first cache.
# Rows that are added while a total is in a register.
_TILE = 16384
_ROWS = 8
# Fewer rows or columns than these are summed column by column; bodies of more operations too.
_FEWEST_ROWS, _FEWEST_COLUMNS, _LARGEST = 32, 256, 24


def goes_by_rows(node: Node, choice: Choice, dependence: Dependence) -> bool:
    """Whether a `for`, whose last variable is a column, holds folds over rows as `emit_columns` wants them."""
    (region,) = node.regions
    names, extents = variables_of(node), extents_of(node)
    sums = [inner for inner in region.nodes if inner.op is REDUCE]
    if not names or choice.variable != names[-1] or choice.lanes < 4 or not sums:
        return False
    if isinstance(extents[-1], int) and extents[-1] < _FEWEST_COLUMNS:
        return False
    for inner in sums:
        rows = extents_of(inner)
        orderless = inner.attributes["order"] == "any" and inner.attributes["kind"] in ("max", "min")
        if not (in_order(inner) or orderless) or len(rows) != 1 or rows != extents_of(sums[0]):
            return False
        if inner.output.type.dtype is BOOL:
            return False
        if (isinstance(rows[0], int) and rows[0] < _FEWEST_ROWS) or cost(inner.regions[0]) > _LARGEST:
            return False
        if any(n.regions for n in inner.regions[0].nodes):
            return False
        loads = [n for n in inner.regions[0].walk() if n.op is LOAD]
        if not any(column_stride(n, names[-1]) == 1 and _moves(n, inner) for n in loads):
            return False
    if any(inner.op is REDUCE for inner in _needed(region, sums, names[-1], dependence)):
        return False
    return not any(inner.regions and inner.op is not REDUCE for inner in region.nodes)


def _moves(load: Node, sum: Node) -> bool:
    return column_stride(load, variables_of(sum)[0]) not in (0, None)


def _needed(region: Region, sums: Sequence[Node], column: str, dependence: Dependence) -> list[Node]:
    """What the terms of sums need of the body around them that differs from column to column, in order."""
    bodies = [inner.regions[0] for inner in sums]
    wanted = {value for body in bodies for node in body.walk() for value in node.inputs}
    wanted |= {value for body in bodies for value in body.outputs}
    found = []
    for node in reversed(region.nodes):
        if not wanted.isdisjoint(node.outputs) and any(column in dependence.of(value) for value in node.outputs):
            found.append(node)
            wanted.update(node.inputs)
    return found[::-1]


@frozen
class _Sum:
    """A sum: the totals and the run under way of each column of the tile, and its product if that is fused.

    Of a single run these are the same.
    """

    node: Node
    totals: Slot
    run: Slot
    fused: Node | None


def emit_by_rows(w: Writer, node: Node, span: tuple[str, str] | None, lanes: int) -> None:
    """The columns for each value of the other variables; `span` restricts the first of all."""
    names, extents = variables_of(node), extents_of(node)
    for name, extent in zip(names, extents, strict=True):
        w.bounds.declare(name, extent)

    def nest(depth: int) -> None:
        bounds = span if span is not None and depth == 0 else ("0", uniform(w, extents[depth]))
        if depth + 1 == len(names):
            emit_columns(w, node, bounds, lanes)
        else:
            scalar_loop(w, names[depth], *bounds, lambda: nest(depth + 1))

    nest(0)


def emit_columns(w: Writer, node: Node, span: tuple[str, str], lanes: int) -> None:
    """The columns `span` of the `for`, a tile of them after another."""
    f, (region,), name = w.f, node.regions, variables_of(node)[-1]
    nodes = [inner for inner in region.nodes if inner.op is REDUCE]
    begin, end = span
    tile = max(lanes, _TILE // sum(n.output.type.dtype.itemsize for n in nodes) // lanes * lanes)
    known = int(end) if begin == "0" and end.isdigit() and int(end) <= tile else None  # columns of the only tile
    vectors = -(-(tile if known is None else known) // lanes)
    rows = uniform(w, extents_of(nodes[0])[0])
    length = run_length(w, rows)
    single = rows.isdigit() and length.isdigit() and int(rows) <= int(length)
    sums = []
    for inner in nodes:
        w.bounds.declare(variables_of(inner)[0], extents_of(inner)[0])
        type = LLType(inner.output.type.dtype, lanes)
        product = fused_product(w, inner) if inner.attributes["order"] == "products" else None
        run = w.slot(type, vectors)
        sums.append(_Sum(inner, run if single else w.slot(type, vectors), run, product))
    for inner in region.nodes:  # what all columns share
        if inner.op is not REDUCE and inner.outputs and name not in w.dependence.of(inner.output):
            w.emit_node(inner)
    w.fetched = {**w.fetched, **{load: step for inner in nodes for load, step in columns_ahead(inner, name)}}
    needed = _needed(region, nodes, name, w.dependence)
    with nullcontext(begin) if known is not None else counted(f, begin, end, tile) as start, w.scope():
        stop = end if known is not None else least(w, f.let(f"add nsw i64 {start}, {tile}"), end)

        def columns(body: Body) -> None:
            vector_loop(w, name, start, stop, lanes, body, known)

        def at(slot: Slot) -> Slot:
            ramp = w.variables[name]
            assert isinstance(ramp, Ramp)
            place = ramp.base if known is not None else f.let(f"sub nsw i64 {ramp.base}, {start}")
            return Slot(offset(f, slot.type.element, slot.pointer, place), slot.type)

        def clear() -> None:
            for each in sums:
                kind, type = str(each.node.attributes["kind"]), each.totals.type
                w.write(at(each.totals), type.constant(-0.0 if kind == "sum" else neutral(kind, type.dtype)))

        if not single:
            columns(clear)
        with nullcontext("0") if single else counted(f, "0", greatest(w, rows, "1"), length) as first, w.scope():
            last = rows if single else least(w, f.let(f"add nsw i64 {first}, {length}"), rows)

            def fresh() -> None:
                for each in sums:
                    zero = neutral(str(each.node.attributes["kind"]), each.run.type.dtype)
                    w.write(at(each.run), each.run.type.constant(zero))

            columns(fresh)
            for begins, ends, step in _stretches(f, first, last):
                with counted(f, begins, ends, step) as row, w.scope():
                    numbers = [row, *(f.let(f"add nsw i64 {row}, {n}") for n in range(1, step))]
                    columns(lambda numbers=numbers: _add_rows(w, sums, needed, at, numbers))  # type: ignore[misc]

            def close() -> None:
                for each in sums:
                    kind, type = str(each.node.attributes["kind"]), each.totals.type
                    total = at(each.totals)
                    w.write(total, combine(w, kind, type, w.read(total), w.read(at(each.run))))

            if not single:
                columns(close)

        def finish() -> None:
            for each in sums:
                w.registers[each.node.output] = Register(w.read(at(each.totals)), each.totals.type)
            for inner in region.nodes:
                if inner.op is not REDUCE:
                    w.emit_node(inner)

        columns(finish)


def _stretches(f: Function, first: str, last: str) -> list[tuple[str, str, int]]:
    """Rows that are added several at a time, then those that are left; without what is known to be none."""
    if first == "0" and last.isdigit():
        whole = str(int(last) // _ROWS * _ROWS)
    else:
        odd = f.let(f"urem i64 {f.let(f'sub nsw i64 {last}, {first}')}, {_ROWS}")
        whole = f.let(f"sub nsw i64 {last}, {odd}")
    return [each for each in ((first, whole, _ROWS), (whole, last, 1)) if each[0] != each[1]]


def _add_rows(
    w: Writer, sums: Sequence[_Sum], needed: Sequence[Node], at: Callable[[Slot], Slot], rows: Sequence[str]
) -> None:
    """Add the terms of some rows, in order, to the runs of one vector of columns."""
    for node in needed:
        w.emit_node(node)
    runs = [at(each.run) for each in sums]
    values = [w.read(run) for run in runs]
    for row in rows:
        for number, each in enumerate(sums):
            (variable,) = variables_of(each.node)
            with w.bound({variable: Uniform(row)}):
                w.run(each.node.regions[0])
                kind, type = str(each.node.attributes["kind"]), each.run.type
                if each.fused is not None:
                    left, right = (w.spread(w.register(value)) for value in each.fused.inputs)
                    values[number] = w.f.intrinsic("fma", type, left, right, values[number])
                else:
                    term = w.spread(w.register(each.node.regions[0].outputs[0]))
                    values[number] = combine(w, kind, type, values[number], term)
    for run, value in zip(runs, values, strict=True):
        w.write(run, value)
