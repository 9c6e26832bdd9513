"""Workloads of order and of places: sorts, selections, searches, tables of embeddings, segments.

Bounds are those of tests/bench/workload_cases.py's machine: 40 GB/s of memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.bench.workload_cases import Operands, Workload


def _normal(*shape: int, dtype: str = "float32") -> Any:
    return lambda random: (random.standard_normal(shape).astype(dtype),)


def _table(random: np.random.Generator) -> Operands:
    """10000 embeddings of 256, and 8192 words."""
    return random.standard_normal((10_000, 256)).astype("float32"), random.integers(0, 10_000, 8192)


def _segments(random: np.random.Generator) -> Operands:
    """20000 rows of 64, and which of 500 segments each belongs to."""
    return random.standard_normal((20_000, 64)).astype("float32"), random.integers(0, 500, 20_000)


def _edges(random: np.random.Generator) -> Operands:
    edges = np.sort(random.standard_normal(10_000)).astype("float32")
    return edges, random.standard_normal(1_000_000).astype("float32")


def _greatest_of_segments(t: Any, x: Any, segment: Any) -> Any:
    return t.zeros(500, 64, dtype=x.dtype).scatter_reduce(0, segment[:, None].expand(20_000, 64), x, "amax")


def _jax(name: str, *operands: Any, **options: Any) -> Any:
    import jax.numpy as jnp

    return getattr(jnp, name)(*operands, **options)


def _jax_top(x: Any) -> Any:
    from jax.lax import top_k

    return top_k(x, 10)[0]


def _jax_greatest_of_segments(x: Any, segment: Any) -> Any:
    return _jax("zeros", (500, 64)).at[segment].max(x)


ORDER: tuple[Workload, ...] = (
    Workload(
        "sort_rows", "2000 rows of 256", 4_096_000 / 40e9, _normal(2000, 256),
        lambda t, x: t.sort(x, dim=1)[0], (), lambda x: _jax("sort", x, axis=1), lambda x: np.sort(x, 1),
    ),
    Workload(
        "sort_1e6_f64", "values of 1e6 f64", 16_000_000 / 40e9, _normal(1_000_000, dtype="float64"),
        lambda t, x: t.sort(x)[0], (), lambda x: _jax("sort", x), np.sort,
    ),
    Workload(
        "argsort_1e6", "1e6 f32 by their order", 12_000_000 / 40e9, _normal(1_000_000),
        lambda t, x: x[t.argsort(x)], (), lambda x: x[_jax("argsort", x)], lambda x: x[np.argsort(x)],
    ),
    Workload(
        "topk", "10 of each of 64 rows of 50000", 12_800_000 / 40e9, _normal(64, 50_000),
        lambda t, x: t.topk(x, 10)[0], (), _jax_top,
    ),
    Workload(
        "median_rows", "1000 rows of 1001", 4_004_000 / 40e9, _normal(1000, 1001),
        lambda t, x: t.median(x, dim=1)[0], (), lambda x: _jax("median", x, axis=1), lambda x: np.median(x, 1),
    ),
    Workload(
        "argmax_columns", "2000x1000 over axis 0", 8_000_000 / 40e9, _normal(2000, 1000),
        lambda t, x: t.argmax(x, 0), (), lambda x: _jax("argmax", x, axis=0), lambda x: np.argmax(x, 0),
    ),
    Workload(
        "searchsorted", "1e6 among 10000", None, _edges, lambda t, edges, x: t.searchsorted(edges, x), (),
        lambda edges, x: _jax("searchsorted", edges, x), np.searchsorted,
    ),
    Workload(
        "embedding_vg", "8192 of 10000 x 256", None, _table, lambda t, w, i: t.nn.functional.embedding(i, w) ** 2, (0,),
        lambda w, i: w[i] ** 2,
    ),
    Workload(
        "segment_max", "20000 x 64 in 500", None, _segments, _greatest_of_segments, (), _jax_greatest_of_segments,
    ),
)  # fmt: skip
