"""Whole training steps served natively: writes, gradients, versions and settings are those of the Python path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.jit import CompiledFunction
from adjit.native import install
from adjit.nn import functional as F
from adjit.runtime import layout
from tests.frontends.natively import calls_without_python

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()


class Task:
    """A small net with its optimizer, and a compiled step that returns the loss."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        self.optimizer = make(self.net.parameters())
        self.x, self.y = torch.randn(7, 5), torch.tensor([0, 1, 2, 2, 1, 0, 1])
        net, optimizer = self.net, self.optimizer

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        self.step = torch.compile(step)

    def state(self) -> list[Any]:
        """Numbers and versions of all that a step changes."""
        held = [t for s in self.optimizer.state.values() for t in s.values() if isinstance(t, torch.Tensor)]
        tensors = [*self.net.parameters(), *(p.grad for p in self.net.parameters()), *held]
        return [(t.detach().numpy().tobytes(), t._version, t.requires_grad, t.is_leaf) for t in tensors]


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
}


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_steps_equal_those_of_python(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task, other = Task(OPTIMIZERS[name]), Task(OPTIMIZERS[name])
    losses = []
    for count in range(12):
        if count < 6:
            losses.append(task.step(task.x, task.y))
        else:
            with calls_without_python():
                losses.append(task.step(task.x, task.y))
    monkeypatch.setattr(CompiledFunction, "_learn", lambda *_: None)
    expected = [other.step(other.x, other.y) for _ in range(12)]
    assert [loss.item() for loss in losses] == [loss.item() for loss in expected]
    assert task.state() == other.state()
    assert [loss.requires_grad for loss in losses] == [loss.requires_grad for loss in expected]
    assert {type(loss.grad_fn).__name__ for loss in losses} == {type(loss.grad_fn).__name__ for loss in expected}
    for loss in (losses[-1], expected[-1]):
        with pytest.raises(RuntimeError):
            loss.backward()


@pytest.fixture
def task() -> Task:
    made = Task(OPTIMIZERS["momentum"])
    for _ in range(5):
        made.step(made.x, made.y)
    with calls_without_python():
        made.step(made.x, made.y)
    return made


def by_python(task: Task, *args: Any) -> Any:
    with calls_without_python(), pytest.raises(AssertionError, match="Python was asked"):
        task.step(*args)
    return task.step(*args)


def test_settings_are_read_each_time(task: Task) -> None:
    before = [p.detach().clone() for p in task.net.parameters()]
    task.optimizer.param_groups[0]["lr"] = 0.0
    with calls_without_python():
        task.step(task.x, task.y)
    for p, old in zip(task.net.parameters(), before, strict=True):
        assert np.array_equal(p.detach().numpy(), old.numpy())
    task.optimizer.param_groups[0]["momentum"] = 0.5
    by_python(task, task.x, task.y)


def test_gradients_are_handed_over(task: Task) -> None:
    first = [p.grad for p in task.net.parameters()]
    with calls_without_python():
        task.step(task.x, task.y)
    second = [p.grad for p in task.net.parameters()]
    assert all(a is not b for a, b in zip(first, second, strict=True))
    assert all(not g.requires_grad and g.is_leaf for g in second)


def test_parameters_that_were_replaced(task: Task) -> None:
    weight = task.net[0].weight
    weight.data = torch.zeros(8, 5)
    by_python(task, task.x, task.y)
    assert np.abs(weight.detach().numpy()).max() > 0


def test_hooks_and_modes(task: Task) -> None:
    seen: list[int] = []
    task.net.register_forward_hook(lambda *_: seen.append(1))
    by_python(task, task.x, task.y)
    assert seen
    task.net.eval()
    by_python(task, task.x, task.y)


def test_frozen_parameters(task: Task) -> None:
    task.net[0].bias.requires_grad_(False)
    before = task.net[0].bias.detach().numpy().copy()
    task.net[0].bias.grad = None
    by_python(task, task.x, task.y)
    assert np.array_equal(task.net[0].bias.detach().numpy(), before)
    assert task.net[0].bias.grad is None


def test_arguments_in_a_parameter_s_memory() -> None:
    w = torch.ones(4, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.5)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()
        return x * 1

    compiled = torch.compile(step)
    x = torch.ones(4)
    for _ in range(4):
        compiled(x)
    with calls_without_python():
        compiled(x)
    with calls_without_python(), pytest.raises(AssertionError, match="Python was asked"):
        compiled(w.detach().numpy())  # the same numbers, under another name
    before = w.detach().numpy().copy()
    found = compiled(torch.from_numpy(w.detach().numpy()))
    assert np.array_equal(found.numpy(), before)


def test_read_only_parameters() -> None:
    w = torch.zeros(3)
    compiled = torch.compile(lambda x: w.add_(x) * 2)
    x = torch.ones(3)
    for count in range(1, 6):
        assert compiled(x).tolist() == [2.0 * count] * 3
        assert w._version == count
    w._array.flags.writeable = False
    w._memory.array.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        compiled(x)
    assert w.tolist() == [5.0] * 3


@pytest.mark.parametrize("make", [
    lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9),
    lambda params: torch.optim.RMSprop(params, lr=0.01, momentum=0.9),
    lambda params: torch.optim.AdamW(params, lr=0.01, amsgrad=True),
])  # fmt: skip
def test_momentum_and_decay_may_change_at_every_step(make: Callable[[Any], Any]) -> None:
    eager, compiled = Task(make), Task(make)
    eager.step = eager.step.function
    for task in (eager, compiled):
        task.net.double()  # eight steps of RMSprop make the last bits of float32 a thousand times larger
        task.x = task.x.double()
        schedule = torch.optim.lr_scheduler.OneCycleLR(task.optimizer, 0.1, total_steps=20)
        for number in range(8):
            task.optimizer.param_groups[0]["weight_decay"] = 0.01 * (number + 1)
            if task is compiled and number > 5:
                with calls_without_python():
                    task.step(task.x, task.y)
            else:
                task.step(task.x, task.y)
            schedule.step()
    for mine, its in zip(compiled.net.parameters(), eager.net.parameters(), strict=True):
        assert np.allclose(mine.detach().numpy(), its.detach().numpy(), rtol=1e-9, atol=1e-9)
    assert compiled.step.compile_count == 2


