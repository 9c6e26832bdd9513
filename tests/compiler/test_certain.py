"""Loops whose turns do not look at each place: as Python runs them, with what turns keep, and with their faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit
from tests.compiler.guarded import guarded


def _compiled(program: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled program on copies of its arrays; its last operands are counts."""
    compiled = adjit.compile(program)

    def run(*given: Any) -> Any:
        return compiled(*(adjit.tensor(x.copy() if isinstance(x, np.ndarray) else x) for x in given))

    return run


def _agrees(program: Callable[..., Any], *rounds: tuple[Any, ...]) -> None:
    """A compiled program gives what Python makes of the same arrays, IndexErrors included."""
    compiled = _compiled(program)
    for given in rounds:
        try:
            with np.errstate(all="ignore"):
                wanted = program(*(x.copy() if isinstance(x, np.ndarray) else x for x in given))
        except IndexError:
            with pytest.raises(IndexError):
                compiled(*given)
            continue
        found = compiled(*given)
        for one, other in zip(*((x if isinstance(x, tuple) else (x,)) for x in (found, wanted)), strict=True):
            one = one.numpy() if isinstance(one, adjit.Tensor) else one
            np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(np.signbit(one) & (one == one), np.signbit(other) & (other == other))


def _prefix(x: Any, low: Any, n: Any) -> Any:
    for i in range(low, n):
        x[i] += x[i - 1]
    return x


def _two_back(x: Any, low: Any, n: Any) -> Any:
    for i in range(low, n):
        x[i] = x[i - 2] - x[i - 1] + x[i]
    return x


def _only_two_back(x: Any, low: Any, n: Any) -> Any:
    for i in range(low, n):
        x[i] = x[i - 2] - 1
    return x


def _relaxed(x: Any, low: Any, n: Any) -> Any:
    for i in range(low, n - 1):
        x[i] = x[i - 1] + x[i + 1] - x[i]
    return x


def _read_after(x: Any, low: Any, n: Any) -> Any:
    for i in range(low, n):
        x[i] = x[i] + 1
        x[0] = x[0] + x[i - 1] - x[i]
    return x


def _at_times(x: Any, low: Any, n: Any) -> Any:
    for i in range(low, n):
        if x[i - 1] > 0:
            x[i] = x[i - 1] - 2
    return x


def _by_two(x: Any, low: Any, n: Any) -> Any:
    i = low + 0
    while i < n:
        x[i] = x[i - 2] + x[i - 1]
        i = i + 2
    return x


def _down(x: Any, low: Any, n: Any) -> Any:
    i = n - 2
    while i >= low:
        x[i] = x[i + 1] + x[i]
        i = i - 1
    return x


def _counted_before(x: Any, low: Any, n: Any) -> Any:
    i = low + 0
    while i < n - 1:
        i = i + 1
        x[i] = x[i - 1] + x[i]
    return x


def _by_itself(x: Any, low: Any, n: Any) -> Any:
    i = low + 0
    while i < n:
        x[i] = x[i] + x[i - 1]
        i = i + (i % 3) + 1
    return x


def _sieved(x: Any, low: Any, n: Any) -> Any:
    j = low * 1
    while j < n:
        x[j] = 0
        j = j + low
    return x


def _until(x: Any, low: Any, n: Any) -> Any:
    i = low + 0
    while i < n and x[i] != 1:
        x[i] = x[i - 1] + 1
        i = i + 1
    return x, i


def _largest(x: Any, low: Any, n: Any) -> Any:
    for i in range(low, n):
        if x[i] > x[low]:
            x[low] = x[i]
    return x


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int8"])
@pytest.mark.parametrize(
    "program",
    [_prefix, _two_back, _only_two_back, _relaxed, _read_after, _at_times, _by_two, _down, _counted_before, _by_itself,
     _sieved, _until, _largest],
)  # fmt: skip
def test_turns_one_after_the_other(program: Callable[..., Any], dtype: str) -> None:
    x = (np.arange(40) * 7 % 5 - 2).astype(dtype)
    rounds = [(1, 0), (1, 1), (1, 2), (2, 3), (2, 40), (3, 17), (39, 40), (1, 41), (1, 60)]
    if program is not _sieved:
        rounds += [(0, 9), (-3, 5), (-40, 40), (-41, 5), (50, 60), (-60, 2)]
    _agrees(program, *((x, low, n) for low, n in rounds))


@pytest.mark.parametrize("program", [_prefix, _two_back, _relaxed, _largest, _down])
def test_numbers_that_are_none_are_kept_as_they_are(program: Callable[..., Any]) -> None:
    x = np.array([np.inf, 1, -0.0, 0.0, -0.0, np.nan, 2, -np.inf, 1e308, 1e308, 5e-324, -5e-324])
    _agrees(program, *((x[::step].copy(), 1, n) for step in (1, -1) for n in (3, 8, 12)))


def _row_sums(a: Any, s: Any, n: Any, m: Any) -> Any:
    for i in range(n):
        for j in range(m):
            s[i] += a[i, j]
    return s


def _column_sums(a: Any, s: Any, n: Any, m: Any) -> Any:
    for j in range(m):
        for i in range(n):
            s[j] = s[j] + a[i, j]
    return s


