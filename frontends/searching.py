"""Search in sorted values, membership, and distinct values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjit.composite import composite
from adjit.conversion import concrete
from adjit.dims import shape_of, wrap_dim
from adjit.dispatch import apply
from adjit.dtypes import require_order, title_of
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BOOL, I32, I64
from adjit.tensor import Tensor


# -- search -----------------------------------------------------------------------------------------------------------
def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where values would be inserted to keep the last axis in order: before equal ones, or with `right` behind them.

    Shapes: sorted_sequence [n], input [*S] -> [*S]; or sorted_sequence [*D, n], input [*D, m] -> [*D, m].
    Values that are not less than any boundary, NaN among them, go to the end.
    """
    _check_side(side, right)
    if sorter is not None:
        sorted_sequence = _in_order(sorted_sequence, sorter)
    _check_boundaries(sorted_sequence, input)
    return _found(sorted_sequence, input, right or side == "right", out_int32)


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The bucket between boundaries that each value falls in."""
    if isinstance(boundaries, (bool, int, float)):
        got = f"{type(input).__name__}, {type(boundaries).__name__}"
        raise TypeError(
            f"bucketize() received an invalid combination of arguments - got ({got}), but expected one of:\n"
            " * (Tensor input, Tensor boundaries, *, bool out_int32, bool right, Tensor out)\n"
            " * (Number self, Tensor boundaries, *, bool out_int32, bool right)"
        )
    if len(shape_of(boundaries)) != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({len(shape_of(boundaries))})")
    return _found(boundaries, input, right, out_int32)


def _check_side(side: str | None, right: bool) -> None:
    if side is not None and side not in ("left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )


def _in_order(values: Tensor, sorter: Tensor) -> Tensor:
    from adjit.selecting import gather

    own, given = list(shape_of(values)), list(shape_of(sorter))
    if own != given:
        raise RuntimeError(
            "torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor "
            f"{own}and got sorter tensor {given}"
        )
    if sorter._dtype is not I64:
        raise RuntimeError(
            f"torch.searchsorted(): sorter must be a tensor of long dtype but got dtype {title_of(sorter._dtype)}"
        )
    array = sorter._array
    if array is not None and array.size and not 0 <= int(array.min()) <= int(array.max()) < own[-1]:
        raise RuntimeError("torch.searchsorted(): sorter index out of range")
    return gather(values, -1, sorter)


def _check_boundaries(boundaries: Tensor, input: Any) -> None:
    shape = list(shape_of(boundaries))
    if not shape:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension"
        )
    if len(shape) == 1:
        return
    own = list(shape_of(input)) if isinstance(input, Tensor) else []
    if not own:
        raise RuntimeError(
            "torch.searchsorted(): input value can be a scalar only when boundaries tensor dimension is 1, but we got "
            f"boundaries tensor dim({len(shape)}) and input value's dim(0) numel(1)"
        )
    if own[:-1] != shape[:-1] or len(own) != len(shape):
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
            f"tensor and input value tensor must match, but we got boundaries tensor {shape} and input value tensor "
            f"{own}"
        )


def _found(edges: Tensor, input: Any, right: bool, out_int32: bool) -> Tensor:
    from adjit.creation import as_tensor
    from adjit.elementwise import operands_of
    from adjit.promotion import cast_to, promote_dtypes

    (values,) = operands_of("searchsorted", input if isinstance(input, Tensor) else as_tensor(input))
    edges, values = (part.detach() for part in promote_dtypes([edges, values]))
    return cast_to(_searched(edges, values, right), I32 if out_int32 else I64)


@composite("", "searchsorted")
def _searched(edges: Tensor, values: Tensor, right: bool) -> Tensor:
    """By halving: every value at once goes right by a power of two while the boundary there is not beyond it."""
    from adjit.elementwise import emit, where
    from adjit.selecting import taken

    extent = shape_of(edges)[-1]
    place = apply(PRIMITIVES["expand"], (_zero(),), {"shape": tuple(shape_of(values))})
    if not isinstance(extent, int):
        return _counted(edges, values, right)
    step = 1 << extent.bit_length() >> 1
    while step:
        probe = emit("add", "", place, step)
        at = emit("minimum", "", emit("sub", "", probe, 1), extent - 1)
        if len(shape_of(edges)) == 1:
            edge = apply(PRIMITIVES["gather"], (edges, at), {"axes": (0,)})
        else:
            edge = taken(edges, len(shape_of(edges)) - 1, at)
        beyond = emit("lt", "", values, edge) if right else emit("le", "", values, edge)
        goes = emit("and", "", emit("le", "", probe, extent), emit("not", "", beyond))
        place = where(goes, probe, place)
        step >>= 1
    return place  # type: ignore[no-any-return]


def _zero() -> Tensor:
    from adjit.dispatch import literal

    return literal(0, I64)


def _counted(edges: Tensor, values: Tensor, right: bool) -> Tensor:
    """For an open number of boundaries: how many are not beyond each value."""
    from adjit.elementwise import emit
    from adjit.reductions import sum as total
    from adjit.shaping import expand, reshape

    shape, own = tuple(shape_of(values)), tuple(shape_of(edges))
    wide = (*shape, own[-1])
    row = reshape(edges, *own[:-1], *(1,) * (len(wide) - len(own)), own[-1]) if len(own) > 1 else edges
    column = expand(reshape(values, *shape, 1), *wide)
    row = expand(row, *wide)
    beyond = emit("lt", "", column, row) if right else emit("le", "", column, row)
    return total(emit("not", "", beyond), -1)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element is one of `test_elements`."""
    from adjit.creation import as_tensor
    from adjit.logic import logical_not
    from adjit.promotion import promote_dtypes
    from adjit.shaping import reshape

    if not isinstance(elements, Tensor) and not isinstance(test_elements, Tensor):
        got = f"{type(elements).__name__}, {type(test_elements).__name__}"
        raise TypeError(
            f"isin() received an invalid combination of arguments - got ({got}), but expected one of:\n"
            " * (Number element, Tensor test_elements, *, bool assume_unique, bool invert, Tensor out)\n"
            " * (Tensor elements, Number test_element, *, bool assume_unique, bool invert, Tensor out)\n"
            " * (Tensor elements, Tensor test_elements, *, bool assume_unique, bool invert, Tensor out)"
        )
    pair = as_tensor(elements), as_tensor(test_elements)
    for part in pair:
        if part._dtype is BOOL:
            raise RuntimeError("Unsupported input type encountered for isin(): Bool")
    given, wanted = promote_dtypes(pair)
    found = _member(given.detach(), reshape(wanted.detach(), -1))
    return logical_not(found) if invert else found


