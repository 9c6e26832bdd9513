"""Padding, and resampling to another size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.composite import composite
from adjit.dispatch import apply
from adjit.dtypes import float32, float64
from adjit.ir.ops.indexing import gather
from adjit.ir.ops.source import iota
from adjit.ir.ops.structure import pad as pad_op
from adjit.ir.types import I64
from adjit.tensor import Tensor


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Extend the last axes: `pad` has (low, high) for the last one, then for the one before, and so on.

    `mode`: constant (negative numbers cut), reflect, replicate, or circular.
    """
    if len(pad) % 2 != 0:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pad) // 2 > input.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(pad)} and input of dimension {input.ndim}"
        )
    sides = tuple((pad[2 * i], pad[2 * i + 1]) for i in range(len(pad) // 2))
    found: Tensor
    if mode == "constant":
        found = constant_pad(input, sides, 0 if value is None else value)
        return found
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value:
        raise AssertionError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if not len(sides) <= input.ndim - 1 <= len(sides) + 1 or len(sides) > 3:
        raise NotImplementedError(
            f"Padding size {len(pad)} is not supported for {input.ndim}D input tensor.\n"
            "Supported combinations for non-constant padding:\n"
            "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
            "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )
    for number, (low, high) in enumerate(sides):
        extent = input.shape[-1 - number]
        if mode == "reflect" and (low >= extent or high >= extent):
            raise RuntimeError(
                "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
                f"({low}, {high}) at dimension {input.ndim - 1 - number} of input {list(input.shape)}"
            )
        if mode == "circular" and (low > extent or high > extent):
            raise RuntimeError("Padding value causes wrapping around more than once.")
    name = {"reflect": reflection_pad, "replicate": replication_pad, "circular": circular_pad}[mode]
    found = name(input, sides)
    return found


@composite("ConstantPadNd")
def constant_pad(input: Tensor, sides: tuple[tuple[int, int], ...], value: float) -> Tensor:
    """`value` around the last axes; negative sides cut."""
    low, high = [0] * input.ndim, [0] * input.ndim
    for number, (before, after) in enumerate(sides):
        axis = input.ndim - 1 - number
        cut = (max(-before, 0), max(-after, 0))
        if cut != (0, 0):
            input = input.narrow(axis, cut[0], input.shape[axis] - cut[0] - cut[1])
        low[axis], high[axis] = max(before, 0), max(after, 0)
    attributes: dict[str, Any] = {
        "low": tuple(low), "high": tuple(high), "interior": (0,) * input.ndim, "value": value
    }  # fmt: skip
    found: Tensor = apply(pad_op, (input,), attributes)
    return found


def _counted(extent: int, start: int) -> Tensor:
    """start, start + 1, ... of `extent` places."""
    found: Tensor = apply(iota, (), {"shape": (extent,), "axis": 0, "dtype": I64}) + start
    return found


def take(input: Tensor, axis: int, index: Tensor) -> Tensor:
    """The entries of `axis` at `index`, a vector."""
    found: Tensor = apply(gather, (input, index), {"axes": (axis,)}).movedim(0, axis)
    return found


@composite("ReflectionPad2D")
def reflection_pad(input: Tensor, sides: tuple[tuple[int, int], ...]) -> Tensor:
    """The input mirrored at its first and last entries."""
    for number, (low, high) in enumerate(sides):
        axis = input.ndim - 1 - number
        extent = input.shape[axis]
        place = _counted(extent + low + high, -low).abs()
        input = take(input, axis, (extent - 1) - ((extent - 1) - place).abs())
    return input


@composite("ReplicationPad2D")
def replication_pad(input: Tensor, sides: tuple[tuple[int, int], ...]) -> Tensor:
    """The input with its first and last entries repeated."""
    for number, (low, high) in enumerate(sides):
        axis = input.ndim - 1 - number
        extent = input.shape[axis]
        input = take(input, axis, _counted(extent + low + high, -low).clamp(0, extent - 1))
    return input


@composite("CircularPad")
def circular_pad(input: Tensor, sides: tuple[tuple[int, int], ...]) -> Tensor:
    """The input repeated periodically."""
    for number, (low, high) in enumerate(sides):
        axis = input.ndim - 1 - number
        extent = input.shape[axis]
        input = take(input, axis, _counted(extent + low + high, -low) % extent)
    return input


# -- resampling --------------------------------------------------------------------------------------------------------
_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}


def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """Resample the axes after the first two to `size`, or by `scale_factor`.

    `mode`: nearest, nearest-exact, linear (3-D input), bilinear (4-D), trilinear (5-D), or area.
    """
    rank = input.ndim - 2
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | "
                "trilinear"
            )
    elif mode not in _LINEAR:
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported (got "
            f"{input.ndim}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact "
            f"(got {mode})"
        )
    elif _LINEAR[mode] != rank:
        raise NotImplementedError(f"Got {input.ndim}D input, but {mode} mode needs {_LINEAR[mode] + 2}D input")
    if antialias:
        raise NotImplementedError("antialias is not available")
    if (size is None) == (scale_factor is None):
        raise ValueError(
            "either size or scale_factor should be defined"
            if size is None
            else "only one of size or scale_factor should be defined"
        )
    scales: tuple[float | None, ...] = (None,) * rank
    if size is not None:
        sizes = tuple(size) if isinstance(size, Sequence) else (size,) * rank
    else:
        factors = tuple(scale_factor) if isinstance(scale_factor, Sequence) else (scale_factor,) * rank
        sizes = tuple(int(float(n) * float(f)) for n, f in zip(input.shape[2:], factors, strict=True))
        if not recompute_scale_factor:
            scales = tuple(float(f) for f in factors)
    if mode == "area":
        from adjit.nn.functional_pooling import adaptive_mean

        pooled: Tensor = adaptive_mean(input, sizes)
        return pooled
    found: Tensor
    if mode in _LINEAR:
        found = resample_linear(input, sizes, scales, bool(align_corners))
    else:
        found = resample_nearest(input, sizes, scales, mode == "nearest-exact")
    return found


@composite("UpsampleNearest2D")
def resample_nearest(
    input: Tensor, sizes: tuple[int, ...], scales: tuple[float | None, ...], exact: bool
) -> Tensor:
    """The entry at floor(i*old/new), or the one nearest to the middle of each new cell when `exact`."""
    for number, (count, scale) in enumerate(zip(sizes, scales, strict=True)):
        axis = number + 2
        extent = input.shape[axis]
        step = extent / count if scale is None else 1 / scale
        place = _floating(_counted(count, 0), input)
        index = ((place + 0.5 if exact else place) * step).floor().long().clamp(0, extent - 1)
        input = take(input, axis, index)
    return input


def _floating(index: Tensor, like: Tensor) -> Tensor:
    """Positions in float32, or in float64 beside float64 data: what the rounding of positions depends on."""
    found: Tensor = index.to(float64 if like._dtype.name == "f64" else float32)
    return found


@composite("UpsampleBilinear2D")
def resample_linear(
    input: Tensor, sizes: tuple[int, ...], scales: tuple[float | None, ...], align_corners: bool
) -> Tensor:
    """Linear interpolation along each axis, between the entries beside each new position."""
    for number, (count, scale) in enumerate(zip(sizes, scales, strict=True)):
        axis = number + 2
        extent = input.shape[axis]
        place = _floating(_counted(count, 0), input)
        if align_corners:
            place = place * ((extent - 1) / (count - 1) if count > 1 else 0.0)
        else:
            step = extent / count if scale is None else 1 / scale
            place = ((place + 0.5) * step - 0.5).clamp(min=0)
        low = place.floor().long().clamp(0, extent - 1)
        weight = (place - low).clamp(0, 1).to(input.dtype).reshape(-1, *(1,) * (input.ndim - 1 - axis))
        high = (low + 1).clamp(max=extent - 1)
        input = take(input, axis, low) * (1 - weight) + take(input, axis, high) * weight
    return input


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    """The former name of `interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """[*, C*r*r, H, W] -> [*, C, H*r, W*r]."""
    found: Tensor = shuffled(input, upscale_factor)
    return found


@composite("PixelShuffle")
def shuffled(input: Tensor, factor: int) -> Tensor:
    """Channels moved into space."""
    *lead, channels, height, width = input.shape
    out = channels // (factor * factor)
    cells = input.reshape(-1, out, factor, factor, height, width).permute(0, 1, 4, 2, 5, 3)
    found: Tensor = cells.reshape(*lead, out, height * factor, width * factor)
    return found


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """[*, C, H*r, W*r] -> [*, C*r*r, H, W]."""
    found: Tensor = unshuffled(input, downscale_factor)
    return found


@composite("PixelUnshuffle")
def unshuffled(input: Tensor, factor: int) -> Tensor:
    """Space moved into channels."""
    *lead, channels, height, width = input.shape
    cells = input.reshape(-1, channels, height // factor, factor, width // factor, factor).permute(0, 1, 3, 5, 2, 4)
    found: Tensor = cells.reshape(*lead, channels * factor * factor, height // factor, width // factor)
    return found


def _sliding(values: Sequence[int] | int) -> tuple[int, int]:
    first, second = (values, values) if isinstance(values, int) else values
    return first, second


def unfold(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The windows of an image as columns: [N, C, H, W] -> [N, C*kh*kw, windows]."""
    batched = input.ndim == 4
    images = input if batched else input.unsqueeze(0)
    found: Tensor = columns(images, *map(_sliding, (kernel_size, dilation, padding, stride)))
    return found if batched else found.squeeze(0)


@composite("Im2Col")
def columns(
    input: Tensor, size: tuple[int, int], dilation: tuple[int, int], padding: tuple[int, int], stride: tuple[int, int]
) -> Tensor:
    """The windows of an image as columns."""
    from adjit.ir.ops.windows import window

    padded = constant_pad(input, ((padding[1], padding[1]), (padding[0], padding[0])), 0)
    cells = apply(window, (padded,), {"axes": (2, 3), "size": size, "stride": stride, "dilation": dilation})
    count = cells.shape[2] * cells.shape[3]
    flat: Tensor = cells.permute(0, 1, 4, 5, 2, 3).reshape(input.shape[0], -1, count)
    return flat


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The transpose of `unfold`: columns summed into an image, [N, C*kh*kw, windows] -> [N, C, H, W]."""
    batched = input.ndim == 3
    given = input if batched else input.unsqueeze(0)
    lists = [_sliding(values) for values in (output_size, kernel_size, dilation, padding, stride)]
    counts = [(n + 2 * p - g * (k - 1) - 1) // s + 1 for n, k, g, p, s in zip(*lists, strict=True)]
    if given.shape[2] != counts[0] * counts[1]:
        names = ("output_size", "kernel_size", "dilation", "padding", "stride")
        listed = ", ".join(f"{name}={values}" for name, values in zip(names, lists, strict=True))
        raise RuntimeError(
            f"Given {listed}, expected size of input's dimension 2 to match the calculated number of sliding blocks "
            f"{counts[0]} * {counts[1]} = {counts[0] * counts[1]}, but got input.size(2)={given.shape[2]}."
        )
    found: Tensor = image_of(given, *lists)
    return found if batched else found.squeeze(0)


@composite("Col2Im")
def image_of(
    input: Tensor, output: tuple[int, int], size: tuple[int, int], dilation: tuple[int, int], padding: tuple[int, int],
    stride: tuple[int, int],
) -> Tensor:  # fmt: skip
    """Columns summed into an image."""
    from adjit.ir.ops.windows import fold as fold_op

    samples, rows = input.shape[0], input.shape[1]
    channels = rows // (size[0] * size[1])
    extents = tuple(n + 2 * p for n, p in zip(output, padding, strict=True))
    counts = tuple(
        (n - g * (k - 1) - 1) // s + 1 for n, k, g, s in zip(extents, size, dilation, stride, strict=True)
    )
    cells = input.reshape(samples, channels, *size, *counts).permute(0, 1, 4, 5, 2, 3)
    attributes: dict[str, Any] = {
        "axes": (2, 3), "size": size, "stride": stride, "dilation": dilation, "shape": (samples, channels, *extents)
    }  # fmt: skip
    summed: Tensor = apply(fold_op, (cells,), attributes)
    found: Tensor = summed.narrow(2, padding[0], output[0]).narrow(3, padding[1], output[1])
    return found
