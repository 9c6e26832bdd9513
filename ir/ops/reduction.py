"""Ops over whole axes: reductions, positions of extremes, running reductions, and sort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from adjit.ir.index import Element, ElementFunction, Scalars
from adjit.ir.ops.arrays import (
    Array,
    Axes,
    along,
    attains,
    cast,
    counted,
    dtype_of,
    permute,
    reshape,
    shifted,
    spread,
    where,
    zeros,
)
from adjit.ir.ops.checks import require, require_axes, require_kind, without
from adjit.ir.ops.signed_zeros import extreme
from adjit.ir.primitive import Primitive, primitive
from adjit.ir.shape import Size, product
from adjit.ir.types import I64, TensorType

REALS = ("uint", "int", "float")
NUMBERS = (*REALS, "complex")
ORDERED = ("bool", *REALS)


def accumulated(function: Callable[..., Any], x: Array) -> Array:
    """`function` with floats accumulated in double precision and rounded once: this is the oracle.  Integers wrap."""
    x = np.asarray(x)
    with np.errstate(all="ignore"):
        wide = {"f": np.dtype(np.float64), "c": np.dtype(np.complex128)}.get(x.dtype.kind, x.dtype)
        return np.asarray(function(x, dtype=wide)).astype(x.dtype)


# -- reductions --------------------------------------------------------------------------------------------------------


def reduction(op: Primitive, kind: str, accepts: tuple[str, ...], *, has_unit: bool = True) -> None:
    """Attach the facts that all reductions share; without a unit (as max) a reduction of nothing is an error."""

    @op.infers
    def _(x: TensorType, *, axes: Axes) -> TensorType:
        require_axes(op.name, axes, x.ndim)
        require_kind(op.name, x, *accepts)
        for axis in axes:
            require(has_unit or x.dims[axis] != 0, f"{op.name}: of no elements, axis {axis} of {x}")
        return x.with_dims(without(x.dims, axes))

    @op.batches
    def _(batched: Sequence[bool], x: Array, *, axes: Axes) -> Array:
        return op(x, axes=shifted(axes))

    @op.indexes
    def _(k: Scalars, index: Sequence[Size], x: ElementFunction, *, axes: Axes) -> Element:
        kept = [axis for axis in range(x.type.ndim) if axis not in axes]

        def term(*places: Size) -> Element:
            full_index = dict(zip((*kept, *axes), (*index, *places), strict=True))
            return x(*(full_index[axis] for axis in range(x.type.ndim)))

        return k.reduce(kind, tuple(x.type.dims[axis] for axis in axes), term) if axes else x(*index)


@primitive("reduction", exact=False)
def reduce_sum(x: Array, *, axes: Axes) -> Array:
    """out[i...] = sum over j of x[i..., j...], with j at `axes`; 0 over nothing.

    Shapes: x [*dims] -> [*dims without axes].
    """
    return accumulated(lambda wide, dtype: np.sum(wide, axis=tuple(axes), dtype=dtype), x)


reduction(reduce_sum, "sum", NUMBERS)


@reduce_sum.transposes
def _(g: Array, x: Array, *, axes: Axes) -> Array:
    return spread(g, x.shape, axes)


@primitive("reduction", exact=False)
def reduce_prod(x: Array, *, axes: Axes) -> Array:
    """out[i...] = product over j of x[i..., j...], with j at `axes`; 1 over nothing.

    Shapes: x [*dims] -> [*dims without axes].
    """
    return accumulated(lambda wide, dtype: np.prod(wide, axis=tuple(axes), dtype=dtype), x)


reduction(reduce_prod, "prod", NUMBERS)


@reduce_prod.vjps
def _(g: Array, out: Array, x: Array, *, axes: Axes) -> Array:
    """Each factor's partial is the product of those before it and those after it: no division, so zeros are no case."""
    if len(axes) == 1:  # it stays where it is
        return spread(g, x.shape, axes) * (product_of_others(x, axes[0], False) * product_of_others(x, axes[0], True))
    kept = tuple(axis for axis in range(x.ndim) if axis not in axes)
    order = (*kept, *axes)
    dims = tuple(x.shape[axis] for axis in kept)
    count = product(x.shape[axis] for axis in axes)
    row = reshape(permute(x, order), (*dims, count))
    others = product_of_others(row, len(dims), False) * product_of_others(row, len(dims), True)
    result = spread(g, (*dims, count), (len(dims),)) * others
    back = tuple(order.index(axis) for axis in range(x.ndim))
    return permute(reshape(result, tuple(x.shape[axis] for axis in order)), back)


def product_of_others(x: Array, axis: int, reverse: bool) -> Array:
    """out[..., i] = product of x[..., j] over j < i, or over j > i in reverse."""
    from adjit.ir.ops.recurrence import delayed

    return cumulate_prod(delayed(x, axis, reverse, 1), axis=axis, reverse=reverse)


