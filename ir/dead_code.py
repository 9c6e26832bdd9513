"""Dead code: nodes that nothing needs, and of loops and branches what nothing outside reads of them.

A loop whose stacked results or carries are not read neither computes nor stores them, and does not take the operands
that only these need.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from adjit.ir.analysis import CONTROL, carries_of, graphs_in, has_effect, invariants_of, uses
from adjit.ir.graph import Attribute, Graph, Node, Region, Value
from adjit.ir.journal import note
from adjit.ir.rewrite import renewed

Item = TypeVar("Item")
# Control flow whose results need not all be computed.


def eliminate_dead(graph: Graph) -> Graph:
    """`graph` without nodes and results of loops on which neither its outputs nor an effect depend.

    Inputs stay.  Callees are left as they are.
    """
    sweep = _Sweep()
    body = sweep.region(graph)
    note(sweep.mapping)
    if body is graph:
        return graph
    return graph.with_parts(body.inputs, body.nodes, body.outputs)


def live_nodes(region: Region) -> list[Node]:
    """The nodes of a region, each as it is, on which its outputs or an effect depend."""
    needed, found = set(region.outputs), []
    for node in reversed(region.nodes):
        if has_effect(node) or not needed.isdisjoint(node.outputs):
            needed.update(uses(node))
            found.append(node)
    return found[::-1]


def dead_checks(region: Region) -> list[Value]:
    """Results of dead nodes that may fail where no live node does: an index outside its axis, a division by 0.

    Loops and branches are not looked into.
    """
    live = set(live_nodes(region))
    known = {fact for node in live for fact in _relied_on(node)}
    found: list[Value] = []
    for node in region.nodes:
        if node not in live and (_calls_what_may_fail(node) or not known.issuperset(_relied_on(node))):
            known.update(_relied_on(node))
            found.append(node.outputs[0])
    return found


def may_fail(node: Node) -> bool:
    """Whether a node, or one that it calls, fails for some numbers."""
    inside = (inner for graph in graphs_in(node.attributes.values()) for inner in graph.walk())
    return bool(_relied_on(node)) or any(map(may_fail, inside))


def _calls_what_may_fail(node: Node) -> bool:
    inside = (inner for graph in graphs_in(node.attributes.values()) for inner in graph.nodes)
    return node.op.name == "call" and any(_relied_on(inner) or _calls_what_may_fail(inner) for inner in inside)


def _relied_on(node: Node) -> tuple[Hashable, ...]:
    """What must be true for a node not to fail: that a value lies within an extent, or is not 0."""
    name = node.op.name
    if name == "gather" or name.startswith("scatter_"):
        axes = node.attributes["axes"]
        assert isinstance(axes, tuple)
        if node.attributes.get("certain"):
            return ()
        indices = node.inputs[-len(axes) :]
        extents = (node.inputs[0].dims[axis] for axis in axes)  # type: ignore[index]
        return tuple(zip(map(_counted_from_end, indices), extents, strict=True))
    if name in ("div", "mod") and node.inputs[0].dtype.is_integer:
        return () if node.inputs[1].constant else ((node.inputs[1], "not 0"),)
    return ()


def _counted_from_end(index: Value) -> Value:
    """The index that `where(i < 0, i + n, i)` is the normal form of, whatever its dtype was."""
    while (node := index.node) is not None:
        if node.op.name == "where" and node.inputs[0].node is not None and node.inputs[0].node.op.name == "lt":
            index = node.inputs[2]
        elif node.op.name == "cast" and node.inputs[0].dtype.is_integer:
            index = node.inputs[0]
        else:
            break
    return index


class _Sweep:
    """One pass over one graph: `mapping` says what the values of changed nodes have become."""

    def __init__(self) -> None:
        self.mapping: dict[Value, Value] = {}
        self.dependences: dict[Node, list[int]] = {}

    def region(self, region: Region) -> Region:
        """The region without what is dead in it; itself where nothing is."""
        needed = set(region.outputs)
        live: dict[Node, Sequence[bool]] = {}  # which operands each node that stays still needs
        for node in reversed(region.nodes):
            if needed.isdisjoint(node.outputs) and not has_effect(node):
                continue
            if node.op.name in CONTROL and not has_effect(node):
                live[node] = self.taken(node, needed)
                needed.update(_chosen(node.inputs, live[node]))
            else:
                live[node] = ()
                needed.update(uses(node))
        kept = [self.kept(node, live[node], needed) for node in region.nodes if node in live]
        if len(kept) == len(region.nodes) and all(new is old for new, old in zip(kept, region.nodes, strict=True)):
            return region
        return Region(region.inputs, kept, [self.mapping.get(value, value) for value in region.outputs])

    def taken(self, node: Node, needed: set[Value]) -> list[bool]:
        """Which operands of a loop or branch the results that are needed depend on."""
        found = _union(_chosen(self.operands_of(node), [value in needed for value in node.outputs]))
        return [bool(found >> place & 1) for place in range(len(node.inputs))]

    def kept(self, node: Node, taken: Sequence[bool], needed: set[Value]) -> Node:
        """A node with the operands that are `taken`, if it is told which, and without results that need not be."""
        stays, offered, attributes = [value in needed for value in node.outputs], taken, node.attributes
        if taken and node.op.name == "cond":
            offered = taken[1:]
        elif taken:
            first, count = invariants_of(node), carries_of(node)
            stays[:count] = taken[first : first + count]
            attributes = _counted(attributes, sum(taken[:first]), sum(stays[:count]))
        if not taken or (all(stays) and all(taken)):
            return renewed(node, self.mapping, [self.region(each) for each in node.regions])
        regions = []
        for region in node.regions:
            is_condition = node.op.name == "while" and region is node.regions[0]
            outputs = region.outputs if is_condition else _chosen(region.outputs, stays)
            regions.append(self.region(Region(_chosen(region.inputs, offered), region.nodes, outputs)))
        inputs = [self.mapping.get(value, value) for value in _chosen(node.inputs, taken)]
        results = _chosen(node.outputs, stays)
        location = node.location.made("dead code", "without what nothing reads")
        made = Node(node.op, inputs, attributes, [value.type for value in results], location, regions)
        for old, new in zip(results, made.outputs, strict=True):
            new.name = old.name
            self.mapping[old] = new
        return made

    # -- what depends on what: sets of a node's operands, or of a region's inputs, are the bits of an integer ----------
    def operands_of(self, node: Node) -> list[int]:
        """For each result of a loop or branch, the operands that it depends on."""
        found = self.dependences.get(node)
        if found is None:
            found = self.dependences[node] = self._operands_of(node)
        return found

    def _operands_of(self, node: Node) -> list[int]:
        *others, body = [self.inputs_of(region) for region in node.regions]
        if node.op.name == "cond":
            return [1 | (then | other) << 1 for then, other in zip(others[0], body, strict=True)]
        always = _union(mask for masks in others for mask in masks)
        return _over_turns([mask | always for mask in body], invariants_of(node), carries_of(node))

    def inputs_of(self, region: Region) -> list[int]:
        """For each output of a region, the inputs that it depends on."""
        masks = {value: 1 << place for place, value in enumerate(region.inputs)}
        for node in region.nodes:
            if node.op.name in CONTROL and not has_effect(node):
                given = [masks.get(value, 0) for value in node.inputs]
                found = [_union(_members(given, mask)) for mask in self.operands_of(node)]
            else:
                found = [_union(masks.get(value, 0) for value in uses(node))] * len(node.outputs)
            masks.update(zip(node.outputs, found, strict=True))
        return [masks.get(value, 0) for value in region.outputs]


def carries_behind(body: Region, first: int, count: int, read: Sequence[bool]) -> list[bool]:
    """Which of the `count` carries of a loop, from input `first` on, the results that are read of it depend on."""
    masks = _over_turns(_Sweep().inputs_of(body), first, count)
    found = _union(_chosen(masks, read))
    return [bool(found >> first + place & 1) for place in range(count)]


def _over_turns(masks: Sequence[int], first: int, count: int) -> list[int]:
    """On which operands the results of a loop depend, given on which inputs the outputs of a turn do."""
    found = [mask | (1 << first + place if place < count else 0) for place, mask in enumerate(masks)]
    while True:
        further = [_union([mask, *_members(found[:count], mask >> first)]) for mask in found]
        if further == found:
            return found
        found = further


def _chosen(items: Sequence[Item], flags: Sequence[bool]) -> list[Item]:
    return [item for item, flag in zip(items, flags, strict=True) if flag]


def _members(sets: Sequence[int], mask: int) -> list[int]:
    """Those of `sets` whose bit in `mask` is set."""
    return [each for place, each in enumerate(sets) if mask >> place & 1]


def _union(masks: Iterable[int]) -> int:
    total = 0
    for mask in masks:
        total |= mask
    return total


def _counted(attributes: dict[str, Attribute], invariants: int, carries: int) -> dict[str, Attribute]:
    """The attributes of a loop with so many invariants and carries."""
    return {**attributes, "invariants": invariants} | ({"carries": carries} if "carries" in attributes else {})
