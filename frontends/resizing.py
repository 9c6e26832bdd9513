"""Tensors that take another size or stand on other memory, in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from adjit.dims import named_rest, numel_of, shape_of, sizes_argument
from adjit.dtypes import c_name
from adjit.ir.errors import asks_memory
from adjit.ir.ops.strided import as_strided as as_strided_op
from adjit.ir.shape import strides_of
from adjit.ir.types import TensorType
from adjit.memory import Memory, ask_write
from adjit.state import STATE
from adjit.strided_views import memory_flat, offset_of
from adjit.tensor import Tensor
from adjit.views import is_contiguous


@named_rest("size")
def resize_(input: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Give the tensor itself another size: its memory in row-major order, grown by zeros where it is too small.

    Memory that grows is this tensor's own from then on; tensors that shared it keep what they have.
    Errors: RuntimeError for a tensor that requires grad.
    """
    shape = sizes_argument(sizes)
    if input.requires_grad and tuple(shape_of(input)) != shape:
        raise RuntimeError("cannot resize variables that require grad")
    if any(size < 0 for size in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    if tuple(shape_of(input)) == shape:
        return input
    if input._memory.is_inference:
        ask_write()
    if STATE.tracer is not None:
        return _resized_in_trace(input, shape)
    steps: Any = strides_of(shape)
    _stand_on(input, input._memory, shape, steps, offset_of(input), grow=True)
    return input


def _resized_in_trace(input: Tensor, shape: tuple[Any, ...]) -> Tensor:
    from adjit.inplace import become
    from adjit.ir.errors import TraceError
    from adjit.shaping import view

    if is_contiguous(input) and numel_of(shape) == numel_of(shape_of(input)):
        return become(input, partial(view, input, shape))
    raise TraceError(
        f"resize_ from {list(shape_of(input))} to {list(shape)} changes the number of elements, which a compiled "
        "function cannot\n  hint: make a new tensor, with `new_empty` or `nn.functional.pad`"
    )


@asks_memory
def _stand_on(
    input: Tensor, memory: Memory, shape: tuple[int, ...], steps: tuple[int, ...], offset: int, grow: bool = False
) -> None:
    """Make `input` the part of `memory` that a geometry describes."""
    carrier = Tensor._wrap(memory.array, input._dtype, memory=memory)
    flat = memory_flat(carrier)
    last = offset + sum((n - 1) * s for n, s in zip(shape, steps, strict=True)) if 0 not in shape else -1
    if last >= flat.size:
        assert grow
        wider = np.zeros(last + 1, flat.dtype)
        wider[: flat.size] = flat
        version = memory.version
        memory, flat = Memory(wider, input._dtype), wider
        memory.version = version
    attributes: dict[str, Any] = {"shape": shape, "strides": steps, "offset": offset}
    input._array = as_strided_op.reference(flat, **attributes)
    input._memory, input._base = memory, None
    input._chain = ((as_strided_op, tuple(attributes.items())),)
    input._type = TensorType(input._dtype, shape)
    input._value, input._strides = None, None


def resize_as_(input: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """`resize_` to the shape of another tensor."""
    return resize_(input, tuple(shape_of(the_template)))


def set_(
    input: Tensor,
    source: Any = None,
    storage_offset: int = 0,
    size: Sequence[int] | None = None,
    stride: Sequence[int] | None = None,
) -> Tensor:
    """Make `input` stand on the memory of a tensor, or on a storage at an offset with sizes and strides."""
    from adjit.storage import UntypedStorage

    if source is None:
        source = UntypedStorage(Memory(np.zeros(0, input._dtype.storage), input._dtype))
    if isinstance(source, Tensor) and source._dtype is not input._dtype:
        own, other = c_name(input._dtype), c_name(source._dtype)
        raise RuntimeError(f"Could not set tensor of type {other} to a tensor of type {own}")
    if isinstance(source, Tensor) and size is None:
        input.data = source
        return input
    memory = source._memory
    if isinstance(source, UntypedStorage):
        count = source.nbytes() // input._dtype.itemsize
        shape = (count - storage_offset,) if size is None else tuple(size)
    else:
        shape = tuple(size or ())
    steps: Any = tuple(stride) if stride is not None else strides_of(shape)
    _check_fits(memory, input, shape, steps, storage_offset)
    _stand_on(input, memory, shape, steps, storage_offset)
    return input


def _check_fits(memory: Memory, input: Tensor, shape: tuple[int, ...], steps: tuple[int, ...], offset: int) -> None:
    from adjit.strided_views import check_inside

    assert memory.array is not None
    check_inside(shape, steps, offset, memory.array.nbytes // input._dtype.itemsize, input._dtype.itemsize)


METHODS: dict[str, Callable[..., Any]] = {"resize_": resize_, "resize_as_": resize_as_, "set_": set_}
__all__ = ["resize_as_"]
