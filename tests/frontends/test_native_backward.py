"""Backward by plans gives node-wise backward's bits, and steps aside whenever somebody watches."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.autograd import backward as node_wise
from adjit.autograd import engine
from adjit.autograd.tape import Recorded
from adjit.ir.graph import Node, Value
from adjit.native import install, plans
from adjit.nn import functional as F
from adjit.runtime import layout
from adjit.tensor import Tensor
from tests.frontends.natively import passes_without_python, refuse
from tests.threads import in_threads

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()


def taught(loss: Callable[[], Any], leaves: list[Any]) -> None:
    """Go back so often that there is a plan, whatever shapes the operations met before (see native/any_size.py)."""
    for _ in range(40):
        for leaf in leaves:
            leaf.grad = None
        loss().backward()
    for leaf in leaves:
        leaf.grad = None


def leaf(*shape: int, seed: int = 0, dtype: Any = None) -> Any:
    array = np.random.default_rng(seed).normal(size=shape)
    return torch.tensor(array.tolist(), dtype=dtype or torch.float32).requires_grad_()


def bits(tensor: Any) -> bytes:
    return tensor.detach().numpy().tobytes()


x, y, m, b = leaf(6), leaf(6, seed=1), leaf(6, 4, seed=2), leaf(4, seed=3)
t = torch.tensor([[1.0, -2.0, 0.5, 3.0]])
LOSSES: dict[str, tuple[Callable[[], Any], list[Any]]] = {
    "product": (lambda: (x * y).sum(), [x, y]),
    "same operand twice": (lambda: (x * x + x).sum(), [x]),
    "chain": (lambda: ((x * y).tanh() * x).exp().sum(), [x, y]),
    "diamond": (lambda: ((x.exp() * y) + (x.exp() / (y * y + 1))).sum(), [x, y]),
    "same gradient for two leaves": (lambda: (x + y).sum(), [x, y]),
    "seed is the gradient": (lambda: x[0] * 1 + y.sum(), [x, y]),
    "numbers": (lambda: (3 * x - 1.5 / (y * y + 2)).sum(), [x, y]),
    "layer": (lambda: ((x.reshape(1, 6) @ m + b) - t).pow(2).mean(), [x, m, b]),
    "composites": (lambda: -(F.log_softmax(m, 1) * F.softmax(m * 2, 0)).sum(), [m]),
    "views": (lambda: (m[1:3].t() @ m[2:4]).sigmoid().sum(), [m]),
    "loss function": (lambda: F.cross_entropy(m, torch.tensor([0, 3, 1, 2, 0, 1])), [m]),
    "several results": (lambda: (m.max(1)[0] * x).sum(), [m, x]),
    "one element": (lambda: (x * y).sum().reshape(1, 1), [x, y]),
}


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_bits_are_those_of_node_wise(name: str) -> None:
    loss, leaves = LOSSES[name]
    taught(loss, leaves)
    node_wise(loss())
    expected = [bits(leaf.grad) for leaf in leaves]
    for leaf_ in leaves:
        leaf_.grad = None
    with passes_without_python():
        loss().backward()
    assert [bits(leaf.grad) for leaf in leaves] == expected
    for leaf_ in leaves:
        assert leaf_.grad.is_leaf
        assert not leaf_.grad.requires_grad
        assert leaf_.grad._array.base is None
        leaf_.grad = None


def test_gradients_add_up() -> None:
    w = leaf(5)
    loss = lambda: (w * w).sum()  # noqa: E731
    taught(loss, [w])
    first = None
    for count in range(1, 4):
        with passes_without_python():
            loss().backward()
        first = w.grad if first is None else first
        assert w.grad is first  # in place
        assert np.allclose(w.grad.numpy(), 2 * count * w.detach().numpy())
        assert w.grad._version == count - 1


def test_a_freed_graph_is_refused() -> None:
    w = leaf(5)
    taught(lambda: (w * w).sum(), [w])
    result = (w * w).sum()
    result.backward()
    before = bits(w.grad)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        result.backward()
    middle = w * w
    middle.sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        middle.sum().backward()
    assert bits(w.grad) != before
    kept = (w * w).sum()
    kept.backward(retain_graph=True)
    kept.backward()


def test_overwritten_values_are_refused() -> None:
    w = leaf(5)
    loss = lambda v: (v * w).sum()  # noqa: E731
    taught(lambda: loss(w.exp()), [w])
    value = w.exp()
    result = loss(value)
    value.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()
    assert w.grad is None


def test_watchers_are_served() -> None:
    w = leaf(5)
    seen: list[str] = []

    def run(watch: Callable[[Any, Any], Any]) -> Any:
        w.grad = None
        value = w.exp()
        result = (value * w).sum()
        handle = watch(value, result)
        result.backward()
        return handle

    for _ in range(9):
        run(lambda value, result: None)
    expected = bits(w.grad)
    run(lambda value, result: value.register_hook(lambda g: seen.append("value")))
    run(lambda value, result: result.register_hook(lambda g: seen.append("result")))
    run(lambda value, result: value.grad_fn.register_hook(lambda given, got: seen.append("node")))
    kept = []
    run(lambda value, result: (value.retain_grad(), kept.append(value)))
    run(lambda value, result: w.register_hook(lambda g: seen.append("leaf"))).remove()
    run(lambda value, result: w.register_post_accumulate_grad_hook(lambda p: seen.append("post"))).remove()
    assert seen == ["value", "result", "node", "leaf", "post"]
    assert kept[0].grad is not None
    assert bits(w.grad) == expected
    run(lambda value, result: value.register_hook(lambda g: g * 0))
    assert bits(w.grad) != expected


def test_anomalies_are_looked_for() -> None:
    u = (-torch.ones(4)).requires_grad_()
    loss = lambda: (u.sqrt() * 2.0).sum()  # noqa: E731
    taught(loss, [u])
    with passes_without_python():
        loss().backward()
    with pytest.warns(UserWarning, match="Anomaly Detection"):
        mode = torch.autograd.detect_anomaly()
    with mode, pytest.warns(UserWarning), pytest.raises(RuntimeError, match="returned nan values"):
        loss().backward()
    with passes_without_python():
        loss().backward()


def test_hooks_on_what_is_saved() -> None:
    u = leaf(4)
    loss = lambda: (u.exp() * u).sum()  # noqa: E731
    taught(loss, [u])
    loss().backward()
    expected, packed, unpacked = bits(u.grad), [], []

    def unpack(form: Any) -> Any:
        unpacked.append(1)
        return form

    u.grad = None
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(1) or t, unpack):
        result = loss()
    assert packed
    result.backward()
    assert unpacked
    assert bits(u.grad) == expected


def test_other_wirings_of_the_same_nodes() -> None:
    u, v = leaf(4), leaf(4, seed=5)
    taught(lambda: ((u * v) * (u * u)).sum(), [u, v])
    others = (
        lambda: ((u * v) * (v * v)).sum(), lambda: ((v * v) * (u * v)).sum(), lambda: ((u * u) * (u * u)).sum(),
    )  # fmt: skip
    for other in others:
        for _ in range(3):
            u.grad = v.grad = None
            other().backward()
            found = [bits(w.grad) if w.grad is not None else None for w in (u, v)]
            u.grad = v.grad = None
            node_wise(other())
            assert found == [bits(w.grad) if w.grad is not None else None for w in (u, v)]


def test_another_order_of_the_same_wiring() -> None:
    u = leaf(50)

    def loss(first: bool) -> Any:
        if first:
            a, c = u.exp(), u.sin()
        else:
            c, a = u.sin(), u.exp()
        return (a * c + u * 0.1).sum()

    taught(lambda: loss(True), [u])
    for first in (True, False):
        u.grad = None
        loss(first).backward()
        found = bits(u.grad)
        u.grad = None
        node_wise(loss(first))
        assert found == bits(u.grad)


def test_arguments_and_modes() -> None:
    u = leaf(4)
    loss = lambda: (u * u).sum()  # noqa: E731
    taught(loss, [u])
    loss().backward(torch.tensor(2.0))
    assert np.allclose(u.grad.numpy(), 4 * u.detach().numpy())
    u.grad = None
    loss().backward(create_graph=True)
    assert u.grad.requires_grad
    u.grad = None
    loss().backward(inputs=[u])
    assert u.grad is not None
    u.grad = None
    with torch.no_grad(), passes_without_python():
        with torch.enable_grad():
            result = loss()
        result.backward()
        assert not u.grad.requires_grad
    with pytest.raises(RuntimeError, match="does not require grad"):
        u.detach().sum().backward()
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        (u * u).backward()
    with pytest.raises(TypeError):
        loss().backward(1, 2, 3, 4, 5, 6)


def test_other_layouts_of_saved_values() -> None:
    u = leaf(4, 4)
    c = torch.rand(4, 4)
    loss = lambda k: (u * k).sum()  # noqa: E731
    taught(lambda: loss(c), [u])
    loss(c.t()).backward()
    assert np.array_equal(u.grad.numpy(), c.t().numpy())


def test_a_leaf_that_is_gone() -> None:
    u = leaf(4)
    taught(lambda: (u * u.detach().clone().requires_grad_()).sum(), [u])
    result = (u * u.detach().clone().requires_grad_()).sum()
    gc.collect()
    result.backward()
    assert np.array_equal(u.grad.numpy(), u.detach().numpy())


def test_a_training_loop() -> None:
    def train(step_back: Callable[[Any], None]) -> list[bytes]:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        data, target = torch.rand(16, 4), torch.randint(0, 2, (16,))
        for _ in range(12):
            optimizer.zero_grad()
            step_back(F.cross_entropy(net(data), target))
            optimizer.step()
        return [bits(p) for p in net.parameters()]

    assert train(lambda loss: loss.backward()) == train(node_wise)


def test_nothing_leaks() -> None:
    u, v = leaf(4), leaf(4, seed=1)
    loss = lambda: ((u * v).exp() * u).sum()  # noqa: E731
    taught(loss, [u, v])

    def work() -> None:
        for _ in range(300):
            u.grad = v.grad = None
            loss().backward()

    work()
    gc.collect()
    kinds = (Tensor, Recorded, Node, Value)
    constants = (None, True, False, 0, (), u, v)
    objects = sum(type(item) in kinds for item in gc.get_objects())
    before = [sys.getrefcount(item) for item in constants]
    work()
    gc.collect()
    assert sum(type(item) in kinds for item in gc.get_objects()) <= objects
    assert all(abs(sys.getrefcount(c) - b) < 60 for c, b in zip(constants, before, strict=True))


def test_threads() -> None:
    shared = leaf(2000)
    factor = torch.rand(2000)
    taught(lambda: ((shared * factor).tanh() * factor).sum(), [shared])
    node_wise(((shared * factor).tanh() * factor).sum())
    expected = bits(shared.grad)

    def gradients(_: int) -> set[Any]:
        own, found = shared.detach().clone().requires_grad_(), set()
        for _ in range(200):
            own.grad = None
            ((own * factor).tanh() * factor).sum().backward()
            found.add(bits(own.grad))
        return found

    assert in_threads(gradients) == [{expected}] * 4


def test_another_thread_frees_part_of_the_tape() -> None:
    """While a plan's pass copies one saved array without the GIL, another pass frees a node whose array comes next."""
    small, large = leaf(300, 300, seed=1), leaf(700, 700, seed=2)

    def losses() -> tuple[Any, Any]:
        shared = (small * 2).t()
        product = shared * shared
        return product.sum() + (large.t() * large.t()).sum(), product.sum()

    taught(lambda: losses()[0], [small, large])
    losses()[1].backward()
    one = small.grad.numpy()
    for _ in range(4):
        small.grad = None
        pair = losses()
        start = threading.Barrier(2)

        def back(number: int, pair: tuple[Any, Any] = pair, start: threading.Barrier = start) -> None:
            start.wait()
            with suppress(RuntimeError):  # the other thread came first, and what both need is freed
                pair[number].backward()

        in_threads(back, 2)
        assert any(np.array_equal(small.grad.numpy(), times * one) for times in (1, 2))


