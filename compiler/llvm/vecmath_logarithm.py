"""log, log1p: x = 2^k m with m in [3/4, 3/2), then log m = 2 atanh(s) for s = (m - 1) / (m + 1).

With AVX-512, m is in [1, 2), its first four bits find 1/c and log c for a c near it in registers, and what is left is
log(1 + r) for r = m/c - 1.  The form f - f^2/2 + s (f^2/2 + R) without them is that of fdlibm's e_log.c (Sun
Microsystems, 1993).  The polynomials and the stated errors are made as in `vecmath_exponential`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_exponential import LN2
from adjit.compiler.llvm.vecmath_lanes import Lanes, Table, call_shared, fma, polynomial
from adjit.compiler.llvm.vecmath_registers import exponent, limited, mantissa_from_one, permuted, scaled
from adjit.compiler.llvm.vecmath_scale import split
from adjit.ir.types import F32, F64

# 2 atanh(s) = 2 s + s^3 V(s^2) for -1/7 <= s <= 1/5: relative error 2^-35 and 2^-62.
_ATANH: Table = {
    F32: (0.6666666269302368, 0.4000093340873718, 0.2850351631641388, 0.24151597917079926),
    F64: (
        0.666666666666666,
        0.4000000000005674,
        0.28571428555805656,
        0.22222224299492385,
        0.1818166567721234,
        0.15391118820663027,
        0.13173478854641046,
        0.13843881186057583,
    ),
}
# ln 2 as the sum of two numbers of the dtype, both positive, so that their products with an infinity are of one sign.
_LN2: Table = {
    F32: (float.fromhex("0x1.62e42ep-1"), float.fromhex("0x1.efa39ep-25")),
    F64: (float.fromhex("0x1.62e42fefa39efp-1"), float.fromhex("0x1.abc9e3b39803fp-56")),
}
# 1/c for c near the middle of each sixteenth of [1, 2), exactly 1 and 2 at the ends, where the logarithm may vanish.
_INVERSE: Table = {
    F32: (
        1.0, 0.9112191, 0.8618595, 0.8193531, 0.78402203, 0.7446572, 0.7098285, 0.67949605, 0.6559778, 0.6308988,
        0.6004216, 0.5788982, 0.56288236, 0.5410839, 0.52621984, 0.5,
    ),
    F64: (
        1.0, 0.9142857142857144, 0.8648648648648651, 0.8205128205131529, 0.780487804878049, 0.7441860465119594,
        0.7111111111111114, 0.6808510638297888, 0.6530612244897969, 0.6274509803921572, 0.6037735849056614,
        0.5818181818185134, 0.5614035087722601, 0.5423728813562644, 0.5245901639347574, 0.5,
    ),
}  # fmt: skip
# log c; from c = 3/2 on log(c / 2) and the dtype's log 2.  Each c is chosen so that this, and in f32 log2 c, is a
# number of the dtype to a hundredth of its ULP or little more (Gal and Bachelis 1991).
LOGARITHMS: Table = {
    F32: (
        0.0, 0.09297188, 0.14866301, 0.19924015, 0.24331816, 0.29483128, 0.3427319, 0.38640386, 0.42162836,
        0.46060985, 0.5101232, 0.54662865, 0.5746846, 0.614181, 0.6420362, 0.6931472,
    ),
    F64: (
        0.0, 0.08961215868968704, 0.14518200984449758, 0.1978257433295148, 0.24783616390458094, 0.2954642128933904,
        0.34092658697059286, 0.3844116989103298, 0.4260843953108986, 0.4660897299245987, 0.5045560107523936,
        0.5415972824321744, 0.5773153650342353, 0.6118015411053804, 0.6451379613729533, 0.6931471805599453,
    ),
}  # fmt: skip
# log(1 + r) = r + r^2 P(r) for -1/31 <= r <= 1/16: relative error 2^-28 and 2^-56.
_NEAR: Table = {
    F32: (-0.5, 0.33334476, -0.25009334, 0.18886691),
    F64: (
        -0.5000000000000001, 0.3333333333334899, -0.2500000000003111, 0.19999999924771883, -0.16666665740668885,
        0.14285816353770928, -0.12502125625962343, 0.11077329162821718, -0.08781505194569204,
    ),
}  # fmt: skip


def log(function: Function, ty: LLType, x: str) -> str:
    """The natural logarithm; -inf at 0, NaN below.  Error: 1.55 ULP in f32, 1.94 in f64."""
    return call_shared(function, "log", ty, (x,), _log)


def log1p(function: Function, ty: LLType, x: str) -> str:
    """log(1 + x) without cancellation at 0; -inf at -1, NaN below.  Error: 1.55 ULP in f32, 1.94 in f64."""
    return call_shared(function, "log1p", ty, (x,), _log1p)


def _log(x: Lanes) -> Lanes:
    if x.function.module.avx512:
        return _by_table(x, None)
    return log_by_quotient(x)


def log_by_quotient(x: Lanes) -> Lanes:
    """log x on any target."""
    return _log_of_sum(*split(x), None)


def _log_of_sum(k: Lanes, m: Lanes, rest: Lanes | None) -> Lanes:
    """k log 2 + log(m) + rest."""
    high, low = _LN2[m.type.dtype]
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    half = f * 0.5
    small = k * low if rest is None else fma(k, low, rest)
    inner = fma(s, fma(z, polynomial(z, _ATANH[m.type.dtype]), half * f), small)
    return fma(k, high, f - fma(half, f, -inner))


def _by_table(x: Lanes, rest: Lanes | None) -> Lanes:
    """log(x + rest), for a rest far smaller than x, or any where x is 0 or infinite."""
    dtype = x.type.dtype
    # log 2 as one number: its error counts only where k log 2 is most of the result.
    main, r = log_parts(x, LOGARITHMS[dtype], LN2[dtype][0], rest)
    return main + fma(r * r, polynomial(r, _NEAR[dtype]), r)


def log_parts(x: Lanes, logarithms: Sequence[float], unit: float, rest: Lanes | None = None) -> tuple[Lanes, Lanes]:
    """(k unit + log c, r) for x + rest = 2^k c (1 + r), with `logarithms` of all c and `unit` that of 2.

    A rest is far smaller than x, or any where x is 0 or infinite.  The target must scale.
    """
    dtype = x.type.dtype
    k, m = exponent(x), mantissa_from_one(x)
    place = m.bits() >> x.format.mantissa - 4
    inverse = permuted(_INVERSE[dtype], place, x)
    r = fma(m, inverse, -1.0)
    if rest is not None:
        r = fma(limited(scaled(rest, -k), 1.0), inverse, r)
    return fma(k, unit, permuted(logarithms, place, x)), r


def _log1p(x: Lanes) -> Lanes:
    """log(u) + c / u for u = 1 + x rounded and c its exact error, of the sign of x."""
    u = x + 1.0
    if x.function.module.avx512:
        one = u - x
        return _by_table(u, (1.0 - one) + (x - (u - one))).copy_sign(x)
    error = (x > 1.0).choose(1.0 - (u - x), x - (u - 1.0))
    k, m = split(u)
    rest = (abs(k) < math.inf).choose(error / u, 0.0)
    return _log_of_sum(k, m, rest).copy_sign(x)
