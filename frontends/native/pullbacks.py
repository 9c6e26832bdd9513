"""Pullbacks that are recorded themselves, as `create_graph` wants it: each is an operation on its tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.execute import run_each_recorded
from adjit.ir.graph import Graph
from adjit.native.entry import Entry
from adjit.native.operation import Operation

# A pullback becomes an operation at its third run; those of later ones stay in Python.
_TIMES, _MOST = 3, 1024


class Pullbacks:
    """The operations that pullbacks became, and how often others were run."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._runs: dict[Graph, int] = {}
        self._served: dict[Graph, Callable[..., Any]] = {}
        self._operations: list[Operation] = []

    def of(self, graph: Graph) -> Callable[..., Any] | None:
        """What runs a pullback on tensors and records it; None while Python does."""
        found = self._served.get(graph)
        if found is not None or len(self._served) >= _MOST:
            return found
        if len(self._runs) >= 4 * _MOST:
            self._runs.clear()
        self._runs[graph] = count = self._runs.get(graph, 0) + 1
        return self._serve(graph) if count == _TIMES else None

    def _serve(self, graph: Graph) -> Callable[..., Any]:
        operation = Operation(self._entry, lambda *tensors: run_each_recorded(graph, tensors))
        self._operations.append(operation)
        found: Callable[..., Any] = self._entry.function("pullback", "", operation.table)
        self._served[graph] = found
        return found
