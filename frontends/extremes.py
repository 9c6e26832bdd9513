"""Greatest, least and middle elements."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.dims import numel_of, numpy_names, shape_of, whole, wrap_dim
from adjit.dispatch import apply
from adjit.dtypes import require_order, title_of
from adjit.elementwise import emit, maximum, minimum, where
from adjit.errors import not_a_tensor
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BOOL
from adjit.promotion import promote
from adjit.reductions import reduced
from adjit.results import named_result
from adjit.tensor import Tensor

max_result = named_result("max", "values", "indices")
min_result = named_result("min", "values", "indices")
aminmax_result = named_result("aminmax", "min", "max")
median_result = named_result("median", "values", "indices")
kthvalue_result = named_result("kthvalue", "values", "indices")
cummax_result = named_result("cummax", "values", "indices")
cummin_result = named_result("cummin", "values", "indices")


def require_elements(op: str, input: Tensor, dim: Any, *, counted: bool = True, call: str = "()") -> None:
    """RuntimeError or IndexError where there is nothing to choose from; `counted` names the axis counted from 0."""
    shape = tuple(shape_of(input))
    if dim is None or dim == ():
        if numel_of(shape) == 0:
            raise RuntimeError(
                f"{op}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim "
                "with the 'dim' argument."
            )
        return
    for given in (dim,) if isinstance(dim, int) else tuple(dim):
        axis = wrap_dim(given, len(shape))
        if shape and shape[axis] == 0:
            raise IndexError(f"{op}{call}: Expected reduction dim {axis if counted else given} to have non-zero size.")


@numpy_names
def amax(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The greatest over axes; ties share the gradient."""
    require_order(input._dtype, "max_values_cpu")
    require_elements("amax", input, dim, counted=False)
    return reduced("reduce_max", input, dim, keepdim, "Amax")


@numpy_names
def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The least over axes; ties share the gradient."""
    require_order(input._dtype, "min_values_cpu")
    require_elements("amin", input, dim, counted=False)
    return reduced("reduce_min", input, dim, keepdim, "Amin")


@numpy_names
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """The least and the greatest, over an axis or all."""
    require_order(input._dtype, "aminmax_cpu")
    if dim is None and numel_of(shape_of(input)) == 0:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    require_elements("aminmax", input, dim, call="")
    least = reduced("reduce_min", input, dim, keepdim, "Aminmax")
    return aminmax_result(least, reduced("reduce_max", input, dim, keepdim, "Aminmax"))


# -- with positions -------------------------------------------------------------------------------------------------
def _kept(tensor: Tensor, dim: int, keepdim: bool) -> Tensor:
    """Without the axis `dim` of size 1, unless it is to be kept."""
    if keepdim:
        return tensor
    shape = tuple(shape_of(tensor))
    return apply(PRIMITIVES["reshape"], (tensor,), {"shape": shape[:dim] + shape[dim + 1 :]})  # type: ignore[no-any-return]


def chosen(input: Tensor, dim: int, keepdim: bool, positions: Tensor) -> tuple[Tensor, Tensor]:
    """The elements at `positions` along an axis, and the positions."""
    from adjit.selecting import taken

    return _kept(taken(input, dim, positions), dim, keepdim), _kept(positions, dim, keepdim)


def _extreme(name: str) -> Callable[[Tensor, int, bool], tuple[Tensor, Tensor]]:
    def function(input: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
        return chosen(input, dim, keepdim, _place(f"arg{name}", input, dim))

    function.__name__ = name
    return composite(name.capitalize())(function)


def _place(op: str, input: Tensor, dim: int) -> Tensor:
    """The position along an axis, which stays with size 1."""
    shape = tuple(shape_of(input))
    found = apply(PRIMITIVES[op], (input,), {"axis": dim})
    return apply(PRIMITIVES["reshape"], (found,), {"shape": (*shape[:dim], 1, *shape[dim + 1 :])})  # type: ignore[no-any-return]


_max_along, _min_along = _extreme("max"), _extreme("min")


def of_scalar(input: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """What a function along an axis gives for a 0-d tensor: itself, at position 0."""
    from adjit.creation import zeros
    from adjit.ir.types import I64
    from adjit.shaping import clone

    wrap_dim(dim, 0)
    return clone(input), zeros((), dtype=I64)


@numpy_names
def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The greatest of all; along `dim`, (values, indices), the first of equals; with a tensor, `maximum`."""
    if isinstance(dim, Tensor):
        return maximum(input, dim)
    require_order(input._dtype, "max_all" if dim is None else "", "max(): does not support complex input")
    require_elements("max", input, dim)
    if dim is None:
        return reduced("reduce_max", input, None, False, "MaxBackward1")
    if not shape_of(input):
        return max_result(*of_scalar(input, dim))
    return max_result(*_max_along(input, wrap_dim(dim, len(shape_of(input))), keepdim))


