"""Linear maps and convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.composite import composite
from adjit.dispatch import apply
from adjit.ir.ops.contraction import conv
from adjit.ir.ops.structure import slice_
from adjit.nn.convolution_checks import check_channels, check_rank, check_transposed, check_types, check_windows
from adjit.tensor import Tensor


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias.

    Shapes: input [*, features], weight [out, features], bias [out] -> [*, out].
    """
    found: Tensor
    if input.ndim < 2 or weight.ndim != 2 or (bias is None and input.ndim > 2):
        found = input.matmul(weight.t())
        return found if bias is None else found + bias
    if input.ndim == 2:
        found = input.mm(weight.t()) if bias is None else bias.addmm(input, weight.t())
        return found
    assert bias is not None
    found = bias.addmm(input.flatten(0, -2), weight.t()).view(*input.shape[:-1], weight.shape[0])
    return found


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """out[..., o] = sum over i, j of input1[..., i]*weight[o, i, j]*input2[..., j], plus bias."""
    found: Tensor = trilinear(input1, input2, weight)
    return found if bias is None else found + bias


@composite("Trilinear")
def trilinear(input1: Tensor, input2: Tensor, weight: Tensor) -> Tensor:
    """Sum over i, j of input1[..., i]*weight[o, i, j]*input2[..., j]."""
    left = input1.reshape(-1, input1.shape[-1])
    right = input2.reshape(-1, input2.shape[-1])
    features, first, second = weight.shape
    mixed = left.matmul(weight.permute(1, 0, 2).reshape(first, features * second)).reshape(-1, features, second)
    found: Tensor = (mixed * right.unsqueeze(1)).sum(-1).reshape(*input1.shape[:-1], features)
    return found


def spread(value: Any, count: int) -> tuple[int, ...]:
    """One number for each spatial axis."""
    if isinstance(value, Sequence):
        return tuple(value) if len(value) == count else tuple(value) * count if len(value) == 1 else tuple(value)
    return (value,) * count


@composite("Convolution")
def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    input_dilation: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    """Cross-correlation of input with weight, plus bias by channel."""
    attributes: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "input_dilation": input_dilation,
        "kernel_dilation": dilation,
        "groups": groups,
    }
    found: Tensor = apply(conv, (input, weight), attributes)
    return found if bias is None else found + bias.reshape(-1, *(1,) * len(stride))


def _convolve(
    rank: int, input: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    batched = check_rank(f"conv{rank}d", rank, input)
    images = input if batched else input.unsqueeze(0)
    check_types(input, weight, bias)
    named = isinstance(padding, str)
    given = {"stride": stride, "padding": 0 if named else padding, "dilation": dilation}
    steps, sides, gaps = check_windows(images, weight, groups, given, same=padding == "same")
    pairs = tuple((side, side) for side in sides)
    if named:
        pairs = _named_padding(padding, weight.shape[2:], steps, gaps)
    check_channels(images, weight, bias, groups, pairs, gaps)
    found: Tensor = convolution(images, weight, bias, steps, pairs, (1,) * rank, gaps, groups)
    return found if batched else found.squeeze(0)


def _named_padding(
    padding: str, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    if padding == "valid":
        return ((0, 0),) * len(stride)
    if padding != "same":
        raise RuntimeError("Invalid padding string: '" + padding + "'")
    if any(step != 1 for step in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    totals = [gap * (extent - 1) for gap, extent in zip(dilation, kernel, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)


def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation over one axis.

    Shapes: input [N, C, L], weight [O, C/groups, k], bias [O]
    -> [N, O, (L + 2*padding - dilation*(k-1) - 1)//stride + 1].
    """
    return _convolve(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation over two axes.

    Shapes: input [N, C, H, W], weight [O, C/groups, kh, kw], bias [O] -> [N, O, H', W'].
    """
    return _convolve(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation over three axes.

    Shapes: input [N, C, D, H, W], weight [O, C/groups, kd, kh, kw], bias [O] -> [N, O, D', H', W'].
    """
    return _convolve(3, input, weight, bias, stride, padding, dilation, groups)


@composite("Convolution")
def transposed_convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    groups: int,
    dilation: tuple[int, ...],
) -> Tensor:
    """The transpose of a convolution: input spread by `stride`, correlated with the flipped kernel, plus bias."""
    rank = len(stride)
    channels, features, *kernel = weight.shape
    grouped = weight.reshape(groups, channels // groups, features, *kernel).transpose(1, 2)
    swapped = grouped.reshape(groups * features, channels // groups, *kernel)
    last = tuple(extent - 1 for extent in swapped.shape[2:])
    flipped = apply(
        slice_, (swapped,), {"start": (0, 0, *last), "size": swapped.shape, "step": (1, 1, *(-1,) * rank)}
    )
    reach = [gap * (extent - 1) for gap, extent in zip(dilation, kernel, strict=True)]
    low = [r - p for r, p in zip(reach, padding, strict=True)]
    high = [r - p + extra for r, p, extra in zip(reach, padding, output_padding, strict=True)]
    attributes: dict[str, Any] = {
        "stride": (1,) * rank,
        "padding": tuple((max(a, 0), max(b, 0)) for a, b in zip(low, high, strict=True)),
        "input_dilation": stride,
        "kernel_dilation": dilation,
        "groups": groups,
    }
    found: Tensor = apply(conv, (input, flipped), attributes)
    for axis, (a, b) in enumerate(zip(low, high, strict=True)):  # padding beyond the kernel's reach cuts the result
        if a < 0 or b < 0:
            start = max(-a, 0)
            found = found.narrow(axis + 2, start, found.shape[axis + 2] - start - max(-b, 0))
    return found if bias is None else found + bias.reshape(-1, *(1,) * rank)


def _convolve_transposed(
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    batched = check_rank(f"conv_transpose{rank}d", rank, input)
    images = input if batched else input.unsqueeze(0)
    check_types(input, weight, bias)
    given = {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": output_padding}
    steps, sides, gaps, extras = check_windows(images, weight, groups, given)
    check_transposed(images, weight, bias, groups, steps, sides, gaps, extras)
    lists = (steps, sides, extras)
    found: Tensor = transposed_convolution(images, weight, bias, *lists, groups, gaps)
    return found if batched else found.squeeze(0)


def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of `conv1d`.

    Shapes: input [N, C, L], weight [C, O/groups, k]
    -> [N, O, (L-1)*stride - 2*padding + dilation*(k-1) + output_padding + 1].
    """
    return _convolve_transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of `conv2d`."""
    return _convolve_transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of `conv3d`."""
    return _convolve_transposed(3, input, weight, bias, stride, padding, output_padding, groups, dilation)
