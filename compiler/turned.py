"""Matrices that a loop multiplies vectors with are read as they lie: transposed before the loop, once for all turns.

The sums of `matrix @ vector` run along rows.  Of the transposed matrix a vector register holds neighbouring sums, which
advance together; a sum along a row must be folded at its end.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.loops.packed import is_packed
from adjit.ir.analysis import LOOPS, invariants_of
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.ops.arrays import permute
from adjit.ir.rewrite import rewrite, rewrite_region

# Elements of a matrix that is in the caches in every turn: of larger ones memory decides, which is read either way.
_MOST = 1 << 16


def turned(graph: Graph) -> Graph:
    """The graph with such matrices transposed before its loops."""
    return rewrite(graph, _turned_loop, follow_calls=False, inner_first=True)


def _turned_loop(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name not in LOOPS:
        return None
    count = invariants_of(node)
    *others, body = node.regions
    fixed = {value: index for index, value in enumerate(body.inputs[:count])}
    wanted = {value: index for inner in body.nodes for value, index in fixed.items() if _side(inner, value) is not None}
    if not wanted:
        return None
    given = [permute(builder.expr(operands[index]), (1, 0)).value for index in wanted.values()]
    inside = {value: Value(new.type) for value, new in zip(wanted, given, strict=True)}
    regions = [_with_more(region, count, [Value(value.type) for value in given]) for region in others]
    regions.append(_with_turned(_with_more(body, count, [*inside.values()]), inside))
    attributes = {**node.attributes, "invariants": count + len(given)}
    return builder.emit(node.op, (*operands[:count], *given, *operands[count:]), attributes, regions).outputs


def _with_more(region: Region, place: int, inputs: list[Value]) -> Region:
    """The region with further inputs at a place."""
    return Region([*region.inputs[:place], *inputs, *region.inputs[place:]], region.nodes, region.outputs)


def _side(node: Node, matrix: Value) -> int | None:
    """Which operand of a product with a vector is `matrix`, summed along its rows; None if it is no such product."""
    size = matrix.type.size
    if node.op.name != "dot" or matrix.type.ndim != 2 or not isinstance(size, int) or size > _MOST or is_packed(node):
        return None
    sides: Sequence[Sequence[int]] = node.attributes["contract"]  # type: ignore[assignment]
    batch: Sequence[Sequence[int]] = node.attributes["batch"]  # type: ignore[assignment]
    places = [side for side in (0, 1) if node.inputs[side] is matrix and tuple(sides[side]) == (1,) and not batch[side]]
    return places[0] if len(places) == 1 and node.inputs[1 - places[0]] is not matrix else None


def _with_turned(body: Region, turned: dict[Value, Value]) -> Region:
    """The body with products that take the transposed matrices."""

    def rule(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        for matrix, new in turned.items():
            side = _side(node, matrix)
            if side is not None:
                contract = list(node.attributes["contract"])  # type: ignore[arg-type]
                contract[side] = (0,)
                inputs = tuple(new if number == side else value for number, value in enumerate(operands))
                return builder.emit(node.op, inputs, {**node.attributes, "contract": tuple(contract)}).outputs
        return None

    return rewrite_region(body, rule)
