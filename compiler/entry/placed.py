"""Word functions that write to a tensor where a mask is true, or at the places that tensors name: `x[mask] = 0.0`.

An index is one mask, or int64 tensors of one shape, or a short list of ints, for the first axes; all that it names are
rows: the elements that the other axes have there.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import PyTuple_Size, memcpy
from adjit.compiler.entry.known import INTEGER, LIST, MOST_AXES, P_BOOL, P_I64, T_DTYPE, TUPLE
from adjit.compiler.entry.objects import OUTSIDE, array_of, in_order, integer, is_tensor
from adjit.compiler.entry.parts import MOST_WRITTEN, element_bytes, filled_row, has_no_history, number_put
from adjit.compiler.llvm.words import byte, half, known, room, set_half, set_word, word
from adjit.runtime.layout import CONTENT, DATA, DESCRIPTION, DIMENSIONS, ITEMS, NDIM, STRIDES, TYPE

# Rows that are named: how many, by how many axes, the rank and the address of the index's sizes, then for each axis
# where its numbers stand.
R_COUNT, R_AXES, R_RANK, R_SIZES, R_NUMBERS = 0, 8, 16, 24, 32
ROWS_WORDS = 4 + MOST_AXES
# What is written: its first element, how far from one row's to the next's (0 where all rows are one number), and where
# the rows end.
S_START, S_STEP, S_END = 0, 8, 16
# The most ints of a list; NumPy is faster at masks of more elements than these.
MOST_LISTED, MOST_MASKED = 64, 1024


def span(array: int, first: int) -> int:
    """How many elements the axes of an array from one on have, but not more than one above MOST_WRITTEN."""
    total = 1
    axis = half(array + NDIM)
    dims = word(array + DIMENSIONS)
    while axis > first:
        axis -= 1
        total = total * word(dims + 8 * axis)
        if total > MOST_WRITTEN:
            return MOST_WRITTEN + 1
    return total


def begins_with(array: int, rank: int, sizes: int) -> int:
    """Whether the first axes of an array have sizes."""
    axis = 0
    if half(array + NDIM) < rank:
        return 0
    while axis < rank:
        if word(word(array + DIMENSIONS) + 8 * axis) != word(sizes + 8 * axis):
            return 0
        axis += 1
    return 1


def ends_with(array: int, first: int, other: int, axes: int) -> int:
    """Whether the axes of an array from one on have the sizes of those of another behind its first ones."""
    rank = half(array + NDIM) - first
    if rank != half(other + NDIM) - axes:
        return 0
    dims = word(array + DIMENSIONS) + 8 * first
    others = word(other + DIMENSIONS) + 8 * axes
    axis = 0
    while axis < rank:
        if word(dims + 8 * axis) != word(others + 8 * axis):
            return 0
        axis += 1
    return 1


def lies_apart(array: int, bytes: int, other: int, others: int) -> int:
    """Whether so many bytes of two arrays in order are other ones."""
    first = word(array + DATA)
    second = word(other + DATA)
    return first + bytes <= second or second + others <= first


def named_by_list(index: int, rows: int, numbers: int) -> int:
    """Fill rows that a list of ints names, which are put into `numbers`; 0 for another list."""
    count = word(index + CONTENT)
    if count == 0 or count > MOST_LISTED:
        return 0
    k = 0
    while k < count:
        item = word(word(index + ITEMS) + 8 * k)
        if word(item + TYPE) != known(INTEGER):
            return 0
        place = integer(item)
        if place == OUTSIDE:
            return 0
        set_word(numbers + 8 * k, place)
        k += 1
    set_word(rows + R_COUNT, count)
    set_word(rows + R_AXES, 1)
    set_word(rows + R_RANK, 1)
    set_word(rows + R_SIZES, rows + R_COUNT)
    set_word(rows + R_NUMBERS, numbers)
    return 1


def named_by_tensors(items: int, count: int, rows: int) -> int:
    """Fill rows that int64 tensors in order, of one shape, name; 0 for others."""
    axis = 0
    while axis < count:
        item = word(items + 8 * axis)
        array = 0
        if is_tensor(item):
            array = array_of(item)
        if array == 0 or word(array + DESCRIPTION) != known(P_I64) or half(array + NDIM) == 0 or not in_order(array):
            return 0
        if axis == 0:
            set_word(rows + R_COUNT, span(array, 0))
            set_word(rows + R_RANK, half(array + NDIM))
            set_word(rows + R_SIZES, word(array + DIMENSIONS))
        rank = word(rows + R_RANK)
        if half(array + NDIM) != rank or not begins_with(array, rank, word(rows + R_SIZES)):
            return 0
        set_word(rows + R_NUMBERS + 8 * axis, word(array + DATA))
        axis += 1
    set_word(rows + R_AXES, count)
    return 1


def named(index: int, single: int, rows: int, numbers: int) -> int:
    """Fill rows that an index names by numbers; 0 for another index."""
    if word(index + TYPE) == known(LIST):
        return named_by_list(index, rows, numbers)
    items = single
    count = 1
    set_word(single, index)
    if word(index + TYPE) == known(TUPLE):
        items = index + ITEMS
        count = PyTuple_Size(index)
    if count == 0 or count > MOST_AXES:
        return 0
    return named_by_tensors(items, count, rows)


def all_inside(rows: int, array: int) -> int:
    """Whether an array has all rows, which lie apart from the numbers that name them."""
    bytes = span(array, 0) * element_bytes(array)
    first = word(array + DATA)
    count = word(rows + R_COUNT)
    axis = 0
    while axis < word(rows + R_AXES):
        extent = word(word(array + DIMENSIONS) + 8 * axis)
        numbers = word(rows + R_NUMBERS + 8 * axis)
        if numbers < first + bytes and first < numbers + 8 * count:
            return 0
        k = 0
        while k < count:
            place = word(numbers + 8 * k)
            if place >= extent or place < 0 - extent:
                return 0
            k += 1
        axis += 1
    return 1


def given_value(target: int, value: int, source: int, cell: int, recording: int) -> int:
    """Fill `source` with what is one number; 0 for another value, or one that is Python's."""
    array = array_of(target)
    set_word(source + S_START, cell)
    set_word(source + S_STEP, 0)
    if not is_tensor(value):
        return number_put(array, value, cell)
    other = array_of(value)
    if not is_like(target, value, recording) or span(other, 0) != 1:
        return 0
    memcpy(cell, word(other + DATA), element_bytes(array))
    return 1


