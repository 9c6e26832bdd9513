"""Programs that look at what their kernels store, and tell the origin of a NaN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from adjit.compiler.build import build
from adjit.compiler.llvm.emit_finite import Checks
from adjit.compiler.loops.lower import lower
from adjit.compiler.observe import Observer
from adjit.compiler.origin import Origin, find
from adjit.compiler.prepare import prepare
from adjit.ir.errors import LinAlgError
from adjit.ir.graph import Graph, Node
from adjit.runtime.faults import NotFinite

__all__ = ["CheckedExecutable", "Checks", "Origin"]


class CheckedExecutable:
    """A compiled program whose run raises what `tell` makes of the origin of the first bad value.

    `native` is the program that looks, and tells no more than that it found something.  It stops before it writes an
    input, so the search starts from what the call was given.
    """

    def __init__(
        self, graph: Graph, checks: Checks, tell: Callable[[Origin], Exception], *, strict: bool, threads: int | None
    ) -> None:
        self.graph = prepare(graph)
        self.checks = checks
        self.tell = tell
        self.observer = Observer(self.graph, strict=strict, threads=threads)
        self.native = build(lower(self.graph, strict=strict), strict=strict, threads=threads, checks=checks)
        self._plain: Any = None

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """The program's results.  Errors: that of `tell` where a kernel stored what the checks look for."""
        try:
            return self.native.run(inputs)
        except (NotFinite, LinAlgError) as error:  # an algorithm on matrices fails where it is given NaN
            origin = find(self.observer, inputs, self.checks)
            if isinstance(error, LinAlgError) and (origin is None or _is_on_matrices(origin.node)):
                raise
        if origin is not None:
            raise self.tell(origin)
        # Only constants are bad, such as the infinity of a mask: the results are what the program says.
        if self._plain is None:
            lowered = lower(self.graph, strict=self.observer.strict)
            self._plain = build(lowered, strict=self.observer.strict, threads=self.observer.threads)
        found: list[NDArray[Any]] = self._plain.run(inputs)
        return found


def _is_on_matrices(node: Node | None) -> bool:
    """Whether a node is an algorithm on matrices, whose own error tells more than that it made a NaN."""
    return node is not None and (node.op.family == "linalg" or node.op.name in ("lapack", "host_call"))
