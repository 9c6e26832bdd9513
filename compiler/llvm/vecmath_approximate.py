"""The math functions of approximate programs: float32 with a relative error of at most 2^-17, pow 2^-16.

They are exact where the others are (exp(0), log(1), odd functions at 0, infinities, NaN), and take 0.3 (pow) to 0.8 of
their time; functions that would gain less than a tenth, and all of float64, have one form only.  Quotients and roots
are computed as ever: an estimate with a step of Newton takes as long.  The polynomials are minimax fits as in
`vecmath_exponential`; the stated errors are the greatest over every 97th of all bit patterns (erf every 10,007th, pow
over 6 million pairs), where the result is a normal number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_exponential import LOG2_E
from adjit.compiler.llvm.vecmath_lanes import Lanes, call_shared, fma, nearest_multiple, polynomial
from adjit.compiler.llvm.vecmath_logarithm import LOGARITHMS, log_by_quotient, log_parts
from adjit.compiler.llvm.vecmath_power import magnitude_in_double, with_special_cases
from adjit.compiler.llvm.vecmath_reduction import HALF_PI
from adjit.compiler.llvm.vecmath_registers import fraction, scaled
from adjit.compiler.llvm.vecmath_scale import scale
from adjit.compiler.llvm.vecmath_table import pieces
from adjit.compiler.llvm.vecmath_trigonometric import turned, with_large_lanes
from adjit.ir.types import F32

# 2^f = 1 + f P(f) for 0 <= f < 1: relative error 2^-18.4.
_EXP2 = (0.69304484, 0.24128021, 0.052242458, 0.013426692)
# Beyond these 2^x is 0 or infinity.
_LEAST, _MOST = -151.0, 129.0
# log(1 + r) = r Q(r) for -1/31 <= r <= 1/16: relative error 2^-17.3; and log2(1 + r), 2^-28.7.
_LOG = (1.0000052, -0.5002475, 0.32265565)
_LOG2 = (1.442695, -0.72134753, 0.48091923, -0.36081443, 0.27166153)
# log2 c, 1 + log2(c / 2) from c = 3/2 on, for the c of `vecmath_logarithm`.
_LOGARITHMS = (
    0.0, 0.13413008, 0.2144754, 0.28744277, 0.3510339, 0.42535162, 0.4944576, 0.55746293, 0.60828114, 0.66451955,
    0.7359522, 0.78861845, 0.82909465, 0.88607585, 0.92626244, 1.0,
)  # fmt: skip
# sin(r) = r + r z S(z) and cos(r) = 1 + z C(z) for z = r^2 and |r| <= pi/4: relative errors 2^-19 and 2^-24.6.
_SIN = (-0.16663377, 0.008162938)
_COS = (-0.49999884, 0.04165573, -0.0013591246)
# Centres, values there, and slopes from the centre as polynomials: relative errors 2^-19 and 2^-20.
_TANH_STEP, _TANH_MOST = 19 / 32, 9.011
_TANH: Sequence[Sequence[float]] = (
    (
        0.0, 0.59375, 1.1875, 1.78125, 2.375, 2.96875, 3.5625, 4.15625, 4.75, 5.34375, 5.9375, 6.53125, 7.125,
        7.71875, 8.3125, 8.90625,
    ),
    (
        0.0, 0.5325873, 0.8298019, 0.94482946, 0.982845, 0.9947367, 0.9983918, 0.9995093, 0.99985033, 0.99995434,
        0.99998605, 0.99999577, 0.9999987, 0.9999996, 0.9999999, 0.99999994,
    ),
    (
        0.9999998, 0.7163585, 0.3114278, 0.107297145, 0.03401565, 0.010499002, 0.0032137611, 0.0009812383,
        0.00029936287, 9.1310016e-05, 2.7848866e-05, 8.493506e-06, 2.5903807e-06, 7.900222e-07, 2.4094322e-07,
        7.348354e-08,
    ),
    (
        3.122448e-05, -0.38141862, -0.25848067, -0.10138331, -0.033429585, -0.010442415, -0.0032081313,
        -0.0009806105, -0.00029927294, -9.1292044e-05, -2.7844262e-05, -8.492185e-06, -2.5899851e-06, -7.899023e-07,
        -2.409067e-07, -7.347241e-08,
    ),
    (
        -0.3341108, -0.036073416, 0.11069427, 0.060034566, 0.0215198, 0.006888326, 0.0021318672, 0.00065309374,
        0.00019945377, 6.085523e-05, 1.8562147e-05, 5.6613535e-06, 1.7266356e-06, 5.26596e-07, 1.6060288e-07,
        4.898113e-08,
    ),
    (
        0.0064781355, 0.14239207, -0.0035848734, -0.022711577, -0.010099828, -0.0034198777, -0.0010759785,
        -0.00033126253, -0.00010131958, -3.0927753e-05, -9.434947e-06, -2.8777301e-06, -8.776799e-07, -2.6767927e-07,
        -8.163775e-08, -2.4898124e-08,
    ),
    (
        0.114598095, -0.042787015, -0.02620002, 0.0037210202, 0.0034213595, 0.0013063787, 0.0004244931,
        0.00013193555, 4.0469415e-05, 1.2364031e-05, 3.7728225e-06, 1.1508325e-06, 3.5100146e-07, 1.0705101e-07,
        3.2648863e-08, 9.957355e-09,
    ),
)  # fmt: skip
_ERF_STEP, _ERF_MOST = 17 / 64, 4.0
_ERF: Sequence[Sequence[float]] = (
    (
        0.0, 0.265625, 0.53125, 0.796875, 1.0625, 1.328125, 1.59375, 1.859375, 2.125, 2.390625, 2.65625, 2.921875,
        3.1875, 3.453125, 3.71875, 3.984375,
    ),
    (
        0.0, 0.29282326, 0.54752845, 0.740237, 0.8670583, 0.93965334, 0.9757977, 0.9914503, 0.997346, 0.9992774,
        0.9998277, 0.99996406, 0.99999344, 0.999999, 0.9999999, 1.0,
    ),
    (
        1.1283789, 1.0515025, 0.850914, 0.59796804, 0.36490923, 0.1933766, 0.08898816, 0.03556039, 0.01233961,
        0.0037182004, 0.0009728701, 0.0002210352, 4.3605938e-05, 7.469643e-06, 1.1110042e-06, 1.4347751e-07,
    ),
    (
        6.521659e-05, -0.27926445, -0.4520411, -0.4765016, -0.38771376, -0.25682858, -0.14182733, -0.066122875,
        -0.02622399, -0.008890135, -0.0025847806, -0.00064605405, -0.00013905896, -2.5809864e-05, -4.134962e-06,
        -5.722758e-07,
    ),
    (
        -0.3785873, -0.2994776, -0.12357262, 0.052509293, 0.15154198, 0.16213085, 0.12091816, 0.0703511, 0.033312164,
        0.013107497, 0.004337498, 0.0012163519, 0.0002905458, 5.933309e-05, 1.03868415e-05, 1.5619668e-06,
    ),
    (
        0.029756347, 0.12955727, 0.1822693, 0.13709627, 0.048422232, -0.021915238, -0.04871137, -0.04301274,
        -0.026405983, -0.0125769535, -0.0048458152, -0.0015433633, -0.000411484, -9.258815e-05, -1.7681172e-05,
        -2.8772715e-06,
    ),
)  # fmt: skip


def _exp(x: Lanes) -> Lanes:
    """e^x.  Relative error: 2^-17.1."""
    return _exp2(x * LOG2_E)


def _exp2(x: Lanes) -> Lanes:
    """2^x.  Relative error: 2^-18.3."""
    if x.function.module.avx512:
        f = fraction(x)
        return scaled(fma(f, polynomial(f, _EXP2), 1.0), x)
    x = (x > _MOST).choose(_MOST, x)
    x = (x < _LEAST).choose(_LEAST, x)
    n = x.floor()
    f = x - n
    return scale(fma(f, polynomial(f, _EXP2), 1.0), n, nearest_multiple(n, 1.0)[1])


def _log(x: Lanes) -> Lanes:
    """log x.  Relative error: 2^-17.2."""
    if not x.function.module.avx512:
        return log_by_quotient(x)
    main, r = log_parts(x, LOGARITHMS[F32], math.log(2))
    return fma(r, polynomial(r, _LOG), main)


def _pow(x: Lanes, y: Lanes) -> Lanes:
    """x^y = 2^(y log2 x), with IEEE 754's special cases.  Relative error: 2^-16."""
    return with_special_cases(x, y, _positive_power if x.function.module.avx512 else magnitude_in_double)


