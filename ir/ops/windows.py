"""Ops on sliding windows: window, which reads them, and fold, its transpose, which sums them back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adjit.ir.index import Element, ElementFunction, Scalars
from adjit.ir.ops.arrays import Array, Axes, Shape, shifted
from adjit.ir.ops.checks import (
    require,
    require_axes,
    require_extents,
    require_numbers,
    require_one_each,
    require_same_size,
    window_count,
)
from adjit.ir.primitive import primitive
from adjit.ir.shape import Size, evaluate, format_shape
from adjit.ir.types import TensorType

# -- window and fold ---------------------------------------------------------------------------------------------------


@primitive("structure")
def window(x: Array, *, axes: Axes, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> Array:
    """out[i..., w...] = x[i*stride + w*dilation at axes, i at the others].

    Shapes: x [*dims] -> [*dims with (n - (size-1)*dilation - 1)//stride + 1 at axes, *size].
    """
    x = np.asarray(x)
    shape, strides = list(x.shape), list(x.strides)
    for axis, count, step, gap in zip(axes, size, stride, dilation, strict=True):
        shape[axis] = evaluate(window_count("window", x.shape[axis], count, step, gap), {})
        strides[axis] *= step
        shape.append(count)
        strides.append(x.strides[axis] * gap)
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)


def window_dims(
    op: str, dims: Shape, *, axes: Axes, size: Shape, stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Shape:
    """The shape of all windows over `dims`."""
    require_axes(op, axes, len(dims))
    require_one_each(op, len(axes), size=size, stride=stride, dilation=dilation)
    for name, sizes in (("size", size), ("stride", stride), ("dilation", dilation)):
        require_extents(op, name, sizes, least=1)
    counts = list(dims)
    for axis, extent, step, gap in zip(axes, size, stride, dilation, strict=True):
        counts[axis] = window_count(op, dims[axis], extent, step, gap)
    return (*counts, *size)


@window.infers
def _(x: TensorType, *, axes: Axes, size: Shape, stride: tuple[int, ...], dilation: tuple[int, ...]) -> TensorType:
    return x.with_dims(window_dims("window", x.dims, axes=axes, size=size, stride=stride, dilation=dilation))


@window.transposes
def _(g: Array, x: Array, *, axes: Axes, size: Shape, stride: tuple[int, ...], dilation: tuple[int, ...]) -> Array:
    return fold(g, axes=axes, size=size, stride=stride, dilation=dilation, shape=tuple(x.shape))


@window.batches
def _(
    batched: Sequence[bool], x: Array, *, axes: Axes, size: Shape, stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Array:
    return window(x, axes=shifted(axes), size=size, stride=stride, dilation=dilation)


@window.indexes
def _(
    k: Scalars, index: Sequence[Size], x: ElementFunction, *, axes: Axes, size: Shape, stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Element:  # fmt: skip
    inner = list(index[: x.type.ndim])
    for axis, place, step, gap in zip(axes, index[x.type.ndim :], stride, dilation, strict=True):
        inner[axis] = inner[axis] * step + place * gap
    return x(*inner)


@primitive("structure", exact=False)
def fold(
    x: Array, *, axes: Axes, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...],
    shape: tuple[int, ...],
) -> Array:  # fmt: skip
    """out[j...] = sum of x[i..., w...] over all windows i and places w with i*stride + w*dilation = j at axes.

    Shapes: x [windows over `shape`, *size] -> [*shape]; the transpose of window.  Floats are summed in float64.
    """
    x = np.asarray(x)
    out = np.zeros(shape, {"f": np.float64, "c": np.complex128}.get(x.dtype.kind, x.dtype))
    for place in np.ndindex(*size):
        cuts = [slice(None)] * len(shape)
        for axis, offset, step, gap in zip(axes, place, stride, dilation, strict=True):
            cuts[axis] = slice(offset * gap, offset * gap + (x.shape[axis] - 1) * step + 1, step)
        if 0 not in x.shape:
            with np.errstate(all="ignore"):
                out[tuple(cuts)] += x[(..., *place)]
    with np.errstate(over="ignore"):
        return out.astype(x.dtype)


@fold.infers
def _(
    x: TensorType, *, axes: Axes, size: Shape, stride: tuple[int, ...], dilation: tuple[int, ...], shape: Shape
) -> TensorType:
    require_numbers("fold", x)
    require_extents("fold", "extent", shape)
    dims = window_dims("fold", tuple(shape), axes=axes, size=size, stride=stride, dilation=dilation)
    require(x.ndim == len(dims), f"fold: {x} has {x.ndim} axes, windows over {format_shape(shape)} have {len(dims)}")
    for axis, (ours, theirs) in enumerate(zip(x.dims, dims, strict=True)):
        require_same_size("fold", ours, theirs, f"axis {axis} of {x} and of the windows over {format_shape(shape)}")
    return x.with_dims(tuple(shape))


@fold.transposes
def _(
    g: Array, x: Array, *, axes: Axes, size: Shape, stride: tuple[int, ...], dilation: tuple[int, ...], shape: Shape
) -> Array:
    return window(g, axes=axes, size=size, stride=stride, dilation=dilation)


@fold.batches
def _(
    batched: Sequence[bool], x: Array, *, axes: Axes, size: Shape, stride: tuple[int, ...], dilation: tuple[int, ...],
    shape: Shape,
) -> Array:  # fmt: skip
    return fold(x, axes=shifted(axes), size=size, stride=stride, dilation=dilation, shape=(x.shape[0], *shape))


@fold.indexes
def _(
    k: Scalars, index: Sequence[Size], x: ElementFunction, *, axes: Axes, size: Shape, stride: tuple[int, ...],
    dilation: tuple[int, ...], shape: Shape,
) -> Element:  # fmt: skip
    steps = tuple(zip(axes, size, stride, dilation, strict=True))
    # Of windows that stand apart few reach an element: these are counted, not the places in a window.
    counts = tuple(-(-length // step) if gap == 1 else length for _, length, step, gap in steps)

    def term(*turns: Size) -> Element:
        outer, places = list(index), list(turns)
        conditions: list[tuple[Size, Size]] = []
        for number, (axis, length, step, gap) in enumerate(steps):
            if gap == 1:
                outer[axis] = index[axis] // step - turns[number]
                places[number] = index[axis] % step + turns[number] * step
                if length % step:
                    conditions.append((places[number], length))
            else:
                distance = index[axis] - turns[number] * gap
                if step != 1:
                    conditions.append((distance % step, 1))
                outer[axis] = distance // step
            conditions.append((outer[axis], x.type.dims[axis]))
        return k.select(k.inside(conditions), lambda: x(*outer, *places), lambda: k.constant(0, x.type.dtype))

    return k.reduce("sum", counts, term) if axes else x(*index)
