"""Pooling: the maximum, the mean or a norm over sliding windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjit.composite import composite
from adjit.dispatch import apply
from adjit.ir.ops.reduction import argmax, reduce_sum
from adjit.ir.ops.scalar import eq, where
from adjit.ir.ops.source import iota
from adjit.ir.ops.structure import expand, pad, permute, reshape, slice_
from adjit.ir.ops.windows import window
from adjit.ir.types import I64
from adjit.nn.functional_linear import spread
from adjit.nn.pooling_checks import check_input, check_line, check_result, check_window
from adjit.tensor import Tensor

# A window with so many times more elements than its sides together is searched along one axis after the other.
_BY_AXES = 2


def _extra(extent: int, size: int, step: int, side: int, gap: int) -> int:
    """What `ceil_mode` adds after the padding, so that a last, incomplete window has its full size."""
    span = gap * (size - 1) + 1
    rest = extent + 2 * side - span
    count = -(-rest // step) + 1
    if (count - 1) * step >= extent + side:  # the last window would lie in the padding only
        count -= 1
    return max((count - 1) * step + span - extent - 2 * side, 0)


def _padded(input: Tensor, padding: Sequence[tuple[int, int]], value: float) -> Tensor:
    if all(pair == (0, 0) for pair in padding):
        return input
    lead = (0,) * (input.ndim - len(padding))
    attributes: dict[str, Any] = {
        "low": (*lead, *(low for low, _ in padding)),
        "high": (*lead, *(high for _, high in padding)),
        "interior": (0,) * input.ndim,
        "value": value,
    }
    found: Tensor = apply(pad, (input,), attributes)
    return found


def windows(
    input: Tensor, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Tensor:
    """The windows over the last axes, flattened into one more axis: [*, *counts, product of size].

    Windows that lie side by side are only a permutation of the input, whose transpose costs no sums.
    """
    rank, lead = len(size), input.ndim - len(size)
    axes = tuple(range(lead, input.ndim))
    if size == stride and all(gap == 1 for gap in dilation):
        counts = [input.shape[axis] // extent for axis, extent in zip(axes, size, strict=True)]
        covered = (*input.shape[:lead], *(n * extent for n, extent in zip(counts, size, strict=True)))
        if any(a != b for a, b in zip(covered, input.shape, strict=True)):
            whole = {"start": (0,) * input.ndim, "size": covered, "step": (1,) * input.ndim}
            input = apply(slice_, (input,), whole)
        pairs = [extent for pair in zip(counts, size, strict=True) for extent in pair]
        found = apply(reshape, (input,), {"shape": (*input.shape[:lead], *pairs)})
        order = (*range(lead), *range(lead, lead + 2 * rank, 2), *range(lead + 1, lead + 2 * rank, 2))
        found = apply(permute, (found,), {"perm": order})
    else:
        found = apply(window, (input,), {"axes": axes, "size": size, "stride": stride, "dilation": dilation})
    flat: Tensor = apply(reshape, (found,), {"shape": (*found.shape[: input.ndim], math.prod(size))})
    return flat


def first_greatest(values: Tensor) -> tuple[Tensor, Tensor]:
    """The greatest element along the last axis and its place; the first of equal ones, to which the gradient goes."""
    last = values.ndim - 1
    place = apply(argmax, (values,), {"axis": last})
    column = apply(reshape, (place,), {"shape": (*place.shape, 1)})
    chosen = apply(eq, (
        apply(iota, (), {"shape": values.shape, "axis": last, "dtype": I64}),
        apply(expand, (column,), {"shape": values.shape}),
    ))  # fmt: skip
    return apply(reduce_sum, (apply(where, (chosen, values, 0)),), {"axes": (last,)}), place


def _least(input: Tensor) -> int:
    """The least integer of a tensor's dtype."""
    return 0 if input._dtype.kind == "uint" else -(1 << (input._dtype.bits - 1))


def max_pool(
    input: Tensor,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    with_indices: bool,
) -> Any:
    """The greatest element of each window over the last axes, and where asked its place in the plane."""
    lowest = -math.inf if input._dtype.is_continuous else _least(input)
    wide, lead = _padded(input, padding, lowest), input.ndim - len(size)
    overlap = all(2 * step <= extent for step, extent in zip(stride, size, strict=True))
    if not with_indices and overlap and math.prod(size) > _BY_AXES * sum(size):
        return _greatest_by_axes(wide, size, stride, dilation)
    found, place = first_greatest(windows(wide, size, stride, dilation))
    if not with_indices:
        return found
    flat: Any = 0
    divisor = math.prod(size)
    for number, (extent, step, (low, _), gap) in enumerate(zip(size, stride, padding, dilation, strict=True)):
        divisor //= extent
        inside = place // divisor % extent
        origin = apply(iota, (), {"shape": place.shape, "axis": lead + number, "dtype": I64})
        flat = flat * input.shape[lead + number] + (origin * step + inside * gap - low)
    return found, flat


