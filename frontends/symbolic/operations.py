"""Ops on tensors and numbers, with NumPy's promotion: integers stay integers where they are exact, else are float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjit.dispatch import literal
from adjit.ir.primitive import primitive_named
from adjit.ir.types import F64
from adjit.tensor import Tensor

# What keeps integers; comparisons and logic take them too.
_ON_INTEGERS = frozenset(
    ("abs", "add", "eq", "ge", "gt", "le", "lt", "maximum", "minimum", "mod", "mul", "ne", "neg", "sign", "square",
     "cube", "sub", "where")
)  # fmt: skip
_LOGIC = frozenset(("and", "eq", "ne", "not", "or", "where", "xor"))
# Of numbers that are real: these are no ops of real tensors.
_PARTS: dict[str, Any] = {"real": np.real, "imag": np.imag, "conj": np.conj, "angle": np.angle}


def apply_op(name: str, *operands: Any) -> Any:
    """An op on tensors and numbers; numbers alone give a number."""
    if not any(isinstance(x, Tensor) for x in operands):
        return _on_numbers(name, operands)
    from adjit.elementwise import emit, where

    if name in _PARTS or any(isinstance(x, complex) or (isinstance(x, Tensor) and x.is_complex()) for x in operands):
        return _of_parts(name, *operands)
    if name in ("floor", "ceil") and isinstance(operands[0], Tensor) and operands[0]._dtype.is_integer:
        return operands[0]
    operands = tuple(map(_exact(name, operands), operands))
    if name == "where":
        return where(operands[0], *map(_wide, operands[1:]))
    primitive_named(name)  # special functions are loaded at first use
    return emit(name, "", *operands)


def _wide(x: Any) -> Any:
    """A number that stands for no other dtype's is float64."""
    return literal(x, F64) if isinstance(x, float) else x


def _on_numbers(name: str, operands: tuple[Any, ...]) -> Any:
    if name in _PARTS:
        return _PARTS[name](operands[0]).item() if isinstance(operands[0], complex) else _of_real(name, operands[0])
    if name == "where":
        return operands[1] if operands[0] else operands[2]
    numbers = [
        x if isinstance(x, bool) else np.complex128(x) if isinstance(x, complex) else np.float64(x) for x in operands
    ]
    if name == "abs" and isinstance(operands[0], complex):
        return abs(operands[0])
    return primitive_named(name)(*map(np.asarray, numbers)).item()


def _of_real(name: str, x: Any) -> Any:
    """A part of a real number or tensor."""
    if name == "angle":
        return apply_op("where", apply_op("lt", x, 0), math.pi, 0.0)
    return 0 if name == "imag" else x


def _of_parts(name: str, *operands: Any) -> Any:
    """An op that has complex operands, or gives a part of what may be one."""
    from adjit import complex_parts
    from adjit.elementwise import abs as magnitude
    from adjit.elementwise import emit, sgn, where

    first = operands[0]
    if name in _PARTS:
        return getattr(complex_parts, name)(first) if first.is_complex() else _of_real(name, first)
    if name == "abs":
        return magnitude(first)
    if name == "sign":
        return sgn(first)
    operands = tuple(x.to(_float64()) if isinstance(x, Tensor) and x._dtype.is_integer else x for x in operands)
    return where(*operands) if name == "where" else emit(name, "", *operands)


def _float64() -> Any:
    from adjit.dtypes import float64

    return float64


def _exact(name: str, operands: tuple[Any, ...]) -> Any:
    """What makes an operand one that the op computes as NumPy does."""
    tensors = [x for x in operands if isinstance(x, Tensor)]
    whole = all(not x._dtype.is_continuous for x in tensors) and not any(isinstance(x, float) for x in operands)
    keeps = name in _ON_INTEGERS or (name == "pow" and isinstance(operands[1], int) and operands[1] >= 0)
    if name in _LOGIC or (whole and keeps):
        return lambda x: x
    return lambda x: x.to(_float64()) if isinstance(x, Tensor) and not x._dtype.is_continuous else x
