"""Elements that a turn writes and a later one reads are carried: the loop reads them from memory no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.pipeline import stages

N = 7


def vector(x: Any, i: Any) -> Any:
    x = x[0].clone()

    def turn(j: Any, x: Any) -> Any:
        x[j] = x[j - 1] * 0.5 + x[j - 3]
        return x

    return torch.fori_loop(3, N, turn, x)


def row(x: Any, i: Any) -> Any:
    """Along the last axis, in a row that the loop outside counts; elements of the row before are read from memory."""

    def outer(i: Any, x: Any) -> Any:
        def turn(j: Any, x: Any) -> Any:
            x[i, j] = x[i, j - 1] * 2 + x[i - 1, j] * 3 - x[i, j - 2] * 0.5
            return x

        return torch.fori_loop(2, N, turn, x)

    return torch.fori_loop(1, N, outer, x.clone())


def column(x: Any, i: Any) -> Any:
    """Along the first axis, in a column that is a number, and back from the end."""

    def turn(j: Any, x: Any) -> Any:
        x[N - 2 - j, 3] = x[N - 1 - j, 3] * 2 + x[N - 1 - j, 2]
        return x

    return torch.fori_loop(0, N - 1, turn, x.clone())


def rows_at_once(x: Any, i: Any) -> Any:
    def turn(j: Any, x: Any) -> Any:
        x[j] = x[j - 1] * 0.5 + x[j]
        return x

    return torch.fori_loop(1, N, turn, x.clone())


def diagonal(x: Any, i: Any) -> Any:
    """Two indices count: the one before along both is no element of a row, and is read from memory."""

    def turn(j: Any, x: Any) -> Any:
        x[j, j] = x[j - 1, j - 1] * 0.5 + x[j, j - 1]
        return x

    return torch.fori_loop(1, N, turn, x.clone())


def one_turn(x: Any, i: Any) -> Any:
    def turn(j: Any, x: Any) -> Any:
        x[2, j] = x[2, j - 4] + 1
        return x

    return torch.fori_loop(4, 5, turn, x.clone())


def other_row(x: Any, i: Any) -> Any:
    def turn(j: Any, x: Any) -> Any:
        x[2, j] = x[1, j - 1] + x[j - 1, 2]
        return x

    return torch.fori_loop(1, N, turn, x.clone())


def unknown_row(x: Any, i: Any) -> Any:
    """The row may be outside: its index is looked at in every turn."""

    def turn(j: Any, x: Any) -> Any:
        x[i, j] = x[i, j - 1] + 1
        return x

    return torch.fori_loop(1, N, turn, x.clone())


CASES = [(vector, 0), (row, 1), (column, 1), (rows_at_once, 1), (diagonal, 2), (one_turn, 0), (other_row, 2),
         (unknown_row, 1)]  # fmt: skip


@pytest.mark.parametrize(("function", "reads"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_only_elements_of_others_are_read(function: Any, reads: int) -> None:
    random = np.random.default_rng(5)
    x, i = torch.tensor(random.standard_normal((N, N))), torch.tensor(3)
    compiled = torch.compile(function)
    torch.testing.assert_close(compiled(x, i), function(x, i), rtol=1e-12, atol=1e-12)
    simplified = dict(stages(compiled.graph(x, i)))["simplify"]
    loops = [node for node in simplified.walk() if node.op.name == "scan"]
    inner = [node for node in loops[-1].regions[0].walk() if node.op.name == "gather"]
    assert len(inner) == reads
    found, expected = x.clone().requires_grad_(), x.clone().requires_grad_()
    compiled(found, i).sum().backward()
    function(expected, i).sum().backward()
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-10, atol=1e-10)


def test_a_row_outside_is_an_error() -> None:
    x = torch.zeros(N, N, dtype=torch.float64)
    with pytest.raises(IndexError):
        torch.compile(unknown_row)(x, torch.tensor(N))
