"""x 2^n and back: by one instruction each where the target has them (AVX-512), else by the bits of floats.

The bits are the same either way; where a result is denormal, it is rounded once.
"""

from __future__ import annotations

import math

from adjit.compiler.llvm.vecmath_lanes import Lanes, integer_to_float, power_of_two
from adjit.compiler.llvm.vecmath_registers import exponent, mantissa, scaled
from adjit.ir.types import F32, F64

_THREE_QUARTERS_BITS = {F32: 0x3F400000, F64: 0x3FE8000000000000}


def scale(x: Lanes, n: Lanes, exponent: Lanes) -> Lanes:
    """x 2^n for x near 1 and n in exp's range; `exponent` is n as an integer."""
    if x.function.module.avx512:
        return scaled(x, n)
    # Two exact halves, of which the second rounds once where the result is denormal.
    half = exponent >> 1
    return x * power_of_two(half, x.type.dtype) * power_of_two(exponent - half, x.type.dtype)


def scale_normal(x: Lanes, n: Lanes, exponent: Lanes) -> Lanes:
    """x 2^n where that is a normal number, or x is NaN."""
    if x.function.module.avx512:
        return scaled(x, n)
    return x * power_of_two(exponent, x.type.dtype)


def split(x: Lanes) -> tuple[Lanes, Lanes]:
    """(k, m) with x = 2^k m and m in [3/4, 3/2), both floats; (-inf, 1) for 0, (inf, 1) for inf, m = NaN below 0.

    So a logarithm k log 2 + log m needs no case of its own.
    """
    if x.function.module.avx512:
        m = mantissa(x)
        return exponent(x) - exponent(m), m
    precision = x.format.precision
    denormal = x < x.format.least_normal
    k, m = split_normal(denormal.choose(x * 2.0**precision, x))
    k = integer_to_float(denormal.choose(k - precision, k), x.type.dtype)
    end = x.equal(0.0) | x.equal(math.inf)
    k = end.choose((x > 0.0).choose(x, -math.inf), k)
    return k, end.choose(1.0, (x > 0.0).choose(m, math.nan))


def split_normal(x: Lanes) -> tuple[Lanes, Lanes]:
    """`split` for normal x > 0, with k an integer."""
    bits = x.bits()
    k = (bits - _THREE_QUARTERS_BITS[x.type.dtype]) >> x.format.mantissa
    return k, (bits - (k << x.format.mantissa)).as_float(x.type.dtype)
