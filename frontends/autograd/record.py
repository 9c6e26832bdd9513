"""The tape of eager mode: IR nodes, with what their pullbacks need attached.

A recorded operation makes one `Node` on its operands' values.  `Node.attached` is a `Record` (name, saved values,
pullback); `Value.attached` is a `Watch` (hooks, retained gradient, the leaf that a gradient is accumulated into).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any
from weakref import ReferenceType, ref

import numpy as np

from adjit.ir.graph import UNKNOWN, Attribute, Graph, Location, Node, Region, Value, from_outputs
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.types import DType, TensorType
from adjit.memory import Memory
from adjit.state import STATE, user_location
from adjit.tensor import Tensor
from adjit.utils.hooks import Hooks, RemovableHandle

_sequence = count()


def next_sequence() -> int:
    """The next number in the order of recording."""
    return next(_sequence)


_CONST = primitive_named("const")


class Watch:
    """What happens when a value's cotangent is complete."""

    __slots__ = ("hooks", "leaf", "post_hooks", "retained")

    def __init__(self) -> None:
        self.hooks = Hooks()
        self.post_hooks = Hooks()
        self.retained: ReferenceType[Tensor] | None = None
        self.leaf: ReferenceType[Tensor] | None = None


class Recorded(Node):
    """A node of the tape.  Its results hold it, and it only refers to them: a tape goes with its last tensor.

    `results` are references to the results' values, which may be gone, or the one itself; `types` are their types.
    """

    __slots__ = ("results", "types")

    def __init__(
        self,
        op: Primitive,
        inputs: Sequence[Value],
        attributes: dict[str, Attribute],
        types: Sequence[TensorType],
        location: Location = UNKNOWN,
        regions: Sequence[Region] = (),
    ) -> None:
        self.op = op
        self.inputs = tuple(inputs)
        self.attributes = attributes
        self.regions = tuple(regions)
        self.location = location
        self.attached = None
        self.types = tuple(types)
        self.results: Any = (None,) * len(types)

    @property
    def outputs(self) -> tuple[Value, ...]:  # type: ignore[override]
        """The values of the results; one that nobody holds is made anew."""
        references = self.results if type(self.results) is tuple else (self.results,)
        found: list[Value | None] = [None if reference is None else reference() for reference in references]
        made = tuple(value or Value(self.types[i], None, self, i) for i, value in enumerate(found))
        if None in found:
            self.results = ref(made[0]) if len(made) == 1 else tuple(map(ref, made))
        return made


class Saved:
    """A forward value kept for the pullback, with the version its memory had.

    `held` is the value; or, for a result of the node that saves it, a reference to the node, with the result's number
    where the node has several.
    """

    __slots__ = ("array", "dtype", "held", "memory", "requires_grad", "version")

    def __init__(
        self, array: np.ndarray, dtype: DType, held: Any, requires_grad: bool, memory: Memory | None, version: int
    ) -> None:
        self.array = array
        self.dtype = dtype
        self.held = held
        self.requires_grad = requires_grad
        self.memory = memory
        self.version = version

    @property
    def value(self) -> Value:
        """The value in the recorded graph."""
        if isinstance(self.held, Value):
            return self.held
        reference, index = self.held if type(self.held) is tuple else (self.held, 0)
        node: Recorded = reference()
        return node.outputs[index]


def result_of(node: Node, index: int) -> Any:
    """What a node's own saved values hold of its results."""
    return ref(node) if len(node.outputs) == 1 else (ref(node), index)


class Packed(Saved):
    """A saved value in the form that hooks gave it, unpacked whenever it is read."""

    __slots__ = ("form", "unpack")

    def __init__(self, form: Any, unpack: Callable[[Any], np.ndarray], kept: Saved) -> None:
        self.form = form
        self.unpack = unpack
        self.dtype, self.held, self.requires_grad = kept.dtype, kept.held, kept.requires_grad
        self.memory, self.version = None, 0

    @property
    def array(self) -> np.ndarray:  # type: ignore[override]
        return self.unpack(self.form)


