"""Numbers of compiled functions that adjit's own functions look at: one program for all with the same answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.native import install
from adjit.runtime import layout
from tests.frontends.natively import refuse

install.install()
native = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
F = torch.nn.functional

FUNCTIONS: dict[str, Callable[[Any, float], Any]] = {
    "huber": lambda x, n: F.huber_loss(x, x.detach() * 2, delta=n),
    "smooth_l1": lambda x, n: F.smooth_l1_loss(x, x.detach() * 2, beta=n),
    "softshrink": lambda x, n: F.softshrink(x, n),
    "hardtanh": lambda x, n: F.hardtanh(x, -0.25, n),
    "leaky_relu": lambda x, n: F.leaky_relu(x, n),
    "norm": lambda x, n: x.norm(1 + n),
    "power of a norm": lambda x, n: x.norm(n),
    "layer_norm": lambda x, n: F.layer_norm(x, (5,), eps=n),
    "smoothing": lambda x, n: F.cross_entropy(x[None], torch.tensor([1]), label_smoothing=n / 4),
    "addmm": lambda x, n: torch.addmm(x[None], x[None, :2], x[None, :2].T @ x[None], beta=n, alpha=n),
    "power": lambda x, n: x.abs() ** n,
    "closed": lambda x, n: F.huber_loss(x, x.detach() + n, delta=n) * n,
}
DERIVED = ("norm", "smoothing")  # these ask for what they computed: that is not known
# Its derivative takes the power less 1 before that is rounded.
POWER = "power of a norm", True, torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_program_serves_numbers_with_the_same_answers(name: str, recorded: bool, dtype: Any) -> None:
    function = FUNCTIONS[name]
    compiled = torch.compile(function)
    for n in range(12):
        number = 1.1 + n / 16
        results = []
        for each in (compiled, function):
            x = torch.tensor([-2.0, -0.3, 0.0, 0.7, 3.0], dtype=dtype, requires_grad=recorded)
            result = each(x, number)
            if recorded:
                result.sum().backward()
            results.append([result.detach().numpy(), x.grad.numpy() if recorded else 0])
        for one, other in zip(*results, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5 if dtype is torch.float32 else 1e-12)
    assert compiled.compile_count <= 2 or name in DERIVED or (name, recorded, dtype) == POWER


def test_other_answers_are_other_programs() -> None:
    x = torch.tensor([-2.0, -0.3, 0.0, 0.7, 3.0])
    smooth = torch.compile(lambda x, n: F.smooth_l1_loss(x, x * 2, beta=n))
    norm = torch.compile(lambda x, p: x.norm(p))
    drop = torch.compile(lambda x, p: F.dropout(x, p))
    for _ in range(3):
        for number in (0.5, 0.25, 1.0, 0.0, 1e-3, -0.0, 2.0):
            assert smooth(x, number).item() == pytest.approx(F.smooth_l1_loss(x, x * 2, beta=number).item(), rel=1e-6)
        for p in (2.0, 1.5, 1.0, 0.0, math.inf, -math.inf, 3.0, 2.5):
            assert norm(x, p).item() == pytest.approx(x.norm(p).item(), rel=1e-6)
        for p in (0.5, 0.25, 1.0, 0.0, 0.75):
            assert drop(torch.ones(64), p).count_nonzero().item() in ((0,) if p == 1 else (64,) if not p else range(65))
        for bad in (-0.5, math.nan):
            with pytest.raises(RuntimeError, match="smooth_l1_loss does not support negative values for beta"):
                smooth(x, bad)
        with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
            drop(x, 1.5)
    assert smooth.compile_count <= 6 and drop.compile_count <= 6


@native
def test_native_calls_take_numbers_within_their_bounds() -> None:
    x = torch.tensor([-2.0, -0.3, 0.0, 0.7, 3.0])
    smooth = torch.compile(lambda x, n: F.smooth_l1_loss(x, x * 2, beta=n))
    for n in range(60):
        smooth(x, 0.5 + n / 64)
    served, smooth.served = smooth.served, refuse
    for number in (1e-6, 0.3, 7.0, 1e10):
        assert smooth(x, number).item() == pytest.approx(F.smooth_l1_loss(x, x * 2, beta=number).item(), rel=1e-6)
    smooth.served = served
    assert smooth(x, 0.0).item() == pytest.approx(x.abs().mean().item())
    with pytest.raises(RuntimeError, match="smooth_l1_loss does not support negative values for beta"):
        smooth(x, -1.0)
    with pytest.raises(RuntimeError, match="smooth_l1_loss does not support negative values for beta"):
        smooth(x, math.nan)


def test_numbers_in_attributes_are_asked_at_every_call() -> None:
    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.beta = 0.5

        def forward(self, x: Any) -> Any:
            return F.smooth_l1_loss(x, x * 2, beta=self.beta)

    loss, x = Loss(), torch.tensor([-2.0, -0.3, 0.0, 0.7, 3.0])
    compiled = torch.compile(loss)
    for number in [*(0.5 + n / 16 for n in range(40)), 0.0, 3.0, 1e-3, 0.0]:
        loss.beta = number
        assert compiled(x).item() == pytest.approx(F.smooth_l1_loss(x, x * 2, beta=number).item(), rel=1e-6)
    assert compiled.compile_count <= 6


def test_what_users_ask_is_part_of_the_program() -> None:
    def chosen(x: Any, n: float) -> Any:
        if n > 0:
            return x * n
        return x - n

    def halved(x: Any, n: float) -> Any:
        while n > 1:
            x, n = x + F.huber_loss(x, x * 0, delta=n), n / 2
        return x * n if n else x

    x = torch.tensor([1.0, 2.0])
    for function in (chosen, halved):
        compiled = torch.compile(function)
        for number in (0.5, 2.5, 7.0, 33.0, 1.0, 3.0, 0.25, *((-1.0, -2.0) if function is chosen else ())):
            assert torch.allclose(compiled(x, number), function(x, number)), (function, number)
    compiled = torch.compile(chosen)
    for number in (1.0, 2.0, -3.0, 4.0, -5.0):
        compiled(x, number)
    assert compiled.compile_count == 2


MADE: dict[str, Callable[[float], torch.Tensor]] = {
    "full": lambda number: torch.full((2,), number),
    "tensor": lambda number: torch.tensor(number),
    "tensor of a list": lambda number: torch.tensor([number, 1.0]),
    "tensor of a list with an int": lambda number: torch.tensor([number, 1]),
    "nested": lambda number: torch.tensor([[number, 0.5], [1.0, number]]),
    "as_tensor": lambda number: torch.as_tensor(number),
    "doubles": lambda number: torch.tensor([[number]], dtype=torch.float64),
}


@pytest.mark.parametrize("name", MADE)
def test_tensors_of_numbers_that_change_have_the_dtype_of_floats(name: str) -> None:
    compiled = torch.compile(MADE[name])
    for number in (0.1, 0.2, 0.3, 0.7):
        found, expected = compiled(number), MADE[name](number)
        assert found.dtype is expected.dtype
        assert found.tolist() == expected.tolist()


def test_float_alphas_of_integers_are_refused_whichever_came_before() -> None:
    compiled, whole = torch.compile(lambda x, number: torch.add(x, x, alpha=number)), torch.ones(3, dtype=torch.int64)
    for alpha in (1, 2, 0.5, 0.25, 1.0, 0.75, 3):
        if isinstance(alpha, int):
            assert compiled(whole, alpha).tolist() == [1 + alpha] * 3
            continue
        for function in (compiled, lambda x, number: torch.add(x, x, alpha=number)):
            with pytest.raises(RuntimeError, match="argument alpha must not be a floating point number"):
                function(whole, alpha)
