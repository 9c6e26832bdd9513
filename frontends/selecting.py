"""Elements chosen by index tensors and masks, and masks that replace elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.composite import composite
from adjit.dims import numel_of, numpy_names, shape_of, wrap_dim
from adjit.dispatch import apply, literal, rename
from adjit.dtypes import c_name, title_of
from adjit.errors import explained
from adjit.indexing import getitem, number_like, true_columns, true_positions, value_like
from adjit.ir.ops.indexing import gather as gather_op
from adjit.ir.primitive import primitive_named
from adjit.ir.types import BOOL, I64
from adjit.positions import (
    check_integers,
    check_long,
    flat_error,
    positions,
    range_error,
    runtime_error,
)
from adjit.promotion import broadcast_shapes, spread
from adjit.python_data import number_of
from adjit.shaping import expand, part, reshape
from adjit.state import STATE, numbers_are_known
from adjit.tensor import Tensor


def check_index(index: Any, function: str, place: int) -> None:
    """TypeError for an index that is no tensor."""
    if not isinstance(index, Tensor):
        raise TypeError(f"{function}(): argument 'index' (position {place}) must be Tensor, not {type(index).__name__}")


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of elements that are not zero: rows of a matrix, or one vector for each axis."""
    from adjit.creation import from_numpy

    if as_tuple:
        return true_positions(input if shape_of(input) else reshape(input, 1))
    columns = true_columns(input)
    if not columns:
        return from_numpy(np.zeros((int(input != 0), 0), np.int64))
    if len(columns) == 1:
        return from_numpy(columns[0].reshape(-1, 1))
    rows = np.empty((columns[0].size, len(columns)), np.int64)
    for axis, column in enumerate(columns):
        rows[:, axis] = column
    return from_numpy(rows)


def argwhere(input: Tensor) -> Tensor:
    """`nonzero(input)`."""
    return nonzero(input)  # type: ignore[no-any-return]


def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first `size` rows of `nonzero`, filled up with `fill_value`: a shape that a trace knows.

    Shapes: input [d_1, ..., d_n] -> int64[size, n].
    """
    from adjit.joining import stack

    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    ndim, total = len(shape_of(input)), numel_of(shape_of(input))
    if ndim == 0 or size == 0 or total == 0:
        from adjit.creation import full

        return full((size, ndim), fill_value, dtype=I64)
    columns = _first_places(reshape(input, -1), size, fill_value, tuple(shape_of(input)))
    return stack(columns, 1)


@composite("")
def _first_places(flat: Tensor, size: int, fill_value: int, shape: tuple[Any, ...]) -> tuple[Tensor, ...]:
    from adjit.elementwise import emit, where

    mask = flat if flat._dtype is BOOL else emit("ne", "", flat, 0)
    ones = apply(primitive_named("cast"), (mask,), {"dtype": I64})
    rank = apply(primitive_named("cumulate_sum"), (ones,), {"axis": 0, "reverse": False})
    total = apply(primitive_named("reduce_sum"), (ones,), {"axes": (0,)})
    # Element number k of those that are not zero goes to row k; all others to a row that is cut off.
    row = where(emit("and", "", mask, emit("le", "", rank, size)), emit("sub", "", rank, 1), size)
    place = apply(primitive_named("iota"), (), {"shape": (numel_of(shape),), "axis": 0, "dtype": I64})
    blank = apply(primitive_named("iota"), (), {"shape": (size + 1,), "axis": 0, "dtype": I64})
    rows = apply(primitive_named("scatter_set"), (blank, place, row), {"axes": (0,)})
    rows = apply(primitive_named("slice"), (rows,), {"start": (0,), "size": (size,), "step": (1,)})
    filled = emit("lt", "", iota_like(rows, 0), total)
    found = []
    for coordinate in coordinates(rows, shape):
        found.append(where(filled, coordinate, fill_value))
    return tuple(found)


def coordinates(flat: Tensor, shape: tuple[Any, ...]) -> list[Tensor]:
    """For each axis of `shape`, where the row-major positions `flat` lie; the first may lie beyond."""
    from adjit.elementwise import floor_divide, remainder

    found: list[Tensor] = []
    rest = flat
    for extent in reversed(shape[1:]):
        found.append(remainder(rest, extent))
        rest = floor_divide(rest, extent)
    return [rest, *reversed(found)] if shape else []


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """For each axis of `shape`, where the row-major positions `indices` lie; positions wrap around."""
    if not isinstance(indices, Tensor):
        raise TypeError(f"unravel_index(): argument 'indices' must be Tensor, not {type(indices).__name__}")
    if not indices._dtype.is_integer:
        raise TypeError(f"expected 'indices' to be integer dtype, but got torch.{indices._dtype.long_name}")
    if not hasattr(shape, "__index__") and not isinstance(shape, (tuple, list)):
        raise TypeError(f"expected 'shape' to be int or sequence of ints, but got {type(shape)}")
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if any(size < 0 for size in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {sizes}")
    if not sizes:
        return ()
    from adjit.elementwise import remainder

    first, *others = coordinates(indices, sizes)
    return (remainder(first, sizes[0]), *others)


# -- by index -------------------------------------------------------------------------------------------------------
@numpy_names
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The entries of axis `dim` that the vector `index` names."""
    check_index(index, "index_select", 3)
    if len(shape_of(index)) > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    check_integers(index, "index_select(): Expected dtype int32 or int64 for index")
    ndim = len(shape_of(input))
    axis = wrap_dim(dim, ndim)
    if ndim == 0:
        if numel_of(shape_of(index)) != 1:
            raise RuntimeError(
                f"index_select(): Index to scalar can have only 1 value, got {numel_of(shape_of(index))} value(s)"
            )
        return reshape(index_select(reshape(input, 1), 0, index))
    at = positions(reshape(index, -1), input, axis, range_error)
    result = apply(gather_op, (input, at), {"axes": (axis,)}, name="IndexSelect")
    if axis:
        order = (*range(1, axis + 1), 0, *range(axis + 1, ndim))
        result = rename(apply(primitive_named("permute"), (result,), {"perm": order}), "IndexSelect")
    return result  # type: ignore[no-any-return]


