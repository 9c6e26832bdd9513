"""Sparse derivatives: patterns hold every nonzero, colourings suffice, matrices equal the dense ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import func
from adjit.compiler.colouring import colour_columns, colour_symmetric, read_symmetric
from adjit.compiler.pattern import Pattern
from adjit.nn import functional

F = Callable[..., Any]
N = 12
X = torch.linspace(0.2, 1.7, N, dtype=torch.float64)
INDEX = torch.tensor([3, 0, 0, 7])
STENCIL = torch.diag(torch.full((N,), -2.0)) + torch.diag(torch.ones(N - 1), 1) + torch.diag(torch.ones(N - 1), -1)
STENCIL = STENCIL.double()
KERNEL = torch.tensor([[[1.0, -2.0, 1.0]]], dtype=torch.float64)


def tridiagonal(x: Any) -> Any:
    """Broyden's function."""
    y = (3 - 2 * x) * x + 1
    y[1:] -= x[:-1]
    y[:-1] -= 2 * x[1:]
    return y


def assigned(x: Any) -> Any:
    y = torch.zeros(N, dtype=x.dtype)
    y[2:6] = x[4:8] ** 2
    y[INDEX] += x[:4]
    return y


def stepped(x: Any) -> Any:
    return torch.fori_loop(0, 2, lambda i, y: y * torch.roll(y, 1, 0), x)


def custom(x: Any) -> Any:
    @torch.custom_vjp
    def f(x: Any) -> Any:
        return torch.sin(x[1:]) * 2

    f.defvjp(lambda x: (f(x), x), lambda x, g: (functional.pad(2 * g * torch.cos(x[1:]), (1, 0)),))
    return f(x)


# With the number of elements in the pattern, which is the least possible.
FUNCTIONS: dict[str, tuple[F, int]] = {
    "elementwise": (lambda x: torch.exp(x) * x + 1, N), "tridiagonal": (tridiagonal, 3 * N - 2),
    "reshaped": (lambda x: x.reshape(3, 4).T.flip(0) * x[:1], 2 * N - 1), "rows": (lambda x: x.reshape(3, 4).sum(1), N),
    "constant": (lambda x: torch.ones(5, dtype=x.dtype), 0), "detached": (lambda x: x.detach() * x[0], N),
    "gathered": (lambda x: x[INDEX] ** 2, 4), "assigned": (assigned, 8), "running": (lambda x: x.cumsum(0), 78),
    "sorted": (lambda x: x.reshape(4, 3).sort(1).values, 36), "stencil": (lambda x: STENCIL @ x, 3 * N - 2),
    "from the right": (lambda x: x.reshape(3, 4) @ STENCIL[:4, :4], 30),
    "matrix": (lambda x: STENCIL[:, :4] @ x[:4], 11), "convolution": (
        lambda x: functional.conv1d(x.reshape(1, 1, N), KERNEL), 30),
    "batched": (lambda x: torch.bmm(x.reshape(3, 2, 2), x.reshape(3, 2, 2)), 36),
    "masked": (lambda x: torch.where(x > 1, x * x[0], 0), 2 * N - 1), "loop": (stepped, 3 * N),
    "joined": (lambda x: torch.cat([x[:2], x[6:7], x * x]), N + 3), "custom": (custom, N - 1),
    "branch": (lambda x: torch.cond(x[0] > 0, lambda x: x * 2, lambda x: x.flip(0), (x,)), 2 * N),
    "scan": (lambda x: torch.scan(lambda c, v: (c + v, c * v), x[0] * 0, x)[1], 78),
    "while": (lambda x: torch.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y.sin()), (0, x))[1], N),
    "solved": (lambda x: torch.linalg.solve(x.reshape(3, 2, 2), torch.ones(3, 2, dtype=x.dtype)), 24),
    "root": (lambda x: torch.root(lambda y: y**3 + y - x[:3], x[:3] * 0), 9),
    "softmax": (lambda x: torch.softmax(x.reshape(4, 3), 1), 36), "mapped": (lambda x: torch.map(torch.sin, x), N),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_pattern_holds_and_the_matrix_is_exact(name: str) -> None:
    function, count = FUNCTIONS[name]
    wanted = func.jacrev(function)(X).reshape(-1, N)
    pattern = torch.sparsity(function, X)
    assert pattern.nnz == count and pattern.shape == tuple(wanted.shape)
    assert not bool(((wanted != 0) & ~pattern.to_dense()).any())
    for mode in ("forward", "reverse"):
        found = torch.sparse_jacobian(function, mode=mode)(X)
        np.testing.assert_allclose(found.toarray(), wanted.detach().numpy(), rtol=1e-12, atol=1e-12)


SCALARS: dict[str, F] = {
    "separable": lambda x: (torch.sin(x) * x).sum(), "chain": lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2).sum(),
    "arrow": lambda x: (x[0] * torch.exp(x)).sum(), "blocks": lambda x: x.reshape(4, 3).prod(1).log().sum(),
    "linear": lambda x: (x * X).sum(), "full": lambda x: x.sum() ** 3, "two steps": lambda x: (x[2:] * x[:-2]).sum(),
}  # fmt: skip


@pytest.mark.parametrize("name", SCALARS)
def test_hessians(name: str) -> None:
    function = SCALARS[name]
    found = torch.sparse_hessian(function)(X)
    np.testing.assert_allclose(found.toarray(), func.hessian(function)(X).numpy(), rtol=1e-10, atol=1e-10)


