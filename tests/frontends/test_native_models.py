"""Compiled models in a training loop that is eager otherwise: forward and backward are served natively."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest

import adjit as torch
from adjit import nn
from adjit.native import install
from adjit.nn import functional as F

pytestmark = pytest.mark.skipif(not install.install(), reason="this interpreter's objects are not known")


class TwoHeads(nn.Module):
    """Several results, in a dict; one of them is not differentiable."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Any) -> dict[str, Any]:
        h = self.body(x).tanh()
        return {"a": self.a(h), "best": h.argmax(1), "b": self.b(h)}


class Decaying(nn.Module):
    """A buffer that is read, and then written."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 4)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Any) -> Any:
        y = self.inner(x) * (1 + self.mean).exp()
        self.mean.mul_(0.9).add_(y.detach().mean(0))
        return y


MODELS: dict[str, Callable[[], nn.Module]] = {
    "layers": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)),
    "batch norm": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, 4)),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 4)),
    "two heads": TwoHeads,
    "a decaying mean": Decaying,
}
STEPS = 9


def loss_of(found: Any, target: Any) -> Any:
    if isinstance(found, dict):
        return F.cross_entropy(found["a"], target) + (found["b"] * 0.5).square().mean()
    return F.cross_entropy(found, target)


def trained(name: str, *, compiled: bool) -> tuple[list[Any], Any]:
    """What a model holds after some steps, with the losses; and what it was called as."""
    torch.manual_seed(4)
    model = MODELS[name]()
    called = torch.compile(model) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    target = torch.tensor([0, 3, 1, 2, 2])
    losses = []
    for step in range(STEPS):
        x = torch.linspace(-1.0, 1.0, 30).reshape(5, 6) * (1 + 0.1 * step)
        optimizer.zero_grad()
        loss = loss_of(called(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return [*losses, *model.state_dict().values()], called


def served(function: Any) -> int:
    return sum(function._native.calls(entry) for entries in function._entries.values() for entry in entries)


@pytest.mark.parametrize("name", MODELS)
def test_training_a_compiled_model(name: str) -> None:
    expected, _ = trained(name, compiled=False)
    found, function = trained(name, compiled=True)
    assert served(function) >= STEPS - 3
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours.double(), theirs.double(), rtol=1e-4, atol=1e-6)


def test_several_results_are_recorded_as_one_node() -> None:
    function = torch.compile(lambda x, w: (x * w, (x + w).sum(), x.detach() * 2))
    x, w = torch.rand(4, requires_grad=True), torch.rand(4)
    for _ in range(4):
        function(x, w)
    before = served(function)
    product, total, plain = function(x, w)
    assert served(function) == before + 1
    assert product.grad_fn is not None
    assert product._value.node is total._value.node
    assert (product._value.index, total._value.index) == (0, 1)
    assert not plain.requires_grad
    (product.sum() + total).backward()
    assert torch.allclose(x.grad, w + 1)
    (again,) = torch.autograd.grad(function(x, w)[1], x)
    assert torch.equal(again, torch.ones(4))
    (first,) = torch.autograd.grad((function(x, w)[0] ** 2).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert torch.allclose(second, 2 * w**2)


def test_a_captured_leaf_may_stop_requiring_grad() -> None:
    w = torch.rand(4, requires_grad=True)
    function = torch.compile(lambda x: (x * w).sum())
    x = torch.rand(4)
    for _ in range(5):
        w.grad = None
        function(x).backward()
    assert torch.allclose(w.grad, x)
    w.requires_grad_(False)
    assert not function(x).requires_grad
    w.requires_grad_(True)
    assert function(x).requires_grad


def test_a_saved_buffer_that_was_written_since_is_an_error() -> None:
    scale = torch.rand(4)
    function = torch.compile(lambda x: x * scale)
    x = torch.rand(4, requires_grad=True)
    for _ in range(5):
        function(x).sum().backward()
    result = function(x)
    scale.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


def test_a_plan_does_not_keep_the_function() -> None:
    function = torch.compile(lambda x: (x * x).sum())
    x = torch.rand(4, requires_grad=True)
    for _ in range(8):
        function(x).backward()
    gone = ref(function)
    del function
    gc.collect()
    assert gone() is None
    other = torch.compile(lambda x: (x * x).sum())
    x.grad = None
    for _ in range(8):
        other(x).backward()
    assert torch.allclose(x.grad, 16 * x.detach())
