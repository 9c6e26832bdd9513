"""Views with strides of their own choice, windows, and other readings of the same bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from adjit.dims import numel_of, raw, shape_of, whole, wrap_dim
from adjit.dispatch import apply, leaked
from adjit.dtypes import dtype, title_of
from adjit.ir.ops.strided import as_strided as as_strided_op
from adjit.ir.ops.structure import reshape as reshape_op
from adjit.ir.primitive import primitive_named
from adjit.ir.types import TensorType
from adjit.runtime.layout import address_of
from adjit.shaping import narrow, reshape
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.view_strides import offset_of_chain
from adjit.views import is_contiguous, strides
from adjit.views import view as make_view

_window = primitive_named("window")
_bitcast = primitive_named("bitcast")


def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """The view out[i...] = memory[storage_offset + i[0]*stride[0] + ...] of the memory that `input` lies in.

    The gradient reaches the elements that `input` shows.
    Errors: RuntimeError for negative strides and for places outside the memory.
    """
    shape, steps = tuple(size), tuple(stride)
    start = offset_of(input) if storage_offset is None else storage_offset
    _check_geometry(shape, steps, start)
    total = numel_of(shape_of(input))
    own = offset_of(input) if is_contiguous(input) else None
    if own is not None and start >= own and _last(shape, steps, start) < own + total:
        attributes = {"shape": raw(shape), "strides": raw(steps), "offset": start - own}
        return make_view(as_strided_op, input, attributes, "AsStrided")
    if STATE.tracer is not None:
        return _of_root(input, shape, steps, start)
    return _of_memory(input, shape, steps, start)


def _check_geometry(shape: tuple[Any, ...], steps: tuple[Any, ...], start: Any) -> None:
    if len(shape) != len(steps):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(step < 0 for step in steps):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(steps)}")
    if any(extent < 0 for extent in shape):
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)} and strides={list(steps)}")
    if start < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {start}")


def _last(shape: Sequence[Any], steps: Sequence[Any], start: Any) -> Any:
    """The greatest position that a geometry reaches; before the start where it has no elements."""
    if any(extent == 0 for extent in shape):
        return -1
    for extent, step in zip(shape, steps, strict=True):
        start = start + (extent - 1) * step
    return start


def offset_of(input: Tensor) -> Any:
    """How many elements of the memory lie before the tensor's first."""
    if input._array is None:
        return _traced_offset(input)
    whole = input._memory.array
    if whole is None or input._array.size == 0:
        return 0
    start = address_of(input._array) - address_of(whole)
    return int(start) // input._array.itemsize


def _traced_offset(input: Tensor) -> Any:
    """The offset of a traced view, from its chain."""
    if not input._chain:
        return 0
    return offset_of_chain(_root(input)._tensor_type.dims, input._memory.dtype, input._chain)


def _root(input: Tensor) -> Tensor:
    """In a trace: the whole memory as a tensor."""
    tracer = STATE.tracer
    if tracer is None:
        raise leaked(input)
    base = input if input._base is None else input._base
    if not base._chain:  # the tensor itself, to whose `grad` gradients go
        return base
    root = tracer.tensor_in(tracer.cell_of(input).value, input._memory, ())
    root._requires_grad, root._leaf = base.requires_grad, base._leaf
    return root


def _of_root(input: Tensor, shape: tuple[Any, ...], steps: tuple[Any, ...], start: Any) -> Tensor:
    """In a trace: the view of the memory's whole value."""
    root = _root(input)
    check_inside(shape, steps, start, numel_of(shape_of(root)), root._dtype.itemsize)
    attributes = {"shape": raw(shape), "strides": raw(steps), "offset": start}
    return make_view(as_strided_op, root, attributes, "AsStrided")


def check_inside(shape: tuple[Any, ...], steps: tuple[Any, ...], start: Any, total: Any, itemsize: int) -> None:
    """RuntimeError where a geometry reaches beyond memory of `total` elements."""
    last = _last(shape, steps, start)
    if last >= total:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(steps)}, storage offset {start}, and itemsize {itemsize} "
            f"requiring a storage size of {(last + 1) * itemsize} are out of bounds for storage of size "
            f"{total * itemsize}"
        )


def memory_flat(input: Tensor) -> np.ndarray:
    """All elements of the memory that the tensor lies in, gaps included."""
    whole = input._memory.array
    assert whole is not None
    whole = whole.view(input._dtype.storage)
    if whole.flags.c_contiguous:
        return whole.reshape(-1)
    # NumPy's arrays with gaps: from the first element to the last.
    reach = 1 + sum((n - 1) * s for n, s in zip(whole.shape, whole.strides, strict=True)) // whole.itemsize
    return np.lib.stride_tricks.as_strided(whole, (reach if whole.size else 0,), (whole.itemsize,))


def whole_memory(input: Tensor) -> Tensor:
    """All elements of the memory that the tensor lies in, as a vector."""
    if STATE.tracer is not None:
        return reshape(_root(input), -1)
    return as_strided(input, (memory_flat(input).size,), (1,), 0)


