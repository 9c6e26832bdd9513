"""Word functions that say whether operands share memory with one another, or with what the program has or writes."""

from __future__ import annotations

from adjit.compiler.entry.known import (
    FIXED_PLACE,
    IS_ANYTHING,
    IS_SAME,
    NONE,
    OPERAND_LIST,
    OPERAND_WORDS,
    RECORDING,
    SET_ROOM,
    T_BASE,
    T_LEAF,
    T_MEMORY,
    T_REQUIRES,
    T_VALUE,
    TRUE,
    V_ATTACHED,
    WRITTEN,
    WRITTEN_WORDS,
)
from adjit.compiler.entry.objects import array_of, in_order, is_tensor, mixed
from adjit.compiler.llvm.words import half, known, room, set_word, word
from adjit.runtime.layout import DATA, DIMENSIONS, FLAGS, NDIM, STRIDES, WRITEABLE

# Few memories are compared each with each; no element is larger than so many bytes.
FEW, LARGEST_ELEMENT = 8, 16


def place_in(table: int, mask: int, memory: int) -> int:
    """Where a memory stands in a hash table of `mask` + 1 words, or the empty place where it would."""
    place = mixed(1, memory >> 4) & mask
    while word(table + 8 * place) != 0 and word(table + 8 * place) != memory:
        place = (place + 1) & mask
    return table + 8 * place


def all_differ(places: int, count: int) -> int:
    """Whether the addresses in a list are all different ones."""
    table = room(SET_ROOM)
    k = 1
    if count <= FEW:
        while k < count:
            j = 0
            while j < k:
                if word(places + 8 * j) == word(places + 8 * k):
                    return 0
                j += 1
            k += 1
        return 1
    k = 0
    while k < SET_ROOM:
        set_word(table + 8 * k, 0)
        k += 1
    k = 0
    while k < count:
        empty = place_in(table, SET_ROOM - 1, word(places + 8 * k))
        if word(empty) != 0:
            return 0
        set_word(empty, word(places + 8 * k))
        k += 1
    return 1


def is_looked_at(wanted: int) -> int:
    """Whether an operand is one that the program looks at, and not the same as an earlier one."""
    return word(wanted) != IS_SAME and word(wanted) != IS_ANYTHING


def stand_apart(listed: int, wanted: int, operands: int, count: int) -> int:
    """Whether no two operands are one tensor but where they are to be the same, and none is in a memory that is listed.

    `listed` says whether they must not share memory either, and has a hash table after its mask.  What the program does
    not look at may stand anywhere.
    """
    places = room(SET_ROOM)
    mask = word(listed + 8)
    found = 0
    k = 0
    while k < count:
        if is_looked_at(wanted + 8 * OPERAND_WORDS * k) and is_tensor(word(operands + 8 * k)):
            memory = word(word(operands + 8 * k) + known(T_MEMORY))
            if word(place_in(listed + 16, mask, memory)) != 0:
                return 0
            if word(listed) == 0:
                memory = word(operands + 8 * k)
            set_word(places + 8 * found, memory)
            found += 1
        k += 1
    return all_differ(places, found)


def written_array(written: int, operands: int) -> int:
    """The array that a program writes."""
    if word(written) == FIXED_PLACE:
        return word(written + 16)
    return array_of(word(operands + 8 * word(written)))


def lies_in(array: int, nbytes: int, start: int, end: int) -> int:
    """Whether any of an array's elements may lie between two addresses."""
    first = word(array + DATA)
    last = first + nbytes
    if not in_order(array):
        last = first + LARGEST_ELEMENT
        dims = word(array + DIMENSIONS)
        strides = word(array + STRIDES)
        axis = half(array + NDIM)
        while axis > 0:
            axis -= 1
            reach = (word(dims + 8 * axis) - 1) * word(strides + 8 * axis)
            if reach < 0:
                first += reach
            else:
                last += reach
    return first < end and last > start


def captured_lie_in(spans: int, start: int, end: int) -> int:
    """Whether any of a counted list of captured memories lies between two addresses."""
    count = word(spans)
    while count > 0:
        spans += 16
        count -= 1
        if word(spans - 8) < end and word(spans) > start:
            return 1
    return 0


def stand_clear(signature: int, operands: int, count: int) -> int:
    """Whether what the program writes can be written where it stands, and nothing else that it reads lies in it."""
    block = word(signature + 8 * WRITTEN)
    left = word(block)
    written = block + 8
    captured = written + 8 * WRITTEN_WORDS * left
    while left > 0:
        array = written_array(written, operands)
        if half(array + FLAGS) & WRITEABLE == 0 or not in_order(array):
            return 0
        start = word(array + DATA)
        end = start + word(written + 24)
        if word(written) != FIXED_PLACE and captured_lie_in(captured, start, end):
            return 0
        wanted = signature + 8 * OPERAND_LIST
        k = 0
        while k < count:
            other = array_of(word(operands + 8 * k))
            is_other = k != word(written) and is_looked_at(wanted)
            if other != 0 and is_other and lies_in(other, word(wanted + 56), start, end):
                return 0
            wanted += 8 * OPERAND_WORDS
            k += 1
        written += 8 * WRITTEN_WORDS
        left -= 1
    return 1


def may_be_rewritten(target: int) -> int:
    """Whether an overwritten tensor takes the history of its new value: no leaf that requires grad, and no view.

    What is attached to its value may have to move to the new one.
    """
    value = word(target + known(T_VALUE))
    if value != known(NONE) and word(value + known(V_ATTACHED)) != known(NONE):
        return 0
    if word(target + known(T_REQUIRES)) == known(TRUE) and word(target + known(T_LEAF)) == known(TRUE):
        return 0
    return word(target + known(T_BASE)) == known(NONE)


def may_be_written(signature: int, operands: int, count: int, recording: int) -> int:
    """Whether the first operand can be overwritten unseen, and no other one lies across its memory."""
    target = word(operands)
    array = array_of(target)
    wanted = signature + 8 * OPERAND_LIST
    if half(array + FLAGS) & WRITEABLE == 0 or not in_order(array):
        return 0
    base = word(target + known(T_BASE))
    if recording and base != known(NONE) and word(base + known(T_REQUIRES)) == known(TRUE):
        return 0
    recorded = word(signature + 8 * RECORDING) != 0
    if recorded and not may_be_rewritten(target):
        return 0
    start = word(array + DATA)
    end = start + word(wanted + 56)
    k = 1
    while k < count:
        wanted += 8 * OPERAND_WORDS
        other = array_of(word(operands + 8 * k))
        if other != 0 and not in_order(other):
            return 0
        if recorded and other != 0 and word(word(operands + 8 * k) + known(T_MEMORY)) == word(target + known(T_MEMORY)):
            return 0
        if other != 0:
            first = word(other + DATA)
            last = first + word(wanted + 56)
            if first < end and last > start and (first != start or last != end):
                return 0
        k += 1
    return 1


FUNCTIONS = (
    place_in, all_differ, is_looked_at, stand_apart, written_array, lies_in, captured_lie_in, stand_clear,
    may_be_rewritten, may_be_written,
)  # fmt: skip
