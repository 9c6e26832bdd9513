"""Eager operations whose shapes change at every call are served natively, by signatures open in their sizes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import bodies
from adjit.autograd import backward as node_wise
from adjit.autograd.graph import saved_tensors_hooks
from adjit.compiler.entry import known as k
from adjit.native import install
from adjit.native.entry import native_entry
from adjit.nn import functional as F
from tests.frontends.natively import passes_without_python, refuse
from tests.threads import in_threads

E = 6


def by_python() -> Any:
    """Inside, Python serves all calls and passes, node by node."""
    return saved_tensors_hooks(lambda x: x, lambda x: x)


@contextmanager
def without_python() -> Iterator[None]:
    """Inside, no operation, pullback or pass asks Python."""
    entry = native_entry()
    assert entry is not None
    operations = [*install._installed.values()]
    before = [operation.table[: k.MISS + 1].copy() for operation in operations]
    pull_back = entry.known[k.PULL_BACK]
    for operation in operations:
        operation.table[: k.MISS + 1] = id(refuse)
    entry.known[k.PULL_BACK] = id(refuse)
    try:
        with passes_without_python():
            yield
    finally:
        entry.known[k.PULL_BACK] = pull_back
        for operation, words in zip(operations, before, strict=True):
            operation.table[: k.MISS + 1] = words


def floats(*shape: int, seed: int = 0) -> Any:
    return torch.from_numpy(np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32))


def whole(*shape: int, below: int, seed: int = 0) -> Any:
    return torch.from_numpy(np.random.default_rng([seed, *shape]).integers(0, below, shape))


WEIGHT, BIAS, TABLE = floats(E, E), floats(E), floats(20, E)
PROGRAMS: dict[str, tuple[Any, Any]] = {
    "add": (lambda n: (floats(n, E), floats(n, E, seed=1)), lambda x, y: x + y),
    "chain": (lambda n: (floats(n, E), floats(n, E, seed=1)), lambda x, y: ((x * y + x.exp()).tanh() * 2 - y).abs()),
    "bias": (lambda n: (floats(n, E),), lambda x: x * BIAS + BIAS),
    "outer": (lambda n: (floats(n), floats(n + 3)), lambda x, y: x[:, None] * y),
    "softmax": (lambda n: (floats(3, n),), lambda x: x.softmax(-1)),
    "log softmax": (lambda n: (floats(n, 4),), lambda x: x.log_softmax(0)),
    "layer norm": (lambda n: (floats(n, E),), lambda x: F.layer_norm(x, (E,), BIAS, BIAS)),
    "linear": (lambda n: (floats(n, E),), lambda x: F.linear(x, WEIGHT, BIAS)),
    "matmul": (lambda n: (floats(n, E), floats(E, n, seed=1)), lambda x, y: x @ y),
    "few rows": (lambda n: (floats(3, E), floats(E, n, seed=1)), lambda x, y: x @ y),
    "products with transposes": (lambda n: (floats(n, E), floats(n, E, seed=1)), lambda x, y: x @ y.t()),
    "bmm": (lambda n: (floats(2, n, 3), floats(2, 3, n)), lambda x, y: torch.bmm(x, y)),
    "cat": (lambda n: (floats(n, E), floats(n + 2, E)), lambda x, y: torch.cat([x, y])),
    "stack": (lambda n: (floats(n, E), floats(n, E, seed=1)), lambda x, y: torch.stack([x, y], 1)),
    "masked fill": (lambda n: (floats(n, E), floats(n, E) > 0), lambda x, m: x.masked_fill(m, 2.0)),
    "where": (lambda n: (floats(n, E), floats(n, E, seed=1)), lambda x, y: torch.where(x > y, x, y)),
    "pad": (lambda n: (floats(n, E),), lambda x: F.pad(x, (1, 2))),
    "sum": (lambda n: (floats(n, E),), lambda x: x.sum(0)),
    "mean": (lambda n: (floats(E, n),), lambda x: x.mean(1)),
    "amax": (lambda n: (floats(n, E),), lambda x: x.amax(0)),
    "cumsum": (lambda n: (floats(n, E),), lambda x: x.cumsum(0)),
    "gather": (lambda n: (floats(n, E), whole(n, 2, below=E)), lambda x, i: x.gather(1, i)),
    "index select": (lambda n: (floats(9, E), whole(n, below=9)), lambda x, i: x.index_select(0, i)),
    "embedding": (lambda n: (whole(n, below=20),), lambda i: F.embedding(i, TABLE)),
    "reshape": (lambda n: (floats(n, E),), lambda x: x.reshape(x.shape[0], 2, 3).transpose(0, 1) * 2),
    "slice": (lambda n: (floats(n + 3, E),), lambda x: x[1:, 2:5] * 3),
    "attention": (
        lambda n: (floats(1, 2, n, 4), floats(1, 2, n, 4, seed=1), floats(1, 2, n, 4, seed=2)),
        F.scaled_dot_product_attention,
    ),
    "cross entropy": (lambda n: (floats(n, E), whole(n, below=E)), F.cross_entropy),
    "losses": (lambda n: (floats(n, E), floats(n, E, seed=1)), lambda x, y: F.mse_loss(x, y) + F.smooth_l1_loss(x, y)),
}  # fmt: skip


def lengths(count: int, seed: int) -> list[int]:
    found = list(range(2, 2 + count))
    random.Random(seed).shuffle(found)
    return found


def results(program: Any, given: Any, *, recorded: bool) -> list[np.ndarray]:
    if not recorded:
        with torch.no_grad():
            return [program(*given).numpy()]
    leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in given]
    parameters = (WEIGHT, BIAS, TABLE)
    for x in parameters:
        x.grad = None
        x.requires_grad_()
    found = program(*leaves)
    (found * found).sum().backward()
    gradients = [x.grad for x in (*leaves, *parameters) if x.requires_grad and x.grad is not None]
    for x in parameters:
        x.requires_grad_(False)
    return [found.detach().numpy(), *(x.numpy() for x in gradients)]


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return [x.shape for x in first] == [x.shape for x in second] and [x.tobytes() for x in first] == [
        x.tobytes() for x in second
    ]


@pytest.fixture(autouse=True)
def served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_PULLBACK_TIMES", 4)  # of parts whose sizes do not change
    install.install()
    for operation in install._installed.values():
        with operation._signatures.lock:
            operation._signatures.forget()
        operation._history.forget()


@pytest.mark.parametrize("recorded", [False, True], ids=["forward", "recorded"])
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_new_shapes_are_served_natively_with_the_same_bits(name: str, recorded: bool) -> None:
    make, program = PROGRAMS[name]
    for n in lengths(24, 0):
        results(program, make(n), recorded=recorded)
    for n in (*range(30, 40), 200, 31):
        given = make(n)
        with without_python():
            found = results(program, given, recorded=recorded)
        with by_python():
            assert same(results(program, given, recorded=recorded), found), n


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_special_sizes_are_right_among_others(name: str) -> None:
    make, program = PROGRAMS[name]
    sizes = [n for n in (*lengths(16, 1), 1, E, 2, 2 * E, 1, 40, E)]
    for n in sizes:
        given = make(n)
        with by_python():
            wanted = results(program, given, recorded=True)
        assert same(results(program, given, recorded=True), wanted), n


def test_nodes_of_any_size_are_as_those_of_one() -> None:
    """Names, types, attributes and second derivatives of what native code recorded for a new shape."""

    def program(x: Any) -> Any:
        return (x + BIAS).softmax(-1)

    for n in lengths(20, 2):
        program(floats(n, E).requires_grad_())
    for n in (40, 41):
        x = floats(n, E).requires_grad_()
        y = program(x)
        with by_python():
            z = program(x)
        assert type(y.grad_fn).__name__ == type(z.grad_fn).__name__
        nodes, others = (r._value.node.inputs[0].node for r in (y, z))
        assert nodes.sizes is not None
        assert others.sizes is None
        while nodes is not None:
            assert (nodes.op, nodes.attributes, nodes.types) == (others.op, others.attributes, others.types)
            assert str(nodes.pullback.outputs[0].type) == str(others.pullback.outputs[0].type)
            nodes, others = nodes.inputs[0].node, others.inputs[0].node
        (first,) = torch.autograd.grad((y * y).sum(), [x], create_graph=True)
        (second,) = torch.autograd.grad((first * first).sum(), [x])
        with by_python():
            (wanted,) = torch.autograd.grad((z * z).sum(), [x], create_graph=True)
            (after,) = torch.autograd.grad((wanted * wanted).sum(), [x])
        assert first.detach().numpy().tobytes() == wanted.detach().numpy().tobytes()
        assert np.allclose(second.numpy(), after.numpy(), atol=1e-6)


def test_a_saved_value_of_any_size_that_is_overwritten_is_noticed() -> None:
    for n in lengths(20, 3):
        (floats(n, E).requires_grad_() * floats(n, E)).sum().backward()
    x, y = floats(50, E).requires_grad_(), floats(50, E)
    loss = (x * y).sum()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    x = floats(51, E).requires_grad_()
    loss = x.sum(0)
    with torch.no_grad():
        x.add_(1)  # a sum keeps nothing of its operand
    loss.sum().backward()
    assert (x.grad.numpy() == 1).all()


def test_a_pass_of_any_size_may_be_gone_twice_if_it_is_retained() -> None:
    for n in lengths(20, 4):
        (floats(n, E).requires_grad_().tanh() * 2).sum().backward()
    x = floats(60, E).requires_grad_()
    loss = (x.tanh() * 2).sum()
    loss.backward(retain_graph=True)
    once = x.grad.clone()
    loss.backward()
    assert np.array_equal(x.grad.numpy(), 2 * once.numpy())
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@pytest.mark.parametrize("shape", [(0, E), (1, E), (E, 1), (2, E), (300_000, E)])
def test_empty_single_and_large_operands(shape: tuple[int, int]) -> None:
    def program(x: Any) -> Any:
        return (x * 2 + x).exp().sum(1)

    for n in lengths(20, 5):
        results(program, (floats(n, E),), recorded=True)
    given = (floats(*shape),)
    with by_python():
        wanted = results(program, given, recorded=True)
    for _ in range(3):
        assert same(results(program, given, recorded=True), wanted)


def test_operands_that_lie_otherwise_or_have_other_dtypes() -> None:
    def program(x: Any, y: Any) -> Any:
        return (x + y).exp() @ (x - y).t()

    for n in lengths(20, 6):
        results(program, (floats(n, E), floats(n, E, seed=1)), recorded=True)
    wide = floats(40, 3 * E)
    others = [
        (floats(E, 30).t(), floats(30, E)), (wide[:, :E], wide[:, E : 2 * E]), (wide[::2, :E], wide[1::2, :E]),
        (floats(33, E).double(), floats(33, E).double()), (floats(E).expand(31, E), floats(31, E)),
    ]  # fmt: skip
    for given in others * 2:
        with by_python():
            wanted = results(program, given, recorded=True)
        assert same(results(program, given, recorded=True), wanted)


def test_numbers_beside_tensors_of_any_size() -> None:
    for n in lengths(30, 7):
        x = floats(n, E)
        assert np.array_equal((x * float(n)).numpy(), x.numpy() * np.float32(n))
        assert np.array_equal((x + n).numpy(), x.numpy() + np.float32(n))
        assert np.array_equal(x[: n // 2].numpy(), x.numpy()[: n // 2])
        assert np.array_equal(x.narrow(0, 1, n - 1).numpy(), x.numpy()[1:])
        assert torch.zeros(n, 3).shape == (n, 3)
        assert torch.arange(n).tolist() == list(range(n))
        with pytest.raises(RuntimeError, match="must match the size"):
            x + floats(n + 1, E)


def test_calls_that_warn_do_so_for_each_of_their_sizes() -> None:
    for n in lengths(30, 13):
        with pytest.warns(UserWarning, match="different to the input size") as caught:
            F.mse_loss(floats(n, E), floats(n, 1))
        (warning,) = caught
        assert f"([{n}, 1])" in str(warning.message)


def test_new_tensors_of_any_size_require_gradients_where_they_shall() -> None:
    for n in lengths(30, 14):
        assert torch.ones(n, 3, requires_grad=True).requires_grad
        assert not torch.ones(n, 3, requires_grad=False).requires_grad
        assert torch.arange(float(n), requires_grad=True).requires_grad
        assert torch.full((n,), 2.0, requires_grad=True).requires_grad


def test_threads_share_signatures_of_any_size() -> None:
    def program(x: Any) -> Any:
        return ((x.tanh() @ x.t()).softmax(-1) * 2).sum()

    def gradient(n: int) -> bytes:
        x = floats(n, E).requires_grad_()
        program(x).backward()
        return bytes(x.grad.numpy().tobytes())

    for n in lengths(20, 8):
        gradient(n)
    with by_python():
        wanted = {n: gradient(n) for n in range(30, 60)}

    def wrong(seed: int) -> list[int]:
        order = [*wanted]
        random.Random(seed).shuffle(order)
        return [n for n in order * 3 if gradient(n) != wanted[n]]

    assert in_threads(wrong) == [[]] * 4


def test_new_sizes_compile_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from adjit.compiler import compile as compiling

    def program(x: Any) -> Any:
        return F.layer_norm((x @ x.t()).softmax(-1) @ x, (E,)).mean()

    def step(n: int) -> None:
        x = floats(n, E).requires_grad_()
        program(x).backward()

    for n in lengths(20, 9):
        step(n)
    monkeypatch.setattr(compiling, "compile_graph", refuse)
    for n in range(40, 80):
        step(n)


def test_sizes_that_come_again_and_again_get_a_signature_of_their_own() -> None:
    operation = install._installed["Tensor.log1p"]
    for n in lengths(20, 10):
        floats(n, E).log1p()
    for _ in range(60):
        floats(64, E).log1p()
    assert any(signature.operands[0].dims == (64, E) for signature, *_ in operation._signatures._kept)


def test_convolutions_are_open_in_the_count_of_images_alone() -> None:
    weight = floats(3, 2, 3, 3)

    def is_open() -> bool:
        operations = [install._installed["nn.functional.conv2d"]]
        return any(signature.opening is not None for each in operations for signature, *_ in each._signatures._kept)

    with torch.no_grad():
        for n in range(2, 20):
            F.conv2d(floats(2, 2, n + 3, n + 2), weight)
        assert not is_open()
        for n in range(2, 20):
            found = F.conv2d(floats(n, 2, 6, 5), weight)
            with by_python():
                assert found.numpy().tobytes() == F.conv2d(floats(n, 2, 6, 5), weight).numpy().tobytes()
        assert is_open()


def test_programs_for_the_sizes_of_one_node_are_no_steps_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python goes back through a tape that is open in sizes, it may compile a pullback for those at hand."""
    monkeypatch.setattr(bodies, "_PULLBACK_TIMES", 1)
    for n in (*range(2, 12), 40, 3, 25, 13):
        x = floats(n, E).requires_grad_()
        loss = ((x.erfinv() * 0 + x.cosh() * BIAS).tan() * 0.5 + x @ WEIGHT).sum()
        if n < 12:
            node_wise(loss)
            continue
        loss.backward()
        found, x.grad = x.grad, None
        with by_python():
            node_wise(((x.erfinv() * 0 + x.cosh() * BIAS).tan() * 0.5 + x @ WEIGHT).sum())
        assert found.numpy().tobytes() == x.grad.numpy().tobytes()


def test_composites_that_are_only_run_share_a_body_and_recorded_ones_have_derivatives() -> None:
    from adjit.composite import _cache, composite

    @composite("")
    def wave(x: Any, y: Any, count: int) -> Any:
        return (x * count).sin() + y.sum(0)

    whole = torch.linspace(-2, 2, 60).reshape(20, 3)
    graphs = set()
    for size in (*range(1, 20), *range(19, 0, -1)):
        x = whole[:size].clone()
        found = wave(x, x, 2)
        assert torch.allclose(found, (x * 2).sin() + x.sum(0))
        x.requires_grad_()
        wave(x, x, 2).sum().backward()
        assert torch.allclose(x.grad, 2 * (x * 2).cos().detach() + size)
    graphs = {id(graph) for (function, *_, recorded), (graph, _) in _cache.items()
              if function.__name__ == "wave" and not recorded}  # fmt: skip
    assert len(graphs) < 10
    with pytest.raises(RuntimeError, match="must match the size"):
        wave(torch.ones(4, 3), torch.ones(4, 2), 2)
