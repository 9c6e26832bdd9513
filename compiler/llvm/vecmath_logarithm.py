"""log, log1p: x = 2^k m with m in [3/4, 3/2), then log m = 2 atanh(s) for s = (m - 1) / (m + 1).

The form f - f^2/2 + s (f^2/2 + R) of the last step is that of fdlibm's e_log.c (Sun Microsystems, 1993).  The
polynomials and the stated errors are made as in `vecmath_exponential`.
"""

from __future__ import annotations

import math

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_lanes import Lanes, Table, call_shared, fma, polynomial
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


def log(function: Function, ty: LLType, x: str) -> str:
    """The natural logarithm; -inf at 0, NaN below.  Error: 0.80 ULP in f32 and f64."""
    return call_shared(function, "log", ty, (x,), _log)


def log1p(function: Function, ty: LLType, x: str) -> str:
    """log(1 + x) without cancellation at 0; -inf at -1, NaN below.  Error: 0.80 ULP in f32, 0.75 in f64."""
    return call_shared(function, "log1p", ty, (x,), _log1p)


def _log(x: Lanes) -> Lanes:
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


def _log1p(x: Lanes) -> Lanes:
    """log(u) + c / u for u = 1 + x rounded and c its exact error, of the sign of x."""
    u = x + 1.0
    error = (x > 1.0).choose(1.0 - (u - x), x - (u - 1.0))
    k, m = split(u)
    rest = (abs(k) < math.inf).choose(error / u, 0.0)
    return _log_of_sum(k, m, rest).copy_sign(x)
