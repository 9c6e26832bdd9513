"""log, log1p: x = 2^k m with m in [sqrt(1/2), sqrt(2)), then log m = 2 atanh(s) for s = (m - 1) / (m + 1).

The form f - f^2/2 + s (f^2/2 + R) of the last step is that of fdlibm's e_log.c (Sun Microsystems, 1993).  The
polynomials and the stated errors are made as in `vecmath_exponential`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_exponential import LN2
from adjit.compiler.llvm.vecmath_lanes import Lanes, Table, call_shared, fma, integer_to_float, polynomial
from adjit.ir.types import F32, F64

# 2 atanh(s) = 2 s + s^3 (2/3 + s^2 U(s^2)): relative error 2^-36 and 2^-66.
ATANH: Table = {
    F32: (0.40000153, 0.28547078, 0.2342014),
    F64: (
        0.4000000000000229,
        0.2857142857008281,
        0.22222222523042542,
        0.18181784084291797,
        0.15386770770979621,
        0.1325649604112703,
        0.13199389328903852,
    ),
}
_ROOT_HALF_BITS = {F32: 0x3F3504F3, F64: 0x3FE6A09E667F3BCD}
_TINY: Table = {F32: (2.0**-25,), F64: (2.0**-54,)}


def log(function: Function, ty: LLType, x: str) -> str:
    """The natural logarithm; -inf at 0, NaN below.  Error: 0.84 ULP in f32, 0.81 in f64."""
    return call_shared(function, "log", ty, (x,), _log)


def log1p(function: Function, ty: LLType, x: str) -> str:
    """log(1 + x) without cancellation at 0; -inf at -1, NaN below.  Error: 0.83 ULP in f32, 0.79 in f64."""
    return call_shared(function, "log1p", ty, (x,), _log1p)


def split(x: Lanes) -> tuple[Lanes, Lanes]:
    """(k, m) with x = 2^k m and m in [sqrt(1/2), sqrt(2)), both floats, for finite x > 0."""
    precision = x.format.precision
    denormal = x < x.format.least_normal
    k, m = _split_normal(denormal.choose(x * 2.0**precision, x))
    return integer_to_float(denormal.choose(k - precision, k), x.type.dtype), m


def _split_normal(x: Lanes) -> tuple[Lanes, Lanes]:
    """`split` for normal x, with k an integer."""
    mantissa, bits = x.format.mantissa, x.bits()
    k = (bits - _ROOT_HALF_BITS[x.type.dtype]) >> mantissa
    return k, (bits - (k << mantissa)).as_float(x.type.dtype)


def log_of_normal(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """log x for normal x > 0, as precise as the `coefficients` of `ATANH` for the dtype that is wanted."""
    k, m = _split_normal(x)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = fma(z, fma(z, polynomial(z, coefficients), 2 / 3), 2.0)
    return fma(s, series, integer_to_float(k, x.type.dtype) * LN2[x.type.dtype][0])


def _log_of_sum(x: Lanes, correction: Lanes | None) -> Lanes:
    """log(x) + correction for finite x > 0."""
    high, low = LN2[x.type.dtype]
    k, m = split(x)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    rest = z * fma(z, polynomial(z, ATANH[x.type.dtype]), 2 / 3)
    half_square = f * 0.5 * f
    small = k * low if correction is None else fma(k, low, correction)
    return fma(k, high, f - (half_square - fma(s, half_square + rest, small)))


def _special(x: Lanes, value: Lanes) -> Lanes:
    """`value` = log(x) corrected where x is inf, 0, negative or NaN."""
    value = x.equal(math.inf).choose(x, value)
    outside = x.equal(0.0).choose(x.constant(-math.inf), math.nan)
    return (x > 0.0).choose(value, outside)


def _log(x: Lanes) -> Lanes:
    return _special(x, _log_of_sum(x, None))


def _log1p(x: Lanes) -> Lanes:
    """log(u) + c / u for u = 1 + x rounded and c its exact error."""
    (tiny,) = _TINY[x.type.dtype]
    u = x + 1.0
    error = (x > 1.0).choose(1.0 - (u - x), x - (u - 1.0))
    return (abs(x) < tiny).choose(x, _special(u, _log_of_sum(u, error / u)))
