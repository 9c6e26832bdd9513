"""Captured tensors: of those that a trace finds on one piece of memory, each keeps its own part in gradients.

The memory is one input of the program, whichever of its tensors were used: views, detached ones, what requires grad.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from adjit.ir.errors import NumbersNeeded, TraceError
from adjit.memory import Memory
from adjit.tensor import Chain, Tensor
from adjit.trace_parts import Source

if TYPE_CHECKING:
    from adjit.ir.graph import Node
    from adjit.trace import Tracer


class Entangled(Exception):
    """A tensor without gradients was read before one that requires grad on the same memory: it has to be cut off, so
    the trace starts again."""

    def __init__(self, memory: Memory) -> None:
        super().__init__("tensors on one memory differ in requires_grad")
        self.memory = memory


class Joined(Exception):
    """A gradient was traced as if it had memory of its own, which other tensors of the program show as well, and
    something is written: the trace starts again, with the gradient as the very tensor that it is."""

    def __init__(self, memory: Memory) -> None:
        super().__init__("a gradient shares memory with another tensor")
        self.memory = memory


class Captured:
    """The tensors from outside that a trace has read, by their memory."""

    def __init__(self) -> None:
        self.apart: set[Memory] = set()  # of tensors without gradients that are cut off from the others
        self.joined: set[Memory] = set()  # of gradients that are captured as the tensors that they are
        self.fixed: dict[Tensor, Tensor] = {}  # these gradients, by whose they are (arguments: the traced tensors)
        self.onward: dict[Tensor, Tensor] = {}  # gradients that go on outside, through what computed a tensor
        self._late: set[Tensor] = set()  # what gets its gradient then
        self.spent: set[Node] = set()  # what computed these, freed by a pass that did not keep it
        self.retain_graph = False  # whether that is kept
        self.unanswered: NumbersNeeded | None = None  # what a user's line raised that asked for a truth value
        self.read: dict[Tensor, None] = {}
        self.arrays: list[np.ndarray] = []  # that captured tensors were made on
        self._owners: dict[Memory, Tensor] = {}  # what collects the gradients of a memory
        self._sources: dict[Memory, Source] = {}
        self._plain: set[Memory] = set()  # of tensors without gradients that were read, and not cut off

    def fixed_gradient(self, tracer: Tracer, tensor: Tensor, present: Tensor | None) -> Tensor | None:
        """The gradient of a tensor, where it is captured as the tensor that it is."""
        if present is None or present._memory not in self.joined:
            return None
        self.fixed[tensor] = present
        return tracer.inside(present)

    def source(self, tensor: Tensor) -> Source:
        """The source of an input for the memory of a tensor."""
        memory = tensor._memory
        found = self._sources[memory] = Source("tensor", tensor=tensor, memory=memory)
        return found

    def comes_apart(self, tracer: Tracer, tensor: Tensor, recording: bool) -> bool:
        """Whether a tensor that is about to be read has to be cut off from gradients.

        Errors: Entangled; TraceError for a second tensor that requires grad on one memory by itself.
        """
        memory = tensor._memory
        tracer.cell_of(tensor)
        source, base = self._sources.get(memory), tensor._base
        if recording and tensor.requires_grad and not tensor._leaf and base is not None and base.requires_grad:
            tracer.operand(base, True)
        if recording and tensor.requires_grad:
            self._settle_owner(tracer, tensor)
        elif memory in tracer.lent and tensor._dtype.is_continuous:
            return not tensor.requires_grad
        if source is None or not tensor._dtype.is_continuous:
            return False
        if not tensor.requires_grad:
            cut = memory in self.apart or (source.tensor is not None and source.tensor.requires_grad)
            if not cut:
                self._plain.add(memory)
            return cut
        if recording:
            if memory in self._plain:
                raise Entangled(memory)
            first = source.tensor
            assert first is not None
            if not first.requires_grad:
                source.tensor = tensor
        return False

    def _settle_owner(self, tracer: Tracer, tensor: Tensor) -> None:
        """Note what collects the gradients of a tensor's memory.  TraceError where another tensor does already."""
        memory = tensor._memory
        lent = tracer.lent.get(memory)
        if lent is not None and tracer.cells[memory] is tracer.cells[lent[0]._memory]:
            self._owners[memory] = tracer.arguments[lent[0]][1]
        if memory in tracer.shared or self._owners.setdefault(memory, owner(tensor)) is not owner(tensor):
            raise TraceError(
                "a compiled function uses two tensors on one memory, of which one requires grad and is no view of the "
                "other that autograd knows\n  hint: clone() one of them, or make it from the other inside the function"
            )

    def checks(self, sources: Iterable[Source]) -> list[Callable[[], bool]]:
        """What must hold of the tensors that were read, apart from those that are sources by themselves."""
        known = {source.tensor for source in sources if source.kind == "tensor"}
        return [
            partial(_is_as, tensor, tensor._memory, tensor.requires_grad, tensor._chain)
            for tensor in self.read
            if tensor not in known
        ]

    def goes_on(self, tracer: Tracer, tensor: Tensor, gradient: Tensor) -> None:
        """Say that a gradient goes on after the call, through what computed a tensor outside the trace."""
        self.onward[tensor] = gradient
        from adjit.autograd.onward import leaves_among, values_behind

        origin = tracer.arguments[tensor][1] if tensor in tracer.arguments else tensor
        self._late |= {origin, *leaves_among(values_behind([origin]))}

    def complete(self, tracer: Tracer, tensor: Tensor) -> Tensor:
        """The tensor, whose gradient is to be read or replaced.  TraceError where a part of it is yet to come."""
        outermost = tracer
        while outermost.parent is not None:
            outermost = outermost.parent
        place = outermost.arguments.get(outermost.proxies.get(tensor, tensor))
        if (tensor if place is None else place[1]) in outermost.captured._late:
            raise TraceError(
                "in a compiled function, the gradient of a tensor outside was asked for that comes after the call, as "
                "backward() goes on in what was computed outside\n"
                "  hint: compute it in the compiled function, too, or step the optimizer after the call"
            )
        return tensor


