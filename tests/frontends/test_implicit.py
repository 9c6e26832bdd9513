"""Implicit differentiation: roots, fixed points and matrix-free systems have the derivatives of what they solve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit import func, implicit

F = Callable[..., Any]
THETA = torch.tensor([0.7, 1.9, 3.2], dtype=torch.float64)
B = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
MATRIX = torch.tensor([[4.0, 1.0, 0.3], [0.5, 3.0, -1.0], [0.1, 0.2, 5.0]], dtype=torch.float64)


def close(left: Any, right: Any, bound: float = 1e-8) -> None:
    assert left.shape == right.shape and torch.allclose(left, right, rtol=bound, atol=bound), (left, right)


def equation(x: Any, theta: Any) -> Any:
    """Coupled, with one real root."""
    return x**3 + theta * x - torch.sin(theta) - 0.1 * x.sum()


def implied(theta: Any) -> Any:
    return torch.root(equation, torch.ones_like(theta), (theta,))


def unrolled(theta: Any) -> Any:
    x = torch.ones_like(theta)
    for _ in range(12):
        value, slope = equation(x, theta), torch.diag(3 * x**2 + theta) - 0.1
        x = x - torch.linalg.solve(slope, value)
    return x


def test_implicit_and_unrolled_newton_agree() -> None:
    close(implied(THETA), unrolled(THETA), 1e-12)
    jacobian = func.jacrev(unrolled)(THETA)
    for transformed in (func.jacrev(implied), func.jacfwd(implied), torch.compile(func.jacrev(implied))):
        close(transformed(THETA), jacobian)
    theta = THETA.clone().requires_grad_()
    close(torch.autograd.grad(implied(theta).sum(), theta)[0], jacobian.sum(0))
    second = func.hessian(lambda theta: (unrolled(theta) ** 2).sum())(THETA)
    close(torch.compile(func.hessian(lambda theta: (implied(theta) ** 2).sum()))(THETA), second)
    batch = torch.stack((THETA, THETA + 0.3))
    close(func.vmap(func.jacrev(implied))(batch), torch.stack([func.jacrev(unrolled)(row) for row in batch]))


def test_gradients_reach_what_the_function_closes_over() -> None:
    def closed(theta: Any) -> Any:
        return torch.root(lambda x: equation(x, theta), torch.ones_like(theta)).sum()

    close(func.grad(closed)(THETA), func.grad(lambda theta: unrolled(theta).sum())(THETA))
    third: F = closed
    wanted: F = lambda theta: unrolled(theta).sum()  # noqa: E731
    for _ in range(3):
        third, wanted = (func.grad(lambda theta, f=f: f(theta).sum()) for f in (third, wanted))
    close(third(THETA), wanted(THETA), 1e-7)


@pytest.mark.parametrize("solver", ["dense", "gmres", "bicgstab"])
def test_trees_and_chosen_solvers(solver: str) -> None:
    def both(x: Any, a: Any) -> Any:
        return {"u": x["u"] ** 2 - a * x["v"].sum(), "v": x["v"] * 3 - x["u"].sum()}

    def solve(product: F, b: Any) -> Any:
        found = getattr(implicit, solver)(product, b)
        return found if solver == "dense" else found[0]

    def answer(a: Any) -> Any:
        start = {"u": torch.full((2,), 2.0, dtype=a.dtype), "v": torch.ones(1, 3, dtype=a.dtype)}
        return torch.root(both, start, (a,), linear_solve=solve)["v"].sum()

    # u = 2 a and v = 4 a / 3 for both.
    a = torch.tensor(1.5, dtype=torch.float64)
    close(answer(a), 4 * a)
    close(torch.compile(func.grad(answer))(a), torch.tensor(4.0, dtype=torch.float64), 1e-4)


def test_fixed_points() -> None:
    def kepler(e: Any, mean: Any) -> Any:
        return torch.fixed_point(lambda x: mean + e * torch.sin(x), mean, tol=1e-13)

    e, mean = torch.tensor(0.3, dtype=torch.float64), torch.tensor(1.1, dtype=torch.float64)
    x = kepler(e, mean)
    close(x - e * torch.sin(x), mean, 1e-12)
    slope = 1 - e * torch.cos(x)
    first, second = torch.compile(func.grad(kepler, (0, 1)))(e, mean)
    close(first, torch.sin(x) / slope)
    close(second, 1 / slope)
    close(func.grad(func.grad(kepler, 1), 1)(e, mean), -e * torch.sin(x) / slope**3)
    eager = e.clone().requires_grad_()
    kepler(eager, mean).backward()
    close(eager.grad, first)


METHODS = {"cg": implicit.cg, "bicgstab": implicit.bicgstab, "gmres": implicit.gmres}


@pytest.mark.parametrize("name", METHODS)
def test_systems_without_a_matrix(name: str) -> None:
    method = METHODS[name]
    matrix = MATRIX @ MATRIX.T if name == "cg" else MATRIX

    def free(matrix: Any, b: Any) -> Any:
        x, _ = method(lambda x: matrix @ x, b, tol=1e-13)
        return (x**3).sum()

    def direct(matrix: Any, b: Any) -> Any:
        return (torch.linalg.solve(matrix, b) ** 3).sum()

    for place in (0, 1):
        wanted = func.grad(direct, place)(matrix, B)
        close(func.grad(free, place)(matrix, B), wanted)
        close(func.jacfwd(free, place)(matrix, B), wanted)
        close(torch.compile(func.grad(free, place))(matrix, B), wanted)
    close(torch.compile(func.hessian(free, 1))(matrix, B), func.hessian(direct, 1)(matrix, B), 1e-7)
    rows = torch.stack((B, B.flip(0)))
    found = func.vmap(lambda b: method(matrix, b, tol=1e-13)[0])(rows)
    close(found, torch.linalg.solve(matrix, rows.T).T)


def test_what_stops_an_iteration() -> None:
    size = 40
    matrix = torch.diag(torch.linspace(1.0, 9.0, size, dtype=torch.float64)) + 0.1
    b = torch.sin(torch.arange(size, dtype=torch.float64))
    wanted = torch.linalg.solve(matrix, b)
    for method in METHODS.values():
        x, info = method(matrix, b, tol=1e-10)
        assert int(info) == 0
        close(x, wanted)
        assert int(method(matrix, b, tol=1e-10, maxiter=1)[1]) == 1
        assert int(method(matrix, b, wanted, tol=1e-8, maxiter=0)[1]) == 0
        preconditioned, info = method(matrix, b, tol=1e-10, maxiter=9, M=lambda x: x / matrix.diagonal())
        assert int(info) == 0
        close(preconditioned, wanted)
    close(implicit.cg(matrix, b * 0)[0], b * 0)
    close(implicit.gmres(torch.eye(3), torch.ones(3), restart=3)[0], torch.ones(3), 1e-6)


def test_errors() -> None:
    with pytest.raises(RuntimeError, match="root: the function must give tensors like x0"):
        torch.root(lambda x: x[:2], THETA)
    with pytest.raises(RuntimeError, match="linear_solve: the product must have the types of b"):
        implicit.linear_solve(lambda x: x[:2], B)
    with pytest.raises(RuntimeError, match="writes to a tensor that it did not make"):
        torch.root(lambda x: MATRIX[0].mul_(x), THETA)
