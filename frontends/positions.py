"""Index tensors as positions: counted from 0, inside the axis, with PyTorch's error where one is not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from adjit.dims import shape_of
from adjit.dispatch import apply
from adjit.errors import explained
from adjit.ir.primitive import primitive_named
from adjit.ir.types import I32, I64
from adjit.state import STATE
from adjit.tensor import Tensor

# The error for an index that is outside an axis, given index, axis and extent.
Outside = Callable[[int, int, int], Exception]
_RANGE = "indices lie between 0 and the size of the axis - 1"


def index_error(index: int, axis: int, extent: int) -> Exception:
    """The error of indexing."""
    return explained(IndexError, f"index {index} is out of bounds for dimension {axis} with size {extent}", hint=_RANGE)


def runtime_error(index: int, axis: int, extent: int) -> Exception:
    """The error of gather and scatter."""
    first = f"index {index} is out of bounds for dimension {axis} with size {extent}"
    return explained(RuntimeError, first, hint=_RANGE)


def range_error(index: int, axis: int, extent: int) -> Exception:
    """The error of index_select and index_reduce."""
    return explained(IndexError, "index out of range in self", hint=_RANGE)


def flat_error(index: int, axis: int, extent: int) -> Exception:
    """The error of take and put."""
    first = f"out of range: tried to access index {index} on a tensor of {extent} elements."
    return explained(IndexError, first, hint=_RANGE)


def positions(index: Tensor, input: Tensor, axis: int, outside: Outside, *, negative: bool = False) -> Tensor:
    """`index` in int64; with `negative`, entries below 0 are counted from the end of the axis.

    Errors: `outside` where one lies outside the axis of `input`, now or when the compiled program runs.
    """
    if index._dtype is not I64:
        index = apply(primitive_named("cast"), (index,), {"dtype": I64})
    extent = shape_of(input)[axis]
    explain = partial(_wrong, axis=axis, outside=outside, negative=negative)
    if STATE.tracer is not None:
        STATE.tracer.on_fault((index, input), explain)
    elif index._array is not None and input._array is not None:
        error = explain(index._array, input._array)
        if error is not None:
            raise error
        if not (negative and index._array.size and int(index._array.min()) < 0):
            return index
    if not negative:
        return index
    below = apply(primitive_named("lt"), (index, 0))
    shifted = apply(primitive_named("add"), (index, extent))
    return apply(primitive_named("where"), (below, shifted, index))  # type: ignore[no-any-return]


def _wrong(array: np.ndarray, input: np.ndarray, axis: int, outside: Outside, negative: bool) -> Exception | None:
    """The error for the first index outside the axis; None where all are inside."""
    extent = input.shape[axis]
    if not array.size:
        return None
    least = -extent if negative else 0
    if least <= int(array.min()) and int(array.max()) < extent:
        return None
    return outside(int(array[(array < least) | (array >= extent)].flat[0]), axis, extent)


def check_integers(index: Any, message: str, error: type[Exception] = RuntimeError) -> None:
    """The error for an index of another dtype than int32 or int64."""
    if index._dtype is not I64 and index._dtype is not I32:
        raise error(message)


def check_long(index: Tensor, message: str, error: type[Exception] = RuntimeError) -> None:
    """The error for an index of another dtype than int64."""
    if index._dtype is not I64:
        raise error(message)