def is_like(target: int, value: int, recording: int) -> int:
    """Whether a value is a tensor in order of a target's dtype that autograd need not know of."""
    if not is_tensor(value):
        return 0
    array = array_of(value)
    if array == 0 or word(value + known(T_DTYPE)) != word(target + known(T_DTYPE)):
        return 0
    if word(array + DESCRIPTION) != word(array_of(target) + DESCRIPTION) or not in_order(array):
        return 0
    return has_no_history(value, recording)


def given_rows(target: int, value: int, source: int, axes: int, first: int, count: int) -> int:
    """Fill `source` with the rows of a tensor that is like a target, behind its first axes; 0 where they do not fit."""
    array = array_of(target)
    other = array_of(value)
    size = element_bytes(array)
    inner = span(array, axes)
    if not ends_with(other, first, array, axes):
        return 0
    if not lies_apart(array, span(array, 0) * size, other, count * inner * size):
        return 0
    set_word(source + S_START, word(other + DATA))
    set_word(source + S_STEP, inner * size)
    set_word(source + S_END, word(other + DATA) + count * inner * size)
    return 1


def put_one_row(place: int, source: int, size: int, inner: int) -> int:
    """Write a row, and move on in the source, unless that is at its end: a thread may have changed a mask meanwhile."""
    start = word(source + S_START)
    step = word(source + S_STEP)
    if step != 0 and start >= word(source + S_END):
        return 0
    if inner == 1 or step == 0:
        if size == 8:
            set_word(place, word(start))
        else:
            set_half(place, half(start))
    else:
        memcpy(place, start, step)
    if inner > 1 and step == 0:
        filled_row(place, size, inner)
    set_word(source + S_START, start + step)
    return 0


