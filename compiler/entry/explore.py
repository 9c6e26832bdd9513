"""Word functions that explore a tape, and find what on it leads to what is wanted.

A tape can be gone through if nothing on it is freed, overwritten or watched.
"""

from __future__ import annotations

from adjit.compiler.entry.backward import intact, is_quiet, is_unwatched
from adjit.compiler.entry.interpreter import Py_IncRef, PyTuple_GetItem, PyTuple_Size, memset
from adjit.compiler.entry.known import (
    EMPTY,
    EVERY_LEAF,
    FALSE,
    G_ARRAYS,
    G_COTANGENTS,
    G_HEAP,
    G_LEAVES,
    G_MAP,
    G_ORDER,
    G_PLACES,
    MANY_PASSES,
    MOST_PLANNED,
    N_INPUTS,
    N_RESULTS,
    N_TYPES,
    NODE,
    NONE,
    PASSES,
    PASSES_WORDS,
    PLACE_WORDS,
    PLAN_DUE,
    R_CUSTOM,
    R_FAULT,
    R_FREED,
    R_HOOKS,
    R_KEPT,
    R_PULLBACK,
    R_REACHED,
    R_SEQUENCE,
    R_SIZES,
    T_BASE,
    T_VALUE,
    TUPLE,
    V_ATTACHED,
    V_NODE,
)
from adjit.compiler.entry.lists import appended, more, popped, pushed, slot_in, widened_map
from adjit.compiler.entry.objects import integer, is_tensor, mixed
from adjit.compiler.llvm.words import known, set_word, word
from adjit.runtime.layout import ITEMS, TYPE

# What a place is.
A_LEAF, A_NODE = 0, 1


# A place of the tape: the node, or a leaf's value; which it is; where its cotangents stand, one for each result, as an
# array and the words of the result that it is, or 0; where its saved arrays stand; whether it is wanted.
def place_of(walk: int, number: int) -> int:
    """The address of a place; it moves when places join."""
    return word(walk + 8 * G_PLACES) + 8 * PLACE_WORDS * (number - 1)


def number_of(walk: int, object: int) -> int:
    """The number of a node's or a leaf's place."""
    return word(slot_in(walk + 8 * G_MAP, object, word(walk + 8 * G_PLACES), PLACE_WORDS))


def new_place(walk: int, object: int, kind: int, results: int) -> int:
    """The number of a new place; 0 when memory ran out."""
    places = walk + 8 * G_PLACES
    cotangents = walk + 8 * G_COTANGENTS
    count = word(walk + 8 * G_MAP + 16)
    if not widened_map(walk + 8 * G_MAP, word(places), PLACE_WORDS, count):
        return 0
    begin = word(cotangents + 8)
    cells = more(cotangents, 2 * results)
    if cells == 0:
        return 0
    memset(cells, 0, 16 * results)
    place = more(places, PLACE_WORDS)
    if place == 0:
        return 0
    set_word(place, object)
    set_word(place + 8, kind)
    set_word(place + 16, begin)
    set_word(place + 24, 0)
    set_word(place + 32, 1)
    set_word(slot_in(walk + 8 * G_MAP, object, word(places), PLACE_WORDS), count + 1)
    set_word(walk + 8 * G_MAP + 16, count + 1)
    return count + 1


def meet_node(walk: int, node: int) -> int:
    """Note a node that a cotangent goes to; 0 where only Python can go through it."""
    if word(node + TYPE) != known(NODE):
        return 0
    if word(walk + 8 * G_MAP) != 0 and number_of(walk, node) != 0:
        return 1
    if word(node + known(R_PULLBACK)) == known(NONE):
        return 0
    number = new_place(walk, node, A_NODE, PyTuple_Size(word(node + known(N_TYPES))))
    if number == 0:
        return 0
    return pushed(walk + 8 * G_HEAP, integer(word(node + known(R_SEQUENCE))), number)


def meet_leaf(walk: int, value: int) -> int:
    """Note a leaf; 0 where somebody watches it."""
    if number_of(walk, value) != 0:
        return 1
    if not is_quiet(word(value + known(V_ATTACHED))):
        return 0
    number = new_place(walk, value, A_LEAF, 1)
    if number == 0:
        return 0
    return appended(walk + 8 * G_LEAVES, number)


def keep_saved(walk: int, saved: int) -> int:
    """Note the arrays that a node saved; 0 where one was overwritten, or has another form."""
    if saved == known(EMPTY):
        return 1
    if word(word(saved + ITEMS) + TYPE) != known(TUPLE):
        return 0  # in a form that a hook gave it, perhaps
    words = PyTuple_Size(saved) - 1
    count = 0
    while 3 * count < words:
        count += 1
    arrays = more(walk + 8 * G_ARRAYS, count)
    if arrays == 0:
        return 0
    memset(arrays, 0, 8 * count)
    kept = saved + ITEMS + 8
    k = 0
    while k < count:
        array = intact(kept)
        if array == 0:
            return 0
        Py_IncRef(array)
        set_word(arrays + 8 * k, array)
        kept += 24
        k += 1
    return 1


