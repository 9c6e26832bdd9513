"""Copying and changing graphs: each function returns a new graph, which shares the nodes that stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from adjit.ir.analysis import (
    callees,
    graphs_in,
    has_rule,
    match_sizes,
    substitute_attribute,
    substitute_type,
)
from adjit.ir.builder import Builder
from adjit.ir.errors import ShapeError, VerifyError
from adjit.ir.graph import UNKNOWN, Attribute, Graph, Guard, Location, Node, Region, Value
from adjit.ir.journal import note
from adjit.ir.shape import Dim, Size, substitute

Rule: TypeAlias = "Callable[[Builder, Node, tuple[Value, ...]], Sequence[Value] | None]"


# -- copies -----------------------------------------------------------------------------------------------------------
def clone(graph: Graph, name: str | None = None, sizes: Mapping[str, Size] | None = None) -> Graph:
    """A copy that shares no node or value with `graph`; named sizes are replaced by `sizes`.

    Errors: ShapeError where a guard does not hold for the new sizes.
    """
    sizes = sizes or {}
    mapping: dict[Value, Value] = {}
    copy = Graph(graph.name if name is None else name, writes=graph.writes, approximate=graph.approximate)
    body = _copy_region(graph, mapping, sizes)
    copy.inputs, copy.nodes, copy.outputs = body.inputs, body.nodes, body.outputs
    guards = [Guard(substitute(g.left, sizes), g.relation, substitute(g.right, sizes)) for g in graph.guards]
    for guard in guards:
        if not guard.names and not guard.holds({}):
            raise ShapeError(f"@{graph.name} needs sizes that it does not get: {guard} does not hold")
    copy.guards = tuple(guard for guard in guards if guard.names)
    return copy


def substitute_sizes(graph: Graph, sizes: Mapping[str, Size]) -> Graph:
    """`graph` for particular sizes, which may be numbers or other names."""
    return clone(graph, sizes=sizes)


def _copy_region(region: Region, mapping: dict[Value, Value], sizes: Mapping[str, Size]) -> Region:
    """A copy on mapped values; enters the copies of what it defines into `mapping`."""
    inputs = [Value(substitute_type(value.type, sizes), value.name) for value in region.inputs]
    mapping.update(zip(region.inputs, inputs, strict=True))
    nodes = [_copy_node(node, mapping, sizes) for node in region.nodes]
    return Region(inputs, nodes, [mapping.get(value, value) for value in region.outputs])


def _copy_node(node: Node, mapping: dict[Value, Value], sizes: Mapping[str, Size]) -> Node:
    regions = [_copy_region(region, mapping, sizes) for region in node.regions]
    types = [substitute_type(value.type, sizes) for value in node.outputs]
    inputs = [mapping.get(value, value) for value in node.inputs]
    copy = Node(node.op, inputs, _attributes(node, sizes), types, node.location, regions)
    _carry_names(node, copy)
    mapping.update(zip(node.outputs, copy.outputs, strict=True))
    return copy


def _attributes(node: Node, sizes: Mapping[str, Size]) -> dict[str, Attribute]:
    if not sizes:
        return dict(node.attributes)
    return {name: substitute_attribute(value, sizes) for name, value in node.attributes.items()}


def _carry_names(old: Node, new: Node) -> None:
    for before, after in zip(old.outputs, new.outputs, strict=True):
        after.name = before.name


def inline(
    builder: Builder,
    region: Region,
    arguments: Sequence[Value],
    *,
    location: Location | None = None,
    sizes: Mapping[str, Size] | None = None,
) -> tuple[Value, ...]:
    """Append the nodes of `region`, applied to `arguments`, and return what its outputs are there.

    Where the arguments' types differ from those of the region's inputs, the named sizes are read off them and types are
    inferred again.  Every node gets `location` where one is given; else it keeps its own, and a node without one gets
    the builder's.
    """
    if len(arguments) != len(region.inputs):
        raise VerifyError(f"a region of {len(region.inputs)} inputs is given {len(arguments)} arguments")
    shapes = [value.type.dims for value in region.inputs]
    found = match_sizes(shapes, [value.type.dims for value in arguments])
    sizes = {name: size for name, size in {**found, **(sizes or {})}.items() if size != Dim.named(name)}
    mapping = dict(zip(region.inputs, arguments, strict=True))
    before = builder.location
    try:
        for node in region.nodes:
            builder.location = location or (before if node.location is UNKNOWN else node.location)
            _inline_node(builder, node, mapping, sizes)
    finally:
        builder.location = before
    return tuple(mapping.get(value, value) for value in region.outputs)


def _inline_node(builder: Builder, node: Node, mapping: dict[Value, Value], sizes: Mapping[str, Size]) -> None:
    if node.op.name == "const":
        value = substitute_attribute(node.attributes["value"], sizes)
        mapping[node.output] = builder.constant(value, node.output.type.dtype)  # type: ignore[arg-type]
        return
    inputs = [mapping.get(value, value) for value in node.inputs]
    types = [substitute_type(value.type, sizes) for value in node.outputs]
    expected = [substitute_type(value.type, sizes) for value in node.inputs]
    known = node.op.infer_rule is None or [value.type for value in inputs] == expected
    regions = [_copy_region(nested, mapping, sizes) for nested in node.regions]
    for inner in (each for region in regions for each in region.walk()):
        if inner.location is UNKNOWN:
            inner.location = builder.location
    copy = builder.emit(node.op, inputs, _attributes(node, sizes), regions, types if known else None)
    _carry_names(node, copy)
    mapping.update(zip(node.outputs, copy.outputs, strict=True))


def copied(region: Region) -> Region:
    """A copy of a region that shares no node or value with it."""
    return _copy_region(region, {}, {})


def inline_calls(graph: Graph, *, keep_rules: bool = False) -> Graph:
    """`graph` with every `call` replaced by the callee's nodes, in nested regions and in callees too.

    With `keep_rules` a call that has a derivative of its own stays; without, a `linear_solve` becomes its solution.
    """
    if {"call", "linear_solve"}.isdisjoint(node.op.name for node in graph.walk()):
        return graph
    flat: dict[Graph, Graph] = {}

    def expand(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name == "linear_solve" and not keep_rules:
            found = node.regions[1]
            body = inline_calls(Graph("solution", found.inputs, found.nodes, found.outputs))
            return inline(builder, body, operands)
        if node.op.name != "call" or (keep_rules and has_rule(node)):
            return None
        callee = node.attributes["callee"]
        assert isinstance(callee, Graph)
        builder.location = node.location.made("inline", f"the body of @{callee.name}")
        return inline(builder, flat[callee], operands)

    for each in [*callees(graph), graph]:
        flat[each] = rewrite(each, expand, follow_calls=False)
    return flat[graph]


# -- changes ----------------------------------------------------------------------------------------------------------
def rewrite(graph: Graph, rule: Rule, *, follow_calls: bool = True, inner_first: bool = False) -> Graph:
    """`graph` after one pass of `rule` over its nodes, those of nested regions and of callees (if `follow_calls`).

    `rule(builder, node, operands)` returns None to keep `node`, or as many values as it has outputs, of the same types:
    operands, results of earlier nodes, or of nodes that it has just built.  `node` is the original one and `operands`
    are what its inputs have become.  New nodes get the location of `node`, and new values its outputs' names.  A rule
    sees a node before the node's regions are rewritten; with `inner_first` after, and then `node` is what it has become
    so far.  It does not see what it built.  The graph itself is returned when the rule keeps everything.
    """
    graphs: dict[Graph, Graph] = {}
    for each in [*(callees(graph) if follow_calls else ()), graph]:
        graphs[each] = _Rewriter(rule, graphs, inner_first).graph(each)
    return graphs[graph]


def rewrite_region(region: Region, rule: Rule) -> Region:
    """The same for a region alone."""
    rewriter = _Rewriter(rule, {})
    found = rewriter.region(region)
    note(rewriter.mapping)
    return found


class _Rewriter:
    """One pass over one graph: `mapping` says what replaced values have become; nodes not touched are shared."""

    def __init__(self, rule: Rule, graphs: Mapping[Graph, Graph], inner_first: bool = False) -> None:
        self.rule = rule
        self.inner_first = inner_first
        self.graphs = {old: new for old, new in graphs.items() if old is not new}
        self.mapping: dict[Value, Value] = {}

    def graph(self, graph: Graph) -> Graph:
        body = self.region(graph)
        note(self.mapping)
        if body is graph:
            return graph
        return graph.with_parts(body.inputs, body.nodes, body.outputs)

    def region(self, region: Region) -> Region:
        """The region after the pass: the same object when nothing in it changes."""
        result = Region(region.inputs)
        builder = Builder(result)
        changed = False
        for node in region.nodes:
            operands = self.mapped(node.inputs)
            builder.location = node.location
            start = len(result.nodes)
            kept = self.renewed(node) if self.inner_first else node
            replacement = self.rule(builder, kept, operands)
            if replacement is not None:
                self.replace(node, replacement, result.nodes[start:])
                changed = True
                continue
            if not self.inner_first:
                kept = self.renewed(node)
            builder.append(kept)
            changed |= kept is not node
        outputs = self.mapped(region.outputs)
        if not changed and outputs == region.outputs:
            return region
        result.outputs = outputs
        return result

    def renewed(self, node: Node) -> Node:
        """A node with its regions rewritten."""
        return renewed(node, self.mapping, [self.region(nested) for nested in node.regions], self.graphs)

    def mapped(self, values: Sequence[Value]) -> tuple[Value, ...]:
        mapping = self.mapping
        return tuple([mapping.get(value, value) for value in values])

    def replace(self, node: Node, replacement: Sequence[Value], built: Sequence[Node]) -> None:
        """Enter a rule's answer for `node`; `built` are the nodes it made."""
        types = [value.type for value in node.outputs]
        if [value.type for value in replacement] != types:
            found = ", ".join(str(value.type) for value in replacement)
            raise VerifyError(f"{node.op.name} of ({', '.join(map(str, types))}) is replaced by values of ({found})")
        fresh = set(built)
        for old, new in zip(node.outputs, replacement, strict=True):
            self.mapping[old] = new
            if new.name is None and new.node in fresh:
                new.name = old.name


