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
from adjit.ir.analysis import substitute_attribute, substitute_type
from adjit.ir.graph import Attribute, Graph, Node, Region, Value
from adjit.ir.types import BF16
from adjit.runtime import interpreter
from adjit.runtime.executable import Executable

Array: TypeAlias = NDArray[Any]
Values: TypeAlias = dict[Value, Array]


class Observer:
    """Runs the parts of a prepared program and keeps all they store; each part is compiled once.

    Parts keep the program's named sizes, since kernels of fixed sizes may round otherwise: they get the program's
    inputs beside their own, off which sizes are read.
    """

    def __init__(self, program: Graph, *, strict: bool, threads: int | None) -> None:
        self.program = program
        self.strict = strict
        self.threads = threads
        self.sizes: dict[str, int] = {}
        self._more = [Value(value.type) for value in program.inputs] if program.size_names else []
        self._arrays: Sequence[Array] = ()
        self._stored: dict[Region, Executable] = {}
        self._inside: dict[Region, tuple[list[Value], Executable]] = {}
        self._bodies: dict[Region, Graph] = {}

    def begin(self, arrays: Sequence[Array]) -> None:
        """Turn to a run of the program on these inputs."""
        self.sizes = interpreter.bind_sizes(self.program, [array.shape for array in arrays])
        self._arrays = arrays if self._more else ()

    def attributes(self, node: Node) -> dict[str, Attribute]:
        """A node's attributes with numbers for sizes."""
        return {name: substitute_attribute(value, self.sizes) for name, value in node.attributes.items()}

    def body(self, region: Region) -> Graph:
        """The body of a loop or a branch as a graph, always the same one."""
        found = self._bodies.get(region)
        if found is None:
            found = self._bodies[region] = Graph("body", region.inputs, region.nodes, region.outputs)
        return found

    def stored(self, region: Region, arrays: Sequence[Array]) -> Values:
        """The inputs, and what the kernels and the control flow of a region of the program store; no check stops it."""
        values = [value for node in region.nodes for value in node.outputs]
        executable = self._stored.get(region)
        if executable is None:
            nodes = [node for node in region.nodes if not _is_check(node)]
            executable = self._stored[region] = self._build(Graph("stored", region.inputs, nodes, values))
        found: Values = dict(zip(region.inputs, arrays, strict=True))
        found.update(zip(values, executable.run([*arrays, *self._arrays]), strict=True))
        return found

    def inside(self, group: Region, operands: Sequence[Array]) -> Values:
        """Every value of a `fuse` group, its constants too."""
        kept, executable = self._inside.get(group) or self._observed(group)
        found: Values = dict(zip(group.inputs, operands, strict=True))
        found.update(zip(kept, executable.run([*operands, *self._arrays]), strict=True))
        for node in group.nodes:
            if all(value in found for value in node.outputs):
                continue
            given = [found[value] for value in node.inputs]
            types = [substitute_type(value.type, self.sizes) for value in node.outputs]
            results = interpreter.run_node(node.op, given, types, self.attributes(node))
            found.update(zip(node.outputs, results, strict=True))
        return found

    def _observed(self, group: Region) -> tuple[list[Value], Executable]:
        kept = list(dict.fromkeys([*group.outputs, *(v for n in group.nodes if not _is_fixed(n) for v in n.outputs)]))
        kept = [value for value in kept if value.node is not None and value.constant is None]
        graph = Graph("inside", group.inputs, group.nodes, kept)
        self._inside[group] = kept, self._build(fuse(graph))
        return self._inside[group]

    def _build(self, graph: Graph) -> Executable:
        program = self.program
        inputs = (*graph.inputs, *self._more)
        whole = Graph(
            graph.name, inputs, graph.nodes, graph.outputs, program.guards, approximate=program.approximate
        )
        return build(lower(whole, strict=self.strict), strict=self.strict, threads=self.threads)


def _is_check(node: Node) -> bool:
    """Whether a node only looks at its operand, and stops the program where that is not all zeros."""
    return node.op.name == "host_call" and not node.outputs


def _is_fixed(node: Node) -> bool:
    """Whether a node's operands fix its results to the last bit; sums may take a product in without rounding it."""
    return node.op.exact and node.op.name not in ("add", "sub")


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
