"""Small functions whose control flow depends on data: compiled they give what they give in Python, or say why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from tests.frontends import control_choices, control_loops, control_refused

Function = Callable[..., Any]
INPUTS = ([1.0, 2.0, -3.0, 4.0], [-1.0, 2.0, 3.0, 4.0], [1.0, 20.0, 3.0, 4.0])


def parts_of(result: Any) -> list[torch.Tensor]:
    parts = result if isinstance(result, tuple) else (result,)
    return [torch.as_tensor(part, dtype=torch.float32) for part in parts]


def gradient_of(function: Function, numbers: list[float]) -> torch.Tensor:
    x = torch.tensor(numbers, requires_grad=True)
    total = sum(part.sum() for part in parts_of(function(x)))
    assert isinstance(total, torch.Tensor)
    if not total.requires_grad:
        return torch.zeros(len(numbers))
    (found,) = torch.autograd.grad(total, x, allow_unused=True)
    return torch.zeros(len(numbers)) if found is None else found


@pytest.mark.parametrize("function", control_loops.PROGRAMS + control_choices.PROGRAMS)
def test_compiled_is_as_in_python(function: Function) -> None:
    compiled = torch.compile(function)
    for numbers in INPUTS:
        x = torch.tensor(numbers)
        for found, wanted in zip(parts_of(compiled(x.clone())), parts_of(function(x.clone())), strict=True):
            torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(gradient_of(compiled, numbers), gradient_of(function, numbers))


@pytest.mark.parametrize("function", control_refused.PROGRAMS)
def test_others_are_errors_that_say_what_to_write(function: Function) -> None:
    with pytest.raises((RuntimeError, NameError), match="hint: "):
        torch.compile(function)(torch.tensor(INPUTS[0]))
