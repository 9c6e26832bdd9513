"""A tape goes with its last tensor: nothing of it waits for the cycle collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit.autograd.tape import Recorded
from adjit.native import install

install.install()


def nodes() -> int:
    """How many recorded nodes there are."""
    return sum(type(item) is Recorded for item in gc.get_objects())


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(x)
        return x * 2, x + 1

    @staticmethod
    def backward(ctx: Any, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first * 2 + second


PROGRAMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "native": lambda x: ((x * x).exp() * 3.0).tanh().sum(),
    "composites": lambda x: torch.nn.functional.layer_norm(x.softmax(-1), (4,)).std(),
    "views": lambda x: x.reshape(2, 2).T[0].clone().mul_(2).sum(),
    "several results": lambda x: sum(part.sum() for part in x.sort()[0].split(2)),  # type: ignore[misc]
    "compiled": torch.compile(lambda x: (x.sin() * x).sum()),
}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_tapes_go_with_their_tensors(name: str, backward: bool) -> None:
    program = PROGRAMS[name]
    x = torch.rand(4, requires_grad=True)
    for _ in range(8):  # compiled, and learned
        program(x).backward()
    gc.collect()
    gc.disable()
    try:
        before = nodes()
        for _ in range(5):
            loss = program(x)
            if backward:
                loss.backward()
            del loss
        assert nodes() == before
    finally:
        gc.enable()


def test_big_activations_are_freed_at_once() -> None:
    x = torch.rand(1000, requires_grad=True)
    for _ in range(8):
        x.exp().sin()
    gc.disable()
    try:
        y = x.exp()
        kept = weakref.ref(y._array)
        z = y.sin()
        del y
        assert kept() is not None  # saved for the sine's derivative, and the exponential's
        del z
        assert kept() is None
    finally:
        gc.enable()


def test_results_that_nobody_holds() -> None:
    """A node makes the value of a lost result anew, and gradients find their way by it."""
    x = torch.rand(4, requires_grad=True)
    first = Doubled.apply(x)[0]  # the second result is gone
    function = first.grad_fn
    assert len(function.node.outputs) == 2
    first.sum().backward()
    assert x.grad.tolist() == [2.0] * 4
    a = x.tanh()
    (g,) = torch.autograd.grad(a.sum(), x, create_graph=True)
    del a
    (h,) = torch.autograd.grad(g.sum(), x)
    t = torch.tanh(x.detach())
    assert torch.allclose(h, -2 * t * (1 - t * t), atol=1e-6)


def test_a_long_tape_is_freed_without_recursion() -> None:
    x = torch.rand(2, requires_grad=True)
    for _ in range(20_000):
        x = x * 1.0001
    del x