@primitive("reduction")
def reduce_max(x: Array, *, axes: Axes) -> Array:
    """out[i...] = max over j of x[i..., j...], with j at `axes`; NaN if there is one.

    Shapes: x [*dims] -> [*dims without axes].  Errors: ShapeError over no elements.
    """
    along_axes = tuple(axes)
    return extreme(x, False, lambda v: np.max(v, axis=along_axes), lambda v: np.any(v, axis=along_axes))


@primitive("reduction")
def reduce_min(x: Array, *, axes: Axes) -> Array:
    """out[i...] = min over j of x[i..., j...], with j at `axes`; NaN if there is one.

    Shapes: x [*dims] -> [*dims without axes].  Errors: ShapeError over no elements.
    """
    along_axes = tuple(axes)
    return extreme(x, True, lambda v: np.min(v, axis=along_axes), lambda v: np.any(v, axis=along_axes))


reduction(reduce_max, "max", ORDERED, has_unit=False)
reduction(reduce_min, "min", ORDERED, has_unit=False)


@reduce_max.vjps
@reduce_min.vjps
def _(g: Array, out: Array, x: Array, *, axes: Axes) -> Array:
    """Elements that attain the extreme share the cotangent equally."""
    found = attains(x, spread(out, x.shape, axes))
    count = reduce_sum(cast(found, dtype_of(x)), axes=axes)
    return where(found, spread(g / count, x.shape, axes), 0)


@primitive("reduction")
def reduce_any(x: Array, *, axes: Axes) -> Array:
    """out[i...] = x[i..., j...] for some j at `axes`; false over nothing.

    Shapes: x bool[*dims] -> bool[*dims without axes].
    """
    return np.any(x, axis=tuple(axes))


@primitive("reduction")
def reduce_all(x: Array, *, axes: Axes) -> Array:
    """out[i...] = x[i..., j...] for all j at `axes`; true over nothing.

    Shapes: x bool[*dims] -> bool[*dims without axes].
    """
    return np.all(x, axis=tuple(axes))


reduction(reduce_any, "any", ("bool",))
reduction(reduce_all, "all", ("bool",))
reduce_any.constant()
reduce_all.constant()


# -- positions of extremes ---------------------------------------------------------------------------------------------


def extreme_position(op: Primitive) -> None:
    """Attach the facts that argmax and argmin share."""
    op.constant()

    @op.infers
    def _(x: TensorType, *, axis: int) -> TensorType:
        require_axes(op.name, (axis,), x.ndim)
        require_kind(op.name, x, *ORDERED)
        require(x.dims[axis] != 0, f"{op.name}: of no elements, axis {axis} of {x}")
        return TensorType(I64, without(x.dims, (axis,)))

    @op.batches
    def _(batched: Sequence[bool], x: Array, *, axis: int) -> Array:
        return op(x, axis=axis + 1)

    @op.indexes
    def _(k: Scalars, index: Sequence[Size], x: ElementFunction, *, axis: int) -> Element:
        def pair(place: Size) -> tuple[Element, Element]:
            return x(*index[:axis], place, *index[axis:]), k.index(place, I64)

        return k.reduce(op.name, (x.type.dims[axis],), pair)[1]


@primitive("reduction")
def argmax(x: Array, *, axis: int) -> Array:
    """out[i...] = the first j with x[i..., j] greatest; the first NaN if there is one.

    Shapes: x [*dims] -> i64[*dims without axis].  Errors: ShapeError over no elements.
    """
    return np.argmax(x, axis)


@primitive("reduction")
def argmin(x: Array, *, axis: int) -> Array:
    """out[i...] = the first j with x[i..., j] least; the first NaN if there is one.

    Shapes: x [*dims] -> i64[*dims without axis].  Errors: ShapeError over no elements.
    """
    return np.argmin(x, axis)


extreme_position(argmax)
extreme_position(argmin)


# -- running reductions ------------------------------------------------------------------------------------------------


def running(op: Primitive, accepts: tuple[str, ...]) -> None:
    """Attach the facts that running reductions share.  An element is not a closed form of few: no index form."""

    @op.infers
    def _(x: TensorType, *, axis: int, reverse: bool) -> TensorType:
        require_axes(op.name, (axis,), x.ndim)
        require_kind(op.name, x, *accepts)
        return x

    @op.batches
    def _(batched: Sequence[bool], x: Array, *, axis: int, reverse: bool) -> Array:
        return op(x, axis=axis + 1, reverse=reverse)


def from_the_end(function: Callable[[Array], Array], x: Array, axis: int, reverse: bool) -> Array:
    """`function`, or it between two reversals of `axis`."""
    x = np.asarray(x)
    return np.flip(function(np.flip(x, axis)), axis) if reverse else function(x)


@primitive("reduction", exact=False)
def cumulate_sum(x: Array, *, axis: int, reverse: bool) -> Array:
    """out[..., i] = sum of x[..., j] over j <= i, or over j >= i in reverse.

    Shapes: x [*dims] -> [*dims].
    """
    return from_the_end(
        lambda row: accumulated(lambda wide, dtype: np.cumsum(wide, axis, dtype), row), x, axis, reverse
    )


