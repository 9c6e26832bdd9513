"""Matrices that a loop multiplies vectors with are read as they lie: transposed before the loop, once for all turns.

The sums of `matrix @ vector` run along rows.  Of the transposed matrix a vector register holds neighbouring sums, which
advance together; a sum along a row must be folded at its end.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.loops.contract import is_packed
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.ops.arrays import permute
from adjit.ir.rewrite import rewrite

# Elements of a matrix that is in the caches in every turn: of larger ones memory decides, which is read either way.
_MOST = 1 << 16
_LOOPS = ("scan", "while")


def turned(graph: Graph) -> Graph:
    """The graph with such matrices transposed before its loops."""
    if not any(node.op.name in _LOOPS for node in graph.walk()):
        return graph
    return rewrite(graph, _turned_loop, follow_calls=False)


def _turned_loop(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name not in _LOOPS:
        return None
    regions = [_turned_region(region) for region in node.regions]
    count = int(node.attributes["invariants"])  # type: ignore[arg-type]
    *others, body = regions
    fixed = {value: index for index, value in enumerate(body.inputs[:count])}
    wanted = {value: index for inner in body.nodes for value, index in fixed.items() if _side(inner, value) is not None}
    if not wanted:
        same = all(new is old for new, old in zip(regions, node.regions, strict=True))
        return None if same else builder.emit(node.op, operands, node.attributes, regions).outputs
    given = [permute(builder.expr(operands[index]), (1, 0)).value for index in wanted.values()]
    inside = {value: Value(new.type) for value, new in zip(wanted, given, strict=True)}
    body = _with_turned(body, inside)
    for region in (*others, body):
        own = inside.values() if region is body else [Value(value.type) for value in given]
        region.inputs = (*region.inputs[:count], *own, *region.inputs[count:])
    attributes = {**node.attributes, "invariants": count + len(given)}
    return builder.emit(node.op, (*operands[:count], *given, *operands[count:]), attributes, [*others, body]).outputs


def _turned_region(region: Region) -> Region:
    """A region whose loops are turned; an object of its own."""
    graph = Graph("turn", region.inputs, region.nodes, region.outputs)
    found = rewrite(graph, _turned_loop, follow_calls=False)
    return region if found is graph else Region(found.inputs, found.nodes, found.outputs)


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

    found = rewrite(Graph("turn", body.inputs, body.nodes, body.outputs), rule, follow_calls=False)
    return Region(found.inputs, found.nodes, found.outputs)
