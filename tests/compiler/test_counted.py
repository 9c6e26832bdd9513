"""Loops that count through arrays: as Python runs them, whatever they read and write, and as vectors where they can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit
from tests.compiler.guarded import guarded

COUNTS = (0, 1, 7, 8, 9, 20, 37)


def _to_the_left(x: Any, n: Any) -> Any:
    for i in range(n):
        x[i] = x[i + 1]
    return x


def _to_the_right(x: Any, n: Any) -> Any:
    for i in range(n):
        x[i + 3] = x[i]
    return x


def _running(x: Any, n: Any) -> Any:
    for i in range(1, n):
        x[i] = x[i - 1] + x[i]
    return x


def _scaled(x: Any, n: Any) -> Any:
    for i in range(n):
        x[i] = x[i] * 2 + i * 3
    return x


def _read_again(x: Any, n: Any) -> Any:
    for i in range(n):
        x[i] = x[i] + 1
        x[i + 1] = x[i] * 2
    return x


def _one_element(x: Any, n: Any) -> Any:
    for i in range(n):
        x[5] = x[i] + x[5]
    return x


def _beside_one(x: Any, n: Any) -> Any:
    for i in range(n):
        x[i] = x[i] + x[15]
    return x


def _two_counters(x: Any, n: Any) -> Any:
    j = n - n + 2
    for i in range(n):
        x[i] = x[j] + 1
        j = j + 1
    return x


def _backwards(x: Any, n: Any) -> Any:
    for i in range(n):
        x[i] = x[n - i] + 1
    return x


def _choosing(x: Any, n: Any) -> Any:
    for i in range(n):
        if x[i] > 0:
            x[i] = x[i] - 1
    return x


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "int8"])
@pytest.mark.parametrize(
    "program",
    [_to_the_left, _to_the_right, _running, _scaled, _read_again, _one_element, _beside_one, _two_counters, _backwards,
     _choosing],
)  # fmt: skip
def test_turns_that_count_through_one_array(program: Callable[..., Any], dtype: str) -> None:
    _agrees(program, [np.arange(40) % 5 - 2], dtype, COUNTS)


def _rows(a: Any, n: Any) -> Any:
    for i in range(n - 1):
        for j in range(n):
            a[i, j] = a[i + 1, j] + a[i, j]
    return a


def _columns(a: Any, n: Any) -> Any:
    for j in range(n):
        for i in range(n):
            a[i, j] = a[i, j] + a[n - 1, j]
    return a


def _eliminated(a: Any, n: Any) -> Any:
    for k in range(n):
        for i in range(k + 1, n):
            for j in range(k, n):
                a[i, j] = a[i, j] - a[i, k] * a[k, j]
    return a


def _shortest(a: Any, n: Any) -> Any:
    for k in range(n):
        for i in range(n):
            for j in range(n):
                through = a[i, k] + a[k, j]
                if through < a[i, j]:
                    a[i, j] = through
    return a


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
@pytest.mark.parametrize("program", [_rows, _columns, _eliminated, _shortest])
def test_turns_that_count_along_rows_and_columns(program: Callable[..., Any], dtype: str) -> None:
    _agrees(program, [np.eye(21, dtype=int)[::-1] + np.eye(21, dtype=int)], dtype, (2, 9, 12, 21))


def _plate(a: Any, b: Any, n: Any) -> Any:
    for _ in range(3):
        for i in range(1, n - 1):
            for j in range(1, n - 1):
                b[i, j] = a[i - 1, j] + a[i + 1, j] + a[i, j - 1] + a[i, j + 1] - 4 * a[i, j]
        a, b = b, a
    return a


def _forwarded(a: Any, b: Any, n: Any) -> Any:
    for i in range(n):
        for j in range(n):
            a[i, j] = b[i, j] + 1
            b[i, j] = a[i, j] * 2
    return a + b


def _transposed(a: Any, b: Any, n: Any) -> Any:
    for i in range(n):
        for j in range(n):
            a[i, j] = b[j, i] + j
    return a


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
@pytest.mark.parametrize("program", [_plate, _forwarded, _transposed])
def test_turns_that_count_through_two_arrays(program: Callable[..., Any], dtype: str) -> None:
    x = np.arange(441).reshape(21, 21) % 7 - 3
    _agrees(program, [x, x.T], dtype, (2, 9, 12, 21))


def _agrees(program: Callable[..., Any], arrays: list[Any], dtype: str, counts: tuple[int, ...]) -> None:
    """A compiled program gives, for each count, what Python makes of arrays of whole numbers."""
    arrays = [np.ascontiguousarray(array).astype(dtype) for array in arrays]
    compiled = adjit.compile(lambda *given: program(*(x.clone() for x in given[:-1]), given[-1]))
    for count in counts:
        wanted = program(*(x.copy() for x in arrays), count)
        found = compiled(*map(adjit.tensor, arrays), adjit.tensor(count))
        np.testing.assert_array_equal(found.numpy(), wanted)


def _leaky(x: Any, y: Any, n: Any) -> Any:
    for i in range(n):
        if x[i] > 0:
            y[i] = x[i]
        else:
            y[i] = 0 - x[i] * 2
    return y


def _one_way(x: Any, y: Any, n: Any) -> Any:
    for i in range(n):
        if x[i] > 0:
            pass
        elif x[i] < -1:
            y[i] = x[i]
        else:
            x[i] = y[i] + 1
    return x * 3 + y


def _again(x: Any, y: Any, n: Any) -> Any:
    for i in range(n):
        if y[i] > 0:
            x[i] = y[i] * 2
        if x[i] > 1:
            y[i] = x[i] + 1
            x[i] = y[i] - i
    return x * 3 + y


def _both(x: Any, y: Any, n: Any) -> Any:
    for i in range(n):
        z = x[i] + y[i] if (x[i] > 0 and y[i] > 0) or x[i] == -1 else y[i] * 2
        y[i] = z
    return y


def _where_none_is(x: Any, y: Any, n: Any) -> Any:
    for i in range(n):
        if i > 60:
            y[i] = x[i + 100]
        else:
            y[i] = x[i]
    return y


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int16", "int8"])
@pytest.mark.parametrize("program", [_leaky, _one_way, _again, _both, _where_none_is])
def test_branches_of_turns_side_by_side(program: Callable[..., Any], dtype: str) -> None:
    x = np.arange(40)
    _agrees(program, [x % 5 - 2, x * 3 % 7 - 2], dtype, COUNTS)


def _generation(a: Any, b: Any, n: Any) -> Any:
    for _ in range(3):
        for i in range(1, n - 1):
            for j in range(1, n - 1):
                s = a[i - 1, j - 1] + a[i - 1, j] + a[i - 1, j + 1] + a[i, j - 1] + a[i, j + 1]
                s = s + a[i + 1, j - 1] + a[i + 1, j] + a[i + 1, j + 1]
                if s == 3 or (s == 2 and a[i, j] == 1):
                    b[i, j] = 1
                else:
                    b[i, j] = 0
        a, b = b, a
    return a


@pytest.mark.parametrize("dtype", ["float32", "int64", "int8"])
def test_the_game_of_life(dtype: str) -> None:
    x = np.arange(441).reshape(21, 21)
    _agrees(_generation, [x * x % 7 // 4, 0 * x], dtype, (3, 12, 21))


def _mean(x: Any, y: Any, n: Any) -> Any:
    for i in range(1, n):
        y[i] = (x[i - 1] + x[i + 1]) * 0.5
    return y


def _mean_between(x: Any, y: Any, low: Any, high: Any) -> Any:
    for i in range(low, high):
        y[i] = (x[i - 1] + x[i + 1]) * 0.5
    return y


def test_a_place_outside_is_found_after_turns_side_by_side() -> None:
    x, y = adjit.arange(50.0), adjit.zeros(50)
    compiled = adjit.compile(lambda x, y, n: _mean(x, y.clone(), n))
    assert adjit.equal(compiled(x, y, adjit.tensor(49))[1:-1], x[1:-1])
    for n in (50, 51, 10**12, 2**63 - 1):
        with pytest.raises(IndexError, match="index"):
            compiled(x, y, adjit.tensor(n))
    for n in (1, 0, -1, -(2**63)):
        assert adjit.equal(compiled(x, y, adjit.tensor(n)), y)


def test_turns_may_begin_anywhere() -> None:
    x, y = adjit.arange(50.0), adjit.zeros(50)
    compiled = adjit.compile(lambda x, y, low, high: _mean_between(x, y.clone(), low, high))
    for low, high in ((1, 50), (1, 10**12), (50, 60), (45, 51), (-60, 9), (-(2**63), 9)):
        with pytest.raises(IndexError, match="index"):
            compiled(x, y, adjit.tensor(low), adjit.tensor(high))
    for low, high in ((9, -(2**63)), (2**63 - 1, -(2**63)), (2**63 - 1, 2**63 - 1)):
        assert adjit.equal(compiled(x, y, adjit.tensor(low), adjit.tensor(high)), y)
    negative = compiled(x, y, adjit.tensor(-20), adjit.tensor(-5))
    assert adjit.equal(negative[30:45], x[30:45]) and negative[45:].sum() == 0


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("program", [_mean, _leaky, _again])
def test_turns_side_by_side_stay_within_their_arrays(program: Callable[..., Any], at_end: bool) -> None:
    x = np.arange(61.0) % 5 - 2
    compiled = adjit.compile(program)
    for n in range(1, 61):
        wanted = program(x.copy(), np.zeros(61), n)
        with guarded([x, np.zeros(61)], at_end) as held:
            found = compiled(*map(adjit.from_numpy, held), adjit.tensor(n))
            np.testing.assert_array_equal(found.numpy(), wanted)


def test_numbers_that_are_none_are_where_python_puts_them() -> None:
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e308, 5e-324] * 5)
    compiled = adjit.compile(lambda x, y, n: _mean(x, y.clone(), n))
    found = compiled(adjit.tensor(x), adjit.zeros(35, dtype=adjit.float64), adjit.tensor(34)).numpy()
    with np.errstate(all="ignore"):
        wanted = _mean(x, np.zeros(35), 34)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


def test_products_are_added_in_one_rounding_in_all_turns_or_in_none() -> None:
    def program(x: Any, y: Any, n: Any) -> Any:
        for i in range(n):
            y[i] = y[i] + x[i] * x[i + 1]
        return y

    compiled = adjit.compile(lambda x, y, n: program(x, y.clone(), n))
    x, y = adjit.randn(70), adjit.randn(69)
    whole = compiled(x, y, adjit.tensor(69))
    for first in range(0, 63, 7):  # seven turns run one by one
        parts = compiled(x[first : first + 70].clone(), y[first : first + 69].clone(), adjit.tensor(7))
        assert adjit.equal(parts[:7], whole[first : first + 7])


@pytest.mark.parametrize("program", [_to_the_left, _scaled, _beside_one, _choosing, _leaky, _again, _both, _mean])
def test_whole_vectors_run(program: Callable[..., Any]) -> None:
    arrays = [adjit.arange(64.0, dtype=adjit.float64)] * (program.__code__.co_varnames.index("n"))
    llvm = adjit.compile(program).llvm(*(x.clone() for x in arrays), adjit.tensor(40))
    control = llvm[llvm.index("define internal i1 @control") :]
    turns = control[control.index("\nbeside") : control.index("\nafter", control.index("\nbeside"))]
    assert "store <" in turns or "masked.store" in turns
