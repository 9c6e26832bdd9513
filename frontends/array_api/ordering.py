"""The standard's functions about order: sorting, searching sorted tensors, sets of values."""

from __future__ import annotations

from typing import NamedTuple

import adjit
from adjit.array_api.operands import promoted
from adjit.dims import shape_of
from adjit.tensor import Tensor


class UniqueAll(NamedTuple):
    """The values, the place of each one's first element, for each element its value's place, and their counts."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """The values and how often each is there."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """The values, and for each element the place of its value among them."""

    values: Tensor
    inverse_indices: Tensor


def argsort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The order that sorts x along `axis`."""
    return adjit.argsort(x, dim=axis, descending=descending, stable=stable)  # type: ignore[no-any-return]


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """x sorted along `axis`."""
    return adjit.sort(x, dim=axis, descending=descending, stable=stable).values  # type: ignore[no-any-return]


def searchsorted(x1: Tensor, x2: Tensor, /, *, side: str = "left", sorter: Tensor | None = None) -> Tensor:
    """Where the elements of x2 would go into the sorted vector x1, before (left) or after (right) equal ones."""
    known, sought = promoted(x1, x2)
    if sorter is not None:
        known = known[sorter.to(adjit.int64)]
    return adjit.searchsorted(known, sought, side=side)  # type: ignore[no-any-return]


def _order(flat: Tensor) -> Tensor:
    """The order that sorts a vector; complex numbers by their real parts, then by their imaginary ones."""
    if not flat._dtype.is_complex:
        return adjit.argsort(flat, stable=True)  # type: ignore[no-any-return]
    by_imaginary = adjit.argsort(flat.imag, stable=True)
    return by_imaginary[adjit.argsort(flat.real[by_imaginary], stable=True)]  # type: ignore[no-any-return]


def unique_all(x: Tensor, /) -> UniqueAll:
    """The values in ascending order, -0.0 and 0.0 as one, each NaN apart."""
    flat = x.reshape(-1)
    order = _order(flat)
    ordered = flat[order]
    first = adjit.ones(shape_of(flat), dtype=adjit.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    starts = adjit.nonzero(first).reshape(-1)
    inverse = adjit.zeros_like(order)
    inverse[order] = adjit.cumsum(first, 0) - 1
    counts = adjit.diff(starts, append=adjit.full((1,), flat.numel()))
    # Sorting is stable, so the first element of a run comes first in x too.
    return UniqueAll(ordered[starts], order[starts], inverse.reshape(shape_of(x)), counts)


def unique_counts(x: Tensor, /) -> UniqueCounts:
    """The values and how often each is there."""
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """The values, and for each element the place of its value among them."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Tensor, /) -> Tensor:
    """The values, each once."""
    return unique_all(x).values
