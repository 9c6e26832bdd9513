"""Graphs for particular sizes that are made from one open in its sizes, which stands for all of them.

What changes its shapes at every call is then traced, differentiated and compiled once.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

from adjit.ir.graph import Graph
from adjit.ir.rewrite import clone
from adjit.ir.shape import Size

_common: WeakKeyDictionary[Graph, tuple[Graph, Mapping[str, Size]]] = WeakKeyDictionary()


def particular(common: Graph, sizes: Mapping[str, Size]) -> Graph:
    """An open graph for these sizes."""
    graph = clone(common, sizes=sizes)
    _common[graph] = (common, sizes)
    return graph


def common_form(graph: Graph) -> tuple[Graph, Mapping[str, Size]] | None:
    """The open graph that one for particular sizes was made from, and these."""
    return _common.get(graph)
