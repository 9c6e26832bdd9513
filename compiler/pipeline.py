"""The compiler from top to bottom: one line a stage, a snapshot after each on request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter

from adjit.compiler.compile import compile_graph
from adjit.compiler.fuse import fuse
from adjit.compiler.legalize import legalize
from adjit.compiler.loops.lower import lower
from adjit.compiler.passes import passes_after
from adjit.compiler.rolling import FEWEST
from adjit.compiler.simplify import simplify
from adjit.ir.graph import Graph
from adjit.ir.logs import listening
from adjit.ir.verify import verify

__all__ = ["assembly_of", "compile_graph", "llvm_of", "lowered", "stages"]

Stage = Callable[[Graph], Graph]


def _stages(strict: bool) -> tuple[tuple[str, Stage], ...]:
    return (
        ("trace", lambda graph: graph),
        ("legalize", partial(legalize, strict=strict)),  # named functions, composites, halves: plain primitives
        ("simplify", partial(simplify, strict=strict)),  # common subexpressions, exact identities, constants, dead code
        ("roll", partial(_rolled, strict=strict)),  # long runs of equal turns: loops; only where there are such
        ("fuse", fuse),  # groups that one kernel computes
        ("lower", partial(lower, strict=strict)),  # kernels: loops over buffers
    )


def stages(graph: Graph, *, strict: bool = False) -> Iterator[tuple[str, Graph]]:
    """The graph as traced, which is verified, then after each stage; those are verified when ADJIT_CHECK=1.

    Users' passes (`compiler/passes.py`) are stages too, under their own names.
    """
    checked = os.environ.get("ADJIT_CHECK") == "1"
    verify(graph)  # a value that nothing defines would be memory that nothing wrote
    start, count = perf_counter(), len(graph.nodes)
    for name, stage in _stages(strict):
        before, graph = graph, stage(graph)
        if name == "roll" and graph is before:
            continue
        if checked and name != "trace":
            verify(graph)
        _log(name, graph, start, count)
        yield name, graph
        for own in passes_after(name):
            start, count = perf_counter(), len(graph.nodes)
            graph = own.run(graph)
            _log(own.name, graph, start, count)
            yield own.name, graph
        start, count = perf_counter(), len(graph.nodes)


def _rolled(graph: Graph, *, strict: bool) -> Graph:
    if len(graph.nodes) < FEWEST:
        return graph
    from adjit.compiler.rolling.roll import roll  # which most programs are too short for

    return roll(graph, strict=strict)


def _log(name: str, graph: Graph, start: float, count: int) -> None:
    """Tell the loggers of a stage that began at `start` with `count` nodes."""
    if (log := listening("passes")) is not None:
        milliseconds = 1e3 * (perf_counter() - start)
        log.debug("@%s: %s: %d -> %d nodes, %.2f ms", graph.name, name, count, len(graph.nodes), milliseconds)
    if (log := listening("ir")) is not None:
        log.debug("@%s after %s\n%s", graph.name, name, graph)


def lowered(graph: Graph, *, strict: bool = False) -> Graph:
    """The graph after the last stage."""
    *_, (_, last) = stages(graph, strict=strict)
    return last


def llvm_of(graph: Graph, *, strict: bool = False, threads: int | None = None, optimized: bool = False) -> str:
    """The LLVM text of a graph, as emitted or after LLVM's passes."""
    from adjit.compiler.build import llvm_text
    from adjit.compiler.llvm import jit

    text = llvm_text(lowered(graph, strict=strict), strict=strict, threads=threads)
    return jit.optimized(text) if optimized else text


def assembly_of(graph: Graph, *, strict: bool = False, threads: int | None = None) -> str:
    """The machine code of a graph, as assembly."""
    from adjit.compiler.build import llvm_text
    from adjit.compiler.llvm import jit

    return jit.assembly(llvm_text(lowered(graph, strict=strict), strict=strict, threads=threads))
