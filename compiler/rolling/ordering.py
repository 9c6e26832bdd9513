"""The order in which the turns of a loop that was written out are equal.

What is the same in all turns stands in the first one, each operand that is a view has the view to itself, so that it
does not matter whether two of them are one by chance, as the rows i and j of an array are where i = j, and a sum of
cotangents is emitted when all of them are known, after the turns that they come from.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

from adjit.ir.analysis import VIEWS
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.journal import note

# A slice of an input that so many others read, itself or views of it, belongs to no turn, if it is not one of as many.
_MANY = 8


def in_turns(graph: Graph) -> Graph:
    """`graph` with views of inputs before all else, other views at each use, sums where they can be taken."""
    uses = Counter(chain.from_iterable(node.inputs for node in graph.nodes))
    uses.update(graph.outputs)
    readers = Counter(graph.outputs)  # of each value: how many that are no views
    for node in reversed(graph.nodes):
        for value in node.inputs:
            readers[value] += readers[node.output] if node.op.name in VIEWS else 1
    alike = Counter(_kind(node) for node in graph.nodes if node.op.name == "slice")
    first: list[Node] = [node for node in graph.nodes if node.op.name == "const"]
    fixed: set[Value] = {*graph.inputs, *(node.output for node in first)}
    views: dict[Value, Node] = {}
    steps: list[Node] = []
    # After which step each value is there: the one that makes it, or that its sum is moved to.
    place: dict[Value, int] = {}
    sums: dict[int, list[Node]] = {}
    for node in graph.nodes:
        if node.op.name == "const":
            continue
        if node.op.name in VIEWS:
            is_common = node.op.name != "slice" or (readers[node.output] >= _MANY > alike[_kind(node)])
            if is_common and node.inputs[0] in fixed:
                first.append(node)
                fixed.add(node.output)
                continue
            if node.op.name != "permute" or _step(node.inputs[0], views, place) < 0:
                views[node.output] = node
                continue
        number = len(steps)
        if node.op.name == "add" and all([uses[value] == 1 for value in node.inputs]):
            anchors = [_step(value, views, place) for value in node.inputs]
            if -1 not in anchors:
                number = max(anchors)
                sums.setdefault(number, []).append(node)
        if number == len(steps):
            steps.append(node)
        place.update(dict.fromkeys(node.outputs, number))
    result = first
    placed: set[Node] = set()
    new: dict[Value, Value] = {}
    for number, step in enumerate(steps):
        for node in (step, *sums[number]) if number in sums else (step,):
            operands = tuple([_viewed(value, views, placed, new, result) for value in node.inputs])
            result.append(node if operands == node.inputs else _copy(node, operands, new))
    outputs = [_viewed(value, views, placed, new, result) for value in graph.outputs]
    note(new)
    return graph.with_parts(graph.inputs, result, outputs)


def _kind(node: Node) -> object:
    """What slices of one size of one value have in common."""
    return node.inputs[0], node.attributes["size"]


def _step(value: Value, views: dict[Value, Node], place: dict[Value, int]) -> int:
    """The step that makes what `value` is a view of, -1 for an input."""
    while value in views:
        value = views[value].inputs[0]
    return place.get(value, -1)


def _viewed(
    value: Value, views: dict[Value, Node], placed: set[Node], new: dict[Value, Value], result: list[Node]
) -> Value:
    """What has become of an operand, the views that it is made by emitted for it: copies, where they are `placed`."""
    row: list[Node] = []
    while (node := views.get(value)) is not None:
        row.append(node)
        value = node.inputs[0]
    found = new.get(value, value)
    for node in reversed(row):
        each = _copy(node, (found,), new) if node in placed or node.inputs != (found,) else node
        placed.add(each)
        result.append(each)
        found = each.output
    return found


def _copy(node: Node, operands: tuple[Value, ...], new: dict[Value, Value]) -> Node:
    """The node on other operands."""
    copy = Node(node.op, operands, node.attributes, [value.type for value in node.outputs], node.location, node.regions)
    copy.attached = node.attached
    new.update(zip(node.outputs, copy.outputs, strict=True))
    return copy
