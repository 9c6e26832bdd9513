"""Word functions that serve functions of numbers: floats in, one program from an array to an array, floats out."""

from __future__ import annotations

from adjit.compiler.entry.known import (
    ARRAY,
    FLOAT,
    INTEGER,
    IS_TRACING,
    MODE,
    MOST_SCALARS,
    NUMBER_F64,
    NUMPY_FLOAT,
    PLAIN,
    S_CALL,
    S_TABLE,
    U_ARENA,
    U_CALLS,
    U_COUNT,
    U_MAIN,
    U_RESULT,
    U_SIZES,
    U_WORKSPACE,
)
from adjit.compiler.entry.operands import number
from adjit.compiler.entry.results import built
from adjit.compiler.entry.serve import mode_is_known, spread
from adjit.compiler.llvm.words import known, room, run, set_word, word
from adjit.runtime.layout import CONTENT, DATA, TYPE


def taken(arguments: int, count: int, place: int) -> int:
    """Put the arguments' values into an array; 0 where one is no number that float64 holds."""
    k = 0
    while k < count:
        value = word(arguments + 8 * k)
        type = word(value + TYPE)
        if type == known(FLOAT) or type == known(NUMPY_FLOAT):
            set_word(place + 8 * k, word(value + CONTENT))
        elif type != known(INTEGER) or not number(NUMBER_F64, value, place + 8 * k):
            return 0
        k += 1
    return 1


def of_numbers(table: int, arguments: int, count: int) -> int:
    """The result of a function of numbers; PLAIN where Python must serve the call; 0 for an error."""
    given = room(MOST_SCALARS)
    results = room(MOST_SCALARS)
    buffers = room(5)
    cursor = room(4)
    status = room(1)
    if count != word(table + 8 * U_COUNT):
        return PLAIN
    if not mode_is_known():
        return 0
    if word(known(MODE) + IS_TRACING) or not taken(arguments, count, given):
        return PLAIN
    set_word(status, 0)
    set_word(buffers, status)
    set_word(buffers + 8, word(table + 8 * U_WORKSPACE))
    set_word(buffers + 16, word(table + 8 * U_ARENA))
    set_word(buffers + 24, given)
    set_word(buffers + 32, results)
    run(word(table + 8 * U_MAIN), buffers, word(table + 8 * U_SIZES))
    if word(status) != 0:
        return PLAIN
    set_word(table + 8 * U_CALLS, word(table + 8 * U_CALLS) + 1)
    set_word(cursor, word(table + 8 * U_RESULT))
    set_word(cursor + 8, results)
    return built(cursor)


def adjit_numbers(self: int, arguments: int, count: int, names: int) -> int:
    """The entry of a symbolic function, which may have an array that holds its table."""
    holder = word(self + known(S_TABLE))
    found = PLAIN
    if holder != 0 and word(holder + TYPE) == known(ARRAY) and names == 0:
        found = of_numbers(word(holder + DATA), arguments, count)
    if found == PLAIN:
        return spread(known(S_CALL), self, arguments, count, names)
    return found


FUNCTIONS = (taken, of_numbers, adjit_numbers)
