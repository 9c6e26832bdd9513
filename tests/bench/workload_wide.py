"""Workloads beyond the usual kernels: order, positions, moved elements, stencils, groups, indices, small matrices.

Bounds are those of tests/bench/workload_cases.py's machine: 40 GB/s of memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.bench.workload_cases import Operands, Workload


def _normal(*shapes: tuple[int, ...], dtype: str = "float32") -> Any:
    return lambda random: tuple(random.standard_normal(shape).astype(dtype) for shape in shapes)


def _bound(*arrays: int) -> float:
    """Seconds that memory needs at least for as many bytes."""
    return sum(arrays) / 40e9


# -- heat -------------------------------------------------------------------------------------------------------------
def _heat(u: Any) -> Any:
    """A step of the heat equation on the inner cells of a plate."""
    inner = u[1:-1, 1:-1]
    return inner + 0.1 * (u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * inner)


# -- groups, patches, frames ------------------------------------------------------------------------------------------
def _groups(t: Any, x: Any, w: Any, b: Any) -> Any:
    return t.nn.functional.group_norm(x, 8, w, b)


def _jax_groups(x: Any, w: Any, b: Any) -> Any:
    import jax.numpy as jnp

    parts = x.reshape(x.shape[0], 8, -1)
    centred = parts - parts.mean(2, keepdims=True)
    scaled = centred / jnp.sqrt((centred * centred).mean(2, keepdims=True) + 1e-5)
    return scaled.reshape(x.shape) * w[:, None, None] + b[:, None, None]


def _patches(x: Any) -> Any:
    """Images [8, 3, 224, 224] as 196 patches of 16 by 16 each, their squares."""
    parts = x.reshape(8, 3, 14, 16, 14, 16)
    moved = parts.permute(0, 2, 4, 1, 3, 5) if hasattr(parts, "permute") else parts.transpose(0, 2, 4, 1, 3, 5)
    found = moved.reshape(8, 196, 768)
    return found * found


def _jax_frames(x: Any) -> Any:
    import jax.numpy as jnp

    frames = x[jnp.arange(0, x.shape[0] - 399, 160)[:, None] + jnp.arange(400)]
    return frames * frames


# -- indices ----------------------------------------------------------------------------------------------------------
def _graph(random: np.random.Generator) -> Operands:
    """5000 nodes of 32 features, and the ends of 40000 edges."""
    ends = (random.integers(0, 5000, 40_000) for _ in range(2))
    return (random.standard_normal((5000, 32)).astype("float32"), *ends)


def _clusters(t: Any, x: Any, centres: Any) -> Any:
    """A step of k-means: the means of the points nearest to each centre."""
    nearest = ((x * x).sum(1, keepdim=True) - 2 * x @ centres.T + (centres * centres).sum(1)).argmin(1)
    counts = t.zeros(centres.shape[0], dtype=x.dtype).index_add(0, nearest, t.ones(x.shape[0], dtype=x.dtype))
    return t.zeros_like(centres).index_add(0, nearest, x) / counts.clamp(min=1)[:, None]


def _jax_clusters(x: Any, centres: Any) -> Any:
    import jax.numpy as jnp

    distances = (x * x).sum(1, keepdims=True) - 2 * x @ centres.T + (centres * centres).sum(1)
    nearest = distances.argmin(1)
    counts = jnp.zeros(centres.shape[0]).at[nearest].add(1.0)
    return jnp.zeros_like(centres).at[nearest].add(x) / jnp.maximum(counts, 1)[:, None]


# -- rolled and padded planes, small matrices --------------------------------------------------------------------------
def _reaction(roll: Any, u: Any, v: Any) -> Any:
    """A step of Gray-Scott's two substances on a torus, their sum."""

    def spread(a: Any) -> Any:
        return roll(a, 1, 0) + roll(a, -1, 0) + roll(a, 1, 1) + roll(a, -1, 1) - 4 * a

    made = u * v * v
    return (u + 0.16 * spread(u) - made + 0.035 * (1 - u)) + (v + 0.08 * spread(v) + made - 0.095 * v)


def _mirrored(x: Any) -> Any:
    import jax.numpy as jnp

    return jnp.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect") ** 2


def _process(t: Any, x: Any, y: Any) -> Any:
    """Minus the logarithm of a Gaussian process's likelihood at points x with values y."""
    covariance = t.exp(-0.5 * ((x[:, None] - x[None]) ** 2).sum(-1)) + 0.1 * t.eye(x.shape[0])
    factor = t.linalg.cholesky(covariance)
    rest = t.linalg.solve_triangular(factor, y[:, None], upper=False)
    return 0.5 * (rest * rest).sum() + t.log(t.diagonal(factor)).sum()


def _jax_process(x: Any, y: Any) -> Any:
    import jax
    import jax.numpy as jnp

    covariance = jnp.exp(-0.5 * ((x[:, None] - x[None]) ** 2).sum(-1)) + 0.1 * jnp.eye(x.shape[0])
    factor = jnp.linalg.cholesky(covariance)
    rest = jax.scipy.linalg.solve_triangular(factor, y[:, None], lower=True)
    return 0.5 * (rest * rest).sum() + jnp.log(jnp.diagonal(factor)).sum()