def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at `index` in the flat order."""
    check_index(index, "take", 2)
    check_long(index, f"take(): Expected a long tensor for index, but got {title_of(index._dtype)}")
    if numel_of(shape_of(input)) == 0 and numel_of(shape_of(index)) != 0:
        raise IndexError("take(): tried to take from an empty tensor")
    flat = reshape(input, -1)
    at = positions(index, flat, 0, flat_error, negative=True)
    return apply(gather_op, (flat, at), {"axes": (0,)}, name="Take")  # type: ignore[no-any-return]


def iota_like(index: Tensor, axis: int) -> Tensor:
    """The tensor of `index`'s shape that counts along `axis`."""
    result = apply(primitive_named("iota"), (), {"shape": tuple(shape_of(index)), "axis": axis, "dtype": I64})
    assert isinstance(result, Tensor)
    return result


def taken(input: Tensor, axis: int, index: Tensor) -> Tensor:
    """`gather` at positions that are known to be in bounds and counted from 0."""
    places = [index if place == axis else iota_like(index, place) for place in range(len(shape_of(input)))]
    return apply(gather_op, (input, *places), {"axes": tuple(range(len(places)))})  # type: ignore[no-any-return]


@numpy_names
def _other_rank() -> RuntimeError:
    return explained(
        RuntimeError,
        "Index tensor must have the same number of dimensions as input tensor",
        hint="index has one axis for each of {input}, as in {index}.unsqueeze(1)",
    )


@numpy_names
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """out[i][j][k] = input[index[i][j][k]][j][k] for dim = 0, and so on."""
    check_index(index, "gather", 3)
    own, shape = tuple(shape_of(index)), tuple(shape_of(input))
    axis = wrap_dim(dim, len(shape))
    if any(isinstance(size, int) and size == 0 for size in own):
        none = part(reshape(input, -1), {0: (0, 0, 1)}, "")
        return rename(reshape(none, own), "Gather")
    check_integers(index, "gather(): Expected dtype int32/int64 for index")
    if not shape or not own:
        flat = reshape(input, -1), reshape(index, -1)
        if max(len(shape), len(own)) > 1:
            raise _other_rank()
        return reshape(gather(flat[0], 0, flat[1]), own)
    if len(own) != len(shape):
        raise _other_rank()
    for place, (a, b) in enumerate(zip(own, shape, strict=True)):
        if place != axis and a > b:
            raise RuntimeError(
                f"Size does not match at dimension {place} expected index {list(own)} to be no larger than self "
                f"{list(shape)} apart from dimension {axis}"
            )
    at = positions(index, input, axis, runtime_error)
    places = [at if place == axis else iota_like(index, place) for place in range(len(shape))]
    return apply(gather_op, (input, *places), {"axes": tuple(range(len(places)))}, name="Gather")  # type: ignore[no-any-return]


