"""Indexing in NumPy's forms: views for ints and slices, gathers for tensors and masks; and assignment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjit.dims import numel_of, shape_of, wrap_dim
from adjit.dispatch import apply, literal, rename
from adjit.ir.ops.indexing import gather as gather_op
from adjit.ir.ops.structure import permute as permute_op
from adjit.ir.ops.structure import reshape as reshape_op
from adjit.ir.primitive import primitive_named
from adjit.ir.types import BOOL, I64, U8
from adjit.shaping import expand, part, permute, reshape, unsqueeze
from adjit.state import STATE
from adjit.symbolic_size import SymbolicSize
from adjit.tensor import Tensor
from adjit.views import check_writable, write
from adjit.views import view as make_view


# -- reading --------------------------------------------------------------------------------------------------------
def getitem(input: Tensor, index: Any) -> Tensor:
    """`input[index]`: a view for ints, slices, None and `...`; a copy where a tensor or a list takes part."""
    viewed, advanced = _basic(input, _items(input, index))
    if not advanced:
        return viewed
    return _gather(viewed, advanced)


def _items(input: Tensor, index: Any) -> list[Any]:
    """The index as a list without Ellipsis, one item for each axis (a mask counts for its rank)."""
    items = list(index) if isinstance(index, tuple) else [index]
    items = [_as_item(item) for item in items]
    used = sum(_axes_of(item) for item in items)
    ndim = len(shape_of(input))
    if used > ndim == 0 and isinstance(items[0], int):
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a "
            "0-dim tensor to a number"
        )
    if used > ndim:
        raise IndexError(f"too many indices for tensor of dimension {ndim}")
    dots = [position for position, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    fill: list[Any] = [slice(None)] * (ndim - used)
    if dots:
        return items[: dots[0]] + fill + items[dots[0] + 1 :]
    return items + fill


def _as_item(item: Any) -> Any:
    if item is None or item is Ellipsis or isinstance(item, (slice, SymbolicSize, Tensor)):
        return item
    if isinstance(item, (bool, np.bool_)):
        return bool(item)
    if isinstance(item, (list, tuple, np.ndarray, range)):
        from adjit.creation import tensor
        from adjit.trace import outside

        with outside():
            return tensor(list(item) if isinstance(item, range) else item)
    if hasattr(item, "__index__"):
        return item.__index__()
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
        f"(got {type(item).__name__})"
    )


def _is_mask(item: Any) -> bool:
    return isinstance(item, Tensor) and item._dtype in (BOOL, U8)


def _axes_of(item: Any) -> int:
    if item is None or item is Ellipsis or isinstance(item, bool):
        return 0
    return len(shape_of(item)) if _is_mask(item) else 1


def _basic(input: Tensor, items: Sequence[Any]) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """The view that the basic items make, and the tensor items with their axes in it."""
    shape = tuple(shape_of(input))
    cuts: dict[int, tuple[Any, Any, int]] = {}
    kept: list[Any] = []
    advanced: list[tuple[int, Tensor]] = []
    axis = 0
    name = "Alias"
    for item in items:
        if item is None:
            kept.append(1)
            name = "Unsqueeze"
        elif isinstance(item, bool):
            from adjit.creation import tensor

            advanced.append((len(kept), tensor([item])))
            kept.append(1)
        elif isinstance(item, slice):
            start, size, step = slice_bounds(item, shape[axis])
            if not (start == 0 and step == 1 and size == shape[axis]):
                cuts[axis] = (start, size, step)
                name = "Slice"
            kept.append(size)
            axis += 1
        elif isinstance(item, Tensor):
            if _is_mask(item):
                _check_mask(item, shape, axis)
                advanced.append((len(kept), item))
                count = len(shape_of(item))
                kept.extend(shape[axis : axis + count])
                axis += count
            else:
                if not item._dtype.is_integer:
                    raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
                advanced.append((len(kept), item))
                kept.append(shape[axis])
                axis += 1
        else:
            extent = shape[axis]
            if not -extent <= item < extent:
                raise IndexError(f"index {item} is out of bounds for dimension {axis} with size {extent}")
            cuts[axis] = (item + extent if item < 0 else item, 1, 1)
            name = "Select"
            axis += 1
    result = part(input, cuts, "" if name in ("Select", "Unsqueeze") else name) if cuts else input
    if tuple(kept) != tuple(shape_of(result)) or (result is input and not advanced):
        result = make_view(reshape_op, result, {"shape": tuple(kept)}, name)
    return result, advanced


def slice_bounds(item: slice, extent: Any) -> tuple[Any, Any, int]:
    """(start, size, step) of a slice over an axis; the step must be positive."""
    step = 1 if item.step is None else item.step.__index__()
    if step <= 0:
        raise ValueError("step must be greater than zero")
    start = _clipped(0 if item.start is None else item.start, extent)
    stop = extent if item.stop is None else _clipped(item.stop, extent)
    length = stop - start
    size = (length + step - 1) // step if length > 0 else 0
    return (start if size != 0 else 0), size, step


def _clipped(position: Any, extent: Any) -> Any:
    if not isinstance(position, SymbolicSize):
        position = position.__index__()
    if position < 0:
        position = position + extent
        return position if position >= 0 else 0
    return position if position <= extent else extent


def _check_mask(mask: Tensor, shape: Sequence[Any], axis: int) -> None:
    for place, (a, b) in enumerate(zip(shape_of(mask), shape[axis:], strict=False)):
        if a != b:
            raise IndexError(
                f"The shape of the mask {list(shape_of(mask))} at index {place} does not match the shape of the "
                f"indexed tensor {list(shape)} at index {axis + place}"
            )


def _positions(advanced: Sequence[tuple[int, Tensor]]) -> list[tuple[int, Tensor]]:
    """Integer index tensors, a mask becoming one for each of its axes."""
    found: list[tuple[int, Tensor]] = []
    for axis, item in advanced:
        if _is_mask(item):
            found.extend((axis + place, column) for place, column in enumerate(nonzero(item, as_tuple=True)))
        else:
            found.append((axis, item))
    return found


def _prepared(input: Tensor, advanced: Sequence[tuple[int, Tensor]]) -> tuple[list[int], list[Tensor], tuple[Any, ...]]:
    """Axes, index tensors (counted from 0, of one shape) and that shape."""
    from adjit.promotion import broadcast_shapes

    positions = _positions(advanced)
    try:
        common = tuple(broadcast_shapes(*(shape_of(item) for _, item in positions)))
    except RuntimeError:
        shapes = ", ".join(str(list(shape_of(item))) for _, item in positions)
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
        ) from None
    shape = tuple(shape_of(input))
    tensors = [_from_zero(expand(item, *common), shape[axis], axis) for axis, item in positions]
    return [axis for axis, _ in positions], tensors, common


def _from_zero(index: Tensor, extent: Any, axis: int) -> Tensor:
    """An index tensor with negative entries counted from the end.  IndexError for one out of bounds, in eager mode."""
    if index._dtype is not I64:
        index = apply(primitive_named("cast"), (index,), {"dtype": I64})
    if index._array is not None and STATE.tracer is None:
        array = index._array
        if array.size:
            low, high = int(array.min()), int(array.max())
            if low < -extent or high >= extent:
                wrong = low if low < -extent else high
                raise IndexError(f"index {wrong} is out of bounds for dimension {axis} with size {extent}")
            if low >= 0:
                return index
    negative = apply(primitive_named("lt"), (index, 0))
    shifted = apply(primitive_named("add"), (index, extent))
    result = apply(primitive_named("where"), (negative, shifted, index))
    assert isinstance(result, Tensor)
    return result


def _place_of(axes: Sequence[int]) -> int | None:
    """Where the index's own axes go: the place of the first, or the front if the axes are not adjacent."""
    return axes[0] if list(axes) == list(range(axes[0], axes[0] + len(axes))) else None