def owner(tensor: Tensor) -> Tensor:
    """What collects the gradients of a tensor that requires grad: itself, or what it is a recorded view of."""
    base = tensor._base
    return tensor if tensor._leaf or base is None or not base.requires_grad else base


def _is_as(tensor: Tensor, memory: Memory, requires_grad: bool, chain: Chain) -> bool:
    return tensor._memory is memory and tensor.requires_grad is requires_grad and tensor._chain == chain


def gradient_of(source: Source, tensors: Sequence[Tensor]) -> Tensor:
    """The gradient that an input takes, given a call's tensors."""
    found = (tensors[source.index] if source.tensor is None else source.tensor)._grad
    assert found is not None
    return found


def shared_gradient(
    sources: Iterable[Source], tensors: Sequence[Tensor], memories: Collection[Memory] = ()
) -> Memory | None:
    """The memory of a gradient among the sources that one of a call's tensors, another gradient, or what is captured
    (on `memories`) shows as well; None if there is none."""
    gradients = [gradient_of(source, tensors)._memory for source in sources if source.kind == "grad"]
    if not gradients:
        return None
    seen = {*memories, *(tensor._memory for tensor in tensors)}
    for memory in gradients:
        if memory in seen:
            return memory
        seen.add(memory)
    return None


def note_array(tracer: Tracer, array: np.ndarray) -> None:
    """Say that the traced function makes a tensor on the memory of an array, which a program reads at every call."""
    while tracer.parent is not None:
        tracer = tracer.parent
    tracer.captured.arrays.append(array)


def whole_of(source: Source) -> Tensor:
    """A tensor on the whole memory of a captured one, with the history of what it holds."""
    tensor, memory = source.tensor, source.memory
    assert tensor is not None and memory is not None
    if not tensor._chain:
        return tensor
    base = tensor._base
    if base is not None and not base._chain and base.requires_grad >= tensor.requires_grad:
        return base
    whole = Tensor._wrap(memory.array, memory.dtype, memory=memory)
    if not tensor.requires_grad:
        return whole
    from adjit.writing_through import write_through

    return write_through(whole, tensor._chain, tensor)  # a part that is a leaf: gradients go to it alone
