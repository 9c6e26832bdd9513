"""What scalar ops compute, said in SymPy, and where: the derivatives of these expressions certify the rules.

An op is an expression over symbols named as its operands; `floor` and the signs of copysign stand for constants between
their jumps.  DOMAINS says where points are drawn, KINKS which values of an operand two branches meet at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp
from sympy import Abs, Float, Max, Min, Piecewise, Rational, exp, log, pi, sqrt

Meaning = Callable[..., Any]


def steps(x: Any) -> Any:
    """floor(x)."""
    return sp.floor(x)


def _branch(condition: Any, then: Any, other: Any) -> Any:
    return Piecewise((then, condition), (other, True))


def _clip(x: Any, low: Any, high: Any) -> Any:
    return Min(Max(x, low), high)


def _softplus(x: Any) -> Any:
    return log(1 + exp(x))


def _normal(x: Any) -> Any:
    return (1 + sp.erf(x / sqrt(2))) / 2


_HALF, _THIRD = Rational(1, 2), Rational(1, 3)
_SELU = (Float("1.0507009873554804934193349852946", 30), Float("1.6732632423543772848170429916717", 30))

# The attributes at which ops that have some are certified.
ATTRIBUTES: dict[str, dict[str, Any]] = {"polygamma": {"n": 2}}

MEANINGS: dict[str, Meaning] = {
    # arithmetic
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y, "div": lambda x, y: x / y,
    "neg": lambda x: -x, "pow": lambda x, y: x**y, "square": lambda x: x**2, "cube": lambda x: x**3,
    "reciprocal": lambda x: 1 / x,
    "mod": lambda x, y: x - y * steps(x / y), "fmod": lambda x, y: x - y * sp.sign(x / y) * steps(Abs(x / y)),
    "frac": lambda x: x - sp.sign(x) * steps(Abs(x)), "lerp": lambda start, end, weight: start + weight * (end - start),
    "safe_mul": lambda x, factor: x * factor, "safe_div": lambda x, y: x / y,
    # order
    "abs": Abs, "maximum": Max, "minimum": Min, "clamp": _clip, "clamp_min": Max, "clamp_max": Min,
    "copysign": lambda x, y: Abs(x) * sp.sign(y), "where": lambda condition, x, y: _branch(condition > 0, x, y),
    "heaviside": lambda x, value: sp.Heaviside(x) + 0 * value, "nan_to_num": lambda x, nan, posinf, neginf: x,
    # powers, exponentials and logarithms
    "sqrt": sqrt, "magnitude": sqrt, "rsqrt": lambda x: 1 / sqrt(x), "hypot": lambda x, y: sqrt(x**2 + y**2),
    "exp": exp, "exp2": lambda x: 2**x, "expm1": lambda x: exp(x) - 1, "log": log, "log1p": lambda x: log(1 + x),
    "log2": lambda x: log(x) / log(2), "log10": lambda x: log(x) / log(10), "logit": lambda x: log(x / (1 - x)),
    "logaddexp": lambda x, y: log(exp(x) + exp(y)), "logaddexp2": lambda x, y: log(2**x + 2**y) / log(2),
    "xlogy": lambda x, y: x * log(y), "xlog1py": lambda x, y: x * log(1 + y), "entr": lambda x: -x * log(x),
    # circular and hyperbolic functions
    "sin": sp.sin, "cos": sp.cos, "tan": sp.tan, "asin": sp.asin, "acos": sp.acos, "atan": sp.atan, "atan2": sp.atan2,
    "sinh": sp.sinh, "cosh": sp.cosh, "tanh": sp.tanh, "asinh": sp.asinh, "acosh": sp.acosh, "atanh": sp.atanh,
    "sinc": lambda x: sp.sin(pi * x) / (pi * x), "tanhshrink": lambda x: x - sp.tanh(x),
    # activations
    "sigmoid": lambda x: 1 / (1 + exp(-x)), "logsigmoid": lambda x: -log(1 + exp(-x)), "softplus": _softplus,
    "silu": lambda x: x / (1 + exp(-x)), "mish": lambda x: x * sp.tanh(_softplus(x)), "relu": lambda x: Max(x, 0),
    "relu6": lambda x: _clip(x, 0, 6), "hardtanh": _clip, "hardsigmoid": lambda x: _clip(x / 6 + _HALF, 0, 1),
    "hardswish": lambda x: x * _clip(x / 6 + _HALF, 0, 1), "gelu": lambda x: x * _normal(x),
    "gelu_tanh": lambda x: x / 2 * (1 + sp.tanh(sqrt(2 / pi) * (x + Rational("0.044715") * x**3))),
    "elu": lambda x, alpha: _branch(x > 0, x, alpha * (exp(x) - 1)),
    "celu": lambda x, alpha: _branch(x > 0, x, alpha * (exp(x / alpha) - 1)),
    "selu": lambda x: _SELU[0] * _branch(x > 0, x, _SELU[1] * (exp(x) - 1)),
    "leaky_relu": lambda x, slope: _branch(x > 0, x, slope * x),
    "threshold": lambda x, bound, value: _branch(x > bound, x, value), "softsign": lambda x: x / (1 + Abs(x)),
    "softshrink": lambda x, bound: x - _clip(x, -bound, bound),
    "hardshrink": lambda x, bound: _branch(Abs(x) > bound, x, 0),
    # around the error and the gamma function
    "erf": sp.erf, "erfc": sp.erfc, "erfcx": lambda x: exp(x**2) * sp.erfc(x), "erfinv": sp.erfinv,
    "gaussian": lambda x: exp(-(x**2)), "ndtr": _normal, "ndtri": lambda x: sqrt(2) * sp.erfinv(2 * x - 1),
    "log_ndtr": lambda x: log(sp.erfc(-x / sqrt(2)) / 2), "lgamma": sp.loggamma,
    "digamma": lambda x: sp.polygamma(0, x),
    "trigamma": lambda x: sp.polygamma(1, x), "polygamma": lambda x, n: sp.polygamma(sp.Integer(n), x),
    "zeta": lambda s, q: sp.zeta(s, q), "hurwitz": lambda s, q: sp.zeta(s, q),
    "igamma": lambda a, x: 1 - sp.uppergamma(a, x) / sp.gamma(a),
    "igammac": lambda a, x: sp.uppergamma(a, x) / sp.gamma(a),
    "gamma_weight": lambda a, x: x**a * exp(-x) / sp.gamma(a + 1), "log_rest": lambda mu: mu - log(1 + mu),
    # Bessel functions
    "i0": lambda x: sp.besseli(0, x), "i1": lambda x: sp.besseli(1, x),
    "i0e": lambda x: exp(-Abs(x)) * sp.besseli(0, x),
    "i1e": lambda x: exp(-Abs(x)) * sp.besseli(1, x), "k0": lambda x: sp.besselk(0, x),
    "k1": lambda x: sp.besselk(1, x), "k0e": lambda x: exp(x) * sp.besselk(0, x),
    "k1e": lambda x: exp(x) * sp.besselk(1, x), "bessel_j0": lambda x: sp.besselj(0, x),
    "bessel_j1": lambda x: sp.besselj(1, x), "bessel_y0": lambda x: sp.bessely(0, x),
    "bessel_y1": lambda x: sp.bessely(1, x), "spherical_bessel_j0": lambda x: sp.sin(x) / x, "airy_ai": sp.airyai,
}  # fmt: skip

_POSITIVE, _UNIT, _WAVES, _WIDE = (0.1, 6.0), (-0.95, 0.95), (-20.0, 20.0), (-4.0, 4.0)
# Where each operand is drawn; (-4, 4) where nothing is said.
DOMAINS: dict[str, tuple[tuple[float, float], ...]] = {
    "pow": (_POSITIVE, (-4.0, 4.0)), "sqrt": (_POSITIVE,), "magnitude": (_POSITIVE,), "rsqrt": (_POSITIVE,),
    "log": (_POSITIVE,), "log1p": ((-0.9, 5.0),), "log2": (_POSITIVE,), "log10": (_POSITIVE,), "logit": ((0.05, 0.95),),
    "xlogy": ((-4.0, 4.0), _POSITIVE), "xlog1py": ((-4.0, 4.0), (-0.9, 5.0)), "entr": (_POSITIVE,), "asin": (_UNIT,),
    "acos": (_UNIT,), "atanh": (_UNIT,), "acosh": ((1.05, 6.0),), "erfinv": (_UNIT,), "ndtri": ((0.05, 0.95),),
    "erfcx": ((-2.0, 6.0),), "lgamma": ((-4.0, 8.0),), "digamma": ((-4.0, 8.0),), "trigamma": ((-4.0, 8.0),),
    "polygamma": (_POSITIVE,), "zeta": ((1.2, 6.0), _POSITIVE), "hurwitz": ((1.2, 6.0), _POSITIVE),
    "igamma": (_POSITIVE, _POSITIVE), "igammac": (_POSITIVE, _POSITIVE), "gamma_weight": (_POSITIVE, _POSITIVE),
    "log_rest": ((-0.9, 3.0),), "k0": (_POSITIVE,), "k1": (_POSITIVE,), "k0e": (_POSITIVE,), "k1e": (_POSITIVE,),
    "bessel_j0": (_WAVES,), "bessel_j1": (_WAVES,), "spherical_bessel_j0": (_WAVES,), "bessel_y0": ((0.1, 20.0),),
    "bessel_y1": ((0.1, 20.0),), "relu6": ((-4.0, 8.0),), "hardswish": ((-5.0, 5.0),),
    "hardsigmoid": ((-5.0, 5.0),), "clamp": (_WIDE, (-3.0, 0.0), (0.5, 3.0)),
    "hardtanh": (_WIDE, (-3.0, 0.0), (0.5, 3.0)), "celu": (_WIDE, (0.5, 2.0)), "softshrink": (_WIDE, (0.1, 3.0)),
    "hardshrink": (_WIDE, (0.1, 3.0)), "sigmoid": ((-8.0, 8.0),),
}  # fmt: skip

# Where branches of an op meet: points are drawn close to them on both sides.
KINKS: dict[str, tuple[float, ...]] = {
    "abs": (0,), "relu": (0,), "relu6": (0, 6), "hardsigmoid": (-3, 3), "hardswish": (-3, 3),
    "elu": (0,), "celu": (0,), "selu": (0,), "leaky_relu": (0,), "softsign": (0,), "copysign": (0,),
    "frac": (-1, 0, 1), "i0e": (0,), "i1e": (0,), "sinc": (-0.3183098861837907, 0, 0.3183098861837907),
    "spherical_bessel_j0": (-0.5, 0, 0.5),
}  # fmt: skip

# Operands without a derivative, here and in PyTorch, and why.
_NO_FORMULA = "no formula in known functions: SymPy leaves the derivative as it stands"
_PART = "a part of igamma, which states its own derivative"
EXEMPT: dict[tuple[str, str], str] = {
    ("zeta", "s"): _NO_FORMULA, ("hurwitz", "s"): _NO_FORMULA, ("igamma", "a"): _NO_FORMULA,
    ("igammac", "a"): _NO_FORMULA, ("gamma_weight", "a"): _PART, ("gamma_series", "a"): _PART,
    ("gamma_series", "x"): _PART, ("gamma_fraction", "a"): _PART, ("gamma_fraction", "x"): _PART,
    ("gamma_correction", "eta"): _PART, ("gamma_correction", "inverse"): _PART, ("airy_ai", "x"): "as in PyTorch",
}  # fmt: skip
