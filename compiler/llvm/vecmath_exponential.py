"""exp, expm1: x = n ln 2 + r with |r| <= ln 2 / 2, then a polynomial in r, scaled by 2^n.

With AVX-512, exp takes n in sixteenths: |r| <= ln 2 / 32, and the root 2^(i/16) comes out of a register.

The polynomials are minimax fits (Remez, 50 digits, coefficients rounded to the dtype).  The errors stated are the
greatest found against references of higher precision: in f32 over every 7th of all bit patterns (erf every 1037th,
functions of two operands over 4 million pairs), in f64 over some million arguments (erf 150,000).
"""

from __future__ import annotations

import math

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_lanes import (
    Lanes,
    Table,
    call_shared,
    fma,
    nearest_multiple,
    polynomial,
    power_of_two,
)
from adjit.compiler.llvm.vecmath_registers import limited, permuted, scaled
from adjit.compiler.llvm.vecmath_scale import scale
from adjit.ir.types import F32, F64

# ln 2 as the sum of two numbers of the dtype.
LN2: Table = {
    F32: (float.fromhex("0x1.62e430p-1"), float.fromhex("-0x1.05c610p-29")),
    F64: (float.fromhex("0x1.62e42fefa39efp-1"), float.fromhex("0x1.abc9e3b39803fp-56")),
}
LOG2_E = 1 / math.log(2)

# exp(r) = 1 + r + r^2 P(r): relative error 2^-30 and 2^-60.
_EXP: Table = {
    F32: (0.5, 0.16666667, 0.041666377, 0.008333275, 0.0013939578, 0.00019913145),
    F64: (
        0.5,
        0.16666666666666674,
        0.0416666666666667,
        0.008333333333322658,
        0.0013888888888868522,
        0.0001984126988384825,
        2.480158735798203e-05,
        2.7557246246048308e-06,
        2.7557244528740643e-07,
        2.5108401114928178e-08,
        2.0923992983500316e-09,
    ),
}
# The same for |r| <= ln 2 / 32: relative error 2^-29 and 2^-56; and the roots.
_NEAR: Table = {
    F32: (0.50001633, 0.16666850),
    F64: (0.499999999999996, 0.16666666664372468, 0.04166666669378963, 0.008333473314565703, 0.0013888591057711762),
}
_ROOTS = (
    1.0, 1.0442737824274138, 1.0905077326652577, 1.1387886347566916, 1.189207115002721, 1.241857812073484,
    1.2968395546510096, 1.3542555469368927, 1.4142135623730951, 1.4768261459394993, 1.5422108254079407,
    1.6104903319492543, 1.681792830507429, 1.7562521603732995, 1.8340080864093424, 1.9152065613971474,
)  # fmt: skip
# Below and above these exp rounds to 0 and to infinity; the scale stays a product of two normal powers of two.
_EXP_RANGE: Table = {F32: (-104.0, 89.0), F64: (-746.0, 710.0)}
# Below this expm1 rounds to -1.
_EXPM1_LEAST: Table = {F32: (-17.4,), F64: (-37.5,)}
# Below this magnitude expm1(x) rounds to x; halving a denormal would lose its last bit.
_TINY: Table = {F32: (2.0**-25,), F64: (2.0**-54,)}


def exp(function: Function, ty: LLType, x: str) -> str:
    """e^x, with overflow to inf and gradual underflow.  Error: 0.99 ULP in f32, 1.09 in f64."""
    return call_shared(function, "exp", ty, (x,), _exp)


def expm1(function: Function, ty: LLType, x: str) -> str:
    """e^x - 1 without cancellation at 0.  Error: 0.84 ULP in f32, 1.04 in f64."""
    return call_shared(function, "expm1", ty, (x,), _expm1)


