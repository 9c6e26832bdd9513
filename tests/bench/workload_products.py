"""Products of other shapes than large squares: small batches, few rows, few columns, one query over many keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.bench.workload_cases import Workload, _attention, _normal


def _product(name: str, about: str, of: Callable[[Any, Any], Any], *shapes: tuple[int, ...]) -> Workload:
    """A product that all libraries write the same way."""
    return Workload(name, about, None, _normal(*shapes), lambda _, x, y: of(x, y), (), of, of)


def _jax_turned(x: Any, y: Any) -> Any:
    import jax.numpy as jnp

    return jnp.einsum("abc,cb->a", x, y)


def _jax_det(x: Any) -> Any:
    import jax.numpy as jnp

    return jnp.linalg.det(x)


def _jax_distances(x: Any, y: Any) -> Any:
    import jax.numpy as jnp

    return jnp.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))


_one_query, _jax_one_query = _attention(causal=False)

PRODUCTS: tuple[Workload, ...] = (
    _product("matmul_3x3", "10000 of 3x3", lambda x, y: x @ y, (10000, 3, 3), (10000, 3, 3)),
    _product("matmul_10x20", "512 of 10x20 by 20x30", lambda x, y: x @ y, (512, 10, 20), (512, 20, 30)),
    _product("linear_2_rows", "2x4096 by 4096x4096 transposed", lambda x, y: x @ y.T, (2, 4096), (4096, 4096)),
    _product("matmul_4_rows", "4x2048 by 2048x2048", lambda x, y: x @ y, (4, 2048), (2048, 2048)),
    _product("matmul_8_columns", "100000x8 by 8x8", lambda x, y: x @ y, (100000, 8), (8, 8)),
    _product("matmul_turned", "1024x1024 transposed by 1024x256", lambda x, y: x.T @ y, (1024, 1024), (1024, 256)),
    Workload(
        "attention_query", "8x8 heads, one query over 1024 keys of 64", None,
        _normal((8, 8, 1, 64), (8, 8, 1024, 64), (8, 8, 1024, 64)), _one_query, (), _jax_one_query,
    ),
    Workload(
        "einsum_turned_vg", "abc,cb->a of 64x128x96", None, _normal((64, 128, 96), (96, 128)),
        lambda t, x, y: t.einsum("abc,cb->a", x, y), (0, 1), _jax_turned,
    ),
    Workload(
        "square_matvec_vg", "1000x1000 by a vector", None, _normal((1000, 1000), (1000,)), lambda _, x, y: x @ y,
        (0, 1), lambda x, y: x @ y,
    ),
    Workload(
        "det_3x3_vg", "5000 determinants", None, _normal((5000, 3, 3)), lambda t, x: t.linalg.det(x), (0,), _jax_det
    ),
    Workload(
        "distances_3d_vg", "500 by 600 points in 3 dimensions", None, _normal((500, 3), (600, 3)),
        lambda t, x, y: t.cdist(x, y), (0, 1), _jax_distances,
    ),
)  # fmt: skip