class Rule:
    """A pullback in Python: what stands in `Record.custom` for a user's function."""

    __slots__ = ()

    def pull_back(
        self, node: Node, arriving: Sequence[Tensor | None], create_graph: bool
    ) -> tuple[Sequence[Tensor | None], Sequence[int]]:
        """The cotangents of the operands that need one, and which these are."""
        raise NotImplementedError(f"{type(self).__name__} says how cotangents pass")

    def release(self) -> None:
        """Free what was saved."""


class Record:
    """Autograd's part of a recorded node.

    `name` is PyTorch's name of the operation without `Backward0`, or empty for a step that the user did not write (a
    broadcast, a promotion).  `saved` is None after the graph was freed.  `full` holds operands and results of a
    composite, which a recorded backward pass (`create_graph`) needs instead of `saved`.  `custom` runs the pullback in
    its own way: natively for a compiled function, as a `Rule` where the user wrote it.  `hooks` see what the pullback
    took and gave.  `fault` says why the node cannot be gone back through.
    """

    __slots__ = (
        "custom", "fault", "freed", "full", "hooks", "leaves", "name", "pullback", "reached", "saved", "seeded",
        "sequence",
    )  # fmt: skip

    def __init__(self, name: str, sequence: int) -> None:
        self.name = name
        self.sequence = sequence
        self.pullback: Graph | None = None
        self.saved: tuple[Saved, ...] = ()
        self.full: tuple[Saved, ...] = ()
        self.seeded: tuple[int, ...] = ()
        self.reached: tuple[int, ...] = ()
        self.leaves: tuple[Tensor, ...] = ()
        self.freed = False
        self.fault: str | None = None
        self.custom: Any = None
        self.hooks: Hooks | None = None  # made when the first one comes


