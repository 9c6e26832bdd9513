"""Word functions that compare what a trace relied on: words, names, items, dicts, what functions say."""

from __future__ import annotations

from adjit.compiler.entry.interpreter import (
    Py_DecRef,
    PyDict_GetItemWithError,
    PyDict_Next,
    PyErr_Clear,
    PyObject_Vectorcall,
)
from adjit.compiler.entry.known import TRUE
from adjit.compiler.llvm.words import known, room, set_word, word
from adjit.runtime.layout import USED

# What `guards_hold` answers where it ran Python.
ASKED = 2


def asked(function: int) -> int:
    """What a Python function without arguments gives, a new reference; 0 where it fails."""
    arguments = room(2)
    set_word(arguments, 0)
    found = PyObject_Vectorcall(function, arguments + 8, 0, 0)
    if found == 0:
        PyErr_Clear()  # the Python path asks again, and says what is wrong
    return found


def says_true(function: int, cursor: int) -> int:
    """Whether a Python function gives True; after the cursor it is noted that one was asked."""
    found = asked(function)
    set_word(cursor + 8, 1)
    if found == 0:
        return 0
    Py_DecRef(found)
    return found == known(TRUE)


def item_of(mapping: int, key: int) -> int:
    """What a dict has under a key, or 0."""
    found = PyDict_GetItemWithError(mapping, key)
    if found == 0:
        PyErr_Clear()
    return found


def words_stand(cursor: int) -> int:
    """Whether the words of a counted list stand at their addresses."""
    place = word(cursor)
    count = word(place)
    place += 8
    while count > 0:
        if word(word(place)) != word(place + 8):
            return 0
        place += 16
        count -= 1
    set_word(cursor, place)
    return 1


def names_hold(cursor: int) -> int:
    """Whether the names of a counted list mean in their namespaces what they meant."""
    place = word(cursor)
    count = word(place)
    place += 8
    while count > 0:
        if item_of(word(place), word(place + 8)) != word(place + 16):
            return 0
        place += 24
        count -= 1
    set_word(cursor, place)
    return 1


def items_hold(cursor: int) -> int:
    """Whether items of dicts are the objects of a counted list, or ones of which a function says True."""
    place = word(cursor)
    count = word(place)
    place += 8
    while count > 0:
        if item_of(word(place), word(place + 8)) != word(place + 16) and not says_true(word(place + 24), cursor):
            return 0
        place += 32
        count -= 1
    set_word(cursor, place)
    return 1


def dict_holds(place: int) -> int:
    """Whether a dict has these keys in this order, and these objects under them; a 0 stands for any object."""
    mapping = word(place)
    count = word(place + 8)
    if word(mapping + USED) != count:
        return 0
    position = room(1)
    key = room(1)
    item = room(1)
    set_word(position, 0)
    place += 16
    while count > 0:
        if not PyDict_Next(mapping, position, key, item) or word(key) != word(place):
            return 0
        if word(place + 8) != 0 and word(item) != word(place + 8):
            return 0
        place += 16
        count -= 1
    return 1


def dicts_hold(cursor: int) -> int:
    """Whether the dicts of a counted list hold what they held, each in its order."""
    place = word(cursor)
    count = word(place)
    place += 8
    while count > 0:
        if not dict_holds(place):
            return 0
        place += 16 + 16 * word(place + 8)
        count -= 1
    set_word(cursor, place)
    return 1


def checks_hold(cursor: int) -> int:
    """Whether the functions of a counted list say True."""
    place = word(cursor)
    count = word(place)
    place += 8
    while count > 0:
        if not says_true(word(place), cursor):
            return 0
        place += 8
        count -= 1
    set_word(cursor, place)
    return 1


def all_hold(cursor: int) -> int:
    """Whether all that stands in five lists holds; the cursor is then behind them."""
    if not (words_stand(cursor) and names_hold(cursor) and items_hold(cursor)):
        return 0
    return dicts_hold(cursor) and checks_hold(cursor)


def guards_hold(guards: int) -> int:
    """Whether what a trace relied on is as it was: 1, or ASKED where Python told so; the last lists are looked at
    where something announced a change.
    """
    cursor = room(2)
    if guards == 0:
        return 1
    set_word(cursor, guards)
    set_word(cursor + 8, 0)
    if not all_hold(cursor):
        return 0
    place = word(cursor)
    if word(place) != 0:
        now = word(word(place))
        if word(place + 8) != now:
            set_word(cursor, place + 16)
            if not all_hold(cursor):
                return 0
            set_word(place + 8, now)
    return 1 + word(cursor + 8)


FUNCTIONS = (
    asked, says_true, item_of, words_stand, names_hold, items_hold, dict_holds, dicts_hold, checks_hold, all_hold,
    guards_hold,
)  # fmt: skip
