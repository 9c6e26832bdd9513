"""SymPy's functions in terms of those that are computed: gamma functions for factorials, logarithms for towers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from adjit.ir.errors import AdjitError


class SymbolicError(AdjitError, NotImplementedError):
    """An expression has something that nothing computes."""


def prepared(expression: Any) -> Any:
    """The expression with derivatives carried out, and functions that others express replaced by these."""
    import sympy

    if not isinstance(expression, sympy.Basic):
        return expression
    if expression.has(sympy.Derivative, sympy.Subs):
        expression = expression.replace(lambda e: isinstance(e, (sympy.Derivative, sympy.Subs)), lambda e: e.doit())
    rules = _rules()
    while found := {part for part in expression.atoms(*rules)}:
        replaced = expression.xreplace({part: rules[type(part)](*part.args) for part in found})
        if replaced == expression:
            break
        expression = replaced
    return expression


@cache
def _rules() -> dict[Any, Callable[..., Any]]:
    """The replacement for each function."""
    import sympy as sp

    sign, gaussian_quantile = sp.Function("gammasign"), sp.Function("ndtri")

    def gammas(above: list[Any], below: list[Any]) -> Any:
        """A quotient of gamma functions, by logarithms: they overflow before it does."""
        signs = sp.Mul(*map(sign, [*above, *below]))
        return signs * sp.exp(sp.Add(*map(sp.loggamma, above)) - sp.Add(*map(sp.loggamma, below)))

    def binomial(n: Any, k: Any) -> Any:
        return sp.ff(n, k) / sp.factorial(k) if _is_short(k) else gammas([n + 1], [k + 1, n - k + 1])

    def delta(i: Any, j: Any, *bounds: Any) -> Any:
        return sp.Piecewise((1, sp.Eq(i, j)), (0, True))

    def expanded(function: Any) -> Callable[..., Any]:
        return lambda *args: sp.expand_func(function(*args))

    rules: dict[Any, Callable[..., Any]] = {
        sp.factorial: lambda x: sp.gamma(x + 1), sp.beta: lambda x, y: gammas([x, y], [x + y]),
        sp.KroneckerDelta: delta, sp.binomial: binomial, sp.RisingFactorial: lambda x, k: gammas([x + k], [x]),
        sp.FallingFactorial: lambda x, k: gammas([x + 1], [x - k + 1]),
        sp.erf2: lambda x, y: sp.erf(y) - sp.erf(x), sp.erfcinv: lambda x: -gaussian_quantile(x / 2) / sp.sqrt(2),
        sp.Implies: lambda a, b: sp.Or(sp.Not(a), b), sp.Contains: lambda x, where: where.contains(x),
        sp.Ynm: expanded(sp.Ynm), sp.li: lambda x: sp.Ei(sp.log(x)), sp.jn: _spherical(sp.besselj),
        sp.yn: _spherical(sp.bessely), sp.Equivalent: lambda *args: sp.Not(sp.Xor(*args)),
    }  # fmt: skip
    return rules


def _spherical(bessel: Any) -> Callable[..., Any]:
    import sympy as sp

    return lambda n, x: sp.sqrt(sp.pi / (2 * x)) * bessel(n + sp.Rational(1, 2), x)


def _is_short(k: Any) -> bool:
    """Whether a binomial coefficient of this many factors is written out."""
    return bool(k.is_Integer and 0 <= k <= 10)
