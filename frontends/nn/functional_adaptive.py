"""Pooling into a given number of bins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjit.composite import composite
from adjit.dispatch import apply
from adjit.ir.ops.indexing import gather
from adjit.ir.ops.scalar import where
from adjit.ir.ops.source import iota
from adjit.ir.types import I64
from adjit.nn.functional_pooling import first_greatest, windows
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


def _no_bins(input: Tensor, output_size: tuple[int, ...]) -> Tensor:
    """The result without elements where an axis has no bins."""
    rank = len(output_size)
    nothing: Tensor = input.flatten(-rank).narrow(-1, 0, 0).reshape(*input.shape[:-rank], *output_size)
    return nothing


@composite("AdaptiveAvgPool2D")
def adaptive_mean(input: Tensor, output_size: tuple[int, ...]) -> Tensor:
    """The mean of each bin along each of the last axes, along those of one bin all at once."""
    rank = len(output_size)
    if 0 in output_size:
        return _no_bins(input, output_size)
    if whole := [number - rank for number, count in enumerate(output_size) if count == 1]:
        input = input.mean(whole, keepdim=True)
    for axis, count in zip(range(input.ndim - rank, input.ndim), output_size, strict=True):
        extent = input.shape[axis]
        if extent == count:
            continue
        if extent % count == 0:
            shape = (*input.shape[:axis], count, extent // count, *input.shape[axis + 1 :])
            input = input.reshape(shape).mean(axis + 1)
        else:
            input = _mean_of_bins(input, axis, count)
    return input


def _mean_of_bins(input: Tensor, axis: int, count: int) -> Tensor:
    """The mean of each bin of an axis, which need not be equally long."""
    extent = input.shape[axis]
    first, last = _ends(count, extent)
    longest = max(-(-(i + 1) * extent // count) - i * extent // count for i in range(count))
    step = apply(iota, (), {"shape": (longest,), "axis": 0, "dtype": I64})
    place = first.unsqueeze(1) + step
    inside = place <= last.unsqueeze(1)
    cells = apply(gather, (input, place.minimum(last.unsqueeze(1))), {"axes": (axis,)})
    trail = (1,) * (input.ndim - 1)
    beside = inside.reshape(count, longest, *trail).expand(cells.shape)
    total = apply(where, (beside, cells, 0)).sum(1) / (last - first + 1).to(input.dtype).reshape(count, *trail)
    found: Tensor = total.movedim(0, axis)
    return found


def _ends(count: int, extent: int) -> tuple[Tensor, Tensor]:
    """The first and the last member of bin i: floor(i*extent/count), and ceil((i+1)*extent/count) - 1."""
    number = apply(iota, (), {"shape": (count,), "axis": 0, "dtype": I64})
    return number * extent // count, ((number + 1) * extent + count - 1) // count - 1


def _greatest_of_bins(input: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The greatest element of each bin of the last axis, and its place there."""
    extent = input.shape[-1]
    first, last = _ends(count, extent)
    if extent % count == 0:
        size = (extent // count,)
        found, inside = first_greatest(windows(input, size, size, (1,)))
    else:
        step = apply(iota, (), {"shape": (extent // count + 2,), "axis": 0, "dtype": I64})
        # A bin that is shorter than others has its last element several times.
        place = (first.unsqueeze(1) + step).minimum(last.unsqueeze(1))
        cells = apply(gather, (input, place), {"axes": (input.ndim - 1,)})
        found, inside = first_greatest(cells.movedim((0, 1), (-2, -1)))
    return found, inside + first


@composite("AdaptiveMaxPool2D")
def adaptive_greatest(input: Tensor, output_size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The greatest element of each bin, and its place in the plane of the last axes."""
    rank = len(output_size)
    if 0 in output_size:
        empty = _no_bins(input, output_size)
        return empty, empty.detach().long()
    lead, extents = input.shape[: input.ndim - rank], input.shape[input.ndim - rank :]
    found, places = input.detach(), None
    # Last axis first: of equal elements the first in row-major order is found, as one scan over the plane finds it.
    for axis, count in reversed(list(zip(range(input.ndim - rank, input.ndim), output_size, strict=True))):
        best, place = _greatest_of_bins(found.movedim(axis, -1), count)
        if places is not None:
            carried = places.movedim(axis, -1).gather(-1, place)
            place = place * math.prod(extents[axis - len(lead) + 1 :]) + carried
        found, places = best.movedim(-1, axis), place.movedim(-1, axis)
    assert places is not None
    # Taken from its place, each element passes its gradient there.
    rows = input.reshape(*lead, math.prod(extents))
    return rows.gather(-1, places.reshape(*lead, math.prod(output_size))).reshape(places.shape), places


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
