"""Graphs for particular sizes that are made from one open in its sizes, which stands for all of them.

What changes its shapes at every call is then traced, differentiated and compiled once.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary, WeakSet

from adjit.ir.analysis import bound_sizes, size_names_used
from adjit.ir.graph import Graph, Value
from adjit.ir.rewrite import clone
from adjit.ir.shape import Dim, Size
from adjit.ir.types import BOOL, TensorType

_common: WeakKeyDictionary[Graph, tuple[Graph, Mapping[str, Size]]] = WeakKeyDictionary()
_told: WeakSet[Graph] = WeakSet()


def particular(common: Graph, sizes: Mapping[str, Size]) -> Graph:
    """An open graph for these sizes."""
    graph = clone(common, sizes=sizes)
    _common[graph] = (common, sizes)
    return graph


def common_form(graph: Graph) -> tuple[Graph, Mapping[str, Size]] | None:
    """The open graph that one for particular sizes was made from, and these."""
    return _common.get(graph)


def with_sizes_told(graph: Graph) -> Graph:
    """A graph for particular sizes, of which whoever runs its derivative tells the sizes: no value is kept for them."""
    _told.add(graph)
    return graph


def has_sizes_told(graph: Graph) -> bool:
    """Whether a graph is one of these."""
    return graph in _told


def without_carriers(backward: Graph, seeds: int) -> tuple[Graph, list[int]]:
    """A backward graph without inputs that only tell sizes; which of those after its cotangents stay."""
    inside = {value for node in backward.walk() for value in node.inputs} | {*backward.outputs}
    for node in backward.walk():
        for region in node.regions:
            inside |= {*region.outputs}
    saved = backward.inputs[seeds:]
    kept = [number for number, value in enumerate(saved) if value in inside]
    inputs = (*backward.inputs[:seeds], *(saved[number] for number in kept))
    return backward.with_parts(inputs, backward.nodes, backward.outputs), kept


def with_carriers(graph: Graph) -> tuple[Graph, int]:
    """A graph whose inputs tell all its sizes, and how many were added for that at the end, which nothing reads."""
    bound = bound_sizes(graph.inputs)
    used = size_names_used(graph).union(*(value.type.names for value in graph.inputs))
    missing = sorted(used - bound)
    carriers = [Value(TensorType(BOOL, (Dim.named(name),))) for name in missing]
    found = graph.with_parts((*graph.inputs, *carriers), graph.nodes, graph.outputs)
    found.guards = tuple(guard for guard in graph.guards if guard.names <= bound.union(missing))
    return found, len(missing)
