"""Workloads on images: convolutions under a stride, transposed, with a channel each; pooling and normalization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.workload_cases import Operands, Workload


def _arrays(*shapes: tuple[int, ...]) -> Callable[[np.random.Generator], Operands]:
    return lambda random: tuple((0.2 * random.standard_normal(shape)).astype("float32") for shape in shapes)


def _jax_conv(x: Any, w: Any, stride: int, padding: int, groups: int = 1) -> Any:
    import jax

    sides = [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(x, w, (stride, stride), sides, feature_group_count=groups)


def _strided(t: Any, x: Any, w: Any) -> Any:
    return t.nn.functional.conv2d(x, w, stride=2, padding=1)


def _transposed(t: Any, x: Any, w: Any) -> Any:
    return t.nn.functional.conv_transpose2d(x, w, stride=2, padding=1)


def _each_channel(t: Any, x: Any, w: Any) -> Any:
    return t.nn.functional.conv2d(x, w, padding=1, groups=144)


def _pooled(t: Any, x: Any, w: Any, b: Any) -> Any:
    f = t.nn.functional
    return f.max_pool2d(t.relu(f.conv2d(x, w, b, padding=1)), 2)


def _normed(t: Any, x: Any, w: Any, scale: Any, shift: Any) -> Any:
    f = t.nn.functional
    normed = f.batch_norm(f.conv2d(x, w, padding=1), None, None, scale, shift, training=True)
    return t.relu(normed + x)


def _first_layer(t: Any, x: Any, w: Any, b: Any) -> Any:
    f = t.nn.functional
    return f.max_pool2d(t.relu(f.conv2d(x, w, b)), 2)


def _mixed(t: Any, x: Any, w: Any, scale: Any, shift: Any, up: Any, down: Any) -> Any:
    """A block of ConvNeXt: a channel each, normalization and two layers with the channels last, and the input."""
    f = t.nn.functional
    y = f.conv2d(x, w, padding=3, groups=x.shape[1]).permute(0, 2, 3, 1)
    y = f.gelu(f.layer_norm(y, (x.shape[1],), scale, shift) @ up) @ down
    return x + y.permute(0, 3, 1, 2)


def _jax_mixed(x: Any, w: Any, scale: Any, shift: Any, up: Any, down: Any) -> Any:
    import jax

    y = _jax_conv(x, w, 1, 3, x.shape[1]).transpose(0, 2, 3, 1)
    centred = y - y.mean(-1, keepdims=True)
    y = centred / jax.numpy.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + shift
    return x + (jax.nn.gelu(y @ up, approximate=False) @ down).transpose(0, 3, 1, 2)


def _last(t: Any, x: Any, w: Any) -> Any:
    return t.nn.functional.conv2d(x.permute(0, 3, 1, 2), w, padding=1).permute(0, 2, 3, 1)


def _jax_last(x: Any, w: Any) -> Any:
    import jax

    return jax.lax.conv_general_dilated(x, w, (1, 1), [(1, 1)] * 2, dimension_numbers=("NHWC", "OIHW", "NHWC"))


def _unpadded(t: Any, x: Any, w: Any) -> Any:
    return t.nn.functional.conv2d(x, w)


def _small_maps(t: Any, x: Any, scale: Any, shift: Any) -> Any:
    return t.relu(t.nn.functional.batch_norm(x, None, None, scale, shift, training=True)) ** 2


def _jax_small_maps(x: Any, scale: Any, shift: Any) -> Any:
    import jax

    axes = (0, 2, 3)
    centred = x - x.mean(axes, keepdims=True)
    normed = centred / jax.numpy.sqrt((centred**2).mean(axes, keepdims=True) + 1e-5)
    return jax.nn.relu(normed * scale[:, None, None] + shift[:, None, None]) ** 2


IMAGES = [
    Workload("strided_vg", "8x64x56x56, 128 features of 3x3, every second place, both gradients", 9.8e-3,
             _arrays((8, 64, 56, 56), (128, 64, 3, 3)), _strided, (0, 1), lambda x, w: _jax_conv(x, w, 2, 1)),
    Workload("transposed_fwd", "8x128x16x16, 64 features of 4x4, steps of 2", 1.9e-3,
             _arrays((8, 128, 16, 16), (128, 64, 4, 4)), _transposed),
    Workload("transposed_vg", "with both gradients", 5.7e-3,
             _arrays((8, 128, 16, 16), (128, 64, 4, 4)), _transposed, (0, 1)),
    Workload("depthwise_fwd", "8x144x28x28, 3x3, a channel each", 0.18e-3,
             _arrays((8, 144, 28, 28), (144, 1, 3, 3)), _each_channel, (), lambda x, w: _jax_conv(x, w, 1, 1, 144)),
    Workload("depthwise_vg", "with both gradients", 0.54e-3,
             _arrays((8, 144, 28, 28), (144, 1, 3, 3)), _each_channel, (0, 1),
             lambda x, w: _jax_conv(x, w, 1, 1, 144)),
    Workload("pooled_vg", "8x64x28x28, 3x3, relu, 2x2 maximum, all gradients", 4.9e-3,
             _arrays((8, 64, 28, 28), (64, 64, 3, 3), (64,)), _pooled, (0, 1, 2)),
    Workload("normed_vg", "8x64x28x28, 3x3, batch norm, sum with the input, relu, all gradients", 5.2e-3,
             _arrays((8, 64, 28, 28), (64, 64, 3, 3), (64,), (64,)), _normed, (0, 1, 2, 3)),
    Workload("first_layer_vg", "64x1x28x28, 10 features of 5x5, relu, 2x2 maximum, gradients of the layer", None,
             _arrays((64, 1, 28, 28), (10, 1, 5, 5), (10,)), _first_layer, (1, 2)),
    Workload("channels_last_vg", "8x32x12x12, 7x7 a channel each, layer norm, two layers, all gradients", None,
             _arrays((8, 32, 12, 12), (32, 1, 7, 7), (32,), (32,), (32, 128), (128, 32)), _mixed,
             (0, 1, 2, 3, 4, 5), _jax_mixed),
    Workload("conv_last_vg", "8x28x28x64, channels last, 64 features of 3x3, both gradients", None,
             _arrays((8, 28, 28, 64), (64, 64, 3, 3)), _last, (0, 1), _jax_last),
    Workload("unpadded_vg", "64x10x12x12, 20 features of 5x5 without padding, both gradients", None,
             _arrays((64, 10, 12, 12), (20, 10, 5, 5)), _unpadded, (0, 1), lambda x, w: _jax_conv(x, w, 1, 0)),
    Workload("small_maps_vg", "64x32x7x7, batch norm, relu, square, all gradients", None,
             _arrays((64, 32, 7, 7), (32,), (32,)), _small_maps, (0, 1, 2), _jax_small_maps),
    Workload("sum_13", "16x18x20x22, sums over axes 1 and 3", None, _arrays((16, 18, 20, 22)),
             lambda t, x: x.sum((1, 3)), (), lambda x: x.sum((1, 3)), lambda x: x.sum((1, 3))),
]  # fmt: skip
