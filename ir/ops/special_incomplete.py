"""The incomplete gamma functions: a power series, a continued fraction, and an expansion that is uniform in x/a.

As in adjit.ir.ops.special.  Where both the series and the fraction are slow, a is large and x near it, the expansion
holds; each has as many terms as its range needs.  The derivative with respect to a is not given: NaN.
"""

from __future__ import annotations

import math
from typing import Any

from adjit.ir.ops import special_tables as tables
from adjit.ir.ops.define import scalar
from adjit.ir.ops.scalar import abs_, eq, exp, log, log1p, maximum, minimum, sqrt
from adjit.ir.ops.scalar import where as choose
from adjit.ir.ops.special import STIRLING, erfc, lgamma, polynomial

_UNKNOWN = "log(0*a - 1)"
# From here on a is large.
_LARGE = 20
_SERIES, _FRACTION = 72, 52


@scalar(singular=True, mu="mu/(1 + mu)")
def log_rest(mu: Any) -> Any:
    """mu - log(1 + mu), without cancellation at 0.  Error: 4 ULP."""
    near = minimum(maximum(mu, -0.4), 0.4)
    return choose(abs_(mu) < 0.4, mu * mu * polynomial(2.5 * near, tables.LOG_REST), mu - log1p(mu))


@scalar(singular=True, a=_UNKNOWN, x="out*(a/x - 1)")
def gamma_weight(a: Any, x: Any) -> Any:
    """x**a*exp(-x)/gamma(a + 1).  Error: 6 ULP of 1 and the terms of the logarithm."""
    large = maximum(a, _LARGE)
    inverse = 1 / large
    # Of a large a the logarithms would cancel: with x = a (1 + mu) the exponent is -a (mu - log(1 + mu)).
    far = exp(-large * log_rest((x - large) / large) - inverse * polynomial(inverse * inverse, STIRLING))
    near = exp(a * log(x) - x - lgamma(a + 1))
    return choose(a < _LARGE, near, far / sqrt(2 * math.pi * large))


@scalar(singular=True, a=_UNKNOWN, x=_UNKNOWN)
def gamma_series(a: Any, x: Any) -> Any:
    """sum of x**n/((a + 1)...(a + n)), for x up to a + 1."""
    value: Any = 1
    for n in range(_SERIES, 0, -1):
        value = 1 + x / (a + n) * value
    return value


@scalar(singular=True, a=_UNKNOWN, x=_UNKNOWN)
def gamma_fraction(a: Any, x: Any) -> Any:
    """The continued fraction 1/(x + 1 - a - 1 (1 - a)/(x + 3 - a - 2 (2 - a)/...)), for x from a + 1 on."""
    start = x - a
    value = start + (2 * _FRACTION + 1)
    for n in range(_FRACTION, 0, -1):
        value = start + (2 * n - 1) + n * (a - n) / value
    return 1 / value


@scalar(singular=True, eta=_UNKNOWN.replace("a", "eta"), inverse=_UNKNOWN.replace("a", "eta"))
def gamma_correction(eta: Any, inverse: Any) -> Any:
    """sum of C_k(eta) inverse**k.

    Source: Temme, 1979; NIST DLMF 8.12.
    """
    value: Any = 0
    for row in reversed(tables.TEMME):
        value = value * inverse + polynomial(eta, row)
    return value


def _regularised(a: Any, x: Any) -> tuple[Any, Any]:
    """The lower and the upper function for finite a > 0 and x > 0."""
    weight = gamma_weight(a, x)
    lower_first = x <= maximum(a, 1) + 0.5
    lower = weight * gamma_series(a, choose(lower_first, x, 0))
    upper = a * weight * gamma_fraction(a, choose(lower_first, a + 2, x))
    # The uniform expansion; its eta has the sign of x - a, and eta**2/2 = mu - log(1 + mu).
    large = maximum(a, _LARGE)
    square = log_rest((x - large) / large)
    near = (a >= _LARGE) & (square < 0.5)
    root = sqrt(minimum(square, 0.5))
    sign = choose(x < large, -1, 1)
    rest = exp(-large * square) / sqrt(2 * math.pi * large) * gamma_correction(sign * math.sqrt(2) * root, 1 / large)
    arm = sign * root * sqrt(large)
    below, above = 0.5 * erfc(-arm) - rest, 0.5 * erfc(arm) + rest
    return (
        choose(near, below, choose(lower_first, lower, 1 - upper)),
        choose(near, above, choose(lower_first, 1 - lower, upper)),
    )


def _at_edges(a: Any, x: Any, value: Any, at_zero: int) -> Any:
    """`value`, with what holds for an a or x of 0 or infinity; NaN below 0."""
    far, wide = eq(x, math.inf), eq(a, math.inf)
    outside = choose(eq(x, 0) | wide, at_zero, choose(far | eq(a, 0), 1 - at_zero, value))
    nothing = (a < 0) | (x < 0) | (eq(a, 0) & eq(x, 0)) | (far & wide) | ~eq(a, a) | ~eq(x, x)
    return choose(nothing, math.nan, outside)


@scalar(singular=True, a=_UNKNOWN, x="exp((a - 1)*log(x) - x - lgamma(a))")
def igamma(a: Any, x: Any) -> Any:
    """The share of gamma(a) that the integral of t**(a - 1)*exp(-t) from 0 to x has.  Error: 1e-14, absolute."""
    return _at_edges(a, x, _regularised(a, x)[0], 0)


@scalar(singular=True, a=_UNKNOWN, x="-exp((a - 1)*log(x) - x - lgamma(a))")
def igammac(a: Any, x: Any) -> Any:
    """1 - igamma(a, x).  Error: 1e-14, absolute."""
    return _at_edges(a, x, _regularised(a, x)[1], 1)
