"""Views: tensors on the memory of another, and writing through them.

In eager mode a view is a NumPy view.  In a trace, where memory is a symbolic value, a view replays its chain of ops on
the memory's current value, and a write goes back through the chain's inverse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from adjit.autograd.overwriting import note_write
from adjit.autograd.record import record
from adjit.autograd.tape import Packed, Recorded, Saved, move_retained
from adjit.errors import explained
from adjit.ir.graph import Attribute, Graph, Value
from adjit.ir.primitive import Primitive
from adjit.ir.shape import Size, strides_of
from adjit.ir.types import TensorType
from adjit.runtime.layout import address_of
from adjit.state import STATE
from adjit.tensor import Chain, Tensor
from adjit.writing_through import write_through


def view(op: Primitive, tensor: Tensor, attributes: Mapping[str, Attribute], name: str) -> Tensor:
    """The view `op(tensor)`, on the same memory: of an op whose NumPy meaning is a view of its operand."""
    attributes = dict(attributes)
    if STATE.tracer is not None:
        return STATE.tracer.view(op, tensor, attributes, name)
    if tensor._array is None:
        from adjit.dispatch import leaked

        raise leaked(tensor)
    type = op.infer([tensor._tensor_type], attributes)[0]
    array = op.reference(tensor._array, **attributes)
    result = as_view(tensor, array, ((op, tuple(attributes.items())),), type)
    requires_grad = tensor.requires_grad
    if requires_grad and STATE.recording:
        record(op, (tensor,), attributes, (result,), name, None)
    elif requires_grad and type.dtype.is_continuous:
        # As PyTorch has it: a leaf, through which no gradient reaches the base.
        result._requires_grad = True
        result.__dict__["_unrecorded"] = _INFERENCE_VIEW if STATE.inference else _NO_GRAD_VIEW
    return result


def as_view(tensor: Tensor, array: np.ndarray, chain: Chain, type: TensorType) -> Tensor:
    """A tensor on an array that shows the memory of an eager tensor as a chain of ops does; its history is not told."""
    result = Tensor._wrap(array, type.dtype, memory=tensor._memory, type=type)
    result._base = tensor if tensor._base is None else tensor._base
    result._chain = (*tensor._chain, *chain)
    result._seen = result._base._history
    return result


def strides(tensor: Tensor) -> tuple[Size, ...]:
    """Strides in elements."""
    if tensor._array is not None and tensor._array.size:
        size = tensor._array.itemsize
        return tuple([stride // size for stride in tensor._array.strides])
    if tensor._strides is None:
        tensor._strides = strides_of(tensor._tensor_type.dims)
    return tensor._strides


def is_contiguous(tensor: Tensor) -> bool:
    """Whether the elements lie in row-major order without gaps."""
    if tensor._array is not None:
        return bool(tensor._array.flags.c_contiguous)
    tracer = tensor._tracer
    if tracer is not None and not tensor._chain and tensor in tracer.arguments:
        index, origin = tracer.arguments[tensor]
        return tracer.layouts.setdefault(index, is_contiguous(origin))
    dims = tensor._tensor_type.dims
    return all(d == 1 or a == b for d, a, b in zip(dims, strides(tensor), strides_of(dims), strict=True))


def viewable_strides(dims: Sequence[Size], steps: Sequence[Size], shape: Sequence[Size]) -> tuple[Size, ...] | None:
    """The strides with which memory of `dims` and `steps` shows as `shape`; None where only a copy can."""
    if any(d == 0 for d in dims) or any(d == 0 for d in shape):
        return strides_of(tuple(shape))
    old = [(d, s) for d, s in zip(dims, steps, strict=True) if d != 1]
    found: list[Size] = []
    position = len(old) - 1
    # Axes are matched from the last: a run of old axes that lie one after another can be cut anew.
    pending: list[Size] = [d for d in shape]
    while pending:
        extent = pending.pop()
        if extent == 1:
            found.append(found[-1] if found else 1)
            continue
        if position < 0:
            return None
        total, step = old[position]
        position -= 1
        current: Size = step
        remaining: Size = extent
        while True:
            if remaining == total:
                found.append(current)
                break
            if _divides(remaining, total):  # the old axis holds this new one and more
                found.append(current)
                current = current * remaining
                total = total // remaining
                while pending and pending[-1] == 1:
                    pending.pop()
                    found.append(current)
                if not pending:
                    return None
                remaining = pending.pop()
                continue
            if position < 0 or old[position][1] != total * current:
                return None  # the new axis needs the next old one, which does not continue this one
            step_total = old[position][0]
            position -= 1
            total = total * step_total
    return tuple(reversed(found)) if position < 0 else None


def _divides(part: Size, whole: Size) -> bool:
    remainder = whole % part if part != 0 else 1
    return remainder == 0 and whole != part


def several(pieces: tuple[Tensor, ...], name: str) -> tuple[Tensor, ...]:
    """Views that one function made together, which may not be written in place while recording."""
    for number, piece in enumerate(pieces):
        piece.__dict__["_several"] = f"Output {number} of {name}"
    return pieces


# -- writing --------------------------------------------------------------------------------------------------------
_SEVERAL = (
    ". This view is the output of a function that returns multiple views. Such "
    "functions do not allow the output views to be modified inplace. You should replace the inplace operation by an "
    "out-of-place one."
)
_IN_FUNCTION = (
    " This view was created inside a custom Function (or because an input was returned as-is) and the autograd logic "
    "to handle view+inplace would override the custom backward associated with the custom Function, leading to "
    "incorrect gradients. This behavior is forbidden. You can fix this by cloning the output of the custom Function."
)
_LATE = "A view was created in no_grad mode and is being modified inplace with grad mode enabled"
_AMBIGUOUS = (
    ". Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by "
    "moving both the view and the inplace either both inside the {} block (if you don't want the inplace to be "
    "tracked) or both outside (if you want the inplace to be tracked)."
)
_NO_GRAD_VIEW = _LATE + _AMBIGUOUS.format("no_grad")
_INFERENCE_VIEW = (
    "A view was created in inference mode and is being modified inplace in normal mode"
    + _AMBIGUOUS.format("inference_mode")
)


_VIEW_OF_LEAF = "a view of a leaf Variable that requires grad is being used in an in-place operation."


def check_writable(tensor: Tensor) -> None:
    """RuntimeError where PyTorch forbids an in-place operation."""
    if not STATE.recording:
        return
    if tensor._leaf and "_unrecorded" in tensor.__dict__:
        raise RuntimeError(tensor.__dict__["_unrecorded"])
    if tensor.requires_grad and tensor._leaf:
        origin = _origin_of(tensor)
        if origin is not None and origin.requires_grad and not origin.is_leaf:  # what the caller computed
            return check_writable(origin)
        raise explained(
            RuntimeError,
            "a leaf Variable that requires grad is being used in an in-place operation."
            if tensor._base is None
            else _VIEW_OF_LEAF,
            "", {"input": tensor},
            hint="change parameters outside of autograd: with torch.no_grad(): ...",
        )
    base = tensor._base
    if base is not None and tensor._tracer is None and tensor.requires_grad and not base.requires_grad:
        raise RuntimeError(_VIEW_OF_LEAF)  # the leaf is itself a view
    if base is None or not base.requires_grad:
        return
    if not tensor.requires_grad and tensor._dtype.is_continuous and tensor._tracer is None:
        raise RuntimeError(_NO_GRAD_VIEW)
    origin = _origin_of(base)
    if base._leaf and origin is not None and origin.requires_grad and not origin.is_leaf:
        return check_writable(origin)
    if base._leaf:
        raise RuntimeError(_VIEW_OF_LEAF)
    check_one_view(tensor)


def _origin_of(tensor: Tensor) -> Tensor | None:
    """The caller's tensor that an argument of a traced function stands for, also in parts of that function."""
    tracer = tensor._tracer
    if tracer is None:
        return None
    from adjit.inner_trace import InnerTracer

    place = tracer.arguments.get(tensor)
    if place is None and isinstance(tracer, InnerTracer):
        outer = tracer.outer_of(tensor._memory)
        return None if outer is None or outer is tensor else _origin_of(outer)
    return None if place is None else place[1]


