"""Numbers that equal others and are told from them: zeros of both signs, and floats of NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import composite
from adjit.dispatch import apply
from adjit.ir.primitive import primitive_named
from tests.frontends.natively import refuse

F = torch.nn.functional


@pytest.mark.parametrize("name", ["elu", "leaky_relu"])
def test_zeros_of_both_signs_are_different_operands(name: str) -> None:
    x = torch.tensor([-2.0, -0.5, 1.0], requires_grad=True)
    op = primitive_named(name)
    for number in (0.0, -0.0, 0.0):
        found = apply(op, (x * 1, number))
        assert np.signbit(found.detach().numpy()).tolist() == [not np.signbit(number)] * 2 + [False]
        (gradient,) = torch.autograd.grad(found, x, torch.ones(3))
        assert gradient.tolist() == [0, 0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_numbers_of_numpy_are_floats_as_others(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.linspace(-2, 2, 6, dtype=dtype).reshape(2, 3).requires_grad_()
    cases: list[Callable[[Any], Any]] = [
        lambda n: F.softshrink(x, n), lambda n: F.hardtanh(x, -n, n), lambda n: F.elu(x, n), lambda n: x.norm(n),
        lambda n: F.layer_norm(x, (3,), eps=n), lambda n: F.huber_loss(x, x * 2, delta=n), lambda n: F.softplus(x, n),
    ]  # fmt: skip
    for case in cases:
        found, wanted = case(np.float64(0.3)), case(0.3)
        assert found.dtype is wanted.dtype
        np.testing.assert_array_equal(found.detach().numpy(), wanted.detach().numpy())
    monkeypatch.setattr(composite, "_trace", refuse)  # each has its body by now
    for case in cases:
        case(np.float64(0.3))


def test_bodies_for_any_number_are_forgotten_where_sizes_never_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composite, "_LIMIT", 8)
    for size in range(40):
        F.softplus(torch.ones(size + 1), 1.0 + size / 7)
    assert len(composite._for_any) <= 9
