"""`x[...]` in NumPy's forms: views for ints and slices, gathers for tensors and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjit.computed_slices import is_computed_slice, slice_step, with_slices
from adjit.computed_views import are_places, is_place, shown_at
from adjit.dims import numel_of, shape_of
from adjit.dispatch import apply, literal, rename
from adjit.errors import explained
from adjit.heard_numbers import as_float
from adjit.ir.ops.indexing import gather as gather_op
from adjit.ir.ops.structure import permute as permute_op
from adjit.ir.ops.structure import reshape as reshape_op
from adjit.ir.primitive import primitive_named
from adjit.ir.types import BOOL, F32, F64, I32, I64, U8
from adjit.positions import index_error, positions
from adjit.shaping import expand, part, permute, reshape
from adjit.state import STATE
from adjit.symbolic_size import SymbolicSize
from adjit.tensor import Tensor
from adjit.views import view as make_view

# Dtypes whose arrays are what NumPy takes them for.
COMMON = (F32, F64, I32, I64, BOOL)


# -- reading --------------------------------------------------------------------------------------------------------
def getitem(input: Tensor, index: Any) -> Tensor:
    """`input[index]`: a view for ints, slices, None and `...`; a copy where a tensor or a list takes part."""
    if isinstance(index, Tensor) and is_place(index):
        if STATE.tracer is None and index._array is not None and input._array is not None:
            return input[int(index._array)]  # perhaps natively
    elif isinstance(index, Tensor):
        chosen = _where_true(input, index)
        if chosen is not None:
            return chosen
    elif STATE.tracer is None and input._array is not None:
        found = with_tensors(index)
        if found is not None:
            return input[found]  # perhaps natively
    viewed, advanced = viewed_at(input, index)
    if not advanced:
        return viewed
    return shown_at(viewed, advanced) if are_places(advanced) else gathered(viewed, advanced)


def _where_true(input: Tensor, mask: Tensor) -> Tensor | None:
    """`input[mask]` of common dtypes in eager mode; None where there is more to do."""
    array, where = input._array, mask._array
    if array is None or where is None or STATE.tracer is not None or STATE.checks is not None:
        return None
    if mask._dtype is not BOOL or input._dtype not in COMMON:
        return None
    if not where.ndim or where.shape != array.shape[: where.ndim]:
        return None
    if STATE.recording and input.requires_grad:
        return input[true_positions(mask)]  # perhaps natively
    return Tensor._wrap(_compressed(array, where), input._dtype)


def _compressed(array: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`array[mask]` in row-major order."""
    if mask.ndim == 1:
        return array.compress(mask, 0)
    if mask.ndim == array.ndim:
        return array.reshape(-1).compress(mask.reshape(-1))
    return np.ascontiguousarray(array[mask])


def with_tensors(index: Any) -> Any:
    """An index with tensors for the lists of numbers and the arrays in it, and ints for tensors of one integer; None
    where there are none."""
    if type(index) is not tuple:
        return _as_item(index) if _is_given_otherwise(index) else None
    if not any(map(_is_given_otherwise, index)):
        return None
    return tuple(_as_item(item) if _is_given_otherwise(item) else item for item in index)


def _is_given_otherwise(item: Any) -> bool:
    """Whether an index item is an array, a list of numbers, or a tensor of one integer."""
    if type(item) is np.ndarray:
        return item.ndim > 0
    if isinstance(item, Tensor):
        return is_place(item)
    return type(item) is list and all(type(number) in (int, bool) for number in item)


def items_of(input: Tensor, index: Any) -> list[tuple[int, Any]]:
    """The index without Ellipsis, one item for each axis (a mask counts for its rank), with its place in the tuple."""
    several = isinstance(index, tuple) or _is_tuple_in_brackets(index)
    items = [_as_item(item) for item in (index if several else [index])]
    used = sum(_axes_of(item) for item in items)
    ndim = len(shape_of(input))
    if used > ndim == 0 and not several:
        _refuse_of_scalar(items[0])
    if used > ndim:
        raise explained(IndexError, f"too many indices for tensor of dimension {ndim}", hint=f"give at most {ndim}")
    placed = list(enumerate(items))
    dots = [place for place, item in placed if item is Ellipsis]
    fill: list[tuple[int, Any]] = [(len(items), slice(None))] * (ndim - used)
    if dots:
        return placed[: dots[0]] + fill + [pair for pair in placed[dots[0] + 1 :] if pair[1] is not Ellipsis]
    return placed + fill


