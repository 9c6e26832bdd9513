"""Histograms: how many elements fall between edges."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from adjit.composite import composite
from adjit.dims import numel_of, shape_of
from adjit.dispatch import literal
from adjit.dtypes import title_of
from adjit.elementwise import add, div, emit, mul, sub, trunc, unsupported, where
from adjit.ir.types import F32, F64, I64, DType
from adjit.logic import logical_and
from adjit.promotion import cast_to
from adjit.ranges import arange
from adjit.reductions import sum as total
from adjit.results import named_result
from adjit.scattering import scatter_add
from adjit.shaping import expand, narrow, reshape
from adjit.tensor import Tensor

histogram_result = named_result("histogram", "hist", "bin_edges")
histogramdd_result = named_result("histogramdd", "hist", "bin_edges")


def _counted(place: Tensor, inside: Tensor, weight: Tensor | None, bins: Any, dtype: DType) -> Tensor:
    """The sum of weights at each place below `bins`; what is not inside counts in none."""
    share = cast_to(inside, dtype) if weight is None else where(inside, cast_to(weight, dtype), 0)
    start = expand(literal(0, dtype), bins)
    return scatter_add(start, 0, where(inside, place, 0), share)


def _bounds(values: Tensor, given: Sequence[float] | None, margin: float) -> tuple[Tensor, Tensor]:
    """The given range or that of the data, and `margin` more on either side where that is a point."""
    if given is not None:
        start, end = (literal(float(bound), values._dtype) for bound in given)
    elif numel_of(shape_of(values)):
        start, end = values.detach().min(), values.detach().max()
    else:
        return literal(0.0, values._dtype), literal(1.0, values._dtype)
    more = mul(cast_to(emit("eq", "", start, end), values._dtype), margin)
    return sub(start, more), add(end, more)


def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements fall in each of `bins` equal parts of min..max, of the data's range if these are equal."""
    if bins <= 0:
        raise RuntimeError("bins must be > 0")
    if not input._dtype.is_float:
        raise NotImplementedError(f"\"histogram_cpu\" not implemented for '{title_of(input._dtype)}'")
    values = reshape(input, -1)
    if min > max:
        raise RuntimeError("torch.histc: max must be larger than min")
    if not (math.isfinite(min) and math.isfinite(max)):
        raise RuntimeError(f"torch.histc: range of [{min:g}, {max:g}] is not finite")
    return _in_parts(values.detach(), *_bounds(values, None if min == max else (min, max), 1.0), bins)  # type: ignore[no-any-return]


@composite("", "histc")
def _in_parts(values: Tensor, low: Tensor, high: Tensor, bins: int) -> Tensor:
    """How many values fall in each of equal parts of low..high."""
    place = cast_to(trunc(mul(div(sub(values, low), sub(high, low)), float(bins))), I64)
    place = where(emit("eq", "", values, high), bins - 1, place)
    inside = logical_and(emit("le", "", low, values), emit("le", "", values, high))
    place = emit("minimum", "", emit("maximum", "", place, 0), bins - 1)
    return _counted(place, inside, None, bins, values._dtype)


def _edges(low: Any, high: Any, bins: int, dtype: DType) -> Tensor:
    """bins + 1 edges from low to high, counted from the nearer end as linspace counts."""
    step = div(sub(high, low), float(bins))
    place = cast_to(arange(bins + 1), dtype)
    half = (bins + 1) // 2
    ends = add(low, mul(step, place)), sub(high, mul(step, sub(float(bins), place)))
    return where(emit("lt", "", place, float(half)), *ends)  # type: ignore[no-any-return]


def _place(values: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """The bin of each value, the last one closed at both ends, and whether there is one."""
    from adjit.searching import searchsorted

    count = shape_of(edges)[0]
    place = sub(searchsorted(edges, values, right=True), 1)
    first, last = narrow(edges, 0, 0, 1), narrow(edges, 0, count - 1, 1)
    inside = logical_and(emit("le", "", first, values), emit("le", "", values, last))
    return emit("minimum", "", emit("maximum", "", place, 0), count - 2), inside


def histogram(
    input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False
) -> Any:
    """(hist, bin_edges): the weights that fall between `bins` equal parts of the range, or between the edges `bins`."""
    values = reshape(input, -1, 1)
    weights = None if weight is None else reshape(weight, -1)
    if weight is not None and tuple(shape_of(weight)) != tuple(shape_of(input)):
        raise RuntimeError(
            "torch.histogramdd: if weight tensor is provided it should have the same shape as the input tensor "
            "excluding its innermost dimension"
        )
    given = None if range is None else list(range)
    found, edges = _binned("histogram", values, [bins], given, weights, density)
    return histogram_result(found, edges[0])


def histogramdd(
    input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False
) -> Any:
    """(hist, bin_edges) of points, whose coordinates are the last axis."""
    rank = len(shape_of(input))
    if rank < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions, but got 1")
    count = shape_of(input)[-1]
    each = list(bins) if isinstance(bins, (list, tuple)) else [bins] * count
    if len(each) != count:
        raise RuntimeError("histogramdd: The size of bins must be equal to the innermost dimension of the input.")
    if weight is not None and tuple(shape_of(weight)) != tuple(shape_of(input)[:-1]):
        raise RuntimeError(
            "torch.histogramdd: if weight tensor is provided it should have the same shape as the input tensor "
            "excluding its innermost dimension"
        )
    weights = None if weight is None else reshape(weight, -1)
    found, edges = _binned("histogramdd", reshape(input, -1, count), each, range, weights, density)
    return histogramdd_result(found, tuple(edges))


def _binned(
    name: str, points: Tensor, bins: Sequence[Any], range: Any, weights: Tensor | None, density: bool
) -> tuple[Tensor, list[Tensor]]:
    dtype = points._dtype
    if dtype not in (F32, F64):
        raise unsupported(name, dtype)
    edges, sizes = [], []
    index: Any = 0
    inside: Any = None
    for axis, given in enumerate(bins):
        values = reshape(narrow(points, 1, axis, 1), -1)
        if isinstance(given, Tensor):
            own = given
            if own._dtype is not dtype:
                raise RuntimeError(
                    "torch.histogramdd: input tensor and bins tensors should have the same dtype, but got input with "
                    f"dtype {_lower(dtype)} and bins {axis} with dtype {_lower(own._dtype)}"
                )
        else:
            part = None if range is None else range[2 * axis : 2 * axis + 2]
            own = _edges(*_bounds(values, part, 0.5), given, dtype)
        place, fits = _place(values, own)
        count = shape_of(own)[0] - 1
        index = add(mul(index, count), place) if axis else place
        inside = logical_and(inside, fits) if axis else fits
        edges.append(own)
        sizes.append(count)
    found = _counted(index, inside, weights, numel_of(sizes), dtype)
    found = reshape(found, *sizes)
    if density:
        found = div(found, total(found))
        for axis, own in enumerate(edges):
            width = sub(narrow(own, 0, 1, sizes[axis]), narrow(own, 0, 0, sizes[axis]))
            found = div(found, reshape(width, *(-1 if axis == place else 1 for place, _ in enumerate(sizes))))
    return found, edges


def _lower(dtype: DType) -> str:
    from adjit.dtypes import c_name

    return c_name(dtype)


_PUBLIC = ("histc", "histogram", "histogramdd")
METHODS: dict[str, Callable[..., Any]] = {"histc": histc, "histogram": histogram}
__all__ = list(_PUBLIC)
