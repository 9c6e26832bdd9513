"""Order: sort, topk, unique, search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.composite import composite
from adjit.dims import numpy_names, shape_of, wrap_dim
from adjit.dispatch import apply
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import F32, I64
from adjit.results import named_result
from adjit.state import STATE
from adjit.tensor import Tensor

sort_result = named_result("sort", "values", "indices")
topk_result = named_result("topk", "values", "indices")


@numpy_names
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """(values, indices) in order along an axis; always stable, NaN counts as the greatest."""
    if not shape_of(input):
        from adjit.creation import zeros
        from adjit.shaping import clone

        wrap_dim(dim, 0)
        return sort_result(clone(input), zeros((), dtype=I64))
    attributes = {"axis": wrap_dim(dim, len(shape_of(input))), "descending": descending}
    return sort_result(*apply(PRIMITIVES["sort"], (input,), attributes, name="Sort"))


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that put an axis in order."""
    return sort(input, dim, descending)[1]  # type: ignore[no-any-return]


@composite("Topk")
def _topk(input: Tensor, k: int, dim: int, largest: bool) -> tuple[Tensor, Tensor]:
    from adjit.selecting import taken
    from adjit.shaping import narrow

    _, order = apply(PRIMITIVES["sort"], (input.detach(),), {"axis": dim, "descending": largest})
    places = narrow(order, dim, 0, k)
    return taken(input, dim, places), places


@numpy_names
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k greatest (or least) along an axis in order, with indices."""
    axis = wrap_dim(dim, len(shape_of(input)))
    extent = shape_of(input)[axis] if shape_of(input) else 1
    if not 0 <= k <= extent:
        raise RuntimeError("selected index k out of range")
    if not shape_of(input):
        return topk_result(*sort(input))
    return topk_result(*_topk(input, k, axis, largest))


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
    if weights is None:
        return from_numpy(found.astype(np.int64))
    return from_numpy(found.astype(np.float32 if weights._dtype is F32 else np.float64))


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


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element is one of `test_elements`."""
    from adjit.creation import as_tensor
    from adjit.logic import logical_not
    from adjit.reductions import any as holds_for_any
    from adjit.shaping import reshape, unsqueeze

    given, wanted = as_tensor(elements), as_tensor(test_elements)
    found = holds_for_any(unsqueeze(given, -1) == reshape(wanted, -1), -1)
    return logical_not(found) if invert else found


_PUBLIC = (
    "argsort", "bincount", "bucketize", "isin", "searchsorted", "sort", "topk", "unique",
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {
    name: globals()[name] for name in _PUBLIC if name not in ("bucketize", "isin", "searchsorted")
}
__all__ = list(_PUBLIC)
