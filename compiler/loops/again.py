"""Groups that differ in their operands alone, as those of a network's layers do, are lowered once.

The kernels of the others are copies of the first one's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TypeAlias

from adjit.compiler.loops.ir import FUSE, KERNEL
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.hashing import structural_hash
from adjit.ir.journal import is_recorded
from adjit.ir.rewrite import copied

# A group's results that the results of its kernel stand for, and the kernel.
Lowered: TypeAlias = "tuple[list[Value], Node]"


class Known:
    """What groups of a program were lowered to, by their forms."""

    def __init__(self, graph: Region) -> None:
        # Where somebody asks what became of each value, each is lowered by itself.
        groups = [] if is_recorded() else [node for node in graph.walk() if node.op is FUSE]
        self._often = Counter(map(_outline, groups))
        self._found: dict[Hashable, tuple[list[int], Node]] = {}

    def lowered(
        self, node: Node, used: Collection[Value], inputs: Sequence[Value], lower: Callable[[], Lowered]
    ) -> Lowered:
        """What `lower` gives for a group, of whose results some are `used`, or a copy of it for these inputs."""
        form = _form(node, used) if self._often[_outline(node)] > 1 else None
        if form is None:
            return lower()
        if form in self._found:
            places, kernel = self._found[form]
            return [node.outputs[place] for place in places], _again(kernel, node, inputs)
        kept, kernel = lower()
        self._found[form] = [node.outputs.index(value) for value in kept], kernel
        return kept, kernel


def _outline(node: Node) -> Hashable:
    """What groups of one form have in common, and others seldom do."""
    (group,) = node.regions
    return tuple([value.type for value in group.inputs]), tuple([inner.op.name for inner in group.nodes])


def _form(node: Node, used: Collection[Value]) -> Hashable | None:
    """All that a group's kernel depends on but operands and names; None of one that uses values from outside."""
    (group,) = node.regions
    known, places = set(group.inputs), [node.location]
    for inner in group.walk():
        places.append(inner.location)
        known.update(inner.outputs, *[region.inputs for region in inner.regions])
    for inner in group.walk():
        values = [*inner.inputs, *[value for region in inner.regions for value in region.outputs]]
        if any(value not in known and value.constant is None for value in values):
            return None
    structure = structural_hash(Graph("", group.inputs, group.nodes, group.outputs))
    live = tuple([value in used for value in node.outputs])
    return structure, repr(sorted(node.attributes.items())), live, tuple(places)


def _again(kernel: Node, node: Node, inputs: Sequence[Value]) -> Node:
    """A copy of a kernel for the group `node`."""
    (region,), (group,) = kernel.regions, node.regions
    body = copied(region)
    for own, value in zip(body.inputs, group.inputs, strict=False):
        own.name = value.name
    return Node(KERNEL, inputs, {}, [value.type for value in kernel.outputs], node.location, (body,))
