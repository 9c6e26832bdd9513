"""pow: |x|^y = exp(y log|x|), the logarithm and the product held as sums of two numbers; integer powers by squaring.

The logarithm is `vecmath_logarithm`'s, with s, s^2 and the cubic term carried in double-word arithmetic (Dekker 1971);
special cases are those of IEEE 754-2019, section 9.2.1.
"""

from __future__ import annotations

import math

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_exponential import LN2, exp_of_sum, normal_exp
from adjit.compiler.llvm.vecmath_lanes import Lanes, Table, call_shared, fma, loop_while, polynomial, repair
from adjit.compiler.llvm.vecmath_logarithm import ATANH, log_of_normal, split
from adjit.ir.types import F32, F64

# 2/3 as the sum of two numbers of the dtype.
_TWO_THIRDS: Table = {
    F32: (float.fromhex("0x1.555556p-1"), float.fromhex("-0x1.555556p-26")),
    F64: (float.fromhex("0x1.5555555555555p-1"), float.fromhex("0x1.5555555555555p-55")),
}
# Beyond these |x|^y is 0 or infinity.
_RANGE: Table = {F32: (-104.0, 89.0), F64: (-746.0, 710.0)}


def pow(function: Function, ty: LLType, x: str, y: str) -> str:
    """x^y with IEEE 754's special cases.  Error: 0.52 ULP in f32, 0.92 in f64."""
    return call_shared(function, "pow", ty, (x, y), _pow)


def integer_power(function: Function, ty: LLType, x: str, y: str) -> str:
    """x^y modulo 2^bits for integers y >= 0."""
    return call_shared(function, "power", ty, (x, y), _integer_power)


def _integer_power(x: Lanes, y: Lanes) -> Lanes:
    def step(product: Lanes, square: Lanes, rest: Lanes) -> tuple[Lanes, Lanes, Lanes]:
        following = (rest & 1).equal(1).choose(product * square, product)
        return following, square * square, rest.shift_in_zeros(1)

    return loop_while((x.constant(1), x, y), lambda _product, _square, rest: (~rest.equal(0)).any(), step)[0]


def _pow(x: Lanes, y: Lanes) -> Lanes:
    """The magnitude by exp and log; whatever IEEE 754 lists as special is repaired where some lane needs it."""
    base = abs(x)
    value = _magnitude_in_double(base, y) if x.type.dtype is F32 else _magnitude(base, y)
    ordinary = (x > 0.0) & (x < math.inf) & (abs(y) < math.inf)
    return repair(~ordinary, value, lambda: _special(x, y, value))


def _special(x: Lanes, y: Lanes, value: Lanes) -> Lanes:
    """x^y given `value` = |x|^y, which is right where both are finite and x is not 0."""
    base = abs(x)
    extreme = base.equal(0.0) | base.equal(math.inf) | abs(y).equal(math.inf)
    grows = ~((base > 1.0) ^ (y > 0.0))
    value = extreme.choose(grows.choose(base.constant(math.inf), 0.0), value)
    value = base.equal(1.0).choose(1.0, value)
    whole = y.floor().equal(y)
    odd = whole & ~(y * 0.5).floor().equal(y * 0.5)
    value = ((x.bits() < 0) & odd).choose(-value, value)
    value = ((x < 0.0) & ~whole & (base < math.inf)).choose(math.nan, value)
    value = (x.is_nan() | y.is_nan()).choose(math.nan, value)
    return (x.equal(1.0) | y.equal(0.0)).choose(1.0, value)


def _magnitude_in_double(base: Lanes, y: Lanes) -> Lanes:
    """base^y in f32 for base > 0: f64 arithmetic with f32's polynomials has ten bits to spare.

    The f64 result is rounded once; its range holds every f32 result, those that overflow or are denormal too.
    """
    low, high = _RANGE[F32]
    wide = base.convert("fpext", F64)
    product = y.convert("fpext", F64) * log_of_normal(wide, ATANH[F32])
    product = (product > high).choose(high, product)
    return normal_exp((product < low).choose(low, product), F32).convert("fptrunc", F32)


def _magnitude(base: Lanes, y: Lanes) -> Lanes:
    """base^y for finite base > 0 and y."""
    least, most = _RANGE[base.type.dtype]
    high, low = _double_log(base)
    product = y * high
    error = fma(y, low, fma(y, high, -product))
    under, over = product < least, product > most
    bounded = over.choose(most, under.choose(least, product))
    return exp_of_sum(bounded, (under | over).choose(0.0, error))


def _double_log(x: Lanes) -> tuple[Lanes, Lanes]:
    """log x as a sum of two numbers, for finite x > 0: relative error near 2^-34 in f32 and 2^-64 in f64."""
    dtype = x.type.dtype
    k, m = split(x)
    f = m - 1.0
    g = m + 1.0
    g_low = m - (g - 1.0)
    inverse = 1.0 / g
    s = f * inverse
    s_low = fma(-s, g_low, fma(-s, g, f)) * inverse
    z = s * s
    z_low = fma(s + s, s_low, fma(s, s, -z))
    third, third_low = _TWO_THIRDS[dtype]
    tail = z * polynomial(z, ATANH[dtype])
    p = tail + third
    p_low = (tail - (p - third)) + third_low
    w = s * z
    w_low = fma(s_low, z, fma(s, z_low, fma(s, z, -w)))
    v = w * p
    v_low = fma(w_low, p, fma(w, p_low, fma(w, p, -v)))
    total, total_low = _add_smaller(s + s, v)
    ln2, ln2_low = LN2[dtype]
    scale = k * ln2
    high, high_low = _add_smaller(scale, total)
    low = fma(k, ln2_low, fma(k, ln2, -scale)) + high_low + (total_low + (v_low + (s_low + s_low)))
    return _add_smaller(high, low)


def _add_smaller(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """a + b as the rounded sum and its exact error, for |a| >= |b| or a = 0."""
    total = a + b
    return total, b - (total - a)
