"""Named scalar ops: each is its definition, over the scalar primitives and each other.

The definition is recorded once, as a term: read by SymPy for the derivative, by NumPy for the reference, and by the
loop compiler for the expansion (`op.body`).  Keyword-only parameters are attributes.  A literal takes the operands'
dtype.  float16 and bfloat16 are computed in float32 and rounded once.
"""

from __future__ import annotations

import math
from typing import Any

from adjit.ir.ops.define import scalar
from adjit.ir.ops.scalar import (
    abs_,
    atan2,
    cos,
    eq,
    erf,
    exp,
    expm1,
    floor,
    le,
    log,
    log1p,
    lt,
    maximum,
    minimum,
    mod,
    pow_,
    sin,
    sqrt,
    tanh,
    where,
)


# -- products that let a zero win -----------------------------------------------------------------------------------
# The 0 that wins over a partial which is not finite is flat: that branch was not selected.  A 0 beside a finite partial
# is a cotangent like any other, and its derivative is the partial.
@scalar(singular=True, x="where((x == 0) & ~isfinite(factor), 0, factor)", factor="x")
def safe_mul(x: Any, factor: Any) -> Any:
    """x*factor, and 0 where x is 0, whatever the factor."""
    return where(eq(x, 0), 0, x * factor)


@scalar(singular=True, x="where((x == 0) & ~(0 < abs(y)), 0, 1/y)", y="where(out == 0, 0, -out/y)")
def safe_div(x: Any, y: Any) -> Any:
    """x/y, and 0 where x is 0, whatever the divisor."""
    return where(eq(x, 0), 0, x / y)


# -- comparisons and tests ------------------------------------------------------------------------------------------
@scalar(takes="any")
def ne(x: Any, y: Any) -> Any:
    """x != y; true where either is NaN."""
    return ~eq(x, y)


@scalar(takes="any")
def gt(x: Any, y: Any) -> Any:
    """x > y; false where either is NaN."""
    return lt(y, x)


@scalar(takes="any")
def ge(x: Any, y: Any) -> Any:
    """x >= y; false where either is NaN."""
    return le(y, x)


@scalar
def isnan(x: Any) -> Any:
    """Whether x is NaN."""
    return ~eq(x, x)


@scalar
def isinf(x: Any) -> Any:
    """Whether x is infinite."""
    return eq(abs_(x), math.inf)


@scalar
def isfinite(x: Any) -> Any:
    """Whether x is neither infinite nor NaN."""
    return lt(abs_(x), math.inf)


# -- steps, bounds and parts ----------------------------------------------------------------------------------------
@scalar(takes="number", constant=True)
def sign(x: Any) -> Any:
    """(0 < x) - (x < 0); 0 for NaN."""
    return where(x > 0, 1, 0) - where(x < 0, 1, 0)


@scalar(constant=True)
def ceil(x: Any) -> Any:
    """The least integer that is not below x."""
    return -floor(-x)


@scalar(constant=True)
def trunc(x: Any) -> Any:
    """The integer next to x on the side of 0."""
    return where(x < 0, ceil(x), floor(x))


@scalar
def frac(x: Any) -> Any:
    """x - trunc(x)."""
    return x - trunc(x)


@scalar(takes="number")
def heaviside(x: Any, value: Any) -> Any:
    """0 below 0, `value` at 0, 1 above."""
    return where(eq(x, 0), value, where(x > 0, 1, 0))


@scalar(
    takes="number",
    x="where((low <= x) & (x <= high), 1, 0)",
    low="where((x < low) & (low < high), 1, 0)",
    high="where((high < x) | (high < low), 1, 0)",
)
def clamp(x: Any, low: Any, high: Any) -> Any:
    """min(max(x, low), high); NaN if any is.  The derivative at a bound goes to x."""
    return minimum(maximum(x, low), high)


@scalar(takes="number", x="where(low <= x, 1, 0)", low="where(x < low, 1, 0)")
def clamp_min(x: Any, low: Any) -> Any:
    """max(x, low); the derivative at the bound goes to x."""
    return maximum(x, low)


@scalar(takes="number", x="where(x <= high, 1, 0)", high="where(high < x, 1, 0)")
def clamp_max(x: Any, high: Any) -> Any:
    """min(x, high); the derivative at the bound goes to x."""
    return minimum(x, high)


