"""Blocks: channels moved into space and back, windows of an image as columns and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjit.composite import composite
from adjit.dispatch import apply
from adjit.ir.ops.windows import fold as fold_op
from adjit.ir.ops.windows import window
from adjit.nn.functional_padding import constant_pad
from adjit.tensor import Tensor


def _check_rank(name: str, input: Tensor) -> None:
    if input.ndim < 3:
        raise RuntimeError(
            f"{name} expects input to have at least 3 dimensions, but got input with {input.ndim} dimension(s)"
        )


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """[*, C*r*r, H, W] -> [*, C, H*r, W*r]."""
    _check_rank("pixel_shuffle", input)
    if upscale_factor <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {upscale_factor}")
    if input.shape[-3] % (upscale_factor * upscale_factor) != 0:
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={input.shape[-3]} is not divisible by {upscale_factor * upscale_factor}"
        )
    found: Tensor = shuffled(input, upscale_factor)
    return found


@composite("PixelShuffle")
def shuffled(input: Tensor, factor: int) -> Tensor:
    """Channels moved into space."""
    *lead, channels, height, width = input.shape
    out = channels // (factor * factor)
    cells = input.reshape(math.prod(lead), out, factor, factor, height, width).permute(0, 1, 4, 2, 5, 3)
    found: Tensor = cells.reshape(*lead, out, height * factor, width * factor)
    return found


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """[*, C, H*r, W*r] -> [*, C*r*r, H, W]."""
    _check_rank("pixel_unshuffle", input)
    if downscale_factor <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {downscale_factor}")
    for axis, name in ((-2, "height"), (-1, "width")):
        if input.shape[axis] % downscale_factor != 0:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but input.size({axis})="
                f"{input.shape[axis]} is not divisible by {downscale_factor}"
            )
    found: Tensor = unshuffled(input, downscale_factor)
    return found


@composite("PixelUnshuffle")
def unshuffled(input: Tensor, factor: int) -> Tensor:
    """Space moved into channels."""
    *lead, channels, height, width = input.shape
    cells = input.reshape(math.prod(lead), channels, height // factor, factor, width // factor, factor)
    sizes = (channels * factor * factor, height // factor, width // factor)
    found: Tensor = cells.permute(0, 1, 3, 5, 2, 4).reshape(*lead, *sizes)
    return found


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels [groups, rest] as [rest, groups]."""
    if input.ndim < 3:
        raise RuntimeError(
            "channel_shuffle expects input with > 2 dims, but got input with sizes " + str(list(input.shape))
        )
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    if input.shape[1] % groups != 0:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {input.shape[1]} channels and {groups} groups."
        )
    found: Tensor = interleaved(input, groups)
    return found


native_channel_shuffle = channel_shuffle


@composite("NativeChannelShuffle")
def interleaved(input: Tensor, groups: int) -> Tensor:
    """Channels [groups, rest] as [rest, groups]."""
    samples, channels, *rest = input.shape
    cells = input.reshape(samples, groups, channels // groups, *rest)
    found: Tensor = cells.transpose(1, 2).reshape(input.shape)
    return found


def _sliding(values: Sequence[int] | int, name: str) -> tuple[int, int]:
    if isinstance(values, Sequence) and len(values) != 2:
        if len(values) != 1:
            raise RuntimeError(f"It is expected {name} equals to 2, but got size {len(values)}")
        values = values[0]
    first, second = values if isinstance(values, Sequence) else (values, values)
    return first, second


def _check_windows(size: Any, dilation: Any, padding: Any, stride: Any) -> None:
    for title, values in (("kernel size", size), ("dilation", dilation), ("stride", stride)):
        if min(values) <= 0:
            name = title.split(" ")[0]
            raise RuntimeError(
                f"{title} should be greater than zero, but got {name}_height: {values[0]} {name}_width: {values[1]}"
            )
    if min(padding) < 0:
        raise RuntimeError(
            f"padding should be non-negative, but got pad_height: {padding[0]} pad_width: {padding[1]}"
        )


def unfold(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The windows of an image as columns: [N, C, H, W] -> [N, C*kh*kw, windows]."""
    if input.ndim not in (3, 4) or any(extent == 0 for extent in input.shape[input.ndim - 3 :]):
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, "
            f"but got: {list(input.shape)}"
        )
    batched = input.ndim == 4
    images = input if batched else input.unsqueeze(0)
    names = ("kernel_size", "dilation", "padding", "stride")
    given = (kernel_size, dilation, padding, stride)
    size, gap, side, step = lists = [_sliding(values, name) for values, name in zip(given, names, strict=True)]
    _check_windows(*lists)
    extents = tuple(images.shape[2:])
    counts = [
        (n + 2 * p - g * (k - 1) - 1) // s + 1
        for n, k, g, p, s in zip(extents, size, gap, side, step, strict=True)
    ]
    if any(count < 1 for count in counts):
        raise RuntimeError(
            f"Given input with spatial size {extents}, kernel_size={size}, dilation={gap}, padding={side}, calculated "
            f"shape of the array of sliding blocks as {tuple(counts)}, but its components must be at least one."
        )
    found: Tensor = columns(images, *lists)
    return found if batched else found.squeeze(0)


@composite("Im2Col")
def columns(
    input: Tensor, size: tuple[int, int], dilation: tuple[int, int], padding: tuple[int, int], stride: tuple[int, int]
) -> Tensor:
    """The windows of an image as columns."""
    padded = constant_pad(input, ((padding[1], padding[1]), (padding[0], padding[0])), 0)
    cells = apply(window, (padded,), {"axes": (2, 3), "size": size, "stride": stride, "dilation": dilation})
    count = cells.shape[2] * cells.shape[3]
    flat: Tensor = cells.permute(0, 1, 4, 5, 2, 3).reshape(input.shape[0], input.shape[1] * math.prod(size), count)
    return flat


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The transpose of `unfold`: columns summed into an image, [N, C*kh*kw, windows] -> [N, C, H, W]."""
    if input.ndim not in (2, 3) or any(extent == 0 for extent in input.shape[input.ndim - 2 :]):
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for "
            f"input, but got: {list(input.shape)}"
        )
    batched = input.ndim == 3
    given = input if batched else input.unsqueeze(0)
    names = ("output_size", "kernel_size", "dilation", "padding", "stride")
    values = (output_size, kernel_size, dilation, padding, stride)
    lists = [_sliding(value, name) for value, name in zip(values, names, strict=True)]
    _check_windows(*lists[1:])
    if given.shape[1] % math.prod(lists[1]) != 0:
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={given.shape[1]} and kernel_size={lists[1]}."
        )
    counts = [(n + 2 * p - g * (k - 1) - 1) // s + 1 for n, k, g, p, s in zip(*lists, strict=True)]
    if given.shape[2] != counts[0] * counts[1]:
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