def _eager_loss(a: Any, b: Any, c: Any) -> Any:
    return (((a @ b).sigmoid() + c) ** 2).mean() + (b * b).sum()


_compiled_loss = torch.compile(lambda a, b, c: ((a @ b).tanh() * c).sum())


@pytest.mark.parametrize("loss", [
    _eager_loss, _compiled_loss, lambda a, b, c: _compiled_loss(a, b * 2, c) * 2 + _eager_loss(a, b, c),
])  # fmt: skip
@pytest.mark.parametrize("chosen", [[0], [1], [0, 1, 2], [2, 0]])
def test_gradients_that_are_asked_for(
    loss: Callable[..., Any], chosen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = [leaf(3, 4), leaf(4, 2), leaf(3, 2)]
    wanted = [leaves[index] for index in chosen]
    loss(*leaves).backward()
    expected = [item.grad for item in wanted]
    for item in leaves:
        item.grad = None
    for _ in range(40):
        torch.autograd.grad(loss(*leaves), wanted)
    kept = loss(*leaves)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "run_pass", refuse)
        found = torch.autograd.grad(kept, wanted)
    for mine, its in zip(found, expected, strict=True):
        assert np.allclose(mine.numpy(), its.numpy(), rtol=1e-5, atol=1e-6) and not mine.requires_grad
    assert all(item.grad is None for item in leaves)
    with pytest.raises(RuntimeError, match="a second time"):
        torch.autograd.grad(kept, wanted)


