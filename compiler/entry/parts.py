"""Word functions that write numbers or another tensor's elements to a part of a tensor: `x[1:3] = 0.5`.

An index is made of ints, slices that go upwards, None and `...`; it says where the part begins, and the sizes and the
strides of its axes.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import PyTuple_Size, memcpy
from adjit.compiler.entry.known import (
    ELLIPSIS,
    FLOAT,
    INTEGER,
    MOST_AXES,
    NONE,
    NUMBER_F32,
    NUMBER_F64,
    NUMBER_I64,
    P_F32,
    P_F64,
    P_I64,
    SLICE,
    T_BASE,
    T_DTYPE,
    T_HISTORY,
    T_REQUIRES,
    T_SEEN,
    TRUE,
    TUPLE,
)
from adjit.compiler.entry.objects import OUTSIDE, array_of, integer, is_tensor
from adjit.compiler.entry.operands import number
from adjit.compiler.llvm.words import half, known, room, set_half, set_word, word
from adjit.runtime.layout import (
    ALIGNED,
    CONTENT,
    DATA,
    DESCRIPTION,
    DIMENSIONS,
    FLAGS,
    ITEMS,
    NDIM,
    STRIDES,
    TYPE,
)

# The places in a part: where it begins, its rank, the sizes and the strides in bytes of at most MOST_AXES axes.
P_START, P_RANK, P_SIZES, P_STRIDES = 0, 8, 16, 272
PART_WORDS = 66
# Python writes more elements than these, without the GIL.
MOST_WRITTEN = 1 << 20


def element_bytes(array: int) -> int:
    """The bytes of an element of a dtype that is written here, or 0."""
    dtype = word(array + DESCRIPTION)
    if dtype == known(P_F32):
        return 4
    if dtype == known(P_F64) or dtype == known(P_I64):
        return 8
    return 0


def has_no_history(tensor: int, recording: int) -> int:
    """Whether autograd need not know of what is done with a tensor."""
    if not recording:
        return 1
    base = word(tensor + known(T_BASE))
    if base != known(NONE) and word(base + known(T_HISTORY)) != word(tensor + known(T_SEEN)):
        return 0
    if base != known(NONE) and word(base + known(T_REQUIRES)) == known(TRUE):
        return 0
    return word(tensor + known(T_REQUIRES)) != known(TRUE)


def add_axis(part: int, size: int, stride: int) -> int:
    """Give a part one more axis."""
    rank = word(part + P_RANK)
    set_word(part + P_SIZES + 8 * rank, size)
    set_word(part + P_STRIDES + 8 * rank, stride)
    set_word(part + P_RANK, rank + 1)
    return 0


def axes_of(item: int) -> int:
    """How many axes an item of an index stands for; -1 for one that is Python's."""
    type = word(item + TYPE)
    if type == known(INTEGER) or type == known(SLICE):
        return 1
    if item == known(NONE) or item == known(ELLIPSIS):
        return 0
    return -1


def clipped(bound: int, otherwise: int, extent: int) -> int:
    """Where a slice's bound lies in an axis; -1 for one that is no plain int."""
    if bound == known(NONE):
        return otherwise
    if word(bound + TYPE) != known(INTEGER):
        return -1
    place = integer(bound)
    if place == OUTSIDE:
        return -1
    if place < 0:
        place += extent
    if place < 0:
        return 0
    if place > extent:
        return extent
    return place


