"""sin, cos, tan: x = q pi/2 + r with |r| <= pi/4, then polynomials in r chosen and signed by q.

Up to a bound the reduction subtracts three parts of pi/2 by fma (Cody and Waite 1980); lanes beyond it are reduced
one by one, if there are any, by as many bits of 2/pi as they need (Payne and Hanek 1983).  The polynomials and the
stated errors are made as in `vecmath_exponential`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_lanes import (
    Lanes,
    Table,
    call_shared,
    fma,
    nearest_multiple,
    polynomial,
)
from adjit.compiler.llvm.vecmath_reduction import HALF_PI, Turned, reduce_large
from adjit.ir.types import F32, F64

_INVERSE_HALF_PI = 2 / math.pi
# Below this magnitude sin(x) rounds to x.
_TINY: Table = {F32: (2.0**-13,), F64: (2.0**-27,)}
# sin(r) = r + r^3 S(r^2): relative error 2^-28 and 2^-58.
_SIN: Table = {
    F32: (-0.16666655, 0.008332187, -0.0001951791),
    F64: (
        -0.1666666666666663,
        0.00833333333332184,
        -0.0001984126982935839,
        2.7557313538440123e-06,
        -2.5050734378932638e-08,
        1.589543310042879e-10,
    ),
}
# cos(r) = 1 - r^2/2 + r^4 C(r^2): relative error 2^-33 and 2^-64.
_COS: Table = {
    F32: (0.041666646, -0.001388731, 2.4432335e-05),
    F64: (
        0.041666666666666595,
        -0.0013888888888873307,
        2.480158728896526e-05,
        -2.7557314203083294e-07,
        2.0875703138122968e-09,
        -1.1358616799536888e-11,
    ),
}
# tan(r) = r + r^3 T(r^2): relative error 2^-29 and 2^-59.
_TAN: Table = {
    F32: (0.333333522, 0.1333258897, 0.05406745151, 0.02124679461, 0.01092042774, -1.046836951e-05, 0.004422657192),
    F64: (
        0.3333333333333338,
        0.1333333333332529,
        0.05396825397293568,
        0.021869488398526708,
        0.008863237932166408,
        0.0035921008165168936,
        0.0014560457268078249,
        0.0005888650337985661,
        0.0002437450259007643,
        8.358505696629504e-05,
        6.715583811767513e-05,
        -2.552792123275378e-05,
        4.852979154493577e-05,
        -2.4212966986019694e-05,
        9.783700203907157e-06,
    ),
}


def sin(function: Function, ty: LLType, x: str) -> str:
    """The sine, for every finite x; NaN at infinity.  Error: 0.82 ULP in f32, 0.84 in f64."""
    return call_shared(function, "sin", ty, (x,), _sin)


def cos(function: Function, ty: LLType, x: str) -> str:
    """The cosine, for every finite x; NaN at infinity.  Error: 0.82 ULP in f32, 0.83 in f64."""
    return call_shared(function, "cos", ty, (x,), _cos)


def tan(function: Function, ty: LLType, x: str) -> str:
    """The tangent, for every finite x; NaN at infinity.  Error: 1.92 ULP in f32, 1.6 in f64."""
    return call_shared(function, "tan", ty, (x,), _tan)


def _sin(x: Lanes) -> Lanes:
    (tiny,) = _TINY[x.type.dtype]
    return (abs(x) < tiny).choose(x, with_large_lanes(x, _reduce_small, partial(_sine_of_turned, turn=0)))


def _cos(x: Lanes) -> Lanes:
    return with_large_lanes(x, _reduce_small, partial(_sine_of_turned, turn=1))


def _tan(x: Lanes) -> Lanes:
    (tiny,) = _TINY[x.type.dtype]
    return (abs(x) < tiny).choose(x, with_large_lanes(x, _reduce_small, _tangent_of_turned))


def with_large_lanes(
    x: Lanes, reduce: Callable[[Lanes], Turned], value: Callable[[Lanes, Lanes, Lanes], Lanes]
) -> Lanes:
    """`value(r, its correction, q)` of x, reduced in all lanes by `reduce`, and in the large ones again."""
    found = value(*reduce_large(x, reduce(x)))
    return (abs(x) < math.inf).choose(found, math.nan)


def _reduce_small(x: Lanes) -> Turned:
    """(r, its correction, q).

    The first difference is short, so its fma is exact; it is a multiple of the second product's last bit, so that
    the error of the second difference is found by two subtractions (Dekker 1971).
    """
    first_part, second_part, third_part = HALF_PI[x.type.dtype]
    n, q = nearest_multiple(x, _INVERSE_HALF_PI)
    first = fma(-n, first_part, x)
    product = n * second_part
    r = first - product
    correction = ((first - r) - product) + fma(-n, second_part, product)
    return r, fma(-n, third_part, correction), q


def _sine_of_turned(r: Lanes, correction: Lanes, q: Lanes, turn: int) -> Lanes:
    """sin(r + correction + (q + turn) pi/2)."""
    dtype = r.type.dtype
    z = r * r
    square = z * z
    half = z * 0.5
    rough = 1.0 - half
    tail = fma(square, _by_halves(z, square, _COS[dtype]), -(r * correction))
    cosine = rough + (((1.0 - rough) - half) + tail)
    sine = r + fma(r * z, _by_halves(z, square, _SIN[dtype]), correction * rough)
    return turned(sine, cosine, q, turn)


def _by_halves(z: Lanes, square: Lanes, coefficients: Sequence[float]) -> Lanes:
    """The polynomial as its even and its odd part, in the square of z: as many operations, half of them in a row."""
    return fma(polynomial(square, coefficients[1::2]), z, polynomial(square, coefficients[::2]))


def turned(sine: Lanes, cosine: Lanes, q: Lanes, turn: int) -> Lanes:
    """sin(r + (q + turn) pi/2), given the sine and the cosine of r."""
    quarter = q + turn if turn else q
    value = (quarter & 1).equal(1).choose(cosine, sine)
    sign_bit = sine.format.integer.bits - 1
    return (value.bits() ^ ((quarter << (sign_bit - 1)) & (-1 << sign_bit))).as_float(sine.type.dtype)


def _tangent_of_turned(r: Lanes, correction: Lanes, q: Lanes) -> Lanes:
    """tan(r + correction + q pi/2)."""
    z = r * r
    rest = fma(r * z, polynomial(z, _TAN[r.type.dtype]), correction)
    tangent = r + fma(correction, z, rest)
    return (q & 1).equal(1).choose(-1.0 / tangent, tangent)
