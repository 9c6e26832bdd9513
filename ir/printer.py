"""Graphs as text: `func @f(%x: f32[n]) -> (f32[n]) { ... }`, the form of every stage, which `parser` reads back.

Constants have no lines: they stand as literals where they are used.  Values without a name are numbered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from adjit.ir.analysis import direct_callees
from adjit.ir.builder import literal_dtype
from adjit.ir.frozen import frozen
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.hashing import structural_hashes
from adjit.ir.literals import clean_name, format_attributes, format_literal
from adjit.ir.types import BOOL, DType

# Columns are aligned up to here; a longer line runs on alone.
ALIGN_HEAD = 72
ALIGN_TYPES = 32


def format_graph(graph: Graph, locations: bool = True) -> str:
    """The text of `graph`, then of the graphs it calls; ends without a newline."""
    return "\n".join([line for line, _ in format_lines(graph, locations)])


def format_lines(graph: Graph, locations: bool = True) -> Iterator[tuple[str, Node | None]]:
    """The lines of `format_graph`, each with the node that it prints (None for headers, `return` and braces)."""
    names = graph_names(graph)
    printed: set[str] = set()
    for each, name in names.items():
        if name not in printed:
            printed.add(name)
            yield from _Printer(each, names, locations).lines()


def format_node(node: Node, names: dict[Value, str], graphs: dict[Graph, str] | None = None) -> str:
    """The line of `node`, without location and regions; values missing from `names` print as `%?`."""
    head, types = _Line.of(node, names, graphs or {})
    return f"{head} : {types}" if types else head


def value_names(graph: Graph) -> dict[Value, str]:
    """A distinct name for each value of `graph` but its constants, without the `%`.

    Named values keep their names, made unique by `_1`, `_2`, ...; the others get 0, 1, 2, ... without those in use.
    """
    values = list(_values(graph))
    wanted = {value: clean_name(value.name) for value in values if value.name}
    taken = set(wanted.values())
    used: set[str] = set()
    suffixes: dict[str, int] = {}
    names: dict[Value, str] = {}
    number = 0
    for value in values:
        name = wanted.get(value)
        if name is None:
            while str(number) in taken:
                number += 1
            name = str(number)
            number += 1
        elif name in used:
            base = name
            while name in taken:
                suffixes[base] = suffixes.get(base, 0) + 1
                name = f"{base}_{suffixes[base]}"
            taken.add(name)
        used.add(name)
        names[value] = name
    return names


def graph_names(graph: Graph) -> dict[Graph, str]:
    """A name for `graph` and each graph it calls, breadth first; callees equal but for locations share one."""
    hashes = structural_hashes(graph) if direct_callees(graph) else {graph: ""}
    names: dict[Graph, str] = {}
    of_body: dict[tuple[str, str], str] = {}
    taken: set[str] = set()
    queue = [graph]
    for each in queue:
        if each in names:
            continue
        base = clean_name(each.name) or "_"
        key = (base, hashes[each])
        name = of_body.get(key)
        if name is None:
            name, suffix = base, 0
            while name in taken:
                suffix += 1
                name = f"{base}_{suffix}"
            of_body[key] = name
            taken.add(name)
            queue.extend(direct_callees(each))
        names[each] = name
    return names


def _values(graph: Region) -> Iterator[Value]:
    """Inputs and results in the order of the text, constants left out."""
    yield from graph.inputs
    stack: list[Iterator[Node | Region]] = [iter(graph.nodes)]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
        elif isinstance(item, Region):
            yield from item.inputs
            stack.append(iter(item.nodes))
        elif item.op.name != "const":
            yield from item.outputs
            if item.regions:
                stack.append(iter(item.regions))


@frozen
class _Line:
    """One line: its operation, its result types, and what follows them."""

    head: str
    types: str
    brace: str
    comment: str

    @staticmethod
    def of(node: Node, names: dict[Value, str], graphs: dict[Graph, str]) -> tuple[str, str]:
        """`%1 = mul %0, 2.0 {...}` and `f32[n]`."""
        parts = [node.op.name]
        if node.inputs:
            parts.append(", ".join(_operands(node, names)))
        if node.attributes:
            parts.append(format_attributes(node.attributes, lambda callee: f"@{graphs.get(callee, callee.name)}"))
        text = " ".join(parts)
        if not node.outputs:
            return text, ""
        results = ", ".join([f"%{names.get(value, '?')}" for value in node.outputs])
        return f"{results} = {text}", ", ".join([str(value.type) for value in node.outputs])


def _operands(node: Node, names: dict[Value, str]) -> list[str]:
    constants = [value.node is not None and value.node.op.name == "const" for value in node.inputs]
    if not any(constants):
        return [f"%{names.get(value, '?')}" for value in node.inputs]
    dtype = literal_dtype(node.op, [None if c else v.type.dtype for v, c in zip(node.inputs, constants, strict=True)])
    return [
        _literal(value, dtype) if constant else f"%{names.get(value, '?')}"
        for value, constant in zip(node.inputs, constants, strict=True)
    ]


def _literal(value: Value, expected: DType | None) -> str:
    dtype = value.type.dtype
    text = format_literal(value.constant, dtype)
    return text if dtype is expected or dtype is BOOL else f"{text}:{dtype}"


class _Printer:
    """The lines of one graph."""

    def __init__(self, graph: Graph, graphs: dict[Graph, str], locations: bool) -> None:
        self.graph = graph
        self.graphs = graphs
        self.locations = locations
        self.names = value_names(graph)

    def lines(self) -> Iterator[tuple[str, Node | None]]:
        yield self.header(), None
        yield from self.body(self.graph, 1)
        yield "}", None

    def header(self) -> str:
        graph = self.graph
        results = ", ".join([str(value.type) for value in graph.outputs])
        parts = [f"func @{self.graphs[graph]}({self.declared(graph.inputs)}) -> ({results})"]
        if graph.guards:
            parts.append("where " + ", ".join(map(str, graph.guards)))
        if graph.writes:
            writes = [f"%{self.names[graph.inputs[target]]} <- {output}" for target, output in graph.writes]
            parts.append(f"writes({', '.join(writes)})")
        if graph.approximate:
            parts.append("approximate")
        return " ".join([*parts, "{"])

    def declared(self, values: Iterable[Value]) -> str:
        return ", ".join([f"%{self.names[value]}: {value.type}" for value in values])

    def body(self, region: Region, depth: int) -> Iterator[tuple[str, Node | None]]:
        """The statements of a region, in columns, and its `return`; each line with its node."""
        indent = "  " * depth
        written = [(node, self.line(node)) for node in region.nodes if node.op.name != "const"]
        head_width = max([len(line.head) for _, line in written if len(line.head) <= ALIGN_HEAD], default=0)
        type_width = max([len(line.types) for _, line in written if len(line.types) <= ALIGN_TYPES], default=0)
        for node, line in written:
            text = line.head
            if line.types:
                text = f"{text.ljust(head_width)} : {line.types}"
            text += line.brace
            if line.comment:
                text = f"{text.ljust(head_width + type_width + 3)}  # {line.comment}"
            yield indent + text, node
            if line.brace:
                yield from self.body(node.regions[0], depth + 1)
                yield indent + "}", None
                continue
            for nested in node.regions:
                yield f"{indent}  region({self.declared(nested.inputs)}) {{", None
                yield from self.body(nested, depth + 2)
                yield indent + "  }", None
        if region.outputs:
            yield f"{indent}return {', '.join([self.output(value) for value in region.outputs])}", None

    def line(self, node: Node) -> _Line:
        head, types = _Line.of(node, self.names, self.graphs)
        brace = " {" if len(node.regions) == 1 and not node.regions[0].inputs else ""
        return _Line(head, types, brace, self.comment(node))

    def comment(self, node: Node) -> str:
        location = node.location
        if not self.locations or not (location.file or location.origin or location.note):
            return ""
        return re.sub(r"[\r\n]+", " ", str(location)).strip()

    def output(self, value: Value) -> str:
        return _literal(value, None) if value.constant is not None else f"%{self.names.get(value, '?')}"
