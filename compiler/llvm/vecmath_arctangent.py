"""atan2: the arctangent of the smaller over the larger coordinate, turned into its quadrant.

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
