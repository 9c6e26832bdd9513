"""Word functions that make a signature or a step, open in its sizes, one for the sizes of a call.

An opening knows where numbers and objects stand that depend on sizes.  It computes them and writes them there; then
the words are those of a signature for these sizes, and serve as any other's.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import (
    Py_DecRef,
    PyErr_Clear,
    PyLong_FromLongLong,
    PyObject_Vectorcall,
)
from adjit.compiler.entry.known import (
    A_QUOTIENT,
    A_SUM,
    A_ZERO,
    ARRAY,
    COMMON_PLACES,
    FIRST_COMMON,
    FLAGS,
    INTEGER,
    IS_ARRAY,
    IS_TENSOR,
    LAST_COMMON,
    NEXT,
    NOT_NEGATIVE,
    NOT_ZERO,
    O_ARENA,
    O_ARENA_ROOM,
    O_BUSY,
    O_COMMON,
    O_CONDITIONS,
    O_FLAGS,
    O_GROW,
    O_MADE,
    O_MAKER,
    O_PATTERNS,
    O_PLACES,
    O_PROGRAM,
    O_SYMBOLS,
    O_VALUES,
    O_WORDS,
    O_WORK,
    O_WORKSPACE,
    O_WORKSPACE_ROOM,
    OPEN_SIGNATURES,
    OPENING,
    OPERAND_LIST,
    OPERAND_WORDS,
    RELEASE,
    SIZES_ROOM,
    T_DTYPE,
)
from adjit.compiler.entry.making import drop
from adjit.compiler.entry.objects import array_of, integer, is_ranked, is_tensor, mixed
from adjit.compiler.entry.operands import fits, is_for_kind, takes
from adjit.compiler.llvm.words import known, room, set_word, word
from adjit.runtime.layout import DIMENSIONS, ITEMS, TYPE

# The work from which a program runs without the GIL (see native/signature.py).
RELEASED_WORK = 1 << 17


# -- numbers ----------------------------------------------------------------------------------------------------------
def summed(place: int, values: int) -> int:
    """The sum that an instruction's terms describe."""
    total = 0
    count = word(place)
    place += 8
    while count > 0:
        term = word(place)
        factors = word(place + 8)
        place += 16
        while factors > 0:
            term = term * word(values + 8 * word(place))
            place += 8
            factors -= 1
        total += term
        count -= 1
    return total


