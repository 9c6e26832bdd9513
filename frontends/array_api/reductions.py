"""The standard's reductions: statistics, truth, searching, cumulative sums and products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import adjit
from adjit.array_api.operands import promoted
from adjit.dims import shape_of
from adjit.dtypes import dtype, public
from adjit.ir.types import I64, U64
from adjit.tensor import Tensor


def _axes(x: Tensor, axis: Any) -> tuple[int, ...]:
    """The dims to reduce: all for None."""
    if axis is None:
        return tuple(range(x.ndim))
    return tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)


def _summed_dtype(x: Tensor, given: dtype | None) -> dtype:
    """The dtype of sums and products: integers in 64 bits."""
    if given is not None:
        return given
    ir = x._dtype
    return public(ir if ir.kind in ("float", "complex") else U64 if ir.kind == "uint" else I64)


def sum(x: Tensor, /, *, axis: Any = None, dtype: dtype | None = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis`, integers in 64 bits."""
    wide = x.to(_summed_dtype(x, dtype))
    axes = _axes(x, axis)
    found: Tensor = adjit.sum(wide, axes, keepdim=keepdims, dtype=wide.dtype) if axes else wide.clone()
    return found


def prod(x: Tensor, /, *, axis: Any = None, dtype: dtype | None = None, keepdims: bool = False) -> Tensor:
    """The product over `axis`, integers in 64 bits."""
    found: Tensor = x.to(_summed_dtype(x, dtype))
    axes = sorted((each % x.ndim for each in _axes(x, axis)), reverse=True)
    for each in axes:
        found = adjit.prod(found, each, keepdim=keepdims, dtype=found.dtype)
    return found if axes else adjit.clone(found)


def _over_axes(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduce(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
        axes = _axes(x, axis)
        return function(x, axes, keepdim=keepdims) if axes else adjit.clone(x)

    reduce.__name__ = reduce.__qualname__ = name
    reduce.__doc__ = function.__doc__
    return reduce


max, min = _over_axes("max", adjit.amax), _over_axes("min", adjit.amin)
mean = _over_axes("mean", adjit.mean)


def _truth(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    over = _over_axes(name, function)

    def reduce(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
        return over(x.to(adjit.bool), axis=axis, keepdims=keepdims)

    reduce.__name__ = reduce.__qualname__ = name
    reduce.__doc__ = function.__doc__
    return reduce


all, any = _truth("all", adjit.all), _truth("any", adjit.any)


def std(x: Tensor, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """sqrt(var(x))."""
    return adjit.sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))  # type: ignore[no-any-return]


def var(x: Tensor, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """sum((x - mean)**2) / (n - correction)."""
    axes = _axes(x, axis)
    if not axes:
        return var(x.unsqueeze(-1), axis=-1, correction=correction)
    return adjit.var(x, axes, correction=correction, keepdim=keepdims)  # type: ignore[no-any-return]


def _cumulative(function: Callable[..., Tensor], first: int) -> Callable[..., Tensor]:
    def run(x: Tensor, axis: int | None, dtype: dtype | None, include_initial: bool) -> Tensor:
        if axis is None:
            if x.ndim > 1:
                raise ValueError("axis must be given for a tensor of several dims")
            axis = 0
        wide = x.to(_summed_dtype(x, dtype))
        found = function(wide, axis, dtype=wide.dtype)
        if not include_initial:
            return found
        shape = list(shape_of(found))
        shape[axis] = 1
        return adjit.cat([adjit.full(tuple(shape), first, dtype=found.dtype), found], axis)  # type: ignore[no-any-return]

    return run


_sums, _products = _cumulative(adjit.cumsum, 0), _cumulative(adjit.cumprod, 1)


def cumulative_sum(
    x: Tensor, /, *, axis: int | None = None, dtype: dtype | None = None, include_initial: bool = False
) -> Tensor:
    """out[i] = x[0] + ... + x[i] along `axis`; with `include_initial` a 0 before."""
    return _sums(x, axis, dtype, include_initial)


def cumulative_prod(
    x: Tensor, /, *, axis: int | None = None, dtype: dtype | None = None, include_initial: bool = False
) -> Tensor:
    """out[i] = x[0] * ... * x[i] along `axis`; with `include_initial` a 1 before."""
    return _products(x, axis, dtype, include_initial)


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the greatest element, of equals the first."""
    return adjit.argmax(x, axis, keepdim=keepdims)  # type: ignore[no-any-return]


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the least element, of equals the first."""
    return adjit.argmin(x, axis, keepdim=keepdims)  # type: ignore[no-any-return]


def count_nonzero(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """How many elements are not 0."""
    return sum(x != 0, axis=axis, keepdims=keepdims)


def diff(
    x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """out[i] = x[i + 1] - x[i] along `axis`, n times."""
    return adjit.diff(x, n, axis, prepend=prepend, append=append)  # type: ignore[no-any-return]


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """The places of the elements that are not 0, one tensor a dim.  ValueError for a tensor of no dims."""
    if x.ndim == 0:
        raise ValueError("nonzero: a tensor of no dims has no places")
    return tuple(adjit.nonzero(x, as_tuple=True))


def where(condition: Tensor, x1: Any, x2: Any, /) -> Tensor:
    """x1 where the condition holds, else x2."""
    return adjit.where(condition, *promoted(x1, x2))  # type: ignore[no-any-return]