@numpy_names
def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The least of all; along `dim`, (values, indices), the first of equals; with a tensor, `minimum`."""
    if isinstance(dim, Tensor):
        return minimum(input, dim)
    require_order(input._dtype, "min_all" if dim is None else "", "min(): does not support complex input")
    require_elements("min", input, dim)
    if dim is None:
        return reduced("reduce_min", input, None, False, "MinBackward1")
    if not shape_of(input):
        return min_result(*of_scalar(input, dim))
    return min_result(*_min_along(input, wrap_dim(dim, len(shape_of(input))), keepdim))


def _position(op: str, input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    """The position of the first greatest or least along an axis, or in the flat order."""
    from adjit.shaping import reshape

    if input._dtype is BOOL:
        raise RuntimeError(f"{op}(): does not support bool input")
    require_order(input._dtype, text=f"{op}(): does not support complex input")
    rank = len(shape_of(input))
    if dim is not None:
        require_elements(op, input, dim)
    elif numel_of(shape_of(input)) == 0:
        raise IndexError(f"{op}(): Expected reduction dim to be specified for input.numel() == 0.")
    axis = None if dim is None else wrap_dim(dim, rank)
    if axis is None or rank == 0:
        found = apply(PRIMITIVES[op], (reshape(input, -1),), {"axis": 0})
        return reshape(found, *(1,) * rank) if keepdim else found
    if keepdim:
        return _place(op, input, axis)
    return apply(PRIMITIVES[op], (input,), {"axis": axis})  # type: ignore[no-any-return]


@numpy_names
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the first greatest."""
    return _position("argmax", input, dim, keepdim)


@numpy_names
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the first least."""
    return _position("argmin", input, dim, keepdim)


# -- of two ---------------------------------------------------------------------------------------------------------
def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The greater, a number rather than NaN; of equals the first."""
    return _preferred("fmax", input, other)


def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller, a number rather than NaN; of equals the first."""
    return _preferred("fmin", input, other)


def _preferred(op: str, input: Tensor, other: Tensor) -> Tensor:
    for position, operand in enumerate((input, other)):
        if not isinstance(operand, Tensor):
            raise not_a_tensor(op, ("input", "other")[position], position, operand)
    a, b = promote(input, other, op=op)
    require_order(a._dtype, text=f"{op} not implemented for complex tensors.")
    first = emit("le", "", b, a) if op == "fmax" else emit("le", "", a, b)
    if a._dtype.is_float:
        first = emit("or", "", first, emit("isnan", "", b))
    return apply(PRIMITIVES["where"], (first, a, b), name=op.capitalize())  # type: ignore[no-any-return]


# -- in the middle --------------------------------------------------------------------------------------------------
@composite("Kthvalue")
def _kthvalue(input: Tensor, k: int, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    return chosen(input, dim, keepdim, ranked(input, k, dim))


def ranked(input: Tensor, k: int, dim: int) -> Tensor:
    """The position of the k-th least along an axis."""
    attributes = {"axis": dim, "descending": False, "first": k - 1, "count": 1}
    return apply(PRIMITIVES["sort"], (input.detach(),), attributes)[1]  # type: ignore[no-any-return]


@numpy_names
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th least along an axis, with its index."""
    require_order(input._dtype, "kthvalue_cpu")
    axis = wrap_dim(dim, len(shape_of(input)))
    extent = shape_of(input)[axis] if shape_of(input) else 1
    if extent == 0:
        raise IndexError(f"kthvalue(): Expected reduction dim {axis} to have non-zero size.")
    if input._dtype is BOOL:
        raise NotImplementedError("\"kthvalue_cpu\" not implemented for 'Bool'")
    k = whole(k)
    if not 1 <= k <= extent:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {axis}")
    if not shape_of(input):
        return kthvalue_result(*of_scalar(input, dim))
    return kthvalue_result(*_kthvalue(input, k, axis, keepdim))