class TraceNode:
    """Autograd's part of a node in a trace, which keeps no record: PyTorch's name of the operation, and hooks."""

    __slots__ = ("hooks", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.hooks = Hooks()


# -- values of tensors ----------------------------------------------------------------------------------------------
def value_of(tensor: Tensor) -> Value:
    """The tensor's value in the recorded graph."""
    if tensor._tracer is not None:
        return tensor._tracer.value_of(tensor)
    if tensor._base is not None and tensor._base._history != tensor._seen:
        refresh_view(tensor)
    if tensor._value is None:
        tensor._value = Value(tensor._tensor_type)
    return tensor._value


def refresh_view(tensor: Tensor) -> None:
    """Derive a view's value again from its base, which was written in place since."""
    if tensor._tracer is not None:
        tensor._tracer.refresh(tensor)
        return
    base = tensor._base
    assert base is not None
    tensor._seen = base._history
    tensor._requires_grad = base.requires_grad and tensor._dtype.is_continuous
    if not tensor._requires_grad:
        return
    value = value_of(base)
    for op, items in tensor._chain[len(base._chain) :]:
        attributes = dict(items)
        node = Recorded(op, [value], attributes, op.infer([value.type], attributes), user_location())
        record = node.attached = Record("AsStrided", next_sequence())
        attach_pullback(record, node, [None], [True], [None], [])
        value = node.output
    tensor._value = value
    tensor._leaf = False


def watch_of(tensor: Tensor, create: bool = False) -> Watch | None:
    """The watch on a tensor's value."""
    value = value_of(tensor)
    if value.attached is None and create:
        value.attached = Watch()
    assert value.attached is None or isinstance(value.attached, Watch)
    return value.attached


def outer_watch(tensor: Tensor) -> Watch | None:
    """The watch on a leaf outside all traces, if there is one."""
    watch = None if tensor._tracer is not None or tensor._value is None else tensor._value.attached
    return watch if isinstance(watch, Watch) else None


def hook_numbers(tensor: Tensor) -> tuple[int, ...]:
    """The hooks on a leaf's gradient, by the numbers of their handles."""
    watch = outer_watch(tensor)
    return () if watch is None else (*watch.hooks, *watch.post_hooks)


def mark_leaf(tensor: Tensor) -> Value:
    """The value of a leaf, through which its gradient finds the tensor."""
    value = value_of(tensor)
    if value.attached is None:
        value.attached = Watch()
    watch = value.attached
    assert isinstance(watch, Watch)
    if watch.leaf is None:
        watch.leaf = ref(tensor)
    return value


# -- recording ------------------------------------------------------------------------------------------------------
def record(
    op: Primitive,
    operands: Sequence[Tensor | int | float | bool],
    attributes: dict[str, Attribute],
    results: Sequence[Tensor],
    name: str,
    dtype: DType | None,
    regions: Sequence[Region] = (),
) -> Node:
    """Link the results of an executed operation to its operands; numbers have `dtype`."""
    location = user_location()
    values: list[Value] = []
    tensors: list[Tensor | None] = []
    needs: list[bool] = []
    leaves: list[Tensor] = []
    literals: list[int | float | bool | None] = []
    for operand in operands:
        if isinstance(operand, Tensor):
            need = operand.requires_grad
            if need and operand._leaf:
                values.append(mark_leaf(operand))
                leaves.append(operand)
            else:
                values.append(value_of(operand))
            tensors.append(operand)
            needs.append(need)
            literals.append(None)
        else:
            assert dtype is not None
            values.append(literal(operand, dtype, location))
            tensors.append(None)
            needs.append(False)
            literals.append(values[-1].constant)  # type: ignore[arg-type]
    node = Recorded(op, values, attributes, [t._tensor_type for t in results], location, regions)
    entry = node.attached = Record(name, next_sequence())
    entry.leaves = tuple(leaves)
    if op.name == "host_call":  # in the pullback of a custom rule: its cotangents go to the rule's own operands
        entry.fault = NO_RULE
    else:
        attach_pullback(entry, node, tensors, needs, literals, results)
    link(node, results)
    return node


NO_RULE = "host_call has no derivative; give it one with a custom rule"


def link(node: Node, results: Sequence[Tensor]) -> None:
    """Make the results the outputs of `node`."""
    if STATE.anomaly[0]:
        from adjit.autograd.anomaly import note_lines

        note_lines(node)
    for tensor, value in zip(results, node.outputs, strict=True):
        if value.dtype.is_continuous and not node.op.constant_result:
            tensor._value = value
            tensor._requires_grad = True
            tensor._leaf = False


def close(tensor: Tensor, name: str, fault: str) -> None:
    """Give a result a function that cannot be gone back through, for the reason `fault`."""
    node = Recorded(primitive_named("host_call"), (), {}, [tensor._tensor_type])
    record = node.attached = Record(name, next_sequence())
    record.fault = fault
    link(node, [tensor])


def literal(number: int | float | bool, dtype: DType, location: Location) -> Value:
    """A number as a value of the graph."""
    number = float(number) if dtype.is_continuous else bool(number) if dtype.kind == "bool" else int(number)
    return Recorded(_CONST, (), {"value": number, "dtype": dtype}, [TensorType(dtype, ())], location).output


def attach_pullback(
    entry: Record,
    node: Node,
    tensors: Sequence[Tensor | None],
    needs: Sequence[bool],
    literals: Sequence[int | float | bool | None],
    results: Sequence[Tensor],
) -> None:
    """Find the node's pullback and keep the values that it takes."""
    from adjit.compiler.nodewise import pullback_of  # the compiler is not needed to import adjit

    found = pullback_of(
        node.op,
        [v.type for v in node.inputs],
        node.attributes,
        [None if x is None else (type(x), x) for x in literals],
        needs,
        [v.type for v in node.outputs],
        node.regions,
    )
    entry.pullback, entry.seeded, entry.reached = found.graph, found.seeded, found.reached
    kept: list[Saved] = []
    for side, index in found.saved:
        tensor = tensors[index] if side == "in" else results[index]
        assert tensor is not None
        held = node.inputs[index] if side == "in" else result_of(node, index)
        kept.append(save(tensor, held, side == "out" or needs[index]))
    entry.saved = tuple(kept)


def save(tensor: Tensor, held: Any, requires_grad: bool) -> Saved:
    """Keep a tensor's data for the backward pass; `held` as `Saved` has it."""
    assert tensor._array is not None
    kept = Saved(tensor._array, tensor._dtype, held, requires_grad, tensor._memory, tensor._memory.version)
    return pack(tensor, kept) if STATE.packing else kept


def keep_overwritten(result: Tensor, target: Tensor, start: int) -> None:
    """Give the nodes recorded since `start` a copy of what they keep of `target`, which `result` is to overwrite."""
    waiting = [] if result._value is None else [result._value.node]
    while waiting:
        node = waiting.pop()
        record = None if node is None else node.attached
        if not isinstance(record, Record) or record.sequence <= start:
            continue
        for kept in (*record.saved, *record.full):
            if kept.memory is target._memory:
                kept.array, kept.memory = kept.array.copy(), None
        waiting += [value.node for value in node.inputs]  # type: ignore[union-attr]


def pack(tensor: Tensor, kept: Saved) -> Saved:
    """What the hooks on saved tensors make of `kept`."""
    from adjit.autograd.graph import packed

    return packed(tensor, kept)


# -- detaching, hooks -----------------------------------------------------------------------------------------------
def detach(tensor: Tensor) -> Tensor:
    """A tensor on the same memory without history."""
    if STATE.tracer is not None:
        return STATE.tracer.detach(tensor)
    result = Tensor._wrap(tensor._array, tensor._dtype, memory=tensor._memory, type=tensor._tensor_type)
    result._chain = tensor._chain
    return result


def detach_in_place(tensor: Tensor) -> Tensor:
    """Cut a tensor from its history."""
    if tensor._base is not None:
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for "
            "training, and gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence "
            "detach_() cannot be called on these gradients. To fix this error, please refer to the "
            "Optimizer.zero_grad() function in torch/optim/optimizer.py as a solution."
        )
    tensor._value = None
    tensor._requires_grad = False
    tensor._leaf = True
    return tensor


