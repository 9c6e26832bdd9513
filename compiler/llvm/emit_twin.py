"""Copies of the nodes of a loop's body, for code that does several rows side by side."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from adjit.compiler.llvm.emit_state import Writer, memory_type
from adjit.compiler.llvm.text import LLType
from adjit.ir.graph import Node, Region, Value
from adjit.ir.shape import Dim, map_sizes, substitute


class Twin:
    """A copy of a row's nodes for another row: its variable, its values and nodes, scratch memory of its own."""

    def __init__(
        self, w: Writer, row: str, name: str, nodes: Sequence[Node], private: Container[Value] = ()
    ) -> None:
        self.row, self.name, self.private = row, name, private
        self.values: dict[Value, Value] = {}
        self.nodes: dict[Node, Node] = {}
        self.w = w
        for node in nodes:
            self._copy(node)
        w.dependence.extend(self.values, self.nodes, {row: name})

    def _copy(self, node: Node) -> Node:
        regions = []
        for region in node.regions:
            nodes = [self._copy(inner) for inner in region.nodes]
            regions.append(Region(region.inputs, nodes, [self._value(value) for value in region.outputs]))
        inputs = [self._value(value) for value in node.inputs]
        step = {self.row: Dim.named(self.name)}
        attributes: dict[str, Any] = {
            key: map_sizes(given, lambda size: substitute(size, step)) if key in ("at", "value", "of") else given
            for key, given in node.attributes.items()
        }
        types = [value.type for value in node.outputs]
        copy = Node(node.op, inputs, attributes, types, node.location, regions)
        self.nodes[node] = copy
        self.values.update(zip(node.outputs, copy.outputs, strict=True))
        return copy

    def _value(self, value: Value) -> Value:
        """What stands for a value: a copy of what is computed for a row, memory of its own for scratch."""
        if value not in self.values and value in self.private and value in self.w.buffers:
            size = value.type.size
            assert isinstance(size, int)
            self.values[value] = own = Value(value.type)
            self.w.buffers[own] = self.w.room(memory_type(LLType(value.type.dtype)), size)
        return self.values.get(value, value)
