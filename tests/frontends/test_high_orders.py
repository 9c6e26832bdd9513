"""Derivatives of high order: few operations, and the digits that mpmath finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest

import adjit as torch
from adjit.compiler.legalize import legalize
from adjit.compiler.simplify import simplify
from adjit.func import grad, jacfwd, jacrev, jvp, vmap
from adjit.ir.analysis import count_ops
from adjit.ir.rewrite import inline_calls
from adjit.nn import functional

ORDER = 6
Function = Callable[[Any], Any]


class Case(NamedTuple):
    """A function, itself in mpmath, points, and SymPy's operations with CSE for its sixth derivative.

    The points are no zeros of the derivatives, so errors can be relative to their values.
    """

    function: Function
    exact: Function
    points: tuple[float, ...]
    sympy: int


M = mpmath
MIDDLE = (-1.3, 0.21, 0.7, 2.3)
POSITIVE = (0.21, 0.7, 2.3)
CASES = {
    "sin(x)*x^10": Case(lambda x: torch.sin(x) * x**10, lambda x: M.sin(x) * x**10, MIDDLE, 26),
    "tanh": Case(torch.tanh, M.tanh, MIDDLE, 14),
    "tanh(tanh)": Case(lambda x: torch.tanh(torch.tanh(x)), lambda x: M.tanh(M.tanh(x)), MIDDLE, 86),
    "exp(sin)": Case(lambda x: torch.exp(torch.sin(x)), lambda x: M.exp(M.sin(x)), MIDDLE, 27),
    "sin(exp)": Case(lambda x: torch.sin(torch.exp(x)), lambda x: M.sin(M.exp(x)), MIDDLE, 26),
    "x/(1+x^2)": Case(lambda x: x / (1 + x * x), lambda x: x / (1 + x * x), MIDDLE, 19),
    "logistic": Case(torch.sigmoid, lambda x: 1 / (1 + M.exp(-x)), MIDDLE, 33),
    "softplus": Case(functional.softplus, lambda x: M.log(1 + M.exp(x)), MIDDLE, 30),
    "log(1+x^2)": Case(lambda x: torch.log(1 + x**2), lambda x: M.log(1 + x**2), MIDDLE, 18),
    "sqrt(1+x^2)": Case(lambda x: torch.sqrt(1 + x * x), lambda x: M.sqrt(1 + x * x), MIDDLE, 18),
    "atan": Case(torch.atan, M.atan, MIDDLE, 14),
    "tan": Case(torch.tan, M.tan, (-1.3, 0.21, 0.7), 14),
    "erf": Case(torch.erf, M.erf, MIDDLE, 13),
    "gelu": Case(functional.gelu, lambda x: x * (1 + M.erf(x / M.sqrt(2))) / 2, MIDDLE, 20),
    "exp(-x^2)*cos(3x)": Case(
        lambda x: torch.exp(-x * x) * torch.cos(3 * x), lambda x: M.exp(-x * x) * M.cos(3 * x), MIDDLE, 43
    ),
    "x^2.5": Case(lambda x: x**2.5, lambda x: x ** M.mpf(2.5), POSITIVE, 3),
    "x*log(x)": Case(lambda x: x * torch.log(x), lambda x: x * M.log(x), POSITIVE, 2),
    "x^x": Case(lambda x: x**x, lambda x: x**x, POSITIVE, 39),
    "asinh": Case(torch.asinh, M.asinh, MIDDLE, 17),
    "(x-1)^3/(x+2)": Case(lambda x: (x - 1) ** 3 / (x + 2), lambda x: (x - 1) ** 3 / (x + 2), MIDDLE, 21),
}


def nested(function: Function, order: int) -> Function:
    """d^order function, by grad of grad of ..."""
    for _ in range(order):
        function = grad(function)
    return function


def all_orders(function: Function) -> Function:
    """The derivatives from the first to the ORDER-th, each grad carrying the lower ones as aux."""

    def next_order(lower: Function) -> Function:
        def both(x: Any) -> Any:
            found, known = grad(lower, has_aux=True)(x)
            return found, (*known, found)

        return both

    current: Function = lambda x: (function(x), ())  # noqa: E731
    for _ in range(ORDER):
        current = next_order(current)
    return lambda x: torch.stack(current(x)[1])


@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_six_orders_have_ten_digits_and_more(name: str) -> None:
    case = CASES[name]
    points = torch.tensor(case.points, dtype=torch.float64)
    found = torch.compile(vmap(all_orders(case.function)))(points).numpy()
    with mpmath.workdps(50):
        for row, point in zip(found, case.points, strict=True):
            taylor = mpmath.taylor(case.exact, mpmath.mpf(point), ORDER)
            exact = [float(c * mpmath.factorial(k)) for k, c in enumerate(taylor)][1:]
            np.testing.assert_allclose(row, exact, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"x^x"}))
def test_the_sixth_derivative_is_about_as_short_as_sympys(name: str) -> None:
    case = CASES[name]
    x = torch.tensor(0.7, dtype=torch.float64)
    counts = count_ops(torch.compile(nested(case.function, ORDER)).graph(x))
    operations = counts.total() - counts["const"] - counts["reshape"]
    assert operations <= 1.5 * case.sympy + 6


def along_ones(function: Function) -> Function:
    return lambda x: jvp(function, (x,), (torch.ones_like(x),))[1]


def summed(function: Function) -> Function:
    return lambda x: grad(lambda y: function(y).sum())(x)


@pytest.mark.parametrize("outer", [grad, jacrev, jacfwd, along_ones, summed])
@pytest.mark.parametrize("inner", [grad, jacrev, jacfwd, along_ones, summed])
def test_every_nesting_of_transformations_is_short(outer: Function, inner: Function) -> None:
    case = CASES["sin(x)*x^10"]
    x = torch.tensor(0.7, dtype=torch.float64)
    program = torch.compile(outer(inner(outer(inner(case.function)))))
    with mpmath.workdps(50):
        exact = float(mpmath.diff(case.exact, mpmath.mpf(0.7), 4))
    assert abs(program(x).item() / exact - 1) < 1e-12
    counts = count_ops(simplify(legalize(inline_calls(program.graph(x)))))
    assert counts.total() - counts["const"] <= 33


def test_a_tangent_of_zero_meets_no_infinite_derivative() -> None:
    x = torch.tensor([0.0, 4.0], dtype=torch.float64)
    found = torch.compile(torch.func.hessian(lambda x: (x**1.5).sum()))(x)
    assert found.tolist() == [[float("inf"), 0.0], [0.0, 0.375]]


def test_strictly_compiled_derivatives_are_not_reassociated() -> None:
    function, x = nested(CASES["sin(x)*x^10"].function, 3), torch.tensor(0.7, dtype=torch.float64)
    steps = [
        {step.by for node in torch.compile(function, strict=strict).graph(x).nodes for step in node.location.steps}
        for strict in (True, False)
    ]
    assert "collect" not in steps[0]
    assert "collect" in steps[1]


def test_sums_that_cancel_are_kept_whole() -> None:
    """Near 1, (x - 1)**2 multiplied out would have no digit left."""
    x = torch.tensor(1 + 1e-9, dtype=torch.float64)
    found = torch.compile(nested(lambda x: (x - 1) ** 5 * torch.exp(x), 3))(x).item()
    with mpmath.workdps(50):
        exact = mpmath.diff(lambda x: (x - 1) ** 5 * mpmath.exp(x), mpmath.mpf(x.item()), 3)
    assert abs(found / float(exact) - 1) < 1e-12
