"""Compiled functions that go back into what was computed outside: gradients at a chosen tensor, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit.ir.errors import TraceError


def _leaf() -> Any:
    return torch.ones(3, requires_grad=True)


@pytest.mark.parametrize("captured", [True, False])
def test_a_chosen_tensor_from_outside_gets_the_gradient_itself(captured: bool) -> None:
    weight = _leaf()
    computed = weight * 2
    computed.retain_grad()

    def step(z: Any) -> None:
        z = computed if captured else z
        (z * z).sum().backward(inputs=[z])

    torch.compile(step)(computed)
    assert weight.grad is None and computed.grad.tolist() == [4.0] * 3
    assert torch.compile(lambda z: torch.autograd.grad((z * weight).sum(), [z])[0])(computed).tolist() == [1.0] * 3


def _through_inputs(weight: Any, z: Any) -> None:
    (z * z).sum().backward(inputs=[weight])


def _through_grad(weight: Any, z: Any) -> Any:
    return torch.autograd.grad((z * weight).sum(), [weight], allow_unused=True)[0]


def _with_graph(weight: Any, z: Any) -> None:
    (z * z).sum().backward(create_graph=True)


def _retained(weight: Any, z: Any) -> Any:
    z.retain_grad()
    (z * z).sum().backward()
    return z.grad


def _read(weight: Any, z: Any) -> Any:
    (z * z).sum().backward()
    return z.grad


def _saved_and_written(weight: Any, z: Any) -> None:
    z.sum().backward()
    with torch.no_grad():
        weight.mul_(0.5)


def _in_a_branch(weight: Any, z: Any) -> Any:
    def branch(value: Any) -> Any:
        (value * z).sum().backward()
        return value * 1

    return torch.cond(z.sum() > 100, lambda value: value * 2, branch, (torch.ones(3),))


@pytest.mark.parametrize(
    "step",
    [_through_inputs, _through_grad, _with_graph, _retained, _read, _saved_and_written, _in_a_branch],
)
def test_gradients_that_would_miss_a_part_are_refused(step: Callable[[Any, Any], Any]) -> None:
    weight = _leaf()
    computed = weight * weight
    with pytest.raises(TraceError, match="hint: "):
        torch.compile(lambda z: step(weight, z))(computed)
    assert weight.grad is None and weight.tolist() == [1.0] * 3
    assert not computed.requires_grad or computed._grad is None


def test_hooks_do_not_see_a_gradient_in_parts() -> None:
    weight, seen = _leaf(), []
    weight.register_hook(seen.append)
    with pytest.raises(TraceError, match="hooks outside"):
        torch.compile(lambda z: (z * weight).sum().backward())(weight * weight)
    assert not seen and weight.grad is None
    torch.compile(lambda z: (z * 3).sum().backward())(weight * weight)
    assert len(seen) == 1 and weight.grad.tolist() == [6.0] * 3


@pytest.mark.parametrize("retain", [True, False])
def test_a_second_pass_in_the_function_needs_the_graph_kept(retain: bool) -> None:
    weight = _leaf()

    def step(z: Any) -> None:
        first, second = (z * z).sum(), (z * 3).sum()
        first.backward(retain_graph=retain)
        second.backward()

    if retain:
        torch.compile(step)(weight * weight)
        assert weight.grad.tolist() == [10.0] * 3
    else:
        with pytest.raises(RuntimeError, match="a second time"):
            torch.compile(step)(weight * weight)
        assert weight.grad is None


def test_a_freed_graph_outside_is_found_before_anything_is_written() -> None:
    weight, head, count = _leaf(), _leaf(), torch.zeros(1)
    optimizer = torch.optim.SGD([head], lr=0.1)

    @torch.compile
    def step(z: Any) -> None:
        (z * head).sum().backward()
        optimizer.step()
        count.add_(1)

    step(weight * weight)
    before = head.tolist(), head.grad.tolist(), weight.grad.tolist()
    computed = weight * weight
    computed.sum().backward()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a second time"):
            step(computed)
    assert (head.tolist(), head.grad.tolist()) == before[:2] and count.item() == 1
