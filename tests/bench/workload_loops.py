"""Loops that users write: integrators, recurrences, tables, stencils, iterations, with Numba's forms beside JAX's.

Each is one step and a count: `_turns` and `_rows` are the loops of each library, Python's own in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.workload_cases import Operands, Workload


def _turns(t: Any, count: int, step: Callable[[Any, Any], Any], state: Any) -> Any:
    """state = step(i, state) for i = 0 ... count - 1."""
    if t.__name__ == "adjit":
        return t.fori_loop(0, count, step, state)
    if t.__name__ == "jax.numpy":
        import jax

        places = t.arange(count)
        return jax.lax.scan(lambda carry, i: (step(i, carry), None), state, places)[0]
    for i in range(count):
        state = step(i, state)
    return state


def _rows(t: Any, step: Callable[[Any, Any], Any], carry: Any, rows: Any) -> Any:
    """carry, y[i] = step(carry, rows[i]) for each row: (carry, ys)."""
    if t.__name__ == "adjit":
        return t.scan(step, carry, rows)
    if t.__name__ == "jax.numpy":
        import jax

        return jax.lax.scan(step, carry, rows)
    found = []
    for row in rows.unbind(0):
        carry, y = step(carry, row)
        found.append(y)
    return carry, t.stack(found)


def _in_jax(function: Callable[..., Any]) -> Callable[..., Any]:
    def program(*operands: Any) -> Any:
        import jax.numpy

        return function(jax.numpy, *operands)

    return program


# -- a predator and its prey ------------------------------------------------------------------------------------------
def _lotka_step(x: Any, y: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """A step of Heun's method.  Source: Lotka, 1925."""
    dt = 0.001
    k, m = a * x - b * x * y, c * x * y - d * y
    u, v = x + dt * k, y + dt * m
    return x + dt / 2 * (k + a * u - b * u * v), y + dt / 2 * (m + c * u * v - d * v)


def _lotka(t: Any, p: Any) -> Any:
    x, y = _turns(t, 2000, lambda _, s: _lotka_step(*s, p[2], p[3], p[4], p[5]), (p[0], p[1]))
    return x * y


def _numba_lotka(njit: Any) -> Any:
    step = njit(_lotka_step)

    def program(p: Any) -> Any:
        x, y = p[0], p[1]
        for _ in range(2000):
            x, y = step(x, y, p[2], p[3], p[4], p[5])
        return x * y

    return njit(program)


# -- Lorenz' attractor ------------------------------------------------------------------------------------------------
def _lorenz(t: Any, s: Any) -> Any:
    """Steps of Runge and Kutta's method on a vector.  Source: Lorenz, 1963."""
    dt = 0.001

    def slope(s: Any) -> Any:
        x, y, z = s[0], s[1], s[2]
        return t.stack([10 * (y - x), x * (28 - z) - y, x * y - (8 / 3) * z])

    def step(_: Any, s: Any) -> Any:
        k = slope(s)
        m = slope(s + dt / 2 * k)
        n = slope(s + dt / 2 * m)
        return s + dt / 6 * (k + 2 * m + 2 * n + slope(s + dt * n))

    return _turns(t, 2000, step, s)


def _numba_lorenz(njit: Any) -> Any:
    def slope(x: Any, y: Any, z: Any) -> Any:
        return 10 * (y - x), x * (28 - z) - y, x * y - (8 / 3) * z

    slope = njit(slope)

    def program(s: Any) -> Any:
        x, y, z = s[0], s[1], s[2]
        dt = 0.001
        for _ in range(2000):
            a, b, c = slope(x, y, z)
            d, e, f = slope(x + dt / 2 * a, y + dt / 2 * b, z + dt / 2 * c)
            g, h, i = slope(x + dt / 2 * d, y + dt / 2 * e, z + dt / 2 * f)
            j, k, m = slope(x + dt * g, y + dt * h, z + dt * i)
            x += dt / 6 * (a + 2 * d + 2 * g + j)
            y += dt / 6 * (b + 2 * e + 2 * h + k)
            z += dt / 6 * (c + 2 * f + 2 * i + m)
        return np.array([x, y, z])

    return njit(program)