def _middle(input: Tensor, dim: int) -> Tensor:
    """The position of the lower middle element along an axis, or of the first NaN."""
    positions = ranked(input, (shape_of(input)[dim] + 1) // 2, dim)
    if not input._dtype.is_float:
        return positions
    spoilt = reduced("reduce_any", emit("isnan", "", input), dim, True, "")
    return where(spoilt, _place("argmax", input, dim), positions)  # type: ignore[no-any-return]


@composite("MedianBackward1", "median")
def _median_along(input: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    return chosen(input, dim, keepdim, _middle(input, dim))


@composite("MedianBackward0", "median")
def _median(input: Tensor) -> Tensor:
    return shared_by_equals(input, chosen(input, 0, False, _middle(input, 0))[0])


def shared_by_equals(input: Tensor, value: Tensor) -> Tensor:
    """A value found in a vector, whose gradient goes in equal parts to all elements that are equal to it."""
    from adjit.logic import isnan

    if not input._dtype.is_float:
        return value
    fixed = value.detach()
    hit = emit("eq", "", input.detach(), fixed) | (isnan(fixed) & isnan(input.detach()))
    # The greatest of equal numbers is the number itself, and its gradient is theirs in equal parts.
    return apply(PRIMITIVES["reduce_max"], (where(hit, input, -math.inf),), {"axes": (0,)})  # type: ignore[no-any-return]


@numpy_names
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle value (the lower of two); along `dim`, (values, indices).  NaN if there is one."""
    require_order(input._dtype, "median_cpu" if dim is None else "median_out")
    if input._dtype is BOOL:
        raise NotImplementedError(f"\"median_cpu\" not implemented for '{title_of(input._dtype)}'")
    if dim is None:
        if numel_of(shape_of(input)) == 0:
            from adjit.creation import full

            return full((), float("nan"), dtype=input._dtype)
        return _median(input.reshape(-1))
    require_elements("median", input, dim)
    if not shape_of(input):
        return median_result(*of_scalar(input, dim))
    return median_result(*_median_along(input, wrap_dim(dim, len(shape_of(input))), keepdim))


# -- so far ---------------------------------------------------------------------------------------------------------
def _so_far(name: str, op: str) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    def function(input: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        from adjit.selecting import iota_like, taken

        fixed = input.detach()
        best = apply(PRIMITIVES[op], (fixed,), {"axis": dim, "reverse": False})
        hit = emit("eq", "", fixed, best)
        if fixed._dtype.is_float:
            hit = emit("or", "", hit, emit("isnan", "", fixed))
        places = where(hit, iota_like(fixed, dim), 0)
        positions = apply(PRIMITIVES["cumulate_max"], (places,), {"axis": dim, "reverse": False})
        return taken(input, dim, positions), positions

    function.__name__ = name
    return composite(name.capitalize())(function)


_cummax, _cummin = _so_far("cummax", "cumulate_max"), _so_far("cummin", "cumulate_min")


@numpy_names
def cummax(input: Tensor, dim: int) -> Any:
    """The greatest so far along an axis, and where it last stood."""
    require_order(input._dtype, "cummax_cpu")
    found = _cummax(input, wrap_dim(dim, len(shape_of(input)))) if shape_of(input) else of_scalar(input, dim)
    return cummax_result(*found)


@numpy_names
def cummin(input: Tensor, dim: int) -> Any:
    """The least so far along an axis, and where it last stood."""
    require_order(input._dtype, "cummin_cpu")
    found = _cummin(input, wrap_dim(dim, len(shape_of(input)))) if shape_of(input) else of_scalar(input, dim)
    return cummin_result(*found)


_PUBLIC = (
    "amax", "amin", "aminmax", "argmax", "argmin", "cummax", "cummin", "fmax", "fmin", "kthvalue", "max", "median",
    "min",
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {name: globals()[name] for name in _PUBLIC}
__all__ = list(_PUBLIC)