def _exp(x: Lanes) -> Lanes:
    if x.function.module.avx512:
        return _by_roots(x)
    low, high = _EXP_RANGE[x.type.dtype]
    x = (x > high).choose(high, x)
    tail, n, exponent = reduced((x < low).choose(low, x))
    return scale(tail + 1.0, n, exponent)


def _by_roots(x: Lanes) -> Lanes:
    """e^x = 2^n e^r, the fraction of n by its root.

    Beyond exp's range r has no digits: limited, it leaves a positive number to scale, and n decides.
    """
    high, low = LN2[x.type.dtype]
    n, root = nearest_sixteenth(x, LOG2_E)
    r = limited(fma(-n, low, fma(-n, high, x)), 1.0)
    growth = fma(r * r, polynomial(r, _NEAR[x.type.dtype]), r)
    return scaled(fma(root, growth, root), n)


def nearest_sixteenth(x: Lanes, factor: float) -> tuple[Lanes, Lanes]:
    """(n, 2^(n - floor(n))) for n = x * factor rounded to sixteenths, if the target has AVX-512."""
    shifter = x.format.shifter / len(_ROOTS)
    shifted = fma(x, factor, shifter)
    return shifted - shifter, permuted(_ROOTS, shifted.bits(), x)


def reduced(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """(e^r - 1, n, n as an integer) with e^x = e^r 2^n, for x in exp's range, or NaN."""
    high, low = LN2[x.type.dtype]
    n, exponent = nearest_multiple(x, LOG2_E)
    r = fma(-n, low, fma(-n, high, x))
    return fma(r * r, polynomial(r, _EXP[x.type.dtype]), r), n, exponent


def normal_exp(x: Lanes) -> Lanes:
    """e^x where that is a normal number, or x is NaN."""
    if x.function.module.avx512:
        return _by_roots(x)
    tail, _, exponent = reduced(x)
    return (tail + 1.0) * power_of_two(exponent, x.type.dtype)


def exp_of_sum(high: Lanes, low: Lanes) -> Lanes:
    """e^(high + low), one rounding and little more, for high in exp's range and |low| of the order of its ULP."""
    n, exponent = nearest_multiple(high, LOG2_E)
    reduced, rest = _reduce(high, n)
    r = reduced + low
    tail = fma(r * r, polynomial(r, _EXP[high.type.dtype]), rest + (low - (r - reduced)))
    one = r + 1.0
    return scale(one + ((r - (one - 1.0)) + tail), n, exponent)


def _reduce(x: Lanes, n: Lanes) -> tuple[Lanes, Lanes]:
    """x - n ln 2 as a sum of two numbers; the first fma is exact, since the difference is short."""
    high, low = LN2[x.type.dtype]
    first = fma(-n, high, x)
    r = fma(-n, low, first)
    return r, fma(-n, low, first - r)


def _half_expm1(x: Lanes) -> tuple[Lanes, Lanes]:
    """(e^x - 1) / 2 as a sum of two numbers; the half keeps the scale 2^n finite up to exp's overflow.

    With s = 2^(n-1): s e^r - 1/2 = (s - 1/2) + s r + s (e^r - 1 - r), the first two added exactly.
    """
    n, exponent = nearest_multiple(x, LOG2_E)
    r, rest = _reduce(x, n)
    tail = fma(r * r, polynomial(r, _EXP[x.type.dtype]), rest)
    s = power_of_two(exponent - 1, x.type.dtype)
    base = s - 0.5
    base_error = (s - base) - 0.5
    linear = s * r
    high = base + linear
    return high, (linear - (high - base)) + fma(s, tail, base_error)


def _expm1(x: Lanes) -> Lanes:
    (least,), (tiny,) = _EXPM1_LEAST[x.type.dtype], _TINY[x.type.dtype]
    most = _EXP_RANGE[x.type.dtype][1]
    bounded = (x > most).choose(most, x)
    high, low = _half_expm1((bounded < least).choose(least, bounded))
    total = high + low
    return (abs(x) < tiny).choose(x, total + total)