def _refuse_of_scalar(item: Any) -> None:
    """IndexError for a number or a slice as the index of a 0-d tensor."""
    if isinstance(item, slice):
        raise IndexError("slice() cannot be applied to a 0-dim tensor.")
    if isinstance(item, int):
        raise IndexError(
            f"index {item} is out of bounds for dimension 0 with size 0" if item else
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a "
            "0-dim tensor to a number"
        )  # fmt: skip


def _is_tuple_in_brackets(index: Any) -> bool:
    """Whether a list is read as a tuple: it is short, and holds more than numbers, as in `x[[0, ...]]`."""
    if not isinstance(index, list) or len(index) >= 32:
        return False
    return any(
        item is None or item is Ellipsis or isinstance(item, (list, tuple, slice, Tensor, np.ndarray, range))
        for item in index
    )


def _as_item(item: Any) -> Any:
    if is_mask(item) and not shape_of(item):
        return bool(item)
    if STATE.tracer is None and is_place(item):
        return int(item)
    if item is None or item is Ellipsis or isinstance(item, (slice, SymbolicSize, Tensor)):
        return item
    if isinstance(item, (bool, np.bool_)):
        return bool(item)
    if isinstance(item, (list, tuple, np.ndarray, range)):
        from adjit.creation import tensor
        from adjit.dtypes import public
        from adjit.state import outside

        with outside():
            found = tensor(list(item) if isinstance(item, range) else item)
            return found if numel_of(shape_of(found)) else found.to(public(I64))
    if hasattr(item, "__index__"):
        return item.__index__()
    if isinstance(item, str):
        raise explained(
            TypeError,
            "new(): invalid data type 'str'",
            hint="axes have numbers and no names: x[0], x[:, 1], x[..., -1]",
        )
    raise explained(
        IndexError,
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
        f"(got {type(item).__name__})",
        hint="convert it first: int(i), or i.long() for a tensor",
    )


def is_mask(item: Any) -> bool:
    """Whether an index item is a mask."""
    return isinstance(item, Tensor) and item._dtype in (BOOL, U8)


def _axes_of(item: Any) -> int:
    if item is None or item is Ellipsis or isinstance(item, bool):
        return 0
    return len(shape_of(item)) if is_mask(item) else 1


def viewed_at(input: Tensor, index: Any) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """The view that an index makes as far as it makes one, and the tensors that are left of it, with their axes in it.

    Places that a trace computes are taken first where other tensors take part too.
    """
    items = items_of(input, index)
    if STATE.tracer is not None and any(is_computed_slice(item) for _, item in items):
        input, items = with_slices(input, items, [_axes_before(items, number) for number in range(len(items))])
    at = [number for number, (_, item) in enumerate(items) if STATE.tracer is not None and is_place(item)]
    if not at or _is_one_place([item for _, item in items]):
        return _basic(input, items)
    axes = [_axes_before(items, number) for number in at]
    found = shown_at(input, [(axis, items[number][1]) for axis, number in zip(axes, at, strict=True)])
    return _basic(found, [item for number, item in enumerate(items) if number not in at])


def _axes_before(items: Sequence[tuple[int, Any]], number: int) -> int:
    """At which axis the item of a number stands."""
    return sum(_axes_of(item) for _, item in items[:number])


