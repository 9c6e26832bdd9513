"""Reductions and normalisations over the elements that a mask lets through.

`mask` is true where an element counts, and broadcasts to the input.  Where nothing counts the result is the reduction
of no elements: 0 for sums, 1 for products, infinities for extremes, NaN for means.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from adjit import along_axis, elementwise, extremes, reductions, special_functions, statistics
from adjit import linalg as linear_algebra
from adjit.dims import numel_of, shape_of, wrap_dims
from adjit.dtypes import default_float, public, title_of, to_ir
from adjit.ir.types import BOOL, I64, DType
from adjit.numeric_limits import iinfo
from adjit.promotion import cast_to
from adjit.shaping import expand
from adjit.tensor import Tensor


def _mask_of(input: Tensor, mask: Tensor | None) -> Tensor | None:
    """The mask as bools in the input's shape."""
    if mask is None:
        return None
    shape, own = shape_of(input), shape_of(mask)
    if len(own) > len(shape):
        raise IndexError("_input_mask expected broadcastable mask (got mask dimensionality higher than of the input)")
    return expand(cast_to(mask, BOOL), *shape)


def _counting(input: Tensor, mask: Tensor | None, neutral: Any) -> Tensor:
    """The input with `neutral` where the mask is false."""
    full = _mask_of(input, mask)
    return input if full is None else elementwise.where(full, input, neutral)


def _lowest(dtype: DType) -> Any:
    return float("-inf") if dtype.is_continuous else False if dtype is BOOL else iinfo(public(dtype)).min


def _greatest(dtype: DType) -> Any:
    return float("inf") if dtype.is_continuous else True if dtype is BOOL else iinfo(public(dtype)).max


def _axes(input: Tensor, dim: Any) -> Any:
    return wrap_dims(None if dim is None or dim == () else dim, len(shape_of(input)))


def _given(input: Tensor, dtype: Any) -> Tensor:
    return input if dtype is None else cast_to(input, to_ir(dtype))


def _summed(input: Tensor, dtype: Any) -> Tensor:
    """Sums and products of integers are int64."""
    return cast_to(input, I64) if dtype is None and not input._dtype.is_continuous else _given(input, dtype)