# -- a digital filter -------------------------------------------------------------------------------------------------
def _filter(t: Any, x: Any) -> Any:
    """A biquad in the transposed direct form II."""

    def step(state: Any, x: Any) -> Any:
        y = 0.2 * x + state[0]
        return (0.4 * x + 1.1 * y + state[1], 0.2 * x - 0.5 * y), y

    return _rows(t, step, (x[0] * 0, x[0] * 0), x)[1]


def _numba_filter(njit: Any) -> Any:
    def program(x: Any) -> Any:
        first = second = 0.0
        found = np.empty_like(x)
        for i in range(len(x)):
            y = 0.2 * x[i] + first
            first, second = 0.4 * x[i] + 1.1 * y + second, 0.2 * x[i] - 0.5 * y
            found[i] = y
        return found

    return njit(program)


# -- a table of which each element depends on those before ------------------------------------------------------------
def _table(t: Any, x: Any) -> Any:
    if t.__name__ == "jax.numpy":
        return _turns(t, 5000, lambda i, x: x.at[i + 2].set(0.5 * x[i + 1] + 0.25 * x[i] + 0.01 * x[i + 2]), x)

    def step(i: Any, x: Any) -> Any:
        x[i + 2] = 0.5 * x[i + 1] + 0.25 * x[i] + 0.01 * x[i + 2]
        return x

    return _turns(t, 5000, step, x.clone())


def _numba_table(njit: Any) -> Any:
    def program(x: Any) -> Any:
        x = x.copy()
        for i in range(5000):
            x[i + 2] = 0.5 * x[i + 1] + 0.25 * x[i] + 0.01 * x[i + 2]
        return x

    return njit(program)


# -- heat in a plate --------------------------------------------------------------------------------------------------
def _heat(t: Any, u: Any) -> Any:
    def step(_: Any, u: Any) -> Any:
        inside = u[1:-1, 1:-1]
        new = inside + 0.1 * (u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * inside)
        if t.__name__ == "jax.numpy":
            return u.at[1:-1, 1:-1].set(new)
        whole = u.clone()
        whole[1:-1, 1:-1] = new
        return whole

    return _turns(t, 100, step, u)


def _numba_heat(njit: Any) -> Any:
    def program(u: Any) -> Any:
        u, new = u.copy(), u.copy()
        for _ in range(100):
            for i in range(1, u.shape[0] - 1):
                for j in range(1, u.shape[1] - 1):
                    around = u[i + 1, j] + u[i - 1, j] + u[i, j + 1] + u[i, j - 1]
                    new[i, j] = u[i, j] + 0.1 * (around - 4 * u[i, j])
            u, new = new, u
        return u

    return njit(program)


# -- the greatest eigenvalue's vector ---------------------------------------------------------------------------------
def _power(t: Any, m: Any, v: Any) -> Any:
    def step(_: Any, v: Any) -> Any:
        w = m @ v
        return w / (w * w).sum() ** 0.5

    return _turns(t, 200, step, v)


def _numba_power(njit: Any) -> Any:
    def program(m: Any, v: Any) -> Any:
        for _ in range(200):
            w = m @ v
            v = w / (w * w).sum() ** 0.5
        return v

    return njit(program)


