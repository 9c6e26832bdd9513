"""Functions along one axis that keep it: softmax, running sums, differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.dims import numpy_names, shape_of, wrap_dim
from adjit.dispatch import apply
from adjit.dtypes import title_of, to_ir
from adjit.elementwise import add, div, exp, log, mul, sub
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BOOL
from adjit.promotion import cast_to
from adjit.reductions import reduced, summed
from adjit.tensor import Tensor


@composite("Softmax")
def _softmax(input: Tensor, dim: int) -> Tensor:
    weights = exp(sub(input, reduced("reduce_max", input, dim, True, "").detach()))
    return div(weights, reduced("reduce_sum", weights, dim, True, ""))


@composite("LogSoftmax")
def _log_softmax(input: Tensor, dim: int) -> Tensor:
    shifted = sub(input, reduced("reduce_max", input, dim, True, "").detach())
    return sub(shifted, log(reduced("reduce_sum", exp(shifted), dim, True, "")))


def _along(function: Callable[..., Any], input: Tensor, dim: int, dtype: Any, op: str) -> Tensor:
    from adjit.shaping import clone, reshape

    if dtype is not None:
        input = cast_to(input, to_ir(dtype))
    axis = wrap_dim(dim, len(shape_of(input)))
    if not input._dtype.is_float:
        kernel = f"{op}_lastdim_kernel_impl" if axis + 1 >= len(shape_of(input)) else f"{op}_kernel_impl"
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{title_of(input._dtype)}'")
    if not shape_of(input):
        return reshape(function(reshape(input, 1), 0), ())
    if shape_of(input)[axis] == 0:
        return clone(input)
    return function(input, axis)  # type: ignore[no-any-return]


@numpy_names
def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """exp(x_i) / sum_j exp(x_j) along an axis."""
    return _along(_softmax, input, dim, dtype, "softmax")


@numpy_names
def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """x_i - log(sum_j exp(x_j)) along an axis."""
    return _along(_log_softmax, input, dim, dtype, "log_softmax")


# -- running --------------------------------------------------------------------------------------------------------
def _running(op: str, name: str, input: Tensor, dim: int, dtype: Any) -> Tensor:
    source = summed(input, dtype)
    axis = wrap_dim(dim, len(shape_of(input)))
    if not shape_of(input):
        return apply(PRIMITIVES["reshape"], (source,), {"shape": ()}, name=name)  # type: ignore[no-any-return]
    return apply(PRIMITIVES[op], (source,), {"axis": axis, "reverse": False}, name=name)  # type: ignore[no-any-return]


@numpy_names
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running sums along an axis."""
    return _running("cumulate_sum", "Cumsum", input, dim, dtype)


@numpy_names
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running products along an axis."""
    return _running("cumulate_prod", "Cumprod", input, dim, dtype)


# -- neighbours -----------------------------------------------------------------------------------------------------
@numpy_names
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Each entry of an axis less the one before it, `n` times over."""
    from adjit.joining import cat
    from adjit.logic import logical_xor
    from adjit.shaping import clone, narrow

    if not shape_of(input):
        raise RuntimeError("diff expects input to be at least one-dimensional")
    axis = wrap_dim(dim, len(shape_of(input)))
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    if n == 0:
        return clone(input)
    for end in (prepend, append):
        if end is not None:
            _check_end(input, end, axis)
    ends = [part for part in (prepend, input, append) if part is not None]
    found = cat(ends, axis) if len(ends) > 1 else input
    for _ in range(n):
        extent = shape_of(found)[axis]
        if extent < 2:
            return narrow(found, axis, 0, 0)
        later, earlier = narrow(found, axis, 1, extent - 1), narrow(found, axis, 0, extent - 1)
        found = logical_xor(later, earlier) if found._dtype is BOOL else sub(later, earlier)
    return found


def _check_end(input: Tensor, end: Tensor, axis: int) -> None:
    """RuntimeError for entries that cannot stand before or after those of an axis."""
    own, other = tuple(shape_of(input)), tuple(shape_of(end))
    if len(own) != len(other):
        raise RuntimeError("diff expects prepend or append to be the same dimension as input")
    for place, (a, b) in enumerate(zip(own, other, strict=True)):
        if place != axis and a != b:
            raise RuntimeError(
                "diff expects the shape of tensor to prepend or append to match that of input except along the "
                f"differencing dimension; input.size({place}) = {a}, but got tensor.size({place}) = {b}"
            )


@numpy_names
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """The area under points joined by lines, along an axis."""
    from adjit.shaping import narrow

    axis = wrap_dim(dim, len(shape_of(y)))
    extent = shape_of(y)[axis]
    pairs = add(narrow(y, axis, 1, extent - 1), narrow(y, axis, 0, extent - 1))
    widths: Any = dx if x is None else diff(x, dim=axis if len(shape_of(x)) > 1 else 0)
    return div(reduced("reduce_sum", mul(pairs, widths), axis, False, ""), 2.0)


trapz = trapezoid
_PUBLIC = ("cumprod", "cumsum", "diff", "log_softmax", "softmax", "trapezoid", "trapz")
METHODS: dict[str, Callable[..., Any]] = {name: globals()[name] for name in _PUBLIC[:5]}
__all__ = list(_PUBLIC)