def _gather(input: Tensor, advanced: Sequence[tuple[int, Tensor]]) -> Tensor:
    axes, tensors, common = _prepared(input, advanced)
    result = apply(gather_op, (input, *tensors), {"axes": tuple(axes)}, name="Index")
    assert isinstance(result, Tensor)
    place = _place_of(axes)
    if place:
        order = _order(len(common), len(shape_of(input)) - len(axes), place)
        result = rename(apply(permute_op, (result,), {"perm": order}), "Index")
    return result


def _order(own: int, rest: int, place: int) -> tuple[int, ...]:
    """The permutation that moves the first `own` axes behind `place` of the `rest` axes."""
    before = tuple(range(own, own + place))
    return (*before, *range(own), *range(own + place, own + rest))


# -- writing --------------------------------------------------------------------------------------------------------
def setitem(input: Tensor, index: Any, value: Any) -> None:
    """`input[index] = value`."""
    from adjit.inplace import copy_

    check_writable(input)
    viewed, advanced = _basic(input, _items(input, index))
    value = _value_like(value, input)
    if not advanced:
        target = shape_of(viewed)
        copy_(viewed, _fitted(value, target))
        return
    if len(advanced) == 1 and _is_mask(advanced[0][1]) and numel_of(shape_of(value)) == 1:
        _fill_mask(viewed, *advanced[0], value)
        return
    axes, tensors, common = _prepared(viewed, advanced)
    rest = [size for axis, size in enumerate(shape_of(viewed)) if axis not in axes]
    place = _place_of(axes) or 0
    shape = (*rest[:place], *common, *rest[place:])
    value = _fitted(value, shape)
    order = (*range(place, place + len(common)), *range(place), *range(place + len(common), len(shape)))
    updates = permute(expand(value, *shape), *order) if shape else value
    op = primitive_named("scatter_set")
    write(viewed, apply(op, (viewed, updates, *tensors), {"axes": tuple(axes)}, name="IndexPut"))


