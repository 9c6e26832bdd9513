"""Pooling into a given number of bins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjit.composite import composite
from adjit.dispatch import apply
from adjit.ir.ops.scalar import where
from adjit.ir.ops.source import iota
from adjit.ir.types import I64
from adjit.nn.functional_pooling import first_greatest
from adjit.tensor import Tensor


def _adaptive_sizes(name: str, input: Tensor, output_size: Any, rank: int) -> tuple[int, ...]:
    """How many bins each of the last axes gets.  Errors: RuntimeError and ValueError for ranks that do not fit."""
    listed = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * rank
    own = f"{name}{rank}d"
    if rank == 1 and len(listed) != 1:
        raise RuntimeError(f"{own}() argument 'output_size' should contain one int (got {len(listed)})")
    if rank > 1 and input.ndim <= len(listed):
        raise ValueError(f"Input dimension should be at least {len(listed) + 1}")
    if len(listed) != rank:
        raise RuntimeError(
            f"{own}(): internal error: output_size.size() must be {rank}"
            if name == "adaptive_max_pool"
            else f"{own}: output_size must be {rank}"
        )
    if input.ndim not in (rank + 1, rank + 2):
        if rank == 1:
            raise RuntimeError(
                f"Expected 2 to 3 dimensions, but got {input.ndim}-dimensional tensor for argument #1 'self' (while "
                f"checking arguments for {own})"
            )
        colon = ":" if name == "adaptive_max_pool" else ""
        raise RuntimeError(
            f"{own}(): Expected {rank + 1}D or {rank + 2}D tensor, but got{colon} {list(input.shape)}"
        )
    sizes = tuple(n if o is None else o for o, n in zip(listed, input.shape[input.ndim - rank :], strict=True))
    if any(size < 0 for size in sizes):
        shown = (1, *sizes) if rank == 1 else sizes
        if name == "adaptive_max_pool":
            made = [*input.shape[: input.ndim - rank], *shown]
            raise RuntimeError(f"Trying to create tensor with negative dimension {min(sizes)}: {made}")
        text = ", ".join(map(str, shown[:2])) + "".join(f",{size}" for size in shown[2:])
        raise RuntimeError(
            f"adaptive_avg_pool{max(rank, 2)}d: elements of output_size must be greater than or equal to 0 but "
            f"received {{{text}}}"
        )
    for axis in range(input.ndim - rank, input.ndim):
        if input.shape[axis] == 0:
            raise RuntimeError(
                f"{own}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes "
                f"{list(input.shape)} with dimension {axis} being empty"
            )
    return sizes


def _members(count: int, extent: int) -> Tensor:
    """bool[count, extent]: whether j is in bin i, floor(i*extent/count) <= j < ceil((i+1)*extent/count)."""
    shape = (count, extent)
    row = apply(iota, (), {"shape": shape, "axis": 0, "dtype": I64})
    column = apply(iota, (), {"shape": shape, "axis": 1, "dtype": I64})
    found: Tensor = (column >= row * extent // count) & (column < ((row + 1) * extent + count - 1) // count)
    return found


@composite("AdaptiveAvgPool2D")
def adaptive_mean(input: Tensor, output_size: tuple[int, ...]) -> Tensor:
    """The mean of each bin along each of the last axes."""
    rank = len(output_size)
    for axis, count in zip(range(input.ndim - rank, input.ndim), output_size, strict=True):
        extent = input.shape[axis]
        if extent == count:
            continue
        if extent % count == 0:
            shape = (*input.shape[:axis], count, extent // count, *input.shape[axis + 1 :])
            input = input.reshape(shape).mean(axis + 1)
        else:
            weights = _members(count, extent).to(input.dtype)
            weights = weights / weights.sum(1, keepdim=True)
            input = input.movedim(axis, -1).matmul(weights.t()).movedim(-1, axis)
    return input


@composite("AdaptiveMaxPool2D")
def adaptive_greatest(input: Tensor, output_size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The greatest element of each bin, and its place in the plane of the last axes."""
    rank = len(output_size)
    places: Tensor | None = None
    extents = input.shape[input.ndim - rank :]
    # Last axis first: of equal elements the first in row-major order is found, as one scan over the plane finds it.
    for axis, count in reversed(list(zip(range(input.ndim - rank, input.ndim), output_size, strict=True))):
        extent = input.shape[axis]
        rows = input.movedim(axis, -1).unsqueeze(-2)
        cells = rows.expand(*rows.shape[:-2], count, extent)
        inside = _members(count, extent).expand(cells.shape)
        found, place = first_greatest(apply(where, (inside, cells, -math.inf)))
        if places is None:
            index = place
        else:
            carried = places.movedim(axis, -1).gather(-1, place)
            weight = math.prod(extents[axis - (input.ndim - rank) + 1 :])
            index = place * weight + carried
        input, places = found.movedim(-1, axis), index.movedim(-1, axis)
    assert places is not None
    return input, places


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """The mean over as many bins as `output_size` says, along the last axis."""
    found: Tensor = adaptive_mean(input, _adaptive_sizes("adaptive_avg_pool", input, output_size, 1))
    return found


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The mean over as many bins as `output_size` says, along the last two axes."""
    found: Tensor = adaptive_mean(input, _adaptive_sizes("adaptive_avg_pool", input, output_size, 2))
    return found


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """The mean over as many bins as `output_size` says, along the last three axes."""
    found: Tensor = adaptive_mean(input, _adaptive_sizes("adaptive_avg_pool", input, output_size, 3))
    return found


def _adaptive_max(input: Tensor, output_size: Any, rank: int, return_indices: bool) -> Any:
    found = adaptive_greatest(input, _adaptive_sizes("adaptive_max_pool", input, output_size, rank))
    return tuple(found) if return_indices else found[0]


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The greatest element of as many bins as `output_size` says, along the last axis."""
    return _adaptive_max(input, output_size, 1, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The greatest element of as many bins as `output_size` says, along the last two axes."""
    return _adaptive_max(input, output_size, 2, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The greatest element of as many bins as `output_size` says, along the last three axes."""
    return _adaptive_max(input, output_size, 3, return_indices)


def adaptive_max_pool1d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """The greatest element of as many bins as `output_size` says, along the last axis, and its place."""
    found: tuple[Tensor, Tensor] = _adaptive_max(input, output_size, 1, True)
    return found


def adaptive_max_pool2d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """The greatest element of as many bins as `output_size` says, along the last two axes, and its place."""
    found: tuple[Tensor, Tensor] = _adaptive_max(input, output_size, 2, True)
    return found


def adaptive_max_pool3d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """The greatest element of as many bins as `output_size` says, along the last three axes, and its place."""
    found: tuple[Tensor, Tensor] = _adaptive_max(input, output_size, 3, True)
    return found
