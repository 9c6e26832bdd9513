"""Derivatives of derivatives, of each sample, along directions: `func`'s transforms beside torch.func and JAX's.

Each is one function of the library `t` and of its transforms `d`, which all three name alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.workload_cases import Operands, Workload
from tests.bench.workload_loops import _rows, _turns


def _energy(t: Any, x: Any) -> Any:
    """A chain of springs that harden: Rosenbrock's function, whose every variable meets its neighbours."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def _hessian(t: Any, d: Any, x: Any) -> Any:
    return d.hessian(lambda x: _energy(t, x))(x)


def _product(t: Any, d: Any, x: Any, v: Any) -> Any:
    """The Hessian times a vector, forward over reverse."""
    return d.jvp(d.grad(lambda x: _energy(t, x)), (x,), (v,))[1]


def _third(t: Any, d: Any, x: Any) -> Any:
    return d.vmap(d.grad(d.grad(d.grad(lambda u: t.sin(u) * t.exp(-u * u)))))(x)


def _network(t: Any, x: Any, w: Any, v: Any) -> Any:
    return t.tanh(x @ w) @ v


def _of_each(t: Any, d: Any, x: Any, y: Any, w: Any, v: Any) -> Any:
    """The gradients of every sample's own loss."""

    def loss(w: Any, v: Any, x: Any, y: Any) -> Any:
        return ((_network(t, x, w, v) - y) ** 2).sum()

    found = d.vmap(d.grad(loss, (0, 1)), (None, None, 0, 0))(w, v, x, y)
    return (found[0] ** 2).sum(0), (found[1] ** 2).sum(0)


def _jacrev(t: Any, d: Any, x: Any, w: Any, v: Any) -> Any:
    return d.jacrev(lambda x: _network(t, x, w, v))(x)


def _jacfwd(t: Any, d: Any, x: Any, w: Any, v: Any) -> Any:
    return d.jacfwd(lambda x: _network(t, x, w, v))(x)


def _attraction(t: Any, places: Any) -> Any:
    """The energy of bodies that attract one another."""
    apart = places[:, None] - places[None]
    return -0.5 * (1 / ((apart * apart).sum(-1) + 0.01) ** 0.5).sum()


def _bodies(t: Any, d: Any, places: Any) -> Any:
    return d.grad(lambda p: _attraction(t, p))(places)


def _bodies_hessian(t: Any, d: Any, places: Any) -> Any:
    return d.hessian(lambda p: _attraction(t, p))(places)


def _newton(t: Any, d: Any, x: Any) -> Any:
    """A step of Newton's method."""
    slope, curvature = d.grad(lambda x: _energy(t, x))(x), d.hessian(lambda x: _energy(t, x))(x)
    return x - t.linalg.solve(curvature, slope)


# -- with gradients of the operands -----------------------------------------------------------------------------------
def _pendulum(t: Any, d: Any, s: Any) -> Any:
    """500 steps of Runge and Kutta's method."""

    def slope(s: Any) -> Any:
        return t.stack([s[1], -t.sin(s[0]) * s[2] - 0.1 * s[1], s[2] * 0])

    def step(_: Any, s: Any) -> Any:
        k = slope(s)
        m = slope(s + 0.005 * k)
        n = slope(s + 0.005 * m)
        return s + 0.01 / 6 * (k + 2 * m + 2 * n + slope(s + 0.01 * n))

    return _turns(t, 500, step, s)


def _likelihood(t: Any, d: Any, x: Any, y: Any, p: Any) -> Any:
    """The negative log-likelihood of a Gaussian process with a length, a scale and noise."""
    apart = (x[:, None] - x[None]) / t.exp(p[0])
    lower = t.linalg.cholesky(t.exp(p[1] - 0.5 * apart * apart) + t.exp(p[2]) * t.eye(len(x), dtype=x.dtype))
    if t.__name__ == "jax.numpy":
        import jax

        z = jax.scipy.linalg.solve_triangular(lower, y[:, None], lower=True)
    else:
        z = t.linalg.solve_triangular(lower, y[:, None], upper=False)
    return 0.5 * (z * z).sum() + t.log(t.diagonal(lower)).sum()


def _kalman(t: Any, d: Any, p: Any, rows: Any) -> Any:
    """The error of a Kalman filter's predictions for a body with place and speed.  Source: Kalman, 1960."""
    move = t.stack([t.stack([p[0], p[1]]), t.stack([p[1] * 0, p[0]])])

    def step(carry: Any, seen: Any) -> Any:
        mean, spread = carry
        mean, spread = move @ mean, move @ spread @ move.T + p[2] * t.eye(2, dtype=rows.dtype)
        gain = spread[:, 0] / (spread[0, 0] + p[3])
        off = seen - mean[0]
        return (mean + gain * off, spread - gain[:, None] * spread[0][None]), off * off

    start = (t.stack([p[0] * 0, p[0] * 0]), t.eye(2, dtype=rows.dtype) * p[0])
    return _rows(t, step, start, rows)[1].sum()


# -- the table --------------------------------------------------------------------------------------------------------
def _normal(*shapes: tuple[int, ...], scale: float = 1.0) -> Callable[[np.random.Generator], Operands]:
    return lambda random: tuple(scale * random.standard_normal(shape) for shape in shapes)


def _transform(
    name: str, about: str, operands: Any, program: Callable[..., Any], wanted: tuple[int, ...] = ()
) -> Workload:
    def function(t: Any, *given: Any) -> Any:
        return program(t, t.func, *given)

    def jax(*given: Any) -> Any:
        import jax
        import jax.numpy

        return program(jax.numpy, jax, *given)

    return Workload(name, about, None, operands, function, wanted, jax)


def _series(random: np.random.Generator) -> Operands:
    return np.array([1.0, 0.1, 0.01, 0.5]), np.cumsum(random.standard_normal(300))


def _sites(random: np.random.Generator) -> Operands:
    x = np.sort(random.uniform(0, 10, 100))
    return x, np.sin(x) + 0.1 * random.standard_normal(100), np.array([0.1, 0.2, -3.0])


_LAYERS = (64,), (64, 96), (96, 64)
TRANSFORMS: tuple[Workload, ...] = (
    _transform("func_hessian", "of 100 variables", _normal((100,)), _hessian),
    _transform("func_hvp", "100,000 variables", _normal((100_000,), (100_000,)), _product),
    _transform("func_third", "third derivatives at 10,000 points", _normal((10_000,)), _third),
    _transform("func_of_each", "64 samples' gradients, 64-96-64", _normal((64, 64), (64, 64), *_LAYERS[1:], scale=0.2),
               _of_each),
    _transform("func_jacrev", "64-96-64", _normal(*_LAYERS, scale=0.2), _jacrev),
    _transform("func_jacfwd", "64-96-64", _normal(*_LAYERS, scale=0.2), _jacfwd),
    _transform("func_bodies", "forces on 256 bodies", _normal((256, 3)), _bodies),
    _transform("func_bodies_hessian", "24 bodies", _normal((24, 3)), _bodies_hessian),
    _transform("func_newton", "a step in 100 variables", _normal((100,), scale=0.1), _newton),
    _transform("func_pendulum_vg", "500 Runge-Kutta steps", lambda _: (np.array([1.0, 0.0, 9.8]),), _pendulum, (0,)),
    _transform("func_likelihood_vg", "a Gaussian process, 100 places", _sites, _likelihood, (2,)),
    _transform("func_kalman_vg", "300 steps of a Kalman filter", _series, _kalman, (0,)),
)  # fmt: skip
