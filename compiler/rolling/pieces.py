"""Sums of pieces that lie side by side, each in zeros, are the pieces in a row.

Such is the gradient of an array that a loop takes one row of in each turn: written as a sum it would cost the square of
the number of rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from adjit.compiler.legalize import in_a_row
from adjit.compiler.pullback import zeros
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.rewrite import eliminate_dead, rewrite
from adjit.ir.types import TensorType

# The fewest pieces that are put in a row.
_FEWEST = 8


def with_rows(graph: Graph) -> Graph:
    """`graph` with such sums, of all pieces but for one summand that may be any, as concats."""
    uses = Counter(value for node in graph.nodes for value in node.inputs)
    uses.update(graph.outputs)
    inner = {v for n in graph.nodes if n.op.name == "add" for v in n.inputs if uses[v] == 1 and _is_sum(v)}

    def rule(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name != "add" or node.output in inner:
            return None
        leaves = _leaves(node, inner)
        if len(leaves) < _FEWEST:
            return None
        others = [leaf for leaf in leaves if not _is_piece(leaf)]
        rows = None if len(others) > 1 else _rows(builder, [leaf for leaf in leaves if leaf not in others])
        # An element is the sum of at most two numbers then, in whichever order.
        if rows is None or len(rows) + len(others) > 2:
            return None
        total = rows[0] if not others else builder.expr(others[0]) + rows[0]
        if len(rows) > 1:
            total = total + rows[1]
        # A sum has no -0 where one of its summands is +0.
        return [(total + 0.0 if node.output.dtype.is_continuous else total).value]

    found = rewrite(graph, rule, follow_calls=False)
    return graph if found is graph else eliminate_dead(found)


def _is_sum(value: Value) -> bool:
    return value.node is not None and value.node.op.name == "add"


def _leaves(node: Node, inner: set[Value]) -> list[Value]:
    """The summands of a sum of sums."""
    found: list[Value] = []
    stack = list(reversed(node.inputs))
    while stack:
        value = stack.pop()
        if value in inner and value.node is not None:
            stack.extend(reversed(value.node.inputs))
        else:
            found.append(value)
    return found


def _is_piece(value: Value) -> bool:
    node = value.node
    return node is not None and node.op.name == "pad" and node.attributes["value"] == 0


def _rows(builder: Builder, padded: Sequence[Value]) -> list[Expr] | None:
    """The sum of the pieces as a sum of rows of pieces of one length each; None where such overlap."""
    axes: set[int] = set()
    rows: dict[int, dict[int, Expr]] = {}
    for value in padded:
        assert value.node is not None
        low, high, gaps = (value.node.attributes[name] for name in ("low", "high", "interior"))
        assert isinstance(low, tuple) and isinstance(high, tuple) and isinstance(gaps, tuple)
        axes.update(axis for axis in range(len(low)) if low[axis] != 0 or high[axis] != 0)
        source = value.node.inputs[0]
        if len(axes) != 1 or any(gap != 0 for gap in gaps):
            return None
        start, length = low[min(axes)], source.dims[min(axes)]
        if not isinstance(start, int) or not isinstance(length, int):
            return None
        pieces, piece = rows.setdefault(length, {}), builder.expr(source)
        pieces[start] = pieces[start] + piece if start in pieces else piece
    found = [_row(builder, padded[0].type, min(axes), length, pieces) for length, pieces in rows.items()]
    return None if None in found else [row for row in found if row is not None]


def _row(builder: Builder, type: TensorType, axis: int, length: int, pieces: dict[int, Expr]) -> Expr | None:
    """Pieces of one length by where they start as one array of `type`, with zeros between them."""
    whole = type.dims[axis]
    starts = sorted(pieces)
    if not isinstance(whole, int) or any(b - a < length for a, b in pairwise(starts)):
        return None
    row: list[Expr] = []
    at = 0
    for start in (*starts, whole):
        if start > at:
            row.append(zeros(builder, type.with_dims((*type.dims[:axis], start - at, *type.dims[axis + 1 :]))))
        if start < whole:
            row.append(pieces[start])
        at = start + length
    return in_a_row(row, axis)
