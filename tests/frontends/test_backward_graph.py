"""What users see and change of the backward graph: edges, what functions saved, writes to it."""

from __future__ import annotations

import math
from typing import Any

import pytest

import adjit as torch
from adjit import autograd

graph = autograd.graph


class Edges(autograd.Function):
    """Twice a tensor; the number and the integers have no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any, number: int, integers: Any) -> Any:
        return x * number

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient * 2, None, None


def test_functions_show_what_they_saved() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    assert x.pow(2).grad_fn._saved_self is x
    product, power = (x * w).grad_fn, (x**w).grad_fn
    assert product._saved_self is x
    assert product._saved_other is w
    assert power._saved_exponent is w
    y = x.exp()
    assert y.grad_fn._saved_result is not y
    assert y.grad_fn._saved_result.equal(y)
    matrix = torch.ones(2, 2, requires_grad=True)
    assert (matrix @ matrix).grad_fn._saved_mat2 is matrix
    for function, missing in ((y.grad_fn, "self"), (product, "exponent"), ((x + w).grad_fn, "self")):
        with pytest.raises(AttributeError, match=f"_saved_{missing}"):
            getattr(function, f"_saved_{missing}")


def test_what_a_function_saved_is_not_shown_once_it_is_freed_or_overwritten() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x.exp()
    function = y.grad_fn
    y.sum().backward(retain_graph=True)
    assert function._saved_result.equal(y)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="Saved intermediate values of the graph are freed"):
        function._saved_result  # noqa: B018
    y = x.exp()
    function = y.grad_fn
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        function._saved_result  # noqa: B018


def test_saved_tensors_may_be_written_where_that_is_allowed() -> None:
    with graph.allow_mutation_on_saved_tensors():
        x = torch.ones(2, 3, requires_grad=True)
        y = x * 2
        part = y[0]
        total = (y * y).sum() + part.exp().sum()
        part.zero_()
        y.add_(1)
        y[1] = 5.0
        torch.add(y.detach(), 1, out=y.detach())
        total.backward()
        of_rows = torch.tensor([[8 + 2 * math.exp(2)], [8.0]])
        torch.testing.assert_close(x.grad, of_rows.expand(2, 3))
        z = torch.ones(3, requires_grad=True)
        y = z.clone()
        (first,) = torch.autograd.grad(y.sin().sum(), z, create_graph=True)
        y.mul_(7)
        (second,) = torch.autograd.grad(first.sum(), z)
        torch.testing.assert_close(second, -torch.sin(torch.ones(3)))


def test_writes_that_are_not_seen_and_passes_outside_are_refused() -> None:
    x = torch.ones(3, requires_grad=True)
    with graph.allow_mutation_on_saved_tensors():
        y = x.clone()
        total = y.exp().sin().sum()
        graph.increment_version(y)
        total.backward(retain_graph=True)  # exp keeps its result
        other = y.sin().sum()
        graph.increment_version(y)
        with pytest.raises(RuntimeError, match="does not see"):
            other.backward()
        with pytest.raises(RuntimeError, match="cannot be nested"), graph.allow_mutation_on_saved_tensors():
            pass
    with pytest.raises(AssertionError, match="outside of the 'allow_mutation_on_saved_tensors' context"):
        total.backward()
    (x * 2).sum().backward()


@pytest.mark.parametrize(
    ("function", "following"),
    [
        (lambda x, w: x + 1, ["AccumulateGrad", None]),
        (lambda x, w: 3 * x, ["AccumulateGrad", None]),
        (lambda x, w: x / 2, ["AccumulateGrad", None]),
        (lambda x, w: 1 - x, ["AccumulateGrad"]),
        (lambda x, w: x**2, ["AccumulateGrad"]),
        (lambda x, w: x * w.detach(), ["AccumulateGrad", None]),
        (lambda x, w: torch.where(x > 0, x, 0.0), ["AccumulateGrad", None]),
        (lambda x, w: torch.where(x > 0, 0.0, x), [None, "AccumulateGrad"]),
        (lambda x, w: x.gather(0, torch.tensor([1, 0])), ["AccumulateGrad"]),
        (lambda x, w: x.masked_fill(x > 0, 0.0), ["AccumulateGrad"]),
        (lambda x, w: torch.nn.functional.layer_norm(x, (2,)), ["AccumulateGrad", None, None]),
        (lambda x, w: Edges.apply(x, 2, torch.tensor([1, 0])), ["AccumulateGrad", None]),
    ],
)
@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
def test_edges_are_those_of_pytorch(function: Any, following: list[str | None], compile: bool) -> None:
    found: list[Any] = []
    x, w = (torch.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))

    def watched(x: Any, w: Any) -> Any:
        y = function(x, w)
        y.grad_fn.register_hook(lambda to_operands, to_results: found.append([g is not None for g in to_operands]))
        return y.sum()

    if not compile:
        names = [node and node.name().rpartition(":")[2] for node, _ in function(x, w).grad_fn.next_functions]
        assert names == following
    (torch.compile(watched) if compile else watched)(x, w).backward()
    assert found == [[name is not None for name in following]]


def test_the_function_of_a_written_part_has_pytorch_s_name() -> None:
    y = torch.ones(3, requires_grad=True) * 2
    y[0] = 5.0
    assert y.grad_fn.name() == "torch::autograd::CopySlices"
    assert repr(y.grad_fn).startswith("<CopySlices object at 0x")
    total = y.sin().sum()
    y[1] = 2.0
    with pytest.raises(RuntimeError, match="which is output 0 of torch::autograd::CopySlices, is at version 2"):
        total.backward()