class UsersStep(tuple[Any, ...]):
    """The last step of a view that a user's function made: all that is viewed through it may not be written."""

    __slots__ = ()


def mark_users(tensor: Tensor, maker: str) -> None:
    """Note that a view is the result `maker` of a user's function."""
    tensor.__dict__["_made_in"] = maker
    if tensor._chain:
        tensor._chain = (*tensor._chain[:-1], UsersStep(tensor._chain[-1]))


def maker_of(tensor: Tensor) -> str | None:
    """The result of a user's function that a view is, or the view of one."""
    found: str | None = tensor.__dict__.get("_made_in")
    if found is None and any(type(step) is UsersStep for step in tensor._chain):
        node = None if tensor._value is None else tensor._value.node
        name = str(getattr(node.attached if tensor._tracer is not None and node is not None else node, "name", ""))
        found = f"Output 0 of {name.partition('Backward')[0]}"
    return found


def check_one_view(tensor: Tensor) -> None:
    """RuntimeError for one of several views that a function made together, or one that a user's function made."""
    maker = maker_of(tensor)
    if maker is not None:
        raise RuntimeError(f"{maker} is a view and is being modified inplace.{_IN_FUNCTION}")
    made = tensor.__dict__.get("_several")
    if made is not None:
        recorded = tensor._base is not None and tensor._base.requires_grad
        raise RuntimeError((made + " is a view and is being modified inplace" if recorded else _LATE) + _SEVERAL)


