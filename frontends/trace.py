"""Tracing: tensor code runs once on symbolic tensors and leaves a graph.

Memory is symbolic in a trace: a cell holds the current value of each piece of memory, so in-place operations, views and
`x[i] = v` become pure.  Tensors of the world outside (parameters, buffers, optimizer moments, the random state) become
inputs when they are first touched; what was written to them, and gradients given to them, become outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from adjit.autograd.custom import cut_off
from adjit.autograd.modes import no_grad
from adjit.autograd.tape import TraceNode, Watch, move_retained
from adjit.captured import Captured, owner
from adjit.computed_views import PLACES, along, step_of
from adjit.ir.builder import Builder, literal_dtype
from adjit.ir.errors import ShapeError, TraceError
from adjit.ir.graph import Attribute, Graph, Guard, Location, Node, Region, Value
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.types import F64, DType, TensorType
from adjit.links import Writes, agree, wrote
from adjit.memory import Memory, begin_period
from adjit.state import STATE, user_location
from adjit.symbolic_size import SymbolicSize, as_dim, guard_bounds, unequal
from adjit.tensor import Chain, Tensor
from adjit.trace_parts import Cell, Explanation, GradientType, ItemCheck, ItemReader, Source, static_attributes
from adjit.view_strides import strides_of_view
from adjit.views import check_fresh, strides

if TYPE_CHECKING:
    from adjit.capture.gradients import Unsure
    from adjit.effects import Changes

__all__ = ["Source", "SymbolicSize", "Tracer", "as_dim"]


class Tracer:
    """One running trace."""

    bridged = False  # whether gradients go on in what is around it, a trace or the tape
    by_steps = False  # whether it takes note of what is called, not only of what that emits
    keeps_rules = 0  # up to which order functions keep derivatives of their own where nothing requires grad

    def __init__(self, name: str, hints: dict[str, int] | None = None, *, strict: bool = True) -> None:
        self.graph = Graph(name)
        self.strict = strict  # whether the program must have the bits of eager mode
        self._serial = begin_period()  # memories made from here on were made by the traced function itself
        self.builder = Builder(self.graph)
        self.hints: dict[str, int] = {} if hints is None else hints
        self.sources: list[Source] = []
        self.guards: dict[Guard, None] = {}
        self.checks: list[Callable[[], bool]] = []
        self.grads: dict[Tensor, Tensor | Unsure | None] = {}
        self.first_grads: dict[Tensor, Tensor | Unsure | None] = {}
        self.freed: set[Node] = set()  # nodes that a backward pass went through without keeping the graph
        self.has_writes = False
        self.explanations: list[Explanation] = []
        self.arguments: dict[Tensor, tuple[int, Tensor]] = {}
        self.layouts: dict[int, bool] = {}  # whether arguments are contiguous, where that was asked
        self.proxies: dict[Tensor, Tensor] = {}  # of arguments that the function also reaches by another way
        self.lent: dict[Memory, list[Tensor]] = {}  # arguments with an input each, by their memory
        self.shared: dict[Memory, Tensor] = {}
        self.captured = Captured()
        self.coinciding: set[Memory] = set()  # of arguments and at the same time of captured tensors
        self.cells: dict[Memory, Cell] = {}
        self.linked = Writes()
        self.leaves: dict[Value, Tensor] = {}
        self._roots: dict[Value, Value] = {}
        self._places: dict[Value, tuple[Cell, int]] = {}  # the memory that held a value, and its version then
        self._depends: set[Value] = set()
        self._detached: dict[Value, Value] = {}
        self._scalars: dict[tuple[int, str], Tensor] = {}
        self.literals: dict[tuple[DType, tuple[int, ...], bytes], Tensor] = {}  # small arrays that it made of numbers
        self._views: dict[int, tuple[Tensor, int, Value]] = {}  # of captured tensors, kept alive by the entry
        self._undo: list[tuple[Tensor, bool, bool]] = []
        self.parent: Tracer | None = None
        self.nan_checks: Any = None  # what the traced function wants looked for (nan_checks.py)
        self.spaces: list[tuple[Any, set[str] | None]] = []  # what of Python the function may write (see reach.py)
        self.changes: Changes | None = None  # what the traced function changes in Python's objects

    # -- running ----------------------------------------------------------------------------------------------------
    def __enter__(self) -> Tracer:
        self.parent = STATE.tracer
        STATE.tracer = self
        return self

    def __exit__(self, *exception: object) -> None:
        STATE.tracer = self.parent
        for tensor, requires_grad, leaf in reversed(self._undo):
            tensor._requires_grad, tensor._leaf = requires_grad, leaf

    def argument(self, type: TensorType, name: str, index: int, origin: Tensor | None = None) -> Tensor:
        """A traced tensor for an argument; it stands for `origin` where gradients and flags are concerned."""
        value = self.builder.input(type, name)
        self.sources.append(Source("argument", index, tensor=origin))
        tensor = self._new(value, origin=True)
        tensor.__dict__["_trace_name"] = name
        if origin is not None:
            self.arguments[tensor] = (index, origin)
            tensor._requires_grad = origin.requires_grad
            self.lent.setdefault(origin._memory, []).append(tensor)
            self.proxies[origin] = tensor
        return tensor

    def add_guard(self, guard: Guard) -> None:
        """Note a condition on sizes that this trace relies on."""
        if guard.names:
            self.guards[guard] = None

    # -- tensors and values -----------------------------------------------------------------------------------------
    def _new(self, value: Value, *, origin: bool = False) -> Tensor:
        memory = Memory(None, value.dtype)
        self.cells[memory] = Cell(value, value if origin else None)
        return self.tensor_in(value, memory, ())

    def tensor_in(self, value: Value, memory: Memory, chain: Chain) -> Tensor:
        """A traced tensor that shows `value`, which `chain` makes of what the memory holds."""
        tensor = Tensor._wrap(None, value.dtype, memory=memory, type=value.type)
        tensor._tracer = self
        tensor._value = value
        tensor._chain = chain
        cell = self.cells[memory]
        tensor._epoch = cell.epoch
        self._places.setdefault(value, (cell, cell.version))
        return tensor

    def constant(self, value: int | float | complex | bool, dtype: DType) -> Tensor:
        """A 0-d constant of the program."""
        return self._new(self.builder.number(value, dtype))

    def cell_of(self, tensor: Tensor) -> Cell:
        """The memory of a tensor; one from outside becomes an input."""
        if tensor._tracer is None:
            self.captured.read[tensor] = None
        memory = tensor._memory
        if (cell := self.cells.get(memory)) is not None:
            if memory in self.shared:
                self.coinciding.add(memory)
            if cell.links:
                agree(self, cell)
            return cell
        if tensor._tracer is not None or memory.array is None:
            from adjit.dispatch import leaked

            raise leaked(tensor)
        if (lent := self.lent.get(memory)) is not None:
            self.coinciding.add(memory)
            origin = self.arguments[lent[0]][1]  # one input serves both, if the captured one's gradients go there
            if len(lent) == 1 and not origin._chain and (not tensor.requires_grad or owner(tensor) is origin):
                return self.cells.setdefault(memory, self.cells[lent[0]._memory])
        value = self.builder.input(TensorType(memory.dtype, memory.array.shape), tensor.__dict__.get("_trace_name"))
        self.sources.append(self.captured.source(tensor))
        cell = self.cells[memory] = Cell(value, value, version=int(memory.version), first=int(memory.version))
        self._places[value] = (cell, cell.version)
        return cell

    def inside(self, tensor: Tensor) -> Tensor:
        """The traced tensor of an argument that the function also reaches by another way; any other tensor as it is."""
        if tensor in self.proxies:
            self.coinciding.add(tensor._memory)
        return self.proxies.get(tensor, tensor)

    def value_of(self, tensor: Tensor) -> Value:
        """The tensor's current value."""
        tensor = self.inside(tensor)
        cell = self.cell_of(tensor)
        if not tensor._chain:
            return cell.value
        if tensor._tracer is self and tensor._epoch == cell.epoch:
            assert tensor._value is not None
            return tensor._value
        known = self._views.get(id(tensor))
        if known is not None and known[1] == cell.epoch:
            return known[2]
        value = along(self, cell.value, tensor._chain)
        self._places[value] = (cell, cell.version)
        if tensor._tracer is self:
            tensor._value, tensor._epoch = value, cell.epoch
        else:
            self._views[id(tensor)] = (tensor, cell.epoch, value)
        return value

    def refresh(self, tensor: Tensor) -> None:
        """Bring a view's flags up to date with its base."""
        base = tensor._base
        assert base is not None
        check_fresh(tensor)
        tensor._seen, tensor._requires_grad = base._history, base.requires_grad
        tensor._leaf = tensor._leaf and not tensor._requires_grad

    def emit(
        self, op: Primitive, values: Sequence[Value], attributes: dict[str, Attribute], regions: Sequence[Region] = ()
    ) -> tuple[Value, ...]:
        """Append a node; the values it makes."""
        try:
            node = self.builder.emit(op, values, attributes, regions)
        except ShapeError as error:
            if self.hints:
                raise unequal(attributes, self.hints) from error
            raise
        if self.hints:
            guard_bounds(self, node)
        if any(value in self._depends for value in values):
            self._depends.update(node.outputs)
        return node.outputs

    # -- operations -------------------------------------------------------------------------------------------------
    def apply(
        self,
        op: Primitive,
        operands: Sequence[Any],
        attributes: dict[str, Attribute],
        name: str,
        regions: Sequence[Region] = (),
    ) -> Any:
        """Emit an operation; its results are traced tensors."""
        attributes = static_attributes(op, attributes)
        dtype = literal_dtype(op, [o._dtype if isinstance(o, Tensor) else None for o in operands])
        recording = self._is_recording(op, operands)
        values: list[Value] = []
        for operand in operands:
            if isinstance(operand, Tensor):
                values.append(self.operand(operand, recording))
            else:
                assert dtype is not None
                values.append(self.builder.constant(as_dim(operand), dtype))
        self.builder.location = user_location()
        results = [self._new(value) for value in self.emit(op, values, attributes, regions)]
        if recording:
            self._mark(results, name)
        return results[0] if len(results) == 1 else tuple(results)

    @staticmethod
    def _is_recording(op: Primitive, operands: Sequence[Any]) -> bool:
        return (
            STATE.recording
            and not op.constant_result
            and any(isinstance(operand, Tensor) and operand.requires_grad for operand in operands)
        )

    def operand(self, tensor: Tensor, recording: bool) -> Value:
        """The value of an operand; one that does not require grad is cut off from those that do."""
        tensor = self.inside(tensor)
        apart = tensor._tracer is None and self.captured.comes_apart(self, tensor, recording)
        if recording and tensor.requires_grad:
            self.join_history(self.cell_of(tensor))
        value = self.value_of(tensor)
        if tensor.requires_grad:
            self._depends.add(value)
            if tensor._leaf or (tensor._tracer is None and owner(tensor) is tensor):
                root = self._roots.get(value, value)
                leaf = self.leaves[root] = self.origin_of(tensor)
                if root.attached is None:
                    root.attached = Watch()
                    root.attached.leaf = ref(leaf)
        elif apart or (recording and value in self._depends and value.dtype.is_continuous):
            if value not in self._detached:
                self._detached[value] = cut_off(self, value, apart)
            return self._detached[value]
        return value

    def origin_of(self, tensor: Tensor) -> Tensor:
        """The tensor whose gradient a leaf of this trace collects."""
        return tensor

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor is one of this trace, or of the world outside."""
        return tensor._tracer is self or tensor._tracer is None

    def bridges(self) -> list[tuple[Value, Tensor | None]]:
        """The inputs that continue in the trace around this one, with what they stand for there."""
        return []

    def join_history(self, cell: Cell) -> None:
        """After a write outside autograd: the memory's value, with gradients that go to the value it had before."""
        if cell.history is None or not cell.value.dtype.is_continuous:
            return
        from adjit.autograd.custom import with_gradient_of

        self.builder.location = user_location()
        value = with_gradient_of(self.builder, cell.history, cell.value)
        self._depends.add(value)
        self._roots[value] = self._roots.get(cell.history, cell.history)
        self._places[value] = (cell, cell.version)
        cell.value, cell.history = value, None
        cell.epoch += 1

    def gradient_value(self, tensor: Tensor) -> Value:
        """The value whose cotangent is the tensor's gradient: the first of those that were written outside autograd."""
        cell = self.cell_of(tensor)
        value = self.value_of(tensor) if tensor._chain or cell.history is None else cell.history
        return self._roots.get(value, value)

    @staticmethod
    def _mark(results: Sequence[Tensor], name: str) -> None:
        for tensor in results:
            if tensor._dtype.is_continuous:
                tensor._requires_grad, tensor._leaf = True, False
                node = None if tensor._value is None else tensor._value.node
                if node is not None and node.attached is None:
                    node.attached = TraceNode(name)

    def view(self, op: Primitive, tensor: Tensor, attributes: dict[str, Attribute], name: str) -> Tensor:
        """A view: a traced tensor on the same memory; one at computed places has them among its attributes."""
        tensor = self.inside(tensor)
        attributes, given = step_of(tuple(attributes.items()))
        attributes = {key: as_dim(value) for key, value in attributes.items()}
        recording = self._is_recording(op, (tensor,))
        value, places = self.operand(tensor, recording), tuple(self.operand(place, False) for place in given)
        self.builder.location = user_location()
        (result_value,) = self.emit(op, [value, *places], attributes)
        step: Any = (op, (*attributes.items(), *([(PLACES, places)] if places else [])))
        result = self.tensor_in(result_value, tensor._memory, (*tensor._chain, step))
        result._base = tensor if tensor._base is None else tensor._base
        result._seen = result._base._history
        result._strides = strides_of_view(op, value.dims, strides(tensor), attributes, result_value.dims)
        result.__dict__["_made_by"] = (tensor, name, STATE.recording)
        if recording:
            self._mark((result,), name)
        return result

    def detach(self, tensor: Tensor) -> Tensor:
        """A tensor on the same memory that gradients do not pass."""
        tensor = self.inside(tensor)
        op = primitive_named("detach")
        self.builder.location = user_location()
        (value,) = self.emit(op, [self.value_of(tensor)], {})
        result = self.tensor_in(value, tensor._memory, (*tensor._chain, (op, ())))
        result._strides = tensor._strides
        result.__dict__["_made_by"] = (tensor, "", False)
        return result

    def write(self, target: Tensor, result: Tensor) -> Tensor:
        """Make `target` hold `result`: its memory has a new value from here on."""
        from adjit.writing_through import write_through

        target = self.inside(target)
        cell = self.cell_of(target)
        whole = result
        if target._chain:
            root = self.tensor_in(cell.value, target._memory, ())
            base = target if target._base is None else target._base
            root._requires_grad, root._leaf = base.requires_grad, base._leaf
            whole = write_through(root, target._chain, result)
        value = self.value_of(whole)
        if whole._tracer is not self:  # a captured tensor's own value: keep the two memories apart
            value = self.emit(primitive_named("reshape"), [value], {"shape": value.dims})[0]
        adopted = STATE.recording and whole.requires_grad
        if adopted and any(op.name == "detach" for op, _ in target._chain):
            raise TraceError(
                "in a trace, a tensor that shares memory by way of detach() cannot take a value that requires grad in "
                "place\n  hint: clone() it before the in-place operation"
            )
        if adopted:
            cell.history = None
            move_retained(cell.value, value)
        elif cell.history is None and (cell.original is not None or cell.value in self._depends):
            cell.history = cell.value
        cell.value = value
        cell.epoch += 1
        cell.version += 1
        cell.lines.append(user_location())
        self.has_writes = True
        if not target._chain:
            self._places[value] = (cell, cell.version)
        base = target if target._base is None else target._base
        base._history += 1
        if adopted:
            if base._tracer is None:
                self._undo.append((base, base._requires_grad, base._leaf))
            base._requires_grad, base._leaf = True, False
        if cell.links:
            wrote(self, cell, adopted)
        return target

    def set_data(self, tensor: Tensor, value: Tensor) -> None:
        """`tensor.data = value`: the memory takes the value, outside autograd."""
        if tensor._tensor_type != value._tensor_type:
            raise TraceError("in a trace, `.data` can only be set to a tensor of the same shape and dtype")
        with no_grad():
            self.write(tensor, self.apply(primitive_named("detach"), (value,), {}, ""))

    # -- values from outside ----------------------------------------------------------------------------------------
    def dynamic_scalar(self, holder: Any, key: str) -> Any:
        """A 0-d float64 tensor read from `holder[key]` at every call; what the traced function itself put there."""
        if self.changes is not None and self.changes.has_set(holder, key):
            return holder[key]
        found = self._scalars.get((id(holder), key))
        if found is None:
            value = self.builder.input(TensorType(F64, ()), key)
            self.sources.append(Source("scalar", read=ItemReader(holder, key)))
            found = self._scalars[id(holder), key] = self._new(value, origin=True)
        return found

    def guard_value(self, holder: Any, key: str) -> Any:
        """`holder[key]`, on which the trace relies: a change leads to a new trace."""
        value = holder[key]
        self.checks.append(ItemCheck(holder, key, value))
        return value

    def concrete_needed(self, tensor: Tensor, what: str) -> TraceError:
        """The error for an operation that needs a traced tensor's numbers."""
        from adjit.dispatch import numbers_needed

        return numbers_needed(tensor, what)

    def on_fault(self, tensors: Sequence[Tensor], explain: Callable[..., Exception | None]) -> None:
        """If a call of the program fails, ask `explain` for the error, given the tensors' numbers."""
        values = tuple(self.value_of(tensor) for tensor in tensors)
        self.explanations.append(Explanation(values, explain, user_location()))

    def is_unwritten(self, tensor: Tensor) -> bool:
        """Whether a tensor that this trace made still holds what it was made with."""
        return tensor._memory in self.cells and self.cells[tensor._memory].epoch == 0

    def known_array(self, tensor: Tensor, what: str) -> np.ndarray:
        """The numbers of a tensor from outside, if they are sure to stay: it was not written since its creation."""
        cell = self.cells.get(tensor._memory)
        if cell is not None or tensor._memory.serial < self._serial or tensor._array is None:
            raise self.concrete_needed(tensor, what)
        return tensor._array

    # -- gradients --------------------------------------------------------------------------------------------------
    def grad_of(self, tensor: Tensor) -> Tensor | None:
        """`tensor.grad` as it stands at this point of the trace.  TraceError where that is not known."""
        found = self.gradient_slot(self.captured.complete(self, tensor))
        if found is None or isinstance(found, Tensor):
            return found
        found.refuse()

    def gradient_slot(self, tensor: Tensor) -> Tensor | Unsure | None:
        """What is known of `tensor.grad`."""
        tensor = self.inside(tensor)
        if tensor in self.grads:
            return self.grads[tensor]
        place = self.arguments.get(tensor)
        present = tensor._grad if place is None else place[1]._grad
        found = self.captured.fixed_gradient(self, tensor, present)
        if present is not None and found is None:
            name = tensor.__dict__.get("_trace_name")
            value = self.builder.input(present._tensor_type, None if name is None else f"{name}_grad")
            self.sources.append(Source("grad", tensor=tensor) if place is None else Source("grad", place[0]))
            found = self._new(value, origin=True)
        if place is None and tensor._tracer is None:  # an argument's gradient is part of the call's signature
            self.checks.append(GradientType(tensor, None if present is None else present._tensor_type))
        self.grads[tensor] = self.first_grads[tensor] = found
        return found

    def set_grad(self, tensor: Tensor, value: Tensor | Unsure | None) -> None:
        """`tensor.grad = value`."""
        self.grads[self.inside(tensor)] = value

    # -- what backward asks (autograd/traced.py) --------------------------------------------------------------------
    def depends(self, value: Value) -> bool:
        """Whether a value comes from one that requires grad."""
        return value in self._depends

    def note_values(self, values: Sequence[Value]) -> None:
        """Say of values that they come from one that requires grad."""
        self._depends.update(values)

    def note_dependence(self, start: int) -> None:
        """Carry `depends` on to the nodes emitted from the position `start` on."""
        for node in self.graph.nodes[start:]:
            if any(value in self._depends for value in node.inputs):
                self._depends.update(node.outputs)

    def wrap(self, value: Value, *, requires_grad: bool = False, name: str = "", origin: bool = False) -> Tensor:
        """A tensor in memory of its own that holds a value of the program, or (`origin`) that an input fills."""
        tensor = self._new(value, origin=origin)
        if requires_grad:
            self._mark((tensor,), name)
        return tensor

    def is_overwritten(self, value: Value) -> bool:
        """Whether the memory that held this value has been written since, in every call."""
        place = self._places.get(value)
        return place is not None and place[0].is_written_since(place[1])

    def write_over(self, value: Value) -> tuple[int, int, Location]:
        """The version that a value's memory has, the one it had, and the line of the first write over it."""
        cell, version = self._places[value]
        return cell.version, version, cell.lines[version - cell.version]

    # -- the end ----------------------------------------------------------------------------------------------------
    def written(self) -> list[tuple[int, Value]]:
        """The inputs whose memory has another value at the end, with that value."""
        found = {}
        position = {value: index for index, value in enumerate(self.graph.inputs)}
        for cell in self.cells.values():
            if cell.original is not None and cell.value is not cell.original:
                place = position[cell.original]
                found[place] = cell.value
                self.sources[place].writes = cell.version - cell.first
        return list(found.items())
