"""Optimizers against their formulas in NumPy, and schedules against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import nn, optim
from adjit.optim import lr_scheduler

START = np.array([1.0, -2.0, 0.5])


def slope(p: np.ndarray) -> np.ndarray:
    """The gradient of sum(p**2 + sin(p))."""
    return 2 * p + np.cos(p)


def sgd(
    momentum: float = 0, dampening: float = 0, nesterov: bool = False, weight_decay: float = 0, lr: float = 0.1,
    maximize: bool = False,
) -> Callable[[np.ndarray, int, dict[str, Any]], np.ndarray]:  # fmt: skip
    """One step of gradient descent."""

    def step(p: np.ndarray, count: int, state: dict[str, Any]) -> np.ndarray:
        g = (-slope(p) if maximize else slope(p)) + weight_decay * p
        if momentum:
            state["b"] = g if count == 1 else momentum * state["b"] + (1 - dampening) * g
            g = g + momentum * state["b"] if nesterov else state["b"]
        return p - lr * g

    return step


def adam(decoupled: bool = False, amsgrad: bool = False, weight_decay: float = 0, lr: float = 0.1) -> Any:
    """One step of Adam with the default betas."""

    def step(p: np.ndarray, count: int, state: dict[str, Any]) -> np.ndarray:
        g = slope(p)
        if decoupled:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
        state["v"] = 0.999 * state.get("v", 0) + 0.001 * g * g
        state["top"] = np.maximum(state.get("top", 0), state["v"])
        v = state["top"] if amsgrad else state["v"]
        return p - lr * (state["m"] / (1 - 0.9**count)) / (np.sqrt(v / (1 - 0.999**count)) + 1e-8)

    return step


def rmsprop(momentum: float = 0, centered: bool = False, lr: float = 0.1) -> Any:
    """One step of RMSprop with alpha 0.99."""

    def step(p: np.ndarray, count: int, state: dict[str, Any]) -> np.ndarray:
        g = slope(p)
        state["v"] = 0.99 * state.get("v", 0) + 0.01 * g * g
        state["m"] = 0.99 * state.get("m", 0) + 0.01 * g
        direction = g / (np.sqrt(state["v"] - (state["m"] ** 2 if centered else 0)) + 1e-8)
        state["b"] = momentum * state.get("b", 0) + direction
        return p - lr * (state["b"] if momentum else direction)

    return step


def adagrad(lr_decay: float = 0, lr: float = 0.1) -> Any:
    """One step of Adagrad."""

    def step(p: np.ndarray, count: int, state: dict[str, Any]) -> np.ndarray:
        g = slope(p)
        state["s"] = state.get("s", 0) + g * g
        return p - lr / (1 + (count - 1) * lr_decay) * g / (np.sqrt(state["s"]) + 1e-10)

    return step


CASES: dict[str, tuple[type[optim.Optimizer], dict[str, Any], Any]] = {
    "SGD": (optim.SGD, {}, sgd()),
    "SGD momentum": (optim.SGD, {"momentum": 0.9}, sgd(0.9)),
    "SGD nesterov": (optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, sgd(0.9, 0, True, 0.1)),
    "SGD dampening": (optim.SGD, {"momentum": 0.9, "dampening": 0.5}, sgd(0.9, 0.5)),
    "SGD maximize": (optim.SGD, {"maximize": True, "lr": 0.01}, sgd(lr=0.01, maximize=True)),
    "Adam": (optim.Adam, {}, adam()),
    "Adam decay": (optim.Adam, {"weight_decay": 0.1, "amsgrad": True}, adam(False, True, 0.1)),
    "AdamW": (optim.AdamW, {"weight_decay": 0.1}, adam(True, False, 0.1)),
    "RMSprop": (optim.RMSprop, {}, rmsprop()),
    "RMSprop centered": (optim.RMSprop, {"centered": True, "momentum": 0.5}, rmsprop(0.5, True)),
    "Adagrad": (optim.Adagrad, {"lr_decay": 0.1}, adagrad(0.1)),
}


def new_step(optimizer: optim.Optimizer, p: Any) -> Callable[[], None]:
    """A step of training on sum(p**2 + sin(p))."""

    def step() -> None:
        optimizer.zero_grad()
        (p * p + torch.sin(p)).sum().backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", CASES)
def test_updates_follow_the_formula(name: str, compiled: bool) -> None:
    kind, settings, formula = CASES[name]
    p = torch.tensor(START.copy(), requires_grad=True)
    optimizer = kind([p], **{"lr": 0.1, **settings})
    step = new_step(optimizer, p)
    step = torch.compile(step) if compiled else step
    expected, state = START.copy(), {}
    for count in range(1, 8):
        step()
        expected = formula(expected, count, state)
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-9, atol=1e-14)


def test_a_compiled_step_reads_the_rate_at_every_call() -> None:
    p = torch.tensor(START.copy(), requires_grad=True)
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    step = torch.compile(new_step(optimizer, p))
    expected, state = START.copy(), {}
    for count in range(1, 5):
        step()
        expected = sgd(0.9, lr=0.1 * 0.5 ** (count - 1))(expected, count, state)
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-9)
        scheduler.step()
    assert step.compile_count <= 2  # the second finds gradients to replace


def test_loaded_state_is_seen_by_a_compiled_step() -> None:
    p = torch.tensor(START.copy(), requires_grad=True)
    optimizer = optim.Adam([p], lr=0.1)
    step = torch.compile(new_step(optimizer, p))
    for _ in range(3):
        step()
    saved, values = optimizer.state_dict(), p.detach().clone()
    q = torch.tensor(values.numpy().copy(), requires_grad=True)
    other = optim.Adam([q], lr=0.3)
    other.load_state_dict(saved)
    step()
    new_step(other, q)()
    np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-12)
    optimizer.load_state_dict(optim.Adam([torch.zeros(3, requires_grad=True)], lr=0.1).state_dict())
    before = p.detach().clone()
    step()  # from empty state the first step of Adam is lr in size
    np.testing.assert_allclose(np.abs((p.detach() - before).numpy()), 0.1, rtol=1e-6)


def test_groups_have_their_own_settings() -> None:
    a, b = torch.tensor(1.0, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    (a + b).backward()
    optimizer.step()
    assert float(a) == pytest.approx(0.9) and float(b) == pytest.approx(0.5)
    assert repr(optimizer).splitlines()[:3] == ["SGD (", "Parameter Group 0", "    dampening: 0"]
    assert set(optimizer.state_dict()["param_groups"][1]) == {*optimizer.defaults, "params"}


def test_closures_and_hooks() -> None:
    p = torch.tensor(1.0, requires_grad=True)
    optimizer, seen = optim.SGD([p], lr=0.1), []
    optimizer.register_step_pre_hook(lambda *args: seen.append("before"))
    optimizer.register_step_post_hook(lambda *args: seen.append("after"))

    def closure() -> Any:
        optimizer.zero_grad()
        loss = p * p
        loss.backward()
        return loss

    assert float(optimizer.step(closure)) == 1.0 and float(p) == pytest.approx(0.8) and seen == ["before", "after"]


def broken(*args: Any, **kwargs: Any) -> Callable[[], Any]:
    """Making SGD from these arguments."""
    return lambda: optim.SGD(*args, **kwargs)


P = nn.Parameter(torch.zeros(1))
ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (broken([P], lr=-1), ValueError, "Invalid learning rate: -1"),
    (broken([], lr=0.1), ValueError, "optimizer got an empty parameter list"),
    (
        broken(torch.zeros(3), lr=0.1),
        TypeError,
        "params argument given to the optimizer should be an iterable of Tensors or dicts, but got torch.FloatTensor",
    ),
    (broken([3], lr=0.1), TypeError, "optimizer can only optimize Tensors, but one of the params is int"),
    (broken([P * 2], lr=0.1), ValueError, "can't optimize a non-leaf Tensor"),
    (broken([P], nesterov=True), ValueError, "Nesterov momentum requires a momentum and zero dampening"),
    (lambda: optim.Adam([P], betas=(2, 0.9)), ValueError, "Invalid beta parameter at index 0: 2"),
    (
        lambda: optim.SGD([P]).load_state_dict(optim.SGD([P, nn.Parameter(torch.zeros(1))]).state_dict()),
        ValueError,
        "loaded state dict contains a parameter group that doesn't match the size of optimizer's group",
    ),
]


@pytest.mark.parametrize(("action", "kind", "text"), ERRORS, ids=lambda item: item if isinstance(item, str) else "")
def test_errors_read_as_in_pytorch(action: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        action()
    assert str(caught.value).splitlines()[0] == text


# -- schedules ---------------------------------------------------------------------------------------------------------
def linear_then_steps(optimizer: optim.Optimizer) -> lr_scheduler.LRScheduler:
    """A warm-up of four epochs, then steps."""
    parts = [lr_scheduler.LinearLR(optimizer, 0.1, 1.0, 4), lr_scheduler.StepLR(optimizer, 2)]
    return lr_scheduler.SequentialLR(optimizer, parts, [4])


# Each closed form gives the rate after n steps of the schedule, from a rate of 1.
SCHEDULES: dict[str, tuple[Callable[[optim.Optimizer], Any], Callable[[int], float]]] = {
    "StepLR": (lambda o: lr_scheduler.StepLR(o, 3, 0.5), lambda n: 0.5 ** (n // 3)),
    "MultiStepLR": (lambda o: lr_scheduler.MultiStepLR(o, [2, 5]), lambda n: 0.1 ** ((n >= 2) + (n >= 5))),
    "ExponentialLR": (lambda o: lr_scheduler.ExponentialLR(o, 0.9), lambda n: 0.9**n),
    "LambdaLR": (lambda o: lr_scheduler.LambdaLR(o, lambda n: 1 / (n + 1)), lambda n: 1 / (n + 1)),
    "LinearLR": (lambda o: lr_scheduler.LinearLR(o, 0.2, 1.0, 4), lambda n: 0.2 + 0.8 * min(n, 4) / 4),
    "ConstantLR": (lambda o: lr_scheduler.ConstantLR(o, 0.25, 3), lambda n: 0.25 if n < 3 else 1.0),
    "PolynomialLR": (lambda o: lr_scheduler.PolynomialLR(o, 5, 2.0), lambda n: (1 - min(n, 5) / 5) ** 2),
    "CosineAnnealingLR": (
        lambda o: lr_scheduler.CosineAnnealingLR(o, 4, 0.1),
        lambda n: 0.1 + 0.9 * (1 + math.cos(math.pi * n / 4)) / 2,
    ),
    "CosineAnnealingWarmRestarts": (
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
        lambda n: (1 + math.cos(math.pi * (n % 3) / 3)) / 2,
    ),
    "SequentialLR": (linear_then_steps, lambda n: 0.1 + 0.9 * n / 4 if n < 4 else 0.1 ** ((n - 4) // 2)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_follow_their_closed_forms(name: str) -> None:
    make, closed = SCHEDULES[name]
    optimizer = optim.SGD([P], lr=1.0)
    scheduler = make(optimizer)
    for n in range(9):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(closed(n), abs=1e-12)
        assert scheduler.get_last_lr() == [optimizer.param_groups[0]["lr"]]
        optimizer.step()
        scheduler.step()


def test_one_cycle() -> None:
    optimizer = optim.SGD([P], lr=1.0, momentum=0.9)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 2.0, total_steps=11, pct_start=0.5, anneal_strategy="linear")
    rates, momenta = [], []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        if len(rates) < 11:
            scheduler.step()
    assert rates[0] == pytest.approx(2 / 25) and max(rates) <= 2 and rates[-1] == pytest.approx(2 / 25 / 1e4)
    peak = int(np.argmax(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert int(np.argmin(momenta)) == peak and momenta[0] == pytest.approx(0.95)


def test_plateau() -> None:
    optimizer = optim.SGD([P], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=1, factor=0.5, min_lr=0.3)
    rates = []
    for metric in (1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5):
        scheduler.step(metric)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.3, 0.3]


def test_a_schedule_saves_and_restores() -> None:
    first, second = optim.SGD([P], lr=1.0), optim.SGD([P], lr=1.0)
    one, other = lr_scheduler.StepLR(first, 2), lr_scheduler.StepLR(second, 2)
    for _ in range(3):
        first.step()
        one.step()
    other.load_state_dict(one.state_dict())
    second.load_state_dict(first.state_dict())
    second.step()
    other.step()
    assert second.param_groups[0]["lr"] == pytest.approx(0.01)


def test_a_schedule_before_the_optimizer_is_warned_of() -> None:
    scheduler = lr_scheduler.StepLR(optim.SGD([P], lr=1.0), 2)
    with pytest.warns(UserWarning, match="Detected call of `lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`"):
        scheduler.step()


def test_a_compiled_step_leaves_the_state_that_pytorch_names() -> None:
    states = []
    for compiled in (False, True):
        p = torch.tensor([1.0, 2.0], requires_grad=True)
        optimizer = optim.SGD([p], lr=0.1, momentum=0.9, dampening=0.5)
        step = new_step(optimizer, p)
        step = torch.compile(step, strict=True) if compiled else step
        for _ in range(3):
            step()
        state = optimizer.state_dict()["state"][0]
        states.append({name: value.tolist() for name, value in state.items()})
    assert list(states[0]) == ["momentum_buffer"]
    assert states[0] == states[1]


class Heavy(optim.Optimizer):
    """A user's optimizer: gradient descent with momentum, as one writes it."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if "m" not in state:
                    state["m"] = torch.zeros_like(p)
                with torch.no_grad():
                    state["m"].mul_(0.9).add_(p.grad)
                    p.add_(state["m"], alpha=-group["lr"])


