"""pow: |x|^y = 2^(y log2|x|) in f32 by way of f64, exp(y log|x|) in f64, the logarithm and the product as sums of two
numbers, or both as `vecmath_power_table` has them with AVX-512; exp2; integer powers by squaring.

The logarithms are `vecmath_logarithm`'s; in f64 s, s^2 and the cubic term are carried in double-word arithmetic (Dekker
1971).  Special cases are those of IEEE 754-2019, section 9.2.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_exponential import LN2, exp_of_sum, nearest_sixteenth
from adjit.compiler.llvm.vecmath_lanes import (
    Lanes,
    Table,
    call_shared,
    fma,
    loop_while,
    nearest_multiple,
    polynomial,
    repair,
)
from adjit.compiler.llvm.vecmath_power_table import power
from adjit.compiler.llvm.vecmath_registers import limited, scaled
from adjit.compiler.llvm.vecmath_scale import scale, scale_normal, split
from adjit.ir.types import F32, F64

# 2 atanh(s) = 2 s + s^3 (2/3 + s^2 U(s^2)) for |s| <= 1/5: relative error 2^-68.
_ATANH = (
    0.39999999999999813, 0.2857142857154345, 0.22222222196320654, 0.18181821131981368, 0.15384424014682052,
    0.13340706236864447, 0.11598265533767886, 0.12538440060762834,
)  # fmt: skip
# 2/3 as the sum of two f64.
_TWO_THIRDS = (float.fromhex("0x1.5555555555555p-1"), float.fromhex("0x1.5555555555555p-55"))
# Beyond these exp is 0 or infinity.
_RANGE = (-746.0, 710.0)
# 2^r = 1 + r Q(r) for |r| <= 1/2: error 2^-28 and 2^-57.
_EXP2: Table = {
    F32: (0.69314718, 0.2402265072, 0.05550359190, 0.00961807743, 0.001339114620, 0.0001545639534),
    F64: (
        0.6931471805599453,
        0.24022650695910117,
        0.055504108664822596,
        0.009618129107598721,
        0.0013333558146258592,
        0.00015403530452261677,
        1.5252733946128798e-05,
        1.3215437383359968e-06,
        1.0178022283784211e-07,
        7.0734615601080335e-09,
        4.460228505349433e-10,
    ),
}
# The same for |r| <= 1/32: error 2^-29 and 2^-56.
_NEAR: Table = {
    F32: (0.69314718, 0.24023430, 0.055502132),
    F64: (
        0.6931471805599468, 0.24022650695909947, 0.05550410865205253, 0.009618129111041752, 0.0013333819263625923,
        0.00015403427099376806,
    ),
}  # fmt: skip
# Beyond these 2^x is 0 or infinity.
_EXP2_RANGE: Table = {F32: (-151.0, 129.0), F64: (-1076.0, 1025.0)}
# For powers in f32, in f64: 2^r = 1 + r Q(r) to 2^-28, and 2/ln 2 atanh(s) = s W(s^2) for |s| <= 1/5 to 2^-34.
_SHORT_EXP2 = (
    0.6931472055755513, 0.24022651220183042, 0.05550328700805853, 0.009618018778916363, 0.0013400001556994438,
    0.00015472223600331518,
)  # fmt: skip
_SHORT_LOG2 = (
    2.885390081836835, 0.9617966209783021, 0.5770924576509229, 0.41120112506055984, 0.3484663475625335,
)  # fmt: skip


def pow(function: Function, ty: LLType, x: str, y: str) -> str:
    """x^y with IEEE 754's special cases.  Error: 0.77 ULP in f32, 1.15 in f64."""
    return call_shared(function, "pow", ty, (x, y), _pow)


def exp2(function: Function, ty: LLType, x: str) -> str:
    """2^x, with overflow to inf and gradual underflow.  Error: 0.99 ULP in f32, 1.04 in f64."""
    return call_shared(function, "exp2", ty, (x,), _exp2)


def integer_power(function: Function, ty: LLType, x: str, y: str) -> str:
    """x^y modulo 2^bits for integers y >= 0."""
    return call_shared(function, "power", ty, (x, y), _integer_power)


def _integer_power(x: Lanes, y: Lanes) -> Lanes:
    def step(product: Lanes, square: Lanes, rest: Lanes) -> tuple[Lanes, Lanes, Lanes]:
        following = (rest & 1).equal(1).choose(product * square, product)
        return following, square * square, rest.shift_in_zeros(1)

    return loop_while((x.constant(1), x, y), lambda _product, _square, rest: (~rest.equal(0)).any(), step)[0]


