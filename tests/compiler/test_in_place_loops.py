"""Loops and branches in loops change a carried table where it is, and give what the plain program gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.memory import MemoryPlan, byte_count, plan_memory
from adjit.compiler.pipeline import lowered

N = 24


def rows_of_cells(x: Any, places: Any) -> Any:
    """A table of which an inner loop writes each row, from the row before."""

    def row(i: Any, x: Any) -> Any:
        def cell(j: Any, x: Any) -> Any:
            x[i, j] = torch.maximum(x[i - 1, j - 1] + x[i - 1, j], x[i, j - 1] * 1.5) * 0.5
            return x

        return torch.fori_loop(1, N, cell, x)

    return torch.fori_loop(1, N, row, x.clone())


def branch(x: Any, places: Any) -> Any:
    """A branch that writes elements, one after the other, and one that writes none."""
    x = x.clone()
    for i, j in places:
        if x[i, j] > x[j, i]:
            x[i, j] = -x[i, j]
            x[j, i] = x[i, j] * 0.5
    return x


def both_branches(x: Any, places: Any) -> Any:
    x = x.clone()
    for i, j in places:
        if x[i, j] > 0:
            x[i, j] = -x[j, i]
        else:
            x[j, i] += x[i, j]
    return x


def exchanged(x: Any, places: Any) -> Any:
    """A branch that gives two tables the other way round."""
    x, y = x.clone(), x * 2
    for i, j in places:
        if x[i, j] > y[j, i]:
            x, y = y, x
        else:
            y[i, j] = x[j, i]
    return x - 3 * y


def kept(x: Any, places: Any) -> Any:
    """What the branch writes over is read after it."""
    x = x.clone()
    for i, j in places:
        y = x
        if x[i, j] > 0:
            x = x.clone()
            x[i, j] = -x[j, i]
        x = x + y[j] * 0.125
    return x


def whole_in_branch(x: Any, places: Any) -> Any:
    """A branch that computes each element from another one."""
    x = x.clone()
    for i, j in places:
        if x[i, j] > 0:
            x = x.flip(0) * 0.5 + x
        else:
            x[j, i] = x[i, j] + 1
    return x


def while_in_branch(x: Any, places: Any) -> Any:
    x = x.clone()
    for i, j in places:
        if x[i, j] > 0:
            k = j * 1
            while k > 0 and x[i, k - 1] > x[i, k]:
                x[i, k - 1], x[i, k] = x[i, k].clone(), x[i, k - 1].clone()
                k = k - 1
        else:
            x[i, j] = 1.0
    return x


def stencil_in_loop(x: Any, places: Any) -> Any:
    """The inner loop computes the table anew in each turn, an element of which the outer one writes."""

    def turn(i: Any, x: Any) -> Any:
        x[i, i] = 1.0
        return torch.fori_loop(0, 3, lambda _, x: x.roll(1, 0) * 0.5 + x, x)

    return torch.fori_loop(0, 5, turn, x.clone())


def two_at_once(x: Any, places: Any) -> Any:
    """Branches of which the first kernel computes something that is read later beside the table."""
    y, weights = x[0] * 2, x.sin()

    def of(read: Any, table: Any) -> Any:
        table = table * (weights @ (weights @ table))
        return table, weights @ read + (weights @ table) * read

    table, other = of(y.exp(), y.cos()) if x[0, 0] > 0 else of(y.tanh(), y.cos())
    return weights @ table + other


PROGRAMS = {f.__name__: f for f in (
    rows_of_cells, branch, both_branches, exchanged, kept, whole_in_branch, while_in_branch, stencil_in_loop,
    two_at_once,
)}  # fmt: skip


def operands() -> tuple[Any, Any]:
    random = np.random.default_rng(3)
    return torch.tensor(random.standard_normal((N, N))), torch.tensor(random.integers(0, N, (9, 2)))


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_loops_give_what_eager_ones_give(name: str) -> None:
    x, places = operands()
    expected, before = PROGRAMS[name](x, places), x.clone()
    compiled = torch.compile(PROGRAMS[name])
    for _ in range(3):  # memory is not as it was
        torch.testing.assert_close(compiled(x, places), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ["rows_of_cells", "branch", "both_branches", "while_in_branch", "stencil_in_loop"])
def test_gradients_through_them(name: str) -> None:
    x, places = operands()
    found, expected = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.compile(PROGRAMS[name])(found, places).square().sum().backward()
    PROGRAMS[name](expected, places).square().sum().backward()
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["rows_of_cells", "branch", "both_branches"])
def test_no_turn_copies_the_table(name: str) -> None:
    x, places = operands()
    plan, graph = planned(PROGRAMS[name], x, places)
    whole = byte_count(graph.inputs[0].type)
    for place, copies in plan.copies.items():
        whole_copies = [copy for copy in copies if byte_count(copy.type) == whole and copy.source not in plan.inputs]
        assert place is graph or not whole_copies
    assert not plan.exchanges
    assert plan.arena < 2 * whole


def planned(function: Callable[..., Any], *given: Any) -> tuple[MemoryPlan, Any]:
    graph = lowered(torch.compile(function).graph(*given))
    return plan_memory(graph, 3), graph