def _value_like(value: Any, target: Tensor) -> Tensor:
    """The value as a tensor of the target's dtype."""
    from adjit.creation import tensor
    from adjit.dtypes import public
    from adjit.trace import outside

    if isinstance(value, (bool, int, float)):
        return literal(_number(value, target), target._dtype)
    if not isinstance(value, Tensor):
        with outside():
            value = tensor(value, dtype=public(target._dtype))
    if value._dtype is not target._dtype:
        value = apply(primitive_named("cast"), (value,), {"dtype": target._dtype})
    assert isinstance(value, Tensor)
    return value


def _fitted(value: Tensor, shape: Sequence[Any]) -> Tensor:
    """The value without leading axes of size 1 that the place does not have."""
    own = tuple(shape_of(value))
    while len(own) > len(shape) and own[0] == 1:
        own = own[1:]
    if len(own) > len(shape) or any(a != 1 and a != b for a, b in zip(reversed(own), reversed(shape), strict=False)):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(shape_of(value))} cannot be broadcast to indexing result of "
            f"shape {list(shape)}"
        )
    return value if own == tuple(shape_of(value)) else reshape(value, *own)


def _fill_mask(target: Tensor, axis: int, mask: Tensor, value: Tensor) -> None:
    """Put one value wherever the mask is true."""
    from adjit.inplace import masked_fill_

    trailing = len(shape_of(target)) - axis - len(shape_of(mask))
    wide = mask
    for _ in range(trailing):
        wide = unsqueeze(wide, -1)
    masked_fill_(target, wide, reshape(value, ()))


# -- functions ------------------------------------------------------------------------------------------------------
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of elements that are not zero: rows of a matrix, or one vector for each axis."""
    from adjit.creation import from_numpy

    if input._array is None:
        assert STATE.tracer is not None
        raise STATE.tracer.concrete_needed(input, "nonzero() (a mask as index)")
    columns = np.nonzero(input._array)
    if as_tuple:
        return tuple(from_numpy(np.ascontiguousarray(column)) for column in columns)
    return from_numpy(np.ascontiguousarray(np.stack(columns, 1) if columns else np.zeros((1, 0), np.int64)))


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask is true, in a vector."""
    from adjit.promotion import broadcast_shapes

    shape = broadcast_shapes(shape_of(input), shape_of(mask))
    return rename(getitem(expand(input, *shape), expand(mask, *shape)), "MaskedSelect")


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The entries of axis `dim` that the vector `index` names."""
    if len(shape_of(index)) > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    axis = wrap_dim(dim, len(shape_of(input)))
    result = _gather(input, [(axis, reshape(index, -1))])
    return rename(result, "IndexSelect")


def _along(input: Tensor, dim: int, index: Tensor) -> tuple[int, list[Tensor]]:
    """The axis, and full index tensors for an index that runs along it."""
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
            found.append(_from_zero(index, shape[axis], axis))
        else:
            found.append(iota_like(index, place))
    return axis, found


def iota_like(index: Tensor, axis: int) -> Tensor:
    """The tensor of `index`'s shape that counts along `axis`."""
    result = apply(primitive_named("iota"), (), {"shape": tuple(shape_of(index)), "axis": axis, "dtype": I64})
    assert isinstance(result, Tensor)
    return result


