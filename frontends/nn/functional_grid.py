"""Sampling images at the points of a grid; grids of affine maps.

Source: Jaderberg, Simonyan, Zisserman and Kavukcuoglu, 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from adjit.composite import composite
from adjit.creation import ones
from adjit.dispatch import apply, literal
from adjit.ir.ops.indexing import gather
from adjit.ir.ops.scalar import where
from adjit.ir.ops.source import iota
from adjit.ir.types import BOOL, I64
from adjit.joining import stack
from adjit.nn.functional_resampling import cubic_weights
from adjit.ranges import linspace
from adjit.tensor import Tensor
from adjit.warning import warn

_CUBIC = -0.75  # as bicubic interpolation has it


def _warn_of_corners() -> None:
    warn(
        "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
        "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details.",
        stacklevel=3,
    )


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Where the points of a regular grid from -1 to 1 are mapped by affine matrices.

    Shapes: theta [N, 2, 3] with size (N, C, H, W) -> [N, H, W, 2], or [N, 3, 4] with (N, C, D, H, W)
    -> [N, D, H, W, 3].
    """
    if align_corners is None:
        _warn_of_corners()
    if not theta._dtype.is_float:
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    rank = len(size) - 2
    if rank not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. "
            f"Got size {size}."
        )
    if theta.ndim != 3 or tuple(theta.shape[1:]) != (rank, rank + 1):
        raise ValueError(
            f"Expected a batch of {rank}D affine matrices of shape Nx{rank}x{rank + 1} for size {size}. "
            f"Got {theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    found: Tensor = mapped_grid(theta, _regular_grid(theta, tuple(size[2:]), bool(align_corners)))
    return found


def _regular_grid(theta: Tensor, sizes: tuple[int, ...], align_corners: bool) -> Tensor:
    """(x, y, ..., 1) at each point of a grid from -1 to 1."""
    axes = []
    for number, extent in enumerate(sizes):
        line = linspace(-1, 1, extent, dtype=theta.dtype) if extent > 1 else linspace(0, 0, 1, dtype=theta.dtype)
        if not align_corners:
            line = line * ((extent - 1) / extent)
        axes.append(line.reshape(-1, *(1,) * (len(sizes) - 1 - number)).expand(sizes))
    return stack([*reversed(axes), ones(sizes, dtype=theta.dtype)], -1)


@composite("AffineGridGenerator")
def mapped_grid(theta: Tensor, points: Tensor) -> Tensor:
    """theta times each point."""
    samples, rank = theta.shape[:2]
    flat = points.reshape(1, -1, rank + 1)
    found: Tensor = flat.expand(samples, *flat.shape[1:]).matmul(theta.transpose(1, 2))
    result: Tensor = found.reshape(samples, *points.shape[:-1], rank)
    return result


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """The image at the points of a grid, whose coordinates go from -1 to 1, the last axis first.

    Shapes: input [N, C, H, W] and grid [N, H', W', 2] -> [N, C, H', W'], or with a third axis.  `mode`: bilinear,
    nearest, or bicubic (4-D); `padding_mode`: zeros, border or reflection.
    """
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: "
            f"'{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"'{padding_mode}'"
        )
    if align_corners is None:
        _warn_of_corners()
    _check_grid(input, grid, mode)
    found: Tensor = _SAMPLERS[input.ndim - 2](input, grid, mode, padding_mode, bool(align_corners))
    return found


def _check_grid(input: Tensor, grid: Tensor, mode: str) -> None:
    shapes = f"sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
    if input._dtype is not grid._dtype:
        raise RuntimeError(
            f"grid_sampler(): expected input and grid to have same dtype, but input has {input.dtype} and grid has "
            f"{grid.dtype}"
        )
    if input.ndim not in (4, 5) or input.ndim != grid.ndim:
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with "
            f"{shapes}"
        )
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(
            f"grid_sampler(): expected grid and input to have same batch size, but got input with {shapes}"
        )
    if grid.shape[-1] != input.ndim - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {input.ndim - 2} in last dimension, but got grid with sizes "
            f"{list(grid.shape)}"
        )
    for axis in range(2, input.ndim):
        if input.shape[axis] <= 0:
            raise RuntimeError(
                "grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
                f"{list(input.shape)} with dimension {axis} being empty"
            )
    if mode == "bicubic" and input.ndim != 4:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


