"""Traces inside other code: a function becomes a graph, and the tensors that it closes over become inputs.

What `adjit.func` transforms is such a graph.  Outer tensors enter by value, whether they hold numbers or belong to a
trace that is going on around this one; a write to one is kept, and made when the transformed graph has been applied.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from adjit import trees
from adjit.computed_views import along
from adjit.ir.errors import TraceError
from adjit.ir.graph import Attribute, Graph, Region, Value
from adjit.ir.hashing import structural_hash
from adjit.ir.primitive import Primitive
from adjit.ir.rewrite import inline
from adjit.ir.types import TensorType
from adjit.links import Meetings, agree_outside
from adjit.memory import Memory
from adjit.one_memory import place_of, wholes
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.trace import Tracer

if TYPE_CHECKING:
    from adjit.capture.gradients import Unsure

_interned: OrderedDict[str, Graph] = OrderedDict()
_LIMIT = 512
_alike: WeakKeyDictionary[Graph, ref[Graph]] = WeakKeyDictionary()  # the graph that stands for each
_derived: WeakKeyDictionary[Graph, dict[Any, Any]] = WeakKeyDictionary()
_DERIVED = 64  # programs made of one traced graph


class InnerTracer(Tracer):
    """A trace whose outside may itself be a trace."""

    bridged = True
    _wholes: Mapping[int, Tensor] = MappingProxyType({})  # one that is written down from notes has none

    def __init__(self, name: str, wholes: Mapping[int, Tensor] | None = None) -> None:
        outer = STATE.tracer
        super().__init__(name, {} if outer is None else outer.hints, strict=outer is None or outer.strict)
        if outer is not None:
            self.guards, self.checks = outer.guards, outer.checks
        self.closure: list[Tensor] = []
        self._locals: dict[int, Tensor] = {}
        self._wholes = wholes or {}  # what stands for memories that are seen through several tensors (one_memory.py)
        self._shown: list[Tensor] = []  # the outer tensors that are views of these here
        self._outer: dict[Memory, tuple[Tensor, Tensor]] = {}  # outer tensors and theirs here, by memory
        self._written: dict[int, tuple[Tensor, Tensor]] = {}
        self._recorded: set[int] = set()  # the outer tensors of which a write was recorded
        self.unmapped: list[tuple[str, list[Value]]] = []  # functions that `vmap` cannot map, and their operands
        self._open: list[Value] = []  # arguments that have a history which is not at hand
        self.within_rule: bool = getattr(outer, "within_rule", False)  # whether it traces a part of a user's rule
        self.keeps_rules = 0 if outer is None else outer.keeps_rules
        self.meetings = Meetings()

    def local(self, operand: Any) -> Any:
        """A tensor of this trace for one from outside."""
        if not isinstance(operand, Tensor) or operand._memory in self.cells:
            return operand
        found = self._locals.get(id(operand))
        if found is None and self._wholes:
            found = self._part(operand)
        if found is None:
            value = self.builder.input(operand._tensor_type, operand.__dict__.get("_trace_name"))
            self.closure.append(operand)
            found = self._locals[id(operand)] = self._new(value, origin=True)
            found._strides = operand._strides
            found._requires_grad, found._leaf = operand.requires_grad, operand._leaf
            self._outer[found._memory] = (operand, found)
            if self.parent is not None:
                self.meetings.take(self, place_of(self.parent, operand)[0], operand)
        return found

    def arguments_of(self, types: Sequence[TensorType], flags: Sequence[bool], is_region: bool) -> list[Tensor]:
        """The arguments; those with a flag come from something that requires grad, of which a region of another trace
        has no history."""
        found = [self.argument(type, f"a{index}", index) for index, type in enumerate(types)]
        for tensor, flag in zip(found, flags, strict=False):
            if flag:
                assert tensor._value is not None
                tensor._requires_grad, tensor._leaf = True, False
                if is_region:
                    self._open.append(tensor._value)
        return found

    def _part(self, operand: Tensor) -> Tensor | None:
        """A view of the memory that an outer tensor shows, where that memory is the operand."""
        place, standing = place_of(self.parent, operand)
        whole = self._wholes.get(id(place))
        if whole is None or whole is operand:
            return None
        root = self.local(whole)
        value = along(self, self.cells[root._memory].value, standing._chain)
        found = self.tensor_in(value, root._memory, standing._chain)
        if operand._base is not None:
            found._base, found._seen = root, root._history
        found._strides, found._requires_grad, found._leaf = operand._strides, operand.requires_grad, operand._leaf
        self._shown.append(operand)
        self._locals[id(operand)] = found
        if self.parent is not None:
            self.meetings.take(self, place, operand)
        return found

    def stands_for(self, tensor: Tensor) -> Tensor:
        """The tensor of this trace for one from outside that it met, or that shows a memory which is an operand as a
        whole; any other tensor as it is."""
        found = self._locals.get(id(tensor))
        if found is None and self._wholes and tensor._memory not in self.cells:
            found = self.local(tensor) if id(place_of(self.parent, tensor)[0]) in self._wholes else None
        return tensor if found is None else found

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

    def operand(self, tensor: Tensor, recording: bool) -> Value:
        return super().operand(self.local(tensor), recording)

    def value_of(self, tensor: Tensor) -> Any:
        return super().value_of(self.local(tensor))

    def gradient_value(self, tensor: Tensor) -> Value:
        return super().gradient_value(self.local(tensor))

    def view(self, op: Primitive, tensor: Tensor, attributes: dict[str, Attribute], name: str) -> Tensor:
        return super().view(op, self.local(tensor), attributes, name)

    def detach(self, tensor: Tensor) -> Tensor:
        return super().detach(self.local(tensor))

    def write(self, target: Tensor, result: Tensor) -> Tensor:
        own = self.local(target)
        pair = self._outer.get(own._memory, (target, own))  # a view of an outer tensor writes to that tensor
        if pair[0] is not pair[1]:
            self._written[id(pair[0])] = pair
            if STATE.recording:
                self._recorded.add(id(pair[0]))
        super().write(own, self.local(result))
        return target

    def writes(self) -> list[tuple[Tensor, Tensor]]:
        """The outer tensors that were written, each with the tensor of this trace that holds what it becomes."""
        return list(self._written.values())

    def taken(self) -> list[Memory]:
        """The memories from outside, as they are here."""
        return list(self._outer)

    def outer_of(self, memory: Memory) -> Tensor | None:
        """The outer tensor that all of a memory stands for."""
        pair = self._outer.get(memory)
        return None if pair is None else pair[0]

    def is_recorded(self, target: Tensor) -> bool:
        """Whether a write to an outer tensor was one that gradients go through."""
        return id(target) in self._recorded

    # -- what is outside --------------------------------------------------------------------------------------------
    def dynamic_scalar(self, holder: Any, key: str) -> Any:
        if self.parent is None:
            return super().dynamic_scalar(holder, key)
        return self.parent.dynamic_scalar(holder, key)

    def on_fault(self, tensors: Sequence[Tensor], explain: Callable[..., Exception | None]) -> None:
        """Faults of transformed graphs are not explained."""

    def warned(self) -> None:
        """Note that the function warns, which its graph does not: nothing."""

    def origin_of(self, tensor: Tensor) -> Tensor:
        pair = self._outer.get(tensor._memory)
        return tensor if pair is None else pair[0] if self.parent is None else self.parent.origin_of(pair[0])

    def holds(self, tensor: Tensor) -> bool:
        return tensor._tracer is self or id(tensor) in self._locals

    def bridges(self) -> list[tuple[Value, Tensor | None]]:
        found: list[tuple[Value, Tensor | None]] = [(value, None) for value in self._open]
        for outer, own in self._outer.values():
            value = self.cells[own._memory].original
            if value is not None and outer.requires_grad and not outer._leaf:
                found.append((value, outer))
        return found

    def depends(self, value: Value) -> bool:
        return super().depends(value) or (self.parent is not None and self.parent.depends(value))

    def gradient_slot(self, tensor: Tensor) -> Tensor | Unsure | None:
        tensor = self.origin_of(tensor)
        if tensor not in self.grads:
            present = tensor._grad if self.parent is None else self.parent.gradient_slot(tensor)
            self.grads[tensor] = self.first_grads[tensor] = present
        return self.grads[tensor]

    def set_grad(self, tensor: Tensor, value: Tensor | Unsure | None) -> None:
        tensor = self.origin_of(tensor)
        self.gradient_slot(tensor)
        self.grads[tensor] = value

    def changed_grads(self) -> list[Tensor]:
        """The outer tensors whose `.grad` is another than it was."""
        return [tensor for tensor, grad in self.grads.items() if grad is not self.first_grads[tensor]]

    def take_grads(self) -> None:
        """Say that what became of gradients is taken care of: it is among the results."""
        self.first_grads.update(self.grads)

    def import_foreign(self, outputs: Sequence[Value]) -> list[Value]:
        """Make inputs of the values of traces around this one that its nodes take; the outputs, after that."""
        own = {*self.graph.inputs, *(value for node in self.graph.nodes for value in node.outputs)}
        found: dict[Value, Value] = {}

        def here(value: Value) -> Value:
            if value in own:
                return value
            if value not in found:
                assert self.parent is not None
                self.closure.append(self.parent.wrap(value))
                found[value] = self.builder.input(value.type)
            return found[value]

        for node in self.graph.nodes:
            node.inputs = tuple(map(here, node.inputs))
        return list(map(here, outputs))


@dataclass(frozen=True, slots=True)
class End:
    """How a function leaves an outer tensor: how often it writes to it, as far as its text tells, whether it does so in
    every call, and whether the tensor requires grad then."""

    times: int
    is_sure: bool
    requires_grad: bool


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
    recorded: list[Tensor]  # of those written, the ones that gradients go through
    flags: list[bool]  # whether the results require grad
    # Functions that `vmap` cannot map, and which arguments reach them.
    unmapped: list[tuple[str, list[bool]]] = field(default_factory=list)
    derived: dict[Any, Any] = field(default_factory=dict, repr=False)  # programs made of the graph
    ends: list[End] = field(default_factory=list)  # of those written

    @property
    def count(self) -> int:
        """How many tensors the function returns."""
        return sum(leaf is None for leaf in self.leaves)

    def again(self, captured: list[Tensor], leaves: list[Any], structure: Any) -> Traced:
        """The same of a function that took the same course, and wrote to nothing."""
        return replace(self, captured=captured, written=[], leaves=leaves, structure=structure, recorded=[], ends=[])

    def end_of(self, tensor: Tensor) -> End:
        """How the function leaves an outer tensor."""
        pairs = zip(self.written, self.ends, strict=True)
        return next((end for target, end in pairs if target is tensor), End(0, False, tensor.requires_grad))

    def made(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` derives from the graph, once for each `key`."""
        found = self.derived.get(key)
        if found is None:
            if len(self.derived) >= _DERIVED:
                self.derived.clear()
            found = self.derived[key] = make()
        return found

    def restore(self, tensors: Sequence[Any]) -> Any:
        """The function's result with `tensors` in their places."""
        given = iter(tensors)
        leaves = [next(given) if leaf is None else leaf.value for leaf in self.leaves]
        return trees.unflatten(self.structure, leaves)


