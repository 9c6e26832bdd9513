"""Linear recurrences along an axis, which are the derivatives of running products and of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from adjit.ir.ops.arrays import Array, batch_extent, window_of, with_batch
from adjit.ir.ops.checks import require, require_axes, require_kind
from adjit.ir.ops.reduction import accumulated
from adjit.ir.primitive import primitive
from adjit.ir.types import TensorType


@primitive("reduction", exact=False)
def recur(x: Array, factor: Array, *, axis: int, reverse: bool) -> Array:
    """out[..., i] = x[..., i] + factor[..., i]*out[..., i-1], or out[..., i+1] in reverse; the first is x's.

    Shapes: x [*dims], factor [*dims] -> [*dims].  Errors: DimError; ShapeError for different types.
    """
    factors = np.moveaxis(np.asarray(factor), axis, 0)
    places = list(range(len(factors)))[:: -1 if reverse else 1]

    def run(x: Array, dtype: Any) -> Array:
        out = np.moveaxis(x, axis, 0).astype(dtype)
        for before, place in pairwise(places):
            out[place] += factors[place] * out[before]
        return np.moveaxis(out, 0, axis)

    return accumulated(run, x)


@recur.infers
def _(x: TensorType, factor: TensorType, *, axis: int, reverse: bool) -> TensorType:
    require_axes("recur", (axis,), x.ndim)
    require_kind("recur", x, "uint", "int", "float", "complex")
    require(x == factor, f"recur: operands are {x} and {factor}")
    return x


@recur.batches
def _(batched: Sequence[bool], x: Array, factor: Array, *, axis: int, reverse: bool) -> Array:
    extent = batch_extent(batched, (x, factor))
    x, factor = with_batch(x, batched[0], extent), with_batch(factor, batched[1], extent)
    return recur(x, factor, axis=axis + 1, reverse=reverse)


@recur.vjps
def _(g: Array, out: Array, x: Array, factor: Array, *, axis: int, reverse: bool) -> tuple[Array, Array]:
    to_x = arriving(g, factor, axis, reverse)
    return to_x, to_x * delayed(out, axis, reverse, 0)


def arriving(g: Array, factor: Array, axis: int, reverse: bool) -> Array:
    """The cotangents of a recurrence's terms: those of the results flow back by the same factors."""
    return recur(g, delayed(factor, axis, not reverse, 0), axis=axis, reverse=not reverse)


def delayed(x: Array, axis: int, reverse: bool, value: int) -> Array:
    """out[..., i] = x[..., i-1], or x[..., i+1] in reverse; `value` where there is none.

    It holds for an axis of no elements, too: the window begins within what is padded.
    """
    from adjit.ir.ops.structure import pad

    here = tuple(int(each == axis) for each in range(x.ndim))
    none = (0,) * x.ndim
    low, high = (none, here) if reverse else (here, none)
    return window_of(pad(x, low=low, high=high, interior=none, value=value), high, x.shape)
