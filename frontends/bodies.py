"""Bodies of composites in eager mode: run node by node at first, natively once one has come several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from adjit.execute import run_graph
from adjit.ir.errors import CompileError
from adjit.ir.graph import Graph

# A body is compiled when it comes for this time; a few runs node by node cost less than compiling it.
_TIMES = 6


class _Body:
    """How often a body came, and its program."""

    __slots__ = ("count", "executable")

    def __init__(self) -> None:
        self.count = 0
        self.executable: Any = None


_bodies: WeakKeyDictionary[Graph, _Body] = WeakKeyDictionary()


def run_body(graph: Graph, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """The results of a body with the bits that node by node gives: strictly compiled, it has the same ones."""
    body = _bodies.get(graph)
    if body is None:
        body = _bodies[graph] = _Body()
    if body.executable is None:
        body.count += 1
        if body.count == _TIMES:
            body.executable = _compiled(graph)
        if body.executable is None:
            return run_graph(graph, arrays)
    try:
        found: Sequence[np.ndarray] = body.executable.run(arrays)
    except (ArithmeticError, LookupError, RuntimeError):  # a fault: node by node says it in its own words
        return run_graph(graph, arrays)
    return found


def _compiled(graph: Graph) -> Any:
    from adjit.compiler.compile import compile_graph

    try:
        return compile_graph(graph, strict=True)
    except CompileError:  # what the native backend cannot do stays as it is
        return None
