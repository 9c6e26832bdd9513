"""Traces inside other code: a function becomes a graph, and the tensors that it closes over become inputs.

What `adjit.func` transforms is such a graph.  Outer tensors enter by value, whether they hold numbers or belong to a
trace that is going on around this one; a write to one is kept, and made when the transformed graph has been applied.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from adjit import trees
from adjit.ir.graph import Attribute, Graph, Region
from adjit.ir.hashing import structural_hash
from adjit.ir.primitive import Primitive
from adjit.ir.rewrite import inline
from adjit.ir.types import TensorType
from adjit.memory import Memory
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.trace import Tracer

_interned: OrderedDict[str, Graph] = OrderedDict()
_LIMIT = 512


class InnerTracer(Tracer):
    """A trace whose outside may itself be a trace."""

    def __init__(self, name: str) -> None:
        outer = STATE.tracer
        super().__init__(name, {} if outer is None else outer.hints, strict=outer is None or outer.strict)
        if outer is not None:
            self.guards = outer.guards
        self.closure: list[Tensor] = []
        self._locals: dict[int, Tensor] = {}
        self._outer: dict[Memory, tuple[Tensor, Tensor]] = {}  # outer tensors and theirs here, by memory
        self._written: dict[int, tuple[Tensor, Tensor]] = {}

    def local(self, operand: Any) -> Any:
        """A tensor of this trace for one from outside."""
        if not isinstance(operand, Tensor) or operand._memory in self.cells:
            return operand
        found = self._locals.get(id(operand))
        if found is None:
            value = self.builder.input(operand._tensor_type, operand.__dict__.get("_trace_name"))
            self.closure.append(operand)
            found = self._locals[id(operand)] = self._new(value, origin=True)
            found._strides = operand._strides
            self._outer[found._memory] = (operand, found)
        return found

    def stand_for(self, tensors: dict[int, Tensor]) -> None:
        """Use tensors of this trace for outer ones, which are given by their identities."""
        self._locals.update(tensors)

    def apply(
        self,
        op: Primitive,
        operands: Sequence[Any],
        attributes: dict[str, Attribute],
        name: str,
        regions: Sequence[Region] = (),
    ) -> Any:
        return super().apply(op, [self.local(operand) for operand in operands], attributes, name, regions)

    def value_of(self, tensor: Tensor) -> Any:
        return super().value_of(self.local(tensor))

    def view(self, op: Primitive, tensor: Tensor, attributes: dict[str, Attribute], name: str) -> Tensor:
        return super().view(op, self.local(tensor), attributes, name)

    def detach(self, tensor: Tensor) -> Tensor:
        return super().detach(self.local(tensor))

    def write(self, target: Tensor, result: Tensor) -> Tensor:
        own = self.local(target)
        pair = self._outer.get(own._memory, (target, own))  # a view of an outer tensor writes to that tensor
        if pair[0] is not pair[1]:
            self._written[id(pair[0])] = pair
        super().write(own, self.local(result))
        return target

    def writes(self) -> list[tuple[Tensor, Tensor]]:
        """The outer tensors that were written, each with the tensor of this trace that holds what it becomes."""
        return list(self._written.values())


@dataclass(frozen=True, slots=True)
class Traced:
    """A function's graph for some operands: it takes `arguments`, then `captured`; it returns the leaves of its result
    that are tensors, then what the tensors in `written` become."""

    graph: Graph
    arguments: int
    captured: list[Tensor]
    written: list[Tensor]
    leaves: list[Any]  # None where a tensor stands
    structure: Any = field(repr=False)

    @property
    def count(self) -> int:
        """How many tensors the function returns."""
        return sum(leaf is None for leaf in self.leaves)

    def restore(self, tensors: Sequence[Any]) -> Any:
        """The function's result with `tensors` in their places."""
        given = iter(tensors)
        leaves = [next(given) if leaf is None else leaf.value for leaf in self.leaves]
        return trees.unflatten(self.structure, leaves)


@dataclass(frozen=True, slots=True)
class Other:
    """A leaf of a result that is no tensor."""

    value: Any


def trace_inner(name: str, function: Callable[..., Any], types: Sequence[TensorType]) -> Traced:
    """Trace `function` on tensors of these types, in the middle of whatever is going on."""
    tracer = InnerTracer(name)
    with tracer:
        inputs = [tracer.argument(type, f"a{index}", index) for index, type in enumerate(types)]
        leaves, structure = trees.flatten(function(*inputs), none_is_leaf=True)
        outputs = [tracer.value_of(leaf) for leaf in leaves if isinstance(leaf, Tensor)]
        written = tracer.writes()
        outputs += [tracer.value_of(own) for _, own in written]
    graph = tracer.graph
    graph.outputs = tuple(outputs)
    arguments = set(graph.inputs[: len(types)])
    # Arguments stand first, as they were made first: captured tensors follow in the order of their first use.
    assert arguments == set(graph.inputs) - set(graph.inputs[len(types) :])
    marks = [None if isinstance(leaf, Tensor) else Other(leaf) for leaf in leaves]
    return Traced(graph, len(types), tracer.closure, [target for target, _ in written], marks, structure)


def interned(graph: Graph) -> Graph:
    """One graph for all of its structure, so that what is derived from it is found again."""
    key = structural_hash(graph)
    found = _interned.get(key)
    if found is None:
        _interned[key] = found = graph
        if len(_interned) > _LIMIT:
            _interned.popitem(last=False)
    else:
        _interned.move_to_end(key)
    return found


def call_inner(graph: Graph, operands: Sequence[Tensor], name: str) -> list[Tensor]:
    """Apply a transformed graph: as one operation, or node by node where it will be differentiated in this trace."""
    from adjit.composite import apply_callee

    tracer = STATE.tracer
    if tracer is not None and is_differentiated(operands):
        return _inlined(tracer, graph, operands, name)
    return apply_callee(interned(graph), operands, name)


def is_differentiated(operands: Sequence[Tensor]) -> bool:
    """Whether what is computed from `operands` in this trace may be transformed again, and freely reassociated."""
    tracer = STATE.tracer
    if tracer is None or tracer.strict:
        return False
    return isinstance(tracer, InnerTracer) or (STATE.recording and any(x.requires_grad for x in operands))


def _inlined(tracer: Tracer, graph: Graph, operands: Sequence[Tensor], name: str) -> list[Tensor]:
    """The results of a graph, its nodes appended to the trace: so like terms are found across it."""
    given = [tracer.local(x) for x in operands] if isinstance(tracer, InnerTracer) else operands
    recording = STATE.recording and any(x.requires_grad for x in given)
    values = [tracer.operand(x, recording) for x in given]
    start = len(tracer.graph.nodes)
    found = inline(tracer.builder, graph, values)
    tracer.note_dependence(start)
    return [tracer.wrap(value, requires_grad=recording and tracer.depends(value), name=name) for value in found]


def write_back(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Make the writes that a traced function made to outer tensors."""
    from adjit.autograd.modes import no_grad
    from adjit.views import write

    with no_grad():
        for target, value in zip(targets, values, strict=True):
            write(target, value)
