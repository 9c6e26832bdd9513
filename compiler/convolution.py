"""Convolutions in ops that have kernels: contractions of the kernel with windows of the padded image.

The windows are never stored.  Where zeros would be put between the elements of the image (transposed convolutions, and
the cotangents of images under a stride), the outputs fall into phases instead: those whose places have one remainder
by the step meet the same taps of the kernel, a fraction of all, so each phase is a small dense convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as choices
from math import gcd, prod

from adjit.compiler import by_samples
from adjit.compiler.winograd import TAPS, pays
from adjit.ir.builder import Expr
from adjit.ir.frozen import frozen
from adjit.ir.ops.arrays import expand, full, permute, reshape, window_of
from adjit.ir.ops.checks import dilated_extent
from adjit.ir.ops.contraction import dot
from adjit.ir.ops.reduction import reduce_sum
from adjit.ir.ops.strided import as_strided
from adjit.ir.ops.structure import interleave, pad
from adjit.ir.ops.windows import fold, window
from adjit.ir.shape import Size, strides_of
from adjit.ir.types import F32

Pads = Sequence[tuple[Size, Size]]
# The most phases that are convolutions of their own; with more, their kernels are padded to one size and joined.
MOST_PHASES = 8


def convolve(
    x: Expr, w: Expr, stride: Sequence[int], padding: Pads, input_dilation: Sequence[int],
    kernel_dilation: Sequence[int], groups: Size, strict: bool = False,
) -> Expr:  # fmt: skip
    """`adjit.ir.ops.contraction.conv` as contractions; with `strict`, of one order for any number of samples."""
    low, high = zip(*padding, strict=True) if padding else ((), ())
    extents, taps, lows, highs = map(_numbers, (x.shape[2:], w.shape[2:], low, high))
    is_spread = any(gap != 1 for gap in input_dilation)
    if extents is not None and taps is not None and lows is not None and highs is not None:
        sizes = zip(extents, taps, lows, highs, input_dilation, kernel_dilation, strict=True)
        axes = [_Axis(*each) for each in sizes]
        if all(axis.extent == axis.dilation == 1 for axis in axes):
            return _of_points(x, w, axes, stride, groups)
        if is_spread and all(step == 1 for step in stride):
            return _by_phases(x, w, axes, groups)
        winograd = not is_spread and _goes_by_winograd(x, w, axes, stride, groups, strict)
        turned = not is_spread and _goes_by_samples(x, w, axes, stride, groups)
        if winograd or (turned and not strict):
            return _dense(_padded(x, low, high, [0] * len(axes)), w, stride, kernel_dilation, groups)
        if not is_spread and w.shape[0] != groups and _shares_padding(axes, stride):
            return _contracted(_windows_of_shared_padding(x, axes, stride, groups), w, groups)
        if not is_spread and any(by != 1 for by in stride) and all(axis.taps == 1 for axis in axes):
            taken = _taken(_padded(x, low, high, [0] * len(axes)), axes, stride)
            return _dense(taken, w, (1,) * len(axes), kernel_dilation, groups)
        if turned:  # strict programs store the padding
            wide = _padded(x, low, high, [0] * len(axes))
            return _dense(_stored(wide), w, stride, kernel_dilation, groups)
    wide = _padded(x, low, high, [gap - 1 for gap in input_dilation])
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
    each, *taps = w.shape[1:]
    if groups != 1:
        x = reshape(x, (samples, groups, each, *extents))
    axes = tuple(range(x.ndim - len(extents), x.ndim))
    windows = window(x, axes=axes, size=tuple(taps), stride=tuple(stride), dilation=tuple(dilation))
    return _contracted(windows, w, groups)


def _contracted(windows: Expr, w: Expr, groups: Size) -> Expr:
    """The contraction of the kernel with windows [samples, (groups, if several,) each, *places, *taps]."""
    features, each, *taps = w.shape
    samples, rank = windows.shape[0], len(taps)
    # With groups, every axis stands one further right.
    shift = 0 if groups == 1 else 1
    if shift:
        w = reshape(w, (groups, features // groups, each, *taps))
    axes = tuple(range(2 + shift, 2 + shift + rank))
    if shift and features == groups and _is_wide(windows.shape[axes[-1]], taps[-1]):
        return _summed_by_columns(w, windows, rank)
    contract = ((1 + shift, *axes), (1 + shift, *(axis + rank for axis in axes)))
    found = dot(w, windows, contract=contract, batch=((0,), (1,)) if shift else ((), ()))
    # Axes: [group,] feature, sample, place...
    if not shift:
        return permute(found, (1, 0, *axes))  # type: ignore[no-any-return]
    found = permute(found, (2, 0, 1, *axes))
    return reshape(found, (samples, features, *found.shape[3:]))  # type: ignore[no-any-return]


def _is_wide(count: Size, taps: Size) -> bool:
    """Whether a row of the kernel is longer than a row of windows: vectors go along the kernel then."""
    return isinstance(count, int) and isinstance(taps, int) and count < taps


def _summed_by_columns(w: Expr, windows: Expr, rank: int) -> Expr:
    """The contraction for one feature a group, column by column of the kernel first: terms stand side by side so.

    Shapes: w [groups, 1, each, *taps], windows [samples, groups, each, *places, *taps] -> [samples, groups, *places].
    """
    groups, _, each, *taps = w.shape
    places = range(3, 3 + rank)
    terms = permute(windows, (0, 1, *places, 2, *range(3 + rank, windows.ndim)))
    terms = terms * expand(reshape(w, (1, groups, *(1,) * rank, each, *taps)), terms.shape)
    columns = reduce_sum(terms, axes=tuple(range(2 + rank, terms.ndim - 1)))
    return reduce_sum(columns, axes=(columns.ndim - 1,))  # type: ignore[no-any-return]


def _of_points(x: Expr, w: Expr, axes: Sequence[_Axis], stride: Sequence[int], groups: Size) -> Expr:
    """The convolution of images of one element, which meets tap low - p*by at output p; those that meet none are 0."""
    counts = [axis.count(by) for axis, by in zip(axes, stride, strict=True)]
    spans = [_meeting(axis, by, count) for axis, by, count in zip(axes, stride, counts, strict=True)]
    first = [max(0, axis.low - by * span.start) for axis, by, span in zip(axes, stride, spans, strict=True)]
    features, each = w.shape[:2]
    steps = (1, 1, *(-by for by in stride))
    met = window_of(w, (0, 0, *first), (features, each, *map(len, spans)), steps)
    points = reshape(x, (x.shape[0], groups, each))
    met = reshape(met, (groups, features // groups, each, *map(len, spans)))
    found = dot(points, met, contract=((2,), (2,)), batch=((1,), (0,)))
    order = (1, 0, *range(2, found.ndim))
    found = reshape(permute(found, order), (x.shape[0], features, *map(len, spans)))
    after = [count - span.start - len(span) for span, count in zip(spans, counts, strict=True)]
    return _padded(found, [span.start for span in spans], after, [0] * len(axes))


def _meeting(axis: _Axis, stride: int, count: int) -> range:
    """The outputs that meet a tap, of an axis of one element."""
    start = min(count, max(0, -((axis.taps - 1 - axis.low) // stride)))
    return range(start, max(start, min(count, axis.low // stride + 1)))


# -- axes --------------------------------------------------------------------------------------------------------------
@frozen
class _Axis:
    """One axis of a convolution with an image whose neighbours have `step` - 1 zeros between them."""

    extent: int
    taps: int
    low: int
    high: int
    step: int
    dilation: int

    def count(self, stride: int) -> int:
        """The number of windows that are `stride` apart."""
        return (self.out - 1) // stride + 1

    @property
    def out(self) -> int:
        """The number of outputs at a stride of 1."""
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


def _goes_by_winograd(
    x: Expr, w: Expr, axes: Sequence[_Axis], stride: Sequence[int], groups: Size, strict: bool
) -> bool:
    """Whether Winograd's method computes it: from images without padding."""
    plain = [(axis.taps, axis.dilation, by) for axis, by in zip(axes, stride, strict=True)] == [(TAPS, 1, 1)] * 2
    if not plain or x.dtype is not F32 or groups != 1:
        return False
    height, width = (axis.out for axis in axes)
    return pays("outputs", x.shape[1], w.shape[0], height, width, None if strict else x.shape[0])


