"""atan2, atan: the arctangent of the smaller over the larger coordinate; asin, acos: by the half angle above 1/2.

The polynomials and the stated errors are made as in `vecmath_exponential`.
"""

from __future__ import annotations

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_lanes import Lanes, Table, call_shared, fma, polynomial
from adjit.compiler.llvm.vecmath_reduction import HALF_PI
from adjit.ir.types import F32, F64

# atan(t) = t + t^3 A(t^2) for |t| <= 1: relative error 2^-28 and 2^-57.
_ATAN: Table = {
    F32: (
        -0.333333,
        0.1999853,
        -0.14264016,
        0.10950875,
        -0.083992496,
        0.057879277,
        -0.03109338,
        0.010865788,
        -0.0017819308,
    ),
    F64: (
        -0.3333333333333307,
        0.1999999999995174,
        -0.14285714282587286,
        0.11111111007315458,
        -0.09090907007305196,
        0.07692279883014305,
        -0.06666404374494773,
        0.05880529512052961,
        -0.05253525405107344,
        0.04722343285149606,
        -0.042192284630223335,
        0.03664279727901196,
        -0.029905054740266144,
        0.021986043789093298,
        -0.013901396171676426,
        0.007196878188591762,
        -0.0028849928426910127,
        0.0008313041472410383,
        -0.00015214715756440956,
        1.322268936759907e-05,
    ),
}
# asin(t) = t + t^3 B(t^2) for |t| <= 1/2: relative error 2^-27 and 2^-55.
_ASIN: Table = {
    F32: (0.1666675359, 0.07495253533, 0.04547587782, 0.02415247262, 0.04221205786),
    F64: (
        0.16666666666665406,
        0.07500000000340387,
        0.04464285682437268,
        0.030381959324715983,
        0.0223717532522505,
        0.01735977931760258,
        0.013884489146423066,
        0.012174135026944383,
        0.006506682527574607,
        0.0195863786057511,
        -0.01631505890720101,
        0.031974196248577454,
    ),
}


def atan2(function: Function, ty: LLType, y: str, x: str) -> str:
    """The angle of the point (x, y), in [-pi, pi], zeros with their signs.  Error: 1.44 ULP in f32, 1.53 in f64."""
    return call_shared(function, "atan2", ty, (y, x), _atan2)


def _atan2(y: Lanes, x: Lanes) -> Lanes:
    dtype = x.type.dtype
    right, right_low, _ = HALF_PI[dtype]
    height, width = abs(y), abs(x)
    steep = height > width
    least = steep.choose(width, height)
    most = steep.choose(height, width)
    # Equal coordinates first: inf over inf is 1, as is every finite pair but 0 over 0.
    t = least.equal(most).choose(1.0, least / most)
    t = height.equal(0.0).choose(height, t)
    t = x.is_nan().choose(x, t)
    z = t * t
    angle = fma(t * z, polynomial(z, _ATAN[dtype]), t)
    # The result is m * pi/2 +- angle with m in {0, 1, 2}; the sign bit of x tells +0 from -0.
    left = x.bits() < 0
    turns = steep.choose(x.constant(1.0), left.choose(x.constant(2.0), 0.0))
    signed = (steep ^ left).choose(-angle, angle)
    total = fma(turns, right, fma(turns, right_low, signed))
    return total.copy_sign(y)


def atan(function: Function, ty: LLType, x: str) -> str:
    """The angle in [-pi/2, pi/2] whose tangent is x.  Error: 1.34 ULP in f32, 1.48 in f64."""
    return call_shared(function, "atan", ty, (x,), _atan)


def _atan(x: Lanes) -> Lanes:
    right, right_low, _ = HALF_PI[x.type.dtype]
    size = abs(x)
    steep = size > 1.0
    t = steep.choose(1.0 / size, size)
    z = t * t
    angle = fma(t * z, polynomial(z, _ATAN[x.type.dtype]), t)
    return steep.choose(right - (angle - right_low), angle).copy_sign(x)


def asin(function: Function, ty: LLType, x: str) -> str:
    """The angle in [-pi/2, pi/2] whose sine is x; NaN beyond 1.  Error: 1.19 ULP in f32 and f64."""
    return call_shared(function, "asin", ty, (x,), _asin)


def acos(function: Function, ty: LLType, x: str) -> str:
    """The angle in [0, pi] whose cosine is x; NaN beyond 1.  Error: 1.14 ULP in f32, 1.13 in f64."""
    return call_shared(function, "acos", ty, (x,), _acos)


def _asin(x: Lanes) -> Lanes:
    """|x|'s: asin |x| up to 1/2, else pi/2 - 2 asin t."""
    right, right_low, _ = HALF_PI[x.type.dtype]
    small, t, rest = _half_angle(x)
    return _minus_multiple(
        small.choose(x.constant(0.0), right), small.choose(x.constant(0.0), right_low),
        small.choose(x.constant(-1.0), 2.0), t, rest,
    ).copy_sign(x)  # fmt: skip


def _acos(x: Lanes) -> Lanes:
    """pi/2 - asin x up to 1/2, beyond 2 asin t, and pi less that below -1/2."""
    right, right_low, _ = HALF_PI[x.type.dtype]
    small, t, rest = _half_angle(x)
    negative = x.bits() < 0
    turns = small.choose(x.constant(1.0), negative.choose(x.constant(2.0), 0.0))
    multiple = small.choose(x.constant(1.0), 2.0)
    multiple = (small ^ negative).choose(multiple, -multiple)
    return _minus_multiple(turns * right, turns * right_low, multiple, t, rest)


def _half_angle(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """(whether |x| <= 1/2, t, asin t - t) for t = |x| there, else the sine of half of acos |x|, sqrt((1 - |x|) / 2)."""
    size = abs(x)
    small = size <= 0.5
    z = small.choose(size * size, fma(size, -0.5, 0.5))
    t = small.choose(size, z.sqrt())
    return small, t, t * (z * polynomial(z, _ASIN[x.type.dtype]))


def _minus_multiple(base: Lanes, base_low: Lanes, multiple: Lanes, t: Lanes, rest: Lanes) -> Lanes:
    """base + base_low - multiple (t + rest), for a multiple that is 1 or 2 in size, and a base that is 0 or larger."""
    taken = multiple * t
    left = base - taken
    error = (base - left) - taken
    return left + fma(-multiple, rest, error + base_low)
