"""Preparation: from the graph as it was traced to the groups that kernels are made of."""

from __future__ import annotations

from adjit.compiler.fuse import fuse
from adjit.compiler.legalize import legalize
from adjit.compiler.simplify import simplify
from adjit.ir.graph import Graph


def prepare(graph: Graph) -> Graph:
    """`graph` legalized, simplified and fused: what `lower` takes."""
    return fuse(simplify(legalize(graph)))
