"""Checkpointed calls: the same values and gradients, with the function run again in the backward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import nn
from adjit.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


def new_model() -> tuple[nn.Sequential, list[int]]:
    """A net with dropout and normalization, and how often its first layer has run."""
    torch.manual_seed(1)
    runs: list[int] = []
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.4), nn.LayerNorm(6), nn.Linear(6, 3), nn.GELU())
    net[0].register_forward_hook(lambda *_: runs.append(1))
    return net, runs


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradients_equal_and_the_function_runs_again(use_reentrant: bool) -> None:
    found = []
    for checkpointed in (False, True):
        net, runs = new_model()
        x = torch.linspace(-1, 1, 20).reshape(5, 4).requires_grad_()
        torch.manual_seed(3)
        out = checkpoint(net, x, use_reentrant=use_reentrant) if checkpointed else net(x)
        after = torch.rand(2)
        (out**2).sum().backward()
        assert len(runs) == 1 + checkpointed
        found.append([out.detach(), x.grad, after, torch.rand(2), *(p.grad for p in net.parameters())])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_memory_is_not_kept() -> None:
    kept: list[int] = []
    w = torch.ones(50, requires_grad=True)

    def chain(w: Any) -> Any:
        for _ in range(8):
            w = w.sin()
        return w

    def counted(function: Any) -> int:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            function(w)
        return len(kept)

    assert counted(chain) == 8
    assert counted(lambda w: checkpoint(chain, w, use_reentrant=False)) == 0


def test_second_order_and_grad() -> None:
    x = torch.tensor([0.3, 0.9], dtype=torch.float64, requires_grad=True)
    y = checkpoint(lambda a: (a.sin() * a).exp(), x, use_reentrant=False).sum()
    (first,) = torch.autograd.grad(y, x)
    plain = ((x.sin() * x).exp()).sum()
    np.testing.assert_allclose(first.numpy(), torch.autograd.grad(plain, x)[0].numpy(), rtol=1e-14)


def test_sequential_segments() -> None:
    net, runs = new_model()
    net.eval()
    x = torch.ones(2, 4, requires_grad=True)
    out = checkpoint_sequential(net, 3, x, use_reentrant=False)
    np.testing.assert_array_equal(out.detach().numpy(), net(x).detach().numpy())
    out.sum().backward()
    assert len(runs) == 3 and x.grad is not None


def test_what_changes_between_the_runs_is_an_error() -> None:
    times: list[int] = []

    def changing(a: Any) -> Any:
        times.append(1)
        return a.sin() if len(times) > 1 else a.sin().cos()

    out = checkpoint(changing, torch.ones(2, requires_grad=True), use_reentrant=False)
    with pytest.raises(CheckpointError, match="A different number of tensors was saved"):
        out.sum().backward()
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed explicitly"):
        checkpoint(lambda a: a * 2, torch.ones(2))


def test_compiled_calls_are_as_others() -> None:
    w = torch.tensor([0.5, 1.5], requires_grad=True)

    @torch.compile
    def loss() -> Any:
        return checkpoint(lambda a: (a.sin() * a).exp(), w, use_reentrant=False).sum()

    loss().backward()
    expected = torch.autograd.grad((w.sin() * w).exp().sum(), w)[0]
    np.testing.assert_allclose(w.grad.numpy(), expected.numpy(), rtol=1e-6)