def _regular(random: np.random.Generator) -> Operands:
    """A matrix far from singular."""
    return ((random.standard_normal((64, 64)) / 8 + 2 * np.eye(64)).astype("float32"),)


def _jax(name: str, *options: Any) -> Any:
    def call(*operands: Any) -> Any:
        import jax.numpy as jnp

        return getattr(jnp, name)(*operands, *options)

    return call


def _jax_roll(*operands: Any) -> Any:
    return _jax("roll")(*operands)


def _jax_linear(name: str, a: Any) -> Any:
    import jax.numpy as jnp

    return getattr(jnp.linalg, name)(a)


def _jax_neighbours(x: Any, source: Any, target: Any) -> Any:
    import jax.numpy as jnp

    return jnp.zeros_like(x).at[target].add(x[source])


_PLATE, _IMAGES = _normal((512, 512), dtype="float64"), _normal((8, 3, 224, 224))
_SQUARE, _WAVE = 2048 * 2048 * 4, 100_000 * 4
_GROUPS = _normal((16, 32, 28, 28), (32,), (32,))

WIDE: tuple[Workload, ...] = (
    Workload(
        "sort_1e6", "values of 1e6 f32", _bound(8_000_000), _normal((1_000_000,)),
        lambda t, x: t.sort(x)[0], (), _jax("sort"), np.sort,
    ),
    Workload(
        "argmax_rows", "1000x1000", _bound(4_000_000), _normal((1000, 1000)),
        lambda t, x: x.argmax(1), (), lambda x: x.argmax(1), lambda x: x.argmax(1),
    ),
    Workload(
        "matmul_2048", "2048^3", 59.9e-3, _normal((2048, 2048), (2048, 2048)),
        lambda t, x, y: x @ y, (), lambda x, y: x @ y, np.matmul,
    ),
    Workload(
        "transpose_2048", "2048x2048", _bound(2 * _SQUARE), _normal((2048, 2048)),
        lambda t, x: x.T.contiguous(), (), lambda x: x.T + 0, lambda x: np.ascontiguousarray(x.T),
    ),
    Workload("heat_f64", "512x512", _bound(4_194_304), _PLATE, lambda t, u: _heat(u), (), _heat, _heat),
    Workload("heat_f64_vg", "with gradient", _bound(6_291_456), _PLATE, lambda t, u: _heat(u) ** 2, (0,),
             lambda u: _heat(u) ** 2),
    Workload("group_norm", "16x32x28x28", None, _GROUPS, _groups, (), _jax_groups),
    Workload("patches_vg", "8x3x224x224 in 16x16", None, _IMAGES, lambda t, x: _patches(x), (0,), _patches),
    Workload(
        "frames_vg", "100000 in 400 by 160", _bound(2 * _WAVE), _normal((100_000,)),
        lambda t, x: x.unfold(0, 400, 160) ** 2, (0,), _jax_frames,
    ),
    Workload(
        "outer_sine", "1000x1000", _bound(4_000_000), _normal((1000,), (1000,)),
        lambda t, x, y: t.sin(x)[:, None] * y + x[:, None], (),
        lambda x, y: _jax("sin")(x)[:, None] * y + x[:, None], lambda x, y: np.sin(x)[:, None] * y + x[:, None],
    ),
    Workload(
        "neighbours", "sums over 40000 edges", None, _graph,
        lambda t, x, source, target: t.zeros_like(x).index_add(0, target, x[source]), (), _jax_neighbours,
    ),
    Workload("kmeans_step", "50000x16, 32 centres", None, _normal((50_000, 16), (32, 16)), _clusters, (),
             _jax_clusters),
    Workload("cross", "100000 vectors", _bound(3_600_000), _normal((100_000, 3), (100_000, 3)),
             lambda t, x, y: t.cross(x, y, dim=-1), (), _jax("cross"), np.cross),
    Workload("reaction", "256x256, by roll", None, _normal((256, 256), (256, 256)),
             lambda t, u, v: _reaction(t.roll, u, v), (), lambda u, v: _reaction(_jax_roll, u, v),
             lambda u, v: _reaction(np.roll, u, v)),
    Workload(
        "mirrored_vg", "4x8x128x128, 2 around", None, _normal((4, 8, 128, 128)),
        lambda t, x: t.nn.functional.pad(x, (2, 2, 2, 2), mode="reflect") ** 2, (0,), _mirrored,
    ),
    Workload("inverse_64", "64x64", None, _regular, lambda t, a: t.linalg.inv(a), (),
             lambda a: _jax_linear("inv", a), np.linalg.inv),
    Workload("process_vg", "Gaussian process, 50 points", None, _normal((50, 2), (50,)), _process, (0,), _jax_process),
)  # fmt: skip
