"""Word functions that enter compiled functions: arguments as they come, NumPy's scalars among them as Python's."""

from __future__ import annotations

from adjit.compiler.entry.interpreter import PyTuple_Size
from adjit.compiler.entry.known import (
    ARRAY,
    C_CALL,
    C_TABLE,
    GIVEN_ROOM,
    LIFTED,
    MOST_OPERANDS,
    PLAIN,
    UNKNOWN,
)
from adjit.compiler.entry.making import drop
from adjit.compiler.entry.objects import plain_number
from adjit.compiler.entry.serve import served, served_apart, spread
from adjit.compiler.entry.trees import any_nodes
from adjit.compiler.llvm.words import known, room, set_word, word
from adjit.runtime.layout import DATA, TYPE

# The bits of a count of arguments, beside the one that says that a word before them may be overwritten.
COUNT = 2**63 - 1


def served_arguments(table: int, arguments: int, count: int, names: int) -> int:
    """The result of a call, as `served` gives it, for the arguments as they come."""
    flat = names == 0 and count <= MOST_OPERANDS and not any_nodes(arguments, count)
    if flat and word(table + 8 * LIFTED) == 0:
        return served(table, arguments, count, 0, 0)
    return served_apart(table, arguments, count, names)


def served_plainly(table: int, arguments: int, count: int, names: int) -> int:
    """The same with Python's numbers in the place of NumPy's; UNKNOWN where there are none."""
    given = room(GIVEN_ROOM)
    total = count
    if names != 0:
        total += PyTuple_Size(names)
    if total > MOST_OPERANDS:
        return UNKNOWN
    others = 0
    k = 0
    while k < total:
        item = plain_number(word(arguments + 8 * k))
        if item == 0:
            drop(given + 8, k)
            return 0
        others += item != word(arguments + 8 * k)
        set_word(given + 8 + 8 * k, item)
        k += 1
    found = UNKNOWN
    if others:
        found = served_arguments(table, given + 8, count, names)
    drop(given + 8, total)
    return found


def adjit_compiled(self: int, arguments: int, count: int, names: int) -> int:
    """The entry of a compiled function, which may have an array that holds its table."""
    holder = word(self + known(C_TABLE))
    found = PLAIN
    if holder != 0 and word(holder + TYPE) == known(ARRAY):
        table = word(holder + DATA)
        found = served_arguments(table, arguments, count, names)
        if found == UNKNOWN:
            found = served_plainly(table, arguments, count, names)
    if found < 0 and found >= PLAIN:
        return spread(known(C_CALL), self, arguments, count, names)
    return found


def adjit_vectorcall(self: int, arguments: int, count: int, names: int) -> int:
    """The same as CPython calls it through a pointer in the compiled function."""
    return adjit_compiled(self, arguments, count & COUNT, names)


FUNCTIONS = (served_arguments, served_plainly, adjit_compiled, adjit_vectorcall)
