"""The order in which the turns of a loop that was written out are equal.

What is the same in all turns stands in the first one, a row that two turns read in the first of them, and a sum of
cotangents is emitted when all of them are known, after the turns that they come from.
"""

from __future__ import annotations

from collections import Counter

from adjit.ir.analysis import VIEWS
from adjit.ir.graph import Graph, Node, Value


def in_turns(graph: Graph) -> Graph:
    """`graph` with views of inputs before all else, other views where they are used, sums where they can be taken."""
    uses = Counter(value for node in graph.nodes for value in node.inputs)
    uses.update(graph.outputs)
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
            if node.op.name != "slice" and node.inputs[0] in fixed:
                first.append(node)
                fixed.add(node.output)
                continue
            if node.op.name != "permute" or _step(node.inputs[0], views, place) < 0:
                views[node.output] = node
                continue
        number = len(steps)
        if node.op.name == "add" and all(uses[value] == 1 for value in node.inputs):
            anchors = [_step(value, views, place) for value in node.inputs]
            if -1 not in anchors:
                number = max(anchors)
                sums.setdefault(number, []).append(node)
        if number == len(steps):
            steps.append(node)
        place.update(dict.fromkeys(node.outputs, number))
    result = first
    for number, step in enumerate(steps):
        for node in (step, *sums.get(number, ())):
            for value in node.inputs:
                _place_views(value, views, result)
            result.append(node)
    for value in graph.outputs:
        _place_views(value, views, result)
    return graph.with_parts(graph.inputs, result, graph.outputs)


def _step(value: Value, views: dict[Value, Node], place: dict[Value, int]) -> int:
    """The step that makes what `value` is a view of, -1 for an input."""
    while value in views:
        value = views[value].inputs[0]
    return place.get(value, -1)


def _place_views(value: Value, views: dict[Value, Node], result: list[Node]) -> None:
    """Append the views that `value` is made by, once."""
    chain: list[Node] = []
    while (node := views.pop(value, None)) is not None:
        chain.append(node)
        value = node.inputs[0]
    result.extend(reversed(chain))
