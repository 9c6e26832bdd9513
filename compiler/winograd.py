"""Where Winograd's method computes convolutions of 3 x 3 taps, and gradients of their kernels: llvm/winograd_plan.py.

The decision depends on sizes alone, so that each stage of the compiler makes the same: legalization leaves such images
unpadded, fusion does not store their padding, and code generation finds both in the index expressions.
"""

from __future__ import annotations

import os
from typing import Literal, TypeAlias

from adjit.ir.shape import Size

# The convolution, or the gradient of its kernel.
Kind: TypeAlias = Literal["outputs", "kernel"]
# The side of the kernel, the outputs of a tile along an axis, and the matrices that a tile is transformed into.
TAPS, OUTPUTS, PRODUCTS = 3, 2, 16
# Fewer channels or features: the transforms take longer than the products; fewer tiles in a sample: that of the kernel
# does.
_LEAST_CHANNELS, _LEAST_TILES = 16, {"outputs": 6, "kernel": 16}
# Transforms of so many pairs of a channel and a feature leave the second cache: so many tiles must share them.
_MANY_PAIRS, _SHARING_TILES = 1 << 14, 40
# Channels and features go by vectors, and what exists of them must be worth the whole: the least quotient of direct
# products and these.
_VECTOR, _LEAST_SAVING = 16, 1.3


def pays(
    kind: Kind, channels: Size, features: Size, height: Size, width: Size, samples: Size | None = None
) -> bool:
    """Whether the method takes less time, as measured, for `height` x `width` outputs in float32.

    The number of samples is None where it must not count: eager mode leaves it open, and strict programs have its bits.
    """
    if os.environ.get("ADJIT_WINOGRAD", "1") == "0":
        return False
    if not (isinstance(channels, int) and isinstance(features, int) and isinstance(height, int)):
        return False
    if not isinstance(width, int) or min(channels, features) < _LEAST_CHANNELS:
        return False
    tiles = -(-height // OUTPUTS) * -(-width // OUTPUTS)
    if isinstance(samples, int) and channels * features >= _MANY_PAIRS and samples * tiles < _SHARING_TILES:
        return False
    columns = features if kind == "outputs" else channels
    direct = TAPS**2 * height * width * columns
    products = PRODUCTS * tiles * -(-columns // _VECTOR) * _VECTOR
    return tiles >= _LEAST_TILES[kind] and direct >= _LEAST_SAVING * products