def _greatest_by_axes(
    input: Tensor, size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """The greatest element of each window, the last axis first: of equal ones the first in row-major order so."""
    for number in reversed(range(len(size))):
        attributes: dict[str, Any] = {
            "axes": (input.ndim - len(size) + number,), "size": (size[number],), "stride": (stride[number],),
            "dilation": (dilation[number],),
        }  # fmt: skip
        input = first_greatest(apply(window, (input,), attributes))[0]
    return input


_MAX_POOLS = {
    rank: composite(f"MaxPool{axes}DWithIndices")(max_pool) for rank, axes in ((1, 2), (2, 2), (3, 3))
}


def _max_pool(
    rank: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    return_indices: bool,
) -> Any:  # fmt: skip
    size = spread(kernel_size, rank)
    step = spread(stride, rank) if stride or stride == 0 else size
    side, gap = spread(padding, rank), spread(dilation, rank)
    line = rank == 1 and not return_indices
    if line:
        check_input(rank, input)
        check_line(size, step, side, gap)
    else:
        check_window(f"max_pool{rank}d", rank, size, step, side, gap)
        check_input(rank, input)
    padding = _sides(input.shape[-rank:], size, step, side, gap, ceil_mode)
    check_result(input, size, step, padding, gap, line=line)
    return _MAX_POOLS[rank](input, size, step, padding, gap, return_indices)


def _sides(
    extents: Sequence[int], size: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], ceil_mode: bool,
) -> tuple[tuple[int, int], ...]:  # fmt: skip
    return tuple(
        (p, p + (_extra(n, k, s, p, g) if ceil_mode else 0))
        for n, k, s, p, g in zip(extents, size, stride, padding, dilation, strict=True)
    )


def max_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The greatest element of each window over the last axis."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The greatest element of each window over the last two axes; of equal ones the first gets the gradient.

    Shapes: input [N, C, H, W] -> [N, C, H', W'], with `return_indices` also i64 places in the H x W plane.
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The greatest element of each window over the last three axes."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


# -- with the places --------------------------------------------------------------------------------------------------
def max_pool1d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The greatest element of each window over the last axis, and its place."""
    found: tuple[Tensor, Tensor] = _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, True)
    return found


def max_pool2d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The greatest element of each window over the last two axes, and its place."""
    found: tuple[Tensor, Tensor] = _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, True)
    return found


def max_pool3d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The greatest element of each window over the last three axes, and its place."""
    found: tuple[Tensor, Tensor] = _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, True)
    return found


def avg_pool(
    input: Tensor,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    symmetric: tuple[int, ...],
    count_include_pad: bool,
    divisor: int | None,
) -> Tensor:
    """The sum of each window over the last axes, divided by its count of elements or by `divisor`."""
    rank = len(size)
    cells = windows(_padded(input, padding, 0), size, stride, (1,) * rank)
    total: Tensor = cells.sum(-1)
    if divisor is not None:
        return _quotient(total, divisor)
    if all(pair == (0, 0) for pair in padding) or (count_include_pad and all(a == b for a, b in padding)):
        return _quotient(total, math.prod(size))
    lead = input.ndim - rank
    for number, (extent, step, (low, _), side) in enumerate(zip(size, stride, padding, symmetric, strict=True)):
        first = apply(iota, (), {"shape": (total.shape[lead + number],), "axis": 0, "dtype": I64}) * step - low
        reach = side if count_include_pad else 0
        count = (first + extent).clamp(max=input.shape[lead + number] + reach) - first.clamp(min=-reach)
        total = _quotient(total, count.reshape(-1, *(1,) * (rank - 1 - number)).to(input.dtype))
    return total


def _quotient(total: Tensor, count: Any) -> Tensor:
    """total/count, of integers cut toward 0."""
    found: Tensor = total / count if total._dtype.is_continuous else total.div(count, rounding_mode="trunc")
    return found


_AVG_POOLS = {rank: composite(f"AvgPool{rank}D")(avg_pool) for rank in (1, 2, 3)}


def _avg_pool(
    rank: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:  # fmt: skip
    if input.ndim not in (rank + 1, rank + 2):
        if rank == 1:
            raise RuntimeError(
                f"Expected 2 to 3 dimensions, but got {input.ndim}-dimensional tensor for argument #1 'self' (while "
                "checking arguments for avg_pool1d)"
            )
        shapes = {2: "3D or 4D", 3: "4D or 5D"}[rank]
        raise RuntimeError(f"non-empty {shapes} (batch mode) tensor expected for input")
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    size = spread(kernel_size, rank)
    step = spread(stride, rank) if stride or stride == 0 else size
    side = spread(padding, rank)
    check_window(f"avg_pool{rank}d", rank, size, step, side, (1,) * rank)
    sides = _sides(input.shape[-rank:], size, step, side, (1,) * rank, ceil_mode)
    check_result(input, size, step, sides, (1,) * rank, line=False)
    found: Tensor = _AVG_POOLS[rank](input, size, step, sides, side, count_include_pad, divisor_override)
    return found


def avg_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of each window over the last axis."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window over the last two axes."""
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window over the last three axes."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _lp_pool(rank: int, input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Tensor:
    if norm_type in (math.inf, -math.inf):
        sign = 1 if norm_type > 0 else -1
        return sign * _max_pool(rank, sign * input.abs(), kernel_size, stride, 0, 1, ceil_mode, False)  # type: ignore[no-any-return]
    mean = _avg_pool(rank, input.pow(norm_type), kernel_size, stride, 0, ceil_mode, True, None)
    found: Tensor = (mean.sign() * mean.abs().relu() * math.prod(spread(kernel_size, rank))).pow(1.0 / norm_type)
    return found


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: int, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x**norm_type over each window)**(1/norm_type), over the last axis."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x**norm_type over each window)**(1/norm_type), over the last two axes."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x**norm_type over each window)**(1/norm_type), over the last three axes."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)
