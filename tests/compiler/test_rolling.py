"""Python loops that tracing wrote out: they become scans, with the numbers of the turns as they were written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.legalize import legalize
from adjit.compiler.pipeline import stages
from adjit.compiler.rolling.roll import roll
from adjit.compiler.simplify import simplify
from adjit.ir.analysis import count_ops
from adjit.ir.graph import Graph
from adjit.ir.verify import verify
from adjit.runtime.interpreter import run

TURNS = 40
Program = Callable[..., Any]


def recurrent(x: Any, w: Any, s: Any) -> Any:
    states = []
    for turn in range(TURNS):
        x = torch.tanh(x @ w + s[turn])
        states.append(x)
    return (torch.stack(states, 1) ** 2).sum()


def backwards(x: Any, w: Any, s: Any) -> Any:
    for turn in reversed(range(TURNS)):
        x = torch.softmax(x @ w, -1) + 0.001 * turn * s[turn]
    return (x * s[0]).sum()


def gated(x: Any, w: Any, s: Any) -> Any:
    cell = x * 0.5
    for turn in range(TURNS):
        gate, update = (x @ torch.cat([w, 0.3 * w], 1)).chunk(2, 1)
        cell = torch.sigmoid(gate) * cell + torch.tanh(update) * s[turn]
        x = torch.tanh(cell)
    return (x * cell).sum()


def older(x: Any, w: Any, s: Any) -> Any:
    a, b = x, 0.3 * x
    for turn in range(TURNS):
        a, b = b, torch.sin(a * s[0] + b) + (1 - 0.01 * turn) * a
    return (a * b).sum()


def power(x: Any, w: Any, s: Any) -> Any:
    v = x[0]
    for _ in range(TURNS):
        v = w @ v
        v = v / v.norm()
    return v @ w @ v + s[0, 0, 0]


def corners(x: Any, w: Any, s: Any) -> Any:
    for turn in range(TURNS):
        x = torch.tanh(x + s[turn] * s[turn, 1] + s[turn, 2, 1:4].sum() * s[0, turn % 1] + s[turn, :, 1:2])
    return x.sum()


def blocks(x: Any, w: Any, s: Any) -> Any:
    row, total = s.reshape(-1), x[0, 0]
    for turn in range(TURNS):
        total = torch.cos(total + (row[4 * turn : 4 * turn + 4] * x[0, :4]).sum()) + row[2 * turn]
    return total * w[0, 0]


def descent(x: Any, w: Any, s: Any) -> Any:
    for turn in range(TURNS):
        gradient = torch.func.grad(lambda v: ((x @ v - s[0]) ** 2).mean())(w)
        w = w - (0.1 + 0.01 * turn) * gradient
    return (x @ w).sum()


def written(x: Any, w: Any, s: Any) -> Any:
    states = torch.zeros(TURNS + 1, 3, 5, dtype=x.dtype)
    states[0] = x
    for turn in range(TURNS):
        states[turn + 1] = states[turn] + 0.1 * torch.sin(states[turn] @ w + s[turn])
    return (states[1:] * s).sum()


def stored(x: Any, w: Any, s: Any) -> Any:
    states = torch.zeros(3, TURNS, dtype=x.dtype)
    for turn in range(TURNS):
        x = torch.tanh(x @ w + s[turn])
        states[:, turn] = x.sum(1)
    return (states**2).sum()


def overwritten(x: Any, w: Any, s: Any) -> Any:
    row = s.reshape(-1)[: 2 * TURNS].clone()
    for turn in reversed(range(TURNS)):
        row[2 * turn] = torch.tanh(row[2 * turn + 1] * x[0, 0]) + w[0, 0]
    return (row**2).sum()


def nested(x: Any, w: Any, s: Any) -> Any:
    for turn in range(TURNS // 2):
        for _ in range(TURNS // 2):
            x = torch.sin(x + s[turn]) * 0.5
        x = x @ w
    return x.sum()


def tables(x: Any, w: Any, s: Any) -> Any:
    rates = RATES.tolist()
    for turn, rate in enumerate(rates):
        x = torch.where(s[turn] > rate, torch.tanh(x @ w) * rate, x + s[int(10 * rate)])
    return x.sum()


def overlapping(x: Any, w: Any, s: Any) -> Any:
    row, total = s.reshape(-1), x[0, 0]
    for turn in range(TURNS):
        total = torch.cos(total + (row[2 * turn : 2 * turn + 5] * x[0]).sum()) + row[3 * turn + 1] * row[turn]
    return total * w[0, 0]


def crossing(x: Any, w: Any, s: Any) -> Any:
    square, total = s.reshape(-1)[:100].reshape(10, 10), x[0, 0]
    grid = torch.zeros(10, 10, dtype=x.dtype)
    for i in range(10):
        for j in range(10):
            total = torch.sin(total * square[i, j] + square[j, i])
            grid[i, j] = total
    return (grid * w[0, 0]).sum()


PROGRAMS = [
    tables, overlapping, crossing, recurrent, backwards, gated, older, power, corners, blocks, descent, stored, nested
]  # fmt: skip
# Autograd forbids to write into what a derivative reads.
WRITING = [written, overwritten]
RANDOM = np.random.default_rng(0)
RATES = RANDOM.random(TURNS)
ARRAYS = (
    RANDOM.standard_normal((3, 5)), 0.3 * RANDOM.standard_normal((5, 5)), RANDOM.standard_normal((TURNS, 3, 5))
)  # fmt: skip


def traced(program: Program, *, gradients: bool) -> Graph:
    wanted = torch.func.grad_and_value(program, argnums=(0, 1, 2)) if gradients else program
    return simplify(legalize(torch.compile(wanted).graph(*map(torch.from_numpy, ARRAYS))))


CASES = [(program, gradients) for program in PROGRAMS for gradients in (False, True)]


@pytest.mark.parametrize(("program", "gradients"), CASES + [(program, False) for program in WRITING])
def test_turns_become_loops(program: Program, gradients: bool) -> None:
    graph = traced(program, gradients=gradients)
    rolled = roll(graph)
    if len(graph.nodes) >= 256:
        assert count_ops(rolled)["scan"] and len(rolled.nodes) < len(graph.nodes) / 3
    verify(rolled)
    for found, wanted in zip(run(rolled, *ARRAYS), run(graph, *ARRAYS), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("program", [recurrent, older])
def test_compiled_loops_agree_with_eager_mode(program: Program) -> None:
    function = torch.func.grad_and_value(program, argnums=(0, 1, 2))
    given = [torch.from_numpy(array) for array in ARRAYS]
    compiled = torch.compile(function)
    assert "roll" in dict(stages(compiled.graph(*given)))
    (found, value), (wanted, right) = compiled(*given), function(*given)
    torch.testing.assert_close((value, *found), (right, *wanted))


def changing(x: Any, w: Any, s: Any) -> Any:
    early, late, state = torch.sin(x), torch.cos(x), x
    for turn in range(2 * TURNS):
        state = state * (early if turn < TURNS else late) + 0.1 * w[0]
        state = torch.tanh(state + s[0]) if turn < TURNS else torch.tanh(state + early)
    return state.sum()


def following(x: Any, w: Any, s: Any) -> Any:
    kept, state = x, x
    for turn in range(3 * TURNS):
        state = torch.tanh(kept * 0.9 + state + s[0])
        kept = state if turn < TURNS else kept
    return (state * w[0]).sum()


def partly(x: Any, w: Any, s: Any) -> Any:
    row, total = 0 * s.reshape(-1)[: TURNS + 1], x[0, 0]
    row[0:2] = w[0, :2]
    for turn in range(TURNS):
        total = torch.sin(total) + s[turn, 0, 0] + 0.1 * total * total - 0.3 * torch.cos(total)
        if turn != 1:
            row[turn] = total
    return (row * s.reshape(-1)[: TURNS + 1]).sum()


@pytest.mark.parametrize("program", [changing, following, partly])
def test_turns_that_change_on_the_way_are_not_one_loop(program: Program) -> None:
    graph = traced(program, gradients=False)
    for found, wanted in zip(run(roll(graph), *ARRAYS), run(graph, *ARRAYS), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_short_programs_stay_as_they_are() -> None:
    def short(x: Any) -> Any:
        for _ in range(20):
            x = torch.sin(x) * 2
        return x

    graph = torch.compile(short).graph(torch.ones(3))
    assert [name for name, _ in stages(graph)] == ["trace", "legalize", "simplify", "fuse", "lower"]


@pytest.mark.parametrize("gradients", [False, True])
def test_large_arrays_do_not_go_through_memory_in_every_turn(gradients: bool) -> None:
    def long(x: Any) -> Any:
        for _ in range(200):
            x = x * x * 0.9 + 0.01
        return x.sum()

    function = torch.func.grad(long) if gradients else long
    graph = simplify(legalize(torch.compile(function).graph(torch.ones(100_000))))
    assert count_ops(roll(graph))["scan"] == (0 if gradients else 2)  # over blocks, and in each over turns


@pytest.mark.parametrize("every", [1, 20])
def test_few_turns_of_large_results_are_not_worth_a_stack(every: int) -> None:
    def logged(x: Any) -> Any:
        rows = []
        for turn in range(80):
            x = torch.tanh(x @ x) / 2
            if turn % every == 0:
                rows.append(x)
        return torch.stack(rows)

    graph = simplify(legalize(torch.compile(logged).graph(torch.ones(40, 40))))
    assert bool(count_ops(roll(graph))["scan"]) == (every == 1)


def test_different_turns_are_no_loop() -> None:
    graph = traced(lambda x, w, s: sum((x * float(RANDOM.random())).sin().sum() for _ in range(200)), gradients=False)
    rolled = roll(graph)
    for found, wanted in zip(run(rolled, *ARRAYS), run(graph, *ARRAYS), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("series", [True, False])
def test_zeros_keep_their_signs_in_rolled_numbers(series: bool) -> None:
    first = [0.5 * k if series else 0.3 * k * k - 1.7 for k in range(-20, 20)]
    first[20] = 0.0
    second = [*first[:20], -0.0, *first[21:]]

    def program(x: Any) -> Any:
        found, s = [], x
        for a, b in zip(first, second, strict=True):
            s = torch.sin(s) + 1
            found += [1 / torch.where(s > -5, a, s), 1 / torch.where(s > -6, b, s)]
        return torch.stack(found)

    x = torch.ones(3, dtype=torch.float64)
    compiled = torch.compile(program)
    np.testing.assert_array_equal(compiled(x).numpy(), program(x).numpy())
    assert "scan" in compiled.stages(x)["roll"]


@pytest.mark.parametrize(("start", "size"), [(0, 5), (1, 50), (1, 5), (5, 5)])
def test_sums_of_pieces_keep_the_signs_of_zeros(start: int, size: int) -> None:
    """Gradients of windows at one place, overlapping in places of all or of some, and apart."""

    def program(x: Any, w: Any) -> Any:
        total = 1 - w[0]
        for turn in range(TURNS):
            total = 0.9 * total + (x[3 + start * turn : 3 + start * turn + size] * (total * w[:size])).sum()
        return total

    x, w = np.ones(300), np.full(50, -0.0)
    graph = simplify(legalize(torch.compile(torch.func.grad(program)).graph(*map(torch.from_numpy, (x, w)))))
    rolled = roll(graph)
    assert count_ops(rolled)["scan"] and count_ops(rolled)["pad"] < 5
    (found,), (wanted,) = run(rolled, x, w), run(graph, x, w)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))
