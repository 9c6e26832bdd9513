"""The scalar primitives: element by element, over operands of one dtype and one shape, or of rank 0.

References compute on storage: a bfloat16 array is a uint16 array (see adjit.ir.halfs), widened to float32 for the
arithmetic and rounded once after it.  No reference warns; integers wrap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.ir.errors import DTypeError
from adjit.ir.halfs import cast_array, storage_dtype
from adjit.ir.ops.chain import fitted, scalar_jvp, scalar_vjp
from adjit.ir.ops.define import common_dims, scalar_op
from adjit.ir.types import BOOL, DType, TensorType

__all__ = ["scalar_jvp", "scalar_vjp"]


# -- arithmetic -----------------------------------------------------------------------------------------------------
@scalar_op("number")
def add(x: Any, y: Any) -> Any:
    """x + y."""
    return np.add(x, y)


@add.transposes
def _(g: Any, x: Any, y: Any) -> Any:
    return fitted(g, x), fitted(g, y)


@scalar_op("number")
def sub(x: Any, y: Any) -> Any:
    """x - y."""
    return np.subtract(x, y)


@sub.transposes
def _(g: Any, x: Any, y: Any) -> Any:
    return fitted(g, x), fitted(lambda: neg(g), y)


@scalar_op("number", wide_numbers=True)
def mul(x: Any, y: Any) -> Any:
    """x*y."""
    return np.multiply(x, y)


@mul.transposes_each
def _(g: Any, x: Any, y: Any) -> Any:
    return fitted(lambda: mul(g, y), x), fitted(lambda: mul(g, x), y)


@scalar_op("number")
def neg(x: Any) -> Any:
    """-x."""
    return np.negative(x)


@neg.transposes
def _(g: Any, x: Any) -> Any:
    return fitted(lambda: neg(g), x)


@scalar_op("number", singular=True, symbolic=lambda sympy, x, y: x / y, pinned={"y": "-out/y"}, wide_numbers=True)
def div(x: Any, y: Any) -> Any:
    """x/y; for integers the floor of it.

    Errors: ZeroDivisionError for an integer divisor of 0.  The least integer over -1 is itself.
    """
    return _integer_division(np.floor_divide, x, y) if _is_integer(x, y) else np.divide(x, y)


@scalar_op("number", singular=True, pinned={"x": "1", "y": "round((out - x)/y)"})
def mod(x: Any, y: Any) -> Any:
    """x - y*floor(x/y), of the sign of y; a zero has the sign of x.

    Errors: ZeroDivisionError for an integer divisor of 0.
    """
    if _is_integer(x, y):
        return _integer_division(np.mod, x, y)
    rest = np.fmod(x, y)
    return np.where((rest != 0) & (np.signbit(rest) != np.signbit(y)), rest + y, rest)


def _is_integer(*operands: Any) -> bool:
    return all(np.result_type(x).kind in "iu" for x in operands)


def _integer_division(divide: Callable[..., Any], x: Any, y: Any) -> Any:
    if np.size(x) and np.any(np.equal(y, 0)):
        raise ZeroDivisionError("integer division or modulo by zero")
    return divide(x, y)


@scalar_op(
    "number",
    exact=False,
    singular=True,
    pinned={
        "x": "where(y == 0, 0, y*x**(y - 1))",
        # 0**y is flat where y >= 0, as its limit is.
        "y": "where((x == 0) & (0 <= y), 0, log(x)*out)",
    },
)
def pow_(x: Any, y: Any) -> Any:
    """x**y; for integers wrapping, and 0 for a negative y unless x is 1 or -1."""
    x, y = np.broadcast_arrays(*(np.asarray(v, np.result_type(x, y)) for v in (x, y)))
    if not _is_integer(x, y):
        # Of an exponent that is one number, NumPy takes 1/2 for a square root: at -0.0 and -inf that is not pow.
        return np.power(x.reshape(-1), y.ravel().copy()).reshape(x.shape)
    power = np.power(x, np.where(y < 0, y.dtype.type(0), y))
    inverse = np.where(x == 1, 1, np.where(x == -1, np.where(y % 2 == 0, 1, -1), 0)) if x.dtype.kind == "i" else power
    return np.where(y < 0, inverse, power).astype(x.dtype)


@scalar_op("number", pinned={"x": "sign(x)"})
def abs_(x: Any) -> Any:
    """|x|; the least integer is its own."""
    return np.abs(x)


_WHERE_GREATER = {"x": "where(x < y, 0, where(x == y, 0.5, 1))", "y": "where(y < x, 0, where(x == y, 0.5, 1))"}


@scalar_op("number", pinned=_WHERE_GREATER)
def maximum(x: Any, y: Any) -> Any:
    """The greater of x and y; NaN if either is; -0.0 is less than 0.0.  A tie shares the derivative.

    Source: IEEE 754-2019, maximum.
    """
    result = np.maximum(x, y)
    return result if _is_integer(result) else np.where(np.equal(x, 0) & np.equal(y, 0), np.add(x, y), result)


@scalar_op("number", pinned={"x": _WHERE_GREATER["y"], "y": _WHERE_GREATER["x"]})
def minimum(x: Any, y: Any) -> Any:
    """The lesser of x and y; NaN if either is; -0.0 is less than 0.0.  A tie shares the derivative.

    Source: IEEE 754-2019, minimum.
    """
    result = np.minimum(x, y)
    if _is_integer(result):
        return result
    return np.where(np.equal(x, 0) & np.equal(y, 0), -(-x - y), result)


# -- rounding -------------------------------------------------------------------------------------------------------
@scalar_op("float", constant=True)
def floor(x: Any) -> Any:
    """The greatest integer that is not above x."""
    return np.floor(x)


@scalar_op("float", constant=True)
def round_(x: Any) -> Any:
    """The nearest integer, ties to even."""
    return np.rint(x)


# -- functions ------------------------------------------------------------------------------------------------------
@scalar_op("float", exact=False, singular=True, symbolic=lambda sympy, x: sympy.exp(x))
def exp(x: Any) -> Any:
    """e**x."""
    return np.exp(x)


@scalar_op("float", exact=False, singular=True, symbolic=lambda sympy, x: sympy.log(x))
def log(x: Any) -> Any:
    """The natural logarithm."""
    return np.log(x)


@scalar_op("float", exact=False, singular=True, symbolic=lambda sympy, x: sympy.log(1 + x))
def log1p(x: Any) -> Any:
    """log(1 + x), without the rounding of 1 + x."""
    return np.log1p(x)


# `out + 1` would lose every digit far below 0.
@scalar_op("float", exact=False, singular=True, symbolic=lambda sympy, x: sympy.exp(x) - 1, pinned={"x": "exp(x)"})
def expm1(x: Any) -> Any:
    """exp(x) - 1, without cancellation at 0."""
    return np.expm1(x)


@scalar_op("float", singular=True, symbolic=lambda sympy, x: sympy.sqrt(x))
def sqrt(x: Any) -> Any:
    """The square root; NaN below 0."""
    return np.sqrt(x)


@scalar_op("float", exact=False, symbolic=lambda sympy, x: sympy.sin(x))
def sin(x: Any) -> Any:
    """The sine of x radians."""
    return np.sin(x)


@scalar_op("float", exact=False, symbolic=lambda sympy, x: sympy.cos(x))
def cos(x: Any) -> Any:
    """The cosine of x radians."""
    return np.cos(x)


@scalar_op("float", exact=False, symbolic=lambda sympy, x: sympy.tanh(x))
def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return np.tanh(x)


@scalar_op(
    "float",
    exact=False,
    singular=True,
    symbolic=lambda sympy, y, x: sympy.atan2(y, x),
    # Divided twice by the distance, so that no square overflows; flat at the origin.
    pinned={
        "y": "where((x == 0) & (y == 0), 0, x/hypot(x, y)/hypot(x, y))",
        "x": "where((x == 0) & (y == 0), 0, -y/hypot(x, y)/hypot(x, y))",
    },
)
def atan2(y: Any, x: Any) -> Any:
    """The angle of the point (x, y), in -pi..pi."""
    return np.arctan2(y, x)


@scalar_op("float", exact=False, symbolic=lambda sympy, x: sympy.erf(x))
def erf(x: Any) -> Any:
    """2/sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    x = np.asarray(x)
    values = [math.erf(value) for value in x.astype(np.float64).ravel().tolist()]
    return np.asarray(values, np.float64).reshape(x.shape).astype(x.dtype)


