"""Taylor mode: the derivatives along a curve are those of nested `jvp`, and of mpmath to high orders."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mpmath
import numpy as np
import pytest

import adjit as torch
from adjit.func import grad, jet, jvp, vmap
from adjit.ir.analysis import count_ops
from adjit.nn import functional

F64 = torch.float64
Function = Callable[..., Any]


def tensor(*shape: int, seed: int = 0) -> Any:
    return torch.tensor(np.random.default_rng(seed).uniform(0.3, 1.2, shape), dtype=F64)


def along_curve(function: Function, primals: Any, series: Any) -> list[Any]:
    """f(x(0)) and the derivatives of f(x(t)) at 0, by jvp of jvp of ..."""

    def at(t: Any) -> Any:
        points = []
        for x, terms in zip(primals, series, strict=True):
            factor = 1.0
            for power, term in enumerate(terms, 1):
                factor = factor * t / power
                x = x + factor * term
            points.append(x)
        return function(*points)

    def differentiated(function: Function) -> Function:
        return lambda t: jvp(function, (t,), (torch.ones_like(t),))[1]

    found, zero = [], torch.tensor(0.0, dtype=F64)
    for _ in range(len(series[0]) + 1):
        found.append(at(zero))
        at = differentiated(at)
    return found


def scanned(x: Any) -> Any:
    def step(carry: Any, row: Any) -> Any:
        new = torch.sin(carry) * row + carry
        return new, new * new

    return torch.scan(step, x[0], x)[1]


def newton(x: Any) -> Any:
    """sqrt(x) by a loop of unknown length."""
    return torch.while_loop(
        lambda y, x: (y * y - x).abs().max() > 1e-14, lambda y, x: ((y + x / y) / 2, x), (torch.ones_like(x), x)
    )[0]


def branched(x: Any) -> Any:
    return torch.cond(x.sum() > 0, lambda x: torch.exp(x) * x, lambda x: x, (x,))


@torch.custom_jvp
def cubed(x: Any) -> Any:
    return x**3


@cubed.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (x,), (t,) = primals, tangents
    return cubed(x), 3 * x * x * t


SQUARE, ROWS = (3, 3), (4, 3)
PROGRAMS: dict[str, tuple[Function, tuple[tuple[int, ...], ...]]] = {
    "products": (lambda x, y: x * y * torch.sin(x) + y / x, (ROWS, ROWS)),
    "number and array": (lambda x, y: x * y + torch.exp(x) / y, ((), ROWS)),
    "matmul": (lambda x, y: torch.tanh(x @ y) @ y, (ROWS, SQUARE)),
    "conv": (lambda x, w: torch.tanh(functional.conv1d(x, w, padding=1)), ((2, 2, 5), (3, 2, 3))),
    "softmax": (lambda x: functional.softmax(x * x, -1), (ROWS,)),
    "layer_norm": (lambda x: functional.layer_norm(x, (3,)), (ROWS,)),
    "reductions": (lambda x: x.prod(0) + x.amax(0) + x.cumsum(0).mean(0) + torch.logsumexp(x, 0), (ROWS,)),
    "sort": (lambda x: x.sort(0).values.cumprod(0), (ROWS,)),
    "indexing": (lambda x: x[torch.tensor([2, 0, 2])].t().flip(0) ** 2, (ROWS,)),
    "masked root": (lambda x: torch.where(x > 0.7, torch.sqrt(x - 0.7), 0.0) * x, (ROWS,)),
    "powers": (lambda x, y: x**y + x**3 + x**-2 + y**0.5, (ROWS, ROWS)),
    "atan2": (lambda x, y: torch.atan2(x, y) + torch.hypot(x, y), (ROWS, ROWS)),
    "solve": (lambda a, b: torch.linalg.solve(a + 3 * torch.eye(3, dtype=F64), b), (SQUARE, (3,))),
    "cholesky": (lambda a: torch.linalg.cholesky(a @ a.t() + torch.eye(3, dtype=F64)), (SQUARE,)),
    "logdet": (lambda a: torch.logdet(a @ a.t() + torch.eye(3, dtype=F64)), (SQUARE,)),
    "scan": (scanned, ((5,),)),
    "while": (newton, ((3,),)),
    "cond": (branched, ((3,),)),
    "custom rule": (lambda x: cubed(torch.sin(x)), (ROWS,)),
    "complex": (lambda x, y: torch.exp(torch.complex(x, y) ** 2).real, (ROWS, ROWS)),
    "a constant beside": (lambda x: (torch.sin(x), torch.ones(2, dtype=F64))[0], ((2,),)),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_jet_is_nested_forward_mode(name: str) -> None:
    function, shapes = PROGRAMS[name]
    primals = tuple(tensor(*shape, seed=i) for i, shape in enumerate(shapes))
    series = tuple([tensor(*shape, seed=10 * i + k) - 0.5 for k in range(3)] for i, shape in enumerate(shapes, 1))
    value, found = torch.compile(partial(jet, function))(primals, series)
    for got, expected in zip([value, *found], along_curve(function, primals, series), strict=True):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-9, atol=1e-11)


ELEMENTARY: dict[str, Function] = {
    "exp": mpmath.exp, "log": mpmath.log, "log1p": mpmath.log1p, "expm1": mpmath.expm1, "sqrt": mpmath.sqrt,
    "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "sinh": mpmath.sinh, "cosh": mpmath.cosh,
    "tanh": mpmath.tanh, "asin": mpmath.asin, "acos": mpmath.acos, "atan": mpmath.atan, "asinh": mpmath.asinh,
    "atanh": mpmath.atanh, "erf": mpmath.erf, "erfinv": mpmath.erfinv, "exp2": lambda x: 2**x,
    "log2": lambda x: mpmath.log(x, 2), "reciprocal": lambda x: 1 / x, "rsqrt": lambda x: 1 / mpmath.sqrt(x),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "x^2.5": lambda x: x**2.5, "x^x": lambda x: x**x,
    "x^7": lambda x: x**7,
}  # fmt: skip


@pytest.mark.parametrize("name", ELEMENTARY)
def test_twelve_orders_of_elementary_functions(name: str) -> None:
    order, point, exact = 12, 0.4, ELEMENTARY[name]
    x = torch.tensor(point, dtype=F64)
    value, terms = jet(getattr(torch, name, exact), (x,), ((torch.ones_like(x), *[torch.zeros_like(x)] * (order - 1)),))
    with mpmath.workdps(60):
        taylor = mpmath.taylor(exact, mpmath.mpf(point), order)
        expected = [float(c * mpmath.factorial(k)) for k, c in enumerate(taylor)]
    np.testing.assert_allclose([y.item() for y in (value, *terms)], expected, rtol=1e-11, atol=1e-11)


def test_the_cost_grows_with_the_square_of_the_order() -> None:
    def network(x: Any) -> Any:
        return torch.tanh(torch.sin(torch.tanh(x)) * x)

    def operations(order: int) -> int:
        x = torch.tensor(0.4, dtype=F64)
        program = torch.compile(lambda x, series: jet(network, (x,), (series,))[1])
        return count_ops(program.graph(x, [torch.ones_like(x)] * order)).total()

    assert operations(16) < 5 * operations(8)


def test_jets_compose_with_the_other_transformations() -> None:
    points = tensor(4)
    one, zero = torch.tensor(1.0, dtype=F64), torch.tensor(0.0, dtype=F64)

    def third(x: Any) -> Any:
        return jet(lambda x: x**2 * torch.exp(x), (x,), ((one, zero, zero),))[1][2]

    def exact(n: int) -> Any:
        return (points**2 + 2 * n * points + n * (n - 1)) * torch.exp(points)

    for transformed in (vmap(third), torch.compile(vmap(third))):
        torch.testing.assert_close(transformed(points), exact(3))
    torch.testing.assert_close(vmap(grad(third))(points), exact(4))
    inner = jet(lambda x: grad(torch.exp)(x), (one,), ((one, zero),))
    torch.testing.assert_close(inner[1][1], torch.exp(one))


def test_trees_integers_and_scaling() -> None:
    x, n = tensor(3), torch.tensor([1, 2, 3])
    value, terms = jet(
        lambda p, n: {"y": p["x"] ** 2 * n, "n": n},
        ({"x": x}, n),
        (({"x": x}, {"x": x}), (n, n)),
        factorial_scaled=False,
    )
    assert value["n"].tolist() == [1, 2, 3]
    assert [t.tolist() for t in terms["n"]] == [[0, 0, 0]] * 2
    torch.testing.assert_close(terms["y"][0], 2 * x * x * n)
    torch.testing.assert_close(terms["y"][1], 3 * x * x * n)


def test_series_that_do_not_fit_are_refused() -> None:
    x = tensor(3)
    with pytest.raises(ValueError, match="inconsistent lengths"):
        jet(torch.add, (x, x), ((x,), (x, x)))
    with pytest.raises(ValueError, match=r"order 2 has shape \[\], its primal \[3\]"):
        jet(torch.sin, (x,), ((x, x[0]),))
    with pytest.raises(ValueError, match="tuples of one length"):
        jet(torch.sin, (x,), ())