def _positive_power(base: Lanes, y: Lanes) -> Lanes:
    main, r = log_parts(base, _LOGARITHMS, 1.0)
    return _exp2(y * fma(r, polynomial(r, _LOG2), main))


def _tanh(x: Lanes) -> Lanes:
    """tanh x.  Relative error: 2^-19."""
    return _by_pieces("tanh", x, _TANH_STEP, _TANH_MOST, _TANH)


def _erf(x: Lanes) -> Lanes:
    """erf x.  Relative error: 2^-19.9."""
    return _by_pieces("erf", x, _ERF_STEP, _ERF_MOST, _ERF)


def _by_pieces(name: str, x: Lanes, step: float, most: float, columns: Sequence[Sequence[float]]) -> Lanes:
    """An odd function that is 1 above `most`."""
    size = abs(x)
    base, t, slope = pieces(f"{name}.approximate", size, step, columns)
    return (size > most).choose(1.0, fma(t, slope, base)).copy_sign(x)


def _sin(x: Lanes) -> Lanes:
    """sin x.  Relative error: 2^-18.7."""
    sine = with_large_lanes(x, _reduced, partial(_sine_of_turned, turn=0))
    return x.equal(0.0).choose(x, sine)  # zeros keep their sign


def _cos(x: Lanes) -> Lanes:
    """cos x.  Relative error: 2^-18.7."""
    return with_large_lanes(x, _reduced, partial(_sine_of_turned, turn=1))


def _reduced(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """(r, no correction of it, q) with x = q pi/2 + r."""
    n, q = nearest_multiple(x, 2 / math.pi)
    r = x
    for part in HALF_PI[F32]:
        r = fma(-n, part, r)
    return r, x.constant(0.0), q


def _sine_of_turned(r: Lanes, _: Lanes, q: Lanes, turn: int) -> Lanes:
    """sin(r + (q + turn) pi/2)."""
    z = r * r
    return turned(fma(r * z, polynomial(z, _SIN), r), fma(z, polynomial(z, _COS), 1.0), q, turn)


def _shared(name: str, body: Callable[..., Lanes]) -> Callable[..., str]:
    def function(function: Function, ty: LLType, *operands: str) -> str:
        return call_shared(function, f"{name}_approximate", ty, operands, body)

    return function


_BODIES: Mapping[str, Callable[..., Lanes]] = {
    "cos": _cos,
    "erf": _erf,
    "exp": _exp,
    "exp2": _exp2,
    "log": _log,
    "pow": _pow,
    "sin": _sin,
    "tanh": _tanh,
}
# The functions that have such a form on float32.
APPROXIMATE: Mapping[str, Callable[..., str]] = {name: _shared(name, body) for name, body in _BODIES.items()}
