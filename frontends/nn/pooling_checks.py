"""What pooling asks of its input and its windows: PyTorch's checks and texts, RuntimeError each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.tensor import Tensor

_AXES = {1: ("H", "W"), 2: ("H", "W"), 3: ("T", "H", "W")}


def check_input(rank: int, input: Tensor) -> None:
    """Max pooling takes planes of `rank` dims with channels, and maybe a batch, which alone may be empty."""
    shape = list(input.shape)
    fits = len(shape) in (rank + 1, rank + 2)
    inner = shape[-rank - 1 :]
    if fits and not any(extent == 0 for extent in inner):
        return
    if rank == 3 and fits:
        raise RuntimeError(  # PyTorch's text names dimension 0, whichever is empty
            "max_pool3d_with_indices_out_cpu_template(): Expected input's non-batch dimensions to have positive length,"
            f" but input has a shape of {shape} and non-batch dimension 0 has length zero!"
        )
    if rank == 1 or fits:
        start, ranks = ("max_pool1d: ", "2D or 3D") if rank == 1 else ("", "3D or 4D")
        raise RuntimeError(
            f"{start}Expected {ranks} (batch mode) tensor with optional 0 dim batch size for input, but got:{shape}"
        )
    raise RuntimeError(f"non-empty {rank + 1}D or {rank + 2}D (batch mode) tensor expected for input")


def check_line(size: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]) -> None:
    """The numbers of max_pool1d's window."""
    for what, values in (
        ("kernel_size must be an int, list of ints or tuple of ints", size),
        ("stride must be None, an int, list of ints, or tuple of ints", stride),
        ("padding must be an int, list of ints, or tuple of ints", padding),
        ("dilation must be an int, list of ints or tuple of ints", dilation),
    ):
        if len(values) != 1:
            raise RuntimeError(f"max_pool1d() {what} of size 1 but got size {len(values)}")
    for name, value in (("kernel_size", size[0]), ("stride", stride[0]), ("dilation", dilation[0])):
        if value <= 0:
            raise RuntimeError(f"max_pool1d() {name} must be greater than zero, but got {value}")
    if padding[0] < 0:
        raise RuntimeError(f"max_pool1d() padding must be non-negative, but got {padding[0]}")
    if padding[0] > size[0] // 2:
        raise RuntimeError(
            f"max_pool1d() padding should be at most half of kernel size, but got padding={padding[0]} and "
            f"kernel_size={size[0]}"
        )


def check_window(
    name: str,
    rank: int,
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> None:
    """The numbers of another pooling's window."""
    count = {1: "one int", 2: "two ints", 3: "three ints"}[rank]
    for what, values in (
        ("kernel_size must either be", size),
        ("stride must either be omitted,", stride),
        ("padding must either be", padding),
        ("dilation must be either", dilation),
    ):
        if len(values) != rank:
            raise RuntimeError(f"{name}: {what} a single int, or a tuple of {count}")
    if any(step == 0 for step in stride):
        raise RuntimeError("stride should not be zero")
    if any(extent <= 0 for extent in size):
        raise RuntimeError(f"kernel size should be greater than zero, but got {_shown('k', size)}")
    if any(step < 0 for step in stride):
        raise RuntimeError(f"stride should be greater than zero, but got {_shown('d', stride)}")
    if any(side < 0 for side in padding):
        raise RuntimeError(f"pad must be non-negative, but got pad: {min(padding)}")
    if any(gap <= 0 for gap in dilation):
        raise RuntimeError(f"dilation should be greater than zero, but got {_shown('dilation', dilation)}")
    if any(p > (gap * (k - 1) + 1) // 2 for p, k, gap in zip(padding, size, dilation, strict=True)):
        raise RuntimeError(
            f"pad should be at most half of effective kernel size, but got pad={max(padding)}, kernel_size={size[0]} "
            f"and dilation={dilation[0]}"
        )
    if any(p > k // 2 for p, k in zip(padding, size, strict=True)):
        raise RuntimeError(
            f"pad should be smaller than or equal to half of kernel size, but got {_half_shown(size, padding)}"
        )


def _shown(prefix: str, values: Sequence[int]) -> str:
    """The numbers by axis, as PyTorch shows them: one-dimensional windows are flat two-dimensional ones."""
    padded = (1, *values) if len(values) == 1 else values
    return " ".join(f"{prefix}{axis}: {value}" for axis, value in zip(_AXES[len(values)], padded, strict=True))


def _half_shown(size: Sequence[int], padding: Sequence[int]) -> str:
    """Kernel and padding by axis, the last axis before the one before it."""
    if len(size) == 3:
        order = (("T", 0), ("W", 2), ("H", 1))
        parts = [f"k{axis}: {size[place]}" for axis, place in order]
        return " ".join([*parts, *(f"pad{axis}: {padding[place]}" for axis, place in order)])
    (high, wide), (top, side) = (size, padding) if len(size) == 2 else ((1, *size), (0, *padding))
    return f"padW = {side}, padH = {top}, kW = {wide}, kH = {high}"


def check_result(
    input: Tensor, size: Sequence[int], stride: Sequence[int], padding: Any, dilation: Sequence[int], *, line: bool
) -> None:
    """At least one window fits; `line` is for max_pool1d's text."""
    rank = len(size)
    inner = input.shape[-rank:]
    counts = [
        (n + low + high - gap * (k - 1) - 1) // s + 1
        for n, k, s, (low, high), gap in zip(inner, size, stride, padding, dilation, strict=True)
    ]
    if all(count >= 1 for count in counts):
        return
    if line:
        raise RuntimeError(f"max_pool1d() Invalid computed output size: {counts[0]}")
    channels = input.shape[-rank - 1]
    shape = "x".join(map(str, (channels, *inner)))
    result = "x".join(map(str, (channels, *counts)))
    raise RuntimeError(f"Given input size: ({shape}). Calculated output size: ({result}). Output size is too small")
