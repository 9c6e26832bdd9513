"""Order: sort, topk; and how often small integers occur."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from adjit.composite import composite
from adjit.dims import numpy_names, shape_of, whole, wrap_dim
from adjit.dispatch import apply
from adjit.dtypes import public, require_order, title_of
from adjit.errors import explained
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BOOL, F32, F64, I64
from adjit.promotion import cast_to
from adjit.results import named_result
from adjit.state import STATE
from adjit.tensor import Tensor

sort_result = named_result("sort", "values", "indices")
topk_result = named_result("topk", "values", "indices")


@numpy_names
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """(values, indices) in order along an axis; always stable, NaN counts as the greatest."""
    require_order(input._dtype, text=" Sort does not support complex dtypes on CPU")
    if not shape_of(input):
        from adjit.creation import zeros
        from adjit.shaping import clone

        wrap_dim(dim, 0)
        return sort_result(clone(input), zeros((), dtype=I64))
    attributes = {"axis": wrap_dim(dim, len(shape_of(input))), "descending": descending}
    return sort_result(*apply(PRIMITIVES["sort"], (input,), attributes, name="Sort"))


def msort(input: Tensor) -> Tensor:
    """The values in order along the first axis."""
    return sort(input, 0)[0]  # type: ignore[no-any-return]


@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that put an axis in order."""
    return sort(input, dim, descending)[1]  # type: ignore[no-any-return]


@composite("Topk")
def _topk(input: Tensor, k: int, dim: int, largest: bool) -> tuple[Tensor, Tensor]:
    from adjit.selecting import taken

    attributes = {"axis": dim, "descending": largest, "first": 0, "count": k}
    _, places = apply(PRIMITIVES["sort"], (input.detach(),), attributes)
    return taken(input, dim, places), places


@numpy_names
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k greatest (or least) along an axis in order, with indices."""
    axis = wrap_dim(dim, len(shape_of(input)))
    extent = shape_of(input)[axis] if shape_of(input) else 1
    k = whole(k)
    if not 0 <= k <= extent:
        raise explained(RuntimeError, "selected index k out of range", hint="k is at most the size of the axis")
    if input._dtype is BOOL:
        raise RuntimeError("topk does not support bool dtypes on CPU")
    require_order(input._dtype, text=" topk does not support complex dtypes on CPU")
    if not shape_of(input):
        return topk_result(*sort(input))
    return topk_result(*_topk(input, k, axis, largest))


def _concrete(input: Tensor, what: str) -> np.ndarray:
    if input._array is None:
        assert STATE.tracer is not None
        raise STATE.tracer.concrete_needed(input, what)
    return input._array


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each small integer occurs.

    A trace, which has no numbers, takes `minlength` for the size of the result, and its program refuses greater ones.
    """
    from adjit.creation import from_numpy

    if not input._dtype.is_integer:
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{title_of(input._dtype)}'")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if input._array is None and minlength and len(shape_of(input)) == 1:
        return _traced_counts(input, weights, minlength)
    weight = None if weights is None else _concrete(weights, "bincount()")
    numbers = _concrete(input, "bincount()")
    if numbers.ndim != 1 or (numbers.size and numbers.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weight is not None and numbers.size and weight.shape != numbers.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    found = np.bincount(numbers, weight, minlength)
    if weights is None:
        return from_numpy(found.astype(np.int64))
    return from_numpy(found.astype(np.float32 if weights._dtype is F32 else np.float64))


def _traced_counts(input: Tensor, weights: Tensor | None, size: int) -> Tensor:
    from adjit.creation import ones, zeros
    from adjit.scattering import scatter_add

    if weights is not None and shape_of(weights) != shape_of(input):
        raise RuntimeError("weights should be 1-d and have the same length as input")
    kind = I64 if weights is None else F32 if weights._dtype is F32 else F64
    given = ones(shape_of(input), dtype=public(I64)) if weights is None else cast_to(weights.detach(), kind)
    assert STATE.tracer is not None
    STATE.tracer.on_fault((input,), partial(_outside, size=size))
    return scatter_add(zeros(size, dtype=public(kind)), 0, cast_to(input, I64), given)


def _outside(numbers: np.ndarray, size: int) -> Exception | None:
    """The error for numbers that a trace has no place for."""
    if numbers.size and int(numbers.min()) < 0:
        return RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    most = int(numbers.max()) if numbers.size else 0
    return None if most < size else explained(
        RuntimeError, f"bincount: a compiled function counts minlength={size} numbers, but {most} is among them",
        hint="pass a minlength above the greatest number",
    )  # fmt: skip


_PUBLIC = ("argsort", "bincount", "msort", "sort", "topk")
METHODS: dict[str, Callable[..., Any]] = {name: globals()[name] for name in _PUBLIC}
__all__ = list(_PUBLIC)
