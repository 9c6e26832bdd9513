"""Ops that move elements: reshape, permute, expand, slice, pad, concat, interleave; and detach, a boundary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import mul

import numpy as np

from adjit.ir.errors import ShapeError
from adjit.ir.index import Element, ElementFunction, Scalars
from adjit.ir.ops import arrays
from adjit.ir.ops.arrays import Array, Axes, Shape, batch_extent, shifted, window_of, with_batch
from adjit.ir.ops.checks import (
    dilated_extent,
    require,
    require_axes,
    require_extents,
    require_one_dtype,
    require_one_each,
    without,
)
from adjit.ir.primitive import primitive
from adjit.ir.shape import Size, evaluate, format_shape, product, strides_of
from adjit.ir.types import TensorType

# -- reshape -----------------------------------------------------------------------------------------------------------


@primitive("structure")
def reshape(x: Array, *, shape: tuple[int, ...]) -> Array:
    """out[i...] = x[j...] where i in `shape` and j in x's shape have the same row-major position.

    Shapes: x [*dims] -> [*shape], of as many elements.
    """
    return np.reshape(x, shape)


@reshape.infers
def _(x: TensorType, *, shape: Shape) -> TensorType:
    require_extents("reshape", "extent", shape)
    require(
        x.size == product(shape),
        f"reshape: {x} has {x.size} elements, {format_shape(shape)} has {product(shape)}",
    )
    return x.with_dims(tuple(shape))


@reshape.transposes
def _(g: Array, x: Array, *, shape: Shape) -> Array:
    return arrays.reshape(g, x.shape)


@reshape.batches
def _(batched: Sequence[bool], x: Array, *, shape: Shape) -> Array:
    return arrays.reshape(x, (x.shape[0], *shape))


@reshape.indexes
def _(k: Scalars, index: Sequence[Size], x: ElementFunction, *, shape: Shape) -> Element:
    return x(*same_position(index, shape, x.type.dims))


def same_position(index: Sequence[Size], shape: Shape, dims: Shape) -> tuple[Size, ...]:
    """The index into `dims` at the row-major position that `index` has in `shape`.

    Axes are taken in the smallest groups that hold as many elements on both sides, so that an axis on its own keeps its
    index, several that merge into one need no division, and a division is by the sizes of one group.
    """
    if 0 in dims:
        return (0,) * len(dims)
    # An axis of extent 1 has index 0 and takes no part.
    outer, inner = ([axis for axis, dim in enumerate(sizes) if dim != 1] for sizes in (shape, dims))
    found: list[Size] = [0] * len(dims)
    for ours, theirs in matching_groups([shape[a] for a in outer], [dims[a] for a in inner]):
        group = [outer[place] for place in ours]
        position: Size = 0
        for axis, stride in zip(group, strides_of(tuple(shape[a] for a in group)), strict=True):
            position = position + index[axis] * stride
        targets = [inner[place] for place in theirs]
        for number, (axis, stride) in enumerate(
            zip(targets, strides_of(tuple(dims[a] for a in targets)), strict=True)
        ):
            quotient = position if stride == 1 else position // stride
            found[axis] = quotient if number == 0 else quotient % dims[axis]
    return tuple(found)


def matching_groups(left: Sequence[Size], right: Sequence[Size]) -> Iterable[tuple[range, range]]:
    """The finest cut of both lists into consecutive runs with equal products."""
    ends = {size: place for place, size in enumerate(accumulate(right, mul), 1)}
    start = (0, 0)
    for place, size in enumerate(accumulate(left, mul), 1):
        if size in ends:
            end = (place, ends[size])
            yield range(start[0], end[0]), range(start[1], end[1])
            start = end


# -- permute -----------------------------------------------------------------------------------------------------------


@primitive("structure")
def permute(x: Array, *, perm: Axes) -> Array:
    """out[i...] = x[j...] with j[perm[a]] = i[a].

    Shapes: x [*dims] -> [dims[perm[0]], dims[perm[1]], ...].
    """
    return np.transpose(x, perm)


def inverse(perm: Axes) -> Axes:
    """The permutation that undoes `perm`."""
    return tuple(perm.index(axis) for axis in range(len(perm)))


@permute.infers
def _(x: TensorType, *, perm: Axes) -> TensorType:
    require_one_each("permute", x.ndim, perm=perm)
    require_axes("permute", perm, x.ndim)
    return x.with_dims(tuple(x.dims[axis] for axis in perm))


@permute.transposes
def _(g: Array, x: Array, *, perm: Axes) -> Array:
    return permute(g, perm=inverse(perm))


@permute.batches
def _(batched: Sequence[bool], x: Array, *, perm: Axes) -> Array:
    return permute(x, perm=(0, *shifted(perm)))


@permute.indexes
def _(k: Scalars, index: Sequence[Size], x: ElementFunction, *, perm: Axes) -> Element:
    return x(*(index[place] for place in inverse(perm)))


# -- expand ------------------------------------------------------------------------------------------------------------


@primitive("structure")
def expand(x: Array, *, shape: tuple[int, ...]) -> Array:
    """out[i...] = x[j...]: j is the end of i, with 0 where x has extent 1.

    Shapes: x [*dims] -> [*shape]; dims, aligned on the right, are 1 or equal to those of `shape`.
    """
    return np.broadcast_to(x, shape)


@expand.infers
def _(x: TensorType, *, shape: Shape) -> TensorType:
    require_extents("expand", "extent", shape)
    fits = x.ndim <= len(shape) and all(
        dim in (1, size) for dim, size in zip(x.dims, shape[len(shape) - x.ndim :], strict=True)
    )
    require(fits, f"expand: {x} does not broadcast to {format_shape(shape)}")
    return x.with_dims(tuple(shape))


@expand.transposes
def _(g: Array, x: Array, *, shape: Shape) -> Array:
    from adjit.ir.ops.reduction import reduce_sum

    new = len(shape) - x.ndim
    stretched = (axis + new for axis, dim in enumerate(x.shape) if dim == 1 and shape[axis + new] != 1)
    axes = (*range(new), *stretched)
    return arrays.reshape(reduce_sum(g, axes=axes) if axes else g, x.shape)


@expand.batches
def _(batched: Sequence[bool], x: Array, *, shape: Shape) -> Array:
    extent, *dims = x.shape
    new = (1,) * (len(shape) - len(dims))
    return arrays.expand(arrays.reshape(x, (extent, *new, *dims)), (extent, *shape))


@expand.indexes
def _(k: Scalars, index: Sequence[Size], x: ElementFunction, *, shape: Shape) -> Element:
    ends = index[len(shape) - x.type.ndim :]
    return x(*(0 if dim == 1 else place for place, dim in zip(ends, x.type.dims, strict=True)))


# -- slice -------------------------------------------------------------------------------------------------------------


@primitive("structure", name="slice")
def slice_(x: Array, *, start: tuple[int, ...], size: tuple[int, ...], step: tuple[int, ...]) -> Array:
    """out[i...] = x[start + i*step ...].

    Shapes: x [*dims] -> [*size]; steps are not zero and may be negative.
    """
    cuts = []
    for begin, count, stride in zip(start, size, step, strict=True):
        end = begin + count * stride
        # A negative end would count from the back; None stands for "before the first".
        cuts.append(slice(begin, None if end < 0 else end, stride) if count else slice(0, 0))
    return np.asarray(x)[(..., *cuts)]


@slice_.infers
def _(x: TensorType, *, start: Shape, size: Shape, step: tuple[int, ...]) -> TensorType:
    require_one_each("slice", x.ndim, start=start, size=size, step=step)
    require_extents("slice", "size", size)
    for axis, (extent, begin, count, stride) in enumerate(zip(x.dims, start, size, step, strict=True)):
        require(stride != 0, "slice: a step is zero")
        if count == 0:
            continue
        last = begin + (count - 1) * stride
        # Of a polynomial in names only a constant difference is known to be outside.
        outside = [
            place for place in (begin, last)
            if (isinstance(place, int) and place < 0)
            or (isinstance(over := place - extent, int) and over >= 0)
        ]  # fmt: skip
        if outside:
            raise ShapeError(f"slice: element {outside[0]} of axis {axis} is outside {x}")
    return x.with_dims(tuple(size))


@slice_.transposes
def _(g: Array, x: Array, *, start: Shape, size: Shape, step: tuple[int, ...]) -> Array:
    # Elements that a negative step read backwards are put back in their order first.
    if any(stride < 0 for stride in step):
        back = [stride < 0 for stride in step]
        g = window_of(
            g,
            [count - 1 if flip else 0 for count, flip in zip(size, back, strict=True)],
            size,
            [-1 if flip else 1 for flip in back],
        )
        ends = (begin + (count - 1) * stride for begin, count, stride in zip(start, size, step, strict=True))
        start = tuple(end if flip else begin for begin, end, flip in zip(start, ends, back, strict=True))
    steps = tuple(abs(stride) for stride in step)
    if 0 in size:
        return arrays.zeros(x)
    spans = [dilated_extent(count, stride) for count, stride in zip(size, steps, strict=True)]
    high = tuple(dim - begin - span for dim, begin, span in zip(x.shape, start, spans, strict=True))
    return pad(g, low=tuple(start), high=high, interior=tuple(stride - 1 for stride in steps), value=0)


@slice_.batches
def _(batched: Sequence[bool], x: Array, *, start: Shape, size: Shape, step: tuple[int, ...]) -> Array:
    return slice_(x, start=(0, *start), size=(x.shape[0], *size), step=(1, *step))


@slice_.indexes
def _(
    k: Scalars, index: Sequence[Size], x: ElementFunction, *, start: Shape, size: Shape, step: tuple[int, ...]
) -> Element:
    return x(*(begin + place * stride for begin, place, stride in zip(start, index, step, strict=True)))


# -- pad ---------------------------------------------------------------------------------------------------------------


@primitive("structure")
def pad(
    x: Array, *, low: tuple[int, ...], high: tuple[int, ...], interior: tuple[int, ...], value: int | float | bool
) -> Array:
    """out[i...] = x[j...] where i = low + j*(interior + 1), and value elsewhere.

    Shapes: x [*dims] -> [low + (dims - 1)*(interior + 1) + 1 + high], low, high and interior at least 0.
    The op is linear in x for value 0: a tangent or a cotangent is padded with 0.
    """
    x = np.asarray(x)
    spans = [evaluate(dilated_extent(dim, gap + 1), {}) for dim, gap in zip(x.shape, interior, strict=True)]
    shape = [before + span + after for before, span, after in zip(low, spans, high, strict=True)]
    out = np.full(shape, value, x.dtype)
    inner = zip(low, spans, interior, strict=True)
    out[tuple(slice(before, before + span, gap + 1) for before, span, gap in inner)] = x
    return out


@pad.infers
def _(x: TensorType, *, low: Shape, high: Shape, interior: tuple[int, ...], value: object) -> TensorType:
    require_one_each("pad", x.ndim, low=low, high=high, interior=interior)
    for name, sizes in (("low", low), ("high", high), ("interior", interior)):
        require_extents("pad", name, sizes)
    spans = (dilated_extent(dim, gap + 1) for dim, gap in zip(x.dims, interior, strict=True))
    return x.with_dims(tuple(before + span + after for before, span, after in zip(low, spans, high, strict=True)))


@pad.transposes
def _(g: Array, x: Array, *, low: Shape, high: Shape, interior: tuple[int, ...], value: object) -> Array:
    return window_of(g, low, x.shape, [gap + 1 for gap in interior])


@pad.batches
def _(
    batched: Sequence[bool], x: Array, *, low: Shape, high: Shape, interior: tuple[int, ...], value: object
) -> Array:
    return pad(x, low=(0, *low), high=(0, *high), interior=(0, *interior), value=value)


@pad.indexes
def _(
    k: Scalars, index: Sequence[Size], x: ElementFunction, *, low: Shape, high: Shape, interior: tuple[int, ...],
    value: int | float | bool,
) -> Element:  # fmt: skip
    inner: list[Size] = []
    conditions: list[tuple[Size, Size]] = []
    for place, dim, before, after, gap in zip(index, x.type.dims, low, high, interior, strict=True):
        distance = place - before
        if gap:
            conditions.append((distance % (gap + 1), 1))
            distance = distance // (gap + 1)
        if before != 0 or after != 0:
            conditions.append((distance, dim))
        inner.append(distance)
    if not conditions:
        return x(*inner)
    return k.select(k.inside(conditions), lambda: x(*inner), lambda: k.constant(value, x.type.dtype))


# -- concat ------------------------------------------------------------------------------------------------------------


@primitive("structure")
def concat(*operands: Array, axis: int) -> Array:
    """out[..., i, ...] = x_m[..., i - (extents of x_0 ... x_(m-1)), ...]: the operands in a row along `axis`.

    Shapes: x_m [*dims] equal but at `axis` -> the same with the sum of the extents there.
    """
    return np.concatenate(operands, axis)


@concat.infers
def _(*operands: TensorType, axis: int) -> TensorType:
    require(len(operands) > 0, "concat: no operands")
    first = operands[0]
    require_one_dtype("concat", operands)
    require_axes("concat", (axis,), first.ndim)
    total: Size = 0
    for type in operands:
        fits = type.ndim == first.ndim and without(type.dims, (axis,)) == without(first.dims, (axis,))
        require(fits, f"concat: {first} and {type} differ in more than axis {axis}")
        total = total + type.dims[axis]
    return first.with_dims((*first.dims[:axis], total, *first.dims[axis + 1 :]))


@concat.transposes
def _(g: Array, *operands: Array, axis: int) -> tuple[Array, ...]:
    parts = []
    offset: Size = 0
    for x in operands:
        start = [0] * x.ndim
        parts.append(window_of(g, (*start[:axis], offset, *start[axis + 1 :]), x.shape))
        offset = offset + x.shape[axis]
    return tuple(parts)


@concat.batches
def _(batched: Sequence[bool], *operands: Array, axis: int) -> Array:
    extent = batch_extent(batched, operands)
    parts = (with_batch(x, flag, extent) for x, flag in zip(operands, batched, strict=True))
    return concat(*parts, axis=axis + 1)


@concat.indexes
def _(k: Scalars, index: Sequence[Size], *operands: ElementFunction, axis: int) -> Element:
    def from_operand(number: int, position: Size) -> Element:
        x = operands[number]
        here = (*index[:axis], position, *index[axis + 1 :])
        if number == len(operands) - 1:
            return x(*here)
        extent = x.type.dims[axis]
        return k.select(
            k.inside([(position, extent)]), lambda: x(*here), lambda: from_operand(number + 1, position - extent)
        )

    return from_operand(0, index[axis])


# -- interleave --------------------------------------------------------------------------------------------------------


@primitive("structure")
def interleave(
    *operands: Array, starts: tuple[tuple[int, ...], ...], step: tuple[int, ...], shape: tuple[int, ...]
) -> Array:
    """out[starts[m] + i*step ...] = x_m[i...], and 0 where no operand's element goes.

    Shapes: x_m [*dims_m] -> [*shape]; each start below step, axis by axis, and no two starts alike, so that elements of
    different operands do not meet.
    """
    out = np.zeros(shape, np.asarray(operands[0]).dtype)
    for x, start in zip(operands, starts, strict=True):
        spans = zip(start, np.shape(x), step, strict=True)
        out[tuple(slice(begin, begin + count * stride, stride) for begin, count, stride in spans)] = x
    return out


@interleave.infers
def _(*operands: TensorType, starts: tuple[Axes, ...], step: Axes, shape: Shape) -> TensorType:
    require(len(operands) > 0, "interleave: no operands")
    require_one_dtype("interleave", operands)
    require_one_each("interleave", len(operands), starts=starts)
    require_extents("interleave", "step", step, least=1)
    require_extents("interleave", "extent", shape)
    require(len(set(starts)) == len(starts), "interleave: two operands have one start")
    for x, start in zip(operands, starts, strict=True):
        require_one_each("interleave", x.ndim, start=start, step=step, shape=shape)
        require_extents("interleave", "start", start)
        for axis, (begin, stride, count, extent) in enumerate(zip(start, step, x.dims, shape, strict=True)):
            require(begin < stride, f"interleave: start {begin} is not below step {stride}")
            over = begin + (count - 1) * stride - extent
            if isinstance(over, int) and over >= 0:
                raise ShapeError(f"interleave: {x} does not fit axis {axis} of {format_shape(shape)}")
    return operands[0].with_dims(tuple(shape))


@interleave.transposes
def _(g: Array, *operands: Array, starts: tuple[Axes, ...], step: Axes, shape: Shape) -> tuple[Array, ...]:
    return tuple(window_of(g, start, x.shape, step) for x, start in zip(operands, starts, strict=True))


@interleave.batches
def _(
    batched: Sequence[bool], *operands: Array, starts: tuple[Axes, ...], step: Axes, shape: Shape
) -> Array:
    extent = batch_extent(batched, operands)
    parts = (with_batch(x, flag, extent) for x, flag in zip(operands, batched, strict=True))
    moved = tuple((0, *start) for start in starts)
    return interleave(*parts, starts=moved, step=(1, *step), shape=(extent, *shape))


@interleave.indexes
def _(
    k: Scalars, index: Sequence[Size], *operands: ElementFunction, starts: tuple[Axes, ...], step: Axes, shape: Shape
) -> Element:
    def from_operand(number: int) -> Element:
        if number == len(operands):
            return k.constant(0, operands[0].type.dtype)
        x, inner = operands[number], list[Size]()
        conditions: list[tuple[Size, Size]] = []
        for place, begin, stride, extent in zip(index, starts[number], step, x.type.dims, strict=True):
            if stride != 1:
                conditions.append(((place - begin) % stride, 1))
            inner.append((place - begin) // stride)
            conditions.append((inner[-1], extent))
        return k.select(k.inside(conditions), lambda: x(*inner), lambda: from_operand(number + 1))

    return from_operand(0)


# -- detach ------------------------------------------------------------------------------------------------------------


@primitive("boundary")
def detach(x: Array) -> Array:
    """out[i...] = x[i...], with no derivative.

    Shapes: x [*dims] -> [*dims].
    """
    return np.asarray(x)


detach.constant()


@detach.infers
def _(x: TensorType) -> TensorType:
    return x


@detach.batches
def _(batched: Sequence[bool], x: Array) -> Array:
    return detach(x)


@detach.indexes
def _(k: Scalars, index: Sequence[Size], x: ElementFunction) -> Element:
    return x(*index)