def check_fresh(tensor: Tensor) -> None:
    """RuntimeError for a view of a user's function whose base took another value: its history would be the base's."""
    maker = maker_of(tensor) if tensor._base is None or tensor._base.requires_grad else None
    if maker is not None:
        raise RuntimeError(
            f"{maker} is a view and its base or another view of its base has been modified inplace.{_IN_FUNCTION}"
        )


def check_overlap(tensor: Tensor) -> None:
    """RuntimeError for a tensor some of whose elements share memory (an expanded one)."""
    if tensor._array is not None and 0 not in tensor._array.strides:
        return
    dims = tensor._tensor_type.dims
    if any(step == 0 and extent != 1 for step, extent in zip(strides(tensor), dims, strict=True)) and 0 not in dims:
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )


SHARED = (
    "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
    "location. Please clone() the tensor before performing the operation."
)


def check_partial_overlap(target: Tensor, operand: Any) -> None:
    """RuntimeError for an operand that shares some of the target's memory but does not show the same elements.

    As in PyTorch, tensors with gaps are let through: what is read is read before anything is written.
    """
    if not isinstance(operand, Tensor) or operand is target:
        return
    if STATE.tracer is not None and (target._tracer is not None or operand._tracer is not None):
        from adjit.trace_arguments import overlap_in_part

        if overlap_in_part(STATE.tracer, target, operand):
            raise RuntimeError(SHARED)
    if operand._memory is not target._memory:
        return
    a, b = target._array, operand._array
    if a is None or b is None or same_place(a, b):
        return
    dense = all(fills(x.shape, x.strides, x.itemsize) for x in (a, b))
    if dense and np.may_share_memory(a, b):
        raise RuntimeError(SHARED)


