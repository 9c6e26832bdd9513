"""The compiler from top to bottom: one line a stage, a snapshot after each on request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from adjit.compiler.compile import compile_graph
from adjit.compiler.fuse import fuse
from adjit.compiler.legalize import legalize
from adjit.compiler.loops.lower import lower
from adjit.compiler.simplify import simplify
from adjit.ir.graph import Graph
from adjit.ir.verify import verify

__all__ = ["STAGES", "assembly_of", "compile_graph", "llvm_of", "lowered", "stages"]

STAGES: tuple[tuple[str, Callable[[Graph], Graph]], ...] = (
    ("legalize", legalize),  # named functions, composites and half precision become plain primitives
    ("simplify", simplify),  # common subexpressions, exact identities, constants, dead code
    ("fuse", fuse),  # groups that one kernel computes
)


def stages(graph: Graph, *, strict: bool = False) -> Iterator[tuple[str, Graph]]:
    """The graph as traced, which is verified, then after each stage; those are verified when ADJIT_CHECK=1."""
    checked = os.environ.get("ADJIT_CHECK") == "1"
    verify(graph)  # a value that nothing defines would be memory that nothing wrote
    yield "trace", graph
    for name, stage in STAGES:
        graph = stage(graph)
        if checked:
            verify(graph)
        yield name, graph
    graph = lower(graph, strict=strict)  # kernels: loops over buffers
    if checked:
        verify(graph)
    yield "lower", graph


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
