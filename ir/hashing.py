"""A graph's structure as a number: equal for graphs that differ in names of values, locations and name alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256

from adjit.ir.analysis import callees
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.literals import format_attribute, format_literal
from adjit.ir.types import TensorType


def structural_hash(graph: Graph) -> str:
    """SHA-256 over ops, operands, attributes, types, regions, guards, writes and callees, in hexadecimal digits.

    Constants count by value, wherever they stand; names of sizes count, names of values do not.
    """
    return structural_hashes(graph)[graph]


def structural_hashes(graph: Graph) -> dict[Graph, str]:
    """The hash of `graph` and of every graph it calls."""
    hashes: dict[Graph, str] = {}
    for each in [*callees(graph), graph]:
        writer = _Writer(hashes)
        text = "\n".join(writer.lines(each))
        hashes[each] = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return hashes


class _Writer:
    """A terse text of one graph in which values are numbered in the order of their definition."""

    def __init__(self, hashes: dict[Graph, str]) -> None:
        self.hashes = hashes
        self.numbers: dict[Value, str] = {}
        self.types: dict[TensorType, str] = {}

    def lines(self, graph: Graph) -> Iterator[str]:
        guards = ",".join(map(str, graph.guards))
        mode = "|approximate" if graph.approximate else ""
        yield f"{self.defined(graph.inputs)}|{guards}|{','.join(f'{i}<{o}' for i, o in graph.writes)}{mode}"
        # A region's end stands on the stack as its outputs, between the iterators of its nodes and its owner's rest.
        stack: list[Iterator[Node | Region]] = [iter(graph.nodes)]
        open_regions: list[Region] = []
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
                if open_regions and len(stack) == 2 * len(open_regions):
                    yield f"}}{self.used(open_regions.pop().outputs)}"
            elif isinstance(item, Region):
                yield f"{{{self.defined(item.inputs)}"
                open_regions.append(item)
                stack.append(iter(item.nodes))
            elif item.op.name != "const":
                yield self.node(item)
                if item.regions:
                    stack.append(iter(item.regions))
        yield self.used(graph.outputs)

    def node(self, node: Node) -> str:
        text = f"{node.op.name} {self.used(node.inputs)}={self.defined(node.outputs)}"
        if not node.attributes:
            return text
        items = sorted(node.attributes.items())
        return text + ";".join([f"{name}={format_attribute(value, self.hashes.__getitem__)}" for name, value in items])

    def defined(self, values: Iterable[Value]) -> str:
        texts = []
        for value in values:
            self.numbers[value] = str(len(self.numbers))
            text = self.types.get(value.type)
            if text is None:
                text = self.types[value.type] = str(value.type)
            texts.append(text)
        return ",".join(texts)

    def used(self, values: Iterable[Value]) -> str:
        texts = []
        for value in values:
            if value.node is not None and value.node.op.name == "const":
                texts.append(f"{format_literal(value.constant, value.type.dtype)}:{value.type.dtype}")
            else:
                # A value from outside, in a graph that is still being built, counts by its first use.
                texts.append(self.numbers.setdefault(value, f"free{len(self.numbers)}"))
        return ",".join(texts)
