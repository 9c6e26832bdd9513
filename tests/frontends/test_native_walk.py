"""Tapes without a plan, of any length, are gone through natively with node-wise backward's bits."""

from __future__ import annotations

import gc
import random
import weakref
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import bodies
from adjit.autograd import backward as node_wise
from adjit.autograd import engine
from adjit.compiler.entry import known
from adjit.native import install
from adjit.native import steps as native_steps
from adjit.native.steps import Steps
from adjit.runtime import layout
from tests.frontends.natively import passes_without_python
from tests.threads import in_threads

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()


def leaf(*shape: int, seed: int = 0, dtype: Any = None) -> Any:
    array = np.random.default_rng(seed).normal(size=shape)
    return torch.tensor(array.tolist(), dtype=dtype or torch.float32).requires_grad_()


def bits(tensors: Any) -> list[bytes | None]:
    return [None if t is None else t.detach().numpy().tobytes() for t in tensors]


def random_tape(seed: int, leaves: list[Any], steps: int) -> Any:
    """A scalar made of square matrices by operations that a seed chooses: views, several results, sums of many."""
    rng = random.Random(seed)
    pool = list(leaves)
    for _ in range(steps):
        a, b = rng.choice(pool[-6:]), rng.choice(pool)
        kind = rng.randrange(9)
        if kind == 0:
            found = torch.tanh(a @ b)
        elif kind == 1:
            found = a * b + 0.5
        elif kind == 2:
            found = (a - b).sigmoid()
        elif kind == 3:
            found = torch.cat([a[1:], b[:1]])
        elif kind == 4:
            found = a.t() * 0.9
        elif kind == 5:
            first, second, *_ = a.unbind(0)
            found = (first * second).expand(4, 4) + b
        elif kind == 6:
            found = torch.softmax(a, -1)
        elif kind == 7:
            values, _ = a.max(1)
            found = values.unsqueeze(1) * b
        else:
            found = torch.stack([a[0], b[1], a[2], b[3]]).sin()
        pool.append(found)
    return sum((each * each).mean() for each in pool[-4:])


@pytest.mark.parametrize("seed", range(8))
def test_random_tapes_have_the_bits_of_node_wise(seed: int) -> None:
    dtype = torch.float64 if seed % 2 else torch.float32
    leaves = [leaf(4, 4, seed=10 * seed + i, dtype=dtype) for i in range(3)]
    node_wise(random_tape(seed, leaves, 60))
    expected = bits([x.grad for x in leaves])
    for _ in range(3):
        for x in leaves:
            x.grad = None
        loss = random_tape(seed, leaves, 60)
        with passes_without_python():
            loss.backward()
        assert bits([x.grad for x in leaves]) == expected
    reached = [x for x in leaves if x.grad is not None]
    chosen = reached[1:][::-1] or reached
    loss = random_tape(seed, leaves, 60)
    with passes_without_python():
        found = torch.autograd.grad(loss, chosen)
    assert bits(found) == bits([x.grad for x in chosen])


def long_tape(x: Any, w: Any, count: int) -> Any:
    h = x
    for _ in range(count):
        h = torch.tanh(h @ w) * 0.9 + x
    return (h * h).sum()


def test_long_tapes_are_gone_through_natively_from_the_first_pass_on() -> None:
    x, w = leaf(3, 5), leaf(5, 5, seed=1)
    with passes_without_python():
        long_tape(x, w, 1000).backward()
    found = bits([x.grad, w.grad])
    x.grad = w.grad = None
    node_wise(long_tape(x, w, 1000))
    assert bits([x.grad, w.grad]) == found


def test_gradients_that_are_there_are_added_to_in_place() -> None:
    x, w = leaf(3, 5), leaf(5, 5, seed=1)
    long_tape(x, w, 150).backward()
    first, once = w.grad, w.grad.numpy().copy()
    with passes_without_python():
        long_tape(x, w, 150).backward()
    assert w.grad is first
    assert np.array_equal(w.grad.numpy(), 2 * once)


def test_weights_that_do_not_lie_in_order() -> None:
    x, w = leaf(4, 5), leaf(5, 5, seed=1)
    weights = leaf(5, 4, seed=3).detach().t()
    with passes_without_python():
        (x @ w).tanh().backward(weights)
    expected = weights.numpy() * (1 - np.tanh(x.detach().numpy() @ w.detach().numpy()) ** 2) @ w.detach().numpy().T
    assert np.allclose(x.grad.numpy(), expected, rtol=1e-4)
    assert weights.numpy().strides == (4, 16)


