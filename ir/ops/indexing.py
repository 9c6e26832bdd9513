"""Reading and writing at computed places: gather and the scatters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjit.ir.errors import DimError
from adjit.ir.index import Element, ElementFunction, Scalars
from adjit.ir.ops.arrays import (
    Array,
    Axes,
    attains,
    batch_extent,
    cast,
    counted,
    dtype_of,
    equal,
    full,
    moved,
    reshape,
    shifted,
    spread,
    where,
    with_batch,
    zeros,
)
from adjit.ir.ops.checks import require, require_axes, require_integers, require_kind, require_one_dtype, without
from adjit.ir.ops.signed_zeros import extreme
from adjit.ir.primitive import Primitive, primitive
from adjit.ir.shape import Size, format_shape, product
from adjit.ir.types import I64, TensorType


def checked(op: str, x: Any, indices: Sequence[Any], axes: Axes) -> tuple[Any, ...]:
    """The indices, each inside its axis of x.  Errors: DimError."""
    found = []
    for index, axis in zip(indices, axes, strict=True):
        index = np.asarray(index)
        outside = index[(index < 0) | (index >= x.shape[axis])]
        if outside.size:
            raise DimError(f"{op}: index {outside[0]} is outside axis {axis} with {x.shape[axis]} elements")
        found.append(index)
    return tuple(found)


def axes_first(x: Any, axes: Axes) -> Any:
    """A view of x with the indexed axes in front."""
    return np.transpose(x, (*axes, *(axis for axis in range(x.ndim) if axis not in axes)))


def gathered_dims(op: str, x: TensorType, indices: Sequence[TensorType], axes: Axes) -> tuple[Size, ...]:
    """The dims of x's elements at the indices: those of an index, then the rest of x's."""
    require(len(indices) > 0, f"{op}: no index")
    require(len(indices) == len(axes), f"{op}: {len(indices)} indices for {len(axes)} axes")
    require_axes(op, axes, x.ndim)
    require_integers(op, *indices)
    for index in indices[1:]:
        require(index.dims == indices[0].dims, f"{op}: indices of shapes {indices[0]} and {index}")
    return (*indices[0].dims, *without(x.dims, axes))


# -- gather ------------------------------------------------------------------------------------------------------------


@primitive("indexing")
def gather(x: Array, *indices: Array, axes: Axes, certain: bool = False) -> Array:
    """out[s..., r...] = x[indices_k[s...] at axes_k, r at the others].

    `certain`: a pass has found that all indices are inside, and no kernel looks; derivatives come before it.
    Shapes: x [*dims], indices integer[*S] -> [*S, *dims without axes].  Errors: DimError for an index outside its axis.
    """
    x = np.asarray(x)
    return np.asarray(axes_first(x, axes)[checked("gather", x, indices, axes)])


@gather.infers
def _(x: TensorType, *indices: TensorType, axes: Axes, certain: bool = False) -> TensorType:
    return x.with_dims(gathered_dims("gather", x, indices, axes))


@gather.transposes
def _(g: Array, x: Array, *indices: Array, axes: Axes) -> tuple[Array | None, ...]:
    return (scatter_add(zeros(x), g, *indices, axes=axes), *(None for _ in indices))


@gather.batches
def _(batched: Sequence[bool], x: Array, *indices: Array, axes: Axes) -> Array:
    if not any(batched[1:]):
        return moved(gather(x, *indices, axes=shifted(axes)), indices[0].ndim, 0)
    extent = batch_extent(batched, (x, *indices))
    indices = tuple(with_batch(index, flag, extent) for index, flag in zip(indices, batched[1:], strict=True))
    if not batched[0]:
        return gather(x, *indices, axes=axes)
    return gather(x, counted(x, tuple(indices[0].shape), 0), *indices, axes=(0, *shifted(axes)))


@gather.indexes
def _(
    k: Scalars,
    index: Sequence[Size],
    x: ElementFunction,
    *indices: ElementFunction,
    axes: Axes,
    certain: bool = False,
) -> Element:
    count = indices[0].type.ndim
    rest = iter(index[count:])
    at = {
        axis: k.position(element(*index[:count]), x.type.dims[axis], certain=certain)
        for axis, element in zip(axes, indices, strict=True)
    }
    return x(*(at[axis] if axis in at else next(rest) for axis in range(x.type.ndim)))


# -- scatter -----------------------------------------------------------------------------------------------------------


def scattered(
    op: str,
    write: Callable[[Any, tuple[Any, ...], Any], None],
    x: Array,
    updates: Array,
    indices: Any,
    axes: Axes,
    least: bool | None = None,
) -> Array:
    """A copy of x with `write(view, places, updates)` done to it, the indexed axes in front in `view`.

    `least` says that it writes minima, or maxima, which settle the signs of zeros.
    """
    out = np.array(x)
    places = checked(op, out, indices, axes)
    with np.errstate(all="ignore"):
        write(axes_first(out, axes), places, np.asarray(updates))
    if least is None:
        return out

    def signs(own: Any) -> Any:
        arriving = (np.asarray(updates) == 0) & (np.signbit(updates) == least)
        np.logical_or.at(axes_first(own, axes), places, arriving)
        return own

    return extreme(x, least, lambda _: out, signs)


def scatter(op: Primitive, accepts: tuple[str, ...]) -> None:
    """Attach the facts that all scatters share.  Elements depend on an order of writes: no index form."""

    @op.infers
    def _(x: TensorType, updates: TensorType, *indices: TensorType, axes: Axes, certain: bool = False) -> TensorType:
        require_one_dtype(op.name, (x, updates))
        require_kind(op.name, x, *accepts)
        dims = gathered_dims(op.name, x, indices, axes)
        require(updates.dims == dims, f"{op.name}: updates are {updates}, the places written are {format_shape(dims)}")
        return x

    @op.batches
    def _(batched: Sequence[bool], x: Array, updates: Array, *indices: Array, axes: Axes) -> Array:
        extent = batch_extent(batched, (x, updates, *indices))
        x, updates = with_batch(x, batched[0], extent), with_batch(updates, batched[1], extent)
        if not any(batched[2:]):
            return op(x, moved(updates, 0, indices[0].ndim), *indices, axes=shifted(axes))
        indices = tuple(with_batch(index, flag, extent) for index, flag in zip(indices, batched[2:], strict=True))
        return op(x, updates, counted(x, tuple(indices[0].shape), 0), *indices, axes=(0, *shifted(axes)))


@primitive("indexing")
def scatter_set(x: Array, updates: Array, *indices: Array, axes: Axes, certain: bool = False) -> Array:
    """out = x, then out[indices[s...] at axes, r] = updates[s..., r...] in order of s: the last write stays.

    Shapes: x [*dims], updates [*S, *dims without axes], indices integer[*S] -> [*dims].  Errors: DimError.
    """

    def write(view: Any, places: tuple[Any, ...], values: Any) -> None:
        view[places] = values

    return scattered("scatter_set", write, x, updates, indices, axes)


@primitive("indexing")
def scatter_add(x: Array, updates: Array, *indices: Array, axes: Axes, certain: bool = False) -> Array:
    """out = x, then out[indices[s...] at axes, r] += updates[s..., r...] in order of s.

    Shapes: x [*dims], updates [*S, *dims without axes], indices integer[*S] -> [*dims].  Errors: DimError.
    """
    return scattered("scatter_add", np.add.at, x, updates, indices, axes)


@primitive("indexing")
def scatter_mul(x: Array, updates: Array, *indices: Array, axes: Axes, certain: bool = False) -> Array:
    """out = x, then out[indices[s...] at axes, r] *= updates[s..., r...] in order of s.

    Shapes: x [*dims], updates [*S, *dims without axes], indices integer[*S] -> [*dims].  Errors: DimError.
    """
    return scattered("scatter_mul", np.multiply.at, x, updates, indices, axes)


@primitive("indexing")
def scatter_max(x: Array, updates: Array, *indices: Array, axes: Axes, certain: bool = False) -> Array:
    """out = x, then out[indices[s...] at axes, r] = max(itself, updates[s..., r...]) in order of s; NaN wins.

    Shapes: x [*dims], updates [*S, *dims without axes], indices integer[*S] -> [*dims].  Errors: DimError.
    """
    return scattered("scatter_max", np.maximum.at, x, updates, indices, axes, least=False)


@primitive("indexing")
def scatter_min(x: Array, updates: Array, *indices: Array, axes: Axes, certain: bool = False) -> Array:
    """out = x, then out[indices[s...] at axes, r] = min(itself, updates[s..., r...]) in order of s; NaN wins.

    Shapes: x [*dims], updates [*S, *dims without axes], indices integer[*S] -> [*dims].  Errors: DimError.
    """
    return scattered("scatter_min", np.minimum.at, x, updates, indices, axes, least=True)


scatter(scatter_set, ("bool", "uint", "int", "float", "complex"))
scatter(scatter_add, ("uint", "int", "float", "complex"))
scatter(scatter_mul, ("uint", "int", "float"))
scatter(scatter_max, ("bool", "uint", "int", "float"))
scatter(scatter_min, ("bool", "uint", "int", "float"))


@scatter_set.transposes
def _(g: Array, x: Array, updates: Array, *indices: Array, axes: Axes) -> tuple[Array | None, ...]:
    """What was overwritten gets nothing: x at the places written, and every update but the last to its place."""
    to_updates = gather(g, *indices, axes=axes)
    if product(indices[0].shape) != 1:
        rest = range(indices[0].ndim, updates.ndim)
        stays = spread(last_writes(x, indices, axes), updates.shape, rest)
        to_updates = where(stays, to_updates, 0)
    to_x = scatter_set(g, zeros(updates), *indices, axes=axes)
    return (to_x, to_updates, *(None for _ in indices))


def last_writes(x: Array, indices: Sequence[Array], axes: Axes) -> Array:
    """out[s...] = no later index names the place that s names."""
    shape = tuple(indices[0].shape)
    order = reshape(counted(x, (product(shape),), 0), shape)
    places = tuple(range(len(axes)))
    none = full(x, -1, tuple(x.shape[axis] for axis in axes), I64)
    return equal(gather(scatter_set(none, order, *indices, axes=places), *indices, axes=places), order)


@scatter_add.transposes
def _(g: Array, x: Array, updates: Array, *indices: Array, axes: Axes) -> tuple[Array | None, ...]:
    return (g, gather(g, *indices, axes=axes), *(None for _ in indices))


@scatter_max.vjps
@scatter_min.vjps
def _(g: Array, out: Array, x: Array, updates: Array, *indices: Array, axes: Axes) -> tuple[Array | None, ...]:
    """The old element and the updates that attain the extreme at a place share its cotangent equally."""
    old = attains(x, out)
    new = attains(updates, gather(out, *indices, axes=axes))
    dtype = dtype_of(x)
    share = g / scatter_add(cast(old, dtype), cast(new, dtype), *indices, axes=axes)
    to_updates = where(new, gather(share, *indices, axes=axes), 0)
    return (where(old, share, 0), to_updates, *(None for _ in indices))


@scatter_mul.vjps
def _(g: Array, out: Array, x: Array, updates: Array, *indices: Array, axes: Axes) -> tuple[Array | None, ...]:
    """A factor's partial is the product of the others: of all nonzero ones, by itself, unless another one is zero.

    Exact wherever no factor is zero, to all orders; at zeros the first derivative is right, mixed second ones are not.
    """
    dtype = dtype_of(x)
    x_zero, update_zero = equal(x, 0), equal(updates, 0)
    x_factor, update_factor = where(x_zero, 1, x), where(update_zero, 1, updates)
    count = scatter_add(cast(x_zero, dtype), cast(update_zero, dtype), *indices, axes=axes)
    whole = g * scatter_mul(x_factor, update_factor, *indices, axes=axes)

    def partial(whole: Array, count: Array, is_zero: Array, factor: Array) -> Array:
        return where(equal(count, cast(is_zero, dtype)), whole / factor, 0)

    to_updates = partial(
        gather(whole, *indices, axes=axes), gather(count, *indices, axes=axes), update_zero, update_factor
    )
    return (partial(whole, count, x_zero, x_factor), to_updates, *(None for _ in indices))