@dataclass(frozen=True, slots=True)
class Other:
    """A leaf of a result that is no tensor."""

    value: Any


def trace_inner(
    name: str,
    function: Callable[..., Any],
    types: Sequence[TensorType],
    flags: Sequence[bool] = (),
    *,
    is_region: bool = True,
    keeps_rules: int = 0,
    together: Mapping[int, Tensor] | None = None,
    taken: Sequence[Tensor] = (),
) -> Traced:
    """Trace `function` on tensors of these types, in the middle of whatever is going on; `flags` says which of them
    require grad, `is_region` whether it is a part of the trace around, `keeps_rules` is the trace's, `together` says
    which memories are operands as a whole, `taken` are tensors that it takes in any case.

    Errors: TraceError where it changes the `.grad` of a tensor, which is no result of it.
    """
    known = dict(together or {})
    while True:
        tracer = InnerTracer(name, known)
        tracer.keeps_rules = max(tracer.keeps_rules, keeps_rules)
        traced = _traced_once(tracer, function, types, flags, is_region, taken)
        found = wholes(traced.captured, traced.written)
        if found.keys() <= known.keys():
            return traced
        known = {**found, **known}  # a write to one outer tensor is seen through another: once more, as one memory


def _traced_once(
    tracer: InnerTracer,
    function: Callable[..., Any],
    types: Sequence[TensorType],
    flags: Sequence[bool],
    is_region: bool,
    taken: Sequence[Tensor],
) -> Traced:
    with tracer:
        inputs = tracer.arguments_of(types, flags, is_region)
        for tensor in taken:
            tracer.local(tensor)
        leaves, structure = trees.flatten(function(*inputs), none_is_leaf=True)
        return finished(tracer, leaves, structure, types)