def test_a_graph_is_freed_or_retained() -> None:
    x, w = leaf(3, 5), leaf(5, 5, seed=1)
    loss = long_tape(x, w, 120)
    with passes_without_python():
        loss.backward(retain_graph=True)
        loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()
    for pullback in (lambda: loss.backward(), lambda: torch.autograd.grad(loss, [x])):
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            pullback()


def test_overwritten_values_are_refused_and_nothing_is_changed() -> None:
    x, w = leaf(3, 5), leaf(5, 5, seed=1)
    loss = long_tape(x, w, 120)
    with torch.no_grad():
        w.add_(1)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            (x.exp().sum() + loss).backward(retain_graph=True)
    assert w.grad is None


def test_hooks_and_retained_gradients_are_served() -> None:
    x, w = leaf(3, 5), leaf(5, 5, seed=1)
    middle = (x @ w).tanh()
    middle.retain_grad()
    seen: list[Any] = []
    w.register_hook(lambda g: seen.append(g) or g * 2)
    (long_tape(x, w, 100) + middle.sum()).backward()
    assert middle.grad is not None
    assert len(seen) == 1
    assert torch.equal(w.grad, seen[0] * 2)


def test_leaves_that_a_target_does_not_need_get_nothing() -> None:
    x, w, unused = leaf(3, 5), leaf(5, 5, seed=1), leaf(2)
    (found,) = torch.autograd.grad(long_tape(x, w, 90), [x])
    assert found.shape == x.shape
    assert x.grad is None
    assert w.grad is None
    with pytest.raises(RuntimeError, match="appears to not have been used"):
        torch.autograd.grad(long_tape(x, w, 90), [unused])


def test_a_walked_tape_leaves_nothing_behind() -> None:
    x, w = leaf(3, 5), leaf(5, 5, seed=1)
    loss = long_tape(x, w, 200)
    node = weakref.ref(loss._value.node)
    with passes_without_python():
        loss.backward()
    del loss
    gc.collect()
    assert node() is None


def test_threads_walk_tapes_of_their_own() -> None:
    """Rows of 400 elements: their products are so long that others run meanwhile."""
    shared = leaf(400, 400, seed=1)

    def gradient(_: int) -> bytes:
        x = leaf(400, 400, seed=2)
        for _ in range(3):
            x.grad = None
            h = x
            for _ in range(6):
                h = torch.tanh(h @ shared.detach()) + x
            h.sum().backward()
        return bytes(x.grad.numpy().tobytes())

    assert len({*in_threads(gradient, 3)}) == 1


def steps() -> Steps:
    """The steps of this process."""
    found = engine.learn.__self__
    assert isinstance(found, Steps)
    return found


@pytest.mark.parametrize(("most", "most_bytes"), [(3, 1 << 27), (4096, 0)])
def test_steps_that_are_forgotten_live_until_the_passes_end_that_ran_them(
    monkeypatch: pytest.MonkeyPatch, most: int, most_bytes: int
) -> None:
    monkeypatch.setattr(native_steps, "_MOST", most)
    monkeypatch.setattr(native_steps, "_MOST_BYTES", most_bytes)
    monkeypatch.setattr(bodies, "_PULLBACK_TIMES", 2)
    steps()._forget()  # those that other tests left
    for rows in range(1, 9):
        x, w = leaf(rows, 3, seed=rows), leaf(3, 4, seed=1)
        for _ in range(3):
            x.grad = w.grad = None
            y = x @ w
            z = torch.softmax(y, 1)
            ((torch.tanh(y) * 2.0 + z.exp()).sum() + (w * w).sum()).backward()
            held = sum(step.nbytes for step in steps()._kept if isinstance(step, native_steps._Step))
            assert held == steps()._nbytes
            assert len(steps()._tried) <= most
        found = bits([x.grad, w.grad])
        x.grad = w.grad = None
        y = x @ w
        node_wise((torch.tanh(y) * 2.0 + torch.softmax(y, 1).exp()).sum() + (w * w).sum())
        assert bits([x.grad, w.grad]) == found


def test_steps_count_their_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """By which the best code of their programs is made once it pays."""
    monkeypatch.setattr(bodies, "_PULLBACK_TIMES", 2)
    monkeypatch.setattr(engine, "watch", None)  # which would make a plan of the tape
    steps()._forget()
    w, counts = leaf(5, 7, seed=1), []
    for _ in range(12):
        torch.softmax(w, 1).exp().sum().backward()
        made = [step for step in steps()._kept if isinstance(step, native_steps._Step)]
        counts.append([int(step.own[known.CALLS]) for step in made])
    assert any(before and after == [count + 1 for count in before] for before, after in pairwise(counts))