def cut(part: int, item: int, extent: int, stride: int) -> int:
    """Take a slice of an axis; 0 where that is Python's."""
    step = 1
    if word(item + CONTENT + 16) != known(NONE):
        if word(word(item + CONTENT + 16) + TYPE) != known(INTEGER):
            return 0
        step = integer(word(item + CONTENT + 16))
        if step < 1 or step > extent + 1:
            return 0
    first = clipped(word(item + CONTENT), 0, extent)
    last = clipped(word(item + CONTENT + 8), extent, extent)
    if first < 0 or last <= first:
        return 0
    set_word(part + P_START, word(part + P_START) + first * stride)
    add_axis(part, (last - first + step - 1) // step, stride * step)
    return 1


def selected(part: int, item: int, extent: int, stride: int) -> int:
    """Take one place of an axis; 0 where there is none such."""
    place = integer(item)
    if place == OUTSIDE:
        return 0
    if place < 0:
        place += extent
    if place < 0 or place >= extent:
        return 0
    set_word(part + P_START, word(part + P_START) + place * stride)
    return 1


def found(part: int, array: int, items: int, count: int) -> int:
    """Fill a part: what an index of `count` items shows of an array; 0 where that is Python's, or nothing."""
    rank = half(array + NDIM)
    dims = word(array + DIMENSIONS)
    strides = word(array + STRIDES)
    left = rank
    k = 0
    while k < count:
        used = axes_of(word(items + 8 * k))
        if used < 0:
            return 0
        left -= used
        k += 1
    if left < 0 or rank + count > MOST_AXES:
        return 0
    set_word(part + P_START, word(array + DATA))
    set_word(part + P_RANK, 0)
    axis = 0
    k = 0
    while k < count:
        item = word(items + 8 * k)
        if item == known(NONE):
            add_axis(part, 1, 0)
        elif item == known(ELLIPSIS):
            while left > 0:
                add_axis(part, word(dims + 8 * axis), word(strides + 8 * axis))
                axis += 1
                left -= 1
        elif word(item + TYPE) == known(SLICE):
            if not cut(part, item, word(dims + 8 * axis), word(strides + 8 * axis)):
                return 0
            axis += 1
        else:
            if not selected(part, item, word(dims + 8 * axis), word(strides + 8 * axis)):
                return 0
            axis += 1
        k += 1
    while axis < rank:
        add_axis(part, word(dims + 8 * axis), word(strides + 8 * axis))
        axis += 1
    return 1


def elements(part: int) -> int:
    """How many elements a part has, but not more than one above MOST_WRITTEN."""
    total = 1
    axis = word(part + P_RANK)
    while axis > 0:
        axis -= 1
        total = total * word(part + P_SIZES + 8 * axis)
        if total > MOST_WRITTEN:
            return MOST_WRITTEN + 1
    return total


def spread_over(part: int, array: int, source: int) -> int:
    """Fill `source`, a part of the same sizes: an array's elements spread over them; 0 where they do not fit."""
    rank = word(part + P_RANK)
    own = half(array + NDIM)
    dims = word(array + DIMENSIONS)
    strides = word(array + STRIDES)
    while own > rank:
        if word(dims) != 1:
            return 0
        dims += 8
        strides += 8
        own -= 1
    set_word(source + P_START, word(array + DATA))
    set_word(source + P_RANK, 0)
    axis = 0
    while axis < rank - own:
        add_axis(source, word(part + P_SIZES + 8 * axis), 0)
        axis += 1
    while axis < rank:
        size = word(part + P_SIZES + 8 * axis)
        stride = word(strides)
        if word(dims) != size:
            if word(dims) != 1:
                return 0
            stride = 0
        add_axis(source, size, stride)
        dims += 8
        strides += 8
        axis += 1
    return 1


def edge(part: int, sign: int) -> int:
    """The highest address of an element of a part; with a `sign` of -1 the lowest one."""
    address = word(part + P_START)
    axis = word(part + P_RANK)
    while axis > 0:
        axis -= 1
        reach = (word(part + P_SIZES + 8 * axis) - 1) * word(part + P_STRIDES + 8 * axis)
        if reach * sign > 0:
            address += reach
    return address


def is_same_place(part: int, source: int) -> int:
    """Whether two parts of the same sizes show the same elements in the same order."""
    if word(part + P_START) != word(source + P_START):
        return 0
    axis = word(part + P_RANK)
    while axis > 0:
        axis -= 1
        moves = word(part + P_SIZES + 8 * axis) > 1
        if moves and word(part + P_STRIDES + 8 * axis) != word(source + P_STRIDES + 8 * axis):
            return 0
    return 1


def put_row(place: int, stride: int, source: int, source_stride: int, size: int, count: int) -> int:
    """Copy elements that stand in a row."""
    if stride == size and source_stride == size:
        memcpy(place, source, size * count)
    elif size == 8:
        while count > 0:
            set_word(place, word(source))
            place += stride
            source += source_stride
            count -= 1
    else:
        while count > 0:
            set_half(place, half(source))
            place += stride
            source += source_stride
            count -= 1
    return 0


def filled_row(place: int, size: int, count: int) -> int:
    """Repeat the element at a place behind it: each copy doubles what there is."""
    total = size * count
    done = size
    while done < total:
        more = done
        if more > total - done:
            more = total - done
        memcpy(place + done, place, more)
        done += more
    return 0


def advance(part: int, source: int, rank: int, counts: int, row: int) -> int:
    """Move on to the next row, whose places in the part and the source are two words; 0 after the last."""
    axis = rank
    while axis > 0:
        axis -= 1
        count = word(counts + 8 * axis) + 1
        stride = word(part + P_STRIDES + 8 * axis)
        other = word(source + P_STRIDES + 8 * axis)
        set_word(row, word(row) + stride)
        set_word(row + 8, word(row + 8) + other)
        if count < word(part + P_SIZES + 8 * axis):
            set_word(counts + 8 * axis, count)
            return 1
        set_word(row, word(row) - count * stride)
        set_word(row + 8, word(row + 8) - count * other)
        set_word(counts + 8 * axis, 0)
    return 0


def put_all(part: int, source: int, size: int) -> int:
    """Copy the elements of `source` to a part, row after row."""
    counts = room(MOST_AXES)
    row = room(2)
    rank = word(part + P_RANK)
    inner = 1
    stride = size
    other = size
    if rank > 0:
        rank -= 1
        inner = word(part + P_SIZES + 8 * rank)
        stride = word(part + P_STRIDES + 8 * rank)
        other = word(source + P_STRIDES + 8 * rank)
    joined = 1  # axes whose rows follow one another in both are one row
    while rank > 0 and joined:
        joined = word(part + P_STRIDES + 8 * rank - 8) == stride * inner
        joined = joined and word(source + P_STRIDES + 8 * rank - 8) == other * inner
        if joined:
            rank -= 1
            inner = inner * word(part + P_SIZES + 8 * rank)
    k = 0
    while k < rank:
        set_word(counts + 8 * k, 0)
        k += 1
    set_word(row, word(part + P_START))
    set_word(row + 8, word(source + P_START))
    more = 1
    while more:
        if other == 0 and stride == size:
            put_row(word(row), size, word(row + 8), 0, size, 1)
            filled_row(word(row), size, inner)
        else:
            put_row(word(row), stride, word(row + 8), other, size, inner)
        more = advance(part, source, rank, counts, row)
    return 0


def number_put(array: int, value: int, cell: int) -> int:
    """Put a number in an array's dtype into `cell`; 0 for one that is Python's."""
    type = word(value + TYPE)
    kind = NUMBER_F32
    if word(array + DESCRIPTION) == known(P_F64):
        kind = NUMBER_F64
    if word(array + DESCRIPTION) == known(P_I64):
        kind = NUMBER_I64
    if type != known(INTEGER) and (type != known(FLOAT) or kind == NUMBER_I64):
        return 0
    return number(kind, value, cell)


def one_number(part: int, source: int, array: int, value: int, cell: int) -> int:
    """Fill `source` with a number in an array's dtype, which stands in `cell`; 0 for one that is Python's."""
    if not number_put(array, value, cell):
        return 0
    set_word(source + P_START, cell)
    set_word(source + P_RANK, 0)
    axis = 0
    while axis < word(part + P_RANK):
        add_axis(source, word(part + P_SIZES + 8 * axis), 0)
        axis += 1
    return 1


def one_tensor(part: int, source: int, target: int, value: int, recording: int) -> int:
    """Fill `source` with a tensor's elements; 0 where they are Python's."""
    array = array_of(value)
    if array == 0 or word(value + known(T_DTYPE)) != word(target + known(T_DTYPE)):
        return 0
    if word(array + DESCRIPTION) != word(array_of(target) + DESCRIPTION) or half(array + FLAGS) & ALIGNED == 0:
        return 0
    return has_no_history(value, recording) and spread_over(part, array, source)


def put_apart(part: int, source: int, size: int) -> int:
    """Copy the elements of `source` to a part that shares none of them, or all; 0 where it shares some."""
    apart = edge(part, 1) + size <= edge(source, -1) or edge(source, 1) + size <= edge(part, -1)
    if not apart:
        return is_same_place(part, source)
    put_all(part, source, size)
    return 1


def assigned_part(target: int, index: int, value: int, recording: int) -> int:
    """Write a value to a part of a tensor in order; 0 where Python must."""
    part = room(PART_WORDS)
    source = room(PART_WORDS)
    cell = room(1)
    single = room(1)
    array = array_of(target)
    size = element_bytes(array)
    items = single
    count = 1
    set_word(single, index)
    if word(index + TYPE) == known(TUPLE):
        items = index + ITEMS
        count = PyTuple_Size(index)
    if not found(part, array, items, count):
        return 0
    total = elements(part)
    if total == 0 or total > MOST_WRITTEN:
        return 0
    if is_tensor(value):
        if not one_tensor(part, source, target, value, recording):
            return 0
    elif not one_number(part, source, array, value, cell):
        return 0
    return put_apart(part, source, size)


FUNCTIONS = (
    element_bytes, has_no_history, add_axis, axes_of, clipped, cut, selected, found, elements, spread_over, edge,
    is_same_place, put_row, filled_row, advance, put_all, number_put, one_number, one_tensor, put_apart,
    assigned_part,
)  # fmt: skip
