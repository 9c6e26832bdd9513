"""Terms of sums in the order in which memory holds the larger operand.

`einsum("abc,cb->a")` sums over two axes that lie the other way round in its second operand.  Where that is the smaller
one and all summed, it is turned: the sums then run along both as they lie.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.loops.packed import is_packed
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.ops.arrays import permute
from adjit.ir.rewrite import rewrite

Sides = tuple[tuple[int, ...], tuple[int, ...]]


def in_term_order(graph: Graph) -> Graph:
    """The graph with such operands turned."""
    if not any(node.op.name == "dot" and _turned_side(node) is not None for node in graph.walk()):
        return graph
    return rewrite(graph, _in_term_order, follow_calls=False)


def _in_term_order(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    side = _turned_side(node) if node.op.name == "dot" else None
    if side is None:
        return None
    contract, batch = _sides(node)
    order = sorted(range(len(contract[0])), key=contract[1 - side].__getitem__)
    pairs = [tuple(axes[number] for number in order) for axes in contract]
    perm = (*batch[side], *pairs[side])
    pairs[side] = tuple(range(len(batch[side]), len(perm)))
    batches = list(batch)
    batches[side] = tuple(range(len(batch[side])))
    inputs = list(operands)
    inputs[side] = permute(builder.expr(operands[side]), perm).value
    return builder.emit(node.op, tuple(inputs), {"contract": tuple(pairs), "batch": tuple(batches)}).outputs


def _sides(node: Node) -> tuple[Sides, Sides]:
    """The contracted and the batch axes of the operands of a dot."""
    return node.attributes["contract"], node.attributes["batch"]  # type: ignore[return-value]


def _turned_side(node: Node) -> int | None:
    """The operand of a dot, all of it summed, whose summed axes lie in another order than those of the larger one."""
    contract, batch = _sides(node)
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
