"""What numbers are made of: mantissa and exponent, neighbours, common divisors; degrees."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.control import while_loop
from adjit.dims import shape_of
from adjit.dispatch import apply
from adjit.dtypes import require_order, title_of
from adjit.elementwise import abs, add, binary, emit, mul, operands_of, pow, sub, unsupported, where
from adjit.inplace import in_place
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BF16, BOOL, C128, F16, F32, F64, I16, I32, I64, DType
from adjit.logic import isnan
from adjit.promotion import broadcast_shapes, cast_to, promote, result_dtype
from adjit.reductions import any as any_of
from adjit.results import named_result
from adjit.tensor import Tensor

frexp_result = named_result("frexp", "mantissa", "exponent")
# The layout of each format: the integers of its width, stored bits of the mantissa, bias of the exponent.
_FORMATS: dict[DType, tuple[DType, int, int]] = {
    F16: (I16, 10, 15), BF16: (I16, 7, 127), F32: (I32, 23, 127), F64: (I64, 52, 1023)
}  # fmt: skip


# -- degrees ---------------------------------------------------------------------------------------------------------
def deg2rad(input: Tensor) -> Tensor:
    """Degrees as radians."""
    require_order(input._dtype, text="deg2rad is not supported for complex tensors.")
    return emit("mul", "Deg2Rad", input, math.pi / 180)


def rad2deg(input: Tensor) -> Tensor:
    """Radians as degrees."""
    require_order(input._dtype, text="rad2deg is not supported for complex tensors.")
    return emit("mul", "Rad2Deg", input, 180 / math.pi)


def signbit(input: Tensor) -> Tensor:
    """Whether the sign is minus, that of -0.0 and of a NaN included."""
    if input._dtype.is_complex:
        raise NotImplementedError("signbit is not implemented for complex tensors.")
    if input._dtype.is_float:
        return emit("lt", "", _bits(input), 0)
    return emit("lt", "", cast_to(input, I64) if input._dtype is BOOL else input, 0)


# -- of fixed dtypes ---------------------------------------------------------------------------------------------------
def float_power(input: Any, exponent: Any) -> Tensor:
    """input ** exponent in float64, or complex128."""
    given = operands_of("pow", input, exponent)
    wide, kind = (C128, complex) if result_dtype(given).is_complex else (F64, float)
    return pow(*(cast_to(x, wide) if isinstance(x, Tensor) else kind(x) for x in given))


_float_power_ = in_place(float_power, "float_power_")


def float_power_(input: Tensor, exponent: Any) -> Tensor:
    """In-place form of `float_power`."""
    wide = C128 if result_dtype((input, exponent)).is_complex else F64
    if input._dtype is not wide:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {title_of(input._dtype)} but the operation's result requires "
            f"dtype {title_of(wide)}"
        )
    return _float_power_(input, exponent)


def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 for negative, `values` at 0, 1 for positive."""
    if any(isinstance(x, Tensor) and x._dtype.is_complex for x in (input, values)):
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    if isinstance(input, Tensor) and isinstance(values, Tensor) and input._dtype is not values._dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    return _heaviside(input, values)


_heaviside = binary("heaviside", "Heaviside", "", tensors=True)


# -- mantissa, exponent, neighbours -----------------------------------------------------------------------------------
def _bits(input: Tensor) -> Tensor:
    return apply(PRIMITIVES["bitcast"], (input,), {"dtype": _FORMATS[input._dtype][0]})  # type: ignore[no-any-return]


def _of_bits(bits: Tensor, dtype: DType) -> Tensor:
    return apply(PRIMITIVES["bitcast"], (bits,), {"dtype": dtype})  # type: ignore[no-any-return]


def _power_of_two(exponent: Tensor, dtype: DType) -> Tensor:
    """2**exponent for the exponents of normal numbers."""
    _, mantissa, bias = _FORMATS[dtype]
    return _of_bits(emit("shl", "", add(exponent, bias), mantissa), dtype)


