"""Order: sort, topk, unique, search."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.dims import shape_of, wrap_dim
from adjit.dispatch import apply
from adjit.ir.primitive import PRIMITIVES
from adjit.reductions import _NamedResult
from adjit.state import STATE
from adjit.tensor import Tensor

_Pair = namedtuple("sort", ("values", "indices"))


class sort_result(_NamedResult, _Pair):
    """Values and indices."""

    __slots__ = ()


class topk_result(_NamedResult, _Pair):
    """Values and indices."""

    __slots__ = ()


class median_result(_NamedResult, _Pair):
    """Values and indices."""

    __slots__ = ()


sort_result.__name__, topk_result.__name__, median_result.__name__ = "sort", "topk", "median"


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """(values, indices) in order along an axis; always stable, NaN counts as the greatest."""
    if not shape_of(input):
        from adjit.creation import zeros
        from adjit.shaping import clone

        return sort_result(clone(input), zeros((), dtype="i8"))
    attributes = {"axis": wrap_dim(dim, len(shape_of(input))), "descending": descending}
    return sort_result(*apply(PRIMITIVES["sort"], (input,), attributes, name="Sort"))


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that put an axis in order."""
    return sort(input, dim, descending)[1]  # type: ignore[no-any-return]


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k greatest (or least) along an axis, with indices."""
    from adjit.shaping import narrow

    axis = wrap_dim(dim, len(shape_of(input)))
    if not 0 <= k <= shape_of(input)[axis]:
        raise RuntimeError("selected index k out of range")
    values, indices = sort(input, axis, largest)
    return topk_result(narrow(values, axis, 0, k), narrow(indices, axis, 0, k))


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th least along an axis, with its index."""
    from adjit.shaping import select, unsqueeze

    axis = wrap_dim(dim, len(shape_of(input)))
    values, indices = sort(input, axis)
    found = select(values, axis, k - 1), select(indices, axis, k - 1)
    return sort_result(*(unsqueeze(x, axis) for x in found)) if keepdim else sort_result(*found)


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle value (the lower of two); along `dim`, (values, indices)."""
    if dim is None:
        flat = input.reshape(-1)
        return kthvalue(flat, (int(shape_of(flat)[0]) + 1) // 2)[0]
    axis = wrap_dim(dim, len(shape_of(input)))
    return median_result(*kthvalue(input, (int(shape_of(input)[axis]) + 1) // 2, axis, keepdim))


def _concrete(input: Tensor, what: str) -> np.ndarray:
    if input._array is None:
        assert STATE.tracer is not None
        raise STATE.tracer.concrete_needed(input, what)
    return input._array


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct values in order, and on request each element's place and how often each occurs."""
    from adjit.creation import from_numpy

    found = np.unique(_concrete(input, "unique()"), return_inverse=True, return_counts=True, axis=dim)
    values, inverse, counts = found
    if dim is None:
        inverse = inverse.reshape(_concrete(input, "unique()").shape)
    results = [from_numpy(values)]
    if return_inverse:
        results.append(from_numpy(inverse.astype(np.int64)))
    if return_counts:
        results.append(from_numpy(counts.astype(np.int64)))
    return results[0] if len(results) == 1 else tuple(results)


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each small integer occurs."""
    from adjit.creation import from_numpy

    weight = None if weights is None else _concrete(weights, "bincount()")
    found = np.bincount(_concrete(input, "bincount()"), weight, minlength)
    return from_numpy(found.astype(np.int64 if weights is None else found.dtype))


def searchsorted(sorted_sequence: Tensor, input: Any, *, right: bool = False, side: str | None = None) -> Tensor:
    """Where values would be inserted to keep the last axis in order: how many entries are less (or not greater)."""
    from adjit.elementwise import operands_of
    from adjit.promotion import promote_dtypes
    from adjit.reductions import sum as total
    from adjit.shaping import unsqueeze

    (values,) = operands_of("searchsorted", input)
    edges, values = promote_dtypes([sorted_sequence, values])
    wide = unsqueeze(values, -1)
    if len(shape_of(edges)) > 1:
        edges = unsqueeze(edges, -2)
    return total(edges <= wide if right or side == "right" else edges < wide, -1)


def bucketize(input: Any, boundaries: Tensor, *, right: bool = False) -> Tensor:
    """The bucket between boundaries that each value falls in."""
    return searchsorted(boundaries, input, right=right)


_PUBLIC = (
    "argsort", "bincount", "bucketize", "kthvalue", "median", "searchsorted", "sort", "topk", "unique",
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {
    name: globals()[name] for name in _PUBLIC if name not in ("bucketize", "searchsorted")
}
__all__ = list(_PUBLIC)