def explore_node(walk: int, number: int) -> int:
    """Note what a node saved and where its cotangents go; 0 where only Python can go through it."""
    node = word(place_of(walk, number))
    set_word(place_of(walk, number) + 24, word(walk + 8 * G_ARRAYS + 8))
    if not appended(walk + 8 * G_ORDER, number):
        return 0
    Py_IncRef(node)
    if word(node + known(R_FREED)) != known(FALSE) or word(node + known(R_FAULT)) != known(NONE):
        return 0
    if word(node + known(R_HOOKS)) != known(NONE) or word(node + known(R_CUSTOM)) != known(NONE):
        return 0
    if not is_unwatched(word(node + known(N_RESULTS)), PyTuple_Size(word(node + known(N_TYPES)))):
        return 0
    if not keep_saved(walk, word(node + known(R_KEPT))):
        return 0
    reached = word(node + known(R_REACHED))
    count = PyTuple_Size(reached)
    k = 0
    while k < count:
        value = PyTuple_GetItem(word(node + known(N_INPUTS)), integer(PyTuple_GetItem(reached, k)))
        source = word(value + known(V_NODE))
        if source == known(NONE) and not meet_leaf(walk, value):
            return 0
        if source != known(NONE) and not meet_node(walk, source):
            return 0
        k += 1
    return 1


def explored(walk: int, root: int) -> int:
    """Whether the whole tape behind a node can be gone through; its nodes and saved arrays are held from here on."""
    if not meet_node(walk, root):
        return 0
    while word(walk + 8 * G_HEAP + 8) > 0:
        if not explore_node(walk, popped(walk + 8 * G_HEAP)):
            return 0
    return 1


def is_due(walk: int, weights: int, targets: int) -> int:
    """Count a tape like this one; 1 when it came so often that a plan of it pays, which Python makes on its way."""
    order = word(walk + 8 * G_ORDER)
    count = word(walk + 8 * G_ORDER + 8)
    if known(PASSES) == 0:
        return 0
    set_word(known(PASSES) + 8 * PLAN_DUE, 0)  # of a pass that failed
    if count > MOST_PLANNED:
        return 0
    code = count * 4 + (weights != known(NONE)) * 2 + (targets != EVERY_LEAF)
    k = 0
    while k < count:
        node = word(place_of(walk, word(order + 8 * k)))
        if word(node + known(R_SIZES)) != known(NONE):  # others of its sizes may never come
            return 0
        code = mixed(code, word(node + known(R_PULLBACK)) >> 4)
        k += 1
    place = known(PASSES) + 8 * (code & (PASSES_WORDS - 1))
    set_word(place, word(place) + 1)
    if word(place) != MANY_PASSES + (count >> 3):
        return 0
    set_word(known(PASSES) + 8 * PLAN_DUE, 1)
    return 1


def place_to(walk: int, node: int, which: int) -> int:
    """The address of the place to which a node's cotangent of this number goes."""
    index = integer(PyTuple_GetItem(word(node + known(R_REACHED)), which))
    value = PyTuple_GetItem(word(node + known(N_INPUTS)), index)
    source = word(value + known(V_NODE))
    if source == known(NONE):
        return place_of(walk, number_of(walk, value))
    return place_of(walk, number_of(walk, source))


def target_number(walk: int, target: int) -> int:
    """The number of the place of a leaf; 0 for another tensor."""
    if not is_tensor(target) or word(target + known(T_BASE)) != known(NONE):
        return 0
    value = word(target + known(T_VALUE))
    if value == known(NONE) or word(value + known(V_NODE)) != known(NONE):
        return 0
    return number_of(walk, value)


def leads(walk: int, node: int) -> int:
    """Whether a node has a cotangent for something that is wanted."""
    count = PyTuple_Size(word(node + known(R_REACHED)))
    while count > 0:
        count -= 1
        if word(place_to(walk, node, count) + 32):
            return 1
    return 0


def narrowed(walk: int, targets: int, count: int) -> int:
    """Want what leads to the targets, and no more; 0 where these are not different leaves of the tape.

    Afterwards the targets are asked no more: while the GIL is released another thread may do anything to them.
    """
    set_word(walk + 8 * G_LEAVES + 8, 0)
    k = word(walk + 8 * G_MAP + 16)
    while k > 0:
        set_word(place_of(walk, k) + 32, 0)
        k -= 1
    while k < count:
        number = target_number(walk, word(targets + 8 * k))
        if number == 0 or word(place_of(walk, number) + 32):
            return 0
        set_word(place_of(walk, number) + 32, 1)
        if not appended(walk + 8 * G_LEAVES, number):
            return 0
        k += 1
    k = word(walk + 8 * G_ORDER + 8)
    while k > 0:
        k -= 1
        place = place_of(walk, word(word(walk + 8 * G_ORDER) + 8 * k))
        set_word(place + 32, leads(walk, word(place)))
    return 1


FUNCTIONS = (
    place_of, number_of, new_place, meet_node, meet_leaf, keep_saved, explore_node, explored, is_due, place_to,
    target_number, leads, narrowed,
)  # fmt: skip
