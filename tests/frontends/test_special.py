"""Special functions of the namespace: values against closed forms, dtypes, derivatives, compiled, `out=`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch

special = torch.special


def test_known_values() -> None:
    x = torch.tensor([1.0, 2.0, 5.0, 0.5], dtype=torch.float64)
    expected = [0.0, 0.0, math.log(24), math.log(math.pi) / 2]
    np.testing.assert_allclose(torch.lgamma(x).numpy(), expected, rtol=1e-15, atol=1e-16)
    np.testing.assert_allclose(torch.digamma(x[:2]).numpy(), [-np.euler_gamma, 1 - np.euler_gamma], rtol=1e-15)
    np.testing.assert_allclose(torch.polygamma(1, x[0]).item(), math.pi**2 / 6, rtol=1e-15)
    np.testing.assert_allclose(special.zeta(2.0, x[0]).item(), math.pi**2 / 6, rtol=1e-15)
    np.testing.assert_allclose(torch.erfc(x).numpy(), [math.erfc(v) for v in x.tolist()], rtol=2e-15)
    np.testing.assert_allclose(torch.erfinv(torch.erf(x[3])).item(), 0.5, rtol=1e-15)
    np.testing.assert_allclose(special.ndtri(special.ndtr(x)).numpy(), x.numpy(), rtol=1e-9)
    both = sum(math.lgamma(2.5 - i / 2) for i in range(2)) + math.log(math.pi) / 2
    np.testing.assert_allclose(torch.mvlgamma(torch.tensor([2.5], dtype=torch.float64), 2).numpy(), [both], rtol=1e-14)


def test_integers_become_floats_and_halves_stay() -> None:
    assert torch.lgamma(torch.tensor([3, 4])).dtype is torch.float32
    for dtype in (torch.float16, torch.bfloat16):
        found = torch.erfc(torch.tensor([0.5, 2.0], dtype=dtype))
        assert found.dtype is dtype
        expected = torch.tensor([math.erfc(0.5), math.erfc(2.0)]).to(dtype)
        assert torch.equal(found, expected)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "erfc": torch.erfc, "erfinv": lambda x: torch.erfinv(x / 4), "lgamma": torch.lgamma, "digamma": torch.digamma,
    "polygamma": lambda x: torch.polygamma(1, x), "mvlgamma": lambda x: torch.mvlgamma(x + 1, 2), "i0": torch.i0,
    "i0e": special.i0e, "i1": special.i1, "i1e": special.i1e, "ndtr": special.ndtr, "log_ndtr": special.log_ndtr,
    "ndtri": lambda x: special.ndtri(x / 4), "erfcx": special.erfcx, "entr": special.entr,
    "xlog1py": lambda x: special.xlog1py(x, x * 2), "zeta": lambda x: special.zeta(3.0, x),
    "igamma": lambda x: torch.igamma(torch.tensor([2.5], dtype=torch.float64), x),
    "igammac": lambda x: torch.igammac(torch.tensor([0.5], dtype=torch.float64), x),
    "logaddexp2": lambda x: torch.logaddexp2(x, x * x),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_of_both_orders_are_slopes_and_compile(name: str) -> None:
    function = FUNCTIONS[name]
    start = np.array([0.3, 0.9, 1.7, 2.6])
    x = torch.tensor(start, requires_grad=True)
    value = function(x)
    (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    step = 1e-5
    sides = [torch.tensor(start + s * step, requires_grad=True) for s in (1, -1)]
    slopes = [torch.autograd.grad(function(side).sum(), side)[0].numpy() for side in sides]
    high, low = (function(side).detach().numpy() for side in sides)
    np.testing.assert_allclose(first.detach().numpy(), (high - low) / (2 * step), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(second.numpy(), (slopes[0] - slopes[1]) / (2 * step), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(torch.compile(function)(x.detach()).numpy(), value.detach().numpy(), rtol=1e-14)


def legendre(n: int, x: float) -> float:
    return float(np.polynomial.legendre.Legendre.basis(n)(x))


POLYNOMIALS: dict[str, Callable[[int, float], float]] = {
    "chebyshev_polynomial_t": lambda n, x: math.cos(n * math.acos(x)),
    "chebyshev_polynomial_u": lambda n, x: math.sin((n + 1) * math.acos(x)) / math.sin(math.acos(x)),
    "shifted_chebyshev_polynomial_t": lambda n, x: math.cos(n * math.acos(2 * x - 1)),
    "hermite_polynomial_h": lambda n, x: float(np.polynomial.hermite.Hermite.basis(n)(x)),
    "hermite_polynomial_he": lambda n, x: float(np.polynomial.hermite_e.HermiteE.basis(n)(x)),
    "laguerre_polynomial_l": lambda n, x: float(np.polynomial.laguerre.Laguerre.basis(n)(x)),
    "legendre_polynomial_p": legendre,
}


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_orthogonal_polynomials(name: str) -> None:
    """For a degree that varies by element, one that is a number, and one below 0."""
    function = getattr(special, name)
    x = torch.tensor([0.1, 0.3, 0.7], dtype=torch.float64)
    degrees = torch.tensor([[0], [1], [2], [5], [9]])
    expected = [[POLYNOMIALS[name](n, v) for v in x.tolist()] for (n,) in degrees.tolist()]
    np.testing.assert_allclose(function(x, degrees).numpy(), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(torch.compile(function)(x, degrees).numpy(), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(function(x, 5).numpy(), expected[3], rtol=1e-12, atol=1e-13)
    assert function(x, -1).tolist() == [0.0, 0.0, 0.0]
    assert function(torch.zeros(0, 3), 2).shape == (0, 3)


def test_methods_in_place_forms_and_out() -> None:
    x = torch.tensor([0.5, 1.5])
    expected = torch.lgamma(x)
    assert torch.equal(x.lgamma(), expected)
    out = torch.empty(2)
    assert special.gammaln(x, out=out) is out and torch.equal(out, expected)
    assert x.lgamma_() is x and torch.equal(x, expected)


def test_errors() -> None:
    with pytest.raises(RuntimeError, match=r"polygamma\(n, x\) does not support negative n\."):
        torch.polygamma(-1, torch.ones(2))
    with pytest.raises(RuntimeError, match="p has to be greater than or equal to 1"):
        torch.mvlgamma(torch.ones(2), 0)
    with pytest.raises(NotImplementedError, match="the derivative for 'zeta' is not implemented"):
        special.zeta(torch.ones(2, requires_grad=True), torch.ones(2))
