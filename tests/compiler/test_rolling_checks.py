"""Loops that factorize a matrix in each turn roll, and a fault raises what the turns as they were written raise."""

from __future__ import annotations

from typing import Any

import pytest

import adjit as torch

TURNS = 30


def filtered(scale: Any, start: Any) -> Any:
    """A loop that inverts one matrix and factorizes another; `scale[t]` of 0 makes a fault in turn t."""
    x = start
    for turn in range(TURNS):
        x = 0.1 * torch.linalg.inv(x * scale[turn, 0]) + torch.eye(2)
        x = torch.linalg.cholesky(torch.eye(2) * scale[turn, 1] + 0.01 * x @ x.mT) + 0.3 * start
    return x


def batched(scale: Any, start: Any) -> Any:
    x = torch.stack([start, start])
    for turn in range(TURNS):
        factor = scale[turn].reshape(2, 1, 1)
        x = 0.1 * torch.linalg.solve(factor * (0.01 * x + torch.eye(2)), x) + start
    return x


START = [[1.0, 0.3], [-0.2, 1.0]]


@pytest.mark.parametrize("function", [filtered, batched])
def test_loops_with_checks_roll(function: Any) -> None:
    scale, start = torch.full((TURNS, 2), 1.5), torch.tensor(START, requires_grad=function is batched)
    compiled = torch.compile(function)
    assert str(compiled.stages(scale, start)["roll"]).count("scan") >= 1
    found, expected = compiled(scale, start), function(scale, start)
    assert torch.allclose(found, expected, atol=1e-6)
    if function is filtered:
        return
    grads = [torch.autograd.grad(result.sum(), start)[0] for result in (found, expected)]
    assert torch.allclose(*grads, atol=1e-5)


@pytest.mark.parametrize("faults", [[(11, 1)], [(4, 1), (3, 0)], [(3, 1), (3, 0), (9, 0)], [(29, 0)]])
@pytest.mark.parametrize("function", [filtered, batched])
def test_the_first_fault_is_raised(function: Any, faults: list[tuple[int, int]]) -> None:
    scale, start = torch.full((TURNS, 2), 1.5), torch.tensor(START)
    good = scale.clone()
    for turn, which in faults:
        scale[turn, which] = -1000.0 if function is filtered and which else 0.0
    steps = torch.zeros(())

    def counted(scale: Any, start: Any) -> Any:
        steps.add_(1)
        return function(scale, start)

    compiled = torch.compile(counted)
    with pytest.raises(RuntimeError) as expected:
        function(scale, start)
    for _ in range(3):
        with pytest.raises(type(expected.value)) as found:
            compiled(scale, start)
        assert str(found.value).partition("\n")[0] == str(expected.value).partition("\n")[0]
    assert steps.item() == 0
    assert torch.allclose(compiled(good, start), function(good, start), atol=1e-6) and steps.item() == 1
