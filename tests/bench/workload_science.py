"""More workloads of the kinds that users bring: blocks of convolutions, option prices, bodies, curvature, float64.

Bounds are those of tests/bench/workload_cases.py's machine: 40 GB/s, 283 GFLOP/s (half in float64).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.bench.workload_cases import Operands, Workload


def _bound(bytes: float, operations: float = 0.0, dtype: str = "float32") -> float:
    """Seconds that memory and multiply-adds need at least."""
    return max(bytes / 40e9, operations / (283e9 if dtype == "float32" else 137e9))


def _normal(*shapes: tuple[int, ...], dtype: str = "float32", scale: float = 1.0) -> Any:
    return lambda random: tuple((scale * random.standard_normal(shape)).astype(dtype) for shape in shapes)


# -- a residual block -------------------------------------------------------------------------------------------------
def _residual(t: Any, x: Any, v: Any, w: Any) -> Any:
    f = t.nn.functional
    return t.relu(x + f.conv2d(t.relu(f.conv2d(x, v, padding=1)), w, padding=1))


def _jax_residual(x: Any, v: Any, w: Any) -> Any:
    import jax

    def conv(x: Any, w: Any) -> Any:
        return jax.lax.conv_general_dilated(x, w, (1, 1), [(1, 1), (1, 1)])

    return jax.nn.relu(x + conv(jax.nn.relu(conv(x, v)), w))


# -- option prices ----------------------------------------------------------------------------------------------------
def _price(cdf: Any, exp: Any, log: Any, spot: Any, strike: Any, years: Any, rate: Any, volatility: Any) -> Any:
    """The price of a European call.  Source: Black and Scholes, 1973."""
    spread = volatility * years**0.5
    above = (log(spot / strike) + (rate + volatility * volatility / 2) * years) / spread
    return spot * cdf(above) - strike * exp(-rate * years) * cdf(above - spread)


def _option(t: Any, *terms: Any) -> Any:
    return _price(lambda d: (1 + t.erf(d * 0.5**0.5)) * 0.5, t.exp, t.log, *terms)


def _jax_option(*terms: Any) -> Any:
    import jax
    import jax.numpy as jnp

    return _price(lambda d: (1 + jax.lax.erf(d * 0.5**0.5)) * 0.5, jnp.exp, jnp.log, *terms)


def _terms(dtype: str) -> Any:
    def operands(random: np.random.Generator) -> Operands:
        ranges = ((50, 150), (50, 150), (0.25, 3), (0.01, 0.05), (0.1, 0.5))
        return tuple(random.uniform(low, high, 1_000_000).astype(dtype) for low, high in ranges)

    return operands


# -- bodies -----------------------------------------------------------------------------------------------------------
def _energy(x: Any) -> Any:
    """-sum over pairs of 1 / sqrt(|x_i - x_j|^2 + 0.01), each pair twice."""
    difference = x[:, None, :] - x[None, :, :]
    return -(((difference * difference).sum(-1) + 0.01) ** -0.5).sum()


# -- curvature --------------------------------------------------------------------------------------------------------
def _logistic(library: Any, x: Any, y: Any, w: Any) -> Any:
    z = x @ w
    return (library.log1p(library.exp(-abs(z))) + (z > 0) * z - y * z).mean()


def _curvature(t: Any, x: Any, y: Any, w: Any, v: Any) -> Any:
    """The Hessian of the logistic loss times v."""
    return t.func.jvp(t.func.grad(lambda w: _logistic(t, x, y, w)), (w,), (v,))[1]


def _jax_curvature(x: Any, y: Any, w: Any, v: Any) -> Any:
    import jax
    import jax.numpy as jnp

    return jax.jvp(jax.grad(lambda w: _logistic(jnp, x, y, w)), (w,), (v,))[1]


def _matmul(t: Any, x: Any, y: Any) -> Any:
    return x @ y


def _jax_softmax(x: Any) -> Any:
    import jax

    return jax.nn.softmax(x, axis=1)


# -- spectra, powers, distances ---------------------------------------------------------------------------------------
def _spectrum(t: Any, x: Any) -> Any:
    return t.fft.rfft(x).abs() ** 2


def _jax_spectrum(x: Any) -> Any:
    import jax.numpy as jnp

    return jnp.abs(jnp.fft.rfft(x)) ** 2


def _powers(dtype: str) -> Any:
    return lambda random: tuple(random.uniform(0.1, 3, 100_000).astype(dtype) for _ in range(2))


def _distances(x: Any, y: Any) -> Any:
    return ((x[:, None] - y) ** 2).sum(-1) ** 0.5


def _warped(t: Any, x: Any, grid: Any) -> Any:
    return t.nn.functional.grid_sample(x, t.tanh(grid), align_corners=False)


_CONV = 2 * 2 * 16 * 32 * 28 * 28 * 32 * 9
_BLOCK = _normal((16, 32, 28, 28), (32, 32, 3, 3), (32, 32, 3, 3), scale=0.1)
_BODIES = _normal((1024, 3))
_LOGISTIC = _normal((20_000, 256), (20_000,), (256,), (256,), scale=0.1)
_TABLE = 8192 * 2048 * 4

SCIENCE: tuple[Workload, ...] = (
    Workload("residual_fwd", "16x32x28x28, two 3x3", _bound(0, _CONV), _BLOCK, _residual, (), _jax_residual),
    Workload("residual_vg", "with gradients", _bound(0, 3 * _CONV), _BLOCK, _residual, (0, 1, 2), _jax_residual),
    Workload("options", "1e6 calls", _bound(24e6), _terms("float32"), _option, (), _jax_option),
    Workload("options_greeks", "with Greeks", _bound(40e6), _terms("float32"), _option, (0, 1, 2, 3, 4), _jax_option),
    Workload("options_greeks_f64", "", _bound(80e6), _terms("float64"), _option, (0, 1, 2, 3, 4), _jax_option),
    Workload("bodies_fwd", "energy of 1024 bodies", None, _BODIES, lambda t, x: _energy(x), (), _energy),
    Workload("bodies_vg", "with forces", None, _BODIES, lambda t, x: _energy(x), (0,), _energy),
    Workload("curvature", "logistic 20000x256", _bound(20_000 * 256 * 4), _LOGISTIC, _curvature, (), _jax_curvature),
    Workload(
        "variance_axis1", "8192x2048", _bound(_TABLE), _normal((8192, 2048)),
        lambda t, x: x.var(1), (), lambda x: x.var(1, ddof=1), lambda x: x.var(1, ddof=1),
    ),
    Workload(
        "variance_axis0", "8192x2048", _bound(_TABLE), _normal((8192, 2048)),
        lambda t, x: x.var(0), (), lambda x: x.var(0, ddof=1), lambda x: x.var(0, ddof=1),
    ),
    Workload(
        "tall_64", "65536x64 @ 64x64", _bound(2 * 65536 * 64 * 4, 2 * 65536 * 64 * 64),
        _normal((65536, 64), (64, 64)), _matmul, (), lambda x, y: x @ y, np.matmul,
    ),
    Workload(
        "tall_gram", "64x65536 @ 65536x64", _bound(2 * 65536 * 64 * 4, 2 * 65536 * 64 * 64),
        _normal((65536, 64), (65536, 64)), lambda t, x, y: x.T @ y, (), lambda x, y: x.T @ y, lambda x, y: x.T @ y,
    ),
    Workload(
        "matmul_512_f64", "512^3", _bound(0, 2 * 512**3, "float64"), _normal((512, 512), (512, 512), dtype="float64"),
        _matmul, (), lambda x, y: x @ y, np.matmul,
    ),
    Workload(
        "softmax_f64", "2048x1024", _bound(2 * 2048 * 1024 * 8), _normal((2048, 1024), dtype="float64"),
        lambda t, x: t.softmax(x, dim=1), (), _jax_softmax,
    ),
    Workload(
        "spectrum_365", "of 200 years of days", None, _normal((200, 365)), _spectrum, (), _jax_spectrum,
        lambda x: np.abs(np.fft.rfft(x)) ** 2,
    ),
    Workload("powers", "x**y, 1e5", None, _powers("float32"), lambda t, x, y: x**y, (), lambda x, y: x**y, np.power),
    Workload(
        "powers_f64", "x**y, 1e5", None, _powers("float64"), lambda t, x, y: x**y, (), lambda x, y: x**y, np.power
    ),
    Workload(
        "distances_vg", "of 300 and 400 points of 64 numbers", None, _normal((300, 64), (400, 64)),
        lambda t, x, y: t.cdist(x, y), (0, 1), _distances,
    ),
    Workload("warped_vg", "4x16x32x32 at a grid", None, _normal((4, 16, 32, 32), (4, 32, 32, 2)), _warped, (0, 1)),
)  # fmt: skip
