"""Quantiles, modes, covariances, histograms, slopes, and what numbers are made of: against NumPy and definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch

X = np.random.default_rng(1).normal(size=(4, 7))
Y = np.random.default_rng(2).normal(size=(4, 7))
NAN, INF = float("nan"), float("inf")


def f64(values: Any, **options: Any) -> Any:
    return torch.tensor(np.asarray(values, np.float64), **options)


# name -> (adjit, NumPy): of one operand, compiled too.
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], Any]]] = {
    "quantile": (lambda x: torch.quantile(x, 0.3, dim=1), lambda x: np.quantile(x, 0.3, axis=1)),
    "quantile of all": (lambda x: torch.quantile(x, 0.75), lambda x: np.quantile(x, 0.75)),
    "quantile, several": (
        lambda x: torch.quantile(x, f64([0.1, 0.5, 1.0]), dim=0, keepdim=True),
        lambda x: np.quantile(x, [0.1, 0.5, 1.0], axis=0, keepdims=True),
    ),
    **{
        f"quantile, {way}": (
            lambda x, way=way: torch.quantile(x, 0.4, dim=-1, interpolation=way),
            lambda x, way=way: np.quantile(x, 0.4, axis=-1, method=way),
        )
        for way in ("lower", "higher", "midpoint", "nearest")
    },
    "nanquantile": (lambda x: torch.nanquantile(x, 0.5, 1), lambda x: np.nanquantile(x, 0.5, 1)),
    "nanmedian": (lambda x: x.nanmedian(1)[0], lambda x: np.sort(x, 1)[:, (x.shape[1] - 1) // 2]),
    "cov": (torch.cov, np.cov),
    "cov of a row": (lambda x: torch.cov(x[0], correction=0), lambda x: np.cov(x[0], ddof=0)),
    "corrcoef": (torch.corrcoef, np.corrcoef),
    "gradient": (lambda x: torch.gradient(x)[1], lambda x: np.gradient(x)[1]),
    "gradient, exact edges": (
        lambda x: torch.gradient(x, spacing=0.5, dim=1, edge_order=2)[0],
        lambda x: np.gradient(x, 0.5, axis=1, edge_order=2),
    ),
    "gradient, coordinates": (
        lambda x: torch.gradient(x, spacing=(f64([0, 1, 3, 7, 8, 10, 15]),), dim=1, edge_order=2)[0],
        lambda x: np.gradient(x, [0, 1, 3, 7, 8, 10, 15], axis=1, edge_order=2),
    ),
    "cumulative_trapezoid": (
        lambda x: torch.cumulative_trapezoid(x, dx=2.0),
        lambda x: np.cumsum(x[:, 1:] + x[:, :-1], 1),
    ),
    "logcumsumexp": (lambda x: torch.logcumsumexp(x, 1), lambda x: np.log(np.cumsum(np.exp(x), 1))),
    "angle": (torch.angle, np.angle),
    "frexp": (lambda x: torch.frexp(x)[0], lambda x: np.frexp(x)[0]),
    "ldexp": (lambda x: torch.ldexp(x, torch.tensor(3)), lambda x: x * 8),
    "histc": (lambda x: torch.histc(x, 5, -1, 1), lambda x: np.histogram(x, 5, (-1, 1))[0]),
    "histogram": (lambda x: torch.histogram(x, 4)[0], lambda x: np.histogram(x, 4)[0]),
    "histogram's density": (
        lambda x: torch.histogram(x, f64([-2, -0.5, 0, 3]), density=True)[0],
        lambda x: np.histogram(x, [-2, -0.5, 0, 3], density=True)[0],
    ),
    "histogramdd": (
        lambda x: torch.histogramdd(x[:, :2], [3, 2])[0],
        lambda x: np.histogramdd(x[:, :2], [3, 2])[0],
    ),
}
CONSTANT = {"histc", "histogram", "histogram's density", "histogramdd", "angle"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_those_of_numpy(name: str) -> None:
    ours, theirs = FUNCTIONS[name]
    np.testing.assert_allclose(ours(f64(X)).numpy(), theirs(X), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(ours(f64(X.T.copy()).t()).numpy(), theirs(X), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(torch.compile(ours)(f64(X)).numpy(), theirs(X), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in CONSTANT])
def test_gradients_are_slopes(name: str) -> None:
    ours, _ = FUNCTIONS[name]
    x = f64(X, requires_grad=True)
    weights = f64(np.random.default_rng(3).normal(size=tuple(ours(x).shape)))
    (found,) = torch.autograd.grad((ours(x) * weights).sum(), x)
    step = 1e-6
    for place in [(0, 0), (1, 3), (3, 6)]:
        sides = []
        for sign in (1, -1):
            moved = X.copy()
            moved[place] += sign * step
            sides.append((ours(f64(moved)) * weights).sum().item())
        np.testing.assert_allclose(found.numpy()[place], (sides[0] - sides[1]) / (2 * step), rtol=1e-6, atol=1e-7)


def test_nan_in_quantiles() -> None:
    x = f64([[1.0, NAN, 3.0], [4.0, 5.0, 6.0], [NAN, NAN, NAN]])
    np.testing.assert_equal(torch.quantile(x, 0.5, dim=1).numpy(), [NAN, 5.0, NAN])
    np.testing.assert_equal(torch.nanquantile(x, 0.5, dim=1).numpy(), [2.0, 5.0, NAN])
    np.testing.assert_equal(x.nanmedian(1)[0].numpy(), [1.0, 5.0, NAN])
    assert x.nanmedian().item() == 4.0


def test_mode() -> None:
    found = torch.tensor([[3, 1, 3, 2, 1], [5, 4, 3, 2, 1]]).mode()
    assert found.values.tolist() == [1, 1]
    assert found.indices.tolist() == [4, 4]
    assert torch.tensor(7.0).mode().values.item() == 7.0
    with pytest.raises(IndexError, match=r"mode\(\): Expected reduction dim 0 to have non-zero size\."):
        torch.zeros(0, 3).mode(0)


def test_weights_of_covariances() -> None:
    counts, shares = np.array([1, 2, 1, 3, 1, 1, 2]), np.linspace(0.5, 2, 7)
    found = torch.cov(f64(X), fweights=torch.tensor(counts), aweights=f64(shares))
    np.testing.assert_allclose(found.numpy(), np.cov(X, fweights=counts, aweights=shares), rtol=1e-12)
    with pytest.raises(RuntimeError, match=r"cov\(\): fweights cannot be negative"):
        torch.cov(f64(X), fweights=torch.tensor([-1] * 7))


def test_frexp_and_nextafter_at_the_edges() -> None:
    for dtype in (np.float32, np.float64):
        tiny, most = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
        values = np.array([0.0, -0.0, 1.0, -3.5, tiny, -tiny * 3, most, INF, NAN, 0.5], dtype)
        mantissa, exponent = torch.frexp(torch.tensor(values))
        expected = np.frexp(values)
        np.testing.assert_equal(mantissa.numpy(), expected[0])
        np.testing.assert_equal(exponent.numpy(), expected[1])
        assert exponent.dtype is torch.int32
        for target in (0.0, 1.0, -INF, INF, NAN):
            found = torch.nextafter(torch.tensor(values), torch.tensor(np.array(target, dtype)))
            with np.errstate(all="ignore"):
                np.testing.assert_equal(found.numpy(), np.nextafter(values, dtype(target)))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_common_divisors(dtype: type) -> None:
    a = np.array([12, 0, 0, 7, 100, 36], dtype)
    b = np.array([18, 5, 0, 13, 75, 36], dtype)
    if dtype is not np.uint8:
        a, b = a * np.array([1, 1, 1, -1, 1, -1], dtype), b * np.array([-1, 1, 1, 1, 1, -1], dtype)
    for name, oracle in (("gcd", np.gcd), ("lcm", np.lcm)):
        found = getattr(torch, name)(torch.tensor(a), torch.tensor(b))
        np.testing.assert_array_equal(found.numpy(), oracle(a, b))
        compiled = torch.compile(getattr(torch, name))(torch.tensor(a), torch.tensor(b))
        np.testing.assert_array_equal(compiled.numpy(), oracle(a, b))
    with pytest.raises(NotImplementedError, match="\"gcd_cpu\" not implemented for 'Float'"):
        torch.gcd(torch.ones(1), torch.ones(1))


def test_real_tensors_are_their_own_conjugates() -> None:
    x = torch.ones(2)
    assert torch.conj(x) is x and torch.real(x) is x and x.resolve_conj() is x and x.real is x
    assert torch.isreal(x).tolist() == [True, True]
    with pytest.raises(RuntimeError, match="imag is not implemented for tensors"):
        torch.imag(x)
    assert torch.angle(torch.tensor([-1, 2])).tolist() == pytest.approx([math.pi, 0.0])


def test_logcumsumexp_far_apart() -> None:
    x = f64([-INF, -1000.0, 0.0, 1000.0], requires_grad=True)
    found = torch.logcumsumexp(x, 0)
    assert found.tolist() == [-INF, -1000.0, 0.0, 1000.0]
    found[1:].sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0.0, 1.0, 1.0, 1.0], atol=1e-300)


def test_edges_of_histograms() -> None:
    hist, edges = torch.histogram(f64([2.0, 2.0]), 2)
    assert hist.tolist() == [0.0, 2.0] and edges.tolist() == [1.5, 2.0, 2.5]
    assert torch.histc(torch.tensor([1.0, 2.0, 1.0]), 4, 0, 3).tolist() == [0.0, 2.0, 1.0, 0.0]
    assert torch.histc(torch.zeros(0), 3).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(RuntimeError, match=r"torch\.histc: max must be larger than min"):
        torch.histc(torch.ones(2), 3, 2, 1)


def test_errors_of_quantile() -> None:
    with pytest.raises(RuntimeError, match=r"quantile\(\) q must be in the range \[0, 1\] but got 2"):
        torch.quantile(torch.ones(2), 2)
    with pytest.raises(RuntimeError, match=r"quantile\(\) input tensor must be either float or double dtype"):
        torch.quantile(torch.ones(2, dtype=torch.int64), 0.5)
    with pytest.raises(RuntimeError, match=r"quantile\(\) q tensor must be same dtype as the input tensor"):
        torch.quantile(torch.ones(2), f64([0.5]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(3, 70001), (4, 2049), (2, 7, 129)], ids=str)
def test_means_of_halves_are_rounded_once(shape: tuple[int, ...], dtype: Any) -> None:
    """Sums and counts beyond them are in float32, for compiled functions of any sizes too."""
    x = torch.tensor(np.random.default_rng(3).uniform(0.5, 1.5, shape)).to(dtype)
    axes = tuple(range(1, len(shape)))
    exact = x.double().mean(axes).to(dtype)
    for function in (torch.mean, torch.compile(torch.mean), torch.compile(torch.mean, dynamic=True)):
        leaf = x.clone().requires_grad_()
        found = function(leaf, axes)
        found.sum().backward()
        assert found.dtype is leaf.grad.dtype is dtype
        assert (found - exact).abs().max() <= torch.finfo(dtype).eps / 2
        assert bool((leaf.grad == torch.tensor(1 / math.prod(shape[1:]), dtype=dtype)).all())


def test_open_sizes_are_halves_where_they_meet_halves() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.arange(5).to(dtype)
        assert torch.compile(lambda x: x * x.shape[0], dynamic=True)(x).tolist() == [0, 5, 10, 15, 20]


@pytest.mark.parametrize("recorded", [False, True])
def test_means_over_computed_sizes(recorded: bool) -> None:
    def centred(x: Any, w: Any) -> Any:
        made = torch.nn.functional.conv2d(x, w, padding=1)
        return torch.nn.functional.softmax(made - made.mean(), 1) * made.std()

    compiled = torch.compile(centred, dynamic=True)
    for count in (3, 5, 6):
        x, w = torch.randn(count, 2, 8, 8 + count), torch.randn(4, 2, 3, 3, requires_grad=recorded)
        torch.testing.assert_close(compiled(x, w), centred(x, w))
        if recorded:
            found = [torch.autograd.grad(run(x, w).square().sum(), w)[0] for run in (compiled, centred)]
            torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("offset", [0, 1, -1])
def test_diagonals_of_open_sizes(offset: int) -> None:
    compiled = torch.compile(lambda x: x.diagonal(offset).sum() + torch.diag(x)[0] * x.trace(), dynamic=True)
    for rows, columns in ((3, 3), (5, 2), (4, 6), (5, 5)):
        x = torch.randn(rows, columns, dtype=torch.float64)
        expected = np.diagonal(x.numpy(), offset).sum() + x[0, 0].item() * np.trace(x.numpy())
        assert compiled(x).item() == pytest.approx(expected, rel=1e-12)


def test_means_of_open_sizes_save_no_numbers() -> None:
    def means(x: Any) -> Any:
        x = x * 1
        mean = x.mean(0)
        x[0] = 1
        return x, mean

    compiled = torch.compile(means, dynamic=True)
    for count in (3, 4, 5):
        x = torch.randn(count, 3, requires_grad=True)
        gradients = [torch.autograd.grad(sum(y.sum() for y in run(x)), x)[0] for run in (means, compiled)]
        assert gradients[0].tolist() == gradients[1].tolist()
