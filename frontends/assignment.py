"""`x[...] = value` in NumPy's forms: at parts, at index tensors and at masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from adjit.computed_views import are_places, is_at
from adjit.dims import numel_of, shape_of
from adjit.dispatch import literal, rename
from adjit.indexing import is_mask, is_plain_number, positions_of, trimmed, value_like, viewed_at, with_tensors
from adjit.ir.types import BOOL, I64, DType, TensorType
from adjit.python_data import held_or_infinite
from adjit.shaping import expand, reshape
from adjit.state import STATE
from adjit.tensor import Chain, Tensor
from adjit.views import as_view, assign, check_writable, keep_part, maker_of, same_place, write, write_part


def setitem(input: Tensor, index: Any, value: Any) -> None:
    """`input[index] = value`."""
    from adjit.inplace import copy_

    if STATE.tracer is None:
        found = with_tensors(index)
        index = index if found is None else found
    if _is_basic(index):
        new = _plain_value(value, input)
        if new is not None and assign(input, index, new):
            return
        if _assign_recorded(input, index, value):
            return
    else:
        places, new = _places(index, input), _plain_value(value, input)
        if places is not None and new is not None and assign(input, places, new):
            return
    if STATE.tracer is not None and _fill_part(input, index, value):
        return
    viewed, advanced = viewed_at(input, index)
    check_writable(viewed)
    if are_places(advanced) and is_at(value, viewed, advanced):
        return
    number, value = value, _assigned(value, input)
    if not advanced:
        copy_(viewed, expand(trimmed(value, shape_of(viewed)), *shape_of(viewed)))
        return
    if len(advanced) == 1 and is_mask(advanced[0][1]) and numel_of(shape_of(value)) == 1:
        _fill_mask(viewed, *advanced[0], number if is_plain_number(number, viewed) else value)
        return
    write(viewed, viewed.index_put(_indices(advanced), value))


def _indices(advanced: Sequence[tuple[int, Tensor]]) -> list[Tensor | None]:
    """Index tensors, one for each axis up to the last that has one; None for those between."""
    found: list[Tensor | None] = []
    for axis, item in positions_of(advanced):
        found += [*[None] * (axis - len(found)), item]
    return found


def _places(index: Any, target: Tensor) -> Any:
    """An index of tensors, and slices that go upwards, as NumPy takes it; None for another."""
    several = type(index) is tuple
    found: list[Any] = []
    for item in index if several else (index,):
        if isinstance(item, Tensor):
            array = item._array
            if array is None or item._dtype not in (BOOL, I64) or not array.ndim or item._memory is target._memory:
                return None
            found.append(array)
        elif type(item) is slice and _is_basic(item):
            found.append(item)
        else:
            return None
    return tuple(found) if several else found[0]


def _plain_value(value: Any, target: Tensor) -> Any:
    """A number, or the array of a tensor, that can be written to a tensor as it is; None for another."""
    if is_plain_number(value, target):
        return value
    if not isinstance(value, Tensor) or value._dtype is not target._dtype or value._memory is target._memory:
        return None
    array = None if STATE.recording and value.requires_grad else value._array
    # NumPy takes no array with axes for one number, or warns.
    return array.reshape(()) if array is not None and array.size == 1 else array


def _assign_recorded(input: Tensor, index: Any, value: Any) -> bool:
    """`input[index] = value` in eager mode as one node of the tape; whether it was done."""
    if STATE.tracer is not None or not STATE.recording or not _may_replace_part(input):
        return False
    if isinstance(value, Tensor):
        if value._dtype is not input._dtype or not (input.requires_grad or value.requires_grad):
            return False
    elif not (is_plain_number(value, input) and input.requires_grad):
        return False
    if isinstance(value, Tensor) and _is_part_itself(value, input, index):  # as after `x[1:] += 1`
        keep_part(value)
        return True
    viewed = part_at(input, index)
    number = value if isinstance(value, Tensor) else None
    if number is None:  # a plain one, which the dtype holds
        return write_part(viewed, literal((float if input._dtype.is_float else int)(value), input._dtype))
    return write_part(viewed, trimmed(number, shape_of(viewed)))


def part_at(input: Tensor, index: Any) -> Tensor:
    """The unrecorded view of an eager tensor at ints, slices, None and `...`."""
    items = index if type(index) is tuple else (index,)
    key = tuple((item.start, item.stop, item.step) if type(item) is slice else item for item in items)
    bounds = (bound for item in key if type(item) is tuple for bound in item)
    if all(bound is None or type(bound) is int for bound in bounds):
        assert input._array is not None
        chain, type_of_part = _chain_at(input._dtype, input._array.shape, key)
        array = input._array[items if Ellipsis in items else (*items, ...)]
        return as_view(input, array, chain, type_of_part)
    STATE.recording = False
    try:
        return viewed_at(input, index)[0]
    finally:
        STATE.recording = True


@lru_cache(maxsize=4096)
def _chain_at(dtype: DType, shape: tuple[int, ...], key: tuple[Any, ...]) -> tuple[Chain, TensorType]:
    """How the part of a tensor at an index comes from it, and the part's type; slices are tuples in the key."""
    like = Tensor._wrap(np.broadcast_to(np.zeros((), dtype.storage), shape), dtype)
    found = viewed_at(like, tuple(slice(*item) if isinstance(item, tuple) else item for item in key))[0]
    return found._chain, found._tensor_type