@primitive("reduction", exact=False)
def cumulate_prod(x: Array, *, axis: int, reverse: bool) -> Array:
    """out[..., i] = product of x[..., j] over j <= i, or over j >= i in reverse.

    Shapes: x [*dims] -> [*dims].
    """
    return from_the_end(
        lambda row: accumulated(lambda wide, dtype: np.cumprod(wide, axis, dtype), row), x, axis, reverse
    )


def running_extreme(function: np.ufunc, x: Array, axis: int) -> Array:
    """The running maximum or minimum of an array."""
    least = function is np.minimum
    signs = partial(np.logical_or.accumulate, axis=axis)
    return extreme(x, least, partial(function.accumulate, axis=axis), signs)


@primitive("reduction")
def cumulate_max(x: Array, *, axis: int, reverse: bool) -> Array:
    """out[..., i] = max of x[..., j] over j <= i, or over j >= i in reverse; NaN from the first NaN on.

    Shapes: x [*dims] -> [*dims].
    """
    return from_the_end(lambda row: running_extreme(np.maximum, row, axis), x, axis, reverse)


@primitive("reduction")
def cumulate_min(x: Array, *, axis: int, reverse: bool) -> Array:
    """out[..., i] = min of x[..., j] over j <= i, or over j >= i in reverse; NaN from the first NaN on.

    Shapes: x [*dims] -> [*dims].
    """
    return from_the_end(lambda row: running_extreme(np.minimum, row, axis), x, axis, reverse)


running(cumulate_sum, NUMBERS)
running(cumulate_prod, NUMBERS)
running(cumulate_max, ORDERED)
running(cumulate_min, ORDERED)


@cumulate_sum.transposes
def _(g: Array, x: Array, *, axis: int, reverse: bool) -> Array:
    return cumulate_sum(g, axis=axis, reverse=not reverse)


@cumulate_prod.vjps
def _(g: Array, out: Array, x: Array, *, axis: int, reverse: bool) -> Array:
    """The product of those before i times h[i] = g[i] + x[i+1]*h[i+1]: no division, so zeros are no case."""
    from adjit.ir.ops.recurrence import arriving

    return product_of_others(x, axis, reverse) * arriving(g, x, axis, reverse)


@cumulate_max.vjps
@cumulate_min.vjps
def _(g: Array, out: Array, x: Array, *, axis: int, reverse: bool) -> Array:
    """Each cotangent goes to the latest element that attains the running extreme, as in PyTorch."""
    from adjit.ir.ops.indexing import scatter_add

    place = counted(x, tuple(x.shape), axis)
    extent = x.shape[axis]
    record = attains(x, out)
    if reverse:
        latest = cumulate_min(where(record, place, extent), axis=axis, reverse=True)
    else:
        latest = cumulate_max(where(record, place, -1), axis=axis, reverse=False)
    return scatter_add(zeros(x), g, *along(latest, axis), axes=tuple(range(x.ndim)))


# -- sort --------------------------------------------------------------------------------------------------------------


@primitive("reduction")
def sort(
    x: Array, *, axis: int, descending: bool, first: Size = 0, count: Size | None = None
) -> tuple[Array, Array]:
    """values[..., i] = x[..., indices[..., i]] in order along `axis`; ties keep their order; NaN is the greatest.

    With `count`, only the places first..first+count-1 of the order.
    Shapes: x [*dims] -> values [*dims], indices i64[*dims], or with `count` elements along `axis`.
    """
    x = np.asarray(x)
    if descending:
        # The reverse of a stable ascending sort of the reversed row keeps the order of ties.
        backwards = np.argsort(np.flip(x, axis), axis, kind="stable")
        order = x.shape[axis] - 1 - np.flip(backwards, axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    if count is not None:
        order = np.take(order, range(first, first + count), axis)  # type: ignore[arg-type]
    return np.take_along_axis(x, order, axis), order


@sort.infers
def _(
    x: TensorType, *, axis: int, descending: bool, first: Size = 0, count: Size | None = None
) -> tuple[TensorType, TensorType]:
    require_axes("sort", (axis,), x.ndim)
    require_kind("sort", x, *ORDERED)
    if count is None:
        require(first == 0, "sort: a window begins at `first` and has `count` places")
        return x, x.with_dtype(I64)
    extent = x.dims[axis]
    if isinstance(first, int) and isinstance(count, int) and isinstance(extent, int):
        require(0 <= first <= first + count <= extent, f"sort: {count} places from {first} on, of {extent}")
    part = x.with_dims((*x.dims[:axis], count, *x.dims[axis + 1 :]))
    return part, part.with_dtype(I64)


@sort.vjps
def _(g: tuple[Array, Array], out: tuple[Array, Array], x: Array, *, axis: int, **window: Any) -> Array:
    from adjit.ir.ops.indexing import scatter_add

    return scatter_add(zeros(x), g[0], *along(out[1], axis), axes=tuple(range(x.ndim)))


@sort.batches
def _(batched: Sequence[bool], x: Array, *, axis: int, **window: Any) -> tuple[Array, Array]:
    values, indices = sort(x, axis=axis + 1, **window)
    return values, indices
