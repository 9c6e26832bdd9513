"""Tensors whose axes lie in memory in another order than row-major."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.device import channels_last, channels_last_3d, contiguous_format, preserve_format
from adjit.dims import numel_of, shape_of
from adjit.dispatch import rename
from adjit.ir.shape import strides_of
from adjit.shaping import clone, permute
from adjit.strided_views import as_strided
from adjit.tensor import Tensor
from adjit.views import is_contiguous, strides

# The order of axes in memory, outermost first.
_ORDERS = {channels_last: (0, 2, 3, 1), channels_last_3d: (0, 2, 3, 4, 1)}


def _order(input: Tensor, memory_format: Any) -> tuple[int, ...]:
    order = _ORDERS[memory_format]
    if len(shape_of(input)) != len(order):
        name = repr(memory_format).removeprefix("torch.")
        raise RuntimeError(f"required rank {len(order)} tensor to use {name} format")
    return order


def laid_out(input: Tensor, memory_format: Any) -> Tensor:
    """A copy whose axes lie in memory as the format says."""
    if memory_format in (contiguous_format, preserve_format):
        return clone(input)
    order = _order(input, memory_format)
    dense = rename(clone(permute(input, order)), "Clone")
    return permute(dense, [order.index(axis) for axis in range(len(order))])


def lies_in(input: Tensor, memory_format: Any) -> bool:
    """Whether the axes lie in memory as the format says, without gaps."""
    if memory_format in (contiguous_format, preserve_format):
        return is_contiguous(input)
    order = _ORDERS[memory_format]
    if len(shape_of(input)) != len(order):
        return False
    dims = tuple(input._tensor_type.dims[axis] for axis in order)
    steps = [strides(input)[axis] for axis in order]
    return all(d == 1 or a == b for d, a, b in zip(dims, steps, strides_of(dims), strict=True))


def empty_strided(
    size: Sequence[int],
    stride: Sequence[int],
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Unstated values (zeros here) with the given strides."""
    from adjit.creation import empty

    shape, steps = tuple(size), tuple(stride)
    if len(shape) != len(steps):
        raise RuntimeError(
            f"dimensionality of sizes ({len(shape)}) must match dimensionality of strides ({len(steps)})"
        )
    if any(extent < 0 for extent in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    if any(step < 0 for step in steps):
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)} and strides={list(steps)}")
    none = any(extent == 0 for extent in shape)
    reach = 0 if none else 1 + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
    made = as_strided(empty(reach, dtype=dtype, device=device), shape, steps)
    return made.requires_grad_() if requires_grad else made


def empty_permuted(
    size: Sequence[int],
    physical_layout: Sequence[int],
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Unstated values (zeros here) whose axes lie in memory in the given order, without gaps."""
    shape, order = tuple(size), tuple(physical_layout)
    if len(shape) != len(order):
        raise RuntimeError(
            "Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = "
            f"{len(shape)} is not equal to len(physical_layout) = {len(order)}"
        )
    for place, axis in enumerate(order):
        if not 0 <= axis < len(shape):
            raise RuntimeError(
                f"Dimension out of range (expected to be between 0 and {len(shape) - 1}, but got {axis} at index "
                f"{place}).  NB: negative dims not currently supported; file an issue if you want it."
            )
        if axis in order[:place]:
            raise RuntimeError("Duplicate dim not allowed")
    steps = [numel_of([shape[after] for after in order[order.index(axis) + 1 :]]) for axis in range(len(shape))]
    return empty_strided(shape, steps, dtype=dtype, device=device, requires_grad=requires_grad)


def new_empty_strided(
    input: Tensor, size: Sequence[int], stride: Sequence[int], dtype: Any = None, **options: Any
) -> Tensor:
    """`empty_strided` in the tensor's dtype."""
    return empty_strided(size, stride, dtype=input.dtype if dtype is None else dtype, **options)


# -- of strided tensors, which all are --------------------------------------------------------------------------------
def dense_dim(input: Tensor) -> int:
    """The number of axes."""
    return len(shape_of(input))


def sparse_dim(input: Tensor) -> int:
    """0."""
    return 0


def to_dense(input: Tensor, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
    """The tensor itself, or in another dtype."""
    return input if dtype is None else input.to(dtype)


METHODS: dict[str, Callable[..., Any]] = {
    "dense_dim": dense_dim, "new_empty_strided": new_empty_strided, "sparse_dim": sparse_dim, "to_dense": to_dense,
}  # fmt: skip
__all__ = ["empty_permuted", "empty_strided"]
