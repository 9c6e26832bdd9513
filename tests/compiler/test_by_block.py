"""Loops over arrays whose elements never meet: block by block they give what whole arrays give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjit
from adjit.compiler.legalize import legalize
from adjit.compiler.simplify import simplify
from adjit.ir.graph import Node

SIZES = [(257,), (512,), (1030,), (33, 40)]


def loops_of(function: Any, *operands: Any) -> list[Node]:
    """The outermost loops of a program before fusion."""
    graph = simplify(legalize(adjit.compile(function).graph(*operands)))
    return [node for node in graph.nodes if node.op.name in ("scan", "while")]


def halvings(x: Any, count: Any, least: Any) -> tuple[Any, Any, Any]:
    """Per element: halve until below `least`, count, and keep what the first element was."""
    return adjit.while_loop(
        lambda x, n, kept: (x > least) & (n < count), lambda x, n, kept: (x * 0.5, n + 1, kept), (x, x.int() * 0, x)
    )


def test_a_loop_that_asks_what_has_not_ended() -> None:
    step = adjit.vmap(lambda k: adjit.while_loop(lambda n, x: n != k, lambda n, x: (n + 1, x + n * n), (0, k * 0))[1])
    counts = adjit.randint(0, 40, (700,))
    (outer,) = loops_of(step, counts)
    assert outer.op.name == "scan"
    assert adjit.compile(step)(counts).tolist() == [sum(n * n for n in range(k)) for k in counts.tolist()]


@pytest.mark.parametrize("dims", SIZES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_while_over_a_batch_ends_for_each_element(dims: tuple[int, ...], dtype: str) -> None:
    x = np.exp(np.random.default_rng(0).uniform(-3, 9, dims)).astype(dtype)
    x.flat[3], x.flat[5], x.flat[-1] = np.nan, np.inf, 0.0
    step = lambda x: halvings(x, 11, 0.75)  # noqa: E731
    for _ in dims:
        step = adjit.vmap(step)
    (outer,) = loops_of(step, adjit.from_numpy(x))
    assert outer.op.name == "scan"
    assert [node.op.name for node in outer.regions[0].nodes if node.regions] == ["while"]
    found = [each.numpy() for each in adjit.compile(step)(adjit.from_numpy(x))]
    value, count = x.copy(), np.zeros(dims, np.int32)
    for _ in range(11):
        going = value > 0.75
        value, count = np.where(going, value * np.asarray(0.5, dtype), value), count + going
    for left, right in zip(found, (value, count, x), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("dims", SIZES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_scan_of_arithmetic_over_arrays(dims: tuple[int, ...], seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y, scales = random.standard_normal(dims), random.standard_normal(dims), random.uniform(0.5, 0.9, 17)

    def program(x: Any, y: Any, scales: Any) -> Any:
        def step(carry: Any, scale: Any) -> Any:
            x, z, total, i = carry
            low = adjit.where(x > z, z * scale, x + i)
            return (low, adjit.maximum(x, y) - 0.25 * z, total + scale, i + 1), None

        return adjit.scan(step, (x, y * 2, scales[0] * 0, 0), scales, reverse=seed == 1)[0]

    given = [adjit.from_numpy(v) for v in (x, y, scales)]
    (outer,) = loops_of(program, *given)
    size = x.size
    assert (outer.attributes["length"] == -(-size // 128)) == (size >= 512)
    found = [each.numpy() for each in adjit.compile(program)(*given)]
    first, second, total, turn = x, y * 2, 0.0, 0
    for scale in scales[::-1] if seed == 1 else scales:
        low = np.where(first > second, second * scale, first + turn)
        first, second, total, turn = low, np.maximum(first, y) - 0.25 * second, total + scale, turn + 1
    for left, right in zip(found, (first, second, total, turn), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-13, atol=1e-13)


def test_elements_that_go_on_beyond_their_own_end_are_not_cut() -> None:
    """A carry that changes as long as any element goes on tells how long the longest took."""

    def program(x: Any) -> Any:
        return adjit.while_loop(lambda x, n: (x > 1).any(), lambda x, n: (x * 0.5, n + 1), (x, x * 0))

    x = adjit.arange(600.0)
    (loop,) = loops_of(program, x)
    assert loop.op.name == "while"
    value, count = adjit.compile(program)(x)
    assert count.unique().tolist() == [10.0]
    assert value[599].item() == 599 / 1024


def test_rows_of_whole_arrays_stay_whole() -> None:
    program = lambda x, rows: adjit.scan(lambda c, r: (c * 0.5 + r, None), x, rows)[0]  # noqa: E731
    x, rows = adjit.ones(2000), adjit.ones(20, 2000)
    (loop,) = loops_of(program, x, rows)
    assert loop.attributes["length"] == 20
    assert adjit.compile(program)(x, rows).unique().numel() == 1


@pytest.mark.parametrize("given", [False, True])
def test_as_many_turns_as_elements(given: bool) -> None:
    """The stack of what each turn takes has the shape of the arrays that are cut."""
    x = np.random.default_rng(0).standard_normal(1024)
    rows = np.linspace(0, 1, 1024)

    def program(x: Any, rows: Any) -> Any:
        stack = rows if given else adjit.arange(1024)
        return adjit.scan(lambda c, r: (c * 0.99 + r * 0.001, None), x, stack)[0]

    (loop,) = loops_of(program, adjit.from_numpy(x), adjit.from_numpy(rows))
    assert loop.attributes["length"] == 8
    found = adjit.compile(program)(adjit.from_numpy(x), adjit.from_numpy(rows)).numpy()
    expected = x.copy()
    for r in rows if given else range(1024):
        expected = expected * 0.99 + r * 0.001
    np.testing.assert_allclose(found, expected, rtol=1e-5)