def _goes_by_samples(x: Expr, w: Expr, axes: Sequence[_Axis], stride: Sequence[int], groups: Size) -> bool:
    """Whether vectors run along the samples of such images."""
    if groups != 1 or any(by != 1 for by in stride):
        return False
    sizes = zip(*((axis.extent, axis.taps, axis.low, axis.high, axis.dilation) for axis in axes), strict=True)
    found = by_samples.axes_of(*sizes)
    return found is not None and by_samples.pays(x.dtype, x.shape[0], x.shape[1], w.shape[0], found)


def _shares_padding(axes: Sequence[_Axis], stride: Sequence[int]) -> bool:
    """Whether the zeros after a row of the image can be those before the next one: rows of windows stand closer so."""
    if len(axes) < 2 or stride[-1] != 1:
        return False
    return min(axes[-1].low, axes[-1].high) > 0 and axes[-1].out >= axes[-1].taps


def _windows_of_shared_padding(x: Expr, axes: Sequence[_Axis], stride: Sequence[int], groups: Size) -> Expr:
    """The windows, as `_contracted` takes them, of an image that has zeros before its rows, and none after them.

    What the last row needs after it, a further row of zeros gives.
    """
    last = axes[-1]
    between = max(last.low, last.high)
    low = [*(axis.low for axis in axes[:-1]), between]
    high = [*(axis.high for axis in axes[:-2]), axes[-2].high + 1, 0]
    wide = _padded(x, low, high, [0] * len(axes))
    samples, channels = x.shape[:2]
    outer, inner, *steps = strides_of(wide.shape)
    each = channels // groups
    lead = (samples, channels) if groups == 1 else (samples, groups, each)
    apart = (outer, inner) if groups == 1 else (outer, each * inner, inner)
    shape = (*lead, *(axis.count(by) for axis, by in zip(axes, stride, strict=True)), *(axis.taps for axis in axes))
    places = [step * by for step, by in zip(steps, stride, strict=True)]
    taps = [step * axis.dilation for step, axis in zip(steps, axes, strict=True)]
    strides = (*apart, *places, *taps)
    return as_strided(wide, shape=shape, strides=strides, offset=between - last.low)  # type: ignore[no-any-return]