def _basic(input: Tensor, items: Sequence[tuple[int, Any]]) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """The view that the basic items make, and the tensor items with their axes in it."""
    shape = tuple(shape_of(input))
    cuts: dict[int, tuple[Any, Any, int]] = {}
    kept: list[Any] = []
    advanced: list[tuple[int, Tensor]] = []
    axis = 0
    name = "Alias"
    at_one_place = STATE.tracer is not None and _is_one_place([item for _, item in items])
    for number, item in items:
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
            if is_mask(item):
                advanced.append((len(kept), item))
                count = len(shape_of(item))
                kept.extend(shape[axis : axis + count])
                axis += count
            else:
                if item._dtype not in (I64, I32) and not (item._dtype.is_integer and not shape_of(item)):
                    raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
                advanced.append((len(kept), item))
                kept.append(shape[axis])
                axis += 1
        else:
            extent = shape[axis]
            if not -extent <= item < extent:
                first = f"index {item} is out of bounds for dimension {number} with size {extent}"
                hint = f"indices of this axis go from {-extent} to {extent - 1}, -1 being the last"
                raise explained(IndexError, first, hint=hint if extent else "the axis is empty")
            place = item + extent if item < 0 else item
            if at_one_place and isinstance(place, int):
                advanced.append((len(kept), literal(place, I64)))
                kept.append(extent)
            else:
                cuts[axis] = (place, 1, 1)
                name = "Select"
            axis += 1
    for at, item in advanced:
        if is_mask(item):
            check_mask(item, kept, at)
    result = part(input, cuts, "" if name in ("Select", "Unsqueeze") else name) if cuts else input
    if tuple(kept) != tuple(shape_of(result)) or (result is input and not advanced):
        result = make_view(reshape_op, result, {"shape": tuple(kept)}, name)
    return result, advanced


def _is_one_place(items: Sequence[Any]) -> bool:
    """Whether tensors take part, and each is one number: ints are indices like them then, and a write writes no more.

    As views, ints would be cut out and put back whole.
    """
    tensors = [item for item in items if isinstance(item, Tensor)]
    alike = all(not is_mask(item) and not shape_of(item) for item in tensors)
    return bool(tensors) and alike and not any(item is None or isinstance(item, bool) for item in items)


def slice_bounds(item: slice, extent: Any) -> tuple[Any, Any, int]:
    """(start, size, step) of a slice over an axis; the step must be positive."""
    step = slice_step(item)
    start = _clipped(0 if item.start is None else item.start, extent)
    stop = extent if item.stop is None else _clipped(item.stop, extent)
    length = stop - start
    size = (length + step - 1) // step if length > 0 else 0
    return (start if size != 0 else 0), size, step


def _clipped(position: Any, extent: Any) -> Any:
    if not isinstance(position, SymbolicSize):
        if not hasattr(position, "__index__"):
            raise TypeError("slice indices must be integers or None or have an __index__ method")
        position = position.__index__()
    if position < 0:
        position = position + extent
        return position if position >= 0 else 0
    return position if position <= extent else extent


def check_mask(mask: Tensor, shape: Sequence[Any], axis: int) -> None:
    """IndexError where a mask has other sizes than the axes from `axis` on."""
    for place, (a, b) in enumerate(zip(shape_of(mask), shape[axis:], strict=False)):
        if a != b:
            raise IndexError(
                f"The shape of the mask {list(shape_of(mask))} at index {place} does not match the shape of the "
                f"indexed tensor {list(shape)} at index {axis + place}"
            )


def positions_of(advanced: Sequence[tuple[int, Tensor]]) -> list[tuple[int, Tensor]]:
    """Integer index tensors, a mask becoming one for each of its axes."""
    found: list[tuple[int, Tensor]] = []
    for axis, item in advanced:
        if is_mask(item):
            found.extend((axis + place, column) for place, column in enumerate(true_positions(item)))
        else:
            found.append((axis, item))
    return found


def true_positions(mask: Tensor) -> tuple[Tensor, ...]:
    """For each axis, the positions of the elements that are not zero."""
    from adjit.creation import from_numpy

    return tuple(from_numpy(np.ascontiguousarray(column)) for column in true_columns(mask))


def true_columns(mask: Tensor) -> tuple[np.ndarray, ...]:
    """`true_positions` as arrays."""
    from adjit.conversion import concrete

    array = concrete(mask if mask._dtype in COMMON else mask != 0, "nonzero() (a mask as index)")
    return array.nonzero() if array.ndim else ()


