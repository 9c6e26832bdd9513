"""`to_sympy`: there and back, branches as Piecewise, loops written out, linear algebra, and what is no expression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp

import adjit as torch
from adjit.nn import functional
from adjit.symbolic.rewriting import SymbolicError
from tests.frontends.test_lambdify import CASES, SPECIAL

a, b, c, x, y = sp.symbols("a b c x y")


def is_real(case: tuple[Any, Any, tuple[Any, ...]]) -> bool:
    args, expression, values = case
    symbols = args if isinstance(args, list) else [args]
    is_scalar = isinstance(expression, sp.Expr) and not isinstance(expression, (sp.MatrixExpr, sp.MatrixBase))
    return is_scalar and all(isinstance(s, sp.Symbol) for s in symbols) and not any(map(np.iscomplexobj, values))


# Loops to a symbol, no symbols, NaN; integrals come back as sums over 163 nodes.
LEFT_OUT = {"sum to y", "no arguments", "no default", "definite", "integral", "to infinity"}
SCALARS = {name: case for name, case in CASES.items() if is_real(case)}
SCALARS |= {
    name: ([x, y][: len(point)], expression, point) for name, (expression, point) in SPECIAL.items()
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in SCALARS if name not in LEFT_OUT])
def test_there_and_back(name: str) -> None:
    args, expression, values = SCALARS[name]
    symbols = args if isinstance(args, list) else [args]
    back = torch.to_sympy(torch.from_sympy(expression, args).function, *symbols)
    at = {s: sp.Float(float(np.ravel(v)[0]), 25) for s, v in zip(symbols, values, strict=True)}
    found, wanted = (
        complex(e.subs(at).doit().rewrite(sp.erf).rewrite(sp.erfinv).evalf(17)) for e in (back, expression)
    )
    assert found == pytest.approx(wanted, rel=1e-11)


def branching(x: Any) -> Any:
    if x > 1:
        return x**2
    elif x > 0 or x < -5:
        return x
    return -x


def stepping(x: Any) -> Any:
    total = x * 0
    while total < 0:  # known: 0*x is 0
        total = total + 1
    for step in range(3):
        total = total * x + step
    return total


PROGRAMS: list[tuple[Any, tuple[Any, ...], Any]] = [
    (branching, (x,), sp.Piecewise((x**2, x > 1), (sp.Piecewise((x, (x > 0) | (x < -5)), (-x, True)), True))),
    (torch.func.grad(branching), (x,), sp.Piecewise((2 * x, x > 1), (1, (x > 0) | (x < -5)), (-1, True))),
    (stepping, (x,), x + 2), (lambda x: torch.fori_loop(0, 3, lambda i, c: c * x + i, x), (x,), x**4 + x + 2),
    (lambda x: torch.scan(lambda c, v: (c * x, c + v), x, torch.arange(2.0)), (x,), (x**3, sp.Matrix([x, x**2 + 1]))),
    (lambda x: torch.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, v * x), (0, x))[1], (x,), x**4),
    (lambda x: torch.cond(x > 0, torch.sin, torch.cos, (x,)), (x,),
     sp.Piecewise((sp.sin(x), x > 0), (sp.cos(x), True))),
    (lambda v: v.cumsum(0), ([a, b, c],), sp.Matrix([a, a + b, a + b + c])),
    (lambda v: v.max() - v.min(), ([a, b],), sp.Max(a, b) - sp.Min(a, b)),
    (lambda m: torch.linalg.det(m), ([[a, b], [b, c]],), a * c - b**2),
    (lambda m: torch.linalg.inv(m) @ m, ([[a, b], [b, c]],), sp.eye(2)),
    (lambda m, v: torch.linalg.solve(m, m @ v), ([[a, b], [b, c]], [x, y]), sp.Matrix([x, y])),
    (lambda v: functional.softmax(v, 0).sum(), ([a, b],), sp.Integer(1)),
    (lambda v: torch.nn.functional.pad(v, (1, 0)), ([a, b],), sp.Matrix([0, a, b])),
    (lambda x: (x * 1j).exp().real, (sp.Symbol("x", real=True),), sp.cos(sp.Symbol("x", real=True))),
    (torch.func.grad(torch.func.grad(lambda x: torch.exp(-x * x))), (x,), (4 * x**2 - 2) * sp.exp(-(x**2))),
]  # fmt: skip


@pytest.mark.parametrize(("function", "args", "wanted"), PROGRAMS, ids=range(len(PROGRAMS)))
def test_programs(function: Any, args: tuple[Any, ...], wanted: Any) -> None:
    found = torch.to_sympy(function, *args)
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
    for one, other in pairs:
        difference = sp.simplify(sp.piecewise_fold(one - other) if isinstance(other, sp.Expr) else one - other)
        assert difference in (0, sp.zeros(*getattr(difference, "shape", (1, 1)))), (one, other)


def test_modules_in_float32() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    (found,) = torch.to_sympy(model, [a, b])
    assert float(found.subs({a: 0.5, b: -1.0})) == pytest.approx(model(torch.tensor([0.5, -1.0])).item(), abs=1e-6)


def newton(x: Any) -> Any:
    while x * x > 2:
        x = (x + 2 / x) / 2
    return x


@pytest.mark.parametrize(
    ("function", "text"),
    [(newton, "how often a loop runs depends on a symbol: 2 < x"), (lambda x: torch.rand(()) * x, "random_bits is no"),
     (lambda x: torch.stack([x, 2 * x]).sort().values, "sort is no expression"),
     (lambda x: torch.arange(3)[x.long()], "an index of gather depends on a symbol"),
     (lambda x: torch.fori_loop(0, 5000, lambda i, c: c + x, x), "5000 steps, more than 1000"),
     (lambda x: torch.host_call(np.sin, x, x), "a function of the host is no expression")],
)  # fmt: skip
def test_what_is_no_expression_says_so(function: Any, text: str) -> None:
    with pytest.raises(SymbolicError, match=text):
        torch.to_sympy(function, x)
