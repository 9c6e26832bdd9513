"""Traced functions as the regions of one op: they take the op's operands, outer tensors that they use among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adjit.inner_trace import Traced
from adjit.ir.builder import Builder
from adjit.ir.graph import Region
from adjit.ir.rewrite import inline
from adjit.tensor import Tensor
from adjit.views import write


@dataclass(frozen=True, slots=True)
class Outside:
    """The outer tensors that traced functions use: those they write, and those they only read."""

    captured: list[Tensor]
    written: list[Tensor]

    @staticmethod
    def of(functions: Sequence[Traced]) -> Outside:
        captured = {id(x): x for traced in functions for x in traced.captured}
        written = {id(x): x for traced in functions for x in traced.written}
        return Outside(list(captured.values()), list(written.values()))

    @property
    def fixed(self) -> list[Tensor]:
        """Those that are only read."""
        written = {id(x) for x in self.written}
        return [x for x in self.captured if id(x) not in written]

    def finish(self, traced: Traced, found: Sequence[Tensor]) -> Any:
        """Make the writes, and put the results into the function's structure."""
        for target, value in zip(self.written, found[traced.count :], strict=True):
            write(target, value)
        return traced.restore(found[: traced.count])


def region_of(
    traced: Traced, given: Sequence[Tensor], arguments: Sequence[int], outside: Outside, *, slices: bool = False
) -> Region:
    """A function's graph on inputs for the operands `given`: its results, then what the written tensors become.

    `arguments` says where the function's own arguments stand; the outer tensors are the others.  With `slices`, what
    stands after the carries is given a row at a time.
    """
    region = Region()
    builder = Builder(region)
    types = [x._tensor_type for x in given]
    if slices:
        for at, value in zip(arguments, traced.graph.inputs, strict=False):
            types[at] = value.type
    inputs = [builder.input(type) for type in types]
    own = set(arguments)
    place = {id(x): value for at, (x, value) in enumerate(zip(given, inputs, strict=True)) if at not in own}
    operands = [*(inputs[at] for at in arguments), *(place[id(x)] for x in traced.captured)]
    results = inline(builder, traced.graph, operands)
    becomes = {id(x): value for x, value in zip(traced.written, results[traced.count :], strict=True)}
    rest = [becomes.get(id(x), place[id(x)]) for x in outside.written]
    region.outputs = (*results[: traced.count], *rest)
    return region
