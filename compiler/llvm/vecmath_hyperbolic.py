"""sinh, cosh: (e^x -+ 1/e^x) / 2 from a quarter of e^|x|, which stays finite where they do; sinh's series below 1.

The polynomials and the stated errors are made as in `vecmath_exponential`.
"""

from __future__ import annotations

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_exponential import reduced
from adjit.compiler.llvm.vecmath_lanes import Lanes, Table, call_shared, fma, polynomial, power_of_two
from adjit.ir.types import F32, F64

# sinh(x) = x + x^3 S(x^2) for |x| <= 1: relative error 2^-31 and 2^-61.
_SINH: Table = {
    F32: (0.1666666716, 0.008333311416, 0.0001984263508, 2.783925083e-06),
    F64: (
        0.16666666666666669,
        0.008333333333332915,
        0.0001984126984158925,
        2.7557319108448985e-06,
        2.505213069147298e-08,
        1.605668480516059e-10,
        7.775798826718944e-13,
    ),
}
# From here on both are infinite; a quarter of e^x is not.
_MOST: Table = {F32: (89.7,), F64: (710.7,)}


def sinh(function: Function, ty: LLType, x: str) -> str:
    """(e^x - e^-x) / 2.  Error: 1.20 ULP in f32, 1.18 in f64."""
    return call_shared(function, "sinh", ty, (x,), _sinh)


def cosh(function: Function, ty: LLType, x: str) -> str:
    """(e^x + e^-x) / 2.  Error: 1.20 ULP in f32, 1.16 in f64."""
    return call_shared(function, "cosh", ty, (x,), _cosh)


def _sinh(x: Lanes) -> Lanes:
    size = abs(x)
    square = size * size
    near = fma(size * square, polynomial(square, _SINH[x.type.dtype]), size)
    unit, tail, inverse = _quarter(size)
    half = unit + fma(unit, tail, -inverse)
    return (size < 1.0).choose(near, half + half).copy_sign(x)


def _cosh(x: Lanes) -> Lanes:
    unit, tail, inverse = _quarter(abs(x))
    half = unit + fma(unit, tail, inverse)
    return half + half


def _quarter(size: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """(u, t, v) with e^size / 4 = u (1 + t) for a power of two u, and e^-size / 4 = v; size >= 0."""
    (most,) = _MOST[size.type.dtype]
    tail, _, exponent = reduced((size > most).choose(most, size))
    unit = power_of_two(exponent - 2, size.type.dtype)
    return unit, tail, 0.0625 / fma(unit, tail, unit)
