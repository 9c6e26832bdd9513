"""Bessel functions, the Airy function, and the orthogonal polynomials that have a closed form in their degree.

As in adjit.ir.ops.special.  The oscillating functions have zeros, near which the stated error is relative to the
amplitude of the oscillation.
"""

from __future__ import annotations

import math
from typing import Any

from adjit.ir.ops import special_tables as tables
from adjit.ir.ops.define import scalar
from adjit.ir.ops.scalar import abs_, cos, eq, exp, log, maximum, minimum, sin, sqrt
from adjit.ir.ops.scalar import where as choose
from adjit.ir.ops.special import polynomial


def _second_kind(x: Any, value: Any) -> Any:
    """`value`, with what functions of the second kind are at 0 and below."""
    return choose(eq(x, 0), math.inf, choose(x < 0, math.nan, value))


# -- modified Bessel functions ----------------------------------------------------------------------------------------
@scalar(x="i1e(x) - sign(x)*out")
def i0e(x: Any) -> Any:
    """exp(-|x|)*I0(x).  Error: 4 ULP."""
    size = abs_(x)
    near = polynomial(minimum(size, 8) / 4 - 1, tables.I0_NEAR)
    far = maximum(size, 8)
    return choose(size <= 8, near, polynomial(16 / far - 1, tables.I0_FAR) / sqrt(far))


@scalar(x="where(x == 0, 0.5, i0e(x) - out*(sign(x) + 1/where(x == 0, 1, x)))")
def i1e(x: Any) -> Any:
    """exp(-|x|)*I1(x).  Error: 6 ULP."""
    size = abs_(x)
    near = x * polynomial(minimum(size, 8) / 4 - 1, tables.I1_NEAR)
    far = maximum(size, 8)
    large = polynomial(16 / far - 1, tables.I1_FAR) / sqrt(far)
    return choose(size <= 8, near, choose(x < 0, -large, large))


def _grown(scaled: Any, x: Any) -> Any:
    """scaled*exp(|x|), overflowing no earlier than its value."""
    half = exp(0.5 * abs_(x))
    return scaled * half * half


@scalar(singular=True, x="i1(x)")
def i0(x: Any) -> Any:
    """The modified Bessel function of the first kind, order 0.  Error: 6 ULP up to 20, x/2 ULP above."""
    return choose(eq(abs_(x), math.inf), math.inf, _grown(i0e(x), x))


@scalar(singular=True, x="where(x == 0, 0.5, i0(x) - out/where(x == 0, 1, x))")
def i1(x: Any) -> Any:
    """The modified Bessel function of the first kind, order 1.  Error: 8 ULP up to 20, x/2 ULP above."""
    return choose(eq(abs_(x), math.inf), x, _grown(i1e(x), x))


def _log_half(x: Any) -> Any:
    return log(0.5 * minimum(x, 2))


@scalar(singular=True, x="out - k1e(x)")
def k0e(x: Any) -> Any:
    """exp(x)*K0(x), of the second kind.  Error: 5 ULP."""
    low = minimum(x, 2)
    near = polynomial(0.5 * low * low - 1, tables.K0_NEAR) - _log_half(x) * exp(low) * i0e(low)
    far = maximum(x, 2)
    large = polynomial(4 / far - 1, tables.K0_FAR) / sqrt(far)
    return _second_kind(x, choose(x <= 2, exp(low) * near, large))


@scalar(singular=True, x="out*(1 - 1/x) - k0e(x)")
def k1e(x: Any) -> Any:
    """exp(x)*K1(x), of the second kind.  Error: 5 ULP."""
    low = minimum(x, 2)
    near = polynomial(0.5 * low * low - 1, tables.K1_NEAR) / low + _log_half(x) * exp(low) * i1e(low)
    far = maximum(x, 2)
    large = polynomial(4 / far - 1, tables.K1_FAR) / sqrt(far)
    return _second_kind(x, choose(x <= 2, exp(low) * near, large))


@scalar(singular=True, x="-k1(x)")
def k0(x: Any) -> Any:
    """The modified Bessel function of the second kind, order 0.  Error: 6 ULP."""
    return exp(-x) * k0e(x)


@scalar(singular=True, x="-k0(x) - out/x")
def k1(x: Any) -> Any:
    """The modified Bessel function of the second kind, order 1.  Error: 6 ULP."""
    return exp(-x) * k1e(x)