# -- a fractal, each point as long as it stays ------------------------------------------------------------------------
def _escape(t: Any, x: Any, y: Any) -> Any:
    """How many turns of z*z + c stay within 2.  Source: Mandelbrot, 1980."""

    def stays(i: Any, u: Any, v: Any) -> Any:
        return (i < 200) & (u * u + v * v < 4)

    def turn(u: Any, v: Any, x: Any, y: Any) -> Any:
        return u * u - v * v + x, 2 * u * v + y

    if t.__name__ == "adjit":
        return t.vmap(
            lambda x, y: t.while_loop(
                stays, lambda i, u, v: (i + 1, *turn(u, v, x, y)), (t.tensor(0.0, dtype=t.float64), x * 0, y * 0)
            )[0]
        )(x, y)
    if t.__name__ == "jax.numpy":
        import jax

        def one(x: Any, y: Any) -> Any:
            return jax.lax.while_loop(
                lambda s: stays(*s), lambda s: (s[0] + 1, *turn(s[1], s[2], x, y)), (0.0, x * 0, y * 0)
            )[0]

        return jax.vmap(one)(x, y)
    count, u, v = x * 0, x * 0, y * 0
    for _ in range(200):
        inside = u * u + v * v < 4
        count, (p, q) = count + inside, turn(u, v, x, y)
        u, v = t.where(inside, p, u), t.where(inside, q, v)
    return count


def _numba_escape(njit: Any) -> Any:
    def program(x: Any, y: Any) -> Any:
        found = np.empty_like(x)
        for k in range(len(x)):
            i, u, v = 0, 0.0, 0.0
            while i < 200 and u * u + v * v < 4:
                u, v = u * u - v * v + x[k], 2 * u * v + y[k]
                i += 1
            found[k] = i
        return found

    return njit(program)


# -- a linear system by Jacobi's method -------------------------------------------------------------------------------
def _jacobi(t: Any, m: Any, b: Any, d: Any) -> Any:
    return _turns(t, 100, lambda _, x: (b - m @ x) / d, b * 0)


def _numba_jacobi(njit: Any) -> Any:
    def program(m: Any, b: Any, d: Any) -> Any:
        x = b * 0
        for _ in range(100):
            x = (b - m @ x) / d
        return x

    return njit(program)


def _points(random: np.random.Generator) -> Operands:
    x, y = np.meshgrid(np.linspace(-2, 1, 128), np.linspace(-1.5, 1.5, 128))
    return x.ravel(), y.ravel()


def _system(random: np.random.Generator) -> Operands:
    return random.standard_normal((64, 64)), random.standard_normal(64), np.full(64, 70.0)


def _numbers(*values: float) -> Callable[[np.random.Generator], Operands]:
    return lambda random: (np.array(values),)


def _symmetric(random: np.random.Generator) -> Operands:
    m = random.standard_normal((64, 64))
    return m @ m.T, np.ones(64)


def _normal(*shape: int) -> Callable[[np.random.Generator], Operands]:
    return lambda random: (random.standard_normal(shape),)


def _loop(
    name: str, about: str, operands: Any, function: Any, numba: Any, wanted: tuple[int, ...] = ()
) -> Workload:
    return Workload(name, about, None, operands, function, wanted, _in_jax(function), numba=numba)


_ANIMALS = _numbers(1.0, 1.0, 1.5, 1.0, 0.75, 3.0)
LOOPS: tuple[Workload, ...] = (
    _loop("loop_lotka", "2,000 steps on two numbers", _ANIMALS, _lotka, _numba_lotka),
    _loop("loop_lotka_vg", "with gradients", _ANIMALS, _lotka, None, (0,)),
    _loop("loop_lorenz", "2,000 steps on a vector of three", _numbers(1.0, 2.0, 3.0), _lorenz, _numba_lorenz),
    _loop("loop_filter", "a biquad over 4,000 samples", _normal(4000), _filter, _numba_filter),
    _loop("loop_filter_vg", "with gradients", _normal(4000), _filter, None, (0,)),
    _loop("loop_table", "5,000 elements written one by one", _normal(10_000), _table, _numba_table),
    _loop("loop_fractal", "while over a batch of 128 x 128 points", _points, _escape, _numba_escape),
    _loop("loop_jacobi", "100 products with 64 x 64 and what stands around them", _system, _jacobi, _numba_jacobi),
    _loop("loop_heat", "100 steps on 256 x 256", _normal(256, 256), _heat, _numba_heat),
    _loop("loop_power", "200 products with 64 x 64", _symmetric, _power, _numba_power),
    _loop("loop_power_vg", "with the matrix's gradient", _symmetric, _power, None, (0,)),
)
