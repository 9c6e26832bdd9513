"""The workloads that are measured: programs in PyTorch's API, their JAX and NumPy forms, and bounds.

A `Workload` is written once for the libraries with PyTorch's API (adjit, torch); `make(library, random)` gives the
program and its operands.  `bound` is the least time in seconds on one core of the machine on which bounds were worked
out (AMD Zen 5 with AVX-512): bytes over its bandwidth or operations over its peak, whichever is larger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Operands = tuple[np.ndarray, ...]  # type: ignore[type-arg]


@dataclass(frozen=True, slots=True)
class Workload:
    """A program on arrays: `function(library, *operands)`, differentiated with respect to `wanted` operands.

    `jax` and `numpy` are the same program there (of the value alone), if there is one; `numba` makes it with `njit`."""

    name: str
    about: str
    bound: float | None
    operands: Callable[[np.random.Generator], Operands]
    function: Callable[..., Any]
    wanted: tuple[int, ...] = ()
    jax: Callable[..., Any] | None = None
    numpy: Callable[..., Any] | None = None
    numba: Callable[..., Any] | None = None


def _normal(*shapes: tuple[int, ...], scale: float = 1.0, dtype: str = "float32") -> Callable[..., Operands]:
    return lambda random: tuple((scale * random.standard_normal(shape)).astype(dtype) for shape in shapes)


# -- element by element, and rows -------------------------------------------------------------------------------------
def _chain(t: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    return t.nn.functional.gelu(x * a + b, approximate="tanh") * t.sigmoid(c)


def _jax_chain(x: Any, a: Any, b: Any, c: Any) -> Any:
    import jax

    return jax.nn.gelu(x * a + b, approximate=True) * jax.nn.sigmoid(c)


def _numpy_chain(x: Any, a: Any, b: Any, c: Any) -> Any:
    z = x * a + b
    return 0.5 * z * (1 + np.tanh(0.7978845608 * (z + 0.044715 * z * z * z))) / (1 + np.exp(-c))


def _poly(t: Any, x: Any) -> Any:
    return x * x + 3 * x


def _softmax(t: Any, x: Any) -> Any:
    return t.softmax(x, dim=1)


def _jax_softmax(x: Any) -> Any:
    import jax

    return jax.nn.softmax(x, axis=1)


def _weighted_softmax(t: Any, x: Any, g: Any) -> Any:
    return t.softmax(x, dim=1) * g


def _jax_weighted_softmax(x: Any, g: Any) -> Any:
    return _jax_softmax(x) * g


def _layer_norm(t: Any, x: Any, w: Any, b: Any) -> Any:
    return t.nn.functional.layer_norm(x, (x.shape[1],), w, b)


def _weighted_layer_norm(t: Any, x: Any, w: Any, b: Any, g: Any) -> Any:
    return _layer_norm(t, x, w, b) * g


def _jax_layer_norm(x: Any, w: Any, b: Any) -> Any:
    import jax.numpy as jnp

    mean = x.mean(axis=1, keepdims=True)
    centred = x - mean
    return centred / jnp.sqrt((centred * centred).mean(axis=1, keepdims=True) + 1e-5) * w + b


def _jax_weighted_layer_norm(x: Any, w: Any, b: Any, g: Any) -> Any:
    return _jax_layer_norm(x, w, b) * g


def _jax_logsumexp(x: Any) -> Any:
    import jax

    return jax.nn.logsumexp(x, axis=1)


def _cross_entropy(t: Any, x: Any, target: Any) -> Any:
    return t.nn.functional.cross_entropy(x, target)


def _jax_cross_entropy(x: Any, target: Any) -> Any:
    import jax
    import jax.numpy as jnp

    return -jnp.take_along_axis(jax.nn.log_softmax(x), target[:, None], axis=1).mean()


def _labelled(random: np.random.Generator) -> Operands:
    return random.standard_normal((4096, 1024)).astype("float32"), random.integers(0, 1024, 4096)


def _rosenbrock(t: Any, x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


# -- matrices ---------------------------------------------------------------------------------------------------------
def _matmul(t: Any, x: Any, y: Any) -> Any:
    return x @ y


def _linear_gelu(t: Any, x: Any, w: Any, b: Any) -> Any:
    return t.nn.functional.gelu(t.nn.functional.linear(x, w, b), approximate="tanh")


def _jax_linear_gelu(x: Any, w: Any, b: Any) -> Any:
    import jax

    return jax.nn.gelu(x @ w.T + b, approximate=True)


def _mlp_operands(batch: int, widths: tuple[int, ...]) -> Callable[[np.random.Generator], Operands]:
    def operands(random: np.random.Generator) -> Operands:
        layers: list[Any] = []
        for before, after in pairwise(widths):
            layers += [(random.standard_normal((after, before)) / before**0.5).astype("float32"),
                       np.zeros(after, "float32")]  # fmt: skip
        images = random.standard_normal((batch, widths[0])).astype("float32")
        return (images, random.integers(0, widths[-1], batch), *layers)

    return operands


def _mlp(t: Any, x: Any, target: Any, *layers: Any) -> Any:
    for place in range(0, len(layers), 2):
        x = t.nn.functional.linear(x, layers[place], layers[place + 1])
        if place + 2 < len(layers):
            x = t.relu(x)
    return t.nn.functional.cross_entropy(x, target)


def _jax_mlp(x: Any, target: Any, *layers: Any) -> Any:
    for place in range(0, len(layers), 2):
        x = x @ layers[place].T + layers[place + 1]
        if place + 2 < len(layers):
            x = x * (x > 0)
    return _jax_cross_entropy(x, target)


# -- transformer block, recurrent network, convolutions ---------------------------------------------------------------
WIDTH, HEADS, LENGTH, BATCH = 256, 4, 128, 8


def _block_operands(random: np.random.Generator) -> Operands:
    def weight(*shape: int) -> Any:
        return (random.standard_normal(shape) / shape[-1] ** 0.5).astype("float32")

    d = WIDTH
    ones, zeros = np.ones(d, "float32"), np.zeros(d, "float32")
    return (random.standard_normal((BATCH, LENGTH, d)).astype("float32"), ones, zeros, weight(3 * d, d),
            np.zeros(3 * d, "float32"), weight(d, d), zeros, ones, zeros, weight(4 * d, d),
            np.zeros(4 * d, "float32"), weight(d, 4 * d), zeros)  # fmt: skip


def _block(t: Any, x: Any, *p: Any) -> Any:
    f = t.nn.functional
    normed = f.layer_norm(x, (WIDTH,), p[0], p[1])
    parts = f.linear(normed, p[2], p[3]).reshape(BATCH, LENGTH, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
    mixed = f.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
    x = x + f.linear(mixed.transpose(1, 2).reshape(BATCH, LENGTH, WIDTH), p[4], p[5])
    hidden = f.gelu(f.linear(f.layer_norm(x, (WIDTH,), p[6], p[7]), p[8], p[9]), approximate="tanh")
    return x + f.linear(hidden, p[10], p[11])


def _jax_block(x: Any, *p: Any) -> Any:
    import jax
    import jax.numpy as jnp

    def norm(x: Any, w: Any, b: Any) -> Any:
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / jnp.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5) * w + b

    parts = (norm(x, p[0], p[1]) @ p[2].T + p[3]).reshape(BATCH, LENGTH, 3, HEADS, WIDTH // HEADS)
    q, k, v = parts.transpose(2, 0, 3, 1, 4)
    scores = q @ k.swapaxes(-1, -2) / (WIDTH // HEADS) ** 0.5
    scores = jnp.where(jnp.tril(jnp.ones((LENGTH, LENGTH), bool)), scores, -jnp.inf)
    mixed = (jax.nn.softmax(scores, axis=-1) @ v).transpose(0, 2, 1, 3).reshape(BATCH, LENGTH, WIDTH)
    x = x + mixed @ p[4].T + p[5]
    return x + jax.nn.gelu(norm(x, p[6], p[7]) @ p[8].T + p[9], approximate=True) @ p[10].T + p[11]


def _attention(causal: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def function(t: Any, q: Any, k: Any, v: Any) -> Any:
        return t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def in_jax(q: Any, k: Any, v: Any) -> Any:
        import jax
        import jax.numpy as jnp

        scores = q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5
        if causal:
            scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, -jnp.inf)
        return jax.nn.softmax(scores, axis=-1) @ v

    return function, in_jax


def _squared(of: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *operands: of(*operands) ** 2


def _recurrent_operands(random: np.random.Generator) -> Operands:
    steps = random.standard_normal((1000, 32)).astype("float32")
    weight = (random.standard_normal((32, 32)) / 32**0.5).astype("float32")
    return steps, weight, np.zeros(32, "float32")


def _recurrent(t: Any, xs: Any, w: Any, h: Any) -> Any:
    if t.__name__ == "adjit":
        from adjit.loops import scan

        def turn(fixed: Any, carries: Any, rows: Any) -> Any:
            new = t.tanh(fixed[0] @ carries[0] + rows[0])
            return [new], [new]

        return scan(turn, [w], [h], [xs])[1][0].sum()
    total = 0
    for x in xs.unbind(0):
        h = t.tanh(w @ h + x)
        total = total + h.sum()
    return total


def _jax_recurrent(xs: Any, w: Any, h: Any) -> Any:
    import jax
    import jax.numpy as jnp

    def step(h: Any, x: Any) -> Any:
        new = jnp.tanh(w @ h + x)
        return new, new

    return jax.lax.scan(step, h, xs)[1].sum()


def _net_operands(random: np.random.Generator) -> Operands:
    shapes = ((10, 1, 5, 5), (10,), (20, 10, 5, 5), (20,), (50, 320), (50,), (10, 50), (10,))
    weights = [(random.standard_normal(s) / np.prod(s[1:]) ** 0.5).astype("float32") for s in shapes]
    images = random.standard_normal((64, 1, 28, 28)).astype("float32")
    return (images, random.integers(0, 10, 64), *weights)


def _net(t: Any, x: Any, target: Any, *p: Any) -> Any:
    f = t.nn.functional
    x = f.max_pool2d(t.relu(f.conv2d(x, p[0], p[1])), 2)
    x = f.max_pool2d(t.relu(f.conv2d(x, p[2], p[3])), 2).reshape(64, 320)
    x = f.linear(t.relu(f.linear(x, p[4], p[5])), p[6], p[7])
    return f.cross_entropy(x, target)


def _jax_net(x: Any, target: Any, *p: Any) -> Any:
    import jax
    import jax.numpy as jnp

    def layer(x: Any, w: Any, b: Any) -> Any:
        x = jax.lax.conv_general_dilated(x, w, (1, 1), "VALID") + b[:, None, None]
        x = jnp.maximum(x, 0)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    x = layer(layer(x, p[0], p[1]), p[2], p[3]).reshape(64, 320)
    return _jax_cross_entropy(jnp.maximum(x @ p[4].T + p[5], 0) @ p[6].T + p[7], target)


def _conv(padding: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def jax_conv(x: Any, w: Any) -> Any:
        import jax

        return jax.lax.conv_general_dilated(x, w, (1, 1), [(padding, padding)] * 2)

    return lambda t, x, w: t.nn.functional.conv2d(x, w, padding=padding), jax_conv


_ROWS = (4096, 1024)
_LONG, _SHORT = ((10_000_000,),) * 4, ((32_768,),) * 4
_WIDE, _AFFINE = (8192, 2048), ((4096, 1024), (1024,), (1024,))
_SMALL_VALUES = _normal((), scale=1.0)
_MLP = (784, 512, 256, 10)
_NORMED = (*_AFFINE, _ROWS)
_FLOAT64 = _normal((1_000_000,), dtype="float64")

WORKLOADS: tuple[Workload, ...] = (
    Workload(
        "scalar_call", "x*x+3x, 0-d", None, _SMALL_VALUES, _poly, (), lambda x: x * x + 3 * x, lambda x: x * x + 3 * x
    ),
    Workload(
        "vec10_call",
        "x*x+3x, 10 elements",
        None,
        _normal((10,)),
        _poly,
        (),
        lambda x: x * x + 3 * x,
        lambda x: x * x + 3 * x,
    ),
    Workload("vec10_vg", "x*x+3x with gradient", None, _normal((10,)), _poly, (0,), lambda x: x * x + 3 * x),
    Workload("chain10M_fwd", "gelu(x*a+b)*sigmoid(c)", 3.45e-3, _normal(*_LONG), _chain, (), _jax_chain, _numpy_chain),
    Workload("chain10M_vg", "with gradients", 5.52e-3, _normal(*_LONG), _chain, (0, 1, 2, 3), _jax_chain),
    Workload("chain32K_fwd", "in L2", 5.71e-6, _normal(*_SHORT), _chain, (), _jax_chain, _numpy_chain),
    Workload("chain32K_vg", "with gradients", 7.77e-6, _normal(*_SHORT), _chain, (0, 1, 2, 3), _jax_chain),
    Workload("softmax_fwd", "rows of 4096x1024", 0.579e-3, _normal(_ROWS), _softmax, (), _jax_softmax),
    Workload(
        "softmax_vg",
        "weighted, with gradient",
        0.868e-3,
        _normal(_ROWS, _ROWS),
        _weighted_softmax,
        (0,),
        _jax_weighted_softmax,
    ),
    Workload("layernorm_fwd", "rows of 4096x1024", 0.579e-3, _normal(*_AFFINE), _layer_norm, (), _jax_layer_norm),
    Workload(
        "layernorm_vg",
        "weighted, with gradients",
        0.868e-3,
        _normal(*_NORMED),
        _weighted_layer_norm,
        (0, 1, 2),
        _jax_weighted_layer_norm,
    ),
    Workload(
        "logsumexp_fwd",
        "rows of 4096x1024",
        0.322e-3,
        _normal(_ROWS),
        lambda t, x: t.logsumexp(x, 1),
        (),
        _jax_logsumexp,
    ),
    Workload(
        "cross_entropy_vg", "4096x1024 with gradient", 0.868e-3, _labelled, _cross_entropy, (0,), _jax_cross_entropy
    ),
    Workload(
        "sum_axis0",
        "8192x2048 over axis 0",
        1.16e-3,
        _normal(_WIDE),
        lambda t, x: x.sum(0),
        (),
        lambda x: x.sum(0),
        lambda x: x.sum(0),
    ),
    Workload(
        "sum_axis1",
        "over axis 1",
        1.16e-3,
        _normal(_WIDE),
        lambda t, x: x.sum(1),
        (),
        lambda x: x.sum(1),
        lambda x: x.sum(1),
    ),
    Workload(
        "sum_all", "over all", 1.16e-3, _normal(_WIDE), lambda t, x: x.sum(), (), lambda x: x.sum(), lambda x: x.sum()
    ),
    Workload(
        "rosenbrock_1e6_f64", "with gradient", 0.196e-3, _FLOAT64, _rosenbrock, (0,), lambda x: _rosenbrock(None, x)
    ),
    Workload(
        "matmul_128", "128^3", 14.61e-6, _normal((128, 128), (128, 128)), _matmul, (), lambda x, y: x @ y, np.matmul
    ),
    Workload(
        "matmul_1024",
        "1024^3",
        7.48e-3,
        _normal((1024, 1024), (1024, 1024)),
        _matmul,
        (),
        lambda x, y: x @ y,
        np.matmul,
    ),
    Workload(
        "matmul_batched",
        "64 x (128x64 @ 64x128)",
        0.468e-3,
        _normal((64, 128, 64), (64, 64, 128)),
        _matmul,
        (),
        lambda x, y: x @ y,
        np.matmul,
    ),
    Workload(
        "matvec_4096",
        "4096x4096 @ 4096",
        1.16e-3,
        _normal((4096, 4096), (4096,)),
        _matmul,
        (),
        lambda x, y: x @ y,
        np.matmul,
    ),
    Workload(
        "linear_gelu",
        "1024x512 @ 512x512, bias, gelu",
        1.9e-3,
        _normal((1024, 512), (512, 512), (512,), scale=0.3),
        _linear_gelu,
        (),
        _jax_linear_gelu,
    ),
    Workload(
        "mlp_vg_b64",
        "784-512-256-10, all gradients",
        0.537e-3,
        _mlp_operands(64, _MLP),
        _mlp,
        tuple(range(2, 8)),
        _jax_mlp,
    ),
    Workload("mlp_vg_b1024", "batch 1024", 8.59e-3, _mlp_operands(1024, _MLP), _mlp, tuple(range(2, 8)), _jax_mlp),
    Workload(
        "net_vg_b64", "SimpleNet, batch 64, all gradients", 0.579e-3, _net_operands, _net, tuple(range(2, 10)), _jax_net
    ),
    Workload(
        "conv_3x3",
        "32x64x28x28, 64 features",
        6.5e-3,
        _normal((32, 64, 28, 28), (64, 64, 3, 3), scale=0.2),
        _conv(1)[0],
        (),
        _conv(1)[1],
    ),
    Workload(
        "conv_3x3_vg",
        "with both gradients",
        19.5e-3,
        _normal((32, 64, 28, 28), (64, 64, 3, 3), scale=0.2),
        _conv(1)[0],
        (0, 1),
        _conv(1)[1],
    ),
    Workload(
        "conv_1x1",
        "32x64x28x28, 64 features",
        0.75e-3,
        _normal((32, 64, 28, 28), (64, 64, 1, 1)),
        _conv(0)[0],
        (),
        _conv(0)[1],
    ),
    Workload(
        "conv_first",
        "64x1x28x28, 32 features of 5x5",
        0.21e-3,
        _normal((64, 1, 28, 28), (32, 1, 5, 5)),
        _conv(0)[0],
        (),
        _conv(0)[1],
    ),
    Workload(
        "transformer_fwd", "block, d=256, 4 heads, 8x128, causal", 6.18e-3, _block_operands, _block, (), _jax_block
    ),
    Workload("transformer_vg", "with all gradients", 18.3e-3, _block_operands, _block, tuple(range(13)), _jax_block),
    Workload(
        "attention_1k", "2x8 heads of 1024x64, causal", 7.6e-3, _normal(*[(2, 8, 1024, 64)] * 3),
        _attention(True)[0], (), _attention(True)[1]
    ),
    Workload(
        "attention_1k_vg", "its square with gradients", 26.6e-3, _normal(*[(2, 8, 1024, 64)] * 3),
        _squared(_attention(True)[0]), (0, 1, 2), _squared(_attention(True)[1])
    ),
    Workload(
        "attention_cross", "4x8 heads, 256 queries, 512 keys", 3.8e-3,
        _normal((4, 8, 256, 64), (4, 8, 512, 64), (4, 8, 512, 64)), _attention(False)[0], (), _attention(False)[1]
    ),
    Workload(
        "rnn_1000_vg",
        "1000 tanh steps of width 32",
        13.87e-6,
        _recurrent_operands,
        _recurrent,
        (0, 1, 2),
        _jax_recurrent,
    ),
)