# -- comparison and logic -------------------------------------------------------------------------------------------
@scalar_op("any", gives_bool=True)
def lt(x: Any, y: Any) -> Any:
    """x < y; false where either is NaN."""
    return np.less(x, y)


@scalar_op("any", gives_bool=True)
def le(x: Any, y: Any) -> Any:
    """x <= y; false where either is NaN."""
    return np.less_equal(x, y)


@scalar_op("any", gives_bool=True)
def eq(x: Any, y: Any) -> Any:
    """x == y; false where either is NaN."""
    return np.equal(x, y)


@scalar_op("logical")
def and_(x: Any, y: Any) -> Any:
    """Bitwise and; logical for bool."""
    return np.bitwise_and(x, y)


@scalar_op("logical")
def or_(x: Any, y: Any) -> Any:
    """Bitwise or; logical for bool."""
    return np.bitwise_or(x, y)


@scalar_op("logical")
def xor(x: Any, y: Any) -> Any:
    """Bitwise exclusive or; logical for bool."""
    return np.bitwise_xor(x, y)


@scalar_op("logical")
def not_(x: Any) -> Any:
    """Bitwise complement; logical for bool."""
    return np.invert(x)


@scalar_op("integer")
def shl(x: Any, y: Any) -> Any:
    """x shifted left by y bits; 0 where y is negative or not less than the width."""
    return np.where(_in_width(x, y), np.left_shift(x, np.where(_in_width(x, y), y, 0)), 0).astype(np.result_type(x, y))