@scalar
def nan_to_num(x: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
    """x with NaN and the infinities replaced by numbers."""
    return where(isnan(x), nan, where(eq(x, math.inf), posinf, where(eq(x, -math.inf), neginf, x)))


@scalar(singular=True, x="1", y="round((out - x)/y)")
def fmod(x: Any, y: Any) -> Any:
    """x - y*trunc(x/y), exactly; of the sign of x."""
    rest = mod(abs_(x), abs_(y))
    return where(x < 0, -rest, where(eq(x, 0), x * rest, rest))


# The sign of a zero shows in its reciprocal; that of a NaN is not looked at.
@scalar(x="where((y < 0) | (1/y < 0), -1, 1)*sign(x)", y="0")
def copysign(x: Any, y: Any) -> Any:
    """|x| with the sign of y, that of a zero included."""
    return where((y < 0) | (1 / y < 0), -abs_(x), abs_(x))


@scalar(constant=True, wide_numbers=True)
def floor_div(x: Any, y: Any) -> Any:
    """The floor of the exact quotient x/y, not of the rounded one; x/y for a y of 0."""
    rest = fmod(x, y)
    opposite = where(rest < 0, y > 0, (y < 0) & (rest > 0))
    whole = (x - rest) / y
    whole = where(opposite, whole - 1, whole)
    below = floor(whole)
    nearest = where(whole - below > 0.5, below + 1, below)
    return floor(where(eq(y, 0), x / y, where(eq(whole, 0), x / y * 0, nearest)))


@scalar(wide_numbers=True, start="1 - weight", end="weight", weight="end - start")
def lerp(start: Any, end: Any, weight: Any) -> Any:
    """start + weight*(end - start), exact at weight 0 and 1."""
    return where(weight < 0.5, start + weight * (end - start), end - (end - start) * (1 - weight))


# -- powers, roots and logarithms -----------------------------------------------------------------------------------
@scalar(takes="number")
def square(x: Any) -> Any:
    """x*x."""
    return x * x


@scalar(takes="number")
def cube(x: Any) -> Any:
    """x*x*x."""
    return x * x * x


@scalar(singular=True)
def rsqrt(x: Any) -> Any:
    """1/sqrt(x)."""
    return 1 / sqrt(x)


@scalar(singular=True)
def reciprocal(x: Any) -> Any:
    """1/x."""
    return 1 / x


@scalar(singular=True)
def exp2(x: Any) -> Any:
    """2**x."""
    return pow_(2, x)


@scalar(singular=True, x="where(out == 0, 0, 0.5/out)")
def magnitude(x: Any) -> Any:
    """sqrt(x) of a sum of squares; flat at 0, as a norm is taken to be."""
    return sqrt(x)


@scalar(singular=True)
def log2(x: Any) -> Any:
    """The logarithm to base 2."""
    return log(x) / math.log(2)


@scalar(singular=True)
def log10(x: Any) -> Any:
    """The logarithm to base 10."""
    return log(x) / math.log(10)


@scalar(singular=True, x="1/(x*(1 - x))")
def logit(x: Any) -> Any:
    """log(x/(1 - x)), without cancellation at 1/2."""
    return where(abs_(x - 0.5) < 0.25, log1p((2 * x - 1) / (1 - x)), log(x / (1 - x)))


@scalar(singular=True, x="where((x == 0) & (y <= 0), 0, log(y))", y="where(x == 0, 0, x/y)")
def xlogy(x: Any, y: Any) -> Any:
    """x*log(y); 0 where x is 0 and y is not NaN."""
    return where(eq(x, 0) & eq(y, y), 0, x * log(y))


# x - y is NaN for equal infinities; of equal numbers the next derivatives must stay.
@scalar(
    x="sigmoid(where((x == y) & isinf(x), 0, x - y))", y="sigmoid(where((x == y) & isinf(x), 0, y - x))"
)
def logaddexp(x: Any, y: Any) -> Any:
    """log(exp(x) + exp(y))."""
    # Equal operands are their own case because inf - inf is NaN.
    return where(eq(x, y), x + math.log(2), maximum(x, y) + log1p(exp(-abs_(x - y))))


@scalar(singular=True, x="where(out == 0, 0, x/out)", y="where(out == 0, 0, y/out)")
def hypot(x: Any, y: Any) -> Any:
    """sqrt(x*x + y*y) without overflow of the squares; flat at the origin."""
    greater, less = maximum(abs_(x), abs_(y)), minimum(abs_(x), abs_(y))
    ratio = where(eq(greater, 0), 0, less / greater)
    return where(isinf(x) | isinf(y), math.inf, greater * sqrt(1 + ratio * ratio))


# -- trigonometric and hyperbolic -----------------------------------------------------------------------------------
@scalar
def tan(x: Any) -> Any:
    """sin(x)/cos(x)."""
    return sin(x) / cos(x)


@scalar(singular=True, x="1/sqrt((1 - x)*(1 + x))")
def asin(x: Any) -> Any:
    """The angle in -pi/2..pi/2 whose sine is x; NaN outside -1..1."""
    return atan2(x, sqrt((1 - x) * (1 + x)))


@scalar(singular=True, x="-1/sqrt((1 - x)*(1 + x))")
def acos(x: Any) -> Any:
    """The angle in 0..pi whose cosine is x; NaN outside -1..1."""
    return atan2(sqrt((1 - x) * (1 + x)), x)


@scalar(x="1/(1 + x**2)")
def atan(x: Any) -> Any:
    """The angle in -pi/2..pi/2 whose tangent is x."""
    return atan2(x, 1)


@scalar(singular=True, x="cosh(x)")
def sinh(x: Any) -> Any:
    """(exp(x) - exp(-x))/2, without cancellation at 0 and overflowing no earlier than its value."""
    near = expm1(x)
    far = exp(abs_(x) / 2)
    large = far / 2 * far - 0.5 / far / far
    return where(abs_(x) < 1, (near + near / (near + 1)) / 2, where(x < 0, -large, large))


@scalar(singular=True, x="sinh(x)")
def cosh(x: Any) -> Any:
    """(exp(x) + exp(-x))/2, overflowing no earlier than its value."""
    far = exp(abs_(x) / 2)
    return far / 2 * far + 0.5 / far / far


# From here on asinh(x) and acosh(x) are log(2x), and log1p(x) is log(x), to the last bit of a float64.
_LARGE = 2.0**58
# Below this the cubic term of asinh and atanh is less than half a unit in the last place of a float64.
_SMALL = 1e-8


@scalar(x="1/sqrt(1 + x**2)")
def asinh(x: Any) -> Any:
    """log(x + sqrt(x*x + 1)), as an odd function without cancellation."""
    size = abs_(x)
    bounded = minimum(size, _LARGE)
    middle = size + bounded * bounded / (1 + sqrt(1 + bounded * bounded))
    value = log1p(where(size < _LARGE, middle, size)) + where(size < _LARGE, 0, math.log(2))
    return where(size < _SMALL, x, where(x < 0, -value, value))


@scalar(singular=True, x="1/(sqrt(x - 1)*sqrt(x + 1))")
def acosh(x: Any) -> Any:
    """log(x + sqrt(x*x - 1)), without cancellation at 1; NaN below 1."""
    above = x - 1
    middle = above + sqrt(above * (above + 2))
    return log1p(where(x < _LARGE, where(x > -1, middle, math.nan), x)) + where(x < _LARGE, 0, math.log(2))


@scalar(singular=True, x="1/((1 - x)*(1 + x))")
def atanh(x: Any) -> Any:
    """log((1 + x)/(1 - x))/2, as an odd function without cancellation."""
    size = abs_(x)
    value = 0.5 * log1p(2 * size / (1 - size))
    return where(size < _SMALL, x, where(x < 0, -value, value))


@scalar(
    singular=True,
    # The power series about 0 (eight terms are enough below 1), where the closed form cancels.
    x=f"where(abs(x) < {1 / math.pi!r}, -{math.pi**2 / 3!r}*x*(1 - ({math.pi!r}*x)**2/10*(1 - ({math.pi!r}*x)**2/28*"
    f"(1 - ({math.pi!r}*x)**2/54*(1 - ({math.pi!r}*x)**2/88*(1 - ({math.pi!r}*x)**2/130*"
    f"(1 - ({math.pi!r}*x)**2/180*(1 - ({math.pi!r}*x)**2/238))))))), (cos({math.pi!r}*x) - out)/x)",
)
def sinc(x: Any) -> Any:
    """sin(pi*x)/(pi*x); 1 at 0."""
    return where(eq(x, 0), 1, sin(math.pi * x) / (math.pi * x))


# -- activations ----------------------------------------------------------------------------------------------------
@scalar
def sigmoid(x: Any) -> Any:
    """1/(1 + exp(-x))."""
    return 1 / (1 + exp(-x))


@scalar(x="sigmoid(-x)")
def logsigmoid(x: Any) -> Any:
    """log(sigmoid(x))."""
    return minimum(x, 0) - log1p(exp(-abs_(x)))


@scalar(x="sigmoid(x)")
def softplus(x: Any) -> Any:
    """log(1 + exp(x))."""
    return maximum(x, 0) + log1p(exp(-abs_(x)))


@scalar
def silu(x: Any) -> Any:
    """Sigmoid-weighted linear unit, x*sigmoid(x)."""
    return x * sigmoid(x)


@scalar
def mish(x: Any) -> Any:
    """x*tanh(softplus(x))."""
    return x * tanh(softplus(x))


@scalar(takes="number")
def relu(x: Any) -> Any:
    """max(x, 0); flat at 0."""
    return where(x <= 0, 0, x)


@scalar
def hardtanh(x: Any, low: Any, high: Any) -> Any:
    """min(max(x, low), high); flat at the bounds."""
    return where(x <= low, low, where(high <= x, high, x))


@scalar
def relu6(x: Any) -> Any:
    """min(max(x, 0), 6); flat at the bounds."""
    return hardtanh(x, 0, 6)


@scalar
def hardsigmoid(x: Any) -> Any:
    """relu6(x + 3)/6."""
    return hardtanh(x + 3, 0, 6) / 6


@scalar(x="where(x <= -3, 0, where(3 <= x, 1, x/3 + 0.5))")
def hardswish(x: Any) -> Any:
    """x*hardsigmoid(x)."""
    return x * hardtanh(x + 3, 0, 6) / 6


@scalar(x=f"0.5*(1 + erf({math.sqrt(0.5)!r}*x)) + {1 / math.sqrt(2 * math.pi)!r}*x*exp(-0.5*x**2)")
def gelu(x: Any) -> Any:
    """x times the normal distribution function."""
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


_GELU_SLOPE = 2 * math.sqrt(2 / math.pi)
_GELU_SIGMOID = f"sigmoid({_GELU_SLOPE!r}*(x + 0.044715*x**3))"


@scalar(
    # The factor that vanishes meets x one power at a time, so that x**2 does not overflow beside it.
    x=f"{_GELU_SIGMOID} + x*({_GELU_SIGMOID}*(1 - {_GELU_SIGMOID}))*{_GELU_SLOPE!r} + "
    f"x*({_GELU_SIGMOID}*(1 - {_GELU_SIGMOID}))*x*x*{3 * 0.044715 * _GELU_SLOPE!r}"
)
def gelu_tanh(x: Any) -> Any:
    """gelu by tanh, as x*sigmoid(2u) = x*(1 + tanh(u))/2, which keeps its digits below 0.

    Source: Hendrycks and Gimpel, 2016.
    """
    return x * sigmoid(_GELU_SLOPE * (x + 0.044715 * x**3))


@scalar(singular=True, wide_numbers=True)
def elu(x: Any, alpha: Any) -> Any:
    """x above 0, alpha*(exp(x) - 1) below."""
    return where(x > 0, x, alpha * expm1(x))


@scalar(singular=True, wide_numbers=True)
def celu(x: Any, alpha: Any) -> Any:
    """x above 0, alpha*(exp(x/alpha) - 1) below."""
    return where(x > 0, x, alpha * expm1(x / alpha))


# Source of both: Klambauer, Unterthiner, Mayr and Hochreiter, 2017.
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


@scalar(singular=True)
def selu(x: Any) -> Any:
    """Scaled elu, whose activations keep mean 0 and variance 1."""
    return where(x > 0, _SELU_SCALE * x, _SELU_SCALE * _SELU_ALPHA * expm1(x))


@scalar(wide_numbers=True)
def leaky_relu(x: Any, slope: Any) -> Any:
    """x above 0, slope*x below."""
    return where(x > 0, x, slope * x)


@scalar(wide_numbers=True)
def threshold(x: Any, bound: Any, value: Any) -> Any:
    """x above `bound`, `value` at and below it."""
    return where(x <= bound, value, x)


@scalar(x="1/(1 + abs(x))**2")
def softsign(x: Any) -> Any:
    """x/(1 + |x|)."""
    return x / (1 + abs_(x))


@scalar(wide_numbers=True)
def softshrink(x: Any, bound: Any) -> Any:
    """x less `bound` in size; 0 up to that size."""
    return where(abs_(x) <= bound, 0, where(x < 0, x + bound, x - bound))


@scalar
def hardshrink(x: Any, bound: Any) -> Any:
    """x where |x| is above `bound`, else 0."""
    return where(abs_(x) <= bound, 0, x)


@scalar(x="tanh(x)**2")
def tanhshrink(x: Any) -> Any:
    """x - tanh(x)."""
    return x - tanh(x)
