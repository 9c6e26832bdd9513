"""The inverse of max pooling, and max pooling over windows at random places."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from adjit.composite import composite
from adjit.creation import zeros
from adjit.dispatch import apply
from adjit.ir.errors import DimError
from adjit.ir.ops.indexing import gather, scatter_add, scatter_set
from adjit.ir.ops.scalar import where
from adjit.ir.ops.source import iota
from adjit.ir.types import I64
from adjit.nn.functional_linear import spread
from adjit.nn.functional_pooling import first_greatest
from adjit.random import rand
from adjit.tensor import Tensor


# -- unpooling ---------------------------------------------------------------------------------------------------------
def _unpooled(input: Tensor, indices: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Zeros, with the input's elements at their places in each plane."""
    rank = len(sizes)
    lead = input.shape[: input.ndim - rank]
    rows, count, volume = math.prod(lead), math.prod(input.shape[input.ndim - rank :]), math.prod(sizes)
    row = apply(iota, (), {"shape": (rows, count), "axis": 0, "dtype": I64})
    flat = zeros(rows, volume, dtype=input.dtype)
    place = indices.reshape(rows, count)
    given = input.reshape(rows, count)
    # Of elements for the same place one is seen, but as in PyTorch each takes the gradient that arrives there; those
    # that are infinite cannot be added and taken away again.
    finite = given.isfinite()
    seen, added = apply(where, (finite, given.detach(), given)), apply(where, (finite, given, 0))
    found = apply(scatter_set, (flat, seen, row, place), {"axes": (0, 1)})
    summed: Tensor = apply(scatter_add, (flat, added, row, place), {"axes": (0, 1)})
    result: Tensor = (found + (summed - summed.detach())).reshape(*lead, *sizes)
    return result


_UNPOOL: dict[int, Callable[..., Tensor]] = {
    rank: composite(f"MaxUnpool{max(rank, 2)}D", "max_unpool")(_unpooled) for rank in (1, 2, 3)
}


def _max_unpool(
    rank: int, input: Tensor, indices: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    size = spread(kernel_size, rank)
    step = size if stride is None else spread(stride, rank)
    sizes = _output_sizes(input, size, step, spread(padding, rank), output_size)
    if indices._dtype is not I64:
        raise RuntimeError(f"elements in indices should be type int64 but got: {indices._dtype.long_name}")
    if input.ndim not in (rank + 1, rank + 2):
        shapes = {1: "2d or 3d", 2: "3d or 4d", 3: "4d or 5d"}[rank]
        raise RuntimeError(
            f"Input to max_unpooling{rank}d should be a {shapes} Tensor, but got a tensor with {input.ndim} dimensions."
        )
    if tuple(input.shape) != tuple(indices.shape):
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got indices "
            f"tensor with shape: {list(indices.shape)}"
        )
    try:
        return _UNPOOL[rank](input, indices, sizes)
    except DimError as error:
        volume = math.prod(sizes)
        wrong = next(place for place in indices.reshape(-1).tolist() if not 0 <= place < volume)
        shown = "x".join(map(str, (*sizes, 1) if rank == 1 else sizes))
        raise RuntimeError(f"Found an invalid max index: {wrong} (output volumes are of size {shown}") from error


def _output_sizes(
    input: Tensor, size: Sequence[int], stride: Sequence[int], padding: Sequence[int], output_size: Any
) -> tuple[int, ...]:
    rank = len(size)
    default = tuple(
        (n - 1) * s + k - 2 * p for n, s, k, p in zip(input.shape[-rank:], stride, size, padding, strict=False)
    )
    if output_size is None:
        chosen = default
    else:
        chosen = tuple(output_size)[2:] if len(output_size) == rank + 2 else tuple(output_size)
        if len(chosen) != rank:
            raise ValueError(
                f"output_size should be a sequence containing {rank} or {rank + 2} elements, but it has a length of "
                f"'{len(output_size)}'"
            )
        for axis, (want, usual, step) in enumerate(zip(chosen, default, stride, strict=True)):
            if not usual - step < want < usual + step:
                raise ValueError(
                    f'invalid output_size "{output_size}" (dim {axis} must be between {usual - step} and '
                    f"{usual + step})"
                )
    for axis, extent in enumerate(chosen):
        if extent < 0:
            raise ValueError(
                "max_unpooling: output_size must contain non-negative spatial dimensions, but got "
                f"output_size[{axis}]={extent}"
            )
    return chosen


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """What `max_pool1d` with these indices was given, 0 where nothing is known."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """What `max_pool2d` with these indices was given, 0 where nothing is known."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """What `max_pool3d` with these indices was given, 0 where nothing is known."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


