"""Pieces that a program puts side by side, one after the other, become one concat.

Such are `x[i] = v` for every i, and the gradient of an array that a loop takes one row of in each turn, which is a sum
of rows in zeros.  As they are written they cost the square of the number of rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

from adjit.compiler.legalize import in_a_row
from adjit.compiler.pullback import zeros
from adjit.compiler.simplify_written import padded_box, written_box
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.journal import note
from adjit.ir.ops.arrays import expand, window_of
from adjit.ir.rewrite import eliminate_dead, renewed
from adjit.ir.types import TensorType

# The fewest pieces that are put in a row.
_FEWEST = 8


def with_rows(graph: Graph) -> Graph:
    """`graph` with concats for such sums and writes."""
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
            found = (_sum if node.op.name == "add" else _writes)(builder, node, inner, new)
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


def _sum(builder: Builder, node: Node, inner: set[Value], new: dict[Value, Value]) -> Expr | None:
    """A sum of pieces, and at most one summand of any kind."""
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
    if len(padded) < _FEWEST or len(others) > 1:
        return None
    rows: dict[int, dict[int, Expr]] = {}
    axis = _common_axis(padded)
    if axis is None:
        return None
    for start, piece in _placed(padded, axis):
        own, expr = rows.setdefault(piece.type.dims[axis], {}), builder.expr(new.get(piece, piece))  # type: ignore[arg-type]
        own[start] = own[start] + expr if start in own else expr
    # An element is the sum of at most two numbers then, in whichever order.
    if len(rows) + len(others) > 2:
        return None
    found = [
        _row(padded[0].type, axis, length, pieces, lambda type, _: zeros(builder, type))
        for length, pieces in rows.items()
    ]
    if None in found:
        return None
    total: Expr | None = builder.expr(new.get(others[0], others[0])) if others else None
    for row in found:
        assert row is not None
        total = row if total is None else total + row
    assert total is not None
    # A sum has no -0 where one of its summands is +0.
    return total + 0.0 if node.output.dtype.is_continuous else total


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
        pieces.setdefault(start, builder.expr(new.get(piece, piece)))
    length, *others = {piece.type.dims[axis] for piece in pieces.values()}
    base = builder.expr(new.get(value, value))

    def rest(type: TensorType, start: int) -> Expr:
        if not base.ndim:
            return expand(base, type.dims)  # type: ignore[no-any-return]
        return window_of(base, [start if place == axis else 0 for place in range(type.ndim)], type.dims)  # type: ignore[no-any-return]

    return None if others or not isinstance(length, int) else _row(node.output.type, axis, length, pieces, rest)


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
    type: TensorType, axis: int, length: int, pieces: dict[int, Expr], between: Callable[[TensorType, int], Expr]
) -> Expr | None:
    """Pieces of one length by where they start as one array of `type`; None where they overlap.

    `between` gives what lies between them, by its type and where it starts.
    """
    whole = type.dims[axis]
    starts = sorted(pieces)
    if not isinstance(whole, int) or any(b - a < length for a, b in pairwise(starts)):
        return None
    row: list[Expr] = []
    at = 0
    for start in (*starts, whole):
        if start > at:
            row.append(between(type.with_dims((*type.dims[:axis], start - at, *type.dims[axis + 1 :])), at))
        if start < whole:
            row.append(pieces[start])
        at = start + length
    return in_a_row(row, axis)
