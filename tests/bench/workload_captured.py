"""Loops as users write them in Python, with branches and elements written one by one: captured, beside Numba.

Each is one function for all libraries: adjit captures its loops and branches, Numba compiles it, PyTorch interprets it.
JAX takes those that have a natural form in whole arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.workload_cases import Operands, Workload


# -- searches ---------------------------------------------------------------------------------------------------------
def _queens(board: Any, n: Any) -> Any:
    """In how many ways n queens stand on a board without a threat, by trying row after row."""
    count, row = 0, 0
    board[0] = -1
    while row >= 0:
        place = board[row] + 1
        found = False
        while place < n and not found:
            found = True
            for above in range(row):
                apart = board[above] - place
                if apart == 0 or apart == row - above or apart == above - row:
                    found = False
                    break
            if not found:
                place = place + 1
        if not found:
            row = row - 1
        else:
            board[row] = place
            if row == n - 1:
                count = count + 1
            else:
                row = row + 1
                board[row] = -1
    return count


def _insertion(x: Any, n: Any) -> Any:
    for i in range(1, n):
        v = x[i] + 0
        j = i - 1
        while j >= 0 and x[j] > v:
            x[j + 1] = x[j]
            j = j - 1
        x[j + 1] = v
    return x


def _bisected(edges: Any, wanted: Any, found: Any, n: Any) -> Any:
    """Where each wanted number would be put among sorted ones."""
    for i in range(n):
        low, high = 0, n + 0
        while low < high:
            middle = (low + high) // 2
            if edges[middle] < wanted[i]:
                low = middle + 1
            else:
                high = middle
        found[i] = low
    return found


def _sieve(flags: Any, n: Any) -> Any:
    """The primes below n.  Source: Eratosthenes."""
    i = 2
    while i * i < n:
        if flags[i] > 0:
            j = i * i
            while j < n:
                flags[j] = 0
                j = j + i
        i = i + 1
    return flags


def _collatz(found: Any, n: Any) -> Any:
    """How many steps lead from each number to 1."""
    for i in range(1, n):
        value, steps = i + 0, 0
        while value != 1:
            value = value // 2 if value % 2 == 0 else 3 * value + 1
            steps = steps + 1
        found[i] = steps
    return found


def _mandelbrot(x: Any, y: Any, found: Any, n: Any) -> Any:
    for k in range(n):
        i, u, v = 0, x[k] * 0, y[k] * 0
        while i < 100 and u * u + v * v < 4:
            u, v = u * u - v * v + x[k], 2 * u * v + y[k]
            i = i + 1
        found[k] = i
    return found


# -- tables -----------------------------------------------------------------------------------------------------------
def _edits(a: Any, b: Any, table: Any, n: Any) -> Any:
    """How many edits lead from one text to another.  Source: Wagner and Fischer, 1974."""
    for i in range(1, n):
        for j in range(1, n):
            best = table[i - 1, j - 1] + 0
            if a[i - 1] != b[j - 1]:
                if table[i - 1, j] < best:
                    best = table[i - 1, j] + 0
                if table[i, j - 1] < best:
                    best = table[i, j - 1] + 0
                best = best + 1
            table[i, j] = best
    return table


def _paths(d: Any, n: Any) -> Any:
    """The lengths of all shortest paths.  Source: Floyd, 1962."""
    for k in range(n):
        for i in range(n):
            for j in range(n):
                through = d[i, k] + d[k, j]
                if through < d[i, j]:
                    d[i, j] = through
    return d


def _jax_paths(d: Any, n: Any) -> Any:
    import jax

    return jax.lax.fori_loop(0, n, lambda k, d: jax.numpy.minimum(d, d[:, k][:, None] + d[k][None, :]), d)


def _lu(a: Any, n: Any) -> Any:
    for k in range(n):
        for i in range(k + 1, n):
            a[i, k] = a[i, k] / a[k, k]
            for j in range(k + 1, n):
                a[i, j] = a[i, j] - a[i, k] * a[k, j]
    return a


def _heat(u: Any, new: Any, n: Any) -> Any:
    """Heat in a rod, step after step, into the other of two arrays."""
    for _ in range(n):
        for i in range(1, n - 1):
            new[i] = u[i] + 0.1 * (u[i + 1] + u[i - 1] - 2 * u[i])
        u, new = new, u
    return u


def _jax_heat(u: Any, new: Any, n: Any) -> Any:
    import jax

    def step(_: Any, u: Any) -> Any:
        return u.at[1:-1].set(u[1:-1] + 0.1 * (u[2:] + u[:-2] - 2 * u[1:-1]))

    return jax.lax.fori_loop(0, n, step, u)


def _row_sums(a: Any, s: Any, n: Any) -> Any:
    for i in range(n):
        for j in range(n):
            s[i] += a[i, j]
    return s


def _relaxed(x: Any, b: Any, n: Any) -> Any:
    """Twenty sweeps of Gauss and Seidel through the equations of a rod."""
    for _ in range(20):
        for i in range(1, n - 1):
            x[i] = 0.5 * (x[i - 1] + x[i + 1] + b[i])
    return x


def _knapsack(values: Any, weights: Any, table: Any, room: Any, n: Any) -> Any:
    """The most that things are worth which fit, by how many things there are to choose from, and by room."""
    for i in range(1, n):
        for c in range(room):
            table[i, c] = table[i - 1, c]
            if weights[i] <= c:
                worth = table[i - 1, c - weights[i]] + values[i]
                if worth > table[i, c]:
                    table[i, c] = worth
    return table


def _generations(a: Any, b: Any, n: Any) -> Any:
    """Ten generations of Conway's game of life."""
    for _ in range(10):
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


