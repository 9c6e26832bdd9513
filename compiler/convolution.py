"""Convolutions in ops that have kernels: contractions of the kernel with windows of the padded image.

The windows are never stored.  Where zeros would be put between the elements of the image (transposed convolutions, and
the cotangents of images under a stride), the outputs fall into phases instead: those whose places have one remainder
by the step meet the same taps of the kernel, a fraction of all, so each phase is a small dense convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as choices
from math import gcd, prod

from adjit.ir.builder import Expr
from adjit.ir.frozen import frozen
from adjit.ir.ops.arrays import full, permute, reshape, window_of
from adjit.ir.ops.checks import dilated_extent
from adjit.ir.ops.contraction import dot
from adjit.ir.ops.structure import interleave, pad
from adjit.ir.ops.windows import window
from adjit.ir.shape import Size

Pads = Sequence[tuple[Size, Size]]
# The most phases that are convolutions of their own; with more, their kernels are padded to one size and joined.
MOST_PHASES = 8


def convolve(
    x: Expr, w: Expr, stride: Sequence[int], padding: Pads, input_dilation: Sequence[int],
    kernel_dilation: Sequence[int], groups: Size,
) -> Expr:  # fmt: skip
    """`adjit.ir.ops.contraction.conv` as contractions."""
    extents, taps, lows, highs = map(
        _numbers, (x.shape[2:], w.shape[2:], [low for low, _ in padding], [high for _, high in padding])
    )
    is_spread = any(gap != 1 for gap in input_dilation) and all(step == 1 for step in stride)
    if is_spread and extents is not None and taps is not None and lows is not None and highs is not None:
        sizes = zip(extents, taps, lows, highs, input_dilation, kernel_dilation, strict=True)
        axes = [_Axis(*each) for each in sizes]
        return _by_phases(x, w, axes, groups)
    gaps = [gap - 1 for gap in input_dilation]
    wide = _padded(x, [low for low, _ in padding], [high for _, high in padding], gaps)
    return _dense(wide, w, stride, kernel_dilation, groups)


def _numbers(sizes: Sequence[Size]) -> list[int] | None:
    """The sizes, if all are numbers."""
    found = [size for size in sizes if isinstance(size, int)]
    return found if len(found) == len(sizes) else None


def _padded(x: Expr, low: Sequence[Size], high: Sequence[Size], gaps: Sequence[int]) -> Expr:
    """x with zeros around its spatial axes, and between their elements."""
    if all(size == 0 for size in (*low, *high, *gaps)):
        return x
    return pad(x, low=(0, 0, *low), high=(0, 0, *high), interior=(0, 0, *gaps), value=0)  # type: ignore[no-any-return]


def _dense(x: Expr, w: Expr, stride: Sequence[int], dilation: Sequence[int], groups: Size) -> Expr:
    """The contraction of the kernel with all windows of an image that needs no padding."""
    samples, _, *extents = x.shape
    features, each, *taps = w.shape
    # With groups, every axis stands one further right.
    shift = 0 if groups == 1 else 1
    if shift:
        x = reshape(x, (samples, groups, each, *extents))
        w = reshape(w, (groups, features // groups, each, *taps))
    spatial = range(len(extents))
    axes = tuple(2 + shift + axis for axis in spatial)
    windows = window(x, axes=axes, size=tuple(taps), stride=tuple(stride), dilation=tuple(dilation))
    place = 2 + shift + len(extents)
    contract = ((1 + shift, *axes), (1 + shift, *(place + axis for axis in spatial)))
    found = dot(w, windows, contract=contract, batch=((0,), (1,)) if shift else ((), ()))
    # Axes: [group,] feature, sample, place...
    if not shift:
        return permute(found, (1, 0, *(2 + axis for axis in spatial)))  # type: ignore[no-any-return]
    found = permute(found, (2, 0, 1, *(3 + axis for axis in spatial)))
    return reshape(found, (samples, features, *found.shape[3:]))  # type: ignore[no-any-return]


# -- phases ------------------------------------------------------------------------------------------------------------
@frozen
class _Axis:
    """One axis of a convolution of stride 1 with an image whose neighbours have `step` - 1 zeros between them."""

    extent: int
    taps: int
    low: int
    high: int
    step: int
    dilation: int

    @property
    def out(self) -> int:
        """The number of outputs."""
        spread = dilated_extent(self.extent, self.step)
        assert isinstance(spread, int)
        return spread + self.low + self.high - (self.taps - 1) * self.dilation

    def phases(self) -> list[_Phase]:
        """Those that meet taps: output p meets x[i] at tap t where p + t*dilation = low + i*step."""
        common = gcd(self.dilation, self.step)
        between = self.step // common
        found = []
        for start in range(min(self.step, self.out)):
            for first in range(min(self.taps, between)):
                offset, rest = divmod(start + first * self.dilation - self.low, self.step)
                if rest == 0:
                    count, taps = -(-(self.out - start) // self.step), -(-(self.taps - first) // between)
                    found.append(_Phase(start, count, first, between, taps, offset, self.dilation // common))
        return found


@frozen
class _Phase:
    """Along an axis, the outputs start, start + step, ...: output start + q*step is the sum over u < taps of
    x[offset + q + u*dilation] * w[first + u*between]; `count` of them."""

    start: int
    count: int
    first: int
    between: int
    taps: int
    offset: int
    dilation: int

    @property
    def stop(self) -> int:
        """The place after the last element of x that is looked at."""
        return self.offset + self.count + (self.taps - 1) * self.dilation


def _by_phases(x: Expr, w: Expr, axes: Sequence[_Axis], groups: Size) -> Expr:
    """The convolution of stride 1 with an image that has zeros between its elements."""
    shape = (x.shape[0], w.shape[0], *(axis.out for axis in axes))
    phases = [axis.phases() for axis in axes]
    if not all(phases) or any(axis.extent == 0 for axis in axes):
        return full(x, 0, shape, x.dtype)  # type: ignore[no-any-return]
    if prod(map(len, phases)) > MOST_PHASES and all(axis.dilation == 1 for axis in axes):
        return _shuffled(x, w, axes, groups)
    # All phases look at one image, padded as far as any of them looks.
    first = [min(0, *(phase.offset for phase in each)) for each in phases]
    stop = [max(phase.stop for phase in each) for each in phases]
    wide = _reaching(x, axes, first, stop)
    parts, starts = [], []
    for chosen in choices(*phases):
        begin = [phase.offset - place for phase, place in zip(chosen, first, strict=True)]
        image = _cut(wide, begin, [phase.stop - phase.offset for phase in chosen])
        taps, between = [phase.taps for phase in chosen], [phase.between for phase in chosen]
        own = _cut(w, [phase.first for phase in chosen], taps, between)
        parts.append(_dense(image, own, (1,) * len(axes), [phase.dilation for phase in chosen], groups))
        starts.append((0, 0, *(phase.start for phase in chosen)))
    step = (1, 1, *(axis.step for axis in axes))
    return interleave(*parts, starts=tuple(starts), step=step, shape=shape)  # type: ignore[no-any-return]


def _reaching(x: Expr, axes: Sequence[_Axis], first: Sequence[int], stop: Sequence[int]) -> Expr:
    """x with zeros around it, so that it has elements first..stop - 1, and those that it had from 0 on."""
    low = [max(0, -place) for place in first]
    high = [max(0, end - axis.extent) for axis, end in zip(axes, stop, strict=True)]
    return _padded(x, low, high, [0] * len(axes))


def _cut(x: Expr, start: Sequence[int], size: Sequence[int], step: Sequence[int] | None = None) -> Expr:
    """Part of the spatial axes of x; x itself where that is all."""
    if tuple(size) == tuple(x.shape[2:]):
        return x
    step = (1,) * len(size) if step is None else step
    return window_of(x, (0, 0, *start), (*x.shape[:2], *size), (1, 1, *step))  # type: ignore[no-any-return]


def _shuffled(x: Expr, w: Expr, axes: Sequence[_Axis], groups: Size) -> Expr:
    """The same with the phases as further features of one dense convolution, whose results are then put in order.

    Along an axis of dilation 1, output r + q*step takes x[first + q + u] at tap low - r + (first + u)*step, if there is
    such a tap: the kernel is padded until there is one for every r < step and u < length.
    """
    samples, features, each = x.shape[0], *w.shape[:2]
    steps = [axis.step for axis in axes]
    first = [-(axis.low // axis.step) for axis in axes]
    length = [(axis.taps + axis.step - 2 - axis.low) // axis.step - place + 1
              for axis, place in zip(axes, first, strict=True)]  # fmt: skip
    # Tap t stands at t + before = u*step + (step - 1 - r).
    before = [(-axis.low - 1) % axis.step for axis in axes]
    after = [count * axis.step - low - axis.taps for axis, count, low in zip(axes, length, before, strict=True)]
    split = [size for count, step in zip(length, steps, strict=True) for size in (count, step)]
    kernel = reshape(_padded(w, before, after, [0] * len(axes)), (features, each, *split))
    last = (0, 0, *(size - 1 if number % 2 else 0 for number, size in enumerate(split)))
    turned = (1, 1, *(-1 if number % 2 else 1 for number in range(len(split))))
    kernel = window_of(kernel, last, kernel.shape, turned)
    places = range(len(axes))
    kernel = permute(kernel, (0, *(3 + 2 * axis for axis in places), 1, *(2 + 2 * axis for axis in places)))
    kernel = reshape(kernel, (features * prod(steps), each, *length))
    counts = [-(-axis.out // axis.step) for axis in axes]
    size = [count + number - 1 for count, number in zip(counts, length, strict=True)]
    wide = _reaching(x, axes, first, [place + span for place, span in zip(first, size, strict=True)])
    image = _cut(wide, [max(0, place) for place in first], size)
    found = _dense(image, kernel, (1,) * len(axes), (1,) * len(axes), groups)
    found = reshape(found, (samples, features, *steps, *counts))
    order = [place for axis in places for place in (2 + len(axes) + axis, 2 + axis)]
    found = permute(found, (0, 1, *order))
    found = reshape(found, (samples, features, *(count * step for count, step in zip(counts, steps, strict=True))))
    return _cut(found, [0] * len(axes), [axis.out for axis in axes])