def put_named(rows: int, array: int, source: int) -> int:
    """Write to the rows that are named, the last one last; numbers may have changed meanwhile, in a thread."""
    size = element_bytes(array)
    axes = word(rows + R_AXES)
    inner = span(array, axes)
    count = word(rows + R_COUNT)
    k = 0
    while k < count:
        place = word(array + DATA)
        axis = 0
        while axis < axes:
            number = word(word(rows + R_NUMBERS + 8 * axis) + 8 * k)
            extent = word(word(array + DIMENSIONS) + 8 * axis)
            if number < 0:
                number += extent
            if number < 0 or number >= extent:
                return 0
            place += number * word(word(array + STRIDES) + 8 * axis)
            axis += 1
        put_one_row(place, source, size, inner)
        k += 1
    return 1


def put_where(mask: int, array: int, source: int) -> int:
    """Write to the rows where a mask is true."""
    size = element_bytes(array)
    inner = span(array, half(mask + NDIM))
    count = span(mask, 0)
    place = word(array + DATA)
    at = word(mask + DATA)
    last = at + count
    while at < last:
        if byte(at):
            put_one_row(place, source, size, inner)
        place += inner * size
        at += 1
    return 1


def trues(mask: int) -> int:
    """How many elements of a mask are true."""
    at = word(mask + DATA)
    last = at + span(mask, 0)
    count = 0
    while at < last:
        if byte(at):
            count += 1
        at += 1
    return count


def assigned_where(target: int, mask: int, value: int, recording: int) -> int:
    """Write a value to a tensor in order where a mask is true; 0 where Python must."""
    source = room(3)
    cell = room(1)
    array = array_of(target)
    rank = half(mask + NDIM)
    if rank == 0 or not in_order(mask) or not begins_with(array, rank, word(mask + DIMENSIONS)):
        return 0
    total = span(array, 0)
    if span(mask, 0) > MOST_MASKED or total == 0 or total > MOST_WRITTEN:
        return 0
    if not lies_apart(array, total * element_bytes(array), mask, span(mask, 0)):
        return 0
    if not given_value(target, value, source, cell, recording):
        if not is_like(target, value, recording) or half(array_of(value) + NDIM) == 0:
            return 0
        count = trues(mask)
        if count == 0 or word(word(array_of(value) + DIMENSIONS)) != count:
            return 0
        if not given_rows(target, value, source, rank, 1, count):
            return 0
    return put_where(mask, array, source)


def assigned_at(target: int, index: int, value: int, recording: int) -> int:
    """Write a value to a tensor in order where an index names rows by numbers or by a mask; 0 where Python must."""
    rows = room(ROWS_WORDS)
    numbers = room(MOST_LISTED)
    source = room(3)
    cell = room(1)
    single = room(1)
    array = array_of(target)
    if is_tensor(index) and array_of(index) != 0 and word(array_of(index) + DESCRIPTION) == known(P_BOOL):
        return assigned_where(target, array_of(index), value, recording)
    if not named(index, single, rows, numbers) or half(array + NDIM) < word(rows + R_AXES):
        return 0
    count = word(rows + R_COUNT)
    inner = span(array, word(rows + R_AXES))
    if count == 0 or inner == 0 or count * inner > MOST_WRITTEN or span(array, 0) > MOST_WRITTEN:
        return 0
    if not all_inside(rows, array):
        return 0
    if not given_value(target, value, source, cell, recording):
        if not is_like(target, value, recording):
            return 0
        rank = word(rows + R_RANK)
        if not begins_with(array_of(value), rank, word(rows + R_SIZES)):
            return 0
        if not given_rows(target, value, source, word(rows + R_AXES), rank, count):
            return 0
    return put_named(rows, array, source)


FUNCTIONS = (
    span, begins_with, ends_with, lies_apart, named_by_list, named_by_tensors, named, all_inside, given_value, is_like,
    given_rows, put_one_row, put_named, put_where, trues, assigned_where, assigned_at,
)  # fmt: skip
