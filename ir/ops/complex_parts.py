"""What scalar ops do with complex numbers, in terms of real and imaginary parts.

A complex operand of a rule is the pair (re, im); the result is a pair, or one real element.  The rules are ordinary
code over primitives, so they run on NumPy arrays and emit nodes on IR expressions.  Kernels are made of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from adjit.ir.ops.named import asinh, copysign, cosh, hypot, isfinite, isinf, isnan, sinh
from adjit.ir.ops.scalar import abs_, atan2, cos, eq, exp, expm1, log, log1p, maximum, minimum, sin, sqrt, tanh, where
from adjit.ir.primitive import Primitive

Pair: TypeAlias = "tuple[Any, Any]"
PARTS: dict[str, Callable[..., Any]] = {}
# Named ops whose definitions hold for complex numbers as they stand.
DEFINED = frozenset(
    ("cube", "exp2", "log10", "log2", "ne", "reciprocal", "rsqrt", "safe_div", "safe_mul", "sigmoid", "silu", "sinc",
     "square", "tanhshrink")
)
# Ops whose bits are NumPy's: it multiplies and divides as its build of the day likes, with fused sums or without.
EXACT = frozenset(
    ("add", "cast", "complex", "conj", "eq", "imag", "isfinite", "isinf", "isnan", "ne", "neg", "real", "sub", "where")
)
# Partials of the complex function where those of the real one ask for an order of numbers.
PARTIALS = {
    "pow": ("where(y == 0, 0, y*x**(y - 1))", "where(x == 0, 0, out*log(x))"),
    "sinc": (f"where(x == 0, 0, (cos({math.pi!r}*x) - out)/x)",),
    "safe_div": ("where((x == 0) & (y == 0), 0, 1/y)", "where(out == 0, 0, -out/y)"),
}
def _log1p(x: Any) -> Any:
    """log(1 + x) on arrays; NumPy's own loses the digits of small x."""
    near = np.abs(x) < 0.5
    excess = np.where(near, x.real * (2 + x.real) + x.imag * x.imag, 0)
    return np.where(near, np.log1p(excess) / 2 + 1j * np.angle(1 + x), np.log(1 + x)).astype(x.dtype)


# NumPy's functions, for ops whose references know real numbers only.
REFERENCES: dict[str, Callable[..., Any]] = {
    "acos": np.arccos, "acosh": np.arccosh, "asin": np.arcsin, "asinh": np.arcsinh, "atan": np.arctan,
    "atanh": np.arctanh, "cosh": np.cosh, "isfinite": np.isfinite, "isinf": np.isinf, "isnan": np.isnan,
    "log1p": _log1p, "sinh": np.sinh, "tan": np.tan,
}  # fmt: skip


def takes_complex(op: Primitive) -> bool:
    """Whether a scalar op is defined on complex numbers."""
    return op.name in PARTS or op.name in DEFINED


