"""`torch.linalg`: values by definition, gradients by differences, PyTorch's errors, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch

RANDOM = np.random.default_rng(5)
GENERAL = RANDOM.standard_normal((2, 3, 3)) + 3 * np.eye(3)
SYMMETRIC = GENERAL @ np.swapaxes(GENERAL, -1, -2)
TALL = RANDOM.standard_normal((4, 3))
linalg = torch.linalg

FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "inv": (linalg.inv, GENERAL), "det": (linalg.det, GENERAL), "slogdet": (lambda a: linalg.slogdet(a)[1], GENERAL),
    "logdet": (torch.logdet, SYMMETRIC), "solve": (lambda a: linalg.solve(a, a.mT.sin()), GENERAL),
    "solve left": (lambda a: linalg.solve(a, a.sin(), left=False), GENERAL),
    "cholesky": (lambda a: linalg.cholesky((a + a.mT) / 2), SYMMETRIC),
    "eigvalsh": (lambda a: linalg.eigvalsh((a + a.mT) / 2), SYMMETRIC),
    "svdvals": (linalg.svdvals, TALL), "pinv": (linalg.pinv, TALL), "nuc": (lambda a: linalg.norm(a, "nuc"), TALL),
    "qr": (lambda a: linalg.qr(a)[0] @ linalg.qr(a)[1].tanh(), TALL), "exp": (linalg.matrix_exp, GENERAL / 4),
    "power": (lambda a: linalg.matrix_power(a, -2), GENERAL), "lu": (lambda a: linalg.lu(a)[2], GENERAL),
    "lstsq": (lambda a: linalg.lstsq(a, a[:, :2].cos())[0], TALL), "cond": (linalg.cond, GENERAL),
    "cdist": (lambda a: torch.cdist(a, a.sin()), TALL), "cov": (torch.cov, TALL),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_agree_with_differences_and_compiled(name: str) -> None:
    function, array = FUNCTIONS[name]
    step = RANDOM.standard_normal(array.shape)

    def scalar(a: Any) -> Any:
        return function(a).sin().sum()

    def slope(a: Any) -> Any:
        (g,) = torch.autograd.grad(scalar(a), a, create_graph=True)
        return (g * torch.from_numpy(step)).sum()

    for first, order in ((scalar, 1), (slope, 2)):
        x = torch.tensor(array, requires_grad=True)
        (found,) = torch.autograd.grad(first(x), x)
        high, low = (
            first(torch.tensor(array + sign * 1e-6 * step, requires_grad=True)).item() for sign in (1, -1)
        )
        wanted = (high - low) / 2e-6
        assert float((found.numpy() * step).sum()) == pytest.approx(wanted, rel=2e-4, abs=1e-5), order

    def trained(a: Any) -> Any:
        a = a.detach().requires_grad_()
        return torch.autograd.grad(scalar(a), a)[0]

    np.testing.assert_allclose(
        torch.compile(trained)(torch.tensor(array)).numpy(), trained(torch.tensor(array)).numpy(), rtol=1e-9, atol=1e-12
    )


def test_the_determinants_derivative_is_the_cofactors_also_where_singular() -> None:
    a = torch.tensor([[1.0, 2], [2, 4]], dtype=torch.float64, requires_grad=True)
    linalg.det(a).backward()
    np.testing.assert_allclose(a.grad.numpy(), [[4, -2], [-2, 1]], rtol=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["f", "c"])
def test_the_determinants_second_derivative_is_right_at_every_rank(rank: int, kind: str) -> None:
    random = np.random.default_rng(rank)
    imaginary = 1j if kind == "c" else 0
    left, right, g, step = (random.normal(size=(3, 3)) + imaginary * random.normal(size=(3, 3)) for _ in range(4))
    array = left[:, :rank] @ right[:rank]
    a = torch.tensor(array, requires_grad=True)
    (first,) = torch.autograd.grad(linalg.det(a), a, torch.ones_like(linalg.det(a)), create_graph=True)
    (second,) = torch.autograd.grad(first, a, torch.tensor(g))

    def cofactors(matrix: Any) -> Any:
        rows = [matrix[[1, 2, 0]], matrix[[2, 0, 1]]]
        return np.stack([np.cross(first, second) for first, second in zip(*rows, strict=True)])

    # They are polynomials of degree 2: a central difference of any step is exact.
    moved = (np.conj(cofactors(array + step)) - np.conj(cofactors(array - step))) / 2
    left, right = (np.sum(np.conj(x) * y).real for x, y in ((g, moved), (second.numpy(), step)))
    assert left == pytest.approx(right, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linalg.inv(torch.diag(torch.tensor([1.0, 0]))), "linalg.inv: The diagonal element 2 is zero, the inv"),
        (lambda: linalg.cholesky(-torch.eye(2)), "linalg.cholesky: The factorization could not be completed because"),
        (lambda: linalg.solve(torch.zeros(2, 2), torch.ones(2)), "torch.linalg.solve: The solver failed because the"),
    ],
)
def test_what_cannot_be_solved_is_named(call: Callable[[], Any], message: str) -> None:
    for way in (call, torch.compile(call)):
        with pytest.raises(linalg.LinAlgError) as caught:
            way()
        assert str(caught.value).startswith(message)


def test_blocks_products_and_combinations() -> None:
    assert torch.block_diag(torch.tensor([[1, 2]]), torch.tensor(3)).tolist() == [[1, 2, 0], [0, 0, 3]]
    assert torch.cartesian_prod(torch.tensor([1, 2]), torch.tensor([3, 4])).tolist() == [[1, 3], [1, 4], [2, 3], [2, 4]]
    assert torch.combinations(torch.tensor([1, 2, 3])).tolist() == [[1, 2], [1, 3], [2, 3]]
    assert torch.renorm(torch.tensor([[3.0, 4], [0.3, 0.4]]), 2, 0, 1).numpy() == pytest.approx(
        np.array([[0.6, 0.8], [0.3, 0.4]])
    )


@pytest.mark.parametrize("largest", [True, False])
def test_lobpcg_finds_extreme_values_with_gradients(largest: bool) -> None:
    random = np.random.default_rng(1)
    g, h = random.standard_normal((2, 2, 12, 12))
    a = torch.tensor(g + np.swapaxes(g, -1, -2), requires_grad=True)
    b = torch.tensor(h @ np.swapaxes(h, -1, -2) + np.eye(12))
    values, vectors = torch.lobpcg(a, k=2, B=b, n=3, largest=largest, tol=1e-12)
    factor = linalg.inv(linalg.cholesky(b))
    wanted = linalg.eigvalsh(factor @ a @ factor.mT)
    wanted = wanted.flip(-1)[..., :2] if largest else wanted[..., :2]
    assert torch.allclose(values, wanted, rtol=1e-6)
    assert torch.allclose(a @ vectors, b @ vectors * values.unsqueeze(-2), atol=1e-5)
    mine, theirs = (torch.autograd.grad(x.sum(), a)[0] for x in (values, wanted))
    assert torch.allclose(mine, (theirs + theirs.mT) / 2, atol=1e-4)
    with pytest.raises(ValueError, match="LPBPCG algorithm is not applicable when the number of A rows"):
        torch.lobpcg(a, k=5)
    with pytest.raises(RuntimeError, match=r"^This function was deprecated since version 1\.9"):
        torch.symeig(a)


def test_ranks_of_least_squares_are_those_of_the_matrices_given() -> None:
    matrices, right = torch.arange(9.0).reshape(1, 3, 3), torch.ones(2, 3, 3)
    found = torch.linalg.lstsq(matrices, right, driver="gelsd")
    assert found.solution.shape == (2, 3, 3)
    assert found.rank.tolist() == [2]
    assert found.singular_values.shape == (1, 3)


@pytest.mark.parametrize("side", (2, 3))
@pytest.mark.parametrize("dtype", (torch.float64, torch.complex128))
def test_determinants_of_few_rows_are_polynomials(side: int, dtype: torch.dtype) -> None:
    """Also where they are singular, whatever the derivative; nothing is factored."""
    a = torch.tensor(np.random.default_rng(side).standard_normal((4, side, side)), dtype=dtype)
    a[1] = 0
    a[2, 1] = 2 * a[2, 0]
    a.requires_grad_()
    found = torch.compile(torch.linalg.det)
    np.testing.assert_allclose(found(a).detach().numpy(), np.linalg.det(a.detach().numpy()), atol=1e-14)
    assert "lu" not in str(found.graph(a))
    assert torch.autograd.gradcheck(torch.linalg.det, (a,))
    assert torch.autograd.gradgradcheck(torch.linalg.det, (a,))


@pytest.mark.parametrize("p", (0.0, 1.0, 2.0, 3.0, float("inf")))
@pytest.mark.parametrize("width", (1, 3, 32, 33))
def test_distances_of_points_with_few_and_many_coordinates(width: int, p: float) -> None:
    random = np.random.default_rng(width)
    x, y = random.standard_normal((2, 7, width)), random.standard_normal((2, 19, width))
    expected = np.linalg.norm((x[:, :, None] - y[:, None]).reshape(-1, width), p, -1).reshape(2, 7, 19)
    a, b = torch.tensor(x, requires_grad=True), torch.tensor(y, requires_grad=True)
    compiled = torch.compile(torch.cdist)
    for function in (torch.cdist, compiled):
        np.testing.assert_allclose(function(a, b, p).detach().numpy(), expected, rtol=1e-13)
    np.testing.assert_allclose(compiled(a.float(), b.float(), p).detach().numpy(), expected, rtol=2e-5)
    if p:
        few = [side.detach()[0, :2].requires_grad_() for side in (a, b)]
        assert torch.autograd.gradcheck(lambda a, b: torch.cdist(a, b, p), few)