def computed_values(opening: int) -> int:
    """Compute what depends on sizes; 0 where a division is not one of natural numbers."""
    values = word(opening + 8 * O_VALUES)
    cell = values + 8 * word(opening + 8 * O_SYMBOLS)
    place = word(opening + 8 * O_PROGRAM)
    while word(place) != 0:
        kind = word(place + 8)
        if kind == A_SUM:
            set_word(cell, summed(place + 16, values))
        else:
            left = word(values + 8 * word(place + 16))
            right = word(values + 8 * word(place + 24))
            if left < 0 or right <= 0:
                return 0
            if kind == A_QUOTIENT:
                set_word(cell, left // right)
            else:
                set_word(cell, left % right)
        cell += 8
        place += 8 * word(place)
    return 1


def conditions_hold(opening: int) -> int:
    """Whether all that must hold of sizes does."""
    values = word(opening + 8 * O_VALUES)
    place = word(opening + 8 * O_CONDITIONS)
    count = word(place)
    place += 8
    while count > 0:
        kind = word(place)
        value = word(values + 8 * word(place + 8))
        holds = value > 0
        if kind == NOT_NEGATIVE:
            holds = value >= 0
        elif kind == NOT_ZERO:
            holds = value != 0
        elif kind == A_ZERO:
            holds = value == 0
        if not holds:
            return 0
        place += 16
        count -= 1
    return 1


def put_in_place(list: int, values: int) -> int:
    """Write values where they belong: a counted list has, for each, the address and the value's number."""
    count = word(list)
    place = list + 8
    while count > 0:
        set_word(word(place), word(values + 8 * word(place + 8)))
        place += 16
        count -= 1
    return 0


# -- objects ----------------------------------------------------------------------------------------------------------
def asked_for(function: int, values: int, count: int) -> int:
    """What a Python function gives for numbers, a new reference; 0 where it fails."""
    arguments = room(SIZES_ROOM)
    k = 0
    while k < count:
        number = PyLong_FromLongLong(word(values + 8 * k))
        set_word(arguments + 8 + 8 * k, number)
        k += 1
        if number == 0:
            drop(arguments + 8, k)
            PyErr_Clear()
            return 0
    found = PyObject_Vectorcall(function, arguments + 8, count, 0)
    drop(arguments + 8, count)
    if found == 0:
        PyErr_Clear()  # the Python path says what is wrong
    return found


def objects_placed(opening: int) -> int:
    """Make the objects for these sizes, and write them where they belong; 0 where they cannot be made."""
    maker = word(opening + 8 * O_MAKER)
    if maker == 0:
        return 1
    made = asked_for(maker, word(opening + 8 * O_VALUES), word(opening + 8 * O_SYMBOLS))
    if made == 0:
        return 0
    cell = word(opening + 8 * O_MADE)
    before = word(cell)
    set_word(cell, made)
    Py_DecRef(before)
    put_in_place(word(opening + 8 * O_PLACES), made + ITEMS)
    return 1


def has_memory(opening: int) -> int:
    """Whether there is as much memory as the program needs, after Python made more if need be."""
    needed = room(2)
    values = word(opening + 8 * O_VALUES)
    set_word(needed, word(values + 8 * word(opening + 8 * O_WORKSPACE)))
    set_word(needed + 8, word(values + 8 * word(opening + 8 * O_ARENA)))
    if word(needed) <= word(opening + 8 * O_WORKSPACE_ROOM) and word(needed + 8) <= word(opening + 8 * O_ARENA_ROOM):
        return 1
    done = asked_for(word(opening + 8 * O_GROW), needed, 2)
    if done == 0:
        return 0
    Py_DecRef(done)
    return 1


def set_for(opening: int, signature: int) -> int:
    """Make a signature's words those for the sizes that stand among the values; 0 where it is none for them."""
    if not computed_values(opening) or not conditions_hold(opening):
        return 0
    put_in_place(word(opening + 8 * O_WORDS), word(opening + 8 * O_VALUES))
    flags = word(opening + 8 * O_FLAGS)
    if word(word(opening + 8 * O_VALUES) + 8 * word(opening + 8 * O_WORK)) >= RELEASED_WORK:
        flags = flags | RELEASE
    set_word(signature + 8 * FLAGS, flags)
    return has_memory(opening) and objects_placed(opening)


# -- the sizes of a call ----------------------------------------------------------------------------------------------
def is_bound(values: int, wanted: int, extent: int) -> int:
    """Whether an extent is the number that is wanted, or that of an open size, which it becomes where that had none."""
    if wanted >= 0:
        return extent == wanted
    cell = values - 8 * (wanted + 1)
    if word(cell) == 0:
        set_word(cell, extent)
        return extent > 1
    return word(cell) == extent


def binds_array(wanted: int, array: int, sizes: int, values: int) -> int:
    """Whether an array has the dtype and rank that a signature wants, and sizes that are numbers or open."""
    if not is_ranked(wanted, array):
        return 0
    rank = word(wanted + 24)
    dims = word(array + DIMENSIONS)
    while rank > 0:
        rank -= 1
        if not is_bound(values, word(sizes + 8 * rank), word(dims + 8 * rank)):
            return 0
    return 1


def binds(wanted: int, value: int, sizes: int, values: int) -> int:
    """Whether an operand may be one that a signature wants, for some sizes."""
    kind = word(wanted)
    if sizes == 0:
        return takes(wanted, value)
    if kind == IS_TENSOR:
        if not is_tensor(value) or word(value + known(T_DTYPE)) != word(wanted + 8):
            return 0
        return binds_array(wanted, array_of(value), sizes, values)
    if kind == IS_ARRAY:
        return word(value + TYPE) == known(ARRAY) and binds_array(wanted, value, sizes, values)
    return word(value + TYPE) == known(INTEGER) and is_bound(values, word(sizes), integer(value))


def binds_all(signature: int, opening: int, operands: int, count: int) -> int:
    """Whether the operands may be those of a signature; its open sizes are then known."""
    values = word(opening + 8 * O_VALUES)
    k = word(opening + 8 * O_SYMBOLS)
    while k > 0:
        k -= 1
        set_word(values + 8 * k, 0)
    wanted = signature + 8 * OPERAND_LIST
    while k < count:
        if not binds(wanted, word(operands + 8 * k), word(word(opening + 8 * O_PATTERNS) + 8 * k), values):
            return 0
        wanted += 8 * OPERAND_WORDS
        k += 1
    return 1


def is_common(opening: int) -> int:
    """Count these sizes; 1 where they come so much more often than others that a signature of their own pays."""
    values = word(opening + 8 * O_VALUES)
    code = 0
    k = word(opening + 8 * O_SYMBOLS)
    while k > 0:
        k -= 1
        code = mixed(code, word(values + 8 * k))
    place = word(opening + 8 * O_COMMON) + 16 * (code & (COMMON_PLACES - 1))
    count = word(place + 8)
    if word(place) == code:
        set_word(place + 8, count + 1)
        return count >= FIRST_COMMON and count < LAST_COMMON
    if count > 0:
        set_word(place + 8, count - 1)
    else:
        set_word(place, code)
        set_word(place + 8, 1)
    return 0


def opened(table: int, operands: int, count: int, needs: int, names: int, words: int) -> int:
    """A signature open in its sizes that takes these operands, set for them, and busy until it is said otherwise; or 0.

    Setting it may run Python, and so other threads, which find it busy.
    """
    signature = word(table + 8 * OPEN_SIGNATURES)
    while signature != 0:
        opening = word(signature + 8 * OPENING)
        alike = is_for_kind(signature, count, needs, names, words)
        if alike and word(opening + 8 * O_BUSY) == 0:
            set_word(opening + 8 * O_BUSY, 1)
            found = binds_all(signature, opening, operands, count)
            if found and is_common(opening):
                set_word(opening + 8 * O_BUSY, 0)
                return 0
            if found and set_for(opening, signature) and fits(signature, operands, count):
                return signature
            set_word(opening + 8 * O_BUSY, 0)
        signature = word(signature + 8 * NEXT)
    return 0


FUNCTIONS = (
    summed, computed_values, conditions_hold, put_in_place, asked_for, objects_placed, has_memory, set_for, is_bound,
    binds_array, binds, binds_all, is_common, opened,
)  # fmt: skip
