"""Recording: a recorded operation makes one node of the tape on its operands' values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

from adjit.autograd.tape import Recorded, Saved, TapeNode, Watch, move_retained, result_of
from adjit.execute import number_array
from adjit.ir.graph import Attribute, Graph, Location, Region, Value, from_outputs
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.types import DType, TensorType
from adjit.memory import ask_keep
from adjit.state import STATE, user_location
from adjit.tensor import Tensor
from adjit.utils.hooks import RemovableHandle

_CONST = primitive_named("const")


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
    follows = base.requires_grad and tensor._dtype.is_continuous
    if follows:
        from adjit.views import check_fresh

        check_fresh(tensor)
    tensor._seen = base._history
    tensor._requires_grad = follows
    if not follows:
        return
    value = value_of(base)
    for op, items in tensor._chain[len(base._chain) :]:
        attributes = dict(items)
        node = Recorded("AsStrided", op, [value], attributes, op.infer([value.type], attributes), user_location())
        attach_pullback(node, [None], [True], [None], [])
        value = node.output
    move_retained(tensor._value, value)
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
) -> Recorded:
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
    node = Recorded(name, op, values, attributes, [t._tensor_type for t in results], location, regions)
    node.leaves = tuple(leaves)
    if op.name == "host_call":  # in the pullback of a custom rule: its cotangents go to the rule's own operands
        node.fault = NO_RULE
    else:
        attach_pullback(node, tensors, needs, literals, results)
    link(node, results)
    return node


NO_RULE = "host_call has no derivative; give it one with a custom rule"


def link(node: Recorded, results: Sequence[Tensor]) -> None:
    """Make the results the outputs of `node`."""
    if STATE.anomaly[0]:
        from adjit.autograd.anomaly import note_lines

        note_lines(node)
    for tensor, value in zip(results, node.outputs, strict=True):
        if value.dtype.is_continuous and not node.op.constant_result:
            tensor._value = value
            tensor._requires_grad = True
            tensor._leaf = False


def close(tensor: Tensor, name: str, fault: str, behind: Sequence[Value] = ()) -> None:
    """Give a result a function that cannot be gone back through to what is behind it, for the reason `fault`."""
    node = Recorded(name, primitive_named("host_call"), behind, {}, [tensor._tensor_type])
    node.fault = fault
    link(node, [tensor])


def literal(number: int | float | bool, dtype: DType, location: Location) -> Value:
    """A number as a value of the graph."""
    if dtype.is_continuous:  # what watches a number does not count this as reading it
        number = float.__float__(number) if isinstance(number, float) else float(number)
    else:
        number = bool(number) if dtype.kind == "bool" else int(number)
    return TapeNode(_CONST, (), {"value": number, "dtype": dtype}, [TensorType(dtype, ())], location).output


def attach_pullback(
    node: Recorded,
    tensors: Sequence[Tensor | None],
    needs: Sequence[bool],
    literals: Sequence[int | float | bool | None],
    results: Sequence[Tensor],
) -> None:
    """Find the node's pullback and keep the values that it takes."""
    # The compiler is not needed to import adjit.
    from adjit.compiler.nodewise import literal_of, pullback_of, with_any_number

    types = [v.type for v in node.inputs]
    found = pullback_of(
        node.op,
        types,
        node.attributes,
        with_any_number(node.op, types, [*map(literal_of, literals)]),
        needs,
        [v.type for v in node.outputs],
        node.regions,
    )
    node.pullback, node.seeded, node.reached = found.graph, found.seeded, found.reached
    kept: list[Saved] = []
    for side, index in found.saved:
        tensor = tensors[index] if side == "in" else results[index]
        held = node.inputs[index] if side == "in" else result_of(node, index)
        if tensor is None:
            number = literals[index]
            assert number is not None
            kept.append(Saved(number_array(number, held.dtype), held.dtype, held, False, None, 0))
            continue
        kept.append(save(tensor, held, side == "out" or needs[index]))
    node.saved = tuple(kept)


def save(tensor: Tensor, held: Any, requires_grad: bool) -> Saved:
    """Keep a tensor's data for the backward pass, as the hooks on saved tensors have it; `held` as `Saved` has it."""
    if tensor._memory.is_inference and not (tensor._requires_grad and tensor._leaf):
        ask_keep()
    kept = keep(tensor, held, requires_grad)
    return pack(tensor, kept) if STATE.packing else kept


def keep(tensor: Tensor, held: Any, requires_grad: bool) -> Saved:
    """The same as it is."""
    assert tensor._array is not None
    return Saved(tensor._array, tensor._dtype, held, requires_grad, tensor._memory, tensor._memory.version)


def keep_overwritten(result: Tensor, target: Tensor, start: int) -> None:
    """Give the nodes recorded since `start` a copy of what they keep of `target`, which `result` is to overwrite."""
    waiting = [] if result._value is None else [result._value.node]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Recorded) or node.sequence <= start:
            continue
        node.saved, node.full = _apart(node.saved, target), _apart(node.full, target)
        waiting += [value.node for value in node.inputs]


def _apart(saved: Sequence[Saved], target: Tensor) -> tuple[Saved, ...]:
    """Saved values, copied where they stand in the memory of `target`."""
    for kept in saved:
        if kept.memory is target._memory:
            copy = kept.array.copy()
            watcher: Any = STATE.tracer
            if watcher is not None:
                watcher.copied(kept.array, copy)
            kept.array, kept.memory = copy, None
    return tuple(saved)


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
    if STATE.tracer is not None:
        from adjit.autograd.onward import check_retained

        check_retained(STATE.tracer, tensor)
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


def run_post_hooks(leaf: Tensor, watch: Watch | None = None) -> None:
    """Call what waits for the leaf's `.grad`: the hooks of `watch`, of its own without one."""
    if watch is None:
        watch = watch_of(leaf)
    if watch is None:
        return
    for hook in tuple(watch.post_hooks.values()):
        if hook(leaf) is not None:
            raise RuntimeError("Tensor post accumulate grad hooks should return None.")


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