def finished(tracer: InnerTracer, leaves: Sequence[Any], structure: Any, types: Sequence[TensorType]) -> Traced:
    """What a trace left whose function returned these leaves."""
    agree_outside(tracer, tracer.taken())
    outputs = [tracer.value_of(leaf) for leaf in leaves if isinstance(leaf, Tensor)]
    written = tracer.writes()
    outputs += [tracer.value_of(own) for _, own in written]
    if tracer.changed_grads():
        raise TraceError(
            "backward() or zero_grad() changes the .grad of a tensor inside a function that is transformed\n"
            "  hint: torch.autograd.grad gives gradients as values; backward() may stand in an `if` or a loop of a "
            "compiled function"
        )
    graph = tracer.graph
    graph.outputs = tuple(tracer.import_foreign(outputs))
    arguments = set(graph.inputs[: len(types)])
    # Arguments stand first, as they were made first: captured tensors follow in the order of their first use.
    assert arguments == set(graph.inputs) - set(graph.inputs[len(types) :])
    marks = [None if isinstance(leaf, Tensor) else Other(leaf) for leaf in leaves]
    targets = [target for target, _ in written]
    recorded = [target for target in targets if tracer.is_recorded(target)]
    flags = [leaf.requires_grad for leaf in leaves if isinstance(leaf, Tensor)]
    reached = [
        (name, [value in behind for value in graph.inputs[: len(types)]])
        for name, values in tracer.unmapped
        for behind in [_behind(graph, values)]
    ]
    cells = [tracer.cell_of(own) for _, own in written]
    ends = [
        End(cell.version, cell.is_written_since(cell.first), own.requires_grad)
        for cell, (_, own) in zip(cells, written, strict=True)
    ]
    return Traced(graph, len(types), tracer.closure, targets, marks, structure, recorded, flags, reached, ends=ends)