def test_plans_of_new_tapes_take_the_place_of_those_seldom_gone_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "_MOST_PLANS", 4)
    w = leaf(3)
    losses = [torch.compile(lambda w, by=by: (w * by).exp().sum()) for by in range(6)]  # only plans go back natively
    for loss in losses:
        taught(lambda loss=loss: loss(w), [w])
        for _ in range(20):
            losses[0](w).backward()
    for index in (5, 0):
        w.grad = None
        with passes_without_python():
            losses[index](w).backward()
        assert np.allclose(w.grad.numpy(), index * np.exp(index * w.detach().numpy()))


def test_gradients_that_are_asked_for_otherwise() -> None:
    a, b, c = leaf(3, 4), leaf(4, 2), leaf(3, 2)
    for _ in range(5):
        (expected,) = torch.autograd.grad(_eager_loss(a, b, c), a)
    with pytest.raises(RuntimeError, match="index 1 appears to not have been used"):
        torch.autograd.grad(_eager_loss(a, b, c), [a, leaf(2)])
    (weighted,) = torch.autograd.grad(_eager_loss(a, b, c), a, torch.tensor(2.0))
    assert np.allclose(weighted.numpy(), 2 * expected.numpy())
    seen = []
    handle = a.register_hook(lambda gradient: seen.append(gradient))
    torch.autograd.grad(_eager_loss(a, b, c), a)
    handle.remove()
    assert len(seen) == 1
    first, second = (torch.autograd.grad(_eager_loss(a, b, c), x)[0] for x in (a, b))
    assert first.shape == (3, 4) and second.shape == (4, 2)


