"""Compiled functions whose result requires grad are served natively: values, nodes and gradients are Python's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit
from adjit.native import install

pytestmark = pytest.mark.skipif(not install.install(), reason="this interpreter's objects are not known")

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "an operand is saved": lambda x, y: (x * y).sum(),
    "a result is saved": lambda x, y: (x + y).exp(),
    "results of the middle are saved": lambda x, y: (x.sin() * y.tanh()).cos().mean(),
    "nothing is saved": lambda x, y: x + 2 * y,
    "products": lambda x, y: adjit.outer(x, y).softmax(1).square(),
}


def operands(which: str) -> tuple[Any, Any]:
    adjit.manual_seed(0)
    x, y = adjit.rand(5, requires_grad=which != "y"), adjit.rand(5, requires_grad=which != "x")
    return (x * 1, y) if which == "a node" else (x, y)


def served(function: Any) -> int:
    """How many calls of a compiled function went without Python."""
    native = function._native
    return 0 if native is None else sum(native.calls(e) for entries in function._entries.values() for e in entries)


def warmed(name: str, which: str) -> Any:
    """The compiled function, ready to be served."""
    function = adjit.compile(FUNCTIONS[name])
    for _ in range(4):
        function(*operands(which))
    before = served(function)
    function(*operands(which))
    assert served(function) == before + 1
    return function


@pytest.mark.parametrize("which", ["both", "x", "y", "a node"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_those_of_the_function(name: str, which: str) -> None:
    function = warmed(name, which)
    x, y = operands(which)
    wanted_inputs = [tensor for tensor in (x, y) if tensor.requires_grad]
    result, wanted = function(x, y), FUNCTIONS[name](x, y)
    assert adjit.allclose(result, wanted)
    assert result.requires_grad
    assert not result.is_leaf
    assert result.grad_fn is not None
    first = adjit.autograd.grad(result.sum(), wanted_inputs, retain_graph=True)
    again = adjit.autograd.grad(result.sum(), wanted_inputs)
    expected = adjit.autograd.grad(wanted.sum(), wanted_inputs)
    for ours, same, theirs in zip(first, again, expected, strict=True):
        assert adjit.allclose(ours, theirs, atol=1e-6)
        assert adjit.equal(ours, same)


def test_gradients_are_accumulated_in_leaves() -> None:
    function = warmed("an operand is saved", "both")
    x, y = operands("both")
    (2 * function(x, y)).backward()
    assert adjit.allclose(x.grad, 2 * y.detach())
    function(x, y).backward()
    assert adjit.allclose(x.grad, 3 * y.detach())
    with pytest.raises(RuntimeError, match="second time"):
        result = function(x, y)
        result.backward()
        result.backward()


def test_second_gradients() -> None:
    function = warmed("results of the middle are saved", "both")
    x, y = operands("both")
    seconds = []
    for each in (function, FUNCTIONS["results of the middle are saved"]):
        (gradient,) = adjit.autograd.grad(each(x, y), [x], create_graph=True)
        seconds.append(adjit.autograd.grad(gradient.sum(), [x, y]))
    for ours, theirs in zip(*seconds, strict=True):
        assert adjit.allclose(ours, theirs, atol=1e-6)


def test_an_operand_overwritten_before_backward_is_an_error() -> None:
    function = warmed("an operand is saved", "x")
    x, y = operands("x")
    result = function(x, y)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()


def test_modes_and_other_calls_are_told_apart() -> None:
    function = warmed("an operand is saved", "both")
    x, y = operands("both")
    with adjit.no_grad():
        assert not function(x, y).requires_grad
    assert not function(x.detach(), y.detach()).requires_grad
    assert function(x, y.detach()).requires_grad
    assert function(adjit.rand(7, requires_grad=True), adjit.rand(7)).requires_grad
    seen: list[Any] = []
    handle = x.register_hook(seen.append)
    function(x, y).backward()
    assert len(seen) == 1
    handle.remove()
    function(x, y).backward()
    assert len(seen) == 1
