"""Every kind of hook, put before the first compiled call, after it, and taken away: compiled code follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit import nn

Put = Callable[["Net", Any], Any]


class Net(nn.Module):
    """Two layers, with numbers that do not depend on chance."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                count = parameter.numel()
                parameter.copy_((torch.arange(count).reshape(parameter.shape) - count / 2) / (5 + number))

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x).tanh())


HOOKS: dict[str, Put] = {
    "tensor, a parameter": lambda net, x: net.first.weight.register_hook(lambda g: g * 10),
    "tensor, an argument": lambda net, x: x.register_hook(lambda g: g * 10),
    "after accumulation": lambda net, x: net.first.bias.register_post_accumulate_grad_hook(
        lambda p: [p.grad.mul_(2)].clear()),
    "forward": lambda net, x: net.first.register_forward_hook(lambda module, args, out: out * 2),
    "forward pre": lambda net, x: net.second.register_forward_pre_hook(lambda module, args: (args[0] + 1,)),
    "full backward": lambda net, x: net.first.register_full_backward_hook(
        lambda module, inputs, outputs: tuple(None if g is None else g * 3 for g in inputs)),
    "full backward, inner": lambda net, x: net.second.register_full_backward_hook(
        lambda module, inputs, outputs: (inputs[0] * 3,)),
    "full backward pre": lambda net, x: net.second.register_full_backward_pre_hook(
        lambda module, outputs: (outputs[0] * 5,)),
}  # fmt: skip


def inside(net: Net) -> Callable[[Any], Any]:
    """A step that goes back itself."""

    def step(x: Any) -> Any:
        loss = (net(x) ** 2).sum()
        loss.backward()
        return loss

    return step


def outside(net: Net, compile: bool) -> Callable[[Any], Any]:
    """A step whose caller goes back."""
    forward = torch.compile(net, strict=True) if compile else net

    def step(x: Any) -> Any:
        loss = (forward(x) ** 2).sum()
        loss.backward()
        return loss

    return step


def numbers(put: Put, compile: bool, inner: bool) -> list[list[Any]]:
    """Loss and gradients: with the hook from the start, with another one, and without hooks."""
    net = Net()
    x = torch.tensor([[0.5, -1.0, 0.25]], requires_grad=True)
    first = put(net, x)
    step = (torch.compile(inside(net), strict=True) if compile else inside(net)) if inner else outside(net, compile)
    leaves = [x, *net.parameters()]
    found = []

    def run() -> None:
        for leaf in leaves:
            leaf.grad = None
        loss = step(x)
        found.append([loss.tolist(), *(leaf.grad.tolist() for leaf in leaves)])

    run()
    second = put(net, x)
    run()
    first.remove()
    second.remove()
    run()
    return found


@pytest.mark.parametrize("inner", [True, False], ids=["goes back inside", "goes back outside"])
@pytest.mark.parametrize("kind", HOOKS)
def test_hooks_before_the_first_call_after_it_and_removed(kind: str, inner: bool) -> None:
    eager, compiled = (numbers(HOOKS[kind], compile, inner) for compile in (False, True))
    for number, (ours, theirs) in enumerate(zip(compiled, eager, strict=True)):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.tensor(a).sub(torch.tensor(b)).abs().max().item() <= 1e-5, number
    assert len({repr(stage) for stage in eager}) == 3


def test_hooks_inside_a_function_see_gradients_from_outside() -> None:
    scale = torch.tensor([1.0, 100.0])

    def function(x: Any, y: Any) -> Any:
        x.register_hook(lambda g: g * 7)
        z = x * y
        z.register_hook(lambda g: g * scale + y)
        z.grad_fn.register_hook(lambda inputs, outputs: (inputs[0], inputs[1] * 2))
        z.grad_fn.register_prehook(lambda outputs: (outputs[0] + 1,))
        return torch.softmax(z, 0)[0] + z.sum()

    gradients = []
    for run in (function, torch.compile(function)):
        x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 0.5], requires_grad=True)
        run(x, y).backward()
        gradients.append(torch.stack([x.grad, y.grad]))
    assert torch.allclose(*gradients)
    with pytest.raises(RuntimeError, match="create_graph=True cannot go through a compiled function with hooks"):
        torch.compile(function)(x, y).backward(create_graph=True)


def _of_a_scan(x: Any) -> Any:
    (a, _b), _ = torch.scan(lambda c, _: ((c[0].sin(), c[1] * 2), c[0] * 1), (x, x * 2), None, length=3)
    return a


def _of_a_cond(x: Any) -> Any:
    a, _b = torch.cond(x.sum() > 0, lambda x: (x * 2, x * 3), lambda x: (x, x), (x,))
    return a


@pytest.mark.parametrize("hooked", ["result", "node", "later"])
@pytest.mark.parametrize("one_used", [_of_a_scan, _of_a_cond])
def test_hooks_stay_at_loops_and_branches_of_which_not_all_is_used(one_used: Any, hooked: str) -> None:
    def function(x: Any) -> Any:
        a = one_used(x)
        if hooked == "result":
            a.register_hook(lambda g: g * 10)
        elif hooked == "node":
            a.grad_fn.register_hook(lambda inputs, outputs: tuple(None if g is None else g * 10 for g in inputs))
        y = a * a
        if hooked == "later":
            y.register_hook(lambda g: g.clamp(-0.1, 0.1))
        return y

    gradients = []
    for run in (function, torch.compile(function)):
        x = torch.ones(2, requires_grad=True)
        run(x).sum().backward()
        gradients.append(x.grad)
    assert torch.allclose(*gradients)