def prepared(input: Tensor, advanced: Sequence[tuple[int, Tensor]]) -> tuple[list[int], list[Tensor], tuple[Any, ...]]:
    """Axes, index tensors (counted from 0, of one shape) and that shape."""
    from adjit.promotion import broadcast_shapes

    found = positions_of(advanced)
    try:
        common = tuple(broadcast_shapes(*(shape_of(item) for _, item in found)))
    except RuntimeError:
        shapes = ", ".join(str(list(shape_of(item))) for _, item in found)
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
        ) from None
    tensors = [positions(expand(item, *common), input, axis, index_error, negative=True) for axis, item in found]
    return [axis for axis, _ in found], tensors, common


def _place_of(axes: Sequence[int]) -> int | None:
    """Where the index's own axes go: the place of the first, or the front if the axes are not adjacent."""
    return axes[0] if list(axes) == list(range(axes[0], axes[0] + len(axes))) else None


def gathered(input: Tensor, advanced: Sequence[tuple[int, Tensor]]) -> Tensor:
    """The elements at index tensors, their axes placed as PyTorch places them."""
    axes, tensors, common = prepared(input, advanced)
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


# -- values for places ------------------------------------------------------------------------------------------------
def is_plain_number(value: Any, target: Tensor) -> bool:
    """Whether a number becomes one of the target's dtype without a question: far from the ends of its range."""
    if target._dtype in (F32, F64):
        return type(value) in (float, int) and -1e38 < value < 1e38
    return target._dtype in (I32, I64) and type(value) is int and -(2**31) <= value < 2**31


def placed_updates(input: Tensor, axes: Sequence[int], common: tuple[Any, ...], value: Tensor) -> Tensor:
    """The value expanded to the place that indices of the shape `common` name, their axes in front."""
    rest = [size for axis, size in enumerate(shape_of(input)) if axis not in axes]
    place = _place_of(axes) or 0
    shape = (*rest[:place], *common, *rest[place:])
    value = fitted(value, shape)
    order = (*range(place, place + len(common)), *range(place), *range(place + len(common), len(shape)))
    return permute(expand(value, *shape), *order) if shape else value


def value_like(value: Any, target: Tensor) -> Tensor:
    """The value as a tensor of the target's dtype."""
    from adjit.creation import tensor
    from adjit.dtypes import public, title_of
    from adjit.python_data import check_numbers
    from adjit.state import outside

    if isinstance(value, (bool, int, float, complex)):
        return literal(number_like(value, target), target._dtype)
    if not isinstance(value, Tensor):
        if value is None or isinstance(value, str):
            kind = f"torch.{title_of(target._dtype)}Tensor"
            raise TypeError(f"can't assign a {type(value).__name__} to a {kind}")
        with outside():
            value = tensor(value, dtype=public(target._dtype))
    if value._dtype is not target._dtype:
        check_numbers(target._dtype, value)
        value = apply(primitive_named("cast"), (value,), {"dtype": target._dtype})
    assert isinstance(value, Tensor)
    return value


def number_like(value: Any, like: Tensor) -> Any:
    """A number as a literal of the tensor's dtype.  RuntimeError where the dtype cannot hold it."""
    from adjit.python_data import number_of

    dtype = like._dtype
    number_of(value, dtype)
    if isinstance(value, complex) and dtype is not BOOL:
        return value if dtype.is_complex else number_like(value.real, like)
    return as_float(value) if dtype.is_continuous else bool(value) if dtype is BOOL else int(value)


def trimmed(value: Tensor, shape: Sequence[Any]) -> Tensor:
    """The value without leading axes of size 1 that the place does not have."""
    own = tuple(shape_of(value))
    while len(own) > len(shape) and own[0] == 1:
        own = own[1:]
    return value if own == tuple(shape_of(value)) else reshape(value, *own)


def fitted(value: Tensor, shape: Sequence[Any]) -> Tensor:
    """The value, trimmed.  RuntimeError where it does not expand to the place."""
    value = trimmed(value, shape)
    own = tuple(shape_of(value))
    if len(own) > len(shape) or any(a != 1 and a != b for a, b in zip(reversed(own), reversed(shape), strict=False)):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(own)} cannot be broadcast to indexing result of shape "
            f"{list(shape)}"
        )
    return value


METHODS: dict[str, Callable[..., Any]] = {"__getitem__": getitem}
