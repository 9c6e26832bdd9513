"""Training steps with `backward` and `step` in a branch or a loop, or that set learning rates: as in eager mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit import nn
from adjit.nn import functional as F

Step = Callable[[Any, Any, Any, Any], Any]


def unless_nan(net: Any, optimizer: Any, x: Any, y: Any) -> Any:
    optimizer.zero_grad()
    loss = F.mse_loss(net(x), y)
    if torch.isfinite(loss):
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    return loss


def one_of_two_losses(net: Any, optimizer: Any, x: Any, y: Any) -> Any:
    optimizer.zero_grad()
    hidden = net[0](x)
    if hidden.mean() > 0:
        loss = net[1:](hidden).sum() * 2
        loss.backward()
    else:
        loss = F.mse_loss(net[1:](hidden), y)
        loss.backward()
    optimizer.step()
    return loss


def a_second_loss_at_times(net: Any, optimizer: Any, x: Any, y: Any) -> Any:
    optimizer.zero_grad()
    loss = F.mse_loss(net(x), y)
    loss.backward()
    if loss > 1:
        F.l1_loss(net(x), y).backward()
    optimizer.step()
    return loss


def until_small(net: Any, optimizer: Any, x: Any, y: Any) -> Any:
    steps = 0
    loss = F.mse_loss(net(x), y)
    while loss > 0.6:
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        steps += 1
        if steps == 4:
            break
    return loss + steps


def gradients_as_values(net: Any, optimizer: Any, x: Any, y: Any) -> Any:
    loss = F.mse_loss(net(x), y)
    if loss > 0:
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for param, gradient in zip(net.parameters(), gradients, strict=True):
                param -= 0.1 * gradient
    return loss


def rates_in_the_step(net: Any, optimizer: Any, x: Any, y: Any) -> Any:
    optimizer.zero_grad()
    loss = F.mse_loss(net(x), y)
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] *= 0.9
    optimizer.step()
    if loss < 2:
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * 0.5
    return loss


STEPS = [unless_nan, one_of_two_losses, a_second_loss_at_times, until_small, gradients_as_values, rates_in_the_step]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_steps_are_those_of_eager_mode(step: Step) -> None:
    seen: list[list[Any]] = []
    for prepare in (lambda f: f, torch.compile):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.5)
        run = prepare(lambda x, y, net=net, optimizer=optimizer: step(net, optimizer, x, y))
        found: list[Any] = []
        for number in range(4):
            x, y = torch.randn(5, 3), torch.randn(5, 1) * (1 if number != 1 else float("nan"))
            y = y if step is unless_nan else torch.nan_to_num(y)
            found += [run(x, y).item(), *(p.sum().item() for p in net.parameters()), optimizer.param_groups[0]["lr"]]
            found += [0.0 if p.grad is None else p.grad.norm().item() + 1 for p in net.parameters()]
        seen.append(found)
    assert seen[1] == pytest.approx(seen[0], rel=1e-4, abs=1e-6, nan_ok=True)


def test_what_a_branch_computes_outside_autograd_is_a_constant() -> None:
    w = torch.tensor([1.0, 2.0], requires_grad=True)

    def function(x: Any) -> Any:
        kept = x
        if x.sum() > 0:
            with torch.no_grad():
                kept = w * 2
            return (kept * w * x).sum()
        return (w * x).sum()

    def returned(x: Any) -> Any:
        if x.sum() > 0:
            with torch.no_grad():
                scale = w * 2
        else:
            scale = x
        return (scale * w).sum()

    for each in (function, returned):
        w.grad = None
        torch.compile(each)(torch.ones(2)).backward()
        assert w.grad.tolist() == [2.0, 4.0]


def test_a_gradient_that_may_be_none_is_not_stepped_with() -> None:
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)

    def step(x: Any) -> None:
        optimizer.zero_grad()
        if x.sum() > 0:
            (w * x).sum().backward()
        optimizer.step()

    with pytest.raises(RuntimeError, match=r"whether this \.grad is None depends on an `if` or a loop"):
        torch.compile(step)(torch.ones(2))


BEST = float("inf")


def test_the_best_loss_is_kept_in_a_global_and_in_a_variable_around() -> None:
    global BEST
    counts = 0

    def step(x: Any) -> None:
        global BEST
        nonlocal counts
        loss = x.sum()
        if loss < BEST:
            BEST = loss.item()
        if loss > 1:
            counts += 1

    compiled, seen = torch.compile(step), []
    for value in (3.0, 1.0, 2.0, 0.5):
        compiled(torch.tensor([value]))
        seen.append((BEST, counts))
    assert seen == [(3.0, 1), (1.0, 1), (1.0, 2), (0.5, 2)]


def test_a_discriminator_with_spectral_norm_is_trained_from_the_first_call_on() -> None:
    def weights(compiled: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 1))
        optimizer = torch.optim.Adam(net.parameters(), lr=0.1)

        def step(x: torch.Tensor) -> None:
            net.zero_grad()
            net(x).mean().backward()
            optimizer.step()

        run = torch.compile(step) if compiled else step
        for index in range(3):
            run(torch.full((2, 3), float(index)))
        return list(net.parameters())

    for one, other in zip(weights(False), weights(True), strict=True):
        torch.testing.assert_close(one, other)