# -- Bessel functions -------------------------------------------------------------------------------------------------
def _wave(size: Any, order: int, second: bool) -> Any:
    """J or Y at size >= 8: an amplitude that falls as 1/sqrt(x), times P and Q on the cosine and sine of x - phase."""
    z = 8 / maximum(size, 8)
    t = 2 * z * z - 1
    p = polynomial(t, (tables.PHASE_P0, tables.PHASE_P1)[order])
    q = z * polynomial(t, (tables.PHASE_Q0, tables.PHASE_Q1)[order])
    plus, minus = cos(size) + sin(size), sin(size) - cos(size)
    # cos and sin of x - pi/4 and of x - 3 pi/4, times sqrt(2)
    cosine, sine = (plus, minus) if order == 0 else (minus, -plus)
    value = p * sine + q * cosine if second else p * cosine - q * sine
    return choose(eq(size, math.inf), 0, value / sqrt(math.pi * maximum(size, 8)))


def _within(size: Any) -> Any:
    """The variable of the polynomials for x <= 8."""
    low = minimum(size, 8)
    return low * low / 32 - 1


@scalar(x="-bessel_j1(x)")
def bessel_j0(x: Any) -> Any:
    """The Bessel function of the first kind, order 0.  Error: 1.5e-15."""
    size = abs_(x)
    return choose(size <= 8, polynomial(_within(size), tables.J0_NEAR), _wave(size, 0, second=False))


@scalar(singular=True, x="where(x == 0, 0.5, bessel_j0(x) - out/x)")
def bessel_j1(x: Any) -> Any:
    """The Bessel function of the first kind, order 1.  Error: 2e-15."""
    size = abs_(x)
    wave = _wave(size, 1, second=False)
    return choose(size <= 8, x * polynomial(_within(size), tables.J1_NEAR), choose(x < 0, -wave, wave))


@scalar(singular=True, x="-bessel_y1(x)")
def bessel_y0(x: Any) -> Any:
    """The Bessel function of the second kind, order 0; minus infinity at 0, NaN below.  Error: 4e-15."""
    near = polynomial(_within(x), tables.Y0_NEAR) + 2 / math.pi * log(x) * bessel_j0(x)
    return -_second_kind(x, -choose(x <= 8, near, _wave(x, 0, second=True)))


@scalar(singular=True, x="bessel_y0(x) - out/x")
def bessel_y1(x: Any) -> Any:
    """The Bessel function of the second kind, order 1; minus infinity at 0, NaN below.  Error: 4e-15."""
    near = x * polynomial(_within(x), tables.Y1_NEAR) + 2 / math.pi * (log(x) * bessel_j1(x) - 1 / x)
    return -_second_kind(x, -choose(x <= 8, near, _wave(x, 1, second=True)))


@scalar(
    singular=True,
    x="where(abs(x) < 0.5, -x/3*(1 - x**2/10*(1 - x**2/28*(1 - x**2/54*(1 - x**2/88)))), (cos(x) - out)/x)",
)
def spherical_bessel_j0(x: Any) -> Any:
    """sin(x)/x; 1 at 0 and 0 at infinity."""
    return choose(eq(abs_(x), math.inf), 0, choose(eq(x, 0), 1, sin(x) / x))


# -- the Airy function ------------------------------------------------------------------------------------------------
@scalar(singular=True, x="log(0*x - 1)")
def airy_ai(x: Any) -> Any:
    """The Airy function Ai.  Error: 2e-15, and relative above -1.75: 5 ULP of 1 + x**1.5.

    The derivative is not given: NaN.
    """
    size = maximum(abs_(x), 1)
    root = sqrt(size)
    z = size * root * (2 / 3)
    t = 2 * (7.4 / maximum(z, 7.4)) * (7.4 / maximum(z, 7.4)) - 1
    f, g = polynomial(t, tables.AIRY_F), polynomial(t, tables.AIRY_G) / z
    plus, minus = (sin(z) + cos(z)) * math.sqrt(0.5), (cos(z) - sin(z)) * math.sqrt(0.5)
    wave = (f * plus - g * minus) / (math.sqrt(math.pi) * sqrt(root))
    fall = polynomial(4.5 / maximum(z, 2.25) - 1, tables.AIRY_FAR) * exp(-z) / (2 * math.sqrt(math.pi) * sqrt(root))
    near = polynomial((minimum(maximum(x, -1.75), 2.25) - 0.25) / 2, tables.AIRY_NEAR)
    middle = polynomial((minimum(maximum(x, -5), -1.75) + 3.375) / 1.625, tables.AIRY_MIDDLE)
    left = choose(x < -5, wave, choose(x < -1.75, middle, near))
    return choose(eq(abs_(x), math.inf), 0, choose(x > 2.25, fall, left))
