"""The words in which derivative and batching rules are written, over NumPy arrays and IR expressions alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from adjit.ir.halfs import storage_dtype
from adjit.ir.primitive import primitive_named, source
from adjit.ir.shape import Size
from adjit.ir.types import I64, DType

# An `Expr` or a NumPy array: rules do not care which.
Array: TypeAlias = Any
Shape: TypeAlias = "tuple[Size, ...]"
Axes: TypeAlias = "tuple[int, ...]"


def dtype_of(x: Array) -> DType:
    """The dtype of an expression or of a NumPy array."""
    if isinstance(x.dtype, DType):
        return x.dtype
    return storage_dtype(x)


def full(like: Array, value: float | int | bool, shape: Shape, dtype: DType) -> Array:
    """out[i...] = value."""
    literal = source(like, primitive_named("const"), value=value, dtype=dtype)
    return expand(literal, shape)


def zeros(like: Array) -> Array:
    """out[i...] = 0, of the shape and dtype of `like`."""
    return full(like, 0, tuple(like.shape), dtype_of(like))


def counted(like: Array, shape: Shape, axis: int) -> Array:
    """out[i...] = i[axis] in i64."""
    return source(like, primitive_named("iota"), shape=shape, axis=axis, dtype=I64)


def reshape(x: Array, shape: Shape) -> Array:
    """`x` in another shape; nothing where it has that shape."""
    return x if tuple(x.shape) == tuple(shape) else primitive_named("reshape")(x, shape=tuple(shape))


def permute(x: Array, perm: Sequence[int]) -> Array:
    """`x` with its axes in the order `perm`; nothing where that is their order."""
    return x if list(perm) == list(range(x.ndim)) else primitive_named("permute")(x, perm=tuple(perm))


def expand(x: Array, shape: Shape) -> Array:
    """`x` broadcast to `shape`; nothing where it has that shape."""
    return x if tuple(x.shape) == tuple(shape) else primitive_named("expand")(x, shape=tuple(shape))


def window_of(x: Array, start: Sequence[Size], size: Sequence[Size], step: Sequence[int] | None = None) -> Array:
    """out[i...] = x[start + i*step ...]."""
    step = (1,) * x.ndim if step is None else step
    return primitive_named("slice")(x, start=tuple(start), size=tuple(size), step=tuple(step))


def moved(x: Array, source_axis: int, target: int) -> Array:
    """`x` with one axis moved to the place `target`."""
    order = [axis for axis in range(x.ndim) if axis != source_axis]
    order.insert(target, source_axis)
    return permute(x, order)


def spread(x: Array, shape: Shape, axes: Sequence[int]) -> Array:
    """out[i...] = x[i without axes]: the values of a reduction put back over the reduced axes."""
    kept = [1 if axis in axes else dim for axis, dim in enumerate(shape)]
    first = next((axis for axis in range(len(shape)) if axis not in axes), len(shape))
    return expand(reshape(x, tuple(kept[first:])), tuple(shape))


def along(index: Array, axis: int) -> tuple[Array, ...]:
    """Indices into every axis that vary like `index` in `axis` and stand still in the others."""
    shape = tuple(index.shape)
    return tuple(index if place == axis else counted(index, shape, place) for place in range(index.ndim))


def where(condition: Array, then: Array, other: Array) -> Array:
    """out[i] = then[i] if condition[i] else other[i]."""
    return primitive_named("where")(condition, then, other)


def equal(a: Array, b: Array) -> Array:
    """out[i] = a[i] == b[i]."""
    return primitive_named("eq")(a, b)


def cast(x: Array, dtype: DType) -> Array:
    """`x` in another dtype."""
    return primitive_named("cast")(x, dtype=dtype)


def attains(x: Array, extreme: Array) -> Array:
    """Where `x` is the extreme that was found among values that include it; a NaN that was found is attained by NaNs.

    A value that is not NaN never equals a NaN, and an extreme over a NaN is NaN: so `x` alone tells.
    """
    return equal(x, extreme) | ~equal(x, x)


def batch_extent(batched: Sequence[bool], operands: Sequence[Array]) -> Size:
    """The extent of the leading axis of the batched operands."""
    extent: Size = next(x.shape[0] for x, flag in zip(operands, batched, strict=True) if flag)
    return extent


def with_batch(x: Array, flag: bool, extent: Size) -> Array:
    """`x` with a leading axis of `extent`: its own where it has one, else repeated."""
    return x if flag else expand(x, (extent, *x.shape))


def shifted(axes: Sequence[int]) -> Axes:
    """The axes after one has been put before them."""
    return tuple(axis + 1 for axis in axes)
