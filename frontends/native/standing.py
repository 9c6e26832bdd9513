"""Operands that only products read, where they lie in memory with their axes in another order: `x @ w.t() + b`.

Other programs are given copies in order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adjit.ir.analysis import users
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.ops.structure import permute
from adjit.ir.primitive import primitive_named
from adjit.native.signature import is_plain


def orders_of(graph: Graph, arrays: Sequence[np.ndarray]) -> list[tuple[int, ...] | None]:
    """For each input the order in which memory has its axes, None for one that is read in its own order.

    The list is empty where products alone read none of the arrays, which are those of the first inputs.
    """
    alone = [_only_in_products(value, graph) for value, _ in zip(graph.inputs, arrays, strict=False)]
    if not any(alone):
        return []
    orders = [_order(array) if is_read else None for array, is_read in zip(arrays, alone, strict=True)]
    return [*orders, *[None] * (len(graph.inputs) - len(arrays))]


def _order(array: np.ndarray) -> tuple[int, ...] | None:
    """The axes in the order in which memory has them; None for an array in order, and where that makes none."""
    order = tuple(sorted(range(array.ndim), key=lambda axis: -array.strides[axis]))
    return order if not is_plain(array) and is_plain(array.transpose(order)) else None


def _only_in_products(value: Value, region: Region) -> bool:
    """Whether products alone read a value."""
    readers = users(region).get(value, [])
    return bool(readers) and value not in region.outputs and all(
        _is_product(node, index, region) for node, index in readers
    )  # fmt: skip


def _is_product(node: Node, index: int, region: Region) -> bool:
    """Whether a node makes nothing of an operand but products."""
    if node.op.name == "permute":
        return _only_in_products(node.output, region)
    if node.op.name == "call":
        callee = node.attributes["callee"]
        assert isinstance(callee, Graph)
        return _only_in_products(callee.inputs[index], callee)
    return node.op.name == "dot"


def as_operands_stand(graph: Graph, orders: Sequence[tuple[int, ...] | None]) -> Graph:
    """The same function of operands whose axes are in these orders, as memory has them."""
    found = Graph(graph.name)
    builder = Builder(found)
    operands = []
    for value, order in zip(graph.inputs, orders, strict=True):
        type = value.type
        given = builder.input(type if order is None else type.with_dims(tuple(type.dims[axis] for axis in order)))
        if order is not None:
            back = tuple(order.index(axis) for axis in range(len(order)))
            given = builder.emit(permute, [given], {"perm": back}).output
        operands.append(given)
    found.outputs = builder.emit(primitive_named("call"), operands, {"callee": graph}).outputs
    return found
