"""Traced functions as the regions of one op: they take the op's operands, outer tensors that they use among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.autograd.modes import set_grad_enabled
from adjit.inner_trace import Traced
from adjit.ir.builder import Builder
from adjit.ir.frozen import frozen
from adjit.ir.graph import Region, Value
from adjit.ir.rewrite import inline
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.views import write


@frozen
class Outside:
    """The outer tensors that traced functions use: those they write, and those they only read.

    `recorded` identifies those written of which gradients go through a write.
    """

    captured: list[Tensor]
    written: list[Tensor]
    recorded: set[int]

    @staticmethod
    def of(functions: Sequence[Traced]) -> Outside:
        captured = {id(x): x for traced in functions for x in traced.captured}
        written = {id(x): x for traced in functions for x in traced.written}
        recorded = {id(x) for traced in functions for x in traced.recorded}
        return Outside(list(captured.values()), list(written.values()), recorded)

    @property
    def fixed(self) -> list[Tensor]:
        """Those that are only read."""
        written = {id(x) for x in self.written}
        return [x for x in self.captured if id(x) not in written]

    def finish(self, traced: Traced, found: Sequence[Tensor]) -> Any:
        """Make the writes, and put the results into the function's structure."""
        for target, value in zip(self.written, found[traced.count :], strict=True):
            with set_grad_enabled(STATE.recording and id(target) in self.recorded):
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


def without_history(tensors: Sequence[Tensor], flags: Sequence[bool]) -> None:
    """Cut the results off from gradients that the traced functions computed outside autograd."""
    for tensor, flag in zip(tensors, flags, strict=True):
        if not flag:
            tensor._requires_grad, tensor._leaf = False, True


def carried_flags(traced: Traced, initial: Sequence[bool]) -> tuple[list[bool], list[bool]]:
    """Which of a step's results, and of the tensors that it writes, require grad after some steps, given which of what
    it carries did before the first."""
    inputs = traced.graph.inputs
    carried = [*inputs[: len(initial)]]
    carried += [inputs[traced.arguments + place] for place in _places(traced.captured, traced.written)]
    reach: dict[Value, int] = {value: 1 << place for place, value in enumerate(carried)}
    for node in traced.graph.nodes:
        mask = 0
        for value in node.inputs:
            mask |= reach.get(value, 0)
        reach.update(dict.fromkeys(node.outputs, mask))
    masks = [reach.get(value, 0) for value in traced.graph.outputs]
    flags = [*initial, *traced.flags[len(initial) :], *(x.requires_grad for x in traced.written)]
    own, count = [*traced.flags, *(end.requires_grad for end in traced.ends)], len(traced.flags)
    for _ in range(len(carried) + 1):
        carries = [*flags[: len(initial)], *flags[count:]]
        known = sum(1 << place for place, flag in enumerate(carries) if flag)
        flags = [a or b or bool(mask & known) for a, b, mask in zip(flags, own, masks, strict=True)]
    return flags[:count], flags[count:]


def _places(tensors: Sequence[Tensor], wanted: Sequence[Tensor]) -> list[int]:
    """Where each of some tensors stands."""
    places = {id(x): place for place, x in enumerate(tensors)}
    return [places[id(x)] for x in wanted]
