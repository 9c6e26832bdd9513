"""Slices whose start a trace computes: `y[i:i + 3]` with an `i` that is known only when the program runs.

The size must be known: start and stop differ by a number.  The slice is a view at the places that it reaches, which
must lie within the axis: where Python cuts a slice off at the end, its size is not known, and the program raises.
Where one number is written to a slice, no size is asked for: it goes to the places that Python's rules give.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import Any

from adjit.computed_views import PLACES, is_place, shown_at
from adjit.dims import shape_of
from adjit.dispatch import literal
from adjit.errors import explained
from adjit.ir.errors import NumbersNeeded
from adjit.ir.graph import Value
from adjit.ir.ops.indexing import gather as gather_op
from adjit.ir.ops.structure import permute as permute_op
from adjit.ir.types import I64
from adjit.positions import positions
from adjit.state import STATE
from adjit.tensor import Tensor

_HINT = "pass sizes and counts as Python's int; y[i:i + 3] with a computed i has a known size, 3"


def is_computed_slice(item: Any) -> bool:
    """Whether an end of a slice is a traced integer."""
    return isinstance(item, slice) and (is_place(item.start) or is_place(item.stop))


def slice_step(item: slice) -> int:
    """The step of a slice, which must be positive."""
    step: int = 1 if item.step is None else item.step.__index__()
    if step == 0:
        raise ValueError("slice step cannot be zero")
    if step < 0:
        raise explained(ValueError, "step must be greater than zero", hint="torch.flip(x, dims=(0,)) reverses an axis")
    return step


def with_slices(input: Tensor, items: Sequence[tuple[int, Any]], axes: Sequence[int]) -> tuple[Tensor, list[Any]]:
    """The view of a traced tensor at its computed slices, `axes` being those of the items, and the other items."""
    rest: list[Any] = []
    for (number, item), axis in zip(items, axes, strict=True):
        if is_computed_slice(item):
            input, item = _cut(input, axis, item), slice(None, None, item.step)
        rest.append((number, item))
    return input, rest


def chosen_part(input: Tensor, index: Any) -> tuple[Tensor, Tensor] | None:
    """A view of a traced tensor that has all elements of `input[index]`, and where they are in it; None for an index
    without computed slices, or with other tensors than single places."""
    from adjit.indexing import items_of, viewed_at

    items = [item for _, item in items_of(input, index)]
    if not any(map(is_computed_slice, items)) or not all(_is_simple(item) for item in items):
        return None
    reached: list[tuple[int, Tensor, Tensor, int]] = []  # the axis of the view, start and stop in it, step
    kept = axis = 0
    for number, item in enumerate(items):
        if is_computed_slice(item):
            extent = shape_of(input)[axis]
            start, stop, step = _end(item.start, 0, extent), _end(item.stop, extent, extent), slice_step(item)
            size = _size(item.start, item.stop)
            items[number] = slice(None)
            if size is not None and step == 1 and 0 < size < extent:  # a part that has them all
                first = start.clamp(max=extent - size)
                items[number] = slice(first, first + size)
                start, stop = start - first, stop - first
            reached.append((kept, start, stop, step))
        kept += item is None or isinstance(item, slice)
        axis += item is not None
    viewed, at = viewed_at(input, tuple(items))
    viewed = shown_at(viewed, at) if at else viewed
    return viewed, reduce(and_, [_reached(viewed, *each) for each in reached])


def _is_simple(item: Any) -> bool:
    """Whether an index item is a slice, None, or one place."""
    return item is None or isinstance(item, slice) or is_place(item) or (type(item) is int)


def _end(end: Any, default: Any, extent: Any) -> Tensor:
    """An end of a slice, counted from the start of the axis and within it."""
    from adjit.elementwise import where

    place = literal(default if end is None else end, I64) if end is None or not isinstance(end, Tensor) else end
    found: Tensor = where(place < 0, place + extent, place).clamp(0, extent)
    return found


def _reached(viewed: Tensor, axis: int, start: Tensor, stop: Tensor, step: int) -> Tensor:
    """Whether a slice of an axis reaches each element of it, in a shape that spreads over the view."""
    from adjit.ranges import arange

    extents = shape_of(viewed)
    place = arange(extents[axis])
    mask = (place >= start) & (place < stop)
    if step > 1:
        mask &= (place - start) % step == 0
    found: Tensor = mask.reshape(-1, *(1,) * (len(extents) - axis - 1))
    return found


def _cut(input: Tensor, axis: int, item: slice) -> Tensor:
    """The view at all places from the first to the last of one slice; its axis is brought back to where it was."""
    from adjit.ranges import arange

    step = slice_step(item)
    size = _size(item.start, item.stop)
    if size is None or size < 0:  # y[i:i - 1] is empty, but all except the last where i is 0
        raise explained(NumbersNeeded, "the size of a slice is not known while the function is compiled", hint=_HINT)
    places = item.start + arange((size - 1) // step * step + 1 if size > 0 else 0)
    at = positions(places, input, axis, _outside)
    tracer = STATE.tracer
    assert tracer is not None
    found = tracer.view(gather_op, input, {"axes": (axis,), PLACES: (at,)}, "Slice")  # type: ignore[dict-item]
    if not axis:
        return found
    order = (*range(1, axis + 1), 0, *range(axis + 1, len(shape_of(found))))
    return tracer.view(permute_op, found, {"perm": order}, "Slice")


def _outside(index: int, axis: int, extent: int) -> Exception:
    first = f"a slice with a computed start reaches index {index} of dimension {axis} with size {extent}"
    return explained(IndexError, first, hint="it must lie within the dimension: its size is fixed in the program")


def _size(start: Any, stop: Any) -> int | None:
    """How far two traced integers lie apart; None where that is not known."""
    if not (is_place(start) and is_place(stop)):
        return None
    assert STATE.tracer is not None
    (one, low), (other, high) = (_root(STATE.tracer.value_of(end)) for end in (start, stop))
    return high - low if one is other else None


def _root(value: Value) -> tuple[Value, int]:
    """What a value is made of by adding a number, and that number."""
    total = 0
    while (node := value.node) is not None:
        if node.op.name == "cast" and node.inputs[0].dtype.is_integer:
            value = node.inputs[0]
            continue
        if node.op.name not in ("add", "sub"):
            break
        left, right = node.inputs
        if isinstance(right.constant, int):
            value, total = left, total + right.constant * (1 if node.op.name == "add" else -1)
        elif isinstance(left.constant, int) and node.op.name == "add":
            value, total = right, total + left.constant
        else:
            break
    return value, total
