"""Slopes and running sums along an axis: gradient, cumulative_trapezoid, logcumsumexp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.along_axis import cumsum, diff
from adjit.composite import composite
from adjit.dims import numpy_names, shape_of, wrap_dim, wrap_dims
from adjit.dispatch import literal
from adjit.dtypes import title_of
from adjit.elementwise import add, div, mul, sub
from adjit.joining import cat
from adjit.nn.half_precision import in_single
from adjit.promotion import cast_to
from adjit.shaping import clone, expand, narrow, reshape
from adjit.special_functions import logaddexp
from adjit.tensor import Tensor


@composite("Logcumsumexp")
@in_single
def _logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """Sums of 1, 2, 4, ... neighbours, so that the depth is the logarithm of the length."""
    shape = tuple(shape_of(input))
    extent, step, found = shape[dim], 1, input
    while step < extent:
        ahead = expand(literal(float("-inf"), input._dtype), *shape[:dim], step, *shape[dim + 1 :])
        found = logaddexp(found, cat([ahead, narrow(found, dim, 0, extent - step)], dim))
        step *= 2
    return found


@numpy_names
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log of the running sums of exp(input) along an axis, without overflow."""
    if not input._dtype.is_continuous:
        raise NotImplementedError(f"\"logcumsumexp_out_cpu\" not implemented for '{title_of(input._dtype)}'")
    axis = wrap_dim(dim, len(shape_of(input)))
    if not shape_of(input):
        return clone(input)
    return _logcumsumexp(input, axis)  # type: ignore[no-any-return]


@numpy_names
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """The areas so far under points joined by lines, along an axis."""
    axis = wrap_dim(dim, len(shape_of(y)))
    extent = shape_of(y)[axis]
    pairs = add(narrow(y, axis, 1, extent - 1), narrow(y, axis, 0, extent - 1))
    widths: Any = dx
    if x is not None:
        along = x
        if len(shape_of(x)) == 1:
            along = reshape(x, *(-1 if place == axis else 1 for place in range(len(shape_of(y)))))
        widths = diff(along, dim=axis - len(shape_of(y)) + len(shape_of(along)))
    return div(cumsum(mul(pairs, widths), axis), 2.0)


# -- slopes ---------------------------------------------------------------------------------------------------------
@numpy_names
def gradient(input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """Slopes along axes by second-order differences, of first or second order at the edges.

    `spacing` is the distance of the points, one for all axes or one each, or the points' coordinates.
    """
    shape = tuple(shape_of(input))
    axes = wrap_dims(None if dim is None else dim, len(shape))
    given = spacing if isinstance(spacing, (list, tuple)) else None
    coordinates = given is not None and len(given) > 0 and isinstance(given[0], Tensor)
    if given is not None and len(given) != len(axes):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to 'self.dim() = "
            f"{len(shape)}' if dim argument is not given, but got a list of length {len(given)}."
            if dim is None
            else "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim arguments to "
            f"have the same length, but got a spacing argument of length {len(given)} and a dim argument of length "
            f"{len(axes)}."
        )
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    for axis in axes:
        if shape[axis] < edge_order + 1:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1"
            )
    steps: Sequence[Any] = given if given is not None else [1 if spacing is None else spacing] * len(axes)
    slope = _by_coordinates if coordinates else _by_distance
    source = input if input._dtype.is_continuous else cast_to(input, _default())
    return tuple(slope(source, axis, step, edge_order) for axis, step in zip(axes, steps, strict=True))


def _default() -> Any:
    from adjit.dtypes import default_float

    return default_float()


def _by_distance(input: Tensor, axis: int, step: Any, edge_order: int) -> Tensor:
    extent = shape_of(input)[axis]

    def at(place: int) -> Tensor:
        return narrow(input, axis, place if place >= 0 else extent + place, 1)

    middle = div(sub(narrow(input, axis, 2, extent - 2), narrow(input, axis, 0, extent - 2)), 2 * step)
    if edge_order == 1:
        first, last = div(sub(at(1), at(0)), step), div(sub(at(-1), at(-2)), step)
    else:
        first = div(sub(mul(at(1), 2.0), add(mul(at(0), 1.5), mul(at(2), 0.5))), step)
        last = div(sub(add(mul(at(-1), 1.5), mul(at(-3), 0.5)), mul(at(-2), 2.0)), step)
    return cat([first, middle, last], axis)


def _by_coordinates(input: Tensor, axis: int, points: Tensor, edge_order: int) -> Tensor:
    """Source: the three-point formula for uneven distances, by Taylor expansion."""
    extent, rank = shape_of(input)[axis], len(shape_of(input))
    if len(shape_of(points)) != 1 or shape_of(points)[0] != extent:
        raise RuntimeError(
            "torch.gradient expected each element of spacing to have the same length as the corresponding dimension"
        )
    steps = reshape(diff(cast_to(points, input._dtype)), *(-1 if place == axis else 1 for place in range(rank)))

    def at(tensor: Tensor, start: int, count: Any = 1) -> Tensor:
        size = shape_of(tensor)[axis]
        return narrow(tensor, axis, start if start >= 0 else size + start, count)

    before, after = at(steps, 0, extent - 2), at(steps, 1, extent - 2)
    below, here, above = (at(input, start, extent - 2) for start in (0, 1, 2))
    lower = div(mul(sub(here, below), after), mul(before, add(before, after)))
    upper = div(mul(sub(above, here), before), mul(after, add(before, after)))
    middle = add(lower, upper)
    if edge_order == 1:
        first = div(sub(at(input, 1), at(input, 0)), at(steps, 0))
        last = div(sub(at(input, -1), at(input, -2)), at(steps, -1))
    else:
        first = _edge([at(input, k) for k in (0, 1, 2)], at(steps, 0), at(steps, 1))
        last = mul(_edge([at(input, k) for k in (-1, -2, -3)], at(steps, -1), at(steps, -2)), -1)
    return cat([first, middle, last], axis)


def _edge(points: Sequence[Tensor], first: Tensor, second: Tensor) -> Tensor:
    """The slope at the first of three points at distances `first` and `second`."""
    here, near, far = points
    whole = add(first, second)
    rise = div(mul(sub(near, here), whole), mul(first, second))
    return sub(rise, div(mul(sub(far, here), first), mul(second, whole)))


_PUBLIC = ("cumulative_trapezoid", "gradient", "logcumsumexp")
METHODS: dict[str, Callable[..., Any]] = {"logcumsumexp": logcumsumexp}
__all__ = list(_PUBLIC)