# -- fractional max pooling --------------------------------------------------------------------------------------------
def _starts(sample: Tensor, extent: int, count: int, size: int) -> Tensor:
    """Where the windows start: about evenly spread, shifted at random; the last one at the end.

    Source: Graham, 2014.
    """
    number = apply(iota, (), {"shape": (count,), "axis": 0, "dtype": I64})
    last = extent - size
    if count == 1:
        only: Tensor = number * 0 + last + (sample.unsqueeze(-1) * 0).long()
        return only
    alpha = last / (count - 1)
    first = ((number + sample.unsqueeze(-1)) * alpha).trunc() - (sample.unsqueeze(-1) * alpha).trunc()
    found: Tensor = apply(where, ((number == count - 1).expand(first.shape), last, first.long()))
    return found


def _fractional(
    input: Tensor, samples: Tensor, size: tuple[int, ...], counts: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The greatest element of each window, and its place in the plane."""
    rank = len(size)
    batch, channels, *extents = input.shape
    shape = (batch, channels, *counts, *size)
    flat: Any = 0
    indices = []
    for number, (extent, count, width) in enumerate(zip(extents, counts, size, strict=True)):
        sample = samples.select(-1, rank - 1 - number if rank == 2 else number)
        own = _starts(sample, extent, count, width)
        inner = apply(iota, (), {"shape": shape, "axis": 2 + rank + number, "dtype": I64})
        spread_out = own.reshape(batch, channels, *(1,) * number, count, *(1,) * (2 * rank - number - 1))
        index = spread_out.expand(shape) + inner
        indices.append(index)
        flat = flat * extent + index
    lead = [apply(iota, (), {"shape": shape, "axis": axis, "dtype": I64}) for axis in (0, 1)]
    cells = apply(gather, (input, *lead, *indices), {"axes": tuple(range(2 + rank))})
    cells = cells.reshape(batch, channels, *counts, math.prod(size))
    found, place = first_greatest(cells)
    places = flat.reshape(cells.shape).gather(-1, place.unsqueeze(-1)).squeeze(-1)
    return found, places


_FRACTIONAL: dict[int, Callable[..., Any]] = {
    rank: composite(f"FractionalMaxPool{rank}D", "fractional_max_pool")(_fractional) for rank in (2, 3)
}


def _fractional_max_pool(
    rank: int, input: Tensor, kernel_size: Any, output_size: Any, output_ratio: Any, samples: Tensor | None
) -> tuple[Tensor, Tensor]:
    if output_size is None and output_ratio is None:
        raise ValueError(
            f"fractional_max_pool{rank}d requires specifying either an output_size or an output_ratio"
        )
    if output_size is None:
        ratios = output_ratio if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * rank
        if len(ratios) > rank:
            raise ValueError(
                f"fractional_max_pool{rank}d requires output_ratio to either be a single Int or tuple of Ints."
            )
        output_size = tuple(int(n * r) for n, r in zip(input.shape[-rank:], spread(ratios, rank), strict=True))
    size, counts = spread(kernel_size, rank), spread(output_size, rank)
    batched = input.ndim == rank + 2
    if samples is None:
        samples = rand(input.shape[0] if batched else 1, input.shape[-rank - 1], rank, dtype=input.dtype)
    names = ("time", "height", "width")[3 - rank :]
    for name, extent, count, width in zip(names, input.shape[-rank:], counts, size, strict=True):
        if count + width - 1 > extent:
            raise RuntimeError(
                f"fractional_max_pool{rank}d(): pool {name} {width} too large relative to input {name} {extent}"
            )
    found, places = _FRACTIONAL[rank](input if batched else input.unsqueeze(0), samples, size, counts)
    return (found, places) if batched else (found.squeeze(0), places.squeeze(0))


def fractional_max_pool2d_with_indices(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The greatest elements of windows at random places, and their places in the plane."""
    return _fractional_max_pool(2, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool3d_with_indices(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The greatest elements of windows at random places, and their places in the volume."""
    return _fractional_max_pool(3, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool2d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """The greatest elements of windows at random places over the last two axes."""
    found = _fractional_max_pool(2, input, kernel_size, output_size, output_ratio, _random_samples)
    return found if return_indices else found[0]


def fractional_max_pool3d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """The greatest elements of windows at random places over the last three axes."""
    found = _fractional_max_pool(3, input, kernel_size, output_size, output_ratio, _random_samples)
    return found if return_indices else found[0]