def test_a_users_optimizer_compiles_from_its_first_step_on() -> None:
    results = []
    for compiled in (False, True):
        p = torch.tensor(START.copy(), requires_grad=True)
        optimizer = Heavy([p], lr=0.1)
        calls: list[str] = []
        optimizer.register_step_post_hook(lambda *_, calls=calls: calls.append("stepped"))
        step = new_step(optimizer, p)
        run = torch.compile(step) if compiled else step
        for rate in (0.1, 0.1, 0.02, 0.01, 0.005, 0.0025):
            optimizer.param_groups[0]["lr"] = rate
            run()
        assert len(calls) == 6
        if compiled:
            assert run.compile_count <= 4  # without state; with it; with another rate; with any
        results.append(p.detach().numpy())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-12)


def test_groups_compile_with_rates_of_their_own() -> None:
    a, b = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.25}], lr=0.1)

    @torch.compile
    def step() -> None:
        optimizer.zero_grad()
        ((a**2).sum() + (b**2).sum()).backward()
        optimizer.step()

    step()
    optimizer.param_groups[0]["lr"] = 0.5
    step()
    assert a.tolist() == [0, 0, 0] and b.tolist() == [0.25, 0.25] and step.compile_count == 1


def test_hooks_around_steps_and_states() -> None:
    p = torch.ones(2, requires_grad=True)
    optimizer = optim.SGD([p], lr=0.1)
    seen: list[str] = []
    every = optim.optimizer.register_optimizer_step_pre_hook(lambda *_: seen.append("every"))
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: seen.append("pre"))
    optimizer.register_step_post_hook(lambda opt, args, kwargs: seen.append("post"))
    optimizer.register_state_dict_post_hook(lambda opt, state: {**state, "extra": 1})
    optimizer.register_load_state_dict_pre_hook(lambda opt, state: {k: v for k, v in state.items() if k != "extra"})
    optimizer.register_load_state_dict_post_hook(lambda opt: seen.append("loaded"))
    p.grad = torch.ones(2)
    optimizer.step()
    every.remove()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()
    assert seen == ["every", "pre", "post", "loaded", "pre", "post"] and optimizer.state_dict()["extra"] == 1