# -- reductions -------------------------------------------------------------------------------------------------------
def sum(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The sum of what the mask lets through."""
    return reductions.sum(_counting(_summed(input, dtype), mask, 0), _axes(input, dim), keepdim)


def prod(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The product of what the mask lets through."""
    found = _counting(_summed(input, dtype), mask, 1)
    for axis in sorted(_axes(input, dim), reverse=True):
        found = reductions.prod(found, axis, keepdim)
    return found


def amax(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The greatest of what the mask lets through."""
    source = _given(input, dtype)
    return extremes.amax(_counting(source, mask, _lowest(source._dtype)), _axes(input, dim), keepdim)


def amin(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The least of what the mask lets through."""
    source = _given(input, dtype)
    return extremes.amin(_counting(source, mask, _greatest(source._dtype)), _axes(input, dim), keepdim)


def argmax(
    input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Tensor:
    """Where the greatest of what the mask lets through stands, in the input's dtype."""
    source = _given(input, dtype)
    found = extremes.argmax(_counting(source, mask, _lowest(source._dtype)), dim, keepdim)
    return cast_to(found, source._dtype)


def argmin(
    input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Tensor:
    """Where the least of what the mask lets through stands, in the input's dtype."""
    source = _given(input, dtype)
    found = extremes.argmin(_counting(source, mask, _greatest(source._dtype)), dim, keepdim)
    return cast_to(found, source._dtype)


def _count(input: Tensor, axes: tuple[int, ...], keepdim: bool, mask: Tensor | None) -> Any:
    """How many elements count."""
    full = _mask_of(input, mask)
    if full is None:
        return numel_of([shape_of(input)[axis] for axis in axes])
    return reductions.sum(cast_to(full, I64), axes, keepdim)


def mean(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The mean of what the mask lets through."""
    source = _given(input, dtype)
    if not source._dtype.is_continuous:
        raise ValueError(
            "mean(): Could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: "
            f"torch.{input._dtype.long_name}"
        )
    axes = _axes(input, dim)
    return elementwise.div(sum(source, axes, keepdim=keepdim, mask=mask), _count(input, axes, keepdim, mask))


def median(input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """The lower middle of what the mask lets through; NaN where that is nothing."""
    source = _given(input, dtype)
    full = _mask_of(source, mask)
    if full is None:
        return extremes.median(source, dim, keepdim).values  # type: ignore[no-any-return]
    if not source._dtype.is_float:
        if not bool(reductions.any(full, dim).all()):
            raise ValueError("masked median expects no fully masked out rows if dtype is not floating point")
        wide = elementwise.where(full, cast_to(source, default_float()), float("nan"))
        return cast_to(statistics.nanmedian(wide, dim, keepdim).values, source._dtype)
    return statistics.nanmedian(elementwise.where(full, source, float("nan")), dim, keepdim).values  # type: ignore[no-any-return]


def norm(
    input: Tensor, ord: Any = 2.0, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Tensor:
    """(sum of |x|^ord)^(1/ord) over what the mask lets through."""
    source = _given(input, dtype)
    if not source._dtype.is_continuous:
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {title_of(source._dtype)}"
        )
    neutral = float("inf") if ord == float("-inf") else 0.0
    found: Tensor = linear_algebra.vector_norm(_counting(source, mask, neutral), ord, _axes(input, dim), keepdim)
    return found


def var(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: Any = None, keepdim: bool = False,
    dtype: Any = None, mask: Any = None,
) -> Tensor:  # fmt: skip
    """The mean square distance from the mean of what the mask lets through, with count - correction as divisor."""
    if unbiased is not None and correction is not None:
        raise ValueError("Only one of unbiased and correction may be given")
    lost = correction if correction is not None else 1 if unbiased is None or unbiased else 0
    source = _given(input, dtype)
    source = source if source._dtype.is_continuous else cast_to(source, default_float())
    axes = _axes(input, dim)
    distance = elementwise.sub(source, mean(source, axes, keepdim=True, mask=mask))
    total = sum(elementwise.mul(distance, distance.conj()), axes, keepdim=keepdim, mask=mask)
    share = _count(input, axes, keepdim, mask) - lost
    share = share.clamp(min=0) if isinstance(share, Tensor) else builtins.max(share, 0)
    return elementwise.div(total, share)


def std(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: Any = None, keepdim: bool = False,
    dtype: Any = None, mask: Any = None,
) -> Tensor:  # fmt: skip
    """The root of `var`."""
    found = var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype, mask=mask)
    return elementwise.sqrt(found)


def logsumexp(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Tensor:
    """log(sum of exp(x)) over what the mask lets through."""
    source = _given(input, dtype)
    counting = _counting(source, mask, _lowest(source._dtype))
    found = reductions.logsumexp(counting, _axes(input, dim), keepdim)
    return cast_to(found, source._dtype)


# -- along an axis ----------------------------------------------------------------------------------------------------
def cumsum(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """Running sums of what the mask lets through."""
    return along_axis.cumsum(_counting(_summed(input, dtype), mask, 0), dim)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """Running products of what the mask lets through."""
    return along_axis.cumprod(_counting(_summed(input, dtype), mask, 1), dim)


def softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """exp(x_i) / sum_j exp(x_j) over what the mask lets through, 0 elsewhere."""
    return along_axis.softmax(_counting(_given(input, dtype), mask, float("-inf")), dim)


def log_softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """The logarithm of `softmax`."""
    return along_axis.log_softmax(_counting(_given(input, dtype), mask, float("-inf")), dim)


def softmin(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Tensor:
    """`softmax` of -x."""
    return along_axis.softmax(elementwise.neg(_counting(_given(input, dtype), mask, float("inf"))), dim)


def normalize(
    input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Any = None
) -> Tensor:
    """x / max(norm, eps) where the mask lets through, 0 elsewhere."""
    source = _given(input, dtype)
    length = norm(source, ord, dim, keepdim=True, mask=mask)
    return elementwise.div(_counting(source, mask, 0), elementwise.clamp(length, min=eps))


def logaddexp(
    input: Tensor, other: Tensor, *, dtype: Any = None, input_mask: Any = None, other_mask: Any = None
) -> Tensor:
    """log(exp(x) + exp(y)), of one of them where the other's mask is false."""
    left, right = _given(input, dtype), _given(other, dtype)
    return special_functions.logaddexp(
        _counting(left, input_mask, float("-inf")), _counting(right, other_mask, float("-inf"))
    )


_PUBLIC: tuple[Callable[..., Any], ...] = (
    amax, amin, argmax, argmin, cumprod, cumsum, log_softmax, logaddexp, logsumexp, mean, median, norm, normalize, prod,
    softmax, softmin, std, sum, var,
)  # fmt: skip
__all__ = [function.__name__ for function in _PUBLIC]
