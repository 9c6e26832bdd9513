"""Where convolutions of many small images with zeros around them are computed along the samples: llvm/emit_samples.py.

Vectors hold one place of many samples, so each output meets those taps alone that meet the image: the zeros are neither
stored nor multiplied, as they are where vectors run along the rows of an image.  Input gradients of kernels without
padding have the most of them: less than half of the products of 5 x 5 taps with 8 x 8 cotangents are of elements.

The decision depends on sizes alone, as that for Winograd's method does.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from adjit.ir.frozen import frozen
from adjit.ir.shape import Size
from adjit.ir.types import F32, F64, DType

# The samples of the shortest vectors that pay, and the elements of an image and of its outputs: a vector of each stays
# in the second cache.
_LEAST_SAMPLES, _MOST_ELEMENTS = 16, 1 << 13
# The most elements of a kernel, which each output reads: the second cache holds these too.
_MOST_KERNEL = 1 << 16
# What turning an element about costs, in multiply-adds, and the least quotient of direct products and these.
_TURNED, _LEAST_SAVING = 4, 0.95


@frozen
class Axis:
    """One axis of a convolution of stride 1: an image of `extent` places and `low` zeros before it, and its taps."""

    extent: int
    taps: int
    low: int
    high: int
    dilation: int

    @property
    def out(self) -> int:
        """The outputs."""
        return self.extent + self.low + self.high - (self.taps - 1) * self.dilation

    @property
    def met(self) -> int:
        """The pairs of an output and a tap that meet the image."""
        places = (out + tap * self.dilation - self.low for out in range(self.out) for tap in range(self.taps))
        return sum(0 <= place < self.extent for place in places)


def axes_of(
    extents: Sequence[Size], taps: Sequence[Size], low: Sequence[Size], high: Sequence[Size], dilation: Sequence[int]
) -> list[Axis] | None:
    """The axes, if their sizes are numbers and each has zeros around the image."""
    found = []
    for extent, count, before, after, gap in zip(extents, taps, low, high, dilation, strict=True):
        if not (isinstance(extent, int) and isinstance(count, int)):
            return None
        if not (isinstance(before, int) and isinstance(after, int)) or min(before, after) < 0 or before + after == 0:
            return None
        found.append(Axis(extent, count, before, after, gap))
    return found


def pays(dtype: DType, samples: Size | None, channels: Size, features: Size, axes: Sequence[Axis]) -> bool:
    """Whether to compute along the samples takes less time, as measured; their number is None where it must not count.

    Strict programs have the bits of eager mode, which leaves it open, also where a weight is not finite.
    """
    if not (isinstance(samples, int) and isinstance(channels, int) and isinstance(features, int)):
        return False
    if dtype not in (F32, F64) or len(axes) != 2 or samples < _LEAST_SAMPLES:
        return False
    if min(channels, features, *(size for axis in axes for size in (axis.out, axis.taps))) < 2:
        return False  # axes of one element are no axes of the product
    pairs, outputs = channels * features, prod(axis.out for axis in axes)
    elements = channels * prod(axis.extent for axis in axes) + features * outputs
    kernel = pairs * prod(axis.taps for axis in axes)
    if not 0 < elements <= _MOST_ELEMENTS or not 0 < kernel <= _MOST_KERNEL:
        return False
    whole = -(-samples // _LEAST_SAMPLES) * _LEAST_SAMPLES
    met = whole * (pairs * prod(axis.met for axis in axes) + _TURNED * elements)
    return samples * kernel * outputs >= _LEAST_SAVING * met
