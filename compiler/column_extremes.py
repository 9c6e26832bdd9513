"""The places of extremes along another axis than the last, as memory lies: two folds that go through whole rows.

The first finds the extremes of all columns, the second the first rows that hold them.  A search column by column reads
a vector of each row, again and again.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.ops.arrays import attains, cast, equal, spread, where
from adjit.ir.ops.reduction import reduce_max, reduce_min
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.rewrite import rewrite
from adjit.ir.shape import product
from adjit.ir.types import I32, I64

# Of fewer rows or columns one pass is as fast.
LEAST_ROWS, LEAST_COLUMNS = 32, 32


def by_rows(graph: Graph) -> Graph:
    """The graph with such searches by two folds."""
    if not any(_is_tall(node) for node in graph.walk()):
        return graph
    return rewrite(graph, _by_rows, follow_calls=False)


def _is_tall(node: Node) -> bool:
    if node.op.name not in ("argmax", "argmin"):
        return False
    axis: int = node.attributes["axis"]  # type: ignore[assignment]
    dims = node.inputs[0].dims
    rows, columns = dims[axis], product(dims[axis + 1 :])
    is_known = isinstance(rows, int) and isinstance(columns, int)
    return is_known and LEAST_ROWS <= rows < 1 << 31 and columns >= LEAST_COLUMNS  # type: ignore[operator]


def _by_rows(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    if not _is_tall(node):
        return None
    axis: int = node.attributes["axis"]  # type: ignore[assignment]
    x = builder.expr(operands[0])
    extremes = (reduce_max if node.op.name == "argmax" else reduce_min)(x, axes=(axis,))
    found = spread(extremes, x.shape, (axis,))
    held = attains(x, found) if x.dtype.is_float else equal(x, found)
    row = builder.apply(PRIMITIVES["iota"], (), {"shape": x.shape, "axis": axis, "dtype": I32})
    return [cast(reduce_min(where(held, row, x.shape[axis]), axes=(axis,)), I64).value]
