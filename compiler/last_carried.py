"""Of the least or greatest of several values, a loop takes last what the turn before gives: the others need not wait.

min(min(a, carried), b) is min(min(a, b), carried) to the bit, and a turn then waits for one instruction, not for two,
as in edit distances and dynamic time warping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import reduce

from adjit.ir.analysis import LOOPS, carries_of, invariants_of
from adjit.ir.builder import Builder
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.rewrite import renewed, rewrite

# What may be taken in any order.
_ORDERLESS = frozenset({"minimum", "maximum", "and", "or"})


def with_carries_last(graph: Graph) -> Graph:
    """The graph with such orders in its loops."""
    found = rewrite(graph, _in_loop, follow_calls=False, inner_first=True)
    return graph if found is graph else eliminate_dead(found)


def _in_loop(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name not in LOOPS:
        return None
    first, count = invariants_of(node), carries_of(node)
    regions = [_ordered(region, first, count) for region in node.regions]
    if all(new is old for new, old in zip(regions, node.regions, strict=True)):
        return None
    return builder.emit(node.op, operands, node.attributes, regions).outputs


def _ordered(body: Region, first: int, count: int) -> Region:
    """The region of a turn whose carries are `count` inputs from `first` on; itself where nothing changes."""
    uses = Counter(value for node in body.nodes for value in node.inputs)
    uses.update(body.outputs)
    # How many ops stand between a carry and a value; values that wait for none are not entered.
    heights = dict.fromkeys(body.inputs[first : first + count], 1)
    chains: dict[Value, list[Value]] = {}  # what a value is the extreme of
    for node in body.nodes:
        height = max((heights.get(value, 0) for value in node.inputs), default=0)
        if height:
            heights.update(dict.fromkeys(node.outputs, height + 1))
        if node.op.name in _ORDERLESS:
            leaves: list[Value] = []
            for value in node.inputs:
                goes_on = value in chains and uses[value] == 1 and value.node is not None and value.node.op is node.op
                leaves += chains.pop(value) if goes_on and value.dims == node.output.dims else (value,)
            chains[node.output] = leaves
    wanted: dict[Value, list[Value]] = {}
    for value, leaves in chains.items():
        late = sorted(leaves, key=lambda leaf: heights.get(leaf, 0))
        if len(leaves) > 2 and late != leaves and heights.get(late[-1], 0) > heights.get(late[-2], 0):
            wanted[value] = late
    if not wanted:
        return body
    result, new = Region(body.inputs), dict[Value, Value]()
    builder = Builder(result)
    for node in body.nodes:
        builder.location = node.location
        if node.outputs[:1] and node.outputs[0] in wanted:
            leaves = wanted[node.outputs[0]]
            new[node.outputs[0]] = reduce(node.op, builder.exprs(new.get(leaf, leaf) for leaf in leaves)).value
        else:
            builder.append(renewed(node, new, node.regions))
    result.outputs = tuple(new.get(value, value) for value in body.outputs)
    return result