def _reflected(place: Tensor, low: int, high: int) -> Tensor:
    """The coordinate mirrored into low/2..high/2."""
    if low == high:
        return place * 0
    least, span = low / 2, (high - low) / 2
    place = (place - least).abs()
    flips = (place / span).floor().detach()
    rest = place - flips * span
    return _choose(flips % 2 == 0, rest + least, span - rest + least)


def _choose(condition: Any, one: Any, other: Any) -> Tensor:
    found: Tensor = apply(where, (condition, one, other))
    return found


def _inside(place: Tensor, extent: int, padding_mode: str, align_corners: bool) -> Tensor:
    """The coordinate brought into the image, unless what lies outside is 0."""
    if padding_mode == "reflection":
        place = _reflected(place, 0, 2 * (extent - 1)) if align_corners else _reflected(place, -1, 2 * extent - 1)
    if padding_mode == "zeros":
        return place
    return _choose(place <= 0, 0, _choose(place >= extent - 1, extent - 1, place))  # no gradient at the edges, either


def _at(input: Tensor, indices: Sequence[Tensor], where_inside: Tensor | None) -> Tensor:
    """input[n, :, indices...] as [N, *points, C], 0 outside."""
    rank = len(indices)
    shape = indices[0].shape
    sample = apply(iota, (), {"shape": shape, "axis": 0, "dtype": I64})
    clamped = [
        index.clamp(0, extent - 1) for index, extent in zip(indices, input.shape[2:], strict=True)
    ]
    found: Tensor = apply(gather, (input, sample, *clamped), {"axes": (0, *range(2, 2 + rank))})
    if where_inside is None:
        return found
    return _choose(where_inside.unsqueeze(-1).expand(found.shape), found, 0)


def _fetch(input: Tensor, indices: Sequence[Tensor]) -> Tensor:
    """The entries at whole coordinates, 0 outside the image."""
    inside: Any = None
    for index, extent in zip(indices, input.shape[2:], strict=True):
        own = (index >= 0) & (index < extent)
        inside = own if inside is None else inside & own
    return _at(input, indices, inside)


def _sampled(input: Tensor, grid: Tensor, mode: str, padding_mode: str, align_corners: bool) -> Tensor:
    """The image at the points of a grid."""
    rank = input.ndim - 2
    extents = input.shape[2:]
    places = []
    for number, extent in enumerate(extents):
        own = grid.select(-1, rank - 1 - number)
        place = (own + 1) / 2 * (extent - 1) if align_corners else ((own + 1) * extent - 1) / 2
        places.append(place if mode == "bicubic" else _inside(place, extent, padding_mode, align_corners))
    total: Any = 0
    if mode == "nearest":
        total = _fetch(input, [place.round().long() for place in places])
        # The grid has a gradient of zeros: it is an operand of which nothing is taken.
        total = _choose(literal(False, BOOL), places[0].unsqueeze(-1).expand(total.shape), total)
    elif mode == "bilinear":
        lows = [place.floor() for place in places]
        for corner in product((0, 1), repeat=rank):
            weight: Any = 1
            for place, low, side in zip(places, lows, corner, strict=True):
                weight = weight * (place - low.detach() if side else low.detach() + 1 - place)
            index = [low.long() + side for low, side in zip(lows, corner, strict=True)]
            total = total + _fetch(input, index) * weight.unsqueeze(-1)
    else:
        lows = [place.floor().detach() for place in places]
        weights = [cubic_weights(place - low, _CUBIC) for place, low in zip(places, lows, strict=True)]
        for taps in product(range(4), repeat=rank):
            index = [
                _inside(low + (tap - 1), extent, padding_mode, align_corners).long()
                for low, tap, extent in zip(lows, taps, extents, strict=True)
            ]
            factor = weights[0][taps[0]] * weights[1][taps[1]]
            total = total + _fetch(input, index) * factor.unsqueeze(-1)
    found: Tensor = total.movedim(-1, 1)
    return found


_SAMPLERS: dict[int, Callable[..., Tensor]] = {
    rank: composite(f"GridSampler{rank}D", "grid_sample")(_sampled) for rank in (2, 3)
}