def _of_memory(input: Tensor, shape: tuple[int, ...], steps: tuple[int, ...], start: int) -> Tensor:
    """In eager mode: the view of the memory, with the part of `input`'s history that it shows."""
    flat = memory_flat(input)
    bits = () if input._memory.dtype is input._dtype else ((_bitcast, (("dtype", input._dtype),)),)
    check_inside(shape, steps, start, flat.size, flat.itemsize)
    attributes: dict[str, Any] = {"shape": shape, "strides": steps, "offset": start}
    array = as_strided_op.reference(flat, **attributes)
    base = input if input._base is None else input._base
    result = Tensor._wrap(array, input._dtype, memory=input._memory, type=TensorType(input._dtype, shape))
    result._chain = (*bits, (as_strided_op, tuple(attributes.items())))
    if not base._chain:  # a base that is itself a part of the memory has no part that is this view
        result._base, result._seen = base, base._history
    if STATE.recording and input.requires_grad:
        shown = _shown(input, array, shape, steps, start, flat.size)
        result._value, result._requires_grad, result._leaf = shown._value, True, False
    return result


def _shown(
    input: Tensor, array: np.ndarray, shape: tuple[int, ...], steps: tuple[int, ...], start: int, total: int
) -> Tensor:
    """The view's elements as a gather from those of `input`; constants where `input` does not show them."""
    from adjit.creation import from_numpy

    places = np.full(total, -1, np.int64)
    everywhere = np.arange(total, dtype=np.int64)
    own: dict[str, Any] = {"shape": tuple(shape_of(input)), "strides": strides(input), "offset": offset_of(input)}
    places[as_strided_op.reference(everywhere, **own).reshape(-1)] = np.arange(int(numel_of(shape_of(input))))
    found = as_strided_op.reference(places, shape=shape, strides=steps, offset=start)
    index = from_numpy(np.maximum(found, 0))
    inside = from_numpy(found >= 0)
    taken = apply(primitive_named("gather"), (reshape(input, -1), index), {"axes": (0,)})
    outside = Tensor._wrap(array.copy(), input._dtype)
    return apply(primitive_named("where"), (inside, taken, outside), name="AsStrided")  # type: ignore[no-any-return]


def as_strided_(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """Give the tensor itself other sizes and strides."""
    from adjit.inplace import become

    return become(input, partial(as_strided, input, size, stride, storage_offset))


# -- windows --------------------------------------------------------------------------------------------------------
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of an axis, `step` apart, along a new last axis, as a view."""
    axis = wrap_dim(dimension, len(shape_of(input)))
    extent = shape_of(input)[axis] if shape_of(input) else 1
    size, step = whole(size), whole(step)
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > extent:
        raise RuntimeError(f"maximum size for tensor at dimension {axis} is {extent} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not shape_of(input):
        one = make_view(reshape_op, input, {"shape": (1,)}, "Unfold")
        return one if size == 1 else narrow(one, 0, 0, 0)
    if size == 0:
        shape = tuple(shape_of(input))
        count = (extent - size) // step + 1
        none = narrow(input, axis, 0, 0)
        return make_view(reshape_op, none, {"shape": (*shape[:axis], count, *shape[axis + 1 :], 0)}, "Unfold")
    attributes: dict[str, Any] = {"axes": (axis,), "size": (size,), "stride": (step,), "dilation": (1,)}
    return make_view(_window, input, attributes, "Unfold")


# -- other dtypes on the same bits ------------------------------------------------------------------------------------
def view_dtype(input: Tensor, target: dtype) -> Tensor:
    """`input.view(dtype)`: the same bytes read as another dtype; the last axis shrinks or grows with the item size.

    Errors: RuntimeError where the last axis is not dense, or its bytes are no whole number of items.
    """
    old, new = input._dtype.itemsize, target.ir.itemsize
    if input._dtype is target.ir:
        return make_view(reshape_op, input, {"shape": tuple(shape_of(input))}, "View")
    if old == new:
        return make_view(_bitcast, input, {"dtype": target.ir}, "View")
    names = f"{title_of(input._dtype)} as {title_of(target.ir)} (different element sizes)"
    shape = tuple(shape_of(input))
    if not shape:
        raise RuntimeError(f"self.dim() cannot be 0 to view {names}")
    if strides(input)[-1] != 1 and shape[-1] != 1:
        raise RuntimeError(f"self.stride(-1) must be 1 to view {names}, but got {strides(input)[-1]}")
    if new > old:
        _check_widening(input, new // old, names)
    return _other_size(input, target)


def _check_widening(input: Tensor, ratio: int, names: str) -> None:
    shape, steps = shape_of(input), strides(input)
    if shape[-1] % ratio:
        raise RuntimeError(f"self.size(-1) must be divisible by {ratio} to view {names}, but got {shape[-1]}")
    if offset_of(input) % ratio:
        raise RuntimeError(
            f"self.storage_offset() must be divisible by {ratio} to view {names}, but got {offset_of(input)}"
        )
    for axis, step in enumerate(steps[:-1]):
        if step % ratio:
            raise RuntimeError(f"self.stride({axis}) must be divisible by {ratio} to view {names}, but got {step}")


def _other_size(input: Tensor, target: dtype) -> Tensor:
    """A view whose items have another size: memory that other tensors see as the old dtype, outside autograd."""
    from adjit.conversion import concrete

    array = concrete(input, "view(dtype) to a dtype of another size").view(target.ir.storage)
    result = Tensor._wrap(array, target.ir, memory=input._memory)
    result._chain = (*input._chain, (_bitcast, (("dtype", target.ir),)))  # a trace refuses to read it
    return result


METHODS: dict[str, Callable[..., Any]] = {"as_strided": as_strided, "as_strided_": as_strided_, "unfold": unfold}
__all__ = ["as_strided", "as_strided_"]
