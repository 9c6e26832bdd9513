"""Word functions over lists of words that grow, a heap of them, and a table of objects' numbers.

A list is a block of three words: where its items stand, how many there are, for how many there is room.  A table is
two: where its places stand, and their number, a power of two, less one.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import PyMem_Free, PyMem_Malloc, PyMem_Realloc, memset
from adjit.compiler.entry.objects import mixed
from adjit.compiler.llvm.words import set_word, word

_FIRST_MASK = 255


def more(list: int, words: int) -> int:
    """The address of so many new words at a list's end; 0 when memory ran out."""
    used = word(list + 8)
    if word(list) == 0 or used + words > word(list + 16):
        size = 2 * (used + words)
        memory = PyMem_Realloc(word(list), 8 * size)
        if memory == 0:
            return 0
        set_word(list, memory)
        set_word(list + 16, size)
    set_word(list + 8, used + words)
    return word(list) + 8 * used


def appended(list: int, item: int) -> int:
    """Put an item at a list's end; 0 when memory ran out."""
    at = more(list, 1)
    if at == 0:
        return 0
    set_word(at, item)
    return 1


def pushed(heap: int, key: int, item: int) -> int:
    """Put an item into a heap, whose first has the greatest key; 0 when memory ran out."""
    if more(heap, 2) == 0:
        return 0
    base = word(heap)
    hole = (word(heap + 8) >> 1) - 1
    while hole > 0 and word(base + 16 * ((hole - 1) >> 1)) < key:
        parent = (hole - 1) >> 1
        set_word(base + 16 * hole, word(base + 16 * parent))
        set_word(base + 16 * hole + 8, word(base + 16 * parent + 8))
        hole = parent
    set_word(base + 16 * hole, key)
    set_word(base + 16 * hole + 8, item)
    return 1


def popped(heap: int) -> int:
    """Take the item with the greatest key out of a heap that has one."""
    base = word(heap)
    found = word(base + 8)
    count = (word(heap + 8) >> 1) - 1
    set_word(heap + 8, 2 * count)
    key = word(base + 16 * count)
    item = word(base + 16 * count + 8)
    hole = 0
    child = 1
    while child < count:
        if child + 1 < count and word(base + 16 * child + 16) > word(base + 16 * child):
            child += 1
        if word(base + 16 * child) > key:
            set_word(base + 16 * hole, word(base + 16 * child))
            set_word(base + 16 * hole + 8, word(base + 16 * child + 8))
            hole = child
            child = 2 * hole + 1
        else:
            child = count
    set_word(base + 16 * hole, key)
    set_word(base + 16 * hole + 8, item)
    return found


def slot_in(map: int, object: int, items: int, size: int) -> int:
    """The place in a table where an object's number stands, or may stand.

    Numbers count from 1; item `number - 1` of `items`, of `size` words, begins with the object.
    """
    mask = word(map + 8)
    k = mixed(0, object >> 4) & mask
    number = word(word(map) + 8 * k)
    while number != 0 and word(items + 8 * size * (number - 1)) != object:
        k = (k + 1) & mask
        number = word(word(map) + 8 * k)
    return word(map) + 8 * k


def widened_map(map: int, items: int, size: int, count: int) -> int:
    """Give a table room for one object more than the `count` that are there; 0 when memory ran out."""
    before = word(map)
    mask = word(map + 8)
    if before != 0 and 2 * count < mask:
        return 1
    wider = _FIRST_MASK
    if before != 0:
        wider = 2 * mask + 1
    memory = PyMem_Malloc(8 * (wider + 1))
    if memory == 0:
        return 0
    memset(memory, 0, 8 * (wider + 1))
    set_word(map, memory)
    set_word(map + 8, wider)
    number = 0
    while number < count:
        place = slot_in(map, word(items + 8 * size * number), items, size)
        number += 1
        set_word(place, number)
    if before != 0:
        PyMem_Free(before)
    return 1


FUNCTIONS = (more, appended, pushed, popped, slot_in, widened_map)
