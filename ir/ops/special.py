"""Special functions around the error function, the gamma function and the zeta function.

Each is its definition on ranges, over elementary ops and polynomials (`special_tables`), so it compiles natively and
its derivative names other ops.  Errors stated are the greatest seen in float64 against 60 digits, in units in the last
place (ULP) of the result, or of the greatest term where terms cancel; tests/ir/test_special_ops.py measures them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from adjit.ir.ops import special_tables as tables
from adjit.ir.ops.define import scalar
from adjit.ir.ops.scalar import abs_, cos, eq, erf, exp, floor, log, log1p, maximum, minimum, pow_, round_, sin, sqrt
from adjit.ir.ops.scalar import where as choose

_SQRT_PI = math.sqrt(math.pi)
_SQRT_HALF = math.sqrt(0.5)


def polynomial(t: Any, coefficients: Sequence[float]) -> Any:
    """sum of coefficients[k] * t**k, by Horner."""
    value: Any = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        value = value * t + coefficient
    return value


# -- the error function and the normal distribution -----------------------------------------------------------------
# exp(-x*x) in two factors, because the rounding of x*x alone would cost x*x ULP: `near` has few bits, so near*near is
# exact, and x*x - near*near = (x - near)*(x + near).  Past the bounds every float64 result is 0 or infinite.
@scalar(x="-2*x*out")
def gaussian(x: Any) -> Any:
    """exp(-x*x).  Error: 3 ULP."""
    size = minimum(abs_(x), 64)
    near = floor(size * 16) / 16
    return exp(-near * near) * exp((near - size) * (near + size))


@scalar(singular=True, x=f"2*x*out - {2 / _SQRT_PI!r}")
def erfcx(x: Any) -> Any:
    """exp(x*x)*erfc(x).  Error: 5 ULP.

    Source: the variable (x - k)/(x + k) is Shepherd and Laframboise, 1981.
    """
    size = abs_(x)
    t = choose(eq(size, math.inf), 1, (size - 4) / (size + 4))
    right = polynomial(t, tables.ERFCX) / (1 + 2 * size)
    return choose(x < 0, 2 / gaussian(x) - right, right)


@scalar(x=f"{-2 / _SQRT_PI!r}*gaussian(x)")
def erfc(x: Any) -> Any:
    """1 - erf(x), without cancellation.  Error: 7 ULP."""
    tail = gaussian(x) * erfcx(abs_(x))
    return choose(abs_(x) < 0.5, 1 - erf(x), choose(x < 0, 2 - tail, tail))


def _quantile(w: Any, last: bool) -> Any:
    """erfinv(x)/x as a function of w = -log(1 - x*x); without `last` of w to 81, beyond what x in float64 gives."""
    root = sqrt(w)
    far = polynomial((root - 6.5) / 2.5, tables.QUANTILE_FAR)
    if last:
        far = choose(root < 9, far, polynomial((root - 18.25) / 9.25, tables.QUANTILE_LAST))
    middle = choose(root < 4, polynomial(root - 3, tables.QUANTILE_MIDDLE), far)
    return choose(w < 5, polynomial(w / 2.5 - 1, tables.QUANTILE_NEAR), middle)


@scalar(singular=True, x=f"{_SQRT_PI / 2!r}*exp(out**2)")
def erfinv(x: Any) -> Any:
    """The y with erf(y) = x; NaN outside -1..1.  Error: 6 ULP."""
    size = abs_(x)
    w = -choose(size < 0.5, log1p(-x * x), log((1 - size) * (1 + size)))
    return choose(eq(size, 1), x * math.inf, x * _quantile(w, last=False))


@scalar(x=f"{1 / math.sqrt(2 * math.pi)!r}*gaussian({_SQRT_HALF!r}*x)")
def ndtr(x: Any) -> Any:
    """The normal distribution function, erfc(-x/sqrt(2))/2.  Error: 8 ULP."""
    size = minimum(abs_(x), 64)
    near = floor(size * 16) / 16
    # exp(-x*x/2) in two factors, as in `gaussian`.
    weight = exp(-0.5 * near * near) * exp(0.5 * (near - size) * (near + size))
    tail = 0.5 * weight * erfcx(abs_(x) * _SQRT_HALF)
    return choose(abs_(x) < 0.5, 0.5 + 0.5 * erf(x * _SQRT_HALF), choose(x < 0, tail, 1 - tail))


@scalar(singular=True, x=f"{math.sqrt(2 * math.pi)!r}*exp(0.5*out**2)")
def ndtri(x: Any) -> Any:
    """The y with ndtr(y) = x; NaN outside 0..1.  Error: 6 ULP."""
    centre = x - 0.5
    below = minimum(x, 1 - x)
    w = -choose(abs_(centre) < 0.25, log1p(-4 * centre * centre), log(4 * below * (1 - below)))
    inside = math.sqrt(2) * 2 * centre * _quantile(w, last=True)
    return choose(eq(x, 0), -math.inf, choose(eq(x, 1), math.inf, inside))


@scalar(singular=True, x=f"{math.sqrt(2 / math.pi)!r}/erfcx({-_SQRT_HALF!r}*x)")
def log_ndtr(x: Any) -> Any:
    """log(ndtr(x)), also where ndtr(x) is 0.  Error: 5 ULP."""
    left = log(0.5 * erfcx(-x * _SQRT_HALF)) - 0.5 * x * x
    return choose(x < -1, left, log1p(-ndtr(-x)))


@scalar(singular=True, x="-log(x) - 1")
def entr(x: Any) -> Any:
    """-x*log(x); 0 at 0, and minus infinity below."""
    return choose(eq(x, 0), 0, choose(x < 0, -math.inf, -x * log(x)))


@scalar(singular=True, x="where((x == 0) & (y <= -1), 0, log1p(y))", y="where(x == 0, 0, x/(1 + y))")
def xlog1py(x: Any, y: Any) -> Any:
    """x*log1p(y); 0 where x is 0 and y is not NaN."""
    return choose(eq(x, 0) & eq(y, y), 0, x * log1p(y))


@scalar(
    x=f"sigmoid({math.log(2)!r}*where((x == y) & isinf(x), 0, x - y))",
    y=f"sigmoid({math.log(2)!r}*where((x == y) & isinf(x), 0, y - x))",
)
def logaddexp2(x: Any, y: Any) -> Any:
    """log2(2**x + 2**y)."""
    # Equal operands are their own case because inf - inf is NaN.
    ratio = log1p(exp(-math.log(2) * abs_(x - y))) / math.log(2)
    return choose(eq(x, y), x + 1, maximum(x, y) + ratio)


# -- the gamma function -----------------------------------------------------------------------------------------------
# Coefficients of Stirling's series for log(gamma) and its derivatives: B(2k)/(2k(2k - 1)), B(2k)/(2k), B(2k).
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798)
STIRLING = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI, 1))
_STIRLING_SLOPE = tuple(b / (2 * k) for k, b in enumerate(_BERNOULLI, 1))


def _sin_pi(x: Any) -> Any:
    """|sin(pi*x)|, exactly 0 at integers."""
    return sin(math.pi * abs_(x - round_(x)))


@scalar(singular=True, x="digamma(x)")
def lgamma(x: Any) -> Any:
    """log(|gamma(x)|).  Error: 6 ULP of the greatest of 1 and the terms."""
    left = x < 0.5
    y = choose(left, 1 - x, x)
    # Down to 1.5..2.5, or up from 0.5..1.5.
    steps = maximum(round_(y) - 2, 0)
    product: Any = 1
    for k in range(1, 7):
        product = product * choose(k <= steps, y - k, 1)
    low = y < 1.5
    z = choose(low, y + 1, y - steps)
    shift = log(choose(low, y, product))
    near = choose(low, -shift, shift) + (z - 1) * (z - 2) * polynomial(2 * z - 4, tables.LGAMMA)
    inverse = 1 / y
    series = inverse * polynomial(inverse * inverse, STIRLING)
    far = (y - 0.5) * (log(y) - 1) + (0.5 * math.log(2 * math.pi) - 0.5 + series)
    right = choose(y < 8, near, choose(eq(y, math.inf), y, far))
    sine = _sin_pi(x)
    return choose(left, choose(eq(x, -math.inf), math.inf, math.log(math.pi) - log(sine) - right), right)


# The recurrence goes up to here; beyond it the series of nine terms is exact to float64.
_ENOUGH = 9


def _raised(y: Any, term: Callable[[Any], Any]) -> tuple[Any, Any]:
    """The sum of term(y), term(y + 1), ... below `_ENOUGH`, and the first argument that is not."""
    total, z = 0, y
    for k in range(_ENOUGH):
        below = y < _ENOUGH - k
        total = total + choose(below, term(y + k), 0)
        z = choose(below, y + (k + 1), z)
    return total, z


@scalar(singular=True, x="trigamma(x)")
def digamma(x: Any) -> Any:
    """d log(gamma(x))/dx; minus infinity at 0, NaN at the negative integers.  Error: 4 ULP of the greatest term."""
    left = x < 0
    y = choose(left, 1 - x, x)
    total, z = _raised(y, lambda term: 1 / term)
    inverse = 1 / z
    series = inverse * inverse * polynomial(inverse * inverse, _STIRLING_SLOPE)
    right = log(z) - 0.5 * inverse - series - total
    part = x - round_(x)
    cotangent = choose(eq(part, 0), math.nan, math.pi * cos(math.pi * part) / sin(math.pi * part))
    return choose(eq(x, 0), -1 / x, choose(left, right - cotangent, right))


@scalar(singular=True, x="polygamma(x, n=2)")
def trigamma(x: Any) -> Any:
    """The second derivative of log(gamma(x)).  Error: 4 ULP of the greatest term."""
    left = x < 0.5
    y = choose(left, 1 - x, x)
    total, z = _raised(y, lambda term: 1 / (term * term))
    inverse = 1 / z
    square = inverse * inverse
    right = total + inverse + 0.5 * square + inverse * square * polynomial(square, _BERNOULLI)
    sine = _sin_pi(x)
    return choose(left, (math.pi / sine) * (math.pi / sine) - right, right)


# -- the zeta function ------------------------------------------------------------------------------------------------
# B(2k)/(2k)!, the coefficients of the formula of Euler and Maclaurin.
_EULER = tuple(b / math.factorial(2 * k) for k, b in enumerate(_BERNOULLI, 1))
# Terms that are summed before the formula takes over.
_TERMS = 9


@scalar(singular=True, s="log(0*s - 1)", q="-s*hurwitz(s + 1, q)")
def hurwitz(s: Any, q: Any) -> Any:
    """sum of (q + k)**-s over k = 0, 1, ... for s > 1 and q > 0.  Error: 10 ULP.

    The derivative with respect to s is not given: NaN.
    Source: Euler and Maclaurin's formula, NIST DLMF 25.11.5.
    """
    total: Any = 0
    for k in range(_TERMS):
        total = total + pow_(q + k, -s)
    a = q + _TERMS
    last = pow_(a, -s)
    factor, correction = s * last / a, 0
    for k, coefficient in enumerate(_EULER, 1):
        correction = correction + coefficient * factor
        factor = factor * (s + (2 * k - 1)) * (s + 2 * k) / (a * a)
    return total + a * last / (s - 1) + 0.5 * last + correction


@scalar(singular=True, s="log(0*s - 1)", q="-s*zeta(s + 1, q)")
def zeta(s: Any, q: Any) -> Any:
    """sum of (q + k)**-s over k = 0, 1, ..., the poles left out of neither side.

    Infinite for s = 1 and for q = 0, -1, ...; NaN for s < 1, and for q < 0 unless s is an integer.  The derivative with
    respect to s is not given: NaN.
    """
    whole = eq(q, floor(q))
    # Below 0 the sum is that from the fractional part r on, and the terms between q and r, mirrored.
    left = q < 0
    r = q - floor(q)
    start = choose(left, choose(whole, 1, r), choose(eq(q, 0), 1, q))
    right = hurwitz(s, choose(eq(q, math.inf), 1, start))
    between = hurwitz(s, 1 - choose(left & ~whole, r, 0.5)) - hurwitz(s, 1 - minimum(q, 0))
    even = eq(s * 0.5, floor(s * 0.5))
    below = choose(eq(s, floor(s)), choose(even, right + between, right - between), math.nan)
    value = choose(eq(q, math.inf), 0, choose(left, below, right))
    value = choose((q <= 0) & whole, math.inf, value)
    return choose(eq(s, 1), math.inf, choose(s < 1, math.nan, choose(eq(s, math.inf), pow_(q, -s), value)))


@scalar(singular=True, x="polygamma(x, n=n + 1)")
def polygamma(x: Any, *, n: Any) -> Any:
    """The n-th derivative of digamma for n >= 1: (-1)**(n + 1) * n! * zeta(n + 1, x)."""
    sign = choose(eq(n * 0.5, floor(n * 0.5)), -1, 1)
    return sign * exp(lgamma(n + 1)) * zeta(n + 1, x)