def same_place(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays show the same elements of the same memory in the same order."""
    start = address_of(a) == address_of(b)
    return start and a.shape == b.shape and moves(a) == moves(b)


def moves(shown: Any) -> list[int]:
    """The steps of the axes that have a second element, to which they lead."""
    return [step for step, extent in zip(shown.strides, shown.shape, strict=True) if extent > 1]


def fills(dims: Sequence[int], steps: Sequence[int], size: int) -> bool:
    """Whether elements of a size at these steps fill a piece of memory, each place once, in whatever order."""
    expected = size
    for step, extent in sorted(zip(steps, dims, strict=True)):
        if extent > 1:
            if step != expected:
                return False
            expected *= extent
    return 0 not in dims


def write(target: Tensor, result: Tensor) -> Tensor:
    """Make `target` hold `result` (of its shape and dtype), in place; its history becomes that of `result`.

    Callers check with `check_writable` before they compute `result`.
    """
    check_overlap(target)
    recorded = STATE.recording and (result.requires_grad or target.requires_grad)
    if recorded and target._base is not None:
        check_one_view(target)
    if STATE.tracer is not None:
        return STATE.tracer.write(target, result)
    assert target._array is not None and result._array is not None
    place = _writable(target)
    if not recorded:
        np.copyto(place, result._array)
        _count_write(target)
        return target
    base = target._base
    if base is None:
        np.copyto(place, result._array)
        _count_write(target)
        _adopt(target, result)
        return target
    whole = _replaced(base, target, result)
    np.copyto(place, result._array)
    _count_write(target)
    _adopt(base, whole)
    return target


def place_of(target: Tensor) -> np.ndarray | None:
    """The array of an eager tensor that anyone may overwrite unrecorded, in order; None where there is more to do."""
    array = target._array
    if array is None or STATE.tracer is not None or not (array.flags.c_contiguous and array.flags.writeable):
        return None
    base = target._base
    if STATE.recording and (target.requires_grad or (base is not None and base.requires_grad)):
        return None
    return array


def assign(target: Tensor, index: Any, value: float | np.ndarray) -> bool:
    """`target[index] = value` by NumPy, where `place_of` gives a place; whether it was done."""

    def put(array: np.ndarray) -> None:
        if _is_mask_of(array, index) and np.ndim(value) == 0:
            np.putmask(array, index, value)  # in half the time
        else:
            array[index] = value

    return change(target, put)


def change(target: Tensor, by: Callable[[np.ndarray], None]) -> bool:
    """Let NumPy overwrite a tensor's array, where `place_of` gives one; whether it was done."""
    array = place_of(target)
    if array is None:
        return False
    try:
        by(array)
    except (IndexError, TypeError, ValueError):  # the general way says what is wrong
        return False
    _count_write(target)
    return True


def _is_mask_of(array: np.ndarray, index: Any) -> bool:
    """Whether an index says of each element of an array whether it is meant."""
    return type(index) is np.ndarray and index.dtype == np.bool_ and index.shape == array.shape


def _count_write(target: Tensor) -> None:
    target._memory.version += 1
    note_write(target._memory)


def _writable(target: Tensor) -> np.ndarray:
    """The target's array; made again where NumPy marks a broadcast or a window as not to be written."""
    array, whole = target._array, target._memory.array
    assert array is not None
    if array.flags.writeable or whole is None or not (whole.flags.writeable and whole.flags.c_contiguous):
        return array
    start = address_of(array) - address_of(whole)
    return np.ndarray(array.shape, array.dtype, whole.view(np.uint8) if whole.ndim else whole, start, array.strides)


def _adopt(target: Tensor, result: Tensor) -> None:
    """Give `target` the history of `result`; views of it derive theirs again when asked."""
    target._history += 1
    if result.requires_grad:
        move_retained(target._value, result._value)
        target._value, target._requires_grad, target._leaf = result._value, True, result._leaf
        node = None if result._value is None else result._value.node
        if isinstance(node, Recorded) and any(_is_of(kept, result) for kept in node.saved):
            node.saved = tuple(_moved(kept, target) if _is_of(kept, result) else kept for kept in node.saved)
    else:
        target._value, target._requires_grad, target._leaf = None, False, True


def _is_of(kept: Saved, result: Tensor) -> bool:
    """Whether what is kept is the memory of `result`; what hooks packed is not looked at."""
    return not isinstance(kept, Packed) and kept.array is result._array


def _moved(kept: Saved, target: Tensor) -> Saved:
    """A saved value that now stands in the target's memory, watched from here on."""
    assert target._array is not None
    return Saved(target._array, kept.dtype, kept.held, kept.requires_grad, target._memory, target._memory.version)


def write_history(target: Tensor, value: Value) -> None:
    """Give `target`, whose memory holds the new numbers already, the history of `value`."""
    new = Tensor._wrap(target._array, target._dtype, memory=target._memory, type=target._tensor_type)
    new._value, new._requires_grad, new._leaf = value, True, False
    base = target._base
    if base is None:
        _adopt(target, new)
        return
    _adopt(base, _replaced(base, target, new))


def write_part(target: Tensor, value: Tensor) -> bool:
    """Overwrite a view that was made unrecorded by `value`, spread over it, as one node; whether that was possible."""
    base, array = target._base, value._array
    if base is None or array is None or target._tensor_type.size == base._tensor_type.size:
        return False  # nothing is left of a base that is overwritten whole, yet it has a gradient
    extents, own = target._tensor_type.dims, value._tensor_type.dims
    pairs = zip(reversed(own), reversed(extents), strict=False)
    if own not in ((), extents) and (len(own) > len(extents) or any(a not in (1, b) for a, b in pairs)):
        return False
    check_overlap(target)
    check_partial_overlap(target, value)
    whole = _replaced(base, target, value)
    np.copyto(_writable(target), array)
    _count_write(target)
    _adopt(base, whole)
    return True


def keep_part(target: Tensor) -> None:
    """Overwrite a view by itself, which counts as a write and changes nothing."""
    check_overlap(target)
    _count_write(target)


def _replaced(base: Tensor, target: Tensor, new: Tensor) -> Tensor:
    """A tensor with the history that `base` has after its view `target` was overwritten by `new`, spread over it.

    Its numbers are those of the memory, before or after the write: nothing is computed.
    """
    from adjit.composite import give_history

    assert base._array is not None
    whole = Tensor._wrap(base._array, base._dtype, memory=base._memory, type=base._tensor_type)
    chain, dims = target._chain[len(base._chain) :], target._tensor_type.dims
    if give_history(_overwriting(base._tensor_type, new._tensor_type, chain, dims), (base, new), whole, "CopySlices"):
        return whole
    from adjit.dispatch import rename

    return rename(_overwritten(base, new, chain, dims), "CopySlices")


@lru_cache(maxsize=4096)
def _overwriting(base: TensorType, new: TensorType, chain: Chain, dims: tuple[Size, ...]) -> Graph:
    """What `_overwritten` does, as a graph."""
    from adjit.composite import trace_function

    return trace_function(lambda base, new: (_overwritten(base, new, chain, dims),), "copy_slices", [base, new])


def _overwritten(base: Tensor, new: Tensor, chain: Chain, dims: tuple[Size, ...]) -> Tensor:
    """The base's new value is what it was with the view's part replaced: the chain's inverse."""
    from adjit.shaping import expand

    return write_through(base, chain, new if new._tensor_type.dims == dims else expand(new, *dims))