def _is_part_itself(value: Tensor, input: Tensor, index: Any) -> bool:
    """Whether a value is `input[index]`, with the history of what this is a part of."""
    base = input if input._base is None else input._base
    if value._base is None or value._base is not base or _is_marked(value):
        return False
    if value._seen == base._history and value._requires_grad is not base._requires_grad:
        return False
    assert value._array is not None and input._array is not None
    items = index if type(index) is tuple else (index,)
    try:
        part = input._array[items if Ellipsis in items else (*items, ...)]
    except IndexError:
        return False
    return same_place(value._array, part)


def _is_marked(tensor: Tensor) -> bool:
    """Whether it matters how a view was made: unrecorded, by a user's function, or together with others."""
    return maker_of(tensor) is not None or any(mark in tensor.__dict__ for mark in ("_unrecorded", "_several"))


def _may_replace_part(tensor: Tensor) -> bool:
    """Whether a part of an eager tensor may be overwritten without a look at how its views were made."""
    base = tensor if tensor._base is None else tensor._base
    if tensor._array is None or base.requires_grad is not tensor.requires_grad or (base.requires_grad and base._leaf):
        return False
    return not _is_marked(tensor)


def _is_basic(index: Any) -> bool:
    """Whether an index is made of ints, slices that go upwards, None and `...`."""
    for item in index if type(index) is tuple else (index,):
        if type(item) is slice:
            if item.step is not None and not (type(item.step) is int and item.step > 0):
                return False
        elif type(item) is not int and item is not None and item is not Ellipsis:
            return False
    return True


def _assigned(value: Any, target: Tensor) -> Tensor:
    """The value as a tensor of the target's dtype; half precision takes numbers beyond its range as infinities."""
    if target._dtype.is_float and target._dtype.bits < 32 and isinstance(value, (bool, int, float)):
        return literal(held_or_infinite(float(value), target._dtype), target._dtype)
    return value_like(value, target)


def _fill_part(input: Tensor, index: Any, value: Any) -> bool:
    """Put one number wherever computed slices of a traced tensor reach; whether it was done."""
    if isinstance(value, Tensor) and numel_of(shape_of(value)) != 1:
        return False
    from adjit.computed_slices import chosen_part
    from adjit.elementwise import where

    found = chosen_part(input, index)
    if found is None:
        return False
    viewed, mask = found
    check_writable(viewed)
    write(viewed, rename(where(mask, reshape(_assigned(value, input), ()), viewed), "CopySlices"))
    return True


def _fill_mask(target: Tensor, axis: int, mask: Tensor, value: Any) -> None:
    """Put one value, a number or a tensor that holds one, wherever the mask is true."""
    from adjit.selecting import masked_fill

    trailing = len(shape_of(target)) - axis - len(shape_of(mask))
    mask = mask if mask._dtype is BOOL else mask != 0
    wide = reshape(mask, *shape_of(mask), *(1,) * trailing) if trailing else mask
    value = reshape(value, ()) if isinstance(value, Tensor) else value
    write(target, rename(masked_fill(target, wide, value), "IndexPut"))


def delitem(input: Tensor, index: Any) -> None:
    """TypeError: a tensor's elements stay."""
    raise TypeError("Tensor does not support deleting items")


METHODS: dict[str, Callable[..., Any]] = {"__delitem__": delitem, "__setitem__": setitem}
