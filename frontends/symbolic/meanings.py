"""What scalar ops mean in SymPy: a function of SymPy's, or the op's own definition written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.term import Apply, Number, Symbol, Term, record
from adjit.symbolic.rewriting import SymbolicError


def meaning(op: Primitive, values: Sequence[Any], attributes: dict[str, Any]) -> Any:
    """A scalar op of expressions.  SymbolicError for one that SymPy has no words for."""
    import sympy

    known = _meanings().get(op.name)
    if known is not None:
        return known(*values, **attributes)
    if op.symbolic is not None:
        return op.symbolic(sympy, *values)
    if op.body is None:
        raise SymbolicError(f"{op.name} is no expression")
    given = dict(zip(op.operands, values, strict=True)) | {name: exact(value) for name, value in attributes.items()}
    return _written_out(record(op.body, op.operands, op.attributes), given)


def exact(value: Any) -> Any:
    """A number of the program: the integer or the short decimal that it spells."""
    import sympy

    if isinstance(value, (bool, np.bool_)):
        return sympy.true if value else sympy.false
    if isinstance(value, (complex, np.complexfloating)):
        return exact(value.real) + sympy.I * exact(value.imag)
    if np.isfinite(value) and float(value) == int(value):
        return sympy.Integer(int(value))
    # A float32 is written by as few digits as say which one it is.
    return sympy.Float(str(value)) if isinstance(value, np.float32) else sympy.Float(float(value))


def _written_out(term: Term, values: dict[str, Any]) -> Any:
    match term:
        case Number(value):
            return exact(value)
        case Symbol(name):
            return values[name]
        case Apply(name, operands, attributes):
            parts = [_written_out(operand, values) for operand in operands]
            return meaning(primitive_named(name), parts, {k: _written_out(v, values) for k, v in attributes})
    raise SymbolicError(f"{term} is no expression")


def choice(condition: Any, then: Any, other: Any) -> Any:
    """The Piecewise of a condition, or the value chosen where it is known."""
    import sympy

    return then if then == other else sympy.Piecewise((then, condition), (other, True))


@cache
def _meanings() -> dict[str, Callable[..., Any]]:
    import sympy as sp

    half = sp.Rational(1, 2)

    def rounded(x: Any) -> Any:
        """To the nearest integer, and halves to the even one."""
        low = sp.floor(x + half)
        return low if x.is_integer else choice(sp.Eq(sp.Mod(x + half, 2), 1), low - 1, low)

    def truncated(x: Any) -> Any:
        return sp.sign(x) * sp.floor(sp.Abs(x))

    def normal(x: Any) -> Any:
        return (1 + sp.erf(x / sp.sqrt(2))) / 2

    return {
        "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y, "div": lambda x, y: x / y,
        "neg": lambda x: -x, "pow": lambda x, y: x**y, "mod": sp.Mod, "safe_mul": lambda x, y: x * y,
        "safe_div": lambda x, y: x / y, "square": lambda x: x**2, "cube": lambda x: x**3,
        "reciprocal": lambda x: 1 / x,
        "fmod": lambda x, y: x - y * truncated(x / y), "lerp": lambda x, y, w: x + w * (y - x),
        "where": choice, "lt": sp.Lt, "le": sp.Le, "gt": sp.Gt, "ge": sp.Ge, "eq": sp.Eq, "ne": sp.Ne, "and": sp.And,
        "or": sp.Or, "not": sp.Not, "xor": sp.Xor, "isnan": lambda x: sp.false, "isfinite": lambda x: sp.true,
        "isinf": lambda x: sp.false, "maximum": sp.Max, "minimum": sp.Min, "abs": sp.Abs, "sign": sp.sign,
        "relu": lambda x: sp.Max(x, 0), "floor": sp.floor, "ceil": sp.ceiling, "trunc": truncated, "round": rounded,
        "frac": lambda x: x - truncated(x), "heaviside": sp.Heaviside, "sqrt": sp.sqrt, "magnitude": sp.sqrt,
        "rsqrt": lambda x: 1 / sp.sqrt(x), "hypot": lambda x, y: sp.sqrt(x**2 + y**2), "exp2": lambda x: 2**x,
        "log2": lambda x: sp.log(x, 2), "log10": lambda x: sp.log(x, 10), "tan": sp.tan, "sinh": sp.sinh,
        "cosh": sp.cosh, "asin": sp.asin, "acos": sp.acos, "atan": sp.atan, "asinh": sp.asinh, "acosh": sp.acosh,
        "atanh": sp.atanh, "sinc": lambda x: sp.sinc(sp.pi * x), "sigmoid": lambda x: 1 / (1 + sp.exp(-x)),
        "softplus": lambda x: sp.log(1 + sp.exp(x)), "logsigmoid": lambda x: -sp.log(1 + sp.exp(-x)),
        "logaddexp": lambda x, y: sp.log(sp.exp(x) + sp.exp(y)), "xlogy": lambda x, y: x * sp.log(y),
        "xlog1py": lambda x, y: x * sp.log(1 + y), "gelu": lambda x: x * normal(x), "ndtr": normal,
        "ndtri": lambda x: sp.sqrt(2) * sp.erfinv(2 * x - 1), "log_ndtr": lambda x: sp.log(normal(x)),
        "erfc": sp.erfc, "erfinv": sp.erfinv, "erfcx": lambda x: sp.exp(x**2) * sp.erfc(x),
        "gaussian": lambda x: sp.exp(-(x**2)), "entr": lambda x: -x * sp.log(x), "lgamma": sp.loggamma,
        "digamma": sp.digamma, "trigamma": sp.trigamma, "polygamma": lambda x, n: sp.polygamma(n, x),
        "zeta": lambda s, q: sp.zeta(sp.nsimplify(s), q), "hurwitz": lambda s, q: sp.zeta(sp.nsimplify(s), q),
        "igamma": lambda a, x: sp.lowergamma(a, x) / sp.gamma(a), "airy_ai": sp.airyai,
        "igammac": lambda a, x: sp.uppergamma(a, x) / sp.gamma(a), "i0": lambda x: sp.besseli(0, x),
        "i1": lambda x: sp.besseli(1, x), "i0e": lambda x: sp.exp(-sp.Abs(x)) * sp.besseli(0, x),
        "i1e": lambda x: sp.exp(-sp.Abs(x)) * sp.besseli(1, x), "k0": lambda x: sp.besselk(0, x),
        "k1": lambda x: sp.besselk(1, x), "k0e": lambda x: sp.exp(x) * sp.besselk(0, x),
        "k1e": lambda x: sp.exp(x) * sp.besselk(1, x), "bessel_j0": lambda x: sp.besselj(0, x),
        "bessel_j1": lambda x: sp.besselj(1, x), "bessel_y0": lambda x: sp.bessely(0, x),
        "bessel_y1": lambda x: sp.bessely(1, x), "spherical_bessel_j0": sp.sinc, "complex": lambda x, y: x + sp.I * y,
        "real": sp.re, "imag": sp.im, "conj": sp.conjugate, "cast": lambda x, dtype: x,
    }  # fmt: skip