def meddled(monkeypatch: pytest.MonkeyPatch, meddle: Any) -> None:
    """Let something happen whenever a pullback is run, which Python does each time: no step is known or learnt."""

    def meddling(original: Any) -> Any:
        def run(*operands: Any) -> Any:
            meddle()
            return original(*operands)[0], None

        return run

    steps()._forget()
    for name in ("run_pullback", "run_open_pullback"):
        monkeypatch.setattr(native_steps, name, meddling(getattr(bodies, name)))


@pytest.mark.parametrize(("kind", "size"), [(KeyboardInterrupt, 15), (TimeoutError, 16), (ZeroDivisionError, 17)])
def test_what_a_pullback_raises_reaches_the_user(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseException], size: int
) -> None:
    x = leaf(3, size)
    loss = (x.sinh() * 3).sum()

    def meddle() -> None:
        raise kind("stop")

    meddled(monkeypatch, meddle)
    with pytest.raises(kind, match="stop"):
        loss.backward()
    assert x.grad is None


def test_targets_that_change_while_a_pass_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another thread may change them: the pass gives the gradients that it was asked for."""
    x = leaf(3, 18)
    targets = [x]

    def meddle() -> None:
        targets.clear()
        x.detach_()

    loss = (x.sinh() * 3).sum()
    meddled(monkeypatch, meddle)
    with passes_without_python():
        (found,) = torch.autograd.grad(loss, targets)
    assert np.allclose(found.numpy(), 3 * np.cosh(x.detach().numpy()), rtol=1e-5)


def test_another_thread_that_frees_the_tape_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    x = leaf(3, 19)
    middle = x.sinh()
    loss = (middle * middle).sum()
    meddled(monkeypatch, lambda: engine.release(middle._value.node))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_nodes_are_freed_as_soon_as_they_have_run(monkeypatch: pytest.MonkeyPatch) -> None:
    x = leaf(3, 20)
    h = x
    saved: list[Any] = []
    for _ in range(10):
        h = h.tanh()
        saved.append(weakref.ref(h._array))
    loss = h.sum()
    del h
    alive: list[int] = []
    meddled(monkeypatch, lambda: alive.append(sum(array() is not None for array in saved)))
    with passes_without_python():
        loss.backward()
    assert alive[-10:] == list(range(10, 0, -1))


def test_a_step_at_work_in_another_thread_leaves_its_node_to_python() -> None:
    x, w = leaf(3, 5), leaf(5, 5, seed=1)
    expected = []
    for busy in (0, 0, 1):
        x.grad = w.grad = None
        loss = long_tape(x, w, 100)
        own = [step.own for step in steps()._kept if isinstance(step, native_steps._Step)]
        for words in own:
            words[known.BUSY] = busy
        try:
            with passes_without_python():
                loss.backward()
        finally:
            for words in own:
                words[known.BUSY] = 0
        expected.append(bits([x.grad, w.grad]))
    assert expected[0] == expected[1] == expected[2]


@pytest.mark.parametrize("name", ["heaviside", "copysign"])
def test_tapes_of_which_nothing_is_saved_or_reached(name: str) -> None:
    x = torch.tensor([1.5, -2.5], requires_grad=True)
    operands = (x, torch.ones(2)) if name == "heaviside" else (torch.ones(2), x)
    with passes_without_python():
        getattr(torch, name)(*operands).backward(torch.ones(2))
    found = bits([x.grad]) if x.grad is not None else None
    x.grad = None
    node_wise(getattr(torch, name)(*operands), torch.ones(2))
    assert found == (bits([x.grad]) if x.grad is not None else None)


def test_weights_that_are_no_tensors_are_refused() -> None:
    x = leaf(3)
    for go_back in (lambda y: y.backward(3.0), lambda y: torch.autograd.grad(y, [x], 3.0)):
        with pytest.raises(TypeError, match="'float' object is not iterable"):
            go_back((x * 2).exp())


def test_a_due_plan_of_a_pass_that_failed_is_no_other_tapes() -> None:
    watch: Any = engine.watch
    plans = watch.__self__
    x, w = leaf(3, 5), leaf(5, 5, seed=1)
    plans._passes[known.PLAN_DUE] = 1
    with passes_without_python():
        long_tape(x, w, 200).backward()
    assert not plans._passes[known.PLAN_DUE]
    plans._passes[known.PLAN_DUE] = 1
    plans.watch([], x._value, None, False)
    assert not plans._passes[known.PLAN_DUE]
