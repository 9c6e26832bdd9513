"""`retain_grad`: what several passes leave, and a tensor that takes another value in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch

MODES = pytest.mark.parametrize("mode", [lambda f: f, torch.compile], ids=["eager", "compiled"])


@MODES
def test_the_gradients_of_several_passes_add_up(mode: Callable[..., Any]) -> None:
    def step(x: Any) -> Any:
        y = x * 2
        y.retain_grad()
        loss = (y * y).sum()
        loss.backward(retain_graph=True)
        first = y.grad.clone()
        loss.backward()
        return first, y.grad

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    first, both = mode(step)(x)
    assert (first.tolist(), both.tolist(), x.grad.tolist()) == ([4.0, 8.0], [8.0, 16.0], [16.0, 32.0])


@pytest.mark.parametrize("rounds", [1, 50])
def test_what_a_pass_left_stays_as_it_is(rounds: int) -> None:
    for _ in range(rounds):  # native after some of them
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        y = x * 2
        y.retain_grad()
        loss = (y * y).sum()
        loss.backward(retain_graph=True)
        first = y.grad
        torch.autograd.grad(loss, x, retain_graph=True)
        torch.autograd.grad(loss, y, retain_graph=True)
        loss.backward(create_graph=True)
        assert (first.tolist(), y.grad.tolist()) == ([4.0, 8.0], [16.0, 32.0])
        assert y.grad.requires_grad and not first.requires_grad


@MODES
@pytest.mark.parametrize("rounds", [1, 50])
def test_the_gradient_is_that_of_the_value_a_tensor_took_in_place(mode: Callable[..., Any], rounds: int) -> None:
    def step(x: Any) -> Any:
        y = x * 2
        y.retain_grad()
        y.mul_(3)
        kept = y.retains_grad
        (y * y).sum().backward()
        return y.grad, kept

    stepped = mode(step)
    for _ in range(rounds):
        gradient, kept = stepped(torch.tensor([1.0, 2.0], requires_grad=True))
        assert gradient.tolist() == [12.0, 24.0] and kept


def test_a_view_keeps_its_gradient_when_its_base_takes_another_value() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    base = x * 2
    part = base[:1]
    part.retain_grad()
    base.mul_(3)
    (part * part).sum().backward()
    assert (part.grad.tolist(), x.grad.tolist()) == ([12.0], [72.0, 0.0])
