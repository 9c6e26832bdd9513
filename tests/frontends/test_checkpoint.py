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


def test_compiled_programs_run_the_function_again() -> None:
    found = []
    for checkpointed in (False, True):
        net, _ = new_model()

        @torch.compile
        def step(x: Any, net: Any = net, checkpointed: bool = checkpointed) -> Any:
            out = checkpoint(net, x, use_reentrant=False) if checkpointed else net(x)
            (out**2).sum().backward()
            return out.detach(), torch.rand(2)

        torch.manual_seed(3)
        out, after = step(torch.linspace(-1, 1, 20).reshape(5, 4))
        found.append([out, after, *(p.grad for p in net.parameters())])
        text = str(step.graph(torch.zeros(5, 4)))
        assert text.count(" tanh ") == 1 + checkpointed
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-6)


ROWS = torch.linspace(-1, 1, 23, dtype=torch.float64)


def kept_bytes(checkpointed: Any) -> int:
    """What a scan's backward program takes from the forward one, beside the inputs."""
    from adjit.compiler.differentiate import differentiate

    def function(x: Any, xs: Any) -> Any:
        return torch.scan(lambda h, v: (torch.sin(h * v) + torch.cos(h), None), x, xs, checkpoint=checkpointed)[0]

    graph = torch.compile(function).graph(torch.zeros(3, dtype=torch.float64), torch.zeros(100, dtype=torch.float64))
    derivative = differentiate(graph)
    return sum(8 * v.type.size for v in derivative.residuals if v.node is not None)  # type: ignore[misc]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("checkpointed", [True, "sqrt"])
def test_scans(checkpointed: Any, reverse: bool) -> None:
    def function(x: Any, xs: Any, checkpointed: Any) -> Any:
        def step(carry: Any, v: Any) -> Any:
            h, count = carry
            h = torch.tanh(h * v + x)
            return (h, count + 1), {"h": h.sum(), "twice": 2 * h}

        (h, count), ys = torch.scan(step, (x, 0), xs, reverse=reverse, checkpoint=checkpointed)
        return h.sum() + count * ys["h"].sum() + (ys["twice"] ** 2).sum()

    x = torch.tensor([0.3, -0.8], dtype=torch.float64)
    wanted = torch.func.grad(function, (0, 1))(x, ROWS, False)
    for run in (torch.func.grad(function, (0, 1)), torch.compile(torch.func.grad(function, (0, 1)))):
        for one, other in zip(run(x, ROWS, checkpointed), wanted, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-12)


def test_what_scans_keep() -> None:
    # The cheap arguments of sin and cos are computed again from the entries; sqrt keeps those of 10 blocks.
    assert kept_bytes("sqrt") == 10 * 3 * 8 < kept_bytes(True) == 100 * 3 * 8 <= kept_bytes(False)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_an_argument_that_was_overwritten_since_is_an_error(use_reentrant: bool) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    scale = torch.tensor([3.0, 4.0])
    out = checkpoint(lambda a, b: (a * b).sin().sum(), x, scale, use_reentrant=use_reentrant)
    scale.add_(1)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation: .* is at version 1; expected version 0"):
        out.backward()
    assert x.grad is None


def product_in_place(x: Any) -> Any:
    y = x * 2
    y.mul_(x)
    return y.sin()


def activation_in_place(x: Any) -> Any:
    return torch.relu_(x * 1).sin() * x


@pytest.mark.parametrize("block", [product_in_place, activation_in_place])
def test_blocks_that_write_in_place(block: Any) -> None:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (wanted,) = torch.autograd.grad(block(x).sum(), x)

    def run(given: Any) -> Any:
        return checkpoint(block, given, use_reentrant=False).sum()

    for function in (run, torch.compile(run)):
        (found,) = torch.autograd.grad(function(x), x)
        torch.testing.assert_close(found, wanted)
