"""Captured control flow: errors that depend on numbers of a call, and variables from outside the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch

INPUTS = [torch.tensor(values) for values in ([0.3, 0.4], [2.0, -0.5], [-1.0, 0.2])]


def asserting(x: torch.Tensor) -> torch.Tensor:
    assert x.sum() < 5, f"the sum is {x.sum():.2f}"
    return x * 2


def raising(x: torch.Tensor) -> torch.Tensor:
    for step in range(3):
        if x.sum() > 5:
            worst = x.max().item()
            raise ValueError(f"{worst:.1f} in step {step}")
        elif x.sum() > 3:
            x = x * 1.1
        else:
            x = x * 2
    return x


def raising_last(x: torch.Tensor) -> torch.Tensor:
    if x.sum() < 5:
        return x.sin()
    else:
        raise KeyError


@pytest.mark.parametrize("function", [asserting, raising, raising_last])
def test_errors_are_raised_by_the_calls_that_meet_them(function: Callable[..., Any]) -> None:
    """And the calls that do not meet them compute, with their gradients."""
    compiled = torch.compile(function)
    outcomes = set()
    for values in ([0.1, 0.2], [2.0, 4.5], [-1.0, 0.5], [3.0, 3.5]):
        found = []
        for run in (function, compiled):
            x = torch.tensor(values, requires_grad=True)
            try:
                result = run(x)
                result.sum().backward()
                assert x.grad is not None
                found.append([*result.tolist(), *x.grad.tolist()])
            except (AssertionError, KeyError, ValueError) as error:
                found.append([type(error), *str(error).splitlines()[:1]])  # pytest adds lines to what an assert says
        assert found[0] == pytest.approx(found[1]) if isinstance(found[0][0], float) else found[0] == found[1]
        outcomes.add(type(found[0][0]))
    assert len(outcomes) == 2


def test_an_error_that_the_function_may_catch_is_refused() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        try:
            if x.sum() > 0:
                raise ValueError
        except ValueError:
            return -x
        return x

    with pytest.raises(RuntimeError, match="a `try` around may catch it"):
        torch.compile(function)(INPUTS[0])


CALLS = 0


def test_variables_from_outside() -> None:
    def nested(x: torch.Tensor) -> torch.Tensor:
        total = x * 0

        def add(y: torch.Tensor) -> None:
            nonlocal total
            total = total + y
            if total.sum() > 2:
                total = total * 0.5

        for step in range(4):
            add(x * step)
        return total

    def counted(x: torch.Tensor) -> torch.Tensor:
        global CALLS
        CALLS += 1
        if x.sum() > 1:
            x = x * 2
        return x

    for x in INPUTS:
        assert torch.allclose(torch.compile(nested)(x), nested(x))
    compiled, before = torch.compile(counted), CALLS
    for x in INPUTS:
        assert torch.allclose(compiled(x), x * 2 if x.sum() > 1 else x)
    assert before + len(INPUTS) == CALLS