def _behind(graph: Graph, values: Sequence[Value]) -> set[Value]:
    found = set(values)
    for node in reversed(graph.nodes):
        if any(value in found for value in node.outputs):
            found.update(node.inputs)
    return found


def shared(traced: Traced) -> Traced:
    """The same with the programs that were derived from graphs of its structure; a compiled function's are its own."""
    if STATE.tracer is not None and not STATE.tracer.by_steps:
        return traced
    return replace(traced, derived=_derived.setdefault(interned(traced.graph), traced.derived))


def step(function: Callable[..., Any], *operands: Any) -> Any:
    """`function` of the operands, as one step of the running trace: it does nothing but what its result tells."""
    tracer: Any = STATE.tracer
    if tracer is not None and tracer.by_steps:
        return tracer.call(function, None, operands)
    return function(*operands)


def interned(graph: Graph) -> Graph:
    """One graph for all of its structure, so that what is derived from it is found again."""
    reference = _alike.get(graph)
    found = None if reference is None else reference()
    if found is None:
        found = _first_of(graph)
        _alike[graph] = ref(found)
    return found


def _first_of(graph: Graph) -> Graph:
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


def cut_off(traced: Traced, arguments: Sequence[Tensor], flagged: bool = False) -> list[Tensor]:
    """The operands of a traced function, detached where no gradient of a result reaches them, as it may detach them;
    `flagged` says that the trace knew which of the arguments require grad."""
    operands = [*arguments, *traced.captured]
    if not STATE.recording or not any(operand.requires_grad for operand in operands):
        return operands
    from adjit.compiler.pullback import values_behind

    quiet = not any(traced.flags) and (flagged or not any(argument.requires_grad for argument in arguments))
    graph = traced.graph

    def reached() -> list[bool]:  # by places, as graphs of one structure share it
        behind = values_behind(graph.nodes, graph.outputs)
        return [value in behind for value in graph.inputs]

    kept = [False] * len(operands) if quiet else traced.made("reached", reached)
    return [
        operand.detach() if operand.requires_grad and not keep else operand
        for operand, keep in zip(operands, kept, strict=True)
    ]


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
    if not targets:
        return
    from adjit.autograd.modes import no_grad
    from adjit.views import write

    with no_grad():
        for target, value in zip(targets, values, strict=True):
            write(target, value)