@numpy_names
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` with the other axes broadcast."""
    name = title_of(indices._dtype)
    check_long(indices, f"torch.take_along_dim(): dtype of indices should be Long but got {name}")
    if dim is None:
        return gather(reshape(input, -1), 0, reshape(indices, -1))
    ndim, own = len(shape_of(input)), len(shape_of(indices))
    if ndim != own:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{ndim} dimensions for input, and {own} dimensions for indices"
        )
    axis = wrap_dim(dim, ndim)
    if not ndim:
        return gather(input, 0, indices)
    a, b = list(shape_of(input)), list(shape_of(indices))
    a[axis] = b[axis] = 1
    common = list(broadcast_shapes(a, b))
    common[axis] = shape_of(indices)[axis]
    indices = expand(indices, *common)
    common[axis] = shape_of(input)[axis]
    wide = expand(input, *common)
    return gather(wide, axis, positions(indices, wide, axis, runtime_error, negative=True))


# -- by mask --------------------------------------------------------------------------------------------------------
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask is true, in a vector."""
    if mask._dtype is not BOOL:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    if shape_of(mask) == shape_of(input) != ():
        return rename(getitem(input, mask), "MaskedSelect")
    shape = broadcast_shapes(shape_of(mask), shape_of(input)) or (1,)
    return rename(getitem(expand(input, *shape), expand(mask, *shape)), "MaskedSelect")


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` where the mask is true, `input` elsewhere."""
    if mask._dtype is not BOOL:
        raise explained(
            RuntimeError,
            f"masked_fill_ only supports boolean masks, but got mask with dtype {c_name(mask._dtype)}",
            hint="make it boolean, as in {mask}.bool() or {mask} > 0",
        )
    if isinstance(value, Tensor) and shape_of(value):
        raise RuntimeError(
            f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {len(shape_of(value))} "
            "dimension(s)."
        )
    if not isinstance(value, (Tensor, bool, int, float, complex, np.number, np.bool_)):
        raise TypeError(
            "masked_fill() received an invalid combination of arguments - got (Tensor, "
            f"{type(value).__name__}), but expected one of:\n * (Tensor mask, Tensor value)\n * (Tensor mask, Number "
            "value)"
        )
    if isinstance(value, Tensor) and numbers_are_known():
        number_of(value.item(), input._dtype)
    shape = broadcast_shapes(shape_of(input), shape_of(mask))
    operand = value_like(value, input) if isinstance(value, Tensor) else _number(value, input)
    wide = expand(input, *shape) if tuple(shape_of(input)) != shape else input
    result = apply(primitive_named("where"), (spread(mask, shape), operand, wide), name="MaskedFill")
    assert isinstance(result, Tensor)
    return result


def _number(value: Any, input: Tensor) -> Any:
    """A number as a literal of the tensor's dtype.  RuntimeError where the dtype cannot hold it."""
    found = number_like(value, input)
    return literal(found, input._dtype) if isinstance(found, complex) else found


@composite("MaskedScatter")
def _masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    from adjit.elementwise import emit, where

    flat = apply(primitive_named("cast"), (reshape(mask, -1),), {"dtype": I64})
    count = apply(primitive_named("cumulate_sum"), (flat,), {"axis": 0, "reverse": False})
    places = emit("mul", "", emit("sub", "", count, 1), flat)
    return where(mask, reshape(taken(reshape(source, -1), 0, places), *shape_of(mask)), input)  # type: ignore[no-any-return]


def placeable(input: Tensor, mask: Any, source: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """A mask of all elements and enough elements for it, as NumPy takes them in eager mode; None where there is more
    to do."""
    if STATE.tracer is not None or STATE.checks is not None or input._array is None or not isinstance(mask, Tensor):
        return None
    if mask._dtype is not BOOL or not isinstance(source, Tensor) or source._dtype is not input._dtype:
        return None
    where, values = mask._array, source._array
    if where is None or values is None or where.shape != input._array.shape or not where.ndim or not values.size:
        return None
    if STATE.recording and (input.requires_grad or source.requires_grad):
        return None
    return (where, values) if values.size >= where.size or np.count_nonzero(where) <= values.size else None


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy of `input` with the first elements of `source`, in order, where the mask is true."""
    found = placeable(input, mask, source)
    if found is not None:
        array = np.array(input._array, order="C")
        np.place(array, *found)
        return Tensor._wrap(array, input._dtype)
    if mask._dtype is not BOOL:
        raise RuntimeError(
            f"masked_scatter_ only supports boolean masks, but got mask with dtype {c_name(mask._dtype)}"
        )
    if source._dtype is not input._dtype:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes but got"
            f"{title_of(input._dtype)} and {title_of(source._dtype)}"
        )
    shape = broadcast_shapes(shape_of(input), shape_of(mask))
    if numel_of(shape) == 0:
        return expand(input, *shape).clone()  # type: ignore[no-any-return]
    mask = expand(mask, *shape)
    available = numel_of(shape_of(source))
    if mask._array is not None and int(np.count_nonzero(mask._array)) > available:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    if available == 0:
        return expand(input, *shape).clone()  # type: ignore[no-any-return]
    return _masked_scatter(expand(input, *shape), mask, source)  # type: ignore[no-any-return]


_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    argwhere, gather, index_select, masked_fill, masked_scatter, masked_select, nonzero, nonzero_static, take,
    take_along_dim,
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _FUNCTIONS}
__all__ = [*METHODS, "unravel_index"]
