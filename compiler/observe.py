"""All values of a program as its compiled form computes them, kernel by kernel and inside each kernel.

The kernels of a program are run with everything they store kept: their code is the same, so the bits are.  What a
kernel computes on the way is stored by a second kernel of the same ops.  Only values whose rounding no neighbour can
change are stored there: a product that feeds a sum would not be fused with it any more.  Those are computed from
their operands, which fixes them to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adjit.compiler.build import build
from adjit.compiler.fuse import fuse
from adjit.compiler.loops.lower import lower
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.rewrite import substitute_sizes
from adjit.ir.types import BF16
from adjit.runtime import interpreter
from adjit.runtime.executable import Executable

Array: TypeAlias = NDArray[Any]
Values: TypeAlias = dict[Value, Array]


class Observer:
    """Runs prepared graphs and keeps all they store; each is compiled once."""

    def __init__(self, *, strict: bool, threads: int | None) -> None:
        self.strict = strict
        self.threads = threads
        self._stored: dict[Region, Executable] = {}
        self._inside: dict[Region, tuple[list[Value], Executable]] = {}

    def stored(self, graph: Graph, arrays: Sequence[Array]) -> Values:
        """The inputs, and what the kernels and the control flow of a prepared graph store."""
        values = [value for node in graph.nodes for value in node.outputs]
        executable = self._stored.get(graph)
        if executable is None:
            whole = Graph(graph.name, graph.inputs, graph.nodes, values, graph.guards)
            executable = self._stored[graph] = self._build(whole)
        found: Values = dict(zip(graph.inputs, arrays, strict=True))
        found.update(zip(values, executable.run(arrays), strict=True))
        return found

    def inside(self, group: Region, operands: Sequence[Array]) -> Values:
        """Every value of a `fuse` group whose sizes are numbers, its constants too."""
        kept, executable = self._inside.get(group) or self._observed(group)
        found: Values = dict(zip(group.inputs, operands, strict=True))
        found.update(zip(kept, executable.run(operands), strict=True))
        for node in group.nodes:
            if all(value in found for value in node.outputs):
                continue
            given = [found[value] for value in node.inputs]
            types = [value.type for value in node.outputs]
            found.update(zip(node.outputs, interpreter.run_node(node.op, given, types, node.attributes), strict=True))
        return found

    def _observed(self, group: Region) -> tuple[list[Value], Executable]:
        kept = list(dict.fromkeys([*group.outputs, *(v for n in group.nodes if not _is_fixed(n) for v in n.outputs)]))
        kept = [value for value in kept if value.node is not None and value.constant is None]
        graph = Graph("inside", group.inputs, group.nodes, kept)
        self._inside[group] = kept, self._build(fuse(graph))
        return self._inside[group]

    def _build(self, graph: Graph) -> Executable:
        return build(lower(graph, strict=self.strict), strict=self.strict, threads=self.threads)


def _is_fixed(node: Node) -> bool:
    """Whether a node's operands fix its results to the last bit; sums may take a product in without rounding it."""
    return node.op.exact and node.op.name not in ("add", "sub")


def with_numbers(graph: Graph, arrays: Sequence[Array]) -> Graph:
    """The graph for the sizes that these inputs have."""
    sizes = interpreter.bind_sizes(graph, [array.shape for array in arrays])
    return substitute_sizes(graph, sizes)


def same_bits(left: Array, right: Array) -> bool:
    """Whether two arrays hold the same bits; any NaN equals any other."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if left.tobytes() == right.tobytes():
        return True
    if not np.issubdtype(left.dtype, np.inexact):
        return False
    nan = np.isnan(left)
    return bool((nan == np.isnan(right)).all() and left[~nan].tobytes() == right[~nan].tobytes())


def floats(array: Array, value: Value) -> Array:
    """An array as numbers: bfloat16 is stored as its bits."""
    if value.dtype is BF16:
        from adjit.ir.halfs import widen_bf16

        return widen_bf16(array)
    return array