@scalar_op("integer")
def shr(x: Any, y: Any) -> Any:
    """x shifted right by y bits, the sign kept; the sign alone where y is negative or not less than the width."""
    shifted = np.right_shift(x, np.where(_in_width(x, y), y, 0))
    dtype = np.result_type(x, y)
    return np.where(_in_width(x, y), shifted, np.negative(np.less(x, 0).astype(dtype))).astype(dtype)


def _in_width(x: Any, y: Any) -> Any:
    return np.greater_equal(y, 0) & np.less(y, 8 * np.result_type(x, y).itemsize)


# -- selection and conversion ---------------------------------------------------------------------------------------
@scalar_op("any")
def where(condition: Any, x: Any, y: Any) -> Any:
    """x if condition else y.

    Shapes: bool[d...], t[d...], t[d...] -> t[d...], each also of rank 0.
    """
    return np.where(condition, x, y)


@where.infers
def _(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    if condition.dtype is not BOOL:
        raise DTypeError(f"where: the condition is {condition}; it must be bool")
    if x.dtype is not y.dtype:
        raise DTypeError(f"where: branches of {x.dtype} and {y.dtype}; they must have one dtype")
    return TensorType(x.dtype, common_dims("where", (condition, x, y)))


@where.transposes
def _(g: Any, condition: Any, x: Any, y: Any) -> Any:
    return None, fitted(lambda: where(condition, g, 0), x), fitted(lambda: where(condition, 0, g), y)


@scalar_op("any")
def cast(x: Any, *, dtype: DType) -> Any:
    """x in another dtype; see adjit.ir.halfs.cast_array for what happens to values that do not fit."""
    return cast_array(np.asarray(x), storage_dtype(np.asarray(x)), dtype)


@scalar_op("any", constant=True)
def bitcast(x: Any, *, dtype: DType) -> Any:
    """The bits of x read as another dtype of the same width; neither is bool."""
    return np.asarray(x).view(dtype.storage)


# These two read and write storage, so bfloat16 is not widened on the way.
cast.reference = lambda x, *, dtype: cast_array(np.asarray(x), storage_dtype(np.asarray(x)), dtype)
bitcast.reference = lambda x, *, dtype: np.asarray(x).view(dtype.storage)


@cast.infers
def _(x: TensorType, *, dtype: DType) -> TensorType:
    return x.with_dtype(dtype)


@bitcast.infers
def _(x: TensorType, *, dtype: DType) -> TensorType:
    if x.dtype.bits != dtype.bits or BOOL in (x.dtype, dtype):
        raise DTypeError(f"bitcast: {x.dtype} cannot be read as {dtype}")
    return x.with_dtype(dtype)


@cast.transposes
def _(g: Any, x: Any, *, dtype: DType) -> Any:
    source = x.dtype if hasattr(x, "emitter") else storage_dtype(np.asarray(x))
    return cast(g, dtype=source) if source.is_continuous and dtype.is_continuous else None
