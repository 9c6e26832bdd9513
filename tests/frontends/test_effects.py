"""What a compiled function changes in Python: attributes, globals, closures, lists and dicts are as in eager mode."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import nn, trees

Wrap = Callable[[Any], Any]  # adjit.compile, or nothing
Program = tuple[Callable[..., Any], Callable[[], Any]]  # a function, and what it changes beside its result


def linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-0.5, 0.7, inputs * outputs).reshape(outputs, inputs))
        layer.bias.fill_(0.1)
    return layer


def counter(wrap: Wrap) -> Program:
    class Counted:
        calls = 0

    counted = Counted()

    @wrap
    def f(x: Any) -> Any:
        counted.calls += 1
        return x * counted.calls

    return f, lambda: vars(counted)


def closure(wrap: Wrap) -> Program:
    total, calls = torch.zeros(3), 0

    @wrap
    def f(x: Any) -> Any:
        nonlocal total, calls
        total = total + x
        calls += 1
        return total / calls

    return f, lambda: (total, calls)


STATE = {"sum": 0.0, "calls": 0, "history": [], "best": math.inf}


def global_dict(wrap: Wrap) -> Program:
    STATE.update(sum=0.0, calls=0, history=[], best=math.inf)

    @wrap
    def f(x: Any) -> Any:
        value = x.norm().item()
        STATE["sum"] += value
        STATE["calls"] += 1
        STATE["history"].append(value)
        if value < STATE["best"]:
            STATE["best"] = value
        return x * (STATE["sum"] / STATE["calls"])

    return f, lambda: STATE


def hidden_state(wrap: Wrap) -> Program:
    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.hidden, self.steps = linear(6, 3), None, 0
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x: Any) -> Any:
            self.steps += 1
            if self.hidden is None:
                self.hidden = torch.zeros(3)
            self.hidden = torch.tanh(self.layer(torch.cat([x, self.hidden])))
            self.mean = 0.9 * self.mean + 0.1 * self.hidden.detach()
            self.hidden = self.hidden.detach()
            return self.hidden * self.steps

    cell = Cell()
    return wrap(cell), lambda: (cell.hidden, cell.steps, cell.mean)


def activations(wrap: Wrap) -> Program:
    layer, kept = linear(3, 4), {}
    layer.register_forward_hook(lambda module, args, out: kept.__setitem__("layer", out.detach()))
    return wrap(lambda x: layer(x).relu()), lambda: kept


def normalized(wrap: Wrap) -> Program:
    with pytest.warns(FutureWarning):
        layer = torch.nn.utils.weight_norm(linear(3, 2))  # its hook puts the weight into an attribute
    return wrap(lambda x: layer(x)), lambda: layer.weight


def branches(wrap: Wrap) -> Program:
    class Best:
        def __init__(self) -> None:
            self.value, self.where = math.inf, torch.zeros(3)

    best = Best()
    seen = {"better": 0}

    @wrap
    def f(x: Any) -> Any:
        value = (x - 3).square().sum().item()
        if value < best.value:
            best.value = value
            best.where = x.detach().clone()
            seen["better"] += 1
        return x - best.where

    return f, lambda: (best.value, best.where, seen)


def loops(wrap: Wrap) -> Program:
    log = {"steps": 0, "x": torch.zeros(())}

    @wrap
    def f(x: Any) -> Any:
        local = {"x": x}
        while local["x"].sum() < 100:
            local["x"] = local["x"] * 2
            log["steps"] += 1
        log["x"] = local["x"].max()
        return local["x"]

    return f, lambda: log


def arguments(wrap: Wrap) -> Program:
    @wrap
    def f(x: Any, given: dict[str, Any], rows: list[Any]) -> Any:
        given["double"] = x * 2
        given["calls"] = given.get("calls", 0) + 1
        rows.append(given["double"] + 1)
        rows[0] = rows[0] + x
        return rows[-1].sum()

    given: dict[str, Any] = {}
    rows = [torch.zeros(3)]

    def call(x: Any) -> Any:
        del rows[1:]
        return f(x, given, rows)

    return call, lambda: (given, rows)


def windows(wrap: Wrap) -> Program:
    recent, names = deque([torch.zeros(3)] * 2, maxlen=2), set()

    @wrap
    def f(x: Any) -> Any:
        recent.append(x * 3)
        names.add("f")
        return sum(recent)

    return f, lambda: (list(recent), names)


def numbers(wrap: Wrap) -> Program:
    @wrap
    def f(x: Any) -> Any:
        n, k = x.norm().item(), int(x.argmax())
        scale = math.sqrt(n) + math.exp(-n) + max(n, 3.0) + math.floor(n) + float(x[0])
        if n > 4:
            scale = scale * 2
        return x * scale, n, k, bool((x > 1).all()), x.tolist(), round(1.26, 1)

    return f, lambda: None


@dataclass(frozen=True)
class Body:
    position: Any
    velocity: Any
    steps: int = 0


@dataclass
class Track:
    bodies: list[Any] = field(default_factory=list)


def dataclasses(wrap: Wrap) -> Program:
    track = Track()
    body = Body(torch.arange(3.0), torch.ones(3))

    @wrap
    def f(body: Body, x: Any) -> Body:
        return replace(body, position=body.position + 0.1 * body.velocity * x, steps=body.steps + 1)

    def call(x: Any) -> Any:
        nonlocal body
        body = f(body, x)
        track.bodies.append(body)
        return body.position

    return call, lambda: (body, track)


PROGRAMS = [
    counter, closure, global_dict, hidden_state, activations, normalized, branches, loops, arguments, windows, numbers,
    dataclasses,
]  # fmt: skip


def plain(value: Any) -> Any:
    leaves, _ = trees.flatten(value, none_is_leaf=True)
    return [leaf.detach().tolist() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_changes_are_those_of_eager_mode(program: Callable[[Wrap], Program]) -> None:
    seen: list[list[Any]] = []
    made: list[Any] = []

    def compiled(function: Any) -> Any:
        made.append(torch.compile(function))
        return made[-1]

    for wrap in (lambda function: function, compiled):
        f, changed = program(wrap)
        rows = []
        for step in range(8):
            result = f(torch.arange(1.0, 4.0) * (1 + (step * 5) % 7))
            rows.append((plain(result), plain(changed())))
        seen.append(rows)
    assert made[0].compile_count <= 4, made[0].explain()
    for eager, native in zip(*seen, strict=True):
        for left, right in zip(eager, native, strict=True):
            assert [type(item) for item in left] == [type(item) for item in right]
            for a, b in zip(left, right, strict=True):
                if isinstance(a, (float, list)):
                    np.testing.assert_allclose(a, b, rtol=1e-5)
                else:
                    assert a == b


def test_a_failing_call_and_a_look_change_nothing() -> None:
    held = {"calls": 0, "rows": []}

    @torch.compile
    def f(x: Any) -> Any:
        held["calls"] += 1
        held["rows"].append(x * 2)
        return x.reshape(2, 2)

    with pytest.raises(RuntimeError, match="is invalid for input of size 3"):
        f(torch.ones(3))
    assert held == {"calls": 0, "rows": []}
    f.graph(torch.ones(4))
    assert held == {"calls": 0, "rows": []}
    f(torch.ones(4))
    assert held["calls"] == 1 and held["rows"][0].tolist() == [2.0] * 4


def test_a_gradient_flows_through_what_is_put_elsewhere() -> None:
    class Kept:
        loss: Any = None

    kept = Kept()

    @torch.compile
    def f(x: Any) -> None:
        kept.loss = (x**3).sum()

    for _ in range(3):
        x = torch.arange(3.0, requires_grad=True)
        f(x)
        kept.loss.backward()
        assert x.grad.tolist() == [0.0, 3.0, 12.0]


def test_lists_that_grow_in_a_branch_are_refused() -> None:
    rows: list[Any] = []

    @torch.compile
    def f(x: Any) -> Any:
        if x.sum() > 0:
            rows.append(x)
        return x

    with pytest.raises(RuntimeError, match="changes its length inside an `if` or a loop on a traced tensor"):
        f(torch.ones(2))
    assert rows == []


class Settings:
    scale = 2.0


def test_class_attributes_and_replaced_objects_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = linear(2, 2)

    @torch.compile
    def f(x: Any) -> Any:
        return layer(x) * Settings.scale

    x = torch.ones(2)
    assert torch.allclose(f(x), layer(x) * 2)
    monkeypatch.setattr(Settings, "scale", 3.0)
    assert torch.allclose(f(x), layer(x) * 3)
    layer = linear(2, 2)
    with torch.no_grad():
        layer.bias.fill_(5.0)
    assert torch.allclose(f(x), layer(x) * 3)


def scheduled_steps(wrap: Wrap) -> tuple[list[Any], list[Any], int]:
    model, log = linear(2, 1), {}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    @wrap
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()
        log["loss"] = loss.item()
        return loss.detach()

    rows = [(step(torch.ones(3, 2)).item(), log["loss"], optimizer.param_groups[0]["lr"]) for _ in range(4)]
    return rows, model.weight.detach().tolist(), schedule.last_epoch


def test_a_schedule_of_rates_steps_inside_a_compiled_step() -> None:
    eager, native = scheduled_steps(lambda function: function), scheduled_steps(torch.compile)
    assert eager[2] == native[2] == 4
    for expected, found in zip(eager[:2], native[:2], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_function_that_needs_ever_new_programs_says_so_once() -> None:
    rows: list[int] = []

    @torch.compile
    def f(x: Any) -> Any:
        rows.append(len(rows))
        return x + len(rows)

    with pytest.warns(RuntimeWarning, match="has needed 32 programs by now.*what a list holds") as caught:
        for count in range(40):
            assert f(torch.zeros(1)).item() == count + 1
    assert len(caught) == 1 and f.compile_count == 40


class Shadowed:
    """Settings in the class, as a base of what instances set for themselves."""

    factor = 2.0


def test_an_instance_that_gets_what_its_class_had() -> None:
    settings = Shadowed()
    compiled = torch.compile(lambda x: x * settings.factor)
    assert compiled(torch.ones(1)).item() == 2.0
    settings.factor = 3.0
    assert compiled(torch.ones(1)).item() == 3.0
    del settings.factor
    assert compiled(torch.ones(1)).item() == 2.0


def test_a_minimum_that_is_kept_in_a_branch() -> None:
    class Best:
        value: float | None = None

    best = Best()

    def step(x: Any) -> None:
        loss = x.sum()
        if best.value is None or loss.item() < best.value:
            best.value = loss.item()

    compiled = torch.compile(step)
    seen = []
    for value in (3.0, 1.0, 2.0, 0.5):
        compiled(torch.tensor([value]))
        seen.append(best.value)
    assert seen == [3.0, 1.0, 1.0, 0.5]


def test_buffers_that_were_replaced_between_calls() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    compiled = torch.compile(model)
    x = torch.arange(18.0).reshape(6, 3)
    compiled(x)
    model.double()
    model.float()
    handle = model[0].register_forward_hook(lambda module, given, found: found * 0)
    compiled(x)
    handle.remove()
    assert torch.allclose(compiled(x), model(x), atol=1e-5)