def _leaky(x: Any, y: Any, n: Any) -> Any:
    for i in range(n):
        if x[i] > 0:
            y[i] = x[i]
        else:
            y[i] = 0.01 * x[i]
    return y


def _walk(noise: Any, n: Any) -> Any:
    """How far a random walk came that turns back at walls, and how often it did."""
    place, far, turns = 0.0, 0.0, 0
    for i in range(n):
        place = place + noise[i]
        if place > 10:
            place = 20 - place
            turns = turns + 1
        elif place < -10:
            place = -20 - place
            turns = turns + 1
        if place > far:
            far = place
    return place + far + turns


def _jax_walk(noise: Any, n: Any) -> Any:
    import jax
    import jax.numpy as jnp

    def step(state: Any, x: Any) -> Any:
        place, far, turns = state
        place = place + x
        turns = turns + (jnp.abs(place) > 10)
        place = jnp.where(place > 10, 20 - place, jnp.where(place < -10, -20 - place, place))
        return (place, jnp.maximum(far, place), turns), None

    place, far, turns = jax.lax.scan(step, (0.0, 0.0, 0), noise)[0]
    return place + far + turns


def _captured(
    name: str, about: str, operands: Any, program: Callable[..., Any], written: tuple[int, ...], jax: Any = None
) -> Workload:
    """A workload of a program whose operands in the places `written` it gets as copies; those of rank 0 are counts."""

    def function(t: Any, *given: Any) -> Any:
        return program(*(x.clone() if place in written else x for place, x in enumerate(given)))

    def numba(njit: Any) -> Any:
        compiled = njit(program)

        def run(*given: Any) -> Any:
            own = [x.copy() if place in written else x for place, x in enumerate(given)]
            return compiled(*(x if x.ndim else int(x) for x in own))

        return run

    return Workload(name, about, None, operands, function, (), jax, numba=numba)


def _count(n: int) -> Any:
    return np.array(n)


def _sorted(random: np.random.Generator) -> Operands:
    return np.sort(random.standard_normal(2048)), random.standard_normal(2048), np.zeros(2048, "int64"), _count(2048)


def _rod(random: np.random.Generator) -> Operands:
    return np.pad(random.standard_normal(198), 1), np.zeros(200), _count(200)


def _plane(random: np.random.Generator) -> Operands:
    x, y = np.meshgrid(np.linspace(-2, 1, 24), np.linspace(-1.5, 1.5, 24))
    return x.ravel(), y.ravel(), np.zeros(576, "int64"), _count(576)


def _texts(random: np.random.Generator) -> Operands:
    table = np.zeros((128, 128), "int64")
    table[0], table[:, 0] = np.arange(128), np.arange(128)
    return random.integers(0, 4, 127), random.integers(0, 4, 127), table, _count(128)


def _things(random: np.random.Generator) -> Operands:
    values, weights = random.integers(1, 50, 40), random.integers(1, 60, 40)
    return values, weights, np.zeros((40, 300), "int64"), _count(300), _count(40)


CAPTURED: tuple[Workload, ...] = (
    _captured("captured_queens", "6 queens", lambda _: (np.zeros(6, "int64"), _count(6)), _queens, (0,)),
    _captured("captured_insertion", "200 numbers sorted",
              lambda random: (random.standard_normal(200), _count(200)), _insertion, (0,)),
    _captured("captured_search", "2,048 numbers among 2,048", _sorted, _bisected, (2,)),
    _captured("captured_sieve", "primes below 20,000", lambda _: (np.ones(20_000, "int64"), _count(20_000)), _sieve,
              (0,)),
    _captured("captured_collatz", "numbers below 600", lambda _: (np.zeros(600, "int64"), _count(600)), _collatz, (0,)),
    _captured("captured_mandelbrot", "24 x 24 points, 100 turns", _plane, _mandelbrot, (2,)),
    _captured("captured_edits", "two texts of 127 letters", _texts, _edits, (2,)),
    _captured("captured_paths", "all paths among 32 places",
              lambda random: (random.uniform(1, 9, (32, 32)), _count(32)), _paths, (0,), _jax_paths),
    _captured("captured_lu", "48 x 48 without pivots",
              lambda random: (random.standard_normal((48, 48)) + 50 * np.eye(48), _count(48)), _lu, (0,)),
    _captured("captured_heat", "200 steps on a rod of 200", _rod, _heat, (0, 1), _jax_heat),
    _captured("captured_rows", "sums of the rows of 128 x 128",
              lambda random: (random.standard_normal((128, 128)), np.zeros(128), _count(128)), _row_sums, (1,)),
    _captured("captured_relaxed", "20 sweeps through 400 equations",
              lambda random: (random.standard_normal(400), random.standard_normal(400), _count(400)), _relaxed, (0,)),
    _captured("captured_knapsack", "40 things, room for 300", _things, _knapsack, (2,)),
    _captured("captured_life", "64 x 64 cells, 10 generations",
              lambda random: (random.integers(0, 2, (64, 64)), np.zeros((64, 64), "int64"), _count(64)), _generations,
              (0, 1)),
    _captured("captured_leaky", "4,096 numbers, by a branch",
              lambda random: (random.standard_normal(4096), np.zeros(4096), _count(4096)), _leaky, (1,)),
    _captured("captured_walk", "20,000 steps between walls",
              lambda random: (random.standard_normal(20_000), _count(20_000)), _walk, (), _jax_walk),
)  # fmt: skip