def _rule(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        PARTS[name] = function
        return function

    return enter


def _times_i(x: Pair) -> Pair:
    return -x[1], x[0]


def _over_i(x: Pair) -> Pair:
    return x[1], -x[0]


# -- parts -------------------------------------------------------------------------------------------------------------
PARTS["complex"] = lambda re, im: (re, im)
PARTS["real"] = lambda x: x[0]
PARTS["imag"] = lambda x: x[1]
PARTS["conj"] = lambda x: (x[0], -x[1])

# -- arithmetic --------------------------------------------------------------------------------------------------------
PARTS["neg"] = lambda x: (-x[0], -x[1])
PARTS["add"] = lambda x, y: (x[0] + y[0], x[1] + y[1])
PARTS["sub"] = lambda x, y: (x[0] - y[0], x[1] - y[1])


@_rule("mul")
def multiply(x: Pair, y: Pair) -> Pair:
    """(a + bi)(c + di) = ac - bd + (ad + bc)i."""
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


@_rule("div")
def divide(x: Pair, y: Pair) -> Pair:
    """x*conj(y)/|y|**2, by the ratio of the parts of y so that no square overflows; by 0 each part alone.

    Source: Smith, "Algorithm 116: complex division", 1962.
    """
    a, b = x
    flip = abs_(y[0]) < abs_(y[1])
    great, small = where(flip, y[1], y[0]), where(flip, y[0], y[1])
    ratio = where(eq(great, 0), 0, small / great)
    size = great + small * ratio
    re, im = where(flip, a * ratio + b, a + b * ratio), where(flip, b * ratio - a, b - a * ratio)
    return re / size, im / size


@_rule("where")
def _(condition: Any, x: Pair, y: Pair) -> Pair:
    return where(condition, x[0], y[0]), where(condition, x[1], y[1])


# -- comparison --------------------------------------------------------------------------------------------------------
PARTS["eq"] = lambda x, y: eq(x[0], y[0]) & eq(x[1], y[1])
PARTS["isnan"] = lambda x: isnan(x[0]) | isnan(x[1])
PARTS["isinf"] = lambda x: isinf(x[0]) | isinf(x[1])
PARTS["isfinite"] = lambda x: isfinite(x[0]) & isfinite(x[1])


# -- exponentials and logarithms ---------------------------------------------------------------------------------------
@_rule("exp")
def exponential(x: Pair) -> Pair:
    """exp(a)*(cos(b) + i*sin(b)); real where b is 0, also at infinity."""
    size = exp(x[0])
    return where(eq(x[1], 0), size, size * cos(x[1])), where(eq(x[1], 0), x[1], size * sin(x[1]))


@_rule("expm1")
def _(x: Pair) -> Pair:
    """exp(x) - 1, where exp(a)*cos(b) - 1 = expm1(a)*cos(b) - 2*sin(b/2)**2."""
    half = sin(x[1] / 2)
    return expm1(x[0]) * cos(x[1]) - 2 * half * half, exp(x[0]) * sin(x[1])


@_rule("log")
def logarithm(x: Pair) -> Pair:
    """log|x| + i*angle; near |x| = 1 by log1p of |x|**2 - 1, which keeps the digits there."""
    size = hypot(x[0], x[1])
    great, small = maximum(abs_(x[0]), abs_(x[1])), minimum(abs_(x[0]), abs_(x[1]))
    near = (size > 0.5) & (size < 2)
    excess = (great - 1) * (great + 1) + small * small
    return where(near, log1p(where(near, excess, 0)) / 2, log(size)), atan2(x[1], x[0])


@_rule("log1p")
def _(x: Pair) -> Pair:
    """log(1 + x), where |1 + x|**2 - 1 = a*(2 + a) + b**2."""
    near = hypot(x[0], x[1]) < 0.5
    excess = x[0] * (2 + x[0]) + x[1] * x[1]
    size, angle = logarithm((1 + x[0], x[1]))
    return where(near, log1p(where(near, excess, 0)) / 2, size), angle


@_rule("pow")
def _(x: Pair, y: Pair) -> Pair:
    """exp(y*log(x)); 0**y is 1 for y = 0, and 0 where Re y > 0."""
    found = exponential(multiply(y, logarithm(x)))
    at_zero, no_power = eq(x[0], 0) & eq(x[1], 0), eq(y[0], 0) & eq(y[1], 0)
    vanishes = at_zero & (y[0] > 0)
    return (
        where(no_power, 1, where(vanishes, 0, found[0])),
        where(no_power | vanishes, 0, found[1]),
    )


@_rule("sqrt")
def root(x: Pair) -> Pair:
    """The root of a real part that is not negative, of the sign of Im x: t + i*b/2t with t = sqrt((|a| + |x|)/2)."""
    a, b = x
    t = sqrt(abs_(a) / 2 + hypot(a, b) / 2)
    other = where(eq(t, 0), 0, abs_(b) / (2 * t))
    right = a >= 0
    re, im = where(right, t, other), copysign(where(right, other, t), b)
    return where(isinf(b), abs_(b), re), where(isinf(b), b, im)


# -- trigonometry ------------------------------------------------------------------------------------------------------
PARTS["sin"] = lambda x: (sin(x[0]) * cosh(x[1]), cos(x[0]) * sinh(x[1]))
PARTS["cos"] = lambda x: (cos(x[0]) * cosh(x[1]), -sin(x[0]) * sinh(x[1]))
PARTS["sinh"] = lambda x: (sinh(x[0]) * cos(x[1]), cosh(x[0]) * sin(x[1]))
PARTS["cosh"] = lambda x: (cosh(x[0]) * cos(x[1]), sinh(x[0]) * sin(x[1]))


@_rule("tanh")
def hyperbolic_tangent(x: Pair) -> Pair:
    """(T + i*sin(b)*cos(b)/cosh(a)**2) / (cos(b)**2 + (T*sin(b))**2) with T = tanh(a): nothing overflows."""
    t, s, c = tanh(x[0]), sin(x[1]), cos(x[1])
    decay = exp(-abs_(x[0]))
    inverse = 2 * decay / (1 + decay * decay)  # 1/cosh(a)
    size = c * c + t * s * (t * s)
    return t / size, s * c * inverse * inverse / size


PARTS["tan"] = lambda x: _over_i(hyperbolic_tangent(_times_i(x)))


@_rule("asin")
def arcsine(x: Pair) -> Pair:
    """Source: Kahan, "Branch cuts for complex elementary functions", 1987; and so for the next two."""
    below, above = root((1 - x[0], -x[1])), root((1 + x[0], x[1]))
    re = atan2(x[0], below[0] * above[0] - below[1] * above[1])
    return re, asinh(below[0] * above[1] - below[1] * above[0])


@_rule("acos")
def _(x: Pair) -> Pair:
    below, above = root((1 - x[0], -x[1])), root((1 + x[0], x[1]))
    return 2 * atan2(below[0], above[0]), asinh(above[0] * below[1] - above[1] * below[0])


@_rule("acosh")
def _(x: Pair) -> Pair:
    below, above = root((x[0] - 1, x[1])), root((x[0] + 1, x[1]))
    return asinh(below[0] * above[0] + below[1] * above[1]), 2 * atan2(below[1], above[0])


PARTS["asinh"] = lambda x: _over_i(arcsine(_times_i(x)))


@_rule("atanh")
def hyperbolic_arctangent(x: Pair) -> Pair:
    """log1p(4a/((1 - a)**2 + b**2))/4 + i*atan2(2b, (1 - a)*(1 + a) - b**2)/2, the first for |a|."""
    a, b = abs_(x[0]), x[1]
    re = log1p(4 * a / ((1 - a) * (1 - a) + b * b)) / 4
    return copysign(re, x[0]), atan2(2 * b, (1 - a) * (1 + a) - b * b) / 2


PARTS["atan"] = lambda x: _over_i(hyperbolic_arctangent(_times_i(x)))
