"""Word functions that take tuples, lists, dicts and slices among a call's arguments apart.

A structure in words: how many arguments there are by position, how many by name, the names; then each argument: LEAF,
or a node's kind and length and its parts, each of them after its key in a dict.  Keys are the same if they are one
object, as literals are.  Two calls with the same words have their leaves at the same places.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import (
    Py_DecRef,
    PyDict_Next,
    PyErr_Clear,
    PyObject_GetAttr,
    PyTuple_GetItem,
    PyTuple_Size,
)
from adjit.compiler.entry.known import (
    A_DICT,
    A_LIST,
    A_SLICE,
    A_SUBTUPLE,
    A_TUPLE,
    AN_INSTANCE,
    CLASSES,
    DICT,
    DICT_NAME,
    LIST,
    LONGEST_STRUCTURE,
    MOST_OPERANDS,
    SLICE,
    TUPLE,
)
from adjit.compiler.entry.objects import mixed
from adjit.compiler.llvm.words import known, room, set_word, word
from adjit.runtime.layout import CONTENT, ITEMS, TUPLE_KIND, TYPE, TYPE_FLAGS, USED

LEAF, SLICE_PARTS = 0, 3


def is_listed(type: int) -> int:
    """Whether a class's instances are taken apart by their attributes."""
    place = known(CLASSES) + 8
    count = word(place - 8)
    while count > 0:
        if word(place) == type:
            return 1
        place += 8
        count -= 1
    return 0


def is_node(value: int) -> int:
    """Whether an object is one that is taken apart."""
    type = word(value + TYPE)
    if word(known(CLASSES)) != 0 and is_listed(type):
        return 1
    return type == known(LIST) or type == known(DICT) or type == known(SLICE) or word(type + TYPE_FLAGS) & TUPLE_KIND


def any_nodes(arguments: int, count: int) -> int:
    """Whether any argument is a node."""
    k = 0
    while k < count:
        if is_node(word(arguments + 8 * k)):
            return 1
        k += 1
    return 0


def noted(words: int, item: int) -> int:
    """Add a word to a counted list; 0 where it is full."""
    count = word(words)
    if count == LONGEST_STRUCTURE:
        return 0
    set_word(words + 8 + 8 * count, item)
    set_word(words, count + 1)
    return 1


def taken_apart(value: int, words: int, leaves: int) -> int:
    """Add an argument's structure to `words`, and its leaves to the counted list `leaves`; 0 where there is no room."""
    type = word(value + TYPE)
    if type == known(TUPLE):
        count = word(value + USED)
        return noted(words, A_TUPLE) and noted(words, count) and all_taken_apart(value + ITEMS, count, words, leaves)
    if word(type + TYPE_FLAGS) & TUPLE_KIND:
        count = word(value + USED)
        named = noted(words, A_SUBTUPLE) and noted(words, count) and noted(words, type)
        return named and all_taken_apart(value + ITEMS, count, words, leaves)
    if type == known(LIST):
        count = word(value + USED)
        items = word(value + ITEMS)
        return noted(words, A_LIST) and noted(words, count) and all_taken_apart(items, count, words, leaves)
    if type == known(SLICE):
        return noted(words, A_SLICE) and noted(words, SLICE_PARTS) and all_taken_apart(
            value + CONTENT, SLICE_PARTS, words, leaves
        )
    if type == known(DICT):
        return noted(words, A_DICT) and noted(words, word(value + USED)) and items_taken_apart(value, words, leaves)
    if word(known(CLASSES)) != 0 and is_listed(type):
        return attributes_taken_apart(value, words, leaves)
    count = word(leaves)
    if count == MOST_OPERANDS or not noted(words, LEAF):
        return 0
    set_word(leaves + 8 + 8 * count, value)
    set_word(leaves, count + 1)
    return 1


def all_taken_apart(items: int, count: int, words: int, leaves: int) -> int:
    """The same for a row of objects."""
    k = 0
    while k < count:
        if not taken_apart(word(items + 8 * k), words, leaves):
            return 0
        k += 1
    return 1


def items_taken_apart(mapping: int, words: int, leaves: int) -> int:
    """The same for what a dict holds, in the order in which it was put there."""
    position = room(1)
    key = room(1)
    item = room(1)
    set_word(position, 0)
    while PyDict_Next(mapping, position, key, item):
        if not noted(words, word(key)) or not taken_apart(word(item), words, leaves):
            return 0
    return 1


def attributes_taken_apart(value: int, words: int, leaves: int) -> int:
    """The same for the attributes of an instance, in the order in which they were set."""
    own = PyObject_GetAttr(value, known(DICT_NAME))
    if own == 0:
        PyErr_Clear()
        return 0
    Py_DecRef(own)  # the instance holds it
    if word(own + TYPE) != known(DICT) or not noted(words, AN_INSTANCE) or not noted(words, word(own + USED)):
        return 0
    return noted(words, word(value + TYPE)) and items_taken_apart(own, words, leaves)


def arguments_taken_apart(arguments: int, count: int, names: int, words: int, leaves: int) -> int:
    """The structure and the leaves of a call's arguments; 0 where there is no room for them."""
    named = 0
    if names != 0:
        named = PyTuple_Size(names)
    set_word(words, 0)
    set_word(leaves, 0)
    noted(words, count)
    noted(words, named)
    k = 0
    while k < named:
        if not noted(words, PyTuple_GetItem(names, k)):
            return 0
        k += 1
    return all_taken_apart(arguments, count + named, words, leaves)


def mixed_words(words: int) -> int:
    """A hash of a counted list of words."""
    code = 1
    count = word(words)
    while count > 0:
        code = mixed(code, word(words + 8 * count))
        count -= 1
    return code


FUNCTIONS = (
    is_listed, is_node, any_nodes, noted, taken_apart, all_taken_apart, items_taken_apart, attributes_taken_apart,
    arguments_taken_apart, mixed_words,
)  # fmt: skip
