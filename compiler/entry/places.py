"""Word functions that read what stands at places in Python: attributes, globals, closures, items."""

from __future__ import annotations

from adjit.compiler.entry.guards import item_of
from adjit.compiler.entry.known import (
    IN_CELL,
    IN_DICT,
    IN_LEAF,
    IN_LIST,
    LIFTED,
    LIFTED_WORDS,
    LIST,
    MOST_OPERANDS,
    NONE,
)
from adjit.compiler.entry.objects import is_tensor
from adjit.compiler.llvm.words import known, set_word, word
from adjit.runtime.layout import CONTENT, ITEMS, TYPE, USED


def content_of(place: int, leaves: int) -> int:
    """What stands at a place, or 0."""
    kind = word(place)
    container = word(place + 8)
    key = word(place + 16)
    if kind == IN_DICT:
        return item_of(container, key)
    if kind == IN_CELL:
        return word(container + CONTENT)
    if kind == IN_LEAF:
        if container >= word(leaves) or not is_tensor(word(leaves + 8 + 8 * container)):
            return known(NONE)
        return word(word(leaves + 8 + 8 * container) + key)
    if kind != IN_LIST:
        return word(container + key)
    if word(container + TYPE) != known(LIST) or word(container + USED) <= key:
        return 0
    return word(word(container + ITEMS) + 8 * key)


def lifted(table: int, leaves: int) -> int:
    """Add what stands at a table's places to a counted list; 0 where something is missing, or there is no room."""
    place = word(table + 8 * LIFTED) + 8
    count = word(place - 8)
    while count > 0:
        found = content_of(place, leaves)
        before = word(leaves)
        if found == 0 or before == MOST_OPERANDS:
            return 0
        set_word(leaves + 8 + 8 * before, found)
        set_word(leaves, before + 1)
        place += 8 * LIFTED_WORDS
        count -= 1
    return 1


FUNCTIONS = (content_of, lifted)
