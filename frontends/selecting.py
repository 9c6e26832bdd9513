"""Elements chosen, replaced and combined by index tensors and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjit.composite import composite
from adjit.dims import numel_of, numpy_names, shape_of, wrap_dim
from adjit.dispatch import apply, literal, rename
from adjit.dtypes import c_name, public
from adjit.indexing import fitted, from_zero, gathered, getitem, number_like, prepared, true_positions, value_like
from adjit.ir.ops.indexing import gather as gather_op
from adjit.ir.primitive import primitive_named
from adjit.ir.types import BOOL, I32, I64, DType
from adjit.promotion import broadcast_shapes, spread
from adjit.shaping import expand, part, permute, reshape
from adjit.tensor import Tensor


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of elements that are not zero: rows of a matrix, or one vector for each axis."""
    from adjit.creation import from_numpy

    columns = true_positions(input)
    if as_tuple:
        return columns if shape_of(input) else true_positions(reshape(input, 1))
    if not shape_of(input):
        return from_numpy(np.zeros((int(input != 0), 0), np.int64))
    return from_numpy(np.stack([column.numpy() for column in columns], 1))


def argwhere(input: Tensor) -> Tensor:
    """`nonzero(input)`."""
    return nonzero(input)  # type: ignore[no-any-return]


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask is true, in a vector."""
    if mask._dtype is not BOOL:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = broadcast_shapes(shape_of(input), shape_of(mask))
    return rename(getitem(expand(input, *shape), expand(mask, *shape)), "MaskedSelect")


@numpy_names
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The entries of axis `dim` that the vector `index` names."""
    if len(shape_of(index)) > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    axis = wrap_dim(dim, len(shape_of(input)))
    return rename(gathered(input, [(axis, reshape(index, -1))]), "IndexSelect")


def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at `index` in the flat order."""
    return rename(gathered(reshape(input, -1), [(0, index)]), "Take")


def _along(op: str, input: Tensor, dim: int, index: Tensor) -> tuple[int, list[Tensor]]:
    """The axis, and full index tensors for an index that runs along it."""
    if index._dtype not in (I64, I32):
        raise RuntimeError(f"{op}(): Expected dtype int32/int64 for index")
    own, shape = tuple(shape_of(index)), tuple(shape_of(input))
    axis = wrap_dim(dim, len(shape))
    if len(own) != len(shape):
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    for place, (a, b) in enumerate(zip(own, shape, strict=True)):
        if place != axis and a > b:
            raise RuntimeError(
                f"Size does not match at dimension {place} expected index {list(own)} to be no larger than self "
                f"{list(shape)} apart from dimension {axis}"
            )
    found = []
    for place in range(len(shape)):
        if place == axis:
            found.append(from_zero(index, shape[axis], axis, RuntimeError))
        else:
            found.append(iota_like(index, place))
    return axis, found


def iota_like(index: Tensor, axis: int) -> Tensor:
    """The tensor of `index`'s shape that counts along `axis`."""
    result = apply(primitive_named("iota"), (), {"shape": tuple(shape_of(index)), "axis": axis, "dtype": I64})
    assert isinstance(result, Tensor)
    return result


def taken(input: Tensor, axis: int, index: Tensor) -> Tensor:
    """`gather` at positions that are known to be in bounds and counted from 0."""
    positions = [index if place == axis else iota_like(index, place) for place in range(len(shape_of(input)))]
    return apply(gather_op, (input, *positions), {"axes": tuple(range(len(positions)))})  # type: ignore[no-any-return]