def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """out[i][j][k] = input[index[i][j][k]][j][k] for dim = 0, and so on."""
    if not shape_of(input):
        return reshape(gather(reshape(input, 1), 0, reshape(index, -1)), *shape_of(index))
    _, positions = _along(input, dim, index)
    result = apply(gather_op, (input, *positions), {"axes": tuple(range(len(positions)))}, name="Gather")
    assert isinstance(result, Tensor)
    return result


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` with the other axes broadcast."""
    from adjit.promotion import broadcast_shapes

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


_REDUCTIONS = {"add": "add", "sum": "add", "multiply": "mul", "prod": "mul", "amax": "max", "amin": "min"}


def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """A copy of `input` with out[index[i][j]][j] = src[i][j] for dim = 0 (or combined by `reduce`)."""
    source = _value_like(value if src is None else src, input)
    kind = "set" if reduce is None else _REDUCTIONS[reduce]
    return _scattered(input, dim, index, source, kind, "Scatter")


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of `input` with src[i][j] added to out[index[i][j]][j] for dim = 0."""
    return _scattered(input, dim, index, src, "add", "ScatterAdd")


def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """`scatter` combined by sum, prod, amax or amin."""
    if reduce not in ("sum", "prod", "amax", "amin") or not include_self:
        raise NotImplementedError(
            f"scatter_reduce: reduce={reduce!r}, include_self={include_self}: sum, prod, amax and amin that "
            "include self are supported"
        )
    kind = "mul" if reduce == "prod" else _REDUCTIONS[reduce]
    return _scattered(input, dim, index, src, kind, "ScatterReduce")


def _scattered(input: Tensor, dim: int, index: Tensor, src: Tensor, kind: str, name: str) -> Tensor:
    own = tuple(shape_of(index))
    if src._dtype is not input._dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if shape_of(src):
        src = part(src, {axis: (0, size, 1) for axis, size in enumerate(own)}, "") if own else src
    else:
        src = expand(src, *own)
    _, positions = _along(input, dim, index)
    op = primitive_named(f"scatter_{kind}")
    result = apply(op, (input, src, *positions), {"axes": tuple(range(len(positions)))}, name=name)
    assert isinstance(result, Tensor)
    return result


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """A copy of `input` with alpha times the entries of `source` added at `index` along an axis."""
    return _index_combined(input, dim, index, source if alpha == 1 else source * alpha, "add", "IndexAdd")


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of `input` with the entries of `source` put at `index` along an axis."""
    return _index_combined(input, dim, index, source, "set", "IndexCopy")


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of `input` with a value at `index` along an axis."""
    axis = wrap_dim(dim, len(shape_of(input)))
    shape = list(shape_of(input))
    shape[axis] = shape_of(index)[0]
    return _index_combined(input, dim, index, expand(_value_like(value, input), *shape), "set", "IndexFill")


def _index_combined(input: Tensor, dim: int, index: Tensor, source: Tensor, kind: str, name: str) -> Tensor:
    ndim = len(shape_of(input))
    axis = wrap_dim(dim, ndim)
    position = _from_zero(reshape(index, -1), shape_of(input)[axis], axis)
    updates = permute(source, axis, *(a for a in range(ndim) if a != axis)) if ndim else source
    op = primitive_named(f"scatter_{kind}")
    result = apply(op, (input, updates, position), {"axes": (axis,)}, name=name)
    assert isinstance(result, Tensor)
    return result


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` where the mask is true, `input` elsewhere."""
    from adjit.promotion import broadcast_shapes

    if mask._dtype is not BOOL:
        raise RuntimeError(f"expected mask dtype to be Bool but got {mask._dtype.long_name.capitalize()}")
    shape = broadcast_shapes(shape_of(input), shape_of(mask))
    where = primitive_named("where")
    operand = _value_like(value, input) if isinstance(value, Tensor) else _number(value, input)
    result = apply(where, (expand(mask, *shape), operand, expand(input, *shape)), name="MaskedFill")
    assert isinstance(result, Tensor)
    return result


def _number(value: Any, like: Tensor) -> Any:
    return float(value) if like._dtype.is_float else bool(value) if like._dtype is BOOL else int(value)


def index_put(input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of `input` with `values` put (or added) at `indices`."""
    axes, tensors, common = _prepared(input, list(enumerate(indices)))
    rest = [size for axis, size in enumerate(shape_of(input)) if axis not in axes]
    shape = (*common, *rest)
    op = primitive_named("scatter_add" if accumulate else "scatter_set")
    updates = expand(_fitted(_value_like(values, input), shape), *shape)
    result = apply(op, (input, updates, *tensors), {"axes": tuple(axes)}, name="IndexPut")
    assert isinstance(result, Tensor)
    return result


_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    gather, index_add, index_copy, index_fill, index_put, index_select, masked_fill, masked_select, nonzero, scatter,
    scatter_add, scatter_reduce, take_along_dim,
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _FUNCTIONS}
METHODS.update(__getitem__=getitem, __setitem__=setitem)
__all__ = [
    "gather", "index_add", "index_copy", "index_fill", "index_put", "index_select", "masked_fill", "masked_select",
    "nonzero", "scatter", "scatter_add", "scatter_reduce", "take_along_dim",
]  # fmt: skip
