"""|x|^y = exp(y log|x|) with AVX-512, the logarithm and the product as sums of two numbers, by tables in registers.

The reciprocals 1/c have few bits, so that r = m/c - 1 is exact, and log c is cut where its sums with multiples of ln 2
are exact; the sums follow Dekker (1971).  The polynomials are made as in `vecmath_exponential`.
"""

from __future__ import annotations

from adjit.compiler.llvm.vecmath_exponential import LN2, LOG2_E, nearest_sixteenth
from adjit.compiler.llvm.vecmath_lanes import Lanes, Table, fma, polynomial
from adjit.compiler.llvm.vecmath_registers import limited, permuted, scaled
from adjit.compiler.llvm.vecmath_scale import split
from adjit.ir.types import F32, F64

# By the sixteenths that m in [3/4, 3/2) is next to, modulo 16: 1/c; log c in multiples of 2^-16 and 2^-42, and what is
# left of it.
_INVERSE = (
    1.0, 0.9375, 0.890625, 0.84375, 0.796875, 0.765625, 0.71875, 0.6875, 0.671875, 1.0, 1.0, 1.0, 1.3125, 1.25, 1.125,
    1.0625,
)  # fmt: skip
_LOG_C: Table = {
    F32: (
        0.0, 0.064544677734375, 0.1158294677734375, 0.1699066162109375, 0.22705078125, 0.267059326171875,
        0.3302459716796875, 0.37469482421875, 0.3976898193359375, 0.0, 0.0, 0.0, -0.2719268798828125, -0.22314453125,
        -0.1177825927734375, -0.0606231689453125,
    ),
    F64: (
        0.0, 0.0645385211375924, 0.11583181552509814, 0.16989903679541385, 0.22705745063535687, 0.2670627852489815,
        0.33024168687052224, 0.3746934494413381, 0.3976829676660145, 0.0, 0.0, 0.0, -0.2719337154835557,
        -0.22314355131425145, -0.11778303565643, -0.06062462181648698,
    ),
}  # fmt: skip
_LOG_C_LOW: Table = {
    F32: (
        0.0, -6.156597e-06, 2.3477517e-06, -7.5794155e-06, 6.669385e-06, 3.459077e-06, -4.284809e-06, -1.3747773e-06,
        -6.8516697e-06, 0.0, 0.0, 0.0, -6.8356007e-06, 9.799357e-07, -4.4288294e-07, -1.4528712e-06,
    ),
    F64: (
        0.0, -2.1225608044809997e-14, 2.3568822182038756e-14, -1.6376276414097503e-14, -1.078736749871691e-14,
        6.371947269815667e-14, 5.4612144489920215e-14, 7.260466149925637e-14, 9.491339403096215e-14, 0.0, 0.0, 0.0,
        -8.604306772808733e-14, 4.169796584527195e-14, 4.654729747598445e-14, 5.213620639136504e-14,
    ),
}  # fmt: skip
# ln 2 likewise.
_LN2: Table = {F32: (0.693145751953125, 1.4286068e-06), F64: (0.6931471805598903, 5.497923018708371e-14)}
# log(1 + r) = r - r^2/2 + r^3/2 Q(r) for -0.051 <= r <= 0.055: relative error 2^-37 and 2^-65.
_NEAR_ONE: Table = {
    F32: (0.6666667, -0.49999905, 0.40000758, -0.33434927, 0.2836303),
    F64: (
        0.6666666666666671, -0.4999999999999876, 0.3999999999974502, -0.3333333333736657, 0.2857142902789782,
        -0.2499999574700422, 0.22221872594910572, -0.20001744626542714, 0.18302382235380596, -0.16458962456458334,
    ),
}  # fmt: skip
# e^r = 1 + r + r^2 P(r) for |r| <= ln 2 / 32: error 2^-29 and 2^-56.
_EXP: Table = {
    F32: (0.500016, 0.16667059),
    F64: (0.5000000000000006, 0.1666666666448502, 0.04166666665990873, 0.008333470380906063, 0.0013889125819213117),
}
# What the roots 2^(i/16) of `vecmath_exponential` lack.
_ROOTS_LOW: Table = {
    F32: (
        0.0, 4.83347e-08, -1.307754e-08, 5.3862223e-08, 3.7976353e-08, 4.496838e-08, -4.0189995e-08, -1.0123349e-08,
        2.4203235e-08, -4.500899e-08, 8.070905e-09, 9.836217e-09, -2.4755327e-08, -9.23577e-09, -1.1239278e-08,
        9.845328e-09,
    ),
    F64: (
        0.0, 8.551889705537965e-17, -3.046782079812471e-17, 8.912812676025408e-17, 3.982015231465646e-17,
        4.658027591836937e-17, 2.5382502794888315e-17, 7.70094837980299e-17, -9.667293313452913e-17,
        -3.483994556892796e-17, 7.949834809697621e-17, 2.4707192569797888e-17, 8.199010020581497e-17,
        2.960140695448873e-17, 3.283107224245627e-17, -1.0619946056195963e-16,
    ),
}  # fmt: skip


def power(base: Lanes, y: Lanes) -> Lanes:
    """base^y for finite base > 0 and y.

    Where the product of y and the logarithm leaves exp's range, n alone decides, and the limited r only has to be a
    number.
    """
    high, low = _logarithm(base)
    product = y * high
    error = fma(y, low, fma(y, high, -product))
    n, root, rest = _nearest_root(product)
    ln2, ln2_low = LN2[base.type.dtype]
    r = limited(fma(-n, ln2_low, fma(-n, ln2, product)) + error, 1.0)
    growth = fma(r * r, polynomial(r, _EXP[base.type.dtype]), r)
    return scaled(root + fma(root, growth, rest), n)


def _nearest_root(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """n = x / ln 2 rounded to sixteenths, and 2^(n - floor(n)) as the sum of two numbers."""
    n, root = nearest_sixteenth(x, LOG2_E)
    place = (n + x.format.shifter / len(_INVERSE)).bits()
    return n, root, permuted(_ROOTS_LOW[x.type.dtype], place, x)


def _logarithm(x: Lanes) -> tuple[Lanes, Lanes]:
    """log x as a sum of two numbers, for finite x > 0: relative error near 2^-34 and 2^-63."""
    k, m = split(x)
    dtype = x.type.dtype
    place = (m + x.format.shifter / len(_INVERSE)).bits()
    r = fma(m, permuted(_INVERSE, place, x), -1.0)
    ln2, ln2_low = _LN2[dtype]
    main = fma(k, ln2, permuted(_LOG_C[dtype], place, x))
    rest = fma(k, ln2_low, permuted(_LOG_C_LOW[dtype], place, x))
    first = main + r
    half = r * 0.5
    square = r * half
    high = first - square
    low = (main - first + r) + (first - high - square)
    low = low + fma(r * square, polynomial(r, _NEAR_ONE[dtype]), rest - fma(r, half, -square))
    total = high + low
    return total, low - (total - high)
