"""Pieces that a program puts side by side, one after the other, become one concat.

Such are `x[i] = v` for every i, and the gradient of an array that a loop takes one row of in each turn, which is a sum
of rows in zeros.  As they are written they cost the square of the number of rows.  Programs in which nothing is rolled
keep them.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from functools import reduce

from adjit.compiler.legalize import in_a_row
from adjit.compiler.pullback import zeros
from adjit.compiler.simplify_written import padded_box, written_box
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.journal import note
from adjit.ir.ops.arrays import expand, window_of
from adjit.ir.ops.structure import pad
from adjit.ir.rewrite import eliminate_dead, renewed
from adjit.ir.shape import Size
from adjit.ir.types import TensorType

# The fewest pieces that are put in a row.
_FEWEST = 8


def with_rows(graph: Graph, *, strict: bool) -> Graph:
    """`graph` with concats for such sums and writes; with `strict`, only where no sum is taken in another order."""
    uses = Counter(value for node in graph.nodes for value in node.inputs)
    uses.update(graph.outputs)
    # The sums and writes that only the next one goes on with.
    inner = {value for node in graph.nodes for value in _before(node) if uses[value] == 1 and _before(value.node)}
    result = Region(graph.inputs)
    builder = Builder(result)
    new: dict[Value, Value] = {}
    for node in graph.nodes:
        builder.location = node.location
        found = None
        if _before(node) and node.output not in inner:
            is_sum = node.op.name == "add"
            found = _sum(builder, node, inner, new, strict) if is_sum else _writes(builder, node, inner, new)
        if found is None:
            builder.append(renewed(node, new, node.regions))
        else:
            new[node.output] = found.value
    if not new:
        return graph
    note(new)
    outputs = [new.get(value, value) for value in graph.outputs]
    return eliminate_dead(graph.with_parts(graph.inputs, result.nodes, outputs))


def _before(node: Node | None) -> Sequence[Value]:
    """The operands that a sum or a write goes on with."""
    if node is None or node.op.name not in ("add", "where"):
        return ()
    if node.op.name == "add":
        return node.inputs
    return node.inputs[2:] if written_box(node) is not None else ()


def _sum(builder: Builder, node: Node, inner: set[Value], new: dict[Value, Value], strict: bool) -> Expr | None:
    """A sum of pieces and others as the sum of the others, then of a row for each family of pieces.

    An element of it is the sum of the same numbers.  With two summands their order does not matter; with more it may
    be another one, and `strict` forbids that.
    """
    padded: list[Value] = []
    others: list[Value] = []
    stack = list(reversed(node.inputs))
    while stack:
        value = stack.pop()
        if value in inner and value.node is not None and value.node.op.name == "add":
            stack.extend(reversed(value.node.inputs))
        else:
            is_piece = padded_box(value.node) is not None and value.node.attributes["value"] == 0  # type: ignore[union-attr]
            (padded if is_piece else others).append(value)
    families = _families(padded) if len(padded) >= _FEWEST else []
    if not families or 4 * len(families) > len(padded) or (strict and len(families) + len(others) > 2):
        return None
    summands = [builder.expr(new.get(value, value)) for value in others]
    for axis, values in families:
        pieces: dict[int, Expr] = {}
        for start, piece in _placed(values, axis):
            expr = builder.expr(new.get(piece, piece))
            pieces[start] = pieces[start] + expr if start in pieces else expr
        first = values[0]
        dims = _piece(first).dims
        whole = first.type.with_dims((*dims[:axis], first.dims[axis], *dims[axis + 1 :]))
        row = _row(whole, axis, pieces, lambda type, _: zeros(builder, type))
        if row is None:
            return None
        summands.append(_padded_like(row, first, axis))
    total = reduce(operator.add, summands)
    # A sum has no -0 where one of its summands is +0.
    return total + 0.0 if node.output.dtype.is_continuous else total


def _families(padded: Sequence[Value]) -> list[tuple[int, list[Value]]]:
    """Pieces of one shape that differ in their place along one axis, with that axis."""
    shapes: dict[object, list[Value]] = {}
    for value in padded:
        shapes.setdefault(_piece(value).dims, []).append(value)
    found: list[tuple[int, list[Value]]] = []
    for alike in shapes.values():
        starts = [box.start for value in alike if (box := padded_box(value.node)) is not None]
        places = [len(set(column)) for column in zip(*starts, strict=True)]
        axis = places.index(max(places))
        rows: dict[object, list[Value]] = {}
        for start, value in zip(starts, alike, strict=True):
            rows.setdefault((*start[:axis], *start[axis + 1 :]), []).append(value)
        found += [(axis, row) for row in rows.values()]
    return found


def _padded_like(row: Expr, piece: Value, axis: int) -> Expr:
    """The row in zeros, where its pieces lie in the other axes."""
    assert piece.node is not None
    low, high = (
        tuple(0 if place == axis else size for place, size in enumerate(piece.node.attributes[side]))  # type: ignore[arg-type]
        for side in ("low", "high")
    )
    found: Expr = pad(row, low=low, high=high, interior=(0,) * row.ndim, value=0) if any((*low, *high)) else row
    return found


def _writes(builder: Builder, node: Node, inner: set[Value], new: dict[Value, Value]) -> Expr | None:
    """Writes side by side into an array: the last one to a place counts."""
    written: list[Value] = []
    value: Value = node.output
    while (value is node.output or value in inner) and value.node is not None and written_box(value.node) is not None:
        mask, piece, before = value.node.inputs
        if padded_box(piece.node) != padded_box(mask.node):
            return None
        written.append(piece)
        value = before
    axis = _common_axis(written) if len(written) >= _FEWEST else None
    if axis is None:
        return None
    pieces: dict[int, Expr] = {}
    for start, piece in _placed(written, axis):
        if pieces.setdefault(start, builder.expr(new.get(piece, piece))).shape[axis] != piece.dims[axis]:
            return None  # one write covers a part of another
    base = builder.expr(new.get(value, value))

    def rest(type: TensorType, start: int) -> Expr:
        if not base.ndim:
            return expand(base, type.dims)  # type: ignore[no-any-return]
        return window_of(base, [start if place == axis else 0 for place in range(type.ndim)], type.dims)  # type: ignore[no-any-return]

    return _row(node.output.type, axis, pieces, rest)


def _common_axis(padded: Sequence[Value]) -> int | None:
    """The one axis along which pieces are padded."""
    axes = {
        axis
        for value in padded
        for axis, (whole, own) in enumerate(zip(value.dims, _piece(value).dims, strict=True))
        if whole != own
    }
    return min(axes) if len(axes) == 1 else None


def _placed(padded: Sequence[Value], axis: int) -> list[tuple[int, Value]]:
    """Where along the axis each piece starts, and the piece."""
    boxes = [padded_box(value.node) for value in padded]
    return [(box.start[axis], _piece(value)) for box, value in zip(boxes, padded, strict=True) if box is not None]


def _piece(value: Value) -> Value:
    assert value.node is not None
    return value.node.inputs[0]


def _row(
    type: TensorType, axis: int, pieces: dict[int, Expr], between: Callable[[TensorType, int], Expr]
) -> Expr | None:
    """Pieces by where they start along the axis as one array of `type`; None where they overlap.

    `between` gives what lies between them, by its type and where it starts.
    """
    row: list[Expr] = []
    at: Size = 0
    for start, piece in (*sorted(pieces.items(), key=operator.itemgetter(0)), (type.dims[axis], None)):
        gap = start - at
        if not isinstance(gap, int) or gap < 0:
            return None
        if gap:
            row.append(between(type.with_dims((*type.dims[:axis], gap, *type.dims[axis + 1 :])), int(at)))  # type: ignore[arg-type]
        if piece is not None:
            row.append(piece)
            at = start + piece.shape[axis]
    return in_a_row(row, axis)
