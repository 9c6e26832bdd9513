"""Pieces that a program puts side by side, one after the other, become one concat.

Such are `x[i] = v` for every i, and the gradient of an array that a loop takes one row of in each turn, which is a sum
of rows in zeros.  As they are written they cost the square of the number of rows.  Programs in which nothing is rolled
keep them.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import pairwise

from adjit.compiler.pullback import zeros
from adjit.compiler.rolling.places import indices
from adjit.compiler.simplify_written import padded_box, written_box
from adjit.ir.builder import Builder, Expr
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.journal import note
from adjit.ir.ops.arrays import expand, permute, reshape, window_of
from adjit.ir.ops.indexing import scatter_add
from adjit.ir.ops.structure import concat, pad
from adjit.ir.rewrite import renewed
from adjit.ir.shape import Size
from adjit.ir.types import TensorType

Start = tuple[int, ...]
Between = Callable[[TensorType, Start], Expr]

# The fewest pieces that are put in a row.
_FEWEST = 8
# How many nodes, one before the other, tell pieces apart that are made in different parts of a turn.
_LOOKED = 3


def with_rows(graph: Graph, *, strict: bool) -> Graph:
    """`graph` with concats for such sums and writes; with `strict`, only where no sum is taken in another order."""
    uses = Counter(value for node in graph.nodes for value in node.inputs)
    uses.update(graph.outputs)
    # The sums and writes that only the next one goes on with.
    inner = {
        value
        for node in graph.nodes
        for value in _before(node)
        if uses[value] == 1 and _before(value.node) and value.node is not None and value.node.op is node.op
    }
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
    for family in families:
        pieces = [(start, builder.expr(new.get(piece, piece))) for start, piece in _placed(family)]
        axes = _order([start for start, _ in pieces], family[0].type.ndim)
        extents = zip(family[0].dims, _piece(family[0]).dims, strict=True)
        whole = family[0].type.with_dims(tuple(size if n in axes else own for n, (size, own) in enumerate(extents)))
        row: Expr | None
        if not axes:
            row = reduce(operator.add, [piece for _, piece in pieces])
        elif _are_apart([start for start, _ in pieces], pieces[0][1].shape):
            row = _joined(whole, dict(pieces), axes, lambda type, _: zeros(builder, type))
            if row is not None and whole.dtype.is_continuous:
                row = row + 0.0  # a sum has no -0 where one of its summands is +0, as all but one are
        else:
            row = _added(builder, whole, pieces, axes)
        if row is None:
            return None
        summands.append(_padded_like(row, family[0], axes))
    return reduce(operator.add, summands)


def _families(padded: Sequence[Value]) -> list[list[Value]]:
    """Pieces of one shape, made alike."""
    shapes: dict[object, dict[object, list[Value]]] = {}
    for value in padded:
        piece = _piece(value)
        shapes.setdefault(piece.dims, {}).setdefault(_making(piece), []).append(value)
    found: list[list[Value]] = []
    for alike in shapes.values():
        large = [family for family in alike.values() if len(family) >= _FEWEST] or [[]]
        large[0] += [value for family in alike.values() if len(family) < _FEWEST for value in family]
        found += large
    return found


def _are_apart(starts: Sequence[Start], extents: Sequence[Size]) -> bool:
    """Whether no two pieces overlap, as told by each axis alone."""
    columns = [sorted({*column}) for column in zip(*starts, strict=True)]
    gaps = [two - one >= size for column, size in zip(columns, extents, strict=True) for one, two in pairwise(column)]
    return all(gaps) and len({*starts}) == len(starts)


def _added(builder: Builder, type: TensorType, pieces: Sequence[tuple[Start, Expr]], axes: Sequence[int]) -> Expr:
    """Pieces that may overlap, added to zeros of `type`: to -0 where all of them lie, as a sum of -0 alone is -0."""
    moving = sorted(axes)
    extents = tuple(int(pieces[0][1].shape[axis]) for axis in moving)  # type: ignore[arg-type]
    starts = [tuple(start[axis] for axis in moving) for start, _ in pieces]
    stack = concat(*(reshape(piece, (1, *piece.shape)) for _, piece in pieces), axis=0)
    rest = [axis for axis in range(type.ndim) if axis not in moving]
    updates = permute(stack, (0, *(axis + 1 for axis in (*moving, *rest))))
    where = indices(builder, starts, extents)
    low, high = [0] * type.ndim, [0] * type.ndim
    for axis, extent, column in zip(moving, extents, zip(*starts, strict=True), strict=True):
        low[axis], high[axis] = max(column), int(type.dims[axis]) - (min(column) + extent)  # type: ignore[arg-type]
    below = zeros(builder, type)
    lengths = tuple(size - before - after for size, before, after in zip(type.dims, low, high, strict=True))
    if type.dtype.is_continuous and all(lengths[axis] > 0 for axis in moving):  # type: ignore[operator]
        shared = expand(builder.expr(builder.constant(-0.0, type.dtype)), lengths)
        below = pad(shared, low=tuple(low), high=tuple(high), interior=(0,) * type.ndim, value=0)
    found: Expr = scatter_add(below, updates, *where, axes=tuple(moving), certain=True)
    return found


def _making(value: Value) -> object:
    """The ops that a piece is made by, which tell in which part of a turn: those of the nodes before it."""
    names: list[object] = []
    row = [value]
    for _ in range(_LOOKED):
        nodes = [value.node for value in row if value.node is not None]
        names.append(tuple((node.op.name, node.location.line) for node in nodes))
        row = [operand for node in nodes for operand in node.inputs]
    return tuple(names)


def _order(starts: Sequence[Start], ndim: int) -> list[int]:
    """The axes along which pieces differ, as they are joined: first the one that the inner loop goes along.

    That is the one of many places along which alone a piece most often differs from the one before.
    """
    many = [len({start[axis] for start in starts}) for axis in range(ndim)]
    alone = Counter(
        different[0]
        for one, two in pairwise(starts)
        if len(different := [axis for axis in range(ndim) if one[axis] != two[axis]]) == 1
    )
    return sorted(
        (axis for axis in range(ndim) if many[axis] > 1),
        key=lambda axis: (many[axis] < _FEWEST, -alone[axis], -axis),
    )


def _joined(type: TensorType, pieces: Mapping[Start, Expr], axes: Sequence[int], between: Between) -> Expr | None:
    """Pieces by where they start as one array of `type`, joined along one axis after another; None where they overlap.

    In other axes than `axes` they are whole.  `between` gives what lies between them, by its type and where it starts.
    """
    for axis in axes:
        rows: dict[Start, dict[int, Expr]] = {}
        for start, piece in pieces.items():
            rows.setdefault((*start[:axis], 0, *start[axis + 1 :]), {})[start[axis]] = piece
        joined: dict[Start, Expr] = {}
        for start, row in rows.items():
            found = _row(type, axis, start, row, between)
            if found is None:
                return None
            joined[start] = found
        pieces = joined
    (only,) = pieces.values()
    return only


def _padded_like(row: Expr, piece: Value, axes: Sequence[int]) -> Expr:
    """The row in zeros, where its pieces lie in other axes than `axes`."""
    assert piece.node is not None
    low, high = (
        tuple(0 if place in axes else size for place, size in enumerate(piece.node.attributes[side]))  # type: ignore[arg-type]
        for side in ("low", "high")
    )
    found: Expr = pad(row, low=low, high=high, interior=(0,) * row.ndim, value=0) if any((*low, *high)) else row
    return found


def _writes(builder: Builder, node: Node, inner: set[Value], new: dict[Value, Value]) -> Expr | None:
    """Writes side by side into an array: the last one to a place counts."""
    written: list[Value] = []
    value: Value = node.output
    rest: list[Value] = []  # what is below each write
    while (value is node.output or value in inner) and value.node is not None and written_box(value.node) is not None:
        mask, piece, before = value.node.inputs
        if padded_box(piece.node) != padded_box(mask.node):
            break
        written.append(piece)
        rest.append(before)
        value = before
    axes = _common_axes(written)
    if len(axes) > 1:  # the last ones of one shape
        alike = next((n for n, v in enumerate(written) if _piece(v).dims != _piece(written[0]).dims), len(written))
        written = written[:alike]
    if len(written) < _FEWEST:
        return None
    pieces: dict[Start, Expr] = {}
    for start, piece in _placed(written):
        if pieces.setdefault(start, builder.expr(new.get(piece, piece))).shape != piece.dims:
            return None  # one write covers a part of another
    below = rest[len(written) - 1]
    base = builder.expr(new.get(below, below))

    def between(type: TensorType, start: Start) -> Expr:
        if not base.ndim:
            return expand(base, type.dims)  # type: ignore[no-any-return]
        return window_of(base, start, type.dims)  # type: ignore[no-any-return]

    order = _order(list(pieces), node.output.type.ndim)
    order += [axis for axis in axes if axis not in order]
    return _joined(node.output.type, pieces, order, between)


def _common_axes(padded: Sequence[Value]) -> list[int]:
    """The axes along which pieces are padded."""
    axes = {
        axis
        for value in padded
        for axis, (whole, own) in enumerate(zip(value.dims, _piece(value).dims, strict=True))
        if whole != own
    }
    return sorted(axes)


def _placed(padded: Sequence[Value]) -> list[tuple[Start, Value]]:
    """Where each piece starts, and the piece."""
    return [(box.start, _piece(value)) for value in padded if (box := padded_box(value.node)) is not None]


def _piece(value: Value) -> Value:
    assert value.node is not None
    return value.node.inputs[0]


def _row(type: TensorType, axis: int, origin: Start, pieces: Mapping[int, Expr], between: Between) -> Expr | None:
    """Pieces by where they start along the axis as one row, as long as `type`; None where they overlap.

    In the other axes the row starts at `origin`.
    """
    row: list[Expr] = []
    at: Size = 0
    like = next(iter(pieces.values())).shape
    for start, piece in (*sorted(pieces.items(), key=operator.itemgetter(0)), (type.dims[axis], None)):
        gap = start - at
        if not isinstance(gap, int) or gap < 0:
            return None
        if gap:
            place = (*origin[:axis], int(at), *origin[axis + 1 :])  # type: ignore[arg-type]
            row.append(between(type.with_dims((*like[:axis], gap, *like[axis + 1 :])), place))
        if piece is not None:
            row.append(piece)
            at = start + piece.shape[axis]
    found: Expr = concat(*row, axis=axis)
    return found
