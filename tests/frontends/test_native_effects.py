"""Compiled functions that change Python are served natively, and change what the function itself changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit import nn
from adjit.native import install

pytestmark = pytest.mark.skipif(not install.install(), reason="this interpreter's objects are not known")
COUNT = 0


class State:
    """Attributes that a function writes."""

    def __init__(self) -> None:
        self.n, self.last, self.mean = 0, None, torch.zeros(3)


def attributes() -> tuple[Callable[..., Any], Callable[[], Any]]:
    state = State()

    def function(x: Any) -> Any:
        state.n += 1
        state.last = x + 1
        state.mean = state.mean * 0.5 + x
        return x * state.n

    return function, lambda: (state.n, state.last.tolist(), state.mean.tolist())


def closures() -> tuple[Callable[..., Any], Callable[[], Any]]:
    total, calls = torch.zeros(3), 0.5

    def function(x: Any) -> Any:
        nonlocal total, calls
        total = total + x
        calls *= 1.5
        return {"sum": total.sum()}

    return function, lambda: (total.tolist(), calls)


def containers() -> tuple[Callable[..., Any], Callable[[], Any]]:
    seen: list[Any] = []
    found: dict[str, Any] = {}

    def function(x: Any) -> Any:
        seen.append(x * 2)
        found["latest"] = x.sum()
        return x - 1, x + 1

    return function, lambda: ([item.tolist() for item in seen], {key: item.item() for key, item in found.items()})


def a_global() -> tuple[Callable[..., Any], Callable[[], Any]]:
    def function(x: Any) -> Any:
        global COUNT
        COUNT += 2
        return x * 3

    def state() -> Any:
        global COUNT
        found, COUNT = COUNT, 0
        return found

    return function, state


def a_module() -> tuple[Callable[..., Any], Callable[[], Any]]:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls, self.hidden = nn.Linear(3, 3), 0, torch.zeros(3)

        def forward(self, x: Any) -> Any:
            self.calls += 1
            self.hidden = (self.hidden + self.inner(x)).tanh()
            return self.hidden

    torch.manual_seed(2)
    module = Counting().requires_grad_(False)
    return module, lambda: (module.calls, module.hidden.tolist())


def shown(result: Any) -> Any:
    if isinstance(result, dict):
        return {key: shown(item) for key, item in result.items()}
    return [shown(item) for item in result] if isinstance(result, tuple) else result.tolist()


def served(function: Any) -> int:
    native = function._native
    return 0 if native is None else sum(native.calls(e) for entries in function._entries.values() for e in entries)


@pytest.mark.parametrize("make", [attributes, closures, containers, a_global, a_module])
def test_changes_are_those_of_the_function(make: Callable[[], Any]) -> None:
    calls = 14
    results = []
    for compiled in (False, True):
        function, state = make()
        called = torch.compile(function) if compiled else function
        found = [shown(called(torch.arange(3.0) + 0.5 * step)) for step in range(calls)]
        results.append([*found, state()])
    assert repr(results[1]) == repr(results[0]) or torch.allclose(
        *(torch.tensor([x for part in flat(result) for x in [part]]) for result in results)
    )
    assert served(called) >= calls // 2


def flat(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    return [x for item in value for x in flat(item)] if isinstance(value, (list, tuple)) else [float(value)]


def test_changes_from_outside_are_seen() -> None:
    state = State()

    def function(x: Any) -> Any:
        state.n += 1
        state.mean = state.mean + x
        return state.mean * state.n

    compiled = torch.compile(function)
    x = torch.ones(3)
    for _ in range(8):
        compiled(x)
    assert served(compiled) > 0
    state.n, state.mean = 100, torch.full((3,), 2.0)
    assert compiled(x).tolist() == [303.0] * 3
    state.mean = torch.zeros(2, 3)
    assert compiled(x).tolist() == [[102.0] * 3] * 2
    state.n = 0.5
    assert compiled(x).tolist() == [[3.0] * 3] * 2
    assert state.n == 1.5


def test_a_module_that_it_reads_is_watched() -> None:
    layer, seen = nn.Linear(3, 2), []

    def function(x: Any) -> Any:
        y = layer(x)
        seen.append(y)
        return y

    compiled = torch.compile(function)
    x = torch.ones(3)
    with torch.no_grad():
        for _ in range(6):
            compiled(x)
        before = served(compiled)
        assert before > 0
        layer.weight = nn.Parameter(torch.zeros(2, 3))
        layer.bias.zero_()
        assert compiled(x).tolist() == [0.0, 0.0]
        assert len(seen) == 7


def test_a_flag_that_the_function_takes_back_tells_programs_apart() -> None:
    state = {"first": True}

    def function(x: Any) -> Any:
        if state["first"]:
            state["first"] = False
            return x * 2
        return x * 3

    compiled = torch.compile(function)
    for _ in range(5):
        state["first"] = True
        assert compiled(torch.ones(1)).item() == 2
        assert compiled(torch.ones(1)).item() == 3
        assert compiled(torch.ones(1)).item() == 3