def test_ten_thousand_unknowns() -> None:
    size = 10_000
    x = torch.linspace(-1, 1, size, dtype=torch.float64)
    calls = []

    def counted(x: Any) -> Any:
        calls.append(x)
        return tridiagonal(x)

    jacobian = torch.sparse_jacobian(counted)
    found = jacobian(x)
    first = len(calls)
    for _ in range(3):
        found = jacobian(x)
    assert 0 < first == len(calls)  # what later calls run is compiled
    data = found.data if isinstance(found.data, np.ndarray) else found.data.numpy()
    columns = np.asarray(found.indices)
    rows = np.repeat(np.arange(size), np.diff(np.asarray(found.indptr)))
    wanted = np.select([rows == columns, rows == columns + 1], [3 - 4 * x.numpy()[rows], -1.0], -2.0)
    assert len(data) == 3 * size - 2
    np.testing.assert_allclose(data, wanted, rtol=1e-15)
    pattern = Pattern(np.asarray(found.indptr, np.int64), columns.astype(np.int64), size)
    assert colour_columns(pattern).max() == 2 and colour_symmetric(pattern).max() <= 2


@pytest.mark.parametrize("seed", range(8))
def test_colourings_of_random_patterns(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, columns = random.integers(0, 30, (2, 60))
    pattern = Pattern.of_pairs(rows, columns, 30, 30)
    colours = colour_columns(pattern)
    i, j = pattern.pairs()
    assert len(set(zip(i.tolist(), colours[j].tolist(), strict=True))) == pattern.count
    symmetric = pattern.symmetric()
    colours = colour_symmetric(symmetric)
    matrix = np.zeros((30, 30))
    i, j = symmetric.pairs()
    matrix[i, j] = random.standard_normal(symmetric.count)
    matrix = matrix + matrix.T
    products = matrix @ (colours[:, None] == np.arange(colours.max() + 1))
    places = read_symmetric(symmetric, colours)
    np.testing.assert_allclose(products[places], matrix[i, j], atol=1e-12)


def test_an_arrow_takes_two_products() -> None:
    size = 200
    ends = np.arange(size)
    pattern = Pattern.of_pairs(np.r_[ends, ends], np.r_[ends, ends * 0], size, size).symmetric()
    assert colour_symmetric(pattern).max() == 1


def test_indices_may_change() -> None:
    places = torch.tensor([0, 1])
    jacobian = torch.sparse_jacobian(lambda x: x[places] ** 2)
    assert jacobian(X).indices.tolist() == [0, 1]
    places[1] = 5
    assert jacobian(X).indices.tolist() == [0, 5]
    given = torch.sparse_jacobian(lambda x, at: x[at] ** 2)
    assert given(X, torch.tensor([4, 2])).indices.tolist() == [4, 2]
    assert given(X, torch.tensor([1, 1])).indices.tolist() == [1, 1]


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adjit.sparse_derivatives.find_spec", lambda name: None)
    found = torch.sparse_jacobian(tridiagonal)(X)
    assert isinstance(found, torch.CSR)
    np.testing.assert_allclose(found.toarray(), func.jacrev(tridiagonal)(X).numpy())


def test_inside_a_program() -> None:
    def residual(x: Any) -> Any:
        found = torch.sparse_jacobian(tridiagonal)(x)
        return found.data.sum()

    assert float(torch.compile(residual)(X)) == pytest.approx(float(func.jacrev(tridiagonal)(X).sum()))
    with pytest.raises(TypeError, match="must have a floating tensor"):
        torch.sparsity(lambda x: x, torch.arange(3))
    with pytest.raises(TypeError, match="must return tensors, not 1"):
        torch.sparsity(lambda x: (x, 1), X)


def test_trees() -> None:
    """One matrix for all leaves of arguments and results, in their order."""
    given = {"a": X[:4], "b": (X[4:8].reshape(2, 2), X[8:9].float())}

    def function(tree: Any, scale: Any) -> Any:
        a, (b, c) = tree["a"], tree["b"]
        return [a[1:] * a[:-1] * scale, {"again": b.sum(1), "rest": c * b[0]}]

    def flat(x: Any, scale: Any) -> Any:
        tree = {"a": x[:4], "b": (x[4:8].reshape(2, 2), x[8:])}
        first, rest = function(tree, scale)
        return torch.cat([first, rest["again"], rest["rest"]])

    wanted = func.jacrev(flat)(X[:9], X[3])
    for mode in ("forward", "reverse"):
        found = torch.sparse_jacobian(function, mode=mode)(given, X[3])
        np.testing.assert_allclose(found.toarray(), wanted.numpy(), rtol=1e-6, atol=1e-12)
    both = torch.sparse_jacobian(function, argnums=(0, 1))(given, X[3])
    last = func.jacrev(flat, argnums=1)(X[:9], X[3])
    np.testing.assert_allclose(both.toarray(), torch.cat([wanted, last[:, None]], 1).numpy(), rtol=1e-6, atol=1e-12)
    assert torch.sparsity(function, given, X[3]).nnz == 6 + 4 + 4

    def energy(tree: Any) -> Any:
        a, (b, c) = tree["a"], tree["b"]
        return (a**3).sum() + (b * a.reshape(2, 2)).sum() + c.double().sum() ** 2

    def flat_energy(x: Any) -> Any:
        return energy({"a": x[:4], "b": (x[4:8].reshape(2, 2), x[8:])})

    hessian = torch.sparse_hessian(energy)(given)
    np.testing.assert_allclose(hessian.toarray(), func.hessian(flat_energy)(X[:9]).numpy(), rtol=1e-6, atol=1e-12)
