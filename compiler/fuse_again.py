"""Scores that a chain would have to store for what comes long after it, as gradients of attention do, computed again.

Memory for them would grow with the square of the length; the product that they begin with has few terms.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.fuse_group import Scores
from adjit.ir.graph import Node, Region, Value
from adjit.ir.journal import note


def computed_again(region: Region, chains: Sequence[Scores]) -> tuple[Region, set[Node]]:
    """The region with copies of the arithmetic that leads from the first products to `values`, for all outside; and
    the copies."""
    copies = [_Copies(chain) for chain in chains]
    mapping: dict[Value, Value] = {}
    nodes: list[Node] = []
    for node in region.nodes:
        inputs = [mapping.get(value, value) for value in node.inputs]
        for own in copies:
            if node not in own.chain.inside:
                inputs = [own.copy(v, mapping, nodes) if v in own.chain.values else new
                          for v, new in zip(node.inputs, inputs, strict=True)]  # fmt: skip
        if all(new is old for new, old in zip(inputs, node.inputs, strict=True)):
            nodes.append(node)
            continue
        types = [value.type for value in node.outputs]
        made = Node(node.op, inputs, node.attributes, types, node.location, node.regions)
        made.attached = node.attached
        for old, new in zip(node.outputs, made.outputs, strict=True):
            new.name = old.name
            mapping[old] = new
        nodes.append(made)
    note({**{old: new for own in copies for old, new in own.made.items()}, **mapping})
    outputs = [mapping.get(value, value) for value in region.outputs]
    made_again = {new.node for own in copies for new in own.made.values() if new.node is not None}
    return Region(region.inputs, nodes, outputs), made_again


class _Copies:
    """The copies of the values of one chain."""

    def __init__(self, chain: Scores) -> None:
        self.chain = chain
        self.made: dict[Value, Value] = {}

    def copy(self, value: Value, mapping: dict[Value, Value], nodes: list[Node]) -> Value:
        """The copy of a value of the first product's size, made at the end of `nodes` if there is none; others stay."""
        node = value.node
        is_wide = node is not None and value.dims == self.chain.dot.output.dims
        if node is None or not is_wide or not (node is self.chain.dot or node.op.name == "expand" or
                                               node.op.family == "scalar"):  # fmt: skip
            return mapping.get(value, value)
        if value not in self.made:
            inputs = [self.copy(operand, mapping, nodes) for operand in node.inputs]
            location = node.location.made("fuse", "computed again, not stored")
            made = Node(node.op, inputs, node.attributes, [value.type], location)
            nodes.append(made)
            self.made[value] = made.output
        return self.made[value]
