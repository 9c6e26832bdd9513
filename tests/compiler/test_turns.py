"""Index arithmetic of loops: what counters are known to be, indices that need no check, elements handed on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjit
from adjit.compiler.legalize import legalize
from adjit.compiler.ranges import Ranges
from adjit.compiler.simplify import simplify
from adjit.ir.graph import Graph, Node
from adjit.ir.literals import literal_key
from adjit.ir.parser import parse


def simplified(function: Any, *operands: Any) -> Graph:
    """The program of a function before fusion."""
    return simplify(legalize(adjit.compile(function).graph(*operands)))


def nodes_of(graph: Graph, name: str) -> list[Node]:
    """The nodes, nested ones too, of ops whose names begin so."""
    return [node for node in graph.walk() if node.op.name.startswith(name)]


def test_bounds_hold_for_what_is_computed() -> None:
    graph = parse("""
    func @f(%x: i64[5]) -> (i64[5]) {
      %0 = iota {shape=[5], axis=0, dtype=i64} : i64[5]
      %1 = mul %0, -3    : i64[5]
      %2 = add %1, 2     : i64[5]
      %3 = mod %2, 4     : i64[5]
      %4 = div %2, 5     : i64[5]
      %5 = lt %2, 3      : bool[5]
      %6 = where %5, %3, %x : i64[5]
      %7 = minimum %x, %0 : i64[5]
      %8 = lt %2, 0      : bool[5]
      %9 = cast %2 {dtype=i8} : i8[5]
      %10 = cast %1 {dtype=u8} : u8[5]
      %11 = cast %8 {dtype=i64} : i64[5]
      return %6
    }
    """)
    ranges = Ranges()
    found = {k: ranges.of(node.output) for k, node in enumerate(n for n in graph.nodes if n.op.name != "const")}
    assert found == {
        0: (0, 4), 1: (-12, 0), 2: (-10, 2), 3: (0, 3), 4: (-2, 0), 5: (1, 1), 6: (0, 3), 7: (-(1 << 63), 4), 8: (0, 1),
        9: (-10, 2), 10: None, 11: (0, 1),
    }  # fmt: skip


# -- tables that are written by element -------------------------------------------------------------------------------
def table(count: int, start: int, reads: list[int], reverse: bool, counted: bool) -> Any:
    """x[i] = f(x[i + r] for r in reads) for `count` indices from `start`, counted by a carry or by `arange`."""

    def step(i: Any, x: Any) -> Any:
        x = x.clone()
        x[i] = sum((0.3 / (k + 1)) * x[i + r] for k, r in enumerate(reads)) + 0.25 * i
        return x

    def program(x: Any) -> Any:
        if counted:
            way = -1 if reverse else 1
            first = start + count - 1 if reverse else start
            (_, x), _ = adjit.scan(lambda c, _: ((c[0] + way, step(c[0], c[1])), None), (first, x), None, count)
            return x
        return adjit.scan(lambda x, i: (step(i, x), None), x, adjit.arange(start, start + count), reverse=reverse)[0]

    return program


@pytest.mark.parametrize("seed", range(8))
def test_tables_written_by_element(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, start = int(random.integers(1, 9)), int(random.integers(4, 7))
    reads = [int(r) for r in random.integers(-4, 5, size=random.integers(1, 5))]
    reverse, counted = bool(seed & 1), bool(seed & 2)
    shape = (start + count + 4, *((3,) if seed & 4 else ()))
    x = random.standard_normal(shape)
    program = table(count, start, reads, reverse, counted)
    graph = simplified(program, adjit.from_numpy(x))
    assert all(node.attributes.get("certain") for node in (*nodes_of(graph, "gather"), *nodes_of(graph, "scatter")))
    (loop,) = nodes_of(graph, "scan")
    left = [r for r in set(reads) if (-r if not reverse else r) not in (1, 2, 3, 4)]
    assert len([node for node in loop.regions[0].nodes if node.op.name == "gather"]) == len(left)
    expected = x.copy()
    for i in sorted(range(start, start + count), reverse=reverse):
        expected[i] = sum((0.3 / (k + 1)) * expected[i + r] for k, r in enumerate(reads)) + 0.25 * i
    given = adjit.from_numpy(x).requires_grad_()
    found = adjit.compile(program)(given)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    found.sin().sum().backward()
    again = adjit.from_numpy(x).requires_grad_()
    program(again).sin().sum().backward()
    np.testing.assert_allclose(given.grad.numpy(), again.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_a_table_of_two_dimensions_in_nested_loops() -> None:
    def program(x: Any) -> Any:
        def row(i: Any, x: Any) -> Any:
            def cell(j: Any, x: Any) -> Any:
                x = x.clone()
                x[i, j] = adjit.minimum(x[i - 1, j], x[i, j - 1]) + 0.5 * x[i, j]
                return x

            return adjit.fori_loop(1, 5, cell, x)

        return adjit.fori_loop(1, 7, row, x)

    x = np.random.default_rng(0).standard_normal((7, 5))
    expected = x.copy()
    for i in range(1, 7):
        for j in range(1, 5):
            expected[i, j] = min(expected[i - 1, j], expected[i, j - 1]) + 0.5 * expected[i, j]
    graph = simplified(program, adjit.from_numpy(x))
    assert not nodes_of(graph, "where")
    assert all(node.attributes.get("certain") for node in nodes_of(graph, "gather"))
    np.testing.assert_allclose(adjit.compile(program)(adjit.from_numpy(x)).numpy(), expected, rtol=1e-14)


def test_a_counter_of_while_is_known_by_its_condition() -> None:
    def program(x: Any) -> Any:
        def step(i: Any, x: Any, total: Any) -> Any:
            return i + 2, x, total + x[i]

        return adjit.while_loop(lambda i, x, total: (i < 9) & (total < 100), step, (0, x, x[0] * 0))[2]

    x = np.arange(10.0)
    (read,) = nodes_of(simplified(program, adjit.from_numpy(x)), "gather")
    assert read.attributes["certain"]
    assert adjit.compile(program)(adjit.from_numpy(x)).item() == 20.0


@pytest.mark.parametrize("end", [9, 10])
def test_an_index_that_may_be_outside_is_checked(end: int) -> None:
    """Index 10 of 10 elements is a fault; -1 is the last element."""
    program = adjit.compile(lambda x: adjit.scan(lambda c, i: (c + x[i + 1], x[i - 1]), x[0] * 0, adjit.arange(end)))
    x = adjit.arange(10.0)
    if end == 10:
        with pytest.raises(IndexError):
            program(x)
        return
    total, before = program(x)
    assert total.item() == 45.0
    assert before.tolist() == [9.0, *range(8)]


def insertion_sort(x: Any, count: Any) -> Any:
    x = x.clone()
    for i in range(1, count):
        v, j = x[i].clone(), i - 1
        while j >= 0 and x[j] > v:
            x[j + 1] = x[j]
            j -= 1
        x[j + 1] = v
    return x


def test_a_counter_that_falls_is_not_below_what_the_condition_says() -> None:
    x = adjit.tensor(np.random.default_rng(1).standard_normal(9))
    found = adjit.compile(insertion_sort)(x, adjit.tensor(9))
    assert adjit.equal(found, x.sort().values)
    graph = simplified(insertion_sort, x, adjit.tensor(9))
    # Only the place that the condition itself reads may be -1.
    assert len(nodes_of(graph, "where")) == 1


@pytest.mark.parametrize(
    ("first", "limit", "step"), [(3, 0, -1), (0, 3, 2), (-4, 3, 1), (5, 0, 1), (2, -3, -1), (7, 7, 3)]
)
def test_a_counter_after_its_loop_is_where_it_left_the_condition(first: int, limit: int, step: int) -> None:
    def program(x: Any, i: Any) -> Any:
        i = i % 1 + first  # known, and no number
        while i < limit if step > 0 else i > limit:
            x[i] += 1.0
            i = i + step
        x[i] *= 10.0
        return x, i

    x = adjit.arange(1.0, 9.0)
    found = adjit.compile(lambda x, i: program(x.clone(), i))(x, adjit.tensor(0))
    expected = program(x.clone(), adjit.tensor(0))
    assert adjit.equal(found[0], expected[0]) and int(found[1]) == int(expected[1])


def test_a_counter_that_wraps_has_no_bounds() -> None:
    def program(x: Any, i: Any) -> Any:
        turns = 0
        while i > -(2**31) + 1 and turns < 5:
            x = x + x[(i < 0).long()]
            i = i - (2**30)
            turns += 1
        return x, i

    given = adjit.tensor([1.0, 2.0]), adjit.tensor(5, dtype=adjit.int32)
    found, expected = adjit.compile(program)(*given), program(*given)
    assert adjit.equal(found[0], expected[0]) and adjit.equal(found[1], expected[1])


def test_remainders_by_a_number_are_bounded_whatever_is_divided() -> None:
    x, i = adjit.arange(5.0), adjit.tensor(-7)
    graph = simplified(lambda x, i: x[i % 5], x, i)
    assert not nodes_of(graph, "where") and nodes_of(graph, "gather")[0].attributes["certain"]
    assert float(adjit.compile(lambda x, i: x[i % 5])(x, i)) == float(x[3])


def test_small_integers_are_divided_in_32_bits() -> None:
    def program(least: Any) -> Any:
        numbers = adjit.arange(40) - 20

        def turn(i: Any, state: Any) -> Any:
            quotients, rests = state
            return quotients + numbers // (i - 7), rests * 3 + numbers % (i - 7) + least

        zeros = numbers * 0
        return adjit.fori_loop(0, 6, turn, (zeros, zeros))

    least = adjit.tensor(2)
    graph = simplified(program, least)
    assert {node.output.dtype.name for node in (*nodes_of(graph, "div"), *nodes_of(graph, "mod"))} == {"i32"}
    found = adjit.compile(program)(least)
    numbers = np.arange(40) - 20
    quotients, rests = numbers * 0, numbers * 0
    for i in range(6):
        quotients, rests = quotients + numbers // (i - 7), rests * 3 + numbers % (i - 7) + 2
    assert found[0].tolist() == quotients.tolist()
    assert found[1].tolist() == rests.tolist()
    with pytest.raises(ZeroDivisionError):
        adjit.compile(lambda x: adjit.fori_loop(0, 3, lambda i, x: adjit.arange(5) // (i - 1) + x, x))(
            adjit.zeros(5).long()
        )


def test_no_places_are_inside_an_empty_table() -> None:
    x, i = adjit.zeros(0), adjit.tensor([], dtype=adjit.int64)
    for read in (lambda x, i: x[i.clamp(0, 0)], lambda x, i: x.index_put((adjit.zeros_like(i),), i * 1.0)):
        assert adjit.compile(read)(x, i).shape == (0,)


def test_host_calls_keep_their_order_beside_late_reads() -> None:
    seen: list[str] = []

    def step(p: Any, q: Any, i: Any, v: Any) -> Any:
        written = p.index_put((i,), v)
        a = adjit.host_call(lambda x: (seen.append("first"), x)[1], written, written)
        b = adjit.host_call(lambda x: (seen.append("second"), x)[1], q, q)
        return a, b, p * 2

    for run in (step, adjit.compile(step)):
        seen.clear()
        *_, doubled = run(adjit.ones(4), adjit.ones(3), adjit.tensor([0]), adjit.tensor([-5.0]))
        assert seen == ["first", "second"] and doubled.tolist() == [2.0] * 4


def test_lists_of_graphs_are_told_apart() -> None:
    first, second = Graph("f"), Graph("f")
    assert literal_key((first, 1.0)) != literal_key((second, 1.0)) and literal_key((first,)) != literal_key((second,))
