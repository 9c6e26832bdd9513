"""Hooks of modules: what they see, what they may replace, eager and compiled."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import adjit as torch
from adjit import nn
from tests.frontends.test_nn_module import SimpleNet


def shapes(gradients: Any) -> list[list[int] | None]:
    """The shapes of a tuple of gradients."""
    return [None if g is None else list(g.shape) for g in gradients]


def train_once(net: nn.Module) -> None:
    """One forward and backward pass."""
    out = net(torch.randn(1, 1, 28, 28))
    nn.CrossEntropyLoss()(out, torch.tensor([3], dtype=torch.long)).backward()


def test_forward_hooks_see_inputs_and_outputs() -> None:
    net, seen = SimpleNet(), []
    for layer in (net.conv1, net.conv2):
        layer.register_forward_hook(
            lambda module, input, output: seen.append((type(module).__name__, shapes(input), list(output.shape)))
        )
    handle = net.conv1.register_forward_pre_hook(lambda module, input: seen.append(shapes(input)))
    net(torch.randn(1, 1, 28, 28))
    assert seen == [
        [[1, 1, 28, 28]],
        ("Conv2d", [[1, 1, 28, 28]], [1, 10, 24, 24]),
        ("Conv2d", [[1, 10, 12, 12]], [1, 20, 8, 8]),
    ]
    handle.remove()
    seen.clear()
    net(torch.randn(1, 1, 28, 28))
    assert len(seen) == 2


def test_forward_hooks_replace() -> None:
    layer = nn.Identity()
    with layer.register_forward_pre_hook(lambda module, args: (args[0] * 2,)):
        assert float(layer(torch.tensor(3.0))) == 6.0
        layer.register_forward_hook(lambda module, args, output: output + 1)
        assert float(layer(torch.tensor(3.0))) == 7.0
    assert float(layer(torch.tensor(3.0))) == 4.0
    layer.register_forward_hook(lambda module, args, kwargs, output: output * 10, with_kwargs=True, prepend=True)
    assert float(layer(torch.tensor(3.0))) == 31.0


def test_legacy_backward_hooks_see_the_node_of_the_output() -> None:
    net, seen = SimpleNet(), {}

    def hook(module: Any, grad_input: Any, grad_output: Any) -> None:
        seen[module] = (shapes(grad_input), shapes(grad_output))

    for layer in (net.conv1, net.conv2, net.pool1, net.out):
        layer.register_backward_hook(hook)
    with pytest.warns(FutureWarning, match="Using a non-full backward hook when the forward contains multiple"):
        train_once(net)
    assert seen == {
        net.out: ([[10], [1, 50], [50, 10]], [[1, 10]]),
        net.conv2: ([[1, 10, 12, 12], [20, 10, 5, 5], [20]], [[1, 20, 8, 8]]),
        net.pool1: ([[1, 10, 24, 24]], [[1, 10, 12, 12]]),
        net.conv1: ([None, [10, 1, 5, 5], [10]], [[1, 10, 24, 24]]),
    }


def test_full_backward_hooks_see_the_borders_of_the_module() -> None:
    net, seen = SimpleNet(), []
    for layer in (net.conv1, net.conv2, net.fc, net.pool1):
        layer.register_full_backward_hook(
            lambda module, grad_input, grad_output: seen.append(
                (type(module).__name__, shapes(grad_input), shapes(grad_output))
            )
        )
    with pytest.warns(UserWarning, match="since no inputs require gradients"):
        train_once(net)
    assert seen == [
        ("Linear", [[1, 320]], [[1, 50]]),
        ("Conv2d", [[1, 10, 12, 12]], [[1, 20, 8, 8]]),
        ("MaxPool2d", [[1, 10, 24, 24]], [[1, 10, 12, 12]]),
        ("Conv2d", [None], [[1, 10, 24, 24]]),
    ]


class Product(nn.Module):
    """a*b, and a alone."""

    def forward(self, a: Any, b: Any) -> Any:
        """Two results of two arguments."""
        return a * b, a


def test_gradients_of_several_inputs_and_outputs() -> None:
    module, seen = Product(), []
    module.register_full_backward_hook(
        lambda m, gi, go: seen.append(([None if g is None else float(g) for g in gi],
                                       [None if g is None else float(g) for g in go]))
    )  # fmt: skip
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    product, same = module(a, b)
    (product * 10 + same).backward()
    assert seen == [([31.0, 20.0], [10.0, 1.0])] and float(a.grad) == 31.0 and float(b.grad) == 20.0
    seen.clear()
    module(a, torch.tensor(5.0))[0].backward()
    assert seen == [([5.0, None], [1.0, None])]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_hooks_replace_gradients(compiled: bool) -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.register_full_backward_pre_hook(lambda module, grad_output: (grad_output[0] * 3,))
    layer.register_full_backward_hook(lambda module, grad_input, grad_output: (grad_input[0] * 5,))

    def step(x: Any) -> Any:
        y = x * 1.0
        layer(y).sum().backward()
        return y.detach()

    x = torch.ones(1, 2, requires_grad=True)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, 4.0]]))
    (torch.compile(step) if compiled else step)(x)
    assert layer.weight.grad.tolist() == [[3.0, 3.0]]
    assert x.grad.tolist() == [[30.0, 60.0]]


def test_the_two_kinds_of_backward_hooks_do_not_mix() -> None:
    layer = nn.Linear(1, 1)
    layer.register_backward_hook(lambda *args: None)
    with pytest.raises(RuntimeError, match="Cannot use both regular backward hooks and full backward hooks"):
        layer.register_full_backward_hook(lambda *args: None)


def test_hooks_of_functions() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    y = x * 3
    handle = y.grad_fn.register_hook(lambda grad_inputs, grad_outputs: (grad_inputs[0] * 10, None))
    y.backward()
    assert float(x.grad) == 30.0
    handle.remove()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (x * 3).backward()
    assert float(x.grad) == 33.0


def test_hooks_of_all_modules_run_before_a_module_s_own() -> None:
    from adjit.nn.modules import module as shared

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
    seen: list[str] = []
    handles = [
        shared.register_module_forward_pre_hook(lambda m, args: seen.append(f"pre {type(m).__name__}")),
        shared.register_module_forward_hook(lambda m, args, out: seen.append(f"post {type(m).__name__}")),
        shared.register_module_full_backward_hook(lambda m, gi, go: seen.append(f"back {type(m).__name__}")),
    ]
    model[1].register_forward_hook(lambda m, args, out: seen.append("own"))
    model(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert seen == [
        "pre Sequential", "pre Linear", "post Linear", "pre ReLU", "post ReLU", "own", "post Sequential",
        "back ReLU", "back Linear", "back Sequential",
    ]  # fmt: skip
    for handle in handles:
        handle.remove()
    seen.clear()
    model(torch.ones(1, 2))
    assert seen == ["own"]


def test_hooks_of_registration_replace_what_is_registered() -> None:
    from adjit.nn.modules import module as shared

    names: list[str] = []
    handle = shared.register_module_parameter_registration_hook(lambda m, name, value: names.append(name))
    with handle:
        torch.nn.Linear(2, 2)
    torch.nn.Linear(2, 2)
    assert names == ["weight", "bias"]


def test_a_copied_module_has_hooks_and_handles_of_its_own() -> None:
    import copy

    model = torch.nn.Linear(2, 2)
    model.handle = model.register_forward_hook(lambda m, args, out: out + 1)
    copied = copy.deepcopy(model)
    copied.handle.remove()
    x = torch.ones(1, 2)
    assert torch.allclose(model(x), copied(x) + 1)


def test_a_module_compiles_itself() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh())
    x = torch.ones(4, 2)
    before = model(x)
    model.compile()
    assert torch.allclose(model(x), before)
    assert model.forward.compile_count == 1


def test_a_submodule_is_set_by_name_and_keeps_its_place() -> None:
    model = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()), torch.nn.Linear(2, 1))
    model.set_submodule("0.0", torch.nn.Identity())
    assert isinstance(model[0][0], torch.nn.Identity)
    with pytest.raises(AttributeError, match="has no attribute `z`"):
        model.set_submodule("0.z", torch.nn.Identity(), strict=True)
    model[1].weight = torch.nn.Parameter(torch.ones(1, 2))
    assert list(model.state_dict()) == ["1.weight", "1.bias"]
