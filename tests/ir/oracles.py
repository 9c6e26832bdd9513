"""What scalar ops compute, said a second time in mpmath: independent of the bodies in adjit.ir.ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
from mpmath import mp

# Enough digits that exp(1000) - 1 and numerical second derivatives are exact to well beyond float64.
DIGITS = 60


def real(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with NaN where it leaves the reals."""

    def checked(*operands: Any) -> Any:
        try:
            value = function(*operands)
        except (ValueError, ZeroDivisionError):
            return mp.nan
        return mp.nan if isinstance(value, mpmath.mpc) and value.imag != 0 else mp.mpf(value.real)

    return checked


def _sign(x: Any) -> int:
    return int(x > 0) - int(x < 0)


def _clip(x: Any, low: Any, high: Any) -> Any:
    return min(max(x, low), high)


def _softplus(x: Any) -> Any:
    return mp.log1p(mp.exp(x))


UNARY: dict[str, Callable[..., Any]] = {
    "neg": lambda x: -x,
    "abs": abs,
    "floor": mp.floor,
    "round": lambda x: mp.nint(x),
    "exp": mp.exp,
    "log": mp.log,
    "log1p": mp.log1p,
    "expm1": mp.expm1,
    "sqrt": mp.sqrt,
    "magnitude": mp.sqrt,
    "sin": mp.sin,
    "cos": mp.cos,
    "tanh": mp.tanh,
    "erf": mp.erf,
    "sign": _sign,
    "ceil": mp.ceil,
    "trunc": lambda x: mp.floor(abs(x)) * _sign(x),
    "frac": lambda x: x - mp.floor(abs(x)) * _sign(x),
    "square": lambda x: x**2,
    "cube": lambda x: x**3,
    "rsqrt": lambda x: 1 / mp.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "exp2": lambda x: mp.mpf(2) ** x,
    "log2": lambda x: mp.log(x, 2),
    "log10": mp.log10,
    "logit": lambda x: mp.log(x / (1 - x)),
    "tan": mp.tan,
    "asin": mp.asin,
    "acos": mp.acos,
    "atan": mp.atan,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "asinh": mp.asinh,
    "acosh": mp.acosh,
    "atanh": mp.atanh,
    "sinc": mp.sincpi,
    "sigmoid": lambda x: mp.exp(x) / (1 + mp.exp(x)),
    "logsigmoid": lambda x: x - _softplus(x),
    "softplus": _softplus,
    "silu": lambda x: x * mp.exp(x) / (1 + mp.exp(x)),
    "mish": lambda x: x * mp.tanh(_softplus(x)),
    "relu": lambda x: max(x, 0),
    "relu6": lambda x: _clip(x, 0, 6),
    "hardsigmoid": lambda x: _clip(x / 6 + mp.mpf(1) / 2, 0, 1),
    "hardswish": lambda x: x * _clip(x / 6 + mp.mpf(1) / 2, 0, 1),
    "gelu": lambda x: x * mp.ncdf(x),
    "gelu_tanh": lambda x: x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3))),
    "selu": lambda x: (
        mp.mpf("1.0507009873554804934193349852946")
        * (x if x > 0 else mp.mpf("1.6732632423543772848170429916717") * mp.expm1(x))
    ),
    "softsign": lambda x: x / (1 + abs(x)),
    "tanhshrink": lambda x: x - mp.tanh(x),
}

BINARY: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "safe_mul": lambda x, y: x * y,
    "safe_div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "mod": lambda x, y: x - y * mp.floor(x / y),
    "fmod": lambda x, y: x - y * mp.floor(abs(x / y)) * _sign(x / y),
    "floor_div": lambda x, y: mp.floor(x / y),
    "maximum": max,
    "minimum": min,
    "clamp_min": max,
    "clamp_max": min,
    "atan2": lambda y, x: mp.atan2(y, x),
    "hypot": mp.hypot,
    "copysign": lambda x, y: abs(x) if y >= 0 else -abs(x),
    "xlogy": lambda x, y: x * mp.log(y),
    "logaddexp": lambda x, y: mp.log(mp.exp(x) + mp.exp(y)),
    "heaviside": lambda x, y: y if x == 0 else mp.mpf(x > 0),
}
# Activations at the numbers that PyTorch has as defaults, or any others.
BINARY |= {
    "elu": lambda x, alpha: x if x > 0 else alpha * mp.expm1(x),
    "celu": lambda x, alpha: x if x > 0 else alpha * mp.expm1(x / alpha),
    "leaky_relu": lambda x, slope: x if x > 0 else slope * x,
    # Bounds of 0 meet: what lies between them has the derivative of what is within bounds.
    "softshrink": lambda x, bound: (
        mp.nan if x == bound == 0 else 0 * x if abs(x) <= bound else x + bound if x < 0 else x - bound
    ),
    "hardshrink": lambda x, bound: mp.nan if x == bound == 0 else x if abs(x) > bound else 0 * x,
}
TERNARY: dict[str, Callable[..., Any]] = {
    "hardtanh": lambda x, low, high: low if x <= low else min(x, high),
    "threshold": lambda x, bound, value: x if x > bound else value,
    "clamp": _clip,
    "lerp": lambda a, b, w: a + w * (b - a),
}
OTHERS: dict[str, Callable[..., Any]] = {"nan_to_num": lambda x, nan, posinf, neginf: x}
ORACLES = {name: real(function) for name, function in {**UNARY, **BINARY, **TERNARY, **OTHERS}.items()}


def slope(name: str, index: int, point: tuple[float, ...], order: int = 1) -> Any:
    """The derivative of the op's oracle by differences in 60 digits; NaN at a kink, a pole, or outside the domain."""

    def along(x: Any) -> Any:
        return ORACLES[name](*(x if i == index else mp.mpf(p) for i, p in enumerate(point)))

    with mp.workdps(2 * DIGITS if max(map(abs, point)) < 1e5 else 60):
        center = mp.mpf(point[index])
        sides = [mp.diff(along, center, order, direction=side) for side in (-1, 1)]
        scale = max(1, abs(sides[0]))
        return sides[1] if abs(sides[0] - sides[1]) < mp.mpf(10) ** -12 * scale else mp.nan