def _taken(x: Expr, axes: Sequence[_Axis], stride: Sequence[int]) -> Expr:
    """The elements that kernels of one tap look at, stored side by side.  Shapes: x padded -> [.., .., *places]."""
    size = [axis.count(by) for axis, by in zip(axes, stride, strict=True)]
    return _stored(_cut(x, [0] * len(axes), size, stride))


def _stored(x: Expr) -> Expr:
    """x in memory: an interleave stands there, also one of a single operand."""
    return interleave(  # type: ignore[no-any-return]
        x, starts=((0,) * x.ndim,), step=(1,) * x.ndim, shape=tuple(x.shape)
    )


# -- phases ------------------------------------------------------------------------------------------------------------
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


def fold_by_phases(
    x: Expr, axes: Sequence[int], size: Sequence[Size], stride: Sequence[int], dilation: Sequence[int],
    shape: Sequence[Size],
) -> Expr:  # fmt: skip
    """`adjit.ir.ops.windows.fold`; where windows overlap at a stride, the sums of each remainder by it on their own."""
    counts, extents = _numbers([x.shape[axis] for axis in axes]), _numbers([shape[axis] for axis in axes])
    taps = _numbers(size)
    overlap = any(by != 1 and reach != 1 for by, reach in zip(stride, size, strict=True))
    if counts is None or extents is None or taps is None or not overlap or prod(stride) > MOST_PHASES or 0 in x.shape:
        return fold(  # type: ignore[no-any-return]
            x, axes=tuple(axes), size=tuple(size), stride=tuple(stride), dilation=tuple(dilation), shape=tuple(shape)
        )
    # A fold is a convolution of all windows, spread by the stride, with the taps backwards.
    spread = [
        _Axis(count, tap, (tap - 1) * gap, extent - (count - 1) * by - 1, by, gap)
        for count, tap, extent, by, gap in zip(counts, taps, extents, stride, dilation, strict=True)
    ]
    parts, starts = [], []
    for chosen in choices(*(axis.phases() for axis in spread)):
        parts.append(_folded(x, axes, counts, taps, chosen))
        starts.append(_at(len(shape), axes, [phase.start for phase in chosen], 0))
    if not parts:
        return full(x, 0, tuple(shape), x.dtype)  # type: ignore[no-any-return]
    step = _at(len(shape), axes, stride, 1)
    return interleave(*parts, starts=tuple(starts), step=step, shape=tuple(shape))  # type: ignore[no-any-return]


def _folded(
    x: Expr, axes: Sequence[int], counts: Sequence[int], taps: Sequence[int], chosen: Sequence[_Phase]
) -> Expr:
    """One phase of a fold: part of the fold at stride 1 of the taps that it meets."""
    rank = x.ndim - len(taps)
    number = [phase.taps for phase in chosen]
    first = [tap - 1 - phase.first - (phase.taps - 1) * phase.between
             for tap, phase in zip(taps, chosen, strict=True)]  # fmt: skip
    met = window_of(
        x, (*(0,) * rank, *first), (*x.shape[:rank], *number), (*(1,) * rank, *(phase.between for phase in chosen))
    )
    gaps = [phase.dilation for phase in chosen]
    reach = [(phase.taps - 1) * phase.dilation for phase in chosen]
    sizes = [count + far for count, far in zip(counts, reach, strict=True)]
    shape = tuple(sizes[axes.index(axis)] if axis in axes else x.shape[axis] for axis in range(rank))
    sums = fold(met, axes=tuple(axes), size=tuple(number), stride=(1,) * len(axes), dilation=tuple(gaps), shape=shape)
    begin = [phase.offset + far for phase, far in zip(chosen, reach, strict=True)]
    low = [max(0, -place) for place in begin]
    high = [max(0, phase.stop - dim) for phase, dim in zip(chosen, sizes, strict=True)]
    if any((*low, *high)):
        sides = {"low": _at(rank, axes, low, 0), "high": _at(rank, axes, high, 0)}
        sums = pad(sums, **sides, interior=(0,) * rank, value=0)
    size = [phase.count for phase in chosen]
    dims = tuple(size[axes.index(axis)] if axis in axes else x.shape[axis] for axis in range(rank))
    return window_of(sums, _at(rank, axes, [max(0, place) for place in begin], 0), dims)  # type: ignore[no-any-return]


def _at(rank: int, axes: Sequence[int], values: Sequence[int], other: int) -> tuple[int, ...]:
    """The values at their axes, `other` at the rest."""
    return tuple(values[axes.index(axis)] if axis in axes else other for axis in range(rank))
