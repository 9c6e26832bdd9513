"""Points where a naive gradient is NaN: masked branches, norms at 0, constant samples, logarithms of nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

import adjit as torch
from adjit.nn import functional as F

Function = Callable[[torch.Tensor], torch.Tensor]


def T(*values: float) -> torch.Tensor:
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


Z = T(0.0, 0.0, 0.0)
# The function, the point, and the gradient of the sum of its results; None where only finiteness is asked.
CASES: dict[str, tuple[Function, torch.Tensor, list[float] | None]] = {
    "where sqrt": (lambda x: torch.where(x > 0, x.sqrt(), 0 * x), T(0.0, 4.0), [0, 0.25]),
    "where log": (lambda x: torch.where(x > 0, x.log(), 0.0), T(0.0, 2.0), [0, 0.5]),
    "where 1/x": (lambda x: torch.where(x != 0, 1 / x, 0.0), T(0.0, 2.0), [0, -0.25]),
    "where x/x": (lambda x: torch.where(x != 0, torch.sin(x) / x, 1.0), T(0.0, 1.0), [0, math.cos(1) - math.sin(1)]),
    "where exp overflow": (lambda x: torch.where(x < 10, x.exp(), x), T(0.0, 1000.0), [1, 1]),
    "where pow": (lambda x: torch.where(x > 0, x**0.5, 0.0), T(0.0, 4.0), [0, 0.25]),
    "where atan2": (lambda x: torch.where(x > 0, torch.atan2(x, x - x), 0.0), T(0.0, 1.0), [0, 0]),
    "where acos": (lambda x: torch.where(x.abs() < 1, torch.acos(x), 0.0), T(1.0, 0.0), [0, -1]),
    "where asin": (lambda x: torch.where(x.abs() < 1, torch.asin(x), 0.0), T(-1.0, 0.0), [0, 1]),
    "where log1p": (lambda x: torch.where(x > -1, torch.log1p(x), 0.0), T(-1.0, 0.0), [0, 1]),
    "where rsqrt": (lambda x: torch.where(x > 0, x.rsqrt(), 0.0), T(0.0, 4.0), [0, -1 / 16]),
    "where tan": (lambda x: torch.where(x < 1, torch.tan(x), 0.0), T(0.0, math.pi / 2), [1, 0]),
    "norm 0": (lambda x: x.norm(), Z, [0, 0, 0]),
    "norm rows": (lambda x: x.norm(dim=0), Z, [0, 0, 0]),
    "norm p1": (lambda x: x.norm(1), Z, [0, 0, 0]),
    "norm p3": (lambda x: x.norm(3), Z, [0, 0, 0]),
    "linalg norm": (lambda x: torch.linalg.vector_norm(x), Z, [0, 0, 0]),
    "std const": (lambda x: x.std(), T(1.0, 1.0, 1.0), [0, 0, 0]),
    "std unbiased": (lambda x: x.std(correction=0), T(2.0, 2.0, 2.0), [0, 0, 0]),
    "atan2 00": (lambda x: torch.atan2(x, x), T(0.0, 1.0), [0, 0]),
    "hypot 0": (lambda x: torch.hypot(x, x * 0), T(0.0, 1.0), [0, 1]),
    "logsumexp -inf": (lambda x: torch.logsumexp(x, 0), T(-math.inf, -math.inf), [0, 0]),
    "logsumexp part": (lambda x: torch.logsumexp(x, 0), T(-math.inf, 0.0), [0, 1]),
    "xlogy 0": (lambda x: torch.xlogy(x, x), T(0.0, 1.0), None),
    "masked softmax": (
        lambda x: torch.where(torch.isfinite(x), torch.softmax(x, 0), 0.0) * x.nan_to_num(),
        T(-math.inf, 0.0, 1.0),
        None,
    ),
    "abs 0": (lambda x: x.abs(), T(0.0, -1.0), [0, -1]),
    "pow 0 0": (lambda x: x**0, T(0.0, 1.0), [0, 0]),
    "0**y": (lambda x: T(0.0) ** x, T(2.0, 1.0), [0, 0]),
    "normalize": (lambda x: F.normalize(x, dim=0), Z, None),
    "cosine sim": (lambda x: F.cosine_similarity(x, x, dim=0), Z, None),
    "pairwise": (lambda x: F.pairwise_distance(x[None], x[None] * 1), Z, None),
    "cdist": (lambda x: torch.cdist(x[None], x[None]), Z, [0, 0, 0]),
    "entropy": (lambda x: -(x * torch.where(x > 0, x.log(), 0.0)).sum(), T(0.0, 1.0), [0, -1]),
    "clamp log": (lambda x: x.clamp(min=1e-12).log(), T(0.0, 1.0), [0, 1]),
    "sinc": (lambda x: torch.sinc(x), T(0.0, 1.0), [0, -1]),
    "softplus big": (lambda x: F.softplus(x), T(1000.0, -1000.0), [1, 0]),
    "logaddexp inf": (lambda x: torch.logaddexp(x, x), T(-math.inf, 1.0), None),
    "prod zeros": (lambda x: x.prod(), T(0.0, 0.0, 3.0), [0, 0, 0]),
    "var one": (lambda x: x.var(correction=0), T(3.0, 3.0), [0, 0]),
}


def gradient(function: Function, x: torch.Tensor) -> torch.Tensor:
    leaf = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(function(leaf).sum(), leaf)
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_finite_and_right(name: str) -> None:
    function, x, expected = CASES[name]
    found = gradient(function, x)
    assert torch.isfinite(found).all()
    if expected is not None:
        assert torch.allclose(found, T(*expected))
    assert torch.allclose(gradient(torch.compile(function), x), found)


@pytest.mark.parametrize("name", ["logaddexp", "logaddexp2"])
def test_second_derivatives_of_equal_operands(name: str) -> None:
    """log(e^x + e^y)'' is s*(1 - s) = 1/4 where x = y; at equal infinities it is 0, not NaN."""
    x = T(1.0, -math.inf, math.inf).requires_grad_()
    y = T(1.0, -math.inf, math.inf)
    (first,) = torch.autograd.grad(getattr(torch, name)(x, y).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    scale = math.log(2) if name == "logaddexp2" else 1.0
    torch.testing.assert_close(first.detach(), torch.full_like(first, 0.5))
    torch.testing.assert_close(second, T(scale / 4, 0.0, 0.0))


@pytest.mark.parametrize("compiled", [False, True])
def test_the_exponent_of_an_infinite_or_negative_base_has_no_gradient(compiled: bool) -> None:
    """out*log(x) as PyTorch multiplies it, 0*inf and the logarithm of a negative number included."""

    def power(y: torch.Tensor) -> torch.Tensor:
        return T(math.inf, -math.inf, -2.0, -0.5, 0.0, 0.0, math.inf, 2.0) ** y

    y = T(-2.0, -1.0, -math.inf, math.inf, 2.0, -1.0, 2.0, -math.inf)
    found = gradient(torch.compile(power) if compiled else power, y)
    assert str(found.tolist()) == "[nan, nan, nan, nan, 0.0, -inf, inf, 0.0]"
    masked = gradient(lambda y: torch.where(y < 0, 0.0, power(y)), y)
    assert masked.tolist()[:3] == [0, 0, 0]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("delta", [math.inf, 1e30, 1.0, 0.3])
def test_huber_loss_of_infinite_bounds_and_differences(delta: float, compiled: bool) -> None:
    def loss(x: torch.Tensor, delta: float) -> torch.Tensor:
        return F.huber_loss(x, torch.zeros_like(x), delta=delta, reduction="none")

    function = torch.compile(loss) if compiled else loss
    for warmed in (0.7, 0.8, 0.9, 1.1, 1.2) if compiled else ():
        function(T(1.0, 2.0), warmed)
    x = T(0.25, -0.5, 2.0, 0.0, -3.0)
    plain = [d * d / 2 if abs(d) < delta else delta * (abs(d) - delta / 2) for d in x.tolist()]
    assert function(x, delta).tolist() == plain
    found = gradient(lambda x: function(x, delta), x)
    assert found.tolist() == [max(-delta, min(delta, d)) for d in x.tolist()]
    if delta < math.inf:
        far = T(math.inf, -math.inf)
        assert function(far, delta).tolist() == [math.inf, math.inf]
        assert gradient(lambda x: function(x, delta), far).tolist() == [delta, -delta]