@composite("", "isin")
def _member(given: Tensor, wanted: Tensor) -> Tensor:
    """Each element beside the one that it meets in the sorted list."""
    from adjit.elementwise import emit

    extent = shape_of(wanted)[0]
    if extent == 0:
        return _none(given)
    ordered, _ = apply(PRIMITIVES["sort"], (wanted,), {"axis": 0, "descending": False})
    at = emit("minimum", "", _searched(ordered, given, False), extent - 1)
    return emit("eq", "", apply(PRIMITIVES["gather"], (ordered, at), {"axes": (0,)}), given)


def _none(like: Tensor) -> Tensor:
    from adjit.dispatch import literal

    return apply(PRIMITIVES["expand"], (literal(False, BOOL),), {"shape": tuple(shape_of(like))})  # type: ignore[no-any-return]


# -- distinct values --------------------------------------------------------------------------------------------------
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct values in order, and on request each element's place and how often each occurs."""
    require_order(input._dtype, "unique")
    array = concrete(input, "unique()")
    axis = None if dim is None else _axis(input, dim, "unique")
    if axis is not None and array.size == 0:
        return _nothing(input, array, return_inverse, return_counts)
    if axis is None:
        return _unique_elements(input, array, return_inverse, return_counts)
    values, inverse, counts = np.unique(
        array, return_inverse=True, return_counts=True, axis=axis, equal_nan=False
    )
    return _given(input, values, inverse.reshape(-1), counts, return_inverse, return_counts)


def _unique_elements(input: Tensor, array: np.ndarray, return_inverse: bool, return_counts: bool) -> Any:
    """The distinct elements: those that begin a run of the order."""
    ordered, order = (part._array for part in input.detach().reshape(-1).sort())
    starts = _starts(ordered)
    places = np.flatnonzero(starts)
    inverse = np.empty(array.shape if return_inverse else 0, np.int64)
    if return_inverse:
        inverse.reshape(-1)[order] = np.cumsum(starts) - 1
    return _given(input, ordered[places], inverse, _lengths(places, len(ordered)), return_inverse, return_counts)


def _starts(elements: np.ndarray) -> np.ndarray:
    """Which elements differ from the one before."""
    starts = np.ones(len(elements), bool)
    np.not_equal(elements[1:], elements[:-1], out=starts[1:])
    return starts


def _lengths(places: np.ndarray, end: int) -> np.ndarray:
    """The lengths of runs that begin at places."""
    return np.diff(np.append(places, end))


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The first of each run of equal values, and on request each element's run and how long each is."""
    require_order(input._dtype, "unique")
    array = concrete(input, "unique_consecutive()")
    axis = None if dim is None else _axis(input, dim, "unique")
    if array.size == 0 and axis is None:
        none = np.zeros(array.shape, np.int64)
        return _given(input, array.reshape(-1), none, none.reshape(-1), return_inverse, return_counts)
    if array.size == 0:
        return _nothing(input, array, return_inverse, return_counts)
    rows = array.reshape(-1) if axis is None else np.moveaxis(array, axis, 0)
    if rows.ndim == 1:
        starts = _starts(rows)
    else:
        flat = rows.reshape(len(rows), -1)
        starts = np.append(True, (flat[1:] != flat[:-1]).any(1))
    places = np.flatnonzero(starts)
    inverse = np.cumsum(starts) - 1 if return_inverse else starts
    values = rows[places] if axis is None else np.moveaxis(rows[places], 0, axis)
    return _given(input, values, inverse.reshape(array.shape) if axis is None else inverse,
                  _lengths(places, len(rows)), return_inverse, return_counts)  # fmt: skip


def _axis(input: Tensor, dim: int, name: str) -> int:
    shape = shape_of(input)
    axis = wrap_dim(dim, len(shape))
    if any(extent == 0 for place, extent in enumerate(shape) if place != axis):
        raise RuntimeError(f"There are 0 sized dimensions, and they aren't selected, so {name} cannot be applied")
    return axis


def _nothing(input: Tensor, array: np.ndarray, inverse: bool, counts: bool) -> Any:
    none = np.zeros(0, np.int64)
    return _given(input, array, none, none, inverse, counts)


def _given(
    input: Tensor, values: np.ndarray, places: np.ndarray, counts: np.ndarray, inverse: bool, count: bool
) -> Any:
    results = [Tensor._wrap(np.array(values, order="C"), input._dtype)]
    wanted: Sequence[np.ndarray] = [*((places,) if inverse else ()), *((counts,) if count else ())]
    results += [Tensor._wrap(np.array(found, np.int64), I64) for found in wanted]
    return results[0] if len(results) == 1 else tuple(results)


METHODS: dict[str, Callable[..., Any]] = {
    "unique": unique,
    "unique_consecutive": unique_consecutive,
}
__all__ = ["bucketize", "isin", "searchsorted", "unique", "unique_consecutive"]
