"""Sums of products and searches for extremes, changed so that they go through memory as it lies.

`einsum("abc,cb->a")` sums over two axes that lie the other way round in its second operand: where that is the smaller
one and all summed, it is turned.  The place of an extreme along another axis than the last is found by two folds: one
finds the extremes of all columns, the other the first rows that hold them.  A search column by column reads a vector of
each row, again and again.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.loops.packed import is_packed
from adjit.ir.analysis import LOOPS
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.ops.arrays import attains, cast, equal, permute, spread, where
from adjit.ir.ops.reduction import reduce_max, reduce_min
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.rewrite import rewrite
from adjit.ir.shape import product
from adjit.ir.types import I32, I64

# Of fewer rows or columns one pass is as fast.
LEAST_ROWS, LEAST_COLUMNS = 32, 32


def as_it_lies(graph: Graph) -> Graph:
    """The graph with such operands turned, such searches by two folds, and what loops multiply with transposed."""
    if any(_turned_side(node) is not None or _is_tall(node) for node in graph.walk()):
        graph = rewrite(graph, _rewritten, follow_calls=False)
    if not any(node.op.name in LOOPS for node in graph.walk()):
        return graph
    from adjit.compiler.turned import turned  # what programs without loops need not load

    return turned(graph)


def _rewritten(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    if (side := _turned_side(node)) is not None:
        return [_in_term_order(builder, node, list(operands), side)]
    return [_by_rows(builder, node, operands[0])] if _is_tall(node) else None


# -- sums of products --------------------------------------------------------------------------------------------------
def _turned_side(node: Node) -> int | None:
    """The operand of a dot, all of it summed, whose summed axes lie in another order than those of the larger one."""
    if node.op.name != "dot":
        return None
    contract: Sequence[Sequence[int]] = node.attributes["contract"]  # type: ignore[assignment]
    batch: Sequence[Sequence[int]] = node.attributes["batch"]  # type: ignore[assignment]
    if len(contract[0]) < 2 or is_packed(node):
        return None
    for side, value in enumerate(node.inputs):
        other, size = node.inputs[1 - side].type.size, value.type.size
        is_summed = len(contract[side]) + len(batch[side]) == value.type.ndim
        is_smaller = isinstance(size, int) and isinstance(other, int) and size < other
        pairs = sorted(zip(contract[1 - side], contract[side], strict=True))
        if is_summed and is_smaller and [own for _, own in pairs] != sorted(contract[side]):
            return side
    return None


def _in_term_order(builder: Builder, node: Node, inputs: list[Value], side: int) -> Value:
    contract: Sequence[Sequence[int]] = node.attributes["contract"]  # type: ignore[assignment]
    batches: list[tuple[int, ...]] = list(node.attributes["batch"])  # type: ignore[arg-type]
    order = sorted(range(len(contract[0])), key=contract[1 - side].__getitem__)
    pairs = [tuple(axes[number] for number in order) for axes in contract]
    perm = (*batches[side], *pairs[side])
    batches[side] = tuple(range(len(batches[side])))
    pairs[side] = tuple(range(len(batches[side]), len(perm)))
    inputs[side] = permute(builder.expr(inputs[side]), perm).value
    return builder.emit(node.op, inputs, {"contract": tuple(pairs), "batch": tuple(batches)}).output


# -- places of extremes ------------------------------------------------------------------------------------------------
def _is_tall(node: Node) -> bool:
    """Whether a search goes along another axis than the last, over many rows of many columns."""
    if node.op.name not in ("argmax", "argmin"):
        return False
    axis: int = node.attributes["axis"]  # type: ignore[assignment]
    dims = node.inputs[0].dims
    rows, columns = dims[axis], product(dims[axis + 1 :])
    is_known = isinstance(rows, int) and isinstance(columns, int)
    return is_known and LEAST_ROWS <= rows < 1 << 31 and columns >= LEAST_COLUMNS  # type: ignore[operator]


def _by_rows(builder: Builder, node: Node, operand: Value) -> Value:
    axis: int = node.attributes["axis"]  # type: ignore[assignment]
    x = builder.expr(operand)
    extremes = (reduce_max if node.op.name == "argmax" else reduce_min)(x, axes=(axis,))
    found = spread(extremes, x.shape, (axis,))
    held = attains(x, found) if x.dtype.is_float else equal(x, found)
    row = builder.apply(PRIMITIVES["iota"], (), {"shape": x.shape, "axis": axis, "dtype": I32})
    return cast(reduce_min(where(held, row, x.shape[axis]), axes=(axis,)), I64).value  # type: ignore[no-any-return]
