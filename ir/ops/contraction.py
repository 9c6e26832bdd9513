"""Sums of products: dot and convolution.  Each is linear in each operand; its transposes are ops of its own kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adjit.ir.index import Element, ElementFunction, Scalars
from adjit.ir.ops.arrays import (
    Array,
    Axes,
    moved,
    permute,
    reshape,
    shifted,
    window_of,
)
from adjit.ir.ops.checks import (
    dilated_extent,
    require,
    require_axes,
    require_extents,
    require_numbers,
    require_one_dtype,
    require_one_each,
    require_same_size,
    window_count,
)
from adjit.ir.ops.structure import inverse, pad
from adjit.ir.ops.windows import window
from adjit.ir.primitive import primitive
from adjit.ir.shape import Size
from adjit.ir.types import TensorType

AxisPair = tuple[Axes, Axes]
Padding = tuple[tuple[Size, Size], ...]


def multiply_rows(left: Any, right: Any) -> Any:
    """left @ right with floats accumulated in double precision and rounded once: what an oracle for float32 needs."""
    with np.errstate(all="ignore"):
        wide = {"f": np.float64, "c": np.complex128}.get(left.dtype.kind, left.dtype)
        return np.matmul(left.astype(wide), right.astype(wide)).astype(left.dtype)


# -- dot ---------------------------------------------------------------------------------------------------------------


def free_axes(ndim: int, contract: Axes, batch: Axes) -> Axes:
    """The axes that are neither contracted nor batched, in order."""
    return tuple(axis for axis in range(ndim) if axis not in contract and axis not in batch)


@primitive("contraction", exact=False)
def dot(x: Array, y: Array, *, contract: AxisPair, batch: AxisPair) -> Array:
    """out[b..., i..., j...] = sum over k of x[b, i, k] * y[b, j, k], with k at `contract` and b at `batch`.

    Shapes: x, y -> [batch dims, free dims of x, free dims of y], each in the order of its axes or of `batch`.
    """
    x, y = np.asarray(x), np.asarray(y)
    sides = []
    for side, operand in enumerate((x, y)):
        free = free_axes(operand.ndim, contract[side], batch[side])
        groups = (batch[side], free, contract[side])
        sizes = [int(np.prod([operand.shape[axis] for axis in group], dtype=np.int64)) for group in groups]
        rows = np.transpose(operand, [axis for group in groups for axis in group]).reshape(sizes)
        sides.append((rows, tuple(operand.shape[axis] for axis in free)))
    (left, free_left), (right, free_right) = sides
    shape = (*(x.shape[axis] for axis in batch[0]), *free_left, *free_right)
    return multiply_rows(left, np.swapaxes(right, 1, 2)).reshape(shape)


@dot.infers
def _(x: TensorType, y: TensorType, *, contract: AxisPair, batch: AxisPair) -> TensorType:
    require_one_dtype("dot", (x, y))
    require_numbers("dot", x, y)
    for name, pair in (("contract", contract), ("batch", batch)):
        require(len(pair) == 2 and len(pair[0]) == len(pair[1]), f"dot: {name} does not pair axes: {pair}")
        for left, right in zip(*pair, strict=True):
            require_axes("dot", (left,), x.ndim)
            require_axes("dot", (right,), y.ndim)
            what = f"axis {left} of {x} meets axis {right} of {y}"
            require_same_size("dot", x.dims[left], y.dims[right], what)
    for side, type in enumerate((x, y)):
        require_axes("dot", (*batch[side], *contract[side]), type.ndim)
    free = (*free_dims(x, contract[0], batch[0]), *free_dims(y, contract[1], batch[1]))
    return x.with_dims((*(x.dims[axis] for axis in batch[0]), *free))


def free_dims(type: TensorType, contract: Axes, batch: Axes) -> tuple[Size, ...]:
    """The dims at the free axes."""
    return tuple(type.dims[axis] for axis in free_axes(type.ndim, contract, batch))


@dot.transposes_each
def _(g: Array, x: Array, y: Array, *, contract: AxisPair, batch: AxisPair) -> tuple[Array, Array]:
    # g's axes are: batch, free axes of x, free axes of y.
    count = len(batch[0])
    rows = len(free_axes(x.ndim, contract[0], batch[0]))
    g_batch, g_rows, g_columns = tuple(range(count)), range(count, count + rows), range(count + rows, g.ndim)
    return (
        dot_cotangent(g, y, tuple(g_columns), g_batch, (contract[1], batch[1]), (contract[0], batch[0]), x.ndim),
        dot_cotangent(g, x, tuple(g_rows), g_batch, (contract[0], batch[0]), (contract[1], batch[1]), y.ndim),
    )


def dot_cotangent(
    g: Array, other: Array, other_free_in_g: Axes, batch_in_g: Axes, theirs: AxisPair, ours: AxisPair, ndim: int
) -> Array:
    """The cotangent of one operand of `ndim` axes: g contracted with `other` over the free axes of `other`.

    `theirs` and `ours` are the contracted and batched axes of `other` and of the operand.
    """
    other_free = free_axes(other.ndim, *theirs)
    found = dot(g, other, contract=(other_free_in_g, other_free), batch=(batch_in_g, theirs[1]))
    # The result's axes: batch, this operand's free axes, then the contracted ones in the order they have in `other`.
    contracted = [ours[0][theirs[0].index(axis)] for axis in sorted(theirs[0])]
    layout = (*ours[1], *free_axes(ndim, *ours), *contracted)
    return permute(found, inverse(layout))


@dot.batches
def _(batched: Sequence[bool], x: Array, y: Array, *, contract: AxisPair, batch: AxisPair) -> Array:
    left, right = batched
    contract = (shifted(contract[0]) if left else contract[0], shifted(contract[1]) if right else contract[1])
    batch = (shifted(batch[0]) if left else batch[0], shifted(batch[1]) if right else batch[1])
    if left and right:
        return dot(x, y, contract=contract, batch=((0, *batch[0]), (0, *batch[1])))
    # The extra axis is the first free one of the operand that has it.
    place = len(batch[0]) + (0 if left else len(free_axes(x.ndim, contract[0], batch[0])))
    return moved(dot(x, y, contract=contract, batch=batch), place, 0)


@dot.indexes
def _(
    k: Scalars, index: Sequence[Size], x: ElementFunction, y: ElementFunction, *, contract: AxisPair, batch: AxisPair
) -> Element:
    count = len(batch[0])
    rows = len(free_axes(x.type.ndim, contract[0], batch[0]))
    places = (index[count : count + rows], index[count + rows :])

    def term(*summed: Size) -> Element:
        factors = []
        for side, operand in enumerate((x, y)):
            axes = (*batch[side], *free_axes(operand.type.ndim, contract[side], batch[side]), *contract[side])
            at = dict(zip(axes, (*index[:count], *places[side], *summed), strict=True))
            factors.append(operand(*(at[axis] for axis in range(operand.type.ndim))))
        return factors[0] * factors[1]

    return k.reduce("sum", tuple(x.type.dims[axis] for axis in contract[0]), term) if contract[0] else term()


# -- conv --------------------------------------------------------------------------------------------------------------


@primitive("contraction", exact=False)
def conv(
    x: Array, w: Array, *, stride: Axes, padding: Padding, input_dilation: Axes, kernel_dilation: Axes, groups: int
) -> Array:
    """out[n, o, p...] = sum over c, t of x~[n, c, p*stride + t*kernel_dilation] * w[o, c, t...].

    x~ is x with input_dilation - 1 zeros between neighbours and `padding` zeros around; c runs over the channels of o's
    group.  Shapes: x [N, C, *s], w [O, C/groups, *k] -> [N, O, *out].
    """
    x, w = np.asarray(x), np.asarray(w)
    spatial = tuple(range(2, x.ndim))
    wide = pad.reference(
        x,
        low=(0, 0, *(low for low, _ in padding)),
        high=(0, 0, *(high for _, high in padding)),
        interior=(0, 0, *(gap - 1 for gap in input_dilation)),
        value=0,
    )
    taps = window.reference(wide, axes=spatial, size=w.shape[2:], stride=stride, dilation=kernel_dilation)
    samples, channels = x.shape[:2]
    out, kernel = taps.shape[2 : x.ndim], w.shape[2:]
    each, features = channels // groups, w.shape[0] // groups
    count, depth = samples * int(np.prod(out, dtype=np.int64)), each * int(np.prod(kernel, dtype=np.int64))
    # Axes of the split windows: sample, group, channel, place..., tap...
    split = taps.reshape(samples, groups, each, *out, *kernel)
    places = range(3, 3 + len(out))
    rows = split.transpose(1, 0, *places, 2, *range(3 + len(out), split.ndim)).reshape(groups, count, depth)
    columns = w.reshape(groups, features, depth).swapaxes(1, 2)
    found = multiply_rows(rows, columns).reshape(groups, samples, *out, features)
    return np.moveaxis(np.moveaxis(found, 0, 1), -1, 2).reshape(samples, w.shape[0], *out)


@conv.infers
def _(
    x: TensorType, w: TensorType, *, stride: Axes, padding: Padding, input_dilation: Axes, kernel_dilation: Axes,
    groups: Size,
) -> TensorType:  # fmt: skip
    require_one_dtype("conv", (x, w))
    require_numbers("conv", x, w)
    require(x.ndim >= 2 and x.ndim == w.ndim, f"conv: ranks of {x} and {w} do not fit [N, C, *s] and [O, C, *k]")
    lists = {"stride": stride, "input_dilation": input_dilation, "kernel_dilation": kernel_dilation}
    require_one_each("conv", x.ndim - 2, padding=padding, **lists)
    for name, sizes in (*lists.items(), ("groups", (groups,)), ("kernel extent", w.dims[2:])):
        require_extents("conv", name, sizes, least=1)
    require_extents("conv", "padding", [side for pair in padding for side in pair])
    require_same_size("conv", x.dims[1], w.dims[1] * groups, f"channels of {x} and of {w} in {groups} groups")
    require(w.dims[0] % groups == 0, f"conv: {w.dims[0]} output channels in {groups} groups")
    out = []
    for extent, size, step, (low, high), gap, kernel_gap in zip(
        x.dims[2:], w.dims[2:], stride, padding, input_dilation, kernel_dilation, strict=True
    ):
        out.append(window_count("conv", low + dilated_extent(extent, gap) + high, size, step, kernel_gap))
    return x.with_dims((x.dims[0], w.dims[0], *out))


@conv.transposes_each
def _(
    g: Array, x: Array, w: Array, *, stride: Axes, padding: Padding, input_dilation: Axes, kernel_dilation: Axes,
    groups: Size,
) -> tuple[Array, Array]:  # fmt: skip
    geometry = (stride, padding, input_dilation, kernel_dilation)
    return input_cotangent(g, x, w, *geometry, groups), kernel_cotangent(g, x, w, *geometry, groups)


def input_cotangent(
    g: Array, x: Array, w: Array, stride: Axes, padding: Padding, input_dilation: Axes, kernel_dilation: Axes,
    groups: Size,
) -> Array:  # fmt: skip
    """The cotangent of x: g, spread by the stride, convolved with w reversed and its channels exchanged.

    x[i] meets g[p] at tap t where low + i*input_dilation = p*stride + t*kernel_dilation, so the windows over the spread
    g are `input_dilation` apart and the first starts low - (taps - 1)*kernel_dilation elements before it.
    """
    before: list[tuple[Size, Size]] = []
    after: list[tuple[Size, Size]] = []
    for extent, count, taps, step, (low, high), gap, kernel_gap in zip(
        x.shape[2:], g.shape[2:], w.shape[2:], stride, padding, input_dilation, kernel_dilation, strict=True
    ):
        reach = (taps - 1) * kernel_gap
        rest = (extent - 1) * gap + low - (count - 1) * step
        before.append(padding_and_crop(reach - low, reach, low))
        # rest = reach - high + what the stride left over, and that is not negative.
        positive = not isinstance(rest, int) and known(reach - high, above=-1)
        after.append((rest, 0) if positive else padding_and_crop(rest, rest + high, high))
    wide, low_high = padded(g, before, after, stride)
    return conv(
        wide,
        exchanged(w, groups),
        stride=input_dilation,
        padding=low_high,
        input_dilation=stride if wide is g else (1,) * len(stride),
        kernel_dilation=kernel_dilation,
        groups=groups,
    )


def known(size: Size, *, above: int | None = None, below: int | None = None) -> bool:
    """Whether a size is a number, and one in the open range; a size with names in it is not known."""
    return isinstance(size, int) and (above is None or size > above) and (below is None or size < below)


def padding_and_crop(difference: Size, most: Size, least: Size) -> tuple[Size, Size]:
    """Padding and then cropping that add `difference` = most - least elements; both are at least 0.

    A difference whose sign is not known takes both: `most` and `least` are at least 0.
    """
    return (max(difference, 0), max(-difference, 0)) if isinstance(difference, int) else (most, least)


def padded(
    g: Array, before: Sequence[tuple[Size, Size]], after: Sequence[tuple[Size, Size]], stride: Axes
) -> tuple[Array, tuple[tuple[Size, Size], ...]]:
    """g and the padding that conv is to give it; a g that must be cropped comes spread, padded and cropped already."""
    if all(crop == 0 for _, crop in (*before, *after)):
        return g, tuple((low, high) for (low, _), (high, _) in zip(before, after, strict=True))
    wide = pad(
        g,
        low=(0, 0, *(low for low, _ in before)),
        high=(0, 0, *(high for high, _ in after)),
        interior=(0, 0, *(step - 1 for step in stride)),
        value=0,
    )
    crops = [(low, high) for (_, low), (_, high) in zip(before, after, strict=True)]
    size = [dim - low - high for dim, (low, high) in zip(wide.shape[2:], crops, strict=True)]
    return window_of(wide, (0, 0, *(low for low, _ in crops)), (*wide.shape[:2], *size)), ((0, 0),) * len(stride)


def exchanged(w: Array, groups: Size) -> Array:
    """The kernel [C, O/groups, *k] that reads w's taps backwards and goes from outputs to inputs."""
    features, each, *taps = w.shape
    spatial = range(2, w.ndim)
    flipped = w
    if any(tap != 1 for tap in taps):
        start = (0, 0, *(tap - 1 for tap in taps))
        flipped = window_of(w, start, w.shape, (1, 1, *(-1 for _ in taps)))
    if groups == 1:
        return permute(flipped, (1, 0, *spatial))
    split = reshape(flipped, (groups, features // groups, each, *taps))
    swapped = permute(split, (0, 2, 1, *(axis + 1 for axis in spatial)))
    return reshape(swapped, (groups * each, features // groups, *taps))


def kernel_cotangent(
    g: Array, x: Array, w: Array, stride: Axes, padding: Padding, input_dilation: Axes, kernel_dilation: Axes,
    groups: Size,
) -> Array:  # fmt: skip
    """The cotangent of w: x convolved with g, samples taken for channels, stride and kernel dilation exchanged."""
    is_spread = any(gap != 1 for gap in input_dilation) and 0 not in x.shape[2:]
    if is_spread and all(step == 1 for step in stride):
        return spread_kernel_cotangent(g, x, w, padding, input_dilation, kernel_dilation, groups)
    samples, channels, *extents = x.shape
    each, *taps = w.shape[1:]
    spatial = tuple(range(2, x.ndim))
    sides: list[tuple[Size, Size]] = []
    cuts: list[Size] = list(extents)
    for place, (extent, count, tap, step, (low, high), gap, kernel_gap) in enumerate(
        zip(extents, g.shape[2:], taps, stride, padding, input_dilation, kernel_dilation, strict=True)
    ):
        # The elements at the end that the stride left over are not read: they come off the padding, or off x.
        side = high - (low + dilated_extent(extent, gap) + high - (tap - 1) * kernel_gap - 1 - (count - 1) * step)
        kept = extent + side
        remains = known(kept, above=0) or known((tap - 1) * kernel_gap - low, above=-1)
        if known(side, below=0) and gap == 1 and remains:
            cuts[place], side = kept, 0
        sides.append((low, side if known(side, above=-1) else high))
    if cuts != extents:
        x = window_of(x, (0,) * x.ndim, (samples, channels, *cuts))
    if groups == 1:
        rows = permute(x, (1, 0, *spatial))
    else:
        split = reshape(x, (samples, groups, each, *cuts))
        rows = reshape(permute(split, (2, 1, 0, *shifted(spatial))), (each, groups * samples, *cuts))
    found = conv(
        rows,
        permute(g, (1, 0, *spatial)),
        stride=kernel_dilation,
        padding=tuple(sides),
        input_dilation=input_dilation,
        kernel_dilation=stride,
        groups=groups,
    )
    # Where the padding could not be cut there are more taps than w has.
    if tuple(found.shape[2:]) != tuple(taps):
        found = window_of(found, (0,) * found.ndim, (*found.shape[:2], *taps))
    return permute(found, (1, 0, *spatial))


def spread_kernel_cotangent(
    g: Array, x: Array, w: Array, padding: Padding, input_dilation: Axes, kernel_dilation: Axes, groups: Size
) -> Array:
    """The cotangent of w where x is spread and the stride is 1: g convolved with x, and the taps reversed.

    x[i] meets g[p] at tap t where p = (taps - 1 - t)*kernel_dilation + i*input_dilation - before, with
    before = (taps - 1)*kernel_dilation - low: no zeros need to stand between the elements of x.
    """
    features, each, *taps = w.shape
    samples = x.shape[0]
    before: list[tuple[Size, Size]] = []
    after: list[tuple[Size, Size]] = []
    for extent, count, tap, (low, _), gap, kernel_gap in zip(
        x.shape[2:], g.shape[2:], taps, padding, input_dilation, kernel_dilation, strict=True
    ):
        reach = (tap - 1) * kernel_gap
        before.append(padding_and_crop(reach - low, reach, low))
        rest = dilated_extent(extent, gap) + low - count
        after.append(padding_and_crop(rest, dilated_extent(extent, gap) + low, count))
    spatial = range(2, x.ndim)
    each_out = features // groups
    rows = permute(g, (1, 0, *spatial))
    if groups != 1:
        split = reshape(g, (samples, groups, each_out, *g.shape[2:]))
        rows = reshape(permute(split, (2, 1, 0, *shifted(spatial))), (each_out, groups * samples, *g.shape[2:]))
    wide, low_high = padded(rows, before, after, (1,) * len(taps))
    found = conv(
        wide,
        permute(x, (1, 0, *spatial)),
        stride=kernel_dilation,
        padding=low_high,
        input_dilation=(1,) * len(taps),
        kernel_dilation=input_dilation,
        groups=groups,
    )
    if any(tap != 1 for tap in taps):
        start = (0, 0, *(tap - 1 for tap in taps))
        found = window_of(found, start, found.shape, (1, 1, *(-1 for _ in taps)))
    if groups == 1:
        return found
    split = permute(reshape(found, (each_out, groups, each, *taps)), (1, 0, 2, *shifted(spatial)))
    return reshape(split, (features, each, *taps))


@conv.batches
def _(
    batched: Sequence[bool], x: Array, w: Array, *, stride: Axes, padding: Padding, input_dilation: Axes,
    kernel_dilation: Axes, groups: Size,
) -> Array:  # fmt: skip
    geometry = {
        "stride": stride, "padding": padding, "input_dilation": input_dilation, "kernel_dilation": kernel_dilation
    }  # fmt: skip
    if not batched[1]:
        # The batch joins the samples.
        extent, samples, *rest = x.shape
        found = conv(reshape(x, (extent * samples, *rest)), w, **geometry, groups=groups)
        return reshape(found, (extent, samples, *found.shape[1:]))
    # The batch joins the channels: as groups of its own where x has it too, else within each group.
    extent, features, *rest = w.shape
    if batched[0]:
        rows = moved(x, 0, 1)
        samples, _, channels, *extents = rows.shape
        rows = reshape(rows, (samples, extent * channels, *extents))
        found = conv(rows, reshape(w, (extent * features, *rest)), **geometry, groups=extent * groups)
        return moved(reshape(found, (samples, extent, features, *found.shape[2:])), 1, 0)
    each = features // groups
    split = moved(reshape(w, (extent, groups, each, *rest)), 0, 1)
    found = conv(x, reshape(split, (groups * extent * each, *rest)), **geometry, groups=groups)
    samples, _, *out = found.shape
    found = moved(reshape(found, (samples, groups, extent, each, *out)), 2, 0)
    return reshape(found, (extent, samples, features, *out))


@conv.indexes
def _(
    k: Scalars, index: Sequence[Size], x: ElementFunction, w: ElementFunction, *, stride: Axes, padding: Padding,
    input_dilation: Axes, kernel_dilation: Axes, groups: Size,
) -> Element:  # fmt: skip
    sample, feature, *places = index
    features, each, *taps = w.type.dims
    first: Size = 0 if groups == 1 else feature // (features // groups) * each

    def term(channel: Size, *tap: Size) -> Element:
        inner: list[Size] = []
        conditions: list[tuple[Size, Size]] = []
        for place, at, step, (low, high), gap, kernel_gap, extent in zip(
            places, tap, stride, padding, input_dilation, kernel_dilation, x.type.dims[2:], strict=True
        ):
            position = place * step + at * kernel_gap - low
            if gap != 1:
                conditions.append((position % gap, 1))
                position = position // gap
            if low != 0 or high != 0:
                conditions.append((position, extent))
            inner.append(position)

        def factors() -> Element:
            return x(sample, first + channel, *inner) * w(feature, channel, *tap)

        if not conditions:
            return factors()
        return k.select(k.inside(conditions), factors, lambda: k.constant(0, x.type.dtype))

    return k.reduce("sum", (each, *taps), term)