@composite("Frexp")
def _frexp(input: Tensor) -> tuple[Tensor, Tensor]:
    dtype = input._dtype
    integer, mantissa, bias = _FORMATS[dtype]
    fixed = input.detach()
    # A denormal number is made normal first.
    small = emit("lt", "", abs(fixed), 2.0 ** (1 - bias))
    lift = mantissa + 1
    scaled = where(small, mul(fixed, 2.0**lift), fixed)
    mask = (1 << (integer.bits - 1 - mantissa)) - 1
    field = emit("and", "", emit("shr", "", _bits(scaled), mantissa), mask)
    exponent = sub(field, cast_to(where(small, bias - 1 + lift, bias - 1), integer))
    plain = emit("and", "", emit("ne", "", fixed, 0), emit("isfinite", "", fixed))
    exponent = where(plain, exponent, 0)
    # 2**-exponent in two factors, which do not overflow.
    half = emit("shr", "", exponent, 1)
    first, second = (_power_of_two(emit("neg", "", part), dtype) for part in (half, sub(exponent, half)))
    return mul(mul(input, first), second), cast_to(exponent, I32)


def frexp(input: Tensor) -> Any:
    """(mantissa, exponent) with input = mantissa * 2**exponent and 0.5 <= |mantissa| < 1."""
    if not input._dtype.is_float:
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    wide = cast_to(input, F32) if input._dtype in (F16, BF16) else input
    mantissa, exponent = _frexp(wide)
    return frexp_result(cast_to(mantissa, input._dtype), exponent)


def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2**other."""
    return mul(input, pow(2.0, other))


@composite("Nextafter")
def _nextafter(input: Tensor, other: Tensor) -> Tensor:
    x, y = input.detach(), other.detach()
    integer, _, _ = _FORMATS[x._dtype]
    bits = _bits(x)
    # Away from 0 the bits count up, towards it down.
    away = emit("eq", "", emit("lt", "", x, y), emit("lt", "", 0, x))
    moved = _of_bits(add(bits, where(away, 1, -1).to(integer)), x._dtype)
    least = _of_bits(where(emit("lt", "", 0, y), 1, 1 - (1 << (integer.bits - 1))).to(integer), x._dtype)
    found = where(emit("eq", "", x, 0), least, moved)
    found = where(isnan(y), y, where(isnan(x), x, found))
    # As in PyTorch the derivative is 1 where there is a step; x + (found - x) is exact for neighbours.
    step = emit("isfinite", "", emit("add", "", abs(x), abs(found)))
    stepped = where(step, add(input, sub(found, x)), found)
    return where(emit("eq", "", x, y), y, stepped)  # type: ignore[no-any-return]


def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The next number after input in the direction of other."""
    a, b = promote(input, other, op="nextafter")
    if not a._dtype.is_float:
        raise unsupported("nextafter", a._dtype)
    a, b = _alike(a, b)
    return _nextafter(a, b.detach())  # type: ignore[no-any-return]


def _alike(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one shape: promotion leaves rank 0 as it is."""
    from adjit.shaping import expand

    shape = broadcast_shapes(shape_of(a), shape_of(b))
    if not shape:
        return a, b
    return (a if shape_of(a) else expand(a, *shape)), (b if shape_of(b) else expand(b, *shape))


# -- common divisors --------------------------------------------------------------------------------------------------
@composite("Gcd")
def _gcd(input: Tensor, other: Tensor) -> Tensor:
    """Euclid's algorithm, on all elements at once."""

    def step(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        done = emit("eq", "", b, 0)
        return where(done, a, b), where(done, 0, emit("mod", "", a, where(done, 1, b)))

    return while_loop(lambda a, b: any_of(emit("ne", "", b, 0)), step, (abs(input), abs(other)))[0]  # type: ignore[no-any-return]


def gcd(input: Tensor, other: Tensor) -> Tensor:
    """The greatest common divisor; 0 for two zeros."""
    a, b = promote(input, other, op="gcd")
    if not a._dtype.is_integer or a._dtype is BOOL:
        raise unsupported("gcd", a._dtype)
    return _gcd(*_alike(a, b))  # type: ignore[no-any-return]


def lcm(input: Tensor, other: Tensor) -> Tensor:
    """The least common multiple; 0 where an operand is 0."""
    a, b = promote(input, other, op="lcm")
    if not a._dtype.is_integer or a._dtype is BOOL:
        raise unsupported("lcm", a._dtype)
    a, b = _alike(a, b)
    divisor = _gcd(a, b)
    return abs(mul(emit("div", "", a, where(emit("eq", "", divisor, 0), 1, divisor)), b))


_PUBLIC = ("deg2rad", "float_power", "frexp", "gcd", "heaviside", "lcm", "ldexp", "nextafter", "rad2deg", "signbit")
METHODS: dict[str, Callable[..., Any]] = {name: globals()[name] for name in (*_PUBLIC, "float_power_")}
__all__ = list(_PUBLIC)
