"""Checks of factorized matrices, one in each turn of a loop that was written out, become one behind the last turn.

A check raises an error in the middle of a turn, so turns with checks make no loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import reduce

from adjit.compiler.rolling.places import listed
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Graph, Node, Region
from adjit.ir.ops.arrays import equal, reshape, spread, where
from adjit.ir.ops.reduction import reduce_any, reduce_min, reduce_sum
from adjit.ir.ops.scalar import minimum
from adjit.ir.ops.structure import concat
from adjit.ir.types import I32
from adjit.runtime.host import CHECK_PREFIX

# The fewest checks of one line of the program that become one.
_FEWEST = 8


def with_one_check(graph: Graph) -> Graph:
    """The program with one check for each line instead of many, where no other function of the host runs in between."""
    segments: list[list[Node]] = [[]]
    for node in graph.nodes:
        if _is_check(node):
            segments[-1].append(node)
        elif node.op.name == "host_call":
            segments.append([])
    many = [segment for segment in segments if max(Counter(map(_kind, segment)).values(), default=0) >= _FEWEST]
    if not many:
        return graph
    joined = {node for segment in many for node in segment}
    ends = {segment[-1]: segment for segment in many}
    result = Region(graph.inputs)
    builder = Builder(result)
    for node in graph.nodes:
        if node not in joined:
            builder.append(node)
        elif node in ends:
            _check(builder, ends[node])
    return graph.with_parts(graph.inputs, result.nodes, graph.outputs)


def _is_check(node: Node) -> bool:
    return node.op.name == "host_call" and str(node.attributes["function"]).startswith(CHECK_PREFIX)


def _kind(check: Node) -> object:
    return check.attributes["function"], check.inputs[0].type, check.location


def _check(builder: Builder, checks: Sequence[Node]) -> None:
    """One check of each kind: of the first faulty one's numbers, where that one is of the kind, else of zeros."""
    kinds: dict[object, list[int]] = {}
    for number, node in enumerate(checks):
        kinds.setdefault(_kind(node), []).append(number)
    stacks: list[tuple[Node, Expr, Expr]] = []
    first: list[Expr] = []
    for numbers in kinds.values():
        builder.location = checks[numbers[0]].location
        found = builder.exprs(checks[number].inputs[0] for number in numbers)
        stack = concat(*(reshape(info, (1, *info.shape)) for info in found), axis=0)
        places = listed(builder, numbers, I32)
        faulty = reduce_any(~equal(stack, 0), axes=tuple(range(1, stack.ndim)))
        first.append(reduce_min(where(faulty, places, len(checks)), axes=(0,)))
        stacks.append((checks[numbers[0]], stack, places))
    earliest = reduce(minimum, first)
    for node, stack, places in stacks:
        builder.location = node.location
        chosen = spread(equal(places, earliest), stack.shape, range(1, stack.ndim))
        info = reduce_sum(where(chosen, stack, 0), axes=(0,))
        builder.emit(node.op, [info.value], node.attributes)