def renewed(
    node: Node, mapping: dict[Value, Value], regions: Sequence[Region], graphs: Mapping[Graph, Graph] | None = None
) -> Node:
    """`node` on mapped operands, with these regions and callees: itself where that changes nothing, else a copy.

    The results of a copy are entered into `mapping`.
    """
    if not (node.regions or graphs) and mapping.keys().isdisjoint(node.inputs):
        return node
    inputs = tuple([mapping.get(value, value) for value in node.inputs])
    attributes = node.attributes
    if graphs and any(callee in graphs for callee in graphs_in(attributes.values())):
        attributes = {name: _with_graphs(value, graphs) for name, value in attributes.items()}
    same_regions = all(new is old for new, old in zip(regions, node.regions, strict=True))
    if inputs == node.inputs and attributes is node.attributes and same_regions:
        return node
    types = [value.type for value in node.outputs]
    if node.op.infer_rule is not None and [v.type for v in inputs] != [v.type for v in node.inputs]:
        given = {**attributes, "regions": tuple(regions)} if regions else attributes
        types = list(node.op.infer([value.type for value in inputs], given))  # type: ignore[arg-type]
    copy = Node(node.op, inputs, attributes, types, node.location, regions)
    copy.attached = node.attached
    _carry_names(node, copy)
    mapping.update(zip(node.outputs, copy.outputs, strict=True))
    return copy


def _with_graphs(value: Attribute, graphs: Mapping[Graph, Graph]) -> Attribute:
    if isinstance(value, Graph):
        return graphs.get(value, value)
    if isinstance(value, tuple):
        return tuple(_with_graphs(item, graphs) for item in value)
    return value
