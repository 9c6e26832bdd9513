"""`retain_grad`: what several passes leave, and a tensor that takes another value in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch

MODES = pytest.mark.parametrize("mode", [lambda f: f, torch.compile], ids=["eager", "compiled"])


@MODES
def test_the_gradients_of_several_passes_add_up(mode: Callable[..., Any]) -> None:
    def step(x: Any) -> Any:
        y = x * 2
        y.retain_grad()
        loss = (y * y).sum()
        loss.backward(retain_graph=True)
        first = y.grad.clone()
        loss.backward()
        return first, y.grad

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    first, both = mode(step)(x)
    assert (first.tolist(), both.tolist(), x.grad.tolist()) == ([4.0, 8.0], [8.0, 16.0], [16.0, 32.0])


@pytest.mark.parametrize("rounds", [1, 50])
def test_what_a_pass_left_stays_as_it_is(rounds: int) -> None:
    for _ in range(rounds):  # native after some of them
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        y = x * 2
        y.retain_grad()
        loss = (y * y).sum()
        loss.backward(retain_graph=True)
        first = y.grad
        torch.autograd.grad(loss, x, retain_graph=True)
        torch.autograd.grad(loss, y, retain_graph=True)
        loss.backward(create_graph=True)
        assert (first.tolist(), y.grad.tolist()) == ([4.0, 8.0], [16.0, 32.0])
        assert y.grad.requires_grad and not first.requires_grad


@MODES
@pytest.mark.parametrize("rounds", [1, 50])
def test_the_gradient_is_that_of_the_value_a_tensor_took_in_place(mode: Callable[..., Any], rounds: int) -> None:
    def step(x: Any) -> Any:
        y = x * 2
        y.retain_grad()
        y.mul_(3)
        kept = y.retains_grad
        (y * y).sum().backward()
        return y.grad, kept

    stepped = mode(step)
    for _ in range(rounds):
        gradient, kept = stepped(torch.tensor([1.0, 2.0], requires_grad=True))
        assert gradient.tolist() == [12.0, 24.0] and kept


def test_a_view_keeps_its_gradient_when_its_base_takes_another_value() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    base = x * 2
    part = base[:1]
    part.retain_grad()
    base.mul_(3)
    (part * part).sum().backward()
    assert (part.grad.tolist(), x.grad.tolist()) == ([12.0], [72.0, 0.0])


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_share_no_memory(create_graph: bool) -> None:
    x, z = (torch.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    shown: list[Any] = []
    x.register_hook(shown.append)
    y = x + z
    y.retain_grad()
    y.grad_fn.register_hook(lambda inputs, outputs: shown.extend(inputs))
    seed = torch.ones(2)
    y.backward(seed, create_graph=create_graph)
    with torch.no_grad():
        x.grad.mul_(5)
        y.grad.mul_(7)
    assert [g.tolist() for g in (seed, z.grad, *shown)] == [[1.0, 1.0]] * 5
    (x * 2).sum().backward()  # in place, whether the first pass made a graph or not
    assert (x.grad.tolist(), x.grad.requires_grad, z.grad.tolist()) == ([7.0, 7.0], False, [1.0, 1.0])


def test_the_seed_of_a_leaf_is_not_its_gradient() -> None:
    for create_graph in (False, True):
        x, seed = torch.tensor([1.0, 2.0], requires_grad=True), torch.ones(2)
        x.backward(seed, create_graph=create_graph)
        x.backward(seed)
        assert (x.grad.tolist(), seed.tolist()) == ([2.0, 2.0], [1.0, 1.0])


def test_a_gradient_with_a_graph_takes_more_in_place() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward(create_graph=True)
    first = x.grad
    (x * x).sum().backward()
    assert x.grad is first and x.grad.requires_grad and x.grad.tolist() == [4.0, 8.0]
    x.grad = None
    first.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_inputs_that_are_no_leaves_retain_their_gradients() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    for retained in (1.0, 2.0):  # retained once, whatever asks for it
        y.sum().backward(retain_graph=True, inputs=y)
        assert y.retains_grad and y.grad.tolist() == [retained] * 2 and x.grad is None
    y.sum().backward()
    assert (y.grad.tolist(), x.grad.tolist()) == ([3.0, 3.0], [2.0, 2.0])


def test_hooks_of_what_a_pass_does_not_need_are_not_called() -> None:
    x, z = (torch.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    called: list[str] = []
    inner, product = z * 3, x * z
    inner.retain_grad()
    inner.register_hook(lambda g: called.append("inner"))
    z.register_hook(lambda g: called.append("z"))
    x.register_hook(lambda g: called.append("x"))
    torch.autograd.grad((product + inner).sum(), [x])
    assert called == ["x"] and inner.grad is None


def test_hooks_after_accumulation_give_nothing() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    seen: list[Any] = []
    handle = x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.tolist()))
    (x * 2).sum().backward(inputs=[x])
    assert seen == [[2.0, 2.0]]
    handle.remove()
    x.register_post_accumulate_grad_hook(lambda p: p.grad)
    with pytest.raises(RuntimeError, match=r"^Tensor post accumulate grad hooks should return None\.$"):
        (x * 2).sum().backward()


def test_gradients_of_zeros_take_part_in_the_graph() -> None:
    x, z = (torch.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    for create_graph in (False, True):
        found = torch.autograd.grad((x * x).sum(), [x, z], create_graph=create_graph, materialize_grads=True)
        assert found[1].tolist() == [0.0, 0.0] and found[1].requires_grad is create_graph