@numpy_names
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """out[i][j][k] = input[index[i][j][k]][j][k] for dim = 0, and so on."""
    if not shape_of(input):
        return reshape(gather(reshape(input, 1), 0, reshape(index, -1)), *shape_of(index))
    _, positions = _along("gather", input, dim, index)
    result = apply(gather_op, (input, *positions), {"axes": tuple(range(len(positions)))}, name="Gather")
    assert isinstance(result, Tensor)
    return result


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` with the other axes broadcast."""
    if dim is None:
        return gather(reshape(input, -1), 0, reshape(indices, -1))
    axis = wrap_dim(dim, len(shape_of(input)))
    a, b = list(shape_of(input)), list(shape_of(indices))
    a[axis] = b[axis] = 1
    common = list(broadcast_shapes(a, b))
    common[axis] = shape_of(indices)[axis]
    indices = expand(indices, *common)
    common[axis] = shape_of(input)[axis]
    return gather(expand(input, *common), axis, indices)


# -- scatter --------------------------------------------------------------------------------------------------------
_REDUCTIONS = {
    "add": "add",
    "sum": "add",
    "multiply": "mul",
    "prod": "mul",
    "amax": "max",
    "amin": "min",
    "mean": "add",
}


@numpy_names
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """A copy of `input` with out[index[i][j]][j] = src[i][j] for dim = 0 (or combined by `reduce`)."""
    kind = "set" if reduce is None else _REDUCTIONS[reduce]
    if isinstance(src, Tensor):
        return _scattered(input, dim, index, src, kind, "Scatter")
    number = value_like(value if src is None else src, input)
    return _scattered(input, dim, index, number, kind, "ScatterBackward1")


@numpy_names
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of `input` with src[i][j] added to out[index[i][j]][j] for dim = 0."""
    return _scattered(input, dim, index, src, "add", "ScatterAdd")


@numpy_names
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy of `input` with src[i][j] combined into out[index[i][j]][j] by sum, prod, mean, amax or amin.

    Without `include_self` the elements that were there do not take part where something arrives.
    """
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}.")
    if include_self and reduce != "mean":
        return _scattered(input, dim, index, src, _REDUCTIONS[reduce], "ScatterReduce")
    return _scatter_reduce(input, dim, index, src, reduce, include_self)  # type: ignore[no-any-return]


def _neutral(reduce: str, dtype: DType) -> Any:
    """The element that leaves others as they are."""
    from adjit.numeric_limits import iinfo

    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    if dtype.is_float:
        return float("-inf") if reduce == "amax" else float("inf")
    limits = iinfo(public(dtype))
    return limits.min if reduce == "amax" else limits.max


@composite("ScatterReduce")
def _scatter_reduce(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, include_self: bool) -> Tensor:
    from adjit.elementwise import div, emit, floor_divide, where

    none = apply(primitive_named("expand"), (literal(0, I64),), {"shape": tuple(shape_of(input))})
    count = _scattered(none, dim, index, literal(1, I64), "add", "")
    base = input if include_self else where(emit("lt", "", 0, count), _neutral(reduce, input._dtype), input)
    total = _scattered(base, dim, index, src, _REDUCTIONS[reduce], "")
    if reduce != "mean":
        return total
    share = emit("add", "", count, 1) if include_self else where(emit("lt", "", 0, count), count, 1)
    return div(total, share) if input._dtype.is_float else floor_divide(total, share)


def _scattered(input: Tensor, dim: int, index: Tensor, src: Tensor, kind: str, name: str) -> Tensor:
    own = tuple(shape_of(index))
    if src._dtype is not input._dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if not shape_of(input):
        return reshape(_scattered(reshape(input, 1), 0, reshape(index, -1), reshape(src, -1), kind, name), ())
    _, positions = _along("scatter", input, dim, index)
    if not shape_of(src):
        src = expand(src, *own)
    elif tuple(shape_of(src)) != own:
        src = part(src, {axis: (0, size, 1) for axis, size in enumerate(own)}, "")
    op = primitive_named(f"scatter_{kind}")
    result = apply(op, (input, src, *positions), {"axes": tuple(range(len(positions)))}, name=name)
    assert isinstance(result, Tensor)
    return result


# -- along an axis --------------------------------------------------------------------------------------------------
@numpy_names
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """A copy of `input` with alpha times the entries of `source` added at `index` along an axis."""
    return _index_combined(input, dim, index, source if alpha == 1 else source * alpha, "add", "IndexAdd")


@numpy_names
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of `input` with the entries of `source` put at `index` along an axis."""
    return _index_combined(input, dim, index, source, "set", "IndexCopy")


@numpy_names
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of `input` with a value at `index` along an axis."""
    axis = wrap_dim(dim, len(shape_of(input)))
    shape = list(shape_of(input))
    shape[axis] = shape_of(index)[0]
    return _index_combined(input, dim, index, expand(value_like(value, input), *shape), "set", "IndexFill")


def _index_combined(input: Tensor, dim: int, index: Tensor, source: Tensor, kind: str, name: str) -> Tensor:
    ndim = len(shape_of(input))
    axis = wrap_dim(dim, ndim)
    position = from_zero(reshape(index, -1), shape_of(input)[axis], axis)
    updates = permute(source, axis, *(a for a in range(ndim) if a != axis)) if ndim else source
    op = primitive_named(f"scatter_{kind}")
    result = apply(op, (input, updates, position), {"axes": (axis,)}, name=name)
    assert isinstance(result, Tensor)
    return result


# -- masks and many axes --------------------------------------------------------------------------------------------
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` where the mask is true, `input` elsewhere."""
    if mask._dtype is not BOOL:
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {c_name(mask._dtype)}")
    if isinstance(value, Tensor) and shape_of(value):
        raise RuntimeError(
            f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {len(shape_of(value))} "
            "dimension(s)."
        )
    shape = broadcast_shapes(shape_of(input), shape_of(mask))
    operand = value_like(value, input) if isinstance(value, Tensor) else number_like(value, input)
    wide = expand(input, *shape) if tuple(shape_of(input)) != shape else input
    result = apply(primitive_named("where"), (spread(mask, shape), operand, wide), name="MaskedFill")
    assert isinstance(result, Tensor)
    return result


@composite("MaskedScatter")
def _masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    from adjit.elementwise import emit, where

    flat = reshape(mask, -1).to(I64)
    count = apply(primitive_named("cumulate_sum"), (flat,), {"axis": 0, "reverse": False})
    places = emit("mul", "", emit("sub", "", count, 1), flat)
    return where(mask, reshape(taken(reshape(source, -1), 0, places), *shape_of(mask)), input)  # type: ignore[no-any-return]


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy of `input` with the first elements of `source`, in order, where the mask is true."""
    if mask._dtype is not BOOL:
        raise RuntimeError(
            f"masked_scatter_ only supports boolean masks, but got mask with dtype {c_name(mask._dtype)}"
        )
    if source._dtype is not input._dtype:
        raise RuntimeError("masked_scatter: expected self and source to have same dtypes but got different ones")
    shape = broadcast_shapes(shape_of(input), shape_of(mask))
    if numel_of(shape) == 0:
        return input.clone()  # type: ignore[no-any-return]
    return _masked_scatter(expand(input, *shape), expand(mask, *shape), source)  # type: ignore[no-any-return]


def index_put(input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of `input` with `values` put (or added) at `indices`."""
    axes, tensors, common = prepared(input, list(enumerate(indices)))
    rest = [size for axis, size in enumerate(shape_of(input)) if axis not in axes]
    shape = (*common, *rest)
    op = primitive_named("scatter_add" if accumulate else "scatter_set")
    updates = expand(fitted(value_like(values, input), shape), *shape)
    result = apply(op, (input, updates, *tensors), {"axes": tuple(axes)}, name="IndexPut")
    assert isinstance(result, Tensor)
    return result


_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    argwhere, gather, index_add, index_copy, index_fill, index_put, index_select, masked_fill, masked_scatter,
    masked_select, nonzero, scatter, scatter_add, scatter_reduce, take, take_along_dim,
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _FUNCTIONS}
__all__ = [function.__name__ for function in _FUNCTIONS]