def _exp2(x: Lanes) -> Lanes:
    dtype = x.type.dtype
    if x.function.module.avx512:
        n, root = nearest_sixteenth(x, 1.0)
        r = limited(x - n, 1.0)
        return scaled(fma(root, r * polynomial(r, _NEAR[dtype]), root), n)
    least, most = _EXP2_RANGE[dtype]
    n, exponent, r = _whole_and_rest(_bounded(x, least, most))
    return scale(fma(r, polynomial(r, _EXP2[dtype]), 1.0), n, exponent)


def _whole_and_rest(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """(n, n as an integer, x - n) for the integer n next to x."""
    n, exponent = nearest_multiple(x, 1.0)
    return n, exponent, x - n


def _bounded(x: Lanes, least: float, most: float) -> Lanes:
    """x, or the bound that it is beyond."""
    x = (x > most).choose(most, x)
    return (x < least).choose(least, x)


def _pow(x: Lanes, y: Lanes) -> Lanes:
    if x.function.module.avx512:
        return with_special_cases(x, y, power)
    return with_special_cases(x, y, magnitude_in_double if x.type.dtype is F32 else _magnitude)


def with_special_cases(x: Lanes, y: Lanes, magnitude: Callable[[Lanes, Lanes], Lanes]) -> Lanes:
    """x^y by `magnitude(|x|, y)`; whatever IEEE 754 lists as special is repaired where some lane needs it."""
    value = magnitude(abs(x), y)
    ordinary = (x > 0.0) & (x < math.inf) & (abs(y) < math.inf)
    return repair(~ordinary, [value], lambda: [_special(x, y, value)])[0]


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


def magnitude_in_double(base: Lanes, y: Lanes) -> Lanes:
    """base^y in f32 for base > 0: f64 arithmetic to 34 bits has ten to spare.

    The f64 result is rounded once; its range holds every f32 result, those that overflow or are denormal too.
    """
    least, most = _EXP2_RANGE[F32]
    k, m = split(base.convert("fpext", F64))
    s = (m - 1.0) / (m + 1.0)
    log2 = fma(s, polynomial(s * s, _SHORT_LOG2), k)
    n, exponent, r = _whole_and_rest(_bounded(y.convert("fpext", F64) * log2, least, most))
    return scale_normal(fma(r, polynomial(r, _SHORT_EXP2), 1.0), n, exponent).convert("fptrunc", F32)


def _magnitude(base: Lanes, y: Lanes) -> Lanes:
    """base^y in f64 for finite base > 0 and y."""
    least, most = _RANGE
    high, low = _double_log(base)
    product = y * high
    error = fma(y, low, fma(y, high, -product))
    under, over = product < least, product > most
    bounded = over.choose(most, under.choose(least, product))
    return exp_of_sum(bounded, (under | over).choose(0.0, error))


def _double_log(x: Lanes) -> tuple[Lanes, Lanes]:
    """log x as a sum of two f64, for finite x > 0: relative error near 2^-64."""
    k, m = split(x)
    f = m - 1.0
    g = m + 1.0
    g_low = m - (g - 1.0)
    inverse = 1.0 / g
    s = f * inverse
    s_low = fma(-s, g_low, fma(-s, g, f)) * inverse
    z = s * s
    z_low = fma(s + s, s_low, fma(s, s, -z))
    third, third_low = _TWO_THIRDS
    tail = z * polynomial(z, _ATANH)
    p = tail + third
    p_low = (tail - (p - third)) + third_low
    w = s * z
    w_low = fma(s_low, z, fma(s, z_low, fma(s, z, -w)))
    v = w * p
    v_low = fma(w_low, p, fma(w, p_low, fma(w, p, -v)))
    total, total_low = _add_smaller(s + s, v)
    ln2, ln2_low = LN2[F64]
    scale = k * ln2
    high, high_low = _add_smaller(scale, total)
    low = fma(k, ln2_low, fma(k, ln2, -scale)) + high_low + (total_low + (v_low + (s_low + s_low)))
    return _add_smaller(high, low)


def _add_smaller(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """a + b as the rounded sum and its exact error, for |a| >= |b| or a = 0."""
    total = a + b
    return total, b - (total - a)
