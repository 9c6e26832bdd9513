"""`autograd.grad` and weighted backward passes served by plans: Python's numbers, errors and effects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit.autograd import backward as by_nodes
from adjit.native import install
from adjit.runtime import layout
from tests.frontends.natively import passes_without_python, refuse

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()
grad = torch.autograd.grad
OFTEN = 40


def leaves(*sizes: Any) -> list[Any]:
    torch.manual_seed(2)
    return [torch.rand(size, dtype=torch.float64).requires_grad_() for size in sizes]


def expected(make: Callable[..., Any], given: list[Any], weights: Any = None) -> list[Any]:
    """The gradients node by node."""
    fresh = [x.detach().clone().requires_grad_() for x in given]
    by_nodes(make(*fresh), weights)
    return [None if x.grad is None else x.grad.tolist() for x in fresh]


CASES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "product": (lambda x, y: (x * y).sum(), [(3,), (3,)]),
    "one leaf twice": (lambda x: (x * x * x).sum(), [(4,)]),
    "two ways": (lambda x, w: ((x @ w).tanh().sum() + (x * 2).sum()), [(3, 4), (4, 2)]),
    "views": (lambda x: (x[1:] - x[:-1]).square().sum() * x.t()[0].sum(), [(4, 2)]),
    "one result of several": (
        lambda x, w: (torch.nn.functional.batch_norm(x, None, None, training=True) * w).exp().sum(), [(5, 4), (4,)]
    ),
    "composite": (lambda x, w: torch.nn.functional.cross_entropy(x @ w, torch.tensor([0, 1, 1])), [(3, 4), (4, 2)]),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_nodes(name: str) -> None:
    make, sizes = CASES[name]
    given = leaves(*sizes)
    wanted = expected(make, given)
    for targets, numbers in ((given, wanted), (given[-1:], wanted[-1:]), (given[::-1], wanted[::-1])):
        for _ in range(OFTEN):
            grad(make(*given), targets)
        with passes_without_python():
            found = grad(make(*given), targets)
            loss = [make(*given)]
            again = grad(loss, tuple(targets), None, retain_graph=False, create_graph=False, allow_unused=True)
        assert isinstance(found, tuple)
        for row in (found, again):
            assert [g.tolist() for g in row] == numbers
            assert not any(g.requires_grad for g in row)
    assert all(x.grad is None for x in given)


@pytest.mark.parametrize("name", CASES)
def test_weighted_passes_are_those_of_nodes(name: str) -> None:
    make, sizes = CASES[name]
    given = leaves(*sizes)
    first, second = (torch.full((), value, dtype=torch.float64) for value in (3.0, -0.5))
    wanted = [expected(make, given, weight) for weight in (first, second)]
    for _ in range(OFTEN):
        make(*given).backward(first)
    for x in given:
        x.grad = None
    with passes_without_python():
        make(*given).backward(gradient=second)
        assert [x.grad.tolist() for x in given] == wanted[1]
    for _ in range(OFTEN):
        grad(make(*given), given, first)
    with passes_without_python():
        for weight, numbers in zip((first, second), wanted, strict=True):
            assert [g.tolist() for g in grad(make(*given), given, grad_outputs=[weight])] == numbers


def test_weights_of_all_shapes() -> None:
    (x,) = leaves((3, 2))
    for weights in (torch.ones(3, 2), torch.ones(2, 3).t() * 2, torch.ones(1, 2).expand(3, 2)):
        weights = weights.double()
        for _ in range(OFTEN):
            grad(x * x, x, weights)
        with passes_without_python():
            (found,) = grad(x * x, x, weights)
        assert found.tolist() == (2 * x * weights).tolist()
    for wrong in (torch.ones(3, 1).double(), torch.ones(2, 3).double()):
        with pytest.raises(RuntimeError, match="Mismatch in shape"):
            grad(x * x, x, wrong)
    assert grad(x * x, x, torch.ones(3, 2))[0].dtype is torch.float64


def test_leaves_that_come_twice_are_not_taken_for_others() -> None:
    x, y = leaves((3,), (3,))
    for _ in range(OFTEN):
        grad((x * y).sum(), x)
    for a, b in ((x, y), (x, x), (y, x), (y, y)) * 4:
        (found,) = grad((a * b).sum(), x, allow_unused=True)
        if a is not x and b is not x:
            assert found is None
        else:
            assert found.tolist() == (2 * x if a is b else y).tolist()


def test_a_kept_graph_serves_again_and_a_freed_one_does_not() -> None:
    (x,) = leaves((3,))
    for _ in range(OFTEN):
        grad((x * x).exp().sum(), x)
    with passes_without_python():
        loss = (x * x).exp().sum()
        first = grad(loss, x, retain_graph=True)[0].tolist()
        assert grad(loss, x)[0].tolist() == first
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        grad(loss, x)
    loss = (x * x).exp().sum()
    x.grad = None
    for _ in range(2):
        loss.backward(retain_graph=True)
    loss.backward()
    assert x.grad.tolist() == pytest.approx([3 * value for value in first])
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_what_plans_do_not_give_is_given_by_python() -> None:
    x, y = leaves((3,), (3,))
    for _ in range(OFTEN):
        grad((x * y).exp().sum(), [x])
    with pytest.raises(RuntimeError, match="appears to not have been used"):
        grad((x * x).exp().sum(), [y])
    h = x * y
    assert grad(h.exp().sum(), h)[0].tolist() == h.exp().tolist()
    (g,) = grad((x * y).exp().sum(), [x], create_graph=True)
    assert g.requires_grad
    handle = x.register_hook(lambda g: g * 2)
    doubled = grad((x * y).exp().sum(), [x])[0]
    handle.remove()
    assert doubled.tolist() == (2 * grad((x * y).exp().sum(), [x])[0]).tolist()
    z = x * y
    saved = z.exp()
    saved.detach().add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        grad(saved.sum(), [x])
    for wrong in ((), (3,), {"inputs": x, "outputs": z, "weights": 1}):
        with pytest.raises((TypeError, RuntimeError)):
            grad(*wrong) if isinstance(wrong, tuple) else grad(**wrong)
    assert grad(outputs=(x * y).exp().sum(), inputs=x)[0].shape == (3,)
    with pytest.raises(TypeError):
        (x * y).sum().backward(grad_outputs=None)


PENALTIES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "difference": (lambda x, y: ((x - y) * (x + y) * 2.0).mean(), [(4,), (4,)]),
    "layer": (lambda x, w: torch.tanh(x @ w).square().sum(), [(3, 4), (4, 2)]),
    "views": (lambda x: (x[1:] * x[:-1]).sum() * x.t()[0].sum(), [(4, 2)]),
    "composite": (lambda x: torch.nn.functional.softmax(x, 1)[:, 0].log().sum(), [(3, 4)]),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_recorded_passes_run_their_pullbacks_natively(name: str, monkeypatch: Any) -> None:
    make, sizes = PENALTIES[name]

    def second() -> list[Any]:
        """The gradients of the squares of the gradients, and the names on their tape."""
        given = leaves(*sizes)
        first = grad(make(*given), given, create_graph=True)
        sum((g * g).sum() for g in first).backward()
        return [(f.tolist(), f.grad_fn.name(), x.grad.tolist()) for f, x in zip(first, given, strict=True)]

    wanted = second()
    for _ in range(OFTEN):
        assert second() == wanted
    with monkeypatch.context() as patch:
        patch.setattr("adjit.native.pullbacks.run_each_recorded", refuse)
        assert second() == wanted
