"""Resampling to another size: nearest, linear and cubic interpolation, means over areas."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from adjit.composite import composite
from adjit.dispatch import apply
from adjit.dtypes import float32, float64
from adjit.ir.ops.scalar import where
from adjit.nn.functional_padding import counted, cut, take, with_ends
from adjit.nn.half_precision import in_single
from adjit.tensor import Tensor
from adjit.warning import warn

# The axes that a mode takes; 0 for any number from one to three.
_RANKS = {
    "nearest": 0, "nearest-exact": 0, "area": 0, "linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2,
}  # fmt: skip
# Keys' cubic convolution: -3/4 where PyTorch interpolates, -1/2 where it also smooths.
# Source: Keys, 1981.
_SHARP, _SMOOTH = -0.75, -0.5
# The most rows that are added up one by one where an image is made smaller.
_MOST_ROWS = 10


def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """Resample the axes after the first two to `size`, or by `scale_factor`.

    `mode`: nearest, nearest-exact, area, linear (3-D input), bilinear or bicubic (4-D), trilinear (5-D); `antialias`
    smooths before it makes smaller.
    """
    if align_corners is not None and _RANKS.get(mode) == 0:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    rank = input.ndim - 2
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    scales: tuple[float | None, ...] = (None,) * rank
    if size is not None:
        if recompute_scale_factor:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        sizes = _for_each_axis(input, size, "size")
    else:
        factors = _for_each_axis(input, scale_factor, "scale_factor")
        sizes = tuple(int(float(n) * float(f)) for n, f in zip(input.shape[2:], factors, strict=True))
        if not recompute_scale_factor and mode != "area":
            scales = tuple(float(f) for f in factors)
    if antialias and not (mode in ("bilinear", "bicubic", "lanczos") and input.ndim == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input"
        )
    _check_mode(input, mode, rank)
    _check_extents(input, sizes)
    if mode == "area":
        from adjit.nn.functional_adaptive import adaptive_mean

        pooled: Tensor = adaptive_mean(input, sizes)
        return pooled
    if mode.startswith("nearest"):
        return _NEAREST[mode, rank](input, sizes, scales, mode == "nearest-exact")
    if antialias:
        return _SMOOTHED[mode](input, sizes, scales, bool(align_corners), mode == "bicubic")
    if mode == "bicubic":
        found: Tensor = resample_cubic(input, sizes, scales, bool(align_corners))
        return found
    return _LINEAR[rank](input, sizes, scales, bool(align_corners))


def _for_each_axis(input: Tensor, value: Any, name: str) -> tuple[Any, ...]:
    rank: int = input.ndim - 2
    if not isinstance(value, (list, tuple)):
        return (value,) * rank
    if len(value) != rank:
        form = "(N, C, d1, d2, ...,dK) format and"
        own = list(input.shape[2:])
        raise ValueError(
            f"Input and output must have the same number of spatial dimensions, but got input with spatial dimensions "
            f"of {own} and output size of {value}. Please provide input tensor in {form} output size in (o1, o2, "
            "...,oK) format."
            if name == "size"
            else f"Input and scale_factor must have the same number of spatial dimensions, but got input with spatial "
            f"dimensions of {own} and scale_factor of shape {value}. Please provide input tensor in {form} "
            "scale_factor in (s1, s2, ...,sK) format."
        )
    if name == "size" and not all(hasattr(item, "__index__") or hasattr(item, "hint") for item in value):
        raise TypeError(
            "expected size to be one of int or Tuple[int] or Tuple[int, int] or Tuple[int, int, int], but got size "
            f"with types {[type(item) for item in value]}"
        )
    return tuple(value)


def _check_mode(input: Tensor, mode: str, rank: int) -> None:
    wanted = _RANKS.get(mode)
    if mode == "lanczos":
        raise NotImplementedError("interpolate: mode 'lanczos' is not available")
    if wanted in (1, 2, 3) and wanted != rank and rank in (1, 2, 3) and mode != "bicubic":
        raise NotImplementedError(f"Got {input.ndim}D input, but {mode} mode needs {wanted + 2}D input")
    if wanted is None or rank not in (1, 2, 3) or wanted not in (0, rank):
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.ndim}D) for the modes: nearest | "
            f"linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact (got {mode})"
        )


def _check_extents(input: Tensor, sizes: Sequence[int]) -> None:
    if any(extent <= 0 for extent in (*input.shape[2:], *sizes)):
        names = ("D", "H", "W")[3 - len(sizes) :]
        given = ", ".join(f"{name}: {extent}" for name, extent in zip(names, input.shape[2:], strict=True))
        wanted = ", ".join(f"{name}: {extent}" for name, extent in zip(names, sizes, strict=True))
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input ({given}) and output ({wanted})"
        )


def _floating(index: Tensor, like: Tensor) -> Tensor:
    """Positions in float32, or in float64 beside float64 data: what the rounding of positions depends on."""
    found: Tensor = index.to(float64 if like._dtype.name == "f64" else float32)
    return found


def _step(extent: int, count: int, scale: float | None, align_corners: bool = False) -> float:
    """How far apart new positions lie in the old axis."""
    if align_corners:
        return (extent - 1) / (count - 1) if count > 1 else 0.0
    return extent / count if scale is None else 1 / scale


def _positions(
    input: Tensor, axis: int, count: int, scale: float | None, align_corners: bool
) -> tuple[Tensor, Tensor]:
    """Where the new entries of an axis lie in the old one: the old entries before them, and how far behind these."""
    extent = input.shape[axis]
    if not align_corners and (times := _repeats(extent, count, scale)):
        twice = 2 * counted(count, 0) + (1 - times)
        return twice // (2 * times), _floating(twice % (2 * times), input) / (2 * times)
    place = _floating(counted(count, 0), input)
    step = _step(extent, count, scale, align_corners)
    place = place * step if align_corners else (place + 0.5) * step - 0.5
    first = place.floor()
    return first.long(), place - first


def _along(weight: Tensor, input: Tensor, axis: int) -> Tensor:
    """A vector over `axis`, ready to broadcast."""
    found: Tensor = weight.reshape(-1, *(1,) * (input.ndim - 1 - axis))
    return found


def _repeats(extent: int, count: int, scale: float | None) -> int:
    """How often each entry stands where that is equally often, else 0."""
    if not (isinstance(extent, int) and isinstance(count, int)) or extent == 0 or count % extent:
        return 0
    times = count // extent
    return times if scale in (None, times) else 0


def _stride(extent: int, count: int, scale: float | None) -> int:
    """How many entries further each new position lies where that is a whole number, else 0."""
    step = _step(extent, count, scale) if isinstance(extent, int) and isinstance(count, int) else 0.5
    return int(step) if step == int(step) and int(step) * count <= extent else 0


def _repeated(input: Tensor, axis: int, times: int) -> Tensor:
    """Each entry of an axis `times` times."""
    shape = input.shape
    wide = input.unsqueeze(axis + 1).expand(*shape[: axis + 1], times, *shape[axis + 1 :])
    found: Tensor = wide.reshape(*shape[:axis], shape[axis] * times, *shape[axis + 1 :])
    return found


def resample_nearest(
    input: Tensor, sizes: tuple[int, ...], scales: tuple[float | None, ...], exact: bool
) -> Tensor:
    """The entry at floor(i*old/new), or the one nearest to the middle of each new cell when `exact`."""
    for number, (count, scale) in enumerate(zip(sizes, scales, strict=True)):
        axis = number + 2
        extent = input.shape[axis]
        step, shift = _step(extent, count, scale), 0.5 if exact else 0.0
        if stride := _stride(extent, count, scale):
            input = cut(input, axis, stride // 2 if exact else 0, count, stride)
        elif (times := _repeats(extent, count, scale)) and _is_even(input, count, times, step, shift):
            input = _repeated(input, axis, times)
        else:
            place = _floating(counted(count, 0), input)
            index = ((place + shift if exact else place) * step).floor().long().clamp(0, extent - 1)
            input = take(input, axis, index)
    return input


def _is_even(input: Tensor, count: int, times: int, step: float, shift: float) -> bool:
    """Whether no rounding of a position (i + shift)*step goes over a whole number."""
    kind = np.dtype("f8" if input._dtype.name == "f64" else "f4")
    places = np.arange(count)
    found = np.floor((places.astype(kind) + np.asarray(shift, kind)) * np.asarray(step, kind))
    return bool((found == places // times).all())


def _entries(
    input: Tensor, axis: int, first: Tensor, scale: float | None, align_corners: bool, shifts: Sequence[int]
) -> list[Tensor]:
    """The entries at first + shift for each of consecutive shifts; beyond the ends of the axis, those there."""
    extent, count = input.shape[axis], first.shape[0]
    stride, times = (0, 0) if align_corners else (_stride(extent, count, scale), _repeats(extent, count, scale))
    if stride > 1:
        low = (stride - 1) // 2 + shifts[0]
        high = low + (count - 1) * stride + len(shifts) - extent
        wide = with_ends(input, axis, max(-low, 0), max(high, 0))
        return [cut(wide, axis, max(low, 0) + number, count, stride) for number in range(len(shifts))]
    if times > 1:
        # The first half of the new positions around an entry lie before it, the others at it or behind it.
        wide = with_ends(input, axis, 1 - shifts[0], shifts[-1])
        around = [_repeated(cut(wide, axis, start, extent), axis, times) for start in range(len(shifts) + 1)]
        before = _along(counted(count, 0) % times < times // 2, input, axis)
        return [_choose(before.expand(low.shape), low, high) for low, high in pairwise(around)]
    return [take(input, axis, (first + shift).clamp(0, extent - 1)) for shift in shifts]


@in_single
def resample_linear(
    input: Tensor, sizes: tuple[int, ...], scales: tuple[float | None, ...], align_corners: bool
) -> Tensor:
    """Linear interpolation along each axis, between the entries beside each new position."""
    for number, (count, scale) in enumerate(zip(sizes, scales, strict=True)):
        axis = number + 2
        first, offset = _positions(input, axis, count, scale, align_corners)
        weight = _along(offset.to(input.dtype), input, axis)
        low, high = _entries(input, axis, first, scale, align_corners, (0, 1))
        input = low * (1 - weight) + high * weight
    return input


def cubic_weights(offset: Tensor, a: float) -> list[Tensor]:
    """The weights of the entries at -1, 0, 1 and 2 for a position `offset` in 0..1 after entry 0."""

    def near(x: Tensor) -> Tensor:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Tensor) -> Tensor:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(offset + 1), near(offset), near(1 - offset), far(2 - offset)]


@composite("UpsampleBicubic2D")
@in_single
def resample_cubic(
    input: Tensor, sizes: tuple[int, ...], scales: tuple[float | None, ...], align_corners: bool
) -> Tensor:
    """Cubic convolution along each axis over the four entries around each new position."""
    for number, (count, scale) in enumerate(zip(sizes, scales, strict=True)):
        axis = number + 2
        first, offset = _positions(input, axis, count, scale, align_corners)
        entries = _entries(input, axis, first, scale, align_corners, (-1, 0, 1, 2))
        total: Any = 0
        for entry, weight in zip(entries, cubic_weights(offset, _SHARP), strict=True):
            total = total + entry * _along(weight.to(input.dtype), input, axis)
        input = total
    return input


@in_single
def resample_smoothed(
    input: Tensor, sizes: tuple[int, ...], scales: tuple[float | None, ...], align_corners: bool, cubic: bool
) -> Tensor:
    """Each new entry a mean over the old ones, weighted by a filter as wide as the new cell.

    Along the last axis that is a product with a matrix of weights; along others rows are added up, those in reach.
    """
    for number, (count, scale) in enumerate(zip(sizes, scales, strict=True)):
        axis = number + 2
        extent = input.shape[axis]
        step = _step(extent, count, scale, align_corners)
        reach = math.ceil(2 * _support(step, cubic)) + 1
        if axis == input.ndim - 1 or reach > _MOST_ROWS:
            weights = _filter(input, count, extent, step, cubic, _floating(counted(extent, 0), input))
            input = input.movedim(axis, -1).matmul(weights.t()).movedim(-1, axis)
            continue
        place = ((_floating(counted(count, 0), input) + 0.5) * step - _support(step, cubic) + 0.5).trunc().clamp(min=0)
        old = place.unsqueeze(1) + _floating(counted(reach, 0), input)
        weights = _filter(input, count, extent, step, cubic, old)
        first = place.long()
        total: Any = 0
        for row in range(reach):
            entries = take(input, axis, (first + row).clamp(0, extent - 1))
            total = total + entries * _along(weights.select(1, row), input, axis)
        input = total
    return input


def _support(step: float, cubic: bool) -> float:
    """How far a filter reaches on each side of its centre."""
    return (2.0 if cubic else 1.0) * max(step, 1.0)


def _filter(input: Tensor, count: int, extent: int, step: float, cubic: bool, old: Tensor) -> Tensor:
    """[new, old] weights of the entries at the places `old`, each row of sum 1."""
    support = _support(step, cubic)
    centre = ((_floating(counted(count, 0), input) + 0.5) * step).unsqueeze(1)
    first = (centre - support + 0.5).trunc().clamp(min=0)
    last = (centre + support + 0.5).trunc().clamp(max=extent)
    x = ((old - centre + 0.5) / max(step, 1.0)).abs()
    if cubic:
        near, far = cubic_weights(x, _SMOOTH)[1], cubic_weights(x - 1, _SMOOTH)[0]
        values = _choose(x < 1, near, _choose(x < 2, far, 0))
    else:
        values = _choose(x < 1, 1 - x, 0)
    values = _choose((old >= first) & (old < last), values, 0)
    found: Tensor = (values / values.sum(1, keepdim=True)).to(input.dtype)
    return found


def _choose(condition: Tensor, one: Any, other: Any) -> Tensor:
    found: Tensor = apply(where, (condition, one, other))
    return found


Resample = Callable[..., Tensor]
_NEAREST: dict[tuple[str, int], Resample] = {
    (mode, rank): composite(f"Upsample{name}{rank}D", f"resample_{mode}")(resample_nearest)
    for mode, name in (("nearest", "Nearest"), ("nearest-exact", "NearestExact"))
    for rank in (1, 2, 3)
}
_LINEAR: dict[int, Resample] = {
    rank: composite(f"Upsample{name}{rank}D")(resample_linear)
    for rank, name in ((1, "Linear"), (2, "Bilinear"), (3, "Trilinear"))
}
_SMOOTHED: dict[str, Resample] = {
    mode: composite(f"Upsample{mode.capitalize()}2DAa")(resample_smoothed) for mode in ("bilinear", "bicubic")
}


def _deprecated(name: str) -> None:
    warn(
        f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=3
    )


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:  # fmt: skip
    """The former name of `interpolate`."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """The former name of `interpolate` with mode "nearest"."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """The former name of `interpolate` with mode "bilinear" and aligned corners."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", True)