def retain_grad(tensor: Tensor) -> None:
    """Make backward keep a non-leaf tensor's gradient."""
    if not tensor.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if tensor.is_leaf:
        return
    watch = watch_of(tensor, create=True)
    assert watch is not None
    watch.retained = ref(tensor)


def register_hook(tensor: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call `hook` with the tensor's gradient when it is complete."""
    if not tensor.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if tensor._leaf:
        mark_leaf(tensor)
    watch = watch_of(tensor, create=True)
    assert watch is not None
    return RemovableHandle(watch.hooks, hook)


def register_post_accumulate_hook(tensor: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Call `hook` with a leaf after its `.grad` was accumulated."""
    if not tensor.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if not tensor.is_leaf:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    mark_leaf(tensor)
    watch = watch_of(tensor, create=True)
    assert watch is not None
    return RemovableHandle(watch.post_hooks, hook)


def recorded_graph(tensor: Tensor) -> Graph:
    """The program that computed `tensor`: its nodes from all values without a producer.

    Inputs get the names that the caller's variables have.
    """
    import sys

    output = value_of(tensor)
    inputs: dict[Value, None] = {}
    seen: set[Value] = set()
    pending = [output]
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.node is None:
            inputs[value] = None
        else:
            pending.extend(reversed(value.node.inputs))
    frame = sys._getframe(2)
    named = {**frame.f_globals, **frame.f_locals}
    for name, found in named.items():
        if isinstance(found, Tensor) and found._value in inputs and not name.startswith("_"):
            assert found._value is not None
            found._value.name = name
    title = next((n for n, found in frame.f_locals.items() if found is tensor), "recorded")
    return from_outputs(title, list(inputs), [output])
