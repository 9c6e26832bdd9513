"""Bodies of composites in eager mode: run node by node at first, natively once one has come several times."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from adjit.compiler.particular import common_form, with_carriers
from adjit.execute import owned, run_graph
from adjit.ir.errors import CompileError
from adjit.ir.graph import Graph
from adjit.runtime.making import seconds_running
from adjit.state import STATE

if TYPE_CHECKING:
    from adjit.runtime.executable import Executable

# A body is compiled when it comes for this time; some runs node by node cost less than compiling it.  Most become part
# of a native call's program (native/operation.py) before.
_TIMES = 24
# Or when node by node it has taken so many seconds, about what compiling it takes.
_LATE = 0.05
# A pullback that is open in its sizes is compiled when it comes for this time: it serves many.
_OPEN_TIMES = 3
# Most pullbacks become part of a whole pass's program (native/plans.py) before they come for this time.
_PULLBACK_TIMES = 64


# What stands for an input that only tells a size.
SIZE_ONLY = np.zeros(1, np.bool_)


class _Body:
    """How often a body came, how many seconds it took node by node, and its program once one was made."""

    __slots__ = ("count", "executable", "is_tried", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.is_tried = False
        self.executable: Any = None


_bodies: WeakKeyDictionary[Graph, _Body] = WeakKeyDictionary()


def run_body(graph: Graph, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """The results of a body with the bits that node by node gives: strictly compiled, it has the same ones."""
    common = common_form(graph)
    if common is not None:
        graph = common[0]
    body = _body_of(graph)
    if STATE.watching:  # what this call is part of may become a program
        return run_graph(graph, arrays) if body.executable is None else _run(body, graph, arrays, is_due=False)
    body.count += 1
    return _run(body, graph, arrays, body.count >= _TIMES or body.seconds > _LATE)


def run_pullback(graph: Graph, arrays: Sequence[np.ndarray]) -> tuple[Sequence[np.ndarray], Executable | None]:
    """The same for what a node's cotangents are computed by, with the program that did it, if there is one.

    No result shares memory with an operand.
    """
    body = _body_of(graph)
    body.count += 1
    common = common_form(graph)
    if common is None or body.executable is not None or body.count >= _PULLBACK_TIMES:
        found = _run(body, graph, arrays, body.count >= _PULLBACK_TIMES or body.seconds > _LATE)
        return [owned(array, arrays) for array in found], body.executable
    shared = _body_of(common[0])  # sizes that differ from call to call share one program
    shared.count += 1
    found = _run(shared, common[0], arrays, shared.count >= 2 * _PULLBACK_TIMES or shared.seconds > _LATE)
    return [owned(array, arrays) for array in found], None


def run_open_pullback(
    graph: Graph, closed: Callable[[], Graph], sizes: dict[str, int], arrays: Sequence[np.ndarray]
) -> tuple[Sequence[np.ndarray], Executable | None]:
    """The same for a pullback that is open in sizes, which are told; `closed` gives the graph for these."""
    body = _body_of(graph)
    body.count += 1
    if body.count >= _OPEN_TIMES and not body.is_tried:
        body.is_tried = True
        body.executable = _compiled(with_carriers(graph)[0])
    if body.executable is not None:
        carriers = [SIZE_ONLY] * (len(body.executable.graph.inputs) - len(arrays))
        with contextlib.suppress(ArithmeticError, LookupError, RuntimeError):  # node by node says a fault in its words
            return body.executable.run([*arrays, *carriers], sizes=sizes), body.executable
    return [owned(array, arrays) for array in run_graph(closed(), arrays)], None


def _body_of(graph: Graph) -> _Body:
    body = _bodies.get(graph)
    if body is None:
        body = _bodies[graph] = _Body()
    return body


def _run(body: _Body, graph: Graph, arrays: Sequence[np.ndarray], is_due: bool) -> Sequence[np.ndarray]:
    if is_due and not body.is_tried:
        body.is_tried = True
        body.executable = _compiled(graph)
    if body.executable is None:
        start = seconds_running()
        found: Sequence[np.ndarray] = run_graph(graph, arrays)
        body.seconds += seconds_running() - start
        return found
    try:
        found = body.executable.run(arrays)
    except (ArithmeticError, LookupError, RuntimeError):  # a fault: node by node says it in its own words
        return run_graph(graph, arrays)
    return found


def _compiled(graph: Graph) -> Any:
    from adjit.compiler.compile import compile_graph

    # A program may keep the graph that it was made of, and would keep the key that it stands under.
    copy = graph.with_parts(graph.inputs, graph.nodes, graph.outputs)
    try:
        return compile_graph(copy, strict=True, patient=True)
    except CompileError:  # what the native backend cannot do stays as it is
        return None
