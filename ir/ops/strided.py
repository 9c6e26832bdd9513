"""The op that reads memory with any strides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adjit.ir.errors import ShapeError
from adjit.ir.index import Element, ElementFunction, Scalars
from adjit.ir.ops import arrays
from adjit.ir.ops.arrays import Array, Shape, counted, zeros
from adjit.ir.ops.checks import require_extents, require_one_each
from adjit.ir.ops.indexing import scatter_add
from adjit.ir.ops.structure import same_position
from adjit.ir.primitive import primitive
from adjit.ir.shape import Size, product
from adjit.ir.types import I64, TensorType


@primitive("structure")
def as_strided(x: Array, *, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Array:
    """out[i...] = x[j...] where j is the row-major position offset + i[0]*strides[0] + i[1]*strides[1] + ...

    Shapes: x [*dims] -> [*shape]; strides at least 0.
    """
    flat = np.asarray(x).reshape(-1)
    steps = tuple(stride * flat.strides[0] for stride in strides)
    return np.lib.stride_tricks.as_strided(flat[offset:] if 0 not in shape else flat[:0], shape, steps)


@as_strided.infers
def _(x: TensorType, *, shape: Shape, strides: Shape, offset: Size) -> TensorType:
    require_one_each("as_strided", len(shape), strides=strides)
    require_extents("as_strided", "extent", shape)
    require_extents("as_strided", "stride", strides)
    require_extents("as_strided", "offset", (offset,))
    if 0 not in shape:
        last: Size = offset
        for extent, stride in zip(shape, strides, strict=True):
            last = last + (extent - 1) * stride
        # Of a polynomial in names only a constant difference is known to be outside.
        if isinstance(over := last - x.size, int) and over >= 0:
            raise ShapeError(f"as_strided: position {last} is outside {x}, which has {x.size} elements")
    return x.with_dims(tuple(shape))


@as_strided.transposes
def _(g: Array, x: Array, *, shape: Shape, strides: Shape, offset: Size) -> Array:
    if 0 in shape:
        return zeros(x)
    places = positions(x, shape, strides, offset)
    count = product(shape)
    flat = arrays.reshape(zeros(x), (product(tuple(x.shape)),))
    total = scatter_add(flat, arrays.reshape(g, (count,)), arrays.reshape(places, (count,)), axes=(0,))
    return arrays.reshape(total, tuple(x.shape))


def positions(like: Array, shape: Shape, strides: Shape, offset: Size) -> Array:
    """out[i...] = offset + i[0]*strides[0] + i[1]*strides[1] + ..."""
    found = arrays.full(like, offset, shape, I64)  # type: ignore[arg-type]  # an open size is a constant too
    for axis, stride in enumerate(strides):
        if stride != 0:
            found = found + counted(like, shape, axis) * stride
    return found


@as_strided.batches
def _(batched: Sequence[bool], x: Array, *, shape: Shape, strides: Shape, offset: Size) -> Array:
    extent, *dims = x.shape
    return as_strided(x, shape=(extent, *shape), strides=(product(tuple(dims)), *strides), offset=offset)


@as_strided.indexes
def _(k: Scalars, index: Sequence[Size], x: ElementFunction, *, shape: Shape, strides: Shape, offset: Size) -> Element:
    place: Size = offset
    for at, stride in zip(index, strides, strict=True):
        place = place + at * stride
    dims = x.type.dims
    if len(dims) == 1:
        return x(place)
    return x(*same_position((place,), (product(dims),), dims))