def _row_counts(a: Any, s: Any, n: Any, m: Any) -> Any:
    for i in range(n):
        for j in range(m):
            if a[i, j] > 0:
                s[i] += 1
    return s


def _swept(a: Any, s: Any, n: Any, m: Any) -> Any:
    for i in range(1, n):
        for j in range(1, m):
            a[i, j] = a[i - 1, j] + a[i, j - 1] - a[i, j]
    return a


def _filled(a: Any, s: Any, n: Any, m: Any) -> Any:
    for i in range(1, n):
        for j in range(m):
            a[i, j] = a[i - 1, j]
            if s[i] <= j:
                through = a[i - 1, j - 1] + s[i]
                if through > a[i, j]:
                    a[i, j] = through
    return a


def _products(a: Any, s: Any, n: Any, m: Any) -> Any:
    for i in range(n):
        total = s[i] * 0
        for j in range(m):
            total = total + a[i, j] * s[j]
        s[i] = total
    return s


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
@pytest.mark.parametrize("program", [_row_sums, _column_sums, _row_counts, _swept, _filled, _products])
def test_turns_within_turns(program: Callable[..., Any], dtype: str) -> None:
    a = (np.arange(17 * 19).reshape(17, 19) * 11 % 7 - 3).astype(dtype)
    s = (np.arange(19) % 4 - 1).astype(dtype)
    _agrees(program, *((a, s, n, m) for n, m in ((0, 3), (1, 1), (2, 9), (17, 19), (17, 1), (18, 19), (17, 20))))


def _sorted(x: Any, n: Any) -> Any:
    for i in range(1, n):
        v = x[i] + 0
        j = i - 1
        while j >= 0 and x[j] > v:
            x[j + 1] = x[j]
            j = j - 1
        x[j + 1] = v
    return x


def test_places_that_go_down() -> None:
    x = np.arange(50) * 37 % 50 - 20.0
    _agrees(_sorted, *((x, n) for n in (0, 1, 2, 9, 33, 50)))


def _scattered(x: Any, at: Any, n: Any) -> Any:
    for i in range(n):
        x[at[i]] = x[at[i]] + x[0]
    return x


def test_places_that_are_read_are_looked_at() -> None:
    x, at = np.arange(9.0) + 1, np.array([3, 0, 8, -1, 0, 2, 2, 9, 1])
    _agrees(_scattered, *((x, at, n) for n in range(10)))
    _agrees(_scattered, *((x, np.where(at == 9, -10, at), n) for n in range(10)))


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("program", [_prefix, _two_back, _relaxed, _at_times, _by_two, _down, _until, _largest])
def test_turns_stay_within_their_arrays(program: Callable[..., Any], at_end: bool) -> None:
    compiled = adjit.compile(program)
    for size in (3, 4, 9, 30):
        x = np.arange(float(size)) * 7 % 5 - 2
        for low, n in ((1, size), (2, size), (2, size - 1), (-size, size), (1, 2 * size), (-2 * size, 2)):
            with guarded([x.copy()], at_end) as (held,):
                try:
                    wanted = program(x.copy(), low, n)
                except IndexError:
                    with pytest.raises(IndexError):
                        compiled(adjit.from_numpy(held), adjit.tensor(low), adjit.tensor(n))
                    continue
                found = compiled(adjit.from_numpy(held), adjit.tensor(low), adjit.tensor(n))
                for one, other in zip(*((y if isinstance(y, tuple) else (y,)) for y in (found, wanted)), strict=True):
                    np.testing.assert_array_equal(one.numpy(), other)


def test_counts_of_any_size() -> None:
    compiled, x = _compiled(_prefix), np.ones(20)
    for low, n in ((1, 2**63 - 1), (2**63 - 1, 2**63 - 1), (-(2**63), 5), (2**63 - 2, 2**63 - 1), (20, 21)):
        if low < n:
            with pytest.raises(IndexError):
                compiled(x, low, n)
    for low, n in ((5, -(2**63)), (2**63 - 1, -(2**63)), (-(2**63), -(2**63))):
        assert adjit.equal(compiled(x, low, n), adjit.ones(20, dtype=adjit.float64))


@pytest.mark.parametrize("program", [_prefix, _two_back, _relaxed, _by_two, _down, _counted_before, _until, _largest])
def test_turns_that_are_certain_do_not_look(program: Callable[..., Any]) -> None:
    llvm = adjit.compile(program).llvm(adjit.arange(40.0), adjit.tensor(2), adjit.tensor(30))
    turns = llvm[llvm.index("\nrun") if "\nrun" in llvm else llvm.index("\nturn") : llvm.index("\ncareful")]
    assert "atomicrmw" not in turns
    assert "atomicrmw" in llvm[llvm.index("\ncareful") :]


@pytest.mark.parametrize("program", [_row_sums, _column_sums, _row_counts])
def test_an_element_that_stands_still_is_no_memory(program: Callable[..., Any]) -> None:
    llvm = adjit.compile(program).llvm(adjit.ones(300, 300), adjit.ones(300), adjit.tensor(30), adjit.tensor(30))
    assert "store float" in llvm[llvm.index("\nleave") : llvm.index("\ncareful")]
    assert llvm[llvm.index("\nturn") : llvm.index("\nleave")].count("= load float") <= 3
