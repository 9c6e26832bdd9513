"""The pullback of one node as a graph of its own: what eager mode runs, node by node.

It is the same differentiation pass as for whole graphs, on a graph of one node, kept per signature: a training loop
differentiates each distinct operation once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from adjit.compiler.differentiate import backward_of
from adjit.ir.builder import Builder
from adjit.ir.frozen import frozen
from adjit.ir.graph import Attribute, Graph, Region
from adjit.ir.primitive import Primitive
from adjit.ir.types import TensorType

# A literal operand with its Python type, since 1 == 1.0 == True; None for a tensor.
Literal: TypeAlias = "tuple[type, int | float | bool] | None"


@frozen
class NodePullback:
    """`graph` takes the cotangents of the results in `seeded`, then the saved values; it returns the cotangents of the
    operands in `reached`.  `saved` says what each saved value is: ("in", operand) or ("out", result)."""

    graph: Graph
    saved: tuple[tuple[str, int], ...]
    seeded: tuple[int, ...]
    reached: tuple[int, ...]


def pullback_of(
    op: Primitive,
    types: Sequence[TensorType],
    attributes: dict[str, Attribute],
    literals: Sequence[Literal],
    needs: Sequence[bool],
    results: Sequence[TensorType],
    regions: Sequence[Region] = (),
) -> NodePullback:
    """The pullback of `op` at these types, for the operands that `needs` marks."""
    return _pullback(
        op, tuple(types), tuple(attributes.items()), tuple(literals), tuple(needs), tuple(results), tuple(regions)
    )


@lru_cache(maxsize=4096)
def _pullback(
    op: Primitive,
    types: tuple[TensorType, ...],
    attributes: tuple[tuple[str, Any], ...],
    literals: tuple[Literal, ...],
    needs: tuple[bool, ...],
    results: tuple[TensorType, ...],
    regions: tuple[Region, ...],
) -> NodePullback:
    graph = Graph(op.name)
    builder = Builder(graph)
    operands = [
        builder.input(type) if literal is None else builder.constant(literal[1], type.dtype)
        for type, literal in zip(types, literals, strict=True)
    ]
    node = builder.emit(op, operands, dict(attributes), regions, results)
    graph.outputs = node.outputs
    positions = {value: index for index, value in enumerate(graph.inputs)}
    wrt = [positions[value] for value, need in zip(operands, needs, strict=True) if need and value in positions]
    seeded = tuple(index for index, type in enumerate(results) if type.dtype.is_continuous)
    backward, residuals, reached = backward_of(graph, wrt, seeded)
    place = {value: ("in", index) for index, value in enumerate(operands)}
    place.update({value: ("out", index) for index, value in enumerate(node.outputs)})
    back = {positions[value]: index for index, value in enumerate(operands) if value in positions}
    return NodePullback(
        backward, tuple(place[value] for value in residuals), seeded, tuple(back[index] for index in reached)
    )