def test_hooks_around_steps_take_the_optimizer_among_the_arguments() -> None:
    p = torch.ones(2, requires_grad=True)
    optimizer = optim.SGD([p], lr=0.5)
    seen: list[Any] = []
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: ((*args, lambda: seen.append("closure")), kwargs))
    optimizer.register_step_post_hook(lambda opt, args, kwargs: seen.append((args[0] is opt, len(args), kwargs)))
    optimizer.step()
    assert seen == ["closure", (True, 2, {})]


def test_adafactor_takes_numbers() -> None:
    p = torch.tensor(2.0, requires_grad=True)
    optimizer = optim.Adafactor([p], lr=0.5)
    p.grad = torch.tensor(3.0)
    optimizer.step()
    assert p.item() == pytest.approx(1.0) and optimizer.state[p]["variance"].shape == ()


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_betas_are_of_one_kind(kind: str) -> None:
    w = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="betas must be either both floats or both Tensors"):
        getattr(torch.optim, kind)([w], betas=(0.9, torch.tensor(0.99)))
    getattr(torch.optim, kind)([w], betas=(torch.tensor(0.9), torch.tensor(0.99)))


@pytest.mark.parametrize("kind", ["Adafactor", "Muon"])
def test_complex_parameters_are_refused_where_torch_refuses_them(kind: str) -> None:
    w = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))
    w.grad = torch.ones_like(w)
    with pytest.raises(RuntimeError, match=f"{kind} does not support complex parameters"):
        getattr(torch.optim, kind)([w]).step()