def test_gradients_of_gradients_of_compiled_functions() -> None:
    compiled = torch.compile(lambda w: (w.sin() ** 2).sum())
    w, v = leaf(10), leaf(10, seed=1).detach()
    for _ in range(8):
        (first,) = torch.autograd.grad(compiled(w), w, create_graph=True)
        (second,) = torch.autograd.grad(first @ v, w, create_graph=True)
        (third,) = torch.autograd.grad(second.sum(), w)
        x = w.detach()
        assert np.allclose(first.detach().numpy(), (2 * x).sin().numpy(), atol=1e-6)
        assert np.allclose(second.detach().numpy(), (2 * (2 * x).cos() * v).numpy(), atol=1e-5)
        assert np.allclose(third.numpy(), (-4 * (2 * x).sin() * v).numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["cat", "div"])
def test_a_leaf_in_two_places_has_one_gradient(name: str) -> None:
    function = {"cat": lambda x, y: torch.cat([x, y]), "div": lambda x, y: x / y}[name]

    def passed(*given: Any) -> list[Any]:
        function(given[0], given[-1]).square().sum().backward()
        return [(x.grad.tolist(), x.grad._version) for x in given]

    def leaf() -> Any:
        return torch.tensor([1.0, 2.0], requires_grad=True)

    one, two = passed(leaf()), passed(leaf(), leaf())
    assert one[0][1] == 0
    for _ in range(40):
        assert passed(leaf(), leaf()) == two
    for _ in range(40):
        assert passed(leaf()) == one
    with passes_without_python():
        assert passed(leaf()) == one
        assert passed(leaf(), leaf()) == two
