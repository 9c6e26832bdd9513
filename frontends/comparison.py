"""Comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.dims import shape_of
from adjit.dtypes import title_of
from adjit.elementwise import abs, add, emit, mul, operands_of, sub
from adjit.errors import not_a_tensor
from adjit.ir.types import F32
from adjit.logic import isnan, logical_and, logical_not, logical_or
from adjit.promotion import promote
from adjit.tensor import Tensor


def eq(input: Any, other: Any) -> Tensor:
    """input == other."""
    return emit("eq", "", *operands_of("eq", input, other))


def ne(input: Any, other: Any) -> Tensor:
    """input != other."""
    return logical_not(eq(input, other))


def lt(input: Any, other: Any) -> Tensor:
    """input < other."""
    return emit("lt", "", *operands_of("lt", input, other))


def le(input: Any, other: Any) -> Tensor:
    """input <= other."""
    return emit("le", "", *operands_of("le", input, other))


def gt(input: Any, other: Any) -> Tensor:
    """input > other."""
    a, b = promote(*operands_of("gt", input, other), op="gt")
    return emit("lt", "", b, a, kernel="gt")


def ge(input: Any, other: Any) -> Tensor:
    """input >= other."""
    a, b = promote(*operands_of("ge", input, other), op="ge")
    return emit("le", "", b, a, kernel="ge")


def _need_tensors(op: str, *tensors: Any) -> None:
    for position, (name, tensor) in enumerate(zip(("input", "other"), tensors, strict=True)):
        if not isinstance(tensor, Tensor):
            raise not_a_tensor(op, name, position, tensor)


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shape and all elements are the same."""
    _need_tensors("equal", input, other)
    if tuple(shape_of(input)) != tuple(shape_of(other)):
        return False
    return bool(eq(input, other).all())


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """|input - other| <= atol + rtol * |other|, or equal."""
    _need_tensors("isclose", input, other)
    if input._dtype is not other._dtype:
        raise RuntimeError(f"{title_of(input._dtype)} did not match {title_of(other._dtype)}")
    for name, bound in (("rtol", rtol), ("atol", atol)):
        if bound < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {bound:g}")
    close = eq(input, other)
    if equal_nan and input._dtype.is_continuous:
        close = logical_or(close, logical_and(isnan(input), isnan(other)))
    wide = (input, other) if input._dtype.is_continuous else (input.to(F32), other.to(F32))
    difference = abs(sub(*wide))
    finite = lt(difference, float("inf"))
    return logical_or(close, logical_and(finite, le(difference, add(mul(abs(wide[1]), rtol), atol))))


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are close."""
    _need_tensors("allclose", input, other)
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne
_PUBLIC = (
    "allclose", "eq", "equal", "ge", "greater", "greater_equal", "gt", "isclose", "le", "less", "less_equal", "lt",
    "ne", "not_equal",
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {name: globals()[name] for name in _PUBLIC}
__all__ = list(_PUBLIC)
