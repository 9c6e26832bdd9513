"""The standard's elementwise functions: promotion by its rules, then PyTorch's function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import adjit
from adjit.array_api.operands import promoted
from adjit.promotion import cast_to
from adjit.tensor import Tensor

_UNARY = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "conj", "cos", "cosh", "exp", "expm1", "floor",
    "imag", "isfinite", "isinf", "isnan", "log", "log10", "log1p", "log2", "logical_not", "negative", "positive",
    "real", "reciprocal", "round", "signbit", "sin", "sinh", "sqrt", "square", "tan", "tanh", "trunc",
)  # fmt: skip
_BINARY = {
    "add": "add", "atan2": "atan2", "bitwise_and": "bitwise_and", "bitwise_left_shift": "bitwise_left_shift",
    "bitwise_or": "bitwise_or", "bitwise_right_shift": "bitwise_right_shift", "bitwise_xor": "bitwise_xor",
    "copysign": "copysign", "divide": "div", "equal": "eq", "greater": "gt",
    "greater_equal": "ge", "hypot": "hypot", "less": "lt", "less_equal": "le", "logaddexp": "logaddexp",
    "logical_and": "logical_and", "logical_or": "logical_or", "logical_xor": "logical_xor", "maximum": "maximum",
    "minimum": "minimum", "multiply": "mul", "nextafter": "nextafter", "not_equal": "ne", "pow": "pow",
    "subtract": "sub",
}  # fmt: skip


def _unary(function: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    def standard(x: Tensor, /) -> Tensor:
        return function(x)

    return _named(standard, name, function)


def _binary(function: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    def standard(x1: Any, x2: Any, /) -> Tensor:
        return function(*promoted(x1, x2))

    return _named(standard, name, function)


def _named(standard: Callable[..., Tensor], name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    standard.__name__ = standard.__qualname__ = name
    standard.__doc__ = function.__doc__
    return standard


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    **{name: _unary(getattr(adjit, name), name) for name in _UNARY},
    **{name: _binary(getattr(adjit, of), name) for name, of in _BINARY.items()},
    "bitwise_invert": _unary(adjit.bitwise_not, "bitwise_invert"),
}


def floor_divide(x1: Any, x2: Any, /) -> Tensor:
    """floor(x1 / x2); an infinity divided, or divided by, gives what x1 / x2 gives."""
    a, b = promoted(x1, x2)
    found: Tensor = adjit.floor_divide(a, b)
    if a._dtype.is_float:
        found = adjit.where(adjit.isinf(a) | adjit.isinf(b), adjit.div(a, b), found)
    return found


def remainder(x1: Any, x2: Any, /) -> Tensor:
    """x1 - floor(x1 / x2) * x2; a zero, too, has the sign of x2."""
    a, b = promoted(x1, x2)
    found: Tensor = adjit.remainder(a, b)
    return adjit.where(found == 0, adjit.copysign(found, b), found) if a._dtype.is_float else found


def sign(x: Tensor, /) -> Tensor:
    """-1, 0 or 1; NaN of a NaN; x/|x| of a complex number."""
    if x._dtype.is_complex:
        return adjit.sgn(x)  # type: ignore[no-any-return]
    found: Tensor = adjit.sign(x)
    return adjit.where(adjit.isnan(x), x, found) if x._dtype.is_continuous else found


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """x, but at least `min` and at most `max`, in the dtype of x."""
    if min is None and max is None:
        return x.clone()  # type: ignore[no-any-return]
    bounds = [bound if bound is None else cast_to(promoted(x, bound)[1], x._dtype) for bound in (min, max)]
    found: Tensor = adjit.clamp(x, *bounds)
    return found