FACTORS: dict[str, dict[str, Any]] = {
    "NAdam": {"betas": (0.8, 0.9), "momentum_decay": 0.01}, "RAdam": {"betas": (0.8, 0.9)},
    "Adamax": {"betas": (0.8, 0.9)}, "Adagrad": {"lr_decay": 0.1}, "Adadelta": {"rho": 0.8},
    "ASGD": {"lambd": 0.01, "alpha": 0.6}, "Rprop": {"etas": (0.4, 1.3)}, "RMSprop": {"alpha": 0.9},
    "SGD": {"dampening": 0.1, "momentum": 0.8},
}  # fmt: skip


@pytest.mark.parametrize("name", FACTORS)
def test_factors_may_change_at_every_step(name: str) -> None:
    factors = FACTORS[name] if name == "Rprop" else {"weight_decay": 0.01, **FACTORS[name]}

    def trained(*, compiled: bool) -> tuple[Any, Any]:
        w = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
        optimizer = getattr(torch.optim, name)([w], lr=0.05, **factors)

        def step() -> Any:
            optimizer.zero_grad()
            (w * w).sum().backward()
            optimizer.step()

        run = torch.compile(step) if compiled else step
        for number in range(9):
            more = 1 + 0.01 * number
            for key, value in factors.items():
                changed = tuple(part * more for part in value) if isinstance(value, tuple) else value * more
                optimizer.param_groups[0][key] = changed
            run()
        return run, w.tolist()

    run, found = trained(compiled=True)
    assert found == pytest.approx(trained(compiled=False)[1], rel=1e-5)
    assert run.compile_count <= 3


def test_evaluation_between_steps() -> None:
    task = Task(lambda params: torch.optim.SGD(params, lr=0.1))
    task.net.append(torch.nn.Dropout(0.5))
    evaluate = torch.compile(torch.no_grad()(lambda x: task.net(x).sum()))

    def both() -> Any:
        task.net.train()
        task.step(task.x, task.y)
        task.net.eval()
        return evaluate(task.x)

    for _ in range(4):
        both()
    with calls_without_python():
        found = both()
    assert found.item() == pytest.approx(task.net(task.x).sum().item())
    seen = []
    task.net[0].weight.register_hook(lambda gradient: seen.append(1))
    both()
    assert seen and task.step.compile_count == 2
