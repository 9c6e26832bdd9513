"""Sums, products and integrals: the terms along one more axis, or a loop where a limit is an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adjit.symbolic.rewriting import SymbolicError
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.symbolic.translate import Translator

_LONGEST = 1_000_000  # terms that are computed at once


def sum_value(expression: Any, translate: Translator) -> Any:
    """A sum or a product over ranges of integers, both ends included.

    Errors: SymbolicError for an infinite one without a closed form.
    """
    import sympy

    (symbol, low, high), *outer = reversed(expression.limits)
    inner = expression.func(expression.function, *reversed(outer)) if outer else expression.function
    if low.is_infinite or high.is_infinite:
        closed = expression.doit()
        if closed.has(sympy.Sum, sympy.Product):
            raise SymbolicError(f"{expression} has no closed form: give it finite limits")
        return translate(closed)
    is_sum = isinstance(expression, sympy.Sum)
    if not (low.is_Integer and high.is_Integer):
        return _looped(inner, symbol, translate(low), translate(high), is_sum, translate)
    if high < low or high - low >= _LONGEST:
        if high < low:
            return 0 if is_sum else 1
        raise SymbolicError(f"{expression} has more than {_LONGEST} terms")
    terms = along(inner, symbol, np.arange(int(low), int(high) + 1), translate)
    return terms.sum(-1) if is_sum else terms.prod(-1)


def along(expression: Any, symbol: Any, points: Any, translate: Translator) -> Tensor:
    """The expression at `points` of a symbol, along a new last axis."""
    from adjit.creation import from_numpy

    nodes = from_numpy(points) if isinstance(points, np.ndarray) else points
    deeper = translate.deeper({symbol: nodes})
    found = deeper(expression)
    if not isinstance(found, Tensor):
        found = nodes.to(np.asarray(found).dtype.name if isinstance(found, complex) else nodes.dtype) * 0 + found
    shape = (*found.shape[:-1], nodes.shape[-1]) if found.dim() else tuple(nodes.shape)
    result: Tensor = found.expand(shape)
    return result


def _looped(inner: Any, symbol: Any, low: Any, high: Any, is_sum: bool, translate: Translator) -> Any:
    """The sum or product by a loop over the range from `low` to `high`, which are known when it runs."""
    from adjit.control import fori_loop
    from adjit.creation import as_tensor
    from adjit.dtypes import float64

    ends = [as_tensor(end).long() for end in (low, high)]
    if any(end.dim() for end in ends):
        raise SymbolicError("the limits of a sum or product are numbers, not arrays")

    def step(index: Any, total: Any) -> Any:
        term = translate.within({symbol: index.to(float64)})(inner)
        return total + term if is_sum else total * term

    shape = as_tensor(translate.within({symbol: ends[0].to(float64)})(inner)) * 0
    return fori_loop(
        ends[0], ends[1] + 1, step, shape.to(shape.dtype if shape.is_complex() else float64) + (not is_sum)
    )


# -- integrals --------------------------------------------------------------------------------------------------------
_STEP = 1 / 24


def integral_value(expression: Any, translate: Translator) -> Any:
    """A definite integral by a double exponential rule of 163 nodes, or 197 where a limit is infinite.

    The rule is exact to rounding for functions that are analytic inside the interval, singular ends included.
    Source: Takahasi and Mori, "Double exponential formulas for numerical integration", 1974.
    """
    (symbol, *limits), *outer = reversed(expression.limits)
    if len(limits) != 2:
        raise SymbolicError(f"{expression} has no limits")
    inner = expression.func(expression.function, *reversed(outer)) if outer else expression.function
    low, high = limits
    nodes, weights = _rule(low.is_infinite, high.is_infinite)
    ends = [None if end.is_infinite else _column(translate(end)) for end in (low, high)]
    from adjit.creation import from_numpy

    points, scale = from_numpy(nodes), from_numpy(weights)
    if ends[0] is not None and ends[1] is not None:
        width = ends[1] - ends[0]
        points, scale = ends[0] + width * points, width * scale
    elif ends[0] is not None:
        points = ends[0] + points
    elif ends[1] is not None:
        points = ends[1] - points
    values = along(inner, symbol, points, translate)
    return (values * scale).sum(-1)


def _column(value: Any) -> Any:
    return value.unsqueeze(-1) if isinstance(value, Tensor) else value


def _rule(low_infinite: bool, high_infinite: bool) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on (0, 1), on (0, inf), or on the whole line: to within 1e-18 of the ends."""
    reach = round((4.1 if low_infinite or high_infinite else 3.4) / _STEP)
    t = np.arange(-reach, reach + 1) * _STEP
    inner, slope = np.pi / 2 * np.sinh(t), np.pi / 2 * np.cosh(t) * _STEP
    if low_infinite and high_infinite:
        return np.sinh(inner), np.cosh(inner) * slope
    if low_infinite or high_infinite:
        return np.exp(inner), np.exp(inner) * slope
    return 1 / (1 + np.exp(-2 * inner)), slope / (2 * np.cosh(inner) ** 2)
